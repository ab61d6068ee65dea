//! Versions that IVS does not have and will not get.
//!
//! A version whose import IVS refused would stay pending for good: the region's first rotation would
//! take it up and be refused again, and each new request would leave one more. So it is dropped,
//! and whoever asked may ask again, with the same `Idempotency-Key` or another. That loses nothing:
//! a key that was generated here has signed nothing, and whoever brought one still has it. What was
//! brought *before* this request is kept, since its bringer was told that it is here.
//!
//! Dropping is retiring, in the two writes that all versions take; as there is no pair, nothing is
//! called in between, and any later write may be the second one.

use super::{KeyOperations, OperationError};
use crate::{
    clock::Timestamp,
    ivs::{IvsError, KeyPairSummary},
    keys::{
        keyring::{
            DriverId, KeyState, KeyVersion, Keyring, RotationFailure, RotationOutcome, VersionId,
        },
        survey,
    },
};

impl KeyOperations {
    /// Drops a version that IVS certainly refused to import with `error`, or lets others try.
    /// `is_new`: it came into the keyring with this request.
    pub(super) async fn drop_refused(&self, id: &VersionId, is_new: bool, error: &OperationError) {
        // The same call with the same name and tags would be refused for ever.
        let is_final = matches!(error, OperationError::Ivs(IvsError::Invalid { .. }));
        let dropped = async {
            let (driver, now) = (&self.settings.driver, self.clock.now());
            self.edit(|keyring| {
                refuse(keyring, id, driver, is_new, is_final, now);
                Ok(())
            })
            .await?;
            self.edit(|keyring| {
                keyring.retire_unimported(self.clock.now());
                Ok(())
            })
            .await
        };
        if let Err(error) = dropped.await {
            tracing::debug!(event = "refused_key_kept", %error, "cannot drop a refused key yet");
        }
    }
}

/// Begins to retire a version that IVS refused, unless it is kept; gives up the claim on it anyway.
fn refuse(
    keyring: &mut Keyring,
    id: &VersionId,
    driver: &DriverId,
    is_new: bool,
    is_final: bool,
    now: Timestamp,
) {
    let is_awaited = is_awaited(keyring, id);
    let Some(version) = keyring.version_mut(id) else { return };
    // Once the claim is somebody else's, so is the decision.
    if version.claim.as_ref().is_none_or(|claim| claim.by != *driver) {
        return;
    }
    version.claim = None;
    let is_kept = (version.adopted && !is_new) || (is_awaited && !is_final);
    if !is_unimported(version) || is_kept {
        return;
    }
    version.begin_retiring(now);
    for rotation in keyring.rotations.iter_mut().filter(|it| it.to == *id && it.is_open()) {
        rotation.finish(RotationOutcome::Failed, now);
        rotation.error = Some(RotationFailure {
            code: "import_refused".to_owned(),
            detail: "IVS found the new key's name or tags invalid, so that key was dropped; ask \
                     for the rotation again"
                .to_owned(),
        });
    }
}

/// Where the keyring is full, begins to retire generated versions that nobody is at and that were
/// not in IVS at `listed_at`: a claim that had expired by then is followed by no import.
pub(super) fn make_room(keyring: &mut Keyring, listed: &[KeyPairSummary], listed_at: Timestamp) {
    if keyring.has_room() {
        return;
    }
    let is_abandoned = |version: &&KeyVersion| {
        is_unimported(version)
            && !version.adopted
            && version.claim.as_ref().is_none_or(|claim| claim.until <= listed_at)
            && !is_awaited(keyring, &version.id)
            && survey::tagged(keyring, version, listed).is_empty()
    };
    let abandoned: Vec<_> =
        keyring.keys.iter().filter(is_abandoned).map(|version| version.id.clone()).collect();
    for id in abandoned {
        if let Some(version) = keyring.version_mut(&id) {
            version.claim = None;
            version.begin_retiring(listed_at);
        }
    }
}

fn is_unimported(version: &KeyVersion) -> bool {
    version.state == KeyState::Pending && version.arn.is_none()
}

/// Whether a rotation leads to the version, and will take it up again.
fn is_awaited(keyring: &Keyring, id: &VersionId) -> bool {
    keyring.rotations.iter().any(|it| it.to == *id && it.is_open())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        keys::{
            keyring::{ClaimOp, PRESENT_MAX, Rotation, RotationMode, strategies},
            store::samples,
        },
        secret::system_rng,
    };

    fn driver() -> DriverId {
        DriverId::random(&mut system_rng())
    }

    fn rotation(to: &VersionId) -> Rotation {
        let mode = RotationMode::Graceful;
        Rotation::new(mode, "test", to.clone(), samples::now(), &mut system_rng())
    }

    /// What becomes of a claimed version that is refused.
    fn refused([adopted, awaited, is_new, is_final]: [bool; 4]) -> KeyState {
        let mut keyring = samples::empty();
        let id = samples::add_key(&mut keyring, 0);
        let by = driver();
        keyring.keys[0].try_claim(ClaimOp::Import, &by, samples::now()).unwrap();
        keyring.keys[0].adopted = adopted;
        if awaited {
            keyring.record_rotation(rotation(&id));
        }
        let before = keyring.clone();
        refuse(&mut keyring, &id, &driver(), is_new, is_final, samples::now());
        assert_eq!(keyring, before, "somebody else's claim");

        refuse(&mut keyring, &id, &by, is_new, is_final, samples::now());
        before.check_successor(&keyring).unwrap();
        assert_eq!(keyring.keys[0].claim, None);
        let state = keyring.keys[0].state;
        if awaited {
            let failed = (state == KeyState::Retiring).then_some(RotationOutcome::Failed);
            assert_eq!(keyring.rotations[0].outcome, failed);
        }
        let between = keyring.clone();
        keyring.retire_unimported(samples::now());
        keyring.check().unwrap();
        between.check_successor(&keyring).unwrap();
        state
    }

    #[test]
    fn what_ivs_refused_is_dropped_unless_somebody_counts_on_it() {
        use KeyState::{Pending, Retiring};
        // Adopted, awaited by a rotation, new with this request, refused for good.
        for (case, expected) in [
            ([false, false, true, false], Retiring),
            ([false, false, false, true], Retiring),
            // Whoever brings a key has it still; one that was here before may be the only copy.
            ([true, false, true, true], Retiring),
            ([true, false, false, true], Pending),
            // The next rotation takes up what the last one could not import.
            ([false, true, false, false], Pending),
            ([false, true, false, true], Retiring),
        ] {
            assert_eq!(refused(case), expected, "{case:?}");
        }
    }

    #[test]
    fn a_version_that_ivs_may_have_is_not_dropped() {
        let mut keyring = samples::empty();
        keyring.account_id = Some("123456789012".parse().unwrap());
        let id = samples::add_key(&mut keyring, 0);
        let by = driver();
        for state in [KeyState::Pending, KeyState::Imported] {
            let version = keyring.version_mut(&id).unwrap();
            (version.state, version.arn) = (state, Some(strategies::arn(0)));
            version.try_claim(ClaimOp::Import, &by, samples::now()).unwrap();
            refuse(&mut keyring, &id, &by, true, true, samples::now());
            assert_eq!(keyring.keys[0].state, state);
        }
    }

    #[test]
    fn a_full_keyring_lets_go_of_what_nobody_is_at() {
        let mut keyring = samples::empty();
        let now = samples::now();
        let ids: Vec<_> = (0..PRESENT_MAX)
            .map(|position| samples::add_key(&mut keyring, position % strategies::KEYS.len()))
            .collect();
        let is_retiring = |keyring: &Keyring, position: usize| {
            keyring.version(&ids[position]).unwrap().state == KeyState::Retiring
        };
        keyring.keys[0].try_claim(ClaimOp::Import, &driver(), now).unwrap();
        let expired = now - Duration::from_mins(1);
        keyring.keys[1].try_claim(ClaimOp::Import, &driver(), expired).unwrap();
        keyring.keys[2].adopted = true;
        keyring.record_rotation(rotation(&ids[3]));
        let tags = keyring.pair_tags(&keyring.keys[4]);
        let in_ivs = KeyPairSummary { arn: strategies::arn(4), name: String::new(), tags };
        make_room(&mut keyring, &[in_ivs], now);
        assert!(keyring.has_room());
        for position in 0..PRESENT_MAX {
            let expected = ![0, 2, 3, 4].contains(&position);
            assert_eq!(is_retiring(&keyring, position), expected, "{position}");
        }
        // Where there is room, nothing is let go.
        let before = keyring.clone();
        make_room(&mut keyring, &[], now + Duration::from_hours(1));
        assert_eq!(keyring, before);
    }
}
