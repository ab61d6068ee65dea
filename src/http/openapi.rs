//! `/openapi.json`, generated from the handlers.

use std::sync::LazyLock;

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        Content, Ref, RefOr, ResponseBuilder, Schema,
        schema::AdditionalProperties,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::{
    channels, health, inspect, jwks, key_pairs, metrics,
    problem::{FieldError, Problem, ProblemType},
    rotations, tokens, viewer_sessions,
};

/// The document's source: every handler of the API.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "ivs-playback-auth",
        description = "Playback authorization for Amazon IVS private channels.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    paths(
        tokens::mint_token, tokens::mint_token_batch, inspect::inspect_token,
        channels::get_channel, channels::refresh_channel,
        key_pairs::list_key_pairs, key_pairs::create_key_pair, key_pairs::get_key_pair,
        key_pairs::delete_key_pair,
        rotations::start_rotation, rotations::list_rotations, rotations::get_rotation,
        rotations::cancel_rotation,
        viewer_sessions::revoke_viewer_sessions,
        jwks::get_jwks, health::healthz, health::readyz,
        metrics::get_metrics
    ),
    components(schemas(Problem, FieldError)),
    security(("credential" = [])),
    modifiers(&Credential, &Problems, &StrictRequests)
)]
pub struct ApiDoc;

/// The document in JSON, pretty-printed.
pub fn document() -> &'static str {
    static DOCUMENT: LazyLock<String> =
        LazyLock::new(|| ApiDoc::openapi().to_pretty_json().unwrap_or_default());
    &DOCUMENT
}

/// Serves [`document`].
pub async fn get_openapi() -> Response {
    let content_type = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    ([content_type], document()).into_response()
}

/// How a client proves who it is.
struct Credential;

impl Modify for Credential {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("`ipa_<id>_<secret>`, made by `ivs-playback-auth clients create`"))
            .build();
        openapi
            .components
            .get_or_insert_default()
            .add_security_scheme("credential", SecurityScheme::Http(scheme));
    }
}

/// Request bodies take no unknown members.
struct StrictRequests;

impl Modify for StrictRequests {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let schemas = openapi.components.get_or_insert_default().schemas.iter_mut();
        for (name, schema) in schemas {
            if let (true, RefOr::T(Schema::Object(object))) = (name.ends_with("Request"), schema) {
                object.additional_properties =
                    Some(Box::new(AdditionalProperties::FreeForm(false)));
            }
        }
    }
}

/// Adds to every operation the problems that it can answer with.
struct Problems;

impl Modify for Problems {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        for item in openapi.paths.paths.values_mut() {
            let operations =
                [&mut item.get, &mut item.post, &mut item.delete].into_iter().flatten();
            for operation in operations {
                let id = operation.operation_id.clone().unwrap_or_default();
                for problem in problems_of(&id) {
                    add(operation, problem);
                }
            }
        }
    }
}

fn add(operation: &mut utoipa::openapi::path::Operation, problem: ProblemType) {
    let spec = problem.spec();
    let status = spec.status.as_u16().to_string();
    let responses = &mut operation.responses.responses;
    if let Some(RefOr::T(known)) = responses.get_mut(&status) {
        if known.content.contains_key("application/problem+json") {
            known.description = format!("{}, `{}`", known.description, spec.code);
        }
        return;
    }
    let response = ResponseBuilder::new()
        .description(format!("`{}`", spec.code))
        .content("application/problem+json", Content::new(Some(Ref::from_schema_name("Problem"))))
        .build();
    responses.insert(status, RefOr::T(response));
}

/// What an operation can answer beside its success. `http` tests walk the routes and hold it.
pub fn problems_of(operation_id: &str) -> Vec<ProblemType> {
    use ProblemType as P;
    let caller = [P::Unauthenticated, P::Forbidden, P::RateLimited];
    let everywhere = [P::Overloaded, P::Timeout, P::Internal];
    let body = [P::InvalidJson, P::BodyTooLarge, P::UnsupportedMediaType, P::InvalidRequest];
    let ivs = [P::IvsThrottled, P::IvsUnavailable];
    let own: &[&[P]] = match operation_id {
        "mintToken" => &[
            &caller,
            &body,
            &ivs,
            &[
                P::ChannelNotFound,
                P::ChannelNotPrivate,
                P::NoActiveKey,
                P::SessionVersionsExhausted,
                P::ViewerDenied,
            ],
        ],
        "mintTokenBatch" | "revokeViewerSessions" => &[&caller, &body],
        "inspectToken" => &[&caller, &body, &[P::ChannelNotFound]],
        "getChannel" | "refreshChannel" => {
            &[&caller, &ivs, &[P::InvalidRequest, P::ChannelNotFound]]
        }
        "listKeyPairs" => &[&caller, &ivs, &[P::InvalidRequest]],
        "createKeyPair" => {
            &[&caller, &body, &ivs, &[P::KeyPairQuota, P::KeyPairInUse, P::IdempotencyKeyReused]]
        }
        "getKeyPair" => &[&caller, &ivs, &[P::InvalidRequest, P::KeyPairNotFound]],
        "deleteKeyPair" => {
            &[&caller, &ivs, &[P::InvalidRequest, P::KeyPairNotFound, P::KeyPairInUse]]
        }
        // As the probes, it is answered by a busy process too.
        "getMetrics" => return [&caller[..], &[P::NotFound, P::Internal]].concat(),
        "startRotation" => &[
            &caller,
            &body,
            &ivs,
            &[P::RotationInProgress, P::KeyPairQuota, P::KeyPairInUse, P::IdempotencyKeyReused],
        ],
        "listRotations" => &[&caller, &[P::InvalidRequest]],
        "getRotation" => &[&caller, &[P::InvalidRequest, P::RotationNotFound]],
        "cancelRotation" => &[&caller, &[P::InvalidRequest, P::RotationNotFound, P::KeyPairInUse]],
        _ => return vec![P::Internal],
    };
    own.iter().copied().flatten().chain(&everywhere).copied().collect()
}
