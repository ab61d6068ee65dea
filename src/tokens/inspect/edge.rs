//! What the edge of IVS says when it refuses, and what it means.
//!
//! AWS has made few answers public: the error codes `invalid_playback_auth_token` and
//! `playback_auth_error` of the multivariant playlist, and the bare texts `Forbidden` and
//! `origin required` behind it. The emulator adds `emulator_reason`, which is a finding code.

use serde_json::Value;

use super::finding::{Finding, FindingCode};

/// Whether a pasted text is the body of a refusal rather than a token.
pub(super) fn looks_like_one(text: &str) -> bool {
    text.starts_with(['[', '{', '<']) || Refusal::of_text(text).is_some()
}

/// A refusal that is understood.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    /// The emulator gives finding codes.
    Reasons(Vec<FindingCode>),
    /// `invalid_playback_auth_token`; whether the text speaks of the token's segments, which it
    /// does where the token is missing or no JWT.
    InvalidToken { segments: bool },
    /// `playback_auth_error`: a single-use token again.
    Spent,
    /// `origin required`.
    OriginRequired,
    /// `Forbidden`.
    SessionOver,
}

impl Refusal {
    /// Reads the body of a 403; `None` where it is none that is known.
    pub(super) fn read(body: &str) -> Option<Self> {
        match serde_json::from_str(body) {
            Ok(Value::Array(entries)) => entries.iter().find_map(Self::of_entry),
            Ok(entry @ Value::Object(_)) => Self::of_entry(&entry),
            _ => Self::of_text(body),
        }
    }

    fn of_entry(entry: &Value) -> Option<Self> {
        let reasons = match entry.get("emulator_reason") {
            Some(Value::Array(reasons)) => reasons.iter().filter_map(read_code).collect(),
            Some(reason) => read_code(reason).into_iter().collect(),
            None => Vec::new(),
        };
        if !reasons.is_empty() {
            return Some(Self::Reasons(reasons));
        }
        let message = entry.get("error").and_then(Value::as_str).unwrap_or_default();
        match entry.get("error_code").and_then(Value::as_str) {
            Some("playback_auth_error") => Some(Self::Spent),
            Some("invalid_playback_auth_token") => Some(Self::invalid_token(message)),
            _ => Self::of_text(message),
        }
    }

    /// A bare text, or a log line of a player that quotes the answer.
    fn of_text(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.contains("playback_auth_error") {
            Some(Self::Spent)
        } else if text.contains("invalid_playback_auth_token") {
            Some(Self::invalid_token(text))
        } else if text.eq_ignore_ascii_case("origin required") {
            Some(Self::OriginRequired)
        } else if text.eq_ignore_ascii_case("forbidden") {
            Some(Self::SessionOver)
        } else {
            None
        }
    }

    fn invalid_token(message: &str) -> Self {
        Self::InvalidToken { segments: message.contains("number of segments") }
    }

    /// What the refusal means; `readable` is whether the token that came with it is a JWT, `None`
    /// where none came.
    pub(super) fn explain(&self, readable: Option<bool>) -> Vec<Finding> {
        let (code, situation) = match self {
            Self::Reasons(codes) => {
                let situation = "The edge of the emulator gives this as its reason.";
                let findings = codes.iter().map(|code| Finding::refusal(*code, situation));
                return findings.collect();
            }
            Self::InvalidToken { segments: true } if readable.is_none() => {
                (FindingCode::TokenMissing, "No token reached IVS, or what reached it is no JWT.")
            }
            Self::InvalidToken { segments: true } if readable == Some(true) => (
                FindingCode::TokenMissing,
                "This token is a JWT, and IVS saw none: it got lost on the way.",
            ),
            // The token itself shows why.
            Self::InvalidToken { .. } => return Vec::new(),
            Self::Spent => (FindingCode::SingleUseSpent, "The token was used before."),
            Self::OriginRequired => (FindingCode::OriginMissing, "The request had no Origin."),
            Self::SessionOver => (
                FindingCode::SessionRevoked,
                "The playback session was ended: the viewer was revoked, or many players shared \
                 it.",
            ),
        };
        vec![Finding::refusal(code, situation)]
    }
}

fn read_code(reason: &Value) -> Option<FindingCode> {
    reason.as_str().and_then(FindingCode::from_code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(body: &str, readable: Option<bool>) -> Vec<&'static str> {
        let refusal = Refusal::read(body).expect(body);
        refusal.explain(readable).iter().map(|finding| finding.code.as_str()).collect()
    }

    #[test]
    fn the_answers_that_aws_made_public_are_understood() {
        let missing = r#"[{"url":"/api/video/v1/us-west-2.1.channel.a.m3u8","error":"token contains an invalid number of segments","error_code":"invalid_playback_auth_token","type":"error"}]"#;
        assert_eq!(codes(missing, None), ["token_missing"]);
        assert_eq!(codes(missing, Some(true)), ["token_missing"]);
        assert!(codes(missing, Some(false)).is_empty(), "the token itself shows why");
        let spent = r#"[{"error":"x","error_code":"playback_auth_error","type":"error"}]"#;
        assert_eq!(codes(spent, Some(true)), ["single_use_spent"]);
        assert_eq!(codes("origin required\n", None), ["origin_missing"]);
        assert_eq!(codes("Forbidden", None), ["session_revoked"]);
    }

    #[test]
    fn the_emulators_reason_is_taken_at_its_word() {
        let body = |reason| {
            format!(r#"[{{"error_code":"playback_auth_error","emulator_reason":{reason}}}]"#)
        };
        assert_eq!(codes(&body(r#""expired""#), None), ["expired"]);
        assert_eq!(
            codes(&body(r#"["expired","ttl_over_600"]"#), None),
            ["expired", "ttl_over_600"]
        );
        assert_eq!(codes(&body(r#""made_up""#), None), ["single_use_spent"]);
        let refusal = Refusal::read(&body(r#""exp_in_milliseconds""#)).unwrap();
        assert_eq!(refusal.explain(None)[0].severity, super::super::finding::Severity::Error);
    }

    #[test]
    fn other_bodies_are_not_guessed_at() {
        for body in ["", "<html>403 Forbidden</html>", "[]", "{}", "[1]", "null", "\"x\""] {
            assert_eq!(Refusal::read(body), None, "{body}");
        }
        let unknown = r#"[{"error":"x","error_code":"invalid_playback_auth_token"}]"#;
        assert!(codes(unknown, None).is_empty());
    }
}
