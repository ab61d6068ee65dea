//! Limits the log lines of an event that clients can cause at will.

use std::time::Duration;

/// Lets the first few lines of each period through and counts the others. Times are those of a monotonic clock.
#[derive(Debug)]
pub struct LogLimit {
    lines: u64,
    period: Duration,
    /// When the current period began, and what happened in it.
    began: Duration,
    events: u64,
}

impl LogLimit {
    /// Allows `lines` in each `period`, at least one.
    pub fn new(lines: u64, period: Duration) -> Self {
        Self { lines, period, began: Duration::ZERO, events: 0 }
    }

    /// Counts an event. Returns how many events of the period before were not logged, or nothing if this one must not
    /// be logged.
    pub fn permit(&mut self, now: Duration) -> Option<u64> {
        let mut unlogged = 0;
        if self.events == 0 || self.is_over(now) {
            unlogged = self.unlogged();
            (self.began, self.events) = (now, 0);
        }
        self.events += 1;
        (self.events <= self.lines).then_some(unlogged)
    }

    /// Returns whether the current period is over.
    pub fn is_over(&self, now: Duration) -> bool {
        now.saturating_sub(self.began) >= self.period
    }

    /// Returns how many events of the current period were not logged.
    pub fn unlogged(&self) -> u64 {
        self.events.saturating_sub(self.lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines_of_a_period_are_logged_and_the_others_counted() {
        let (mut limit, begin) = (LogLimit::new(2, Duration::from_secs(1)), Duration::from_secs(9));
        let permitted =
            [0, 1, 2, 999, 1000].map(|ms| limit.permit(begin + Duration::from_millis(ms)));
        assert_eq!(permitted, [Some(0), Some(0), None, None, Some(2)]);
        assert_eq!(limit.unlogged(), 0);
        assert!(limit.is_over(begin + Duration::from_secs(2)));
    }
}
