//! Checks the payload of a verified token, and turns it into what the player is granted.
//!
//! Claims that IVS does not know are ignored, as IVS does.

use serde_json::{Map, Value};
use uuid::{Uuid, fmt::Hyphenated};

use super::{
    media::Resolution,
    origin::{OriginRule, Origins, RequestOrigin},
    refusal::Reason,
};
use crate::{clock::Timestamp, ivs::arn::ChannelArn};

/// An `exp` from here on is in milliseconds: in seconds, this is the year 5138.
const MILLISECONDS_FROM: i64 = 100_000_000_000;

/// How far in the future the `exp` of a token with a viewer or single use may be, in seconds. There
/// is no tolerance, so a client whose clock is ahead of this one notices.
const MAX_SECONDS_AHEAD: i64 = 600;

/// The longest viewer id, in characters.
const MAX_VIEWER_ID_LENGTH: usize = 40;

/// The most origins of a token with strict origin enforcement.
const MAX_STRICT_ORIGINS: usize = 5;

/// What a player is granted, by its token or by a public channel.
#[derive(Debug, Default)]
pub(super) struct Grant {
    /// `exp`, in seconds since the Unix epoch.
    pub(super) expires_at: i64,
    pub(super) viewer: Option<Viewer>,
    pub(super) single_use: Option<Uuid>,
    pub(super) maximum_resolution: Option<Resolution>,
    pub(super) origin_rule: OriginRule,
}

/// The viewer session that a token opens.
#[derive(Debug)]
pub(super) struct Viewer {
    pub(super) id: String,
    pub(super) session_version: i64,
}

impl Grant {
    /// Checks the payload of a token that is used for `channel` at `now`.
    ///
    /// The order of the checks is part of the emulator's documentation.
    pub(super) fn of_token(
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
        let origin_rule = OriginRule {
            allowed: origins.map(Origins::parse).transpose()?,
            strict: strict.unwrap_or(false),
        };
        Ok(Self { expires_at, viewer, single_use, maximum_resolution, origin_rule })
    }

    /// Checks that IVS accepts the token's rule for origins, and then the origin of the request.
    pub(super) fn check_origin(&self, origin: &RequestOrigin) -> Result<(), Reason> {
        if self.origin_rule.strict {
            match &self.origin_rule.allowed {
                None => return Err(Reason::StrictWithoutOrigin),
                // A lone `*` gives strict enforcement nothing to enforce.
                Some(origins) if origins.len() == 1 && origins.allow_anyone() => {
                    return Err(Reason::StrictWithoutOrigin);
                }
                Some(origins) if origins.len() > MAX_STRICT_ORIGINS => {
                    return Err(Reason::TooManyStrictOrigins);
                }
                Some(_) => {}
            }
        }
        self.origin_rule.check(origin)
    }
}

fn check_channel(payload: &Map<String, Value>, channel: &ChannelArn) -> Result<(), Reason> {
    match payload.get("aws:channel-arn") {
        Some(Value::String(arn)) if arn == channel.as_str() => Ok(()),
        Some(Value::String(_)) => Err(Reason::ChannelMismatch),
        Some(_) => Err(Reason::ClaimType),
        None => {
            // In any spelling: channel-arn, channel_arn, channelArn.
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
    // Beyond 63 bits it is as far in the future as any other time that never comes.
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

/// Reads a claim that may be absent but not of another type. `null` is another type.
fn claim<'a, T>(
    payload: &'a Map<String, Value>,
    name: &str,
    read: impl FnOnce(&'a Value) -> Option<T>,
) -> Result<Option<T>, Reason> {
    payload.get(name).map(|value| read(value).ok_or(Reason::ClaimType)).transpose()
}

/// Parses the form of RFC 9562 only: no braces, no `urn:uuid:`, hyphens required.
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

    fn check(payload: Value) -> Result<Grant, Reason> {
        let Value::Object(payload) = payload else { panic!("not an object") };
        Grant::of_token(
            &payload,
            &CHANNEL.parse().unwrap(),
            Timestamp::from_unix_millis(NOW * 1000 + 999),
        )
    }

    /// Checks a valid payload with one more claim.
    fn with(name: &str, value: &Value) -> Result<Grant, Reason> {
        check(json!({"aws:channel-arn": CHANNEL, "exp": NOW + 600, name: value}))
    }

    #[test]
    fn minimal_token_plays() {
        let grant = with("iat", &json!(NOW)).unwrap();
        assert_eq!(grant.expires_at, NOW + 600);
        assert!(grant.viewer.is_none() && grant.single_use.is_none());
        assert_eq!(grant.check_origin(&RequestOrigin::Absent), Ok(()));
    }

    #[test]
    fn token_is_for_one_channel() {
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
    fn exp_must_be_integer_in_future() {
        let exp = |exp: Value| check(json!({"aws:channel-arn": CHANNEL, "exp": exp})).err();
        assert_eq!(exp(json!(NOW + 1)), None);
        assert_eq!(exp(json!(NOW)), Some(Reason::Expired));
        assert_eq!(exp(json!(0)), Some(Reason::Expired));
        assert_eq!(exp(json!(-1)), Some(Reason::Expired));
        // In milliseconds, without a viewer: merely far in the future.
        assert_eq!(exp(json!((NOW + 60) * 1000)), None);
        assert_eq!(exp(json!(u64::MAX)), None);
        for wrong in [json!(1_795_337_800.5), json!("1795337800"), json!(null), json!(1e30)] {
            assert_eq!(exp(wrong), Some(Reason::ExpNotInteger));
        }
        assert_eq!(check(json!({"aws:channel-arn": CHANNEL})).err(), Some(Reason::ExpMissing));
    }

    #[test]
    fn viewer_and_single_use_limit_exp_to_600_seconds() {
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
    fn claims_of_wrong_type_are_refused() {
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
    fn strict_enforcement_needs_allowed_origins_and_request_origin() {
        let strict = |origins: Option<&str>, origin: &RequestOrigin| {
            let mut payload = json!({
                "aws:channel-arn": CHANNEL, "exp": NOW + 60, "aws:strict-origin-enforcement": true,
            });
            if let Some(origins) = origins {
                payload["aws:access-control-allow-origin"] = json!(origins);
            }
            check(payload).unwrap().check_origin(origin)
        };
        let from = |origin: &str| RequestOrigin::From(origin.to_owned());
        let five = ["https://a.example"; 5].join(",");
        for none in [None, Some("*")] {
            let result = strict(none, &from("https://a.example"));
            assert_eq!(result, Err(Reason::StrictWithoutOrigin));
        }
        assert_eq!(strict(Some(&five), &from("https://a.example")), Ok(()));
        assert_eq!(strict(Some(&five), &RequestOrigin::Absent), Err(Reason::OriginMissing));
        assert_eq!(strict(Some(&five), &from("https://b.example")), Err(Reason::OriginNotAllowed));
        assert_eq!(strict(Some(&five), &RequestOrigin::Malformed), Err(Reason::OriginNotAllowed));
        let six = format!("{five},https://b.example");
        let result = strict(Some(&six), &from("https://a.example"));
        assert_eq!(result, Err(Reason::TooManyStrictOrigins));
    }

    proptest! {
        #[test]
        fn no_payload_causes_a_panic(name in "aws:[a-z-]{0,30}|exp", text in "\\PC{0,60}", number: i64) {
            let _ = with(&name, &json!(text));
            let _ = with(&name, &json!(number));
            let _ = with("aws:access-control-allow-origin", &json!(text));
        }
    }
}
