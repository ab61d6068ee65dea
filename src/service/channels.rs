//! Reading channels, and resolving what callers call them.

use std::sync::Arc;

use super::{Error, requester};
use crate::{
    access::audit::Actor,
    api::{Channel, ChannelList},
    channels::{ChannelDirectory, ChannelNames, ChannelRefError},
    ivs::{IvsError, IvsRegions, RegionalIvs, arn::ChannelArn},
    keys::signing::SigningKeys,
};

/// The channels that this service covers.
#[derive(Debug)]
pub struct Channels {
    /// The aliases, and the regions and account that channels must be in.
    pub names: ChannelNames,
    /// The cached lookup.
    pub directory: ChannelDirectory,
    /// The signing keys, whose keyrings name the account.
    pub keys: Arc<SigningKeys>,
    /// The regions.
    pub ivs: IvsRegions,
}

impl Channels {
    /// Returns the channel that an ARN or alias stands for.
    ///
    /// The account that this service signs for may become known only when the first key is created, so the
    /// keyrings are read here.
    ///
    /// # Errors
    ///
    /// The text names no channel, or one that this service cannot mint for.
    pub fn resolve(&self, text: &str) -> Result<ChannelArn, ChannelRefError> {
        if self.names.account().is_none() {
            let mut keyrings =
                self.ivs.names().iter().filter_map(|region| self.keys.keyring(region));
            if let Some(account) = keyrings.find_map(|keyring| keyring.account_id.clone()) {
                self.names.learn_account(account);
            }
        }
        self.names.resolve(text)
    }

    /// Returns a channel from the cache, or from Amazon IVS if it is not cached.
    ///
    /// # Errors
    ///
    /// The text names no channel of this service, or the lookup failed.
    pub async fn get(&self, caller: &Actor, text: &str) -> Result<Channel, Error> {
        let arn = self.resolve(text)?;
        Ok(self.directory.lookup(&arn, requester(caller)).await?.into())
    }

    /// Returns a channel from Amazon IVS, at most once per second per channel.
    ///
    /// # Errors
    ///
    /// The text names no channel of this service, or the lookup failed.
    pub async fn refresh(&self, caller: &Actor, text: &str) -> Result<Channel, Error> {
        let arn = self.resolve(text)?;
        Ok(self.directory.refresh(&arn, requester(caller)).await?.into())
    }

    /// Lists the channels of a region.
    ///
    /// # Errors
    ///
    /// A call to Amazon IVS failed.
    pub async fn list(&self, ivs: &RegionalIvs) -> Result<ChannelList, IvsError> {
        let mut channels = Vec::new();
        let mut next_token = None;
        loop {
            let (page, next) = ivs.list_channels(next_token).await?;
            channels.extend(page);
            if next.is_none() {
                return Ok(ChannelList { channels });
            }
            next_token = next;
        }
    }
}
