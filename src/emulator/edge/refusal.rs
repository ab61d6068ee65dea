//! How the edge says no.
//!
//! AWS has made two error codes and a few texts public, and only those codes are sent as
//! `error_code`. The emulator's own reason stands beside it as `emulator_reason`. It is there for
//! people: AWS does not send it, so that no program may branch on it.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use serde::Serialize;

use super::cors::Readable;
use crate::emulator::ids::IdError;

/// Why a request gets no playlist.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Denial {
    /// 403: the token does not admit its bearer.
    Refused(Reason),
    /// 404: there is nothing to play.
    NotFound(&'static str),
    /// 500: the emulator failed. The cause is logged where it is met.
    Failed,
}

/// IVS's own text for a token that is absent or malformed.
const SEGMENTS: &str = "token contains an invalid number of segments";

macro_rules! reasons {
    ($($variant:ident = $code:literal, $text:expr;)*) => {
        /// Why a token is refused. The codes are those with which `token inspect` explains a token.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(super) enum Reason {
            $($variant,)*
        }

        /// Every code, as `emulator_reason` has it.
        pub(in crate::emulator) const REASONS: &[&str] = &[$($code,)*];

        impl Reason {
            /// The code, and a text for people.
            const fn spec(self) -> (&'static str, &'static str) {
                match self {
                    $(Self::$variant => ($code, $text),)*
                }
            }
        }
    };
}

reasons! {
    BadSignature = "bad_signature",
        "signature is of no playback key pair of this account and region";
    ChannelArnMissing = "channel_arn_missing", "claim aws:channel-arn is missing";
    ChannelMismatch = "channel_mismatch", "token is for another channel";
    ClaimType = "claim_type", "a claim has the wrong type or an unknown value";
    ClaimWithoutAwsPrefix = "claim_without_aws_prefix", "claim channel-arn lacks its prefix aws:";
    CountryNotAllowed = "country_not_allowed",
        "country is not allowed by the channel's restriction policy";
    DerSignature = "der_signature", "signature is in DER, not r and s of 48 bytes";
    ExpInMilliseconds = "exp_in_milliseconds", "claim exp is in milliseconds, not in seconds";
    ExpMissing = "exp_missing", "claim exp is missing";
    ExpNotInteger = "exp_not_integer", "claim exp is not an integer in seconds";
    Expired = "expired", "token is expired";
    NotAJwt = "not_a_jwt", SEGMENTS;
    OriginInvalid = "origin_invalid", "an allowed origin is not of the form scheme://host[:port]";
    OriginMissing = "origin_missing", "origin required";
    OriginNotAllowed = "origin_not_allowed", "origin is not allowed";
    SessionRevoked = "session_revoked", "viewer session is revoked";
    SingleUseSpent = "single_use_spent", "token was used before";
    StrictWithoutOrigin = "strict_without_origin",
        "strict origin enforcement without allowed origins";
    TokenMissing = "token_missing", SEGMENTS;
    TooManyStrictOrigins = "too_many_strict_origins",
        "strict origin enforcement with more than 5 origins";
    TtlOver600 = "ttl_over_600",
        "exp is more than 600 seconds ahead of a token with viewer id or single use";
    ViewerIdLength = "viewer_id_length", "viewer id is not 1 to 40 characters";
    WrongAlgorithm = "wrong_algorithm", "algorithm is not ES384";
    WrongCurve = "wrong_curve", "signature is not of the curve P-384";
}

impl Reason {
    const fn error_code(self) -> &'static str {
        if matches!(self, Self::SingleUseSpent) {
            "playback_auth_error"
        } else {
            "invalid_playback_auth_token"
        }
    }
}

impl Denial {
    /// The answer to a request for `path`. The query, which holds the token, is not repeated.
    pub(super) fn response(self, path: &str) -> Response {
        let (status, error, reason) = match self {
            Self::Refused(reason) => (StatusCode::FORBIDDEN, reason.spec().1, Some(reason)),
            Self::NotFound(text) => (StatusCode::NOT_FOUND, text, None),
            Self::Failed => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "the emulator failed; its log has the cause",
                None,
            ),
        };
        let entry = Entry {
            url: path,
            error,
            error_code: reason.map(Reason::error_code),
            kind: "error",
            emulator_reason: reason.map(|reason| reason.spec().0),
        };
        // Texts alone: they can always be written.
        let body = serde_json::to_vec(&[entry]).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    /// A player shows why it was refused, but for pages that the token keeps out.
    pub(super) const fn readable(self) -> Readable {
        match self {
            Self::Refused(Reason::OriginNotAllowed) => Readable::Nobody,
            Self::Refused(_) | Self::NotFound(_) | Self::Failed => Readable::Anyone,
        }
    }
}

/// The only entry of a body, its members in IVS's order and then ours.
#[derive(Serialize)]
struct Entry<'a> {
    url: &'a str,
    error: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'static str>,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    emulator_reason: Option<&'static str>,
}

impl From<Reason> for Denial {
    fn from(reason: Reason) -> Self {
        Self::Refused(reason)
    }
}

impl From<IdError> for Denial {
    fn from(error: IdError) -> Self {
        tracing::error!(event = "emulator_failed", %error, "the emulator could not make an identifier");
        Self::Failed
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    async fn body(denial: Denial) -> String {
        let body = to_bytes(denial.response("/x.m3u8").into_body(), usize::MAX).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn members_are_in_the_order_of_ivs_and_ours_comes_last() {
        assert_eq!(
            body(Reason::Expired.into()).await,
            r#"[{"url":"/x.m3u8","error":"token is expired","error_code":"invalid_playback_auth_token","type":"error","emulator_reason":"expired"}]"#
        );
        assert_eq!(
            body(Denial::NotFound("the channel is not live")).await,
            r#"[{"url":"/x.m3u8","error":"the channel is not live","type":"error"}]"#
        );
    }
}
