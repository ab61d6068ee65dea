//! Origins: those that a token or a policy allows, the one of the request, and the CORS headers.
//!
//! An entry of `aws:access-control-allow-origin` is `scheme://host[:port]`, where the host may
//! begin with `*`, or `*` alone. The origin that a browser sends is compared after both are
//! normalized: case, punycode, the scheme's default port.

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use url::{Host as UrlHost, Url};

use super::refusal::Reason;
use crate::emulator::store::records::PlaybackRestrictionPolicy;

/// The header with the viewer's country, an ISO 3166-1 alpha-2 code. AWS derives the country from
/// the viewer's address; its content delivery network sends it to origins in this header.
const COUNTRY_HEADER: &str = "cloudfront-viewer-country";

/// The `Origin` header of a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum RequestOrigin {
    /// The player sent none.
    Absent,
    /// The origin of the page, as it was sent.
    From(String),
    /// Several, or one that is not text. No browser sends that.
    Malformed,
}

impl RequestOrigin {
    /// Reads the origin of a request.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (None, _) => Self::Absent,
            (Some(origin), None) => {
                origin.to_str().map_or(Self::Malformed, |origin| Self::From(origin.to_owned()))
            }
            (Some(_), Some(_)) => Self::Malformed,
        }
    }
}

/// Returns the country that a request names.
pub(super) fn country_of(headers: &HeaderMap) -> Option<String> {
    headers.get(COUNTRY_HEADER)?.to_str().ok().map(str::to_owned)
}

/// The origins whose pages may play.
#[derive(Debug, Default)]
pub(super) struct OriginRule {
    /// `None` for every origin.
    pub(super) allowed: Option<Origins>,
    /// Whether every player must send an origin, with every request.
    pub(super) strict: bool,
}

impl OriginRule {
    /// Returns what the policy of a public channel demands of a request, once the request meets it.
    /// A request that names no country is from none.
    pub(super) fn of_policy(
        policy: &PlaybackRestrictionPolicy,
        country: Option<&str>,
        origin: &RequestOrigin,
    ) -> Result<Self, Reason> {
        let countries = &policy.allowed_countries;
        let is_allowed =
            |allowed: &String| country.is_some_and(|country| country.eq_ignore_ascii_case(allowed));
        if !countries.is_empty() && !countries.iter().any(is_allowed) {
            return Err(Reason::CountryNotAllowed);
        }
        // IVS accepts any text as an origin of a policy. An entry that is not an origin matches none.
        let origins: Vec<_> =
            policy.allowed_origins.iter().filter_map(|entry| Allowed::parse(entry)).collect();
        let rule = Self {
            allowed: (!policy.allowed_origins.is_empty()).then_some(Origins(origins)),
            strict: policy.enable_strict_origin_enforcement,
        };
        rule.check(origin)?;
        Ok(rule)
    }

    /// Checks the origin of a request.
    ///
    /// Allowed origins alone bind browsers, which always send theirs; a player that sends none
    /// passes. With strict enforcement every player must send one.
    pub(super) fn check(&self, origin: &RequestOrigin) -> Result<(), Reason> {
        match (&self.allowed, origin) {
            (Some(_), RequestOrigin::Absent) if self.strict => Err(Reason::OriginMissing),
            (None, _) | (Some(_), RequestOrigin::Absent) => Ok(()),
            (Some(origins), RequestOrigin::From(origin)) if origins.allow(origin) => Ok(()),
            (Some(_), RequestOrigin::From(_) | RequestOrigin::Malformed) => {
                Err(Reason::OriginNotAllowed)
            }
        }
    }

    /// Returns which pages may read the response. Without strict enforcement the edge also serves
    /// segments to pages that may not read them.
    pub(super) fn readers(&self, origin: &RequestOrigin) -> Readers {
        match &self.allowed {
            None => Readers::Anyone,
            Some(origins) if origins.allow_anyone() => Readers::Anyone,
            Some(_) if self.check(origin).is_ok() => Readers::RequestOrigin,
            Some(_) => Readers::NoOne,
        }
    }
}

/// The origins that a token or a policy allows.
#[derive(Debug)]
pub(super) struct Origins(Vec<Allowed>);

#[derive(Debug, Eq, PartialEq)]
enum Allowed {
    Any,
    Origin { scheme: String, host: Host, port: Option<u16> },
}

#[derive(Debug, Eq, PartialEq)]
enum Host {
    Exact(String),
    /// Every host that ends in this and is longer.
    EndsIn(String),
}

impl Origins {
    /// Parses the claim.
    pub(super) fn parse(claim: &str) -> Result<Self, Reason> {
        let allowed = claim.split(',').map(Allowed::parse).collect::<Option<_>>();
        allowed.map(Self).ok_or(Reason::OriginInvalid)
    }

    /// Returns how many origins the claim lists.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether pages of every origin may play.
    pub(super) fn allow_anyone(&self) -> bool {
        self.0.contains(&Allowed::Any)
    }

    fn allow(&self, origin: &str) -> bool {
        self.allow_anyone()
            || parse_origin(origin)
                .is_some_and(|origin| self.0.iter().any(|allowed| allowed.matches(&origin)))
    }
}

impl Allowed {
    fn parse(entry: &str) -> Option<Self> {
        if entry == "*" {
            return Some(Self::Any);
        }
        let Some((scheme, suffix)) = entry.split_once("://*") else {
            let url = parse_origin(entry)?;
            let host = Host::Exact(url.host_str()?.to_owned());
            return Some(Self::of(&url, host));
        };
        // The host of a URL neither is empty nor begins with a dot.
        let (dot, name) = suffix.strip_prefix('.').map_or(("", suffix), |name| (".", name));
        let is_bare = suffix.is_empty() || suffix.starts_with(':');
        let url = parse_origin(&format!("{scheme}://{}{name}", if is_bare { "any" } else { "" }))?;
        let end = if is_bare { String::new() } else { format!("{dot}{}", url.host_str()?) };
        Some(Self::of(&url, Host::EndsIn(end)))
    }

    fn of(url: &Url, host: Host) -> Self {
        Self::Origin { scheme: url.scheme().to_owned(), host, port: url.port_or_known_default() }
    }

    fn matches(&self, origin: &Url) -> bool {
        let Self::Origin { scheme, host, port } = self else { return true };
        let name = origin.host_str().unwrap_or_default();
        let host_matches = match host {
            Host::Exact(allowed) => name == allowed,
            Host::EndsIn(end) => name.len() > end.len() && name.ends_with(end.as_str()),
        };
        host_matches && origin.scheme() == scheme && origin.port_or_known_default() == *port
    }
}

/// Parses an origin as a URL without path, query or user; `None` if it is not an origin.
fn parse_origin(origin: &str) -> Option<Url> {
    let (scheme, host) = origin.split_once("://")?;
    let is_web = ["http", "https"].iter().any(|web| scheme.eq_ignore_ascii_case(web));
    // The URL parser would drop or convert some of these; an origin has none of them.
    let is_bare = !host.is_empty()
        && !host.ends_with(':')
        && !host.chars().any(|c| c.is_whitespace() || c.is_control() || "/\\?#@*%".contains(c));
    if is_web && is_bare { Url::parse(origin).ok().filter(is_reachable) } else { None }
}

/// Returns whether a browser could have opened a page there. The URL standard allows hosts that no
/// resolver accepts.
fn is_reachable(url: &Url) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_".contains(&c))
    };
    let has_host = match url.host() {
        Some(UrlHost::Domain(name)) => {
            let name = name.strip_suffix('.').unwrap_or(name);
            name.len() <= 253 && name.split('.').all(is_label)
        }
        Some(UrlHost::Ipv4(_) | UrlHost::Ipv6(_)) => true,
        None => false,
    };
    has_host && url.port() != Some(0)
}

/// Which pages may read a response: cross-origin resource sharing (Fetch standard).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Readers {
    Anyone,
    /// Pages of the requesting origin, which is allowed.
    RequestOrigin,
    NoOne,
}

impl Readers {
    /// Adds the CORS headers to a response.
    pub(super) fn add_headers(self, origin: &RequestOrigin, headers: &mut HeaderMap) {
        let allowed = match (self, origin) {
            (Self::Anyone, _) => Some(HeaderValue::from_static("*")),
            (Self::RequestOrigin, RequestOrigin::From(origin)) => {
                HeaderValue::try_from(origin).ok()
            }
            (_, _) => None,
        };
        if let Some(allowed) = allowed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
            let exposed = HeaderValue::from_static("content-length, content-range, date");
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
        // Another origin may get another response from the same URL.
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    }
}

/// Turns the response that `GET` would get into the response to a preflight: a page may send the
/// request if it may read the response.
pub(super) fn preflight(response: &Response) -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "*"),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ];
    let mut preflight = (StatusCode::NO_CONTENT, headers).into_response();
    for name in [header::ACCESS_CONTROL_ALLOW_ORIGIN, header::VARY] {
        if let Some(value) = response.headers().get(&name) {
            preflight.headers_mut().insert(name, value.clone());
        }
    }
    preflight
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(claim: &str, origin: &str) -> bool {
        Origins::parse(claim).unwrap().allow(origin)
    }

    #[test]
    fn origins_match_after_normalization() {
        for (claim, origin) in [
            ("https://a.example", "https://a.example"),
            ("https://A.Example", "https://a.example"),
            ("https://a.example:443", "https://a.example"),
            ("http://a.example:80", "http://a.example"),
            ("http://localhost:5173", "http://localhost:5173"),
            ("https://b\u{fc}cher.example", "https://xn--bcher-kva.example"),
            ("https://b.example,https://a.example", "https://a.example"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("*", "https://a.example"),
            ("*", "null"),
        ] {
            assert!(allow(claim, origin), "{claim} {origin}");
        }
        for (claim, origin) in [
            ("https://a.example", "http://a.example"),
            ("https://a.example", "https://a.example:8443"),
            ("https://a.example", "https://b.a.example"),
            ("https://a.example", "https://a.example.evil.example"),
            ("https://a.example", "https://a.example/"),
            ("https://a.example", "https://user@a.example"),
            ("https://a.example", "null"),
            ("https://a.example", ""),
        ] {
            assert!(!allow(claim, origin), "{claim} {origin}");
        }
    }

    #[test]
    fn wildcard_matches_beginning_of_host() {
        assert!(allow("https://*.a.example", "https://www.a.example"));
        assert!(allow("https://*.a.example", "https://x.www.a.example"));
        assert!(allow("https://*.a.example:8443", "https://www.a.example:8443"));
        assert!(allow("https://*", "https://a.example"));
        assert!(!allow("https://*", "http://a.example"));
        assert!(allow("http://*:5173", "http://localhost:5173"));
        assert!(!allow("https://*.a.example", "https://a.example"));
        assert!(!allow("https://*.a.example", "https://evila.example"));
        assert!(!allow("https://*.a.example", "https://www.a.example.evil.example"));
        assert!(!allow("https://*.a.example", "http://www.a.example"));
        assert!(!allow("https://*.a.example", "https://*.a.example"));
    }

    #[test]
    fn malformed_origins_are_invalid() {
        for claim in [
            "",
            "a.example",
            "https://",
            "https://a.example/",
            "https://a.example/path",
            "https://a.example/#/",
            "https://a.example?x",
            "https://user@a.example",
            "https://a.example, https://b.example",
            "https://a.example,",
            "ftp://a.example",
            "https://a.*.example",
            "https://*.",
            "https://a.example:",
            "https://a.example:99999",
            "https://a\tb.example",
            "https:\\\\a.example",
            "**",
            "https://a.example:0",
            "https://a..example",
            "https://a\"b.example",
            "https://%61.example",
            "https://*:0",
        ] {
            assert_eq!(Origins::parse(claim).err(), Some(Reason::OriginInvalid), "{claim:?}");
        }
    }

    #[test]
    fn request_origin_is_read_from_header() {
        let mut headers = HeaderMap::new();
        assert_eq!(RequestOrigin::of(&headers), RequestOrigin::Absent);
        headers.append(header::ORIGIN, "https://a.example".parse().unwrap());
        assert_eq!(
            RequestOrigin::of(&headers),
            RequestOrigin::From("https://a.example".to_owned())
        );
        headers.append(header::ORIGIN, "https://b.example".parse().unwrap());
        assert_eq!(RequestOrigin::of(&headers), RequestOrigin::Malformed);
    }

    fn policy(countries: &[&str], origins: &[&str], strict: bool) -> PlaybackRestrictionPolicy {
        let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        PlaybackRestrictionPolicy {
            arn: "arn:aws:ivs:us-west-2:123456789012:playback-restriction-policy/AbCdEfGh1234"
                .parse()
                .unwrap(),
            name: String::new(),
            allowed_countries: owned(countries),
            allowed_origins: owned(origins),
            enable_strict_origin_enforcement: strict,
        }
    }

    fn refusal(
        policy: &PlaybackRestrictionPolicy,
        country: Option<&str>,
        origin: Option<&str>,
    ) -> Option<Reason> {
        let origin =
            origin.map_or(RequestOrigin::Absent, |origin| RequestOrigin::From(origin.to_owned()));
        OriginRule::of_policy(policy, country, &origin).err()
    }

    #[test]
    fn policy_allows_listed_countries_or_all() {
        let all = policy(&[], &[], false);
        assert_eq!(refusal(&all, None, None), None);
        let some = policy(&["US", "de"], &[], false);
        for (country, expected) in [
            (Some("US"), None),
            (Some("us"), None),
            (Some("DE"), None),
            (Some("FR"), Some(Reason::CountryNotAllowed)),
            (Some(""), Some(Reason::CountryNotAllowed)),
            (None, Some(Reason::CountryNotAllowed)),
        ] {
            assert_eq!(refusal(&some, country, None), expected, "{country:?}");
        }
    }

    #[test]
    fn policy_origins_work_as_those_of_a_token() {
        let origins = ["https://a.example", "no origin", "https://*.b.example"];
        let (loose, strict) = (policy(&[], &origins, false), policy(&[], &origins, true));
        for (origin, by_loose, by_strict) in [
            (None, None, Some(Reason::OriginMissing)),
            (Some("https://a.example"), None, None),
            (Some("https://www.b.example"), None, None),
            (
                Some("https://c.example"),
                Some(Reason::OriginNotAllowed),
                Some(Reason::OriginNotAllowed),
            ),
        ] {
            assert_eq!(refusal(&loose, None, origin), by_loose, "{origin:?}");
            assert_eq!(refusal(&strict, None, origin), by_strict, "{origin:?}");
        }
        let of_no_one = policy(&[], &["no origin"], false);
        let refused = refusal(&of_no_one, None, Some("https://a.example"));
        assert_eq!(refused, Some(Reason::OriginNotAllowed));
        assert_eq!(refusal(&policy(&[], &[], true), None, None), None);
    }
}
