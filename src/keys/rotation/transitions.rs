//! What each step writes into the keyring. The plan decides when; nothing here judges.

use super::{drain, now::Now, situation::Policy, step::Step};
use crate::{
    clock::Timestamp,
    keys::keyring::{
        Claim, ClaimOp, DriverId, KeyState, Keyring, Limits, Rotation, RotationFailure, RotationId,
        RotationMode, RotationOutcome, VersionId,
    },
};

/// Writes `step` into the keyring, if it is one that only writes, and ends the rotations that have nothing left to do after
/// it.
pub(super) fn apply(step: &Step, keyring: &mut Keyring, now: Now, policy: &Policy) {
    let at = now.latest();
    match step {
        Step::Activate(rotation) => activate(keyring, rotation, at, policy.limits),
        Step::Withdraw(id) => withdraw(keyring, id, at),
        Step::ConfirmDrain(id) => confirm_drain(keyring, id, at),
        Step::Retire(id) => retire(keyring, id, at),
        Step::RecordMissing(id) => {
            if let Some(version) = keyring.version_mut(id) {
                version.missing_since.get_or_insert(at);
            }
        }
        Step::Recover(id) => {
            if let Some(version) = keyring.version_mut(id) {
                version.missing_since = None;
            }
        }
        Step::RecordDuplicate(id, arn) => {
            if let Some(version) = keyring.version_mut(id) {
                version.duplicates.push(arn.clone());
            }
        }
        Step::Settle
        | Step::Schedule
        | Step::Replace(_)
        | Step::Import(_)
        | Step::Reimport(_)
        | Step::Delete(_)
        | Step::DeleteDuplicate(..) => {}
    }
    settle(keyring, at);
}

/// Records since when a pair is missing, and claims the version to import it again.
///
/// # Errors
///
/// Another process has claimed it.
pub(super) fn claim_repair(
    keyring: &mut Keyring,
    id: &VersionId,
    driver: &DriverId,
    now: Now,
) -> Result<(), Claim> {
    let Some(version) = keyring.version_mut(id) else { return Ok(()) };
    version.missing_since.get_or_insert_with(|| now.latest());
    version.try_claim(ClaimOp::Import, driver, now.own)
}

/// Records that IVS no longer has the pair of a retiring version.
pub(super) fn retired(keyring: &mut Keyring, id: &VersionId, now: Timestamp) {
    keyring.clear_denial(id);
    keyring.retire(id, now);
    settle(keyring, now);
}

/// Whether there is a rotation to end.
pub(super) fn settled(keyring: &Keyring, now: Now) -> bool {
    keyring.rotations.iter().any(|rotation| ending(keyring, rotation, now.latest()).is_some())
}

/// Ends the rotations that have nothing left to do.
fn settle(keyring: &mut Keyring, now: Timestamp) {
    let endings: Vec<_> =
        keyring.rotations.iter().map(|rotation| ending(keyring, rotation, now)).collect();
    for (rotation, ended) in keyring.rotations.iter_mut().zip(endings) {
        if let Some(ended) = ended {
            *rotation = ended;
        }
    }
}

/// Returns the rotation as it ended, if it did.
fn ending(keyring: &Keyring, rotation: &Rotation, now: Timestamp) -> Option<Rotation> {
    if !rotation.is_open() {
        return None;
    }
    let state = |id: &VersionId| keyring.version(id).map(|version| version.state);
    let is_gone = |id: &VersionId| matches!(state(id), None | Some(KeyState::Retired));
    let mut ended = rotation.clone();
    if rotation.activated_at.is_none() {
        return match state(&rotation.to) {
            Some(KeyState::Pending | KeyState::Imported) => None,
            // The new key was deleted by name.
            None | Some(KeyState::Retiring | KeyState::Retired) => {
                ended.finish(RotationOutcome::Failed, now);
                ended.error.get_or_insert_with(|| RotationFailure {
                    code: "key_deleted".to_owned(),
                    detail: "The new key was deleted before it signed. Ask for the rotation again."
                        .to_owned(),
                });
                Some(ended)
            }
            // It became active by other means: it was imported while no key signed.
            Some(KeyState::Active | KeyState::Draining) => {
                ended.activated_at = Some(now);
                Some(ended)
            }
        };
    }
    let is_over = rotation.from.as_ref().is_none_or(is_gone)
        && (rotation.mode == RotationMode::Graceful
            || !keyring.present().any(|version| version.compromised));
    is_over.then(|| {
        ended.finish(RotationOutcome::Done, now);
        ended
    })
}

fn activate(keyring: &mut Keyring, id: &RotationId, now: Timestamp, limits: Limits) {
    let Some(rotation) = keyring.rotations.iter_mut().find(|it| it.id == *id) else { return };
    let is_emergency = rotation.mode == RotationMode::Emergency;
    rotation.activated_at = Some(now);
    let to = rotation.to.clone();
    let from = keyring.active().map(|version| version.id.clone());
    if let Some(from) = &from {
        begin_drain(keyring, from, now, limits);
    }
    if is_emergency {
        leaked(keyring, now);
    }
    if let Some(version) = keyring.version_mut(&to) {
        version.state = KeyState::Active;
        version.activated_at = Some(now);
        version.claim = None;
    }
    exchange_limits(keyring, limits);
}

/// Stops signing with the active version, and keeps its pair for as long as its tokens live by the recorded limits and
/// those of this process.
pub(super) fn begin_drain(keyring: &mut Keyring, id: &VersionId, now: Timestamp, limits: Limits) {
    keyring.raise_limits(limits);
    let end = keyring.version(id).map(|version| drain::end(keyring, version, now));
    if let Some(version) = keyring.version_mut(id) {
        version.state = KeyState::Draining;
        version.retires_at = end;
        version.drain_seen_at = None;
    }
}

/// Sets the recorded limits to those of this process, which is allowed at an activation only. The versions that drain keep
/// what the earlier limits mean for them.
fn exchange_limits(keyring: &mut Keyring, limits: Limits) {
    let before = keyring.limits();
    let lowered = |exchanged: Limits| before.beyond(exchanged).next().is_some();
    if lowered(limits) {
        let drains: Vec<_> =
            keyring.keys.iter().map(|version| drain::duration(keyring, version)).collect();
        for (version, drain) in keyring.keys.iter_mut().zip(drains) {
            if version.state != KeyState::Draining {
                continue;
            }
            if limits.max_ttl < before.max_ttl {
                version.longest_ttl = version.longest_ttl.max(Some(before.max_ttl));
            }
            if lowered(Limits { max_ttl: before.max_ttl, ..limits }) {
                version.longest_drain = version.longest_drain.max(Some(drain));
            }
        }
    }
    keyring.set_limits(limits);
}

/// Marks every key that ever signed as compromised, which ends its tokens.
fn leaked(keyring: &mut Keyring, now: Timestamp) {
    for version in &mut keyring.keys {
        if matches!(version.state, KeyState::Active | KeyState::Draining) {
            version.state = KeyState::Draining;
            version.compromised = true;
            version.retires_at = Some(now);
            version.drain_seen_at = Some(now);
        }
    }
}

fn withdraw(keyring: &mut Keyring, id: &VersionId, now: Timestamp) {
    if keyring.version(id).is_some_and(|version| version.state == KeyState::Active) {
        leaked(keyring, now);
    }
}

fn confirm_drain(keyring: &mut Keyring, id: &VersionId, now: Timestamp) {
    let end = keyring.version(id).map(|version| drain::confirmed_end(keyring, version, now));
    if let Some(version) = keyring.version_mut(id) {
        version.retires_at = end;
        version.drain_seen_at = Some(now);
    }
}

fn retire(keyring: &mut Keyring, id: &VersionId, now: Timestamp) {
    let is_emergency = keyring
        .rotations
        .iter()
        .any(|it| it.is_before_activation() && it.mode == RotationMode::Emergency);
    if let Some(version) = keyring.version_mut(id) {
        version.compromised |= is_emergency;
        version.claim = None;
        version.begin_retiring(now);
    }
}
