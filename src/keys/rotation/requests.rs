//! What operators ask of rotations and pairs, as changes of the keyring: begin, cancel, roll back, release, delete.

use super::{
    drain,
    observation::{Observation, check_account},
    refusal::{Full, InUse, Refusal},
    situation::Policy,
    transitions,
};
use crate::{
    clock::Timestamp,
    ivs::{KeyPair, arn::PlaybackKeyArn},
    keys::{
        keyring::{
            ClaimOp, DriverId, IdempotencyRecord, KeyState, KeyVersion, Keyring, KeyringId,
            Rotation, RotationFailure, RotationId, RotationMode, RotationOutcome, VersionId,
        },
        material::PublicKey,
    },
    secret::system_rng,
};

/// A request for a rotation.
#[derive(Clone, Debug)]
pub struct Begin {
    /// How much time the old key is given.
    pub mode: RotationMode,
    /// The client or command that asks.
    pub requested_by: String,
    /// The request, if it must not be carried out twice.
    pub idempotency: Option<IdempotencyRecord>,
    /// Continue even if IVS has pairs of a lost keyring.
    pub new_keyring: bool,
}

/// The result of a request for a rotation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Begun {
    /// A new rotation began.
    New(RotationId),
    /// The same request was carried out before.
    Known(RotationId),
    /// Another rotation is in progress and leads to a new key as well.
    UnderWay(RotationId),
}

impl Begun {
    /// Returns the rotation.
    pub const fn id(&self) -> &RotationId {
        match self {
            Self::New(id) | Self::Known(id) | Self::UnderWay(id) => id,
        }
    }
}

/// Begins a rotation: chooses the new key, or takes the one with the public half `made`, and records that it is to
/// sign.
///
/// # Errors
///
/// - [`Refusal::Quota`]: IVS has no slot for the new key, and none becomes free by itself
/// - [`Refusal::RotationInProgress`]: a rotation that drains takes the slots
/// - [`Refusal::LostKeyring`]
/// - [`Refusal::IdempotencyKeyReused`]
pub(super) fn begin(
    keyring: &mut Keyring,
    request: &Begin,
    made: &PublicKey,
    observation: &Observation,
    driver: &DriverId,
    now: Timestamp,
) -> Result<Begun, Refusal> {
    if let Some(known) = keyring.rotation_of_request(request.idempotency.as_ref())? {
        return Ok(Begun::Known(known));
    }
    let in_progress = keyring.rotations.iter().rev().find(|it| it.is_before_activation());
    if let Some(rotation) = in_progress
        && (request.mode == RotationMode::Graceful || rotation.mode == RotationMode::Emergency)
    {
        let id = rotation.id.clone();
        answer_for(keyring, &id, request);
        return Ok(Begun::UnderWay(id));
    }
    keyring.retire_unimported(now);
    refuse_lost(keyring, request, observation)?;
    check_room_for(keyring, request.mode, observation)?;
    let candidate = candidate(keyring, request.mode);
    let is_made = candidate.is_none();
    let to = candidate.unwrap_or_else(|| add(keyring, made, now));
    if let Some(version) = keyring.version_mut(&to).filter(|it| it.state == KeyState::Pending) {
        // A process that is importing it already may continue.
        let _ = version.try_claim(ClaimOp::Import, driver, now);
    }
    let made_before = preempt(keyring, &to, now);
    let from = keyring.active().map(|version| version.id.clone());
    let requested_by = request.requested_by.clone();
    let rotation = Rotation {
        idempotency_key_hash: request.idempotency.as_ref().map(|it| it.key_hash.clone()),
        request_hash: request.idempotency.as_ref().map(|it| it.request_hash.clone()),
        from,
        made: is_made || made_before,
        ..Rotation::new(request.mode, requested_by, to, now, &mut system_rng())
    };
    let id = rotation.id.clone();
    keyring.record_rotation(rotation);
    Ok(Begun::New(id))
}

/// Cancels a rotation whose new key does not sign yet. A key that was made for it is retired.
///
/// # Errors
///
/// There is no such rotation, or it can no longer be cancelled.
pub(super) fn cancel(
    keyring: &mut Keyring,
    id: &RotationId,
    now: Timestamp,
) -> Result<(), Refusal> {
    let rotation = keyring.rotations.iter().find(|it| it.id == *id);
    let rotation = rotation.ok_or(Refusal::RotationNotFound)?.clone();
    if rotation.outcome == Some(RotationOutcome::Cancelled) && rotation.activated_at.is_none() {
        return Ok(());
    }
    let refuse = |reason| Err(Refusal::NotCancellable { reason });
    if !rotation.is_open() {
        return refuse("it is over");
    }
    if !rotation.is_before_activation() {
        return refuse("its new key signs already; `keys rollback` lets the old one sign again");
    }
    let active = keyring.active().map(|version| &version.id);
    if rotation.from.is_some() && rotation.from.as_ref() != active {
        return refuse("the leaked key is out of use already, and nothing would sign");
    }
    if let Some(rotation) = keyring.rotations.iter_mut().find(|it| it.id == *id) {
        rotation.finish(RotationOutcome::Cancelled, now);
    }
    if rotation.made {
        retire_unused(keyring, &rotation.to, now);
    }
    Ok(())
}

/// Makes the key sign again that drains since the last rotation, and the new one drain.
///
/// # Errors
///
/// There is no such key, or it can no longer sign.
pub(super) fn roll_back(
    keyring: &mut Keyring,
    requested_by: &str,
    observation: &Observation,
    now: Timestamp,
    policy: &Policy,
) -> Result<RotationId, Refusal> {
    let refuse = |reason| Err(Refusal::NothingToRollBack { reason });
    if keyring.rotations.iter().any(Rotation::is_before_activation) {
        return refuse(
            "a rotation is in progress whose new key does not sign yet; cancel that one",
        );
    }
    let active = keyring.active().map(|version| version.id.clone());
    let last =
        keyring.rotations.iter().rev().find(|it| it.is_open() && Some(&it.to) == active.as_ref());
    let Some((last, from)) = last.and_then(|it| Some((it.id.clone(), it.from.clone()?))) else {
        return refuse("no key drains that signed before the active one");
    };
    let Some(old) = keyring.version(&from) else {
        return refuse("the old key is gone");
    };
    match old.state {
        _ if old.compromised => return refuse("the old key leaked"),
        KeyState::Draining if !observation.has_pair_of(old) => {
            return refuse("IVS no longer has the old pair");
        }
        KeyState::Draining if old.has_private_key => {}
        KeyState::Draining
        | KeyState::Pending
        | KeyState::Imported
        | KeyState::Active
        | KeyState::Retiring
        | KeyState::Retired => return refuse("the old key is being deleted"),
    }
    let new = active.filter(|id| *id != from);
    let at = now.floor_to_second();
    if let Some(new) = &new {
        transitions::begin_drain(keyring, new, at, policy.limits);
    }
    if let Some(old) = keyring.version_mut(&from) {
        old.state = KeyState::Active;
        old.activated_at = Some(at);
        (old.retires_at, old.drain_seen_at) = (None, None);
    }
    if let Some(rotation) = keyring.rotations.iter_mut().find(|it| it.id == last) {
        rotation.finish(RotationOutcome::Cancelled, at);
        rotation.error = Some(RotationFailure {
            code: "rolled_back".to_owned(),
            detail: "The old key signs again.".to_owned(),
        });
    }
    let rotation = Rotation {
        from: new,
        activated_at: Some(at),
        ..Rotation::new(RotationMode::Graceful, requested_by, from, at, &mut system_rng())
    };
    let id = rotation.id.clone();
    keyring.record_rotation(rotation);
    Ok(id)
}

/// Records that an adopted pair no longer has another signer. A pair that drains continues to drain for as long as a
/// token lives that the other signer may have signed just now.
///
/// # Errors
///
/// The keyring has no such pair, or the pair was not adopted.
pub(super) fn release(
    keyring: &mut Keyring,
    arn: &PlaybackKeyArn,
    now: Timestamp,
) -> Result<(), Refusal> {
    let region = keyring.region.clone();
    let version = keyring.by_arn(arn).ok_or(Refusal::NotFound { region })?;
    if !version.adopted {
        return Err(Refusal::NotAdopted { arn: arn.clone() });
    }
    if version.released {
        return Ok(());
    }
    let (id, end) = (version.id.clone(), drain::released_end(keyring, version, now));
    if let Some(version) = keyring.version_mut(&id) {
        version.released = true;
        if version.state == KeyState::Draining {
            version.retires_at = Some(end);
        }
    }
    Ok(())
}

/// Records that a pair is to be deleted, and claims that; a draining one only with `force`. Returns `None` if the pair
/// does not belong to the keyring. `pair` is what IVS has, if no version records the ARN.
///
/// # Errors
///
/// The pair signs, drains, or is claimed by another process; or it belongs to another account.
pub(super) fn delete(
    keyring: &mut Keyring,
    arn: &PlaybackKeyArn,
    pair: Option<&KeyPair>,
    force: bool,
    driver: &DriverId,
    now: Timestamp,
) -> Result<Option<VersionId>, Refusal> {
    check_account(Some(keyring), None, arn.account())?;
    let Some(id) = version_of(keyring, arn, pair) else {
        return Ok(None);
    };
    let account = arn.account().clone();
    let Some(version) = keyring.version_mut(&id) else {
        return Ok(None);
    };
    let in_use = |reason| Err(Refusal::InUse { arn: arn.clone(), reason });
    match version.state {
        KeyState::Active => return in_use(InUse::Active),
        KeyState::Draining if !force => return in_use(InUse::Draining),
        KeyState::Retired => return Ok(None),
        KeyState::Pending | KeyState::Imported | KeyState::Draining | KeyState::Retiring => {}
    }
    if version.try_claim(ClaimOp::Delete, driver, now).is_err() {
        let is_retiring = version.state == KeyState::Retiring;
        return in_use(if is_retiring { InUse::Retiring } else { InUse::Claimed });
    }
    version.begin_retiring(now);
    version.arn.get_or_insert_with(|| arn.clone());
    keyring.account_id.get_or_insert(account);
    Ok(Some(id))
}

/// Returns the version with this ARN, or the one whose tags the pair carries and that records no ARN.
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

/// Makes the emergency rotation in progress the answer to a request for one, also after its end.
fn answer_for(keyring: &mut Keyring, id: &RotationId, request: &Begin) {
    let Some(asked) = &request.idempotency else { return };
    let rotation = keyring.rotations.iter_mut().find(|it| it.id == *id);
    let Some(rotation) = rotation.filter(|it| it.mode == request.mode) else { return };
    if request.mode == RotationMode::Emergency && rotation.idempotency_key_hash.is_none() {
        rotation.idempotency_key_hash = Some(asked.key_hash.clone());
        rotation.request_hash = Some(asked.request_hash.clone());
    }
}

/// Refuses to make a key beside the pairs of a lost keyring, unless the request says so.
fn refuse_lost(
    keyring: &mut Keyring,
    request: &Begin,
    observation: &Observation,
) -> Result<(), Refusal> {
    let pairs = observation.lost(Some(keyring));
    if pairs.is_empty() || keyring.active().is_some() {
        return Ok(());
    }
    if !request.new_keyring {
        return Err(Refusal::LostKeyring { pairs });
    }
    // The id of a keyring whose keys were lost is on their pairs.
    if keyring.keys.is_empty() {
        keyring.id = KeyringId::random(&mut system_rng());
    }
    Ok(())
}

/// Returns the key to continue with: one that IVS has rather than one that it may not have; the oldest. An emergency
/// takes no adopted key, which may be known elsewhere.
fn candidate(keyring: &Keyring, mode: RotationMode) -> Option<VersionId> {
    let is_fit = |version: &&KeyVersion| {
        version.is_candidate() && !(version.adopted && mode == RotationMode::Emergency)
    };
    let mut fit = keyring.keys.iter().filter(is_fit);
    let imported = fit.clone().find(|it| it.state == KeyState::Imported);
    imported.or_else(|| fit.next()).map(|version| version.id.clone())
}

/// Refuses a rotation that could not continue for want of a slot in IVS, or of room in the keyring.
pub(super) fn check_room_for(
    keyring: &Keyring,
    mode: RotationMode,
    observation: &Observation,
) -> Result<(), Refusal> {
    match candidate(keyring, mode).and_then(|id| keyring.version(&id)) {
        Some(version) if version.state == KeyState::Imported => Ok(()),
        // IVS has it: the answer to its import was lost.
        Some(version) if !observation.tagged(keyring, version).is_empty() => Ok(()),
        None if !keyring.has_room() => Err(Refusal::Quota { full: Full::Keyring }),
        Some(_) | None => check_slot(keyring, mode, observation),
    }
}

fn check_slot(
    keyring: &Keyring,
    mode: RotationMode,
    observation: &Observation,
) -> Result<(), Refusal> {
    if observation.has_slot() {
        return Ok(());
    }
    let mut own = keyring.present().filter(|version| observation.has_pair_of(version));
    let is_ending =
        |version: &KeyVersion| matches!(version.state, KeyState::Draining | KeyState::Retiring);
    match mode {
        // An emergency makes room for itself, as far as the pairs are in the keyring.
        RotationMode::Emergency if own.any(|it| is_ending(it) || it.state == KeyState::Active) => {
            Ok(())
        }
        RotationMode::Graceful if own.any(is_ending) => {
            let draining = keyring.rotations.iter().rev().find(|it| it.is_open());
            Err(match draining {
                Some(rotation) => Refusal::RotationInProgress { id: rotation.id.clone() },
                None => observation.quota(keyring),
            })
        }
        RotationMode::Graceful | RotationMode::Emergency => Err(observation.quota(keyring)),
    }
}

fn add(keyring: &mut Keyring, made: &PublicKey, now: Timestamp) -> VersionId {
    let version = KeyVersion::new(made.clone(), true, now, &mut system_rng());
    let id = version.id.clone();
    keyring.keys.push(version);
    id
}

/// Ends the rotations that a new one replaces, and returns whether one of them had `to` made. Keys that were made for
/// the others are retired.
fn preempt(keyring: &mut Keyring, to: &VersionId, now: Timestamp) -> bool {
    let replaced: Vec<_> =
        keyring.rotations.iter().filter(|it| it.is_before_activation()).cloned().collect();
    for rotation in keyring.rotations.iter_mut().filter(|it| it.is_before_activation()) {
        rotation.finish(RotationOutcome::Cancelled, now);
        rotation.error = Some(RotationFailure {
            code: "preempted".to_owned(),
            detail: "An emergency rotation took its place.".to_owned(),
        });
    }
    for rotation in replaced.iter().filter(|it| it.made && it.to != *to) {
        retire_unused(keyring, &rotation.to, now);
    }
    replaced.iter().any(|it| it.made && it.to == *to)
}

/// Begins to retire a key that never signed.
fn retire_unused(keyring: &mut Keyring, id: &VersionId, now: Timestamp) {
    if let Some(version) = keyring.version_mut(id)
        && matches!(version.state, KeyState::Pending | KeyState::Imported)
    {
        version.begin_retiring(now);
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::*;
    use crate::keys::{keyring::strategies, store::samples};

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
        match delete(keyring, &strategies::arn(0), None, force, &driver(), now) {
            Ok(_) => Ok(keyring.keys[0].state),
            Err(Refusal::InUse { reason, .. }) => Err(reason),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn active_pair_stays_and_draining_pair_needs_force() {
        let retiring = Ok(KeyState::Retiring);
        for (state, force, expected) in [
            (KeyState::Pending, false, retiring),
            (KeyState::Imported, false, retiring),
            (KeyState::Active, true, Err(InUse::Active)),
            (KeyState::Draining, false, Err(InUse::Draining)),
            (KeyState::Draining, true, retiring),
            // A deletion that a crash interrupted is completed.
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
    fn claim_of_another_process_prevents_deletion_until_it_expires() {
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
    fn deletion_is_recorded_for_unanswered_imports_but_not_for_foreign_pairs() {
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
            delete(&mut keyring, &pair.arn, Some(&pair), false, &driver(), samples::now())
        };
        assert_eq!(attempt(BTreeMap::new()), Ok(None));
        assert_eq!(attempt(tags), Ok(Some(id)));
        assert_eq!(keyring.keys[0].arn, Some(strategies::arn(7)));
        keyring.check().unwrap();
    }
}
