//! A refusal as a response: status and headers here, the body in `layers::finish`, which knows the request id.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

pub use crate::{
    api::problem::{Problem, ProblemType, Severity},
    service::Error as ApiError,
};

/// Sets the status and the headers of a response.
pub(super) fn write_head(error: &ApiError, response: &mut Response) {
    *response.status_mut() = StatusCode::from_u16(error.problem().spec().status)
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.remove(header::WWW_AUTHENTICATE);
    if let Some(seconds) = error.retry_seconds() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Response::default();
        write_head(&self, &mut response);
        response.extensions_mut().insert(self);
        response
    }
}
