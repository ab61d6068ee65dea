//! The control plane: AWS's restJson1 protocol over the operations of IVS.
//!
//! A call passes these checks in order: its path names an operation of the table in [`operations`];
//! its [`signature`] names a region (and is valid, if the emulator has an access key); its call rate
//! is within the quota; its body is JSON; its members meet the table's [`constraints`]. Then the
//! operation runs in one transaction, off the async threads because a durable write waits for the
//! disk. What a response acknowledges is on disk.

mod call;
pub(super) mod channels;
pub(super) mod constraints;
mod key_pairs;
pub(super) mod operations;
mod pages;
mod policies;
mod recording;
pub(super) mod request;
pub(super) mod response;
pub(super) mod signature;
pub(super) mod streams;
mod tags;
#[cfg(test)]
mod tests;
mod viewers;

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{Method, StatusCode, request::Parts},
    response::{IntoResponse, Response},
};

use self::{
    call::Call,
    operations::{Operation, Route},
    response::ApiError,
    signature::Authorization,
};
use super::{Shared, faults::strike::Distortion, urls};
use crate::ivs::arn::Region;

/// Handles every path that nothing else serves.
pub(super) async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let clock = shared.clock.clone();
    let mut response = if request.method() == Method::OPTIONS {
        response::preflight()
    } else {
        admit(shared, request).await.unwrap_or_else(IntoResponse::into_response)
    };
    response::add_service_headers(response.headers_mut(), clock.now());
    response
}

/// Identifies and counts a call, and runs it unless a quota or a fault prevents that.
async fn admit(shared: Arc<Shared>, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let operation = operations::find(&parts.method, parts.uri.path())?;
    let (authorization, region) = Authorization::of(&parts.headers)?;
    let body = request::read_body(body).await?;
    if let Some(verifier) = &shared.verifier {
        verifier.verify(&authorization, &parts, &body, shared.clock.now())?;
    }
    let entry = shared.calls.arrived(operation.name, Some(&region), shared.clock.now());
    let now = shared.clock.monotonic();
    let limit = operation.calls_per_second;
    if shared.enforce_rates && !shared.rates.admit(operation.name, region.as_str(), limit, now) {
        let response = ApiError::throttled(operation.name, limit, None).into_response();
        shared.calls.answered(entry, response.status());
        return Ok(response);
    }
    let strike = shared.faults.strike(operation.name, Some(&region), now);
    let (is_answered, distortion) = (strike.is_answered(), strike.distortion.clone());
    let response = async {
        run(Arc::clone(&shared), operation, region, distortion, &parts, &body)
            .await
            .unwrap_or_else(IntoResponse::into_response)
    };
    let response = strike.on_call(response).await;
    if is_answered {
        shared.calls.answered(entry, response.status());
    }
    Ok(response)
}

async fn run(
    shared: Arc<Shared>,
    operation: &'static Operation,
    region: Region,
    distortion: Distortion,
    parts: &Parts,
    body: &[u8],
) -> Result<Response, ApiError> {
    let mut input = request::read_object(body)?;
    if operation.route != Route::Named {
        tags::add_path_and_query(&mut input, &parts.uri)?;
    }
    let base_url = urls::base_url(shared.public_url.as_ref(), &parts.uri, &parts.headers);
    let handle = move || {
        let call = Call {
            shared: &shared,
            operation: operation.name,
            region,
            base_url,
            accept_duplicates: distortion.accept_duplicates,
            input: constraints::validate(operation.name, operation.members, &input)?,
        };
        let mut output = (operation.handler)(&call).inspect_err(|error| {
            if !operation.may_return(error.code()) {
                // Clients have no type for it. The tests of the table check this, too.
                tracing::error!(
                    event = "emulator_failed",
                    operation = operation.name,
                    "an operation returned an undeclared error"
                );
            }
        })?;
        distortion.apply(&mut output);
        Ok::<_, ApiError>(output)
    };
    let output = tokio::task::spawn_blocking(handle).await.map_err(|error| {
        tracing::error!(
            event = "emulator_failed",
            operation = operation.name,
            panicked = error.is_panic(),
            "an operation did not finish"
        );
        ApiError::internal()
    })??;
    Ok(match operation.success {
        StatusCode::NO_CONTENT => StatusCode::NO_CONTENT.into_response(),
        status => response::json(status, &output),
    })
}
