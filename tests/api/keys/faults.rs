//! A crash between any two effects, an answer that is lost, and two processes at once.

use std::{sync::Arc, time::Duration};

use ivs_playback_auth::{
    ivs::IvsError,
    keys::{
        keyring::{IdempotencyRecord, KEYRING_TAG, KeyState, KeyVersion, Keyring, VERSION_TAG},
        material::PrivateKey,
        rotation::{Begin, Begun, GenerateKey, ImportPrivateKey, Label, OperationError, Refusal},
    },
};

use super::world::{Fault, Faults, Process, World, graceful, region};

const OTHERS_KEY: &str = include_str!("../../fixtures/keys/sec1.pem");

/// A claim lasts a minute from the later of our clock and IVS's, whose `Date` tells whole seconds.
const CLAIM_EXPIRED: Duration = Duration::from_secs(62);

/// What is asked of a process.
#[derive(Clone, Copy, Debug)]
enum Operation {
    FirstKey,
    Generate,
    /// Of a key that IVS has already.
    Adopt,
    /// Of a key that it has not.
    Import,
    /// Of the one pair that is pending.
    Delete,
}

impl Operation {
    const ALL: [Self; 5] =
        [Self::FirstKey, Self::Generate, Self::Adopt, Self::Import, Self::Delete];

    async fn prepare(self, world: &World) {
        match self {
            Self::FirstKey | Self::Generate | Self::Import => {}
            Self::Adopt => {
                let key = PrivateKey::read(OTHERS_KEY, None).unwrap();
                let (pem, tags) = (key.public_key().to_pem(), std::iter::empty().collect());
                let ivs = world.process().await.ivs;
                ivs.import_playback_key_pair(pem, "lambda", &tags).await.unwrap();
            }
            Self::Delete => {
                Self::Generate.run(&world.process().await).await.unwrap();
            }
        }
    }

    async fn run(self, process: &Process) -> Result<(), OperationError> {
        let manager = &process.manager;
        match self {
            Self::FirstKey => {
                // The same request each time, so that one carried out before a crash is known again.
                let idempotency = Some(IdempotencyRecord {
                    key_hash: "key".to_owned(),
                    request_hash: "request".to_owned(),
                });
                process.rotate(Begin { idempotency, ..graceful(false) }).await.map(|_| ())
            }
            Self::Generate => {
                // Once a crash came after the last write, the command cannot know of it.
                let keyring = process.signing_keys.keyring(&region());
                let is_done = |version: &KeyVersion| version.state == KeyState::Imported;
                if keyring.is_some_and(|keyring| keyring.present().any(is_done)) {
                    return Ok(());
                }
                manager.generate(GenerateKey::default()).await.map(|_| ())
            }
            Self::Adopt | Self::Import => {
                let request = ImportPrivateKey {
                    key: PrivateKey::read(OTHERS_KEY, None).unwrap(),
                    label: Label::default(),
                    exclusive: false,
                    longest_ttl: Some(Duration::from_hours(6)),
                };
                manager.import_private_key(request).await.map(|_| ())
            }
            Self::Delete => {
                let views = process.manager.key_pairs().0;
                let Some(arn) = views.into_iter().find_map(|view| view.arn) else {
                    return Ok(());
                };
                manager.delete(arn, false).await
            }
        }
    }

    /// What must be there in the end, whatever happened on the way.
    async fn check(self, world: &World, context: &str) {
        let (keyring, pairs) = (world.keyring().await, world.pairs().await);
        let present: Vec<_> = keyring.present().collect();
        if matches!(self, Self::Delete) {
            assert!(present.is_empty() && pairs.is_empty(), "{context}: {present:?} {pairs:?}");
            assert_eq!(world.private_keys(), 0, "{context}");
            return;
        }
        assert_eq!((present.len(), pairs.len()), (1, 1), "{context}: {present:?} {pairs:?}");
        let version = present[0];
        let expected = match self {
            Self::FirstKey | Self::Adopt | Self::Import => KeyState::Active,
            Self::Generate | Self::Delete => KeyState::Imported,
        };
        assert_eq!(version.state, expected, "{context}");
        assert_eq!(version.arn.as_ref(), Some(&pairs[0].arn), "{context}");
        assert_eq!(version.claim, None, "{context}");
        assert_eq!(version.adopted, matches!(self, Self::Adopt | Self::Import), "{context}");
        assert_eq!(world.private_keys(), 1, "{context}");
        let ivs = world.process().await.ivs;
        let pair = ivs.get_playback_key_pair(&pairs[0].arn).await.unwrap();
        assert_eq!(pair.fingerprint, version.fingerprint.to_string(), "{context}");
        if matches!(self, Self::Adopt) {
            assert_eq!((pair.name.as_str(), pair.tags.len()), ("lambda", 0), "{context}");
        } else {
            assert_eq!(pair.tags[KEYRING_TAG], keyring.id.as_str(), "{context}");
            assert_eq!(pair.tags[VERSION_TAG], version.id.as_str(), "{context}");
        }
        check_rotations(self, &keyring, context);
    }
}

fn check_rotations(operation: Operation, keyring: &Keyring, context: &str) {
    let expected = usize::from(matches!(operation, Operation::FirstKey));
    assert_eq!(keyring.rotations.len(), expected, "{context}");
    assert!(keyring.rotations.iter().all(|it| it.outcome.is_some()), "{context}");
}

/// Runs the operation with a fault; `false` once the fault comes too late to strike.
async fn strike(operation: Operation, fault: Fault) -> bool {
    let context = format!("{operation:?}, {fault:?}");
    let world = World::new();
    operation.prepare(&world).await;
    let faults = Arc::new(Faults::one(fault));
    let victim = world.process_with(Arc::clone(&faults), Duration::ZERO).await;
    victim.signing_keys.refresh(&region()).await.unwrap();

    let mut attempt = std::pin::pin!(operation.run(&victim));
    let finished = tokio::select! {
        outcome = &mut attempt => Some(outcome),
        () = faults.stopped.cancelled() => None,
    };
    // The same command again, when claims of the dead have expired.
    if !matches!(finished, Some(Ok(()))) {
        world.time.advance(CLAIM_EXPIRED);
        let next = world.process().await;
        next.signing_keys.refresh(&region()).await.unwrap();
        next.manager.refresh_key_pairs().await.unwrap();
        operation.run(&next).await.unwrap_or_else(|error| panic!("{context}: {error}"));
    }
    if finished.is_none() && matches!(fault, Fault::Freeze(_)) {
        // It wakes up, and finds the work done.
        faults.goes_on.cancel();
        attempt.await.unwrap_or_else(|error| panic!("{context}, woken: {error}"));
    }
    operation.check(&world, &context).await;
    match fault {
        Fault::Crash(at) | Fault::Freeze(at) | Fault::LostAnswer(at) => faults.steps() > at,
        Fault::SlowListing(_)
        | Fault::GoneAtGet
        | Fault::LateStore
        | Fault::LostWrite
        | Fault::RefusedImport(..) => false,
    }
}

#[tokio::test]
async fn after_a_crash_anywhere_the_same_command_finishes_the_work() {
    for operation in Operation::ALL {
        let mut step = 0;
        while strike(operation, Fault::Crash(step)).await {
            step += 1;
        }
        assert!(step >= 6, "{operation:?} has {step} steps");
    }
}

#[tokio::test]
async fn a_frozen_process_that_wakes_up_does_nothing_twice() {
    // Not for `Generate`: two commands may as well make two keys.
    for operation in [Operation::FirstKey, Operation::Import, Operation::Delete] {
        let mut step = 0;
        while strike(operation, Fault::Freeze(step)).await {
            step += 1;
        }
    }
}

#[tokio::test]
async fn after_a_lost_answer_nothing_is_done_twice() {
    for operation in Operation::ALL {
        let mut call = 0;
        while strike(operation, Fault::LostAnswer(call)).await {
            call += 1;
        }
        assert!(call >= 1, "{operation:?} makes {call} calls");
    }
}

#[tokio::test]
async fn two_processes_that_make_the_first_key_at_once_make_one() {
    let world = World::new();
    let (one, two) = (world.process().await, world.process().await);
    let begin = |process: &Process| {
        let manager = Arc::clone(&process.manager);
        async move { manager.begin_rotation(graceful(false)).await.unwrap() }
    };
    let (first, second) = tokio::join!(begin(&one), begin(&two));
    assert_eq!(first.id(), second.id(), "{first:?} {second:?}");
    // The one that claimed the import takes every step, whatever the other one does meanwhile.
    tokio::join!(one.manager.reconcile(), two.manager.reconcile());
    Operation::FirstKey.check(&world, "two at once").await;
}

#[tokio::test]
async fn an_operation_goes_on_when_its_caller_goes_away() {
    let world = World::new();
    let process = world.process().await;
    let impatient = tokio::time::timeout(Duration::ZERO, Operation::Generate.run(&process)).await;
    assert!(impatient.is_err());
    // The next operation of the process waits for its turn, and finds the key that was made.
    Operation::FirstKey.run(&process).await.unwrap();
    Operation::FirstKey.check(&world, "after an impatient caller").await;
}

#[tokio::test]
async fn an_ivs_that_is_always_too_slow_ends_an_import_rather_than_the_patience() {
    let world = World::new();
    let slow = Arc::new(Faults::one(Fault::SlowListing(Duration::from_secs(31))));
    let process = world.process_with(slow, Duration::ZERO).await;
    let refused = Operation::FirstKey.run(&process).await;
    assert_eq!(refused, Err(OperationError::Ivs(IvsError::TimedOut)));
    assert!(world.pairs().await.is_empty(), "no call under a claim that is about to expire");
    // Nobody has to wait for the claim, and the key is used.
    Operation::FirstKey.run(&world.process().await).await.unwrap();
    Operation::FirstKey.check(&world, "after a slow IVS").await;
}

#[tokio::test]
async fn a_pair_that_is_gone_when_looked_at_is_imported_anew() {
    let world = World::new();
    // An import was carried out, and the process ended before it took that down.
    let mut step = 0;
    while world.pairs().await.is_empty() {
        let crash = Arc::new(Faults::one(Fault::Crash(step)));
        let victim = world.process_with(Arc::clone(&crash), Duration::ZERO).await;
        tokio::select! {
            _ = Operation::Generate.run(&victim) => panic!("no step leaves a pair unrecorded"),
            () = crash.stopped.cancelled() => {}
        }
        world.time.advance(CLAIM_EXPIRED);
        step += 1;
    }
    let gone = world.process_with(Arc::new(Faults::one(Fault::GoneAtGet)), Duration::ZERO).await;
    // What cannot be looked at is not adopted, so the import is tried; here IVS has the key after all.
    let refused = Operation::Generate.run(&gone).await;
    assert!(matches!(refused, Err(OperationError::Ivs(IvsError::Conflict { .. }))), "{refused:?}");
}

#[tokio::test]
async fn a_deletion_looks_again_whether_there_is_a_keyring() {
    let world = World::new();
    let first = world.process().await;
    // The process that deletes looked at the store before there was a keyring.
    let late = world.process_with(Arc::new(Faults::one(Fault::LateStore)), Duration::ZERO).await;
    Operation::FirstKey.run(&first).await.unwrap();
    let arn = world.pairs().await[0].arn.clone();
    let refused = late.manager.delete(arn, true).await;
    assert!(matches!(refused, Err(OperationError::Refused(Refusal::InUse { .. }))), "{refused:?}");
    assert_eq!(world.pairs().await.len(), 1);
}

#[tokio::test]
async fn a_rotation_whose_write_was_not_answered_is_the_one_that_was_asked_for() {
    let world = World::new();
    let lost = world.process_with(Arc::new(Faults::one(Fault::LostWrite)), Duration::ZERO).await;
    let begun = lost.manager.begin_rotation(graceful(false)).await.unwrap();
    assert!(matches!(begun, Begun::New(_)), "{begun:?}");
    let rotations = world.keyring().await.rotations;
    assert_eq!(rotations.iter().map(|it| &it.id).collect::<Vec<_>>(), [begun.id()]);
}

#[tokio::test]
async fn a_rollback_whose_write_was_not_answered_is_not_taken_back() {
    let world = World::new();
    let process = world.process().await;
    process.rotate(graceful(false)).await.unwrap();
    let first = world.keyring().await.active().unwrap().id.clone();
    process.manager.begin_rotation(graceful(false)).await.unwrap();
    process.manager.reconcile().await;
    world.time.advance(Duration::from_mins(11));
    process.manager.reconcile().await;
    assert_ne!(world.keyring().await.active().unwrap().id, first);

    let lost = world.process_with(Arc::new(Faults::one(Fault::LostWrite)), Duration::ZERO).await;
    let id = lost.manager.roll_back("test".to_owned()).await.unwrap();
    let keyring = world.keyring().await;
    assert_eq!(keyring.active().unwrap().id, first);
    assert_eq!(keyring.rotations.last().unwrap().id, id);
    let known = lost.signing_keys.keyring(&region()).unwrap();
    assert_eq!(known.active().unwrap().id, first, "the process knows what it wrote");
}
