//! What a driver found, for readiness, `keys status` and `keys doctor`.

use super::{
    error::OperationError,
    refusal::Refusal,
    step::{Plan, Wait},
    view::{NextStep, Phase, RotationView},
};
use crate::{
    clock::Timestamp,
    ivs::arn::Region,
    keys::{
        finding::{Finding, FindingCode},
        keyring::RotationFailure,
    },
};

/// What the last reconciliation found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// When it was; `None` before the first.
    pub at: Option<Timestamp>,
    /// Problems.
    pub findings: Vec<Finding>,
    /// What is waited for.
    pub waits: Vec<Wait>,
    /// Why a step failed, or why nothing could be observed.
    pub failure: Option<Finding>,
}

impl Report {
    pub(super) fn new(plan: Plan, failure: Option<&OperationError>, now: Timestamp) -> Self {
        Self {
            at: Some(now),
            findings: plan.findings,
            waits: plan.waits,
            failure: failure.map(step_failed),
        }
    }

    /// Returns the same report with the reason why observing failed.
    pub(super) fn with_failure(&self, error: &OperationError, now: Timestamp) -> Self {
        Self { at: Some(now), failure: Some(not_observed(error)), ..self.clone() }
    }

    /// Returns all findings, the failure included.
    pub fn all(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().chain(&self.failure)
    }

    /// Whether IVS has pairs of a keyring that the store lacks.
    pub fn is_keyring_lost(&self) -> bool {
        self.findings.iter().any(|finding| finding.code == FindingCode::LostKeyring)
    }

    /// Returns the problem that this rotation waits for, which needs help.
    pub fn holds_up(&self, view: &RotationView) -> Option<&Finding> {
        let holds_up = |finding: &&Finding| {
            if view.phase.is_over() || !finding.code.holds_up_rotations() {
                false
            } else if finding.code == FindingCode::FingerprintMismatch {
                // Another key than the new one holds nothing up.
                finding.pair.is_some() && finding.pair == view.new_key_pair_arn
            } else if finding.code == FindingCode::AwaitsRelease {
                // That of an earlier rotation is waited for only where it has the last slot.
                view.next_step == Some(NextStep::Release) && finding.pair == view.old_key_pair_arn
                    || view.phase == Phase::Importing && self.waits.contains(&Wait::Slot)
            } else if finding.code == FindingCode::RotationStuck {
                // A slot and the canary are the new key's affair.
                !view.phase.is_after_activation()
            } else {
                true
            }
        };
        self.findings.iter().find(holds_up)
    }

    /// Adds to a rotation's view why it does not continue. What was found just now takes precedence over what is recorded.
    pub(super) fn explain(&self, view: &mut RotationView) {
        if view.phase.is_over() {
            return;
        }
        if let Some(why) = self.holds_up(view).or(self.failure.as_ref()) {
            let (code, detail) = (why.code.to_string(), why.detail.clone());
            view.error = Some(RotationFailure { code, detail });
        }
    }

    /// Logs the findings that are new since `before`, and those that are resolved.
    pub(super) fn log_changes(&self, before: &Self, region: &Region) {
        for finding in self.all() {
            if !before.all().any(|it| it.code == finding.code) {
                let (code, detail) = (finding.code.as_str(), &finding.detail);
                tracing::warn!(event = "keys_finding", %region, code, detail, "keys need attention");
            }
        }
        for finding in before.all() {
            if !self.all().any(|it| it.code == finding.code) {
                let code = finding.code.as_str();
                tracing::info!(event = "keys_finding_over", %region, code, "finding resolved");
            }
        }
    }
}

fn step_failed(error: &OperationError) -> Finding {
    let detail = format!("The last step of a rotation or repair failed: {error}");
    Finding::complete(FindingCode::RotationStepFailed, detail)
}

fn not_observed(error: &OperationError) -> Finding {
    let code = if let OperationError::Refused(Refusal::OtherAccount { .. }) = error {
        FindingCode::OtherAccount
    } else if let OperationError::Store(_) = error {
        FindingCode::StoreUnavailable
    } else {
        FindingCode::NotReconciled
    };
    Finding::complete(code, format!("The keyring and IVS could not be compared: {error}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        ivs::arn::PlaybackKeyArn,
        keys::{
            keyring::{RotationId, RotationMode, strategies},
            store::samples,
        },
        secret::system_rng,
    };

    fn view(phase: Phase, next_step: NextStep) -> RotationView {
        RotationView {
            id: RotationId::random(&mut system_rng()),
            region: samples::region(),
            mode: RotationMode::Graceful,
            phase,
            since: samples::now(),
            next_step: Some(next_step),
            next_at: None,
            new_key_pair_arn: Some(strategies::arn(1)),
            old_key_pair_arn: Some(strategies::arn(0)),
            error: None,
        }
    }

    #[test]
    fn rotation_reports_only_what_holds_it_up_itself() {
        let (importing, draining) = (Phase::Importing, Phase::Draining);
        let (import, retire, release) = (NextStep::Import, NextStep::Retire, NextStep::Release);
        let skew = Finding::clock_skew(Duration::from_hours(9));
        let [old, new, other] = [0, 1, 2].map(strategies::arn);
        let mismatch = |arn: &PlaybackKeyArn| Finding::fingerprint_mismatch(Some(arn));
        let awaits = Finding::awaits_release;
        let full = || vec![Wait::Slot];
        for (phase, step, finding, waits, expected) in [
            (importing, import, skew.clone(), vec![], true),
            (draining, retire, skew.clone(), vec![], true),
            (Phase::Done, retire, skew, vec![], false),
            (importing, import, Finding::no_slot(""), full(), true),
            (Phase::Propagating, NextStep::Activate, Finding::canary_stuck(), vec![], true),
            (draining, retire, Finding::no_slot(""), full(), false),
            (importing, import, mismatch(&new), vec![], true),
            (importing, import, mismatch(&old), vec![], false),
            (importing, import, Finding::fingerprint_mismatch(None), vec![], false),
            (importing, import, awaits(&other), vec![], false),
            (importing, import, awaits(&other), full(), true),
            (draining, release, awaits(&old), vec![], true),
            (draining, release, awaits(&other), vec![], false),
            (draining, retire, awaits(&old), vec![], false),
            (importing, import, Finding::key_pair_missing(&new), vec![], false),
        ] {
            let plan = Plan { findings: vec![finding.clone()], waits, ..Plan::default() };
            let report = Report::new(plan, None, samples::now());
            let mut view = view(phase, step);
            assert_eq!(report.holds_up(&view).is_some(), expected, "{finding:?}, {phase:?}");
            report.explain(&mut view);
            assert_eq!(view.error.is_some(), expected, "{finding:?}, {phase:?}");
        }
    }
}
