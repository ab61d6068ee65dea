//! `/v1/channels`: what the cached lookup knows of a channel.

use axum::{extract::State, response::Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Api,
    extract::{Caller, ChannelsRead, PathText, QueryParameters},
    problem::{ApiError, ProblemType},
    respond::{json, no_store},
};
use crate::{
    access::Client,
    channels::{ChannelRefError, Freshness, Lookup, LookupError, Requester},
    clock::Timestamp,
    ivs::arn::{AccountId, ChannelArn},
};

/// A channel as this service knows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "arn": "arn:aws:ivs:us-west-2:123456789012:channel/AbCdEfGh1234", "name": "demo",
    "authorized": true, "type": "STANDARD", "latencyMode": "LOW",
    "playbackUrl": "https://a1b2c3.us-west-2.playback.live-video.net/api/video/v1/us-west-2.123456789012.channel.AbCdEfGh1234.m3u8",
    "fetchedAt": "2026-11-22T08:55:00Z", "freshness": "fresh"
}))]
#[serde(rename_all = "camelCase")]
pub struct ChannelBody {
    arn: String,
    name: String,
    /// Whether the channel is private: playback needs a token.
    authorized: bool,
    #[schema(example = "STANDARD")]
    r#type: String,
    #[schema(example = "LOW")]
    latency_mode: String,
    playback_url: String,
    /// When Amazon IVS returned this.
    #[schema(value_type = String, format = DateTime)]
    fetched_at: Timestamp,
    /// `fresh`, or `stale` where it is older than `channels.fresh_for`.
    freshness: Freshness,
}

impl From<&Lookup> for ChannelBody {
    fn from(lookup: &Lookup) -> Self {
        let channel = &lookup.channel;
        Self {
            arn: channel.arn.to_string(),
            name: channel.name.clone(),
            authorized: channel.authorized,
            r#type: channel.channel_type.clone(),
            latency_mode: channel.latency_mode.clone(),
            playback_url: channel.playback_url.clone(),
            fetched_at: channel.fetched_at,
            freshness: lookup.freshness,
        }
    }
}

/// Read a channel from the cache, or from Amazon IVS if it is not cached.
#[utoipa::path(
    get, path = "/v1/channels/{channel}", operation_id = "getChannel", tag = "Channels",
    security(("credential" = ["channels:read"])),
    params(("channel" = String, Path, description = "A channel ARN, percent-encoded, or an alias", example = "demo")),
    responses((status = 200, description = "The channel", body = ChannelBody))
)]
pub async fn get_channel(
    State(api): State<Api>,
    client: Caller<ChannelsRead>,
    channel: PathText,
    query: QueryParameters,
) -> Result<Response, ApiError> {
    let arn = named(&api, &channel, query)?;
    answer(api.channels.lookup(&arn, requester(&client)).await)
}

/// Read a channel from Amazon IVS now, at most once per second per channel.
#[utoipa::path(
    post, path = "/v1/channels/{channel}/refresh", operation_id = "refreshChannel", tag = "Channels",
    security(("credential" = ["channels:read"])),
    params(("channel" = String, Path, description = "A channel ARN, percent-encoded, or an alias", example = "demo")),
    responses((status = 200, description = "The channel", body = ChannelBody))
)]
pub async fn refresh_channel(
    State(api): State<Api>,
    client: Caller<ChannelsRead>,
    channel: PathText,
    query: QueryParameters,
) -> Result<Response, ApiError> {
    let arn = named(&api, &channel, query)?;
    answer(api.channels.refresh(&arn, requester(&client)).await)
}

fn named(api: &Api, text: &PathText, query: QueryParameters) -> Result<ChannelArn, ApiError> {
    query.finish()?;
    api.resolve(&text.0).map_err(|error| refuse_reference(&error))
}

fn answer(outcome: Result<Lookup, LookupError>) -> Result<Response, ApiError> {
    let lookup = outcome.map_err(refuse)?;
    Ok(no_store(json(&ChannelBody::from(&lookup))))
}

/// On whose behalf a client's channels are looked up.
pub(super) fn requester(client: &Client) -> Requester<'_> {
    Requester::client(client.id().as_str())
}

/// A text that names no channel of ours.
pub(super) fn refuse_reference(error: &ChannelRefError) -> ApiError {
    let detail = error.to_string();
    match error {
        ChannelRefError::NotAChannel => ApiError::new(ProblemType::ChannelNotFound, detail),
        ChannelRefError::OtherResource { .. }
        | ChannelRefError::OtherRegion { .. }
        | ChannelRefError::OtherAccount { .. } => ApiError::invalid_member("/channel", detail),
    }
}

/// A channel whose tokens would be signed by another account's key.
pub(super) fn refuse_account(channel: &ChannelArn, own: &AccountId) -> ApiError {
    let owner = channel.account().clone();
    refuse_reference(&ChannelRefError::OtherAccount { owner, own: own.clone() })
}

/// A lookup that brought no channel.
pub(super) fn refuse(error: LookupError) -> ApiError {
    let detail = format!("{error}.");
    match error {
        // To the caller a denied channel is an absent one: which of the two it is, is not theirs
        // to learn. The log tells them apart.
        LookupError::NotFound | LookupError::Denied => {
            ApiError::new(ProblemType::ChannelNotFound, format!("{}.", LookupError::NotFound))
                .caused_by(error)
        }
        LookupError::Throttled { retry_after } => {
            ApiError::new(ProblemType::IvsThrottled, detail).retry_after(retry_after)
        }
        LookupError::Unavailable { retry_after, .. } => {
            ApiError::new(ProblemType::IvsUnavailable, detail).retry_after(retry_after)
        }
    }
}
