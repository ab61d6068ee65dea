//! What AWS has no call for: `/_emulator`.
//!
//! Calls here are not signed. Their answers carry no CORS headers, so that no page of another origin
//! reads them; `browsers` keeps pages from changing anything.

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing,
};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use super::{
    Shared,
    api::{
        error::{ApiError, ErrorCode},
        response, streams,
    },
    live,
    store::{collection, records::Channel},
    urls,
};
use crate::ivs::arn::ChannelArn;

const STREAMS: &str = "/_emulator/streams/";

pub(super) fn router(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route("/_emulator/health", routing::get(health))
        .route("/_emulator/streams/{*channel}", routing::put(put_live).delete(put_off))
        .with_state(Arc::clone(shared))
}

/// The router is served once the state is open, so that an answer is a good one.
async fn health() -> Response {
    response::json(StatusCode::OK, &json!({ "status": "ready" }))
}

async fn put_live(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap) -> Response {
    let base_url = urls::base_url(shared.public_url.as_ref(), &uri, &headers);
    let started = change(shared, &uri, move |shared, channel| {
        let now = shared.clock.now();
        let stream = shared.store.write(|transaction| {
            existing(collection::find(transaction, channel.as_str())?, channel)?;
            Ok::<_, ApiError>(live::start(transaction, channel, now)?)
        })?;
        Ok(json!({ "stream": streams::shape(&base_url, &stream) }))
    });
    match started.await {
        Ok(output) => response::json(StatusCode::OK, &output),
        Err(error) => error.into_response(),
    }
}

async fn put_off(State(shared): State<Arc<Shared>>, uri: Uri) -> Response {
    let stopped = change(shared, &uri, |shared, channel| {
        shared.store.write(|transaction| {
            existing(collection::find(transaction, channel.as_str())?, channel)?;
            live::stop(transaction, channel.as_str(), shared.clock.now())?;
            Ok(Value::Null)
        })
    });
    match stopped.await {
        Ok(_) => response::empty(StatusCode::NO_CONTENT),
        Err(error) => error.into_response(),
    }
}

/// Runs a change of the channel that the path names, off the async threads.
async fn change(
    shared: Arc<Shared>,
    uri: &Uri,
    change: impl FnOnce(&Shared, &ChannelArn) -> Result<Value, ApiError> + Send + 'static,
) -> Result<Value, ApiError> {
    let segment = uri.path().strip_prefix(STREAMS).unwrap_or_default();
    let arn = percent_decode_str(segment).decode_utf8().ok();
    let channel = arn.and_then(|arn| arn.parse::<ChannelArn>().ok()).ok_or_else(|| {
        ApiError::new(
            ErrorCode::Validation,
            "The path must end in the ARN of a channel, percent-encoded.",
        )
    })?;
    tokio::task::spawn_blocking(move || change(&shared, &channel)).await.map_err(|error| {
        tracing::error!(
            event = "emulator_failed",
            panicked = error.is_panic(),
            "a stream was not changed"
        );
        ApiError::internal()
    })?
}

fn existing(
    found: Option<collection::Tagged<Channel>>,
    channel: &ChannelArn,
) -> Result<(), ApiError> {
    found.map(drop).ok_or_else(|| ApiError::not_found(channel.as_str()))
}
