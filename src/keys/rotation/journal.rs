//! What a driver reports of its steps: log, metrics, audit, and the [`Report`].

use std::sync::Arc;

use super::{
    error::OperationError,
    hooks::StepTaken,
    manager::KeyManager,
    report::Report,
    step::{Plan, Planned, Step},
};
use crate::secret::system_rng;

impl KeyManager {
    /// Returns what the last reconciliation found.
    pub fn report(&self) -> Arc<Report> {
        self.report.load_full()
    }

    pub(super) fn record_step(&self, planned: &Planned, outcome: &Result<bool, OperationError>) {
        let (region, step, reason) = (self.region(), planned.step.word(), planned.reason);
        let now = self.clock.monotonic();
        match outcome {
            Ok(true) => {
                tracing::info!(event = "rotation_step", %region, step, reason, "step taken");
                self.metrics.rotation_step(region.as_str(), step, "ok");
                self.state().succeeded(&planned.step);
                self.report_repair(&planned.step);
                self.report_to_witness(planned);
            }
            Ok(false) => {
                tracing::debug!(event = "rotation_step_outdated", %region, step, "step not taken");
                self.state().failed(&planned.step, None, now, &mut system_rng());
            }
            Err(error) => {
                let event = "rotation_step_failed";
                tracing::warn!(event, %region, step, reason, %error, "a step failed");
                self.metrics.rotation_step(region.as_str(), step, error.kind());
                self.state().failed(&planned.step, Some(error), now, &mut system_rng());
            }
        }
    }

    fn report_to_witness(&self, planned: &Planned) {
        let Some(witness) = &self.witness else { return };
        let keyring = self.signing_keys.keyring(self.region());
        let version = planned.step.version().zip(keyring.as_ref());
        let version = version.and_then(|(id, keyring)| keyring.version(id));
        witness.step_taken(
            self.region(),
            &StepTaken {
                step: planned.step.word(),
                reason: planned.reason,
                arn: if let Step::RecordDuplicate(_, arn) | Step::DeleteDuplicate(_, arn) =
                    &planned.step
                {
                    Some(arn.clone())
                } else {
                    version.and_then(|version| version.arn.clone())
                },
                fingerprint: version.map(|version| version.fingerprint),
                rotation: planned.step.rotation().cloned(),
            },
        );
    }

    fn report_repair(&self, step: &Step) {
        let region = self.region();
        if let Step::Reimport(_) = step {
            tracing::warn!(
                event = "key_pair_reimported",
                %region,
                "a pair that was deleted in IVS was imported again; to end a key that leaked, use \
                 `keys rotate --emergency`"
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

    pub(super) fn publish(&self, plan: Plan) {
        let failure = self.state().failure(&plan);
        let is_stuck = plan.findings.iter().any(|finding| finding.code.holds_up_rotations());
        self.metrics.set_rotation_stuck(self.region().as_str(), is_stuck);
        self.publish_report(Report::new(plan, failure.as_ref(), self.now().own));
    }

    /// Reports that IVS or the store could not be read; earlier findings stand.
    pub(super) fn publish_failure(&self, error: &OperationError) {
        self.publish_report(self.report.load().with_failure(error, self.now().own));
    }

    fn publish_report(&self, report: Report) {
        report.log_changes(&self.report.load(), self.region());
        self.report.store(Arc::new(report));
    }
}
