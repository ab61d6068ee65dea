//! What a service can tell an inspection: which keys there are, and what IVS says of the channel.
//!
//! IVS is asked, since people inspect what just happened, but seldom: for a region's key pairs once in
//! 2 s, for a channel once in a second, whoever asks. What it does not answer in time stays unknown,
//! and the inspection says so.

use std::time::Duration;

use futures_util::future::join_all;

use crate::{
    channels::{Freshness, LookupError, Requester},
    http::Api,
    ivs::arn::{AccountId, ChannelArn, Region},
    keys::inventory::REFRESH_PAUSE,
    tokens::inspect::{ChannelFacts, KeyRing, Questions},
};

/// Within this an inspection has its facts, or goes without.
const PATIENCE: Duration = Duration::from_secs(4);

/// What is known beside the token.
#[derive(Debug, Default)]
pub struct Facts {
    /// The keys that may have signed.
    pub keys: KeyRing,
    /// What IVS says of the channel.
    pub channel: Option<ChannelFacts>,
    /// Why something could not be found out, in sentences.
    pub troubles: Vec<String>,
}

impl Facts {
    /// Answers the questions of an inspection. The channel is looked up for `requester`; not at all
    /// without one, so that whoever may not see a channel gets the same answer whether there is one.
    pub async fn gather(
        api: &Api,
        questions: &Questions,
        requester: Option<Requester<'_>>,
    ) -> Self {
        let keys = async {
            if questions.keys {
                known_keys(api, questions.channel.as_ref()).await
            } else {
                (KeyRing::default(), Vec::new())
            }
        };
        let channel = async {
            match (&questions.channel, requester) {
                (Some(channel), Some(requester)) => look_up(api, channel, requester).await,
                (_, _) => Ok(None),
            }
        };
        let ((keys, mut troubles), channel) = tokio::join!(keys, channel);
        let channel = channel.unwrap_or_else(|trouble| {
            troubles.push(trouble);
            None
        });
        Self { keys, channel, troubles }
    }
}

/// The keys of every region; IVS is asked where the channel is, or everywhere without one.
async fn known_keys(api: &Api, channel: Option<&ChannelArn>) -> (KeyRing, Vec<String>) {
    let is_home = |region: &Region| channel.is_none_or(|channel| channel.region() == region);
    let regions = api.ivs.names().iter().map(|region| async move {
        let asked = if is_home(region) { Some(ask(api, region).await) } else { None };
        (region, asked)
    });
    let mut ring = KeyRing::default();
    let mut troubles = Vec::new();
    for (region, asked) in join_all(regions).await {
        let keyring = api.keys.keyring(region);
        match asked {
            Some(Ok(account)) => {
                ring.add_region(keyring.as_deref(), api.inventory.listed(region).as_deref());
                ring.cover(region.clone(), account);
            }
            // What IVS has there by now is not known.
            Some(Err(trouble)) => {
                ring.add_region(keyring.as_deref(), None);
                troubles.push(trouble);
            }
            None => ring.add_region(keyring.as_deref(), api.inventory.listed(region).as_deref()),
        }
    }
    (ring, troubles)
}

/// Reads the keyring and what IVS lists anew; returns whose pairs these are.
async fn ask(api: &Api, region: &Region) -> Result<AccountId, String> {
    let ask = async {
        if api.keys.status(region).keyring_age.is_none_or(|age| age >= REFRESH_PAUSE) {
            // Without the keyring, pairs are known all the same: by their fingerprints.
            if let Err(error) = api.keys.refresh(region).await {
                tracing::debug!(%region, %error, "the keyring was not read for an inspection");
            }
        }
        api.inventory.refresh(region).await?;
        let recorded = api.keys.keyring(region).and_then(|keyring| keyring.account_id.clone());
        match recorded {
            Some(account) => Ok(account),
            None => api.ivs.account().await,
        }
    };
    match tokio::time::timeout(PATIENCE, ask).await {
        Ok(asked) => asked.map_err(|error| {
            format!("the key pairs of {region} in Amazon IVS are not known: {error}")
        }),
        Err(_) => Err(format!(
            "the key pairs of {region} in Amazon IVS are not known: no answer within {} s",
            PATIENCE.as_secs()
        )),
    }
}

/// What IVS says of a channel that this service covers.
async fn look_up(
    api: &Api,
    channel: &ChannelArn,
    requester: Requester<'_>,
) -> Result<Option<ChannelFacts>, String> {
    let Ok(channel) = api.resolve(channel.as_str()) else {
        return Ok(None);
    };
    let lookup = api.channels.refresh(&channel, requester);
    match tokio::time::timeout(PATIENCE, lookup).await {
        Ok(Ok(lookup)) if lookup.freshness == Freshness::Fresh => {
            let private = lookup.channel.authorized;
            Ok(Some(if private { ChannelFacts::Private } else { ChannelFacts::Public }))
        }
        Ok(Err(LookupError::NotFound)) => Ok(Some(ChannelFacts::Absent)),
        // One that IVS hides from this service may well play.
        Ok(Err(error)) => Err(format!("the channel is not known: {error}")),
        Ok(Ok(_)) | Err(_) => {
            Err("the channel is not known: Amazon IVS did not answer in time".to_owned())
        }
    }
}
