//! The remembered channels, and those that are known to be absent.
//!
//! Both are moka caches, which limit how many are kept. How old an answer is, our clock decides from the moment
//! in the value and never the cache, because a test can move the one and not the other.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use moka::{policy::EvictionPolicy, sync::Cache};

use super::{
    LookupError, Settings,
    channel::{Channel, Freshness, Lookup},
};
use crate::{
    clock::Moment,
    ivs::{self, arn::ChannelArn},
};

/// The limit of absent channels. They have a cache of their own, so that a stream of made-up ARNs evicts no real
/// channel.
const ABSENT_CAPACITY: u64 = 10_000;

/// A channel is looked up again at most this often, by background refreshes and by callers.
pub(super) const REFRESH_PAUSE: Duration = Duration::from_secs(1);

/// What a lookup comes to.
pub(super) type Outcome = Result<Arc<Seen>, LookupError>;

/// What IVS said, by channel.
#[derive(Debug)]
pub(super) struct Memory {
    seen: Cache<ChannelArn, Arc<Seen>>,
    absent: Cache<ChannelArn, Answered>,
}

/// A channel that IVS returned.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) channel: Arc<Channel>,
    pub(super) answered: Answered,
    /// When IVS may next be asked for it.
    pub(super) next_try: NextTry,
}

/// When IVS said something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    /// When it was asked, so that the age of its answer is never understated.
    pub(super) asked: Moment,
    /// When the answer was there, by the monotonic clock.
    pub(super) learned: Duration,
}

/// How new an answer must be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Since {
    /// It was not there before, so it is good enough for a caller that found nothing then.
    Learned(Moment),
    /// IVS was not asked before, so the answer includes every change until then.
    Asked(Moment),
}

impl Since {
    pub(super) fn admits(self, answered: Answered) -> bool {
        match self {
            Self::Learned(moment) => answered.learned >= moment.monotonic,
            Self::Asked(moment) => answered.asked.monotonic >= moment.monotonic,
        }
    }
}

impl Memory {
    pub(super) fn new(capacity: u64) -> Self {
        let absent = Cache::builder()
            .max_capacity(ABSENT_CAPACITY)
            // The default policy keeps what is requested often; here the latest matters.
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self { seen: Cache::new(capacity), absent }
    }

    pub(super) fn seen(&self, arn: &ChannelArn) -> Option<Arc<Seen>> {
        self.seen.get(arn)
    }

    /// Returns when IVS said that there is no such channel.
    pub(super) fn absent(&self, arn: &ChannelArn) -> Option<Answered> {
        self.absent.get(arn)
    }

    /// Returns the approximate number of remembered channels.
    pub(super) fn len(&self) -> u64 {
        self.seen.entry_count()
    }

    /// Returns what IVS said, if it is new enough.
    pub(super) fn said(&self, arn: &ChannelArn, since: Since) -> Option<Outcome> {
        if let Some(seen) = self.seen.get(arn).filter(|seen| since.admits(seen.answered)) {
            return Some(Ok(seen));
        }
        let absent = self.absent.get(arn).filter(|absent| since.admits(*absent));
        absent.map(|_| Err(LookupError::NotFound))
    }

    /// Remembers the channel that IVS returned for `arn`.
    pub(super) fn learn(
        &self,
        arn: &ChannelArn,
        channel: ivs::Channel,
        answered: Answered,
    ) -> Arc<Seen> {
        let seen = Arc::new(Seen::new(arn.clone(), channel, answered));
        self.absent.invalidate(arn);
        self.seen.insert(arn.clone(), Arc::clone(&seen));
        seen
    }

    /// Forgets a channel that IVS does not have, and remembers its absence.
    pub(super) fn forget(&self, arn: &ChannelArn, answered: Answered) {
        self.seen.invalidate(arn);
        self.remember_absence(arn, answered);
    }

    /// Remembers that there is no such channel, unless one is remembered.
    pub(super) fn remember_absence(&self, arn: &ChannelArn, answered: Answered) {
        self.absent.insert(arn.clone(), answered);
    }
}

impl Seen {
    fn new(arn: ChannelArn, channel: ivs::Channel, answered: Answered) -> Self {
        let channel = Channel {
            // Shared with the key; the one in the answer is equal.
            arn,
            name: channel.name,
            authorized: channel.authorized,
            channel_type: channel.channel_type,
            latency_mode: channel.latency_mode,
            playback_url: channel.playback_url,
            fetched_at: answered.asked.wall,
        };
        let next_try = NextTry::after(answered.asked, REFRESH_PAUSE);
        Self { channel: Arc::new(channel), answered, next_try }
    }

    pub(super) fn lookup(&self, freshness: Freshness) -> Lookup {
        Lookup { channel: Arc::clone(&self.channel), freshness }
    }

    /// Returns how the channel may be served now; `None` if it must be looked up first.
    pub(super) fn freshness(&self, now: Moment, settings: &Settings) -> Option<Freshness> {
        freshness(self.channel.authorized, self.answered.asked.until(now), settings)
    }
}

/// Only an answer that permits a mint is served stale: one that says that a channel is public is not.
fn freshness(authorized: bool, age: Duration, settings: &Settings) -> Option<Freshness> {
    if !authorized {
        (age < settings.not_found_for).then_some(Freshness::Fresh)
    } else if age < settings.fresh_for {
        Some(Freshness::Fresh)
    } else {
        (age < settings.stale_for).then_some(Freshness::Stale)
    }
}

/// When IVS may next be asked, in milliseconds of the monotonic clock.
#[derive(Debug, Default)]
pub(super) struct NextTry(AtomicU64);

impl NextTry {
    fn after(now: Moment, pause: Duration) -> Self {
        Self(AtomicU64::new(millis(now.monotonic + pause)))
    }

    /// Returns whether the time has come. If so, the next one comes after `pause`.
    pub(super) fn take(&self, now: Moment, pause: Duration) -> bool {
        let next = millis(now.monotonic + pause);
        let taken = |at: u64| (at <= millis(now.monotonic)).then_some(next);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::channels::tests::SETTINGS;

    fn after(authorized: bool, seconds: u64) -> Option<Freshness> {
        freshness(authorized, Duration::from_secs(seconds), &SETTINGS)
    }

    #[test]
    fn private_channel_is_fresh_then_stale_then_expired() {
        assert_eq!(after(true, 0), Some(Freshness::Fresh));
        assert_eq!(after(true, 59), Some(Freshness::Fresh));
        assert_eq!(after(true, 60), Some(Freshness::Stale));
        assert_eq!(after(true, 86_399), Some(Freshness::Stale));
        assert_eq!(after(true, 86_400), None);
    }

    #[test]
    fn public_channel_expires_soon() {
        assert_eq!(after(false, 9), Some(Freshness::Fresh));
        assert_eq!(after(false, 10), None);
    }

    proptest! {
        #[test]
        fn channel_gets_no_fresher_with_age(
            authorized: bool,
            ages in (0_u64..200_000, 0_u64..200_000),
            settings in (0_u64..100_000, 0_u64..100_000, 0_u64..100_000),
        ) {
            let settings = Settings {
                fresh_for: Duration::from_secs(settings.0),
                stale_for: Duration::from_secs(settings.1),
                not_found_for: Duration::from_secs(settings.2),
                ..SETTINGS
            };
            let rank = |age: u64| match freshness(authorized, Duration::from_secs(age), &settings) {
                Some(Freshness::Fresh) => 0,
                Some(Freshness::Stale) => 1,
                None => 2,
            };
            prop_assert!(rank(ages.0.min(ages.1)) <= rank(ages.0.max(ages.1)));
        }
    }
}
