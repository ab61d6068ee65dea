//! An instant by two clocks, ours and IVS's.

use std::time::Duration;

use crate::clock::Timestamp;

/// IVS's clock is known in whole seconds, so it may differ from ours by as much more than allowed.
pub(super) const DATE_RESOLUTION: Duration = Duration::from_secs(1);

/// An instant by our clock and, once IVS has answered, by IVS's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Now {
    /// By our clock.
    pub own: Timestamp,
    /// The date of IVS's last answer plus the time since: at most a second behind IVS's clock.
    pub ivs: Option<Timestamp>,
    /// How far the clocks differ at least; `None` if that is not known.
    pub skew: Option<Duration>,
}

impl Now {
    /// Returns the earlier of both clocks, by which to judge what must have passed.
    pub fn earliest(self) -> Timestamp {
        self.ivs.map_or(self.own, |ivs| ivs.min(self.own))
    }

    /// Returns the later of both clocks, by which to record when something happened.
    pub fn latest(self) -> Timestamp {
        let ivs = self.ivs.map(|ivs| ivs + DATE_RESOLUTION);
        ivs.map_or(self.own, |ivs| ivs.max(self.own)).floor_to_second()
    }

    /// An instant with an answer of IVS that took no time.
    #[cfg(test)]
    pub(in crate::keys) fn exact(own: Timestamp, ivs: Timestamp) -> Self {
        let skew = ivs.saturating_since(own).max(own.saturating_since(ivs));
        Self { own, ivs: Some(ivs), skew: Some(skew) }
    }
}
