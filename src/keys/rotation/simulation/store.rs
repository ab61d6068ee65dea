//! A store in memory, with the promises of a real one and everything that can go wrong on the way.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use super::{
    network::{Lost, Way},
    truth::Truth,
};
use crate::{
    clock::Timestamp,
    ivs::arn::Region,
    keys::{
        keyring::Keyring,
        store::{PrivateKeys, Revision, Store, StoreError, StoreFuture, Stored},
    },
};

/// Every state that the store ever had, the last one last.
pub(super) type History = Arc<Mutex<Vec<(Timestamp, Keyring)>>>;

/// The private halves of all versions that there ever were: a version's never changes.
pub(super) type EveryPrivateKey = Arc<Mutex<PrivateKeys>>;

/// One process's view of the store.
#[derive(Debug)]
pub(super) struct SimulatedStore {
    pub(super) truth: Truth,
    pub(super) history: History,
    pub(super) private_keys: EveryPrivateKey,
    pub(super) way: Way,
}

impl SimulatedStore {
    fn read(&self) -> Option<(Stored, Revision)> {
        let at = self.truth.now() - self.way.age();
        let history = self.history.lock().unwrap();
        let position = history.iter().rposition(|(written, _)| *written <= at)?;
        let keyring = history[position].1.clone();
        let all = self.private_keys.lock().unwrap();
        let private_keys: BTreeMap<_, _> = keyring
            .keys
            .iter()
            .filter(|version| version.has_private_key)
            .map(|version| (version.id.clone(), all[&version.id].clone()))
            .collect();
        Some((Stored { keyring, private_keys }, Revision::new(&position.to_string())))
    }

    fn write(
        &self,
        expected: Option<&Revision>,
        Stored { keyring, private_keys }: &Stored,
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
        self.private_keys.lock().unwrap().extend(private_keys.clone());
        history.push((self.truth.now(), keyring.clone()));
        Ok(Revision::new(&(history.len() - 1).to_string()))
    }
}

impl Store for SimulatedStore {
    fn load<'a>(&'a self, _: &'a Region) -> StoreFuture<'a, Option<(Stored, Revision)>> {
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
        stored: &'a Stored,
    ) -> StoreFuture<'a, Revision> {
        Box::pin(async move {
            self.way.there().await?;
            let written = self.write(expected.as_ref(), stored);
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
