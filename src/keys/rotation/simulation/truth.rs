//! True time, clocks that differ from it, and processes that freeze and die.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::{
    clock::{TimeSource, Timestamp},
    keys::keyring::strategies::EPOCH,
};

/// True time: what IVS and the edge go by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Truth(Instant);

impl Truth {
    #[expect(clippy::disallowed_methods, reason = "the paused time of the simulation")]
    pub(super) fn begin() -> Self {
        Self(Instant::now())
    }

    pub(super) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    pub(super) fn now(self) -> Timestamp {
        Timestamp::from_unix_seconds(EPOCH) + self.elapsed()
    }
}

/// A process's clock: wrong by as much as somebody says.
#[derive(Clone, Debug)]
pub(super) struct SkewedClock {
    pub(super) truth: Truth,
    pub(super) skew_millis: Arc<AtomicI64>,
}

impl TimeSource for SkewedClock {
    fn now(&self) -> Timestamp {
        let skew = self.skew_millis.load(Ordering::SeqCst);
        Timestamp::from_unix_millis(self.truth.now().unix_millis() + skew)
    }

    fn monotonic(&self) -> Duration {
        self.truth.elapsed()
    }
}

/// Whether a process runs. One that is dead never runs again: what it waits for does not come.
#[derive(Clone, Debug)]
pub(super) struct Life(watch::Sender<State>);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Running,
    Frozen,
    Dead,
}

impl Life {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(State::Running))
    }

    pub(super) fn freeze(&self) {
        self.0.send_replace(State::Frozen);
    }

    pub(super) fn resume(&self) {
        self.0.send_if_modified(|state| {
            let was_frozen = *state == State::Frozen;
            if was_frozen {
                *state = State::Running;
            }
            was_frozen
        });
    }

    pub(super) fn kill(&self) {
        self.0.send_replace(State::Dead);
    }

    /// Returns while the process runs.
    pub(super) async fn gate(&self) {
        let mut state = self.0.subscribe();
        // The sender lives as long as `self`, so this fails never.
        let _ = state.wait_for(|state| *state == State::Running).await;
    }
}
