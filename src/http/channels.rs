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
    channels::{ChannelRefError, Lookup, LookupError, Requester},
    clock::Timestamp,
    ivs::arn::{AccountId, ChannelArn},
};

/// A channel as this service knows it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChannelBody {
    arn: String,
    name: String,
    /// Whether playback demands a token: a private channel.
    authorized: bool,
    #[schema(example = "STANDARD")]
    r#type: String,
    #[schema(example = "LOW")]
    latency_mode: String,
    playback_url: String,
    /// When Amazon IVS said so.
    #[schema(value_type = String, format = DateTime)]
    fetched_at: Timestamp,
    /// `fresh`, or `stale` where it is older than `channels.fresh_for`.
    freshness: &'static str,
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
            freshness: lookup.freshness.as_str(),
        }
    }
}

/// Read a channel from the cache, or from Amazon IVS where it is not there.
#[utoipa::path(
    get, path = "/v1/channels/{channel}", operation_id = "getChannel", tag = "Channels",
    params(("channel" = String, Path, description = "A channel ARN, percent-encoded, or an alias")),
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

/// Read a channel from Amazon IVS now, at most once a second a channel.
#[utoipa::path(
    post, path = "/v1/channels/{channel}/refresh", operation_id = "refreshChannel", tag = "Channels",
    params(("channel" = String, Path, description = "A channel ARN, percent-encoded, or an alias")),
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
