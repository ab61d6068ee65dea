//! The payload of a token: its claims, as Amazon IVS documents them. [`claims`] builds them from a grant, and [`check`]
//! compares a finished token with its grant.
//!
//! Source: the IVS user guide, "Generate and Sign IVS Playback Tokens". The claims are a struct and never a map, so
//! that a misspelt name cannot be minted and the type of `exp` is whole seconds.
//!
//! The check is the last step before a token is sent, and it does not rely on the code that made the token: it parses
//! the claims of the finished token and compares its lifetime with every limit. It takes less than a microsecond; the
//! signature takes at least 70, and verifying it would take longer still.

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

use super::{
    claims::{CAPPED_TTL, MaximumResolution},
    grant::{Grant, Policy},
    origin::AllowedOrigins,
    token::{HEADER, SIGNATURE_LENGTH},
};

/// `aws:channel-arn`: the channel that the token plays.
pub const CHANNEL_ARN: &str = "aws:channel-arn";
/// `aws:access-control-allow-origin`: origins that may play, joined by commas.
pub const ALLOW_ORIGIN: &str = "aws:access-control-allow-origin";
/// `aws:strict-origin-enforcement`: the origin is checked on every request.
pub const STRICT_ORIGIN: &str = "aws:strict-origin-enforcement";
/// `aws:single-use-uuid`: the token starts playback once.
pub const SINGLE_USE_UUID: &str = "aws:single-use-uuid";
/// `aws:viewer-id`: the viewer, whose sessions can be revoked.
pub const VIEWER_ID: &str = "aws:viewer-id";
/// `aws:viewer-session-version`: which of the viewer's sessions a revocation ends.
pub const VIEWER_SESSION_VERSION: &str = "aws:viewer-session-version";
/// `aws:maximum-resolution`: the best rendition that the token plays.
pub const MAXIMUM_RESOLUTION: &str = "aws:maximum-resolution";
/// `exp`: the time until which the token starts playback, in Unix seconds.
pub const EXP: &str = "exp";

/// Every claim that IVS defines, in the order in which they are written.
pub const AWS_CLAIMS: [&str; 7] = [
    CHANNEL_ARN,
    ALLOW_ORIGIN,
    STRICT_ORIGIN,
    SINGLE_USE_UUID,
    VIEWER_ID,
    VIEWER_SESSION_VERSION,
    MAXIMUM_RESOLUTION,
];

/// [`SIGNATURE_LENGTH`] in base64url.
const ENCODED_SIGNATURE_LENGTH: usize = SIGNATURE_LENGTH / 3 * 4;

/// The claims of one token. A claim that was not requested is absent, and a claim that IVS does not define is
/// refused when a finished token is read back.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlaybackClaims<'a> {
    #[serde(borrow, rename = "aws:channel-arn")]
    pub(super) channel_arn: Cow<'a, str>,
    #[serde(
        borrow,
        rename = "aws:access-control-allow-origin",
        skip_serializing_if = "Option::is_none"
    )]
    pub(super) allow_origin: Option<Cow<'a, str>>,
    #[serde(rename = "aws:strict-origin-enforcement", default, skip_serializing_if = "is_false")]
    pub(super) strict_origin_enforcement: bool,
    #[serde(rename = "aws:single-use-uuid", skip_serializing_if = "Option::is_none")]
    pub(super) single_use_uuid: Option<String>,
    #[serde(borrow, rename = "aws:viewer-id", skip_serializing_if = "Option::is_none")]
    pub(super) viewer_id: Option<Cow<'a, str>>,
    #[serde(rename = "aws:viewer-session-version", skip_serializing_if = "Option::is_none")]
    pub(super) viewer_session_version: Option<i64>,
    #[serde(borrow, rename = "aws:maximum-resolution", skip_serializing_if = "Option::is_none")]
    pub(super) maximum_resolution: Option<Cow<'a, str>>,
    pub(super) exp: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

/// Returns the claims of the token that `grant` describes.
pub(super) fn claims(
    grant: &Grant,
    expires_at: Timestamp,
    viewer_session_version: Option<i64>,
    single_use_uuid: Option<String>,
) -> PlaybackClaims<'_> {
    let terms = &grant.terms;
    PlaybackClaims {
        channel_arn: Cow::Borrowed(grant.channel.as_str()),
        allow_origin: terms.allowed_origins().map(|origins| Cow::Borrowed(origins.as_claim())),
        strict_origin_enforcement: terms.strict_origin_enforcement(),
        single_use_uuid,
        viewer_id: terms.viewer().map(|viewer| Cow::Borrowed(viewer.id().as_str())),
        viewer_session_version,
        maximum_resolution: terms
            .maximum_resolution()
            .map(|resolution| Cow::Borrowed(resolution.as_str())),
        exp: expires_at.unix_seconds(),
    }
}

/// Checks a finished token against its grant.
///
/// # Errors
///
/// The first property that does not hold.
pub(super) fn check(
    token: &str,
    grant: &Grant,
    policy: &Policy,
    issued_at: Timestamp,
) -> Result<(), CheckFailure> {
    let (payload, signature) = token
        .strip_prefix(HEADER)
        .and_then(|rest| rest.strip_prefix('.'))
        .and_then(|rest| rest.split_once('.'))
        .ok_or(CheckFailure::Form)?;
    if signature.len() != ENCODED_SIGNATURE_LENGTH {
        return Err(CheckFailure::Form);
    }
    let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).map_err(|_| CheckFailure::Form)?;
    let claims: PlaybackClaims<'_> =
        serde_json::from_slice(&payload).map_err(|_| CheckFailure::Claims)?;

    let terms = &grant.terms;
    let says_what_was_granted = claims.channel_arn == grant.channel.as_str()
        && claims.allow_origin.as_deref() == terms.allowed_origins().map(AllowedOrigins::as_claim)
        && claims.strict_origin_enforcement == terms.strict_origin_enforcement()
        && claims.single_use_uuid.is_some() == terms.single_use()
        && claims.viewer_id.as_deref() == terms.viewer().map(|viewer| viewer.id().as_str())
        && (claims.viewer_session_version.is_none() || terms.viewer().is_some())
        && claims.maximum_resolution.as_deref()
            == terms.maximum_resolution().map(MaximumResolution::as_str);
    if !says_what_was_granted {
        return Err(CheckFailure::Claims);
    }
    let limit = if terms.is_capped() { policy.max_ttl.min(CAPPED_TTL) } else { policy.max_ttl };
    let lifetime = Timestamp::from_unix_seconds(claims.exp).saturating_since(issued_at);
    if lifetime != terms.ttl() || lifetime > limit || lifetime.is_zero() {
        return Err(CheckFailure::Lifetime);
    }
    Ok(())
}

/// Which property of a finished token did not hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CheckFailure {
    /// The token does not consist of our header, a payload and a whole signature.
    #[error("its form")]
    Form,
    /// The claims are not those of the grant, or include one that IVS does not define.
    #[error("its claims")]
    Claims,
    /// The lifetime is not that of the grant, or exceeds a limit.
    #[error("its lifetime")]
    Lifetime,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::tokens::{
        grant::{MintRequest, Terms},
        testing::CHANNEL,
    };

    const NOW: i64 = 1_795_337_700;
    const POLICY: Policy = Policy {
        default_ttl: Duration::from_mins(5),
        max_ttl: Duration::from_hours(1),
        stamp_session_version: true,
    };

    fn granted() -> Grant {
        let terms = MintRequest {
            viewer_id: Some("v".to_owned()),
            allowed_origins: Some(vec!["https://a.test".to_owned()]),
            strict_origin_enforcement: Some(true),
            single_use: Some(true),
            maximum_resolution: Some("HD".to_owned()),
            ..MintRequest::default()
        };
        let terms = Terms::parse(terms, &POLICY).unwrap();
        Grant { channel: CHANNEL.parse().unwrap(), terms }
    }

    /// What is granted, with one claim changed; `null` takes it away.
    fn with(name: &str, value: Value) -> Value {
        let mut claims = json!({
            "aws:channel-arn": CHANNEL,
            "aws:access-control-allow-origin": "https://a.test",
            "aws:strict-origin-enforcement": true,
            "aws:single-use-uuid": "c0ffee00-1234-4abc-8def-0123456789ab",
            "aws:viewer-id": "v",
            "aws:viewer-session-version": NOW,
            "aws:maximum-resolution": "HD",
            "exp": NOW + 300,
        });
        let members = claims.as_object_mut().unwrap();
        if value.is_null() {
            members.remove(name);
        } else {
            members.insert(name.to_owned(), value);
        }
        claims
    }

    fn token(claims: &Value) -> String {
        let payload = BASE64_URL_SAFE_NO_PAD.encode(claims.to_string());
        format!("{HEADER}.{payload}.{}", "A".repeat(ENCODED_SIGNATURE_LENGTH))
    }

    fn verdict(token: &str, policy: &Policy) -> Result<(), CheckFailure> {
        check(token, &granted(), policy, Timestamp::from_unix_seconds(NOW))
    }

    #[test]
    fn token_that_says_what_was_granted_passes() {
        assert_eq!(verdict(&token(&with("exp", json!(NOW + 300))), &POLICY), Ok(()));
        let unversioned = with("aws:viewer-session-version", Value::Null);
        assert_eq!(verdict(&token(&unversioned), &POLICY), Ok(()));
    }

    #[test]
    fn claim_that_was_not_granted_is_refused() {
        for (name, value) in [
            ("aws:channel-arn", json!("arn:aws:ivs:us-west-2:123456789012:channel/Other")),
            ("aws:access-control-allow-origin", json!("*")),
            ("aws:access-control-allow-origin", Value::Null),
            ("aws:strict-origin-enforcement", Value::Null),
            ("aws:single-use-uuid", Value::Null),
            ("aws:viewer-id", json!("w")),
            ("aws:viewer-id", Value::Null),
            ("aws:maximum-resolution", json!("FULL_HD")),
            ("exp", Value::Null),
            ("exp", json!(1.5)),
            ("sub", json!("v")),
        ] {
            let claims = with(name, value);
            assert_eq!(verdict(&token(&claims), &POLICY), Err(CheckFailure::Claims), "{claims}");
        }
    }

    #[test]
    fn lifetime_that_was_not_granted_is_refused() {
        for exp in [NOW, NOW - 1, NOW + 299, NOW + 301, (NOW + 300) * 1000] {
            let token = token(&with("exp", json!(exp)));
            assert_eq!(verdict(&token, &POLICY), Err(CheckFailure::Lifetime), "{exp}");
        }
        let tighter = Policy { max_ttl: Duration::from_mins(1), ..POLICY };
        let token = token(&with("exp", json!(NOW + 300)));
        assert_eq!(verdict(&token, &tighter), Err(CheckFailure::Lifetime));
    }

    #[test]
    fn malformed_token_is_refused() {
        let good = token(&with("exp", json!(NOW + 300)));
        let other_header = good.replacen("eyJ", "eyK", 1);
        for bad in ["", "a.b.c", &good[1..], &good[..good.len() - 1], &other_header] {
            assert_eq!(verdict(bad, &POLICY), Err(CheckFailure::Form), "{bad}");
        }
    }
}
