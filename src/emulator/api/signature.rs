//! Reads and verifies the AWS Signature Version 4 of a call.
//!
//! The region of a call is not in its URL: clients put it into the credential scope of the signature,
//! `Credential=KEY/20261122/us-west-2/ivs/aws4_request`. The signature itself is verified only if the
//! emulator was given an access key. The library that AWS's own Rust client uses then signs the call
//! again, over the headers that the caller chose, and the two signatures are compared. The library
//! thus decides the details: the path that is encoded twice, the query that is sorted and encoded
//! again, the hash of the body.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use aws_smithy_runtime_api::client::identity::Identity;
use axum::http::{HeaderMap, HeaderName, header, request::Parts};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use time::{PrimitiveDateTime, macros::format_description};

use super::response::{ApiError, ErrorCode};
use crate::{clock::Timestamp, ivs::arn::Region};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "ivs";

/// Far longer than the name of any region, and short enough that an ARN stays within its 128
/// characters.
const MAX_REGION_LENGTH: usize = 32;

/// The largest difference between the clocks of the caller and the emulator.
const MAX_SKEW: Duration = Duration::from_mins(5);

const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// The `Authorization` header of a call. Not `Debug`, because it contains the signature.
#[derive(Clone, Copy)]
pub(super) struct Authorization<'a> {
    access_key_id: &'a str,
    /// The name of the region, as it was signed.
    region: &'a str,
    service: &'a str,
    /// The names of the signed headers, separated by semicolons.
    headers: &'a str,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    /// Reads the header, and the region that the call is signed for.
    pub(super) fn of(headers: &'a HeaderMap) -> Result<(Self, Region), ApiError> {
        let Some(header) = headers.get(header::AUTHORIZATION) else {
            return Err(ApiError::new(
                ErrorCode::MissingAuthenticationToken,
                "Missing Authentication Token. Sign the call as AWS clients do, in the header \
                 Authorization; a signature in the query is not read.",
            ));
        };
        let authorization = header.to_str().ok().and_then(Self::parse).ok_or_else(|| {
            ApiError::new(
                ErrorCode::IncompleteSignature,
                "Authorization must be AWS4-HMAC-SHA256 with Credential, SignedHeaders and \
                 Signature.",
            )
        })?;
        if authorization.service != SERVICE {
            return Err(ApiError::new(
                ErrorCode::InvalidSignature,
                "Credential should be scoped to correct service: 'ivs'.",
            ));
        }
        let region = Some(authorization.region).filter(|region| region.len() <= MAX_REGION_LENGTH);
        let region = region.and_then(|region| region.parse().ok()).ok_or_else(|| {
            ApiError::new(
                ErrorCode::InvalidSignature,
                "Credential should be scoped to a valid region, such as 'us-west-2'.",
            )
        })?;
        Ok((authorization, region))
    }

    fn parse(authorization: &'a str) -> Option<Self> {
        let parameters = authorization.strip_prefix(ALGORITHM)?.strip_prefix([' ', '\t'])?;
        let parameter = |name: &str| {
            parameters.split(',').find_map(|parameter| {
                let value = parameter.trim().strip_prefix(name)?.strip_prefix('=')?;
                (!value.is_empty()).then_some(value)
            })
        };
        let (headers, signature) = (parameter("SignedHeaders")?, parameter("Signature")?);
        // From the right, because an access key may contain slashes.
        let mut parts = parameter("Credential")?.rsplitn(5, '/');
        let (end, service, region) = (parts.next()?, parts.next()?, parts.next()?);
        let (date, access_key_id) = (parts.next()?, parts.next()?);
        let dated = date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit());
        (end == "aws4_request" && dated && !access_key_id.is_empty()).then_some(Self {
            access_key_id,
            region,
            service,
            headers,
            signature,
        })
    }
}

/// Verifies that calls are signed with the emulator's access key.
pub(crate) struct Verifier {
    access_key_id: String,
    identity: Identity,
}

impl Verifier {
    /// Returns a verifier for one access key.
    pub(crate) fn new(access_key_id: String, secret: &SecretString) -> Self {
        let id = access_key_id.as_str();
        let credentials = Credentials::new(id, secret.expose_secret(), None, None, "emulator");
        Self { identity: credentials.into(), access_key_id }
    }

    /// Refuses a call that was not signed with the access key within the last minutes.
    pub(super) fn verify(
        &self,
        authorization: &Authorization<'_>,
        parts: &Parts,
        body: &[u8],
        now: Timestamp,
    ) -> Result<(), ApiError> {
        // Only temporary credentials have a session token, and this key is permanent.
        if authorization.access_key_id != self.access_key_id
            || parts.headers.contains_key(SECURITY_TOKEN)
        {
            return Err(ApiError::new(
                ErrorCode::UnrecognizedClient,
                "The security token included in the request is invalid. Sign with the access key \
                 that the emulator was started with.",
            ));
        }
        let at = signing_time(&parts.headers)?;
        if now.saturating_since(at) > MAX_SKEW || at.saturating_since(now) > MAX_SKEW {
            return Err(ApiError::new(
                ErrorCode::InvalidSignature,
                "The signature is more than 5 minutes old, or from the future. Set the clock.",
            ));
        }
        let expected = self.signature(authorization, parts, body, at);
        let is_equal = expected.is_some_and(|expected| {
            bool::from(expected.as_bytes().ct_eq(authorization.signature.as_bytes()))
        });
        if is_equal {
            return Ok(());
        }
        Err(ApiError::new(
            ErrorCode::InvalidSignature,
            "The request signature we calculated does not match the signature you provided. Check \
             your AWS Secret Access Key and signing method.",
        ))
    }

    /// Signs the call with the emulator's secret; `None` if the call cannot have a valid signature.
    fn signature(
        &self,
        authorization: &Authorization<'_>,
        parts: &Parts,
        body: &[u8],
        at: Timestamp,
    ) -> Option<String> {
        // In the order of the caller's signature; each name stands for all its values.
        let mut headers = Vec::new();
        for name in authorization.headers.split(';') {
            let mut values = parts.headers.get_all(name).into_iter().peekable();
            values.peek()?;
            for value in values {
                headers.push((name, value.to_str().ok()?));
            }
        }
        // The library would add these by itself.
        if [header::HOST, DATE].iter().any(|needed| headers.iter().all(|(name, _)| needed != name))
        {
            return None;
        }
        let since_epoch = Duration::from_secs(u64::try_from(at.unix_seconds()).ok()?);
        let mut settings = SigningSettings::default();
        // The caller chose which headers to sign.
        settings.excluded_headers = None;
        let parameters = v4::SigningParams::builder()
            .identity(&self.identity)
            .region(authorization.region)
            .name(SERVICE)
            .time(SystemTime::UNIX_EPOCH + since_epoch)
            .settings(settings)
            .build()
            .ok()?
            .into();
        let target = parts.uri.path_and_query()?.as_str();
        let method = parts.method.as_str();
        let request =
            SignableRequest::new(method, target, headers.into_iter(), SignableBody::Bytes(body));
        Some(sign(request.ok()?, &parameters).ok()?.signature().to_owned())
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}

/// Returns when the caller signed, by its own clock.
fn signing_time(headers: &HeaderMap) -> Result<Timestamp, ApiError> {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let text = headers.get(DATE).and_then(|date| date.to_str().ok());
    let date = text.and_then(|text| PrimitiveDateTime::parse(text, &format).ok());
    let at = date.map(|date| Timestamp::from_unix_seconds(date.assume_utc().unix_timestamp()));
    at.ok_or_else(|| {
        ApiError::new(
            ErrorCode::IncompleteSignature,
            "X-Amz-Date must say when the call was signed, as 20261122T085500Z.",
        )
    })
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn region_of(authorization: &str) -> Result<String, ErrorCode> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        let region = Authorization::of(&headers).map(|(_, region)| region.to_string());
        region.map_err(|error| error.code())
    }

    #[test]
    fn region_comes_from_credential_scope() {
        for credential in ["AKID", "a/b", "test"] {
            let header = format!(
                "AWS4-HMAC-SHA256 Credential={credential}/20261122/eu-west-1/ivs/aws4_request, \
                 SignedHeaders=host;x-amz-date, Signature=abc"
            );
            assert_eq!(region_of(&header), Ok("eu-west-1".to_owned()));
            assert_eq!(region_of(&header.replace(", ", ",")), Ok("eu-west-1".to_owned()));
        }
    }

    #[test]
    fn malformed_authorization_has_its_error() {
        let unsigned = Authorization::of(&HeaderMap::new()).err().map(|error| error.code());
        assert_eq!(unsigned, Some(ErrorCode::MissingAuthenticationToken));
        let signed = |credential: &str| {
            region_of(&format!(
                "AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=abc"
            ))
        };
        let incomplete = Err(ErrorCode::IncompleteSignature);
        assert_eq!(region_of("Bearer x"), incomplete);
        assert_eq!(region_of("AWS4-HMAC-SHA256"), incomplete);
        assert_eq!(
            region_of("AWS4-HMAC-SHA256 Credential=k/20261122/a/ivs/aws4_request"),
            incomplete
        );
        assert_eq!(signed("k/20261122/us-west-2/ivs"), incomplete);
        assert_eq!(signed("k/2026/us-west-2/ivs/aws4_request"), incomplete);
        assert_eq!(signed("/20261122/us-west-2/ivs/aws4_request"), incomplete);
        let wrong = Err(ErrorCode::InvalidSignature);
        assert_eq!(signed("k/20261122/us-west-2/s3/aws4_request"), wrong);
        assert_eq!(signed("k/20261122/US/ivs/aws4_request"), wrong);
        assert_eq!(signed("k/20261122//ivs/aws4_request"), wrong);
        let long = "a".repeat(MAX_REGION_LENGTH + 1);
        assert_eq!(signed(&format!("k/20261122/{long}/ivs/aws4_request")), wrong);
    }

    /// Signed by botocore, at [`SIGNED_AT`], with the key of [`verifier`].
    const POST: (&str, &str, &str, &str, &str) = (
        "POST",
        "/ListChannels",
        "{}",
        "content-type;host;x-amz-date",
        "7126decccb275d83b1728acb09df0651391c606b74c714047fd86648c3c7dd39",
    );
    const GET_TAGS: (&str, &str, &str, &str, &str) = (
        "GET",
        "/tags/arn%3Aaws%3Aivs%3Aus-west-2%3A123456789012%3Achannel%2FAbCdEfGh1234",
        "",
        "host;x-amz-date",
        "a6a86a87f2f91d9b8fd92c5861537dc5e3edaa235c42d5745e86624e9ae4cdef",
    );
    const UNTAG: (&str, &str, &str, &str, &str) = (
        "DELETE",
        "/tags/arn%3Aaws%3Aivs%3Aus-west-2%3A123456789012%3Achannel%2FAbCdEfGh1234\
         ?tagKeys=b%20c&tagKeys=a",
        "",
        "host;x-amz-date",
        "95e645825c4d2e448b7349e8d1976b2e956bda1a6b55a2b7e252aac69892398a",
    );
    const WITH_HASH: (&str, &str, &str, &str, &str) = (
        "POST",
        "/GetChannel",
        r#"{"arn":"x"}"#,
        "host;x-amz-content-sha256;x-amz-date;x-amz-user-agent",
        "d92d27e5fcadae14cd01fa79fedf582620edbd2c34b74ee4a1a337a6603bd468",
    );
    const SIGNED_AT: Timestamp = Timestamp::from_unix_seconds(1_795_337_700);

    fn verifier() -> Verifier {
        let secret = "an example secret, no real one".to_owned();
        Verifier::new("EXAMPLEKEY".to_owned(), &secret.into())
    }

    fn request(
        (method, target, body, headers, signature): (&str, &str, &str, &str, &str),
    ) -> Request<String> {
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=EXAMPLEKEY/20261122/us-west-2/ivs/aws4_request, \
             SignedHeaders={headers}, Signature={signature}"
        );
        Request::builder()
            .method(method)
            .uri(target)
            .header("host", "127.0.0.1:8090")
            .header("content-type", "application/json")
            .header("x-amz-date", "20261122T085500Z")
            .header(
                "x-amz-content-sha256",
                "d391a26a26dbef63075cbfd7904a5962ec44d178173557354f1db0b094bedffd",
            )
            .header("x-amz-user-agent", "a  b")
            .header("authorization", authorization)
            .body(body.to_owned())
            .unwrap()
    }

    fn verdict_at(request: Request<String>, now: Timestamp) -> Result<(), ErrorCode> {
        let (parts, body) = request.into_parts();
        let authorization = Authorization::of(&parts.headers).map_err(|error| error.code())?.0;
        let verdict = verifier().verify(&authorization, &parts, body.as_bytes(), now);
        verdict.map_err(|error| error.code())
    }

    fn verdict(request: Request<String>) -> Result<(), ErrorCode> {
        verdict_at(request, SIGNED_AT)
    }

    #[test]
    fn signatures_of_botocore_verify() {
        for vector in [POST, GET_TAGS, UNTAG, WITH_HASH] {
            assert_eq!(verdict(request(vector)), Ok(()), "{vector:?}");
        }
        // Some clients sign one encoding of the query and send another.
        let plus = UNTAG.1.replace("%20", "+");
        assert_eq!(verdict(request((UNTAG.0, &plus, UNTAG.2, UNTAG.3, UNTAG.4))), Ok(()));
    }

    #[test]
    fn changed_call_is_refused() {
        let refused = Err(ErrorCode::InvalidSignature);
        let (method, target, body, headers, signature) = POST;
        for changed in [
            ("PUT", target, body, headers, signature),
            (method, "/ListStreams", body, headers, signature),
            (method, "/ListChannels?a=b", body, headers, signature),
            (method, target, "{ }", headers, signature),
            (method, target, body, "host;x-amz-date", signature),
            (method, target, body, "content-type;x-amz-date", signature),
            (method, target, body, "content-type;host", signature),
            (method, target, body, "content-type;host;x-amz-date;x-amz-user-agent", signature),
            (method, target, body, "content-type;host;x-absent;x-amz-date", signature),
            (method, target, body, ";;", signature),
            (method, target, body, "host host", signature),
            (method, target, body, headers, &signature[1..]),
            (method, target, body, headers, "00"),
        ] {
            assert_eq!(verdict(request(changed)), refused, "{changed:?}");
        }
        for (name, value) in [("host", "other"), ("content-type", "text/plain")] {
            let mut changed = request(POST);
            changed.headers_mut().insert(name, value.parse().unwrap());
            assert_eq!(verdict(changed), refused, "{name}");
        }
        let mut twice = request(POST);
        twice.headers_mut().append("content-type", "text/plain".parse().unwrap());
        assert_eq!(verdict(twice), refused);
        // The hash in the header differs from that of the body.
        let (method, target, _, headers, signature) = WITH_HASH;
        assert_eq!(verdict(request((method, target, "{}", headers, signature))), refused);
    }

    #[test]
    fn other_access_key_is_unrecognized() {
        let refused = Err(ErrorCode::UnrecognizedClient);
        let mut other = request(POST);
        let authorization = other.headers()["authorization"].to_str().unwrap();
        let authorization = authorization.replace("EXAMPLEKEY", "OTHERKEY").parse().unwrap();
        other.headers_mut().insert("authorization", authorization);
        assert_eq!(verdict(other), refused);
        let mut temporary = request(POST);
        temporary.headers_mut().insert("x-amz-security-token", "token".parse().unwrap());
        assert_eq!(verdict(temporary), refused);
    }

    #[test]
    fn signature_is_valid_for_five_minutes_either_way() {
        for (seconds, expected) in [(300, Ok(())), (301, Err(ErrorCode::InvalidSignature))] {
            let skew = Duration::from_secs(seconds);
            assert_eq!(verdict_at(request(POST), SIGNED_AT + skew), expected);
            assert_eq!(verdict_at(request(POST), SIGNED_AT - skew), expected);
        }
        for date in ["", "yesterday", "2026-11-22T08:55:00Z", "20261322T085500Z"] {
            let mut odd = request(POST);
            odd.headers_mut().insert("x-amz-date", date.parse().unwrap());
            assert_eq!(verdict(odd), Err(ErrorCode::IncompleteSignature), "{date}");
        }
        let mut undated = request(POST);
        undated.headers_mut().remove("x-amz-date");
        assert_eq!(verdict(undated), Err(ErrorCode::IncompleteSignature));
    }
}
