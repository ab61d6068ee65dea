//! Interprets the answers with which IVS's edge refuses playback.
//!
//! AWS has made few of them public: the error codes `invalid_playback_auth_token` and
//! `playback_auth_error` of the multivariant playlist, and the plain texts `Forbidden` and `origin required` of
//! variants and segments. (`origin not allowed` is the emulator's text for an origin that is present but not
//! allowed.) The one text known to accompany a code is word for word that of Go's most common JWT library, so
//! the other texts of that library are recognized too.
//!
//! The emulator adds `emulator_reason` for people. AWS does not send it, so it is not read here.

use serde_json::{Map, Value};

use crate::tokens::payload::{SINGLE_USE_UUID, VIEWER_ID};

use super::{
    NotChecked,
    finding::{Finding, FindingCode, Part},
};

/// Whether a pasted text is the body of a refusal rather than a token.
pub(super) fn looks_like_one(text: &str) -> bool {
    text.starts_with(['[', '{', '<']) || text.starts_with("HTTP/") || Refusal::read(text).is_some()
}

/// A recognized refusal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    /// The token is missing, or it is not a JWT.
    NoToken,
    /// The token is refused for this reason.
    Named(FindingCode),
    /// The token is refused without a reason.
    Unspecified,
    /// `playback_auth_error`: a single-use token was used again.
    Spent,
    /// `origin required`.
    OriginRequired,
    /// `Forbidden`.
    SessionOver,
}

/// What inspection found out about the token and the URL that accompany the refusal.
#[derive(Clone, Copy, Default)]
pub(super) struct Beside<'a> {
    /// Whether the token is a JWT; `None` if there is no token.
    pub(super) readable: Option<bool>,
    pub(super) findings: &'a [Finding],
    pub(super) not_checked: &'a [NotChecked],
    pub(super) claims: Option<&'a Map<String, Value>>,
}

impl Refusal {
    /// Parses the body of a 403, complete or truncated; returns `None` if it is not a known one.
    pub(super) fn read(body: &str) -> Option<Self> {
        let body = without_headers(body).trim();
        match serde_json::from_str(body) {
            Ok(Value::Array(entries)) => entries.iter().find_map(Self::of_entry),
            Ok(entry @ Value::Object(_)) => Self::of_entry(&entry),
            Ok(Value::String(text)) => Self::of_text(&text),
            Ok(_) | Err(_) => Self::of_text(body),
        }
    }

    fn of_entry(entry: &Value) -> Option<Self> {
        let text = |name| entry.get(name).and_then(Value::as_str).unwrap_or_default();
        match text("error_code") {
            "playback_auth_error" => Some(Self::Spent),
            "invalid_playback_auth_token" => {
                Some(Self::of_message(text("error")).unwrap_or(Self::Unspecified))
            }
            // Reported by the IVS player for the web.
            _ if text("type") == "ErrorAuthorization" => Some(Self::Unspecified),
            _ => Self::of_message(text("error")).or_else(|| Self::of_text(text("error"))),
        }
    }

    /// Parses a plain text, a truncated body, or a player's log line that quotes one.
    fn of_text(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.contains("playback_auth_error") {
            Some(Self::Spent)
        } else if text.contains("invalid_playback_auth_token") || text.starts_with(['[', '{']) {
            let known = text.contains("invalid_playback_auth_token");
            Self::of_message(text).or_else(|| known.then_some(Self::Unspecified))
        } else if text.contains("invalid number of") {
            Some(Self::NoToken)
        } else if text.contains("ErrorAuthorization") {
            Some(Self::Unspecified)
        } else if text.eq_ignore_ascii_case("origin required") {
            Some(Self::OriginRequired)
        } else if text.eq_ignore_ascii_case("origin not allowed") {
            Some(Self::Named(FindingCode::OriginNotAllowed))
        } else if text.eq_ignore_ascii_case("forbidden") {
            Some(Self::SessionOver)
        } else {
            None
        }
    }

    /// Recognizes the text of an error.
    fn of_message(message: &str) -> Option<Self> {
        const TEXTS: [(&str, Refusal); 11] = [
            ("invalid number of", Refusal::NoToken),
            ("origin required", Refusal::OriginRequired),
            ("origin is not allowed", Refusal::Named(FindingCode::OriginNotAllowed)),
            ("is revoked", Refusal::SessionOver),
            ("is expired", Refusal::Named(FindingCode::Expired)),
            ("verification error", Refusal::Named(FindingCode::BadSignature)),
            ("signature is invalid", Refusal::Named(FindingCode::BadSignature)),
            ("signing method", Refusal::Named(FindingCode::WrongAlgorithm)),
            ("illegal base64", Refusal::Named(FindingCode::NotAJwt)),
            ("invalid character", Refusal::Named(FindingCode::NotAJwt)),
            ("is malformed", Refusal::Named(FindingCode::NotAJwt)),
        ];
        let message = message.to_ascii_lowercase();
        TEXTS.iter().find(|(text, _)| message.contains(text)).map(|(_, refusal)| *refusal)
    }

    /// Returns the likely causes, in the order in which to try them, except those that the token itself shows.
    pub(super) fn causes(self, beside: &Beside<'_>) -> Vec<Finding> {
        let (code, situation) = match self {
            Self::NoToken => match beside.readable {
                None => (
                    FindingCode::TokenMissing,
                    "IVS reports that it received no token, or one that is not a JWT.",
                ),
                Some(true) if !beside.found(FindingCode::UrlMalformed) => (
                    FindingCode::TokenMissing,
                    "This token is a JWT, but IVS received none; it got lost on the way.",
                ),
                Some(_) => return Vec::new(),
            },
            Self::Named(FindingCode::BadSignature) if beside.explains_signature() => {
                return Vec::new();
            }
            Self::Named(code) => (code, "IVS names this reason."),
            Self::Spent if beside.readable == Some(true) && !beside.claims(SINGLE_USE_UUID) => {
                return beside.suspects();
            }
            Self::Spent => {
                (FindingCode::SingleUseSpent, "IVS reports that the token was used before.")
            }
            Self::OriginRequired => {
                (FindingCode::OriginMissing, "IVS reports that the request had no Origin.")
            }
            Self::SessionOver => (
                FindingCode::SessionRevoked,
                "The playback session was ended: the viewer was revoked, or many players shared \
                 it.",
            ),
            Self::Unspecified => return beside.suspects(),
        };
        vec![Finding::refusal(code, situation)]
    }
}

impl Beside<'_> {
    /// Returns the possible causes of a refusal without a reason, if the token does not show one.
    fn suspects(&self) -> Vec<Finding> {
        if self.readable != Some(true) || self.findings.iter().any(Finding::is_error) {
            return Vec::new();
        }
        [
            (
                self.found(FindingCode::KeyPending),
                FindingCode::KeyPending,
                "IVS refused the token; its key may not have reached all of the edge yet.",
            ),
            (
                self.not_checked.contains(&NotChecked::Signature),
                FindingCode::BadSignature,
                "IVS refused the token, and its claims do not show why: doubt the key that signed \
                 first.",
            ),
            (
                self.not_checked.contains(&NotChecked::KeyPair),
                FindingCode::KeyUnknownToIvs,
                "IVS refused the token, and its claims do not show why: see whether IVS has the \
                 key that signed.",
            ),
            (
                self.not_checked.contains(&NotChecked::Origin),
                FindingCode::OriginNotAllowed,
                "IVS refused the token, which allows some origins: compare them with that of the \
                 page that plays.",
            ),
            (
                self.claims(VIEWER_ID),
                FindingCode::SessionRevoked,
                "IVS refused the token, and its viewer may have been revoked up to this session \
                 version.",
            ),
            (
                self.found(FindingCode::TokenOver2Kb),
                FindingCode::TokenOver2Kb,
                "IVS refused the token, which is longer than any that is known to play.",
            ),
        ]
        .into_iter()
        .filter(|(suspected, ..)| *suspected)
        .map(|(_, code, situation)| Finding::refusal(code, situation))
        .collect()
    }

    fn found(&self, code: FindingCode) -> bool {
        self.findings.iter().any(|finding| finding.code == code)
    }

    fn claims(&self, name: &str) -> bool {
        self.claims.is_some_and(|claims| claims.contains_key(name))
    }

    /// Whether a finding already explains why IVS cannot verify the signature.
    fn explains_signature(&self) -> bool {
        let explains =
            |finding: &Finding| finding.is_error() && finding.code.spec().part == Part::Signature;
        self.findings.iter().any(explains)
    }
}

/// Removes the status line and headers from a response printed by `curl -i`.
fn without_headers(text: &str) -> &str {
    if !text.starts_with("HTTP/") {
        return text;
    }
    let body = text.split_once("\r\n\r\n").or_else(|| text.split_once("\n\n"));
    body.map_or("", |(_, body)| body)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MISSING: &str = r#"[{"url":"/api/video/v1/us-west-2.1.channel.a.m3u8","error":"token contains an invalid number of segments","error_code":"invalid_playback_auth_token","type":"error"}]"#;
    const GENERIC: &str = r#"[{"error":"x","error_code":"invalid_playback_auth_token"}]"#;

    fn codes(body: &str, beside: Beside<'_>) -> Vec<&'static str> {
        let refusal = Refusal::read(body).expect(body);
        refusal.causes(&beside).iter().map(|finding| finding.code.as_str()).collect()
    }

    fn alone(body: &str) -> Vec<&'static str> {
        codes(body, Beside::default())
    }

    /// A token that shows no reason for the refusal.
    const CLEAN: Beside<'_> =
        Beside { readable: Some(true), findings: &[], not_checked: &[], claims: None };

    fn found(code: FindingCode) -> [Finding; 1] {
        [Finding::new(code, "It is so.")]
    }

    #[test]
    fn published_answer_is_recognized() {
        assert_eq!(alone(MISSING), ["token_missing"]);
        let spent = r#"[{"error":"x","error_code":"playback_auth_error","type":"error"}]"#;
        assert_eq!(alone(spent), ["single_use_spent"]);
        assert_eq!(alone("origin required\n"), ["origin_missing"]);
        assert_eq!(alone("origin not allowed"), ["origin_not_allowed"]);
        assert!(looks_like_one("origin not allowed"));
        assert_eq!(alone("Forbidden"), ["session_revoked"]);
        assert_eq!(alone("\"Forbidden\""), ["session_revoked"]);
        assert_eq!(
            alone("HTTP/1.1 403 Forbidden\r\nserver: x\r\n\r\nForbidden"),
            ["session_revoked"]
        );
    }

    #[test]
    fn truncated_or_quoted_body_is_recognized() {
        assert_eq!(alone(&MISSING[..100]), ["token_missing"]);
        assert_eq!(alone(&MISSING[1..]), ["token_missing"]);
        assert_eq!(alone(&format!("hls error 403: {MISSING} (fatal)")), ["token_missing"]);
        assert_eq!(alone(r#"{"error_code": "playback_auth_error", "err"#), ["single_use_spent"]);
    }

    #[test]
    fn named_cause_is_reported() {
        for (text, code) in [
            ("Token is expired", "expired"),
            ("token is expired by 1m2s", "expired"),
            ("crypto/ecdsa: verification error", "bad_signature"),
            ("signing method ES256 is invalid", "wrong_algorithm"),
            ("illegal base64 data at input byte 3", "not_a_jwt"),
            ("viewer session is revoked", "session_revoked"),
        ] {
            let body =
                format!(r#"[{{"error":"{text}","error_code":"invalid_playback_auth_token"}}]"#);
            assert_eq!(alone(&body), [code], "{text}");
        }
    }

    #[test]
    fn emulator_reason_is_ignored() {
        let body = r#"[{"error":"x","error_code":"invalid_playback_auth_token","emulator_reason":"expired"}]"#;
        assert!(alone(body).is_empty());
    }

    #[test]
    fn cause_shown_by_token_is_not_repeated() {
        assert!(codes(MISSING, Beside { readable: Some(false), ..CLEAN }).is_empty());
        let faulty_url = found(FindingCode::UrlMalformed);
        assert!(codes(MISSING, Beside { findings: &faulty_url, ..CLEAN }).is_empty());
        assert_eq!(codes(MISSING, CLEAN), ["token_missing"]);
        let deleted = found(FindingCode::KeyDeleted);
        let deleted = Beside { findings: &deleted, ..CLEAN };
        let body = GENERIC.replace('x', "crypto/ecdsa: verification error");
        assert_eq!(codes(&body, CLEAN), ["bad_signature"]);
        assert!(codes(&body, deleted).is_empty());
        assert!(codes(GENERIC, deleted).is_empty());
    }

    #[test]
    fn refusal_without_reason_lists_likely_causes_in_order() {
        assert!(alone(GENERIC).is_empty());
        assert!(codes(GENERIC, CLEAN).is_empty());
        let claims = |name: &str| Map::from_iter([(name.to_owned(), Value::from("x"))]);
        let (viewer, once) = (claims(VIEWER_ID), claims(SINGLE_USE_UUID));
        let warnings = [found(FindingCode::KeyPending), found(FindingCode::TokenOver2Kb)].concat();
        let all = Beside {
            findings: &warnings,
            not_checked: &[NotChecked::Origin, NotChecked::Signature, NotChecked::KeyPair],
            claims: Some(&viewer),
            ..CLEAN
        };
        let order = [
            "key_pending",
            "bad_signature",
            "key_unknown_to_ivs",
            "origin_not_allowed",
            "session_revoked",
            "token_over_2kb",
        ];
        assert_eq!(codes(GENERIC, all), order);
        let player = r#"{"type":"ErrorAuthorization","code":7,"source":"MasterPlaylist"}"#;
        assert_eq!(codes(player, Beside { claims: Some(&viewer), ..CLEAN }), ["session_revoked"]);
        let spent = r#"[{"error_code":"playback_auth_error"}]"#;
        assert_eq!(codes(spent, Beside { claims: Some(&viewer), ..CLEAN }), ["session_revoked"]);
        assert_eq!(codes(spent, Beside { claims: Some(&once), ..CLEAN }), ["single_use_spent"]);
    }

    #[test]
    fn unknown_body_is_not_interpreted() {
        for body in [
            "",
            "<html><title>403 Forbidden</title></html>",
            "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>",
            "Your session is expired.",
            "[]",
            "{}",
            "[1]",
            "null",
            "\"x\"",
            "HTTP/1.1 403 Forbidden",
            r#"{"type":"/docs/errors/forbidden","code":"forbidden"}"#,
        ] {
            assert_eq!(Refusal::read(body), None, "{body}");
        }
    }
}
