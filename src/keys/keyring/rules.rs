//! What holds in every keyring, and between a keyring and the one that replaces it.
//!
//! Stores check the first after each read, and both before each write. The second set exists so
//! that no bug above can lose a private key, revive a dead one, or let two sign.

use std::collections::HashSet;

use super::{KeyState, KeyVersion, Keyring, VersionId};

/// A rule that a keyring breaks.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyringFault {
    /// Two versions have the same id.
    #[error("two versions have the id {0}")]
    SameId(VersionId),
    /// Two versions that are not retired have the same key.
    #[error("the versions {0} and {1} have the same key")]
    SameKey(VersionId, VersionId),
    /// Two versions that are not retired are the same pair in IVS.
    #[error("the versions {0} and {1} are the same pair in IVS")]
    SameArn(VersionId, VersionId),
    /// Two versions are active.
    #[error("the versions {0} and {1} are both active")]
    TwoActive(VersionId, VersionId),
    /// The fingerprint is not that of the public key.
    #[error("the fingerprint of version {0} is not that of its public key")]
    Fingerprint(VersionId),
    /// An active version cannot sign.
    #[error("version {0} is active without a private key")]
    ActiveWithoutPrivateKey(VersionId),
    /// An active version is compromised.
    #[error("version {0} is active and compromised")]
    ActiveCompromised(VersionId),
    /// A retired version still has its private half.
    #[error("version {0} is retired and still has a private key")]
    RetiredWithPrivateKey(VersionId),
    /// A retired version is still claimed.
    #[error("version {0} is retired and still claimed")]
    RetiredWithClaim(VersionId),
    /// A version in a state that needs a pair in IVS has none.
    #[error("version {0} has no ARN in a state that needs one")]
    NoArn(VersionId),
    /// A draining version does not say until when.
    #[error("version {0} drains without an end")]
    NoEnd(VersionId),
    /// A pair is in another region than the keyring.
    #[error("the pair of version {0} is in another region than the keyring")]
    OtherRegion(VersionId),
    /// A pair is of another account than the keyring.
    #[error("the pair of version {0} is of another account than the keyring")]
    OtherAccount(VersionId),
}

/// Why a keyring cannot replace another.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SuccessionFault {
    /// It is another keyring.
    #[error("it is another keyring, and the one that is there has keys")]
    OtherKeyring,
    /// It is of another region.
    #[error("it is of another region")]
    OtherRegion,
    /// It is of another account.
    #[error("it is of another account")]
    OtherAccount,
    /// `maxTtl`, `maxStaleness` or `drainMargin` is lowered although no version was activated.
    #[error("the recorded {0} is lowered without an activation")]
    LimitLowered(&'static str),
    /// A version that is not retired is missing.
    #[error("version {0} is missing and was not retired")]
    VersionLost(VersionId),
    /// A version became another key.
    #[error("version {0} has another public key or another time of creation")]
    VersionChanged(VersionId),
    /// A version would lose its private half although its life has not ended.
    #[error("version {0} would lose its private key before it retires")]
    PrivateKeyLost(VersionId),
    /// A version moves against the order of states.
    #[error("version {0} cannot go from {1:?} to {2:?}")]
    State(VersionId, KeyState, KeyState),
    /// A version is no longer compromised.
    #[error("version {0} is compromised and cannot cease to be")]
    Uncompromised(VersionId),
    /// A new version does not begin at the beginning.
    #[error("version {0} is new and cannot begin as {1:?}")]
    Beginning(VersionId, KeyState),
}

impl Keyring {
    /// Checks what holds in every keyring.
    ///
    /// # Errors
    ///
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), KeyringFault> {
        let mut ids = HashSet::new();
        for version in &self.keys {
            if !ids.insert(&version.id) {
                return Err(KeyringFault::SameId(version.id.clone()));
            }
            self.check_version(version)?;
        }
        self.no_two(|one, two| one.public_key == two.public_key, KeyringFault::SameKey)?;
        self.no_two(|one, two| one.arn.is_some() && one.arn == two.arn, KeyringFault::SameArn)?;
        let active = |version: &KeyVersion| version.state == KeyState::Active;
        self.no_two(|one, two| active(one) && active(two), KeyringFault::TwoActive)
    }

    fn check_version(&self, version: &KeyVersion) -> Result<(), KeyringFault> {
        let fault = |kind: fn(VersionId) -> KeyringFault, broken: bool| {
            if broken { Err(kind(version.id.clone())) } else { Ok(()) }
        };
        let (has_private, has_arn) = (version.has_private_key, version.arn.is_some());
        fault(KeyringFault::Fingerprint, version.fingerprint != version.public_key.fingerprint())?;
        match version.state {
            KeyState::Pending | KeyState::Retiring => {}
            KeyState::Imported => fault(KeyringFault::NoArn, !has_arn)?,
            KeyState::Active => {
                fault(KeyringFault::NoArn, !has_arn)?;
                fault(KeyringFault::ActiveWithoutPrivateKey, !has_private)?;
                fault(KeyringFault::ActiveCompromised, version.compromised)?;
            }
            KeyState::Draining => {
                fault(KeyringFault::NoArn, !has_arn)?;
                fault(KeyringFault::NoEnd, version.retires_at.is_none())?;
            }
            KeyState::Retired => {
                fault(KeyringFault::RetiredWithPrivateKey, has_private)?;
                fault(KeyringFault::RetiredWithClaim, version.claim.is_some())?;
            }
        }
        if let Some(arn) = &version.arn {
            fault(KeyringFault::OtherRegion, *arn.region() != self.region)?;
            let account = self.account_id.as_ref();
            fault(KeyringFault::OtherAccount, account != Some(arn.account()))?;
        }
        Ok(())
    }

    /// Among the versions that are not retired, no two may be alike.
    fn no_two(
        &self,
        alike: impl Fn(&KeyVersion, &KeyVersion) -> bool,
        fault: fn(VersionId, VersionId) -> KeyringFault,
    ) -> Result<(), KeyringFault> {
        for (position, one) in self.present().enumerate() {
            if let Some(two) = self.present().skip(position + 1).find(|two| alike(one, two)) {
                return Err(fault(one.id.clone(), two.id.clone()));
            }
        }
        Ok(())
    }

    /// Checks whether `next` may replace this keyring.
    ///
    /// # Errors
    ///
    /// The first rule that is broken.
    pub fn check_successor(&self, next: &Self) -> Result<(), SuccessionFault> {
        if next.region != self.region {
            return Err(SuccessionFault::OtherRegion);
        }
        // With no key in it, a keyring is nothing but its id, which `--new-keyring` exchanges.
        if next.id != self.id && !self.keys.is_empty() {
            return Err(SuccessionFault::OtherKeyring);
        }
        if self.account_id.is_some() && next.account_id != self.account_id && next.id == self.id {
            return Err(SuccessionFault::OtherAccount);
        }
        let activated = next.active().map(|it| &it.id) != self.active().map(|it| &it.id);
        if !activated
            && next.id == self.id
            && let Some(lowered) = self.limits().beyond(next.limits()).next()
        {
            return Err(SuccessionFault::LimitLowered(lowered.key));
        }
        for version in &self.keys {
            check_version_successor(version, next.version(&version.id))?;
        }
        // Into an empty keyring, another one may be copied as it is.
        let news = next.keys.iter().filter(|it| self.version(&it.id).is_none());
        for version in news.filter(|_| !self.keys.is_empty()) {
            if !matches!(version.state, KeyState::Pending | KeyState::Imported) {
                return Err(SuccessionFault::Beginning(version.id.clone(), version.state));
            }
        }
        Ok(())
    }
}

fn check_version_successor(
    version: &KeyVersion,
    next: Option<&KeyVersion>,
) -> Result<(), SuccessionFault> {
    let id = || version.id.clone();
    let Some(next) = next else {
        return match version.state {
            KeyState::Retired => Ok(()),
            KeyState::Pending
            | KeyState::Imported
            | KeyState::Active
            | KeyState::Draining
            | KeyState::Retiring => Err(SuccessionFault::VersionLost(id())),
        };
    };
    if next.public_key != version.public_key || next.created_at != version.created_at {
        return Err(SuccessionFault::VersionChanged(id()));
    }
    if !version.state.may_become(next.state) {
        return Err(SuccessionFault::State(id(), version.state, next.state));
    }
    let loses = version.has_private_key && !next.has_private_key;
    if loses && !matches!(next.state, KeyState::Retiring | KeyState::Retired) {
        return Err(SuccessionFault::PrivateKeyLost(id()));
    }
    if version.compromised && !next.compromised {
        return Err(SuccessionFault::Uncompromised(id()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        clock::Timestamp,
        keys::keyring::{KeyringId, strategies},
        secret::system_rng,
    };

    /// A valid keyring with one version in each state, so that each rule has something to break.
    fn keyring() -> Keyring {
        let region = "us-west-2".parse().unwrap();
        let mut keyring = Keyring::new(region, Duration::from_hours(1), &mut system_rng());
        keyring.account_id = Some("123456789012".parse().unwrap());
        for (position, state) in KeyState::ALL.into_iter().enumerate() {
            let key = &strategies::KEYS[position];
            let now = Timestamp::from_unix_seconds(strategies::EPOCH);
            let mut version =
                KeyVersion::new(key.public_key().clone(), true, now, &mut system_rng());
            version.state = state;
            version.arn = Some(strategies::arn(position));
            version.retires_at = Some(now);
            if state == KeyState::Retired {
                version.has_private_key = false;
            }
            keyring.keys.push(version);
        }
        keyring.check().unwrap();
        keyring
    }

    fn in_state(keyring: &mut Keyring, state: KeyState) -> &mut KeyVersion {
        keyring.keys.iter_mut().find(|version| version.state == state).unwrap()
    }

    #[test]
    fn each_rule_is_checked() {
        type Case = (fn(&mut Keyring), fn(&KeyringFault) -> bool);
        let cases: [Case; 13] = [
            (
                |it| it.keys[1].id = it.keys[0].id.clone(),
                |fault| matches!(fault, KeyringFault::SameId(..)),
            ),
            (
                |it| {
                    it.keys[1].public_key = it.keys[0].public_key.clone();
                    it.keys[1].fingerprint = it.keys[0].fingerprint;
                },
                |fault| matches!(fault, KeyringFault::SameKey(..)),
            ),
            (
                |it| it.keys[1].arn = it.keys[0].arn.clone(),
                |fault| matches!(fault, KeyringFault::SameArn(..)),
            ),
            (
                |it| in_state(it, KeyState::Imported).state = KeyState::Active,
                |fault| matches!(fault, KeyringFault::TwoActive(..)),
            ),
            (
                |it| it.keys[1].fingerprint = it.keys[0].fingerprint,
                |fault| matches!(fault, KeyringFault::Fingerprint(..)),
            ),
            (
                |it| in_state(it, KeyState::Active).has_private_key = false,
                |fault| matches!(fault, KeyringFault::ActiveWithoutPrivateKey(..)),
            ),
            (
                |it| in_state(it, KeyState::Active).compromised = true,
                |fault| matches!(fault, KeyringFault::ActiveCompromised(..)),
            ),
            (
                |it| in_state(it, KeyState::Retired).has_private_key = true,
                |fault| matches!(fault, KeyringFault::RetiredWithPrivateKey(..)),
            ),
            (
                |it| in_state(it, KeyState::Imported).arn = None,
                |fault| matches!(fault, KeyringFault::NoArn(..)),
            ),
            (
                |it| in_state(it, KeyState::Active).arn = None,
                |fault| matches!(fault, KeyringFault::NoArn(..)),
            ),
            (
                |it| in_state(it, KeyState::Draining).retires_at = None,
                |fault| matches!(fault, KeyringFault::NoEnd(..)),
            ),
            (
                |it| it.region = "eu-west-1".parse().unwrap(),
                |fault| matches!(fault, KeyringFault::OtherRegion(..)),
            ),
            (|it| it.account_id = None, |fault| matches!(fault, KeyringFault::OtherAccount(..))),
        ];
        for (position, (break_it, expected)) in cases.into_iter().enumerate() {
            let mut broken = keyring();
            break_it(&mut broken);
            let fault = broken.check().unwrap_err();
            assert!(expected(&fault), "{position}: {fault:?}");
        }
    }

    #[test]
    fn each_rule_of_succession_is_checked() {
        type Case = (fn(&mut Keyring), fn(&SuccessionFault) -> bool);
        let cases: [Case; 12] = [
            (
                |it| it.id = KeyringId::random(&mut system_rng()),
                |fault| matches!(fault, SuccessionFault::OtherKeyring),
            ),
            (
                |it| it.region = "eu-west-1".parse().unwrap(),
                |fault| matches!(fault, SuccessionFault::OtherRegion),
            ),
            (|it| it.account_id = None, |fault| matches!(fault, SuccessionFault::OtherAccount)),
            (
                |it| it.max_ttl = Duration::from_secs(1),
                |fault| matches!(fault, SuccessionFault::LimitLowered("tokens.max_ttl")),
            ),
            (
                |it| it.max_staleness = Duration::from_secs(1),
                |fault| matches!(fault, SuccessionFault::LimitLowered("keys.max_staleness")),
            ),
            (
                |it| it.drain_margin = Duration::from_secs(1),
                |fault| matches!(fault, SuccessionFault::LimitLowered("rotation.drain_margin")),
            ),
            (
                |it| it.keys.retain(|version| version.state != KeyState::Retiring),
                |fault| matches!(fault, SuccessionFault::VersionLost(..)),
            ),
            (
                |it| it.keys[0].public_key = strategies::KEYS[7].public_key().clone(),
                |fault| matches!(fault, SuccessionFault::VersionChanged(..)),
            ),
            (
                |it| in_state(it, KeyState::Draining).has_private_key = false,
                |fault| matches!(fault, SuccessionFault::PrivateKeyLost(..)),
            ),
            (
                |it| in_state(it, KeyState::Retiring).state = KeyState::Active,
                |fault| matches!(fault, SuccessionFault::State(..)),
            ),
            (
                |it| in_state(it, KeyState::Pending).compromised = false,
                |fault| matches!(fault, SuccessionFault::Uncompromised(..)),
            ),
            (
                |it| in_state(it, KeyState::Draining).id = strategies::stranger(),
                |fault| matches!(fault, SuccessionFault::VersionLost(..)),
            ),
        ];
        let mut before = keyring();
        in_state(&mut before, KeyState::Pending).compromised = true;
        assert_eq!(before.check_successor(&before), Ok(()));
        for (position, (break_it, expected)) in cases.into_iter().enumerate() {
            let mut after = before.clone();
            break_it(&mut after);
            let fault = before.check_successor(&after).unwrap_err();
            assert!(expected(&fault), "{position}: {fault:?}");
        }
    }

    #[test]
    fn a_new_version_begins_at_the_beginning() {
        let after = keyring();
        let mut before = after.clone();
        before.keys.retain(|version| version.state != KeyState::Active);
        let fault = before.check_successor(&after).unwrap_err();
        assert!(matches!(fault, SuccessionFault::Beginning(_, KeyState::Active)), "{fault:?}");
    }

    #[test]
    fn limits_are_lowered_at_an_activation_only() {
        let before = keyring();
        let mut after = before.clone();
        let now = Timestamp::from_unix_seconds(strategies::EPOCH);
        after.max_ttl = Duration::from_mins(1);
        after.max_staleness = Duration::from_mins(1);
        after.drain_margin = Duration::from_mins(1);
        let old = in_state(&mut after, KeyState::Active);
        (old.state, old.retires_at) = (KeyState::Draining, Some(now));
        in_state(&mut after, KeyState::Imported).state = KeyState::Active;
        assert_eq!(before.check_successor(&after), Ok(()));
    }

    #[test]
    fn the_private_key_goes_when_the_version_retires() {
        let before = keyring();
        let mut after = before.clone();
        let id = in_state(&mut after, KeyState::Retiring).id.clone();
        after.retire(&id, Timestamp::from_unix_seconds(strategies::EPOCH));
        assert_eq!(after.check(), Ok(()));
        assert_eq!(before.check_successor(&after), Ok(()));
    }

    proptest! {
        #[test]
        fn every_keyring_may_follow_itself(keyring in strategies::keyring()) {
            prop_assert_eq!(keyring.check_successor(&keyring), Ok(()));
        }

        #[test]
        fn no_state_comes_back_but_by_rollback(
            from in prop::sample::select(KeyState::ALL.to_vec()),
            to in prop::sample::select(KeyState::ALL.to_vec()),
        ) {
            if from.may_become(to) && to < from {
                prop_assert_eq!((from, to), (KeyState::Draining, KeyState::Active));
            }
        }
    }
}
