//! The values of claims, and the limits that Amazon IVS sets for them.

use std::{fmt, time::Duration};

use utoipa::ToSchema;

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
