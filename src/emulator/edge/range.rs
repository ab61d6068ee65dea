//! Parts of a file: range requests (RFC 9110, section 14), which media players make.

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};

/// `content`, or the one part of it that `Range` asks for. Several parts at once, or what is no range,
/// are answered with all of it, as a server may.
pub(super) fn response(content: Bytes, headers: &HeaderMap) -> Response {
    let length = content.len() as u64;
    let asked = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    let ranges = asked.and_then(|range| http_range_header::parse_range_header(range).ok());
    let (status, content, range) = match ranges.map(|ranges| ranges.validate(length)) {
        None => (StatusCode::OK, content, None),
        Some(Err(_)) => {
            (StatusCode::RANGE_NOT_SATISFIABLE, Bytes::new(), Some(format!("bytes */{length}")))
        }
        Some(Ok(ranges)) => match ranges.as_slice() {
            [range] => {
                let (first, last) = (*range.start(), *range.end());
                let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
                let part = content.slice(place(first)..=place(last));
                let range = format!("bytes {first}-{last}/{length}");
                (StatusCode::PARTIAL_CONTENT, part, Some(range))
            }
            _ => (StatusCode::OK, content, None),
        },
    };
    let mut response = Response::new(Body::from(content));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some(range) = range.and_then(|range| HeaderValue::try_from(range).ok()) {
        headers.insert(header::CONTENT_RANGE, range);
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    async fn ask(range: Option<&str>) -> (u16, String, String) {
        let mut headers = HeaderMap::new();
        if let Some(range) = range {
            headers.insert(header::RANGE, range.parse().unwrap());
        }
        let response = response(Bytes::from_static(b"0123456789"), &headers);
        let content_range = response.headers().get(header::CONTENT_RANGE);
        let content_range = content_range.map_or("", |it| it.to_str().unwrap()).to_owned();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap(), content_range)
    }

    #[tokio::test]
    async fn one_range_is_answered_in_part() {
        for (range, status, body, content_range) in [
            (None, 200, "0123456789", ""),
            (Some("bytes=0-3"), 206, "0123", "bytes 0-3/10"),
            (Some("bytes=0-0"), 206, "0", "bytes 0-0/10"),
            (Some("bytes=8-"), 206, "89", "bytes 8-9/10"),
            (Some("bytes=-2"), 206, "89", "bytes 8-9/10"),
            (Some("bytes=8-99"), 206, "89", "bytes 8-9/10"),
            (Some("bytes=10-"), 416, "", "bytes */10"),
            (Some("bytes=-0"), 416, "", "bytes */10"),
            (Some("bytes=0-1,4-5"), 200, "0123456789", ""),
            (Some("lines=0-1"), 200, "0123456789", ""),
            (Some("bytes=x"), 200, "0123456789", ""),
            (Some(""), 200, "0123456789", ""),
        ] {
            let expected = (status, body.to_owned(), content_range.to_owned());
            assert_eq!(ask(range).await, expected, "{range:?}");
        }
    }
}
