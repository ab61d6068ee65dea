//! What a rotator found, for readiness, `keys status` and `keys doctor`.

use crate::{
    clock::Timestamp,
    ivs::arn::{PlaybackKeyArn, Region},
    keys::{
        keyring::RotationFailure,
        lifecycle::{
            Finding, Plan, Wait,
            view::{NextStep, Phase, RotationView},
        },
        operations::OperationError,
        survey::Names,
    },
};

/// What the last look found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// When that was; `None` before the first.
    pub at: Option<Timestamp>,
    /// What is not as it should be.
    pub findings: Vec<ReportedFinding>,
    /// What is waited for.
    pub waits: Vec<Wait>,
    /// Why a step failed, or why nothing could be looked at.
    pub failure: Option<ReportedFinding>,
}

/// Something that is not as it should be, in words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReportedFinding {
    /// Stable, to branch on.
    pub code: &'static str,
    /// A sentence that says what to do; may name ARNs.
    pub detail: String,
    /// The same without ARNs, for whoever may not see them.
    pub public_detail: &'static str,
    /// The one pair that it is about.
    pub pair: Option<PlaybackKeyArn>,
    /// A rotation does not go on without help; [`Report::holds_up`] says which.
    pub is_stuck: bool,
}

impl Report {
    pub(super) fn new(plan: Plan, failure: Option<&OperationError>, now: Timestamp) -> Self {
        Self {
            at: Some(now),
            findings: plan.findings.iter().map(ReportedFinding::from).collect(),
            waits: plan.waits,
            failure: failure.map(step_failed),
        }
    }

    /// The same, when looking failed.
    pub(super) fn blinded(&self, error: &OperationError, now: Timestamp) -> Self {
        Self { at: Some(now), failure: Some(blind(error)), ..self.clone() }
    }

    /// Everything, the failure too.
    pub fn all(&self) -> impl Iterator<Item = &ReportedFinding> {
        self.findings.iter().chain(&self.failure)
    }

    /// What this rotation waits for that does not come without help.
    pub fn holds_up(&self, view: &RotationView) -> Option<&ReportedFinding> {
        let holds_up = |finding: &&ReportedFinding| match finding.code {
            _ if !finding.is_stuck || view.phase.is_over() => false,
            // Another key than the new one holds nothing up.
            "fingerprint_mismatch" => {
                finding.pair.is_some() && finding.pair == view.new_key_pair_arn
            }
            // That of an earlier rotation is waited for only where it has the last slot.
            "awaits_release" => {
                view.next_step == Some(NextStep::Release) && finding.pair == view.old_key_pair_arn
                    || view.phase == Phase::Importing && self.waits.contains(&Wait::Slot)
            }
            // A slot and the canary are the new key's affair.
            "rotation_stuck" => !view.phase.is_after_activation(),
            _ => true,
        };
        self.findings.iter().find(holds_up)
    }

    /// Puts into a rotation's view why it does not go on, where it does not. What was found just now
    /// counts more than what somebody wrote down.
    pub(super) fn explain(&self, view: &mut RotationView) {
        if view.phase.is_over() {
            return;
        }
        if let Some(why) = self.holds_up(view).or(self.failure.as_ref()) {
            let (code, detail) = (why.code.to_owned(), why.detail.clone());
            view.error = Some(RotationFailure { code, detail });
        }
    }

    /// Logs what is new since `before`, and what is over.
    pub(super) fn log_changes(&self, before: &Self, region: &Region) {
        for finding in self.all() {
            if !before.all().any(|it| it.code == finding.code) {
                let (code, detail) = (finding.code, &finding.detail);
                tracing::warn!(event = "keys_finding", %region, code, detail, "keys need attention");
            }
        }
        for finding in before.all() {
            if !self.all().any(|it| it.code == finding.code) {
                let code = finding.code;
                tracing::info!(event = "keys_finding_over", %region, code, "finding resolved");
            }
        }
    }
}

impl From<&Finding> for ReportedFinding {
    fn from(finding: &Finding) -> Self {
        let (detail, public_detail) = sentences(finding);
        let (code, pair) = (finding.code(), finding.pair().cloned());
        Self { code, detail, public_detail, pair, is_stuck: finding.is_stuck() }
    }
}

fn sentences(finding: &Finding) -> (String, &'static str) {
    match finding {
        Finding::ClockSkew(skew) => (
            format!(
                "This machine's clock is {} s from that of IVS, so no rotation goes on here; set \
                 it by NTP.",
                skew.as_secs()
            ),
            "This machine's clock is too far from that of IVS for rotations to go on; set it by \
             NTP.",
        ),
        Finding::Foreign(pairs) => (
            format!(
                "IVS has playback key pairs that are not of this keyring: {}. They take slots; \
                 delete them with `keys delete ARN` once nobody signs with them.",
                Names(pairs)
            ),
            "IVS has playback key pairs that are not of this keyring.",
        ),
        Finding::Lost(pairs) => (
            format!(
                "IVS has playback key pairs of a keyring that this store lacks: {}. Point this \
                 process at the store that has them, import their private key with `keys import \
                 --private-key FILE`, or, where no key signs, start over with `keys rotate \
                 --new-keyring` and delete these pairs when their last token has expired.",
                Names(pairs)
            ),
            "IVS has playback key pairs of a keyring that this store lacks. Use the store that has them, \
             `keys import --private-key`, or `keys rotate --new-keyring`.",
        ),
        Finding::ActiveMissing(arn) => (
            format!("{arn} signs, and IVS does not have it: somebody deleted it."),
            "The active playback key pair was deleted in IVS.",
        ),
        Finding::PairMissing(arn) => (
            format!("IVS does not have {arn}: somebody deleted it."),
            "A playback key pair was deleted in IVS.",
        ),
        Finding::FingerprintMismatch(arn) => (
            format!(
                "{} is another key in IVS than in the keyring and is not used. Where it is active, \
                 exchange it with `keys rotate`; else delete it with `keys delete ARN`.",
                arn.as_ref().map_or("A key pair", PlaybackKeyArn::as_str)
            ),
            "A playback key pair is another key in IVS than in the keyring and is not used.",
        ),
        Finding::NoSlot(pairs) => (
            format!(
                "IVS has no slot for a new key. It takes three pairs a region, and these are not \
                 of this keyring: {}. Delete one that nobody signs with, with `keys delete ARN`.",
                Names(pairs)
            ),
            "IVS has no slot for a new key.",
        ),
        Finding::AwaitsRelease(arn) => (
            format!(
                "{arn} was adopted, and its drain is over. When no other signer uses it any more, \
                 say so with `keys release {arn}`."
            ),
            "An adopted playback key pair waits for `keys release`.",
        ),
        Finding::CanaryStuck => (
            "The canary channel does not play with the new key; see `keys status`, or stop the \
             rotation with `keys cancel`."
                .to_owned(),
            "The canary channel does not play with the new key.",
        ),
        Finding::Stray(arn) => (
            format!("IVS has a key of this keyring twice; {arn} is being deleted."),
            "IVS has a key of this keyring twice; the second pair is being deleted.",
        ),
    }
}

fn step_failed(error: &OperationError) -> ReportedFinding {
    ReportedFinding {
        code: "rotation_step_failed",
        detail: format!("The last step of a rotation or repair failed: {error}."),
        public_detail: "The last step of a rotation or repair failed; the log says why.",
        pair: None,
        is_stuck: false,
    }
}

fn blind(error: &OperationError) -> ReportedFinding {
    let (code, public_detail) = if let OperationError::OtherAccount { .. } = error {
        (
            "other_account",
            "The AWS credentials are of another account than the keyring; nothing is changed.",
        )
    } else if let OperationError::Store(_) = error {
        ("store_unavailable", "The key store cannot be read; the log says why.")
    } else {
        ("not_reconciled", "Keyring and IVS could not be compared; the log says why.")
    };
    let detail = format!("Keyring and IVS could not be compared: {error}.");
    ReportedFinding { code, detail, public_detail, pair: None, is_stuck: false }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
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
    fn a_rotation_is_told_only_what_holds_it_up_itself() {
        let (importing, draining) = (Phase::Importing, Phase::Draining);
        let (import, retire, release) = (NextStep::Import, NextStep::Retire, NextStep::Release);
        let skew = Finding::ClockSkew(Duration::from_hours(9));
        let [old, new, other] = [0, 1, 2].map(strategies::arn);
        let mismatch = |arn: &PlaybackKeyArn| Finding::FingerprintMismatch(Some(arn.clone()));
        let awaits = |arn: &PlaybackKeyArn| Finding::AwaitsRelease(arn.clone());
        let full = || vec![Wait::Slot];
        for (phase, step, finding, waits, expected) in [
            (importing, import, skew.clone(), vec![], true),
            (draining, retire, skew.clone(), vec![], true),
            (Phase::Done, retire, skew, vec![], false),
            (importing, import, Finding::NoSlot(vec![]), full(), true),
            (Phase::Propagating, NextStep::Activate, Finding::CanaryStuck, vec![], true),
            (draining, retire, Finding::NoSlot(vec![]), full(), false),
            (importing, import, mismatch(&new), vec![], true),
            (importing, import, mismatch(&old), vec![], false),
            (importing, import, Finding::FingerprintMismatch(None), vec![], false),
            (importing, import, awaits(&other), vec![], false),
            (importing, import, awaits(&other), full(), true),
            (draining, release, awaits(&old), vec![], true),
            (draining, release, awaits(&other), vec![], false),
            (draining, retire, awaits(&old), vec![], false),
            (importing, import, Finding::PairMissing(new.clone()), vec![], false),
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
