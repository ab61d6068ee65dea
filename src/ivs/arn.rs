//! Amazon Resource Names of IVS resources.
//!
//! The form is fixed by the service model:
//! `arn:aws:ivs:{region}:{account}:{kind}/{id}` with region `[a-z0-9-]+`, id `[a-zA-Z0-9-]+`, and
//! at most 128 characters in all. Accounts have 12 digits. This is the only file of `ivs` that the
//! emulator uses, too.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest ARN that IVS accepts, in characters (service model, `ChannelArn` and its siblings).
pub const MAX_ARN_LENGTH: usize = 128;

/// An AWS region name, such as `us-west-2`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Region(Arc<str>);

impl Region {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the names as a sentence lists them.
    pub fn list(regions: &[Self]) -> String {
        regions.iter().map(Self::as_str).collect::<Vec<_>>().join(", ")
    }
}

impl FromStr for Region {
    type Err = ArnError;

    fn from_str(text: &str) -> Result<Self, ArnError> {
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if text.is_empty() || text.len() > 64 || !text.bytes().all(allowed) {
            return Err(ArnError::Region);
        }
        Ok(Self(text.into()))
    }
}

/// An AWS account id: 12 digits.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AccountId(Arc<str>);

impl AccountId {
    /// Returns the 12 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccountId {
    type Err = ArnError;

    fn from_str(text: &str) -> Result<Self, ArnError> {
        if text.len() != 12 || !text.bytes().all(|c| c.is_ascii_digit()) {
            return Err(ArnError::Account);
        }
        Ok(Self(text.into()))
    }
}

/// The kind of IVS resource that an ARN names.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ResourceKind {
    /// `channel`
    Channel,
    /// `playback-key`, which the API calls a playback key pair
    PlaybackKey,
    /// `playback-restriction-policy`
    PlaybackRestrictionPolicy,
    /// `recording-configuration`
    RecordingConfiguration,
    /// `stream-key`
    StreamKey,
}

impl ResourceKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::Channel,
        Self::PlaybackKey,
        Self::PlaybackRestrictionPolicy,
        Self::RecordingConfiguration,
        Self::StreamKey,
    ];

    /// Returns the word in the ARN.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Channel => "channel",
            Self::PlaybackKey => "playback-key",
            Self::PlaybackRestrictionPolicy => "playback-restriction-policy",
            Self::RecordingConfiguration => "recording-configuration",
            Self::StreamKey => "stream-key",
        }
    }
}

/// The ARN of an IVS resource. Cheap to clone.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Arn(Arc<Parts>);

// `text` comes first, so that derived comparisons look at it before the parts that repeat it.
#[derive(Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
struct Parts {
    text: Box<str>,
    region: Region,
    account: AccountId,
    kind: ResourceKind,
    id: Box<str>,
}

impl Arn {
    /// Returns the ARN of these parts.
    ///
    /// # Errors
    ///
    /// The id has other characters than `[a-zA-Z0-9-]`, or the whole is too long.
    pub fn new(
        region: &Region,
        account: &AccountId,
        kind: ResourceKind,
        id: &str,
    ) -> Result<Self, ArnError> {
        if id.is_empty() || !id.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-') {
            return Err(ArnError::Id);
        }
        let text =
            format!("arn:aws:ivs:{}:{}:{}/{id}", region.as_str(), account.as_str(), kind.as_str());
        if text.len() > MAX_ARN_LENGTH {
            return Err(ArnError::Length);
        }
        Ok(Self(Arc::new(Parts {
            text: text.into(),
            region: region.clone(),
            account: account.clone(),
            kind,
            id: id.into(),
        })))
    }

    /// Returns the whole ARN.
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Returns the region of the resource.
    pub fn region(&self) -> &Region {
        &self.0.region
    }

    /// Returns the account that owns the resource.
    pub fn account(&self) -> &AccountId {
        &self.0.account
    }

    /// Returns the kind of the resource.
    pub fn kind(&self) -> ResourceKind {
        self.0.kind
    }

    /// Returns the last part, as in a playback URL.
    pub fn id(&self) -> &str {
        &self.0.id
    }
}

impl FromStr for Arn {
    type Err = ArnError;

    fn from_str(text: &str) -> Result<Self, ArnError> {
        if text.len() > MAX_ARN_LENGTH {
            return Err(ArnError::Length);
        }
        let rest = text.strip_prefix("arn:aws:ivs:").ok_or(ArnError::Prefix)?;
        let (region, rest) = rest.split_once(':').ok_or(ArnError::Prefix)?;
        let (account, resource) = rest.split_once(':').ok_or(ArnError::Prefix)?;
        let (kind, id) = resource.split_once('/').ok_or(ArnError::Kind)?;
        let kind = ResourceKind::ALL
            .into_iter()
            .find(|candidate| candidate.as_str() == kind)
            .ok_or(ArnError::Kind)?;
        Self::new(&region.parse()?, &account.parse()?, kind, id)
    }
}

/// Why a text is not the required ARN. Never repeats the text.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ArnError {
    /// It does not begin like an ARN of IVS.
    #[error("an ARN of Amazon IVS begins with arn:aws:ivs:REGION:ACCOUNT:")]
    Prefix,
    /// The region has other characters than `[a-z0-9-]`.
    #[error("the region of the ARN may hold lower-case letters, digits and hyphens only")]
    Region,
    /// The account is not 12 digits.
    #[error("the account of the ARN must be 12 digits")]
    Account,
    /// An unknown resource word.
    #[error("the ARN names no known kind of IVS resource")]
    Kind,
    /// A known resource word, but not the required one.
    #[error("the ARN is of a {found}, not of a {expected}", found = .found.as_str(), expected = .expected.as_str())]
    OtherKind {
        /// What the ARN names.
        found: ResourceKind,
        /// What is required.
        expected: ResourceKind,
    },
    /// The last part is empty or has other characters than `[a-zA-Z0-9-]`.
    #[error("the id of the ARN must be letters, digits and hyphens")]
    Id,
    /// Longer than [`MAX_ARN_LENGTH`].
    #[error("the ARN is longer than 128 characters")]
    Length,
}

macro_rules! arn_of_kind {
    ($(#[$doc:meta])* $name:ident, $kind:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(Arn);

        impl $name {
            /// Returns the ARN of this kind with these parts.
            ///
            /// # Errors
            ///
            /// As [`Arn::new`].
            pub fn new(region: &Region, account: &AccountId, id: &str) -> Result<Self, ArnError> {
                Arn::new(region, account, $kind, id).map(Self)
            }

            /// Returns the whole ARN.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }

            /// Returns the region of the resource.
            pub fn region(&self) -> &Region {
                self.0.region()
            }

            /// Returns the account that owns the resource.
            pub fn account(&self) -> &AccountId {
                self.0.account()
            }

            /// Returns the last part.
            pub fn id(&self) -> &str {
                self.0.id()
            }
        }

        impl TryFrom<Arn> for $name {
            type Error = ArnError;

            fn try_from(arn: Arn) -> Result<Self, ArnError> {
                if arn.kind() == $kind {
                    Ok(Self(arn))
                } else {
                    Err(ArnError::OtherKind { found: arn.kind(), expected: $kind })
                }
            }
        }

        impl FromStr for $name {
            type Err = ArnError;

            fn from_str(text: &str) -> Result<Self, ArnError> {
                text.parse::<Arn>()?.try_into()
            }
        }

        text_form!($name);
    };
}

macro_rules! text_form {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

arn_of_kind!(
    /// The ARN of a channel.
    ChannelArn,
    ResourceKind::Channel
);
arn_of_kind!(
    /// The ARN of a playback key pair.
    PlaybackKeyArn,
    ResourceKind::PlaybackKey
);
text_form!(Arn);
text_form!(Region);
text_form!(AccountId);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_channel_arn_gives_its_parts() {
        let arn: ChannelArn =
            "arn:aws:ivs:us-west-2:123456789012:channel/AbCdEfGh1234".parse().unwrap();
        assert_eq!(arn.region().as_str(), "us-west-2");
        assert_eq!(arn.account().as_str(), "123456789012");
        assert_eq!(arn.id(), "AbCdEfGh1234");
    }

    #[test]
    fn each_fault_is_named() {
        let fault = |text: &str| text.parse::<ChannelArn>().unwrap_err();
        assert_eq!(fault("demo"), ArnError::Prefix);
        assert_eq!(fault("arn:aws-cn:ivs:a:123456789012:channel/a"), ArnError::Prefix);
        assert_eq!(fault("arn:aws:ivs:US:123456789012:channel/a"), ArnError::Region);
        assert_eq!(fault("arn:aws:ivs:a:12345678901:channel/a"), ArnError::Account);
        assert_eq!(fault("arn:aws:ivs:a:12345678901\u{0661}:channel/a"), ArnError::Account);
        assert_eq!(fault("arn:aws:ivs:a:123456789012:chanel/a"), ArnError::Kind);
        assert_eq!(fault("arn:aws:ivs:a:123456789012:channel"), ArnError::Kind);
        assert_eq!(fault("arn:aws:ivs:a:123456789012:channel/"), ArnError::Id);
        assert_eq!(fault("arn:aws:ivs:a:123456789012:channel/a/b"), ArnError::Id);
        assert_eq!(fault("arn:aws:ivs:a:123456789012:channel/a\n"), ArnError::Id);
        assert_eq!(
            fault("arn:aws:ivs:a:123456789012:stream-key/a"),
            ArnError::OtherKind { found: ResourceKind::StreamKey, expected: ResourceKind::Channel }
        );
        let long = format!("arn:aws:ivs:a:123456789012:channel/{}", "a".repeat(128));
        assert_eq!(fault(&long), ArnError::Length);
    }

    fn any_arn() -> impl Strategy<Value = Arn> {
        let kind = prop::sample::select(ResourceKind::ALL.to_vec());
        ("[a-z0-9-]{1,20}", "[0-9]{12}", kind, "[a-zA-Z0-9-]{1,40}").prop_map(
            |(region, account, kind, id)| {
                Arn::new(&region.parse().unwrap(), &account.parse().unwrap(), kind, &id).unwrap()
            },
        )
    }

    proptest! {
        #[test]
        fn printing_then_parsing_is_identity(arn in any_arn()) {
            prop_assert_eq!(arn.to_string().parse::<Arn>().unwrap(), arn);
        }

        #[test]
        fn what_parses_prints_as_it_was(text in "arn:aws:ivs:[a-z-]{0,4}:[0-9]{11,13}:(channel|stream-key|x)/[a-zA-Z0-9/-]{0,5}") {
            if let Ok(arn) = text.parse::<Arn>() {
                prop_assert_eq!(arn.as_str(), text);
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
            let _ = text.parse::<Arn>();
        }
    }
}
