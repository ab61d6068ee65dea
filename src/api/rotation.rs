//! Rotations.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    clock::Timestamp,
    ivs::arn::{PlaybackKeyArn, Region},
    keys::{
        keyring::{RotationFailure, RotationId, RotationMode},
        rotation::view::{NextStep, Phase, RotationView},
    },
};

/// A rotation: the replacement of the key that signs.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "id": "6ed47698-a0e6-4e7e-b290-9ca4e8c91ff8", "region": "us-west-2", "mode": "graceful",
    "phase": "propagating", "since": "2026-11-22T08:40:00Z",
    "nextStep": "activate", "nextAt": "2026-11-22T08:50:00Z",
    "newKeyPairArn": "arn:aws:ivs:us-west-2:123456789012:playback-key/QrStUvWx9012",
    "oldKeyPairArn": "arn:aws:ivs:us-west-2:123456789012:playback-key/IjKlMnOp5678", "error": null
}))]
pub struct RotationBody {
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

impl From<RotationView> for RotationBody {
    fn from(rotation: RotationView) -> Self {
        Self {
            id: rotation.id,
            region: rotation.region,
            mode: rotation.mode,
            phase: rotation.phase,
            since: rotation.since,
            next_step: rotation.next_step,
            next_at: rotation.next_at,
            new_key_pair_arn: rotation.new_key_pair_arn,
            old_key_pair_arn: rotation.old_key_pair_arn,
            error: rotation.error,
        }
    }
}

/// Rotations by region, the latest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"rotations": [{
    "id": "6ed47698-a0e6-4e7e-b290-9ca4e8c91ff8", "region": "us-west-2", "mode": "graceful",
    "phase": "done", "since": "2026-11-22T08:50:00Z", "nextStep": null, "nextAt": null,
    "newKeyPairArn": "arn:aws:ivs:us-west-2:123456789012:playback-key/IjKlMnOp5678",
    "oldKeyPairArn": null, "error": null
}]}))]
pub struct RotationsBody {
    /// The rotations in progress and the last ones that ended.
    pub rotations: Vec<RotationBody>,
}

/// The rotation to start.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"mode": "graceful"}))]
pub struct StartRotationRequest {
    /// May be omitted if only one region is configured.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// `graceful` by default.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<RotationMode>,
}
