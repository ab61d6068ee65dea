//! The allowed origins of a token that anyone made: what is wrong with the list, and whether it
//! lets a request through.

use std::borrow::Cow;

use serde_json::{Map, Value};
use url::Url;

use crate::tokens::{
    claims::{ALLOW_ORIGIN, MAX_STRICT_ORIGINS, STRICT_ORIGIN},
    origin::{AllowedOrigin, OriginError},
};

use super::finding::{Finding, FindingCode};

/// Checks the list and what strict enforcement asks of it. `origin` is the `Origin` of the request,
/// or the address of the page that plays; empty where there was none.
pub(super) fn check(claims: &Map<String, Value>, origin: Option<&str>) -> Vec<Finding> {
    let Some(list) = claims.get(ALLOW_ORIGIN).map(Value::as_str) else {
        return if is_strict(claims) { vec![without_origin()] } else { Vec::new() };
    };
    // A list that is no text is told as such.
    let Some(list) = list else { return Vec::new() };
    let invalid = check_entries(list);
    let strict = if is_strict(claims) { check_strict(list, origin) } else { None };
    // That players must send an origin is worth saying only where one could be let through.
    let strict = strict.filter(|finding| {
        finding.code != FindingCode::StrictOriginNeedsHeader || invalid.is_none()
    });
    let refused = check_request(list, origin);
    [invalid, strict, refused].into_iter().flatten().collect()
}

fn is_strict(claims: &Map<String, Value>) -> bool {
    claims.get(STRICT_ORIGIN) == Some(&Value::Bool(true))
}

fn without_origin() -> Finding {
    let detail = "Strict enforcement has no origin to enforce. Name the origins in \
                  aws:access-control-allow-origin, or leave it out.";
    Finding::new(FindingCode::StrictWithoutOrigin, detail).about(STRICT_ORIGIN)
}

fn check_entries(list: &str) -> Option<Finding> {
    let mut faults = (1..)
        .zip(list.split(','))
        .filter_map(|(number, entry): (usize, _)| Some((number, check_entry(entry).err()?)));
    let (number, fault) = faults.next()?;
    let more = match faults.count() {
        0 => String::new(),
        1 => " One more does not either.".to_owned(),
        more => format!(" {more} more do not either."),
    };
    let detail = format!("Entry {number} matches no browser: {fault}.{more}");
    Some(Finding::new(FindingCode::OriginInvalid, detail).about(ALLOW_ORIGIN))
}

fn check_strict(list: &str, origin: Option<&str>) -> Option<Finding> {
    let entries = list.split(',').count();
    let (code, claim, detail) = if list == "*" {
        return Some(without_origin());
    } else if entries > MAX_STRICT_ORIGINS {
        let detail = format!(
            "{entries} origins are listed; with strict enforcement IVS takes at most \
             {MAX_STRICT_ORIGINS}."
        );
        (FindingCode::TooManyStrictOrigins, ALLOW_ORIGIN, detail)
    } else if origin == Some("") {
        let detail = "The request has no Origin, and strict enforcement demands one of every \
                      request.";
        (FindingCode::OriginMissing, STRICT_ORIGIN, detail.to_owned())
    } else if origin.is_none() {
        let detail = "Every player must send an Origin. Safari on iOS does so with \
                      crossorigin=\"anonymous\" on the video element, native players after \
                      setOrigin.";
        (FindingCode::StrictOriginNeedsHeader, STRICT_ORIGIN, detail.to_owned())
    } else {
        return None;
    };
    Some(Finding::new(code, detail).about(claim))
}

/// Whether the list lets the request through. Without an `Origin`, only strict enforcement refuses.
fn check_request(list: &str, origin: Option<&str>) -> Option<Finding> {
    let origin = origin_of(origin.filter(|origin| !origin.is_empty())?);
    if list.split(',').any(|entry| entry_admits(entry, &origin)) {
        return None;
    }
    let detail = "The origin of the request is not among the allowed ones. Scheme, host and port \
                  must be equal.";
    Some(Finding::new(FindingCode::OriginNotAllowed, detail).about(ALLOW_ORIGIN))
}

/// The `Origin` of a page. People give the page's address as often as its origin.
fn origin_of(page: &str) -> Cow<'_, str> {
    match Url::parse(page) {
        Ok(url) if matches!(url.scheme(), "https" | "http") => {
            Cow::Owned(url.origin().ascii_serialization())
        }
        _ => Cow::Borrowed(page),
    }
}

/// Whether an entry of the claim lets a request of this `Origin` through. Both are compared as
/// they stand, but for a `*` at the beginning of the entry or of its host.
fn entry_admits(entry: &str, origin: &str) -> bool {
    if entry == "*" || entry == origin {
        return true;
    }
    let Some((scheme, host_end)) = entry.split_once("://*") else { return false };
    let Some((origin_scheme, origin_host)) = origin.split_once("://") else { return false };
    scheme == origin_scheme && origin_host.len() > host_end.len() && origin_host.ends_with(host_end)
}

/// What is wrong with an entry of the claim, judged by what a browser can match. More lenient
/// than [`AllowedOrigin::parse`] in one point: IVS documents that a host may begin with `*`, not
/// that a dot must follow.
fn check_entry(entry: &str) -> Result<(), EntryFault> {
    if matches!(entry, "*" | "https://*" | "http://*") {
        return Ok(());
    }
    let without_wildcard = match entry.split_once("://*") {
        Some((scheme, host)) if !host.starts_with('.') => &format!("{scheme}://{host}"),
        _ => entry,
    };
    match AllowedOrigin::parse(without_wildcard) {
        Ok(origin) if origin.as_str() == without_wildcard => Ok(()),
        Ok(_) => Err(EntryFault::Form),
        Err(error) => Err(EntryFault::NoOrigin(error)),
    }
}

/// See [`check_entry`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
enum EntryFault {
    /// An origin, but not written as browsers write it.
    #[error(
        "browsers send origins in lower case and punycode and leave out the default port; write \
         it so"
    )]
    Form,
    /// No origin at all.
    #[error("{0}")]
    NoOrigin(OriginError),
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
    fn faulty_entries_are_one_finding_that_counts_them() {
        let claims = json!({ALLOW_ORIGIN: "https://a.test,https://b.test/#/,c.test,"});
        let findings = check(claims.as_object().unwrap(), None);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].detail.starts_with("Entry 2 matches no browser"));
        assert!(findings[0].detail.ends_with(" 2 more do not either."));
        assert_eq!(codes(&json!({ALLOW_ORIGIN: "*"}), None), [""; 0]);
        assert_eq!(codes(&json!({ALLOW_ORIGIN: 1}), None), [""; 0]);
    }

    #[test]
    fn strict_enforcement_is_told_once() {
        let strict =
            |list: &str, origin| codes(&json!({ALLOW_ORIGIN: list, STRICT_ORIGIN: true}), origin);
        let site = Some("https://a.test");
        let six = ["https://a.test"; 6].join(",");
        assert_eq!(strict("https://a.test", None), ["strict_origin_needs_header"]);
        assert_eq!(strict("https://a.test", Some("")), ["origin_missing"]);
        assert_eq!(strict("https://a.test", site), [""; 0]);
        assert_eq!(strict(&six, None), ["too_many_strict_origins"]);
        assert_eq!(strict("https://a.test/", None), ["origin_invalid"]);
        assert_eq!(strict("*", site), ["strict_without_origin"]);
        assert_eq!(codes(&json!({STRICT_ORIGIN: true}), None), ["strict_without_origin"]);
        assert_eq!(codes(&json!({STRICT_ORIGIN: false}), None), [""; 0]);
        assert_eq!(codes(&json!({STRICT_ORIGIN: true, ALLOW_ORIGIN: []}), None), [""; 0]);
    }

    #[test]
    fn a_request_of_another_origin_is_refused() {
        let listed = |list: &str, origin| codes(&json!({ALLOW_ORIGIN: list}), Some(origin));
        let list = "https://a.test,https://*.b.test";
        assert_eq!(listed(list, "https://a.test"), [""; 0]);
        assert_eq!(listed(list, "https://A.test/watch"), [""; 0]);
        assert_eq!(listed(list, "https://x.b.test"), [""; 0]);
        assert_eq!(listed(list, ""), [""; 0], "without strict it binds browsers alone");
        assert_eq!(listed(list, "https://b.test"), ["origin_not_allowed"]);
        assert_eq!(listed(list, "null"), ["origin_not_allowed"]);
        assert_eq!(
            listed("https://a.test/", "https://a.test"),
            ["origin_invalid", "origin_not_allowed"]
        );
        assert_eq!(codes(&json!({}), Some("https://a.test")), [""; 0]);
    }

    #[test]
    fn a_wildcard_admits_subdomains_and_nothing_else() {
        let admits = |origin| entry_admits("https://*.example.com", origin);
        assert!(admits("https://www.example.com"));
        assert!(admits("https://a.b.example.com"));
        assert!(!admits("https://example.com"));
        assert!(!admits("http://www.example.com"));
        assert!(!admits("https://www.example.com:8443"));
        assert!(!admits("https://www.example.com.evil.test"));
        assert!(entry_admits("*", "https://example.com"));
        assert!(!entry_admits("https://example.com", "https://example.com.evil.test"));
    }

    #[test]
    fn entries_of_foreign_tokens_are_judged_by_what_a_browser_can_match() {
        for good in ["*", "https://*", "https://*example.com", "https://*.example.com", "http://a"]
        {
            assert_eq!(check_entry(good), Ok(()), "{good}");
        }
        assert_eq!(check_entry("https://Example.com"), Err(EntryFault::Form));
        assert_eq!(check_entry("https://example.com:443"), Err(EntryFault::Form));
        assert_eq!(check_entry("https://a/#/"), Err(EntryFault::NoOrigin(OriginError::Path)));
        assert_eq!(check_entry(" https://a"), Err(EntryFault::NoOrigin(OriginError::Space)));
        assert_eq!(check_entry(""), Err(EntryFault::NoOrigin(OriginError::Scheme)));
    }

    #[test]
    fn the_address_of_a_page_has_an_origin() {
        assert_eq!(origin_of("https://Example.com:443/watch?v=1"), "https://example.com");
        assert_eq!(origin_of("http://localhost:3000"), "http://localhost:3000");
        assert_eq!(origin_of("null"), "null");
    }

    proptest! {
        #[test]
        fn what_minting_writes_is_never_faulted(text in "https?://(\\*\\.)?[a-zA-Z0-9_.-]{1,20}(:[0-9]{1,5})?") {
            if let Ok(origin) = AllowedOrigin::parse(&text) {
                prop_assert_eq!(check_entry(origin.as_str()), Ok(()));
            }
        }
    }
}
