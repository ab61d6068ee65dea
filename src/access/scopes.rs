//! Scopes.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

/// A right of a client.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Scope {
    /// `channels:read`
    ChannelsRead,
    /// `keys:read`
    KeysRead,
    /// `keys:write`
    KeysWrite,
    /// `metrics:read`
    MetricsRead,
    /// `tokens:inspect`
    TokensInspect,
    /// `tokens:mint`
    TokensMint,
    /// `viewers:revoke`
    ViewersRevoke,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 7] = [
        Self::TokensMint,
        Self::TokensInspect,
        Self::ChannelsRead,
        Self::KeysRead,
        Self::KeysWrite,
        Self::ViewersRevoke,
        Self::MetricsRead,
    ];

    /// Returns the scope as it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ChannelsRead => "channels:read",
            Self::KeysRead => "keys:read",
            Self::KeysWrite => "keys:write",
            Self::MetricsRead => "metrics:read",
            Self::TokensInspect => "tokens:inspect",
            Self::TokensMint => "tokens:mint",
            Self::ViewersRevoke => "viewers:revoke",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or(ScopeError)
    }
}

/// The text is not a scope.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ScopeError;

impl fmt::Display for ScopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Scope::ALL.map(Scope::as_str).join(", ");
        write!(f, "unknown scope; the scopes are {known}")
    }
}

impl std::error::Error for ScopeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_read_back_and_others_are_named() {
        for scope in Scope::ALL {
            assert_eq!(scope.as_str().parse(), Ok(scope));
        }
        assert_eq!("tokens".parse::<Scope>(), Err(ScopeError));
        assert_eq!(
            ScopeError.to_string(),
            "unknown scope; the scopes are tokens:mint, tokens:inspect, channels:read, keys:read, \
             keys:write, viewers:revoke, metrics:read"
        );
    }
}
