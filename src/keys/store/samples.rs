//! Small keyrings, for tests of what keeps and uses them. What every store must do is tested from the
//! outside: `tests/api/stores/suite.rs`.

use std::time::Duration;

use super::{Revision, Store, Stored};
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
    let public = strategies::KEYS[position].public_key().clone();
    let version = KeyVersion::new(public, true, now(), &mut system_rng());
    let id = version.id.clone();
    keyring.keys.push(version);
    id
}

/// Adds the private halves of a keyring that is made of keys of the pool.
pub(crate) fn stored(keyring: Keyring) -> Stored {
    let private_half = |version: &KeyVersion| {
        let key = strategies::KEYS.iter().find(|key| *key.public_key() == version.public_key);
        (version.id.clone(), key.unwrap().clone())
    };
    let with_private_half = keyring.keys.iter().filter(|version| version.has_private_key);
    let private_keys = with_private_half.map(private_half).collect();
    Stored { keyring, private_keys }
}

pub(crate) async fn loaded(store: &dyn Store) -> (Stored, Revision) {
    store.load(&region()).await.unwrap().unwrap()
}
