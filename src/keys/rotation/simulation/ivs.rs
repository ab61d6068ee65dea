//! A model of IVS: three pairs a region, lists that may be a moment old, answers that are lost.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{
    network::{Lost, Way},
    truth::Truth,
};
use crate::{
    clock::{Moment, Timestamp},
    ivs::{
        IvsError, KeyPair, KeyPairSummary,
        arn::{PlaybackKeyArn, Region},
    },
    keys::{
        keyring::strategies,
        material::{Fingerprint, PublicKey},
        service::{KEY_PAIR_QUOTA, KeyPairService, ServiceFuture},
    },
};

/// What IVS has and had.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    pub(super) all: Vec<Pair>,
    pub(super) accepts_duplicates: bool,
}

/// A pair, from its import to its deletion.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) arn: PlaybackKeyArn,
    pub(super) fingerprint: Fingerprint,
    pub(super) name: String,
    pub(super) tags: BTreeMap<String, String>,
    pub(super) created: Timestamp,
    pub(super) deleted: Option<Timestamp>,
    /// Somebody deleted it in the console.
    pub(super) by_hand: bool,
}

impl Pair {
    pub(super) fn is_there(&self, at: Timestamp) -> bool {
        self.created <= at && self.deleted.is_none_or(|deleted| at < deleted)
    }
}

impl Pairs {
    pub(super) fn there(&self, at: Timestamp) -> impl Iterator<Item = &Pair> {
        self.all.iter().filter(move |pair| pair.is_there(at))
    }

    pub(super) fn import(
        &mut self,
        fingerprint: Fingerprint,
        name: &str,
        tags: &BTreeMap<String, String>,
        now: Timestamp,
    ) -> Result<Pair, IvsError> {
        let message = String::new();
        if self.there(now).any(|pair| pair.fingerprint == fingerprint) && !self.accepts_duplicates {
            return Err(IvsError::Conflict { message });
        }
        if self.there(now).count() >= KEY_PAIR_QUOTA {
            return Err(IvsError::QuotaExceeded { message });
        }
        let pair = Pair {
            arn: strategies::arn(self.all.len()),
            fingerprint,
            name: name.to_owned(),
            tags: tags.clone(),
            created: now,
            deleted: None,
            by_hand: false,
        };
        self.all.push(pair.clone());
        Ok(pair)
    }

    pub(super) fn delete(
        &mut self,
        arn: &PlaybackKeyArn,
        by_hand: bool,
        now: Timestamp,
    ) -> Result<(), IvsError> {
        let pair = self.all.iter_mut().find(|pair| pair.arn == *arn && pair.is_there(now));
        let pair = pair.ok_or(IvsError::NotFound)?;
        (pair.deleted, pair.by_hand) = (Some(now), by_hand);
        Ok(())
    }
}

/// One process's view of IVS.
#[derive(Debug)]
pub(super) struct SimulatedIvs {
    pub(super) truth: Truth,
    pub(super) region: Region,
    pub(super) pairs: Arc<Mutex<Pairs>>,
    pub(super) way: Way,
    /// The `Date` of the last answer, and when that was.
    pub(super) date: Mutex<Option<(Timestamp, Duration)>>,
}

impl SimulatedIvs {
    async fn call<T>(
        &self,
        effect: impl FnOnce(&mut Pairs, Timestamp) -> Result<T, IvsError> + Send,
    ) -> Result<T, IvsError>
    where
        T: Send,
    {
        self.way.there().await?;
        let now = self.truth.now();
        let outcome = effect(&mut self.pairs.lock().unwrap(), now);
        self.way.back().await?;
        *self.date.lock().unwrap() = Some((now.floor_to_second(), self.truth.elapsed()));
        outcome
    }
}

impl KeyPairService for SimulatedIvs {
    fn region(&self) -> &Region {
        &self.region
    }

    fn list(&self) -> ServiceFuture<'_, Vec<KeyPairSummary>> {
        let age = self.way.age();
        let summary = |pair: &Pair| KeyPairSummary {
            arn: pair.arn.clone(),
            name: pair.name.clone(),
            tags: pair.tags.clone(),
        };
        Box::pin(self.call(move |pairs, now| Ok(pairs.there(now - age).map(summary).collect())))
    }

    fn get<'a>(&'a self, arn: &'a PlaybackKeyArn) -> ServiceFuture<'a, KeyPair> {
        Box::pin(self.call(|pairs, now| {
            let found = pairs.there(now).find(|pair| pair.arn == *arn).map(key_pair);
            found.ok_or(IvsError::NotFound)
        }))
    }

    fn import<'a>(
        &'a self,
        public_key_pem: &'a str,
        name: &'a str,
        tags: &'a BTreeMap<String, String>,
    ) -> ServiceFuture<'a, KeyPair> {
        let fingerprint = PublicKey::read(public_key_pem).unwrap().fingerprint();
        Box::pin(self.call(move |pairs, now| {
            pairs.import(fingerprint, name, tags, now).map(|pair| key_pair(&pair))
        }))
    }

    fn delete<'a>(&'a self, arn: &'a PlaybackKeyArn) -> ServiceFuture<'a, ()> {
        Box::pin(self.call(|pairs, now| pairs.delete(arn, false, now)))
    }

    fn time(&self, now: Moment) -> Option<Timestamp> {
        let (date, at) = (*self.date.lock().unwrap())?;
        Some(date + now.monotonic.saturating_sub(at))
    }

    fn skew(&self, now: Moment) -> Option<Duration> {
        let theirs = self.time(now)?;
        Some(theirs.saturating_since(now.wall).max(now.wall.saturating_since(theirs)))
    }
}

fn key_pair(pair: &Pair) -> KeyPair {
    KeyPair {
        arn: pair.arn.clone(),
        name: pair.name.clone(),
        fingerprint: pair.fingerprint.to_string(),
        tags: pair.tags.clone(),
    }
}

impl From<Lost> for IvsError {
    fn from(_: Lost) -> Self {
        Self::TimedOut
    }
}
