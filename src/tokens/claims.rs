//! The JWT Claims Set of a viewer token, as Amazon IVS documents it.
//!
//! Source: the IVS user guide, "Generate and Sign IVS Playback Tokens". The claims are a struct and never a map,
//! so that a misspelt name cannot be minted and the type of `exp` is whole seconds.

use std::{borrow::Cow, fmt, time::Duration};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

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

/// The longest lifetime of a token with a viewer id or a single-use id, 600 s: IVS refuses one
/// whose `exp` is further ahead.
pub const CAPPED_TTL: Duration = Duration::from_mins(10);

/// The lifetime given to such a token by default: [`CAPPED_TTL`] less 10 s, since an issuer whose
/// clock is ahead of IVS's would otherwise mint tokens that IVS refuses. Issuers in production use
/// 598 and 600 s.
pub const CAPPED_DEFAULT_TTL: Duration = Duration::from_secs(590);

/// The longest viewer id, in Unicode scalar values: what the length trait of the service model
/// counts.
pub const MAX_VIEWER_ID_LENGTH: usize = 40;

/// The largest session version that can be revoked: the claim takes 64 bits, the revocation call
/// 32.
pub const MAX_VIEWER_SESSION_VERSION: i64 = i32::MAX as i64;

/// The most origins that a token with strict origin enforcement may list.
pub const MAX_STRICT_ORIGINS: usize = 5;

/// A longer token, in bytes, gets a warning. The limit is known from practice; AWS does not document it.
pub const LARGE_TOKEN: usize = 2048;

/// The longest token that is minted, in bytes. A URL with a longer one is refused by most servers,
/// and only `allowedOrigins` can make a token that long.
pub const MAX_TOKEN: usize = 8192;

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

/// The best rendition that a token plays.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ToSchema)]
#[schema(as = Resolution, rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MaximumResolution {
    /// Up to 480p.
    Sd,
    /// Up to 720p.
    Hd,
    /// Up to 1080p.
    FullHd,
}

impl MaximumResolution {
    /// Every resolution, from the least.
    pub const ALL: [Self; 3] = [Self::Sd, Self::Hd, Self::FullHd];

    /// Returns the word in requests and in the claim.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sd => "SD",
            Self::Hd => "HD",
            Self::FullHd => "FULL_HD",
        }
    }

    /// Returns the resolution of this name, in the exact spelling of IVS.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|resolution| resolution.as_str() == name)
    }
}

/// The value of `aws:viewer-id`: 1 to 40 characters. `Debug` hides it, since it identifies the viewer and belongs
/// only into the audit.
///
/// A character is a Unicode scalar value, as in the length trait of the IVS service model: if the revocation call
/// counted differently, a viewer could watch and not be revoked. IVS has no pattern for it, so every character is
/// allowed.
#[derive(Clone, Eq, PartialEq)]
pub struct ViewerId(String);

impl ViewerId {
    /// Checks a viewer id.
    ///
    /// # Errors
    ///
    /// It is empty, or has more than 40 characters.
    pub fn parse(text: String) -> Result<Self, ViewerIdError> {
        check_viewer_id(&text).map(|()| Self(text))
    }

    /// Returns the id itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ViewerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ViewerId([redacted])")
    }
}

/// Why a text is not a viewer id. The message never repeats the text.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ViewerIdError {
    /// It has no character.
    #[error("is empty; omit it for a token without a viewer")]
    Empty,
    /// It has more than [`MAX_VIEWER_ID_LENGTH`] characters.
    #[error("has more than 40 characters, the limit of IVS; use a shorter id, such as a hash")]
    TooLong,
}

/// Checks whether IVS accepts the text as a viewer id.
pub(crate) fn check_viewer_id(text: &str) -> Result<(), ViewerIdError> {
    if text.is_empty() {
        return Err(ViewerIdError::Empty);
    }
    // Reads at most one character past the limit, however long the text is.
    match text.chars().nth(MAX_VIEWER_ID_LENGTH) {
        None => Ok(()),
        Some(_) => Err(ViewerIdError::TooLong),
    }
}
