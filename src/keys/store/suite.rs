//! What every store must do, as tests that each store runs.

use std::{sync::Arc, time::Duration};

use super::{Revision, Store, StoreError};
use crate::{
    clock::Timestamp,
    ivs::arn::Region,
    keys::keyring::{KeyState, KeyVersion, Keyring, VersionId, strategies},
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

/// Everything that a store promises to one process. `open` opens the same place anew.
pub(crate) async fn one_writer(open: &dyn Fn() -> Arc<dyn Store>) {
    let store = open();
    assert_eq!(store.load(&region()).await, Ok(None));

    let mut keyring = empty();
    let id = add_key(&mut keyring, 0);
    let first = store.replace(&region(), None, &keyring).await.unwrap();
    assert_eq!(loaded(&*store).await, (keyring.clone(), first.clone()));
    assert_eq!(loaded(&*open()).await, (keyring.clone(), first.clone()));

    // Only the revision that is there can be replaced.
    add_key(&mut keyring, 1);
    for stale in [None, Some(Revision::new("made up"))] {
        let refused = store.replace(&region(), stale, &keyring).await;
        assert_eq!(refused, Err(StoreError::Conflict));
    }
    let second = store.replace(&region(), Some(first.clone()), &keyring).await.unwrap();
    assert_ne!(second, first);
    let refused = store.replace(&region(), Some(first), &keyring).await;
    assert_eq!(refused, Err(StoreError::Conflict));

    // A retired key leaves, its public half stays.
    keyring.version_mut(&id).unwrap().state = KeyState::Retiring;
    let third = store.replace(&region(), Some(second), &keyring).await.unwrap();
    keyring.retire(&id, now());
    let fourth = store.replace(&region(), Some(third), &keyring).await.unwrap();
    let (read, _) = loaded(&*open()).await;
    assert_eq!(read, keyring);
    assert!(read.version(&id).unwrap().private_key.is_none());

    // No bug above can lose a private key.
    let mut lossy = keyring.clone();
    lossy.keys[1].private_key = None;
    let refused = store.replace(&region(), Some(fourth.clone()), &lossy).await;
    assert!(matches!(refused, Err(StoreError::Discontinuous(_))), "{refused:?}");
    lossy.keys[1].state = KeyState::Active;
    let refused = store.replace(&region(), Some(fourth.clone()), &lossy).await;
    assert!(matches!(refused, Err(StoreError::Unsound(_))), "{refused:?}");
    assert_eq!(loaded(&*store).await, (keyring, fourth));
}

/// Many writers on one place: each write is seen by all that follow, and none is lost.
pub(crate) async fn many_writers(open: &dyn Fn() -> Arc<dyn Store>, writers: u64, each: u64) {
    let keyring = empty();
    let start = keyring.max_ttl;
    open().replace(&region(), None, &keyring).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..writers {
        let store = open();
        tasks.spawn(async move {
            let mut done = 0;
            while done < each {
                let (mut keyring, revision) = loaded(&*store).await;
                keyring.max_ttl += Duration::from_secs(1);
                match store.replace(&region(), Some(revision), &keyring).await {
                    Ok(_) => done += 1,
                    Err(StoreError::Conflict) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }
    tasks.join_all().await;
    let (keyring, _) = loaded(&*open()).await;
    assert_eq!(keyring.max_ttl, start + Duration::from_secs(writers * each));
}
