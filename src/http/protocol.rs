//! The rules of RFC 9112 that hyper does not check, and the responses that hyper sends by itself.

use std::sync::Arc;

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, StatusCode, Version, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;

use super::{
    problem::{ApiError, ProblemType},
    request::random_id,
};
use crate::telemetry::metrics::Metrics;

/// Refuses a request that is not valid HTTP, or has a coding that the service does not support.
pub(super) async fn check(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let checked = check_host(headers, request.version())
        .and_then(|()| check_transfer_coding(headers))
        .and_then(|()| check_content_coding(headers));
    match checked {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// Checks `Host` (RFC 9112, section 3.2). A request in HTTP/1.0 may omit it.
fn check_host(headers: &HeaderMap, version: Version) -> Result<(), ApiError> {
    let refuse = |detail| Err(ApiError::new(ProblemType::BadRequest, detail));
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if version <= Version::HTTP_10 => Ok(()),
        (None, _) => {
            refuse("The request has no Host header; send one with the host and port of the URL.")
        }
        (Some(_), Some(_)) => refuse("The request has more than one Host header; send one."),
        (Some(host), None) if host.to_str().is_ok_and(is_host) => Ok(()),
        (Some(_), None) => {
            refuse("The Host header is not a host with an optional port, such as example.com:8080.")
        }
    }
}

fn is_host(text: &str) -> bool {
    let Ok(authority) = text.parse::<Authority>() else { return false };
    let port = text.strip_prefix(authority.host()).and_then(|rest| rest.strip_prefix(':'));
    match port {
        Some(port) => port.is_empty() || port.parse::<u16>().is_ok(),
        // Otherwise it has a user before its host, as a URL may have.
        None => authority.host() == text,
    }
}

/// hyper refuses a body whose last transfer coding is not `chunked`, but accepts any coding before it.
fn check_transfer_coding(headers: &HeaderMap) -> Result<(), ApiError> {
    let codings = codings(headers, &header::TRANSFER_ENCODING);
    let is_chunked = |coding: &String| coding == "chunked";
    if codings.iter().any(|coding| !is_chunked(coding)) {
        let detail = "The request uses a transfer coding other than chunked.";
        return Err(ApiError::new(ProblemType::NotImplemented, detail));
    }
    if codings.len() > 1 {
        let detail = "The request applies the transfer coding chunked twice.";
        return Err(ApiError::new(ProblemType::BadRequest, detail));
    }
    Ok(())
}

fn check_content_coding(headers: &HeaderMap) -> Result<(), ApiError> {
    if codings(headers, &header::CONTENT_ENCODING).iter().all(|coding| coding == "identity") {
        return Ok(());
    }
    let detail = "The body has a content coding; send it without content-encoding.";
    Err(ApiError::new(ProblemType::UnsupportedMediaType, detail))
}

/// The codings that a header lists, in lower case. Text that is not ASCII counts as an unknown one.
fn codings(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let values = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("?"));
    let codings = values.flat_map(|value| value.split(','));
    let codings = codings.map(|coding| coding.trim().to_ascii_lowercase());
    codings.filter(|coding| !coding.is_empty()).collect()
}

/// An answer to a request that never reached a route.
#[derive(Debug)]
pub struct Refusal {
    /// Everything that is sent.
    pub answer: Bytes,
    /// The code of the problem.
    pub code: &'static str,
    /// The `x-request-id` of the answer.
    pub request_id: Arc<str>,
}

/// Completes an answer that hyper makes by itself, to a request head that it cannot read or that is too
/// large: hyper's has no body and no request id. Counts it with the other refusals. `None` if `answer` is
/// not such an answer.
///
/// `with_problem` is false for a listener whose errors have another form; its answer stays as it is.
pub fn complete_refusal(answer: &[u8], metrics: &Metrics, with_problem: bool) -> Option<Refusal> {
    let text = std::str::from_utf8(answer).ok()?;
    let status = text.strip_prefix("HTTP/1.1 ")?.get(..3)?;
    let (problem, detail) = match StatusCode::from_bytes(status.as_bytes()).ok()? {
        StatusCode::BAD_REQUEST => {
            (ProblemType::BadRequest, "The request line or a header is malformed.")
        }
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE | StatusCode::URI_TOO_LONG => (
            ProblemType::HeadTooLarge,
            "The request line and headers are larger than 64 KiB, or there are more than 100 headers.",
        ),
        _ => return None,
    };
    let spec = problem.spec();
    let request_id = random_id();
    metrics.refusal(spec.code);
    let answer = if with_problem {
        let problem = ApiError::new(problem, detail).to_problem(Some(&request_id), false);
        let body = serde_json::to_string(&problem).unwrap_or_default();
        let headers = format!(
            "content-type: application/problem+json\r\ncache-control: no-store\r\n\
             x-request-id: {request_id}\r\ncontent-length: {}\r\n",
            body.len()
        );
        Bytes::from(text.replacen("content-length: 0\r\n", &headers, 1) + &body)
    } else {
        Bytes::copy_from_slice(answer)
    };
    Some(Refusal { answer, code: spec.code, request_id })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(name: &HeaderName, values: &[&'static str]) -> HeaderMap {
        let values = values.iter().map(|value| (name.clone(), HeaderValue::from_static(value)));
        values.collect()
    }

    #[test]
    fn host_is_one_host_with_an_optional_port() {
        let check = |values: &[&'static str], version| {
            check_host(&headers(&header::HOST, values), version).is_ok()
        };
        for host in
            ["example.com", "example.com:8080", "127.0.0.1", "[::1]:80", "[::1]", "a_b", "x:"]
        {
            assert!(check(&[host], Version::HTTP_11), "{host}");
        }
        for host in
            ["", " ", "a b", "user@example.com", "example.com/x", "x:port", "x:99999", "a,b c"]
        {
            assert!(!check(&[host], Version::HTTP_11), "{host}");
        }
        assert!(!check(&[], Version::HTTP_11));
        assert!(!check(&["a", "a"], Version::HTTP_11));
        assert!(check(&[], Version::HTTP_10));
        assert!(!check(&["a", "a"], Version::HTTP_10));
    }

    #[test]
    fn chunked_is_the_only_transfer_coding() {
        let refusal = |values: &[&'static str]| {
            let checked = check_transfer_coding(&headers(&header::TRANSFER_ENCODING, values));
            checked.err().map(|error| error.problem())
        };
        assert_eq!(refusal(&[]), None);
        assert_eq!(refusal(&["Chunked"]), None);
        assert_eq!(refusal(&["gzip, chunked"]), Some(ProblemType::NotImplemented));
        assert_eq!(refusal(&["gzip", "chunked"]), Some(ProblemType::NotImplemented));
        assert_eq!(refusal(&["chunked, chunked"]), Some(ProblemType::BadRequest));
    }

    #[test]
    fn content_coding_must_be_identity() {
        let check = |values: &[&'static str]| {
            check_content_coding(&headers(&header::CONTENT_ENCODING, values)).is_ok()
        };
        assert!(check(&[]) && check(&["identity"]) && check(&["Identity, identity"]));
        assert!(!check(&["gzip"]) && !check(&["identity, br"]) && !check(&["identity", "gzip"]));
    }

    #[test]
    fn an_answer_of_hyper_gets_a_body_and_any_other_does_not() {
        let metrics = Metrics::default();
        let bare = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let refusal = complete_refusal(bare.as_bytes(), &metrics, true).unwrap();
        let answer = String::from_utf8(refusal.answer.to_vec()).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
        assert!(
            head.contains(&*refusal.request_id) && head.contains("connection: close"),
            "{head}"
        );
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!((&problem["code"], &problem["status"]), (&"bad_request".into(), &400.into()));
        assert!(
            metrics
                .encode(crate::telemetry::metrics::ExpositionFormat::Classic)
                .unwrap()
                .contains("refusals_total{code=\"bad_request\"} 1")
        );

        let unchanged = complete_refusal(bare.as_bytes(), &metrics, false).unwrap();
        assert_eq!(unchanged.answer, bare);
        assert!(complete_refusal(b"HTTP/1.1 200 OK\r\n\r\n", &metrics, true).is_none());
        assert!(complete_refusal(b"HTTP/1.1 4", &metrics, true).is_none());
        assert!(complete_refusal(b"", &metrics, true).is_none());
    }
}
