//! Keeps web pages from what `/_emulator` can change.
//!
//! Calls there are not signed, and a page that somebody happens to look at could make them. For most
//! methods a browser asks first and gets no leave, but any page may send a POST, and one at a name
//! that has since been pointed at this machine is, to the browser, of the same origin. Programs send
//! no `Origin` and pass.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use url::{Host, Url};

use super::{
    Shared,
    api::error::{ApiError, ErrorCode},
};

/// Lets no page change anything, but one that this emulator could have served itself.
pub(super) async fn refuse_pages(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    let may_pass = request.method().is_safe()
        || headers
            .get(header::ORIGIN)
            .is_none_or(|origin| is_own(origin, headers, shared.public_url.as_ref()));
    if may_pass {
        return next.run(request).await;
    }
    ApiError::new(
        ErrorCode::AccessDenied,
        "A web page cannot do this. Do it from a program, which sends no Origin.",
    )
    .into_response()
}

/// Whether a page of this origin was served at the host that it asks, under a name that cannot be
/// pointed elsewhere.
fn is_own(origin: &HeaderValue, headers: &HeaderMap, public_url: Option<&Url>) -> bool {
    let Some(origin) = origin.to_str().ok() else { return false };
    let Some((_, authority)) = origin.split_once("://") else { return false };
    let Ok(url) = Url::parse(origin) else { return false };
    let asked = headers.get(header::HOST).map(HeaderValue::as_bytes);
    let is_fixed = match url.host() {
        Some(Host::Ipv4(_) | Host::Ipv6(_) | Host::Domain("localhost")) => true,
        Some(Host::Domain(name)) => public_url.and_then(Url::host_str) == Some(name),
        None => false,
    };
    is_fixed && asked == Some(authority.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(origin: &str, host: &str, public_url: Option<&str>) -> bool {
        let headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
        let public_url = public_url.map(|url| url.parse().unwrap());
        is_own(&origin.parse().unwrap(), &headers, public_url.as_ref())
    }

    #[test]
    fn a_page_is_own_at_a_host_that_nobody_can_point_elsewhere() {
        for host in ["127.0.0.1:8090", "[::1]:8090", "localhost:8090", "192.168.1.7:8090"] {
            assert!(own(&format!("http://{host}"), host, None), "{host}");
        }
        let host = "evil.test:8090";
        assert!(!own("http://evil.test:8090", host, None), "it may lead here by now");
        let public = Some("https://ivs.example/emulated/");
        assert!(!own("http://evil.test:8090", host, public));
        assert!(own("https://ivs.example", "ivs.example", public));
        assert!(!own("http://localhost.evil.test:8090", "localhost.evil.test:8090", None));
    }

    #[test]
    fn a_page_of_another_host_or_port_is_not() {
        let host = "127.0.0.1:8090";
        for origin in
            ["https://evil.example", "null", "http://127.0.0.1:80900", "", "127.0.0.1:8090"]
        {
            assert!(!own(origin, host, None), "{origin}");
        }
        assert!(!own("http://127.0.0.1:8080", host, None));
    }
}
