//! The channels of all regions, remembered.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use moka::{future::Cache, policy::EvictionPolicy};
use serde::Serialize;
use tokio_util::task::TaskTracker;

use super::{
    flights::{Flight, Flights, Landing},
    policy::{Verdict, judge},
};
use crate::{
    clock::{Clock, Moment, Timestamp},
    config::Unavailable,
    ivs::{self, IvsError, IvsRegions, arn::ChannelArn},
};

/// Absent channels that are remembered. They have a cache of their own, so that a spray of made-up
/// ARNs evicts no real channel.
const ABSENT_CAPACITY: u64 = 10_000;

/// A channel is asked for again at most this often, by refreshes in the background and by people.
const REFRESH_PAUSE: Duration = Duration::from_secs(1);

/// What a caller is told to wait when IVS did not answer or throttled.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Failed lookups are told in the log at most this often.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(10);

/// The settings of a [`ChannelDirectory`], from `[channels]`.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long a looked-up channel counts as fresh.
    pub fresh_for: Duration,
    /// How long after it was fetched it may still be served.
    pub stale_for: Duration,
    /// How long absence is remembered, and that a channel is public.
    pub not_found_for: Duration,
    /// Channels kept in memory.
    pub capacity: u64,
    /// The longest that a caller waits.
    pub deadline: Duration,
    /// What [`ChannelDirectory::lookup_for_mint`] does where IVS cannot answer.
    pub on_unavailable: Unavailable,
}

/// What IVS said of a channel.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Channel {
    /// Its ARN.
    pub arn: ChannelArn,
    /// Its name; empty where it has none.
    pub name: String,
    /// Whether playback demands a token: a *private* channel.
    pub authorized: bool,
    /// `BASIC`, `STANDARD` and so on; whatever IVS says.
    #[serde(rename = "type")]
    pub channel_type: String,
    /// `LOW` or `NORMAL`.
    pub latency_mode: String,
    /// Where players begin, without a token.
    pub playback_url: String,
    /// When IVS was asked.
    pub fetched_at: Timestamp,
}

/// How far a lookup can be trusted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Freshness {
    /// Fetched within `channels.fresh_for`.
    Fresh,
    /// Older; a refresh is under way or has failed.
    Stale,
}

impl Freshness {
    /// As in responses and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
        }
    }
}

/// A channel that was found.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// The channel.
    pub channel: Arc<Channel>,
    /// How far it can be trusted.
    pub freshness: Freshness,
}

/// What a mint may go by.
#[derive(Clone, Debug)]
pub enum LookupForMint {
    /// The channel was found.
    Found(Lookup),
    /// IVS cannot answer, and `channels.on_unavailable` is `mint`: nothing is known of the channel.
    Unverified,
}

/// Why there is no channel to go by.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LookupError {
    /// IVS has no such channel, or its region is not served.
    #[error("Amazon IVS has no such channel in this account and region")]
    NotFound,
    /// IVS does not let this service see the channel. Towards callers this is as if it were absent,
    /// but it is not remembered, since permissions are mended.
    #[error("Amazon IVS does not let this service see the channel")]
    Denied,
    /// IVS throttles the account's calls.
    #[error("Amazon IVS throttles this account's calls")]
    Throttled {
        /// When to try again.
        retry_after: Duration,
    },
    /// IVS did not answer, or not within `channels.deadline`.
    #[error("Amazon IVS cannot be asked for the channel now")]
    Unavailable {
        /// When to try again.
        retry_after: Duration,
    },
}

/// The channels of all regions, remembered. Cheap to clone.
#[derive(Clone)]
pub struct ChannelDirectory(Arc<Inner>);

struct Inner {
    ivs: IvsRegions,
    settings: Settings,
    clock: Clock,
    tasks: TaskTracker,
    seen: Cache<ChannelArn, Arc<Seen>>,
    absent: Cache<ChannelArn, Answered>,
    flights: Flights<ChannelArn, Outcome>,
    /// When the log may next tell of a failed lookup.
    next_complaint: Turn,
}

type Outcome = Result<Arc<Seen>, LookupError>;

/// A channel, with what its freshness is judged by.
#[derive(Debug)]
struct Seen {
    channel: Arc<Channel>,
    answered: Answered,
    /// When IVS may next be asked for it.
    next_try: Turn,
}

/// When IVS said something.
#[derive(Clone, Copy, Debug)]
struct Answered {
    /// When it was asked, so that the age of what it said is never understated.
    asked: Moment,
    /// When the answer was there, by the monotonic clock.
    learned: Duration,
}

/// The time of the next turn, in monotonic milliseconds.
#[derive(Debug, Default)]
struct Turn(AtomicU64);

impl Turn {
    fn after(now: Moment, pause: Duration) -> Self {
        Self(AtomicU64::new(millis(now.monotonic + pause)))
    }

    /// Takes the turn if it has come; the next one comes after `pause`.
    fn take(&self, now: Moment, pause: Duration) -> bool {
        let next = millis(now.monotonic + pause);
        let taken = |turn: u64| (turn <= millis(now.monotonic)).then_some(next);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken).is_ok()
    }
}

impl fmt::Debug for ChannelDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelDirectory")
            .field("settings", &self.0.settings)
            .field("channels", &self.0.seen.entry_count())
            .finish_non_exhaustive()
    }
}

impl ChannelDirectory {
    /// A directory that remembers nothing yet. Its calls run on `tasks`.
    pub fn new(ivs: IvsRegions, settings: Settings, clock: Clock, tasks: TaskTracker) -> Self {
        let absent = Cache::builder()
            .max_capacity(ABSENT_CAPACITY)
            // The default policy keeps what is often asked for; here the latest matters.
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self(Arc::new(Inner {
            ivs,
            settings,
            clock,
            tasks,
            seen: Cache::new(settings.capacity),
            absent,
            flights: Flights::new(),
            next_complaint: Turn::default(),
        }))
    }

    /// The channel: from memory where that will do, else from IVS.
    ///
    /// # Errors
    ///
    /// The channel is absent or hidden, or IVS cannot answer and nothing usable is remembered.
    pub async fn lookup(&self, arn: &ChannelArn) -> Result<Lookup, LookupError> {
        let now = Moment::of(&self.0.clock);
        if let Some(seen) = self.0.seen.get(arn).await {
            match self.judge(&seen, now) {
                Verdict::Fresh => return Ok(seen.lookup(Freshness::Fresh)),
                Verdict::Stale => {
                    if seen.next_try.take(now, REFRESH_PAUSE) {
                        // Nobody waits for it: the next lookup finds what it brings.
                        let _ = self.fetch(arn, now);
                    }
                    return Ok(seen.lookup(Freshness::Stale));
                }
                Verdict::Expired => {}
            }
        } else if self.is_absent(arn, now, self.0.settings.not_found_for).await {
            return Err(LookupError::NotFound);
        }
        self.wait_for(self.fetch(arn, now)).await
    }

    /// As [`ChannelDirectory::lookup`], but with `channels.on_unavailable = "mint"` an IVS that
    /// cannot answer is no reason to refuse: the token itself needs nothing but the ARN.
    ///
    /// # Errors
    ///
    /// As [`ChannelDirectory::lookup`].
    pub async fn lookup_for_mint(&self, arn: &ChannelArn) -> Result<LookupForMint, LookupError> {
        match self.lookup(arn).await {
            Ok(found) => Ok(LookupForMint::Found(found)),
            Err(LookupError::Throttled { .. } | LookupError::Unavailable { .. })
                if self.0.settings.on_unavailable == Unavailable::Mint =>
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
    /// The channel is absent or hidden, or IVS cannot answer.
    pub async fn refresh(&self, arn: &ChannelArn) -> Result<Lookup, LookupError> {
        let now = Moment::of(&self.0.clock);
        if let Some(seen) = self.0.seen.get(arn).await {
            if !seen.next_try.take(now, REFRESH_PAUSE) {
                return self.after_a_try(arn, &seen, now).await;
            }
        } else if self.is_absent(arn, now, REFRESH_PAUSE).await {
            return Err(LookupError::NotFound);
        }
        self.wait_for(self.fetch(arn, now)).await
    }

    /// Refreshes a channel that was asked for within the last second: by what that brings, or, where
    /// it is over, by what is remembered.
    async fn after_a_try(
        &self,
        arn: &ChannelArn,
        seen: &Seen,
        now: Moment,
    ) -> Result<Lookup, LookupError> {
        if let Some(flight) = self.0.flights.under_way(arn) {
            return self.wait_for(flight).await;
        }
        if seen.answered.asked.until(now) < REFRESH_PAUSE {
            return Ok(seen.lookup(Freshness::Fresh));
        }
        match self.judge(seen, now) {
            Verdict::Fresh => Ok(seen.lookup(Freshness::Fresh)),
            Verdict::Stale => Ok(seen.lookup(Freshness::Stale)),
            Verdict::Expired => Err(LookupError::Unavailable { retry_after: RETRY_AFTER }),
        }
    }

    fn judge(&self, seen: &Seen, now: Moment) -> Verdict {
        judge(seen.channel.authorized, seen.answered.asked.until(now), &self.0.settings)
    }

    async fn is_absent(&self, arn: &ChannelArn, now: Moment, remembered_for: Duration) -> bool {
        let absent = self.0.absent.get(arn).await;
        absent.is_some_and(|answered| answered.asked.until(now) < remembered_for)
    }

    /// Joins the call for this channel, or makes it. It goes on when nobody waits any more.
    fn fetch(&self, arn: &ChannelArn, asked: Moment) -> Flight<Outcome> {
        self.0.flights.join(arn, |landing| {
            let call = Arc::clone(&self.0).call(arn.clone(), asked, landing);
            self.0.tasks.spawn(call);
        })
    }

    async fn wait_for(&self, flight: Flight<Outcome>) -> Result<Lookup, LookupError> {
        let unavailable = LookupError::Unavailable { retry_after: RETRY_AFTER };
        match tokio::time::timeout(self.0.settings.deadline, flight.outcome()).await {
            Ok(Some(outcome)) => outcome.map(|seen| seen.lookup(Freshness::Fresh)),
            // The call ended without an outcome, or takes too long.
            Ok(None) | Err(_) => Err(unavailable),
        }
    }
}

impl Inner {
    async fn call(
        self: Arc<Self>,
        arn: ChannelArn,
        asked: Moment,
        landing: Landing<ChannelArn, Outcome>,
    ) {
        let outcome = match self.found_meanwhile(&arn, asked).await {
            Some(outcome) => outcome,
            None => self.ask(&arn).await,
        };
        landing.land(outcome);
    }

    /// What an earlier call found between the question and now. Without this, who asks just as that
    /// call lands would make a second one.
    async fn found_meanwhile(&self, arn: &ChannelArn, asked: Moment) -> Option<Outcome> {
        let meanwhile = |answered: &Answered| answered.learned >= asked.monotonic;
        if let Some(seen) = self.seen.get(arn).await.filter(|seen| meanwhile(&seen.answered)) {
            return Some(Ok(seen));
        }
        let absent = self.absent.get(arn).await.filter(meanwhile);
        absent.map(|_| Err(LookupError::NotFound))
    }

    /// Asks IVS, and remembers what it says.
    async fn ask(&self, arn: &ChannelArn) -> Outcome {
        let Some(ivs) = self.ivs.region(arn.region()) else { return Err(LookupError::NotFound) };
        let asked = Moment::of(&self.clock);
        let answer = ivs.get_channel(arn).await;
        let answered = Answered { asked, learned: self.clock.monotonic() };
        match answer {
            Ok(channel) => {
                let seen = Arc::new(Seen::new(channel, answered));
                self.seen.insert(arn.clone(), Arc::clone(&seen)).await;
                self.absent.invalidate(arn).await;
                Ok(seen)
            }
            Err(error) => {
                let failure = failure_of(&error);
                if failure == LookupError::NotFound {
                    // IVS finding the question invalid says nothing about a channel once seen.
                    if error == IvsError::NotFound {
                        self.seen.invalidate(arn).await;
                    }
                    self.absent.insert(arn.clone(), answered).await;
                } else {
                    self.complain(arn, &error, asked);
                }
                Err(failure)
            }
        }
    }

    /// Tells of a failed lookup, unless that was done just now.
    fn complain(&self, arn: &ChannelArn, error: &IvsError, now: Moment) {
        if self.next_complaint.take(now, COMPLAINT_PAUSE) {
            tracing::warn!(channel_arn = %arn, region = %arn.region(), %error, "channel lookups fail");
        }
    }
}

impl Seen {
    fn new(channel: ivs::Channel, answered: Answered) -> Self {
        let channel = Channel {
            arn: channel.arn,
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

    fn lookup(&self, freshness: Freshness) -> Lookup {
        Lookup { channel: Arc::clone(&self.channel), freshness }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn failure_of(error: &IvsError) -> LookupError {
    match error {
        // IVS calls an ARN invalid that can name no channel.
        IvsError::NotFound | IvsError::Invalid { .. } => LookupError::NotFound,
        IvsError::Denied { .. } => LookupError::Denied,
        IvsError::Throttled => LookupError::Throttled { retry_after: RETRY_AFTER },
        IvsError::NoCredentials
        | IvsError::Conflict { .. }
        | IvsError::QuotaExceeded { .. }
        | IvsError::Unavailable { .. }
        | IvsError::TimedOut => LookupError::Unavailable { retry_after: RETRY_AFTER },
    }
}
