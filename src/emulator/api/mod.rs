//! The control plane: AWS's restJson1 protocol over the operations of IVS.
//!
//! A call passes, in this order: its path must name an operation of the [`operations`] table, its
//! signature must say which region it is for (and be right, where the emulator has an access key),
//! there must be room in the quota of calls, its body must be JSON, its members must meet the table's
//! constraints. Then the operation runs in one transaction, off the async threads since
//! a durable write waits for the disk, and what it acknowledges is on disk.

mod batch;
mod caller;
pub(super) mod channels;
pub(super) mod constraint;
pub(super) mod error;
mod input;
mod key_pairs;
#[cfg(test)]
mod many;
mod metadata;
mod operations;
mod pages;
mod policies;
mod recording;
pub(super) mod response;
mod revocations;
mod sessions;
pub(super) mod signature;
mod stream_keys;
pub(super) mod streams;
mod tags;
pub(super) mod validate;
#[cfg(test)]
mod walk;

use std::{convert::Infallible, sync::Arc};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::Request,
    http::{Method, StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tower::{Service, service_fn};

use self::{
    error::{ApiError, ErrorCode},
    operations::{OPERATIONS, Operation, Route},
};
use super::{
    Shared,
    faults::Distortion,
    store::{
        View,
        collection::{self, Record, Tagged},
        records::{self, Channel},
    },
    urls,
};
use crate::ivs::arn::{Region, ResourceKind};

/// The largest body that is read, in bytes. The largest input of the model is far smaller.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// The control plane, for every path that nothing else serves.
pub(super) fn service(
    shared: &Arc<Shared>,
) -> impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + use<> {
    let shared = Arc::clone(shared);
    service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok(handle(shared, request).await) }
    })
}

async fn handle(shared: Arc<Shared>, request: Request) -> Response {
    let clock = shared.clock.clone();
    let mut response = if request.method() == Method::OPTIONS {
        response::preflight()
    } else {
        answer(shared, request).await.unwrap_or_else(IntoResponse::into_response)
    };
    response::add_service_headers(response.headers_mut(), clock.now());
    response
}

async fn answer(shared: Arc<Shared>, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let operation = operations::find(&parts.method, parts.uri.path())?;
    let (signed, region) = caller::read(&parts.headers)?;
    let body = read_body(body).await?;
    if let Some(verifier) = &shared.verifier {
        verifier.verify(&signed, &parts, &body, shared.clock.now())?;
    }
    let number = shared.calls.arrived(operation.name, Some(&region), shared.clock.now());
    let now = shared.clock.monotonic();
    let limit = operation.calls_per_second;
    if !shared.rates.admit(operation.name, region.as_str(), limit, now) {
        let response = ApiError::throttled(operation.name, limit, None).into_response();
        shared.calls.answered(number, response.status());
        return Ok(response);
    }
    let strike = shared.faults.strike(operation.name, Some(&region), now);
    let (is_answered, distortion) = (strike.is_answered(), strike.distortion.clone());
    let carried_out = async {
        let shared = Arc::clone(&shared);
        carry_out(shared, operation, region, distortion, &parts, &body)
            .await
            .unwrap_or_else(IntoResponse::into_response)
    };
    let response = strike.on_call(carried_out).await;
    if is_answered {
        shared.calls.answered(number, response.status());
    }
    Ok(response)
}

async fn carry_out(
    shared: Arc<Shared>,
    operation: &'static Operation,
    region: Region,
    distortion: Distortion,
    parts: &Parts,
    body: &[u8],
) -> Result<Response, ApiError> {
    let input = read_input(operation, parts, body)?;
    let base_url = urls::base_url(shared.public_url.as_ref(), &parts.uri, &parts.headers);
    let run = move || {
        let input = validate::validate(operation, &input)?;
        let accept_duplicates = distortion.accept_duplicates;
        let call = Call { shared: &shared, operation, region, base_url, accept_duplicates, input };
        let mut output = (operation.handler)(&call).inspect_err(|error| {
            if !operation.may_answer(error.code()) {
                // Clients have no type for it. The test that walks the table looks for this, too.
                tracing::error!(
                    event = "emulator_failed",
                    operation = operation.name,
                    "an undeclared error was answered"
                );
            }
        })?;
        distortion.distort(&mut output);
        Ok::<_, ApiError>(output)
    };
    let output = tokio::task::spawn_blocking(run).await.map_err(|error| {
        let panicked = error.is_panic();
        tracing::error!(
            event = "emulator_failed",
            operation = operation.name,
            panicked,
            "an operation did not finish"
        );
        ApiError::internal()
    })??;
    Ok(match operation.success {
        StatusCode::NO_CONTENT => response::empty(StatusCode::NO_CONTENT),
        status => response::json(status, &output),
    })
}

/// Body, path and query as one object.
fn read_input(
    operation: &Operation,
    parts: &Parts,
    body: &[u8],
) -> Result<Map<String, Value>, ApiError> {
    let mut input = read_object(body)?;
    if let Route::Tags(_) = operation.route {
        tags::add_path_and_query(&mut input, &parts.uri)?;
    }
    Ok(input)
}

/// All of a body.
pub(super) async fn read_body(body: Body) -> Result<Bytes, ApiError> {
    to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| {
        ApiError::new(
            ErrorCode::RequestEntityTooLarge,
            "The body is over 1 MiB, or it broke off. Send a smaller one.",
        )
    })
}

/// A body that holds a JSON object, or nothing: clients send either when there is nothing to say,
/// under various media types.
pub(super) fn read_object(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    if body.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_slice(body)
        .map_err(|_| ApiError::new(ErrorCode::Serialization, "The body is not a JSON object."))
}

/// Whether there is an emulated operation of that name.
pub(super) fn is_operation(name: &str) -> bool {
    OPERATIONS.iter().any(|operation| operation.name == name)
}

/// One call, as its operation sees it. Not `Debug`: people send private keys by mistake.
struct Call<'a> {
    shared: &'a Shared,
    operation: &'static Operation,
    region: Region,
    /// What URLs in the answer begin with.
    base_url: String,
    /// Whether a fault lets a public key be imported twice.
    accept_duplicates: bool,
    /// Members that meet their constraints.
    input: Map<String, Value>,
}

impl Call<'_> {
    /// The input as the operation's own type.
    fn input<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        T::deserialize(&self.input).map_err(|_| {
            // Table and type disagree, which the test that walks the table finds. What serde says
            // would repeat the caller's values.
            tracing::error!(
                event = "emulator_failed",
                operation = self.operation.name,
                "an input does not fit its type"
            );
            ApiError::internal()
        })
    }

    /// The collection of the caller's resources of a kind.
    fn collection(&self, kind: ResourceKind) -> String {
        records::in_region(&self.region, &self.shared.account, kind)
    }

    /// A resource of the caller's account and region.
    fn find<T: Record>(&self, view: &impl View, arn: &str) -> Result<Tagged<T>, ApiError> {
        self.check_own(arn)?;
        collection::find(view, arn)?.ok_or_else(|| ApiError::not_found(arn))
    }

    /// Deletes a resource of the caller's account and region. Refused while it is attached to a
    /// channel of the region.
    fn delete_unattached<T: Record>(
        &self,
        arn: &str,
        is_attached: impl Fn(&Channel) -> bool,
    ) -> Result<Value, ApiError> {
        let channels = self.collection(ResourceKind::Channel);
        self.shared.store.write(|transaction| {
            self.find::<T>(transaction, arn)?;
            let attached = collection::page(transaction, &channels, 0, 1, &is_attached)?;
            if let Some(channel) = attached.items.first() {
                let channel = &channel.record.arn;
                let message =
                    format!("{arn} is attached to {channel}. Detach it with UpdateChannel first.");
                return Err(ApiError::new(ErrorCode::Conflict, message));
            }
            collection::remove(transaction, arn)?;
            Ok(Value::Null)
        })
    }

    /// Refuses the ARN of another account or region: a call sees its own alone.
    fn check_own(&self, arn: &str) -> Result<(), ApiError> {
        let own = format!("arn:aws:ivs:{}:{}:", self.region, self.shared.account);
        if arn.starts_with(&own) { Ok(()) } else { Err(ApiError::not_found(arn)) }
    }
}

/// Sets what a caller gave; what was left out stays as it is.
fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}
