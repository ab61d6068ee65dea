//! Reads all channels of a region at start, so that the first viewers of each find it remembered.
//!
//! A page of `ListChannels`, then its channels as refreshes that nobody waits for: callers are served
//! first, and the pace is that of all lookups. Public channels are left out; that a channel is public
//! is believed for seconds only.

use std::time::Duration;

use futures_util::future::join_all;

use super::{
    budget::Budget,
    gather::{Gatherer, Stopwatch},
};
use crate::ivs::{ChannelSummary, IvsError};

/// How long to wait after a page that could not be read.
const PAUSE: Duration = Duration::from_secs(10);

/// Reads every private channel of the region, however long it takes IVS to answer. Returns how many
/// there are.
pub(super) async fn warm_up(gatherer: &Gatherer) -> usize {
    let settings = gatherer.shared().settings;
    let (mut pages, mut read, mut next_token) = (Pages::new(settings.calls_per_second), 0, None);
    loop {
        match pages.next(gatherer, next_token.clone()).await {
            Ok((channels, token)) => {
                let channels = channels.iter().filter(|channel| channel.authorized);
                let waits: Vec<_> = channels
                    .filter(|channel| gatherer.shared().memory.seen(&channel.arn).is_none())
                    .filter_map(|channel| gatherer.fetch_in_background(&channel.arn))
                    .collect();
                let outcomes = join_all(waits.into_iter().map(super::flights::Flight::outcome));
                read += outcomes.await.iter().flatten().flatten().count();
                next_token = token;
                let full = u64::try_from(read).unwrap_or(u64::MAX) >= settings.capacity;
                if next_token.is_none() || full {
                    return read;
                }
            }
            Err(error) => {
                tracing::warn!(region = %gatherer.region(), %error, "channels cannot be listed");
                // A token may be what IVS does not take any more.
                next_token = None;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// The pages of a list, at the pace of a lookup.
struct Pages {
    budget: Budget,
    stopwatch: Stopwatch,
}

impl Pages {
    fn new(calls_per_second: f64) -> Self {
        Self { budget: Budget::new(calls_per_second), stopwatch: Stopwatch::start() }
    }

    async fn next(
        &mut self,
        gatherer: &Gatherer,
        token: Option<String>,
    ) -> Result<(Vec<ChannelSummary>, Option<String>), IvsError> {
        let pass = loop {
            match self.budget.take(self.stopwatch.elapsed()) {
                Ok(pass) => break pass,
                Err(wait) => tokio::time::sleep(wait).await,
            }
        };
        let page = gatherer.source().list_channels(token).await;
        let throttled = matches!(page, Err(IvsError::Throttled));
        self.budget.answered(pass, self.stopwatch.elapsed(), throttled);
        page
    }
}
