//! Bringing a key into the keyring: anew, or by finding what an earlier attempt left.

use std::{collections::BTreeMap, time::Duration};

use super::{AccountSource, Label, OperationError};
use crate::{
    clock::Timestamp,
    ivs::KeyPair,
    keys::{
        keyring::{
            Asked, ClaimOp, DriverId, IdempotencyRecord, KeyState, KeyVersion, Keyring, VersionId,
        },
        material::{PrivateKey, PublicKey},
        survey,
    },
    secret::system_rng,
};

/// The key that is to be in the keyring.
#[derive(Clone, Debug)]
pub(super) enum Candidate {
    /// Made for this request; thrown away where an earlier attempt left one.
    Generated(PrivateKey),
    /// Somebody brought it.
    Private {
        key: PrivateKey,
        /// No other signer uses it.
        exclusive: bool,
        /// The longest lifetime of the other signer's tokens.
        longest_ttl: Option<Duration>,
    },
    /// Somebody brought the public half.
    Public(PublicKey),
}

/// A request for a key in the keyring.
#[derive(Clone, Debug)]
pub(super) struct Enrolment {
    pub(super) candidate: Candidate,
    pub(super) label: Label,
    pub(super) idempotency: Option<IdempotencyRecord>,
    /// The pair that IVS has of this key already.
    pub(super) found: Option<KeyPair>,
}

impl Candidate {
    pub(super) fn public_key(&self) -> &PublicKey {
        match self {
            Self::Generated(key) | Self::Private { key, .. } => key.public_key(),
            Self::Public(key) => key,
        }
    }

    pub(super) fn private_key(&self) -> Option<&PrivateKey> {
        match self {
            Self::Generated(key) | Self::Private { key, .. } => Some(key),
            Self::Public(_) => None,
        }
    }
}

impl Enrolment {
    /// The version that the same request made when it came before.
    pub(super) fn repeated(&self, keyring: &Keyring) -> Result<Option<VersionId>, OperationError> {
        let Some(asked) = &self.idempotency else { return Ok(None) };
        match keyring.asked_before(asked)? {
            None => Ok(None),
            Some(Asked::Version(version)) => Ok(Some(version)),
            Some(Asked::Rotation(_)) => Err(OperationError::IdempotencyKeyReused),
        }
    }

    /// The version that serves this request already, be it finished or not.
    pub(super) fn existing(
        &self,
        keyring: &Keyring,
        driver: &DriverId,
        now: Timestamp,
    ) -> Result<Option<VersionId>, OperationError> {
        if let Some(version) = self.repeated(keyring)? {
            return Ok(Some(version));
        }
        let version = match &self.candidate {
            // One that nobody else is at, and that no other request is waiting for.
            Candidate::Generated(_) if self.idempotency.is_none() => {
                keyring.present().find(|version| {
                    version.state == KeyState::Pending
                        && version.is_candidate()
                        && !version.adopted
                        && version.idempotency.is_none()
                        && version.foreign_claim(driver, now).is_none()
                })
            }
            Candidate::Generated(_) => None,
            Candidate::Private { key, .. } => keyring.by_public_key(key.public_key()),
            Candidate::Public(key) => keyring.by_public_key(key),
        };
        Ok(version.map(|version| version.id.clone()))
    }

    /// Brings the key into the keyring, claimed for its import unless IVS has it already.
    pub(super) fn enrol(
        &self,
        keyring: &mut Keyring,
        driver: &DriverId,
        now: Timestamp,
    ) -> Result<VersionId, OperationError> {
        if let Some(id) = self.existing(keyring, driver, now)? {
            self.complete(keyring, &id, now)?;
            return Ok(id);
        }
        let public = self.candidate.public_key();
        if keyring.keys.iter().any(|it| it.compromised && it.public_key == *public) {
            return Err(OperationError::Compromised);
        }
        survey::check_room(keyring)?;
        let has_private_key = self.candidate.private_key().is_some();
        let mut version = KeyVersion::new(public.clone(), has_private_key, now, &mut system_rng());
        self.relabel(&mut version);
        version.idempotency.clone_from(&self.idempotency);
        match &self.candidate {
            Candidate::Generated(_) => {}
            Candidate::Private { exclusive, longest_ttl, .. } => {
                version.adopted = true;
                version.released = *exclusive;
                version.longest_ttl = *longest_ttl;
            }
            Candidate::Public(_) => version.adopted = true,
        }
        if self.found.is_none() {
            version.try_claim(ClaimOp::Import, driver, now)?;
        }
        let id = version.id.clone();
        keyring.keys.push(version);
        self.complete(keyring, &id, now)?;
        Ok(id)
    }

    /// What this request adds to a version that is there.
    fn complete(
        &self,
        keyring: &mut Keyring,
        id: &VersionId,
        now: Timestamp,
    ) -> Result<(), OperationError> {
        let Some(version) = keyring.version_mut(id) else {
            return Ok(());
        };
        if let Candidate::Private { exclusive, longest_ttl, .. } = &self.candidate {
            // Its public half may have come before.
            version.has_private_key |=
                matches!(version.state, KeyState::Pending | KeyState::Imported);
            version.released |= exclusive;
            version.longest_ttl = version.longest_ttl.max(*longest_ttl);
        }
        if version.state != KeyState::Pending {
            return Ok(());
        }
        if let Some(pair) = &self.found {
            record_import(keyring, id, pair, now)?;
        } else {
            self.relabel(version);
        }
        Ok(())
    }

    /// A pair that was not imported yet can still have the name that is asked for now.
    fn relabel(&self, version: &mut KeyVersion) {
        if let Some(name) = self.label.name() {
            name.clone_into(&mut version.name);
        }
        version.tags.clone_from(self.label.tags());
    }
}

/// What recording a pair came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Recorded {
    /// The version is imported as this pair.
    Imported,
    /// Another pair is the version's already: this one is a duplicate.
    Duplicate,
    /// The pair is another key. The version knows the ARN, so that it can be deleted, and stays
    /// pending.
    Mismatch,
}

/// Takes down that IVS has a version as `pair`, which was checked to be of the configured account.
pub(super) fn record_import(
    keyring: &mut Keyring,
    id: &VersionId,
    pair: &KeyPair,
    now: Timestamp,
) -> Result<Recorded, OperationError> {
    let found = pair.arn.account().clone();
    let account = keyring.account_id.get_or_insert_with(|| found.clone()).clone();
    if account != found {
        let said_by = AccountSource::Keyring;
        return Err(OperationError::OtherAccount { expected: account, said_by, found });
    }
    let version = keyring.version_mut(id).ok_or(OperationError::Deleted)?;
    if version.strays.contains(&pair.arn) {
        return Ok(Recorded::Duplicate);
    }
    match version.state {
        KeyState::Pending => {}
        KeyState::Imported | KeyState::Active | KeyState::Draining
            if version.missing_since.is_some() =>
        {
            let recorded = put_back(version, pair, now);
            keyring.forget_denial(id);
            return Ok(recorded);
        }
        KeyState::Imported | KeyState::Active | KeyState::Draining => {
            let is_recorded = version.arn.as_ref() == Some(&pair.arn);
            return Ok(if is_recorded { Recorded::Imported } else { Recorded::Duplicate });
        }
        KeyState::Retiring | KeyState::Retired => return Err(OperationError::Deleted),
    }
    version.claim = None;
    version.arn = Some(pair.arn.clone());
    version.name.clone_from(&pair.name);
    // What IVS calls a fingerprint and we cannot read is not that of our key either.
    if pair.fingerprint.parse() != Ok(version.fingerprint) {
        return Ok(Recorded::Mismatch);
    }
    version.tags = own_tags(pair);
    version.state = KeyState::Imported;
    version.imported_at = Some(now.floor_to_second());
    keyring.forget_denial(id);
    Ok(Recorded::Imported)
}

/// Takes down that IVS has the key of a version again, whose pair somebody deleted.
fn put_back(version: &mut KeyVersion, pair: &KeyPair, now: Timestamp) -> Recorded {
    version.claim = None;
    if pair.fingerprint.parse() != Ok(version.fingerprint) {
        return Recorded::Mismatch;
    }
    version.arn = Some(pair.arn.clone());
    version.missing_since = None;
    version.healed_at = Some(now.floor_to_second());
    if version.state == KeyState::Imported {
        // IVS begins anew to tell its edges.
        version.imported_at = Some(now.floor_to_second());
    }
    Recorded::Imported
}

/// The tags of a pair, but for those that a keyring's own version gets anyway.
fn own_tags(pair: &KeyPair) -> BTreeMap<String, String> {
    let mut tags = pair.tags.clone();
    tags.retain(|key, _| !key.starts_with(crate::keys::keyring::RESERVED_TAG_PREFIX));
    tags
}

/// Lets an imported version sign, where none does.
pub(super) fn activate_if_none(keyring: &mut Keyring, id: &VersionId, now: Timestamp) {
    if keyring.active().is_some() {
        return;
    }
    let Some(version) = keyring.version_mut(id) else { return };
    if version.state == KeyState::Imported && version.is_candidate() {
        version.state = KeyState::Active;
        version.activated_at = Some(now.floor_to_second());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{
        keyring::{CLAIM_LIFETIME, KEYRING_TAG, strategies},
        store::samples,
    };

    fn driver() -> DriverId {
        DriverId::random(&mut system_rng())
    }

    fn enrolment(candidate: Candidate) -> Enrolment {
        Enrolment { candidate, label: Label::default(), idempotency: None, found: None }
    }

    fn generated(position: usize) -> Enrolment {
        enrolment(Candidate::Generated(strategies::KEYS[position].clone()))
    }

    fn private(position: usize) -> Enrolment {
        let key = strategies::KEYS[position].clone();
        enrolment(Candidate::Private { key, exclusive: false, longest_ttl: None })
    }

    fn public(position: usize) -> Enrolment {
        enrolment(Candidate::Public(strategies::KEYS[position].public_key().clone()))
    }

    fn pair(position: usize) -> KeyPair {
        KeyPair {
            arn: strategies::arn(position),
            name: "theirs".to_owned(),
            fingerprint: strategies::KEYS[position].public_key().fingerprint().to_string(),
            tags: BTreeMap::from([
                ("team".to_owned(), "video".to_owned()),
                (KEYRING_TAG.to_owned(), "of a lost keyring".to_owned()),
            ]),
        }
    }

    fn enrol(keyring: &mut Keyring, enrolment: &Enrolment, by: &DriverId) -> VersionId {
        let before = keyring.clone();
        let id = enrolment.enrol(keyring, by, samples::now()).unwrap();
        keyring.check().unwrap();
        before.check_successor(keyring).unwrap();
        id
    }

    #[test]
    fn an_unfinished_key_is_taken_up_by_the_same_command_and_by_nobody_beside_it() {
        let mut keyring = samples::empty();
        let (one, two) = (driver(), driver());
        let first = enrol(&mut keyring, &generated(0), &one);
        let claim = keyring.keys[0].claim.clone().unwrap();
        assert_eq!(claim.until, samples::now() + CLAIM_LIFETIME);
        // Somebody else does not wait for it, and makes a key of their own.
        let second = enrol(&mut keyring, &generated(1), &two);
        assert_ne!(second, first);
        // The same process, or anyone once the claim has expired, goes on with it.
        assert_eq!(enrol(&mut keyring, &generated(2), &one), first);
        keyring.keys[0].claim.as_mut().unwrap().until = samples::now();
        assert_eq!(enrol(&mut keyring, &generated(3), &driver()), first);
        assert_eq!(keyring.keys.len(), 2);
    }

    #[test]
    fn an_idempotency_key_names_one_pair_and_one_request() {
        let mut keyring = samples::empty();
        let asked = |key: &str, request: &str| Enrolment {
            idempotency: Some(IdempotencyRecord {
                key_hash: key.to_owned(),
                request_hash: request.to_owned(),
            }),
            // Another key for each name.
            ..generated(key.len())
        };
        let by = driver();
        let first = enrol(&mut keyring, &asked("a", "request"), &by);
        assert_eq!(enrol(&mut keyring, &asked("a", "request"), &by), first);
        let reused = asked("a", "another").enrol(&mut keyring, &by, samples::now());
        assert_eq!(reused, Err(OperationError::IdempotencyKeyReused));
        assert_ne!(enrol(&mut keyring, &asked("bb", "request"), &by), first);
        // A request without one does not take what others wait for.
        enrol(&mut keyring, &generated(5), &by);
        assert_eq!(keyring.keys.len(), 3);
    }

    #[test]
    fn a_pair_that_ivs_has_is_adopted_without_a_call() {
        let mut keyring = samples::empty();
        let mut enrolment = private(0);
        enrolment.found = Some(pair(0));
        let id = enrol(&mut keyring, &enrolment, &driver());
        let version = keyring.version(&id).unwrap();
        assert_eq!(version.state, KeyState::Imported);
        assert_eq!(version.arn, Some(strategies::arn(0)));
        assert_eq!(version.name, "theirs");
        assert_eq!(version.tags.keys().collect::<Vec<_>>(), ["team"]);
        assert!(version.adopted && !version.released && version.claim.is_none());
        assert_eq!(keyring.account_id.as_ref().unwrap().as_str(), "123456789012");
        activate_if_none(&mut keyring, &id, samples::now());
        assert_eq!(keyring.active().unwrap().id, id);
        // The second one waits for a rotation.
        let mut enrolment = private(1);
        enrolment.found = Some(pair(1));
        let second = enrol(&mut keyring, &enrolment, &driver());
        activate_if_none(&mut keyring, &second, samples::now());
        assert_eq!(keyring.active().unwrap().id, id);
    }

    #[test]
    fn the_private_half_may_come_after_the_public_one_and_neither_is_doubled() {
        let mut keyring = samples::empty();
        let by = driver();
        let id = enrol(&mut keyring, &public(0), &by);
        assert!(!keyring.version(&id).unwrap().is_candidate());
        assert_eq!(enrol(&mut keyring, &private(0), &by), id);
        assert!(keyring.version(&id).unwrap().is_candidate());
        let mut exclusive = private(0);
        if let Candidate::Private { exclusive, longest_ttl, .. } = &mut exclusive.candidate {
            (*exclusive, *longest_ttl) = (true, Some(Duration::from_hours(6)));
        }
        assert_eq!(enrol(&mut keyring, &exclusive, &by), id);
        let version = keyring.version(&id).unwrap();
        assert!(version.released);
        assert_eq!(version.longest_ttl, Some(Duration::from_hours(6)));
        assert_eq!(enrol(&mut keyring, &public(0), &by), id);
        assert_eq!(keyring.keys.len(), 1);
    }

    #[test]
    fn a_key_that_leaked_does_not_come_back() {
        let mut keyring = samples::empty();
        let id = enrol(&mut keyring, &private(0), &driver());
        keyring.version_mut(&id).unwrap().compromised = true;
        keyring.retire(&id, samples::now());
        let again = private(0).enrol(&mut keyring, &driver(), samples::now());
        assert_eq!(again, Err(OperationError::Compromised));
    }

    #[test]
    fn what_ivs_imported_must_be_what_was_sent() {
        let mut keyring = samples::empty();
        let id = enrol(&mut keyring, &generated(0), &driver());
        for fingerprint in [pair(1).fingerprint, String::new()] {
            let other = KeyPair { fingerprint, ..pair(0) };
            let recorded = record_import(&mut keyring, &id, &other, samples::now());
            assert_eq!(recorded, Ok(Recorded::Mismatch));
            keyring.check().unwrap();
            let version = keyring.version(&id).unwrap();
            assert_eq!((version.state, &version.arn), (KeyState::Pending, &Some(other.arn)));
        }
        let recorded = record_import(&mut keyring, &id, &pair(0), samples::now());
        assert_eq!(recorded, Ok(Recorded::Imported));
        let twin = KeyPair { arn: strategies::arn(9), ..pair(0) };
        let recorded = record_import(&mut keyring, &id, &twin, samples::now());
        assert_eq!(recorded, Ok(Recorded::Duplicate));
        let elsewhere = KeyPair {
            arn: "arn:aws:ivs:us-west-2:999999999999:playback-key/a".parse().unwrap(),
            ..pair(0)
        };
        let recorded = record_import(&mut keyring, &id, &elsewhere, samples::now());
        assert!(matches!(recorded, Err(OperationError::OtherAccount { .. })));
    }
}
