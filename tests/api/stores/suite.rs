//! What every store must do.

use std::{sync::Arc, time::Duration};

use ivs_playback_auth::{
    clock::Timestamp,
    ivs::arn::Region,
    keys::{
        keyring::{KeyState, KeyVersion, Keyring, VersionId},
        material::PrivateKey,
        store::{PrivateKeys, Revision, Store, StoreError, Stored},
    },
    secret::system_rng,
};
use tokio::task::JoinSet;

/// Opens the same place anew, as another process would.
pub(super) type Open<'a> = &'a (dyn Fn() -> Arc<dyn Store> + Sync);

pub(super) fn region() -> Region {
    "us-west-2".parse().unwrap()
}

pub(super) fn now() -> Timestamp {
    Timestamp::from_unix_seconds(1_795_337_700)
}

pub(super) fn empty() -> Stored {
    let keyring = Keyring::new(region(), Duration::from_hours(1), &mut system_rng());
    Stored { keyring, private_keys: PrivateKeys::new() }
}

/// Adds a pending key.
pub(super) fn add_key(stored: &mut Stored) -> VersionId {
    let key = PrivateKey::generate(&mut system_rng()).unwrap();
    let public = key.public_key().clone();
    let version = KeyVersion::new(public, true, now(), &mut system_rng());
    let id = version.id.clone();
    stored.keyring.keys.push(version);
    stored.private_keys.insert(id.clone(), key);
    id
}

pub(super) async fn loaded(store: &dyn Store) -> (Stored, Revision) {
    store.load(&region()).await.unwrap().unwrap()
}

/// Everything that a store promises to one process.
pub(super) async fn one_writer(open: Open<'_>) {
    let store = open();
    assert_eq!(store.load(&region()).await, Ok(None));
    let refused = store.replace(&region(), Some(Revision::new("made up")), &empty()).await;
    assert_eq!(refused, Err(StoreError::Conflict));
    assert_eq!(store.load(&region()).await, Ok(None));

    let mut stored = empty();
    let id = add_key(&mut stored);
    let first = store.replace(&region(), None, &stored).await.unwrap();
    assert_eq!(loaded(&*store).await, (stored.clone(), first.clone()));
    assert_eq!(loaded(&*open()).await, (stored.clone(), first.clone()));

    // Only the revision that is there can be replaced.
    add_key(&mut stored);
    for stale in [None, Some(Revision::new("made up"))] {
        let refused = store.replace(&region(), stale, &stored).await;
        assert_eq!(refused, Err(StoreError::Conflict));
    }
    let second = store.replace(&region(), Some(first.clone()), &stored).await.unwrap();
    assert_ne!(second, first);
    let refused = store.replace(&region(), Some(first), &stored).await;
    assert_eq!(refused, Err(StoreError::Conflict));

    // A retired key leaves, its public half stays.
    stored.keyring.version_mut(&id).unwrap().state = KeyState::Retiring;
    let third = store.replace(&region(), Some(second), &stored).await.unwrap();
    stored.keyring.retire(&id, now());
    stored.private_keys.remove(&id);
    let fourth = store.replace(&region(), Some(third), &stored).await.unwrap();
    let (read, _) = loaded(&*open()).await;
    assert_eq!(read, stored);
    assert!(!read.keyring.version(&id).unwrap().has_private_key);

    no_bug_above_can_do_harm(&*store, &stored, &fourth).await;
    assert_eq!(loaded(&*store).await, (stored, fourth));
}

async fn no_bug_above_can_do_harm(store: &dyn Store, stored: &Stored, revision: &Revision) {
    let replace = async |stored: Stored| {
        store.replace(&region(), Some(revision.clone()), &stored).await.unwrap_err()
    };
    let mut lossy = stored.clone();
    lossy.keyring.keys[1].has_private_key = false;
    let refused = replace(lossy.clone()).await;
    assert!(matches!(refused, StoreError::Discontinuous(_)), "{refused:?}");
    lossy.keyring.keys[1].state = KeyState::Active;
    let refused = replace(lossy).await;
    assert!(matches!(refused, StoreError::Unsound(_)), "{refused:?}");
    let refused = replace(empty()).await;
    assert!(matches!(refused, StoreError::Discontinuous(_)), "{refused:?}");
    let region = "eu-west-1".parse().unwrap();
    let keyring = Keyring::new(region, Duration::ZERO, &mut system_rng());
    let elsewhere = Stored { keyring, ..empty() };
    let refused = replace(elsewhere).await;
    assert!(matches!(refused, StoreError::OtherRegion { .. }), "{refused:?}");
}

/// Many writers on one place: each write is seen by all that follow, and none is lost.
pub(super) async fn many_writers(open: Open<'_>, writers: u64, each: u64) {
    let stored = empty();
    let start = stored.keyring.max_ttl;
    open().replace(&region(), None, &stored).await.unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..writers {
        let store = open();
        tasks.spawn(async move {
            let mut done = 0;
            while done < each {
                let (mut stored, revision) = loaded(&*store).await;
                stored.keyring.max_ttl += Duration::from_secs(1);
                match store.replace(&region(), Some(revision), &stored).await {
                    Ok(_) => done += 1,
                    // Not done: somebody else was first, or all the time.
                    Err(StoreError::Conflict | StoreError::Busy { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }
    tasks.join_all().await;
    let (stored, _) = loaded(&*open()).await;
    assert_eq!(stored.keyring.max_ttl, start + Duration::from_secs(writers * each));
}

/// Of several processes that replace the same revision at once, one does, and the others are told.
/// First where there is no keyring yet, then where there is one.
pub(super) async fn one_of_several(open: Open<'_>, processes: usize) {
    let mut expected = None;
    let mut stored = empty();
    for _ in 0..3 {
        let mut tasks = JoinSet::new();
        for _ in 0..processes {
            let (store, expected, mut stored) = (open(), expected.clone(), stored.clone());
            add_key(&mut stored);
            tasks.spawn(async move { (store.replace(&region(), expected, &stored).await, stored) });
        }
        let mut won = Vec::new();
        for (outcome, stored) in tasks.join_all().await {
            match outcome {
                Ok(revision) => won.push((stored, revision)),
                Err(StoreError::Conflict | StoreError::Busy { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(won.len(), 1, "{won:?}");
        let (written, revision) = won.remove(0);
        assert_eq!(loaded(&*open()).await, (written.clone(), revision.clone()));
        (stored, expected) = (written, Some(revision));
    }
}
