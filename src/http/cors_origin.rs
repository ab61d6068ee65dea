//! The web origins whose pages may call the API from a browser.

use std::str::FromStr;

use schemars::Schema;
use url::{Host, Url};

use crate::settings::{Form, Value, list_schema, read_list};

/// One entry of `server.cors_origins`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum CorsOrigin {
    /// One origin, as a browser writes it: lower case, punycode, without a default port.
    Exact(String),
    /// `https://*.example.com`: every subdomain, at any depth, but not `example.com` itself.
    Subdomains {
        /// `.example.com`, or with a port `.example.com:8443`.
        suffix: String,
    },
    /// A page of this machine, on any port. Only `dev` uses it; it cannot be configured.
    Loopback,
}

impl CorsOrigin {
    /// Returns whether a browser's `Origin` header with this value may call.
    pub fn allows(&self, origin: &str) -> bool {
        match self {
            Self::Exact(exact) => origin == exact,
            Self::Loopback => Url::parse(origin).is_ok_and(|url| {
                matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"))
                    && url.origin().ascii_serialization() == origin
            }),
            Self::Subdomains { suffix } => origin
                .strip_prefix("https://")
                .and_then(|authority| authority.strip_suffix(suffix.as_str()))
                .is_some_and(|subdomain| {
                    !subdomain.is_empty()
                        && subdomain
                            .bytes()
                            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_'))
                }),
        }
    }
}

/// The text is not an origin that can be allowed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "a web origin is scheme, host and port only: \"https://example.com\", or \
     \"https://*.example.com\" for its subdomains"
)]
pub struct CorsOriginError;

impl FromStr for CorsOrigin {
    type Err = CorsOriginError;

    fn from_str(text: &str) -> Result<Self, CorsOriginError> {
        match text.strip_prefix("https://*.") {
            Some(parent) => {
                let origin = parse_origin(&format!("https://{parent}"))?;
                let suffix = origin.strip_prefix("https://").ok_or(CorsOriginError)?;
                // `*.com` would allow half of the web.
                let host = suffix.split(':').next().unwrap_or(suffix);
                if host.contains('.') && host.parse::<std::net::IpAddr>().is_err() {
                    Ok(Self::Subdomains { suffix: format!(".{suffix}") })
                } else {
                    Err(CorsOriginError)
                }
            }
            None => parse_origin(text).map(Self::Exact),
        }
    }
}

impl Form for Vec<CorsOrigin> {
    type Value = Self;

    fn schema() -> Schema {
        list_schema()
    }

    fn read(value: &Value) -> Result<Self, String> {
        read_list(value).ok_or_else(|| {
            "must be a list of web origins without a path, such as [\"https://example.com\"] or \
             [\"https://*.example.com\"]; \"*\" alone is not allowed"
                .to_owned()
        })
    }
}

/// Returns the origin as a browser writes it.
fn parse_origin(text: &str) -> Result<String, CorsOriginError> {
    let url = Url::parse(text).map_err(|_| CorsOriginError)?;
    let after_scheme = text.split_once("://").ok_or(CorsOriginError)?.1;
    let authority_only = !after_scheme.contains(['/', '?', '#', '@', '\\', '*'])
        && !text.contains(|c: char| c.is_whitespace() || c.is_control());
    let web = matches!(url.scheme(), "http" | "https");
    let named = match url.host() {
        Some(Host::Domain(host)) => !host.is_empty(),
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => true,
        None => false,
    };
    if authority_only && web && named {
        Ok(url.origin().ascii_serialization())
    } else {
        Err(CorsOriginError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_allows_this_machine_on_any_port() {
        for origin in ["http://localhost:5173", "http://127.0.0.1", "https://[::1]:8443"] {
            assert!(CorsOrigin::Loopback.allows(origin), "{origin}");
        }
        for origin in
            ["null", "http://localhost.evil.test", "http://localhost@evil.test", "http://10.0.0.1"]
        {
            assert!(!CorsOrigin::Loopback.allows(origin), "{origin}");
        }
    }

    fn allows(entry: &str, origin: &str) -> bool {
        entry.parse::<CorsOrigin>().unwrap().allows(origin)
    }

    #[test]
    fn exact_origin_is_compared_as_a_browser_writes_it() {
        assert!(allows("https://Example.com:443", "https://example.com"));
        assert!(allows("http://localhost:3000", "http://localhost:3000"));
        assert!(allows("https://bücher.example", "https://xn--bcher-kva.example"));
        assert!(!allows("https://example.com", "http://example.com"));
        assert!(!allows("https://example.com", "https://example.com:8443"));
        assert!(!allows("https://example.com", "https://example.com.evil.example"));
    }

    #[test]
    fn subdomain_origin_allows_any_depth_and_nothing_else() {
        let entry = "https://*.example.com";
        assert!(allows(entry, "https://a.example.com"));
        assert!(allows(entry, "https://a.b.example.com"));
        assert!(!allows(entry, "https://example.com"));
        assert!(!allows(entry, "https://.example.com"));
        assert!(!allows(entry, "http://a.example.com"));
        assert!(!allows(entry, "https://a.example.com:8443"));
        assert!(!allows(entry, "https://evil.test/.example.com"));
        assert!(!allows(entry, "https://evil.test:80@a.example.com"));
        assert!(!allows(entry, "https://aexample.com"));
        assert!(allows("https://*.example.com:8443", "https://a.example.com:8443"));
    }

    #[test]
    fn text_that_is_not_an_origin_is_refused() {
        let wrong = [
            "*",
            "",
            "null",
            "example.com",
            "https://",
            "https://example.com/",
            "https://example.com/path",
            "https://user@example.com",
            "https://exa mple.com",
            "ftp://example.com",
            "http://*.example.com",
            "https://*.com",
            "https://*",
            "https://a.*.example.com",
            "https://*.*.example.com",
            "https://*.10.0.0.1",
        ];
        for text in wrong {
            assert_eq!(text.parse::<CorsOrigin>(), Err(CorsOriginError), "{text:?}");
        }
    }
}
