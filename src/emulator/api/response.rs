//! Answers of the control plane: JSON, and the headers that IVS sends with everything.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use serde_json::Value;
use time::{OffsetDateTime, macros::format_description};

use crate::clock::Timestamp;

/// A JSON answer.
pub(in crate::emulator) fn json(status: StatusCode, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// An answer without a body.
pub(in crate::emulator) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Adds the headers of the service model, with the values that AWS is seen to send, and the `Date`
/// by the emulator's clock, which need not be the machine's.
pub(super) fn add_service_headers(headers: &mut HeaderMap, now: Timestamp) {
    const HEADERS: [(HeaderName, &str); 7] = [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            "Access-Control-Allow-Origin,Access-Control-Expose-Headers,Cache-Control,\
             Content-Length,Content-Security-Policy,Content-Type,date,\
             Strict-Transport-Security,X-Content-Type-Options,X-Frame-Options,\
             x-amzn-errormessage,x-amzn-errortype,x-amzn-requestid,x-amzn-trace-id",
        ),
        (header::CACHE_CONTROL, "no-store, no-cache"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'self'; upgrade-insecure-requests;"),
        // The colon is AWS's. Browsers ignore the header over plain HTTP anyway.
        (header::STRICT_TRANSPORT_SECURITY, "max-age:47304000; includeSubDomains"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Some(date) = http_date(now) {
        headers.insert(header::DATE, date);
    }
}

/// As in RFC 9110, section 5.6.7; nothing for a year that has no such form.
fn http_date(now: Timestamp) -> Option<HeaderValue> {
    let instant = OffsetDateTime::from_unix_timestamp(now.unix_seconds()).ok()?;
    let form = format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    HeaderValue::try_from(instant.format(form).ok()?).ok()
}

/// The answer to a browser that asks whether a signed call may be sent from another origin.
pub(super) fn preflight() -> Response {
    let mut response = empty(StatusCode::NO_CONTENT);
    let headers = response.headers_mut();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST, DELETE, OPTIONS"),
    );
    // `*` would not stand for Authorization, so each header of the AWS clients is named.
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(
            "amz-sdk-invocation-id, amz-sdk-request, authorization, content-type, x-amz-content-sha256, \
             x-amz-date, x-amz-security-token, x-amz-user-agent",
        ),
    );
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_written_as_http_demands() {
        let date = |seconds| http_date(Timestamp::from_unix_seconds(seconds)).unwrap();
        assert_eq!(date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
