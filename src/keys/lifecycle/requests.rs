//! What people ask of a rotation, as changes of the keyring: begin, cancel, roll back, release.

use super::{Observed, Policy, change, drain};
use crate::{
    clock::Timestamp,
    ivs::arn::PlaybackKeyArn,
    keys::{
        keyring::{
            Asked, ClaimOp, DriverId, IdempotencyRecord, KeyState, KeyVersion, Keyring, KeyringId,
            Rotation, RotationFailure, RotationId, RotationMode, RotationOutcome, VersionId,
        },
        material::PublicKey,
        operations::OperationError,
        survey::{self, KEY_PAIR_QUOTA},
    },
    secret::system_rng,
};

/// A rotation that is asked for.
#[derive(Clone, Debug)]
pub struct Begin {
    /// How much time the old key is given.
    pub mode: RotationMode,
    /// The client or command that asks.
    pub requested_by: String,
    /// The request, where it must not be carried out twice.
    pub idempotency: Option<IdempotencyRecord>,
    /// Go on although IVS has pairs of a keyring that was lost.
    pub new_keyring: bool,
}

/// What a request for a rotation came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Begun {
    /// It was begun.
    New(RotationId),
    /// The same request was carried out before.
    Known(RotationId),
    /// Another one is under way, and leads to a new key as well.
    UnderWay(RotationId),
}

impl Begun {
    /// The rotation.
    pub const fn id(&self) -> &RotationId {
        match self {
            Self::New(id) | Self::Known(id) | Self::UnderWay(id) => id,
        }
    }
}

/// Begins a rotation: chooses the new key, or takes the one with the public half `made`, and writes
/// down that it is to sign.
///
/// # Errors
///
/// - [`OperationError::Quota`]: IVS has no slot for the new key, and none becomes free by itself
/// - [`OperationError::RotationInProgress`]: the slots are taken by a rotation that drains
/// - [`OperationError::LostPairs`]: see there
/// - [`OperationError::IdempotencyKeyReused`]
pub fn begin(
    keyring: &mut Keyring,
    request: &Begin,
    made: &PublicKey,
    observed: &Observed,
    driver: &DriverId,
    now: Timestamp,
) -> Result<Begun, OperationError> {
    if let Some(known) = repeated(keyring, request)? {
        return Ok(Begun::Known(known));
    }
    let under_way = keyring.rotations.iter().rev().find(|it| it.is_before_activation());
    match under_way {
        Some(rotation)
            if request.mode == RotationMode::Graceful
                || rotation.mode == RotationMode::Emergency =>
        {
            let id = rotation.id.clone();
            answer_for(keyring, &id, request);
            return Ok(Begun::UnderWay(id));
        }
        _ => {}
    }
    keyring.retire_unimported(now);
    refuse_lost(keyring, request, observed)?;
    check_room_for(keyring, request.mode, observed)?;
    let candidate = candidate(keyring, request.mode);
    let is_made = candidate.is_none();
    let to = candidate.unwrap_or_else(|| add(keyring, made, now));
    if let Some(version) = keyring.version_mut(&to).filter(|it| it.state == KeyState::Pending) {
        // Somebody who imports it already may go on.
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

/// Cancels a rotation whose new key does not sign yet. A key that was made for it goes.
///
/// # Errors
///
/// There is no such rotation, or it cannot be cancelled any more.
pub fn cancel(
    keyring: &mut Keyring,
    id: &RotationId,
    now: Timestamp,
) -> Result<(), OperationError> {
    let rotation = keyring.rotations.iter().find(|it| it.id == *id);
    let rotation = rotation.ok_or(OperationError::RotationNotFound)?.clone();
    if rotation.outcome == Some(RotationOutcome::Cancelled) && rotation.activated_at.is_none() {
        return Ok(());
    }
    let refuse = |reason| Err(OperationError::NotCancellable { reason });
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
    if let Some(version) = keyring.version_mut(&rotation.to).filter(|_| rotation.made)
        && matches!(version.state, KeyState::Pending | KeyState::Imported)
    {
        version.begin_retiring(now);
    }
    Ok(())
}

/// Lets the key sign again that drains since the last rotation, and the new one drain.
///
/// # Errors
///
/// There is none, or it can sign no more.
pub fn roll_back(
    keyring: &mut Keyring,
    requested_by: &str,
    observed: &Observed,
    now: Timestamp,
    policy: &Policy,
) -> Result<RotationId, OperationError> {
    let refuse = |reason| Err(OperationError::NothingToRollBack { reason });
    if keyring.rotations.iter().any(Rotation::is_before_activation) {
        return refuse("a rotation is under way whose new key does not sign yet; cancel that one");
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
        KeyState::Draining if !observed.has_pair_of(old) => {
            return refuse("IVS does not have the old pair any more");
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
        change::begin_drain(keyring, new, at, policy.limits);
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

/// Takes down that an adopted pair has no other signer any more. One that drains goes on draining
/// for as long as a token lives that this signer may have signed just now.
///
/// # Errors
///
/// The keyring has no such pair, or it is none that was adopted.
pub fn release(
    keyring: &mut Keyring,
    arn: &PlaybackKeyArn,
    now: Timestamp,
) -> Result<(), OperationError> {
    let region = keyring.region.clone();
    let version = keyring.by_arn(arn).ok_or(OperationError::NotFound { region })?;
    if !version.adopted {
        return Err(OperationError::NotAdopted { arn: arn.clone() });
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

/// The rotation that the same request began when it came before.
///
/// # Errors
///
/// Its idempotency key belongs to another request.
pub fn repeated(keyring: &Keyring, request: &Begin) -> Result<Option<RotationId>, OperationError> {
    let Some(asked) = &request.idempotency else { return Ok(None) };
    match keyring.asked_before(asked)? {
        None => Ok(None),
        Some(Asked::Rotation(rotation)) => Ok(Some(rotation)),
        Some(Asked::Version(_)) => Err(OperationError::IdempotencyKeyReused),
    }
}

/// An emergency that was asked for while one is under way is that one, also when the request comes
/// again after its end.
fn answer_for(keyring: &mut Keyring, id: &RotationId, request: &Begin) {
    let Some(asked) = &request.idempotency else { return };
    let rotation = keyring.rotations.iter_mut().find(|it| it.id == *id);
    let Some(rotation) = rotation.filter(|it| it.mode == request.mode) else { return };
    if request.mode == RotationMode::Emergency && rotation.idempotency_key_hash.is_none() {
        rotation.idempotency_key_hash = Some(asked.key_hash.clone());
        rotation.request_hash = Some(asked.request_hash.clone());
    }
}

/// Nothing is made beside the pairs of a keyring that was lost, unless somebody insists.
fn refuse_lost(
    keyring: &mut Keyring,
    request: &Begin,
    observed: &Observed,
) -> Result<(), OperationError> {
    let lost = survey::lost(Some(keyring), &observed.listed);
    if lost.is_empty() || keyring.active().is_some() {
        return Ok(());
    }
    if !request.new_keyring {
        return Err(OperationError::LostPairs { pairs: lost });
    }
    // The id of a keyring whose keys were lost is on their pairs.
    if keyring.keys.is_empty() {
        keyring.id = KeyringId::random(&mut system_rng());
    }
    Ok(())
}

/// The key to go on with: one that IVS has, rather than one that it may not; the oldest. One that
/// somebody brought may be known elsewhere, so an emergency does not take it.
fn candidate(keyring: &Keyring, mode: RotationMode) -> Option<VersionId> {
    let is_fit = |version: &&KeyVersion| {
        version.is_candidate() && !(version.adopted && mode == RotationMode::Emergency)
    };
    let mut fit = keyring.keys.iter().filter(is_fit);
    let imported = fit.clone().find(|it| it.state == KeyState::Imported);
    imported.or_else(|| fit.next()).map(|version| version.id.clone())
}

/// Refuses a rotation that could not go on for want of a slot in IVS, or of room in the keyring.
pub(super) fn check_room_for(
    keyring: &Keyring,
    mode: RotationMode,
    observed: &Observed,
) -> Result<(), OperationError> {
    match candidate(keyring, mode).and_then(|id| keyring.version(&id)) {
        Some(version) if version.state == KeyState::Imported => Ok(()),
        // Its import was answered, but nobody heard it.
        Some(version) if !survey::tagged(keyring, version, &observed.listed).is_empty() => Ok(()),
        Some(_) => check_slot(keyring, mode, observed),
        None => {
            survey::check_room(keyring)?;
            check_slot(keyring, mode, observed)
        }
    }
}

fn check_slot(
    keyring: &Keyring,
    mode: RotationMode,
    observed: &Observed,
) -> Result<(), OperationError> {
    if observed.listed.len() < KEY_PAIR_QUOTA {
        return Ok(());
    }
    let mut own = keyring.present().filter(|version| observed.has_pair_of(version));
    let is_ending =
        |version: &KeyVersion| matches!(version.state, KeyState::Draining | KeyState::Retiring);
    match mode {
        // An emergency makes room for itself, as far as the pairs are ours.
        RotationMode::Emergency if own.any(|it| is_ending(it) || it.state == KeyState::Active) => {
            Ok(())
        }
        RotationMode::Graceful if own.any(is_ending) => {
            let draining = keyring.rotations.iter().rev().find(|it| it.is_open());
            match draining {
                Some(rotation) => {
                    Err(OperationError::RotationInProgress { id: rotation.id.clone() })
                }
                None => Err(survey::quota_of(keyring, &observed.listed)),
            }
        }
        RotationMode::Graceful | RotationMode::Emergency => {
            Err(survey::quota_of(keyring, &observed.listed))
        }
    }
}

fn add(keyring: &mut Keyring, made: &PublicKey, now: Timestamp) -> VersionId {
    let version = KeyVersion::new(made.clone(), true, now, &mut system_rng());
    let id = version.id.clone();
    keyring.keys.push(version);
    id
}

/// Ends the rotations that a new one replaces, and says whether one of them had `to` made. Keys that
/// were made for the others go.
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
        if let Some(version) = keyring.version_mut(&rotation.to)
            && matches!(version.state, KeyState::Pending | KeyState::Imported)
        {
            version.begin_retiring(now);
        }
    }
    replaced.iter().any(|it| it.made && it.to == *to)
}
