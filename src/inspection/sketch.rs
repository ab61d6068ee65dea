//! An outline of what was inspected, in which the faulty part can be marked.
//!
//! It contains the names of parts but not their content: no value of a query and nothing of a token.

use url::{Position, Url};

use super::{
    finding::Part,
    source::{UrlFacts, UrlFault},
};

/// A URL with more characters is shown without its middle.
const MAX_BASE: usize = 110;

/// The longest query that is shown, in characters.
const MAX_QUERY: usize = 60;

/// A longer parameter name is hidden, because it may be a token.
const MAX_NAME: usize = 24;

/// A longer text without a dot is hidden. Shorter words are what scripts write instead of a token.
const MAX_WORD: usize = 20;

/// One line, divided into parts.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Sketch(pub(super) Vec<(Part, String)>);

impl Sketch {
    /// Outlines a token with three parts, or whatever is there instead.
    pub(super) fn of_token(token: &str) -> Self {
        let parts = 1 + token.bytes().filter(|byte| *byte == b'.').count();
        if parts == 3 {
            let named = [
                (Part::Header, "header"),
                (Part::Token, "."),
                (Part::Claims, "claims"),
                (Part::Token, "."),
                (Part::Signature, "signature"),
            ];
            return Self(named.map(|(part, name)| (part, name.to_owned())).into());
        }
        let is_word = |text: &str| {
            (1..=MAX_WORD).contains(&text.len())
                && text.bytes().all(|c| c.is_ascii_alphabetic() || c == b' ')
        };
        let text = match parts {
            1 if is_word(token) => token.to_owned(),
            1 => format!("({} bytes without a dot)", token.len()),
            2..=6 => vec!["part"; parts].join("."),
            _ => format!("({parts} parts)"),
        };
        Self(vec![(Part::Token, text)])
    }

    /// Outlines a URL. `misplaced` is whether this kind of token does not belong on it.
    pub(super) fn of_url(text: &str, facts: &UrlFacts, misplaced: bool) -> Self {
        let Ok(url) = Url::parse(text.trim()) else {
            return Self(vec![(Part::Url, "(not a URL)".to_owned())]);
        };
        let at = |faults: &[UrlFault]| match facts.fault {
            Some(fault) if faults.contains(&fault) => Part::Url,
            Some(_) | None => Part::Elsewhere,
        };
        let base = if misplaced { Part::Url } else { at(&[UrlFault::Scheme]) };
        let mut stretches = vec![(base, base_of(&url))];
        if let Some(query) = url.query() {
            let faults =
                [UrlFault::SecondQuestionMark, UrlFault::TwoTokens, UrlFault::OtherParameter];
            stretches.push((at(&faults), format!("?{}", outline(query))));
        }
        if let Some(fragment) = url.fragment() {
            stretches.push((at(&[UrlFault::Fragment]), format!("#{}", outline(fragment))));
        }
        if facts.token.is_none() && facts.fault.is_none() {
            stretches.push((Part::Url, " (no token)".to_owned()));
        }
        Self(stretches)
    }
}

fn base_of(url: &Url) -> String {
    // Without user name and password.
    let base = format!(
        "{}://{}{}",
        url.scheme(),
        &url[Position::BeforeHost..Position::AfterPort],
        url.path()
    );
    let length = base.chars().count();
    if length <= MAX_BASE {
        return base;
    }
    let half = MAX_BASE / 2;
    let start: String = base.chars().take(half).collect();
    let end: String = base.chars().skip(length - half).collect();
    format!("{start}…{end}")
}

/// Returns the names of a query with their separators; `…` stands for values.
fn outline(query: &str) -> String {
    let mut outline = String::new();
    let mut is_value = false;
    for word in query.split_inclusive(['=', '&', '?', '#']) {
        let mark = word.chars().next_back().filter(|last| matches!(last, '=' | '&' | '?' | '#'));
        let name = mark.map_or(word, |mark| word.strip_suffix(mark).unwrap_or(word));
        if !name.is_empty() {
            outline.push_str(if is_value || name.len() > MAX_NAME { "…" } else { name });
        }
        outline.extend(mark);
        is_value = mark == Some('=');
        if outline.chars().count() > MAX_QUERY {
            outline.push('…');
            break;
        }
    }
    outline
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> String {
        let Sketch(stretches) = Sketch::of_url(text, &UrlFacts::read(text), false);
        let marked = stretches
            .into_iter()
            .map(|(part, text)| if part == Part::Url { format!("[{text}]") } else { text });
        marked.collect()
    }

    #[test]
    fn faulty_part_of_url_is_marked_without_values() {
        for (text, expected) in [
            ("https://a.test/x.m3u8?token=a.b.c", "https://a.test/x.m3u8?token=…"),
            ("https://me:pw@a.test:8443/?x=1&token=a", "https://a.test:8443/?x=…&token=…"),
            ("https://a.test/?token.m3u8?token=a.b.c", "https://a.test/[?token.m3u8?token=…]"),
            ("https://a.test/?token=a.b.c&token=d.e.f", "https://a.test/[?token=…&token=…]"),
            ("https://a.test/#token=a.b.c", "https://a.test/[#token=…]"),
            ("https://a.test/x.m3u8", "https://a.test/x.m3u8[ (no token)]"),
            ("rtmps://a.test/x?token=a", "[rtmps://a.test/x]?token=…"),
            ("a.m3u8?token=a", "[(not a URL)]"),
        ] {
            assert_eq!(url(text), expected);
        }
        let bare = format!("https://a.test/?eyJ{}.b.c", "x".repeat(99));
        assert!(!url(&bare).contains("eyJ"));
        assert!(url(&format!("https://a.test/{}", "x".repeat(999))).chars().count() < 130);
        assert!(url(&format!("https://a.test/?{}", "a=b&".repeat(999))).chars().count() < 100);
    }

    #[test]
    fn token_is_outlined_by_its_parts() {
        let token = |text| {
            let Sketch(stretches) = Sketch::of_token(text);
            stretches.into_iter().map(|(_, text)| text).collect::<String>()
        };
        assert_eq!(token("a.b.c"), "header.claims.signature");
        assert_eq!(token("a.b"), "part.part");
        assert_eq!(token("undefined"), "undefined");
        assert_eq!(token("eyJhbGciOiJFUzM4NCJ9"), "(20 bytes without a dot)");
        assert_eq!(token(""), "(0 bytes without a dot)");
        assert_eq!(token(&".".repeat(99)), "(100 parts)");
    }
}
