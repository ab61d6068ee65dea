//! Tests of the age rule and of what follows from it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use super::*;
use crate::{
    clock::ManualClock,
    keys::{
        keyring::strategies,
        store::{Revision, StoreError, StoreFuture, Stored, dir::DirStore, samples},
    },
};

const LIMITS: Limits = Limits {
    max_ttl: Duration::from_hours(1),
    max_staleness: MAX_STALENESS,
    drain_margin: Duration::from_hours(24),
};
const REFRESH_EVERY: Duration = Duration::from_secs(15);
const MAX_STALENESS: Duration = Duration::from_hours(6);
const JUST_BEFORE: Duration = Duration::from_millis(6 * 3_600_000 - 1);

/// A `dir` store that can be cut off, and counts.
#[derive(Debug)]
struct CutOff {
    store: DirStore,
    is_cut: AtomicBool,
    /// Loads that begin while there is no permit wait for one.
    answers: Semaphore,
    loads: AtomicUsize,
}

impl Store for CutOff {
    fn load<'a>(&'a self, region: &'a Region) -> StoreFuture<'a, Option<(Stored, Revision)>> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        if self.is_cut.load(Ordering::SeqCst) {
            return Box::pin(async { Err(unreachable_store()) });
        }
        Box::pin(async {
            let _answers = self.answers.acquire().await.unwrap();
            self.store.load(region).await
        })
    }

    fn replace<'a>(
        &'a self,
        region: &'a Region,
        expected: Option<Revision>,
        stored: &'a Stored,
    ) -> StoreFuture<'a, Revision> {
        self.store.replace(region, expected, stored)
    }

    fn describe(&self, region: &Region) -> String {
        self.store.describe(region)
    }
}

fn unreachable_store() -> StoreError {
    StoreError::Busy { place: "cut off".to_owned() }
}

struct Bench {
    _place: tempfile::TempDir,
    store: Arc<CutOff>,
    keys: Arc<SigningKeys>,
    clock: Clock,
    time: ManualClock,
}

impl Bench {
    fn new(adjust: impl FnOnce(&mut SigningKeysSettings)) -> Self {
        let place = tempfile::tempdir().unwrap();
        let store = Arc::new(CutOff {
            store: DirStore::new(place.path().join("keys"), None),
            is_cut: AtomicBool::new(false),
            answers: Semaphore::new(Semaphore::MAX_PERMITS),
            loads: AtomicUsize::new(0),
        });
        let (clock, time) = Clock::manual(samples::now());
        let mut settings = SigningKeysSettings {
            refresh_every: REFRESH_EVERY,
            max_staleness: MAX_STALENESS,
            limits: LIMITS,
            manage: true,
            heal_wait: Duration::from_mins(1),
        };
        adjust(&mut settings);
        let dyn_store = Arc::clone(&store) as Arc<dyn Store>;
        let keys = SigningKeys::new(dyn_store, [samples::region()], clock.clone(), settings);
        Self { _place: place, store, keys: Arc::new(keys), clock, time }
    }

    fn cut_off(&self, is_cut: bool) {
        self.store.is_cut.store(is_cut, Ordering::SeqCst);
    }

    fn loads(&self) -> usize {
        self.store.loads.load(Ordering::SeqCst)
    }

    async fn signer(&self) -> Result<Arc<Signer>, NoSigner> {
        let (now, monotonic) = (self.clock.now(), self.clock.monotonic());
        self.keys.signer(&samples::region(), now, monotonic).await
    }

    /// Makes key number `position` the active one, as a rotation does.
    async fn activate(&self, position: usize) -> VersionId {
        let region = samples::region();
        let stored = self.store.store.load(&region).await.unwrap();
        let (stored, mut revision) = stored.unzip();
        let keyring = &mut stored.map_or_else(samples::empty, |stored| stored.keyring);
        let id = samples::add_key(keyring, position);
        keyring.account_id = Some("123456789012".parse().unwrap());
        let write = |keyring: Keyring, revision| async move {
            let stored = samples::stored(keyring);
            self.store.store.replace(&samples::region(), revision, &stored).await.unwrap()
        };
        let version = keyring.version_mut(&id).unwrap();
        version.state = KeyState::Imported;
        version.arn = Some(strategies::arn(position));
        revision = Some(write(keyring.clone(), revision).await);
        for version in &mut keyring.keys {
            if version.state == KeyState::Active {
                version.state = KeyState::Draining;
                version.retires_at = Some(samples::now());
            }
            if version.id == id {
                version.state = KeyState::Active;
            }
        }
        write(keyring.clone(), revision).await;
        id
    }
}

#[tokio::test]
async fn an_empty_keyring_says_which_command_to_run() {
    let bench = Bench::new(|_| {});
    let error = bench.signer().await.unwrap_err();
    assert_eq!(error, NoSigner::EmptyKeyring { region: samples::region() });
    assert!(error.to_string().contains("keys rotate --region us-west-2"), "{error}");
    let elsewhere = "eu-west-1".parse().unwrap();
    let error = bench.keys.signer(&elsewhere, samples::now(), Duration::ZERO).await.unwrap_err();
    assert_eq!(error, NoSigner::UnknownRegion { region: elsewhere });
}

#[tokio::test]
async fn a_fresh_snapshot_signs_without_asking_the_store() {
    let bench = Bench::new(|_| {});
    let id = bench.activate(0).await;
    assert_eq!(*bench.signer().await.unwrap().version_id(), id);
    bench.time.advance(REFRESH_EVERY);
    for _ in 0..100 {
        bench.signer().await.unwrap();
    }
    assert_eq!(bench.loads(), 1);
}

#[tokio::test]
async fn an_unreachable_store_is_harmless_until_max_staleness() {
    let bench = Bench::new(|_| {});
    bench.activate(0).await;
    bench.signer().await.unwrap();
    bench.cut_off(true);
    bench.time.advance(JUST_BEFORE);
    assert!(bench.signer().await.is_ok());
    assert_eq!(bench.loads(), 1);
    bench.time.advance(Duration::from_millis(1));
    let error = bench.signer().await.unwrap_err();
    let expected = NoSigner::TooOld {
        region: samples::region(),
        age: MAX_STALENESS,
        cause: unreachable_store().into(),
    };
    assert_eq!(error, expected);
    assert_eq!(bench.keys.status(&samples::region()).signer.unwrap_err(), expected);

    // A rush on the dead store is one attempt; when it is back, minting goes on.
    for _ in 0..100 {
        bench.signer().await.unwrap_err();
    }
    assert_eq!(bench.loads(), 2);
    bench.cut_off(false);
    bench.time.advance(REFRESH_PAUSE);
    assert!(bench.signer().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_waited_for_once() {
    let bench = Bench::new(|_| {});
    bench.activate(0).await;
    bench.signer().await.unwrap();
    bench.store.answers.forget_permits(Semaphore::MAX_PERMITS);
    bench.time.advance(MAX_STALENESS);
    let hung = |signer: Result<Arc<Signer>, NoSigner>| {
        matches!(signer, Err(NoSigner::TooOld { cause: RefreshError::TimedOut, .. }))
    };
    // A caller that goes away takes the load with it to nowhere.
    assert!(tokio::time::timeout(Duration::from_secs(1), bench.signer()).await.is_err());
    let rush = async { tokio::join!(bench.signer(), bench.signer(), bench.signer()) };
    let (one, two, three) = tokio::time::timeout(Duration::from_secs(6), rush).await.unwrap();
    assert!(hung(one) && hung(two) && hung(three));
    let failing = bench.keys.status(&samples::region()).failing;
    assert_eq!(failing, Some((bench.clock.now(), RefreshError::TimedOut)));
    // Those who come now do not wait, neither while it was just tried nor while somebody tries.
    let at_once = Duration::from_millis(1);
    bench.time.advance(Duration::from_secs(4));
    assert!(hung(tokio::time::timeout(at_once, bench.signer()).await.unwrap()));
    bench.time.advance(Duration::from_secs(2));
    let (tries, comes) =
        tokio::join!(bench.signer(), tokio::time::timeout(at_once, bench.signer()));
    assert!(hung(tries) && hung(comes.unwrap()));
    // One load hangs, not one an attempt.
    assert_eq!(bench.loads(), 2);

    bench.store.answers.add_permits(100);
    bench.time.advance(REFRESH_DEADLINE);
    assert!(bench.signer().await.is_ok());
    assert_eq!(bench.loads(), 3);
}

#[tokio::test]
async fn neither_a_clock_set_back_nor_a_frozen_monotonic_one_hides_the_age() {
    let bench = Bench::new(|_| {});
    bench.activate(0).await;
    bench.signer().await.unwrap();
    bench.cut_off(true);

    // The wall clock is set back while six hours pass.
    bench.time.advance(MAX_STALENESS);
    bench.time.set_wall(samples::now());
    assert!(matches!(bench.signer().await, Err(NoSigner::TooOld { .. })));

    // The machine sleeps: only the wall clock moved.
    let bench = Bench::new(|_| {});
    bench.activate(0).await;
    bench.signer().await.unwrap();
    bench.cut_off(true);
    bench.time.set_wall(samples::now() + MAX_STALENESS);
    assert!(matches!(bench.signer().await, Err(NoSigner::TooOld { .. })));
}

#[tokio::test]
async fn a_process_that_wakes_up_signs_with_the_key_of_today() {
    let bench = Bench::new(|_| {});
    let old = bench.activate(0).await;
    assert_eq!(*bench.signer().await.unwrap().version_id(), old);
    let new = bench.activate(1).await;
    bench.time.advance(Duration::from_hours(48));
    assert_eq!(*bench.signer().await.unwrap().version_id(), new);
}

#[tokio::test]
async fn the_key_is_parsed_once_a_version() {
    let bench = Bench::new(|_| {});
    bench.activate(0).await;
    let first = bench.signer().await.unwrap();
    bench.keys.refresh(&samples::region()).await.unwrap();
    assert!(Arc::ptr_eq(&first, &bench.signer().await.unwrap()));
    bench.activate(1).await;
    bench.keys.refresh(&samples::region()).await.unwrap();
    assert!(!Arc::ptr_eq(&first, &bench.signer().await.unwrap()));
}

type Enlarge = fn(&mut Limits);

/// Each limit, with a change that makes it larger than [`LIMITS`].
const LARGER: [(&str, Enlarge); 3] = [
    ("tokens.max_ttl", |limits| limits.max_ttl *= 2),
    ("keys.max_staleness", |limits| limits.max_staleness *= 2),
    ("rotation.drain_margin", |limits| limits.drain_margin *= 2),
];

#[tokio::test]
async fn limits_are_recorded_before_anything_is_signed() {
    for (_, enlarge) in LARGER {
        let mut expected = LIMITS;
        enlarge(&mut expected);
        let bench = Bench::new(|settings| enlarge(&mut settings.limits));
        bench.activate(0).await;
        bench.signer().await.unwrap();
        let (stored, _) = samples::loaded(&bench.store.store).await;
        assert_eq!(stored.keyring.limits(), expected);
    }
    let bench = Bench::new(|settings| settings.limits = Limits::default());
    bench.activate(0).await;
    bench.signer().await.unwrap();
    let (stored, _) = samples::loaded(&bench.store.store).await;
    assert_eq!(stored.keyring.limits(), LIMITS, "smaller values lower nothing");
}

#[tokio::test]
async fn process_without_write_access_refuses_to_sign_beyond_recorded_limits() {
    for (key, enlarge) in LARGER {
        let bench = Bench::new(|settings| {
            enlarge(&mut settings.limits);
            settings.manage = false;
        });
        bench.activate(0).await;
        let error = bench.signer().await.unwrap_err();
        let NoSigner::NotRead { cause: RefreshError::UnrecordedLimit(limit), .. } = &error else {
            panic!("{error:?}");
        };
        assert_eq!(limit.key, key);
        assert!(error.to_string().contains("keys.manage"), "{error}");
    }
}

#[tokio::test]
async fn a_distrusted_key_never_signs_again() {
    let bench = Bench::new(|_| {});
    let region = samples::region();
    let id = bench.activate(0).await;
    let arn = bench.signer().await.unwrap().arn().clone();
    assert!(bench.keys.distrust(&region, &strategies::stranger()).await);
    assert!(bench.signer().await.is_ok());
    assert!(bench.keys.distrust(&region, &id).await);
    assert!(!bench.keys.distrust(&region, &id).await, "known already");
    let expected = NoSigner::FingerprintMismatch { arn };
    assert_eq!(bench.signer().await.unwrap_err(), expected);
    bench.keys.refresh(&region).await.unwrap();
    assert_eq!(bench.signer().await.unwrap_err(), expected);
    bench.activate(1).await;
    bench.keys.refresh(&region).await.unwrap();
    assert!(bench.signer().await.is_ok());
}

#[tokio::test]
async fn the_status_says_since_when_reads_fail() {
    let bench = Bench::new(|_| {});
    let region = samples::region();
    bench.activate(0).await;
    bench.signer().await.unwrap();
    bench.cut_off(true);
    bench.time.advance(Duration::from_secs(20));
    let since = bench.clock.now();
    for _ in 0..2 {
        bench.keys.refresh(&region).await.unwrap_err();
        bench.time.advance(Duration::from_secs(20));
    }
    let status = bench.keys.status(&region);
    assert!(status.signer.is_ok());
    assert_eq!(status.keyring_age, Some(Duration::from_mins(1)));
    assert_eq!(status.failing, Some((since, unreachable_store().into())));
    bench.cut_off(false);
    bench.keys.refresh(&region).await.unwrap();
    assert_eq!(bench.keys.status(&region).failing, None);
}

#[tokio::test]
async fn the_jwk_set_has_active_pending_and_draining_keys() {
    let bench = Bench::new(|_| {});
    bench.activate(0).await;
    bench.activate(1).await;
    bench.keys.refresh(&samples::region()).await.unwrap();
    let states: Vec<_> =
        bench.keys.public_keys(&samples::region()).iter().map(|key| key.state).collect();
    assert_eq!(states, [KeyState::Draining, KeyState::Active]);
}

#[tokio::test(start_paused = true)]
async fn the_background_task_follows_the_store_and_wakes_for_mints() {
    let bench = Bench::new(|_| {});
    let shutdown = CancellationToken::new();
    let task = Arc::clone(&bench.keys).run(shutdown.clone());
    let follow = async {
        let first = bench.activate(0).await;
        assert_eq!(*bench.signer().await.unwrap().version_id(), first);
        let second = bench.activate(1).await;
        // Manual and paused time move together.
        bench.time.advance(REFRESH_EVERY);
        tokio::time::sleep(REFRESH_EVERY).await;
        while *bench.signer().await.unwrap().version_id() != second {
            tokio::task::yield_now().await;
        }
        // The wall clock alone shows that time passed; the next mint asks for a refresh.
        let third = bench.activate(2).await;
        bench.time.set_wall(bench.clock.now() + Duration::from_mins(1));
        while *bench.signer().await.unwrap().version_id() != third {
            bench.time.advance(REFRESH_PAUSE);
            tokio::task::yield_now().await;
        }
        shutdown.cancel();
    };
    tokio::join!(task, follow);
}
