//! An inspection for people, in plain text.

use std::fmt::Write;

use serde_json::Value;

use crate::{clock::Timestamp, tokens::claims::EXP};

use super::{Inspection, NotChecked, Severity, expiry::MILLISECONDS_FROM};

/// Renders an inspection: the verdict, each finding with what to do, the content of the token, and
/// what was left unchecked. Ends with a line break.
pub fn render(inspection: &Inspection) -> String {
    let mut text = verdict(inspection);
    text.push('\n');
    for finding in &inspection.findings {
        let claim = match &finding.claim {
            Some(claim) => format!(" ({})", printable(claim)),
            None => String::new(),
        };
        let (severity, code) = (finding.severity.as_str(), finding.code);
        line(&mut text, &format!("\n{severity:<8} {code}{claim}"));
        line(&mut text, &format!("         {}", printable(&finding.detail)));
    }
    for (title, members) in [("Header", &inspection.header), ("Claims", &inspection.claims)] {
        if let Some(members) = members {
            line(&mut text, &format!("\n{title}"));
            let width = members.keys().map(|name| name.chars().count()).max().unwrap_or(0).min(40);
            for (name, value) in members {
                line(&mut text, &member(name, value, width));
            }
        }
    }
    text.push('\n');
    if let Some(id) = &inspection.token_id {
        line(&mut text, &format!("Token id     {id}"));
    }
    if let Some(arn) = &inspection.key_pair_arn {
        line(&mut text, &format!("Signed by    {arn}"));
    }
    for (index, what) in inspection.not_checked.iter().enumerate() {
        let label = if index == 0 { "Not checked" } else { "" };
        line(&mut text, &format!("{label:<12} {}: {}", what.as_str(), what.reason()));
    }
    text
}

fn line(text: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{line}");
}

fn verdict(inspection: &Inspection) -> String {
    let count = |severity, word| match inspection
        .findings
        .iter()
        .filter(|finding| finding.severity == severity)
        .count()
    {
        1 => format!("1 {word}"),
        count => format!("{count} {word}s"),
    };
    let (errors, warnings) = (count(Severity::Error, "error"), count(Severity::Warning, "warning"));
    match inspection.valid {
        Some(false) => format!("Not valid: {errors}, {warnings}."),
        Some(true) => format!("Valid: no errors, {warnings}."),
        None => format!("No errors found, {warnings}; not everything could be checked."),
    }
}

/// One member in a line. A time is shown as one, as nobody reads Unix seconds.
fn member(name: &str, value: &Value, width: usize) -> String {
    let time = match name {
        EXP | "iat" | "nbf" => value.as_i64(),
        _ => None,
    };
    let time = time.map_or_else(String::new, in_words);
    format!("  {:<width$}  {}{time}", printable(name), printable(&value.to_string()))
}

/// The time that a number means, in seconds or, where that is absurd, in milliseconds.
fn in_words(number: i64) -> String {
    if number < MILLISECONDS_FROM {
        format!("  ({})", Timestamp::from_unix_seconds(number))
    } else {
        format!("  ({}, if these are milliseconds)", Timestamp::from_unix_millis(number))
    }
}

/// Text from a token, without what could steer a terminal: control characters, and those that
/// change the direction of writing.
fn printable(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

impl NotChecked {
    /// Why it was not checked, and what would help.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Token => "there was none; give the token or the playback URL too",
            Self::Signature => "give the public key or a JWK set to check it",
            Self::KeyPair => "whether IVS has the key that signed",
            Self::Channel => "whether IVS has the channel and it is private",
            Self::Origin => "give the origin of the page that plays",
            Self::Session => "whether the viewer was revoked, which IVS tells nobody",
            Self::SingleUse => "whether the token is spent, which IVS tells nobody",
            Self::EdgeError => "the answer of IVS names no cause that is known",
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::tokens::inspect::{Context, Input, inspect};

    use super::*;

    #[test]
    fn findings_come_with_what_to_do() {
        let input = Input::from_text("https://example.com/a.m3u8?token=a.b").unwrap();
        let inspection = inspect(&input, &Context::default(), Timestamp::from_unix_seconds(0));
        let text = render(&inspection);
        assert!(
            text.starts_with("Not valid: 1 error, 0 warnings.\n\nerror    not_a_jwt\n"),
            "{text}"
        );
        assert!(text.contains("Hand over the token as the library returned it."), "{text}");
        assert!(in_words(1_795_337_700).contains("2026-11-22T08:55:00Z"));
        assert!(in_words(1_795_337_700_000).contains("2026-11-22T08:55:00Z, if"));
        assert!(
            text.ends_with(
                "Not checked  signature: give the public key or a JWK set to check it\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn a_token_cannot_steer_the_terminal() {
        let shown = printable("a\u{1b}[31m\u{9b}\u{202e}ü\n");
        assert_eq!(shown, "a\u{fffd}[31m\u{fffd}\u{fffd}ü\u{fffd}");
    }
}
