//! What a service can tell an inspection: which keys there are, and what IVS says of the channel.
//!
//! IVS is asked, since people inspect what just happened, but seldom: for a region's key pairs once in
//! 2 s, for a channel once in a second, whoever asks. What it does not answer in time stays unknown,
//! and the inspection says so.

use std::{fmt::Display, time::Duration};

use futures_util::future::join_all;

use crate::{
    channels::{Freshness, LookupError, Requester},
    http::Api,
    inspection::{ChannelFacts, KeyRing, Questions},
    ivs::arn::{AccountId, ChannelArn, Region},
    keys::inventory::REFRESH_PAUSE,
};

/// Within this an inspection has its facts, or goes without; within half of a request's time, where that
/// is less, so that it can still say what it knows.
const PATIENCE: Duration = Duration::from_secs(4);

fn patience(api: &Api) -> Duration {
    PATIENCE.min(api.limits.request_timeout / 2)
}

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
        if is_home(region) {
            let (read, asked) =
                tokio::join!(read_keyring(api, region, REFRESH_PAUSE), list_pairs(api, region));
            return (region, read, Some(asked));
        }
        // Enough to know a key again that signs elsewhere.
        (region, read_keyring(api, region, Duration::MAX).await, None)
    });
    let mut ring = KeyRing::default();
    let mut troubles = Vec::new();
    for (region, read, asked) in join_all(regions).await {
        troubles.extend(read.err());
        let keyring = api.keys.keyring(region);
        let listed = api.inventory.listed(region);
        match asked {
            None => ring.add_region(keyring.as_deref(), listed.as_deref()),
            Some(Ok(())) => {
                ring.add_region(keyring.as_deref(), listed.as_deref());
                let recorded = keyring.and_then(|keyring| keyring.account_id.clone());
                match account_of(api, recorded).await {
                    Ok(account) => ring.cover(region.clone(), account),
                    Err(trouble) => troubles.push(trouble),
                }
            }
            // What IVS has there by now is not known.
            Some(Err(trouble)) => {
                ring.add_region(keyring.as_deref(), None);
                troubles.push(trouble);
            }
        }
    }
    (ring, troubles)
}

/// Reads the keyring, unless it was read within `max_age`. Without it, pairs are known all the same: by
/// their fingerprints.
async fn read_keyring(api: &Api, region: &Region, max_age: Duration) -> Result<(), String> {
    if api.keys.status(region).keyring_age.is_some_and(|age| age < max_age) {
        return Ok(());
    }
    in_time(api, api.keys.refresh(region))
        .await
        .map_err(|trouble| format!("the keyring of {region} is not known: {trouble}"))
}

/// Asks IVS for its key pairs.
async fn list_pairs(api: &Api, region: &Region) -> Result<(), String> {
    in_time(api, api.inventory.refresh(region)).await.map_err(|trouble| {
        format!("the key pairs of {region} in Amazon IVS are not known: {trouble}")
    })
}

/// Whose the key pairs are that IVS lists.
async fn account_of(api: &Api, recorded: Option<AccountId>) -> Result<AccountId, String> {
    match recorded {
        Some(account) => Ok(account),
        None => in_time(api, api.ivs.account())
            .await
            .map_err(|trouble| format!("the account of the key pairs is not known: {trouble}")),
    }
}

async fn in_time<T, E: Display>(
    api: &Api,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, String> {
    match tokio::time::timeout(patience(api), work).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
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
    match tokio::time::timeout(patience(api), lookup).await {
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
