//! What a rotator found, for readiness, `keys status` and `keys doctor`.

use crate::{
    clock::Timestamp,
    ivs::arn::{PlaybackKeyArn, Region},
    keys::{
        keyring::RotationFailure,
        lifecycle::{
            Finding, Plan, Wait,
            view::{Phase, RotationView},
        },
        operations::{Names, OperationError},
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
    /// A rotation does not go on without help.
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

    /// Puts into a rotation's view why it does not go on, where it does not.
    pub(super) fn explain(&self, view: &mut RotationView) {
        let is_open = !matches!(view.phase, Phase::Done | Phase::Cancelled | Phase::Failed);
        if !is_open || view.error.is_some() {
            return;
        }
        let stuck = self.findings.iter().find(|it| it.is_stuck).or(self.failure.as_ref());
        view.error =
            stuck.map(|it| RotationFailure { code: it.code.to_owned(), detail: it.detail.clone() });
    }

    /// Logs what is new since `before`, and what is over.
    pub(super) fn log_changes(&self, before: &Self, region: &Region) {
        for finding in self.all() {
            if !before.all().any(|it| it.code == finding.code) {
                let (code, detail) = (finding.code, &finding.detail);
                tracing::warn!(event = "keys_finding", %region, code, "{detail}");
            }
        }
        for finding in before.all() {
            if !self.all().any(|it| it.code == finding.code) {
                let code = finding.code;
                tracing::info!(event = "keys_finding_over", %region, code, "no longer so");
            }
        }
    }
}

impl From<&Finding> for ReportedFinding {
    fn from(finding: &Finding) -> Self {
        let (detail, public_detail) = sentences(finding);
        let (code, is_stuck) = (finding.code(), finding.is_stuck());
        Self { code, detail, public_detail, is_stuck }
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
                 process at the store that has them, or import the private key.",
                Names(pairs)
            ),
            "IVS has playback key pairs of a keyring that this store lacks.",
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
                "{} is another key in IVS than in the keyring and is not used.",
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
    ReportedFinding { code, detail, public_detail, is_stuck: false }
}
