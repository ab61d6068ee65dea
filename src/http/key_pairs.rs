//! `/v1/key-pairs`: list, generate or import, read, delete.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    Api,
    extract::{Caller, JsonObject, KeysRead, KeysWrite, PathText, QueryParameters},
    idempotency,
    json::Members,
    layers::RequestFacts,
    problem::{ApiError, ProblemType},
    regions,
    respond::{json, json_with, no_store},
};
use crate::{
    access::audit::Record,
    clock::Timestamp,
    ivs::{
        IvsError,
        arn::{ArnError, PlaybackKeyArn, Region},
    },
    keys::{
        inventory::{KeyPairState, KeyPairView},
        keyring::RESERVED_TAG_PREFIX,
        material::{Fingerprint, PublicKey},
        operations::{
            GenerateKey, ImportPublicKey, Label, MAX_TAG_KEY, MAX_TAG_VALUE, MAX_TAGS,
            OperationError,
        },
        store::StoreError,
    },
    prose::sentence,
};

/// What a client that meets a busy or unreachable IVS or store is told to wait.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// A key pair, as the keyring and IVS together know it.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase", example = json!({
    "arn": "arn:aws:ivs:us-west-2:123456789012:playback-key/IjKlMnOp5678",
    "name": "ivs-playback-auth-52b7cda3",
    "fingerprint": "98:0d:1a:a0:19:96:1e:ea:0a:0a:2c:9a:42:19:2b:e7",
    "region": "us-west-2", "tags": {"team": "video"}, "state": "active", "adopted": false,
    "createdAt": "2026-11-22T08:40:00Z", "activatedAt": "2026-11-22T08:50:00Z", "retiresAt": null
}))]
#[expect(dead_code, reason = "the schema of what keys::inventory serialises")]
pub struct KeyPairBody {
    /// Null before the pair is imported.
    #[schema(required)]
    arn: Option<String>,
    name: String,
    /// The MD5 of the `SubjectPublicKeyInfo`, as Amazon IVS shows it. Null for a foreign pair that was
    /// not read yet.
    #[schema(required)]
    fingerprint: Option<String>,
    region: String,
    tags: BTreeMap<String, String>,
    state: KeyPairState,
    /// The key was imported from elsewhere, so another signer may use it too.
    adopted: bool,
    /// Null for a foreign pair.
    #[schema(required, format = DateTime)]
    created_at: Option<String>,
    /// Null before the pair signs.
    #[schema(required, format = DateTime)]
    activated_at: Option<String>,
    /// The time from which the pair may be deleted; null where that is not known.
    #[schema(required, format = DateTime)]
    retires_at: Option<String>,
}

/// Key pairs, and when Amazon IVS last listed them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"keyPairs": [{
    "arn": "arn:aws:ivs:us-west-2:123456789012:playback-key/IjKlMnOp5678", "name": "stage",
    "fingerprint": "98:0d:1a:a0:19:96:1e:ea:0a:0a:2c:9a:42:19:2b:e7", "region": "us-west-2",
    "tags": {}, "state": "foreign", "adopted": false,
    "createdAt": null, "activatedAt": null, "retiresAt": null
}], "checkedAt": "2026-11-22T08:55:00Z"}))]
#[serde(rename_all = "camelCase")]
pub struct KeyPairsBody {
    #[schema(value_type = Vec<KeyPairBody>)]
    pub(crate) key_pairs: Vec<KeyPairView>,
    /// Null before the first listing. With several regions, the oldest.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    pub(crate) checked_at: Option<Timestamp>,
}

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
    let regions = regions::of_query(&api, &mut query);
    let refresh = query.flag("refresh");
    query.finish()?;
    let mut key_pairs = Vec::new();
    let mut checked: Vec<Option<Timestamp>> = Vec::new();
    for region in &regions {
        let (pairs, checked_at) = pairs_of(&api, region, refresh).await?;
        key_pairs.extend(pairs);
        checked.push(checked_at);
    }
    let checked_at = checked.into_iter().min().flatten();
    Ok(no_store(json(&KeyPairsBody { key_pairs, checked_at })))
}

/// What to generate or import.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase", example = json!({"name": "stage", "tags": {"team": "video"}}))]
#[expect(dead_code, reason = "the schema of a body that is read member by member")]
pub struct CreateKeyPairRequest {
    /// May be omitted if only one region is configured.
    #[schema(nullable = false)]
    region: Option<String>,
    /// Without a name, or with an empty one, the service chooses a name.
    #[schema(nullable = false, max_length = 128, pattern = "^[A-Za-z0-9_-]*$")]
    name: Option<String>,
    /// Tags of the pair in IVS, in addition to those that the service sets. Letters, digits and spaces of
    /// every script are allowed.
    #[schema(nullable = false)]
    tags: Option<BTreeMap<String, String>>,
    /// A P-384 public key in PEM. Without it, the service generates a pair, and the next rotation
    /// starts signing with it.
    #[schema(
        nullable = false,
        min_length = 1,
        example = "-----BEGIN PUBLIC KEY-----\nMHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEFQEeRx/nmXbpUiB432X7eu8q45230HAz\nJJOcnkuCYue3bzez9WISAbLvGXckAnkNb1dBEjWU/lQwBjRU8t/7kuvtfkXlajd2\n4iTAuglEDM3I6w9VQXsvoeoj9Jp9V2fC\n-----END PUBLIC KEY-----\n"
    )]
    public_key_material: Option<String>,
}

impl CreateKeyPairRequest {
    /// IVS's rules for tags, for the OpenAPI document.
    pub(super) fn refinement() -> Value {
        let characters = r"^[\w .:/=+@-]*$";
        json!({"properties": {"tags": {
            "maxProperties": MAX_TAGS,
            "propertyNames": {
                "minLength": 1, "maxLength": MAX_TAG_KEY, "pattern": characters,
                "not": {"pattern": format!("^([Aa][Ww][Ss]:|{RESERVED_TAG_PREFIX})")}
            },
            "additionalProperties": {"maxLength": MAX_TAG_VALUE, "pattern": characters}
        }}})
    }
}

/// Generate a key pair, or import a public key.
#[utoipa::path(
    post, path = "/v1/key-pairs", operation_id = "createKeyPair", tag = "Key pairs",
    security(("credential" = ["keys:write"])),
    params(("Idempotency-Key" = Option<String>, Header, description = "A retry with the same key and body returns the pair of the first request")),
    request_body = CreateKeyPairRequest,
    responses((
        status = 201, description = "The new key pair", body = KeyPairBody,
        links(
            ("read" = (operation_id = "getKeyPair", parameters(("keyPair" = "$response.body#/arn")))),
            ("delete" = (operation_id = "deleteKeyPair", parameters(("keyPair" = "$response.body#/arn"))))
        )
    ))
)]
pub async fn create_key_pair(
    State(api): State<Api>,
    client: Caller<KeysWrite>,
    facts: RequestFacts,
    headers: HeaderMap,
    body: JsonObject,
) -> Result<Response, ApiError> {
    let idempotency = idempotency::record(&headers, &client, "createKeyPair", &body.0)?;
    let mut members = Members::new(body.0);
    let region = regions::of_member(&api, &mut members);
    let name = members.string("name");
    let tags = members.string_map("tags").unwrap_or_default().into_iter().collect();
    let label = Label::new(name, tags).map_err(|faults| {
        for fault in faults {
            members.violate(fault.pointer, fault.detail);
        }
    });
    let public_key = members.string("publicKeyMaterial").and_then(|text| {
        PublicKey::read(&text)
            .map_err(|error| members.violate("/publicKeyMaterial", sentence(&error.to_string())))
            .ok()
    });
    let violations = members.finish();
    let (Some(region), Ok(label), []) = (region, label, violations.as_slice()) else {
        return Err(ApiError::invalid(violations));
    };
    idempotency::refuse_elsewhere(&api, &region, idempotency.as_ref()).await?;
    let operations = Arc::clone(regions::key_pairs_of(&api.operations, &region)?);
    api.audit.check().map_err(ApiError::audit_unavailable)?;
    let (actor, for_audit) = (client.actor(&facts), api.clone());
    let work = async move {
        let (event, made) = match public_key {
            Some(key) => {
                let request = ImportPublicKey { key, label, idempotency };
                ("key_pair_imported", operations.import_public_key(request).await)
            }
            None => {
                ("key_pair_created", operations.generate(GenerateKey { label, idempotency }).await)
            }
        };
        let made = made.map_err(refuse_operation)?;
        let fingerprint = made.fingerprint.map(|it| it.to_string());
        let record = Record {
            region: Some(&region),
            key_pair_arn: made.arn.as_ref(),
            key_fingerprint: fingerprint.as_deref(),
            ..Record::key_change(for_audit.clock.now(), &actor, event)
        };
        for_audit.audit.record(&record).await.map_err(ApiError::audit_unavailable)?;
        Ok::<_, ApiError>(made)
    };
    let made = to_the_end(&api, work).await?;
    Ok(no_store(json_with(StatusCode::CREATED, &made)))
}

/// Runs a change to its end, also when its caller is gone, so that it is recorded.
pub(super) async fn to_the_end<T: Send + 'static>(
    api: &Api,
    work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
) -> Result<T, ApiError> {
    api.tasks.spawn(work).await.map_err(ApiError::internal)?
}

/// Read one key pair.
#[utoipa::path(
    get, path = "/v1/key-pairs/{keyPair}", operation_id = "getKeyPair", tag = "Key pairs",
    security(("credential" = ["keys:read"])),
    params(("keyPair" = String, Path, description = "An ARN, percent-encoded, or a fingerprint",
        example = "arn:aws:ivs:us-west-2:123456789012:playback-key/IjKlMnOp5678")),
    responses((status = 200, description = "The key pair", body = KeyPairBody))
)]
pub async fn get_key_pair(
    State(api): State<Api>,
    _: Caller<KeysRead>,
    name: PathText,
    query: QueryParameters,
) -> Result<Response, ApiError> {
    query.finish()?;
    let pair = find(&api, &name.0).await?;
    Ok(no_store(json(&pair)))
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
    facts: RequestFacts,
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
    let region = arn.region().clone();
    regions::served(&api, region.as_str())
        .map_err(|detail| ApiError::invalid_member("/keyPair", detail))?;
    let operations = Arc::clone(regions::key_pairs_of(&api.operations, &region)?);
    api.audit.check().map_err(ApiError::audit_unavailable)?;
    let (actor, for_audit) = (client.actor(&facts), api.clone());
    let work = async move {
        operations.delete(arn.clone(), force).await.map_err(|error| {
            if let OperationError::OtherAccount { expected, found, .. } = &error
                && found == arn.account()
            {
                let detail = format!(
                    "This key pair belongs to account {found}, but this service manages the key \
                     pairs of account {expected}."
                );
                return ApiError::invalid_member("/keyPair", detail);
            }
            refuse_operation(error)
        })?;
        let record = Record {
            region: Some(&region),
            key_pair_arn: Some(&arn),
            ..Record::key_change(for_audit.clock.now(), &actor, "key_pair_deleted")
        };
        for_audit.audit.record(&record).await.map_err(ApiError::audit_unavailable)
    };
    to_the_end(&api, work).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The region's pairs. IVS is asked where the caller wants it, and where it never was.
async fn pairs_of(
    api: &Api,
    region: &Region,
    refresh: bool,
) -> Result<(Vec<KeyPairView>, Option<Timestamp>), ApiError> {
    let known = api.inventory.key_pairs(region);
    if !refresh && known.1.is_some() {
        return Ok(known);
    }
    match api.inventory.refresh(region).await {
        Ok(()) => Ok(api.inventory.key_pairs(region)),
        // The keyring alone is an answer, too, unless IVS was asked for.
        Err(_) if !refresh => Ok(known),
        Err(error) => Err(refuse_ivs(error)),
    }
}

async fn find(api: &Api, name: &str) -> Result<KeyPairView, ApiError> {
    // An ARN tells its region; a fingerprint may be anywhere.
    let regions: Vec<Region> = match name.parse::<PlaybackKeyArn>() {
        Ok(arn) => vec![
            regions::served(api, arn.region().as_str())
                .map_err(|detail| ApiError::invalid_member("/keyPair", detail))?,
        ],
        Err(error) if name.parse::<Fingerprint>().is_err() && name.starts_with("arn:") => {
            return Err(ApiError::invalid_member("/keyPair", format!("{error}.")));
        }
        Err(_) => api.ivs.names().to_vec(),
    };
    // A pair that somebody imported since the last listing is asked for once more.
    for refresh in [false, true] {
        for region in &regions {
            let (pairs, _) = pairs_of(api, region, refresh).await?;
            if let Some(pair) = pairs.into_iter().find(|pair| pair.is_named(name)) {
                return Ok(pair);
            }
        }
    }
    Err(ApiError::new(
        ProblemType::KeyPairNotFound,
        "Neither the keyring nor Amazon IVS has this key pair; GET /v1/key-pairs?refresh=true \
         lists those that there are.",
    ))
}

/// A call to IVS that key pairs needed and that failed. AWS's own sentences name principals and may
/// repeat values, so they are for the log.
fn refuse_ivs(error: IvsError) -> ApiError {
    let (problem, detail) = match &error {
        IvsError::Throttled => {
            (ProblemType::IvsThrottled, "Amazon IVS throttles this account's calls; try again.")
        }
        IvsError::QuotaExceeded { .. } => (
            ProblemType::KeyPairQuota,
            "Amazon IVS has no room for another key pair in this region; delete one that nobody \
             signs with.",
        ),
        IvsError::NotFound => {
            (ProblemType::KeyPairNotFound, "Amazon IVS has no such key pair in this region.")
        }
        IvsError::Conflict { .. } => (
            ProblemType::KeyPairInUse,
            "Amazon IVS reports a conflict: it may have this public key already. GET \
             /v1/key-pairs?refresh=true lists what it has.",
        ),
        IvsError::Invalid { .. } => (
            ProblemType::InvalidRequest,
            "Amazon IVS refused the key pair as invalid; check name and tags. The log has its \
             sentence.",
        ),
        IvsError::Denied { .. } | IvsError::NoCredentials => (
            ProblemType::IvsUnavailable,
            "This service's AWS credentials do not allow the call; the log says which.",
        ),
        IvsError::Unavailable { .. } | IvsError::TimedOut => {
            (ProblemType::IvsUnavailable, "Amazon IVS cannot be used now; try again.")
        }
    };
    let refusal = ApiError::new(problem, detail).caused_by(error);
    if problem.spec().status == StatusCode::SERVICE_UNAVAILABLE {
        refusal.retry_after(RETRY_AFTER)
    } else {
        refusal
    }
}

/// An operation on key pairs that was not done.
pub(super) fn refuse_operation(error: OperationError) -> ApiError {
    // The sentences of this module begin in lower case, since elsewhere they follow a colon.
    let detail = sentence(&error.to_string());
    match &error {
        OperationError::NotManaged => ApiError::new(ProblemType::Forbidden, detail),
        OperationError::RotationInProgress { id } => {
            ApiError::new(ProblemType::RotationInProgress, detail).rotation(id.clone())
        }
        OperationError::RotationNotFound => ApiError::new(ProblemType::RotationNotFound, detail),
        OperationError::NotCancellable { .. }
        | OperationError::NothingToRollBack { .. }
        | OperationError::NotAdopted { .. }
        | OperationError::InUse { .. }
        | OperationError::Deleted => ApiError::new(ProblemType::KeyPairInUse, detail),
        OperationError::Claimed { .. } | OperationError::Contended => {
            ApiError::new(ProblemType::KeyPairInUse, detail).retry_after(RETRY_AFTER)
        }
        OperationError::Quota { .. } => ApiError::new(ProblemType::KeyPairQuota, detail),
        OperationError::OtherRegion { .. } => ApiError::invalid_member("/keyPair", detail),
        OperationError::Compromised | OperationError::KeyMaterial(_) => {
            ApiError::invalid_member("/publicKeyMaterial", detail)
        }
        OperationError::NotFound { .. } => ApiError::new(ProblemType::KeyPairNotFound, detail),
        OperationError::IdempotencyKeyReused => {
            ApiError::new(ProblemType::IdempotencyKeyReused, detail)
        }
        OperationError::Ivs(ivs) => refuse_ivs(ivs.clone()),
        OperationError::LostKeyring { .. } | OperationError::LostPairs { .. } => ApiError::new(
            ProblemType::KeyPairInUse,
            "Amazon IVS has key pairs that this program imported and whose private keys are not \
             in its store; `keys rotate` on the service's machine names them and the ways out.",
        )
        .caused_by(error),
        OperationError::Store(StoreError::TooLarge { .. }) => ApiError::new(
            ProblemType::KeyPairQuota,
            "The keyring has no room for this key pair. Use fewer or shorter tags, or delete key \
             pairs that no one signs with.",
        )
        .caused_by(error),
        // Their error messages name files and accounts, which are for the log. The store's own defects
        // come before its failures.
        OperationError::OtherAccount { .. }
        | OperationError::Unsafe(_)
        | OperationError::FingerprintMismatch { .. }
        | OperationError::BrokenOff
        | OperationError::Store(
            StoreError::Unsound(_) | StoreError::Discontinuous(_) | StoreError::Encoding(_),
        ) => ApiError::internal(error),
        OperationError::Store(_) => ApiError::new(
            ProblemType::StoreUnavailable,
            "The key store cannot be read or written; the log says why. Try again later.",
        )
        .retry_after(RETRY_AFTER)
        .caused_by(error),
    }
}
