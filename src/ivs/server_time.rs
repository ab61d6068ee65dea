//! The clock of IVS, as the `Date` header of its answers shows it.
//!
//! IVS judges the expiry of tokens by its own clock. A machine whose clock is ahead would delete a key pair before
//! its last token has expired, and one whose clock is behind would issue tokens that have expired already. Each answer
//! of IVS shows its time, whatever the status, in whole seconds.
//!
//! An answer gives two bounds on IVS's clock: the `Date` is rounded down, and IVS wrote it at some time
//! between the request and the answer. Only a clock outside of these bounds is known to differ
//! ([`Clocks`]).

use std::{fmt, time::Duration};

use aws_sdk_ivs::primitives::{DateTime, DateTimeFormat};

use crate::clock::{Moment, Timestamp};

/// A `Date` is rounded down to whole seconds.
const DATE_PRECISION: Duration = Duration::from_secs(1);

/// How long an answer shows what IVS's clock says. Quartz drifts by less than half a second in that
/// time.
const TRUSTED_FOR: Duration = Duration::from_hours(1);

/// If the wall clock and the monotonic clock disagree by more than this about the time since the
/// answer, then the wall clock was set or the machine slept. Only a new answer shows which.
const STEP: Duration = Duration::from_secs(2);

/// A smaller difference is never reported, whatever the allowance is.
const MIN_SKEW: Duration = DATE_PRECISION;

/// The time of IVS's last answer, by its clock and by ours.
#[derive(Clone, Copy, Debug)]
pub struct ServerTime {
    /// The `Date` of the answer in whole seconds, rounded down.
    pub date: Timestamp,
    /// When IVS was asked, by the monotonic clock: the answer is dated between then and `received`.
    pub asked: Duration,
    /// When the answer arrived.
    pub received: Moment,
}

impl ServerTime {
    /// Returns what the clock of IVS shows at `now`, or a little less: the `Date` plus the time that our monotonic
    /// clock counted since.
    ///
    /// A machine that slept counted too little. Where that matters, call IVS again first.
    pub fn at(self, now: Moment) -> Timestamp {
        self.date + now.monotonic.saturating_sub(self.received.monotonic)
    }

    /// Returns the smallest difference between our wall clock and that of IVS at `now`, in either direction. Neither
    /// the rounding of a `Date` nor the time that the call took counts as a difference.
    pub fn skew_from(self, now: Moment) -> Duration {
        let (earliest, latest) = self.bounds(now);
        earliest.saturating_since(now.wall).max(now.wall.saturating_since(latest))
    }

    /// Returns the earliest and the latest time that IVS's clock may show at `now`.
    fn bounds(self, now: Moment) -> (Timestamp, Timestamp) {
        let since_asked = now.monotonic.saturating_sub(self.asked);
        (self.at(now), self.date + DATE_PRECISION + since_asked)
    }

    fn is_trusted(self, now: Moment) -> bool {
        let monotonic = now.monotonic.saturating_sub(self.received.monotonic);
        let expected = self.received.wall + monotonic;
        let step = now.wall.saturating_since(expected).max(expected.saturating_since(now.wall));
        monotonic <= TRUSTED_FOR && step <= STEP
    }
}

/// Our wall clock at one instant, and what is known of IVS's.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    own: Timestamp,
    /// The earliest and the latest time of IVS's clock by its last answer.
    ivs: Option<(Timestamp, Timestamp)>,
    is_trusted: bool,
}

impl Clocks {
    /// Returns the clocks at `now`, by the last answer of IVS.
    pub fn new(now: Moment, answer: Option<ServerTime>) -> Self {
        Self {
            own: now.wall,
            ivs: answer.map(|answer| answer.bounds(now)),
            is_trusted: answer.is_some_and(|answer| answer.is_trusted(now)),
        }
    }

    /// Returns whether IVS's last answer shows what its clock says now. If not, call IVS again.
    pub fn is_known(&self) -> bool {
        self.is_trusted
    }

    /// Returns the time that tokens are issued at: ours, unless IVS's clock is known to differ. Then it is the
    /// earliest time that IVS's clock may show, because IVS judges `exp` by its own clock. That time is
    /// never ahead of IVS, so a lifetime of 600 s is accepted; and if our clock is behind, the token has
    /// not expired already.
    pub fn issue_time(&self) -> Timestamp {
        match self.known() {
            Some((earliest, latest)) if self.own < earliest || latest < self.own => earliest,
            Some(_) | None => self.own,
        }
    }

    /// Returns the later of both clocks, which covers every token that was stamped by one of them. An answer
    /// that is no longer trusted counts, because it can only make this later.
    pub fn latest(&self) -> Timestamp {
        match self.ivs {
            Some((earliest, latest)) if self.own < earliest => latest,
            Some(_) | None => self.own,
        }
    }

    /// Returns the smallest difference between our clock and IVS's; negative if it is behind, 0 if no difference can be
    /// seen, `None` if IVS's clock is not known.
    pub fn offset_millis(&self) -> Option<i64> {
        let (earliest, latest) = self.known()?;
        let own = self.own.unix_millis();
        Some(
            own.min(earliest.unix_millis()) - earliest.unix_millis()
                + own.max(latest.unix_millis())
                - latest.unix_millis(),
        )
    }

    /// Returns the difference if it exceeds `allowance`.
    pub fn skew_over(&self, allowance: Duration) -> Option<Skew> {
        let offset = self.offset_millis()?;
        let by = Duration::from_millis(offset.unsigned_abs());
        (by > allowance.max(MIN_SKEW)).then_some(Skew { by, is_ahead: offset > 0 })
    }

    fn known(&self) -> Option<(Timestamp, Timestamp)> {
        self.ivs.filter(|_| self.is_trusted)
    }
}

/// How far our clock is from IVS's. Written as `1200 s ahead of` or `1200 s behind`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Skew {
    by: Duration,
    is_ahead: bool,
}

impl fmt::Display for Skew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = if self.is_ahead { "ahead of" } else { "behind" };
        write!(f, "{} s {direction}", self.by.as_secs())
    }
}

/// Reads an HTTP date.
pub(super) fn parse_date(date: &str) -> Option<Timestamp> {
    let date = DateTime::from_str(date, DateTimeFormat::HttpDate).ok()?;
    Some(Timestamp::from_unix_seconds(date.secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: Timestamp = Timestamp::from_unix_seconds(1_795_337_700);

    /// Our clocks, `seconds` after the answer came.
    fn later(seconds: u64, wall: Timestamp) -> Moment {
        Moment { wall, monotonic: Duration::from_secs(100 + seconds) }
    }

    fn server_time() -> ServerTime {
        ServerTime { date: DATE, asked: later(0, DATE).monotonic, received: later(0, DATE) }
    }

    #[test]
    fn the_header_is_read_and_anything_else_is_not() {
        assert_eq!(parse_date("Sun, 22 Nov 2026 08:55:00 GMT"), Some(DATE));
        for text in ["", "2026-11-22T08:55:00Z", "Sun, 22 Nov 2026", "1795337700"] {
            assert_eq!(parse_date(text), None, "{text:?}");
        }
    }

    #[test]
    fn time_goes_on_by_the_monotonic_clock() {
        let set_back = DATE - Duration::from_hours(1);
        let theirs = server_time().at(later(7, set_back));
        assert_eq!(theirs, DATE + Duration::from_secs(7));
    }

    #[test]
    fn a_slow_answer_is_no_difference() {
        let asked = later(0, DATE).monotonic;
        // Asked at DATE by both clocks; IVS dates its answer at once, or only when it sends it.
        for dated in [DATE, DATE + Duration::from_secs(30)] {
            let received = later(30, DATE + Duration::from_secs(30));
            let time = ServerTime { date: dated, asked, received };
            let now = later(40, DATE + Duration::from_secs(40));
            assert_eq!(time.skew_from(now), Duration::ZERO, "{dated}");
        }
    }

    fn clocks(seconds: u64, wall: Timestamp) -> Clocks {
        Clocks::new(later(seconds, wall), Some(server_time()))
    }

    #[test]
    fn clocks_that_cannot_be_told_apart_use_our_own() {
        for millis in [0, 1, 999, 1000] {
            let own = DATE + Duration::from_millis(millis);
            let clocks = clocks(0, own);
            assert_eq!((clocks.issue_time(), clocks.latest()), (own, own));
            assert_eq!((clocks.offset_millis(), clocks.skew_over(Duration::ZERO)), (Some(0), None));
        }
        let unknown = Clocks::new(later(0, DATE), None);
        assert_eq!((unknown.issue_time(), unknown.offset_millis()), (DATE, None));
    }

    #[test]
    fn tokens_are_issued_by_the_clock_of_ivs_when_ours_differs() {
        let twenty_minutes = Duration::from_mins(20);
        let at = |wall: Timestamp| {
            let received = Moment { wall, ..later(0, DATE) };
            let answer = ServerTime { received, ..server_time() };
            let seven = Duration::from_secs(7);
            Clocks::new(later(7, wall + seven), Some(answer))
        };
        let (theirs, allowance) = (DATE + Duration::from_secs(7), Duration::from_secs(5));

        let fast = at(DATE + twenty_minutes);
        assert_eq!((fast.issue_time(), fast.latest()), (theirs, theirs + twenty_minutes));
        assert_eq!(fast.offset_millis(), Some(1_199_000));
        assert_eq!(fast.skew_over(allowance).unwrap().to_string(), "1199 s ahead of");

        let slow = at(DATE - twenty_minutes);
        assert_eq!((slow.issue_time(), slow.latest()), (theirs, theirs + Duration::from_secs(1)));
        assert_eq!(slow.skew_over(allowance).unwrap().to_string(), "1200 s behind");

        // Seen, but within the allowance.
        let little = at(DATE + Duration::from_secs(4));
        assert_eq!((little.issue_time(), little.skew_over(allowance)), (theirs, None));
        // A clock cannot be better than the seconds of a `Date`.
        assert_eq!(at(DATE + Duration::from_millis(1500)).skew_over(Duration::ZERO), None);
    }

    #[test]
    fn an_answer_from_before_a_step_or_an_hour_ago_is_not_trusted() {
        let hour = Duration::from_hours(1);
        assert!(clocks(3600, DATE + hour).is_known());
        assert!(!clocks(3601, DATE + hour + Duration::from_secs(1)).is_known());
        // The clock was set, or the machine slept.
        let stepped = clocks(7, DATE + hour);
        assert_eq!((stepped.is_known(), stepped.skew_over(Duration::ZERO)), (false, None));
        assert_eq!(stepped.issue_time(), DATE + hour);
        // A revocation still covers what was stamped by IVS's clock before.
        assert_eq!(clocks(7, DATE - hour).latest(), DATE + Duration::from_secs(8));
    }

    #[test]
    fn a_difference_is_seen_in_either_direction_from_a_second_on() {
        let skew = |wall: Timestamp| server_time().skew_from(later(7, wall));
        let theirs = DATE + Duration::from_secs(7);
        assert_eq!(skew(theirs), Duration::ZERO);
        assert_eq!(skew(theirs + Duration::from_millis(999)), Duration::ZERO);
        assert_eq!(skew(theirs + Duration::from_hours(6)), Duration::from_secs(6 * 3600 - 1));
        assert_eq!(skew(theirs - Duration::from_hours(6)), Duration::from_hours(6));
    }
}
