//! Carries out the [plan](super::plan): takes one step, records it, and plans again.
//!
//! Each process that manages keys runs one driver per region, without a leader: every step begins or ends with a
//! compare-and-swap of the keyring, before which the plan is made again for what the store has by then. So a step that
//! another process took is not taken twice. A process that may not manage keys runs a driver, too, which only observes
//! and reports.

use std::{sync::Arc, time::Duration};

use rand::RngExt as _;
use tokio_util::sync::CancellationToken;

use super::{
    error::OperationError,
    invariants,
    manager::KeyManager,
    observation::Observation,
    plan::plan,
    refusal::Refusal,
    requests::Begin,
    situation::Situation,
    step::{Plan, Planned, Step},
    transitions,
    view::RotationView,
};
use crate::{
    ivs::IvsError,
    keys::{
        finding::Finding,
        keyring::{KeyState, Keyring, Rotation, RotationId, RotationMode, VersionId},
        service::Names,
    },
    secret::system_rng,
};

/// How many steps one reconciliation may take. A rotation has eight.
const STEPS_MAX: usize = 32;

/// The least pause between two reconciliations, however soon something is due.
const PAUSE_MIN: Duration = Duration::from_millis(250);

/// The longest pause of a command that waits for a rotation.
const DRIVE_PAUSE_MAX: Duration = Duration::from_secs(5);

/// How often a command may fail between two steps before it gives up.
const DRIVE_FAILURES_MAX: u32 = 5;

/// How far a command follows a rotation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Goal {
    /// Until the new key signs.
    Active,
    /// Until the old pair is gone, too.
    Retired,
}

impl Goal {
    /// Whether a rotation has come this far, or goes no further.
    pub const fn is_reached(self, view: &RotationView) -> bool {
        match self {
            Self::Active => view.phase.is_after_activation(),
            Self::Retired => view.phase.is_over(),
        }
    }
}

/// The result of one reconciliation.
#[derive(Clone, Debug)]
pub struct Reconciliation {
    /// How many steps were taken.
    pub steps: usize,
    /// Why observing failed, or the last step that did.
    pub failure: Option<OperationError>,
    /// How long nothing happens by itself.
    pub rest: Duration,
}

impl KeyManager {
    /// Reconciles soon, because a rotation was requested.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Reconciles again and again until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let reconciled = stop.run_until_cancelled(self.reconcile()).await;
            let Some(Reconciliation { rest, .. }) = reconciled else { return };
            // Replicas that started together drift apart.
            let jitter = system_rng().random_range(0.8..1.2);
            let pause = rest.min(self.settings.reconcile_every.mul_f64(jitter));
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause.max(PAUSE_MIN)) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    /// Follows a rotation and takes its steps until `goal`; calls `report` whenever its stage changes.
    ///
    /// # Errors
    ///
    /// It cannot continue without help, or IVS or the store failed again and again. The next process that manages these
    /// keys continues what was begun.
    pub async fn drive(
        self: &Arc<Self>,
        id: &RotationId,
        goal: Goal,
        mut report: impl FnMut(&RotationView),
    ) -> Result<RotationView, OperationError> {
        let mut reported = None;
        let mut failures = 0;
        loop {
            let reconciled = self.reconcile().await;
            let view = self.rotation(id).await;
            if let Ok(view) = &view {
                let stage = (view.phase, view.next_step, view.next_at, view.error.clone());
                if reported.as_ref() != Some(&stage) {
                    report(view);
                    reported = Some(stage);
                }
                if goal.is_reached(view) {
                    return Ok(view.clone());
                }
            }
            let failure = reconciled.failure.or_else(|| view.err());
            if reconciled.steps > 0 {
                failures = 0;
            }
            if let Some(failure) = failure {
                failures += 1;
                if failures > DRIVE_FAILURES_MAX || failure.needs_help() {
                    return Err(failure);
                }
            }
            tokio::time::sleep(reconciled.rest.clamp(PAUSE_MIN, DRIVE_PAUSE_MAX)).await;
        }
    }

    /// Compares the keyring and IVS, and takes the steps that can be taken now.
    pub async fn reconcile(self: &Arc<Self>) -> Reconciliation {
        let _reconciling = self.reconciling.lock().await;
        let rest = self.settings.reconcile_every;
        let mut reconciled = Reconciliation { steps: 0, failure: None, rest };
        let mut unchanged = None;
        for _ in 0..STEPS_MAX {
            let observed = match unchanged.take() {
                Some(observation) => {
                    self.load_with_private_keys().await.map(|stored| (stored, observation))
                }
                None => self.observe().await,
            };
            let (stored, observation) = match observed {
                Ok((Some(stored), observation)) => (stored, observation),
                Ok((None, observation)) => {
                    self.publish(plan_without_keyring(&observation));
                    return reconciled;
                }
                Err(error) => {
                    self.publish_failure(&error);
                    reconciled.failure = Some(error);
                    return reconciled;
                }
            };
            self.ask_canary(&stored, &observation).await;
            let keyring = stored.keyring;
            let plan = plan(&self.situation(&keyring, &observation));
            let next = if self.settings.manage { self.next(&plan) } else { None };
            reconciled.rest = self.rest(&plan);
            self.publish(plan);
            let Some(next) = next else { return reconciled };
            self.let_others_go_first(&keyring).await;
            let outcome = self.take(&next.step, &observation).await;
            self.record_step(&next, &outcome);
            match outcome {
                Ok(taken) => {
                    reconciled.steps += usize::from(taken);
                    // IVS allows few lists, and this one still holds.
                    unchanged = (taken && next.step.only_writes()).then_some(observation);
                }
                Err(error) => reconciled.failure = Some(error),
            }
        }
        reconciled
    }

    fn situation<'a>(
        &'a self,
        keyring: &'a Keyring,
        observation: &'a Observation,
    ) -> Situation<'a> {
        Situation {
            now: self.now(),
            keyring,
            observation,
            policy: self.policy(),
            driver: &self.settings.driver,
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

    /// Returns the most urgent step that did not just fail.
    fn next(&self, plan: &Plan) -> Option<Planned> {
        let now = self.clock.monotonic();
        let state = self.state();
        plan.steps.iter().find(|it| !state.is_backing_off(&it.step, now)).cloned()
    }

    /// Returns how long nothing happens by itself.
    fn rest(&self, plan: &Plan) -> Duration {
        let (now, monotonic) = (self.now(), self.clock.monotonic());
        let due = plan.next_at().map(|at| at.saturating_since(now.earliest()));
        let again = self.state().next_in(monotonic);
        let all = [Some(self.settings.reconcile_every), due, again];
        all.into_iter().flatten().min().unwrap_or_default()
    }

    /// Pauses, so that replicas that observe the same act one after the other, and all but the first find it done. An
    /// emergency does not wait.
    async fn let_others_go_first(&self, keyring: &Keyring) {
        let is_urgent = |it: &Rotation| it.is_open() && it.mode == RotationMode::Emergency;
        if !self.settings.spread.is_zero() && !keyring.rotations.iter().any(is_urgent) {
            let share = system_rng().random_range(0.0..1.0);
            tokio::time::sleep(self.settings.spread.mul_f64(share)).await;
        }
    }

    /// Takes a step, to its end even if the caller goes away. Returns `false` if the keyring that the store has by now
    /// does not ask for it.
    async fn take(
        self: &Arc<Self>,
        step: &Step,
        observation: &Observation,
    ) -> Result<bool, OperationError> {
        let (step, observation) = (step.clone(), observation.clone());
        self.operate(|this| async move {
            let taken = match &step {
                Step::Settle
                | Step::RecordMissing(_)
                | Step::Recover(_)
                | Step::Activate(_)
                | Step::Withdraw(_)
                | Step::ConfirmDrain(_)
                | Step::Retire(_)
                | Step::RecordDuplicate(..) => this.write(&step, &observation).await,
                Step::Schedule => {
                    this.begin(&step, &observation, RotationMode::Graceful, "schedule").await
                }
                Step::Replace(_) => {
                    let mode = RotationMode::Emergency;
                    this.begin(&step, &observation, mode, "reconciliation").await
                }
                Step::Import(id) => this.ensure_imported(id, false).await.map(|()| true),
                Step::Reimport(id) => match this.write(&step, &observation).await {
                    Ok(true) => this.ensure_imported(id, false).await.map(|()| true),
                    outdated => outdated,
                },
                Step::Delete(id) => this.delete_version(id, &observation).await,
                // That the pair is deleted is in the keyring, and cannot be undone.
                Step::DeleteDuplicate(_, arn) => this.delete_duplicate(arn).await.map(|()| true),
            };
            if let Err(OperationError::Ivs(IvsError::Denied { message, .. })) = &taken {
                this.record_denial(&step, message).await;
            }
            taken
        })
        .await
    }

    /// Writes what a step changes in the keyring: planned again for what the store has now, and checked.
    async fn write(&self, step: &Step, observation: &Observation) -> Result<bool, OperationError> {
        self.edit(|keyring| {
            let situation = self.situation(keyring, observation);
            if !plan(&situation).contains(step) {
                return Ok(false);
            }
            let now = situation.now;
            let before = keyring.clone();
            if let Step::Reimport(id) = step {
                transitions::claim_repair(keyring, id, &self.settings.driver, now)?;
            } else {
                transitions::apply(step, keyring, now, self.policy());
            }
            invariants::check(&before, keyring, now)?;
            Ok(true)
        })
        .await
    }

    async fn begin(
        &self,
        step: &Step,
        observation: &Observation,
        mode: RotationMode,
        requested_by: &str,
    ) -> Result<bool, OperationError> {
        let requested_by = requested_by.to_owned();
        let request = Begin { mode, requested_by, idempotency: None, new_keyring: false };
        let may = |keyring: &Keyring| plan(&self.situation(keyring, observation)).contains(step);
        Ok(self.begin_if(&request, observation, may).await?.is_some())
    }

    /// Deletes the pairs of a retiring version: its own, and those of imports that no process recorded.
    async fn delete_version(
        &self,
        id: &VersionId,
        observation: &Observation,
    ) -> Result<bool, OperationError> {
        let Some(keyring) = self.load().await? else { return Ok(false) };
        let Some(version) = keyring.version(id).filter(|it| it.state == KeyState::Retiring) else {
            return Ok(false);
        };
        let mut arns = observation.tagged(&keyring, version);
        arns.extend(version.arn.clone());
        arns.extend(version.duplicates.iter().cloned());
        for arn in &arns {
            self.delete_in_ivs(arn).await?;
        }
        self.edit(|keyring| {
            let state = keyring.version(id).map(|version| version.state);
            let is_retiring = state == Some(KeyState::Retiring);
            if is_retiring {
                transitions::retired(keyring, id, self.now().latest());
            }
            Ok(is_retiring)
        })
        .await
    }

    /// Records what AWS denied, which explains why a rotation does not continue; `keys doctor`, which tries no write,
    /// reads it, too.
    async fn record_denial(&self, step: &Step, words: &str) {
        let (Step::Import(id) | Step::Reimport(id) | Step::Delete(id)) = step else { return };
        let record = |keyring: &mut Keyring| -> Result<(), Refusal> {
            keyring.record_denial(id, words);
            Ok(())
        };
        if let Err(error) = self.edit_existing(record).await {
            tracing::debug!(event = "denial_unrecorded", %error, "a denial was not recorded");
        }
    }
}

/// Without a keyring there is nothing to do; but it may have been lost.
fn plan_without_keyring(observation: &Observation) -> Plan {
    let lost = observation.lost(None);
    let findings =
        if lost.is_empty() { Vec::new() } else { vec![Finding::lost_keyring(Names(&lost))] };
    Plan { findings, ..Plan::default() }
}
