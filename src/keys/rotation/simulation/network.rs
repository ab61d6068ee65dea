//! What lies between a process and the store or IVS: time, losses, and cuts.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::truth::Life;

/// How the network of a simulation behaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    /// How often an answer is lost although the request took effect.
    pub(super) lost: f64,
    /// How often a request fails before it takes effect.
    pub(super) failed: f64,
    /// How often a read shows what was there a moment ago.
    pub(super) stale: f64,
}

/// One process's way to one service.
#[derive(Clone, Debug)]
pub(super) struct Way {
    life: Life,
    weather: Weather,
    rng: Arc<Mutex<StdRng>>,
    cut: Arc<AtomicBool>,
}

/// The request did not take effect, or its answer was lost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lost;

impl Way {
    pub(super) fn new(life: Life, weather: Weather, seed: u64) -> Self {
        let rng = Arc::new(Mutex::new(StdRng::seed_from_u64(seed)));
        Self { life, weather, rng, cut: Arc::default() }
    }

    pub(super) fn cut(&self, is_cut: bool) {
        self.cut.store(is_cut, Ordering::SeqCst);
    }

    /// Carries a request there. The process may freeze or die before, on the way, and after.
    pub(super) async fn there(&self) -> Result<(), Lost> {
        self.life.gate().await;
        tokio::time::sleep(self.latency()).await;
        if self.cut.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_secs(3)).await;
            self.life.gate().await;
            return Err(Lost);
        }
        self.life.gate().await;
        if self.happens(self.weather.failed) { Err(Lost) } else { Ok(()) }
    }

    /// Carries the answer back.
    pub(super) async fn back(&self) -> Result<(), Lost> {
        tokio::time::sleep(self.latency()).await;
        self.life.gate().await;
        if self.happens(self.weather.lost) { Err(Lost) } else { Ok(()) }
    }

    /// How old what a read shows is.
    pub(super) fn age(&self) -> Duration {
        if self.happens(self.weather.stale) {
            Duration::from_millis(self.rng.lock().unwrap().random_range(0..3000))
        } else {
            Duration::ZERO
        }
    }

    fn latency(&self) -> Duration {
        let is_slow = self.happens(0.02);
        let millis = if is_slow { 0..2500 } else { 1..80 };
        Duration::from_millis(self.rng.lock().unwrap().random_range(millis))
    }

    fn happens(&self, share: f64) -> bool {
        self.rng.lock().unwrap().random_bool(share)
    }
}
