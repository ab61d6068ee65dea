//! What operations refuse, and what they show.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ivs_playback_auth::ivs::arn::PlaybackKeyArn;
use ivs_playback_auth::keys::{
    keyring::{KeyState, KeyVersion},
    material::{PrivateKey, PublicKey},
    rotation::{
        Full, GenerateKey, ImportPrivateKey, ImportPublicKey, InUse, KeyPairState, Label,
        OperationError, Refusal, view::Phase,
    },
    signing::NoSigner,
    store::{PrivateKeys, Store as _, Stored, dir::DirStore},
};
use ivs_playback_auth::secret::system_rng;

use super::world::{Faults, Process, World, graceful, region};

async fn first_key(process: &Process, new_keyring: bool) -> Result<(), OperationError> {
    process.rotate(graceful(new_keyring)).await.map(|_| ())
}

async fn foreign_pair(process: &Process, name: &str) -> PlaybackKeyArn {
    let key = PrivateKey::generate(&mut system_rng()).unwrap();
    let pem = key.public_key().to_pem();
    process.ivs.import_playback_key_pair(pem, name, &BTreeMap::new()).await.unwrap().arn
}

/// The codes of what a look finds.
async fn findings(process: &Process) -> Vec<&'static str> {
    assert_eq!(process.manager.reconcile().await.failure, None);
    process.manager.report().findings.iter().map(|it| it.code.as_str()).collect()
}

fn private(key: &PrivateKey) -> ImportPrivateKey {
    let label = Label::default();
    ImportPrivateKey { key: key.clone(), label, exclusive: false, longest_ttl: None }
}

#[tokio::test]
async fn the_first_key_signs_at_once_and_the_second_waits_until_ivs_knows_it() {
    let world = World::new();
    let process = world.process().await;
    first_key(&process, false).await.unwrap();
    let (now, monotonic) = (world.clock.now(), world.clock.monotonic());
    let signer = process.signing_keys.signer(&region(), now, monotonic).await.unwrap();
    assert_eq!(*signer.arn(), world.pairs().await[0].arn);
    let begun = process.manager.begin_rotation(graceful(false)).await.unwrap();
    assert_eq!(process.manager.reconcile().await.failure, None);
    let rotation = process.manager.rotation(begun.id()).await.unwrap();
    assert_eq!(rotation.phase, Phase::Propagating);
    assert_eq!(rotation.old_key_pair_arn.as_ref(), Some(signer.arn()));
    let keyring = world.keyring().await;
    assert_eq!(keyring.active().unwrap().arn.as_ref(), Some(signer.arn()));
    let new = keyring.keys.iter().find(|it| it.state == KeyState::Imported).unwrap();
    assert_eq!(rotation.next_at, Some(new.imported_at.unwrap() + Duration::from_mins(10)));
}

#[tokio::test]
async fn a_lost_keyring_is_noticed_and_named() {
    let world = World::new();
    first_key(&world.process().await, false).await.unwrap();
    let elsewhere = world.keys_dir().with_file_name("elsewhere");
    let other = world.process_on(elsewhere.clone(), Arc::new(Faults::none()), Duration::ZERO).await;
    for refused in [
        first_key(&other, false).await,
        other.manager.generate(GenerateKey::default()).await.map(|_| ()),
    ] {
        let error = refused.unwrap_err();
        assert!(matches!(error, OperationError::LostKeyring { .. }), "{error}");
        let sentence = error.to_string();
        for part in [world.pairs().await[0].arn.as_str(), "elsewhere/us-west-2", "--new-keyring"] {
            assert!(sentence.contains(part), "{sentence}");
        }
    }
    assert_eq!(world.pairs().await.len(), 1);
    assert!(!elsewhere.exists(), "nothing is made");
    assert_eq!(findings(&other).await, ["lost_keyring"]);

    first_key(&other, true).await.unwrap();
    assert_eq!(world.pairs().await.len(), 2);
}

#[tokio::test]
async fn the_first_look_of_a_process_compares_the_keyring_that_it_loaded() {
    let world = World::new();
    let process = world.process().await;
    first_key(&process, false).await.unwrap();
    let other_key = foreign_pair(&process, "another-key").await;
    let store = DirStore::new(world.keys_dir(), None);
    let (mut stored, revision) = store.load(&region()).await.unwrap().unwrap();
    stored.keyring.keys[0].arn = Some(other_key);
    store.replace(&region(), Some(revision), &stored).await.unwrap();

    let found = findings(&world.process().await).await;
    assert!(found.contains(&"fingerprint_mismatch"), "{found:?}");
}

#[tokio::test]
async fn a_full_quota_is_refused_before_anything_is_made() {
    let world = World::new();
    let process = world.process().await;
    for name in ["one", "two", "three"] {
        foreign_pair(&process, name).await;
    }
    let public = PrivateKey::generate(&mut system_rng()).unwrap();
    let import = ImportPublicKey {
        key: public.public_key().clone(),
        label: Label::default(),
        idempotency: None,
    };
    for refused in [
        first_key(&process, false).await,
        process.manager.generate(GenerateKey::default()).await.map(|_| ()),
        process.manager.import_private_key(private(&public)).await.map(|_| ()),
        process.manager.import_public_key(import).await.map(|_| ()),
    ] {
        let error = refused.unwrap_err();
        let OperationError::Refused(Refusal::Quota { full: Full::Region { pairs, foreign } }) =
            &error
        else {
            panic!("{error}");
        };
        assert_eq!((pairs.len(), foreign.len()), (3, 3));
        assert!(error.to_string().contains("(two)"), "{error}");
    }
    assert_eq!(world.private_keys(), 0);
}

#[tokio::test]
async fn a_generated_pair_waits_for_the_next_rotation() {
    let world = World::new();
    let process = world.process().await;
    let tags = BTreeMap::from([("team".to_owned(), "video".to_owned())]);
    let label = Label::new(Some("mine".to_owned()), tags).unwrap();
    let view = process.manager.generate(GenerateKey { label, idempotency: None }).await.unwrap();
    assert_eq!((view.name.as_str(), view.state), ("mine", KeyPairState::Pending));
    assert_eq!((view.tags["team"].as_str(), view.tags.len()), ("video", 3));
    first_key(&process, false).await.unwrap();
    let pairs = world.pairs().await;
    assert_eq!((pairs.len(), pairs[0].name.as_str()), (1, "mine"));
}

#[tokio::test]
async fn a_public_key_never_signs_here() {
    let world = World::new();
    let process = world.process().await;
    let key = PrivateKey::generate(&mut system_rng()).unwrap();
    let request = |key: &PublicKey| ImportPublicKey {
        key: key.clone(),
        label: Label::default(),
        idempotency: None,
    };
    let view = process.manager.import_public_key(request(key.public_key())).await.unwrap();
    assert_eq!(view.state, KeyPairState::Pending);
    assert_eq!(world.private_keys(), 0);
    // Neither is it doubled, nor does a rotation take it.
    let again = process.manager.import_public_key(request(key.public_key())).await.unwrap();
    assert_eq!(again.arn, view.arn);
    first_key(&process, false).await.unwrap();
    let keyring = world.keyring().await;
    assert_ne!(keyring.active().unwrap().arn, view.arn);
    assert_eq!(world.pairs().await.len(), 2);
}

#[tokio::test]
async fn an_imported_private_key_becomes_active_where_none_is() {
    let world = World::new();
    let process = world.process().await;
    let keys: Vec<_> = (0..2).map(|_| PrivateKey::generate(&mut system_rng()).unwrap()).collect();
    let first = process.manager.import_private_key(private(&keys[0])).await.unwrap();
    assert_eq!((first.state, first.adopted), (KeyPairState::Active, true));
    let second = process.manager.import_private_key(private(&keys[1])).await.unwrap();
    assert_eq!((second.state, second.adopted), (KeyPairState::Pending, true));
    let again = process.manager.import_private_key(private(&keys[0])).await.unwrap();
    assert_eq!(again, first);
}

#[tokio::test]
async fn deletion_spares_what_signs_and_takes_what_is_foreign() {
    let world = World::new();
    let process = world.process().await;
    first_key(&process, false).await.unwrap();
    let active = world.pairs().await[0].arn.clone();
    let refused = process.manager.delete(active.clone(), true).await;
    let expected =
        OperationError::Refused(Refusal::InUse { arn: active.clone(), reason: InUse::Active });
    assert_eq!(refused, Err(expected));

    let view = process.manager.generate(GenerateKey::default()).await.unwrap();
    foreign_pair(&process, "foreign").await;
    let foreign = world.pairs().await.into_iter().find(|pair| pair.name == "foreign").unwrap();
    assert_eq!(world.private_keys(), 2);
    process.manager.delete(view.arn.clone().unwrap(), false).await.unwrap();
    process.manager.delete(foreign.arn.clone(), false).await.unwrap();
    let pairs = world.pairs().await;
    assert_eq!((pairs.len(), &pairs[0].arn), (1, &active));
    assert_eq!(world.private_keys(), 1);
    let not_found = OperationError::Refused(Refusal::NotFound { region: region() });
    for gone in [view.arn.unwrap(), foreign.arn] {
        assert_eq!(process.manager.delete(gone, false).await, Err(not_found.clone()));
    }
    let elsewhere = "arn:aws:ivs:eu-west-1:123456789012:playback-key/a".parse().unwrap();
    let refused = process.manager.delete(elsewhere, false).await;
    assert!(matches!(refused, Err(OperationError::Refused(Refusal::OtherRegion { .. }))));
    // Retired keys keep their public half.
    let retired = world.keyring().await;
    assert_eq!(retired.keys.iter().filter(|it| it.state == KeyState::Retired).count(), 1);
}

#[tokio::test]
async fn a_draining_key_is_deleted_with_force_only() {
    let world = World::new();
    let process = world.process().await;
    first_key(&process, false).await.unwrap();
    let arn = world.pairs().await[0].arn.clone();
    let store = DirStore::new(world.keys_dir(), None);
    let (mut stored, revision) = store.load(&region()).await.unwrap().unwrap();
    stored.keyring.keys[0].state = KeyState::Draining;
    stored.keyring.keys[0].retires_at = Some(world.clock.now() + Duration::from_hours(31));
    store.replace(&region(), Some(revision), &stored).await.unwrap();
    let refused = process.manager.delete(arn.clone(), false).await;
    assert_eq!(
        refused,
        Err(OperationError::Refused(Refusal::InUse { arn: arn.clone(), reason: InUse::Draining }))
    );
    process.manager.delete(arn, true).await.unwrap();
    assert_eq!((world.pairs().await.len(), world.private_keys()), (0, 0));
}

#[tokio::test]
async fn the_inventory_knows_each_step_and_asks_at_most_once_in_two_seconds() {
    let world = World::new();
    let process = world.process().await;
    let manager = &process.manager;
    assert_eq!(manager.key_pairs(), (Vec::new(), None));
    first_key(&process, false).await.unwrap();
    let (views, checked_at) = manager.key_pairs();
    assert_eq!((views.len(), views[0].state), (1, KeyPairState::Active));
    assert_eq!(checked_at, Some(world.clock.now()));

    manager.refresh_key_pairs().await.unwrap();
    foreign_pair(&process, "foreign").await;
    process.ivs.delete_playback_key_pair(views[0].arn.as_ref().unwrap()).await.unwrap();
    manager.refresh_key_pairs().await.unwrap();
    assert_eq!(manager.key_pairs().0, views);
    world.time.advance(Duration::from_secs(2));
    manager.refresh_key_pairs().await.unwrap();
    let states: Vec<_> = manager.key_pairs().0.into_iter().map(|view| view.state).collect();
    assert_eq!(states, [KeyPairState::Missing, KeyPairState::Foreign]);
    let foreign = &manager.key_pairs().0[1];
    assert!(foreign.fingerprint.is_some());
}

#[tokio::test]
async fn a_listing_goes_on_without_whoever_asked_for_it() {
    let world = World::new();
    let process = world.process().await;
    let manager = &process.manager;
    let given_up = tokio::time::timeout(Duration::ZERO, manager.refresh_key_pairs()).await;
    given_up.unwrap_err();
    while manager.key_pairs().1.is_none() {
        tokio::task::yield_now().await;
    }
    // It counts: nobody asks again at once.
    foreign_pair(&process, "foreign").await;
    manager.refresh_key_pairs().await.unwrap();
    assert_eq!(manager.key_pairs().0, []);
}

#[tokio::test]
async fn a_pair_that_is_another_key_stops_signing() {
    let world = World::new();
    let process = world.process().await;
    foreign_pair(&process, "another").await;
    let arn = world.pairs().await[0].arn.clone();
    // A keyring that says the pair is a key which it is not.
    let key = PrivateKey::generate(&mut system_rng()).unwrap();
    let store = DirStore::new(world.keys_dir(), None);
    let mut keyring = ivs_playback_auth::keys::keyring::Keyring::new(
        region(),
        Duration::from_hours(1),
        &mut system_rng(),
    );
    let public = key.public_key().clone();
    let mut version = KeyVersion::new(public, true, world.clock.now(), &mut system_rng());
    (version.state, version.arn) = (KeyState::Active, Some(arn.clone()));
    keyring.account_id = Some(arn.account().clone());
    keyring.keys.push(version);
    let mut stored = Stored { keyring, private_keys: PrivateKeys::new() };
    stored.add_private_key(&key);
    store.replace(&region(), None, &stored).await.unwrap();

    let signer = || {
        let (now, monotonic) = (world.clock.now(), world.clock.monotonic());
        let signing_keys = Arc::clone(&process.signing_keys);
        async move { signing_keys.signer(&region(), now, monotonic).await }
    };
    assert!(signer().await.is_ok());
    process.manager.refresh_key_pairs().await.unwrap();
    assert_eq!(signer().await.unwrap_err(), NoSigner::FingerprintMismatch { arn });
}
