//! Renders an inspection as plain text for people.

use std::fmt::Write;

use serde_json::{Map, Value};

use crate::{clock::Timestamp, tokens::payload::EXP};

use super::{
    Finding, FindingCode, Inspection, NotChecked, Part, Severity, expiry::MILLISECONDS_FROM,
    sketch::Sketch,
};

/// Whether the text may use terminal colours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Colour {
    /// ANSI escape sequences.
    Ansi,
    /// Plain text.
    None,
}

/// Renders an inspection: the verdict, each finding with its fix, the faulty parts of the URL and the token, the
/// token's content, and what was not checked. The text ends with a line break.
pub fn render(inspection: &Inspection, colour: Colour) -> String {
    let mut page = Page { text: String::new(), colour };
    page.verdict(inspection);
    for finding in &inspection.findings {
        page.finding(finding);
    }
    for (title, sketch) in [("URL", &inspection.url), ("Token", &inspection.token)] {
        if let Some(sketch) = sketch {
            page.sketch(title, sketch, &inspection.findings);
        }
    }
    for (title, members) in [("Header", &inspection.header), ("Claims", &inspection.claims)] {
        if let Some(members) = members {
            page.members(title, members, &inspection.findings);
        }
    }
    page.line("");
    if let Some(id) = &inspection.token_id {
        page.line(&format!("Token id     {id}"));
    }
    if let Some(arn) = &inspection.key_pair_arn {
        page.line(&format!("Signed by    {arn}"));
    }
    for (index, what) in inspection.not_checked.iter().enumerate() {
        let label = if index == 0 { "Not checked" } else { "" };
        page.line(&format!("{label:<12} {}: {}", what.as_str(), what.reason()));
    }
    page.text
}

struct Page {
    text: String,
    colour: Colour,
}

impl Page {
    fn line(&mut self, line: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{}", line.trim_end());
    }

    fn paint(&self, text: &str, paint: Paint) -> String {
        match self.colour {
            Colour::Ansi => format!("\u{1b}[{}m{text}\u{1b}[0m", paint.code()),
            Colour::None => text.to_owned(),
        }
    }

    fn verdict(&mut self, inspection: &Inspection) {
        let count = |severity, word| match inspection
            .findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .count()
        {
            1 => format!("1 {word}"),
            count => format!("{count} {word}s"),
        };
        let errors = count(Severity::Error, "error");
        let warnings = count(Severity::Warning, "warning");
        let (verdict, paint) = match inspection.valid {
            Some(false) => (format!("Not valid: {errors}, {warnings}."), Paint::Red),
            Some(true) => (format!("Valid: no errors, {warnings}."), Paint::Green),
            None if inspection.not_checked.contains(&NotChecked::Token)
                && inspection.findings.is_empty() =>
            {
                let verdict = "Undecided: there is no token, and the answer alone does not show what \
                               is wrong.";
                (verdict.to_owned(), Paint::Yellow)
            }
            None => (
                format!("No errors found, {warnings}; not everything could be checked."),
                Paint::Yellow,
            ),
        };
        let verdict = self.paint(&verdict, paint);
        self.line(&verdict);
    }

    fn finding(&mut self, finding: &Finding) {
        let claim = match &finding.claim {
            Some(claim) => format!(" ({})", printable(claim)),
            None => String::new(),
        };
        let severity = format!("{:<8}", finding.severity.as_str());
        let severity = self.paint(&severity, Paint::of(finding.severity));
        self.line(&format!("\n{severity} {}{claim}", finding.code));
        self.line(&format!("         {}", printable(&finding.detail)));
    }

    /// Adds the outline of a URL or token with its faults marked, if there are any.
    fn sketch(&mut self, title: &str, Sketch(stretches): &Sketch, findings: &[Finding]) {
        let mut outline = String::new();
        let mut marks = String::new();
        let mut is_marked = false;
        for (part, text) in stretches {
            let text = printable(text);
            let width = text.chars().count();
            outline.push_str(&text);
            if let Some(severity) = worst(findings, |finding| finding.is_seen_in(*part)) {
                is_marked = true;
                marks.push_str(&self.paint(&"^".repeat(width), Paint::of(severity)));
            } else {
                marks.push_str(&" ".repeat(width));
            }
        }
        if is_marked {
            self.line(&format!("\n{title:<8} {outline}"));
            self.line(&format!("{:<8} {marks}", ""));
        }
    }

    fn members(&mut self, title: &str, members: &Map<String, Value>, findings: &[Finding]) {
        self.line(&format!("\n{title}"));
        let of_claims = title == "Claims";
        let about = |name: &str| {
            let is_about = move |finding: &&Finding| match &finding.claim {
                Some(claim) => of_claims && claim == name,
                None => finding.code == FindingCode::WrongAlgorithm && !of_claims && name == "alg",
            };
            findings.iter().filter(is_about).collect::<Vec<_>>()
        };
        let absent =
            findings.iter().filter(|_| of_claims).filter_map(|finding| finding.claim.as_deref());
        let mut absent: Vec<_> =
            absent.filter(|name| !members.contains_key(*name) && !name.ends_with('…')).collect();
        absent.dedup();
        let names = members.keys().map(String::as_str).chain(absent.iter().copied());
        let width = names.map(|name| name.chars().count()).max().unwrap_or(0).min(40);
        for (name, value) in members {
            self.member(name, &shown(name, value), width, &about(name));
        }
        for name in absent {
            self.member(name, "(absent)", width, &about(name));
        }
    }

    fn member(&mut self, name: &str, value: &str, width: usize, about: &[&Finding]) {
        let row = format!("{:<width$}  {}", printable(name), printable(value));
        let Some(worst) = about.iter().map(|finding| finding.severity).min() else {
            return self.line(&format!("  {row}"));
        };
        let codes: Vec<_> = about.iter().map(|finding| finding.code.as_str()).collect();
        let marked = self.paint(&format!("! {row}  <- {}", codes.join(", ")), Paint::of(worst));
        self.line(&marked);
    }
}

/// A colour of the terminal.
#[derive(Clone, Copy)]
enum Paint {
    Red,
    Yellow,
    Green,
}

impl Paint {
    const fn of(severity: Severity) -> Self {
        match severity {
            Severity::Error => Self::Red,
            Severity::Warning => Self::Yellow,
        }
    }

    /// Select Graphic Rendition (ECMA-48, section 8.3.117), in bold.
    const fn code(self) -> &'static str {
        match self {
            Self::Red => "1;31",
            Self::Yellow => "1;33",
            Self::Green => "1;32",
        }
    }
}

impl Finding {
    /// Whether this finding is marked in this part of an outline. Faults of a claim are marked at the claim.
    fn is_seen_in(&self, part: Part) -> bool {
        let of_token = matches!(part, Part::Token | Part::Header | Part::Claims | Part::Signature);
        self.claim.is_none()
            && (self.part == part || (self.part == Part::Token && of_token))
            && part != Part::Elsewhere
    }
}

fn worst(findings: &[Finding], which: impl Fn(&Finding) -> bool) -> Option<Severity> {
    findings.iter().filter(|finding| which(finding)).map(|finding| finding.severity).min()
}

/// Formats the value of a member, and a Unix time as a date too.
fn shown(name: &str, value: &Value) -> String {
    let time = match name {
        EXP | "iat" | "nbf" => value.as_i64(),
        _ => None,
    };
    format!("{value}{}", time.map_or_else(String::new, in_words))
}

/// Formats a time in seconds or, if that is implausible, in milliseconds.
fn in_words(number: i64) -> String {
    if number < MILLISECONDS_FROM {
        format!("  ({})", Timestamp::from_unix_seconds(number))
    } else {
        format!("  ({}, if these are milliseconds)", Timestamp::from_unix_millis(number))
    }
}

/// Replaces what could control a terminal: control characters, and characters that change the direction of
/// writing.
fn printable(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

impl NotChecked {
    /// Why this was not checked, and what to provide.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Token => "there was none; provide the token or the playback URL too",
            Self::Signature => {
                "the keys that may have signed are not known; provide the public key, a JWK set or \
                 --config"
            }
            Self::KeyPair => "whether IVS has the key that signed",
            Self::Channel => "whether IVS has the channel and it is private",
            Self::Origin => "provide the origin of the page that plays",
            Self::Session => "whether the viewer was revoked; IVS does not reveal this",
            Self::SingleUse => "whether the token was used before; IVS does not reveal this",
            Self::EdgeError => "IVS's answer names no known cause",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        inspection::{Context, Input, inspect},
        tokens::testing::{CHANNEL, TestKey},
    };

    const NOW: i64 = 1_795_337_700;

    fn page(text: &str, colour: Colour) -> String {
        let input = Input::from_text(text).unwrap();
        let inspection = inspect(&input, &Context::default(), Timestamp::from_unix_seconds(NOW));
        render(&inspection, colour)
    }

    fn token(claims: &Value) -> String {
        TestKey::generate().token(&json!({"alg": "ES384", "typ": "JWT"}), claims)
    }

    #[test]
    fn findings_include_their_fix() {
        let text = page("https://example.com/a.m3u8?token=a.b", Colour::None);
        assert!(
            text.starts_with("Not valid: 1 error, 0 warnings.\n\nerror    not_a_jwt\n"),
            "{text}"
        );
        assert!(text.contains("Pass the token on exactly as the library returned it."), "{text}");
        assert!(text.contains("\nToken    part.part\n         ^^^^^^^^^\n"), "{text}");
        assert!(!text.contains("\nURL"), "nothing is wrong with it: {text}");
        assert!(text.contains("\nNot checked  signature: "), "{text}");
        assert!(in_words(NOW).contains("2026-11-22T08:55:00Z"));
        assert!(in_words(NOW * 1000).contains("2026-11-22T08:55:00Z, if"));
    }

    #[test]
    fn faulty_part_is_marked() {
        let good = token(&json!({"aws:channel-arn": CHANNEL, "exp": NOW + 300}));
        let text = page(&format!("https://a.test/a.m3u8?token.m3u8?token={good}"), Colour::None);
        let marked = "URL      https://a.test/a.m3u8?token.m3u8?token=…\n\
                      \x20                             ^^^^^^^^^^^^^^^^^^^\n";
        assert!(text.contains(marked), "{text}");
        let text = page(&good[..good.len() - 4], Colour::None);
        let marked = "Token    header.claims.signature\n                       ^^^^^^^^^\n";
        assert!(text.contains(marked), "{text}");
        let broken = good.replacen('.', ".!", 1);
        let marked = "Token    header.claims.signature\n                ^^^^^^\n";
        assert!(page(&broken, Colour::None).contains(marked));
    }

    #[test]
    fn faulty_or_absent_claim_is_marked() {
        let text = page(&token(&json!({"aws:channel-arn": 7})), Colour::None);
        assert!(text.contains("\n! aws:channel-arn  7  <- claim_type\n"), "{text}");
        assert!(text.contains("\n! exp              (absent)  <- exp_missing\n"), "{text}");
        assert!(!text.contains('^'), "{text}");
    }

    #[test]
    fn colours_do_not_change_text() {
        let token = token(&json!({"exp": NOW + 9999, "aws:other": "\u{1b}[31m"}));
        let (plain, coloured) = (page(&token, Colour::None), page(&token, Colour::Ansi));
        assert!(!plain.contains('\u{1b}'));
        assert!(coloured.starts_with("\u{1b}[1;31mNot valid"), "{coloured}");
        let codes = ["1;31", "1;33", "1;32", "0"].map(|code| format!("\u{1b}[{code}m"));
        let stripped = codes.iter().fold(coloured, |text, code| text.replace(code, ""));
        assert_eq!(stripped, plain);
    }

    #[test]
    fn token_cannot_control_terminal() {
        let shown = printable("a\u{1b}[31m\u{9b}\u{202e}ü\n");
        assert_eq!(shown, "a\u{fffd}[31m\u{fffd}\u{fffd}ü\u{fffd}");
    }
}
