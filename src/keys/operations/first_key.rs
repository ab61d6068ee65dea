//! A region's first key.

use super::{
    FirstKey, FirstKeyMade, KeyOperations, OperationError,
    enroll::{activate_if_none, check_room, claim},
    survey,
};
use crate::{
    clock::Timestamp,
    keys::{
        keyring::{
            ClaimOp, DriverId, KeyState, KeyVersion, Keyring, KeyringId, Rotation, RotationId,
            RotationMode, RotationOutcome, VersionId,
        },
        material::PrivateKey,
    },
    secret::system_rng,
};

impl KeyOperations {
    pub(super) async fn rotate_first_now(
        &self,
        request: FirstKey,
    ) -> Result<FirstKeyMade, OperationError> {
        let keyring = self.load().await?;
        refuse_if_active(keyring.as_ref())?;
        // Listed before the keyring is read again: a pair that somebody makes now is then in both.
        let listed = self.list(keyring.as_ref()).await?;
        let made = PrivateKey::generate(&mut system_rng())?;
        let id = self
            .edit(|keyring| {
                refuse_if_active(Some(keyring))?;
                keyring.retire_unimported(self.clock.now());
                let lost = survey::lost(keyring, &listed);
                if !lost.is_empty() {
                    if !request.new_keyring {
                        return Err(self.lost_keyring(lost));
                    }
                    // The id of a keyring whose keys were lost is on their pairs.
                    if keyring.keys.is_empty() {
                        keyring.id = KeyringId::random(&mut system_rng());
                    }
                }
                if candidate(keyring).is_none() {
                    survey::check_quota(&listed)?;
                }
                let (driver, now) = (&self.settings.driver, self.clock.now());
                begin(keyring, &made, &request.requested_by, driver, now)
            })
            .await?;
        self.ensure_imported(&id, false).await?;
        let rotation = self.edit(|keyring| finish(keyring, &id, self.clock.now())).await?;
        Ok(FirstKeyMade { key_pair: self.view(&id).await?, rotation })
    }
}

fn refuse_if_active<P>(keyring: Option<&Keyring<P>>) -> Result<(), OperationError> {
    match keyring.and_then(|keyring| keyring.active()?.arn.clone()) {
        Some(active) => Err(OperationError::RotationUnavailable { active }),
        None => Ok(()),
    }
}

/// The version to make active: one that IVS has, rather than one that it may not; the oldest.
fn candidate(keyring: &Keyring) -> Option<VersionId> {
    let with = |state| {
        keyring.keys.iter().find(move |version| version.state == state && version.is_candidate())
    };
    let version = with(KeyState::Imported).or_else(|| with(KeyState::Pending))?;
    Some(version.id.clone())
}

/// Chooses the version and writes down that it is to sign.
fn begin(
    keyring: &mut Keyring,
    made: &PrivateKey,
    requested_by: &str,
    driver: &DriverId,
    now: Timestamp,
) -> Result<VersionId, OperationError> {
    let id = if let Some(id) = candidate(keyring) {
        id
    } else {
        check_room(keyring)?;
        let public = made.public_key().clone();
        let mut version = KeyVersion::new(public, Some(made.clone()), now, &mut system_rng());
        claim(&mut version, ClaimOp::Import, driver, now)?;
        let id = version.id.clone();
        keyring.keys.push(version);
        id
    };
    if unfinished(keyring, &id).is_none() {
        keyring.record_rotation(Rotation {
            id: RotationId::random(&mut system_rng()),
            mode: RotationMode::Graceful,
            idempotency_key_hash: None,
            requested_by: requested_by.to_owned(),
            from: None,
            to: id.clone(),
            started_at: now.floor_to_second(),
            activated_at: None,
            finished_at: None,
            outcome: None,
            error: None,
        });
    }
    Ok(id)
}

/// Lets the version sign, and ends the rotation.
fn finish(
    keyring: &mut Keyring,
    id: &VersionId,
    now: Timestamp,
) -> Result<Rotation, OperationError> {
    activate_if_none(keyring, id, now);
    let active = keyring.active().map(|version| version.id.clone());
    if active.as_ref() != Some(id) {
        // Somebody else was faster with another key, or this one was deleted.
        refuse_if_active(Some(keyring))?;
        return Err(OperationError::Deleted);
    }
    let now = now.floor_to_second();
    if let Some(rotation) = unfinished(keyring, id) {
        rotation.activated_at = Some(now);
        rotation.finished_at = Some(now);
        rotation.outcome = Some(RotationOutcome::Done);
    }
    let rotation = keyring.rotations.iter().rev().find(|rotation| rotation.to == *id);
    rotation.cloned().ok_or(OperationError::Deleted)
}

fn unfinished<'a>(keyring: &'a mut Keyring, to: &VersionId) -> Option<&'a mut Rotation> {
    keyring.rotations.iter_mut().find(|rotation| rotation.to == *to && rotation.outcome.is_none())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::keys::{keyring::strategies, store::suite};

    fn driver() -> DriverId {
        DriverId::random(&mut system_rng())
    }

    #[test]
    fn a_pending_key_is_used_rather_than_doubled() {
        let mut keyring = suite::empty();
        let by = driver();
        let made = &strategies::KEYS[0];
        let first = begin(&mut keyring, made, "test", &by, suite::now()).unwrap();
        // As after a crash.
        let again = begin(&mut keyring, &strategies::KEYS[1], "test", &by, suite::now()).unwrap();
        assert_eq!(again, first);
        assert_eq!((keyring.keys.len(), keyring.rotations.len()), (1, 1));

        keyring.account_id = Some("123456789012".parse().unwrap());
        let version = keyring.version_mut(&first).unwrap();
        (version.state, version.arn) = (KeyState::Imported, Some(strategies::arn(0)));
        let later = suite::now() + Duration::from_secs(5);
        let rotation = finish(&mut keyring, &first, later).unwrap();
        assert_eq!(rotation.outcome, Some(RotationOutcome::Done));
        assert_eq!(keyring.active().unwrap().activated_at, Some(later));
        // And once more, as after a lost answer of the store.
        assert_eq!(finish(&mut keyring, &first, later), Ok(rotation));
        assert!(matches!(
            refuse_if_active(Some(&keyring)),
            Err(OperationError::RotationUnavailable { .. })
        ));
    }

    proptest! {
        #[test]
        fn beginning_and_finishing_keep_every_rule(keyring in strategies::keyring()) {
            prop_assume!(keyring.active().is_none());
            let mut begun = keyring.clone();
            let made = PrivateKey::generate(&mut system_rng()).unwrap();
            let id = begin(&mut begun, &made, "test", &driver(), suite::now()).unwrap();
            prop_assert_eq!(begun.check(), Ok(()));
            prop_assert_eq!(keyring.check_successor(&begun), Ok(()));
            let mut imported = begun.clone();
            let version = imported.version_mut(&id).unwrap();
            if version.state == KeyState::Pending {
                version.state = KeyState::Imported;
                version.arn = Some(strategies::arn(1000));
            }
            let mut finished = imported.clone();
            finish(&mut finished, &id, suite::now()).unwrap();
            prop_assert_eq!(finished.check(), Ok(()));
            prop_assert_eq!(imported.check_successor(&finished), Ok(()));
            prop_assert_eq!(&finished.active().unwrap().id, &id);
        }
    }
}
