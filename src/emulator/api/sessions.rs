//! Stream sessions: `GetStreamSession`, `ListStreamSessions`.
//!
//! A session is kept from the start of its stream until its channel is deleted. There is no encoder,
//! so that none has an ingest configuration.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Call,
    error::{ApiError, ErrorCode},
    input::OfChannel,
    pages::{Listing, PageInput},
    recording,
};
use crate::{
    clock::Timestamp,
    emulator::store::{
        collection::{self, Tagged},
        records::{Channel, StreamSession},
    },
};

/// Page size of `ListStreamSessions` where the caller does not say.
const DEFAULT_PAGE: usize = 100;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Get {
    channel_arn: String,
    stream_id: Option<String>,
}

/// The session of that stream, or the latest.
pub(super) fn get(call: &Call<'_>, input: &Get) -> Result<Value, ApiError> {
    let arn = &input.channel_arn;
    let found = call.shared.store.read(|view| {
        call.find::<Channel>(view, arn)?;
        Ok::<_, ApiError>(match &input.stream_id {
            Some(id) => collection::find(view, &StreamSession::name_of(arn, id))?,
            None => collection::page(view, &StreamSession::of(arn), 0, 1, |_| true)?.items.pop(),
        })
    })?;
    let session = found.ok_or_else(|| {
        ApiError::new(
            ErrorCode::ResourceNotFound,
            format!("ResourceNotFoundException: {arn} has no such stream session."),
        )
    })?;
    Ok(json!({ "streamSession": shape(call, session) }))
}

/// The latest first.
pub(super) fn list(
    call: &Call<'_>,
    input: &OfChannel,
    page: &PageInput,
) -> Result<Value, ApiError> {
    let listing = Listing {
        collection: &StreamSession::of(&input.channel_arn),
        filters: &[],
        member: "streamSessions",
        default_limit: DEFAULT_PAGE,
    };
    call.list_of_channel(&input.channel_arn, &listing, page, summary)
}

/// The shape `StreamSessionSummary`.
fn summary(session: &Tagged<StreamSession>) -> Value {
    let mut summary = times(&session.record);
    if let Some(members) = summary.as_object_mut() {
        members.insert("hasErrorEvent".to_owned(), false.into());
    }
    summary
}

/// The shape `StreamSession`.
fn shape(call: &Call<'_>, session: Tagged<StreamSession>) -> Value {
    let session = session.record;
    let mut shape = times(&session);
    if let Some(members) = shape.as_object_mut() {
        members.insert("channel".to_owned(), call.channel(&session.channel));
        members.insert("truncatedEvents".to_owned(), events(&session));
        if let Some(configuration) = session.recording_configuration {
            let configuration = recording::shape(&configuration, call.shared.clock.now());
            members.insert("recordingConfiguration".to_owned(), configuration);
        }
    }
    shape
}

/// What session and summary share. A live one has no `endTime`.
fn times(session: &StreamSession) -> Value {
    let mut times = json!({ "startTime": session.start_time, "streamId": session.stream_id });
    if let (Some(members), Some(end_time)) = (times.as_object_mut(), session.end_time) {
        members.insert("endTime".to_owned(), json!(end_time));
    }
    times
}

/// What happened to the stream, the latest first.
fn events(session: &StreamSession) -> Value {
    let event = |name: &str, at: Timestamp| json!({ "eventTime": at, "name": name, "type": "IVS Stream State Change" });
    let end = session.end_time.map(|at| event("Stream End", at));
    end.into_iter().chain([event("Stream Start", session.start_time)]).collect()
}
