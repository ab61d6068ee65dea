//! Faults on demand: `/_emulator/faults`.
//!
//! Faults let users test what their code does when IVS is slow, throttles, fails, closes the
//! connection in the middle of a response, or executes a call without ever responding. The
//! [`registry`] decides which faults strike a call, and [`strike`] applies them. Faults are kept in
//! memory only, so a restart always ends them.

mod input;
pub(super) mod registry;
pub(super) mod strike;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{StatusCode, Uri},
    middleware::Next,
    response::Response,
    routing,
};
use serde_json::{Value, json};

use self::registry::{PLAYBACK, SetFault};
use super::{
    Shared,
    api::{
        request::{read_body, read_object},
        response::{self, ApiError, ErrorCode},
    },
    urls,
};
use crate::ivs::arn::ChannelArn;

const FAULTS: &str = "/_emulator/faults";

pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route(FAULTS, routing::get(show).post(set).delete(clear))
        .route("/_emulator/faults/{id}", routing::delete(remove))
}

/// Counts a playback request, and applies the faults to it.
pub(super) async fn playback(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    // Only the URL of a multivariant playlist contains the region.
    let channel = urls::channel_of_path(request.uri().path());
    let region = channel.as_ref().map(ChannelArn::region);
    let call = shared.calls.arrived(PLAYBACK, region, shared.clock.now());
    let strike = shared.faults.strike(PLAYBACK, region, shared.clock.monotonic());
    let is_answered = strike.is_answered();
    let response = strike.on_playback(next.run(request)).await;
    if is_answered {
        shared.calls.answered(call, response.status());
    }
    response
}

async fn set(State(shared): State<Arc<Shared>>, body: Body) -> Result<Response, ApiError> {
    let fault = input::read(read_object(&read_body(body).await?)?)?;
    let set = shared.faults.set(fault, shared.clock.monotonic());
    Ok(response::json(StatusCode::CREATED, &json!({ "fault": shape(&set, &shared) })))
}

async fn show(State(shared): State<Arc<Shared>>) -> Response {
    let faults: Vec<Value> = shared.faults.all().iter().map(|set| shape(set, &shared)).collect();
    response::json(StatusCode::OK, &json!({ "faults": faults }))
}

async fn clear(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.faults.clear();
    StatusCode::NO_CONTENT
}

async fn remove(State(shared): State<Arc<Shared>>, uri: Uri) -> Result<StatusCode, ApiError> {
    let id = uri.path().rsplit('/').next().and_then(|id| id.parse().ok());
    if id.is_some_and(|id| shared.faults.remove(id)) {
        return Ok(StatusCode::NO_CONTENT);
    }
    let message = format!("There is no such fault. GET {FAULTS} lists those that are set.");
    Err(ApiError::new(ErrorCode::ResourceNotFound, message))
}

/// Returns the members that set the fault, and what it has done.
fn shape(set: &SetFault, shared: &Shared) -> Value {
    let mut shape = set.fault.given.clone();
    shape.insert("id".to_owned(), set.id.into());
    shape.insert("active".to_owned(), set.is_active(shared.clock.monotonic()).into());
    shape.insert("matched".to_owned(), set.matched.into());
    shape.insert("struck".to_owned(), set.struck.into());
    Value::Object(shape)
}
