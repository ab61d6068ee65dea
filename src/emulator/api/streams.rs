//! Streams: `GetStream`, `ListStreams`, `StopStream`.
//!
//! A stream that is live here is healthy; there is no encoder that could starve it.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Call,
    error::{ApiError, ErrorCode},
    input::OfChannel,
    pages::{Listing, PageInput},
};
use crate::emulator::{
    live,
    store::{
        View,
        collection::Tagged,
        records::{Channel, LiveStream},
    },
    urls,
};

/// Page size of `ListStreams` where the caller does not say.
const DEFAULT_PAGE: usize = 100;

const HEALTH: &str = "HEALTHY";

pub(super) fn get(call: &Call<'_>, input: &OfChannel) -> Result<Value, ApiError> {
    let stream = call.shared.store.read(|view| find(call, view, &input.channel_arn))?;
    Ok(json!({ "stream": shape(&call.base_url, &stream) }))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Filters {
    #[serde(default)]
    filter_by: StreamFilters,
}

#[derive(Debug, Default, Deserialize)]
struct StreamFilters {
    health: Option<String>,
}

pub(super) fn list(
    call: &Call<'_>,
    filters: &Filters,
    page: &PageInput,
) -> Result<Value, ApiError> {
    let health = filters.filter_by.health.as_deref();
    let listing = Listing {
        collection: &LiveStream::in_region(&call.region, &call.shared.account),
        filters: health.as_slice(),
        member: "streams",
        default_limit: DEFAULT_PAGE,
    };
    let keep = |_: &LiveStream| health.is_none_or(|wanted| wanted == HEALTH);
    call.list(&listing, page, keep, |stream: &Tagged<LiveStream>| summary(&stream.record))
}

pub(super) fn stop(call: &Call<'_>, input: &OfChannel) -> Result<Value, ApiError> {
    call.shared.store.write(|transaction| {
        find(call, transaction, &input.channel_arn)?;
        live::stop(transaction, &input.channel_arn, call.shared.clock.now())?;
        Ok(json!({}))
    })
}

/// The stream of a channel, which must be live.
pub(super) fn find(
    call: &Call<'_>,
    view: &impl View,
    channel_arn: &str,
) -> Result<LiveStream, ApiError> {
    call.find::<Channel>(view, channel_arn)?;
    live::find(view, channel_arn)?.ok_or_else(|| {
        ApiError::new(
            ErrorCode::ChannelNotBroadcasting,
            format!("ChannelNotBroadcasting: Channel: {channel_arn} is not currently online"),
        )
    })
}

/// The shape `Stream`.
pub(in crate::emulator) fn shape(base_url: &str, stream: &LiveStream) -> Value {
    let mut shape = summary(stream);
    if let Some(members) = shape.as_object_mut() {
        let playback_url = urls::playback_url(base_url, &stream.channel_arn);
        members.insert("playbackUrl".to_owned(), playback_url.into());
    }
    shape
}

/// The shape `StreamSummary`, which lacks the playback URL.
fn summary(stream: &LiveStream) -> Value {
    json!({
        "channelArn": stream.channel_arn,
        "health": HEALTH,
        "startTime": stream.start_time,
        "state": "LIVE",
        "streamId": stream.stream_id,
        "viewerCount": 0,
    })
}
