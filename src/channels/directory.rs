//! The remembered channels of all regions.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use futures_util::future::join_all;
use prometheus_client::metrics::counter::Counter;
use tokio_util::task::TaskTracker;

use super::{
    Settings, Unavailable,
    channel::{Freshness, Lookup, LookupError, LookupForMint},
    lookups::{Lookups, RETRY_AFTER, Shared, lookups},
    memory::{Memory, REFRESH_PAUSE, Seen, Since},
    source::ChannelSource,
    warm_up::warm_up,
};
use crate::{
    clock::{Clock, Moment},
    ivs::{
        IvsRegions,
        arn::{ChannelArn, Region},
        dispatch::Requester,
    },
    telemetry::metrics::{LookupResult, Metrics},
};

/// The remembered channels of all regions. Cheap to clone.
#[derive(Clone)]
pub struct ChannelDirectory(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    regions: BTreeMap<Region, Lookups>,
    counters: Counters,
}

/// Kept here, because a cache hit has no time to find them.
struct Counters {
    hits: Counter,
    stale: Counter,
    misses: Counter,
    not_found: Counter,
    denied: Counter,
    unavailable: Counter,
}

impl fmt::Debug for ChannelDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelDirectory")
            .field("settings", &self.0.shared.settings)
            .field("channels", &self.0.shared.memory.len())
            .finish_non_exhaustive()
    }
}

impl ChannelDirectory {
    /// Returns an empty directory. Its calls run on `tasks`.
    pub fn new(
        ivs: &IvsRegions,
        settings: Settings,
        clock: Clock,
        tasks: &TaskTracker,
        metrics: Metrics,
    ) -> Self {
        let sources = ivs.iter().map(|regional| {
            let source: Arc<dyn ChannelSource> = Arc::new(regional.clone());
            (regional.region().clone(), source)
        });
        Self::with_sources(sources, settings, clock, tasks, metrics)
    }

    pub(super) fn with_sources(
        sources: impl IntoIterator<Item = (Region, Arc<dyn ChannelSource>)>,
        settings: Settings,
        clock: Clock,
        tasks: &TaskTracker,
        metrics: Metrics,
    ) -> Self {
        let counters = Counters::new(&metrics);
        let memory = Memory::new(settings.capacity);
        let shared = Arc::new(Shared { settings, memory, clock, metrics });
        let lookups = |(region, source): (Region, _)| {
            let lookups = lookups(Arc::clone(&shared), region.clone(), source, tasks.clone());
            (region, lookups)
        };
        let regions = sources.into_iter().map(lookups).collect();
        Self(Arc::new(Inner { shared, regions, counters }))
    }

    /// Returns the channel, from memory where that is good enough, otherwise from IVS.
    ///
    /// # Errors
    ///
    /// The channel is absent or hidden, or IVS cannot answer in time and nothing usable is
    /// remembered.
    pub async fn lookup(
        &self,
        arn: &ChannelArn,
        requester: Requester<'_>,
    ) -> Result<Lookup, LookupError> {
        let Inner { shared, regions, counters } = &*self.0;
        let now = Moment::of(&shared.clock);
        if let Some(seen) = shared.memory.seen(arn) {
            if let Some(freshness) = seen.freshness(now, &shared.settings) {
                if freshness == Freshness::Stale
                    && seen.next_try.take(now, REFRESH_PAUSE)
                    && let Some(lookups) = regions.get(arn.region())
                {
                    // No one waits for it. Without room, the next lookup tries again.
                    drop(lookups.submit([arn.clone()], None));
                }
                return Ok(self.serve(&seen, freshness));
            }
        } else if self.is_absent(arn, now, shared.settings.not_found_for) {
            return counters.count(Err(LookupError::NotFound));
        }
        counters.count(self.fetch(arn, requester, Since::Learned(now)).await)
    }

    /// Returns the same as [`ChannelDirectory::lookup`], but with `channels.on_unavailable = "mint"` an IVS that
    /// cannot answer is no error: the token itself needs only the ARN.
    ///
    /// # Errors
    ///
    /// As [`ChannelDirectory::lookup`].
    pub async fn lookup_for_mint(
        &self,
        arn: &ChannelArn,
        requester: Requester<'_>,
    ) -> Result<LookupForMint, LookupError> {
        match self.lookup(arn, requester).await {
            Ok(found) => Ok(LookupForMint::Found(found)),
            Err(LookupError::Throttled { .. } | LookupError::Unavailable { .. })
                if self.0.shared.settings.on_unavailable == Unavailable::Mint =>
            {
                Ok(LookupForMint::Unverified)
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the channel as IVS knows it now, or as it is remembered if IVS was asked within the last second.
    /// What is remembered stays when IVS does not answer.
    ///
    /// # Errors
    ///
    /// The channel is absent or hidden, or IVS cannot answer in time.
    pub async fn refresh(
        &self,
        arn: &ChannelArn,
        requester: Requester<'_>,
    ) -> Result<Lookup, LookupError> {
        let Inner { shared, regions, counters } = &*self.0;
        let now = Moment::of(&shared.clock);
        if let Some(seen) = shared.memory.seen(arn) {
            let is_pending =
                || regions.get(arn.region()).is_some_and(|lookups| lookups.is_pending(arn));
            if !seen.next_try.take(now, REFRESH_PAUSE) && !is_pending() {
                return self.after_refresh(&seen, now);
            }
        } else if self.is_absent(arn, now, REFRESH_PAUSE) {
            return counters.count(Err(LookupError::NotFound));
        }
        counters.count(self.fetch(arn, requester, Since::Asked(now)).await)
    }

    /// Reads every private channel of every region, so that their first viewers find them
    /// remembered. Returns when that is done, however long IVS cannot be reached.
    pub async fn warm_up(&self) {
        join_all(self.0.regions.iter().map(|(region, lookups)| async move {
            let channels = warm_up(lookups).await;
            tracing::info!(event = "warm_up_done", %region, channels, "private channels cached");
        }))
        .await;
    }

    /// Returns a channel that was refreshed within the last second.
    fn after_refresh(&self, seen: &Seen, now: Moment) -> Result<Lookup, LookupError> {
        let Inner { shared, counters, .. } = &*self.0;
        let freshness = if seen.answered.asked.until(now) < REFRESH_PAUSE {
            Some(Freshness::Fresh)
        } else {
            seen.freshness(now, &shared.settings)
        };
        match freshness {
            Some(freshness) => Ok(self.serve(seen, freshness)),
            None => counters.count(Err(LookupError::Unavailable { retry_after: RETRY_AFTER })),
        }
    }

    /// Returns a remembered channel, and counts it.
    fn serve(&self, seen: &Seen, freshness: Freshness) -> Lookup {
        match freshness {
            Freshness::Fresh => self.0.counters.hits.inc(),
            Freshness::Stale => self.0.counters.stale.inc(),
        };
        seen.lookup(freshness)
    }

    fn is_absent(&self, arn: &ChannelArn, now: Moment, remembered_for: Duration) -> bool {
        let absent = self.0.shared.memory.absent(arn);
        absent.is_some_and(|answered| answered.asked.until(now) < remembered_for)
    }

    async fn fetch(
        &self,
        arn: &ChannelArn,
        requester: Requester<'_>,
        since: Since,
    ) -> Result<Lookup, LookupError> {
        let lookups = self.0.regions.get(arn.region()).ok_or(LookupError::NotFound)?;
        let seen = lookups.fetch(arn, requester, since).await?;
        Ok(seen.lookup(Freshness::Fresh))
    }
}

impl Counters {
    fn new(metrics: &Metrics) -> Self {
        Self {
            hits: metrics.channel_lookups(LookupResult::Hit),
            stale: metrics.channel_lookups(LookupResult::Stale),
            misses: metrics.channel_lookups(LookupResult::Miss),
            not_found: metrics.channel_lookups(LookupResult::NotFound),
            denied: metrics.channel_lookups(LookupResult::Denied),
            unavailable: metrics.channel_lookups(LookupResult::Unavailable),
        }
    }

    /// Counts a lookup that was not served from memory.
    fn count(&self, outcome: Result<Lookup, LookupError>) -> Result<Lookup, LookupError> {
        let counter = match &outcome {
            Ok(_) => &self.misses,
            Err(LookupError::NotFound) => &self.not_found,
            Err(LookupError::Denied) => &self.denied,
            Err(LookupError::Throttled { .. } | LookupError::Unavailable { .. }) => {
                &self.unavailable
            }
        };
        counter.inc();
        outcome
    }
}
