//! Imports that IVS refuses: what is left of the key, and that nothing stands in the way afterwards.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::http::StatusCode;
use ivs_playback_auth::{
    keys::{
        keyring::{IdempotencyRecord, KeyState, RotationOutcome},
        material::PrivateKey,
        rotation::{GenerateKey, ImportPrivateKey, Label, OperationError, Refusal},
    },
    secret::system_rng,
};

use super::world::{Fault, Faults, Process, World, graceful, region};

const INVALID: Fault = Fault::RefusedImport(StatusCode::BAD_REQUEST, "ValidationException");
const DENIED: Fault = Fault::RefusedImport(StatusCode::FORBIDDEN, "AccessDeniedException");
const QUOTA: Fault =
    Fault::RefusedImport(StatusCode::PAYMENT_REQUIRED, "ServiceQuotaExceededException");

async fn refused_by(world: &World, fault: Fault) -> Process {
    world.process_with(Arc::new(Faults::one(fault)), Duration::ZERO).await
}

fn generate(idempotency_key: usize) -> GenerateKey {
    let record = IdempotencyRecord {
        key_hash: idempotency_key.to_string(),
        request_hash: "request".to_owned(),
    };
    GenerateKey { label: Label::default(), idempotency: Some(record) }
}

async fn rotate(process: &Process) -> Result<(), OperationError> {
    process.rotate(graceful(false)).await.map(|_| ())
}

#[tokio::test]
async fn a_generated_key_that_ivs_refuses_leaves_nothing_behind() {
    for fault in [INVALID, DENIED, QUOTA] {
        let world = World::new();
        let process = refused_by(&world, fault).await;
        for idempotency_key in 0..12 {
            process.manager.generate(generate(idempotency_key)).await.unwrap_err();
            let keyring = world.keyring().await;
            assert_eq!(keyring.present().count(), 0, "{fault:?}");
            assert!(keyring.keys.len() <= 1, "{fault:?}");
            assert_eq!(world.private_keys(), 0, "{fault:?}");
            assert!(process.signing_keys.public_keys(&region()).is_empty(), "{fault:?}");
        }
        let mended = world.process().await;
        rotate(&mended).await.unwrap();
        // The same request again, which IVS takes now.
        mended.manager.generate(generate(0)).await.unwrap();
        assert_eq!(world.pairs().await.len(), 2);
    }
}

#[tokio::test]
async fn a_key_that_somebody_brought_is_brought_again() {
    let world = World::new();
    let key = PrivateKey::generate(&mut system_rng()).unwrap();
    let request = || ImportPrivateKey {
        key: key.clone(),
        label: Label::default(),
        exclusive: false,
        longest_ttl: None,
    };
    let process = refused_by(&world, DENIED).await;
    process.manager.import_private_key(request()).await.unwrap_err();
    assert_eq!((world.keyring().await.present().count(), world.private_keys()), (0, 0));
    world.process().await.manager.import_private_key(request()).await.unwrap();
    let keyring = world.keyring().await;
    assert_eq!(keyring.active().unwrap().public_key, *key.public_key());
}

#[tokio::test]
async fn a_first_rotation_keeps_its_key_unless_ivs_never_takes_it() {
    let world = World::new();
    let denied = refused_by(&world, DENIED).await;
    for _ in 0..3 {
        rotate(&denied).await.unwrap_err();
        // What failed is left alone for a while.
        world.time.advance(Duration::from_mins(2));
        let keyring = world.keyring().await;
        assert_eq!((keyring.keys.len(), keyring.rotations.len()), (1, 1));
        assert_eq!(keyring.keys[0].state, KeyState::Pending);
    }
    rotate(&refused_by(&world, INVALID).await).await.unwrap_err();
    let keyring = world.keyring().await;
    assert_eq!(keyring.present().count(), 0);
    assert_eq!(keyring.rotations[0].outcome, Some(RotationOutcome::Failed));

    rotate(&world.process().await).await.unwrap();
    let keyring = world.keyring().await;
    assert_eq!(keyring.rotations[1].outcome, Some(RotationOutcome::Done));
    assert_eq!(world.private_keys(), 1);
}

#[tokio::test]
async fn a_rotation_tells_everyone_what_it_was_denied_until_it_was_allowed() {
    let world = World::new();
    let process = refused_by(&world, DENIED).await;
    rotate(&process).await.unwrap_err();
    // Also one that was asked for nothing and denied nothing.
    let other = world.process().await;
    let told = other.manager.rotations().await.unwrap()[0].error.clone().unwrap();
    assert_eq!(told.code, "access_denied");
    assert!(
        told.detail.contains("not authorized to perform: ivs:ImportPlaybackKeyPair"),
        "{told:?}"
    );
    assert!(told.detail.contains("goes on"), "{told:?}");

    // Denied once more, it writes nothing.
    let before = world.keyring().await;
    world.time.advance(Duration::from_mins(2));
    process.manager.reconcile().await;
    let after = world.keyring().await;
    assert_eq!(after.rotations, before.rotations);

    rotate(&other).await.unwrap();
    assert_eq!(world.keyring().await.rotations[0].error, None);
}

#[tokio::test]
async fn pairs_of_another_account_than_the_configured_one_are_left_alone() {
    let world = World::new();
    let configured = Some("999999999999".parse().unwrap());
    let faults = Arc::new(Faults::none());
    let process = world.process_of(configured, world.keys_dir(), faults, Duration::ZERO).await;
    let is_refused = |outcome: Result<(), OperationError>| {
        matches!(outcome, Err(OperationError::Refused(Refusal::OtherAccount { .. })))
    };
    // Without a pair in IVS, only the answer to the import tells. It is not taken down, and undone.
    assert!(is_refused(rotate(&process).await));
    let keyring = world.keyring().await;
    assert_eq!((keyring.account_id, keyring.keys.len()), (None, 1));
    assert_eq!((&keyring.keys[0].arn, &keyring.keys[0].claim), (&None, &None));
    assert_eq!(world.pairs().await, []);
    // With one, the listing tells, before anything is imported or deleted.
    let key = PrivateKey::generate(&mut system_rng()).unwrap();
    let pem = key.public_key().to_pem();
    process.ivs.import_playback_key_pair(pem, "theirs", &BTreeMap::new()).await.unwrap();
    let pairs = world.pairs().await;
    assert!(is_refused(rotate(&process).await));
    assert!(is_refused(process.manager.generate(generate(0)).await.map(|_| ())));
    assert!(is_refused(process.manager.delete(pairs[0].arn.clone(), true).await));
    assert_eq!(world.pairs().await, pairs);
    assert_eq!(world.keyring().await.keys.len(), 1);

    // A keyring of another account is not worked with either, though IVS shows no pair.
    let right = world.process().await;
    rotate(&right).await.unwrap();
    for pair in world.pairs().await {
        right.ivs.delete_playback_key_pair(&pair.arn).await.unwrap();
    }
    assert!(is_refused(process.manager.generate(generate(1)).await.map(|_| ())));
    assert!(world.pairs().await.is_empty());
}
