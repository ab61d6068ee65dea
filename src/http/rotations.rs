//! `/v1/key-pairs/rotations`: ask for one, list, read, cancel.
//!
//! A request writes down what is asked for and wakes the rotator, which does the rest; nothing here
//! waits for a step.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api,
    extract::{Caller, JsonObject, KeysRead, KeysWrite, PathText, QueryParameters},
    idempotency,
    json::Members,
    key_pairs::{refuse_operation, to_the_end},
    layers::RequestFacts,
    problem::{ApiError, ProblemType},
    regions,
    respond::{json, json_with, no_store},
};
use crate::access::audit::Record;
use crate::keys::{
    keyring::{RotationId, RotationMode},
    lifecycle::{
        requests::{Begin, Begun},
        view::{NextStep, Phase, RotationView},
    },
    operations::OperationError,
    rotator::Rotator,
};

/// A rotation: the replacement of the key that signs.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase", example = json!({
    "id": "6ed47698-a0e6-4e7e-b290-9ca4e8c91ff8", "region": "us-west-2", "mode": "graceful",
    "phase": "propagating", "since": "2026-11-22T08:40:00Z",
    "nextStep": "activate", "nextAt": "2026-11-22T08:50:00Z",
    "newKeyPairArn": "arn:aws:ivs:us-west-2:123456789012:playback-key/QrStUvWx9012",
    "oldKeyPairArn": "arn:aws:ivs:us-west-2:123456789012:playback-key/IjKlMnOp5678", "error": null
}))]
#[expect(dead_code, reason = "the schema of what keys::lifecycle serialises")]
pub struct RotationBody {
    #[schema(format = "uuid")]
    id: String,
    region: String,
    mode: RotationMode,
    phase: Phase,
    /// When the phase began.
    #[schema(format = DateTime)]
    since: String,
    /// Null where nothing is left to do.
    #[schema(required)]
    next_step: Option<NextStep>,
    /// When the next step is due; null where that is not known.
    #[schema(required, format = DateTime)]
    next_at: Option<String>,
    /// Null before the new pair is imported.
    #[schema(required)]
    new_key_pair_arn: Option<String>,
    /// Null for a region's first key.
    #[schema(required)]
    old_key_pair_arn: Option<String>,
    /// Why the rotation failed or is stuck; null otherwise.
    #[schema(required)]
    error: Option<RotationErrorBody>,
}

/// Why a rotation failed or is stuck.
#[derive(Debug, ToSchema)]
#[schema(as = RotationError)]
#[expect(dead_code, reason = "the schema of what keys::lifecycle serialises")]
pub struct RotationErrorBody {
    /// Stable, to branch on.
    code: String,
    detail: String,
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
    #[schema(value_type = Vec<RotationBody>)]
    rotations: Vec<RotationView>,
}

/// The rotation to start.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase", example = json!({"mode": "graceful"}))]
#[expect(dead_code, reason = "the schema of a body that is read member by member")]
pub struct StartRotationRequest {
    /// May be omitted if only one region is configured.
    #[schema(nullable = false)]
    region: Option<String>,
    /// `graceful` by default.
    #[schema(nullable = false)]
    mode: Option<RotationMode>,
}

/// Start a rotation. The service imports a new key pair, signs with it once IVS knows it, and deletes the old pair when its tokens have expired.
#[utoipa::path(
    post, path = "/v1/key-pairs/rotations", operation_id = "startRotation", tag = "Key pairs",
    security(("credential" = ["keys:write"])),
    params(("Idempotency-Key" = Option<String>, Header, description = "A retry with the same key and body returns the rotation of the first request")),
    request_body = StartRotationRequest,
    responses((
        status = 202, description = "The rotation is recorded and has started", body = RotationBody,
        links(
            ("read" = (operation_id = "getRotation", parameters(("id" = "$response.body#/id")))),
            ("cancel" = (operation_id = "cancelRotation", parameters(("id" = "$response.body#/id"))))
        )
    ))
)]
pub async fn start_rotation(
    State(api): State<Api>,
    client: Caller<KeysWrite>,
    facts: RequestFacts,
    headers: HeaderMap,
    body: JsonObject,
) -> Result<Response, ApiError> {
    let idempotency = idempotency::record(&headers, &client, "startRotation", &body.0)?;
    let mut members = Members::new(body.0);
    let region = regions::of_member(&api, &mut members);
    let mode = mode(&mut members);
    let violations = members.finish();
    let (Some(region), []) = (region, violations.as_slice()) else {
        return Err(ApiError::invalid(violations));
    };
    idempotency::refuse_elsewhere(&api, &region, idempotency.as_ref()).await?;
    let rotator = regions::key_pairs_of(&api.rotators, &region)?;
    let request =
        Begin { mode, requested_by: client.id().to_string(), idempotency, new_keyring: false };
    // A leaked key is replaced at once, whatever becomes of the record.
    if mode == RotationMode::Graceful {
        api.audit.check().map_err(ApiError::audit_unavailable)?;
    }
    let (rotator, actor, for_audit) = (Arc::clone(rotator), client.actor(&facts), api.clone());
    let work = async move {
        let begun = rotator.operations().begin_rotation(request).await.map_err(refuse_operation)?;
        if let (Begun::UnderWay(id), RotationMode::Graceful) = (&begun, mode) {
            return Err(under_way(id));
        }
        rotator.wake();
        let id = begun.id().to_string();
        let record = Record {
            region: Some(&region),
            rotation_id: Some(&id),
            mode: Some(mode.word()),
            ..Record::key_change(for_audit.clock.now(), &actor, "rotation_started")
        };
        let recorded = for_audit.audit.record(&record).await;
        if mode == RotationMode::Graceful {
            recorded.map_err(ApiError::audit_unavailable)?;
        }
        rotator.rotation(begun.id()).await.map_err(refuse_operation)
    };
    let rotation = to_the_end(&api, work).await?;
    Ok(no_store(json_with(StatusCode::ACCEPTED, &rotation)))
}

/// List the rotations in progress and the last ones that ended.
#[utoipa::path(
    get, path = "/v1/key-pairs/rotations", operation_id = "listRotations", tag = "Key pairs",
    security(("credential" = ["keys:read"])),
    params(("region" = Option<String>, Query, description = "One region. Without it, all configured regions")),
    responses((status = 200, description = "Rotations", body = RotationsBody))
)]
pub async fn list_rotations(
    State(api): State<Api>,
    _: Caller<KeysRead>,
    mut query: QueryParameters,
) -> Result<Response, ApiError> {
    let regions = regions::of_query(&api, &mut query);
    query.finish()?;
    let mut rotations = Vec::new();
    for region in &regions {
        let of_region = regions::key_pairs_of(&api.rotators, region)?.rotations().await;
        rotations.extend(of_region.map_err(refuse_operation)?);
    }
    Ok(no_store(json(&RotationsBody { rotations })))
}

/// Read one rotation.
#[utoipa::path(
    get, path = "/v1/key-pairs/rotations/{id}", operation_id = "getRotation", tag = "Key pairs",
    security(("credential" = ["keys:read"])),
    params(("id" = String, Path, description = "The id of the rotation", example = "6ed47698-a0e6-4e7e-b290-9ca4e8c91ff8")),
    responses((status = 200, description = "The rotation", body = RotationBody))
)]
pub async fn get_rotation(
    State(api): State<Api>,
    _: Caller<KeysRead>,
    id: PathText,
    query: QueryParameters,
) -> Result<Response, ApiError> {
    query.finish()?;
    let (_, rotation) = find(&api, &id.0).await?;
    Ok(no_store(json(&rotation)))
}

/// Cancel a rotation whose new key does not sign yet.
#[utoipa::path(
    delete, path = "/v1/key-pairs/rotations/{id}", operation_id = "cancelRotation", tag = "Key pairs",
    security(("credential" = ["keys:write"])),
    params(("id" = String, Path, description = "The id of the rotation", example = "6ed47698-a0e6-4e7e-b290-9ca4e8c91ff8")),
    responses((status = 200, description = "The rotation, cancelled", body = RotationBody))
)]
pub async fn cancel_rotation(
    State(api): State<Api>,
    client: Caller<KeysWrite>,
    facts: RequestFacts,
    id: PathText,
    query: QueryParameters,
) -> Result<Response, ApiError> {
    query.finish()?;
    let (rotator, RotationView { id, .. }) = find(&api, &id.0).await?;
    api.audit.check().map_err(ApiError::audit_unavailable)?;
    let (rotator, actor, for_audit) = (Arc::clone(rotator), client.actor(&facts), api.clone());
    let work = async move {
        rotator.operations().cancel_rotation(id.clone()).await.map_err(refuse_operation)?;
        rotator.wake();
        let text = id.to_string();
        let record = Record {
            region: Some(rotator.operations().region()),
            rotation_id: Some(&text),
            ..Record::key_change(for_audit.clock.now(), &actor, "rotation_cancelled")
        };
        for_audit.audit.record(&record).await.map_err(ApiError::audit_unavailable)?;
        rotator.rotation(&id).await.map_err(refuse_operation)
    };
    let rotation = to_the_end(&api, work).await?;
    Ok(no_store(json(&rotation)))
}

/// What is wrong with it is noted in `members`.
fn mode(members: &mut Members) -> RotationMode {
    match members.string("mode").as_deref() {
        None | Some("graceful") => RotationMode::Graceful,
        Some("emergency") => RotationMode::Emergency,
        Some(_) => {
            members.violate("/mode", "mode must be \"graceful\" or \"emergency\".");
            RotationMode::Graceful
        }
    }
}

fn under_way(id: &RotationId) -> ApiError {
    ApiError::new(
        ProblemType::RotationInProgress,
        "A rotation of this region is under way already. Wait for it or cancel it; where the key \
         leaked, use mode \"emergency\", which always goes through.",
    )
    .rotation(id.clone())
}

/// The rotation of this id, which does not tell its region.
async fn find<'a>(api: &'a Api, text: &str) -> Result<(&'a Arc<Rotator>, RotationView), ApiError> {
    let mut failure = OperationError::RotationNotFound;
    if let Ok(id) = text.parse::<RotationId>() {
        for rotator in api.rotators.values() {
            match rotator.rotation(&id).await {
                Ok(rotation) => return Ok((rotator, rotation)),
                Err(OperationError::RotationNotFound) => {}
                // It may be there, so it is not called absent.
                Err(error) => failure = error,
            }
        }
    }
    Err(refuse_operation(failure))
}
