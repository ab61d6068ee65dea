//! When to log that something fails, and that it works again.

use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

/// What works only now and then still fails: it must have worked for this long.
const CALM: Duration = Duration::from_secs(5);

/// Whether something fails at the moment, so that an outage is logged once when it begins and once when it is
/// over. Times are those of a monotonic clock.
#[derive(Debug, Default)]
pub struct Outage(Mutex<Option<Duration>>);

impl Outage {
    /// It failed. Returns whether that begins an outage, which the caller logs.
    pub fn begins(&self, now: Duration) -> bool {
        self.lock().replace(now).is_none()
    }

    /// It worked. Returns whether that ends an outage, which the caller logs.
    pub fn ends(&self, now: Duration) -> bool {
        self.lock().take_if(|failed| now.saturating_sub(*failed) >= CALM).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Duration>> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outage_begins_once_and_ends_once_it_has_been_calm() {
        let (outage, begin) = (Outage::default(), Duration::from_secs(100));
        assert!(!outage.ends(begin));
        assert!(outage.begins(begin));
        assert!(!outage.begins(begin + CALM));
        assert!(!outage.ends(begin + CALM));
        assert!(outage.ends(begin + 2 * CALM));
        assert!(!outage.ends(begin + 3 * CALM));
        assert!(outage.begins(begin + 3 * CALM));
    }
}
