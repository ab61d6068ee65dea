//! Inspection: `POST /v1/tokens/inspect`. Its response is [`Inspection`](super::Inspection).

use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

/// What to inspect: `token` or `playbackUrl`, or `edgeError` either alone or with one of them.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({
    "playbackUrl": "https://a1b2c3.us-west-2.playback.live-video.net/api/video/v1/us-west-2.123456789012.channel.AbCdEfGh1234.m3u8?token=eyJhbGciOiJFUzM4NCIsInR5cCI6IkpXVCJ9.e30.c2lnbmF0dXJl",
    "origin": "https://www.example.com"
}))]
pub struct InspectRequest {
    /// A viewer token.
    #[schema(nullable = false)]
    pub token: Option<String>,
    /// The URL that a player loads, the token included.
    #[schema(nullable = false)]
    pub playback_url: Option<String>,
    /// The body of a 403 from the playback edge, as text.
    #[schema(nullable = false)]
    pub edge_error: Option<String>,
    /// The channel that the token should play: an ARN, or an alias. Without `channels:read` and
    /// `tokens:mint`, the inspection does not look up channels and knows no aliases.
    #[schema(nullable = false)]
    pub channel: Option<String>,
    /// The web origin of the page that plays; empty for a player that sends none.
    #[schema(nullable = false)]
    pub origin: Option<String>,
}

/// Returns the rules between the members of an [`InspectRequest`], as JSON Schema.
pub(crate) fn inspect_rules() -> Value {
    json!({
        "anyOf": [
            {"required": ["token"]}, {"required": ["playbackUrl"]}, {"required": ["edgeError"]}
        ],
        "not": {"required": ["token", "playbackUrl"]}
    })
}
