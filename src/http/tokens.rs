//! `/v1/tokens`: mint, one or many.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use futures_util::{StreamExt, stream};
use serde::Serialize;
use serde_json::{Map, Value, json};
use url::Url;
use utoipa::ToSchema;

use super::{
    Api,
    extract::{Caller, JsonObject, TokensMint},
    json::{Members, parse_items},
    layers::RequestFacts,
    problem::{ApiError, Problem, ProblemType},
    respond::{json, no_store},
};
use crate::{
    access::{
        Client,
        audit::{Actor, Kind, Outcome, Record},
    },
    channels::{Freshness, LookupForMint, Requester},
    clock::{Moment, Timestamp},
    config::PublicChannels,
    keys::signer::Signer,
    secret::system_rng,
    tokens::{
        claims::{CAPPED_TTL, MAX_STRICT_ORIGINS},
        grant::{Grant, Terms, TermsRequest, Violation},
        mint::{Issue, MintError, Minted, Warning, WarningCode, check_size, mint},
        playback_url,
    },
};

/// The most requests in one batch (contract).
pub const MAX_BATCH: usize = 500;

/// Items of a batch that are worked on at the same time: they wait for the same few calls to IVS,
/// so that more at once only costs memory.
const BATCH_CONCURRENCY: usize = 500;

/// What to mint a token for.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase", example = json!({
    "channel": "demo", "viewerId": "alice", "allowedOrigins": ["https://www.example.com"]
}))]
#[expect(dead_code, reason = "the schema of a body that is read member by member")]
pub struct MintRequest {
    /// A channel ARN, or a configured alias.
    #[schema(example = "demo")]
    channel: String,
    /// Whom the token is for. Needed to revoke; the lifetime is then at most 600 s.
    #[schema(nullable = false, min_length = 1, max_length = 40)]
    viewer_id: Option<String>,
    /// Only with viewerId; absent it is the issue time, or one above the version up to which the viewer
    /// was just revoked.
    #[schema(nullable = false, minimum = 0, maximum = 2_147_483_647)]
    viewer_session_version: Option<i64>,
    /// Each is `scheme://host[:port]`, where the host may begin with `*.`; or the single entry `*`. The
    /// service also takes internationalised host names and writes them in punycode. The token may have
    /// at most 8 KiB.
    #[schema(nullable = false, min_items = 1, max_items = 1000)]
    allowed_origins: Option<Vec<String>>,
    /// Checks the origin of every request of the player; needs 1 to 5 allowedOrigins without `*`.
    #[schema(nullable = false)]
    strict_origin_enforcement: Option<bool>,
    /// The token starts playback once. The lifetime is then at most 600 s.
    #[schema(nullable = false)]
    single_use: Option<bool>,
    /// `SD` is up to 480p, `HD` up to 720p, `FULL_HD` up to 1080p.
    #[schema(nullable = false, example = "HD")]
    maximum_resolution: Option<Resolution>,
    /// Lifetime in seconds: 1 to `tokens.max_ttl`, by default `tokens.default_ttl`.
    #[schema(nullable = false, minimum = 1)]
    ttl_seconds: Option<i64>,
}

impl MintRequest {
    /// The patterns and the rules between members, for the OpenAPI document.
    pub(super) fn refinement() -> Value {
        let is_true =
            |member: &str| json!({"required": [member], "properties": {member: {"const": true}}});
        json!({
            "properties": {
                "allowedOrigins": {
                    "items": {"pattern": origin_pattern(), "maxLength": 270},
                    // The bare * stands alone.
                    "if": {"contains": {"const": "*"}}, "then": {"maxItems": 1}
                }
            },
            "dependentRequired": {"viewerSessionVersion": ["viewerId"]},
            "allOf": [
                {
                    "if": {"anyOf": [{"required": ["viewerId"]}, is_true("singleUse")]},
                    "then": {"properties": {"ttlSeconds": {"maximum": CAPPED_TTL.as_secs()}}}
                },
                {
                    "if": is_true("strictOriginEnforcement"),
                    "then": {
                        "required": ["allowedOrigins"],
                        "properties": {"allowedOrigins": {
                            "maxItems": MAX_STRICT_ORIGINS, "items": {"not": {"const": "*"}}
                        }}
                    }
                }
            ]
        })
    }
}

/// An entry of `allowedOrigins` in ASCII, as [`AllowedOrigin`](crate::tokens::origin::AllowedOrigin)
/// reads it. A host that ends in a number is an IPv4 address.
fn origin_pattern() -> String {
    let label = "[A-Za-z0-9_-]{1,63}";
    let last_label = "([A-Za-z_-]|[1-9][0-9]{0,20}[A-Za-z_-])[A-Za-z0-9_-]{0,41}";
    let byte = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
    let group = "[0-9A-Fa-f]{1,4}";
    let mut ipv6 =
        vec![format!("({group}:){{7}}{group}"), format!(":(:{group}){{1,7}}"), "::".to_owned()];
    ipv6.extend((1..=6).map(|n| format!("({group}:){{1,{n}}}(:{group}){{1,{}}}", 7 - n)));
    ipv6.push(format!("({group}:){{1,7}}:"));
    let ipv6 = ipv6.join("|");
    let port =
        "(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})";
    format!(
        "^(\\*|[Hh][Tt][Tt][Pp][Ss]?://((\\*\\.)?({label}\\.){{0,3}}{last_label}\\.?|({byte}\\.){{3}}{byte}|\\[({ipv6})\\])(:{port})?)$"
    )
}

/// The values of `maximumResolution`.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Resolution {
    /// Up to 480p.
    Sd,
    /// Up to 720p.
    Hd,
    /// Up to 1080p.
    FullHd,
}

/// A minted token.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "token": "eyJhbGciOiJFUzM4NCIsInR5cCI6IkpXVCJ9.eyJhd3M6Y2hhbm5lbC1hcm4i.c2lnbmF0dXJl",
    "tokenId": "9f2c4be1a07d3358",
    "issuedAt": "2026-11-22T08:55:00Z", "expiresAt": "2026-11-22T09:00:00Z", "expiresIn": 300,
    "refreshAfter": "2026-11-22T08:58:20Z",
    "channelArn": "arn:aws:ivs:us-west-2:123456789012:channel/AbCdEfGh1234",
    "channelFreshness": "fresh",
    "playbackUrl": "https://a1b2c3.us-west-2.playback.live-video.net/api/video/v1/us-west-2.123456789012.channel.AbCdEfGh1234.m3u8?token=eyJhbGciOiJFUzM4NCIsInR5cCI6IkpXVCJ9.eyJhd3M6Y2hhbm5lbC1hcm4i.c2lnbmF0dXJl",
    "keyPairArn": "arn:aws:ivs:us-west-2:123456789012:playback-key/IjKlMnOp5678",
    "viewerId": "alice", "viewerSessionVersion": 1_795_337_700, "warnings": []
}))]
#[serde(rename_all = "camelCase")]
pub struct MintResponse {
    /// The token: an ES384 JWT.
    pub(crate) token: String,
    /// The first 16 hexadecimal digits of the token's SHA-256, as in the audit record.
    #[schema(example = "9f2c4be1a07d3358")]
    token_id: String,
    /// RFC 3339, UTC.
    #[schema(value_type = String, format = DateTime)]
    issued_at: Timestamp,
    /// The token's `exp`. Amazon IVS checks it when playback starts, not while it lasts.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) expires_at: Timestamp,
    /// Seconds from issue to expiry.
    pub(crate) expires_in: u64,
    /// A player that has not started by then fetches a new token first.
    #[schema(value_type = String, format = DateTime)]
    refresh_after: Timestamp,
    /// The channel that it plays.
    pub(crate) channel_arn: String,
    /// How far the service could rely on what it knows of the channel.
    channel_freshness: ChannelFreshness,
    /// Where to play, the token included. Absent where the channel is unverified.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) playback_url: Option<String>,
    /// The key pair that signed.
    pub(crate) key_pair_arn: String,
    /// As in the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    viewer_id: Option<String>,
    /// The version that a revocation up to it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    viewer_session_version: Option<i64>,
    /// The random id of a single-use token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    single_use_uuid: Option<String>,
    /// What is allowed but probably not intended.
    pub(crate) warnings: Vec<WarningBody>,
}

/// How far the service could rely on what it knows of the channel: `stale` is older than
/// `channels.fresh_for`, and of an `unverified` channel it knows nothing.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChannelFreshness {
    /// Amazon IVS answered within `channels.fresh_for`.
    Fresh,
    /// The answer is older.
    Stale,
    /// Amazon IVS never answered.
    Unverified,
}

impl ChannelFreshness {
    /// Returns the word of responses and the audit.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Unverified => "unverified",
        }
    }
}

impl From<Freshness> for ChannelFreshness {
    fn from(freshness: Freshness) -> Self {
        match freshness {
            Freshness::Fresh => Self::Fresh,
            Freshness::Stale => Self::Stale,
        }
    }
}

/// Something that is allowed but probably not intended.
#[derive(Debug, Serialize, ToSchema)]
pub struct WarningBody {
    pub(crate) code: WarningCode,
    pub(crate) detail: String,
}

impl From<Warning> for WarningBody {
    fn from(warning: Warning) -> Self {
        Self { code: warning.code, detail: warning.detail }
    }
}

/// Mint one viewer token. It is safe to retry: a retry mints another token.
#[utoipa::path(
    post, path = "/v1/tokens", operation_id = "mintToken", tag = "Tokens",
    security(("credential" = ["tokens:mint"])),
    request_body = MintRequest, responses((status = 200, description = "A token", body = MintResponse))
)]
pub async fn mint_token(
    State(api): State<Api>,
    client: Caller<TokensMint>,
    facts: RequestFacts,
    body: JsonObject,
) -> Result<Response, ApiError> {
    let actor = client.actor(&facts);
    let outcome = mint_one(&api, super::channels::requester(&client), &actor, body.0).await;
    // A mint decision is the record of its refusal, too.
    facts.set_audited();
    count(&api, &client, &outcome);
    Ok(no_store(json(&outcome?)))
}

/// Several mint requests.
#[derive(Debug, ToSchema)]
#[schema(example = json!({"requests": [{"channel": "demo", "viewerId": "alice"}, {"channel": "demo", "singleUse": true}]}))]
#[expect(dead_code, reason = "the schema of a body that is read member by member")]
pub struct BatchRequest {
    /// An item that is not valid is answered with an error in its place.
    #[schema(min_items = 1, max_items = 500)]
    requests: Vec<MintRequest>,
}

/// One answer for each request, in the same order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"results": [{"error": {
    "type": "/docs/errors/channel_not_found", "title": "No such channel", "status": 404,
    "detail": "Amazon IVS has no such channel in this account and region.", "code": "channel_not_found"
}}]}))]
pub struct BatchResponse {
    results: Vec<BatchItem>,
}

/// A token, or why there is none.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum BatchItem {
    /// As from `mintToken`.
    Minted(MintResponse),
    /// Pointers are relative to the item.
    Refused {
        /// The problem.
        error: Problem,
    },
}

/// Mint up to 500 tokens. An invalid item never fails the others.
#[utoipa::path(
    post, path = "/v1/tokens/batch", operation_id = "mintTokenBatch", tag = "Tokens",
    security(("credential" = ["tokens:mint"])),
    request_body = BatchRequest, responses((status = 200, description = "An answer for each request", body = BatchResponse))
)]
pub async fn mint_token_batch(
    State(api): State<Api>,
    client: Caller<TokensMint>,
    facts: RequestFacts,
    body: JsonObject,
) -> Result<Response, ApiError> {
    let requests = parse_items(body.0, "requests", MAX_BATCH)?;
    let (actor, requester) = (client.actor(&facts), super::channels::requester(&client));
    let results = stream::iter(requests)
        .map(|item| async {
            let outcome = match item {
                Value::Object(members) => mint_one(&api, requester, &actor, members).await,
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::String(_)
                | Value::Array(_) => {
                    Err(ApiError::invalid_member("", "Each request must be an object."))
                }
            };
            count(&api, &client, &outcome);
            match outcome {
                Ok(minted) => BatchItem::Minted(minted),
                Err(error) => {
                    // The layers see a success.
                    api.metrics.refusal(error.problem().spec().code);
                    let error = error.to_problem(Some(facts.request_id()), true);
                    BatchItem::Refused { error }
                }
            }
        })
        .buffered(BATCH_CONCURRENCY)
        .collect()
        .await;
    Ok(no_store(json(&BatchResponse { results })))
}

fn count(api: &Api, client: &Client, outcome: &Result<MintResponse, ApiError>) {
    let outcome = outcome.as_ref().map_or_else(|error| error.problem().spec().code, |_| "minted");
    api.metrics.mint(client.id().as_str(), outcome);
}

/// One request from JSON to token, with its record in the audit log. On the command line, `actor` is the
/// operator.
///
/// # Errors
///
/// As `POST /v1/tokens`.
pub async fn mint_one(
    api: &Api,
    requester: Requester<'_>,
    actor: &Actor,
    members: Map<String, Value>,
) -> Result<MintResponse, ApiError> {
    // Before the work: a sink that is known to be broken costs no signature.
    api.audit.check().map_err(ApiError::audit_unavailable)?;
    let started = api.clock.monotonic();
    let grant = read_grant(api, members);
    let outcome = match &grant {
        Ok(grant) => issue(api, requester, grant).await,
        Err(error) => Err(error.clone()),
    };
    let took = api.clock.monotonic().saturating_sub(started);
    let issued = outcome.as_ref().ok();
    let granted = grant.as_ref().ok();
    let fingerprint = issued.map(|it| it.signer.fingerprint().to_string());
    let decision = if issued.is_some() { Outcome::Minted } else { Outcome::Refused };
    api.audit
        .record(&Record {
            channel_arn: granted.map(|it| &it.channel),
            region: granted.map(|it| it.channel.region()),
            viewer_id: granted.and_then(|it| it.terms.viewer()).map(|it| it.id().as_str()),
            viewer_session_version: issued.and_then(|it| it.minted.viewer_session_version),
            token_id: issued.map(|it| it.minted.token_id.as_str()),
            key_pair_arn: issued.map(|it| it.signer.arn()),
            key_fingerprint: fingerprint.as_deref(),
            ttl_seconds: granted.map(|it| it.terms.ttl().as_secs()),
            code: outcome.as_ref().err().map(|it| it.problem().spec().code),
            channel_freshness: issued.map(|it| it.freshness.as_str()),
            duration_ms: Some(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
            ..Record::new(api.clock.now(), actor, (Kind::Mint, "mint"), decision)
        })
        .await
        // No token leaves without its record where `audit.on_failure` is "deny".
        .map_err(ApiError::audit_unavailable)?;
    Ok(outcome?.into_response(&grant?))
}

fn read_grant(api: &Api, members: Map<String, Value>) -> Result<Grant, ApiError> {
    let mut members = Members::new(members);
    let channel = members.string("channel");
    if channel.is_none() && !members.is_faulty() {
        members.violate("/channel", "channel is required: a channel ARN or a configured alias.");
    }
    let (places, origins): (Vec<usize>, Vec<String>) =
        members.strings("allowedOrigins").unwrap_or_default().into_iter().unzip();
    let mut request = TermsRequest {
        viewer_id: members.string("viewerId"),
        viewer_session_version: members.integer("viewerSessionVersion"),
        allowed_origins: None,
        strict_origin_enforcement: members.boolean("strictOriginEnforcement"),
        single_use: members.boolean("singleUse"),
        maximum_resolution: members.string("maximumResolution"),
        ttl_seconds: members.integer("ttlSeconds"),
        unreadable: Vec::new(),
    };
    let misread = |name| members.was_given(name) && members.is_faulty_at(name);
    request.unreadable =
        ["viewerId", "allowedOrigins"].into_iter().filter(|name| misread(name)).collect();
    if members.was_given("allowedOrigins") && !(origins.is_empty() && misread("allowedOrigins")) {
        request.allowed_origins = Some(origins);
    }
    let mut violations = members.finish();
    let terms = Terms::parse(request, &api.policy);
    let channel =
        channel.map(|text| api.resolve(&text).map_err(|it| super::channels::refuse_reference(&it)));
    match (channel, terms) {
        (Some(Ok(channel)), Ok(terms)) if violations.is_empty() => {
            let grant = Grant { channel, terms };
            match check_size(&grant, &api.policy) {
                Ok(()) => Ok(grant),
                Err(violation) => Err(ApiError::invalid(vec![violation])),
            }
        }
        // Alone, an unknown channel is a 404.
        (Some(Err(refusal)), Ok(_)) if violations.is_empty() => Err(refusal),
        (channel, terms) => {
            let faults = terms.err().into_iter().flatten();
            violations.extend(faults.map(|fault| at_its_place(fault, &places)));
            if let Some(Err(refusal)) = channel {
                let detail = refusal.to_problem(None, true).detail;
                violations.push(Violation { pointer: "/channel".to_owned(), detail });
            }
            Err(ApiError::invalid(violations))
        }
    }
}

/// Entries of another type were left out before the rules counted the rest.
fn at_its_place(fault: Violation, places: &[usize]) -> Violation {
    const ENTRIES: &str = "/allowedOrigins/";
    let index = fault.pointer.strip_prefix(ENTRIES).and_then(|index| index.parse::<usize>().ok());
    match index.and_then(|index| places.get(index)) {
        Some(place) => Violation { pointer: format!("{ENTRIES}{place}"), ..fault },
        None => fault,
    }
}

/// A token, and what it was made from.
struct Issued {
    minted: Minted,
    signer: Arc<Signer>,
    freshness: ChannelFreshness,
    /// Absent where the channel was never seen.
    playback_url: Option<Url>,
    warnings: Vec<Warning>,
}

/// Lookup, signer, signature: the part of a mint that may have to wait.
async fn issue(api: &Api, requester: Requester<'_>, grant: &Grant) -> Result<Issued, ApiError> {
    // Before the lookup, so that a refusal tells nothing of the channel.
    refuse_denied(api, grant)?;
    let looked_up = api.channels.lookup_for_mint(&grant.channel, requester).await;
    let lookup = match looked_up.map_err(super::channels::refuse)? {
        LookupForMint::Found(lookup) => Some(lookup),
        LookupForMint::Unverified => None,
    };
    let mut warnings = Vec::new();
    if lookup.as_ref().is_some_and(|lookup| !lookup.channel.authorized) {
        match api.public_channels {
            PublicChannels::Mint => warnings.push(Warning::channel_not_private()),
            PublicChannels::Refuse => return Err(not_private(grant)),
        }
    }
    let region = grant.channel.region();
    // Read together and before the signature: see `SigningKeys::signer`.
    let now = Moment::of(&api.clock);
    let signer = api.keys.signer(region, now.wall, now.monotonic).await;
    let signer = signer.map_err(super::key_pairs::no_active_key)?;
    if signer.arn().account() != grant.channel.account() {
        return Err(super::channels::refuse_account(&grant.channel, signer.arn().account()));
    }
    let clocks = api.clocks(region, now);
    if let Some(skew) = clocks.skew_over(api.viewers.clock_allowance()) {
        warnings.push(Warning::clock_skew(skew));
    }
    let viewer = grant.terms.viewer();
    let last_revoked = viewer.and_then(|it| api.viewers.last_revoked(&grant.channel, it.id()));
    let issue = Issue { at: clocks.issue_time(), last_revoked };
    let minted =
        mint(grant, &api.policy, &*signer, issue, &mut system_rng()).map_err(refuse_mint)?;
    // Again: who was denied after the look above may have been revoked by a version that is lower than
    // the one just stamped. Who is denied after this one is revoked by a higher one.
    refuse_denied(api, grant)?;
    let playback_url = lookup
        .as_ref()
        .map(|lookup| playback_url(&lookup.channel.playback_url, minted.token.expose()))
        .transpose()
        .map_err(ApiError::internal)?;
    warnings.extend(minted.warnings.iter().cloned());
    Ok(Issued {
        freshness: lookup.map_or(ChannelFreshness::Unverified, |it| it.freshness.into()),
        minted,
        signer,
        playback_url,
        warnings,
    })
}

fn refuse_mint(error: MintError) -> ApiError {
    match error {
        MintError::VersionsExhausted => {
            let detail = "This viewer was revoked on the channel up to the highest session version, so \
                          no token can play. Use another viewerId.";
            ApiError::new(ProblemType::SessionVersionsExhausted, detail)
        }
        MintError::Sign(_) | MintError::Clock | MintError::Check(_) => ApiError::internal(error),
    }
}

fn refuse_denied(api: &Api, grant: &Grant) -> Result<(), ApiError> {
    let (Some(denials), Some(viewer)) = (api.viewers.denials(), grant.terms.viewer()) else {
        return Ok(());
    };
    match denials.denied_until(&grant.channel, viewer.id(), api.clock.now()) {
        None => Ok(()),
        Some(until) => Err(ApiError::new(
            ProblemType::ViewerDenied,
            format!(
                "This viewer was revoked on the channel and gets no new token until {until}. Ask \
                 again then."
            ),
        )),
    }
}

fn not_private(grant: &Grant) -> ApiError {
    ApiError::new(
        ProblemType::ChannelNotPrivate,
        format!(
            "The channel {} plays without a token. Make it private with `aws ivs update-channel \
             --arn {0} --authorized`.",
            grant.channel
        ),
    )
}

impl Issued {
    fn into_response(self, grant: &Grant) -> MintResponse {
        MintResponse {
            token: self.minted.token.expose().to_owned(),
            token_id: self.minted.token_id,
            issued_at: self.minted.issued_at,
            expires_at: self.minted.expires_at,
            expires_in: self.minted.expires_in.as_secs(),
            refresh_after: self.minted.refresh_after,
            channel_arn: grant.channel.to_string(),
            channel_freshness: self.freshness,
            playback_url: self.playback_url.map(String::from),
            key_pair_arn: self.signer.arn().to_string(),
            viewer_id: grant.terms.viewer().map(|it| it.id().as_str().to_owned()),
            viewer_session_version: self.minted.viewer_session_version,
            single_use_uuid: self.minted.single_use_uuid.map(|it| it.to_string()),
            warnings: self.warnings.into_iter().map(WarningBody::from).collect(),
        }
    }
}
