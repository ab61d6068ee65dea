//! Origins: those that a token allows, and the one that asks.
//!
//! An entry of `aws:access-control-allow-origin` is `scheme://host[:port]`, where the host may
//! begin with `*`, or `*` alone. What a browser sends is compared after both are normalised: case,
//! punycode, the scheme's default port.

use axum::http::{HeaderMap, header};
use url::{Host as UrlHost, Url};

use super::{cors::Readable, refusal::Reason};

/// Who asks, by the `Origin` header.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Asking {
    /// A player that sends no origin.
    Unnamed,
    /// A page of this origin, as it was sent.
    From(String),
    /// More than one origin, or what is no text: no browser sends that.
    FromSeveral,
}

impl Asking {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (None, _) => Self::Unnamed,
            (Some(origin), None) => {
                origin.to_str().map_or(Self::FromSeveral, |origin| Self::From(origin.to_owned()))
            }
            (Some(_), Some(_)) => Self::FromSeveral,
        }
    }
}

/// Whom a token or a policy lets play, by the page that the player stands in.
#[derive(Debug, Default)]
pub(super) struct OriginRule {
    /// `None` for every origin.
    pub(super) allowed: Option<Origins>,
    /// Whether every player must send an origin, with every request.
    pub(super) strict: bool,
}

impl OriginRule {
    /// Whether who asks may.
    ///
    /// Allowed origins alone bind browsers, which send theirs; a player that sends none passes.
    /// With strict enforcement every player must send one.
    pub(super) fn check(&self, asking: &Asking) -> Result<(), Reason> {
        match (&self.allowed, asking) {
            (Some(_), Asking::Unnamed) if self.strict => Err(Reason::OriginMissing),
            (None, _) | (Some(_), Asking::Unnamed) => Ok(()),
            (Some(origins), Asking::From(origin)) if origins.allow(origin) => Ok(()),
            (Some(_), Asking::From(_) | Asking::FromSeveral) => Err(Reason::OriginNotAllowed),
        }
    }

    /// Which pages may read what who asks gets. Variant playlists and segments are also given to who
    /// may not, unless enforcement is strict.
    pub(super) fn readable(&self, asking: &Asking) -> Readable {
        match &self.allowed {
            None => Readable::Anyone,
            Some(origins) if origins.allow_anyone() => Readable::Anyone,
            Some(_) if self.check(asking).is_ok() => Readable::Asking,
            Some(_) => Readable::Nobody,
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
    /// Every host that is longer than this and ends in it.
    EndsIn(String),
}

impl Origins {
    /// Reads the claim.
    pub(super) fn parse(claim: &str) -> Result<Self, Reason> {
        let allowed = claim.split(',').map(Allowed::parse).collect::<Option<_>>();
        allowed.map(Self).ok_or(Reason::OriginInvalid)
    }

    /// Reads the list of a policy. IVS takes any text in it; what is no origin matches none.
    pub(super) fn of_policy(entries: &[String]) -> Self {
        Self(entries.iter().filter_map(|entry| Allowed::parse(entry)).collect())
    }

    /// How many the claim lists.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether pages of every origin may play.
    pub(super) fn allow_anyone(&self) -> bool {
        self.0.contains(&Allowed::Any)
    }

    /// Whether pages of this origin may play.
    pub(super) fn allow(&self, origin: &str) -> bool {
        self.allow_anyone()
            || parts(origin)
                .is_some_and(|asking| self.0.iter().any(|allowed| allowed.fits(&asking)))
    }
}

impl Allowed {
    fn parse(entry: &str) -> Option<Self> {
        if entry == "*" {
            return Some(Self::Any);
        }
        let Some((scheme, suffix)) = entry.split_once("://*") else {
            let url = parts(entry)?;
            let host = Host::Exact(url.host_str()?.to_owned());
            return Some(Self::of(&url, host));
        };
        // A host that a URL can have does not begin with the dot, and is not empty.
        let (dot, name) = suffix.strip_prefix('.').map_or(("", suffix), |name| (".", name));
        let is_bare = suffix.is_empty() || suffix.starts_with(':');
        let url = parts(&format!("{scheme}://{}{name}", if is_bare { "any" } else { "" }))?;
        let end = if is_bare { String::new() } else { format!("{dot}{}", url.host_str()?) };
        Some(Self::of(&url, Host::EndsIn(end)))
    }

    fn of(url: &Url, host: Host) -> Self {
        Self::Origin { scheme: url.scheme().to_owned(), host, port: url.port_or_known_default() }
    }

    fn fits(&self, asking: &Url) -> bool {
        let Self::Origin { scheme, host, port } = self else { return true };
        let asked = asking.host_str().unwrap_or_default();
        let host_fits = match host {
            Host::Exact(name) => asked == name,
            Host::EndsIn(end) => asked.len() > end.len() && asked.ends_with(end.as_str()),
        };
        host_fits && asking.scheme() == scheme && asking.port_or_known_default() == *port
    }
}

/// An origin as a URL that has nothing else; `None` for what is no origin.
fn parts(origin: &str) -> Option<Url> {
    let (scheme, host) = origin.split_once("://")?;
    let is_web = ["http", "https"].iter().any(|web| scheme.eq_ignore_ascii_case(web));
    // The URL parser would drop or turn some of these; an origin has none of them.
    let is_bare = !host.is_empty()
        && !host.ends_with(':')
        && !host.chars().any(|c| c.is_whitespace() || c.is_control() || "/\\?#@*%".contains(c));
    if is_web && is_bare { Url::parse(origin).ok().filter(is_reachable) } else { None }
}

/// Whether a browser could have opened a page there. The URL standard takes hosts that no resolver
/// does.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn allow(claim: &str, origin: &str) -> bool {
        Origins::parse(claim).unwrap().allow(origin)
    }

    #[test]
    fn an_origin_is_compared_as_browsers_write_it() {
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
    fn a_wildcard_stands_for_a_beginning_of_the_host() {
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
    fn what_is_no_origin_is_refused() {
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
    fn who_asks_is_read_from_the_header() {
        let mut headers = HeaderMap::new();
        assert_eq!(Asking::of(&headers), Asking::Unnamed);
        headers.append(header::ORIGIN, "https://a.example".parse().unwrap());
        assert_eq!(Asking::of(&headers), Asking::From("https://a.example".to_owned()));
        headers.append(header::ORIGIN, "https://b.example".parse().unwrap());
        assert_eq!(Asking::of(&headers), Asking::FromSeveral);
    }
}
