//! One process: it mints, refreshes, and rotates, with a clock and a network of its own.

use std::{
    sync::{Arc, Mutex, atomic::AtomicI64},
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    RECONCILE_EVERY, REFRESH_EVERY,
    ivs::{Pairs, SimulatedIvs},
    judge::{Failure, Ledger, Token},
    network::{Way, Weather},
    policy,
    store::{EveryPrivateKey, History, SimulatedStore},
    truth::{Life, SkewedClock, Truth},
};
use crate::{
    clock::{Clock, Timestamp},
    keys::{
        keyring::{DriverId, Limits},
        rotation::{KeyManager, ManagerSettings},
        signing::{SigningKeys, SigningKeysSettings},
        store::{Store, samples},
    },
    secret::system_rng,
    telemetry::metrics::Metrics,
};

/// What all processes share.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) truth: Truth,
    pub(super) history: History,
    pub(super) private_keys: EveryPrivateKey,
    pub(super) pairs: Arc<Mutex<Pairs>>,
    pub(super) ledger: Arc<Mutex<Ledger>>,
    pub(super) weather: Weather,
    /// Of each process, by its number.
    pub(super) limits: Vec<Limits>,
    pub(super) spread: Duration,
}

/// A process that runs.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) life: Life,
    pub(super) to_store: Way,
    pub(super) to_ivs: Way,
    pub(super) skew_millis: Arc<AtomicI64>,
    pub(super) keys: Arc<KeyManager>,
}

impl Replica {
    /// Starts the process of this number. `seed` decides what happens to it.
    pub(super) fn start(world: &World, number: usize, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let limits = world.limits[number];
        let life = Life::new();
        let to_store = Way::new(life.clone(), world.weather, rng.random());
        let to_ivs = Way::new(life.clone(), world.weather, rng.random());
        let skew_millis = Arc::new(AtomicI64::new(0));
        let clock = SkewedClock { truth: world.truth, skew_millis: Arc::clone(&skew_millis) };
        let clock = Clock::from_source(clock);
        let (truth, history) = (world.truth, Arc::clone(&world.history));
        let private_keys = Arc::clone(&world.private_keys);
        let store = SimulatedStore { truth, history, private_keys, way: to_store.clone() };
        let store: Arc<dyn Store> = Arc::new(store);
        let settings = SigningKeysSettings {
            refresh_every: REFRESH_EVERY,
            max_staleness: limits.max_staleness,
            limits,
            manage: true,
            heal_wait: Duration::from_mins(2),
        };
        let regions = [samples::region()];
        let keys = SigningKeys::new(Arc::clone(&store), regions, clock.clone(), settings);
        let keys = Arc::new(keys);
        let ivs = SimulatedIvs {
            truth: world.truth,
            region: samples::region(),
            pairs: Arc::clone(&world.pairs),
            way: to_ivs.clone(),
            date: Mutex::default(),
        };
        let settings = ManagerSettings {
            driver: DriverId::random(&mut system_rng()),
            manage: true,
            expected_account: None,
            policy: policy(limits),
            claim_wait: Duration::ZERO,
            reconcile_every: RECONCILE_EVERY,
            spread: world.spread,
            canary_settle: Duration::ZERO,
            canary_timeout: Duration::ZERO,
            earlier_regions: Vec::new(),
        };
        let manager = Arc::new(KeyManager::new(
            store,
            Arc::new(ivs),
            Arc::clone(&keys),
            clock.clone(),
            settings,
            Metrics::default(),
            TaskTracker::new(),
        ));
        let running = TaskTracker::new();
        running.spawn(Arc::clone(&keys).run(CancellationToken::new()));
        running.spawn(Arc::clone(&manager).run(CancellationToken::new()));
        let viewers =
            Viewers { replica: number, world: world.clone(), life: life.clone(), clock, keys, rng };
        running.spawn(viewers.run());
        Self { life, to_store, to_ivs, skew_millis, keys: manager }
    }
}

/// The viewers of one process, who ask for tokens without end.
struct Viewers {
    replica: usize,
    world: World,
    life: Life,
    clock: Clock,
    keys: Arc<SigningKeys>,
    rng: StdRng,
}

impl Viewers {
    async fn run(mut self) {
        let limits = self.world.limits[self.replica];
        // As `serve` does: it listens only after a first read.
        let _ = self.keys.refresh(&samples::region()).await;
        loop {
            tokio::time::sleep(Duration::from_secs(self.rng.random_range(20..100))).await;
            self.life.gate().await;
            let (now, monotonic) = (self.clock.now(), self.clock.monotonic());
            let signer = self.keys.signer(&samples::region(), now, monotonic).await;
            // Frozen between the choice of the signer and the signature.
            self.life.gate().await;
            let at = self.world.truth.now();
            let mut ledger = self.world.ledger.lock().unwrap();
            match signer {
                Ok(signer) => ledger.tokens.push(Token {
                    fingerprint: signer.fingerprint(),
                    signed_at: at,
                    expires_at: now + limits.max_ttl,
                }),
                Err(reason) => {
                    let replica = self.replica;
                    let max_staleness = limits.max_staleness;
                    ledger.failures.push(Failure { replica, max_staleness, at, reason });
                }
            }
        }
    }
}

/// The other signer of an adopted key, such as a Lambda.
pub(super) async fn lambda(
    world: World,
    key: crate::keys::material::Fingerprint,
    until: Timestamp,
    ttl: Duration,
) {
    while world.truth.now() < until {
        let at = world.truth.now();
        world.ledger.lock().unwrap().tokens.push(Token {
            fingerprint: key,
            signed_at: at,
            expires_at: at + ttl,
        });
        tokio::time::sleep(Duration::from_secs(45)).await;
    }
}
