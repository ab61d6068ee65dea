//! Bringing a key into the keyring: a new one, or the one that an earlier attempt left; and dropping one that IVS
//! refused.
//!
//! A version whose import IVS refused would stay pending forever: the region's first rotation would take it and be
//! refused again, and each new request would leave one more. So it is dropped, and the caller may repeat the request
//! with the same `Idempotency-Key` or another. Nothing is lost: a key that was generated here has signed nothing, and
//! the operator still has a key that was imported. A key that was imported by an *earlier* request is kept, since that
//! request reported that it is here.
//!
//! Dropping is retiring, in the two writes that all versions take; as there is no pair, IVS is not called in between,
//! and any later write may be the second one.

use std::time::Duration;

use super::{
    label::Label,
    observation::Observation,
    refusal::{AccountSource, Full, Refusal},
};
use crate::{
    clock::Timestamp,
    ivs::KeyPair,
    keys::{
        keyring::{
            ClaimOp, DriverId, IdempotencyRecord, KeyState, KeyVersion, Keyring,
            RESERVED_TAG_PREFIX, RotationFailure, RotationOutcome, VersionId,
        },
        material::{PrivateKey, PublicKey},
    },
    secret::system_rng,
};

/// Where a new key comes from.
#[derive(Clone, Debug)]
pub(super) enum KeySource {
    /// It was generated for this request; dropped if an earlier attempt left one.
    Generated(PrivateKey),
    /// The operator imports it.
    Private {
        key: PrivateKey,
        /// No other signer uses it.
        exclusive: bool,
        /// The longest lifetime of the other signer's tokens.
        longest_ttl: Option<Duration>,
    },
    /// The operator imports the public half.
    Public(PublicKey),
}

/// A request for a key in the keyring.
#[derive(Clone, Debug)]
pub(super) struct NewKey {
    pub(super) source: KeySource,
    pub(super) label: Label,
    pub(super) idempotency: Option<IdempotencyRecord>,
    /// The pair, if IVS has one of this key already.
    pub(super) found: Option<KeyPair>,
}

impl KeySource {
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

    pub(super) const fn is_generated(&self) -> bool {
        matches!(self, Self::Generated(_))
    }
}

impl NewKey {
    /// Brings the key into the keyring, claimed for its import unless IVS has it already. Returns its version, and
    /// whether this call added it. Before it adds one, it checks the observation, so that no request begins in vain.
    pub(super) fn enroll(
        &self,
        keyring: &mut Keyring,
        observation: &Observation,
        driver: &DriverId,
        now: Timestamp,
    ) -> Result<(VersionId, bool), Refusal> {
        keyring.retire_unimported(now);
        let existing = self.existing(keyring, driver, now)?;
        let is_new = existing.is_none();
        let id = match existing {
            Some(id) => id,
            None => self.add(keyring, observation, driver, now)?,
        };
        self.complete(keyring, &id, now)?;
        Ok((id, is_new))
    }

    /// Returns the version that serves this request already, finished or not.
    fn existing(
        &self,
        keyring: &Keyring,
        driver: &DriverId,
        now: Timestamp,
    ) -> Result<Option<VersionId>, Refusal> {
        if let Some(version) = keyring.version_of_request(self.idempotency.as_ref())? {
            return Ok(Some(version));
        }
        let version = match &self.source {
            // One that no other process has claimed, and that no other request waits for.
            KeySource::Generated(_) if self.idempotency.is_none() => {
                keyring.present().find(|version| {
                    version.state == KeyState::Pending
                        && version.is_candidate()
                        && !version.adopted
                        && version.idempotency.is_none()
                        && version.foreign_claim(driver, now).is_none()
                })
            }
            KeySource::Generated(_) => None,
            KeySource::Private { .. } | KeySource::Public(_) => {
                keyring.by_public_key(self.source.public_key())
            }
        };
        Ok(version.map(|version| version.id.clone()))
    }

    fn add(
        &self,
        keyring: &mut Keyring,
        observation: &Observation,
        driver: &DriverId,
        now: Timestamp,
    ) -> Result<VersionId, Refusal> {
        let pairs = observation.lost(Some(keyring));
        // Importing the private key is one of the ways out of a lost keyring; generating one is not.
        if self.source.is_generated() && keyring.keys.is_empty() && !pairs.is_empty() {
            return Err(Refusal::LostKeyring { pairs });
        }
        if self.found.is_none() && !observation.has_slot() {
            return Err(observation.quota(keyring));
        }
        make_room(keyring, observation);
        let public = self.source.public_key();
        if keyring.keys.iter().any(|it| it.compromised && it.public_key == *public) {
            return Err(Refusal::Compromised);
        }
        if !keyring.has_room() {
            return Err(Refusal::Quota { full: Full::Keyring });
        }
        let has_private_key = self.source.private_key().is_some();
        let mut version = KeyVersion::new(public.clone(), has_private_key, now, &mut system_rng());
        self.relabel(&mut version);
        version.idempotency.clone_from(&self.idempotency);
        version.adopted = !self.source.is_generated();
        if self.found.is_none() {
            version.try_claim(ClaimOp::Import, driver, now)?;
        }
        let id = version.id.clone();
        keyring.keys.push(version);
        Ok(id)
    }

    /// Adds to a version what this request knows of it.
    fn complete(
        &self,
        keyring: &mut Keyring,
        id: &VersionId,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let Some(version) = keyring.version_mut(id) else {
            return Ok(());
        };
        if let KeySource::Private { exclusive, longest_ttl, .. } = &self.source {
            // Its public half may have been imported before.
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

    /// A pair that was not imported yet can still have the name that this request gives it.
    fn relabel(&self, version: &mut KeyVersion) {
        if let Some(name) = self.label.name() {
            name.clone_into(&mut version.name);
        }
        version.tags.clone_from(self.label.tags());
    }
}

/// The result of recording a pair.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Recorded {
    /// The version is imported as this pair.
    Imported,
    /// The version has another pair already: this one is a duplicate.
    Duplicate,
    /// The pair is another key. The version records its ARN, so that it can be deleted, and stays pending.
    Mismatch,
}

/// Records that IVS has a version as `pair`, which was checked to belong to the configured account.
pub(super) fn record_import(
    keyring: &mut Keyring,
    id: &VersionId,
    pair: &KeyPair,
    now: Timestamp,
) -> Result<Recorded, Refusal> {
    let found = pair.arn.account().clone();
    let account = keyring.account_id.get_or_insert_with(|| found.clone()).clone();
    if account != found {
        let said_by = AccountSource::Keyring;
        return Err(Refusal::OtherAccount { expected: account, said_by, found });
    }
    let version = keyring.version_mut(id).ok_or(Refusal::Deleted)?;
    if version.duplicates.contains(&pair.arn) {
        return Ok(Recorded::Duplicate);
    }
    match version.state {
        KeyState::Pending => {}
        KeyState::Imported | KeyState::Active | KeyState::Draining
            if version.missing_since.is_some() =>
        {
            let recorded = record_repair(version, pair, now);
            keyring.clear_denial(id);
            return Ok(recorded);
        }
        KeyState::Imported | KeyState::Active | KeyState::Draining => {
            let is_recorded = version.arn.as_ref() == Some(&pair.arn);
            return Ok(if is_recorded { Recorded::Imported } else { Recorded::Duplicate });
        }
        KeyState::Retiring | KeyState::Retired => return Err(Refusal::Deleted),
    }
    version.claim = None;
    version.arn = Some(pair.arn.clone());
    version.name.clone_from(&pair.name);
    // A fingerprint that cannot be parsed is not that of the key either.
    if pair.fingerprint.parse() != Ok(version.fingerprint) {
        return Ok(Recorded::Mismatch);
    }
    version.tags.clone_from(&pair.tags);
    version.tags.retain(|key, _| !key.starts_with(RESERVED_TAG_PREFIX));
    version.state = KeyState::Imported;
    version.imported_at = Some(now.floor_to_second());
    keyring.clear_denial(id);
    Ok(Recorded::Imported)
}

/// Records that IVS has the key of a version again whose pair was deleted.
fn record_repair(version: &mut KeyVersion, pair: &KeyPair, now: Timestamp) -> Recorded {
    version.claim = None;
    if pair.fingerprint.parse() != Ok(version.fingerprint) {
        return Recorded::Mismatch;
    }
    version.arn = Some(pair.arn.clone());
    version.missing_since = None;
    version.healed_at = Some(now.floor_to_second());
    if version.state == KeyState::Imported {
        // IVS has to propagate it to its edges again.
        version.imported_at = Some(now.floor_to_second());
    }
    Recorded::Imported
}

/// Makes an imported version sign if none does.
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

/// Begins to retire a version that IVS refused to import, unless it is kept; gives up the claim on it anyway. The version
/// `is_new` if this request added it; the refusal `is_final` if the same call would always be refused.
pub(super) fn refuse(
    keyring: &mut Keyring,
    id: &VersionId,
    driver: &DriverId,
    is_new: bool,
    is_final: bool,
    now: Timestamp,
) {
    let is_awaited = is_awaited(keyring, id);
    let Some(version) = keyring.version_mut(id) else { return };
    // Once another process has the claim, it decides.
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

/// In a full keyring, begins to retire generated versions that no process imports and that were not in IVS when it was
/// observed: a claim that had expired by then is followed by no import.
fn make_room(keyring: &mut Keyring, observation: &Observation) {
    let Some(listed_at) = observation.listed_at.filter(|_| !keyring.has_room()) else { return };
    let is_abandoned = |version: &&KeyVersion| {
        is_unimported(version)
            && !version.adopted
            && version.claim.as_ref().is_none_or(|claim| claim.until <= listed_at)
            && !is_awaited(keyring, &version.id)
            && observation.tagged(keyring, version).is_empty()
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

/// Whether a rotation leads to the version, and will import it again.
fn is_awaited(keyring: &Keyring, id: &VersionId) -> bool {
    keyring.rotations.iter().any(|it| it.to == *id && it.is_open())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        ivs::KeyPairSummary,
        keys::{
            keyring::{
                CLAIM_LIFETIME, KEYRING_TAG, PRESENT_MAX, Rotation, RotationMode, strategies,
            },
            store::samples,
        },
    };

    fn driver() -> DriverId {
        DriverId::random(&mut system_rng())
    }

    fn new_key(source: KeySource) -> NewKey {
        NewKey { source, label: Label::default(), idempotency: None, found: None }
    }

    fn generated(position: usize) -> NewKey {
        new_key(KeySource::Generated(strategies::KEYS[position].clone()))
    }

    fn private(position: usize) -> NewKey {
        let key = strategies::KEYS[position].clone();
        new_key(KeySource::Private { key, exclusive: false, longest_ttl: None })
    }

    fn public(position: usize) -> NewKey {
        new_key(KeySource::Public(strategies::KEYS[position].public_key().clone()))
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

    fn try_enroll(
        keyring: &mut Keyring,
        new: &NewKey,
        by: &DriverId,
    ) -> Result<VersionId, Refusal> {
        let nothing = Observation::default();
        new.enroll(keyring, &nothing, by, samples::now()).map(|(id, _)| id)
    }

    fn enroll(keyring: &mut Keyring, new: &NewKey, by: &DriverId) -> VersionId {
        let before = keyring.clone();
        let id = try_enroll(keyring, new, by).unwrap();
        keyring.check().unwrap();
        before.check_successor(keyring).unwrap();
        id
    }

    #[test]
    fn retry_resumes_own_unfinished_import() {
        let mut keyring = samples::empty();
        let (one, two) = (driver(), driver());
        let first = enroll(&mut keyring, &generated(0), &one);
        let claim = keyring.keys[0].claim.clone().unwrap();
        assert_eq!(claim.until, samples::now() + CLAIM_LIFETIME);
        // Another process does not wait for it, and makes another key.
        let second = enroll(&mut keyring, &generated(1), &two);
        assert_ne!(second, first);
        // The same process continues it, and so does any process once the claim has expired.
        assert_eq!(enroll(&mut keyring, &generated(2), &one), first);
        keyring.keys[0].claim.as_mut().unwrap().until = samples::now();
        assert_eq!(enroll(&mut keyring, &generated(3), &driver()), first);
        assert_eq!(keyring.keys.len(), 2);
    }

    #[test]
    fn idempotency_key_names_one_pair_and_one_request() {
        let mut keyring = samples::empty();
        let asked = |key: &str, request: &str| NewKey {
            idempotency: Some(IdempotencyRecord {
                key_hash: key.to_owned(),
                request_hash: request.to_owned(),
            }),
            // Another key for each name.
            ..generated(key.len())
        };
        let by = driver();
        let first = enroll(&mut keyring, &asked("a", "request"), &by);
        assert_eq!(enroll(&mut keyring, &asked("a", "request"), &by), first);
        let reused = try_enroll(&mut keyring, &asked("a", "another"), &by);
        assert_eq!(reused, Err(Refusal::IdempotencyKeyReused));
        assert_ne!(enroll(&mut keyring, &asked("bb", "request"), &by), first);
        // A request without one does not take a key that others wait for.
        enroll(&mut keyring, &generated(5), &by);
        assert_eq!(keyring.keys.len(), 3);
    }

    #[test]
    fn pair_that_ivs_has_is_adopted_without_a_call() {
        let mut keyring = samples::empty();
        let mut new = private(0);
        new.found = Some(pair(0));
        let id = enroll(&mut keyring, &new, &driver());
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
        let mut new = private(1);
        new.found = Some(pair(1));
        let second = enroll(&mut keyring, &new, &driver());
        activate_if_none(&mut keyring, &second, samples::now());
        assert_eq!(keyring.active().unwrap().id, id);
    }

    #[test]
    fn private_half_may_follow_the_public_one() {
        let mut keyring = samples::empty();
        let by = driver();
        let id = enroll(&mut keyring, &public(0), &by);
        assert!(!keyring.version(&id).unwrap().is_candidate());
        assert_eq!(enroll(&mut keyring, &private(0), &by), id);
        assert!(keyring.version(&id).unwrap().is_candidate());
        let mut exclusive = private(0);
        if let KeySource::Private { exclusive, longest_ttl, .. } = &mut exclusive.source {
            (*exclusive, *longest_ttl) = (true, Some(Duration::from_hours(6)));
        }
        assert_eq!(enroll(&mut keyring, &exclusive, &by), id);
        let version = keyring.version(&id).unwrap();
        assert!(version.released);
        assert_eq!(version.longest_ttl, Some(Duration::from_hours(6)));
        assert_eq!(enroll(&mut keyring, &public(0), &by), id);
        assert_eq!(keyring.keys.len(), 1);
    }

    #[test]
    fn leaked_key_is_not_added_again() {
        let mut keyring = samples::empty();
        let id = enroll(&mut keyring, &private(0), &driver());
        keyring.version_mut(&id).unwrap().compromised = true;
        keyring.retire(&id, samples::now());
        let again = try_enroll(&mut keyring, &private(0), &driver());
        assert_eq!(again, Err(Refusal::Compromised));
    }

    #[test]
    fn pair_with_another_fingerprint_is_a_mismatch() {
        let mut keyring = samples::empty();
        let id = enroll(&mut keyring, &generated(0), &driver());
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
        assert!(matches!(recorded, Err(Refusal::OtherAccount { .. })));
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
        assert_eq!(keyring, before, "another process's claim");

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
    fn refused_version_is_dropped_unless_it_is_needed() {
        use KeyState::{Pending, Retiring};
        // Adopted, awaited by a rotation, new with this request, refused for good.
        for (case, expected) in [
            ([false, false, true, false], Retiring),
            ([false, false, false, true], Retiring),
            // The operator still has a key that was just imported; an earlier one may be the only copy.
            ([true, false, true, true], Retiring),
            ([true, false, false, true], Pending),
            // The next rotation imports what the last one could not.
            ([false, true, false, false], Pending),
            ([false, true, false, true], Retiring),
        ] {
            assert_eq!(refused(case), expected, "{case:?}");
        }
    }

    #[test]
    fn version_that_ivs_may_have_is_not_dropped() {
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
    fn full_keyring_drops_abandoned_versions() {
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
        let observation =
            Observation { listed: vec![in_ivs], listed_at: Some(now), ..Observation::default() };
        make_room(&mut keyring, &observation);
        assert!(keyring.has_room());
        for position in 0..PRESENT_MAX {
            let expected = ![0, 2, 3, 4].contains(&position);
            assert_eq!(is_retiring(&keyring, position), expected, "{position}");
        }
        // If there is room, nothing is dropped.
        let before = keyring.clone();
        let listed_at = Some(now + Duration::from_hours(1));
        make_room(&mut keyring, &Observation { listed_at, ..Observation::default() });
        assert_eq!(keyring, before);
    }
}
