//! Who may use the page: browsers on this machine, with `--public-demo` also others, and in them only
//! this page.
//!
//! Three checks stop three attacks. The peer must be this machine, since a local
//! visitor acts with every scope. `Host` must be ours: a web site whose name resolves
//! to 127.0.0.1 (DNS rebinding) has our origin for the browser, but sends its own name. And a call
//! must come from this page: a page on another port of this machine is same-site, so the browser would
//! send our cookie.
//!
//! A request under the host of `--public-url` is from a public visitor, wherever its peer is: behind a
//! reverse proxy, every peer is this machine. A request that was forwarded is never local.

use std::net::{IpAddr, SocketAddr};

use axum::{
    Extension,
    extract::{ConnectInfo, Request, State},
    http::{
        HeaderMap, HeaderValue, Method, StatusCode, Uri,
        header::{AUTHORIZATION, COOKIE, HOST, ORIGIN},
        uri::Authority,
    },
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{Demo, Inner};
use crate::{
    http::{
        docs,
        problem::{ApiError, ProblemType},
    },
    secret::{ExposeSecret, constant_time_eq},
};

/// The header in which browsers say where a request comes from.
const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// The headers that proxies and tunnels add about their client. With one of them, the peer is the proxy,
/// and the client may be anywhere.
const FORWARDING: [&str; 7] = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
];

/// Where a visitor of the page is, which decides what the page may do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Visitor {
    /// On this machine: everything.
    Local,
    /// Anywhere: what the scopes of `--public-demo` allow.
    Public,
}

/// Refuses callers who may not use the page, and adds the [`Visitor`] to the request.
pub(super) async fn admit(State(demo): State<Demo>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|it| it.0.ip());
    let is_forwarded = FORWARDING.iter().any(|name| request.headers().contains_key(*name));
    let is_here = !is_forwarded && peer.is_some_and(|peer| peer.to_canonical().is_loopback());
    let visitor = demo.0.visitor(request.uri(), request.headers());
    if let Some(visitor) = visitor.filter(|visitor| is_here || *visitor == Visitor::Public) {
        request.extensions_mut().insert(visitor);
        return next.run(request).await;
    }
    // If the page is public, a wrong name is the mistake, wherever the caller is.
    let is_misnamed = visitor.is_none() && (is_here || demo.0.public.is_some());
    if !is_misnamed {
        return refuse(
            StatusCode::FORBIDDEN,
            "This page is for this machine",
            &format!(
                "<p>The demo page acts with every right, so it opens only in a browser on the \
                 machine where <code>dev</code> runs: <code>http://localhost:{}/</code> there, and \
                 not through a proxy that forwards for others. The \
                 HTTP API is served here as everywhere, to callers with a credential.</p>",
                demo.0.address.port()
            ),
        );
    }
    let port = demo.0.address.port();
    refuse(
        StatusCode::MISDIRECTED_REQUEST,
        "This page has another name",
        &format!(
            "<p>It is at <a href=\"http://localhost:{port}/\">http://localhost:{port}/</a>. Other \
             names are refused, so that no web site can reach it through a name of its own.</p>"
        ),
    )
}

/// Replaces the cookie by the credential, for calls of the page itself.
pub(super) async fn stand_in(
    State(demo): State<Demo>,
    Extension(visitor): Extension<Visitor>,
    mut request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    if !is_of_this_page(request.method(), headers, demo.0.scheme(visitor)) {
        return ApiError::new(
            ProblemType::Forbidden,
            "Only the demo page itself may call this. From elsewhere call the API under /v1, with a \
             credential.",
        )
        .into_response();
    }
    if !demo.0.has_cookie(visitor, headers) {
        return ApiError::new(
            ProblemType::Forbidden,
            "The page's cookie is missing, or of an earlier start of dev. Load the page again.",
        )
        .into_response();
    }
    let bearer = format!("Bearer {}", demo.0.access(visitor).credential.expose_secret());
    let mut bearer = match HeaderValue::try_from(bearer) {
        Ok(bearer) => bearer,
        Err(error) => return ApiError::internal(error).into_response(),
    };
    bearer.set_sensitive(true);
    let headers = request.headers_mut();
    headers.remove(COOKIE);
    headers.insert(AUTHORIZATION, bearer);
    next.run(request).await
}

impl Inner {
    /// Returns the visitor that the host in a request belongs to, if the host is ours: that of
    /// `--public-url`; the address listened on, or `localhost`, on this machine.
    fn visitor(&self, uri: &Uri, headers: &HeaderMap) -> Option<Visitor> {
        let mut hosts = headers.get_all(HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else { return None };
        let host = Authority::try_from(host.as_bytes()).ok()?;
        let visitor = self.visitor_of(&host)?;
        // If the request line names a host, too, it must agree.
        let agrees = uri.authority().is_none_or(|name| self.visitor_of(name) == Some(visitor));
        agrees.then_some(visitor)
    }

    /// On any port, since a tunnel or a proxy may have another one.
    fn visitor_of(&self, name: &Authority) -> Option<Visitor> {
        if name.as_str().contains('@') {
            return None;
        }
        let public = self.public.as_ref().and_then(|(url, _)| url.host_str());
        if public.is_some_and(|host| host.eq_ignore_ascii_case(name.host())) {
            return Some(Visitor::Public);
        }
        self.is_local(name).then_some(Visitor::Local)
    }

    fn is_local(&self, name: &Authority) -> bool {
        if name.host().eq_ignore_ascii_case("localhost") {
            return true;
        }
        let literal = name.host().trim_start_matches('[').trim_end_matches(']');
        let Ok(ip) = literal.parse::<IpAddr>() else { return false };
        let listens_there = ip == self.address.ip()
            || (self.address.ip().is_unspecified() && ip.to_canonical().is_loopback());
        listens_there && name.port_u16().unwrap_or(80) == self.address.port()
    }

    /// Returns whether the request has the visitor's cookie. Browsers may send several of that name, from other paths.
    fn has_cookie(&self, visitor: Visitor, headers: &HeaderMap) -> bool {
        let expected = self.access(visitor).cookie.expose_secret().as_bytes();
        headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|cookies| cookies.to_str().ok())
            .flat_map(|cookies| cookies.split(';'))
            .filter_map(|cookie| cookie.trim().split_once('='))
            .filter(|(name, _)| *name == self.cookie_name)
            .any(|(_, value)| constant_time_eq(value.as_bytes(), expected))
    }
}

/// Decides by headers that no page can change. `Host` was checked before.
fn is_of_this_page(method: &Method, headers: &HeaderMap, scheme: &str) -> bool {
    let one = |name: &str| {
        let mut values = headers.get_all(name).iter();
        let value = values.next();
        if values.next().is_some() { Some("") } else { value.map(|it| it.to_str().unwrap_or("")) }
    };
    let host = one(HOST.as_str()).unwrap_or("");
    let origin = one(ORIGIN.as_str()).map(|origin| {
        let origin = origin.strip_prefix(scheme).and_then(|it| it.strip_prefix("://"));
        origin.is_some_and(|origin| origin.eq_ignore_ascii_case(host))
    });
    let site = one(SEC_FETCH_SITE).map(|site| site == "same-origin");
    match (origin, site) {
        (Some(false), _) | (_, Some(false)) => false,
        (Some(true), _) | (_, Some(true)) => true,
        // Browsers without either header still send one of them with a request that changes something.
        (None, None) => matches!(*method, Method::GET | Method::HEAD),
    }
}

fn refuse(status: StatusCode, title: &str, body: &str) -> Response {
    (status, docs::page(title, body)).into_response()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};

    use super::{super::PublicDemo, *};

    fn demo(address: &str) -> Demo {
        demo_with(address, None)
    }

    fn demo_with(address: &str, public_url: Option<&str>) -> Demo {
        let playback_origin = "http://127.0.0.1:8090".to_owned();
        let rng = &mut StdRng::seed_from_u64(1);
        let public = public_url
            .map(|url| PublicDemo { url: url.parse().unwrap(), credential: "ipa_y".into() });
        Demo::new(address.parse().unwrap(), "ipa_x".into(), public, playback_origin, rng)
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = axum::http::HeaderName::try_from(*name).unwrap();
            headers.append(name, value.parse().unwrap());
        }
        headers
    }

    fn is_called(address: &str, hosts: &[&str]) -> bool {
        let hosts: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
        let visitor = demo(address).0.visitor(&Uri::from_static("/"), &headers(&hosts));
        visitor == Some(Visitor::Local)
    }

    #[test]
    fn a_host_is_the_address_listened_on_or_localhost() {
        for (address, host) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("127.0.0.1:8080", "localhost:8080"),
            ("127.0.0.1:8080", "LocalHost:9000"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("[::1]:8080", "[::1]:8080"),
            ("0.0.0.0:8080", "127.0.0.1:8080"),
            ("[::]:8080", "[::1]:8080"),
            ("192.0.2.1:8080", "192.0.2.1:8080"),
        ] {
            assert!(is_called(address, &[host]), "{address} {host}");
        }
        for hosts in [
            &["evil.example:8080"][..],
            &["127.0.0.1:8081"],
            &["127.0.0.1"],
            &["127.0.0.2:8080"],
            &["localhost.evil.example:8080"],
            &["localhost@evil.example"],
            &["evil@localhost"],
            &["127.0.0.1.nip.io:8080"],
            &["0.0.0.0:8080"],
            &[""],
            &[],
            &["localhost:8080", "evil.example"],
        ] {
            assert!(!is_called("127.0.0.1:8080", hosts), "{hosts:?}");
        }
        assert!(!is_called("0.0.0.0:8080", &["192.0.2.1:8080"]));
    }

    #[test]
    fn a_host_in_the_request_line_counts_too() {
        let demo = demo("127.0.0.1:8080");
        let headers = headers(&[("host", "localhost:8080")]);
        let visitor = |uri| demo.0.visitor(&Uri::from_static(uri), &headers);
        assert_eq!(visitor("http://localhost:8080/"), Some(Visitor::Local));
        assert_eq!(visitor("http://evil.example/"), None);
    }

    #[test]
    fn public_host_is_never_local() {
        let visitor = |public: &str, host: &str, uri: &'static str| {
            let demo = demo_with("127.0.0.1:8080", Some(public));
            demo.0.visitor(&Uri::from_static(uri), &headers(&[("host", host)]))
        };
        for host in ["demo.example", "Demo.Example:8443"] {
            assert_eq!(visitor("https://demo.example", host, "/"), Some(Visitor::Public), "{host}");
        }
        assert_eq!(visitor("https://demo.example", "localhost", "/"), Some(Visitor::Local));
        assert_eq!(visitor("https://demo.example", "evil.example", "/"), None);
        assert_eq!(visitor("https://demo.example", "demo.example.evil.example", "/"), None);
        assert_eq!(visitor("https://demo.example", "localhost", "http://demo.example/"), None);
        assert_eq!(visitor("http://localhost:8080", "localhost:8080", "/"), Some(Visitor::Public));
        assert_eq!(visitor("http://[::1]:8080", "[::1]:8080", "/"), Some(Visitor::Public));
    }

    #[test]
    fn public_cookie_is_another_one_and_secure_behind_https() {
        let demo = demo_with("127.0.0.1:8080", Some("https://demo.example"));
        let set = demo.set_cookie(Visitor::Public);
        let (cookie, attributes) = set.expose_secret().split_once(';').unwrap();
        assert_eq!(attributes, " Path=/demo; HttpOnly; SameSite=Strict; Secure");
        let has_cookie = |visitor| demo.0.has_cookie(visitor, &headers(&[("cookie", cookie)]));
        assert!(has_cookie(Visitor::Public) && !has_cookie(Visitor::Local));
        let plain = demo_with("127.0.0.1:8080", Some("http://demo.example"));
        assert!(!plain.set_cookie(Visitor::Public).expose_secret().contains("Secure"));
    }

    #[test]
    fn a_call_comes_from_this_page() {
        let get = |pairs: &[_]| is_of_this_page(&Method::GET, &headers(pairs), "http");
        let post = |pairs: &[_]| is_of_this_page(&Method::POST, &headers(pairs), "http");
        let host = ("host", "localhost:8080");
        let own = ("origin", "http://localhost:8080");
        let same = ("sec-fetch-site", "same-origin");
        assert!(get(&[host]) && get(&[host, same]));
        assert!(post(&[host, own]) && post(&[host, same]) && post(&[host, own, same]));
        assert!(!post(&[host]));
        let secure = headers(&[("host", "demo.example"), ("origin", "https://demo.example")]);
        assert!(is_of_this_page(&Method::POST, &secure, "https"));
        assert!(!is_of_this_page(&Method::POST, &secure, "http"));
        for wrong in [
            ("origin", "http://localhost:3000"),
            ("origin", "https://localhost:8080"),
            ("origin", "null"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "none"),
        ] {
            assert!(!get(&[host, wrong]) && !post(&[host, wrong]), "{wrong:?}");
            assert!(!post(&[host, own, wrong]) || wrong.0 == "sec-fetch-site", "{wrong:?}");
            assert!(!post(&[host, same, wrong]), "{wrong:?}");
        }
    }

    #[test]
    fn the_cookie_is_found_among_others_and_never_shown() {
        let demo = demo("127.0.0.1:8080");
        let set = demo.set_cookie(Visitor::Local);
        let set = set.expose_secret();
        let (cookie, attributes) = set.split_once(';').unwrap();
        assert_eq!(attributes, " Path=/demo; HttpOnly; SameSite=Strict");
        let (name, value) = cookie.split_once('=').unwrap();
        assert_eq!((name, value.len()), ("ivs-playback-auth-demo-8080", 64));
        let is_visitor =
            |cookies: &str| demo.0.has_cookie(Visitor::Local, &headers(&[("cookie", cookies)]));
        assert!(is_visitor(cookie));
        assert!(is_visitor(&format!("a=b; {name}=old; {cookie}")));
        assert!(!is_visitor(&format!("{name}={}", &value[1..])));
        assert!(!is_visitor(&format!("x{cookie}")));
        assert!(!is_visitor(name) && !is_visitor(""));
        assert!(!format!("{demo:?}").contains(value));
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(host in "\\PC{0,40}", cookie in "\\PC{0,40}") {
            let demo = demo("127.0.0.1:8080");
            let mut headers = HeaderMap::new();
            for (name, value) in [(HOST, &host), (COOKIE, &cookie), (ORIGIN, &host)] {
                if let Ok(value) = HeaderValue::from_str(value) {
                    headers.insert(name, value);
                }
            }
            let called = demo.0.visitor(&Uri::from_static("/"), &headers).is_some();
            prop_assert!(!called || host.to_ascii_lowercase().starts_with("localhost")
                || host == "127.0.0.1:8080");
            prop_assert!(!demo.0.has_cookie(Visitor::Local, &headers));
            is_of_this_page(&Method::POST, &headers, "http");
        }
    }
}
