//! `/v1/key-pairs/rotations`: start, list, read and cancel rotations.
//!
//! A request records the rotation and wakes the manager, which takes the steps; no handler waits for a
//! step.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};

use super::{
    Api,
    extract::{Body, Caller, KeysRead, KeysWrite, PathText, QueryParameters},
    idempotency,
    key_pairs::regions_of_query,
    problem::{ApiError, ProblemType},
    respond::{json, json_with, no_store},
};
use crate::{
    api::rotation::{RotationsBody, StartRotationRequest},
    keys::{
        keyring::{RotationId, RotationMode},
        rotation::{Begin, Begun, view::RotationView},
    },
};

/// Start a rotation. The service imports a new key pair, signs with it once IVS knows it, and deletes the old pair when its tokens have expired.
#[utoipa::path(
    post, path = "/v1/key-pairs/rotations", operation_id = "startRotation", tag = "Key pairs",
    security(("credential" = ["keys:write"])),
    params(("Idempotency-Key" = Option<String>, Header, description = "A retry with the same key and body returns the rotation of the first request")),
    request_body = StartRotationRequest,
    responses((
        status = 202, description = "The rotation is recorded and has started", body = RotationView,
        links(
            ("read" = (operation_id = "getRotation", parameters(("id" = "$response.body#/id")))),
            ("cancel" = (operation_id = "cancelRotation", parameters(("id" = "$response.body#/id"))))
        )
    ))
)]
pub async fn start_rotation(
    State(api): State<Api>,
    client: Caller<KeysWrite>,
    headers: HeaderMap,
    Body(request): Body<StartRotationRequest>,
) -> Result<Response, ApiError> {
    let idempotency = idempotency::record(&headers, &client, "startRotation", &request)?;
    let keys = api.key_pairs.region(request.region.as_deref());
    let keys = keys.map_err(|error| ApiError::invalid(vec![error.into()]))?;
    let mode = request.mode.unwrap_or(RotationMode::Graceful);
    let actor = client.actor();
    let requested_by = client.id().to_string();
    let request = Begin { mode, requested_by, idempotency, new_keyring: false };
    let started = api.key_pairs.start_rotation(keys, &actor, request).await;
    let (begun, recorded) = started?;
    if mode == RotationMode::Graceful {
        if let Begun::UnderWay(id) = &begun {
            return Err(in_progress(id));
        }
        recorded?;
    }
    let rotation = keys.manager.rotation(begun.id()).await?;
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
    let regions = regions_of_query(&api, &mut query);
    query.finish()?;
    let mut rotations = Vec::new();
    for keys in regions {
        let of_region = keys.manager.rotations().await?;
        rotations.extend(of_region);
    }
    Ok(no_store(json(&RotationsBody { rotations })))
}

/// Read one rotation.
#[utoipa::path(
    get, path = "/v1/key-pairs/rotations/{id}", operation_id = "getRotation", tag = "Key pairs",
    security(("credential" = ["keys:read"])),
    params(("id" = String, Path, description = "The id of the rotation", example = "6ed47698-a0e6-4e7e-b290-9ca4e8c91ff8")),
    responses((status = 200, description = "The rotation", body = RotationView))
)]
pub async fn get_rotation(
    State(api): State<Api>,
    _: Caller<KeysRead>,
    id: PathText,
    query: QueryParameters,
) -> Result<Response, ApiError> {
    query.finish()?;
    let (_, rotation) = api.key_pairs.find_rotation(&id.0).await?;
    Ok(no_store(json(&rotation)))
}

/// Cancel a rotation whose new key does not sign yet.
#[utoipa::path(
    delete, path = "/v1/key-pairs/rotations/{id}", operation_id = "cancelRotation", tag = "Key pairs",
    security(("credential" = ["keys:write"])),
    params(("id" = String, Path, description = "The id of the rotation", example = "6ed47698-a0e6-4e7e-b290-9ca4e8c91ff8")),
    responses((status = 200, description = "The rotation, cancelled", body = RotationView))
)]
pub async fn cancel_rotation(
    State(api): State<Api>,
    client: Caller<KeysWrite>,
    id: PathText,
    query: QueryParameters,
) -> Result<Response, ApiError> {
    query.finish()?;
    let (keys, rotation) = api.key_pairs.find_rotation(&id.0).await?;
    let cancelled = keys.cancel_rotation(&client.actor(), rotation.id).await;
    Ok(no_store(json(&cancelled?)))
}

fn in_progress(id: &RotationId) -> ApiError {
    ApiError::new(
        ProblemType::RotationInProgress,
        "A rotation of this region is in progress. Wait for it or cancel it; if the key leaked, use mode \
         \"emergency\", which is always accepted.",
    )
    .rotation(id.clone())
}
