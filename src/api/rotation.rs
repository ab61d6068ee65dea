//! Rotations.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::keys::{keyring::RotationMode, rotation::view::RotationView};

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
    pub rotations: Vec<RotationView>,
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
