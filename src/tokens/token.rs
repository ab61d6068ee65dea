//! A finished token, its id, and the warnings that come with it.

use std::fmt;

use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::{
    hex::Hex,
    secret::{ExposeSecret, SecretString},
};

use super::claims::LARGE_TOKEN;

/// Bytes of an ES384 signature as JWS writes it: r and s, 48 bytes each.
pub use crate::keys::signing::SIGNATURE_LENGTH;

/// The header of every token, `{"alg":"ES384","typ":"JWT"}`, in base64url. IVS documents these two
/// members and no `kid`.
pub(super) const HEADER: &str = "eyJhbGciOiJFUzM4NCIsInR5cCI6IkpXVCJ9";

/// A signed token, in JWS compact serialization. `Debug` hides it, since anyone who has it can play.
pub struct PlaybackToken(SecretString);

impl PlaybackToken {
    pub(super) fn new(token: String) -> Self {
        Self(token.into())
    }

    /// Returns the token itself, for the response.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for PlaybackToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlaybackToken([redacted])")
    }
}

/// Returns the id of a token, which may be logged: the first 16 hex digits of its SHA-256. It links a viewer's
/// 403 to the audit record and does not reveal the token.
pub fn token_id(token: &str) -> String {
    let digest = Sha256::digest(token.as_bytes());
    Hex(digest.get(..8).unwrap_or_default()).to_string()
}

/// Something that is allowed but probably not intended.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, ToSchema)]
#[schema(as = WarningBody)]
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

    /// The clock of this service differs from IVS's, by which the token was issued.
    pub fn clock_skew(skew: impl fmt::Display) -> Self {
        Self {
            code: WarningCode::ClockSkew,
            detail: format!(
                "The clock of this service is {skew} that of Amazon IVS, and the token was issued by \
                 Amazon IVS's clock. Synchronise the clock of this service with NTP."
            ),
        }
    }

    pub(super) fn session_revoked(last: i32) -> Self {
        Self {
            code: WarningCode::SessionRevoked,
            detail: format!(
                "The viewer was revoked on this channel up to version {last}, so this token does not \
                 play. Omit viewerSessionVersion, or send a higher one."
            ),
        }
    }

    pub(super) fn token_over_2kb(length: usize) -> Self {
        Self {
            code: WarningCode::TokenOver2Kb,
            detail: format!(
                "The token has {length} bytes. IVS may refuse tokens over {LARGE_TOKEN}; allow \
                 fewer origins."
            ),
        }
    }
}

/// The code of a warning.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ToSchema)]
pub enum WarningCode {
    /// The channel plays without a token.
    #[serde(rename = "channel_not_private")]
    ChannelNotPrivate,
    /// The token is longer than [`LARGE_TOKEN`].
    #[serde(rename = "token_over_2kb")]
    TokenOver2Kb,
    /// The clock of this service differs from that of IVS.
    #[serde(rename = "clock_skew")]
    ClockSkew,
    /// The viewer was revoked up to a higher version than that of the token.
    #[serde(rename = "session_revoked")]
    SessionRevoked,
}

impl WarningCode {
    /// Returns the code as the API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ChannelNotPrivate => "channel_not_private",
            Self::TokenOver2Kb => "token_over_2kb",
            Self::ClockSkew => "clock_skew",
            Self::SessionRevoked => "session_revoked",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_id_is_the_beginning_of_the_sha256() {
        // printf abc | sha256sum
        assert_eq!(token_id("abc"), "ba7816bf8f01cfea");
    }

    #[test]
    fn warning_is_serialised_with_its_code() {
        for warning in [
            Warning::token_over_2kb(3000),
            Warning::channel_not_private(),
            Warning::clock_skew("9 s ahead of"),
            Warning::session_revoked(7),
        ] {
            let json = serde_json::to_value(&warning).unwrap();
            assert_eq!(json["code"], warning.code.as_str());
        }
    }

    #[test]
    fn debug_hides_the_token() {
        let token = PlaybackToken::new("aaa.bbb.ccc".to_owned());
        assert_eq!(format!("{token:?}"), "PlaybackToken([redacted])");
    }
}
