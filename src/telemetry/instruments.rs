//! What a component measures with.

use super::metrics::Metrics;
use crate::clock::Clock;

/// A clock and the metrics of this process, which go together wherever something is timed. Cheap to
/// clone.
#[derive(Clone, Debug)]
pub struct Instruments {
    /// The time.
    pub clock: Clock,
    /// What was counted so far.
    pub metrics: Metrics,
}

impl Instruments {
    /// With metrics that nothing was counted in yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, metrics: Metrics::default() }
    }
}
