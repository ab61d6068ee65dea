//! Checks the allowed origins of a token: whether the list is well-formed, and whether it admits a request.

use serde_json::{Map, Value};
use url::Url;

use crate::tokens::{
    claims::MAX_STRICT_ORIGINS,
    origin::{AllowedOrigin, OriginError},
    payload::{ALLOW_ORIGIN, STRICT_ORIGIN},
};

use super::finding::{Finding, FindingCode};

/// Checks the list and the requirements of strict enforcement. `origin` is the `Origin` of the request, or
/// the address of the page that plays, and is empty if the request has none.
pub(super) fn check(claims: &Map<String, Value>, origin: Option<&str>) -> Vec<Finding> {
    let Some(list) = claims.get(ALLOW_ORIGIN).map(Value::as_str) else {
        return if is_strict(claims) { vec![without_origin()] } else { Vec::new() };
    };
    // The check of types reports a list that is not text.
    let Some(list) = list else { return Vec::new() };
    let is_strict = is_strict(claims);
    let of_list = [check_entries(list), if is_strict { check_strict_list(list) } else { None }];
    let of_list: Vec<_> = of_list.into_iter().flatten().collect();
    if !of_list.is_empty() {
        // A faulty list does not show whether the intended one would admit the request.
        return of_list;
    }
    let strict = if is_strict { check_strict_request(origin) } else { None };
    strict.or_else(|| check_request(list, origin)).into_iter().collect()
}

fn is_strict(claims: &Map<String, Value>) -> bool {
    claims.get(STRICT_ORIGIN) == Some(&Value::Bool(true))
}

fn without_origin() -> Finding {
    let situation = "Strict enforcement has no origin to enforce.";
    Finding::new(FindingCode::StrictWithoutOrigin, situation).about(STRICT_ORIGIN)
}

fn check_entries(list: &str) -> Option<Finding> {
    let mut faults = (1..)
        .zip(list.split(','))
        .filter_map(|(number, entry): (usize, _)| Some((number, Entry::read(entry).err()?)));
    let (number, fault) = faults.next()?;
    let more = match faults.count() {
        0 => String::new(),
        1 => " One more does not either.".to_owned(),
        more => format!(" {more} more do not either."),
    };
    let situation = format!("No browser matches entry {number}: {fault}.{more}");
    Some(Finding::new(FindingCode::OriginInvalid, situation).about(ALLOW_ORIGIN))
}

fn check_strict_list(list: &str) -> Option<Finding> {
    if list == "*" {
        return Some(without_origin());
    }
    let entries = list.split(',').count();
    if entries <= MAX_STRICT_ORIGINS {
        return None;
    }
    let situation = format!(
        "{entries} origins are listed; with strict enforcement IVS takes at most \
         {MAX_STRICT_ORIGINS}."
    );
    Some(Finding::new(FindingCode::TooManyStrictOrigins, situation).about(ALLOW_ORIGIN))
}

/// Checks what strict enforcement requires of every request.
fn check_strict_request(origin: Option<&str>) -> Option<Finding> {
    let (code, situation) = match origin {
        Some("") => (
            FindingCode::OriginMissing,
            "The request has no Origin, and strict enforcement requires one in every request.",
        ),
        None => (
            FindingCode::StrictOriginNeedsHeader,
            "Every player must send an Origin, and not every player does so by default.",
        ),
        Some(_) => return None,
    };
    Some(Finding::new(code, situation).about(STRICT_ORIGIN))
}

/// Whether the list admits the request. Only strict enforcement refuses requests without an `Origin`.
fn check_request(list: &str, origin: Option<&str>) -> Option<Finding> {
    let origin = origin_of(origin.filter(|origin| !origin.is_empty())?);
    let admits = |entry: &str| match (Entry::read(entry), &origin) {
        (Ok(Entry::Any), _) => true,
        (Ok(entry), Some(origin)) => entry.admits(origin),
        (Ok(_), None) | (Err(_), _) => false,
    };
    if list.split(',').any(admits) {
        return None;
    }
    let situation = "The origin of the request is not among the allowed ones.";
    Some(Finding::new(FindingCode::OriginNotAllowed, situation).about(ALLOW_ORIGIN))
}

/// Returns the origin of a page. People give the page's address as often as its origin.
fn origin_of(page: &str) -> Option<Url> {
    let url = Url::parse(page).ok()?;
    if matches!(url.scheme(), "https" | "http") { Some(url) } else { None }
}

/// An entry of the list. It is more lenient than [`AllowedOrigin`] in two points: IVS documents that a host may begin
/// with `*`, but not that a dot must follow or that a lone `*` must be the only entry.
enum Entry {
    /// `*`
    Any,
    /// One origin, or, with a host suffix, every origin whose host ends with it.
    Origin { url: Url, ending: Option<String> },
}

impl Entry {
    fn read(text: &str) -> Result<Self, OriginError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let Some((scheme, rest)) = text.split_once("://*") else {
            return Ok(Self::Origin { url: read_origin(text)?, ending: None });
        };
        // `https://*` and `https://*:8443` have an empty suffix; a placeholder host lets the rest be parsed.
        if rest.is_empty() || rest.starts_with(':') {
            let url = read_origin(&format!("{scheme}://any{rest}"))?;
            return Ok(Self::Origin { url, ending: Some(String::new()) });
        }
        let (dot, host) = rest.strip_prefix('.').map_or(("", rest), |host| (".", host));
        if host.starts_with('*') {
            return Err(OriginError::Wildcard);
        }
        let url = read_origin(&format!("{scheme}://{host}"))?;
        let ending = format!("{dot}{}", url.host_str().unwrap_or_default());
        Ok(Self::Origin { url, ending: Some(ending) })
    }

    /// Whether a request from this origin is admitted. As in a browser, letter case and default ports make no
    /// difference.
    fn admits(&self, origin: &Url) -> bool {
        let Self::Origin { url, ending } = self else { return true };
        let host = origin.host_str().unwrap_or_default();
        let same_host = match ending {
            None => url.host_str() == Some(host),
            Some(ending) => host.len() > ending.len() && host.ends_with(ending.as_str()),
        };
        same_host
            && url.scheme() == origin.scheme()
            && url.port_or_known_default() == origin.port_or_known_default()
    }
}

fn read_origin(text: &str) -> Result<Url, OriginError> {
    let origin = AllowedOrigin::parse(text)?;
    Url::parse(origin.as_str()).map_err(|_| OriginError::Host)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn codes(claims: &Value, origin: Option<&str>) -> Vec<&'static str> {
        let findings = check(claims.as_object().unwrap(), origin);
        findings.iter().map(|finding| finding.code.as_str()).collect()
    }

    #[test]
    fn faulty_entries_are_one_finding_with_their_number() {
        let claims = json!({ALLOW_ORIGIN: "https://a.test,https://b.test/#/,c.test,"});
        let findings = check(claims.as_object().unwrap(), None);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].detail.starts_with("No browser matches entry 2"));
        assert!(findings[0].detail.contains(" 2 more do not either."));
        assert_eq!(codes(&json!({ALLOW_ORIGIN: "*"}), None), [""; 0]);
        assert_eq!(codes(&json!({ALLOW_ORIGIN: 1}), None), [""; 0]);
    }

    #[test]
    fn strict_enforcement_is_reported_once() {
        let strict =
            |list: &str, origin| codes(&json!({ALLOW_ORIGIN: list, STRICT_ORIGIN: true}), origin);
        let site = Some("https://a.test");
        let six = ["https://a.test"; 6].join(",");
        assert_eq!(strict("https://a.test", None), ["strict_origin_needs_header"]);
        assert_eq!(strict("https://a.test", Some("")), ["origin_missing"]);
        assert_eq!(strict("https://a.test", site), [""; 0]);
        assert_eq!(strict(&six, None), ["too_many_strict_origins"]);
        assert_eq!(strict("https://a.test/", None), ["origin_invalid"]);
        assert_eq!(strict("", Some("")), ["origin_invalid"]);
        assert_eq!(strict(&six, Some("https://b.test")), ["too_many_strict_origins"]);
        assert_eq!(strict("*", site), ["strict_without_origin"]);
        assert_eq!(codes(&json!({STRICT_ORIGIN: true}), None), ["strict_without_origin"]);
        assert_eq!(codes(&json!({STRICT_ORIGIN: false}), None), [""; 0]);
        assert_eq!(codes(&json!({STRICT_ORIGIN: true, ALLOW_ORIGIN: []}), None), [""; 0]);
    }

    #[test]
    fn request_from_other_origin_is_refused() {
        let listed = |list: &str, origin| codes(&json!({ALLOW_ORIGIN: list}), Some(origin));
        let list = "https://a.test,https://*.b.test";
        assert_eq!(listed(list, "https://a.test"), [""; 0]);
        assert_eq!(listed(list, "https://A.test/watch"), [""; 0]);
        assert_eq!(listed(list, "https://x.b.test"), [""; 0]);
        assert_eq!(listed(list, ""), [""; 0], "without strict it binds browsers alone");
        assert_eq!(listed(list, "https://b.test"), ["origin_not_allowed"]);
        assert_eq!(listed(list, "null"), ["origin_not_allowed"]);
        // The edge reports no more, either.
        assert_eq!(listed("https://a.test/", "https://a.test"), ["origin_invalid"]);
        assert_eq!(codes(&json!({}), Some("https://a.test")), [""; 0]);
    }

    fn admits(entry: &str, origin: &str) -> bool {
        Entry::read(entry).unwrap().admits(&origin_of(origin).unwrap())
    }

    #[test]
    fn wildcard_admits_only_subdomains() {
        let admits = |origin| admits("https://*.example.com", origin);
        assert!(admits("https://www.example.com"));
        assert!(admits("https://a.b.example.com"));
        assert!(!admits("https://example.com"));
        assert!(!admits("http://www.example.com"));
        assert!(!admits("https://www.example.com:8443"));
        assert!(!admits("https://www.example.com.evil.test"));
    }

    #[test]
    fn entries_are_compared_as_origins() {
        assert!(admits("*", "https://example.com"));
        assert!(admits("https://Example.com:443", "https://example.com"));
        assert!(admits("https://*", "https://example.com"));
        assert!(!admits("https://*", "https://example.com:8443"));
        assert!(admits("https://*:8443", "https://example.com:8443"));
        assert!(admits("https://*example.com", "https://example-example.com"));
        assert!(!admits("https://example.com", "https://example.com.evil.test"));
        assert!(!admits("https://example.com", "http://example.com"));
    }

    #[test]
    fn invalid_origin_is_reported_with_cause() {
        let fault = |entry: &str| Entry::read(entry).err();
        assert_eq!(fault("https://a/#/"), Some(OriginError::Path));
        assert_eq!(fault("https://*.a/"), Some(OriginError::Path));
        assert_eq!(fault(" https://a"), Some(OriginError::Space));
        assert_eq!(fault("*.example.com"), Some(OriginError::Scheme));
        assert_eq!(fault("https://*.*.example.com"), Some(OriginError::Wildcard));
        assert_eq!(fault("https://*."), Some(OriginError::Host));
        assert_eq!(fault("null"), Some(OriginError::Scheme));
        assert_eq!(fault(""), Some(OriginError::Scheme));
    }

    proptest! {
        #[test]
        fn minted_origins_are_never_reported(text in "https?://(\\*\\.)?[a-zA-Z0-9_.-]{1,20}(:[0-9]{1,5})?") {
            if let Ok(origin) = AllowedOrigin::parse(&text) {
                prop_assert!(Entry::read(origin.as_str()).is_ok());
            }
        }
    }
}
