//! The channels of all regions, remembered.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use futures_util::future::join_all;
use prometheus_client::metrics::counter::Counter;
use tokio_util::task::TaskTracker;

use super::{
    answers::RETRY_AFTER,
    channel::{Freshness, Lookup, LookupError, LookupForMint, Settings},
    fairness::Requester,
    flights::Outcome,
    gather::{Gatherer, Shared},
    memory::{Memory, REFRESH_PAUSE, Seen, Since},
    policy::{Verdict, judge},
    source::ChannelSource,
    warm_up::warm_up,
};
use crate::{
    clock::{Clock, Moment},
    config::Unavailable,
    ivs::{
        IvsRegions,
        arn::{ChannelArn, Region},
    },
    telemetry::metrics::{LookupResult, Metrics},
};

/// The channels of all regions, remembered. Cheap to clone.
#[derive(Clone)]
pub struct ChannelDirectory(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    regions: BTreeMap<Region, Gatherer>,
    counters: Counters,
}

/// Kept, since a lookup that is a hit has no time to find them.
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
    /// A directory that remembers nothing yet. Its calls run on `tasks`.
    pub fn new(
        ivs: &IvsRegions,
        settings: Settings,
        clock: Clock,
        tasks: TaskTracker,
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
        tasks: TaskTracker,
        metrics: Metrics,
    ) -> Self {
        let counters = Counters::new(&metrics);
        let memory = Memory::new(settings.capacity);
        let shared = Arc::new(Shared { settings, memory, clock, tasks, metrics });
        let gatherer = |(region, source): (Region, _)| {
            (region.clone(), Gatherer::new(Arc::clone(&shared), region, source))
        };
        let regions = sources.into_iter().map(gatherer).collect();
        Self(Arc::new(Inner { shared, regions, counters }))
    }

    /// The channel: from memory where that will do, else from IVS.
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
        let Inner { shared, counters, .. } = &*self.0;
        let now = Moment::of(&shared.clock);
        if let Some(seen) = shared.memory.seen(arn) {
            match self.judge(&seen, now) {
                Verdict::Fresh => {
                    counters.hits.inc();
                    return Ok(seen.lookup(Freshness::Fresh));
                }
                Verdict::Stale => {
                    counters.stale.inc();
                    if seen.next_try.take(now, REFRESH_PAUSE) {
                        self.refresh_in_background(arn);
                    }
                    return Ok(seen.lookup(Freshness::Stale));
                }
                Verdict::Expired => {}
            }
        } else if self.is_absent(arn, now, shared.settings.not_found_for) {
            return counters.count(Err(LookupError::NotFound));
        }
        counters.count(self.fetch(arn, requester, Since::Learned(now)).await)
    }

    /// As [`ChannelDirectory::lookup`], but with `channels.on_unavailable = "mint"` an IVS that
    /// cannot answer is no reason to refuse: the token itself needs nothing but the ARN.
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

    /// The channel as IVS knows it now; at most once a second a channel, else as remembered. What is
    /// remembered stays when IVS does not answer.
    ///
    /// # Errors
    ///
    /// The channel is absent or hidden, or IVS cannot answer in time.
    pub async fn refresh(
        &self,
        arn: &ChannelArn,
        requester: Requester<'_>,
    ) -> Result<Lookup, LookupError> {
        let Inner { shared, counters, .. } = &*self.0;
        let now = Moment::of(&shared.clock);
        if let Some(seen) = shared.memory.seen(arn) {
            if !seen.next_try.take(now, REFRESH_PAUSE) {
                return self.after_a_try(arn, requester, &seen, now).await;
            }
        } else if self.is_absent(arn, now, REFRESH_PAUSE) {
            return counters.count(Err(LookupError::NotFound));
        }
        counters.count(self.fetch(arn, requester, Since::Asked(now)).await)
    }

    /// Reads every private channel of every region, so that their first viewers find them
    /// remembered. Ends when that is done, however long IVS is out of reach.
    pub async fn warm_up(&self) {
        join_all(self.0.regions.iter().map(|(region, gatherer)| async move {
            let channels = warm_up(gatherer).await;
            tracing::info!(event = "warm_up_done", %region, channels, "private channels cached");
        }))
        .await;
    }

    /// Refreshes a channel that was asked for within the last second: by what that brings, or, where
    /// it is over, by what is remembered.
    async fn after_a_try(
        &self,
        arn: &ChannelArn,
        requester: Requester<'_>,
        seen: &Seen,
        now: Moment,
    ) -> Result<Lookup, LookupError> {
        let Inner { regions, counters, .. } = &*self.0;
        if regions.get(arn.region()).is_some_and(|gatherer| gatherer.is_under_way(arn)) {
            return counters.count(self.fetch(arn, requester, Since::Asked(now)).await);
        }
        let verdict = if seen.answered.asked.until(now) < REFRESH_PAUSE {
            Verdict::Fresh
        } else {
            self.judge(seen, now)
        };
        match verdict {
            Verdict::Fresh => {
                counters.hits.inc();
                Ok(seen.lookup(Freshness::Fresh))
            }
            Verdict::Stale => {
                counters.stale.inc();
                Ok(seen.lookup(Freshness::Stale))
            }
            Verdict::Expired => {
                counters.count(Err(LookupError::Unavailable { retry_after: RETRY_AFTER }))
            }
        }
    }

    fn judge(&self, seen: &Seen, now: Moment) -> Verdict {
        judge(seen.channel.authorized, seen.answered.asked.until(now), &self.0.shared.settings)
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
        let Some(gatherer) = self.0.regions.get(arn.region()) else {
            return Err(LookupError::NotFound);
        };
        let outcome: Outcome = gatherer.fetch(arn, requester, since).await;
        outcome.map(|seen| seen.lookup(Freshness::Fresh))
    }

    /// Nobody waits for it: the next lookup finds what it brings.
    fn refresh_in_background(&self, arn: &ChannelArn) {
        if let Some(gatherer) = self.0.regions.get(arn.region()) {
            // Without room, the next lookup tries again.
            let _ = gatherer.fetch_in_background(arn);
        }
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

    /// Counts what was not answered from memory at once.
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
