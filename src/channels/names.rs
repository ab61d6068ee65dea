//! The names of a channel: its ARN, or an alias in the configuration.

use std::{collections::BTreeMap, sync::OnceLock};

use crate::ivs::arn::{AccountId, ArnError, ChannelArn, Region};

/// The aliases, regions and account that the name of a channel is checked against.
#[derive(Debug)]
pub struct ChannelNames {
    aliases: BTreeMap<String, ChannelArn>,
    regions: Vec<Region>,
    /// Not always known at start, because it may take a call to AWS.
    account: OnceLock<AccountId>,
}

/// Why a text does not name a channel of this service.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ChannelRefError {
    /// Neither an ARN nor an alias.
    #[error("This is neither the ARN of a channel nor an alias in channels.aliases.")]
    NotAChannel,
    /// An ARN that no channel can have.
    #[error("This is not the ARN of a channel: {0}.")]
    OtherResource(ArnError),
    /// A channel in a region that this service does not cover.
    #[error(
        "The channel is in {region}; this service covers {served}. Add it to ivs.regions.",
        served = Region::list(.served)
    )]
    OtherRegion {
        /// The channel's region.
        region: Region,
        /// The regions that this service covers.
        served: Vec<Region>,
    },
    /// A channel that the signing keys do not belong to.
    #[error(
        "This channel belongs to {owner}; this service signs for {own}. Its tokens could never \
         play there."
    )]
    OtherAccount {
        /// The channel's account.
        owner: AccountId,
        /// This service's.
        own: AccountId,
    },
}

impl ChannelNames {
    /// Returns the names of a service that covers `regions`.
    pub fn new(aliases: BTreeMap<String, ChannelArn>, regions: Vec<Region>) -> Self {
        Self { aliases, regions, account: OnceLock::new() }
    }

    /// Records whose channels this service signs for; only the first call has an effect. Until then, channels of
    /// any account are accepted, and IVS does not find those of others.
    pub fn learn_account(&self, account: AccountId) {
        let _ = self.account.set(account);
    }

    /// Returns the account whose channels this service signs for, once it is known.
    pub fn account(&self) -> Option<&AccountId> {
        self.account.get()
    }

    /// Returns the aliases with their channels.
    pub fn aliases(&self) -> impl Iterator<Item = (&str, &ChannelArn)> {
        self.aliases.iter().map(|(name, arn)| (name.as_str(), arn))
    }

    /// Returns the channel that `text` names.
    ///
    /// # Errors
    ///
    /// It names no channel, or one that this service cannot mint for.
    pub fn resolve(&self, text: &str) -> Result<ChannelArn, ChannelRefError> {
        let arn = match self.aliases.get(text) {
            Some(arn) => arn.clone(),
            None => text.parse().map_err(|error| reference_error(text, error))?,
        };
        if !self.regions.contains(arn.region()) {
            return Err(ChannelRefError::OtherRegion {
                region: arn.region().clone(),
                served: self.regions.clone(),
            });
        }
        match self.account.get() {
            Some(own) if own != arn.account() => Err(ChannelRefError::OtherAccount {
                owner: arn.account().clone(),
                own: own.clone(),
            }),
            Some(_) | None => Ok(arn),
        }
    }
}

/// Distinguishes the ARN of another resource from a name that means nothing.
fn reference_error(text: &str, error: ArnError) -> ChannelRefError {
    let is_arn = text.starts_with("arn:") && text.split(':').count() >= 6;
    if is_arn { ChannelRefError::OtherResource(error) } else { ChannelRefError::NotAChannel }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEMO: &str = "arn:aws:ivs:us-west-2:123456789012:channel/AbCdEfGh1234";

    fn names() -> ChannelNames {
        let aliases = BTreeMap::from([("demo".to_owned(), DEMO.parse().unwrap())]);
        ChannelNames::new(aliases, vec!["us-west-2".parse().unwrap()])
    }

    fn refusal(text: &str) -> String {
        names().resolve(text).unwrap_err().to_string()
    }

    #[test]
    fn alias_resolves_like_its_arn() {
        let names = names();
        assert_eq!(names.resolve("demo").unwrap().as_str(), DEMO);
        assert_eq!(names.resolve(DEMO).unwrap().as_str(), DEMO);
        assert_eq!(names.aliases().map(|(name, _)| name).collect::<Vec<_>>(), ["demo"]);
    }

    #[test]
    fn other_arns_are_distinguished_from_unknown_names() {
        let neither = "This is neither the ARN of a channel nor an alias in channels.aliases.";
        for text in ["", "Demo", "demo2", "arn:", "arn:aws:ivs", "channel/AbCdEfGh1234"] {
            assert_eq!(refusal(text), neither, "{text:?}");
        }
        assert_eq!(
            refusal("arn:aws:ivs:us-west-2:123456789012:stream-key/AbCd"),
            "This is not the ARN of a channel: the ARN is of a stream-key, not of a channel."
        );
        let bucket = names().resolve("arn:aws:s3:::bucket");
        assert_eq!(bucket, Err(ChannelRefError::OtherResource(ArnError::Prefix)));
        let account = names().resolve("arn:aws:ivs:us-west-2:12345:channel/AbCd");
        assert_eq!(account, Err(ChannelRefError::OtherResource(ArnError::Account)));
    }

    #[test]
    fn channel_of_another_region_or_account_is_named_in_the_error() {
        assert_eq!(
            refusal(&DEMO.replace("us-west-2", "eu-west-1")),
            "The channel is in eu-west-1; this service covers us-west-2. Add it to ivs.regions."
        );
        let names = names();
        let foreign = DEMO.replace("123456789012", "111111111111");
        assert!(names.resolve(&foreign).is_ok());
        names.learn_account("123456789012".parse().unwrap());
        assert!(names.resolve(DEMO).is_ok());
        assert_eq!(
            names.resolve(&foreign).unwrap_err().to_string(),
            "This channel belongs to 111111111111; this service signs for 123456789012. Its tokens \
             could never play there."
        );
    }
}
