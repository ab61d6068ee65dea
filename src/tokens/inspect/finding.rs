//! What inspection can find. The codes are part of the API; [`super::catalogue`] explains them.

use std::fmt;

use serde::{Serialize, Serializer};

/// One thing that is wrong, or will go wrong, with a token or its URL.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// What it is.
    pub code: FindingCode,
    /// Whether IVS refuses playback for it.
    pub severity: Severity,
    /// What is the case with this token, and what to do.
    pub detail: String,
    /// The claim that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// Where it is to be seen.
    #[serde(skip)]
    pub part: Part,
}

/// A part of what is inspected.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Part {
    /// The URL around the token.
    Url,
    /// The token as a whole.
    Token,
    /// The token's header.
    Header,
    /// The token's claims.
    Claims,
    /// The token's signature, and so the key that made it.
    Signature,
    /// None of these: the request, the channel, the session.
    Elsewhere,
}

impl Finding {
    /// `situation` says what is the case, in whole sentences; what to do is added from the
    /// catalogue.
    pub(super) fn new(code: FindingCode, situation: impl fmt::Display) -> Self {
        let detail = format!("{situation} {}", code.explanation().mend);
        Self { code, severity: code.severity(), detail, claim: None, part: code.part() }
    }

    /// What the edge refused for, whatever the code means in a token that nobody has tried.
    pub(super) fn refusal(code: FindingCode, situation: impl fmt::Display) -> Self {
        Self::new(code, situation).with_severity(Severity::Error)
    }

    pub(super) fn about(mut self, claim: impl Into<String>) -> Self {
        self.claim = Some(claim.into());
        self
    }

    /// Whether IVS refuses playback for it.
    pub(super) fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    pub(super) fn within(mut self, part: Part) -> Self {
        self.part = part;
        self
    }

    pub(super) fn with_severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Playback is refused, or what the issuer wanted does not happen.
    Error,
    /// Playback starts, but not as the issuer may think.
    Warning,
}

impl Severity {
    /// The word in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

macro_rules! finding_codes {
    ($($(#[doc = $doc:literal])* $variant:ident = $code:literal,)*) => {
        /// The code of a finding. A code is never renamed or reused.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum FindingCode {
            $($(#[doc = $doc])* $variant,)*
        }

        impl FindingCode {
            /// Every code: the errors, then the warnings.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The code as the API writes it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)*
                }
            }
        }
    };
}

finding_codes! {
    /// The text is no signed JWT.
    NotAJwt = "not_a_jwt",
    /// The `alg` of the header is not `ES384`.
    WrongAlgorithm = "wrong_algorithm",
    /// Signed with a key of another curve than P-384.
    WrongCurve = "wrong_curve",
    /// The signature is DER instead of r and s.
    DerSignature = "der_signature",
    /// No known key made the signature.
    BadSignature = "bad_signature",
    /// There is no `exp`.
    ExpMissing = "exp_missing",
    /// `exp` is not a whole number.
    ExpNotInteger = "exp_not_integer",
    /// `exp` is past.
    Expired = "expired",
    /// `exp` is more than 600 s ahead beside a viewer or single use.
    TtlOver600 = "ttl_over_600",
    /// There is no `aws:channel-arn`.
    ChannelArnMissing = "channel_arn_missing",
    /// `aws:channel-arn` is not the channel that is to be played.
    ChannelMismatch = "channel_mismatch",
    /// A claim of IVS without its `aws:`.
    ClaimWithoutAwsPrefix = "claim_without_aws_prefix",
    /// A claim of IVS whose value is of another type or outside its set.
    ClaimType = "claim_type",
    /// `aws:viewer-id` is empty or has more than 40 characters.
    ViewerIdLength = "viewer_id_length",
    /// An entry of the allowed origins that no browser can match.
    OriginInvalid = "origin_invalid",
    /// More than five origins under strict enforcement.
    TooManyStrictOrigins = "too_many_strict_origins",
    /// Strict enforcement without an origin to enforce.
    StrictWithoutOrigin = "strict_without_origin",
    /// The origin of the request is not among the allowed ones.
    OriginNotAllowed = "origin_not_allowed",
    /// The key that signed is not among the key pairs of IVS.
    KeyUnknownToIvs = "key_unknown_to_ivs",
    /// The key that signed was deleted from IVS.
    KeyDeleted = "key_deleted",
    /// The key that signed belongs to another region or account than the channel.
    KeyOtherRegion = "key_other_region",
    /// The URL does not carry its token as IVS reads it.
    UrlMalformed = "url_malformed",
    /// The playback session was ended.
    SessionRevoked = "session_revoked",
    /// The single-use token was used before.
    SingleUseSpent = "single_use_spent",
    /// The request reached IVS without a token.
    TokenMissing = "token_missing",
    /// The request reached IVS without an `Origin`.
    OriginMissing = "origin_missing",
    /// `exp` is in milliseconds.
    ExpInMilliseconds = "exp_in_milliseconds",
    /// The viewer is named in `sub`, where revocation does not look.
    ViewerInSub = "viewer_in_sub",
    /// A lifetime of hours, and no viewer to revoke.
    LongLivedWithoutViewer = "long_lived_without_viewer",
    /// A claim that begins with `aws:` and that IVS does not define.
    UnknownAwsClaim = "unknown_aws_claim",
    /// The channel plays without a token.
    ChannelPublic = "channel_public",
    /// The key that signed is being retired.
    KeyDraining = "key_draining",
    /// The key that signed is not in use yet.
    KeyPending = "key_pending",
    /// The token has more than 2048 bytes.
    TokenOver2Kb = "token_over_2kb",
    /// Strict enforcement, which needs an `Origin` from every player.
    StrictOriginNeedsHeader = "strict_origin_needs_header",
}

impl FindingCode {
    /// How much it matters. `exp_in_milliseconds` is an error beside a viewer or single use.
    pub const fn severity(self) -> Severity {
        match self {
            Self::NotAJwt
            | Self::WrongAlgorithm
            | Self::WrongCurve
            | Self::DerSignature
            | Self::BadSignature
            | Self::ExpMissing
            | Self::ExpNotInteger
            | Self::Expired
            | Self::TtlOver600
            | Self::ChannelArnMissing
            | Self::ChannelMismatch
            | Self::ClaimWithoutAwsPrefix
            | Self::ClaimType
            | Self::ViewerIdLength
            | Self::OriginInvalid
            | Self::TooManyStrictOrigins
            | Self::StrictWithoutOrigin
            | Self::OriginNotAllowed
            | Self::KeyUnknownToIvs
            | Self::KeyDeleted
            | Self::KeyOtherRegion
            | Self::UrlMalformed
            | Self::SessionRevoked
            | Self::SingleUseSpent
            | Self::TokenMissing
            | Self::OriginMissing => Severity::Error,
            Self::ExpInMilliseconds
            | Self::ViewerInSub
            | Self::LongLivedWithoutViewer
            | Self::UnknownAwsClaim
            | Self::ChannelPublic
            | Self::KeyDraining
            | Self::KeyPending
            | Self::TokenOver2Kb
            | Self::StrictOriginNeedsHeader => Severity::Warning,
        }
    }

    /// Where it is to be seen; a text that is no JWT may show it in one of its parts.
    pub const fn part(self) -> Part {
        match self {
            Self::UrlMalformed | Self::TokenMissing => Part::Url,
            Self::NotAJwt | Self::TokenOver2Kb => Part::Token,
            Self::WrongAlgorithm => Part::Header,
            Self::WrongCurve
            | Self::DerSignature
            | Self::BadSignature
            | Self::KeyUnknownToIvs
            | Self::KeyDeleted
            | Self::KeyOtherRegion
            | Self::KeyDraining
            | Self::KeyPending => Part::Signature,
            Self::ExpMissing
            | Self::ExpNotInteger
            | Self::Expired
            | Self::TtlOver600
            | Self::ChannelArnMissing
            | Self::ChannelMismatch
            | Self::ClaimWithoutAwsPrefix
            | Self::ClaimType
            | Self::ViewerIdLength
            | Self::OriginInvalid
            | Self::TooManyStrictOrigins
            | Self::StrictWithoutOrigin
            | Self::OriginNotAllowed
            | Self::ExpInMilliseconds
            | Self::ViewerInSub
            | Self::LongLivedWithoutViewer
            | Self::UnknownAwsClaim
            | Self::StrictOriginNeedsHeader => Part::Claims,
            Self::SessionRevoked
            | Self::SingleUseSpent
            | Self::OriginMissing
            | Self::ChannelPublic => Part::Elsewhere,
        }
    }
}

impl fmt::Display for FindingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for FindingCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_those_of_the_contract() {
        let codes = |severity| {
            let codes = FindingCode::ALL.iter().filter(|code| code.severity() == severity);
            codes.map(|code| code.as_str()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            codes(Severity::Error),
            "not_a_jwt wrong_algorithm wrong_curve der_signature bad_signature exp_missing \
             exp_not_integer expired ttl_over_600 channel_arn_missing channel_mismatch \
             claim_without_aws_prefix claim_type viewer_id_length origin_invalid \
             too_many_strict_origins strict_without_origin origin_not_allowed key_unknown_to_ivs \
             key_deleted key_other_region url_malformed session_revoked single_use_spent \
             token_missing origin_missing"
        );
        assert_eq!(
            codes(Severity::Warning),
            "exp_in_milliseconds viewer_in_sub long_lived_without_viewer unknown_aws_claim \
             channel_public key_draining key_pending token_over_2kb strict_origin_needs_header"
        );
    }
}
