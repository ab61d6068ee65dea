//! What every store must do.

use std::{sync::Arc, time::Duration};

use ivs_playback_auth::{
    clock::Timestamp,
    ivs::arn::Region,
    keys::{
        keyring::{KeyState, KeyVersion, Keyring, VersionId},
        material::PrivateKey,
        store::{Revision, Store, StoreError},
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

pub(super) fn empty() -> Keyring {
    Keyring::new(region(), Duration::from_hours(1), &mut system_rng())
}

/// Adds a pending key.
pub(super) fn add_key(keyring: &mut Keyring) -> VersionId {
    let key = PrivateKey::generate(&mut system_rng()).unwrap();
    let public = key.public_key().clone();
    let version = KeyVersion::new(public, Some(key), now(), &mut system_rng());
    let id = version.id.clone();
    keyring.keys.push(version);
    id
}

pub(super) async fn loaded(store: &dyn Store) -> (Keyring, Revision) {
    store.load(&region()).await.unwrap().unwrap()
}

/// Everything that a store promises to one process.
pub(super) async fn one_writer(open: Open<'_>) {
    let store = open();
    assert_eq!(store.load(&region()).await, Ok(None));
    let refused = store.replace(&region(), Some(Revision::new("made up")), &empty()).await;
    assert_eq!(refused, Err(StoreError::Conflict));
    assert_eq!(store.load(&region()).await, Ok(None));

    let mut keyring = empty();
    let id = add_key(&mut keyring);
    let first = store.replace(&region(), None, &keyring).await.unwrap();
    assert_eq!(loaded(&*store).await, (keyring.clone(), first.clone()));
    assert_eq!(loaded(&*open()).await, (keyring.clone(), first.clone()));

    // Only the revision that is there can be replaced.
    add_key(&mut keyring);
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

    no_bug_above_can_do_harm(&*store, &keyring, &fourth).await;
    assert_eq!(loaded(&*store).await, (keyring, fourth));
}

async fn no_bug_above_can_do_harm(store: &dyn Store, keyring: &Keyring, revision: &Revision) {
    let replace = async |keyring: Keyring| {
        store.replace(&region(), Some(revision.clone()), &keyring).await.unwrap_err()
    };
    let mut lossy = keyring.clone();
    lossy.keys[1].private_key = None;
    let refused = replace(lossy.clone()).await;
    assert!(matches!(refused, StoreError::Discontinuous(_)), "{refused:?}");
    lossy.keys[1].state = KeyState::Active;
    let refused = replace(lossy).await;
    assert!(matches!(refused, StoreError::Unsound(_)), "{refused:?}");
    let refused = replace(empty()).await;
    assert!(matches!(refused, StoreError::Discontinuous(_)), "{refused:?}");
    let elsewhere = Keyring::new("eu-west-1".parse().unwrap(), Duration::ZERO, &mut system_rng());
    let refused = replace(elsewhere).await;
    assert!(matches!(refused, StoreError::OtherRegion { .. }), "{refused:?}");
}

/// Many writers on one place: each write is seen by all that follow, and none is lost.
pub(super) async fn many_writers(open: Open<'_>, writers: u64, each: u64) {
    let keyring = empty();
    let start = keyring.max_ttl;
    open().replace(&region(), None, &keyring).await.unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..writers {
        let store = open();
        tasks.spawn(async move {
            let mut done = 0;
            while done < each {
                let (mut keyring, revision) = loaded(&*store).await;
                keyring.max_ttl += Duration::from_secs(1);
                match store.replace(&region(), Some(revision), &keyring).await {
                    Ok(_) => done += 1,
                    // Not done: somebody else was first, or all the time.
                    Err(StoreError::Conflict | StoreError::Busy { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }
    tasks.join_all().await;
    let (keyring, _) = loaded(&*open()).await;
    assert_eq!(keyring.max_ttl, start + Duration::from_secs(writers * each));
}

/// Of several processes that replace the same revision at once, one does, and the others are told.
/// First where there is no keyring yet, then where there is one.
pub(super) async fn one_of_several(open: Open<'_>, processes: usize) {
    let mut expected = None;
    let mut keyring = empty();
    for _ in 0..3 {
        let mut tasks = JoinSet::new();
        for _ in 0..processes {
            let (store, expected, mut keyring) = (open(), expected.clone(), keyring.clone());
            add_key(&mut keyring);
            tasks.spawn(
                async move { (store.replace(&region(), expected, &keyring).await, keyring) },
            );
        }
        let mut won = Vec::new();
        for (outcome, keyring) in tasks.join_all().await {
            match outcome {
                Ok(revision) => won.push((keyring, revision)),
                Err(StoreError::Conflict | StoreError::Busy { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(won.len(), 1, "{won:?}");
        let (written, revision) = won.remove(0);
        assert_eq!(loaded(&*open()).await, (written.clone(), revision.clone()));
        (keyring, expected) = (written, Some(revision));
    }
}
