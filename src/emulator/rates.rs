//! Call rates, as IVS limits them: `--enforce-rates`.
//!
//! Each operation has its own quota in each region of the account, which no request can raise. It is
//! enforced in a sliding window of one second: at no instant have more calls than the quota been
//! admitted within the second before it. A refused call takes nothing from the quota.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// The window in which calls are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// Beyond so many windows, those that have no calls are dropped before another is added.
const SWEEP_AT: usize = 1024;

/// The calls of the last second. Times are those of [`crate::clock::Clock::monotonic`].
#[derive(Debug)]
pub(super) struct Rates {
    enforced: bool,
    windows: Mutex<HashMap<Scope, VecDeque<Duration>>>,
}

/// An operation, and what its quota is for: a region, or a channel.
type Scope = (&'static str, String);

impl Rates {
    /// Limits calls to the quotas of operations where `enforced`.
    pub(super) fn new(enforced: bool) -> Self {
        Self { enforced, windows: Mutex::default() }
    }

    /// Whether a call that arrives now is within `limit` calls a second.
    pub(super) fn admit(
        &self,
        operation: &'static str,
        of: &str,
        limit: usize,
        now: Duration,
    ) -> bool {
        !self.enforced || self.admit_always(operation, of, limit, now)
    }

    /// The same for a limit that holds whether or not rates are enforced.
    pub(super) fn admit_always(
        &self,
        operation: &'static str,
        of: &str,
        limit: usize,
        now: Duration,
    ) -> bool {
        // No code that holds the lock can leave a window half changed.
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let scope = (operation, of.to_owned());
        if windows.len() >= SWEEP_AT && !windows.contains_key(&scope) {
            windows.retain(|_, calls| calls.back().is_some_and(|&last| is_recent(last, now)));
        }
        let calls = windows.entry(scope).or_default();
        while calls.front().is_some_and(|&first| !is_recent(first, now)) {
            calls.pop_front();
        }
        let admitted = calls.len() < limit;
        if admitted {
            calls.push_back(now);
        }
        admitted
    }
}

fn is_recent(call: Duration, now: Duration) -> bool {
    now.saturating_sub(call) < WINDOW
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_quota_is_an_operations_and_a_regions_own() {
        let rates = Rates::new(true);
        let admit = |operation, region| rates.admit(operation, region, 1, millis(0));
        assert!(admit("GetChannel", "us-west-2"));
        assert!(!admit("GetChannel", "us-west-2"));
        assert!(admit("GetChannel", "eu-west-1"));
        assert!(admit("BatchGetChannel", "us-west-2"));
        let unlimited = Rates::new(false);
        assert!((0..100).all(|_| unlimited.admit("GetChannel", "us-west-2", 1, millis(0))));
    }

    #[test]
    fn many_channels_leave_no_windows_behind() {
        let rates = Rates::new(true);
        for second in 0..5_u64 {
            for channel in 0..1_000 {
                let of = format!("{second}/{channel}");
                assert!(rates.admit("PutMetadata", &of, 5, Duration::from_secs(second)));
            }
        }
        assert!(rates.windows.lock().unwrap().len() <= 2 * SWEEP_AT);
    }

    proptest! {
        #[test]
        fn no_second_has_more_calls_than_the_quota(
            gaps in proptest::collection::vec(0_u64..600, 1..200),
            limit in 1_usize..8,
        ) {
            let rates = Rates::new(true);
            let (mut now, mut admitted) = (0, Vec::<u64>::new());
            for gap in gaps {
                now += gap;
                let recent = admitted.iter().filter(|&&at| now - at < 1_000).count();
                let is_admitted = rates.admit("GetChannel", "us-west-2", limit, millis(now));
                // A call is refused only when there is no room for it.
                prop_assert_eq!(is_admitted, recent < limit);
                admitted.extend(is_admitted.then_some(now));
            }
        }
    }
}
