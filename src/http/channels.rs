//! `/v1/channels`: what the cached lookup knows of a channel.

use axum::{extract::State, response::Response};

use super::{
    Api,
    extract::{Caller, ChannelsRead, PathText, QueryParameters},
    problem::ApiError,
    respond::{json, no_store},
};
use crate::api::Channel;

/// Read a channel from the cache, or from Amazon IVS if it is not cached.
#[utoipa::path(
    get, path = "/v1/channels/{channel}", operation_id = "getChannel", tag = "Channels",
    security(("credential" = ["channels:read"])),
    params(("channel" = String, Path, description = "A channel ARN, percent-encoded, or an alias", example = "demo")),
    responses((status = 200, description = "The channel", body = Channel))
)]
pub async fn get_channel(
    State(api): State<Api>,
    client: Caller<ChannelsRead>,
    channel: PathText,
    query: QueryParameters,
) -> Result<Response, ApiError> {
    query.finish()?;
    let channel = api.channels.get(&client.actor(), &channel.0).await?;
    Ok(no_store(json(&channel)))
}

/// Read a channel from Amazon IVS now, at most once per second per channel.
#[utoipa::path(
    post, path = "/v1/channels/{channel}/refresh", operation_id = "refreshChannel", tag = "Channels",
    security(("credential" = ["channels:read"])),
    params(("channel" = String, Path, description = "A channel ARN, percent-encoded, or an alias", example = "demo")),
    responses((status = 200, description = "The channel", body = Channel))
)]
pub async fn refresh_channel(
    State(api): State<Api>,
    client: Caller<ChannelsRead>,
    channel: PathText,
    query: QueryParameters,
) -> Result<Response, ApiError> {
    query.finish()?;
    let channel = api.channels.refresh(&client.actor(), &channel.0).await?;
    Ok(no_store(json(&channel)))
}
