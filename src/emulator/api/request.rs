//! Reads the body of a request.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use serde_json::{Map, Value};

use super::response::{ApiError, ErrorCode};

/// The largest body that is read, in bytes. The largest input of the model is far smaller.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// How long a body may take to arrive. The token service has the same limit by default.
const BODY_TIMEOUT: Duration = Duration::from_secs(9);

/// Reads a whole body.
pub(crate) async fn read_body(body: Body) -> Result<Bytes, ApiError> {
    let body = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY_BYTES));
    let body = body.await.map_err(|_| {
        let seconds = BODY_TIMEOUT.as_secs();
        ApiError::new(
            ErrorCode::RequestTimeout,
            format!("The body did not arrive within {seconds} s. Send it again."),
        )
    })?;
    body.map_err(|_| {
        ApiError::new(
            ErrorCode::RequestEntityTooLarge,
            "The body is over 1 MiB, or the connection was interrupted. Send a smaller one.",
        )
    })
}

/// Parses a body as a JSON object. An empty body counts as an empty object, and the media type does
/// not matter: clients differ in both when an operation has no input.
pub(crate) fn read_object(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    if body.trim_ascii().is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_slice(body)
        .map_err(|_| ApiError::new(ErrorCode::Serialization, "The body is not a JSON object."))
}
