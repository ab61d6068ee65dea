//! Making a token: build the claims, sign them, read the result again before it leaves.
//!
//! The three steps are separate functions, so that each can be tested alone. No step parses a key,
//! looks at a clock or waits for anything. The last one is not a signature check, which would cost
//! as much as the signature: it makes sure that the bytes that leave say what was granted, and
//! that the lifetime is one that IVS accepts, whatever went wrong before.

use std::{fmt, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use rand::CryptoRng;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    clock::Timestamp,
    keys::signer::Signer,
    secret::{ExposeSecret, SecretString},
};

use super::{
    claims::{
        CAPPED_TTL, LARGE_TOKEN, MAX_VIEWER_SESSION_VERSION, MaximumResolution, PlaybackClaims,
        SingleUseId,
    },
    grant::{Grant, Policy},
    origin::AllowedOrigins,
};
/// The header of every token, `{"alg":"ES384","typ":"JWT"}`, in base64url. IVS documents these two
/// members and no `kid`.
const HEADER: &str = "eyJhbGciOiJFUzM4NCIsInR5cCI6IkpXVCJ9";

/// Bytes of an ES384 signature as JWS writes it: r and s, 48 bytes each (RFC 7518, section 3.4).
pub const SIGNATURE_LENGTH: usize = 96;

/// [`SIGNATURE_LENGTH`] in base64url.
const ENCODED_SIGNATURE_LENGTH: usize = SIGNATURE_LENGTH / 3 * 4;

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

/// Mints the token that `grant` describes, valid from `now` on.
///
/// # Errors
///
/// - [`MintError::Sign`]: the key failed.
/// - [`MintError::Clock`]: the issue time is no session version that can be revoked.
/// - [`MintError::Check`]: the token does not say what was granted, and was thrown away.
pub fn mint(
    grant: &Grant,
    policy: &Policy,
    signer: &(impl Sign + ?Sized),
    now: Timestamp,
    rng: &mut impl CryptoRng,
) -> Result<Minted, MintError> {
    let issued_at = now.floor_to_second();
    let claims = build(grant, policy, issued_at, rng)?;
    let token = sign(&claims, signer)?;
    check(&token, grant, policy, issued_at)?;

    let expires_in = grant.terms.ttl();
    let mut warnings = Vec::new();
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
        token: PlaybackToken(token.into()),
        warnings,
    })
}

/// The name of a token that may be logged: the first 16 hex digits of its SHA-256. It leads from a
/// viewer's 403 to the audit record and cannot be turned back into the token.
pub fn token_id(token: &str) -> String {
    use fmt::Write;
    let digest = Sha256::digest(token.as_bytes());
    digest.iter().take(8).fold(String::with_capacity(16), |mut id, byte| {
        // Writing to a String cannot fail.
        let _ = write!(id, "{byte:02x}");
        id
    })
}

/// A token and what is known about it.
#[derive(Debug)]
pub struct Minted {
    /// The token.
    pub token: PlaybackToken,
    /// Its [`token_id`].
    pub token_id: String,
    /// `now`, without its fraction of a second.
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

/// A signed token, in JWS compact serialization. `Debug` hides it: whoever has it can play.
pub struct PlaybackToken(SecretString);

impl PlaybackToken {
    /// The token itself, to hand to the caller.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for PlaybackToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlaybackToken([redacted])")
    }
}

/// What the caller of a mint should know, though the token is good.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Warning {
    /// The code, part of the API.
    pub code: WarningCode,
    /// What it means here, as a sentence.
    pub detail: String,
}

impl Warning {
    /// The channel plays without a token.
    pub fn channel_not_private() -> Self {
        Self {
            code: WarningCode::ChannelNotPrivate,
            detail: "The channel plays without a token. Set authorized to true on it to make it \
                     private."
                .to_owned(),
        }
    }

    fn token_over_2kb(length: usize) -> Self {
        Self {
            code: WarningCode::TokenOver2Kb,
            detail: format!(
                "The token has {length} bytes. IVS may refuse tokens over {LARGE_TOKEN}; allow \
                 fewer origins."
            ),
        }
    }
}

/// The code of a [`Warning`].
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub enum WarningCode {
    /// The channel plays without a token.
    #[serde(rename = "channel_not_private")]
    ChannelNotPrivate,
    /// The token is longer than [`LARGE_TOKEN`].
    #[serde(rename = "token_over_2kb")]
    TokenOver2Kb,
}

impl WarningCode {
    /// The code as the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ChannelNotPrivate => "channel_not_private",
            Self::TokenOver2Kb => "token_over_2kb",
        }
    }
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
    /// The finished token failed its check. This is a bug of this service.
    #[error("the token that was made is not what was granted ({0}); please report this")]
    Check(#[from] CheckFailure),
}

/// Which property of a finished token did not hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CheckFailure {
    /// Not three parts with our header and a whole signature.
    #[error("its form")]
    Form,
    /// The claims do not read back as granted, or hold one that IVS does not define.
    #[error("its claims")]
    Claims,
    /// A lifetime other than granted, or over a limit.
    #[error("its lifetime")]
    Lifetime,
}

fn build<'a>(
    grant: &'a Grant,
    policy: &Policy,
    issued_at: Timestamp,
    rng: &mut impl CryptoRng,
) -> Result<PlaybackClaims<'a>, MintError> {
    let terms = &grant.terms;
    let viewer_session_version = match terms.viewer() {
        None => None,
        Some(viewer) => match viewer.session_version() {
            Some(version) => Some(version),
            None if policy.stamp_session_version => Some(stamp(issued_at)?),
            None => None,
        },
    };
    Ok(PlaybackClaims {
        channel_arn: &grant.channel,
        allow_origin: terms.allowed_origins().map(AllowedOrigins::as_claim),
        strict_origin_enforcement: terms.strict_origin_enforcement().then_some(true),
        single_use_uuid: terms.single_use().then(|| random_uuid(rng)),
        viewer_id: terms.viewer().map(|viewer| viewer.id().as_str()),
        viewer_session_version,
        maximum_resolution: terms.maximum_resolution(),
        exp: (issued_at + terms.ttl()).unix_seconds(),
    })
}

/// The issue time as a session version, so that "revoke everything until now" needs no list.
fn stamp(issued_at: Timestamp) -> Result<i64, MintError> {
    let version = issued_at.unix_seconds();
    if (0..=MAX_VIEWER_SESSION_VERSION).contains(&version) {
        Ok(version)
    } else {
        Err(MintError::Clock)
    }
}

fn random_uuid(rng: &mut impl CryptoRng) -> SingleUseId {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    SingleUseId(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

fn sign(claims: &PlaybackClaims<'_>, signer: &(impl Sign + ?Sized)) -> Result<String, MintError> {
    let payload = serde_json::to_vec(claims).map_err(|_| MintError::Check(CheckFailure::Claims))?;
    let mut token = String::with_capacity(
        HEADER.len() + 2 + payload.len().div_ceil(3) * 4 + ENCODED_SIGNATURE_LENGTH,
    );
    token.push_str(HEADER);
    token.push('.');
    BASE64_URL_SAFE_NO_PAD.encode_string(&payload, &mut token);
    let signature = signer.sign(token.as_bytes())?;
    token.push('.');
    BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

/// What a finished token is read back into. A claim that IVS does not define is refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FinishedClaims {
    #[serde(rename = "aws:channel-arn")]
    channel_arn: String,
    #[serde(rename = "aws:access-control-allow-origin")]
    allow_origin: Option<String>,
    #[serde(rename = "aws:strict-origin-enforcement", default)]
    strict_origin_enforcement: bool,
    #[serde(rename = "aws:single-use-uuid")]
    single_use_uuid: Option<String>,
    #[serde(rename = "aws:viewer-id")]
    viewer_id: Option<String>,
    #[serde(rename = "aws:viewer-session-version")]
    viewer_session_version: Option<i64>,
    #[serde(rename = "aws:maximum-resolution")]
    maximum_resolution: Option<String>,
    exp: i64,
}

fn check(
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
    let claims: FinishedClaims =
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
        }
    }

    fn mint_with(
        request: TermsRequest,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<Minted, MintError> {
        mint(&grant(request), policy, &Zeros, now, &mut StdRng::seed_from_u64(1))
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
        let minted = mint(&grant(everything()), &POLICY, key, NOW, &mut rng).unwrap();
        let (message, signature) = minted.token.expose().rsplit_once('.').unwrap();
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
        UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, public.as_sec1_point())
            .verify(message.as_bytes(), &signature)
            .unwrap();
        assert_eq!(minted.token_id, token_id(minted.token.expose()));
        // printf abc | sha256sum
        assert_eq!(token_id("abc"), "ba7816bf8f01cfea");
    }

    #[test]
    fn a_key_that_fails_is_told() {
        let minted = mint(
            &grant(TermsRequest::default()),
            &POLICY,
            &Broken,
            NOW,
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
        for warning in [&minted.warnings[0], &Warning::channel_not_private()] {
            let json = serde_json::to_value(warning).unwrap();
            assert_eq!(json["code"], warning.code.as_str());
        }
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

    #[test]
    fn the_check_refuses_what_was_not_granted() {
        let granted = grant(everything());
        let issued_at = NOW.floor_to_second();
        let forged = |change: fn(&mut PlaybackClaims<'_>)| {
            let mut claims =
                build(&granted, &POLICY, issued_at, &mut StdRng::seed_from_u64(1)).unwrap();
            change(&mut claims);
            check(&sign(&claims, &Zeros).unwrap(), &granted, &POLICY, issued_at)
        };
        assert_eq!(forged(|_| {}), Ok(()));
        assert_eq!(forged(|claims| claims.exp += 1), Err(CheckFailure::Lifetime));
        assert_eq!(forged(|claims| claims.exp *= 1000), Err(CheckFailure::Lifetime));
        assert_eq!(forged(|claims| claims.viewer_id = None), Err(CheckFailure::Claims));
        assert_eq!(forged(|claims| claims.single_use_uuid = None), Err(CheckFailure::Claims));
        assert_eq!(forged(|claims| claims.allow_origin = Some("*")), Err(CheckFailure::Claims));
        let capped = Policy { max_ttl: Duration::from_mins(1), ..POLICY };
        let token = mint_with(everything(), &POLICY, NOW).unwrap().token;
        assert_eq!(
            check(token.expose(), &granted, &capped, issued_at),
            Err(CheckFailure::Lifetime)
        );
        assert_eq!(check("a.b.c", &granted, &POLICY, issued_at), Err(CheckFailure::Form));
    }
}
