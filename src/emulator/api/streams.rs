//! Streams, their sessions and their timed metadata: `GetStream`, `ListStreams`, `StopStream`,
//! `GetStreamSession`, `ListStreamSessions`, `PutMetadata`.
//!
//! There is no encoder, so a live stream is always healthy and no session has an ingest
//! configuration. A session is kept until its channel is deleted.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    call::{ByChannel, Call},
    pages::Page,
    recording,
    response::{ApiError, ErrorCode, with},
};
use crate::{
    clock::Timestamp,
    emulator::{
        store::{
            View,
            collection::{self, Tagged},
            records::{Channel, LiveStream, StreamSession},
            streams,
        },
        urls,
    },
};

const HEALTH: &str = "HEALTHY";

/// The longest metadata, in bytes of UTF-8 (service model).
const MAX_METADATA_BYTES: usize = 1024;

/// Pieces of metadata per channel and second (service model). This quota is part of the behaviour of
/// the operation, so it is always enforced.
const METADATA_PER_SECOND: usize = 5;

pub(super) fn get(call: &Call<'_>, input: &ByChannel) -> Result<Value, ApiError> {
    let stream = call.shared.store.read(|view| find_live(call, view, &input.channel_arn))?;
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

pub(super) fn list(call: &Call<'_>, input: &Filters, page: &Page) -> Result<Value, ApiError> {
    let health = input.filter_by.health.as_deref();
    let live = LiveStream::in_region(&call.region, &call.shared.account);
    let keep = |_: &LiveStream| health.is_none_or(|health| health == HEALTH);
    let shape = |stream: &Tagged<LiveStream>| summary(&stream.record);
    call.list_filtered(page, "streams", &live, (health.as_slice(), keep), shape)
}

pub(super) fn stop(call: &Call<'_>, input: &ByChannel) -> Result<Value, ApiError> {
    call.shared.store.write(|transaction| {
        find_live(call, transaction, &input.channel_arn)?;
        streams::stop(transaction, &input.channel_arn, call.shared.clock.now())?;
        Ok(json!({}))
    })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PutMetadata {
    channel_arn: String,
    metadata: String,
}

pub(super) fn put_metadata(call: &Call<'_>, input: &PutMetadata) -> Result<Value, ApiError> {
    if input.metadata.len() > MAX_METADATA_BYTES {
        let message =
            format!("Metadata size exceeds payload limit: it may have {MAX_METADATA_BYTES} bytes.");
        return Err(ApiError::new(ErrorCode::Validation, message));
    }
    let (shared, arn) = (call.shared, &input.channel_arn);
    shared.store.read(|view| find_live(call, view, arn))?;
    let now = shared.clock.monotonic();
    if !shared.rates.admit(call.operation, arn, METADATA_PER_SECOND, now) {
        return Err(ApiError::throttled(call.operation, METADATA_PER_SECOND, Some(arn)));
    }
    shared.store.write(|transaction| {
        // The stream may have ended since the first check.
        find_live(call, transaction, arn)?;
        streams::put_metadata(transaction, arn, &input.metadata, shared.clock.now())?;
        Ok(Value::Null)
    })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GetSession {
    channel_arn: String,
    stream_id: Option<String>,
}

/// Returns the session of the stream, or the latest one.
pub(super) fn get_session(call: &Call<'_>, input: &GetSession) -> Result<Value, ApiError> {
    let arn = &input.channel_arn;
    let session = call.shared.store.read(|view| {
        call.find::<Channel>(view, arn)?;
        let found = match &input.stream_id {
            Some(id) => collection::find(view, &StreamSession::name_of(arn, id))?,
            None => collection::page(view, &StreamSession::of(arn), 0, 1, |_| true)?.items.pop(),
        };
        found.ok_or_else(|| {
            ApiError::new(
                ErrorCode::ResourceNotFound,
                format!("ResourceNotFoundException: {arn} has no such stream session."),
            )
        })
    })?;
    Ok(json!({ "streamSession": session_shape(call, session.record) }))
}

/// Returns the sessions of a channel, the latest first.
pub(super) fn list_sessions(
    call: &Call<'_>,
    input: &ByChannel,
    page: &Page,
) -> Result<Value, ApiError> {
    call.get::<Channel>(&input.channel_arn)?;
    let sessions = StreamSession::of(&input.channel_arn);
    call.list(page, "streamSessions", &sessions, |session: &Tagged<StreamSession>| {
        with(session_summary(&session.record), json!({ "hasErrorEvent": false }))
    })
}

/// Returns the stream of a channel, which must be live.
fn find_live(call: &Call<'_>, view: &impl View, channel_arn: &str) -> Result<LiveStream, ApiError> {
    call.find::<Channel>(view, channel_arn)?;
    streams::find_live(view, channel_arn)?.ok_or_else(|| {
        ApiError::new(
            ErrorCode::ChannelNotBroadcasting,
            format!("ChannelNotBroadcasting: Channel: {channel_arn} is not currently online"),
        )
    })
}

/// Returns the shape `Stream`.
pub(crate) fn shape(base_url: &str, stream: &LiveStream) -> Value {
    let playback_url = urls::playback_url(base_url, &stream.channel_arn);
    with(summary(stream), json!({ "playbackUrl": playback_url }))
}

/// Returns the shape `StreamSummary`, which lacks the playback URL.
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

/// Returns the shape `StreamSession`.
fn session_shape(call: &Call<'_>, session: StreamSession) -> Value {
    let event = |name: &str, at: Timestamp| json!({ "eventTime": at, "name": name, "type": "IVS Stream State Change" });
    let end = session.end_time.map(|at| event("Stream End", at));
    let start = event("Stream Start", session.start_time);
    let events: Vec<Value> = end.into_iter().chain([start]).collect();
    let details = json!({ "channel": call.channel(&session.channel), "truncatedEvents": events });
    let shape = with(session_summary(&session), details);
    match session.recording_configuration {
        Some(configuration) => {
            let configuration = recording::shape(&configuration, call.shared.clock.now());
            with(shape, json!({ "recordingConfiguration": configuration }))
        }
        None => shape,
    }
}

/// Returns what session and summary share. A live session has no `endTime`.
fn session_summary(session: &StreamSession) -> Value {
    let start = json!({ "startTime": session.start_time, "streamId": session.stream_id });
    match session.end_time {
        Some(end) => with(start, json!({ "endTime": end })),
        None => start,
    }
}
