//! `/v1/key-pairs`: list, generate or import, read, delete.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};

use super::{
    Api,
    extract::{Body, Caller, KeysRead, KeysWrite, PathText, QueryParameters},
    idempotency,
    problem::{ApiError, ProblemType},
    respond::{json, json_with, no_store},
};
use crate::{
    api::key_pair::{CreateKeyPairRequest, KeyPairsBody},
    ivs::arn::{ArnError, PlaybackKeyArn},
    keys::rotation::{KeyPairView, OperationError, Refusal},
    prose::sentence,
    service::key_pairs::{KeyPairError, RegionKeys},
};

/// List key pairs, as the keyring and IVS together know them.
#[utoipa::path(
    get, path = "/v1/key-pairs", operation_id = "listKeyPairs", tag = "Key pairs",
    security(("credential" = ["keys:read"])),
    params(
        ("region" = Option<String>, Query, description = "One region. Without it, all configured regions"),
        ("refresh" = Option<bool>, Query, description = "Query IVS now, at most once every 2 s")
    ),
    responses((status = 200, description = "Key pairs", body = KeyPairsBody))
)]
pub async fn list_key_pairs(
    State(api): State<Api>,
    _: Caller<KeysRead>,
    mut query: QueryParameters,
) -> Result<Response, ApiError> {
    let regions = regions_of_query(&api, &mut query);
    let refresh = query.flag("refresh");
    query.finish()?;
    let mut listings = Vec::new();
    for keys in regions {
        let listing = keys.list(refresh).await;
        // The keyring alone is an answer, too, unless the caller asks for a query.
        if let Some(error) = listing.failure.clone().filter(|_| refresh) {
            return Err(OperationError::from(error).into());
        }
        listings.push(listing);
    }
    Ok(no_store(json(&KeyPairsBody::from(listings))))
}

/// Generate a key pair, or import a public key.
#[utoipa::path(
    post, path = "/v1/key-pairs", operation_id = "createKeyPair", tag = "Key pairs",
    security(("credential" = ["keys:write"])),
    params(("Idempotency-Key" = Option<String>, Header, description = "A retry with the same key and body returns the pair of the first request")),
    request_body = CreateKeyPairRequest,
    responses((
        status = 201, description = "The new key pair", body = KeyPairView,
        links(
            ("read" = (operation_id = "getKeyPair", parameters(("keyPair" = "$response.body#/arn")))),
            ("delete" = (operation_id = "deleteKeyPair", parameters(("keyPair" = "$response.body#/arn"))))
        )
    ))
)]
pub async fn create_key_pair(
    State(api): State<Api>,
    client: Caller<KeysWrite>,
    headers: HeaderMap,
    Body(request): Body<CreateKeyPairRequest>,
) -> Result<Response, ApiError> {
    let idempotency = idempotency::record(&headers, &client, "createKeyPair", &request)?;
    let (keys, new) = api.key_pairs.check(request).map_err(ApiError::invalid)?;
    let made = api.key_pairs.create(keys, &client.actor(), new, idempotency).await;
    Ok(no_store(json_with(StatusCode::CREATED, &made?)))
}

/// Read one key pair.
#[utoipa::path(
    get, path = "/v1/key-pairs/{keyPair}", operation_id = "getKeyPair", tag = "Key pairs",
    security(("credential" = ["keys:read"])),
    params(("keyPair" = String, Path, description = "An ARN, percent-encoded, or a fingerprint",
        example = "arn:aws:ivs:us-west-2:123456789012:playback-key/IjKlMnOp5678")),
    responses((status = 200, description = "The key pair", body = KeyPairView))
)]
pub async fn get_key_pair(
    State(api): State<Api>,
    _: Caller<KeysRead>,
    name: PathText,
    query: QueryParameters,
) -> Result<Response, ApiError> {
    query.finish()?;
    let name = name.0;
    let region = match name.parse::<PlaybackKeyArn>() {
        Ok(arn) => Some(served_pair(&api, &arn)?.region()),
        Err(error) if name.starts_with("arn:") => {
            return Err(ApiError::invalid_member("/keyPair", format!("{error}.")));
        }
        // A fingerprint may be in any region.
        Err(_) => None,
    };
    match api.key_pairs.find(&name, region).await? {
        Some(pair) => Ok(no_store(json(&pair))),
        None => Err(ApiError::new(
            ProblemType::KeyPairNotFound,
            "Neither the keyring nor Amazon IVS has this key pair. GET /v1/key-pairs?refresh=true lists \
             the existing ones.",
        )),
    }
}

/// Delete a key pair. Tokens that it signed can no longer start playback.
#[utoipa::path(
    delete, path = "/v1/key-pairs/{keyPair}", operation_id = "deleteKeyPair", tag = "Key pairs",
    security(("credential" = ["keys:write"])),
    params(
        ("keyPair" = String, Path, description = "An ARN, percent-encoded",
            example = "arn:aws:ivs:us-west-2:123456789012:playback-key/IjKlMnOp5678"),
        ("force" = Option<bool>, Query, description = "Delete a draining pair too; its tokens can then no longer start playback")
    ),
    responses((status = 204, description = "Deleted"))
)]
pub async fn delete_key_pair(
    State(api): State<Api>,
    client: Caller<KeysWrite>,
    name: PathText,
    mut query: QueryParameters,
) -> Result<Response, ApiError> {
    let force = query.flag("force");
    query.finish()?;
    let arn: PlaybackKeyArn = name.0.parse().map_err(|error: ArnError| {
        ApiError::invalid_member(
            "/keyPair",
            format!("{error}. A key pair is deleted by its ARN, so that it cannot be another."),
        )
    })?;
    let keys = served_pair(&api, &arn)?;
    let account = arn.account().clone();
    let deleted = keys.delete(&client.actor(), arn, force).await;
    deleted.map_err(|error| {
        if let KeyPairError::Operation(OperationError::Refused(Refusal::OtherAccount { expected, found, .. })) = &error
            && *found == account
        {
            let detail = format!(
                "This key pair belongs to account {found}, but this service manages the key pairs of \
                 account {expected}."
            );
            return ApiError::invalid_member("/keyPair", detail);
        }
        error.into()
    })?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Returns the keys of the region that an ARN names.
fn served_pair<'a>(api: &'a Api, arn: &PlaybackKeyArn) -> Result<&'a RegionKeys, ApiError> {
    let keys = api.key_pairs.region(Some(arn.region().as_str()));
    keys.map_err(|error| ApiError::invalid_member("/keyPair", sentence(&error.to_string())))
}

/// Returns the region of the parameter `region`, or all of them.
pub(super) fn regions_of_query<'a>(
    api: &'a Api,
    query: &mut QueryParameters,
) -> Vec<&'a RegionKeys> {
    let Some(name) = query.text("region") else { return api.key_pairs.regions().collect() };
    match api.key_pairs.region(Some(&name)) {
        Ok(keys) => vec![keys],
        Err(error) => {
            query.violate("region", sentence(&error.to_string()));
            Vec::new()
        }
    }
}
