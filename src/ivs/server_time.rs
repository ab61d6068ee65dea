//! What the clock of IVS says, read from the `Date` of its answers.
//!
//! A key pair is deleted when its last token has expired, and a machine whose clock is ahead would
//! do so too early. IVS tells its own time with each answer, whatever the status, in whole seconds.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use aws_sdk_ivs::{
    config::{
        ConfigBag, Intercept, RuntimeComponents, interceptors::BeforeTransmitInterceptorContextRef,
    },
    error::BoxError,
    primitives::{DateTime, DateTimeFormat},
};
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_types::config_bag::{Storable, StoreReplace};

use crate::clock::{Clock, Moment, Timestamp};

/// What a `Date` leaves open: it is rounded down to whole seconds.
const DATE_PRECISION: Duration = Duration::from_secs(1);

/// The time of IVS's last answer, by its clock and by ours.
#[derive(Clone, Copy, Debug)]
pub struct ServerTime {
    /// The `Date` of the answer: whole seconds, rounded down.
    pub date: Timestamp,
    /// When IVS was asked, by the monotonic clock: the answer is dated between then and `received`.
    pub asked: Duration,
    /// When the answer had come.
    pub received: Moment,
}

impl ServerTime {
    /// What the clock of IVS says at `now`, or a little less: the `Date`, and what our monotonic
    /// clock counted since.
    ///
    /// A machine that slept counted too little. Where that matters, ask IVS again first.
    pub fn at(self, now: Moment) -> Timestamp {
        self.date + now.monotonic.saturating_sub(self.received.monotonic)
    }

    /// How far our wall clock is from that of IVS at `now` at least, in either direction. Neither the
    /// second that a `Date` leaves open nor the time that the call took looks like a difference.
    pub fn skew_from(self, now: Moment) -> Duration {
        let behind = self.at(now).saturating_since(now.wall);
        let since_asked = now.monotonic.saturating_sub(self.asked);
        let ahead = now.wall.saturating_since(self.date + DATE_PRECISION + since_asked);
        behind.max(ahead)
    }
}

/// Where the clients of a region leave the time of the last answer. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct LastServerTime(Arc<ArcSwapOption<ServerTime>>);

impl LastServerTime {
    pub(super) fn get(&self) -> Option<ServerTime> {
        self.0.load().as_deref().copied()
    }

    /// To be hung into a client.
    pub(super) fn reader(&self, clock: Clock) -> impl Intercept + use<> {
        DateReader { last: self.clone(), clock }
    }
}

/// Reads the `Date` of every answer.
#[derive(Debug)]
struct DateReader {
    last: LastServerTime,
    clock: Clock,
}

/// When an attempt of a call was sent.
#[derive(Clone, Copy, Debug)]
struct Asked(Duration);

impl Storable for Asked {
    type Storer = StoreReplace<Self>;
}

impl Intercept for DateReader {
    fn name(&self) -> &'static str {
        "DateReader"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        config.interceptor_state().store_put(Asked(self.clock.monotonic()));
        Ok(())
    }

    // Before the answer is understood, so that errors and broken answers count too.
    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(date) = context.response().headers().get("date").and_then(parse)
            && let Some(Asked(asked)) = config.load::<Asked>().copied()
        {
            let time = ServerTime { date, asked, received: Moment::of(&self.clock) };
            self.last.0.store(Some(Arc::new(time)));
        }
        Ok(())
    }
}

fn parse(date: &str) -> Option<Timestamp> {
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
        assert_eq!(parse("Sun, 22 Nov 2026 08:55:00 GMT"), Some(DATE));
        for text in ["", "2026-11-22T08:55:00Z", "Sun, 22 Nov 2026", "1795337700"] {
            assert_eq!(parse(text), None, "{text:?}");
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
