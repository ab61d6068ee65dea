//! Making a token: build the claims, sign them, read the result again before it leaves.
//!
//! The three steps are separate functions, so that each can be tested alone. No step parses a key,
//! looks at a clock or waits for anything.

use std::{convert::Infallible, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use rand::CryptoRng;
use uuid::Uuid;

use crate::{clock::Timestamp, keys::signer::Signer};

use super::{
    check::check,
    claims::{LARGE_TOKEN, MAX_TOKEN, MAX_VIEWER_SESSION_VERSION, PlaybackClaims, SingleUseId},
    grant::{Grant, Policy, Viewer, Violation},
    origin::AllowedOrigins,
};

pub use super::{
    check::CheckFailure,
    token::{PlaybackToken, Warning, WarningCode, token_id},
};
/// Bytes of an ES384 signature as JWS writes it: r and s, 48 bytes each.
pub use crate::keys::signer::SIGNATURE_LENGTH;

/// The header of every token, `{"alg":"ES384","typ":"JWT"}`, in base64url. IVS documents these two
/// members and no `kid`.
pub(super) const HEADER: &str = "eyJhbGciOiJFUzM4NCIsInR5cCI6IkpXVCJ9";

/// A key that signs tokens with ES384.
pub trait Sign {
    /// Signs a message with ECDSA on P-384 and SHA-384. The signature is r and s, not DER.
    ///
    /// # Errors
    ///
    /// The key cannot sign.
    fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LENGTH], SignError>;
}

/// The signing key failed. The cryptographic library gives no cause.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the signing key could not sign; check that the key pair is one of P-384")]
pub struct SignError;

impl Sign for Signer {
    fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LENGTH], SignError> {
        Self::sign(self, message).map_err(|_| SignError)
    }
}

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

/// Mints the token that `grant` describes, valid from the time of `issue` on.
///
/// # Errors
///
/// - [`MintError::Sign`]: the key failed.
/// - [`MintError::Clock`]: the issue time is no session version that can be revoked.
/// - [`MintError::VersionsExhausted`]: the viewer was revoked up to the highest version.
/// - [`MintError::Check`]: the token does not say what was granted, and was thrown away.
pub fn mint(
    grant: &Grant,
    policy: &Policy,
    signer: &(impl Sign + ?Sized),
    issue: Issue,
    rng: &mut impl CryptoRng,
) -> Result<Minted, MintError> {
    let issued_at = issue.at.floor_to_second();
    let expires_in = grant.terms.ttl();
    let version = session_version(grant, policy, || stamp(issued_at, issue.last_revoked))?;
    let uuid = grant.terms.single_use().then(|| random_uuid(rng));
    let claims = build(grant, issued_at + expires_in, version, uuid);
    let token = sign(&claims, signer)?;
    check(&token, grant, policy, issued_at)?;

    let mut warnings = Vec::new();
    // IVS takes a token without a version for version 0.
    if let Some(last) = issue.last_revoked
        && grant.terms.viewer().is_some()
        && version.unwrap_or(0) <= i64::from(last)
    {
        warnings.push(Warning::session_revoked(last));
    }
    if token.len() > LARGE_TOKEN {
        warnings.push(Warning::token_over_2kb(token.len()));
    }
    Ok(Minted {
        token_id: token_id(&token),
        issued_at,
        expires_at: issued_at + expires_in,
        refresh_after: issued_at + Duration::from_secs(expires_in.as_secs() * 2 / 3),
        expires_in,
        viewer_session_version: claims.viewer_session_version,
        single_use_uuid: claims.single_use_uuid.map(|id| id.0),
        token: PlaybackToken::new(token),
        warnings,
    })
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
    /// `exp`: until when it starts playback.
    pub expires_at: Timestamp,
    /// Two thirds of the lifetime, rounded down: a player that has not started by then fetches a
    /// new token first.
    pub refresh_after: Timestamp,
    /// The lifetime.
    pub expires_in: Duration,
    /// `aws:viewer-session-version`, whether asked for or stamped.
    pub viewer_session_version: Option<i64>,
    /// `aws:single-use-uuid`.
    pub single_use_uuid: Option<Uuid>,
    /// What the caller should know, though the token is good.
    pub warnings: Vec<Warning>,
}

/// Why no token was minted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MintError {
    /// The signing key failed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The session version is stamped with the issue time, which must fit the 31 bits of the
    /// revocation call: it does from 1970 to January 2038.
    #[error(
        "the clock shows a time that cannot be a session version; set the clock, send \
         viewerSessionVersion, or set tokens.stamp_session_version to false"
    )]
    Clock,
    /// The viewer was revoked up to the highest version that a token may have.
    #[error(
        "the viewer was revoked up to version {MAX_VIEWER_SESSION_VERSION}, the highest one, so no \
         token can play again on this channel; use another viewerId"
    )]
    VersionsExhausted,
    /// The finished token failed its check. This is a bug of this service.
    #[error("the token that was made is not what was granted ({0}); please report this")]
    Check(#[from] CheckFailure),
}

/// Checks that the token of a grant is at most [`MAX_TOKEN`] long, without signing one.
///
/// # Errors
///
/// It is longer. Only its origins can make it so: every other claim is short.
pub fn check_size(grant: &Grant, policy: &Policy) -> Result<(), Violation> {
    // Every time until the year 2286 has ten digits, as has the highest version.
    let expires_at = Timestamp::from_unix_seconds(4_102_444_800);
    let stamp = || Ok::<_, Infallible>(MAX_VIEWER_SESSION_VERSION);
    let Ok(version) = session_version(grant, policy, stamp);
    let uuid = grant.terms.single_use().then(|| SingleUseId(Uuid::nil()));
    let claims = build(grant, expires_at, version, uuid);
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

fn build(
    grant: &Grant,
    expires_at: Timestamp,
    viewer_session_version: Option<i64>,
    single_use_uuid: Option<SingleUseId>,
) -> PlaybackClaims<'_> {
    let terms = &grant.terms;
    PlaybackClaims {
        channel_arn: &grant.channel,
        allow_origin: terms.allowed_origins().map(AllowedOrigins::as_claim),
        strict_origin_enforcement: terms.strict_origin_enforcement().then_some(true),
        single_use_uuid,
        viewer_id: terms.viewer().map(|viewer| viewer.id().as_str()),
        viewer_session_version,
        maximum_resolution: terms.maximum_resolution(),
        exp: expires_at.unix_seconds(),
    }
}

/// The version that was asked for, or the stamp where the policy wants one.
fn session_version<E>(
    grant: &Grant,
    policy: &Policy,
    stamp: impl FnOnce() -> Result<i64, E>,
) -> Result<Option<i64>, E> {
    match grant.terms.viewer().map(Viewer::session_version) {
        Some(None) if policy.stamp_session_version => stamp().map(Some),
        asked => Ok(asked.flatten()),
    }
}

/// The issue time as a session version, so that "revoke everything until now" needs no list; above
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

fn random_uuid(rng: &mut impl CryptoRng) -> SingleUseId {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    SingleUseId(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

fn sign(claims: &PlaybackClaims<'_>, signer: &(impl Sign + ?Sized)) -> Result<String, MintError> {
    let payload = serde_json::to_vec(claims).map_err(|_| MintError::Check(CheckFailure::Claims))?;
    // Exact, so that nothing is copied when the token becomes a secret.
    let mut token = String::with_capacity(token_length(&payload));
    token.push_str(HEADER);
    token.push('.');
    BASE64_URL_SAFE_NO_PAD.encode_string(&payload, &mut token);
    let signature = signer.sign(token.as_bytes())?;
    token.push('.');
    BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

/// How long a token with this payload is.
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
        grant::{Terms, TermsRequest},
        testing::{CHANNEL, TestKey},
    };

    const POLICY: Policy = Policy {
        default_ttl: Duration::from_mins(5),
        max_ttl: Duration::from_hours(1),
        stamp_session_version: true,
    };
    const NOW: Timestamp = Timestamp::from_unix_millis(1_795_337_700_900);

    /// Signs everything with zeros.
    struct Zeros;

    impl Sign for Zeros {
        fn sign(&self, _: &[u8]) -> Result<[u8; SIGNATURE_LENGTH], SignError> {
            Ok([0; SIGNATURE_LENGTH])
        }
    }

    struct Broken;

    impl Sign for Broken {
        fn sign(&self, _: &[u8]) -> Result<[u8; SIGNATURE_LENGTH], SignError> {
            Err(SignError)
        }
    }

    fn grant(request: TermsRequest) -> Grant {
        Grant { channel: CHANNEL.parse().unwrap(), terms: Terms::parse(request, &POLICY).unwrap() }
    }

    fn everything() -> TermsRequest {
        TermsRequest {
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
            unreadable: Vec::new(),
        }
    }

    fn mint_with(
        request: TermsRequest,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<Minted, MintError> {
        mint(&grant(request), policy, &Zeros, Issue::at(now), &mut StdRng::seed_from_u64(1))
    }

    fn payload(token: &PlaybackToken) -> String {
        let payload = token.expose().split('.').nth(1).unwrap();
        String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
    }

    #[test]
    fn the_header_constant_is_the_header() {
        let header = BASE64_URL_SAFE_NO_PAD.decode(HEADER).unwrap();
        assert_eq!(header, br#"{"alg":"ES384","typ":"JWT"}"#);
    }

    #[test]
    fn only_the_claims_asked_for_are_written() {
        let minted = mint_with(TermsRequest::default(), &POLICY, NOW).unwrap();
        assert_eq!(
            payload(&minted.token),
            r#"{"aws:channel-arn":"arn:aws:ivs:us-west-2:123456789012:channel/AbCdEfGh1234","exp":1795338000}"#
        );
        assert_eq!(minted.viewer_session_version, None);
        assert_eq!(minted.single_use_uuid, None);
    }

    #[test]
    fn claims_stand_in_the_order_of_the_contract() {
        let minted = mint_with(everything(), &POLICY, NOW).unwrap();
        let uuid = minted.single_use_uuid.unwrap();
        assert_eq!(uuid.get_version_num(), 4);
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
        let minted = mint_with(TermsRequest::default(), &POLICY, NOW).unwrap();
        assert_eq!(minted.issued_at.to_string(), "2026-11-22T08:55:00Z");
        assert_eq!(minted.expires_at.to_string(), "2026-11-22T09:00:00Z");
        assert_eq!(minted.refresh_after.to_string(), "2026-11-22T08:58:20Z");
        assert_eq!(minted.expires_in, Duration::from_mins(5));
    }

    #[test]
    fn the_session_version_is_stamped_only_where_it_means_something() {
        let version =
            |request, policy| mint_with(request, policy, NOW).unwrap().viewer_session_version;
        let viewer = || TermsRequest { viewer_id: Some("v".to_owned()), ..TermsRequest::default() };
        let unstamped = Policy { stamp_session_version: false, ..POLICY };
        assert_eq!(version(viewer(), &POLICY), Some(1_795_337_700));
        assert_eq!(version(viewer(), &unstamped), None);
        assert_eq!(version(TermsRequest::default(), &POLICY), None);
        let asked = TermsRequest { viewer_session_version: Some(7), ..viewer() };
        assert_eq!(version(asked, &POLICY), Some(7));
    }

    #[test]
    fn a_clock_that_cannot_be_a_session_version_is_an_error() {
        let viewer = || TermsRequest { viewer_id: Some("v".to_owned()), ..TermsRequest::default() };
        for seconds in [-1, MAX_VIEWER_SESSION_VERSION + 1] {
            let now = Timestamp::from_unix_seconds(seconds);
            assert_eq!(mint_with(viewer(), &POLICY, now).unwrap_err(), MintError::Clock);
            let asked = TermsRequest { viewer_session_version: Some(7), ..viewer() };
            assert!(mint_with(asked, &POLICY, now).is_ok());
        }
    }

    #[test]
    fn the_signature_verifies_and_the_id_is_of_the_token() {
        let key = TestKey::generate();
        let public = key.public_key();
        let key: &dyn Sign = &key;
        let mut rng = StdRng::seed_from_u64(1);
        let minted = mint(&grant(everything()), &POLICY, key, Issue::at(NOW), &mut rng).unwrap();
        let (message, signature) = minted.token.expose().rsplit_once('.').unwrap();
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
        UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, public.as_sec1_point())
            .verify(message.as_bytes(), &signature)
            .unwrap();
        assert_eq!(minted.token_id, token_id(minted.token.expose()));
    }

    #[test]
    fn a_key_that_fails_is_told() {
        let minted = mint(
            &grant(TermsRequest::default()),
            &POLICY,
            &Broken,
            Issue::at(NOW),
            &mut StdRng::seed_from_u64(1),
        );
        assert_eq!(minted.unwrap_err(), MintError::Sign(SignError));
    }

    #[test]
    fn a_large_token_is_warned_about() {
        let origins = (0..100).map(|n| format!("https://site-{n}.example.com")).collect();
        let request = TermsRequest { allowed_origins: Some(origins), ..TermsRequest::default() };
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
            TermsRequest { allowed_origins: Some(origins), ..everything_but_strict() }
        };
        let mut longest = 0;
        for length in 1..40 {
            let request = with(227, &"a".repeat(length));
            let token = mint_with(request.clone(), &POLICY, NOW).unwrap().token;
            let length = token.expose().len();
            let checked = check_size(&grant(request), &POLICY);
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

    fn everything_but_strict() -> TermsRequest {
        TermsRequest { strict_origin_enforcement: None, ..everything() }
    }

    #[test]
    fn stamp_exceeds_the_last_revoked_version() {
        let viewer = || TermsRequest { viewer_id: Some("v".to_owned()), ..TermsRequest::default() };
        let mint = |request, policy: &Policy, last| {
            let issue = Issue { at: NOW, last_revoked: Some(last) };
            mint(&grant(request), policy, &Zeros, issue, &mut StdRng::seed_from_u64(1))
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

        // What would never play is said.
        let code = |request, policy, last| mint(request, policy, last).unwrap().warnings[0].code;
        let asked = |version| TermsRequest { viewer_session_version: Some(version), ..viewer() };
        assert_eq!(code(asked(7), &POLICY, 7), WarningCode::SessionRevoked);
        assert_eq!(mint(asked(8), &POLICY, 7).unwrap().warnings, []);
        let unstamped = Policy { stamp_session_version: false, ..POLICY };
        assert_eq!(code(viewer(), &unstamped, 0), WarningCode::SessionRevoked);
        assert_eq!(mint(TermsRequest::default(), &POLICY, now + 5).unwrap().warnings, []);
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
