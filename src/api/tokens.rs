//! Minting: `POST /v1/tokens` and its batch.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{MintRequest, json::Item, problem::Problem};
use crate::{
    channels::Freshness,
    clock::Timestamp,
    tokens::{
        Warning,
        claims::{CAPPED_TTL, MAX_STRICT_ORIGINS},
    },
};

/// A minted token.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = MintResponse, example = json!({
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
pub struct Minted {
    /// The token: an ES384 JWT.
    pub token: String,
    /// The first 16 hexadecimal digits of the token's SHA-256, as in the audit record.
    #[schema(example = "9f2c4be1a07d3358")]
    pub token_id: String,
    /// RFC 3339, UTC.
    #[schema(value_type = String, format = DateTime)]
    pub issued_at: Timestamp,
    /// The token's `exp`. Amazon IVS checks it when playback starts, not while it lasts.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// Seconds from issue to expiry.
    pub expires_in: u64,
    /// A player that has not started by then fetches a new token first.
    #[schema(value_type = String, format = DateTime)]
    pub refresh_after: Timestamp,
    /// The channel that it plays.
    pub channel_arn: String,
    /// How far the service could rely on what it knows of the channel.
    pub channel_freshness: ChannelFreshness,
    /// Where to play, the token included. Absent where the channel is unverified.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub playback_url: Option<String>,
    /// The key pair that signed.
    pub key_pair_arn: String,
    /// As in the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub viewer_id: Option<String>,
    /// The version that a revocation up to it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub viewer_session_version: Option<i64>,
    /// The random id of a single-use token.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub single_use_uuid: Option<String>,
    /// What is allowed but probably not intended.
    pub warnings: Vec<Warning>,
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
    pub const fn as_str(self) -> &'static str {
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

/// Several mint requests.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"requests": [{"channel": "demo", "viewerId": "alice"}, {"channel": "demo", "singleUse": true}]}))]
pub struct BatchRequest {
    /// An item that is not valid is answered with an error in its place.
    #[schema(min_items = 1, max_items = 500, value_type = Vec<MintRequest>)]
    pub requests: Vec<Item<MintRequest>>,
}

/// One answer for each request, in the same order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"results": [{"error": {
    "type": "/docs/errors/channel_not_found", "title": "No such channel", "status": 404,
    "detail": "Amazon IVS has no such channel in this account and region.", "code": "channel_not_found"
}}]}))]
pub struct BatchResponse {
    /// In the order of the requests.
    pub results: Vec<BatchItem>,
}

/// A token, or why there is none.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum BatchItem {
    /// As from `mintToken`.
    Minted(Minted),
    /// Pointers are relative to the item.
    Refused {
        /// The problem.
        error: Problem,
    },
}

/// Returns the patterns of a [`MintRequest`] and the rules between its members, as JSON Schema.
pub(crate) fn mint_rules() -> Value {
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

/// Returns a pattern for an entry of `allowedOrigins` in ASCII, as
/// [`AllowedOrigin`](crate::tokens::origin::AllowedOrigin) reads it. A host that ends in a number is an IPv4
/// address.
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
