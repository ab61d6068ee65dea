//! Rotations as the API and the command line show them.

use serde::Serialize;
use utoipa::ToSchema;

use super::situation::Policy;
use crate::{
    clock::Timestamp,
    ivs::arn::{PlaybackKeyArn, Region},
    keys::keyring::{
        KeyState, KeyVersion, Keyring, Rotation, RotationFailure, RotationId, RotationMode,
        RotationOutcome, VersionId,
    },
};

/// A rotation: the replacement of the key that signs.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RotationBody, example = json!({
    "id": "6ed47698-a0e6-4e7e-b290-9ca4e8c91ff8", "region": "us-west-2", "mode": "graceful",
    "phase": "propagating", "since": "2026-11-22T08:40:00Z",
    "nextStep": "activate", "nextAt": "2026-11-22T08:50:00Z",
    "newKeyPairArn": "arn:aws:ivs:us-west-2:123456789012:playback-key/QrStUvWx9012",
    "oldKeyPairArn": "arn:aws:ivs:us-west-2:123456789012:playback-key/IjKlMnOp5678", "error": null
}))]
pub struct RotationView {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub id: RotationId,
    /// Its region.
    #[schema(value_type = String)]
    pub region: Region,
    /// How much time it gives the old key.
    pub mode: RotationMode,
    /// How far it is.
    pub phase: Phase,
    /// When the phase began.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Null where nothing is left to do.
    #[schema(required)]
    pub next_step: Option<NextStep>,
    /// When the next step is due; null where that is not known.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    pub next_at: Option<Timestamp>,
    /// Null before the new pair is imported.
    #[schema(required, value_type = Option<String>)]
    pub new_key_pair_arn: Option<PlaybackKeyArn>,
    /// Null for a region's first key.
    #[schema(required, value_type = Option<String>)]
    pub old_key_pair_arn: Option<PlaybackKeyArn>,
    /// Why the rotation failed or is stuck; null otherwise.
    #[schema(required)]
    pub error: Option<RotationFailure>,
}

/// How far a rotation has come. The new key signs from `draining` on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ToSchema)]
#[schema(as = RotationPhase)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// The new key is being generated.
    Generating,
    /// The new key is being imported.
    Importing,
    /// The new key waits until IVS knows it everywhere.
    Propagating,
    /// The new key signs, and the old one's tokens expire.
    Draining,
    /// The old pair is being deleted.
    Retiring,
    /// Nothing is left to do.
    Done,
    /// It was cancelled before the new key signed, or rolled back.
    Cancelled,
    /// It could not continue.
    Failed,
}

impl Phase {
    /// Whether the new key signs already, or never will.
    pub const fn is_after_activation(self) -> bool {
        !matches!(self, Self::Generating | Self::Importing | Self::Propagating)
    }

    /// Whether nothing else happens.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled | Self::Failed)
    }

    /// Returns the word in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Generating => "generating",
            Self::Importing => "importing",
            Self::Propagating => "propagating",
            Self::Draining => "draining",
            Self::Retiring => "retiring",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

/// What happens next in a rotation; `release` waits for `keys release`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ToSchema)]
#[schema(as = RotationStep)]
#[serde(rename_all = "camelCase")]
pub enum NextStep {
    /// The new key is imported.
    Import,
    /// The new key begins to sign.
    Activate,
    /// The operator confirms that no other signer uses the old key (`keys release`).
    Release,
    /// The deletion of the old pair is decided.
    Retire,
    /// The old pair is deleted.
    Delete,
}

impl NextStep {
    /// Returns the word in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Import => "import",
            Self::Activate => "activate",
            Self::Release => "release",
            Self::Retire => "retire",
            Self::Delete => "delete",
        }
    }
}

/// Returns the rotations of a keyring, the latest first.
pub fn rotations(keyring: &Keyring, policy: &Policy, now: Timestamp) -> Vec<RotationView> {
    keyring.rotations.iter().rev().map(|it| view(keyring, it, policy, now)).collect()
}

fn view(keyring: &Keyring, rotation: &Rotation, policy: &Policy, now: Timestamp) -> RotationView {
    let arn = |id: &VersionId| keyring.version(id).and_then(|version| version.arn.clone());
    let stage = stage(keyring, rotation, policy, now);
    RotationView {
        id: rotation.id.clone(),
        region: keyring.region.clone(),
        mode: rotation.mode,
        phase: stage.phase,
        since: stage.since,
        next_step: stage.next_step,
        next_at: stage.next_at,
        new_key_pair_arn: arn(&rotation.to),
        old_key_pair_arn: rotation.from.as_ref().and_then(arn),
        error: rotation.error.clone(),
    }
}

struct Stage {
    phase: Phase,
    since: Timestamp,
    next_step: Option<NextStep>,
    next_at: Option<Timestamp>,
}

fn stage(keyring: &Keyring, rotation: &Rotation, policy: &Policy, now: Timestamp) -> Stage {
    let stage = |phase, since, next_step, next_at| Stage { phase, since, next_step, next_at };
    if let Some(outcome) = rotation.outcome {
        let phase = match outcome {
            RotationOutcome::Done => Phase::Done,
            RotationOutcome::Cancelled => Phase::Cancelled,
            RotationOutcome::Failed => Phase::Failed,
        };
        return stage(phase, rotation.finished_at.unwrap_or(rotation.started_at), None, None);
    }
    let Some(activated_at) = rotation.activated_at else {
        let to = keyring.version(&rotation.to);
        return match to.filter(|it| it.state == KeyState::Imported) {
            Some(to) => {
                let since = to.imported_at.unwrap_or(rotation.started_at).max(rotation.started_at);
                let is_waited_for = rotation.mode == RotationMode::Graceful && !policy.has_canary;
                let known_at = to.imported_at.map(|at| at + policy.propagation_wait);
                let next_at = known_at.filter(|_| is_waited_for);
                stage(Phase::Propagating, since, Some(NextStep::Activate), next_at)
            }
            None => stage(Phase::Importing, rotation.started_at, Some(NextStep::Import), None),
        };
    };
    let from = rotation.from.as_ref().and_then(|id| keyring.version(id));
    let ends = |version: &&KeyVersion| version.state == KeyState::Retiring;
    if let Some(retiring) = from.filter(ends) {
        let since = retiring.retires_at.unwrap_or(activated_at);
        return stage(Phase::Retiring, since, Some(NextStep::Delete), None);
    }
    let retires_at = from.and_then(|version| version.retires_at);
    let is_over = retires_at.is_some_and(|retires_at| retires_at <= now);
    match from {
        Some(from) if from.is_shared() && is_over => {
            stage(Phase::Draining, activated_at, Some(NextStep::Release), None)
        }
        _ => stage(Phase::Draining, activated_at, Some(NextStep::Retire), retires_at),
    }
}
