//! The canary: one channel by which the playback edge shows whether it knows a new key.
//!
//! It is here because it needs channels, tokens and keys, which do not know each other. What its answers mean is decided
//! in [`keys::rotation::canary`](crate::keys::rotation::canary).

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::sync::OnceCell;

use super::fetch::Fetcher;
use crate::{
    channels::{ChannelDirectory, LookupError, Requester},
    clock::{Clock, Timestamp},
    ivs::arn::{ChannelArn, Region},
    keys::{
        rotation::{Probe, ProbeFuture, canary::Round},
        signing::{SignError, Signer},
    },
    secret::system_rng,
    tokens::{
        PlaybackUrlError,
        grant::{Grant, MintRequest, Policy, Terms, Violation},
        mint::{Issue, MintError, prepare},
        playback_url,
    },
};

/// How long the tokens of a round live: it takes seconds.
const TTL: Duration = Duration::from_mins(1);

/// The most of a playlist that is read, in bytes.
const MAX_PLAYLIST: usize = 64 * 1024;

/// A live private channel, requested with tokens of different keys.
#[derive(Debug)]
pub(super) struct Canary {
    channel: ChannelArn,
    channels: ChannelDirectory,
    clock: Clock,
    /// Made with the first round, since it reads this machine's root certificates.
    fetcher: OnceCell<Fetcher>,
    /// Whether the last round failed.
    is_failing: AtomicBool,
}

/// Why a round could not be made. No message contains a token.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error("the terms of its tokens are not valid")]
    Terms(Vec<Violation>),
    #[error(transparent)]
    Mint(#[from] MintError),
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error(transparent)]
    Url(#[from] PlaybackUrlError),
    #[error("the playback edge cannot be asked: {0}")]
    Fetch(String),
}

impl Canary {
    pub(super) fn new(channel: ChannelArn, channels: ChannelDirectory, clock: Clock) -> Self {
        Self {
            channel,
            channels,
            clock,
            fetcher: OnceCell::new(),
            is_failing: AtomicBool::new(false),
        }
    }

    /// Returns the region whose keys it can test.
    pub(super) fn region(&self) -> &Region {
        self.channel.region()
    }

    async fn ask(&self, signers: [&Signer; 3]) -> Result<Round, RoundError> {
        let lookup = self.channels.lookup(&self.channel, Requester::LOCAL).await?;
        let (base, now) = (&lookup.channel.playback_url, self.clock.now());
        let make = || async { Fetcher::new(MAX_PLAYLIST).map_err(RoundError::Fetch) };
        let fetcher = self.fetcher.get_or_try_init(make).await?;
        let [active, new, throwaway] = signers.map(|signer| self.fetch(fetcher, base, signer, now));
        let (active, new, throwaway) = tokio::try_join!(active, new, throwaway)?;
        Ok(Round { active, new, throwaway })
    }

    /// Returns the status of the multivariant playlist for a token of this signer.
    async fn fetch(
        &self,
        fetcher: &Fetcher,
        base: &str,
        signer: &Signer,
        now: Timestamp,
    ) -> Result<u16, RoundError> {
        let policy = Policy { default_ttl: TTL, max_ttl: TTL, stamp_session_version: false };
        let terms = Terms::parse(MintRequest::default(), &policy).map_err(RoundError::Terms)?;
        let grant = Grant { channel: self.channel.clone(), terms };
        let prepared = prepare(&grant, &policy, Issue::at(now), &mut system_rng())?;
        let signature = signer.sign(prepared.message())?;
        let minted = prepared.finish(&signature)?;
        let url = playback_url(base, minted.token.expose())?;
        let (status, _) = fetcher.get(&url).await.map_err(RoundError::Fetch)?;
        Ok(status)
    }
}

impl Probe for Canary {
    fn round<'a>(
        &'a self,
        active: &'a Signer,
        new: &'a Signer,
        throwaway: &'a Signer,
    ) -> ProbeFuture<'a> {
        Box::pin(async move {
            let (region, asked) = (self.region(), self.ask([active, new, throwaway]).await);
            let was_failing = self.is_failing.swap(asked.is_err(), Ordering::Relaxed);
            match &asked {
                Ok(Round { active, new, throwaway }) => {
                    tracing::debug!(event = "canary_round", %region, active, new, throwaway, "canary asked");
                    if was_failing {
                        let event = "canary_asked_again";
                        tracing::info!(event, %region, "the canary channel answers again");
                    }
                }
                Err(error) => {
                    let event = "canary_not_asked";
                    tracing::warn!(event, %region, %error, "the canary channel gave no answer");
                }
            }
            asked.ok()
        })
    }
}
