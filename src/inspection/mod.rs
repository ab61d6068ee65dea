//! Finds what is wrong with a viewer token, regardless of who made it.
//!
//! [`inspect`] is a pure function of the token or URL, of public keys and channel facts if the caller has any,
//! and of `now`. It lists what it could not check, and as long as that list contains something that could make IVS
//! refuse, it calls no token valid. The input may come from anywhere: every text gets an answer, in time linear in
//! its length.

mod claims;
mod compact;
mod curl;
mod edge;
mod expiry;
mod finding;
mod keys;
mod origins;
mod powershell;
#[cfg(test)]
mod properties;
mod report;
mod signature;
mod sketch;
mod source;
pub mod text;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    clock::Timestamp,
    ivs::arn::{ChannelArn, PlaybackKeyArn},
    tokens::payload::CHANNEL_ARN,
};

use compact::UnverifiedToken;
use report::Report;
use sketch::Sketch;
use source::UrlFacts;

pub use finding::{Finding, FindingCode, FindingSpec, Part, Severity, findings_markdown};
pub use keys::{KeyIdentity, KeyRing, KeyRingError, KeyStanding, KnownKey};
pub use source::{Input, InputError, Subject};

/// What the caller knows in addition to the token.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// The keys that may have signed; with `None` the signature is not checked.
    pub keys: Option<&'a KeyRing>,
    /// What IVS says about the channel; `None` if IVS was not asked.
    pub channel: Option<ChannelFacts>,
}

/// What IVS says about the channel to be played.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ChannelFacts {
    /// It plays only with a token.
    Private,
    /// It plays without a token.
    Public,
    /// IVS has no such channel.
    Absent,
}

/// The result of an inspection.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = InspectResponse, example = json!({
    "valid": false,
    "findings": [{
        "code": "exp_in_milliseconds", "severity": "warning", "claim": "exp",
        "detail": "exp is in milliseconds. Divide by 1000 and round down: `Math.floor(Date.now() / 1000) + 300`."
    }, {
        "code": "wrong_algorithm", "severity": "error",
        "detail": "The token is signed with RS256, but IVS accepts ES384 only."
    }],
    "notChecked": ["signature"],
    "header": {"alg": "RS256", "typ": "JWT"},
    "claims": {
        "aws:channel-arn": "arn:aws:ivs:us-west-2:123456789012:channel/AbCdEfGh1234",
        "exp": 1_795_337_700_000_i64
    },
    "tokenId": "9f2c4be1a07d3358"
}))]
pub struct Inspection {
    /// False if there is an error; null if something that could cause a refusal was not checked.
    #[schema(required)]
    pub valid: Option<bool>,
    /// The errors, then the warnings.
    pub findings: Vec<Finding>,
    /// What was not or cannot be checked.
    pub not_checked: Vec<NotChecked>,
    /// Null if it cannot be read.
    #[schema(required)]
    pub header: Option<Map<String, Value>>,
    /// As written in the token; none of it is verified. Null if they cannot be read.
    #[schema(required)]
    pub claims: Option<Map<String, Value>>,
    /// The first 16 hexadecimal digits of the token's SHA-256; null without a token.
    #[schema(required)]
    pub token_id: Option<String>,
    /// The key pair that signed, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<String>)]
    pub key_pair_arn: Option<PlaybackKeyArn>,
    /// The outline of the URL, in which faults are marked.
    #[serde(skip)]
    url: Option<Sketch>,
    /// The outline of the token.
    #[serde(skip)]
    token: Option<Sketch>,
}

/// Something that could make IVS refuse the token and that was not checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum NotChecked {
    /// There was no token.
    Token,
    /// There was no key to check the signature with.
    Signature,
    /// IVS was not asked whether it has the key that signed.
    KeyPair,
    /// IVS was not asked about the channel.
    Channel,
    /// The token allows certain origins, and the origin of the request is not known.
    Origin,
    /// Whether the viewer was revoked; IVS does not reveal this.
    Session,
    /// Whether the single-use token was used; IVS does not reveal this.
    SingleUse,
    /// The body of the 403 is not a known one.
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

/// What an inspection needs to ask IVS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Questions {
    /// Whether there is a signature, which makes the keys in IVS relevant.
    pub keys: bool,
    /// The channel to be played, from the caller, the URL or the token, in this order.
    pub channel: Option<ChannelArn>,
}

impl Questions {
    /// Returns the questions that `input` raises.
    pub fn of(input: &Input) -> Self {
        let url = input.url().map(UrlFacts::read);
        let token = token_of(input, url.as_ref());
        let token = token.and_then(|token| UnverifiedToken::parse(token).ok());
        let claimed = || token.as_ref()?.claims.get(CHANNEL_ARN)?.as_str()?.parse().ok();
        let wanted = input.channel.as_ref().or_else(|| url.as_ref()?.channel.as_ref());
        Self { keys: token.is_some(), channel: wanted.cloned().or_else(claimed) }
    }
}

/// Inspects `input`.
pub fn inspect(input: &Input, context: &Context<'_>, now: Timestamp) -> Inspection {
    let mut report = Report::default();
    let url = input.url().map(UrlFacts::read);
    if let Some((text, facts)) = input.url().zip(url.as_ref()) {
        report.url(text, facts, context);
    }
    let token = token_of(input, url.as_ref());
    let readable = token.map(|token| report.token(token, input, url.as_ref(), context, now));
    if token.is_none() {
        report.no_token(input);
    }
    if let Some(body) = &input.edge_error {
        report.edge_error(body, readable);
    }
    report.conclude()
}

/// Returns the token of `input`, whose URL was parsed into `url`.
fn token_of<'a>(input: &'a Input, url: Option<&'a UrlFacts>) -> Option<&'a str> {
    match &input.subject {
        Some(Subject::Token(token)) => Some(token.as_str()).filter(|token| !token.is_empty()),
        Some(Subject::PlaybackUrl(_)) | None => url?.token.as_deref(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tokens::testing::{CHANNEL, TestKey};

    const NOW: i64 = 1_795_337_700;

    const HERE: &str = "arn:aws:ivs:us-west-2:123456789012:playback-key/abc";

    fn known(key: &TestKey, arn: Option<&str>, standing: KeyStanding) -> KnownKey {
        let key = KeyIdentity::Public(key.public_key());
        KnownKey { key, arn: arn.map(|arn| arn.parse().unwrap()), standing }
    }

    /// A ring that covers the region and account of the channel.
    fn all(keys: impl IntoIterator<Item = KnownKey>) -> KeyRing {
        let mut ring = KeyRing::new(keys);
        let channel: ChannelArn = CHANNEL.parse().unwrap();
        ring.cover(channel.region().clone(), channel.account().clone());
        ring
    }

    fn run(input: &Input, context: &Context<'_>) -> Inspection {
        inspect(input, context, Timestamp::from_unix_seconds(NOW))
    }

    fn pasted(text: &str) -> Inspection {
        run(&Input::from_text(text).unwrap(), &Context::default())
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
    fn token_without_known_keys_is_never_valid() {
        let inspection = pasted(&TestKey::generate().token(&header(), &claims()));
        assert_eq!(inspection.valid, None);
        assert_eq!(inspection.findings, []);
        assert_eq!(inspection.not_checked, [NotChecked::Signature, NotChecked::Channel]);
    }

    #[test]
    fn unchecked_items_are_listed() {
        let key = TestKey::generate();
        let mut claims = with("aws:viewer-id", "v");
        claims["aws:single-use-uuid"] = "c0ffee00-1234-4abc-8def-0123456789ab".into();
        claims["aws:access-control-allow-origin"] = "https://a.test".into();
        let input = Input::from_text(&key.token(&header(), &claims)).unwrap();
        let file = KeyRing::from_public_key(key.public_key().to_pem()).unwrap();
        let inspection = run(&input, &Context { keys: Some(&file), channel: None });
        let words: Vec<_> = inspection.not_checked.iter().map(|what| what.as_str()).collect();
        assert_eq!(words, ["keyPair", "channel", "origin", "session", "singleUse"]);
        for what in &inspection.not_checked {
            assert_eq!(serde_json::to_value(what).unwrap(), what.as_str());
        }
    }

    #[test]
    fn fully_checked_token_is_valid() {
        let key = TestKey::generate();
        let input = Input::from_text(&key.token(&header(), &claims())).unwrap();
        let ring = all([known(&key, Some(HERE), KeyStanding::Active)]);
        let context = Context { keys: Some(&ring), channel: Some(ChannelFacts::Private) };
        let inspection = run(&input, &context);
        assert_eq!(inspection.valid, Some(true));
        let json = serde_json::to_value(&inspection).unwrap();
        assert_eq!(json["keyPairArn"], HERE);
        assert_eq!(json["notChecked"], json!([]));
        assert_eq!(json["header"], header());
        assert_eq!(json["claims"], claims());
        assert_eq!(json["tokenId"].as_str().unwrap().len(), 16);
    }

    #[test]
    fn standing_of_key_is_reported() {
        let key = TestKey::generate();
        let input = Input::from_text(&key.token(&header(), &claims())).unwrap();
        let here = Some(HERE);
        let other_region = Some("arn:aws:ivs:eu-west-1:123456789012:playback-key/abc");
        let other_account = Some("arn:aws:ivs:us-west-2:210987654321:playback-key/abc");
        for (arn, standing, expected) in [
            (here, KeyStanding::Active, None),
            (here, KeyStanding::Pending, Some("key_pending")),
            (here, KeyStanding::Draining, Some("key_draining")),
            (here, KeyStanding::Retired, Some("key_deleted")),
            (None, KeyStanding::Missing, Some("key_unknown_to_ivs")),
            (None, KeyStanding::Unknown, Some("key_unknown_to_ivs")),
            (other_region, KeyStanding::Active, Some("key_other_region")),
            (other_account, KeyStanding::Active, Some("key_other_region")),
        ] {
            let ring = all([known(&key, arn, standing)]);
            let inspection = run(&input, &Context { keys: Some(&ring), channel: None });
            assert_eq!(codes(&inspection), Vec::from_iter(expected), "{standing:?}");
            assert_eq!(inspection.not_checked, [NotChecked::Channel], "{standing:?}");
        }
    }

    #[test]
    fn key_pair_of_channels_region_takes_precedence() {
        let key = TestKey::generate();
        let input = Input::from_text(&key.token(&header(), &claims())).unwrap();
        let elsewhere = "arn:aws:ivs:eu-west-1:123456789012:playback-key/abc";
        let ring = all([
            known(&key, None, KeyStanding::Unknown),
            known(&key, Some(elsewhere), KeyStanding::Active),
            known(&key, Some(&format!("{HERE}-old")), KeyStanding::Retired),
            known(&key, Some(HERE), KeyStanding::Active),
        ]);
        let inspection = run(&input, &Context { keys: Some(&ring), channel: None });
        assert_eq!(codes(&inspection), [""; 0]);
        assert_eq!(inspection.key_pair_arn.unwrap().as_str(), HERE);
    }

    #[test]
    fn foreign_pair_is_recognized_by_fingerprint() {
        let (key, other) = (TestKey::generate(), TestKey::generate());
        let pair = KnownKey {
            key: KeyIdentity::Fingerprint(key.public_key().fingerprint()),
            ..known(&key, Some(HERE), KeyStanding::Active)
        };
        let ring = all([pair]);
        let context = Context { keys: Some(&ring), channel: Some(ChannelFacts::Private) };
        let judge = |key: &TestKey| {
            run(&Input::from_text(&key.token(&header(), &claims())).unwrap(), &context)
        };
        assert_eq!(judge(&key).valid, Some(true));
        assert_eq!(judge(&key).key_pair_arn.unwrap().as_str(), HERE);
        assert_eq!(codes(&judge(&other)), ["bad_signature"]);
    }

    #[test]
    fn signature_is_not_bad_while_ivs_was_not_asked() {
        let (key, other) = (TestKey::generate(), TestKey::generate());
        let token = |key: &TestKey| Input::from_text(&key.token(&header(), &claims())).unwrap();
        let ring = KeyRing::new([known(&key, Some(HERE), KeyStanding::Active)]);
        let context = Context { keys: Some(&ring), channel: None };
        let inspection = run(&token(&other), &context);
        assert_eq!(inspection.valid, None);
        assert_eq!(inspection.not_checked, [NotChecked::Signature, NotChecked::Channel]);
        let inspection = run(&token(&key), &context);
        assert_eq!(inspection.valid, None);
        assert_eq!(inspection.not_checked, [NotChecked::KeyPair, NotChecked::Channel]);
        let mut ring = KeyRing::default();
        ring.cover("eu-west-1".parse().unwrap(), "123456789012".parse().unwrap());
        let inspection = run(&token(&other), &Context { keys: Some(&ring), channel: None });
        assert_eq!(codes(&inspection), [""; 0], "another region's pairs say nothing");
        assert!(inspection.not_checked.contains(&NotChecked::Signature));
    }

    #[test]
    fn channel_facts_are_reported() {
        let input = Input::from_text(&TestKey::generate().token(&header(), &claims())).unwrap();
        let about = |facts| codes(&run(&input, &Context { keys: None, channel: Some(facts) }));
        assert_eq!(about(ChannelFacts::Private), [""; 0]);
        assert_eq!(about(ChannelFacts::Public), ["channel_public"]);
        assert_eq!(about(ChannelFacts::Absent), ["channel_mismatch"]);
    }

    #[test]
    fn other_key_and_changed_claims_are_bad_signatures() {
        let (key, other) = (TestKey::generate(), TestKey::generate());
        let ring = all([known(&key, Some(HERE), KeyStanding::Active)]);
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
            let inspection = run(&Input::from_text(token).unwrap(), &context);
            assert_eq!(codes(&inspection), ["bad_signature"]);
            assert_eq!(inspection.valid, Some(false));
        }
        let cut = good.get(..good.len() - 4).unwrap();
        assert_eq!(codes(&pasted(cut)), ["bad_signature"], "reported without a key");
    }

    #[test]
    fn channel_is_taken_from_url() {
        let token = TestKey::generate().token(&header(), &claims());
        let url = |channel| {
            pasted(&format!(
                "https://a.test/api/video/v1/us-west-2.123456789012.channel.{channel}.m3u8?token={token}"
            ))
        };
        assert_eq!(codes(&url("AbCdEfGh1234")), [""; 0]);
        assert_eq!(codes(&url("Other")), ["channel_mismatch"]);
        let input = Input { channel: CHANNEL.parse().ok(), ..Input::from_text(&token).unwrap() };
        assert_eq!(codes(&run(&input, &Context::default())), [""; 0]);
    }

    #[test]
    fn token_of_faulty_url_is_inspected() {
        let token = TestKey::generate().token(&header(), &with("exp", NOW));
        let inspection = pasted(&format!("https://a.test/a.m3u8?token.m3u8?token={token}"));
        assert_eq!(codes(&inspection), ["url_malformed", "expired"]);
        let inspection = pasted("https://a.test/a.m3u8");
        assert_eq!(codes(&inspection), ["token_missing"]);
        assert_eq!(inspection.not_checked, [NotChecked::Token]);
    }

    #[test]
    fn single_use_token_on_segment_is_reported() {
        let key = TestKey::generate();
        let once = with("aws:single-use-uuid", "c0ffee00-1234-4abc-8def-0123456789ab");
        let segment =
            |claims| pasted(&format!("https://a.test/1.ts?token={}", key.token(&header(), claims)));
        assert_eq!(codes(&segment(&once)), ["url_malformed"]);
        assert_eq!(codes(&segment(&claims())), [""; 0]);
    }

    #[test]
    fn edge_error_adds_causes_that_token_does_not_show() {
        let with_error = |token: &str, body: &str| {
            let edge_error = Some(body.to_owned());
            run(&Input { edge_error, ..Input::from_text(token).unwrap() }, &Context::default())
        };
        let token = TestKey::generate().token(&header(), &with("aws:viewer-id", "v"));
        assert_eq!(codes(&with_error(&token, "Forbidden")), ["session_revoked"]);
        let unknown = r#"{"error_code": "invalid_playback_auth_token", "error": "?"}"#;
        assert_eq!(codes(&with_error(&token, unknown)), ["bad_signature", "session_revoked"]);
        let inspection = pasted(unknown);
        assert_eq!(inspection.valid, None);
        assert_eq!(inspection.not_checked, [NotChecked::Token, NotChecked::EdgeError]);
        let missing = r#"{"error_code": "invalid_playback_auth_token", "error": "invalid number of segments"}"#;
        assert_eq!(codes(&with_error(&token, missing)), ["token_missing"]);
        assert_eq!(codes(&with_error("no token", missing)), ["not_a_jwt"]);
        assert_eq!(pasted("origin required").valid, Some(false));
    }

    #[test]
    fn findings_of_token_precede_those_of_edge_error() {
        let expired = TestKey::generate().token(&header(), &with("exp", NOW - 1));
        let spent = r#"[{"error_code": "playback_auth_error"}]"#;
        let input = |body: &str| Input {
            edge_error: Some(body.to_owned()),
            ..Input::from_text(&expired).unwrap()
        };
        let run = |body| codes(&run(&input(body), &Context::default()));
        assert_eq!(run("Forbidden"), ["expired", "session_revoked"]);
        assert_eq!(run(spent), ["expired"], "it was no single-use token");
    }

    #[test]
    fn a_public_channel_plays_without_a_token() {
        let url = "https://a.test/api/video/v1/us-west-2.123456789012.channel.AbCdEfGh1234.m3u8";
        let input = Input::from_text(url).unwrap();
        let context = Context { keys: None, channel: Some(ChannelFacts::Public) };
        assert_eq!(codes(&run(&input, &context)), ["channel_public"]);
        assert_eq!(Questions::of(&input).channel.unwrap().as_str(), CHANNEL);
    }

    #[test]
    fn empty_token_counts_as_missing() {
        let input = Input { subject: Some(Subject::Token(String::new())), ..Input::default() };
        assert_eq!(codes(&run(&input, &Context::default())), ["token_missing"]);
    }

    #[test]
    fn questions_name_channel_to_be_played() {
        let token = TestKey::generate().token(&header(), &claims());
        let of = |input: &Input| {
            let Questions { keys, channel } = Questions::of(input);
            (keys, channel.map(|channel| channel.id().to_owned()))
        };
        let pasted = |text: &str| of(&Input::from_text(text).unwrap());
        let id = |id: &str| Some(id.to_owned());
        assert_eq!(pasted(&token), (true, id("AbCdEfGh1234")));
        let url = "https://a.test/api/video/v1/us-west-2.123456789012.channel.Other.m3u8";
        assert_eq!(pasted(&format!("{url}?token={token}")), (true, id("Other")));
        assert_eq!(pasted(&format!("{url}?token=x")), (false, id("Other")));
        assert_eq!(pasted("Forbidden"), (false, None));
        let input = Input { channel: CHANNEL.parse().ok(), ..Input::from_text(url).unwrap() };
        assert_eq!(of(&input), (false, id("AbCdEfGh1234")));
    }

    #[test]
    fn errors_precede_warnings() {
        let token = TestKey::generate().token(&header(), &json!({"exp": NOW + 9999}));
        let inspection = pasted(&token);
        assert_eq!(codes(&inspection), ["channel_arn_missing", "long_lived_without_viewer"]);
    }

    #[test]
    fn large_token_is_warning_and_huge_token_is_answered() {
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
            let _ = text::render(&pasted(&text), text::Colour::None);
        }
    }
}
