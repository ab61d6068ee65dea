//! Small keyrings, for tests of what keeps and uses them. What every store must do is tested from the
//! outside: `tests/api/stores/suite.rs`.

use std::time::Duration;

use super::{Revision, Store};
use crate::{
    clock::Timestamp,
    ivs::arn::Region,
    keys::keyring::{KeyVersion, Keyring, VersionId, strategies},
    secret::system_rng,
};

pub(crate) fn region() -> Region {
    "us-west-2".parse().unwrap()
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_unix_seconds(strategies::EPOCH)
}

pub(crate) fn empty() -> Keyring {
    Keyring::new(region(), Duration::from_hours(1), &mut system_rng())
}

/// Adds the pending key number `position` of the pool.
pub(crate) fn add_key(keyring: &mut Keyring, position: usize) -> VersionId {
    let key = strategies::KEYS[position].clone();
    let public = key.public_key().clone();
    let version = KeyVersion::new(public, Some(key), now(), &mut system_rng());
    let id = version.id.clone();
    keyring.keys.push(version);
    id
}

pub(crate) async fn loaded(store: &dyn Store) -> (Keyring, Revision) {
    store.load(&region()).await.unwrap().unwrap()
}
