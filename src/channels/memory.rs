//! The channels that IVS told of, and those that it said are absent.
//!
//! Both are moka caches, which bound what is kept. What is old is decided by our clock from the
//! moment in the value, never by the cache: a test can move the one and not the other.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use moka::{policy::EvictionPolicy, sync::Cache};

use super::{
    channel::{Channel, Freshness, Lookup},
    flights::Outcome,
};
use crate::{
    channels::LookupError,
    clock::Moment,
    ivs::{self, arn::ChannelArn},
};

/// Absent channels that are remembered. They have a cache of their own, so that a spray of made-up
/// ARNs evicts no real channel.
const ABSENT_CAPACITY: u64 = 10_000;

/// A channel is asked for again at most this often, by refreshes in the background and by people.
pub(super) const REFRESH_PAUSE: Duration = Duration::from_secs(1);

/// What IVS said, by channel.
#[derive(Debug)]
pub(super) struct Memory {
    seen: Cache<ChannelArn, Arc<Seen>>,
    absent: Cache<ChannelArn, Answered>,
}

/// A channel, with what its freshness is judged by.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) channel: Arc<Channel>,
    pub(super) answered: Answered,
    /// When IVS may next be asked for it.
    pub(super) next_try: Turn,
}

/// When IVS said something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    /// When it was asked, so that the age of what it said is never understated.
    pub(super) asked: Moment,
    /// When the answer was there, by the monotonic clock.
    pub(super) learned: Duration,
}

/// How new an answer must be.
#[derive(Clone, Copy, Debug)]
pub(super) enum Since {
    /// It was not there before: will do for a caller that found nothing by then.
    Learned(Moment),
    /// IVS was not asked before: says what holds now, whatever was changed by then.
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
            // The default policy keeps what is often asked for; here the latest matters.
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self { seen: Cache::new(capacity), absent }
    }

    pub(super) fn seen(&self, arn: &ChannelArn) -> Option<Arc<Seen>> {
        self.seen.get(arn)
    }

    /// When IVS said that there is no such channel.
    pub(super) fn absent(&self, arn: &ChannelArn) -> Option<Answered> {
        self.absent.get(arn)
    }

    /// About how many channels are remembered.
    pub(super) fn len(&self) -> u64 {
        self.seen.entry_count()
    }

    /// What IVS said that is new enough, if anything.
    pub(super) fn said(&self, arn: &ChannelArn, since: Since) -> Option<Outcome> {
        if let Some(seen) = self.seen.get(arn).filter(|seen| since.admits(seen.answered)) {
            return Some(Ok(seen));
        }
        let absent = self.absent.get(arn).filter(|absent| since.admits(*absent));
        absent.map(|_| Err(LookupError::NotFound))
    }

    /// Remembers what IVS said of the channel `arn`.
    pub(super) fn learn(
        &self,
        arn: ChannelArn,
        channel: ivs::Channel,
        answered: Answered,
    ) -> Arc<Seen> {
        let seen = Arc::new(Seen::new(arn.clone(), channel, answered));
        self.absent.invalidate(&arn);
        self.seen.insert(arn, Arc::clone(&seen));
        seen
    }

    /// Remembers that IVS knows no such channel any more.
    pub(super) fn forget(&self, arn: ChannelArn, answered: Answered) {
        self.seen.invalidate(&arn);
        self.absent.insert(arn, answered);
    }

    /// Remembers that IVS takes the ARN for none of a channel. That says nothing about a channel
    /// that was seen.
    pub(super) fn doubt(&self, arn: ChannelArn, answered: Answered) {
        self.absent.insert(arn, answered);
    }
}

impl Seen {
    fn new(arn: ChannelArn, channel: ivs::Channel, answered: Answered) -> Self {
        let channel = Channel {
            // Shared with the key; the one in the answer says the same.
            arn,
            name: channel.name,
            authorized: channel.authorized,
            channel_type: channel.channel_type,
            latency_mode: channel.latency_mode,
            playback_url: channel.playback_url,
            fetched_at: answered.asked.wall,
        };
        let next_try = Turn::after(answered.asked, REFRESH_PAUSE);
        Self { channel: Arc::new(channel), answered, next_try }
    }

    pub(super) fn lookup(&self, freshness: Freshness) -> Lookup {
        Lookup { channel: Arc::clone(&self.channel), freshness }
    }
}

/// The time of the next turn, in monotonic milliseconds.
#[derive(Debug, Default)]
pub(super) struct Turn(AtomicU64);

impl Turn {
    fn after(now: Moment, pause: Duration) -> Self {
        Self(AtomicU64::new(millis(now.monotonic + pause)))
    }

    /// Takes the turn if it has come; the next one comes after `pause`.
    pub(super) fn take(&self, now: Moment, pause: Duration) -> bool {
        let next = millis(now.monotonic + pause);
        let taken = |turn: u64| (turn <= millis(now.monotonic)).then_some(next);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
