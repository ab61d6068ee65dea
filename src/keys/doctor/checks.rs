//! The rules of an examination: what was seen, and what that means.

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use super::{Setup, is_overdue};
use crate::{
    clock::Timestamp,
    ivs::arn::PlaybackKeyArn,
    keys::{
        finding::{Finding, FindingCode, Severity},
        keyring::Keyring,
        rotation::{
            self, KeyPairState, KeyPairView, Policy, Report, Wait,
            view::{NextStep, Phase, RotationView},
        },
        service::KEY_PAIR_QUOTA,
        signing::{NoSigner, RefreshError},
        store::StoreError,
    },
};

/// A clock that is this far from IVS's shortens the life of tokens noticeably.
const SKEW_WARNING: Duration = Duration::from_secs(3);

/// The reserve that default lifetimes leave below IVS's limit of 600 s: a clock that is further
/// ahead makes tokens that IVS refuses.
const SKEW_ERROR: Duration = Duration::from_secs(10);

/// What an examination saw.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) setup: &'a Setup,
    pub(super) policy: &'a Policy,
    /// How reading the keyring went.
    pub(super) read: Result<(), RefreshError>,
    pub(super) keyring: Option<Arc<Keyring>>,
    /// The pair that signs.
    pub(super) signer: Result<PlaybackKeyArn, NoSigner>,
    /// What the comparison of keyring and IVS found.
    pub(super) report: Arc<Report>,
    pub(super) rotations: &'a [RotationView],
    /// Keyring and IVS together.
    pub(super) pairs: &'a [KeyPairView],
    /// Whether IVS could be asked for its pairs.
    pub(super) was_listed: bool,
    /// How far our clock is from IVS's; `None` where IVS did not answer.
    pub(super) skew: Option<Duration>,
    pub(super) now: Timestamp,
}

/// Everything about keys that is worth a line.
pub(super) fn judge(facts: &Facts<'_>) -> Vec<Finding> {
    let mut findings = keyring(facts);
    findings.extend(unrecorded_limits(facts));
    findings.extend(reported(facts));
    findings.extend(missing(facts));
    findings.extend(stalled(facts));
    findings.extend(overdue(facts));
    findings.extend(quota(facts));
    findings.extend(clock(facts));
    findings
}

/// Whether the keyring can be read, and whether one of its keys signs.
fn keyring(facts: &Facts<'_>) -> Vec<Finding> {
    let store = &facts.setup.store;
    if let Err(failure) = &facts.read {
        let code = match failure {
            RefreshError::Store(StoreError::WidePermissions { .. }) => FindingCode::WidePermissions,
            RefreshError::Store(_)
            | RefreshError::UnrecordedLimit(_)
            | RefreshError::TimedOut
            | RefreshError::NotTried => failure.finding_code(),
        };
        return vec![Finding::complete(code, failure.to_string())];
    }
    let mut findings = Vec::new();
    if let Some(keyring) = &facts.keyring {
        let keys = keyring.present().count();
        let detail = format!("the keyring in {store} was read and has {keys} key(s)");
        findings.push(Finding::complete(FindingCode::Keyring, detail));
    }
    findings.push(match &facts.signer {
        Ok(arn) => {
            let since = facts.keyring.as_ref().and_then(|keyring| keyring.active()?.activated_at);
            let since = since.map(|since| format!(" since {since}")).unwrap_or_default();
            Finding::complete(FindingCode::ActiveKey, format!("{arn} signs{since}"))
        }
        Err(_) if facts.report.is_keyring_lost() => Finding::no_key_of_lost_keyring(),
        Err(reason) => Finding::complete(FindingCode::NoActiveKey, reason.to_string()),
    });
    findings
}

/// A process that may not write refuses to sign where it would have to raise a recorded limit first.
fn unrecorded_limits(facts: &Facts<'_>) -> Vec<Finding> {
    let Some(keyring) = facts.keyring.as_ref().filter(|_| !facts.setup.manage) else {
        return Vec::new();
    };
    let unrecorded = facts.setup.limits.beyond(keyring.limits());
    unrecorded.map(|limit| Finding::complete(limit.code, limit.to_string())).collect()
}

/// What the comparison of keyring and IVS found.
fn reported(facts: &Facts<'_>) -> Vec<Finding> {
    let reported = facts
        .report
        .all()
        // What could not be read is reported already, and the clock has a check of its own.
        .filter(|it| !(it.code == FindingCode::StoreUnavailable && facts.read.is_err()))
        .filter(|it| it.code != FindingCode::ClockSkew);
    reported
        .cloned()
        .map(|finding| {
            // Another deployment in the same account has a keyring of its own.
            if finding.code == FindingCode::LostKeyring && facts.signer.is_ok() {
                finding.with_severity(Severity::Warning)
            } else {
                finding
            }
        })
        .collect()
}

/// Pairs that one listing lacks. The report names them only once IVS has denied them twice, 10 s apart.
fn missing(facts: &Facts<'_>) -> Vec<Finding> {
    let is_reported =
        |arn: &PlaybackKeyArn| facts.report.all().any(|it| it.pair.as_ref() == Some(arn));
    let missing = facts.pairs.iter().filter(|pair| pair.state == KeyPairState::Missing);
    missing
        .filter_map(|pair| pair.arn.as_ref())
        .filter(|arn| !is_reported(arn))
        .map(|arn| {
            if facts.signer.as_ref() == Ok(arn) {
                Finding::active_key_pair_missing(arn)
            } else {
                Finding::key_pair_missing(arn)
            }
        })
        .collect()
}

/// Rotations whose next step is due for long: nobody takes their steps.
fn stalled(facts: &Facts<'_>) -> Vec<Finding> {
    // What waits for a slot is told with the quota.
    if facts.report.waits.contains(&Wait::Slot) {
        return Vec::new();
    }
    let due_since = |view: &RotationView| match view.phase {
        Phase::Generating | Phase::Importing | Phase::Retiring => Some(view.since),
        Phase::Propagating | Phase::Draining => {
            view.next_at.filter(|_| view.next_step != Some(NextStep::Release))
        }
        Phase::Done | Phase::Cancelled | Phase::Failed => None,
    };
    let stalled = facts.rotations.iter().filter(|view| {
        view.error.is_none()
            && due_since(view).is_some_and(|at| is_overdue(at, facts.now, facts.setup))
    });
    stalled
        .map(|view| {
            let (id, phase, since) = (&view.id, view.phase.word(), view.since);
            let situation = format!(
                "rotation {id} is {phase} since {since}, and no process takes its next step"
            );
            Finding::new(FindingCode::RotationStalled, situation)
        })
        .collect()
}

/// A schedule that nobody keeps.
fn overdue(facts: &Facts<'_>) -> Option<Finding> {
    let every = facts.policy.every?;
    let activated_at = facts.keyring.as_ref()?.active()?.activated_at?;
    let is_under_way = facts.rotations.iter().any(|view| {
        matches!(view.phase, Phase::Generating | Phase::Importing | Phase::Propagating)
    });
    // Replicas begin up to a twentieth later than asked, so that they do not all begin at once.
    let due = activated_at + every + (every / 10).max(Duration::from_hours(1));
    (due < facts.now && !is_under_way).then(|| {
        let situation = format!(
            "the active key signs since {activated_at}, which is longer than rotation.every"
        );
        Finding::new(FindingCode::RotationOverdue, situation)
    })
}

/// Whether a rotation finds a slot for its new key.
fn quota(facts: &Facts<'_>) -> Option<Finding> {
    if !facts.was_listed {
        return None;
    }
    let in_ivs = |pair: &&KeyPairView| pair.arn.is_some() && pair.state != KeyPairState::Missing;
    let pairs: Vec<_> = facts.pairs.iter().filter(in_ivs).collect();
    let used = format!("{} of {KEY_PAIR_QUOTA} playback key pairs are used", pairs.len());
    if pairs.len() < KEY_PAIR_QUOTA {
        return Some(Finding::complete(FindingCode::Quota, used));
    }
    let is_warning = |detail: String| {
        Some(Finding::complete(FindingCode::QuotaFull, detail).with_severity(Severity::Warning))
    };
    // Every pair looks foreign then, the one that signs among them: none may be named for deletion.
    if facts.read.is_err() {
        return is_warning(format!(
            "{used}, so no rotation can begin now; which of them are foreign is unknown until the \
             keyring can be read"
        ));
    }
    if pairs.iter().any(|pair| pair.state == KeyPairState::Pending) {
        let detail = format!("{used}, one of them by the new key of a rotation");
        return Some(Finding::complete(FindingCode::Quota, detail));
    }
    let ending = |pair: &&&KeyPairView| {
        matches!(pair.state, KeyPairState::Draining | KeyPairState::Retiring)
    };
    if let Some(pair) = pairs.iter().find(ending) {
        let at = pair.retires_at.map(|at| format!(" at {at}")).unwrap_or_default();
        return is_warning(format!(
            "{used}; no rotation can begin before an old one is deleted{at}"
        ));
    }
    let foreign = pairs.iter().filter(|pair| pair.state == KeyPairState::Foreign);
    let foreign: Vec<_> =
        foreign.filter_map(|pair| pair.arn.as_ref().map(PlaybackKeyArn::as_str)).collect();
    let situation =
        format!("{used}, so no rotation can begin. Not in this keyring: {}", foreign.join(", "));
    Some(Finding::new(FindingCode::QuotaFull, situation))
}

fn clock(facts: &Facts<'_>) -> Option<Finding> {
    let skew = facts.skew?;
    let drain_margin = facts
        .keyring
        .as_ref()
        .map_or(facts.policy.limits.drain_margin, |keyring| keyring.drain_margin);
    if skew > rotation::drain::skew_limit(drain_margin) {
        return Some(Finding::clock_skew(skew));
    }
    if skew <= SKEW_WARNING {
        let detail = "the clock of this machine agrees with that of IVS";
        return Some(Finding::complete(FindingCode::Clock, detail));
    }
    let seconds = skew.as_secs();
    let difference = format!("the clock of this machine differs by {seconds} s from that of IVS");
    Some(if skew > SKEW_ERROR {
        Finding::new(FindingCode::ClockSkew, format!("{difference}, so IVS may refuse its tokens"))
    } else {
        Finding::new(FindingCode::ClockSkew, difference).with_severity(Severity::Warning)
    })
}
