//! Configuration to components, components to a router and background tasks.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::Router;
use tokio::signal::unix::Signal;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{canary::Canary, clock_watch, error::StartError, preflight, tls::ServerTls};
use crate::{
    access::{
        Clients,
        audit::{Actor, AuditLog, Record},
        registry::Registry,
    },
    channels::{ChannelDirectory, ChannelNames},
    clock::Clock,
    config::Config,
    http::{
        self, Api, Components, Limits,
        access_log::AccessLog,
        cors_origin::CorsOrigin,
        demo::Demo,
        health::{CertificateStatus, ShutdownFlag},
        metrics::MetricsPlace,
    },
    ivs::{
        ConnectError, IvsRegions, RegionalIvs,
        arn::{ChannelArn, Region},
    },
    keys::{
        KeyStore,
        keyring::{DriverId, Limits as KeyLimits, RotationMode},
        rotation::{
            Begin, Goal, KeyManager, ManagerSettings, OperationError, Policy as RotationPolicy,
            Probe, StepTaken, Witness,
        },
        signing::{SigningKeys, SigningKeysSettings},
        store::{
            Store,
            dir::DirStore,
            secrets_manager::{SecretAccount, SecretsManagerStore},
        },
    },
    revocation::{ViewerSessions, denials::DenialsError},
    secret::system_rng,
    service::{
        Channels, Inspections, Minting,
        key_pairs::{KeyPairs, RegionKeys},
        revocation::Revocations,
    },
    telemetry::Instruments,
    tokens::grant::Policy as TokenPolicy,
};

/// How long the start waits for the account of the credentials; without IVS the service starts all
/// the same and mints what it can.
const ACCOUNT_DEADLINE: Duration = Duration::from_secs(5);

/// A command that a person runs again after a crash outwaits the claim of the one that crashed.
const CLAIM_WAIT: Duration = Duration::from_secs(90);

/// Who changes key pairs, if it may, and how long it waits for others who do.
struct Driver {
    id: DriverId,
    claim_wait: Duration,
    access: KeyAccess,
}

/// Who uses the components.
enum Callers {
    /// The clients of the HTTP API.
    OverHttp { registry: Registry, audit: AuditLog },
    /// An operator at the command line, who needs no credential.
    Operator { audit: AuditLog },
}

/// What a command is to do with keyrings and key pairs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyAccess {
    /// Whatever `keys.manage` allows.
    Managed,
    /// Look at them. Nothing is written and nothing signed, whatever the configuration says.
    LookOnly,
}

impl KeyAccess {
    /// Returns whether key pairs may be changed.
    fn manages(self, config: &Config) -> bool {
        config.keys.manage && self == Self::Managed
    }

    fn signing_settings(self, config: &Config) -> SigningKeysSettings {
        SigningKeysSettings {
            refresh_every: config.keys.refresh_every,
            max_staleness: config.keys.max_staleness,
            limits: match self {
                Self::Managed => key_limits(config),
                // A process that signs nothing requires nothing of the keyring.
                Self::LookOnly => KeyLimits::default(),
            },
            manage: self.manages(config),
            heal_wait: config.rotation.heal_wait,
        }
    }
}

/// Returns the limits of this process, of which the keyring records the largest.
pub(crate) fn key_limits(config: &Config) -> KeyLimits {
    let limits = KeyLimits {
        max_ttl: config.tokens.max_ttl,
        max_staleness: config.keys.max_staleness,
        drain_margin: config.rotation.drain_margin,
    };
    limits.in_whole_seconds()
}

/// The token service without its port.
#[derive(Debug)]
pub struct App {
    api: Api,
    cors_origins: Vec<CorsOrigin>,
    metrics_place: MetricsPlace,
    demo: Option<Demo>,
    reload_every: Duration,
    /// Whether all channels are read at start.
    warm_up: bool,
    store: Arc<dyn Store>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl App {
    /// For `serve`: connected to AWS, clients demanded; background tasks do not run yet.
    ///
    /// An IVS or a store that cannot be reached does not keep it from starting.
    ///
    /// # Errors
    ///
    /// - no region, or credentials of another account than `ivs.account_id`
    /// - no clients, or a clients file that cannot be used
    /// - an audit log that cannot be written
    pub async fn for_serve(config: &Config, clock: Clock) -> Result<Self, StartError> {
        let instruments = Instruments::new(clock);
        let ivs = connect(config, &instruments).await?;
        check_account(&ivs).await?;
        let app = Self::build(config, ivs, instruments).await?;
        for region in app.api.ivs.names() {
            if let Err(reason) = app.api.keys.status(region).signer {
                tracing::warn!(
                    event = "region_not_ready",
                    %region,
                    %reason,
                    "the region cannot sign yet"
                );
            }
        }
        Ok(app)
    }

    /// Logs what this process is and serves.
    pub(super) fn log_start(&self, listen: &str, operations_listen: Option<&str>) {
        let ivs = &self.api.ivs;
        let keyring = |region| self.api.keys.keyring(region)?.account_id.clone();
        let account = ivs.known_account().cloned().or_else(|| ivs.names().iter().find_map(keyring));
        let stores: Vec<_> = ivs.names().iter().map(|region| self.store_of(region)).collect();
        tracing::info!(
            event = "started",
            version = env!("CARGO_PKG_VERSION"),
            commit = env!("IVS_PLAYBACK_AUTH_COMMIT"),
            regions = Region::list(ivs.names()),
            account = account.map_or_else(|| "unknown".to_owned(), |account| account.to_string()),
            store = stores.join(", "),
            listen,
            operationsListen = operations_listen.unwrap_or_default(),
            "started"
        );
    }

    /// For a command that does one thing: nobody calls over HTTP, nothing runs in the background.
    ///
    /// # Errors
    ///
    /// No region is configured, or the credentials are of another account than `ivs.account_id`.
    pub async fn for_command(
        config: &Config,
        access: KeyAccess,
        clock: Clock,
    ) -> Result<Self, StartError> {
        let instruments = Instruments::new(clock);
        let ivs = connect(config, &instruments).await?;
        check_account(&ivs).await?;
        let id = DriverId::random(&mut system_rng());
        let driver = Driver { id, claim_wait: CLAIM_WAIT, access };
        let changes = access == KeyAccess::Managed;
        let audit = AuditLog::for_command(&config.audit, changes, &instruments)?;
        Ok(Self::assemble(&driver, config, ivs, instruments, Callers::Operator { audit }))
    }

    /// With these regions, whatever the AWS configuration says; background tasks do not run yet.
    /// `instruments` are those that the regions were connected with.
    ///
    /// # Errors
    ///
    /// As [`App::for_serve`], but for the regions.
    pub async fn build(
        config: &Config,
        ivs: IvsRegions,
        instruments: Instruments,
    ) -> Result<Self, StartError> {
        Self::build_as(DriverId::random(&mut system_rng()), config, ivs, instruments).await
    }

    /// The same, under a name that changes of key pairs are claimed with.
    pub(super) async fn build_as(
        driver: DriverId,
        config: &Config,
        ivs: IvsRegions,
        instruments: Instruments,
    ) -> Result<Self, StartError> {
        let registry = Registry::load(preflight::clients_source(config))?;
        let audit = AuditLog::open(&config.audit, &instruments)?;
        // Callers over HTTP have time-outs of their own, so nothing waits for others' claims.
        let access = KeyAccess::Managed;
        let driver = Driver { id: driver, claim_wait: Duration::ZERO, access };
        let callers = Callers::OverHttp { registry, audit };
        let app = Self::assemble(&driver, config, ivs, instruments, callers);
        app.read_denials()?;
        app.api.keys.refresh_all().await;
        Ok(app)
    }

    fn assemble(
        driver: &Driver,
        config: &Config,
        ivs: IvsRegions,
        instruments: Instruments,
        callers: Callers,
    ) -> Self {
        let Instruments { clock, metrics } = instruments;
        let is_command = matches!(callers, Callers::Operator { .. });
        let (registry, audit) = match callers {
            Callers::OverHttp { registry, audit } => (registry, audit),
            Callers::Operator { audit } => (Registry::nobody(), audit),
        };
        let tasks = TaskTracker::new();
        let store = open_store(config.keys.store, config, &ivs);
        let keys = Arc::new(SigningKeys::new(
            Arc::clone(&store),
            ivs.names().iter().cloned(),
            clock.clone(),
            driver.access.signing_settings(config),
        ));
        let names = ChannelNames::new(config.channels.aliases.clone(), ivs.names().to_vec());
        if let Some(account) = &config.ivs.account_id {
            names.learn_account(account.clone());
        }
        let canary_channel = canary_channel(config, &names);
        let channels = ChannelDirectory::new(
            &ivs,
            config.channels.clone(),
            clock.clone(),
            &tasks,
            metrics.clone(),
        );
        let viewers =
            ViewerSessions::new(&ivs, config.viewers.clone(), is_command, clock.clone(), &tasks);
        // A process that may not rotate asks no canary.
        let canary = canary_channel
            .as_ref()
            .filter(|_| driver.access.manages(config))
            .map(|channel| Arc::new(Canary::new(channel.clone(), channels.clone(), clock.clone())));
        let witness = Arc::new(RotationAudit { audit: audit.clone(), clock: clock.clone() });
        let key_manager = |regional: &RegionalIvs| {
            let region = regional.region();
            let is_canary = |channel: &ChannelArn| channel.region() == region;
            let manager = KeyManager::new(
                Arc::clone(&store),
                Arc::new(regional.clone()),
                Arc::clone(&keys),
                clock.clone(),
                ManagerSettings {
                    driver: driver.id.clone(),
                    manage: driver.access.manages(config),
                    expected_account: config.ivs.account_id.clone(),
                    policy: RotationPolicy {
                        propagation_wait: config.rotation.propagation_wait,
                        limits: key_limits(config),
                        heal: config.keys.heal,
                        every: config.rotation.every,
                        has_canary: canary_channel.as_ref().is_some_and(is_canary),
                    },
                    claim_wait: driver.claim_wait,
                    reconcile_every: config.rotation.reconcile_every,
                    spread: store.spread(),
                    canary_settle: config.rotation.canary_settle,
                    canary_timeout: config.rotation.canary_timeout,
                    earlier_regions: earlier(&config.ivs.regions, region),
                },
                metrics.clone(),
                tasks.clone(),
            );
            let manager = manager.with_witness(Arc::clone(&witness) as Arc<dyn Witness>);
            let manager = match canary.as_ref().filter(|canary| canary.region() == region) {
                Some(canary) => manager.with_probe(Arc::clone(canary) as Arc<dyn Probe>),
                None => manager,
            };
            (region.clone(), Arc::new(manager))
        };
        let key_managers: BTreeMap<_, _> = ivs.iter().map(key_manager).collect();
        let limits = Limits {
            max_body: config.server.max_body,
            request_timeout: config.server.request_timeout,
        };
        let channels = Arc::new(Channels {
            names,
            directory: channels,
            keys: Arc::clone(&keys),
            ivs: ivs.clone(),
        });
        let minting = Minting {
            instruments: Instruments { clock: clock.clone(), metrics: metrics.clone() },
            audit: audit.clone(),
            channels: Arc::clone(&channels),
            keys: Arc::clone(&keys),
            ivs: ivs.clone(),
            viewers: viewers.clone(),
            policy: TokenPolicy {
                default_ttl: config.tokens.default_ttl,
                max_ttl: config.tokens.max_ttl,
                stamp_session_version: config.tokens.stamp_session_version,
            },
            public_channels: config.tokens.public_channels,
        };
        let inspections = Inspections::new(
            clock.clone(),
            Arc::clone(&channels),
            key_managers.clone(),
            limits.request_timeout,
        );
        let region_keys = |regional: &RegionalIvs| {
            let manager = Arc::clone(key_managers.get(regional.region())?);
            let (audit, clock, tasks) = (audit.clone(), clock.clone(), tasks.clone());
            Some(RegionKeys { manager, audit, clock, tasks })
        };
        let key_pairs = KeyPairs::new(ivs.iter().filter_map(region_keys).collect());
        let revocations = Revocations {
            sessions: viewers,
            channels: Arc::clone(&channels),
            audit: audit.clone(),
            metrics: metrics.clone(),
            clock: clock.clone(),
        };
        let api = Api::from(Components {
            clock,
            metrics,
            registry: Arc::new(registry),
            audit,
            channels,
            minting,
            inspections,
            keys,
            key_managers,
            key_pairs,
            revocations,
            ivs,
            limits,
            certificate: CertificateStatus::default(),
            shutdown: ShutdownFlag::default(),
            access_log: AccessLog::default(),
        });
        Self {
            api,
            cors_origins: config.server.cors_origins.clone(),
            metrics_place: match config.server.operations_listen {
                Some(_) => MetricsPlace::Operations,
                None => MetricsPlace::Api,
            },
            demo: None,
            reload_every: config.access.reload_every,
            warm_up: config.channels.warm_up,
            store,
            tasks,
            stop: CancellationToken::new(),
        }
    }

    /// What handlers use.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// The clock and the metrics of the service.
    pub(super) fn instruments(&self) -> Instruments {
        Instruments { clock: self.api.clock.clone(), metrics: self.api.metrics.clone() }
    }

    /// Where the keyring of a region is, for people.
    pub fn store_of(&self, region: &Region) -> String {
        self.store.describe(region)
    }

    /// Takes up who is denied, for a process that mints.
    ///
    /// # Errors
    ///
    /// The file cannot be read or used.
    pub fn read_denials(&self) -> Result<(), DenialsError> {
        let denials = self.api.revocations.sessions.denials();
        denials.map_or(Ok(()), |denials| denials.reload(self.api.clock.now()))
    }

    /// Makes the first key of a region, unless one signs already.
    ///
    /// # Errors
    ///
    /// IVS or the store failed; see [`OperationError`].
    pub async fn ensure_first_key(&self, region: &Region) -> Result<(), OperationError> {
        let Some(manager) = self.api.key_managers.get(region) else { return Ok(()) };
        if self.api.keys.keyring(region).is_some_and(|keyring| keyring.active().is_some()) {
            return Ok(());
        }
        let request = Begin {
            mode: RotationMode::Graceful,
            requested_by: "dev".to_owned(),
            idempotency: None,
            new_keyring: false,
        };
        let begun = manager.begin_rotation(request).await?;
        manager.drive(begun.id(), Goal::Active, |_| {}).await?;
        Ok(())
    }

    /// The HTTP API.
    pub fn router(&self) -> Router {
        let demo = self.demo.as_ref();
        http::router(self.api.clone(), &self.cors_origins, self.metrics_place, demo)
    }

    /// Metrics and probes, for a listener of their own.
    pub fn operations_router(&self) -> Router {
        http::operations_router(self.api.clone())
    }

    /// Lets web pages of this machine call, on whatever port they are served.
    pub(super) fn allow_loopback_origins(&mut self) {
        self.cors_origins.push(CorsOrigin::Loopback);
    }

    /// Serves the demo page, too.
    pub fn serve_demo(&mut self, demo: Demo) {
        self.demo = Some(demo);
    }

    /// Starts what runs beside the requests.
    pub fn start_background(&self) {
        let registry = Arc::clone(&self.api.registry);
        self.tasks.spawn(registry.run(self.reload_every, self.stop.clone()));
        self.tasks.spawn(Arc::clone(&self.api.keys).run(self.stop.clone()));
        if let Some(denials) = self.api.revocations.sessions.denials() {
            self.tasks.spawn(denials.clone().run(self.api.clock.clone(), self.stop.clone()));
        }
        if self.warm_up {
            let (channels, stop) = (self.api.channels.directory.clone(), self.stop.clone());
            self.tasks.spawn(async move {
                stop.run_until_cancelled(channels.warm_up()).await;
            });
        }
        self.tasks.spawn(clock_watch::run(self.api.clone(), self.stop.clone()));
        let (api, stop) = (self.api.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            let second = Duration::from_secs(1);
            let mut clients = Arc::clone(&api.registry.clients());
            while stop.run_until_cancelled(tokio::time::sleep(second)).await.is_some() {
                api.access_log.summarize(api.clock.monotonic());
                record_client_changes(&api, &mut clients);
            }
            api.access_log.summarize(Duration::MAX);
        });
        for manager in self.api.key_managers.values() {
            self.tasks.spawn(Arc::clone(manager).run(self.stop.clone()));
        }
    }

    /// Reads the certificate again from time to time, and the clients and the certificate on each SIGHUP.
    pub(super) fn start_reloading(&self, mut hangups: Signal, tls: Option<Arc<ServerTls>>) {
        if let Some(tls) = &tls {
            self.tasks.spawn(Arc::clone(tls).run(self.reload_every, self.stop.clone()));
        }
        let (registry, stop) = (Arc::clone(&self.api.registry), self.stop.clone());
        self.tasks.spawn(async move {
            while stop.run_until_cancelled(hangups.recv()).await.flatten().is_some() {
                let (registry, tls) = (Arc::clone(&registry), tls.clone());
                let reloaded =
                    tokio::task::spawn_blocking(move || reload(&registry, tls.as_deref()));
                // A reading that panics is one that failed; the panic was logged.
                let _ = reloaded.await;
            }
        });
    }

    /// From now on the service is not ready.
    pub fn begin_shutdown(&self) {
        self.api.shutdown.set();
    }

    /// Waits until the revocations under way have ended, also those whose callers are gone, for at most
    /// `grace`; what is left by then ends unrevoked.
    pub async fn drain(&self, grace: Duration) {
        self.api.revocations.sessions.drain(grace).await;
    }

    /// Ends background tasks and writes out the audit log, both within `grace`.
    pub async fn end(self, grace: Duration) {
        let clock = self.api.clock.clone();
        let end = clock.monotonic() + grace;
        self.stop.cancel();
        self.api.revocations.sessions.drain(Duration::ZERO).await;
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            tracing::warn!(event = "tasks_abandoned", "background tasks did not end in time");
        }
        let left = end.saturating_sub(clock.monotonic());
        if !self.api.audit.flush(left).await {
            tracing::error!(event = "audit_not_flushed", "audit records were lost at shutdown");
        }
    }
}

/// Records the steps that change key pairs or rotations.
#[derive(Debug)]
struct RotationAudit {
    audit: AuditLog,
    clock: Clock,
}

impl Witness for RotationAudit {
    fn step_taken(&self, region: &Region, taken: &StepTaken<'_>) {
        let (rotation, fingerprint) = (
            taken.rotation.as_ref().map(ToString::to_string),
            taken.fingerprint.map(|it| it.to_string()),
        );
        self.audit.record_later(&Record {
            region: Some(region),
            key_pair_arn: taken.arn.as_ref(),
            key_fingerprint: fingerprint.as_deref(),
            rotation_id: rotation.as_deref(),
            step: Some(taken.step),
            reason: Some(taken.reason),
            ..Record::key_change(self.clock.now(), &Actor::Service, "rotation_step")
        });
    }
}

/// Records how the clients file differs from the one that was `known`, whoever changed it.
fn record_client_changes(api: &Api, known: &mut Arc<Clients>) {
    let current = Arc::clone(&api.registry.clients());
    if Arc::ptr_eq(known, &current) {
        return;
    }
    let record = |event, client| {
        let now = api.clock.now();
        api.audit.record_later(&Record::client_change(now, &Actor::Service, event, client));
    };
    for client in current.iter() {
        match known.get(client.id()) {
            None => record("client_added", client),
            Some(before) if before.to_toml() != client.to_toml() => {
                record("client_changed", client);
            }
            Some(_) => {}
        }
    }
    for client in known.iter().filter(|client| current.get(client.id()).is_none()) {
        record("client_removed", client);
    }
    *known = current;
}

/// Reloads on SIGHUP. The former clients and the former certificate stay where a new one cannot be used.
fn reload(registry: &Registry, tls: Option<&ServerTls>) {
    tracing::info!(event = "reload_requested", "reloading on SIGHUP");
    match registry.reload() {
        Ok(changed) => {
            let clients = registry.clients().len();
            tracing::info!(event = "clients_reloaded", clients, changed, "clients are up to date");
        }
        Err(error) => tracing::error!(
            event = "clients_not_reloaded",
            fault = error.to_string(),
            "cannot reload clients; keeping the old ones"
        ),
    }
    if let Some(tls) = tls {
        tls.reload();
    }
}

/// `rotation.canary_channel`.
fn canary_channel(config: &Config, names: &ChannelNames) -> Option<ChannelArn> {
    match names.resolve(config.rotation.canary_channel.as_ref()?) {
        Ok(channel) => Some(channel),
        // The configuration was checked, but for regions that only the AWS configuration names.
        Err(reason) => {
            let event = "canary_unusable";
            tracing::warn!(event, %reason, "rotation.canary_channel is not used");
            None
        }
    }
}

/// The regions that are configured before `region`.
fn earlier(regions: &[Region], region: &Region) -> Vec<Region> {
    regions.iter().take_while(|it| *it != region).cloned().collect()
}

/// Refuses credentials of an account that `ivs.account_id` does not name, as far as that can be
/// told in time.
async fn check_account(ivs: &IvsRegions) -> Result<(), ConnectError> {
    if let Ok(checked) = tokio::time::timeout(ACCOUNT_DEADLINE, ivs.check_account()).await {
        return checked;
    }
    tracing::warn!(event = "account_unchecked", "AWS did not answer; account not checked");
    Ok(())
}

async fn connect(config: &Config, instruments: &Instruments) -> Result<IvsRegions, ConnectError> {
    IvsRegions::connect(&config.ivs, instruments).await
}

/// The store of a kind, as the configuration describes it. Nothing is read yet.
pub(crate) fn open_store(kind: KeyStore, config: &Config, ivs: &IvsRegions) -> Arc<dyn Store> {
    match kind {
        KeyStore::Dir => {
            Arc::new(DirStore::new(config.keys.dir.clone(), config.key_passphrase.clone()))
        }
        KeyStore::SecretsManager => {
            let account = config.ivs.account_id.clone();
            let account = account
                .map_or_else(|| SecretAccount::OfCredentials(ivs.clone()), SecretAccount::Known);
            let name = &config.keys.secret_name;
            Arc::new(SecretsManagerStore::new(ivs.aws().clone(), name, account))
        }
    }
}
