//! How the edge refuses a request for a multivariant playlist.
//!
//! AWS has made two error codes and a few texts public, and only those codes are sent as
//! `error_code`. The emulator's own reason is sent next to it as `emulator_reason`, for people:
//! AWS does not send it, so no program may branch on it.

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::emulator::{ids::IdError, store::StoreError};

/// Why a request gets no playlist.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Denial {
    /// 403: the token, or the policy of a public channel, does not admit the player.
    Refused(Reason),
    /// 404: there is nothing to play.
    NotFound(&'static str),
    /// 500: the emulator failed. The cause is logged where it occurs.
    Failed,
}

/// IVS's own text for a token that is absent or malformed.
const SEGMENTS: &str = "token contains an invalid number of segments";

macro_rules! reasons {
    ($($variant:ident = $code:literal, $text:expr;)*) => {
        /// Why a token is refused. `token inspect` uses the same codes.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub(super) enum Reason {
            $($variant,)*
        }

        /// Every code that is sent as `emulator_reason`.
        pub(crate) const REASONS: &[&str] = &[$($code,)*];

        impl Reason {
            /// Returns the code, and a text for people.
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

/// The only entry of a body. IVS's members come first, in IVS's order.
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

impl Denial {
    /// Returns the response to a request for `path`. The query is not repeated: it holds the token.
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
        // Strings always serialize.
        let body = serde_json::to_vec(&[entry]).unwrap_or_default();
        let headers =
            [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
        (status, headers, body).into_response()
    }
}

impl From<Reason> for Denial {
    fn from(reason: Reason) -> Self {
        Self::Refused(reason)
    }
}

impl From<StoreError> for Denial {
    fn from(error: StoreError) -> Self {
        error.log();
        Self::Failed
    }
}

impl From<IdError> for Denial {
    fn from(error: IdError) -> Self {
        StoreError::from(error).into()
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
    async fn body_has_members_of_ivs_first_and_emulator_reason_last() {
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
