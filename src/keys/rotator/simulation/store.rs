//! A store in memory, with the promises of a real one and everything that can go wrong on the way.

use std::sync::{Arc, Mutex};

use super::{
    network::{Lost, Way},
    truth::Truth,
};
use crate::{
    clock::Timestamp,
    ivs::arn::Region,
    keys::{
        keyring::Keyring,
        store::{Revision, Store, StoreError, StoreFuture},
    },
};

/// Every state that the store ever had, the last one last.
pub(super) type History = Arc<Mutex<Vec<(Timestamp, Keyring)>>>;

/// One process's view of the store.
#[derive(Debug)]
pub(super) struct SimulatedStore {
    pub(super) truth: Truth,
    pub(super) history: History,
    pub(super) way: Way,
}

impl SimulatedStore {
    fn read(&self) -> Option<(Keyring, Revision)> {
        let at = self.truth.now() - self.way.age();
        let history = self.history.lock().unwrap();
        let position = history.iter().rposition(|(written, _)| *written <= at)?;
        Some((history[position].1.clone(), Revision::new(&position.to_string())))
    }

    fn write(
        &self,
        expected: Option<&Revision>,
        keyring: &Keyring,
    ) -> Result<Revision, StoreError> {
        keyring.check().map_err(StoreError::Unsound)?;
        let mut history = self.history.lock().unwrap();
        let current = history.len().checked_sub(1).map(|last| Revision::new(&last.to_string()));
        if expected != current.as_ref() {
            return Err(StoreError::Conflict);
        }
        if let Some((_, before)) = history.last() {
            before.check_successor(keyring).map_err(StoreError::Discontinuous)?;
        }
        history.push((self.truth.now(), keyring.clone()));
        Ok(Revision::new(&(history.len() - 1).to_string()))
    }
}

impl Store for SimulatedStore {
    fn load<'a>(&'a self, _: &'a Region) -> StoreFuture<'a, Option<(Keyring, Revision)>> {
        Box::pin(async {
            self.way.there().await?;
            let read = self.read();
            self.way.back().await?;
            Ok(read)
        })
    }

    fn replace<'a>(
        &'a self,
        _: &'a Region,
        expected: Option<Revision>,
        keyring: &'a Keyring,
    ) -> StoreFuture<'a, Revision> {
        Box::pin(async move {
            self.way.there().await?;
            let written = self.write(expected.as_ref(), keyring);
            if let Err(StoreError::Unsound(_) | StoreError::Discontinuous(_)) = written {
                panic!("a defect asked for this write: {written:?}");
            }
            self.way.back().await?;
            written
        })
    }

    fn describe(&self, _: &Region) -> String {
        "simulated".to_owned()
    }
}

impl From<Lost> for StoreError {
    fn from(_: Lost) -> Self {
        Self::Busy { place: "simulated".to_owned() }
    }
}
