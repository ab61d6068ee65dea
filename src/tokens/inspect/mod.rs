//! What is wrong with a viewer token, whoever made it.
//!
//! [`inspect`] is a pure function: it looks at the token or URL, at public keys and channel facts
//! if the caller has some, and at `now`. It asks nobody. What it could not look at is listed, and
//! while something that could make IVS refuse is on that list, no token is called valid. Its input
//! comes from anywhere: any text is answered, in time linear to its length.

mod catalogue;
mod claims;
mod compact;
mod curl;
mod edge;
mod expiry;
mod finding;
mod keys;
mod origins;
mod report;
mod signature;
mod source;
pub mod text;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{clock::Timestamp, ivs::arn::PlaybackKeyArn};

use report::Report;
use source::UrlFacts;

pub use catalogue::{Explanation, findings_markdown};
pub use finding::{Finding, FindingCode, Severity};
pub use keys::{KeyRing, KeyRingError, KeyStanding, KnownKey};
pub use source::{Input, InputError, Subject};

/// What the caller knows beside the token.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// The keys that may have signed; `None` leaves the signature unchecked.
    pub keys: Option<&'a KeyRing>,
    /// What IVS says about the channel; `None` where it was not asked.
    pub channel: Option<ChannelFacts>,
}

/// What IVS says about the channel that a token names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ChannelFacts {
    /// It plays with a token alone.
    Private,
    /// It plays without a token.
    Public,
    /// IVS has no such channel.
    Absent,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// `false` with any error; `None` while something that could make IVS refuse was not checked.
    pub valid: Option<bool>,
    /// The errors, then the warnings.
    pub findings: Vec<Finding>,
    /// What was not looked at, or cannot be.
    pub not_checked: Vec<NotChecked>,
    /// The header, if it could be read.
    pub header: Option<Map<String, Value>>,
    /// The claims, if they could be read. Nothing in them is proven.
    pub claims: Option<Map<String, Value>>,
    /// See [`token_id`](super::token_id).
    pub token_id: Option<String>,
    /// The key pair that signed, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_pair_arn: Option<PlaybackKeyArn>,
}

/// Something that could make IVS refuse and that was not looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum NotChecked {
    /// There was no token.
    Token,
    /// No key was given to check the signature with.
    Signature,
    /// Nobody asked IVS whether it has the key that signed.
    KeyPair,
    /// Nobody asked IVS about the channel.
    Channel,
    /// The token allows some origins, and that of the request was not given.
    Origin,
    /// Whether the viewer was revoked: IVS tells nobody.
    Session,
    /// Whether the single-use token is spent: IVS tells nobody.
    SingleUse,
    /// The body of the 403 is none that is known.
    EdgeError,
}

impl NotChecked {
    /// The word in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Signature => "signature",
            Self::KeyPair => "keyPair",
            Self::Channel => "channel",
            Self::Origin => "origin",
            Self::Session => "session",
            Self::SingleUse => "singleUse",
            Self::EdgeError => "edgeError",
        }
    }
}

/// Inspects whatever `input` holds.
pub fn inspect(input: &Input, context: &Context<'_>, now: Timestamp) -> Inspection {
    let mut report = Report::default();
    let url = match &input.subject {
        Some(Subject::PlaybackUrl(url)) => Some(UrlFacts::read(url)),
        Some(Subject::Token(_)) | None => None,
    };
    let token = match &input.subject {
        Some(Subject::Token(token)) => Some(token.as_str()),
        Some(Subject::PlaybackUrl(_)) | None => url.as_ref().and_then(|url| url.token.as_deref()),
    };
    if let Some(url) = &url {
        report.url(url);
    }
    let readable = token.map(|token| report.token(token, input, url.as_ref(), context, now));
    if token.is_none() {
        report.no_token();
    }
    if let Some(body) = &input.edge_error {
        report.edge_error(body, readable);
    }
    report.conclude()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tokens::testing::{CHANNEL, TestKey};

    const NOW: i64 = 1_795_337_700;

    fn ring(key: &TestKey, arn: Option<&str>, standing: KeyStanding) -> KeyRing {
        let arn = arn.map(|arn| arn.parse().unwrap());
        KeyRing::new([KnownKey { key: key.public_key(), arn, standing }])
    }

    fn look(input: &Input, context: &Context<'_>) -> Inspection {
        inspect(input, context, Timestamp::from_unix_seconds(NOW))
    }

    fn pasted(text: &str) -> Inspection {
        look(&Input::from_text(text).unwrap(), &Context::default())
    }

    fn codes(inspection: &Inspection) -> Vec<&'static str> {
        inspection.findings.iter().map(|finding| finding.code.as_str()).collect()
    }

    fn header() -> Value {
        json!({"alg": "ES384", "typ": "JWT"})
    }

    fn claims() -> Value {
        json!({"aws:channel-arn": CHANNEL, "exp": NOW + 300})
    }

    fn with(name: &str, value: impl Into<Value>) -> Value {
        let mut claims = claims();
        claims[name] = value.into();
        claims
    }

    #[test]
    fn without_keys_nothing_is_called_valid() {
        let inspection = pasted(&TestKey::generate().token(&header(), &claims()));
        assert_eq!(inspection.valid, None);
        assert_eq!(inspection.findings, []);
        assert_eq!(inspection.not_checked, [NotChecked::Signature, NotChecked::Channel]);
    }

    #[test]
    fn what_was_not_checked_is_listed() {
        let key = TestKey::generate();
        let mut claims = with("aws:viewer-id", "v");
        claims["aws:single-use-uuid"] = "c0ffee00-1234-4abc-8def-0123456789ab".into();
        claims["aws:access-control-allow-origin"] = "https://a.test".into();
        let input = Input::from_text(&key.token(&header(), &claims)).unwrap();
        let file = KeyRing::from_public_key(key.public_key().to_pem()).unwrap();
        let inspection = look(&input, &Context { keys: Some(&file), channel: None });
        let words: Vec<_> = inspection.not_checked.iter().map(|what| what.as_str()).collect();
        assert_eq!(words, ["keyPair", "channel", "origin", "session", "singleUse"]);
        for what in &inspection.not_checked {
            assert_eq!(serde_json::to_value(what).unwrap(), what.as_str());
        }
    }

    #[test]
    fn with_everything_checked_a_token_is_valid() {
        let key = TestKey::generate();
        let input = Input::from_text(&key.token(&header(), &claims())).unwrap();
        let arn = "arn:aws:ivs:us-west-2:123456789012:playback-key/abc";
        let ring = ring(&key, Some(arn), KeyStanding::Active);
        let context = Context { keys: Some(&ring), channel: Some(ChannelFacts::Private) };
        let inspection = look(&input, &context);
        assert_eq!(inspection.valid, Some(true));
        let json = serde_json::to_value(&inspection).unwrap();
        assert_eq!(json["keyPairArn"], arn);
        assert_eq!(json["notChecked"], json!([]));
        assert_eq!(json["header"], header());
        assert_eq!(json["claims"], claims());
        assert_eq!(json["tokenId"].as_str().unwrap().len(), 16);
    }

    #[test]
    fn the_standing_of_the_key_is_told() {
        let key = TestKey::generate();
        let input = Input::from_text(&key.token(&header(), &claims())).unwrap();
        let here = Some("arn:aws:ivs:us-west-2:123456789012:playback-key/abc");
        let other_region = Some("arn:aws:ivs:eu-west-1:123456789012:playback-key/abc");
        let other_account = Some("arn:aws:ivs:us-west-2:210987654321:playback-key/abc");
        for (arn, standing, expected) in [
            (here, KeyStanding::Active, None),
            (here, KeyStanding::Pending, Some("key_pending")),
            (here, KeyStanding::Draining, Some("key_draining")),
            (here, KeyStanding::Retired, Some("key_deleted")),
            (None, KeyStanding::Missing, Some("key_unknown_to_ivs")),
            (other_region, KeyStanding::Active, Some("key_other_region")),
            (other_account, KeyStanding::Active, Some("key_other_region")),
        ] {
            let ring = ring(&key, arn, standing);
            let inspection = look(&input, &Context { keys: Some(&ring), channel: None });
            assert_eq!(codes(&inspection), Vec::from_iter(expected), "{standing:?}");
        }
    }

    #[test]
    fn the_channel_is_told() {
        let input = Input::from_text(&TestKey::generate().token(&header(), &claims())).unwrap();
        let about = |facts| codes(&look(&input, &Context { keys: None, channel: Some(facts) }));
        assert_eq!(about(ChannelFacts::Private), [""; 0]);
        assert_eq!(about(ChannelFacts::Public), ["channel_public"]);
        assert_eq!(about(ChannelFacts::Absent), ["channel_mismatch"]);
    }

    #[test]
    fn another_key_and_changed_claims_are_bad_signatures() {
        let (key, other) = (TestKey::generate(), TestKey::generate());
        let ring = ring(&key, None, KeyStanding::Active);
        let context = Context { keys: Some(&ring), channel: None };
        let good = key.token(&header(), &claims());
        let other = other.token(&header(), &claims());
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let changed = format!(
            "{}.{signature}",
            key.token(&header(), &with("a", 1)).rsplit_once('.').unwrap().0
        );
        let zeros = format!("{signed}.{}", "A".repeat(128));
        for token in [&other, &changed, &zeros] {
            let inspection = look(&Input::from_text(token).unwrap(), &context);
            assert_eq!(codes(&inspection), ["bad_signature"]);
            assert_eq!(inspection.valid, Some(false));
        }
        let cut = good.get(..good.len() - 4).unwrap();
        assert_eq!(codes(&pasted(cut)), ["bad_signature"], "told without a key");
    }

    #[test]
    fn the_url_tells_the_channel() {
        let token = TestKey::generate().token(&header(), &claims());
        let url = |channel| {
            pasted(&format!(
                "https://a.test/api/video/v1/us-west-2.123456789012.channel.{channel}.m3u8?token={token}"
            ))
        };
        assert_eq!(codes(&url("AbCdEfGh1234")), [""; 0]);
        assert_eq!(codes(&url("Other")), ["channel_mismatch"]);
        let input = Input { channel: CHANNEL.parse().ok(), ..Input::from_text(&token).unwrap() };
        assert_eq!(codes(&look(&input, &Context::default())), [""; 0]);
    }

    #[test]
    fn a_faulty_url_is_told_and_its_token_inspected() {
        let token = TestKey::generate().token(&header(), &with("exp", NOW));
        let inspection = pasted(&format!("https://a.test/a.m3u8?token.m3u8?token={token}"));
        assert_eq!(codes(&inspection), ["url_malformed", "expired"]);
        let inspection = pasted("https://a.test/a.m3u8");
        assert_eq!(codes(&inspection), ["token_missing"]);
        assert_eq!(inspection.not_checked, [NotChecked::Token]);
    }

    #[test]
    fn a_single_use_token_on_a_segment_is_told() {
        let key = TestKey::generate();
        let once = with("aws:single-use-uuid", "c0ffee00-1234-4abc-8def-0123456789ab");
        let segment =
            |claims| pasted(&format!("https://a.test/1.ts?token={}", key.token(&header(), claims)));
        assert_eq!(codes(&segment(&once)), ["url_malformed"]);
        assert_eq!(codes(&segment(&claims())), [""; 0]);
    }

    #[test]
    fn an_edge_error_explains_what_the_token_does_not() {
        let with_error = |token: &str, body: &str| {
            let edge_error = Some(body.to_owned());
            look(&Input { edge_error, ..Input::from_text(token).unwrap() }, &Context::default())
        };
        let token = TestKey::generate().token(&header(), &with("aws:viewer-id", "v"));
        assert_eq!(codes(&with_error(&token, "Forbidden")), ["session_revoked"]);
        let unknown = r#"{"error_code": "invalid_playback_auth_token", "error": "?"}"#;
        let inspection = with_error(&token, unknown);
        assert_eq!(inspection.valid, None);
        assert!(inspection.not_checked.contains(&NotChecked::EdgeError));
        let missing = r#"{"error_code": "invalid_playback_auth_token", "error": "invalid number of segments"}"#;
        assert_eq!(codes(&with_error(&token, missing)), ["token_missing"]);
        assert_eq!(codes(&with_error("no token", missing)), ["not_a_jwt"]);
        assert_eq!(pasted("origin required").valid, Some(false));
    }

    #[test]
    fn errors_come_before_warnings() {
        let token = TestKey::generate().token(&header(), &json!({"exp": NOW + 9999}));
        let inspection = pasted(&token);
        assert_eq!(codes(&inspection), ["channel_arn_missing", "long_lived_without_viewer"]);
    }

    #[test]
    fn a_large_token_is_warned_about_and_a_huge_one_answered() {
        let key = TestKey::generate();
        let large = key.token(&header(), &with("padding", "x".repeat(2000)));
        assert_eq!(codes(&pasted(&large)), ["token_over_2kb"]);
        let huge =
            key.token(&header(), &with("aws:access-control-allow-origin", ",".repeat(1 << 20)));
        assert_eq!(codes(&pasted(&huge)), ["origin_invalid", "token_over_2kb"]);
        for text in [
            ".".repeat(1 << 20),
            "token=".repeat(1 << 17),
            "curl '".repeat(1 << 17),
            "[".repeat(1 << 20),
        ] {
            let _ = text::render(&pasted(&text));
        }
    }
}
