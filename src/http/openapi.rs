//! `/openapi.json`, generated from the handlers.
//!
//! `utoipa` derives the operations and bodies. [`document`] then adds what the derive cannot express:
//! rules between members, patterns of items, and what depends on the configuration of this process.

#![expect(clippy::indexing_slicing, reason = "the document is our own, and a test reads all of it")]

use std::{borrow::Cow, time::Duration};

use axum::{
    body::Bytes,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use utoipa::{
    OpenApi,
    openapi::{ObjectBuilder, RefOr, Schema, schema::Type},
};

use super::{
    Api, channels, health, jwks, key_pairs, metrics,
    problem::{Problem, ProblemType},
    rotations, tokens, viewer_sessions,
};
use crate::{
    api::{inspect_rules, key_pair::CreateKeyPairRequest, mint_rules},
    inspection::FindingCode,
    ivs::arn::{AccountId, Region},
    keys::finding::{self, Effect},
    tokens::grant::Violation,
};

/// The region and account of the examples. A configured process replaces them with its own.
const EXAMPLE_REGION: &str = "us-west-2";
const EXAMPLE_ACCOUNT: &str = "123456789012";

/// Every handler of the API.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "ivs-playback-auth",
        description = "Playback authorization for Amazon IVS private channels.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        tokens::mint_token,
        tokens::mint_token_batch,
        tokens::inspect_token,
        channels::get_channel,
        channels::refresh_channel,
        key_pairs::list_key_pairs,
        key_pairs::create_key_pair,
        key_pairs::get_key_pair,
        key_pairs::delete_key_pair,
        rotations::start_rotation,
        rotations::list_rotations,
        rotations::get_rotation,
        rotations::cancel_rotation,
        viewer_sessions::revoke_viewer_sessions,
        jwks::get_jwks,
        health::healthz,
        health::readyz,
        metrics::get_metrics
    ),
    components(schemas(Problem, Violation))
)]
pub struct ApiDoc;

/// The part of the configuration that the document depends on.
#[derive(Debug)]
pub struct Served<'a> {
    /// The regions that requests may name (`ivs.regions`).
    pub regions: &'a [Region],
    /// The account whose key pairs this service manages, where it is known.
    pub account: Option<&'a AccountId>,
    /// The longest lifetime of a token (`tokens.max_ttl`).
    pub max_ttl: Duration,
}

/// Returns the document in JSON, pretty-printed; without `served`, that of any service.
pub fn document(served: Option<&Served<'_>>) -> String {
    let mut document = json!(ApiDoc::openapi());
    // The examples first: the regions and accounts of the refinements are real.
    if let Some(first) = served.and_then(|served| served.regions.first()) {
        replace_in_texts(&mut document, EXAMPLE_REGION, first.as_str());
    }
    if let Some(account) = served.and_then(|served| served.account) {
        replace_in_texts(&mut document, EXAMPLE_ACCOUNT, account.as_str());
    }
    refine_schemas(&mut document, served);
    refine_operations(&mut document, served);
    document["components"]["headers"] = headers();
    document["components"]["securitySchemes"] = json!({"credential": {
        "type": "http", "scheme": "bearer",
        "description": "`ipa_<id>_<secret>`, made by `ivs-playback-auth clients create`"
    }});
    document["servers"] = match served {
        Some(_) => json!([{"url": "/", "description": "The service that serves this document"}]),
        None => json!([{
            "url": "http://127.0.0.1:8080",
            "description": "A service with the default of server.listen"
        }]),
    };
    if let Some(served) = served {
        document["components"]["schemas"]["MintRequest"]["properties"]["ttlSeconds"]["maximum"] =
            json!(served.max_ttl.as_secs());
    }
    format!("{document:#}")
}

/// Serves the [`document`] of this process.
pub fn get_openapi(document: Bytes) -> Response {
    let content_type = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    ([content_type], document).into_response()
}

/// Returns the [`document`] of the process that `api` belongs to.
pub(super) fn document_of(api: &Api) -> Bytes {
    let (regions, account) = (api.ivs.names(), api.channels.names.account());
    document(Some(&Served { regions, account, max_ttl: api.minting.policy.max_ttl })).into()
}

fn refine_schemas(document: &mut Value, served: Option<&Served<'_>>) {
    let schemas = &mut document["components"]["schemas"];
    for (name, refinement) in [
        ("MintRequest", mint_rules()),
        ("InspectRequest", inspect_rules()),
        ("CreateKeyPairRequest", CreateKeyPairRequest::refinement()),
    ] {
        merge(&mut schemas[name], refinement);
    }
    for schema in schemas.as_object_mut().into_iter().flat_map(|schemas| schemas.values_mut()) {
        if let Some(region) = schema.pointer_mut("/properties/region") {
            merge(region, region_schema(served));
        }
    }
}

fn refine_operations(document: &mut Value, served: Option<&Served<'_>>) {
    let paths = document["paths"].as_object_mut().into_iter().flat_map(|paths| paths.values_mut());
    for operation in paths.filter_map(Value::as_object_mut).flat_map(serde_json::Map::values_mut) {
        let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
        let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
        for parameter in parameters.into_iter().flatten() {
            if let Some(schema) = parameter_schema(&id, &parameter["name"], served) {
                parameter["schema"] = schema;
            }
        }
        for problem in problems_of(&id) {
            add_problem(&mut operation["responses"], problem);
        }
        let responses = operation["responses"].as_object_mut();
        for (status, response) in responses.into_iter().flatten() {
            merge(response, json!({"headers": headers_of(status)}));
        }
    }
}

/// Returns the schema of a parameter whose Rust type says too little.
fn parameter_schema(operation: &str, name: &Value, served: Option<&Served<'_>>) -> Option<Value> {
    match (operation, name.as_str()?) {
        (_, "region") => Some(region_schema(served)),
        (_, "Idempotency-Key") => Some(json!({
            "type": "string", "minLength": 1, "maxLength": 255,
            "pattern": "^[!-~]([ -~]*[!-~])?$"
        })),
        (_, "channel") => Some(json!({"type": "string", "minLength": 1})),
        (_, "id") => Some(json!({"type": "string", "format": "uuid"})),
        ("deleteKeyPair", "keyPair") => {
            Some(json!({"type": "string", "pattern": format!("^{}$", key_pair_arn(served))}))
        }
        (_, "keyPair") => {
            let fingerprint = "([0-9A-Fa-f]{2}:){15}[0-9A-Fa-f]{2}";
            let pattern = format!("^({}|{fingerprint})$", key_pair_arn(served));
            Some(json!({"type": "string", "pattern": pattern}))
        }
        _ => None,
    }
}

fn region_schema(served: Option<&Served<'_>>) -> Value {
    let mut schema = json!({"type": "string", "minLength": 1});
    let values = match served {
        Some(served) => json!({"enum": served.regions}),
        None => json!({"maxLength": 64, "pattern": "^[a-z0-9-]+$", "example": EXAMPLE_REGION}),
    };
    merge(&mut schema, values);
    schema
}

/// Returns a pattern without anchors.
fn key_pair_arn(served: Option<&Served<'_>>) -> String {
    let regions = served.map_or_else(
        || "[a-z0-9-]{1,64}".to_owned(),
        |served| {
            format!("({})", served.regions.iter().map(Region::as_str).collect::<Vec<_>>().join("|"))
        },
    );
    let account = served.and_then(|served| served.account).map_or("[0-9]{12}", AccountId::as_str);
    format!("arn:aws:ivs:{regions}:{account}:playback-key/[a-zA-Z0-9-]{{1,64}}")
}

/// Returns the headers that responses refer to.
fn headers() -> Value {
    json!({
        "RequestId": {
            "description": "Identifies the request in the log and the audit. The caller's own value is kept if it matches the pattern.",
            "required": true,
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,128}$"},
            "example": "4e0c3c2a9d3f4c63a7a4e5d0c1b2a3f4"
        },
        "RetryAfter": {
            "description": "How many seconds to wait before the next attempt.",
            "schema": {"type": "integer", "minimum": 1},
            "example": 5
        },
        "WwwAuthenticate": {
            "description": "`Bearer` without a credential; with one that is not valid, also `error=\"invalid_token\"`.",
            "required": true,
            "schema": {"type": "string"},
            "example": "Bearer"
        }
    })
}

fn headers_of(status: &str) -> Value {
    let header = |name: &str| json!({"$ref": format!("#/components/headers/{name}")});
    let mut headers = json!({"x-request-id": header("RequestId")});
    match status {
        "401" => headers["www-authenticate"] = header("WwwAuthenticate"),
        "409" | "503" => headers["retry-after"] = header("RetryAfter"),
        _ => {}
    }
    headers
}

/// Adds the members of `refinement` to `target`, and to the objects in it.
fn merge(target: &mut Value, refinement: Value) {
    match (target, refinement) {
        (Value::Object(target), Value::Object(refinement)) => {
            for (name, value) in refinement {
                merge(target.entry(name).or_insert(Value::Null), value);
            }
        }
        (target, refinement) => *target = refinement,
    }
}

fn replace_in_texts(value: &mut Value, from: &str, to: &str) {
    match value {
        Value::String(text) => *text = text.replace(from, to),
        Value::Array(items) => items.iter_mut().for_each(|item| replace_in_texts(item, from, to)),
        Value::Object(members) => {
            members.values_mut().for_each(|member| replace_in_texts(member, from, to));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The schema of a `code` from a table; a component of its own, since several bodies have it.
macro_rules! codes {
    ($type:ty, $name:literal, $codes:expr) => {
        impl utoipa::PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                let codes =
                    ObjectBuilder::new().schema_type(Type::String).enum_values(Some($codes));
                codes.description(Some("Stable, to branch on.")).into()
            }
        }

        impl utoipa::ToSchema for $type {
            fn name() -> Cow<'static, str> {
                $name.into()
            }
        }
    };
}

codes!(ProblemType, "ProblemCode", ProblemType::ALL.iter().map(|problem| problem.spec().code));
codes!(FindingCode, "InspectFindingCode", FindingCode::ALL.iter().map(|code| code.as_str()));
codes!(finding::FindingCode, "ReadinessFindingCode", readiness_codes());

fn readiness_codes() -> impl Iterator<Item = &'static str> {
    let specs = finding::FindingCode::ALL.iter().map(|code| code.spec());
    specs.filter(|spec| spec.effect != Effect::Unaffected).map(|spec| spec.code)
}

/// The `code`s that a response can carry, for programs.
const PROBLEM_CODES: &str = "x-problem-codes";

/// Adds a problem to the responses of an operation. A status that has a body of its own keeps it.
fn add_problem(responses: &mut Value, problem: ProblemType) {
    let spec = problem.spec();
    let response = &mut responses[spec.status.to_string()];
    if response.is_null() {
        *response = json!({
            "description": format!("`{}`", spec.code),
            "content": {"application/problem+json": {
                "schema": {"$ref": "#/components/schemas/Problem"}
            }},
            PROBLEM_CODES: [spec.code]
        });
    } else if let Some(codes) = response.get_mut(PROBLEM_CODES).and_then(Value::as_array_mut) {
        codes.push(spec.code.into());
        let description = response["description"].as_str().unwrap_or_default();
        response["description"] = format!("{description}, `{}`", spec.code).into();
    }
}

/// Returns the problems that an operation can answer with. The tests call every operation and fail on a
/// problem that is not listed here.
pub fn problems_of(operation_id: &str) -> Vec<ProblemType> {
    use ProblemType as P;
    let http = [P::BadRequest, P::HeadTooLarge, P::NotImplemented, P::UnsupportedMediaType];
    // The service records the refusal of a known client; if it cannot, it may have to refuse that, too.
    let caller = [P::Unauthenticated, P::Forbidden, P::AuditUnavailable];
    let body = [P::InvalidJson, P::BodyTooLarge, P::RequestTimeout, P::InvalidRequest];
    let path = [P::InvalidRequest, P::NotFound];
    let ivs = [P::IvsThrottled, P::IvsUnavailable];
    let channel = [P::ChannelNotFound];
    let mint = [P::ChannelNotPrivate, P::NoActiveKey, P::SessionVersionsExhausted, P::ViewerDenied];
    let pair = [P::KeyPairNotFound];
    let rotation = [P::RotationNotFound];
    let change = [P::KeyPairInUse, P::StoreUnavailable];
    let new_pair = [P::KeyPairQuota, P::IdempotencyKeyReused];
    let own: &[&[P]] = match operation_id {
        "mintToken" => &[&body, &ivs, &channel, &mint],
        "mintTokenBatch" | "revokeViewerSessions" => &[&body],
        "inspectToken" => &[&body, &channel],
        "getChannel" | "refreshChannel" => &[&path, &ivs, &channel],
        "listKeyPairs" => &[&[P::InvalidRequest], &ivs],
        "createKeyPair" => &[&body, &ivs, &change, &new_pair],
        "getKeyPair" => &[&path, &ivs, &pair],
        "deleteKeyPair" => &[&path, &ivs, &pair, &change],
        "startRotation" => &[&body, &ivs, &change, &new_pair, &[P::RotationInProgress]],
        "listRotations" => &[&[P::InvalidRequest]],
        "getRotation" => &[&path, &rotation],
        "cancelRotation" => &[&path, &rotation, &change],
        // A busy process answers it, too, like the probes.
        "getMetrics" => return [&http[..], &caller, &[P::NotFound, P::Internal]].concat(),
        _ => return [&http[..], &[P::Internal]].concat(),
    };
    let everywhere = [P::Overloaded, P::Timeout, P::Internal];
    [&http[..], &caller, &own.concat(), &everywhere].concat()
}
