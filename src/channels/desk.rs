//! One operation's queue and budget.

use std::time::Duration;

use super::{
    LookupError,
    fairness::{FairQueue, Line},
};
use crate::ivs::{arn::ChannelArn, budget::Budget};

/// The calls that look channels up. Each has a quota of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Operation {
    /// For every lookup.
    BatchGetChannel,
    /// For one that a batch did not answer.
    GetChannel,
}

impl Operation {
    pub(super) const ALL: [Self; 2] = [Self::BatchGetChannel, Self::GetChannel];

    /// How many channels one call asks for (IVS's limit).
    pub(super) const fn size(self) -> usize {
        match self {
            Self::BatchGetChannel => 50,
            Self::GetChannel => 1,
        }
    }
}

/// What waits for calls of one operation.
#[derive(Debug)]
pub(super) struct Desk {
    operation: Operation,
    pub(super) queue: FairQueue<ChannelArn>,
    pub(super) budget: Budget,
    /// Whether somebody takes calls from the queue.
    pub(super) served: bool,
    /// Whether the last call failed, rather than was answered.
    pub(super) fails: bool,
}

impl Desk {
    pub(super) fn new(operation: Operation, calls_per_second: f64) -> Self {
        Self {
            operation,
            queue: FairQueue::new(),
            budget: Budget::new(calls_per_second),
            served: false,
            fails: false,
        }
    }

    /// How long until what is queued in this line now is part of a call, where `earlier` calls go
    /// before all lines.
    pub(super) fn wait(&self, line: &Line, earlier: usize, now: Duration) -> Duration {
        self.budget.turn(now, earlier + self.queue.calls_before(line, self.operation.size()))
    }

    /// Whether a lookup that waits so long would be answered within `deadline`.
    pub(super) fn makes(&self, deadline: Duration, wait: Duration) -> bool {
        // However slow IVS was, a lookup whose turn has come is worth a try.
        wait + self.budget.took().min(deadline / 2) <= deadline
    }

    /// To a caller who would have to wait so long.
    pub(super) fn refusal(&self, retry_after: Duration) -> LookupError {
        if self.fails {
            LookupError::Unavailable { retry_after }
        } else {
            LookupError::Throttled { retry_after }
        }
    }
}

/// The desks of both operations.
#[derive(Debug)]
pub(super) struct Desks {
    batches: Desk,
    singles: Desk,
}

impl Desks {
    pub(super) fn new(calls_per_second: f64) -> Self {
        Self {
            batches: Desk::new(Operation::BatchGetChannel, calls_per_second),
            singles: Desk::new(Operation::GetChannel, calls_per_second),
        }
    }

    pub(super) fn of(&self, operation: Operation) -> &Desk {
        match operation {
            Operation::BatchGetChannel => &self.batches,
            Operation::GetChannel => &self.singles,
        }
    }

    pub(super) fn of_mut(&mut self, operation: Operation) -> &mut Desk {
        match operation {
            Operation::BatchGetChannel => &mut self.batches,
            Operation::GetChannel => &mut self.singles,
        }
    }
}
