//! `/v1/tokens/inspect`: what is wrong with a token, whoever made it.

pub mod facts;

use std::{num::NonZeroUsize, sync::Arc, thread};

use axum::{extract::State, response::Response};
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use super::{
    Api,
    extract::{Caller, JsonObject, TokensInspect},
    json::Members,
    problem::ApiError,
    respond::{json, no_store},
};
use crate::{
    access::{Client, Scope},
    channels::ChannelRefError,
    inspection::{Context, FindingCode, Input, NotChecked, Questions, Severity, Subject, inspect},
    ivs::arn::ChannelArn,
};

use self::facts::Facts;

/// How many inspections may be computed at a time: on half of the processors, since each costs as much
/// as many mints, which must not wait for them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct InspectionTurns(Arc<Semaphore>);

impl Default for InspectionTurns {
    fn default() -> Self {
        let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self(Arc::new(Semaphore::new(processors.div_ceil(2))))
    }
}

/// What to inspect: `token` or `playbackUrl`, or `edgeError` either alone or with one of them.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase", example = json!({
    "playbackUrl": "https://a1b2c3.us-west-2.playback.live-video.net/api/video/v1/us-west-2.123456789012.channel.AbCdEfGh1234.m3u8?token=eyJhbGciOiJFUzM4NCIsInR5cCI6IkpXVCJ9.e30.c2lnbmF0dXJl",
    "origin": "https://www.example.com"
}))]
#[expect(dead_code, reason = "the schema of a body that is read member by member")]
pub struct InspectRequest {
    /// A viewer token.
    #[schema(nullable = false)]
    token: Option<String>,
    /// The URL that a player loads, the token included.
    #[schema(nullable = false)]
    playback_url: Option<String>,
    /// The body of a 403 from the playback edge, as text.
    #[schema(nullable = false)]
    edge_error: Option<String>,
    /// The channel that the token should play: an ARN, or an alias. Without `channels:read` and
    /// `tokens:mint`, the inspection does not look up channels and knows no aliases.
    #[schema(nullable = false)]
    channel: Option<String>,
    /// The web origin of the page that plays; empty for a player that sends none.
    #[schema(nullable = false)]
    origin: Option<String>,
}

impl InspectRequest {
    /// The rules between members, for the OpenAPI document.
    pub(super) fn refinement() -> Value {
        json!({
            "anyOf": [
                {"required": ["token"]}, {"required": ["playbackUrl"]}, {"required": ["edgeError"]}
            ],
            "not": {"required": ["token", "playbackUrl"]}
        })
    }
}

/// What was found.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({
    "valid": false,
    "findings": [{
        "code": "exp_in_milliseconds", "severity": "warning", "claim": "exp",
        "detail": "exp is in milliseconds. Divide by 1000 and round down: `Math.floor(Date.now() / 1000) + 300`."
    }, {
        "code": "wrong_algorithm", "severity": "error",
        "detail": "The token is signed with RS256, but IVS accepts ES384 only."
    }],
    "notChecked": ["signature"],
    "header": {"alg": "RS256", "typ": "JWT"},
    "claims": {
        "aws:channel-arn": "arn:aws:ivs:us-west-2:123456789012:channel/AbCdEfGh1234",
        "exp": 1_795_337_700_000_i64
    },
    "tokenId": "9f2c4be1a07d3358"
}))]
pub struct InspectResponse {
    /// False with any error; null if something that could cause a refusal was not checked.
    #[schema(required)]
    valid: Option<bool>,
    findings: Vec<FindingBody>,
    not_checked: Vec<NotChecked>,
    /// Null where it cannot be read.
    #[schema(required)]
    header: Option<Map<String, Value>>,
    /// As written in the token; none of it is verified. Null where they cannot be read.
    #[schema(required)]
    claims: Option<Map<String, Value>>,
    /// Null without a token.
    #[schema(required)]
    token_id: Option<String>,
    /// The key pair that signed, where it is known.
    #[schema(nullable = false)]
    key_pair_arn: Option<String>,
}

/// One thing that is wrong, or probably not intended.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InspectFinding)]
pub struct FindingBody {
    code: FindingCode,
    severity: Severity,
    detail: String,
    /// The claim concerned.
    #[schema(nullable = false)]
    claim: Option<String>,
}

/// Find out why IVS refuses a token. Compares it with the keyring, and with IVS's key pairs and
/// channel; it makes no other network requests.
#[utoipa::path(
    post, path = "/v1/tokens/inspect", operation_id = "inspectToken", tag = "Tokens",
    security(("credential" = ["tokens:inspect"])),
    request_body = InspectRequest, responses((status = 200, description = "What was found", body = InspectResponse))
)]
pub async fn inspect_token(
    State(api): State<Api>,
    client: Caller<TokensInspect>,
    body: JsonObject,
) -> Result<Response, ApiError> {
    let mut members = Members::new(body.0);
    let token = members.string("token");
    let playback_url = members.string("playbackUrl");
    let edge_error = members.string("edgeError");
    let channel = members.string("channel");
    let origin = members.string("origin");
    if token.is_some() && playback_url.is_some() {
        members.violate("/playbackUrl", "Give token or playbackUrl, not both.");
    }
    if token.is_none() && playback_url.is_none() && edge_error.is_none() && !members.is_faulty() {
        members.violate("", "Give token, playbackUrl or edgeError.");
    }
    let violations = members.finish();
    if !violations.is_empty() {
        return Err(ApiError::invalid(violations));
    }
    let may_see = sees_channels(&client);
    let channel = channel.map(|text| channel_of(&api, &text, may_see)).transpose()?;
    let subject = token.map(Subject::Token).or_else(|| playback_url.map(Subject::PlaybackUrl));
    let input = Input { subject, edge_error, channel, origin };
    let requester = may_see.then(|| super::channels::requester(&client));
    let facts = Facts::gather(&api, &Questions::of(&input), requester).await;
    for trouble in &facts.troubles {
        tracing::info!(event = "inspection_incomplete", reason = trouble, "inspection incomplete");
    }
    let turn = Arc::clone(&api.inspections.0).acquire_owned().await.map_err(ApiError::internal)?;
    let now = api.clock.now();
    // A token of a mebibyte, and finding out which key signed, take milliseconds.
    let inspection = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        inspect(&input, &Context { keys: Some(&facts.keys), channel: facts.channel }, now)
    });
    Ok(no_store(json(&inspection.await.map_err(ApiError::internal)?)))
}

/// Whether a client may learn of channels. One that may not is told nothing of them here, either; and
/// whoever mints learns from that whether a channel is there, and private.
fn sees_channels(client: &Client) -> bool {
    [Scope::ChannelsRead, Scope::TokensMint].into_iter().any(|it| client.require(it).is_ok())
}

/// An alias, or any channel's ARN: an inspected token need not be of this service. Aliases are known
/// to those alone who may learn of channels.
fn channel_of(api: &Api, text: &str, may_see: bool) -> Result<ChannelArn, ApiError> {
    match api.names.resolve(text) {
        Ok(channel) if may_see => Ok(channel),
        Ok(_) => text
            .parse()
            .map_err(|_| super::channels::refuse_reference(&ChannelRefError::NotAChannel)),
        Err(error) => text.parse().map_err(|_| super::channels::refuse_reference(&error)),
    }
}
