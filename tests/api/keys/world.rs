//! An account with an emulated IVS, a folder of keys, and processes that may crash.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use ivs_playback_auth::{
    clock::{Clock, ManualClock, Timestamp},
    config::Heal,
    emulator::{Emulator, Options},
    ivs::{
        IvsRegions, KeyPairSummary, RegionalIvs,
        arn::{AccountId, Region},
    },
    keys::{
        keyring::{DriverId, Keyring, Limits, RotationMode},
        rotation::{
            Begin, KeyManager, ManagerSettings, OperationError, Policy,
            view::{Phase, RotationView},
        },
        signing::{SigningKeys, SigningKeysSettings},
        store::{Revision, Store, StoreError, StoreFuture, Stored, dir::DirStore},
    },
    secret::system_rng,
    telemetry::{Instruments, metrics::Metrics},
};
use tempfile::TempDir;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The clock of every world begins here.
const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_337_700);

pub(super) fn region() -> Region {
    "us-west-2".parse().unwrap()
}

/// One account and one folder of keys.
pub(super) struct World {
    emulator: Emulator,
    dir: TempDir,
    pub(super) clock: Clock,
    pub(super) time: ManualClock,
    servers: TaskTracker,
}

/// A process with its own view of IVS, its own store handle and its own driver id.
pub(super) struct Process {
    pub(super) ivs: RegionalIvs,
    pub(super) signing_keys: Arc<SigningKeys>,
    pub(super) manager: Arc<KeyManager>,
}

impl Process {
    /// Asks for a rotation and takes its steps until the new key signs, as `keys rotate` does. It
    /// looks once only: the clock of a world stands still, so nothing that failed is tried again.
    pub(super) async fn rotate(&self, request: Begin) -> Result<RotationView, OperationError> {
        let begun = self.manager.begin_rotation(request).await?;
        let reconciled = self.manager.reconcile().await;
        let view = self.manager.rotation(begun.id()).await?;
        match (view.phase, reconciled.failure) {
            (Phase::Draining | Phase::Retiring | Phase::Done, _) => Ok(view),
            (_, Some(failure)) => Err(failure),
            (phase, None) => panic!("{phase:?}: nothing failed, and no key signs"),
        }
    }
}

/// A rotation that is asked for once.
pub(super) fn graceful(new_keyring: bool) -> Begin {
    let requested_by = "test".to_owned();
    Begin { mode: RotationMode::Graceful, requested_by, idempotency: None, new_keyring }
}

impl World {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (clock, time) = Clock::manual(NOW);
        let options = Options::new(dir.path().join("emulator"), "123456789012".parse().unwrap());
        let emulator = Emulator::open(options, clock.clone()).unwrap();
        Self { emulator, dir, clock, time, servers: TaskTracker::new() }
    }

    pub(super) fn keys_dir(&self) -> PathBuf {
        self.dir.path().join("keys")
    }

    pub(super) async fn process(&self) -> Process {
        self.process_with(Arc::new(Faults::none()), Duration::ZERO).await
    }

    pub(super) async fn process_with(&self, faults: Arc<Faults>, claim_wait: Duration) -> Process {
        self.process_on(self.keys_dir(), faults, claim_wait).await
    }

    pub(super) async fn process_on(
        &self,
        keys_dir: PathBuf,
        faults: Arc<Faults>,
        claim_wait: Duration,
    ) -> Process {
        self.process_of(None, keys_dir, faults, claim_wait).await
    }

    /// A process that is configured for this account, whatever IVS says.
    pub(super) async fn process_of(
        &self,
        expected_account: Option<AccountId>,
        keys_dir: PathBuf,
        faults: Arc<Faults>,
        claim_wait: Duration,
    ) -> Process {
        let ivs = self.connect(Arc::clone(&faults)).await;
        let (store, writes) = (DirStore::new(keys_dir, None), AtomicUsize::new(0));
        let store: Arc<dyn Store> = Arc::new(FaultyStore { store, faults, writes });
        let settings = SigningKeysSettings {
            refresh_every: Duration::from_secs(15),
            max_staleness: Duration::from_hours(6),
            limits: limits(),
            manage: true,
            heal_wait: Duration::from_mins(1),
        };
        let clock = self.clock.clone();
        let signing_keys =
            Arc::new(SigningKeys::new(Arc::clone(&store), [region()], clock.clone(), settings));
        let tasks = TaskTracker::new();
        let settings = ManagerSettings {
            driver: DriverId::random(&mut system_rng()),
            manage: true,
            expected_account,
            policy: policy(),
            claim_wait,
            reconcile_every: Duration::from_mins(1),
            spread: Duration::ZERO,
            canary_settle: Duration::from_secs(30),
            canary_timeout: Duration::from_mins(10),
            earlier_regions: Vec::new(),
        };
        let manager = KeyManager::new(
            store,
            Arc::new(ivs.clone()),
            Arc::clone(&signing_keys),
            clock,
            settings,
            Metrics::default(),
            tasks,
        );
        Process { ivs, signing_keys, manager: Arc::new(manager) }
    }

    /// What IVS has, as nobody's fault can hide.
    pub(super) async fn pairs(&self) -> Vec<KeyPairSummary> {
        self.connect(Arc::new(Faults::none())).await.list_playback_key_pairs().await.unwrap()
    }

    /// What the store has.
    pub(super) async fn keyring(&self) -> Keyring {
        DirStore::new(self.keys_dir(), None).load(&region()).await.unwrap().unwrap().0.keyring
    }

    /// The private keys on disk.
    pub(super) fn private_keys(&self) -> usize {
        let Ok(entries) = std::fs::read_dir(self.keys_dir().join("us-west-2")) else {
            return 0;
        };
        entries
            .filter(|entry| entry.as_ref().unwrap().path().extension() == Some("pem".as_ref()))
            .count()
    }

    async fn connect(&self, faults: Arc<Faults>) -> RegionalIvs {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let layer = axum::middleware::from_fn_with_state((faults, self.time.clone()), strike);
        let router = self.emulator.router().layer(layer);
        self.servers.spawn(async move { axum::serve(listener, router).await });
        let account = "123456789012".parse().unwrap();
        let endpoint = format!("http://{address}");
        let timeout = Duration::from_secs(30);
        let instruments = Instruments::new(self.clock.clone());
        IvsRegions::fixed(&endpoint, region(), account, "AKID", "secret", timeout, &instruments)
            .region(&region())
            .unwrap()
            .clone()
    }
}

/// As `config/default.toml` says.
fn limits() -> Limits {
    Limits {
        max_ttl: Duration::from_hours(1),
        max_staleness: Duration::from_hours(6),
        drain_margin: Duration::from_hours(24),
    }
}

/// As `config/default.toml` says.
fn policy() -> Policy {
    Policy {
        propagation_wait: Duration::from_mins(10),
        limits: limits(),
        heal: Heal::Reimport,
        every: None,
        has_canary: false,
    }
}

/// What goes wrong for one process, counted over all that it does with store and IVS.
#[derive(Debug)]
pub(super) struct Faults {
    kind: Option<Fault>,
    steps: AtomicUsize,
    /// The process has ended or was frozen: nothing that it still does has an effect.
    pub(super) stopped: CancellationToken,
    /// A frozen process wakes up.
    pub(super) goes_on: CancellationToken,
}

/// One fault, at this step.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// The process ends. There is a step before and one after each effect.
    Crash(usize),
    /// As `Crash`, but the process wakes up when it is told to.
    Freeze(usize),
    /// IVS carries out the call and answers with an error.
    LostAnswer(usize),
    /// Each listing takes this long.
    SlowListing(Duration),
    /// The first load of the store finds nothing yet.
    LateStore,
    /// What is listed is gone when it is looked at.
    GoneAtGet,
    /// The first write of the store takes effect, its answer is lost, and somebody else writes.
    LostWrite,
    /// IVS refuses every import, with this status and code.
    RefusedImport(StatusCode, &'static str),
}

impl Faults {
    pub(super) fn none() -> Self {
        let (stopped, goes_on) = (CancellationToken::new(), CancellationToken::new());
        Self { kind: None, steps: AtomicUsize::new(0), stopped, goes_on }
    }

    pub(super) fn one(fault: Fault) -> Self {
        Self { kind: Some(fault), ..Self::none() }
    }

    /// How many steps there were.
    pub(super) fn steps(&self) -> usize {
        self.steps.load(Ordering::SeqCst)
    }

    async fn step(&self) {
        let step = self.steps.fetch_add(1, Ordering::SeqCst);
        if matches!(self.kind, Some(Fault::Crash(at) | Fault::Freeze(at)) if step == at) {
            self.stopped.cancel();
        }
        if self.stopped.is_cancelled() {
            self.goes_on.cancelled().await;
        }
    }
}

async fn strike(
    State((faults, time)): State<(Arc<Faults>, ManualClock)>,
    request: Request,
    next: Next,
) -> Response {
    if let Some(Fault::LostAnswer(at)) = faults.kind {
        let call = faults.steps.fetch_add(1, Ordering::SeqCst);
        let response = next.run(request).await;
        // With the two retries of the client, so that it gives up.
        if (at..at + 3).contains(&call) {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        return response;
    }
    let path = request.uri().path();
    match faults.kind {
        Some(Fault::RefusedImport(status, code)) if path == "/ImportPlaybackKeyPair" => {
            let message = "User: arn:aws:iam::123456789012:user/ci is not authorized to perform: \
                           ivs:ImportPlaybackKeyPair on resource: *";
            let body = serde_json::json!({ "message": message }).to_string();
            return (status, [("x-amzn-errortype", code)], body).into_response();
        }
        Some(Fault::GoneAtGet) if path == "/GetPlaybackKeyPair" => {
            let code = [("x-amzn-errortype", "ResourceNotFoundException")];
            return (StatusCode::NOT_FOUND, code, "{}").into_response();
        }
        Some(Fault::SlowListing(duration)) if path == "/ListPlaybackKeyPairs" => {
            time.advance(duration);
        }
        Some(_) | None => {}
    }
    faults.step().await;
    let response = next.run(request).await;
    faults.step().await;
    response
}

#[derive(Debug)]
struct FaultyStore {
    store: DirStore,
    faults: Arc<Faults>,
    writes: AtomicUsize,
}

impl FaultyStore {
    async fn step(&self) {
        if !matches!(self.faults.kind, Some(Fault::LostAnswer(_))) {
            self.faults.step().await;
        }
    }

    /// As somebody else would.
    async fn write_once_more(&self, region: &Region) {
        let (mut stored, revision) = self.store.load(region).await.unwrap().unwrap();
        stored.keyring.max_ttl += Duration::from_secs(1);
        self.store.replace(region, Some(revision), &stored).await.unwrap();
    }
}

impl Store for FaultyStore {
    fn load<'a>(&'a self, region: &'a Region) -> StoreFuture<'a, Option<(Stored, Revision)>> {
        if matches!(self.faults.kind, Some(Fault::LateStore))
            && self.faults.steps.fetch_add(1, Ordering::SeqCst) == 0
        {
            return Box::pin(async { Ok(None) });
        }
        self.store.load(region)
    }

    fn replace<'a>(
        &'a self,
        region: &'a Region,
        expected: Option<Revision>,
        stored: &'a Stored,
    ) -> StoreFuture<'a, Revision> {
        Box::pin(async move {
            self.step().await;
            let is_first = self.writes.fetch_add(1, Ordering::SeqCst) == 0;
            let revision = self.store.replace(region, expected, stored).await;
            self.step().await;
            if is_first && matches!(self.faults.kind, Some(Fault::LostWrite)) {
                self.write_once_more(region).await;
                return Err(StoreError::Conflict);
            }
            revision
        })
    }

    fn describe(&self, region: &Region) -> String {
        self.store.describe(region)
    }
}
