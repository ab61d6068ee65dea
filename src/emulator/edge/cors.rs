//! Which pages may read an answer: cross-origin resource sharing (Fetch standard).

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};

use super::origin::Asking;

/// Which pages may read an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Readable {
    /// Any page.
    Anyone,
    /// Pages of the origin that asks, which is allowed.
    Asking,
    /// None.
    Nobody,
}

impl Readable {
    /// Says so to the browser.
    pub(super) fn allow(self, asking: &Asking, headers: &mut HeaderMap) {
        let origin = match (self, asking) {
            (Self::Anyone, _) => Some(HeaderValue::from_static("*")),
            (Self::Asking, Asking::From(origin)) => HeaderValue::try_from(origin).ok(),
            (_, _) => None,
        };
        if let Some(origin) = origin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            let exposed = HeaderValue::from_static("content-length, content-range, date");
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
        // Another origin may get another answer under the same URL.
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    }
}

/// Whether a page may ask is whether it may read, so that a preflight says what an answer would.
pub(super) fn preflight(answer: &Response) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    for name in [header::ACCESS_CONTROL_ALLOW_ORIGIN, header::VARY] {
        if let Some(value) = answer.headers().get(&name) {
            headers.insert(name, value.clone());
        }
    }
    let methods = HeaderValue::from_static("GET, HEAD, OPTIONS");
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}
