//! Inspection: finding out what is wrong with a token, whoever made it.
//!
//! IVS is asked, since people inspect what just happened, but seldom: for a region's key pairs once in 2 s, and
//! for a channel once per second, whoever asks. What it does not answer in time stays unknown, and the
//! inspection says so.

use std::{
    collections::BTreeMap, fmt::Display, num::NonZeroUsize, sync::Arc, thread, time::Duration,
};

use futures_util::future::join_all;
use tokio::sync::Semaphore;

use super::{Channels, Error, requester};
use crate::{
    access::{Scope, audit::Actor},
    api::InspectRequest,
    channels::{ChannelRefError, Freshness, LookupError, Requester},
    clock::Clock,
    inspection::{ChannelFacts, Context, Input, Inspection, KeyRing, Questions, Subject, inspect},
    ivs::{
        IvsRegions,
        arn::{AccountId, ChannelArn, Region},
    },
    keys::{
        rotation::{KeyManager, REFRESH_PAUSE},
        signing::SigningKeys,
    },
};

/// The longest that an inspection waits for facts.
const PATIENCE: Duration = Duration::from_secs(4);

/// Inspects tokens.
#[derive(Debug)]
pub struct Inspections {
    clock: Clock,
    channels: Arc<Channels>,
    keys: Arc<SigningKeys>,
    key_managers: BTreeMap<Region, Arc<KeyManager>>,
    ivs: IvsRegions,
    patience: Duration,
    /// How many inspections may be computed at a time: on half of the processors, since each costs as much as
    /// many mints, which must not wait for them.
    turns: Arc<Semaphore>,
}

/// What is known in addition to the token.
#[derive(Debug, Default)]
pub struct Facts {
    /// The keys that may have signed.
    pub keys: KeyRing,
    /// What IVS says about the channel.
    pub channel: Option<ChannelFacts>,
    /// Why something could not be found out.
    pub troubles: Vec<String>,
}

impl Inspections {
    /// For requests that may take `request_timeout`: after half of it, an inspection goes without the facts
    /// that are still missing, so that it can say what it knows.
    pub fn new(
        clock: Clock,
        channels: Arc<Channels>,
        key_managers: BTreeMap<Region, Arc<KeyManager>>,
        request_timeout: Duration,
    ) -> Self {
        let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            clock,
            keys: Arc::clone(&channels.keys),
            ivs: channels.ivs.clone(),
            channels,
            key_managers,
            patience: PATIENCE.min(request_timeout / 2),
            turns: Arc::new(Semaphore::new(processors.div_ceil(2))),
        }
    }

    /// Inspects what a caller sent.
    ///
    /// # Errors
    ///
    /// The request breaks a rule, or its channel is neither an ARN nor an alias.
    pub async fn inspect(
        &self,
        caller: &Actor,
        request: InspectRequest,
    ) -> Result<Inspection, Error> {
        let InspectRequest { token, playback_url, edge_error, channel, origin } = request;
        let subject = match (token, playback_url) {
            (Some(_), Some(_)) => {
                let detail = "Give token or playbackUrl, not both.";
                return Err(Error::invalid_member("/playbackUrl", detail));
            }
            (Some(token), None) => Some(Subject::Token(token)),
            (None, Some(url)) => Some(Subject::PlaybackUrl(url)),
            (None, None) if edge_error.is_some() => None,
            (None, None) => {
                let detail = "Give token, playbackUrl or edgeError.";
                return Err(Error::invalid_member("", detail));
            }
        };
        let may_see = sees_channels(caller);
        let channel = channel.map(|text| self.channel(&text, may_see)).transpose()?;
        let input = Input { subject, edge_error, channel, origin };
        let facts = self.facts(&Questions::of(&input), may_see.then(|| requester(caller))).await;
        for trouble in &facts.troubles {
            tracing::info!(
                event = "inspection_incomplete",
                reason = trouble,
                "inspection incomplete"
            );
        }
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(Error::internal)?;
        let now = self.clock.now();
        // A token of a mebibyte, and finding out which key signed, take milliseconds.
        let inspection = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            inspect(&input, &Context { keys: Some(&facts.keys), channel: facts.channel }, now)
        });
        inspection.await.map_err(Error::internal)
    }

    /// Answers the questions of an inspection. The channel is looked up for `requester`; without one it is not
    /// looked up, so that a caller who may not see a channel does not learn whether it exists.
    pub async fn facts(&self, questions: &Questions, requester: Option<Requester<'_>>) -> Facts {
        let keys = async {
            if questions.keys {
                self.known_keys(questions.channel.as_ref()).await
            } else {
                (KeyRing::default(), Vec::new())
            }
        };
        let channel = async {
            match (&questions.channel, requester) {
                (Some(channel), Some(requester)) => self.look_up(channel, requester).await,
                (_, _) => Ok(None),
            }
        };
        let ((keys, mut troubles), channel) = tokio::join!(keys, channel);
        let channel = channel.unwrap_or_else(|trouble| {
            troubles.push(trouble);
            None
        });
        Facts { keys, channel, troubles }
    }

    /// Resolves an alias, or any channel's ARN: an inspected token need not be of this service. Aliases are
    /// known only to callers who may see channels.
    fn channel(&self, text: &str, may_see: bool) -> Result<ChannelArn, Error> {
        let refusal = match self.channels.names.resolve(text) {
            Ok(channel) if may_see => return Ok(channel),
            Ok(_) => ChannelRefError::NotAChannel,
            Err(error) => error,
        };
        text.parse().map_err(|_| refusal.into())
    }

    /// Returns the keys of every region; IVS is asked where the channel is, or everywhere without one.
    async fn known_keys(&self, channel: Option<&ChannelArn>) -> (KeyRing, Vec<String>) {
        let is_home = |region: &Region| channel.is_none_or(|channel| channel.region() == region);
        let regions = self.ivs.names().iter().map(|region| async move {
            if is_home(region) {
                let (read, asked) =
                    tokio::join!(self.read_keyring(region, REFRESH_PAUSE), self.list_pairs(region));
                return (region, read, Some(asked));
            }
            // Enough to recognise a key that signs elsewhere.
            (region, self.read_keyring(region, Duration::MAX).await, None)
        });
        let mut ring = KeyRing::default();
        let mut troubles = Vec::new();
        for (region, read, asked) in join_all(regions).await {
            troubles.extend(read.err());
            let keyring = self.keys.keyring(region);
            let listed = self.key_managers.get(region).and_then(|keys| keys.listed());
            match asked {
                None => ring.add_region(keyring.as_deref(), listed.as_deref()),
                Some(Ok(())) => {
                    ring.add_region(keyring.as_deref(), listed.as_deref());
                    let recorded = keyring.and_then(|keyring| keyring.account_id.clone());
                    match self.account_of(recorded).await {
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

    /// Reads the keyring, unless it was read within `max_age`. Without it, pairs are still known by their
    /// fingerprints.
    async fn read_keyring(&self, region: &Region, max_age: Duration) -> Result<(), String> {
        if self.keys.status(region).keyring_age.is_some_and(|age| age < max_age) {
            return Ok(());
        }
        let what = format!("the keyring of {region} is not known");
        self.in_time(&what, self.keys.refresh(region)).await
    }

    /// Asks IVS for its key pairs.
    async fn list_pairs(&self, region: &Region) -> Result<(), String> {
        let Some(keys) = self.key_managers.get(region) else { return Ok(()) };
        let what = format!("the key pairs of {region} in Amazon IVS are not known");
        self.in_time(&what, keys.refresh_key_pairs()).await
    }

    /// Returns the account of the key pairs that IVS lists.
    async fn account_of(&self, recorded: Option<AccountId>) -> Result<AccountId, String> {
        match recorded {
            Some(account) => Ok(account),
            None => {
                self.in_time("the account of the key pairs is not known", self.ivs.account()).await
            }
        }
    }

    async fn in_time<T, E: Display>(
        &self,
        what: &str,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, String> {
        match tokio::time::timeout(self.patience, work).await {
            Ok(done) => done.map_err(|error| format!("{what}: {error}")),
            Err(_) => Err(format!("{what}: no answer in time")),
        }
    }

    /// Asks IVS about a channel that this service covers.
    async fn look_up(
        &self,
        channel: &ChannelArn,
        requester: Requester<'_>,
    ) -> Result<Option<ChannelFacts>, String> {
        let Ok(channel) = self.channels.resolve(channel.as_str()) else {
            return Ok(None);
        };
        let lookup = self.channels.directory.refresh(&channel, requester);
        match tokio::time::timeout(self.patience, lookup).await {
            Ok(Ok(lookup)) if lookup.freshness == Freshness::Fresh => {
                let private = lookup.channel.authorized;
                Ok(Some(if private { ChannelFacts::Private } else { ChannelFacts::Public }))
            }
            Ok(Err(LookupError::NotFound)) => Ok(Some(ChannelFacts::Absent)),
            // A channel that IVS hides from this service may well play.
            Ok(Err(error)) => Err(format!("the channel is not known: {error}")),
            Ok(Ok(_)) | Err(_) => {
                Err("the channel is not known: Amazon IVS did not answer in time".to_owned())
            }
        }
    }
}

/// Returns whether a caller may learn about channels. A minting client may: a mint shows it whether a channel
/// exists and is private.
fn sees_channels(caller: &Actor) -> bool {
    match caller {
        Actor::Client { client, .. } => [Scope::ChannelsRead, Scope::TokensMint]
            .into_iter()
            .any(|scope| client.require(scope).is_ok()),
        Actor::Operator { .. } | Actor::Service => true,
    }
}
