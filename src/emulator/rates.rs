//! Call rates, as IVS limits them.
//!
//! Each operation has its own quota in each region of the account. It is enforced in a sliding window
//! of one second: at no instant have more calls than the quota been admitted within the second before
//! it. A refused call does not count.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use parking_lot::Mutex;

/// The window in which calls are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// With this many windows, those without calls are removed before another is added.
const SWEEP_AT: usize = 1024;

/// The calls of the last second. Times are those of [`crate::clock::Clock::monotonic`].
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<HashMap<Scope, VecDeque<Duration>>>);

/// An operation, and the region or channel that its quota applies to.
type Scope = (&'static str, String);

impl Rates {
    /// Returns whether a call that arrives now is within `limit` calls per second, and counts it.
    pub(super) fn admit(
        &self,
        operation: &'static str,
        scope: &str,
        limit: usize,
        now: Duration,
    ) -> bool {
        let mut windows = self.0.lock();
        let scope = (operation, scope.to_owned());
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
    fn quota_is_per_operation_and_region() {
        let rates = Rates::default();
        let admit = |operation, region| rates.admit(operation, region, 1, millis(0));
        assert!(admit("GetChannel", "us-west-2"));
        assert!(!admit("GetChannel", "us-west-2"));
        assert!(admit("GetChannel", "eu-west-1"));
        assert!(admit("BatchGetChannel", "us-west-2"));
    }

    #[test]
    fn windows_without_calls_are_removed() {
        let rates = Rates::default();
        for second in 0..5_u64 {
            for channel in 0..1_000 {
                let scope = format!("{second}/{channel}");
                assert!(rates.admit("PutMetadata", &scope, 5, Duration::from_secs(second)));
            }
        }
        assert!(rates.0.lock().len() <= 2 * SWEEP_AT);
    }

    proptest! {
        #[test]
        fn no_second_has_more_calls_than_the_quota(
            gaps in proptest::collection::vec(0_u64..600, 1..200),
            limit in 1_usize..8,
        ) {
            let rates = Rates::default();
            let (mut now, mut admitted) = (0, Vec::<u64>::new());
            for gap in gaps {
                now += gap;
                let recent = admitted.iter().filter(|&&at| now - at < 1_000).count();
                let is_admitted = rates.admit("GetChannel", "us-west-2", limit, millis(now));
                // A call is refused only if the window is full.
                prop_assert_eq!(is_admitted, recent < limit);
                admitted.extend(is_admitted.then_some(now));
            }
        }
    }
}
