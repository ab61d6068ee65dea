//! The last check of a token before it is sent: do its bytes say what was granted?
//!
//! The check does not rely on the code that made the token: it parses the claims of the finished token and compares
//! its lifetime with every limit. It takes less than a microsecond; the signature takes at least 70, and verifying it
//! would take longer still.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::clock::Timestamp;

use super::{
    claims::{CAPPED_TTL, MaximumResolution, PlaybackClaims},
    grant::{Grant, Policy},
    origin::AllowedOrigins,
    token::{HEADER, SIGNATURE_LENGTH},
};

/// [`SIGNATURE_LENGTH`] in base64url.
const ENCODED_SIGNATURE_LENGTH: usize = SIGNATURE_LENGTH / 3 * 4;

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
