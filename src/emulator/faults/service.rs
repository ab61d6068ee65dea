//! `/_emulator/faults`: sets, shows and ends faults; and the way of a playback request through them.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{StatusCode, Uri},
    middleware::Next,
    response::{IntoResponse, Response},
    routing,
};
use serde_json::{Value, json};

use super::{PLAYBACK, SetFault, input};
use crate::{
    emulator::{
        Shared,
        api::{
            self,
            error::{ApiError, ErrorCode},
            response,
        },
        urls,
    },
    ivs::arn::ChannelArn,
};

const FAULTS: &str = "/_emulator/faults";

pub(in crate::emulator) fn router(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route(FAULTS, routing::get(show).post(set).delete(clear))
        .route("/_emulator/faults/{id}", routing::delete(remove))
        .with_state(Arc::clone(shared))
}

/// Counts a playback request, and lets the faults at it.
pub(in crate::emulator) async fn playback(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    // Only a multivariant playlist says where it is.
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

async fn set(State(shared): State<Arc<Shared>>, body: Body) -> Response {
    let read = async {
        let fault = input::read(&api::read_object(&api::read_body(body).await?)?)?;
        Ok::<_, ApiError>(shared.faults.set(fault, shared.clock.monotonic()))
    };
    match read.await {
        Ok(set) => response::json(StatusCode::CREATED, &json!({ "fault": shape(&set, &shared) })),
        Err(error) => error.into_response(),
    }
}

async fn show(State(shared): State<Arc<Shared>>) -> Response {
    let faults: Vec<Value> = shared.faults.all().iter().map(|set| shape(set, &shared)).collect();
    response::json(StatusCode::OK, &json!({ "faults": faults }))
}

async fn clear(State(shared): State<Arc<Shared>>) -> Response {
    shared.faults.clear();
    response::empty(StatusCode::NO_CONTENT)
}

async fn remove(State(shared): State<Arc<Shared>>, uri: Uri) -> Response {
    let id = uri.path().rsplit('/').next().and_then(|id| id.parse().ok());
    if id.is_some_and(|id| shared.faults.remove(id)) {
        return response::empty(StatusCode::NO_CONTENT);
    }
    let message = format!("There is no such fault. GET {FAULTS} lists those that are set.");
    ApiError::new(ErrorCode::ResourceNotFound, message).into_response()
}

/// What it was asked for with, and what it has done.
fn shape(set: &SetFault, shared: &Shared) -> Value {
    let mut shape = set.fault.given.clone();
    shape.insert("id".to_owned(), set.id.into());
    shape.insert("active".to_owned(), set.is_active(shared.clock.monotonic()).into());
    shape.insert("matched".to_owned(), set.matched.into());
    shape.insert("struck".to_owned(), set.struck.into());
    Value::Object(shape)
}
