//! Every way in which another writer or a bad line can come between the calls of a write.

use std::{future::ready, sync::Arc};

use futures_util::{StreamExt as _, stream};
use ivs_playback_auth::keys::store::{Revision, StoreError, Stored};

use super::{
    super::suite::{self, add_key, loaded, region},
    Place, add_one,
    wire::{Fault, Wire},
};

/// Where a secret stands before a write, and the calls that the write makes after it looked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Start {
    NoSecret,
    NoVersion,
    Keyring,
}

impl Start {
    const ALL: [Self; 3] = [Self::NoSecret, Self::NoVersion, Self::Keyring];

    fn calls(self) -> &'static [&'static str] {
        match self {
            Self::NoSecret => &["CreateSecret"],
            Self::NoVersion => &["PutSecretValue"],
            Self::Keyring => &["PutSecretValue", "UpdateSecretVersionStage"],
        }
    }

    /// Whether this call makes the new keyring count.
    fn decides(self, call: &str) -> bool {
        self.calls().last() == Some(&call)
    }

    async fn place(self) -> Place {
        match self {
            Self::NoSecret => Place::new(),
            Self::NoVersion => Place::by_terraform().await,
            Self::Keyring => Place::with_keyring().await.0,
        }
    }
}

/// A write whose `call` meets a fault each time that it is tried.
async fn strike(start: Start, call: &'static str, fault: Fault, blind: bool) {
    let context = format!("{start:?}, {call}, {fault:?}, blind: {blind}");
    let place = start.place().await;
    let wire = Wire::new();
    let store = place.open_on(&wire);
    let before = store.load(&region()).await.unwrap();
    let (mut stored, expected) = match before.clone() {
        Some((stored, revision)) => (stored, Some(revision)),
        None => (suite::empty(), None),
    };
    add_key(&mut stored);
    wire.break_down(call, fault);
    let calls = Arc::clone(&wire);
    if blind {
        // What the labels would tell is not heard either.
        wire.before(call, async move { calls.break_down("DescribeSecret", Fault::RequestLost) });
    }
    let outcome = store.replace(&region(), expected, &stored).await;
    wire.mend();

    let after = store.load(&region()).await.unwrap();
    let arrived = matches!(fault, Fault::AnswerLost | Fault::FailedAfter) && start.decides(call);
    match &outcome {
        Ok(revision) => {
            assert!(arrived && !blind, "{context}");
            assert_eq!(after, Some((stored, revision.clone())), "{context}");
        }
        Err(error) => {
            assert!(!arrived || blind, "{context}: {error}");
            assert!(matches!(error, StoreError::SecretsManager { .. }), "{context}: {error}");
            assert!(error.to_string().contains(call), "{context}: {error}");
            if arrived {
                assert_eq!(after.map(|(stored, _)| stored), Some(stored), "{context}");
            } else {
                assert_eq!(after, before, "{context}");
            }
        }
    }
    // Whoever comes next goes on.
    let written = add_one(&*store).await.unwrap();
    assert_eq!(loaded(&*place.open()).await, written, "{context}");
    place.check_labels().await;
}

#[tokio::test]
async fn the_labels_decide_what_an_answer_did_not_tell() {
    let mut strikes = Vec::new();
    for start in Start::ALL {
        for call in start.calls() {
            for fault in [
                Fault::RequestLost,
                Fault::AnswerLost,
                Fault::FailedAfter,
                Fault::Refused("ThrottlingException"),
                Fault::Refused("AccessDeniedException"),
            ] {
                for blind in [false, true] {
                    strikes.push(strike(start, call, fault, blind));
                }
            }
        }
    }
    assert_eq!(strikes.len(), 40);
    // The server does one call at a time, and a call has a time in which to be done.
    stream::iter(strikes).buffer_unordered(4).for_each(|()| ready(())).await;
}

/// Has somebody else write at the moment when `call` is about to arrive, and returns what both got.
async fn overtaken(place: &Place, call: &'static str) -> (Result<Revision, StoreError>, Stored) {
    let wire = Wire::new();
    let (store, other) = (place.open_on(&wire), place.open());
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let (mut stored, expected) = match store.load(&region()).await.unwrap() {
        Some((stored, revision)) => (stored, Some(revision)),
        None => (suite::empty(), None),
    };
    wire.before(call, async move {
        let _ = sender.send(add_one(&*other).await.unwrap().0);
    });
    add_key(&mut stored);
    let outcome = store.replace(&region(), expected, &stored).await;
    (outcome, receiver.await.unwrap())
}

#[tokio::test]
async fn whoever_is_overtaken_is_told_and_changes_nothing() {
    for start in Start::ALL {
        for call in [&["GetSecretValue"], start.calls()].concat() {
            let place = start.place().await;
            let (outcome, written) = overtaken(&place, call).await;
            assert_eq!(outcome, Err(StoreError::Conflict), "{start:?}, {call}");
            assert_eq!(loaded(&*place.open()).await.0, written, "{start:?}, {call}");
            place.check_labels().await;
        }
    }
}

#[tokio::test]
async fn a_secret_that_appears_meanwhile_is_used() {
    let place = Place::new();
    let wire = Wire::new();
    let store = place.open_on(&wire);
    let terraform = place.clone();
    wire.before("CreateSecret", async move { terraform.make_secret().await });
    let written = add_one(&*store).await.unwrap();
    assert_eq!(loaded(&*place.open()).await, written);
    let calls = wire.take_calls();
    assert!(calls.ends_with(&["PutSecretValue".to_owned(), "DescribeSecret".to_owned()]));

    // A reader, between its two looks.
    let place = Place::new();
    let other = place.open();
    wire.before("DescribeSecret", async move {
        add_one(&*other).await.unwrap();
    });
    let read = place.open_on(&wire).load(&region()).await.unwrap();
    assert_eq!(read, Some(loaded(&*place.open()).await));
}

#[tokio::test]
async fn a_lost_answer_and_then_overtaken_is_a_conflict() {
    let (place, ..) = Place::with_keyring().await;
    let wire = Wire::new();
    let (store, other) = (place.open_on(&wire), place.open());
    wire.break_down("UpdateSecretVersionStage", Fault::AnswerLost);
    wire.before("DescribeSecret", async move {
        add_one(&*other).await.unwrap();
    });
    assert_eq!(add_one(&*store).await, Err(StoreError::Conflict));
    // Both keys are there: who came second built on what was first.
    assert_eq!(loaded(&*place.open()).await.0.keyring.keys.len(), 3);
}
