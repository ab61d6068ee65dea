//! Time as a value. Decisions take `now` as an argument; only components hold a [`Clock`].
//!
//! A [`Timestamp`] is wall-clock time, the only kind that tokens and key lifetimes are written in.
//! [`Clock::monotonic`] exists beside it because a wall clock can be set back: whoever measures an
//! age that must not be hidden takes the greater of both ([`Moment`]).

use std::{
    fmt,
    ops::{Add, Sub},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// An instant of wall-clock time in milliseconds since the Unix epoch.
///
/// Written in RFC 3339, UTC, whole seconds (rounded down), which is how every document and
/// response of this project shows time.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Timestamp {
    unix_millis: i64,
}

impl Timestamp {
    /// The instant `seconds` after the Unix epoch.
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Self { unix_millis: seconds.saturating_mul(1000) }
    }

    /// The instant `millis` milliseconds after the Unix epoch.
    pub const fn from_unix_millis(millis: i64) -> Self {
        Self { unix_millis: millis }
    }

    /// Whole seconds since the Unix epoch, rounded down: a JWT `NumericDate`.
    pub const fn unix_seconds(self) -> i64 {
        self.unix_millis.div_euclid(1000)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn unix_millis(self) -> i64 {
        self.unix_millis
    }

    /// The same instant without its fraction of a second.
    #[must_use]
    pub const fn floor_to_second(self) -> Self {
        Self::from_unix_seconds(self.unix_seconds())
    }

    /// How long ago `earlier` was; zero where it lies in the future.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        let millis = self.unix_millis.saturating_sub(earlier.unix_millis);
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }

    /// Reads RFC 3339 in any offset.
    ///
    /// # Errors
    ///
    /// The text is not RFC 3339.
    pub fn parse(text: &str) -> Result<Self, time::error::Parse> {
        OffsetDateTime::parse(text, &Rfc3339).map(|instant| {
            let millis = instant.unix_timestamp_nanos().div_euclid(1_000_000);
            Self { unix_millis: i64::try_from(millis).unwrap_or(i64::MAX) }
        })
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self { unix_millis: self.unix_millis.saturating_add(millis) }
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self { unix_millis: self.unix_millis.saturating_sub(millis) }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = OffsetDateTime::from_unix_timestamp(self.unix_seconds())
            .ok()
            .and_then(|instant| instant.format(&Rfc3339).ok());
        // Years beyond 9999 have no RFC 3339 form; a number is better than no answer.
        match text {
            Some(text) => f.write_str(&text),
            None => write!(f, "{}", self.unix_seconds()),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Where a [`Clock`] reads time from.
pub trait TimeSource: fmt::Debug + Send + Sync {
    /// Wall-clock time.
    fn now(&self) -> Timestamp;
    /// Time since an arbitrary start that never runs backwards.
    fn monotonic(&self) -> Duration;
}

/// The clock that a component holds. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Clock(Arc<dyn TimeSource>);

impl Clock {
    /// The clock of the machine.
    pub fn system() -> Self {
        Self(Arc::new(SystemTimeSource::new()))
    }

    /// A clock that reads time from `source`.
    pub fn from_source(source: impl TimeSource + 'static) -> Self {
        Self(Arc::new(source))
    }

    /// A clock that stands still until a test moves it.
    pub fn manual(start: Timestamp) -> (Self, ManualClock) {
        let source = Arc::new(ManualTimeSource {
            wall_millis: AtomicI64::new(start.unix_millis()),
            monotonic_millis: AtomicU64::new(0),
        });
        let manual = ManualClock(Arc::clone(&source));
        (Self(source), manual)
    }

    /// Wall-clock time.
    pub fn now(&self) -> Timestamp {
        self.0.now()
    }

    /// Time since an arbitrary start that never runs backwards.
    pub fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }
}

/// An instant by both clocks, for an age that must not be hidden.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// By the wall clock.
    pub wall: Timestamp,
    /// By [`Clock::monotonic`].
    pub monotonic: Duration,
}

impl Moment {
    /// Now.
    pub fn of(clock: &Clock) -> Self {
        Self { wall: clock.now(), monotonic: clock.monotonic() }
    }

    /// How long it is from here to `now`: by the wall clock or the monotonic one, whichever says
    /// more. A wall clock that was set back hides no age, nor does a machine that slept.
    pub fn until(self, now: Self) -> Duration {
        now.wall.saturating_since(self.wall).max(now.monotonic.saturating_sub(self.monotonic))
    }
}

/// A time to wait at least, in whole seconds: rounded up.
pub fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0))
}

/// The handle that moves a [`Clock::manual`].
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<ManualTimeSource>);

impl ManualClock {
    /// Lets `duration` pass on both clocks.
    pub fn advance(&self, duration: Duration) {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.0.monotonic_millis.fetch_add(millis, Ordering::SeqCst);
        self.0.wall_millis.fetch_add(i64::try_from(millis).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Sets the wall clock alone, as a person or NTP does.
    pub fn set_wall(&self, now: Timestamp) {
        self.0.wall_millis.store(now.unix_millis(), Ordering::SeqCst);
    }
}

#[derive(Debug)]
struct ManualTimeSource {
    wall_millis: AtomicI64,
    monotonic_millis: AtomicU64,
}

impl TimeSource for ManualTimeSource {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.wall_millis.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.monotonic_millis.load(Ordering::SeqCst))
    }
}

#[derive(Debug)]
struct SystemTimeSource {
    started: std::time::Instant,
}

impl SystemTimeSource {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn new() -> Self {
        Self { started: std::time::Instant::now() }
    }
}

impl TimeSource for SystemTimeSource {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> Timestamp {
        let since_epoch =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp { unix_millis: i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX) }
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_reads_back_what_it_writes() {
        let instant = Timestamp::from_unix_seconds(1_795_337_700);
        assert_eq!(instant.to_string(), "2026-11-22T08:55:00Z");
        assert_eq!(Timestamp::parse("2026-11-22T09:55:00+01:00").unwrap(), instant);
        let json = serde_json::to_string(&Timestamp::from_unix_millis(1_795_337_700_999)).unwrap();
        assert_eq!(json, "\"2026-11-22T08:55:00Z\"");
        assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), instant);
    }

    #[test]
    fn a_wait_is_rounded_up() {
        let seconds = |millis| whole_seconds(Duration::from_millis(millis));
        assert_eq!([0, 1, 1000, 1001].map(seconds), [0, 1, 1, 2]);
        assert_eq!(whole_seconds(Duration::MAX), u64::MAX);
    }

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        let end = Timestamp::from_unix_millis(i64::MAX);
        assert_eq!(end + Duration::MAX, end);
        assert_eq!(Timestamp::from_unix_seconds(5).saturating_since(end), Duration::ZERO);
    }

    #[test]
    fn a_wall_clock_set_back_does_not_move_the_monotonic_one() {
        let (clock, manual) = Clock::manual(Timestamp::from_unix_seconds(1000));
        manual.advance(Duration::from_secs(10));
        manual.set_wall(Timestamp::from_unix_seconds(1));
        assert_eq!(clock.now().unix_seconds(), 1);
        assert_eq!(clock.monotonic(), Duration::from_secs(10));
        let start = Moment { wall: Timestamp::from_unix_seconds(1000), monotonic: Duration::ZERO };
        assert_eq!(start.until(Moment::of(&clock)), Duration::from_secs(10));
    }
}
