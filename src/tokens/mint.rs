//! Making a token: [`prepare`] builds what is to be signed, and [`Prepared::finish`] adds the signature and
//! reads the result again before it leaves.
//!
//! The signer works between the two, so that nothing here waits for a key or reads a clock.

use std::{fmt, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use rand::CryptoRng;
use uuid::Uuid;

use crate::clock::Timestamp;

use super::{
    claims::{LARGE_TOKEN, MAX_TOKEN, MAX_VIEWER_SESSION_VERSION},
    grant::{Grant, Policy, Viewer, Violation},
    payload::{CheckFailure, check, claims},
    token::{HEADER, PlaybackToken, SIGNATURE_LENGTH, Warning, token_id},
};

/// When a token is issued, and what is known of its viewer.
#[derive(Clone, Copy, Debug)]
pub struct Issue {
    /// The time that its lifetime and its session version count from.
    pub at: Timestamp,
    /// Up to which version the viewer was revoked on the channel, if that is known.
    pub last_revoked: Option<i32>,
}

impl Issue {
    /// At `at`, for a viewer who is not known to be revoked.
    pub const fn at(at: Timestamp) -> Self {
        Self { at, last_revoked: None }
    }
}

/// A token without its signature.
pub struct Prepared<'a> {
    grant: &'a Grant,
    policy: &'a Policy,
    /// Header and payload, with room for the signature.
    message: String,
    issued_at: Timestamp,
    last_revoked: Option<i32>,
    viewer_session_version: Option<i64>,
    single_use_uuid: Option<String>,
}

/// Builds the token that `grant` describes, valid from the time of `issue` on.
///
/// # Errors
///
/// - [`MintError::Clock`]: the issue time is no session version that can be revoked.
/// - [`MintError::VersionsExhausted`]: the viewer was revoked up to the highest version.
pub fn prepare<'a>(
    grant: &'a Grant,
    policy: &'a Policy,
    issue: Issue,
    rng: &mut impl CryptoRng,
) -> Result<Prepared<'a>, MintError> {
    let issued_at = issue.at.floor_to_second();
    let viewer_session_version = match grant.terms.viewer().map(Viewer::session_version) {
        Some(None) if policy.stamp_session_version => Some(stamp(issued_at, issue.last_revoked)?),
        asked => asked.flatten(),
    };
    let single_use_uuid = grant.terms.single_use().then(|| random_uuid(rng).to_string());
    let expires_at = issued_at + grant.terms.ttl();
    let claims = claims(grant, expires_at, viewer_session_version, single_use_uuid);
    let payload = serde_json::to_vec(&claims).map_err(|_| CheckFailure::Claims)?;
    // The exact size, so that nothing is copied when the token becomes a secret.
    let mut message = String::with_capacity(token_length(&payload));
    message.push_str(HEADER);
    message.push('.');
    BASE64_URL_SAFE_NO_PAD.encode_string(&payload, &mut message);
    Ok(Prepared {
        grant,
        policy,
        message,
        issued_at,
        last_revoked: issue.last_revoked,
        viewer_session_version,
        single_use_uuid: claims.single_use_uuid,
    })
}

impl fmt::Debug for Prepared<'_> {
    /// Hides the claims, since they name the viewer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").finish_non_exhaustive()
    }
}

impl Prepared<'_> {
    /// Returns the bytes to sign with ECDSA on P-384 and SHA-384.
    pub fn message(&self) -> &[u8] {
        self.message.as_bytes()
    }

    /// Adds the signature: r and s, not DER.
    ///
    /// # Errors
    ///
    /// [`MintError::Check`]: the token does not say what was granted, and was thrown away.
    pub fn finish(self, signature: &[u8; SIGNATURE_LENGTH]) -> Result<Minted, MintError> {
        let Self { grant, policy, message: mut token, issued_at, .. } = self;
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        check(&token, grant, policy, issued_at)?;

        let mut warnings = Vec::new();
        // IVS treats a token without a version as version 0.
        if let Some(last) = self.last_revoked
            && grant.terms.viewer().is_some()
            && self.viewer_session_version.unwrap_or(0) <= i64::from(last)
        {
            warnings.push(Warning::session_revoked(last));
        }
        if token.len() > LARGE_TOKEN {
            warnings.push(Warning::token_over_2kb(token.len()));
        }
        let expires_in = grant.terms.ttl();
        Ok(Minted {
            token_id: token_id(&token),
            issued_at,
            expires_at: issued_at + expires_in,
            refresh_after: issued_at + Duration::from_secs(expires_in.as_secs() * 2 / 3),
            expires_in,
            viewer_session_version: self.viewer_session_version,
            single_use_uuid: self.single_use_uuid,
            token: PlaybackToken::new(token),
            warnings,
        })
    }
}

/// A token and what is known about it.
#[derive(Debug)]
pub struct Minted {
    /// The token.
    pub token: PlaybackToken,
    /// Its [`token_id`].
    pub token_id: String,
    /// The time of issue, without its fraction of a second.
    pub issued_at: Timestamp,
    /// `exp`: the time until which the token starts playback.
    pub expires_at: Timestamp,
    /// Two thirds of the lifetime, rounded down: a player that has not started by then fetches a
    /// new token first.
    pub refresh_after: Timestamp,
    /// The lifetime.
    pub expires_in: Duration,
    /// `aws:viewer-session-version`, whether requested or stamped.
    pub viewer_session_version: Option<i64>,
    /// `aws:single-use-uuid`.
    pub single_use_uuid: Option<String>,
    /// Warnings for the caller, although the token is valid.
    pub warnings: Vec<Warning>,
}

/// Why no token was minted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MintError {
    /// The session version is stamped with the issue time, which must fit the 31 bits of the revocation
    /// call: it does from 1970 to January 2038.
    #[error(
        "the clock shows a time that cannot be a session version; set the clock, send \
         viewerSessionVersion, or set tokens.stamp_session_version to false"
    )]
    Clock,
    /// The viewer was revoked up to the highest version that a token may have.
    #[error(
        "the viewer was revoked up to version {MAX_VIEWER_SESSION_VERSION}, the highest one, so no \
         token can play on this channel; use another viewerId"
    )]
    VersionsExhausted,
    /// The finished token failed its check. This is a bug of this service.
    #[error("the token does not say what was granted ({0}); please report this")]
    Check(#[from] CheckFailure),
}

/// Checks that the token of a grant is at most [`MAX_TOKEN`] long, without signing one.
///
/// # Errors
///
/// It is longer. Only its origins can make it so: every other claim is short.
pub fn check_size(grant: &Grant) -> Result<(), Violation> {
    if grant.terms.allowed_origins().is_none() {
        return Ok(());
    }
    // Every time until the year 2286 has ten digits, as has the highest version.
    let expires_at = Timestamp::from_unix_seconds(4_102_444_800);
    let version = grant
        .terms
        .viewer()
        .map(|viewer| viewer.session_version().unwrap_or(MAX_VIEWER_SESSION_VERSION));
    let uuid = grant.terms.single_use().then(|| Uuid::nil().to_string());
    let claims = claims(grant, expires_at, version, uuid);
    let length = serde_json::to_vec(&claims).map_or(usize::MAX, |payload| token_length(&payload));
    if length <= MAX_TOKEN {
        return Ok(());
    }
    Err(Violation {
        pointer: "/allowedOrigins".to_owned(),
        detail: format!(
            "With these allowedOrigins the token would have {length} bytes, and at most {MAX_TOKEN} \
             are allowed. Name fewer origins (a host may begin with *., as in \
             https://*.example.com)."
        ),
    })
}

/// Returns the issue time as a session version, so that "revoke everything until now" needs no list. It is higher than
/// the version up to which the viewer was revoked.
fn stamp(issued_at: Timestamp, last_revoked: Option<i32>) -> Result<i64, MintError> {
    let now = issued_at.unix_seconds();
    if !(0..=MAX_VIEWER_SESSION_VERSION).contains(&now) {
        return Err(MintError::Clock);
    }
    let version = last_revoked.map_or(now, |last| now.max(i64::from(last) + 1));
    if version > MAX_VIEWER_SESSION_VERSION {
        return Err(MintError::VersionsExhausted);
    }
    Ok(version)
}

fn random_uuid(rng: &mut impl CryptoRng) -> Uuid {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// Returns the length of a token with this payload.
fn token_length(payload: &[u8]) -> usize {
    let encoded = |length: usize| (length * 4).div_ceil(3);
    HEADER.len() + encoded(payload.len()) + encoded(SIGNATURE_LENGTH) + 2
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::tokens::{
        grant::{MintRequest, Terms},
        testing::{CHANNEL, TestKey},
        token::WarningCode,
    };

    const POLICY: Policy = Policy {
        default_ttl: Duration::from_mins(5),
        max_ttl: Duration::from_hours(1),
        stamp_session_version: true,
    };
    const NOW: Timestamp = Timestamp::from_unix_millis(1_795_337_700_900);

    fn grant(request: MintRequest) -> Grant {
        Grant { channel: CHANNEL.parse().unwrap(), terms: Terms::parse(request, &POLICY).unwrap() }
    }

    fn everything() -> MintRequest {
        MintRequest {
            channel: CHANNEL.to_owned(),
            viewer_id: Some("viewer \"1\"".to_owned()),
            viewer_session_version: None,
            allowed_origins: Some(vec![
                "https://example.com".to_owned(),
                "https://*.example.com".to_owned(),
            ]),
            strict_origin_enforcement: Some(true),
            single_use: Some(true),
            maximum_resolution: Some("FULL_HD".to_owned()),
            ttl_seconds: None,
        }
    }

    fn mint(grant: &Grant, policy: &Policy, issue: Issue) -> Result<Minted, MintError> {
        prepare(grant, policy, issue, &mut StdRng::seed_from_u64(1))?.finish(&[0; SIGNATURE_LENGTH])
    }

    fn mint_with(
        request: MintRequest,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<Minted, MintError> {
        mint(&grant(request), policy, Issue::at(now))
    }

    fn payload(token: &PlaybackToken) -> String {
        let payload = token.expose().split('.').nth(1).unwrap();
        String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
    }

    #[test]
    fn header_constant_is_the_header() {
        let header = BASE64_URL_SAFE_NO_PAD.decode(HEADER).unwrap();
        assert_eq!(header, br#"{"alg":"ES384","typ":"JWT"}"#);
    }

    #[test]
    fn claims_that_were_not_requested_are_absent() {
        let minted = mint_with(MintRequest::default(), &POLICY, NOW).unwrap();
        assert_eq!(
            payload(&minted.token),
            r#"{"aws:channel-arn":"arn:aws:ivs:us-west-2:123456789012:channel/AbCdEfGh1234","exp":1795338000}"#
        );
        assert_eq!(minted.viewer_session_version, None);
        assert_eq!(minted.single_use_uuid, None);
    }

    #[test]
    fn claims_are_in_the_order_of_the_contract() {
        let minted = mint_with(everything(), &POLICY, NOW).unwrap();
        let uuid = minted.single_use_uuid.unwrap();
        assert_eq!(uuid.parse::<Uuid>().unwrap().get_version_num(), 4);
        assert_eq!(
            payload(&minted.token),
            format!(
                concat!(
                    r#"{{"aws:channel-arn":"arn:aws:ivs:us-west-2:123456789012:channel/AbCdEfGh1234","#,
                    r#""aws:access-control-allow-origin":"https://example.com,https://*.example.com","#,
                    r#""aws:strict-origin-enforcement":true,"aws:single-use-uuid":"{}","#,
                    r#""aws:viewer-id":"viewer \"1\"","aws:viewer-session-version":1795337700,"#,
                    r#""aws:maximum-resolution":"FULL_HD","exp":1795338000}}"#
                ),
                uuid
            )
        );
    }

    #[test]
    fn times_are_whole_seconds_from_the_issue_time() {
        let minted = mint_with(MintRequest::default(), &POLICY, NOW).unwrap();
        assert_eq!(minted.issued_at.to_string(), "2026-11-22T08:55:00Z");
        assert_eq!(minted.expires_at.to_string(), "2026-11-22T09:00:00Z");
        assert_eq!(minted.refresh_after.to_string(), "2026-11-22T08:58:20Z");
        assert_eq!(minted.expires_in, Duration::from_mins(5));
    }

    #[test]
    fn session_version_is_stamped_only_for_viewers_without_one() {
        let version =
            |request, policy| mint_with(request, policy, NOW).unwrap().viewer_session_version;
        let viewer = || MintRequest { viewer_id: Some("v".to_owned()), ..MintRequest::default() };
        let unstamped = Policy { stamp_session_version: false, ..POLICY };
        assert_eq!(version(viewer(), &POLICY), Some(1_795_337_700));
        assert_eq!(version(viewer(), &unstamped), None);
        assert_eq!(version(MintRequest::default(), &POLICY), None);
        let asked = MintRequest { viewer_session_version: Some(7), ..viewer() };
        assert_eq!(version(asked, &POLICY), Some(7));
    }

    #[test]
    fn clock_that_cannot_be_a_session_version_is_an_error() {
        let viewer = || MintRequest { viewer_id: Some("v".to_owned()), ..MintRequest::default() };
        for seconds in [-1, MAX_VIEWER_SESSION_VERSION + 1] {
            let now = Timestamp::from_unix_seconds(seconds);
            assert_eq!(mint_with(viewer(), &POLICY, now).unwrap_err(), MintError::Clock);
            let asked = MintRequest { viewer_session_version: Some(7), ..viewer() };
            assert!(mint_with(asked, &POLICY, now).is_ok());
        }
    }

    #[test]
    fn signature_verifies_and_token_id_is_that_of_the_token() {
        let key = TestKey::generate();
        let public = key.public_key();
        let (grant, mut rng) = (grant(everything()), StdRng::seed_from_u64(1));
        let prepared = prepare(&grant, &POLICY, Issue::at(NOW), &mut rng).unwrap();
        let signature = key.sign(prepared.message());
        let minted = prepared.finish(&signature).unwrap();
        let (message, signature) = minted.token.expose().rsplit_once('.').unwrap();
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
        UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, public.as_sec1_point())
            .verify(message.as_bytes(), &signature)
            .unwrap();
        assert_eq!(minted.token_id, token_id(minted.token.expose()));
    }

    #[test]
    fn large_token_gets_a_warning() {
        let origins = (0..100).map(|n| format!("https://site-{n}.example.com")).collect();
        let request = MintRequest { allowed_origins: Some(origins), ..MintRequest::default() };
        let minted = mint_with(request, &POLICY, NOW).unwrap();
        assert!(minted.token.expose().len() > LARGE_TOKEN);
        assert_eq!(minted.warnings.len(), 1);
        assert_eq!(minted.warnings[0].code, WarningCode::TokenOver2Kb);
    }

    #[test]
    fn size_check_predicts_the_length_and_refuses_over_8_kib() {
        let with = |count: usize, last: &str| {
            let origins = (0..count).map(|number| format!("https://site-{number:03}.example"));
            let origins = origins.chain([format!("https://{last}.example")]).collect();
            MintRequest { allowed_origins: Some(origins), ..everything_but_strict() }
        };
        let mut longest = 0;
        for length in 1..40 {
            let request = with(227, &"a".repeat(length));
            let token = mint_with(request.clone(), &POLICY, NOW).unwrap().token;
            let length = token.expose().len();
            let checked = check_size(&grant(request));
            assert_eq!(checked.is_ok(), length <= MAX_TOKEN, "{length}");
            match checked {
                Ok(()) => longest = length,
                Err(violation) => {
                    assert_eq!(violation.pointer, "/allowedOrigins");
                    assert!(violation.detail.contains(&format!("{length} bytes")));
                }
            }
        }
        assert!((MAX_TOKEN - 3..=MAX_TOKEN).contains(&longest), "{longest}");
    }

    fn everything_but_strict() -> MintRequest {
        MintRequest { strict_origin_enforcement: None, ..everything() }
    }

    #[test]
    fn stamp_exceeds_the_last_revoked_version() {
        let viewer = || MintRequest { viewer_id: Some("v".to_owned()), ..MintRequest::default() };
        let mint = |request: MintRequest, policy: &Policy, last| {
            mint(&grant(request), policy, Issue { at: NOW, last_revoked: Some(last) })
        };
        let now = i32::try_from(NOW.unix_seconds()).unwrap();
        for (last, version) in [(0, now), (now - 1, now), (now, now + 1), (now + 5, now + 6)] {
            let minted = mint(viewer(), &POLICY, last).unwrap();
            assert_eq!(minted.viewer_session_version, Some(i64::from(version)), "{last}");
            assert_eq!(minted.warnings, []);
        }
        let highest = mint(viewer(), &POLICY, i32::MAX - 1).unwrap();
        assert_eq!(highest.viewer_session_version, Some(MAX_VIEWER_SESSION_VERSION));
        assert_eq!(mint(viewer(), &POLICY, i32::MAX).unwrap_err(), MintError::VersionsExhausted);

        // A token that would never play gets a warning.
        let code = |request, policy, last| mint(request, policy, last).unwrap().warnings[0].code;
        let asked = |version| MintRequest { viewer_session_version: Some(version), ..viewer() };
        assert_eq!(code(asked(7), &POLICY, 7), WarningCode::SessionRevoked);
        assert_eq!(mint(asked(8), &POLICY, 7).unwrap().warnings, []);
        let unstamped = Policy { stamp_session_version: false, ..POLICY };
        assert_eq!(code(viewer(), &unstamped, 0), WarningCode::SessionRevoked);
        assert_eq!(mint(MintRequest::default(), &POLICY, now + 5).unwrap().warnings, []);
    }

    #[test]
    fn debug_never_shows_the_token() {
        let minted = mint_with(everything(), &POLICY, NOW).unwrap();
        let debug = format!("{minted:?} {:?}", grant(everything()));
        for part in minted.token.expose().split('.') {
            assert!(!debug.contains(part));
        }
        assert!(!debug.contains("viewer \"1\"") && !debug.contains("viewer \\\"1"));
    }
}
