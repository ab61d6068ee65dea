//! Origins as `aws:access-control-allow-origin` lists them.
//!
//! IVS compares the list with the `Origin` header of the player, and a browser writes that header in one form
//! only: lower case, punycode, no default port, nothing after the port. How strictly IVS compares is not
//! documented, so minting writes every origin in the browser's form, and refuses what has no such form.

use std::{collections::HashSet, fmt};

use url::Host;

/// The longest host name that DNS can hold, and the longest label of one, in bytes (RFC 1035,
/// section 2.3.4).
const MAX_HOST_LENGTH: usize = 253;
const MAX_LABEL_LENGTH: usize = 63;

/// The longest host that is parsed. [`MAX_HOST_LENGTH`] counts punycode, which can be a quarter of
/// the UTF-8 that it stands for.
const MAX_UNREAD_HOST_LENGTH: usize = 2048;

/// The separators of labels (UTS 46).
const DOTS: [char; 4] = ['.', '\u{3002}', '\u{ff0e}', '\u{ff61}'];

/// The most entries that a list may have. Normalising an entry takes time, and a token has room for fewer.
pub const MAX_ORIGINS: usize = 1000;

/// One origin, `scheme://host[:port]`, written as a browser writes it in the `Origin` header. Its
/// host may begin with `*.`, which matches every subdomain.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct AllowedOrigin(String);

impl AllowedOrigin {
    /// Reads an origin and rewrites it to the form of a browser: lower case, punycode, default
    /// port dropped.
    ///
    /// # Errors
    ///
    /// The text is not one origin; [`OriginError`] says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, OriginError> {
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(OriginError::Space);
        }
        if text.contains(',') {
            return Err(OriginError::Comma);
        }
        let (scheme, rest) = text.split_once("://").ok_or(OriginError::Scheme)?;
        let (scheme, default_port) = match scheme.to_ascii_lowercase().as_str() {
            "https" => ("https", 443),
            "http" => ("http", 80),
            _ => return Err(OriginError::Scheme),
        };
        // Browsers take a backslash for a slash, so it cannot be part of a host either.
        let authority = rest.split(['/', '\\', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(OriginError::UserInfo);
        }
        if authority.len() != rest.len() {
            return Err(OriginError::Path);
        }
        let (host, port) = split_port(authority)?;
        let host = normalise_host(host)?;
        match port {
            Some(port) if port != default_port => Ok(Self(format!("{scheme}://{host}:{port}"))),
            _ => Ok(Self(format!("{scheme}://{host}"))),
        }
    }

    /// The origin as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AllowedOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The origins that may play: one or more, each once, in the order given; or the single `*`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AllowedOrigins {
    claim: String,
    count: usize,
}

impl AllowedOrigins {
    /// Reads a list of origins. Two spellings of one origin say the same thing, so they are
    /// collapsed rather than refused.
    ///
    /// # Errors
    ///
    /// The list is empty, or entries of it are no origins; all of those are told.
    pub fn parse(entries: &[String]) -> Result<Self, OriginListError> {
        match entries {
            [] => return Err(OriginListError::Empty),
            [only] if only == "*" => return Ok(Self { claim: "*".to_owned(), count: 1 }),
            _ if entries.len() > MAX_ORIGINS => return Err(OriginListError::TooMany),
            _ => {}
        }
        let mut seen = HashSet::with_capacity(entries.len());
        let mut faults = Vec::new();
        let mut claim = String::new();
        for (index, entry) in entries.iter().enumerate() {
            match AllowedOrigin::parse(entry) {
                Ok(origin) if seen.contains(&origin) => {}
                Ok(origin) => {
                    if !claim.is_empty() {
                        claim.push(',');
                    }
                    claim.push_str(origin.as_str());
                    seen.insert(origin);
                }
                Err(_) if entry == "*" => faults.push((index, OriginError::NotAlone)),
                Err(error) => faults.push((index, error)),
            }
        }
        if faults.is_empty() {
            Ok(Self { claim, count: seen.len() })
        } else {
            Err(OriginListError::Entries(faults))
        }
    }

    /// Returns the value of the claim: the origins joined by commas.
    pub fn as_claim(&self) -> &str {
        &self.claim
    }

    /// Returns the origins one by one, or the single `*`.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.claim.split(',')
    }

    /// Returns the number of origins, at least one.
    #[expect(clippy::len_without_is_empty, reason = "a list without origins cannot be made")]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Returns whether this is the bare `*`, which lets every origin play.
    pub fn is_any(&self) -> bool {
        self.claim == "*"
    }
}

/// Why a list is not a list of origins.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OriginListError {
    /// It has no entry.
    #[error("the list of origins is empty")]
    Empty,
    /// It has more than [`MAX_ORIGINS`] entries. None of them was read.
    #[error("the list of origins has more than {MAX_ORIGINS} entries")]
    TooMany,
    /// These entries, by their index, are not origins.
    #[error("{} entries of the list are not origins", .0.len())]
    Entries(Vec<(usize, OriginError)>),
}

/// Why a text is not an origin that a token can allow. The message never repeats the text.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OriginError {
    /// White space or a control character.
    #[error("an origin has no white space; remove it")]
    Space,
    /// A comma, which separates origins in the claim.
    #[error("an origin has no comma; send each origin as a separate entry")]
    Comma,
    /// No scheme, or neither `http` nor `https`.
    #[error("an origin begins with https:// or http://")]
    Scheme,
    /// A user name or password.
    #[error("an origin has no user name or password; omit everything before the @")]
    UserInfo,
    /// A path (a trailing slash is one), query or fragment.
    #[error("an origin ends with its host or port; omit the slash and everything after it")]
    Path,
    /// A host that no browser would open.
    #[error("the host of an origin is a host name or an IP address")]
    Host,
    /// A `*` that is not the first label of the host.
    #[error("a * may only be the first label of the host, as in https://*.example.com")]
    Wildcard,
    /// A bare `*` beside other entries.
    #[error("* matches every origin and must be the only entry")]
    NotAlone,
    /// Not a port number.
    #[error("the port of an origin is a number from 1 to 65535")]
    Port,
}

/// Splits `host[:port]`; the host of an IPv6 address keeps its brackets.
fn split_port(authority: &str) -> Result<(&str, Option<u16>), OriginError> {
    let host_end = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    let (bracketed, rest) = authority.split_at(host_end);
    let Some((before, port)) = rest.rsplit_once(':') else { return Ok((authority, None)) };
    if !port.bytes().all(|c| c.is_ascii_digit()) {
        return Err(OriginError::Port);
    }
    let port: u16 = port.parse().ok().filter(|port| *port != 0).ok_or(OriginError::Port)?;
    let host = authority.get(..bracketed.len() + before.len()).unwrap_or_default();
    Ok((host, Some(port)))
}

fn normalise_host(host: &str) -> Result<String, OriginError> {
    // The URL standard decodes percent signs in hosts; no one writes an origin like this on purpose.
    if host.len() > MAX_UNREAD_HOST_LENGTH || host.contains('%') {
        return Err(OriginError::Host);
    }
    let (wildcard, name) = match host.strip_prefix("*.") {
        Some(name) => ("*.", name),
        None => ("", host),
    };
    if name.contains('*') {
        return Err(OriginError::Wildcard);
    }
    // Converting a label to punycode takes time that grows with the square of its length.
    if name.split(DOTS).any(|label| label.chars().count() > MAX_LABEL_LENGTH) {
        return Err(OriginError::Host);
    }
    match Host::parse(name).map_err(|_| OriginError::Host)? {
        Host::Domain(domain) if is_host_name(&domain) => Ok(format!("{wildcard}{domain}")),
        Host::Domain(_) => Err(OriginError::Host),
        Host::Ipv4(_) | Host::Ipv6(_) if !wildcard.is_empty() => Err(OriginError::Wildcard),
        address @ (Host::Ipv4(_) | Host::Ipv6(_)) => Ok(address.to_string()),
    }
}

/// Returns whether DNS could hold the name. The URL standard allows more than any resolver does; underscores are
/// in use although no host name should have one.
fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        (1..=MAX_LABEL_LENGTH).contains(&label.len())
            && label.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_'))
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    name.len() <= MAX_HOST_LENGTH && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<String, OriginError> {
        AllowedOrigin::parse(text).map(|origin| origin.as_str().to_owned())
    }

    #[test]
    fn origin_is_written_as_browsers_send_it() {
        for (given, normal) in [
            ("https://example.com", "https://example.com"),
            ("HTTPS://Example.COM:443", "https://example.com"),
            ("http://example.com:80", "http://example.com"),
            ("http://example.com:443", "http://example.com:443"),
            ("https://example.com:0443", "https://example.com"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
            ("https://*.Example.com:8443", "https://*.example.com:8443"),
            ("https://192.0.2.1", "https://192.0.2.1"),
            ("https://[2001:DB8::0:1]:8080", "https://[2001:db8::1]:8080"),
            ("https://a_b.example.com", "https://a_b.example.com"),
            ("https://example.com.", "https://example.com."),
        ] {
            assert_eq!(parse(given).as_deref(), Ok(normal), "{given}");
        }
    }

    #[test]
    fn text_that_is_not_an_origin_is_refused_by_cause() {
        for (given, error) in [
            ("", OriginError::Scheme),
            ("example.com", OriginError::Scheme),
            ("*.example.com", OriginError::Scheme),
            ("ftp://example.com", OriginError::Scheme),
            ("null", OriginError::Scheme),
            ("https:example.com", OriginError::Scheme),
            ("https://", OriginError::Host),
            ("https:///example.com", OriginError::Path),
            ("https://example.com/", OriginError::Path),
            ("https://example.com/#/", OriginError::Path),
            ("https://example.com?a", OriginError::Path),
            ("https://example.com#a", OriginError::Path),
            ("https://example.com\\a", OriginError::Path),
            ("https://user:pw@example.com", OriginError::UserInfo),
            ("https://a.example,https://b.example", OriginError::Comma),
            (" https://example.com", OriginError::Space),
            ("https://exam\u{a0}ple.com", OriginError::Space),
            ("https://example.com\n", OriginError::Space),
            ("https://example.com:", OriginError::Port),
            ("https://example.com:0", OriginError::Port),
            ("https://example.com:65536", OriginError::Port),
            ("https://example.com:+80", OriginError::Port),
            ("https://example.com:http", OriginError::Port),
            ("https://*", OriginError::Wildcard),
            ("https://*.", OriginError::Host),
            ("https://a.*.example.com", OriginError::Wildcard),
            ("https://*example.com", OriginError::Wildcard),
            ("https://*.192.0.2.1", OriginError::Wildcard),
            ("https://*.[::1]", OriginError::Wildcard),
            ("https://%65xample.com", OriginError::Host),
            ("https://exa<mple.com", OriginError::Host),
            ("https://a..example.com", OriginError::Host),
            ("https://.example.com", OriginError::Host),
            ("https://exa\"mple.com", OriginError::Host),
            ("https://[::1", OriginError::Host),
            ("https://[::g]", OriginError::Host),
        ] {
            assert_eq!(parse(given), Err(error), "{given:?}");
        }
        for long in ["a".repeat(64), ["a"; 200].join("."), "ü".repeat(64), "ü".repeat(5000)] {
            assert_eq!(parse(&format!("https://{long}.example")), Err(OriginError::Host));
        }
    }

    fn parse_list(entries: &[&str]) -> Result<AllowedOrigins, OriginListError> {
        let entries: Vec<String> = entries.iter().map(|&entry| entry.to_owned()).collect();
        AllowedOrigins::parse(&entries)
    }

    #[test]
    fn list_is_joined_with_each_origin_once() {
        let list = parse_list(&["https://B.example", "https://a.example", "https://b.example:443"]);
        let list = list.unwrap();
        assert_eq!(list.as_claim(), "https://b.example,https://a.example");
        assert_eq!(list.len(), 2);
        assert!(!list.is_any());
        assert!(parse_list(&["*"]).unwrap().is_any());
    }

    #[test]
    fn every_entry_that_is_not_an_origin_is_reported() {
        assert_eq!(parse_list(&[]), Err(OriginListError::Empty));
        assert_eq!(
            parse_list(&["https://a.example", "*", "b.example", "https://c.example/"]),
            Err(OriginListError::Entries(vec![
                (1, OriginError::NotAlone),
                (2, OriginError::Scheme),
                (3, OriginError::Path),
            ]))
        );
    }

    proptest! {
        #[test]
        fn normal_form_is_stable(text in "(https?|HTTPS)://(\\*\\.)?[a-zA-Zäß0-9_.-]{1,20}(:[0-9]{1,5})?") {
            if let Ok(origin) = AllowedOrigin::parse(&text) {
                prop_assert_eq!(&AllowedOrigin::parse(origin.as_str()).unwrap(), &origin);
                prop_assert_eq!(origin.as_str().matches('/').count(), 2);
            }
        }

        #[test]
        fn parser_never_panics(text in "(https://)?\\PC{0,100}") {
            let _ = AllowedOrigin::parse(&text);
        }
    }
}
