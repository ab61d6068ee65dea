//! Verifies what [`super::caller`] reads: the AWS Signature Version 4 of a call, where the emulator
//! was given an access key.
//!
//! The call is signed again by the library that AWS's own Rust client signs with, over the headers
//! that the caller chose, and the two signatures are compared. So the details are the library's: the
//! path that is encoded twice, the query that is sorted and encoded anew, the hash of the body.

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

use super::{
    caller::{SERVICE, Signed},
    error::{ApiError, ErrorCode},
};
use crate::clock::Timestamp;

/// How far the clocks of caller and emulator may be apart, either way.
const MAX_SKEW: Duration = Duration::from_mins(5);

const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// Knows the one access key that calls may be signed with.
pub(in crate::emulator) struct Verifier {
    access_key_id: String,
    identity: Identity,
}

impl Verifier {
    pub(in crate::emulator) fn new(access_key_id: String, secret: &SecretString) -> Self {
        let id = access_key_id.as_str();
        let credentials = Credentials::new(id, secret.expose_secret(), None, None, "emulator");
        Self { identity: credentials.into(), access_key_id }
    }

    /// Refuses a call that was not signed with the access key, or not lately.
    pub(super) fn verify(
        &self,
        signed: &Signed<'_>,
        parts: &Parts,
        body: &[u8],
        now: Timestamp,
    ) -> Result<(), ApiError> {
        // A temporary credential would have a session token; this key is none.
        if signed.access_key_id != self.access_key_id || parts.headers.contains_key(SECURITY_TOKEN)
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
        let expected = self.signature(signed, parts, body, at);
        let is_equal = expected.is_some_and(|expected| {
            bool::from(expected.as_bytes().ct_eq(signed.signature.as_bytes()))
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

    /// What the signature of the call would be with our secret; `None` where it cannot have any.
    fn signature(
        &self,
        signed: &Signed<'_>,
        parts: &Parts,
        body: &[u8],
        at: Timestamp,
    ) -> Option<String> {
        // The order is that of the signature's own, and each name stands for all its values.
        let mut headers = Vec::new();
        for name in signed.headers.split(';') {
            let mut values = parts.headers.get_all(name).into_iter().peekable();
            values.peek()?;
            for value in values {
                headers.push((name, value.to_str().ok()?));
            }
        }
        // The library would add them by itself.
        if [header::HOST, DATE].iter().any(|needed| headers.iter().all(|(name, _)| needed != name))
        {
            return None;
        }
        let since_epoch = Duration::from_secs(u64::try_from(at.unix_seconds()).ok()?);
        let mut settings = SigningSettings::default();
        // What the caller signed is what is signed.
        settings.excluded_headers = None;
        let parameters = v4::SigningParams::builder()
            .identity(&self.identity)
            .region(signed.region)
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

/// When the caller signed, by its own clock.
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

    use super::{super::caller, *};

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
        let signed = caller::read(&parts.headers).map_err(|error| error.code())?.0;
        let verdict = verifier().verify(&signed, &parts, body.as_bytes(), now);
        verdict.map_err(|error| error.code())
    }

    fn verdict(request: Request<String>) -> Result<(), ErrorCode> {
        verdict_at(request, SIGNED_AT)
    }

    #[test]
    fn what_other_clients_sign_is_verified() {
        for vector in [POST, GET_TAGS, UNTAG, WITH_HASH] {
            assert_eq!(verdict(request(vector)), Ok(()), "{vector:?}");
        }
        // Another way to write the same query, which some clients send after signing the first.
        let plus = UNTAG.1.replace("%20", "+");
        assert_eq!(verdict(request((UNTAG.0, &plus, UNTAG.2, UNTAG.3, UNTAG.4))), Ok(()));
    }

    #[test]
    fn what_differs_from_what_was_signed_is_refused() {
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
        // The header tells one hash, the body has another.
        let (method, target, _, headers, signature) = WITH_HASH;
        assert_eq!(verdict(request((method, target, "{}", headers, signature))), refused);
    }

    #[test]
    fn another_key_is_not_recognised() {
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
    fn a_signature_is_good_for_five_minutes_either_way() {
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
