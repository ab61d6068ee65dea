//! The two calls to Amazon IVS that the page needs and the API does not have.

use std::collections::BTreeSet;

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};

use super::pace::{self, Pace};
use crate::{
    clock::Clock,
    http::{
        Api,
        extract::{Body, Caller, ChannelsRead, QueryParameters},
        problem::{ApiError, ProblemType},
        respond::{json, no_store},
    },
    ivs::{IvsError, RegionalIvs, arn::ChannelArn},
};

/// Lists per second. Each takes at least two calls to IVS, which allows five per second.
const LISTS_A_SECOND: usize = 2;

/// Pieces of metadata per second, the limit of IVS for a channel.
const METADATA_A_SECOND: usize = 5;

/// The most pages of a list that are read: a longer select box would not help.
const MAX_PAGES: usize = 10;

pub(super) fn routes(clock: &Clock) -> Router<Api> {
    let pace = |a_second| from_fn_with_state(Pace::new(a_second, clock.clone()), pace::keep);
    Router::new()
        .route("/channels", get(list_channels).layer(pace(LISTS_A_SECOND)))
        .route("/metadata", post(put_metadata).layer(pace(METADATA_A_SECOND)))
}

/// The private channels.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ChannelsBody {
    channels: Vec<ChannelBody>,
    /// Whether there are more than were read.
    truncated: bool,
}

#[derive(Debug, Serialize)]
struct ChannelBody {
    arn: ChannelArn,
    name: String,
    /// Whether it has a stream to play.
    live: bool,
}

async fn list_channels(
    State(api): State<Api>,
    _: Caller<ChannelsRead>,
    query: QueryParameters,
) -> Result<Response, ApiError> {
    query.finish()?;
    let mut body = ChannelsBody { channels: Vec::new(), truncated: false };
    for ivs in api.ivs.iter() {
        body.truncated |= add_channels(ivs, &mut body.channels).await.map_err(refuse)?;
    }
    Ok(no_store(json(&body)))
}

/// Adds a region's private channels, and returns whether it has more.
async fn add_channels(ivs: &RegionalIvs, found: &mut Vec<ChannelBody>) -> Result<bool, IvsError> {
    let mut live = BTreeSet::new();
    let mut next = None;
    for _ in 0..MAX_PAGES {
        let (channels, token) = ivs.list_streams(next).await?;
        live.extend(channels);
        next = token;
        if next.is_none() {
            break;
        }
    }
    next = None;
    for _ in 0..MAX_PAGES {
        let (channels, token) = ivs.list_channels(next).await?;
        let private = channels.into_iter().filter(|channel| channel.authorized);
        found.extend(private.map(|channel| ChannelBody {
            live: live.contains(&channel.arn),
            arn: channel.arn,
            name: channel.name,
        }));
        next = token;
        if next.is_none() {
            break;
        }
    }
    Ok(next.is_some())
}

/// What to put into a channel's stream.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    channel: String,
    metadata: String,
}

async fn put_metadata(
    State(api): State<Api>,
    // The API has no scope for this call.
    _: Caller<ChannelsRead>,
    Body(Metadata { channel, metadata }): Body<Metadata>,
) -> Result<Response, ApiError> {
    if metadata.is_empty() {
        return Err(ApiError::invalid_member("/metadata", "metadata must not be empty."));
    }
    let channel = api.channels.resolve(&channel)?;
    let ivs = api.ivs.region(channel.region()).ok_or_else(|| refuse(IvsError::NotFound))?;
    ivs.put_metadata(&channel, &metadata).await.map_err(refuse)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Only `dev` reports these errors, and its IVS is the emulator, so the messages of IVS may be repeated.
fn refuse(error: IvsError) -> ApiError {
    match &error {
        IvsError::NotFound => {
            ApiError::new(ProblemType::ChannelNotFound, "Amazon IVS has no such channel.")
        }
        IvsError::Conflict { message } => ApiError::invalid_member("/channel", message.clone()),
        IvsError::Invalid { message } | IvsError::QuotaExceeded { message } => {
            ApiError::invalid_member("/metadata", message.clone())
        }
        IvsError::Throttled => {
            ApiError::new(ProblemType::IvsThrottled, "Amazon IVS throttles; wait a second.")
                .retry_after(std::time::Duration::from_secs(1))
        }
        IvsError::Denied { .. }
        | IvsError::NoCredentials
        | IvsError::Unavailable { .. }
        | IvsError::TimedOut => {
            let detail = "Amazon IVS cannot be used now; try again.";
            ApiError::new(ProblemType::IvsUnavailable, detail)
                .retry_after(std::time::Duration::from_secs(1))
        }
    }
    .caused_by(error)
}
