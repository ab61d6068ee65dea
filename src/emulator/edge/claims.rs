//! The token as a set of claims: whom it admits, to what, until when.
//!
//! Claims that IVS does not know are ignored, as IVS does.

use serde_json::{Map, Value};
use uuid::{Uuid, fmt::Hyphenated};

use super::{
    origin::{Asking, OriginRule, Origins},
    refusal::Reason,
};
use crate::{clock::Timestamp, ivs::arn::ChannelArn};

/// From here on `exp` is no second that anyone means (the year 5138), but a millisecond.
const MILLISECONDS_FROM: i64 = 100_000_000_000;

/// How far ahead `exp` may be of a token that names a viewer or plays once, in seconds. There is
/// no tolerance: a clock that is ahead of this one shows.
const MAX_SECONDS_AHEAD: i64 = 600;

/// The longest viewer id, in characters.
const MAX_VIEWER_ID_LENGTH: usize = 40;

/// The most origins of a token with strict origin enforcement.
const MAX_STRICT_ORIGINS: usize = 5;

/// What a verified token says.
#[derive(Debug)]
pub(super) struct Claims {
    /// `exp`, in seconds since the Unix epoch.
    pub(super) expires_at: i64,
    pub(super) viewer: Option<Viewer>,
    pub(super) single_use: Option<Uuid>,
    pub(super) maximum_resolution: Option<Resolution>,
    pub(super) origin_rule: OriginRule,
}

/// The viewer's session that a token opens.
#[derive(Debug)]
pub(super) struct Viewer {
    pub(super) id: String,
    pub(super) session_version: i64,
}

/// `aws:maximum-resolution`
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Resolution {
    Sd,
    Hd,
    FullHd,
}

impl Resolution {
    /// The most lines of a picture.
    pub(super) const fn max_height(self) -> u32 {
        match self {
            Self::Sd => 480,
            Self::Hd => 720,
            Self::FullHd => 1080,
        }
    }
}

impl Claims {
    /// Reads the payload of a verified token that is shown for `channel` at `now`.
    ///
    /// The order of the checks is part of what the emulator documents.
    pub(super) fn check(
        payload: &Map<String, Value>,
        channel: &ChannelArn,
        now: Timestamp,
    ) -> Result<Self, Reason> {
        check_channel(payload, channel)?;
        let expires_at = check_expiry(payload, now)?;
        let viewer_id = claim(payload, "aws:viewer-id", Value::as_str)?;
        let session_version = claim(payload, "aws:viewer-session-version", Value::as_i64)?;
        let single_use = claim(payload, "aws:single-use-uuid", uuid)?;
        let maximum_resolution = claim(payload, "aws:maximum-resolution", resolution)?;
        let strict = claim(payload, "aws:strict-origin-enforcement", Value::as_bool)?;
        let origins = claim(payload, "aws:access-control-allow-origin", Value::as_str)?;
        let viewer = match viewer_id {
            Some(id) if (1..=MAX_VIEWER_ID_LENGTH).contains(&id.chars().count()) => {
                Some(Viewer { id: id.to_owned(), session_version: session_version.unwrap_or(0) })
            }
            Some(_) => return Err(Reason::ViewerIdLength),
            None => None,
        };
        Ok(Self {
            expires_at,
            viewer,
            single_use,
            maximum_resolution,
            origin_rule: OriginRule {
                allowed: origins.map(Origins::parse).transpose()?,
                strict: strict.unwrap_or(false),
            },
        })
    }

    /// Whether the token's rule for origins is one that IVS takes, and whether who asks may.
    pub(super) fn check_origin(&self, asking: &Asking) -> Result<(), Reason> {
        match &self.origin_rule {
            OriginRule { allowed: None, strict: true } => return Err(Reason::StrictWithoutOrigin),
            // A lone `*` gives strict enforcement nothing to enforce.
            OriginRule { allowed: Some(origins), strict: true }
                if origins.len() == 1 && origins.allow_anyone() =>
            {
                return Err(Reason::StrictWithoutOrigin);
            }
            OriginRule { allowed: Some(origins), strict: true }
                if origins.len() > MAX_STRICT_ORIGINS =>
            {
                return Err(Reason::TooManyStrictOrigins);
            }
            OriginRule { .. } => {}
        }
        self.origin_rule.check(asking)
    }
}

fn check_channel(payload: &Map<String, Value>, channel: &ChannelArn) -> Result<(), Reason> {
    match payload.get("aws:channel-arn") {
        Some(Value::String(arn)) if arn == channel.as_str() => Ok(()),
        Some(Value::String(_)) => Err(Reason::ChannelMismatch),
        Some(_) => Err(Reason::ClaimType),
        None => {
            // However its words are joined: channel-arn, channel_arn, channelArn.
            let is_channel_arn = |name: &String| {
                let letters = name.bytes().filter(|byte| !b"-_".contains(byte));
                letters.map(|byte| byte.to_ascii_lowercase()).eq(*b"channelarn")
            };
            if payload.keys().any(is_channel_arn) {
                Err(Reason::ClaimWithoutAwsPrefix)
            } else {
                Err(Reason::ChannelArnMissing)
            }
        }
    }
}

fn check_expiry(payload: &Map<String, Value>, now: Timestamp) -> Result<i64, Reason> {
    let exp = payload.get("exp").ok_or(Reason::ExpMissing)?;
    // Beyond 63 bits it is as far ahead as any other time that never comes.
    let far = || exp.as_u64().map(|_| i64::MAX);
    let exp = exp.as_i64().or_else(far).ok_or(Reason::ExpNotInteger)?;
    let now = now.unix_seconds();
    if exp <= now {
        return Err(Reason::Expired);
    }
    let is_short =
        ["aws:viewer-id", "aws:single-use-uuid"].iter().any(|name| payload.contains_key(*name));
    if is_short && exp > now.saturating_add(MAX_SECONDS_AHEAD) {
        let in_milliseconds = exp >= MILLISECONDS_FROM;
        return Err(if in_milliseconds { Reason::ExpInMilliseconds } else { Reason::TtlOver600 });
    }
    Ok(exp)
}

/// A claim that may be absent, but not of another type. `null` is another type.
fn claim<'a, T>(
    payload: &'a Map<String, Value>,
    name: &str,
    read: impl FnOnce(&'a Value) -> Option<T>,
) -> Result<Option<T>, Reason> {
    payload.get(name).map(|value| read(value).ok_or(Reason::ClaimType)).transpose()
}

/// In the form of RFC 9562 alone: no braces, no `urn:uuid:`, no bare digits.
fn uuid(value: &Value) -> Option<Uuid> {
    value.as_str()?.parse::<Hyphenated>().ok().map(Uuid::from)
}

fn resolution(value: &Value) -> Option<Resolution> {
    match value.as_str()? {
        "SD" => Some(Resolution::Sd),
        "HD" => Some(Resolution::Hd),
        "FULL_HD" => Some(Resolution::FullHd),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const CHANNEL: &str = "arn:aws:ivs:us-west-2:123456789012:channel/AbCdEfGh1234";
    const NOW: i64 = 1_795_337_700;

    fn check(payload: Value) -> Result<Claims, Reason> {
        let Value::Object(payload) = payload else { panic!("not an object") };
        Claims::check(
            &payload,
            &CHANNEL.parse().unwrap(),
            Timestamp::from_unix_millis(NOW * 1000 + 999),
        )
    }

    /// A good payload with one more claim.
    fn with(name: &str, value: &Value) -> Result<Claims, Reason> {
        check(json!({"aws:channel-arn": CHANNEL, "exp": NOW + 600, name: value}))
    }

    #[test]
    fn the_least_token_plays() {
        let claims = with("iat", &json!(NOW)).unwrap();
        assert_eq!(claims.expires_at, NOW + 600);
        assert!(claims.viewer.is_none() && claims.single_use.is_none());
        assert_eq!(claims.check_origin(&Asking::Unnamed), Ok(()));
    }

    #[test]
    fn it_is_for_one_channel() {
        let channel =
            |name: &str, arn: Value| check(json!({name: arn, "exp": NOW + 1})).unwrap_err();
        let other = format!("{CHANNEL}x");
        assert_eq!(channel("aws:channel-arn", json!(other)), Reason::ChannelMismatch);
        assert_eq!(channel("aws:channel-arn", json!([CHANNEL])), Reason::ClaimType);
        assert_eq!(channel("aws:channel-arn", json!("")), Reason::ChannelMismatch);
        for name in ["channel-arn", "channelArn", "CHANNEL_ARN"] {
            assert_eq!(channel(name, json!(CHANNEL)), Reason::ClaimWithoutAwsPrefix);
        }
        assert_eq!(channel("sub", json!(CHANNEL)), Reason::ChannelArnMissing);
    }

    #[test]
    fn exp_is_an_integer_in_the_future() {
        let exp = |exp: Value| check(json!({"aws:channel-arn": CHANNEL, "exp": exp})).err();
        assert_eq!(exp(json!(NOW + 1)), None);
        assert_eq!(exp(json!(NOW)), Some(Reason::Expired));
        assert_eq!(exp(json!(0)), Some(Reason::Expired));
        assert_eq!(exp(json!(-1)), Some(Reason::Expired));
        // In milliseconds, without a viewer: merely far ahead.
        assert_eq!(exp(json!((NOW + 60) * 1000)), None);
        assert_eq!(exp(json!(u64::MAX)), None);
        for wrong in [json!(1_795_337_800.5), json!("1795337800"), json!(null), json!(1e30)] {
            assert_eq!(exp(wrong), Some(Reason::ExpNotInteger));
        }
        assert_eq!(check(json!({"aws:channel-arn": CHANNEL})).err(), Some(Reason::ExpMissing));
    }

    #[test]
    fn a_viewer_and_a_single_use_shorten_a_token() {
        for (name, value) in [
            ("aws:viewer-id", json!("v")),
            ("aws:single-use-uuid", json!("0b0e5f1e-5b1c-4b4e-9b1e-0b0e5f1e5b1c")),
        ] {
            let exp = |exp: i64| {
                check(json!({"aws:channel-arn": CHANNEL, "exp": exp, name: value})).err()
            };
            assert_eq!(exp(NOW + 600), None);
            assert_eq!(exp(NOW + 601), Some(Reason::TtlOver600));
            assert_eq!(exp((NOW + 60) * 1000), Some(Reason::ExpInMilliseconds));
        }
    }

    #[test]
    fn claims_have_their_types() {
        for (name, wrong) in [
            ("aws:viewer-id", json!(7)),
            ("aws:viewer-id", json!(null)),
            ("aws:viewer-session-version", json!("1")),
            ("aws:viewer-session-version", json!(1.5)),
            ("aws:single-use-uuid", json!("x")),
            ("aws:single-use-uuid", json!("0b0e5f1e5b1c4b4e9b1e0b0e5f1e5b1c")),
            ("aws:single-use-uuid", json!("{0b0e5f1e-5b1c-4b4e-9b1e-0b0e5f1e5b1c}")),
            ("aws:single-use-uuid", json!("urn:uuid:0b0e5f1e-5b1c-4b4e-9b1e-0b0e5f1e5b1c")),
            ("aws:single-use-uuid", json!(true)),
            ("aws:maximum-resolution", json!("4K")),
            ("aws:maximum-resolution", json!("sd")),
            ("aws:strict-origin-enforcement", json!("true")),
            ("aws:access-control-allow-origin", json!(["https://a.example"])),
        ] {
            assert_eq!(with(name, &wrong).err(), Some(Reason::ClaimType), "{name} {wrong}");
        }
        assert_eq!(with("aws:viewer-id", &json!("")).err(), Some(Reason::ViewerIdLength));
        let long = "\u{e9}".repeat(MAX_VIEWER_ID_LENGTH);
        assert_eq!(with("aws:viewer-id", &json!(long)).unwrap().viewer.unwrap().session_version, 0);
        let longer = format!("{long}x");
        assert_eq!(with("aws:viewer-id", &json!(longer)).err(), Some(Reason::ViewerIdLength));
        assert!(with("aws:strict-origin-enforcement", &json!(false)).is_ok());
        assert!(with("aws:unknown", &json!({"a": [1]})).is_ok());
    }

    #[test]
    fn strict_enforcement_needs_origins_and_an_origin() {
        let strict = |origins: Option<&str>, asking: &Asking| {
            let mut payload = json!({
                "aws:channel-arn": CHANNEL, "exp": NOW + 60, "aws:strict-origin-enforcement": true,
            });
            if let Some(origins) = origins {
                payload["aws:access-control-allow-origin"] = json!(origins);
            }
            check(payload).unwrap().check_origin(asking)
        };
        let from = |origin: &str| Asking::From(origin.to_owned());
        let five = ["https://a.example"; 5].join(",");
        for none in [None, Some("*")] {
            let result = strict(none, &from("https://a.example"));
            assert_eq!(result, Err(Reason::StrictWithoutOrigin));
        }
        assert_eq!(strict(Some(&five), &from("https://a.example")), Ok(()));
        assert_eq!(strict(Some(&five), &Asking::Unnamed), Err(Reason::OriginMissing));
        assert_eq!(strict(Some(&five), &from("https://b.example")), Err(Reason::OriginNotAllowed));
        assert_eq!(strict(Some(&five), &Asking::FromSeveral), Err(Reason::OriginNotAllowed));
        let six = format!("{five},https://b.example");
        let result = strict(Some(&six), &from("https://a.example"));
        assert_eq!(result, Err(Reason::TooManyStrictOrigins));
    }

    proptest! {
        #[test]
        fn no_payload_makes_it_panic(name in "aws:[a-z-]{0,30}|exp", text in "\\PC{0,60}", number: i64) {
            let _ = with(&name, &json!(text));
            let _ = with(&name, &json!(number));
            let _ = with("aws:access-control-allow-origin", &json!(text));
        }
    }
}
