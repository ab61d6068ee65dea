//! Deleting a pair: intent, call, record.

use super::{InUse, KeyOperations, OperationError};
use crate::{
    clock::Timestamp,
    ivs::{IvsError, KeyPair, arn::PlaybackKeyArn},
    keys::{
        keyring::{ClaimOp, DriverId, KeyState, Keyring, VersionId},
        lifecycle::change,
        survey,
    },
};

impl KeyOperations {
    pub(super) async fn delete_now(
        &self,
        arn: &PlaybackKeyArn,
        force: bool,
    ) -> Result<(), OperationError> {
        if arn.region() != self.region() {
            let (found, expected) = (arn.region().clone(), self.region().clone());
            return Err(OperationError::OtherRegion { found, expected });
        }
        let keyring = self.load().await?;
        self.check_account(keyring.as_ref(), arn.account())?;
        let known = keyring.as_ref().and_then(|keyring| keyring.by_arn(arn));
        let pair = match known {
            Some(_) => None,
            // Not ours, or ours without our knowing: an import whose answer was lost.
            None => match self.get(arn).await {
                Ok(pair) => Some(pair),
                Err(OperationError::Ivs(IvsError::NotFound)) => {
                    return Err(OperationError::NotFound { region: self.region().clone() });
                }
                Err(error) => return Err(error),
            },
        };
        // Looked at again: the keyring may have been begun since, with this very pair. Where there is
        // none, there is nothing to write down, and a deletion begins none.
        let version = self
            .edit_existing(|keyring| {
                let (driver, now) = (&self.settings.driver, self.clock.now());
                intend(keyring, arn, pair.as_ref(), force, driver, now)
            })
            .await?
            .flatten();
        let deleted = self.delete_in_ivs(arn).await;
        let Some(id) = version else {
            return deleted;
        };
        if let Err(error) = deleted {
            self.give_up_claim(&id).await;
            return Err(error);
        }
        self.edit(|keyring| {
            change::retired(keyring, &id, self.clock.now());
            Ok(())
        })
        .await
    }

    /// Deletes a pair in IVS, where it may be gone already.
    pub(in crate::keys) async fn delete_in_ivs(
        &self,
        arn: &PlaybackKeyArn,
    ) -> Result<(), OperationError> {
        match self.ivs.delete(arn).await {
            Ok(()) | Err(IvsError::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
        tracing::info!(
            event = "key_pair_deleted",
            region = %self.region(),
            keyPairArn = %arn,
            "a playback key pair was deleted"
        );
        if let Some(inventory) = &self.inventory {
            inventory.note_deleted(self.region(), arn);
        }
        Ok(())
    }
}

/// Writes down that the pair is to be deleted; `None` where it is not ours.
fn intend(
    keyring: &mut Keyring,
    arn: &PlaybackKeyArn,
    pair: Option<&KeyPair>,
    force: bool,
    driver: &DriverId,
    now: Timestamp,
) -> Result<Option<VersionId>, OperationError> {
    survey::check_account(Some(keyring), None, arn.account())?;
    let Some(id) = version_of(keyring, arn, pair) else {
        return Ok(None);
    };
    let account = arn.account().clone();
    let Some(version) = keyring.version_mut(&id) else {
        return Ok(None);
    };
    let in_use = |reason| Err(OperationError::InUse { arn: arn.clone(), reason });
    match version.state {
        KeyState::Active => return in_use(InUse::Active),
        KeyState::Draining if !force => return in_use(InUse::Draining),
        KeyState::Retired => return Ok(None),
        KeyState::Pending | KeyState::Imported | KeyState::Draining | KeyState::Retiring => {}
    }
    if version.try_claim(ClaimOp::Delete, driver, now).is_err() {
        return in_use(match version.state {
            KeyState::Retiring => InUse::Retiring,
            KeyState::Pending
            | KeyState::Imported
            | KeyState::Active
            | KeyState::Draining
            | KeyState::Retired => InUse::Claimed,
        });
    }
    version.begin_retiring(now);
    version.arn.get_or_insert_with(|| arn.clone());
    keyring.account_id.get_or_insert(account);
    Ok(Some(id))
}

/// The version with this ARN, or the one whose tags the pair carries while nothing is recorded.
fn version_of(
    keyring: &Keyring,
    arn: &PlaybackKeyArn,
    pair: Option<&KeyPair>,
) -> Option<VersionId> {
    if let Some(version) = keyring.by_arn(arn) {
        return Some(version.id.clone());
    }
    let pair = pair?;
    let mut unrecorded = keyring.present().filter(|version| version.arn.is_none());
    let tagged = unrecorded.find(|version| keyring.are_tags_of(version, &pair.tags));
    tagged.map(|version| version.id.clone())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::*;
    use crate::{
        keys::{keyring::strategies, store::samples},
        secret::system_rng,
    };

    fn driver() -> DriverId {
        DriverId::random(&mut system_rng())
    }

    fn keyring(state: KeyState) -> Keyring {
        let mut keyring = samples::empty();
        keyring.account_id = Some("123456789012".parse().unwrap());
        let id = samples::add_key(&mut keyring, 0);
        let version = keyring.version_mut(&id).unwrap();
        (version.state, version.arn) = (state, Some(strategies::arn(0)));
        version.retires_at = (state == KeyState::Draining).then(samples::now);
        keyring
    }

    fn outcome(keyring: &mut Keyring, force: bool) -> Result<KeyState, InUse> {
        let now = samples::now();
        match intend(keyring, &strategies::arn(0), None, force, &driver(), now) {
            Ok(_) => Ok(keyring.keys[0].state),
            Err(OperationError::InUse { reason, .. }) => Err(reason),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn what_signs_stays_and_what_drains_needs_force() {
        let retiring = Ok(KeyState::Retiring);
        for (state, force, expected) in [
            (KeyState::Pending, false, retiring),
            (KeyState::Imported, false, retiring),
            (KeyState::Active, true, Err(InUse::Active)),
            (KeyState::Draining, false, Err(InUse::Draining)),
            (KeyState::Draining, true, retiring),
            // What a crash left is finished.
            (KeyState::Retiring, false, retiring),
            (KeyState::Retired, false, Ok(KeyState::Retired)),
        ] {
            let mut keyring = keyring(state);
            let before = keyring.clone();
            assert_eq!(outcome(&mut keyring, force), expected, "{state:?}");
            if expected == retiring {
                keyring.check().unwrap();
                before.check_successor(&keyring).unwrap();
            }
        }
    }

    #[test]
    fn a_claim_of_somebody_else_keeps_off_until_it_expires() {
        for (state, expected) in
            [(KeyState::Imported, InUse::Claimed), (KeyState::Retiring, InUse::Retiring)]
        {
            let mut keyring = keyring(state);
            keyring.keys[0].try_claim(ClaimOp::Import, &driver(), samples::now()).unwrap();
            assert_eq!(outcome(&mut keyring, false), Err(expected));
            let earlier = samples::now() - Duration::from_mins(1);
            keyring.keys[0].claim = None;
            keyring.keys[0].try_claim(ClaimOp::Import, &driver(), earlier).unwrap();
            assert_eq!(outcome(&mut keyring, false), Ok(KeyState::Retiring));
        }
    }

    #[test]
    fn foreign_pairs_need_no_intent_and_lost_answers_do() {
        let mut keyring = samples::empty();
        let id = samples::add_key(&mut keyring, 0);
        let tags = keyring.pair_tags(&keyring.keys[0]);
        let pair = |tags: BTreeMap<String, String>| KeyPair {
            arn: strategies::arn(7),
            name: String::new(),
            fingerprint: String::new(),
            tags,
        };
        let mut attempt = |tags| {
            let pair = pair(tags);
            intend(&mut keyring, &pair.arn, Some(&pair), false, &driver(), samples::now())
        };
        assert_eq!(attempt(BTreeMap::new()), Ok(None));
        assert_eq!(attempt(tags), Ok(Some(id)));
        assert_eq!(keyring.keys[0].arn, Some(strategies::arn(7)));
        keyring.check().unwrap();
    }
}
