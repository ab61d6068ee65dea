//! When the next call of one operation may be made.
//!
//! IVS counts calls when they arrive, and allows a number of calls of each operation per second. Two rules
//! keep this process below that number in any window of one second:
//!
//! - Calls are evenly spaced, and unused slots are not saved up.
//! - A call may be in a window at IVS from the time it was sent until a second after it was answered,
//!   because nothing here shows when in between it arrived: the first call on a connection takes longer
//!   than the next ones, which catch up with it. The number of calls in that state is limited.
//!
//! When IVS throttles all the same, other processes use the account too. A budget then slows down or pauses
//! ([`Throttling`]).
//!
//! Nothing here reads a clock: `now` is the time since any start.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// The window in which IVS counts, with a margin for clocks and timers.
const WINDOW: Duration = Duration::from_millis(1050);

/// A call that is not answered by then counts as arrived, so that a slow IVS does not block the next ones.
const REACH: Duration = Duration::from_secs(1);

/// How long a halved rate stays as it is after IVS throttled.
const REST: Duration = Duration::from_secs(30);

/// How often the rate rises afterwards, and by which share of the configured rate.
const STEP: Duration = Duration::from_secs(10);
const RISE: f64 = 0.25;

/// The longest interval between two calls of a throttled operation, unless half of the configured rate is lower.
const SLOWEST: Duration = Duration::from_secs(2);

/// A rate close to zero is one call per day.
const LONGEST_INTERVAL: Duration = Duration::from_hours(24);

/// What a budget does when IVS throttles a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Throttling {
    /// Halves its rate, keeps it for 30 s, and then raises it by a quarter of the configured rate every
    /// 10 s.
    SlowDown,
    /// Pauses for about one interval and keeps its rate.
    Pause,
}

/// The calls of one operation that this process may make in one region.
#[derive(Debug)]
pub(crate) struct Budget {
    back_off: BackOff,
    throttling: Throttling,
    /// Until then the last call, or the last refusal, is too recent.
    spaced_until: Duration,
    /// Calls that may still be in a window at IVS, in the order in which they were sent.
    counted: VecDeque<Call>,
    /// The limit of these calls.
    most: usize,
    /// How long the last answer took.
    took: Duration,
    next_pass: u64,
}

/// Permission to make one call; it is handed back with the answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Pass {
    number: u64,
    sent: Duration,
}

#[derive(Debug)]
struct Call {
    pass: Pass,
    answered: Option<Duration>,
}

impl Budget {
    /// Returns a budget of at most `calls_per_second` in any second, which slows down when IVS throttles. A
    /// fraction of a call cannot be made.
    pub(crate) fn new(calls_per_second: f64) -> Self {
        Self::spaced(calls_per_second, whole_calls(calls_per_second), Throttling::SlowDown)
    }

    /// Returns a budget of at most `quota` calls in any second, which is what IVS allows, and on average
    /// `share` of them, in case IVS counts differently. It pauses when IVS throttles.
    pub(crate) fn of_quota(quota: u32, share: f64) -> Self {
        let most = usize::try_from(quota).unwrap_or(usize::MAX).max(1);
        Self::spaced(f64::from(quota) * share, most, Throttling::Pause)
    }

    fn spaced(calls_per_second: f64, most: usize, throttling: Throttling) -> Self {
        let interval = Duration::try_from_secs_f64(calls_per_second.recip())
            .unwrap_or(LONGEST_INTERVAL)
            .clamp(Duration::from_nanos(1), LONGEST_INTERVAL);
        Self {
            back_off: BackOff::new(interval),
            throttling,
            spaced_until: Duration::ZERO,
            counted: VecDeque::new(),
            most,
            took: Duration::ZERO,
            next_pass: 0,
        }
    }

    /// Returns a pass for a call now, or how long to wait before asking again.
    pub(crate) fn take(&mut self, now: Duration) -> Result<Pass, Duration> {
        let wait = self.slot(now, 0);
        if !wait.is_zero() {
            return Err(wait);
        }
        self.counted.retain(|call| call.is_counted(now));
        let pass = Pass { number: self.next_pass, sent: now };
        self.next_pass = self.next_pass.wrapping_add(1);
        self.counted.push_back(Call { pass, answered: None });
        self.space_from(now);
        Ok(pass)
    }

    /// Records that the call ended. `jitter`, from 0 to 1, varies how long a throttled operation pauses, so
    /// that the processes of an account do not return at the same time.
    pub(crate) fn answered(&mut self, pass: Pass, now: Duration, throttled: bool, jitter: f64) {
        self.took = now.saturating_sub(pass.sent);
        let call = self.counted.iter_mut().find(|call| call.pass == pass);
        let is_counted = call.is_some();
        if let Some(call) = call {
            call.answered = Some(now);
        }
        match self.throttling {
            Throttling::Pause if throttled => {
                let pause = self.back_off.interval.mul_f64(0.5 + jitter);
                self.spaced_until = self.spaced_until.max(now + pause);
            }
            // An old call says nothing about the current rate.
            Throttling::SlowDown if throttled && is_counted => {
                self.back_off.throttled(pass.sent, now);
                self.space_from(now);
            }
            Throttling::Pause | Throttling::SlowDown => {}
        }
    }

    /// Returns how long it will be until a call can be made that `earlier` calls come before.
    pub(crate) fn slot(&self, now: Duration, earlier: usize) -> Duration {
        let spaced = self.spaced_until.saturating_sub(now);
        let next = spaced.max(self.until_place(now));
        let most = u32::try_from(self.most).unwrap_or(u32::MAX);
        let pace = self.back_off.interval(now).max((WINDOW + self.took.min(REACH)) / most);
        next + pace.saturating_mul(u32::try_from(earlier).unwrap_or(u32::MAX))
    }

    /// Returns how long the last answer took.
    pub(crate) fn took(&self) -> Duration {
        self.took
    }

    /// Returns how long the window stays full.
    fn until_place(&self, now: Duration) -> Duration {
        let counted = self.counted.iter().filter(|call| call.is_counted(now));
        if counted.clone().count() < self.most {
            return Duration::ZERO;
        }
        counted.map(|call| call.counted_until().saturating_sub(now)).min().unwrap_or_default()
    }

    fn space_from(&mut self, now: Duration) {
        self.spaced_until = now + self.back_off.interval(now);
    }
}

impl Call {
    fn counted_until(&self) -> Duration {
        let reached = self.pass.sent + REACH;
        self.answered.map_or(reached, |answered| answered.min(reached)) + WINDOW
    }

    fn is_counted(&self, now: Duration) -> bool {
        now < self.counted_until()
    }
}

/// Returns the number of whole calls in one second.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast to an integer saturates, and the fraction is dropped on purpose"
)]
fn whole_calls(calls_per_second: f64) -> usize {
    (calls_per_second as usize).max(1)
}

/// How much slower than configured the calls are made.
#[derive(Debug)]
struct BackOff {
    /// The configured time between two calls.
    interval: Duration,
    /// The lowest share of the configured rate.
    least: f64,
    slowed: Option<Slowed>,
}

#[derive(Debug)]
struct Slowed {
    /// When IVS last throttled.
    throttled: Duration,
    /// When the rate was last halved.
    halved: Duration,
    /// The share of the configured rate since then.
    share: f64,
}

impl BackOff {
    fn new(interval: Duration) -> Self {
        let slowest = SLOWEST.max(interval.saturating_mul(2));
        Self { interval, least: interval.div_duration_f64(slowest), slowed: None }
    }

    fn interval(&self, now: Duration) -> Duration {
        self.interval.div_f64(self.share(now))
    }

    /// Returns the share of the configured rate that is used now.
    fn share(&self, now: Duration) -> f64 {
        let Some(slowed) = &self.slowed else { return 1.0 };
        match now.checked_sub(slowed.throttled + REST) {
            None => slowed.share,
            Some(rested) => {
                let steps = 1.0 + rested.div_duration_f64(STEP).floor();
                (slowed.share + RISE * steps).min(1.0)
            }
        }
    }

    /// Records that IVS throttled a call that was sent at `sent`.
    fn throttled(&mut self, sent: Duration, now: Duration) {
        let share = self.share(now);
        self.slowed = Some(match &self.slowed {
            // It was sent before the rate was halved, and says nothing about the new rate.
            Some(slowed) if sent <= slowed.halved => {
                Slowed { throttled: now, halved: slowed.halved, share }
            }
            Some(_) | None => {
                Slowed { throttled: now, halved: now, share: (share / 2.0).max(self.least) }
            }
        });
    }
}

/// The time by which calls are paced; tests pause it with tokio.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(
        clippy::disallowed_methods,
        reason = "calls are paced by the timer that wakes their tasks"
    )]
    /// Returns a stopwatch that starts now.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Returns the time since the start.
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// The next call as soon as it may be made.
    fn next(budget: &mut Budget, mut now: Duration) -> (Pass, Duration) {
        loop {
            match budget.take(now) {
                Ok(pass) => return (pass, now),
                Err(wait) => now += wait.max(Duration::from_nanos(1)),
            }
        }
    }

    /// When the next calls are made, each answered at once, and throttled as `throttled` says.
    fn calls(budget: &mut Budget, mut now: Duration, throttled: &[bool]) -> Vec<Duration> {
        let mut made = Vec::new();
        for throttled in throttled {
            let (pass, at) = next(budget, now);
            budget.answered(pass, at, *throttled, 0.5);
            made.push(at);
            now = at;
        }
        made
    }

    #[test]
    fn calls_are_spaced_evenly_and_unused_slots_are_not_saved_up() {
        let mut budget = Budget::new(4.0);
        assert_eq!(calls(&mut budget, ms(0), &[false; 4]), [ms(0), ms(250), ms(500), ms(750)]);
        // The first place in the window is free again 50 ms late.
        assert_eq!(calls(&mut budget, ms(750), &[false; 2]), [ms(1050), ms(1300)]);
        let after_an_hour = ms(3_600_000);
        let made = calls(&mut budget, after_an_hour, &[false; 3]);
        assert_eq!(made, [0, 250, 500].map(|millis| after_an_hour + ms(millis)));
    }

    #[test]
    fn unanswered_calls_keep_their_places_for_a_while() {
        let mut budget = Budget::new(4.0);
        let (first, _) = next(&mut budget, ms(0));
        for _ in 0..3 {
            next(&mut budget, ms(0));
        }
        assert_eq!(budget.take(ms(1000)), Err(ms(1050)));
        assert_eq!(budget.slot(ms(1000), 0), ms(1050));
        budget.answered(first, ms(900), false, 0.5);
        assert_eq!(budget.take(ms(1000)), Err(ms(950)));
        assert!(budget.take(ms(1950)).is_ok());
    }

    #[test]
    fn slow_call_reports_its_duration_although_others_were_made_meanwhile() {
        let mut budget = Budget::new(4.0);
        let (slow, _) = next(&mut budget, ms(0));
        calls(&mut budget, ms(2500), &[false]);
        budget.answered(slow, ms(3000), false, 0.5);
        assert_eq!(budget.took(), ms(3000));
    }

    #[test]
    fn rate_below_one_makes_single_calls_far_apart() {
        assert_eq!((whole_calls(0.25), whole_calls(1.9), whole_calls(5.0)), (1, 1, 5));
        let mut budget = Budget::new(0.5);
        assert_eq!(calls(&mut budget, ms(0), &[false; 3]), [ms(0), ms(2000), ms(4000)]);
        let mut budget = Budget::new(f64::MIN_POSITIVE);
        calls(&mut budget, ms(0), &[false]);
        assert_eq!(budget.take(ms(1050)).unwrap_err() + ms(1050), LONGEST_INTERVAL);
    }

    #[test]
    fn throttling_halves_the_rate_which_recovers_in_steps() {
        let mut budget = Budget::new(4.0);
        calls(&mut budget, ms(0), &[true]);
        assert_eq!(budget.slot(ms(0), 0), ms(500));
        assert_eq!(budget.slot(ms(0), 2), ms(1500));
        let interval = |seconds: u64| budget.back_off.interval(Duration::from_secs(seconds));
        assert_eq!(interval(29), ms(500));
        assert!(interval(30) > ms(333) && interval(30) < ms(334));
        assert_eq!(interval(40), ms(250));
        assert_eq!(calls(&mut budget, ms(40_000), &[false; 2]), [ms(40_000), ms(40_250)]);
    }

    #[test]
    fn repeated_throttling_leaves_a_slow_rate() {
        let mut budget = Budget::new(4.0);
        let made = calls(&mut budget, ms(0), &[true; 6]);
        assert_eq!(made, [0, 500, 1500, 3500, 5500, 7500].map(ms));
        assert_eq!(calls(&mut Budget::new(0.5), ms(0), &[true; 3]), [0, 4000, 8000].map(ms));
    }

    #[test]
    fn calls_sent_before_the_rate_was_halved_do_not_halve_it_again() {
        let mut budget = Budget::new(4.0);
        let (first, _) = next(&mut budget, ms(0));
        let (second, _) = next(&mut budget, ms(0));
        budget.answered(first, ms(600), true, 0.5);
        budget.answered(second, ms(700), true, 0.5);
        assert_eq!(budget.take(ms(1100)), Err(ms(100)));
    }

    #[test]
    fn throttled_budget_of_a_quota_pauses_and_keeps_its_rate() {
        let mut budget = Budget::of_quota(10, 1.0);
        let (pass, _) = next(&mut budget, ms(0));
        budget.answered(pass, ms(50), true, 0.0);
        assert_eq!(budget.slot(ms(50), 0), ms(50));
        let (pass, _) = next(&mut budget, ms(100));
        budget.answered(pass, ms(150), true, 1.0);
        assert_eq!(budget.slot(ms(150), 0), ms(150));
        assert_eq!(budget.slot(ms(150), 1), ms(150) + (WINDOW + ms(50)) / 10);
    }

    proptest! {
        /// However long calls take to arrive and to be answered.
        #[test]
        fn calls_in_any_second_at_ivs_stay_within_the_rate(
            rate in prop_oneof![0.1..5.0, (1_u32..6).prop_map(f64::from)],
            script in prop::collection::vec(
                (0_u64..400, 0_u64..999, 0_u64..1500, prop::bool::weighted(0.1)),
                1..150,
            ),
        ) {
            let mut budget = Budget::new(rate);
            let mut now = Duration::ZERO;
            let mut sent = Vec::new();
            let mut arrived = Vec::new();
            let mut in_flight: Vec<(Duration, Pass, bool)> = Vec::new();
            for (pause, there, back, throttled) in script {
                now += ms(pause);
                loop {
                    in_flight.retain(|&(answer, pass, throttled)| {
                        if answer <= now {
                            budget.answered(pass, now, throttled, 0.5);
                        }
                        answer > now
                    });
                    let estimate = budget.slot(now, 0);
                    let Err(wait) = budget.take(now).map(|pass| {
                        assert_eq!(estimate, Duration::ZERO);
                        sent.push(now);
                        arrived.push(now + ms(there));
                        in_flight.push((now + ms(there + back), pass, throttled));
                    }) else { break };
                    prop_assert!(wait > Duration::ZERO && wait <= estimate);
                    // An answer may come before that, and delay or hasten the call.
                    let answer = in_flight.iter().map(|call| call.0).min().unwrap_or(now + wait);
                    now = answer.min(now + wait);
                }
            }
            arrived.sort();
            let most = whole_calls(rate);
            for window in arrived.windows(most + 1) {
                prop_assert!(window[most] > window[0] + ms(1000), "{arrived:?}");
            }
            for pair in sent.windows(2) {
                prop_assert!(pair[1].as_secs_f64() >= pair[0].as_secs_f64() + 1.0 / rate - 1e-6);
            }
        }
    }
}
