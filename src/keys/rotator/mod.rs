//! Does what the [plan](super::lifecycle) says: takes one step, records it, and asks again.
//!
//! Each process that manages keys has one rotator a region. Between them there is no leader: every
//! step begins or ends with a compare-and-swap of the keyring, before which the plan is made again
//! for what the store has by then, so a step that somebody else took is not taken twice. A process
//! that may not manage keys runs one, too, which only looks and reports.

mod memory;
mod observe;
mod report;
#[cfg(test)]
mod simulation;
mod steps;

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};
use rand::RngExt as _;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    finding::Finding,
    keyring::{Keyring, Rotation, RotationId, RotationMode},
    lifecycle::{
        Observed, Plan, Planned, Situation, Step,
        canary::Round,
        plan,
        view::{self, RotationView},
    },
    material::Fingerprint,
    operations::{KeyOperations, OperationError},
    signing::{Signer, SigningKeys},
    survey,
};
use crate::{
    ivs::{
        IvsError,
        arn::{PlaybackKeyArn, Region},
    },
    secret::system_rng,
    telemetry::metrics::Metrics,
};

use self::memory::Memory;
pub use report::Report;

/// How many steps one look may lead to. A rotation has eight.
const STEPS_MAX: usize = 32;

/// Nothing is looked at again sooner, however soon something is due.
const PAUSE_MIN: Duration = Duration::from_millis(250);

/// A command that waits for a rotation looks at least this often.
const DRIVE_PAUSE_MAX: Duration = Duration::from_secs(5);

/// How often a command may fail between two steps before it gives up.
const DRIVE_FAILURES_MAX: u32 = 5;

/// The settings of a [`Rotator`].
#[derive(Clone, Debug)]
pub struct RotatorSettings {
    /// `rotation.reconcile_every`: how often keyring and IVS are compared.
    pub reconcile_every: Duration,
    /// The longest random pause before a step, so that replicas that see the same do not all write
    /// it. Nothing where a lost write costs nothing.
    pub spread: Duration,
    /// `rotation.canary_settle`
    pub canary_settle: Duration,
    /// `rotation.canary_timeout`
    pub canary_timeout: Duration,
    /// The regions that a scheduled rotation of this one waits for.
    pub earlier_regions: Vec<Region>,
}

/// What a [`Probe`] returns: `None` where the edge could not be asked.
pub type ProbeFuture<'a> = Pin<Box<dyn Future<Output = Option<Round>> + Send + 'a>>;

/// Asks the edge whether it knows a key: the canary.
pub trait Probe: fmt::Debug + Send + Sync {
    /// One round: the same playlist with a token of each key.
    fn round<'a>(
        &'a self,
        active: &'a Signer,
        new: &'a Signer,
        throwaway: &'a Signer,
    ) -> ProbeFuture<'a>;
}

/// A step that was taken and changed key pairs or a rotation.
#[derive(Clone, Debug)]
pub struct StepTaken<'a> {
    /// Its word in metrics and logs.
    pub step: &'static str,
    /// Why it was taken.
    pub reason: &'a str,
    /// The key pair that it changed, where the step names one.
    pub arn: Option<PlaybackKeyArn>,
    /// The key, likewise.
    pub fingerprint: Option<Fingerprint>,
    /// The rotation, likewise.
    pub rotation: Option<RotationId>,
}

/// Is shown what the rotator changes by itself: the audit.
pub trait Witness: fmt::Debug + Send + Sync {
    /// A step was taken.
    fn step_taken(&self, region: &Region, taken: &StepTaken<'_>);
}

/// Rotates and repairs the keys of one region.
#[derive(Debug)]
pub struct Rotator {
    operations: Arc<KeyOperations>,
    signing_keys: Arc<SigningKeys>,
    settings: RotatorSettings,
    probe: Option<Arc<dyn Probe>>,
    witness: Option<Arc<dyn Witness>>,
    metrics: Metrics,
    schedule_delay: Duration,
    memory: Mutex<Memory>,
    /// Held over a look, so that a request and the background task do not double it.
    looking: tokio::sync::Mutex<()>,
    report: ArcSwap<Report>,
    wake: Notify,
}

/// How far a command follows a rotation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Goal {
    /// Until the new key signs.
    Active,
    /// Until the old pair is gone, too.
    Retired,
}

impl Goal {
    /// Whether a rotation is as far, or goes no further.
    pub const fn is_reached(self, view: &RotationView) -> bool {
        match self {
            Self::Active => view.phase.is_after_activation(),
            Self::Retired => view.phase.is_over(),
        }
    }
}

/// What one look came to.
#[derive(Clone, Debug)]
pub struct Look {
    /// How many steps were taken.
    pub steps: usize,
    /// Why the look failed, or the last step that did.
    pub failure: Option<OperationError>,
    /// How long nothing happens by itself.
    pub rest: Duration,
}

impl Rotator {
    /// A rotator for the region of `operations`. It does nothing before it is [run](Rotator::run) or
    /// [driven](Rotator::drive).
    pub fn new(
        operations: Arc<KeyOperations>,
        signing_keys: Arc<SigningKeys>,
        settings: RotatorSettings,
        metrics: Metrics,
    ) -> Self {
        let every = operations.policy().every.unwrap_or_default();
        let latest = (every / 20).min(Duration::from_hours(1));
        let schedule_delay = latest.mul_f64(system_rng().random_range(0.0..1.0));
        Self {
            operations,
            signing_keys,
            settings,
            probe: None,
            witness: None,
            metrics,
            schedule_delay,
            memory: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
            report: ArcSwap::default(),
            wake: Notify::new(),
        }
    }

    /// Asks a canary before a new key signs.
    #[must_use]
    pub fn with_probe(mut self, probe: Arc<dyn Probe>) -> Self {
        self.probe = Some(probe);
        self
    }

    /// Shows what this rotator changes to `witness`.
    #[must_use]
    pub fn with_witness(mut self, witness: Arc<dyn Witness>) -> Self {
        self.witness = Some(witness);
        self
    }

    /// The region.
    pub fn region(&self) -> &Region {
        self.operations.region()
    }

    /// What people ask of its keys.
    pub fn operations(&self) -> &Arc<KeyOperations> {
        &self.operations
    }

    /// What the last look found.
    pub fn report(&self) -> Arc<Report> {
        self.report.load_full()
    }

    /// Looks soon, since somebody asked for something.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// The region's rotations, the latest first, by what the store has now.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn rotations(&self) -> Result<Vec<RotationView>, OperationError> {
        let Some(keyring) = self.operations.load().await? else { return Ok(Vec::new()) };
        let (now, policy) = (self.operations.now().own, self.operations.policy());
        let mut views = view::rotations(&keyring, policy, now);
        for view in &mut views {
            self.report.load().explain(view);
        }
        Ok(views)
    }

    /// One rotation, by what the store has now.
    ///
    /// # Errors
    ///
    /// The store failed, or there is no such rotation.
    pub async fn rotation(&self, id: &RotationId) -> Result<RotationView, OperationError> {
        let found = self.rotations().await?.into_iter().find(|view| view.id == *id);
        found.ok_or(OperationError::RotationNotFound)
    }

    /// Looks and acts until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let Some(look) = stop.run_until_cancelled(self.look()).await else { return };
            // Replicas that started together drift apart.
            let jitter = system_rng().random_range(0.8..1.2);
            let pause = look.rest.min(self.settings.reconcile_every.mul_f64(jitter));
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause.max(PAUSE_MIN)) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    /// Follows a rotation, and takes its steps, until `goal`; tells each change of its stage.
    ///
    /// # Errors
    ///
    /// It cannot go on without help, or IVS or the store failed again and again. What was begun goes
    /// on with the next process that manages these keys.
    pub async fn drive(
        self: &Arc<Self>,
        id: &RotationId,
        goal: Goal,
        mut tell: impl FnMut(&RotationView),
    ) -> Result<RotationView, OperationError> {
        let mut told = None;
        let mut failures = 0;
        loop {
            let look = self.look().await;
            let view = self.rotation(id).await;
            if let Ok(view) = &view {
                let stage = (view.phase, view.next_step, view.next_at, view.error.clone());
                if told.as_ref() != Some(&stage) {
                    tell(view);
                    told = Some(stage);
                }
                if goal.is_reached(view) {
                    return Ok(view.clone());
                }
            }
            let failure = look.failure.or_else(|| view.err());
            if look.steps > 0 {
                failures = 0;
            }
            if let Some(failure) = failure {
                failures += 1;
                if failures > DRIVE_FAILURES_MAX || needs_help(&failure) {
                    return Err(failure);
                }
            }
            tokio::time::sleep(look.rest.clamp(PAUSE_MIN, DRIVE_PAUSE_MAX)).await;
        }
    }

    /// Compares keyring and IVS once, and takes the steps that can be taken.
    pub async fn look(self: &Arc<Self>) -> Look {
        let _looking = self.looking.lock().await;
        let mut look = Look { steps: 0, failure: None, rest: self.settings.reconcile_every };
        let mut unchanged = None;
        for _ in 0..STEPS_MAX {
            let seen = match unchanged.take() {
                Some(observed) => {
                    self.operations.load_with_private_keys().await.map(|stored| (stored, observed))
                }
                None => self.observe().await,
            };
            let (stored, observed) = match seen {
                Ok((Some(stored), observed)) => (stored, observed),
                Ok((None, observed)) => {
                    self.publish(without_keyring(&observed));
                    return look;
                }
                Err(error) => {
                    self.note_blind(&error);
                    look.failure = Some(error);
                    return look;
                }
            };
            self.ask_canary(&stored, &observed).await;
            let keyring = stored.keyring;
            let plan = plan(&self.situation(&keyring, &observed));
            let next = if self.operations.manages() { self.next(&plan) } else { None };
            look.rest = self.rest(&plan);
            self.publish(plan);
            let Some(next) = next else { return look };
            self.let_others_go_first(&keyring).await;
            let outcome = self.take(&next.step, &observed).await;
            self.note_step(&next, &outcome);
            match outcome {
                Ok(taken) => {
                    look.steps += usize::from(taken);
                    // IVS allows few lists, and this one still holds.
                    unchanged = (taken && next.step.only_writes()).then_some(observed);
                }
                Err(error) => look.failure = Some(error),
            }
        }
        look
    }

    fn situation<'a>(&'a self, keyring: &'a Keyring, observed: &'a Observed) -> Situation<'a> {
        Situation {
            now: self.operations.now(),
            keyring,
            observed,
            policy: self.operations.policy(),
            driver: self.operations.driver(),
            canary: self.verdict(keyring),
            schedule_delay: self.schedule_delay,
            waits_for_other_region: self.waits_for_other_region(),
        }
    }

    fn waits_for_other_region(&self) -> bool {
        self.settings.earlier_regions.iter().any(|region| {
            let keyring = self.signing_keys.keyring(region);
            keyring.is_some_and(|it| it.rotations.iter().any(Rotation::is_before_activation))
        })
    }

    /// The most urgent step that did not just fail.
    fn next(&self, plan: &Plan) -> Option<Planned> {
        let now = self.operations.clock().monotonic();
        let memory = self.memory();
        plan.steps.iter().find(|it| !memory.is_backing_off(&it.step, now)).cloned()
    }

    /// How long nothing happens by itself.
    fn rest(&self, plan: &Plan) -> Duration {
        let now = self.operations.now();
        let monotonic = self.operations.clock().monotonic();
        let due = plan.next_at().map(|at| at.saturating_since(now.earliest()));
        let again = self.memory().next_in(monotonic, &self.settings);
        let all = [Some(self.settings.reconcile_every), due, again];
        all.into_iter().flatten().min().unwrap_or_default()
    }

    /// Replicas that see the same at the same time act one after the other, and all but the first
    /// find it done. An emergency does not wait.
    async fn let_others_go_first(&self, keyring: &Keyring) {
        let is_urgent = |it: &Rotation| it.is_open() && it.mode == RotationMode::Emergency;
        if !self.settings.spread.is_zero() && !keyring.rotations.iter().any(is_urgent) {
            let share = system_rng().random_range(0.0..1.0);
            tokio::time::sleep(self.settings.spread.mul_f64(share)).await;
        }
    }

    fn note_step(&self, planned: &Planned, outcome: &Result<bool, OperationError>) {
        let (region, step, reason) = (self.region(), planned.step.word(), planned.reason);
        let now = self.operations.clock().monotonic();
        match outcome {
            Ok(true) => {
                tracing::info!(event = "rotation_step", %region, step, reason, "step taken");
                self.metrics.rotation_step(region.as_str(), step, "ok");
                self.memory().succeeded(&planned.step);
                self.note_heal(&planned.step);
                self.show_witness(planned);
            }
            Ok(false) => {
                tracing::debug!(event = "rotation_step_outdated", %region, step, "step not taken");
                self.memory().failed(&planned.step, None, now, &mut system_rng());
            }
            Err(error) => {
                let event = "rotation_step_failed";
                tracing::warn!(event, %region, step, reason, %error, "a step failed");
                self.metrics.rotation_step(region.as_str(), step, kind(error));
                self.memory().failed(&planned.step, Some(error), now, &mut system_rng());
            }
        }
    }

    fn show_witness(&self, planned: &Planned) {
        let Some(witness) = &self.witness else { return };
        let keyring = self.signing_keys.keyring(self.region());
        let version = planned.step.version().zip(keyring.as_ref());
        let version = version.and_then(|(id, keyring)| keyring.version(id));
        witness.step_taken(
            self.region(),
            &StepTaken {
                step: planned.step.word(),
                reason: planned.reason,
                arn: if let Step::NoteStray(_, arn) | Step::DeleteStray(_, arn) = &planned.step {
                    Some(arn.clone())
                } else {
                    version.and_then(|version| version.arn.clone())
                },
                fingerprint: version.map(|version| version.fingerprint),
                rotation: planned.step.rotation().cloned(),
            },
        );
    }

    fn note_heal(&self, step: &Step) {
        let region = self.region();
        if let Step::Reimport(_) = step {
            tracing::warn!(
                event = "key_pair_reimported",
                %region,
                "a pair that somebody deleted in IVS was imported again; to end a key that leaked, \
                 use `keys rotate --emergency`"
            );
            self.metrics.key_heal(region.as_str(), "reimported");
        }
        if let Step::Replace(_) = step {
            tracing::warn!(
                event = "key_pair_replaced",
                %region,
                "the active pair was deleted in IVS, so a new key takes its place"
            );
            self.metrics.key_heal(region.as_str(), "replaced");
        }
    }

    fn publish(&self, plan: Plan) {
        let failure = self.memory().failure(&plan);
        let is_stuck = plan.findings.iter().any(|finding| finding.code.holds_up_rotations());
        self.metrics.set_rotation_stuck(self.region().as_str(), is_stuck);
        let report = Report::new(plan, failure.as_ref(), self.operations.now().own);
        report.log_changes(&self.report.load(), self.region());
        self.report.store(Arc::new(report));
    }

    /// IVS or the store could not be looked at; what was found before stands.
    fn note_blind(&self, error: &OperationError) {
        let before = self.report.load_full();
        let report = before.blinded(error, self.operations.now().own);
        report.log_changes(&before, self.region());
        self.report.store(Arc::new(report));
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock()
    }
}

/// There is nothing to do without a keyring; but it may have been lost.
fn without_keyring(observed: &Observed) -> Plan {
    let lost = survey::lost(None, &observed.listed);
    let findings = if lost.is_empty() {
        Vec::new()
    } else {
        vec![Finding::lost_keyring(survey::Names(&lost))]
    };
    Plan { findings, ..Plan::default() }
}

/// Whether trying again changes nothing.
fn needs_help(error: &OperationError) -> bool {
    if let OperationError::Ivs(error) = error {
        return match error {
            IvsError::Denied { .. }
            | IvsError::NoCredentials
            | IvsError::QuotaExceeded { .. }
            | IvsError::Invalid { .. } => true,
            IvsError::Throttled
            | IvsError::NotFound
            | IvsError::Conflict { .. }
            | IvsError::Unavailable { .. }
            | IvsError::TimedOut => false,
        };
    }
    matches!(
        error,
        OperationError::NotManaged
            | OperationError::Quota { .. }
            | OperationError::OtherAccount { .. }
            | OperationError::FingerprintMismatch { .. }
            | OperationError::RotationNotFound
            | OperationError::Unsafe(_)
            | OperationError::BrokenOff
    )
}

/// A word for metrics.
fn kind(error: &OperationError) -> &'static str {
    if let OperationError::Ivs(error) = error {
        error.kind()
    } else if let OperationError::Store(_) = error {
        "store"
    } else if let OperationError::Claimed { .. } = error {
        "claimed"
    } else if let OperationError::Quota { .. } = error {
        "quota"
    } else {
        "failed"
    }
}
