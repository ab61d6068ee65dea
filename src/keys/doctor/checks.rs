//! The rules of an examination: what was seen, and what that means.

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use super::{Finding, Setup, Severity, is_overdue};
use crate::{
    clock::Timestamp,
    ivs::arn::PlaybackKeyArn,
    keys::{
        inventory::{KeyPairState, KeyPairView},
        keyring::Keyring,
        lifecycle::{
            self, Policy, Wait,
            view::{NextStep, Phase, RotationView},
        },
        rotator::{Report, ReportedFinding},
        snapshot::{NoSigner, RefreshError},
        store::StoreError,
        survey::KEY_PAIR_QUOTA,
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

fn error(code: &'static str, detail: impl AsRef<str>) -> Finding {
    Finding::new(Severity::Error, code, detail)
}

fn warning(code: &'static str, detail: impl AsRef<str>) -> Finding {
    Finding::new(Severity::Warning, code, detail)
}

fn ok(code: &'static str, detail: impl AsRef<str>) -> Finding {
    Finding::new(Severity::Ok, code, detail)
}

/// Whether the keyring can be read, and whether one of its keys signs.
fn keyring(facts: &Facts<'_>) -> Vec<Finding> {
    let store = &facts.setup.store;
    if let Err(failure) = &facts.read {
        let code = match failure {
            RefreshError::Store(StoreError::WidePermissions { .. }) => "wide_permissions",
            RefreshError::UnrecordedLimit(limit) => limit.code,
            RefreshError::Store(_) | RefreshError::TimedOut | RefreshError::NotTried => {
                "keyring_unreadable"
            }
        };
        return vec![error(code, failure.to_string())];
    }
    let mut findings = Vec::new();
    if let Some(keyring) = &facts.keyring {
        let keys = keyring.present().count();
        findings
            .push(ok("keyring", format!("the keyring in {store} was read and has {keys} key(s)")));
    }
    findings.push(match &facts.signer {
        Ok(arn) => {
            let since = facts.keyring.as_ref().and_then(|keyring| keyring.active()?.activated_at);
            let since = since.map(|since| format!(" since {since}")).unwrap_or_default();
            ok("active_key", format!("{arn} signs{since}"))
        }
        // With a lost keyring, `keys rotate` refuses; that finding names the ways out.
        Err(_) if facts.report.all().any(|finding| finding.code == "lost_keyring") => {
            error("no_active_key", "no key signs, because the keyring was lost; see lost_keyring")
        }
        Err(reason) => error("no_active_key", reason.to_string()),
    });
    findings
}

/// A process that may not write refuses to sign where it would have to raise a recorded limit first.
fn unrecorded_limits(facts: &Facts<'_>) -> Vec<Finding> {
    let Some(keyring) = facts.keyring.as_ref().filter(|_| !facts.setup.manage) else {
        return Vec::new();
    };
    let unrecorded = facts.setup.limits.beyond(keyring.limits());
    unrecorded.map(|limit| error(limit.code, limit.to_string())).collect()
}

/// What the comparison of keyring and IVS found.
fn reported(facts: &Facts<'_>) -> Vec<Finding> {
    let told = facts
        .report
        .all()
        // What could not be read is told already, and the clock has a check of its own.
        .filter(|it| !(it.code == "store_unavailable" && facts.read.is_err()))
        .filter(|it| it.code != "clock_skew");
    told.map(|it| Finding::new(severity(it, facts), it.code, &it.detail)).collect()
}

fn severity(finding: &ReportedFinding, facts: &Facts<'_>) -> Severity {
    match finding.code {
        // Another deployment in the same account has a keyring of its own.
        "lost_keyring" if facts.signer.is_ok() => Severity::Warning,
        // Nothing is broken by them, and an adoption passes through the last.
        "foreign_key_pairs" | "key_pair_missing" | "duplicate_key_pair" | "awaits_release" => {
            Severity::Warning
        }
        _ => Severity::Error,
    }
}

/// Pairs that one listing lacks. The report says so only when IVS has denied them twice, 10 s apart.
fn missing(facts: &Facts<'_>) -> Vec<Finding> {
    let is_active = |pair: &KeyPairView| facts.signer.as_ref().ok() == pair.arn.as_ref();
    let missing = facts.pairs.iter().filter(|pair| pair.state == KeyPairState::Missing);
    let told = |arn: &PlaybackKeyArn| facts.report.all().any(|it| it.pair.as_ref() == Some(arn));
    let untold =
        missing.filter_map(|pair| Some((pair, pair.arn.as_ref().filter(|arn| !told(arn))?)));
    untold
        .map(|(pair, arn)| {
            if is_active(pair) {
                return error(
                    "active_key_pair_missing",
                    format!(
                        "{arn} signs, and IVS does not list it: somebody deleted it. A process with \
                         keys.manage = true puts it back within minutes (keys.heal)"
                    ),
                );
            }
            warning(
                "key_pair_missing",
                format!(
                    "IVS does not list {arn}: somebody deleted it. Tokens that it signed start \
                     playback no more; nothing else is to do"
                ),
            )
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
            error(
                "rotation_stalled",
                format!(
                    "rotation {} is {} since {}, and nobody takes its next step. Start a process \
                     with keys.manage = true, or run keys rotate --if-older-than 30d, which goes on \
                     with it",
                    view.id,
                    view.phase.word(),
                    view.since
                ),
            )
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
        warning(
            "rotation_overdue",
            format!(
                "the active key signs since {activated_at}, which is longer than rotation.every. \
                 Start a process with keys.manage = true, or run keys rotate"
            ),
        )
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
        return Some(ok("quota", used));
    }
    // Every pair looks foreign then, the one that signs among them: none may be named for deletion.
    if facts.read.is_err() {
        let detail = format!(
            "{used}, so no rotation can begin now; whose they are cannot be told before the keyring \
             can be read"
        );
        return Some(warning("quota_full", detail));
    }
    if pairs.iter().any(|pair| pair.state == KeyPairState::Pending) {
        return Some(ok(
            "quota",
            format!("{used}, one of them by a key that a rotation goes on with"),
        ));
    }
    let ending = |pair: &&&KeyPairView| {
        matches!(pair.state, KeyPairState::Draining | KeyPairState::Retiring)
    };
    if let Some(pair) = pairs.iter().find(ending) {
        let at = pair.retires_at.map(|at| format!(" at {at}")).unwrap_or_default();
        let detail = format!("{used}; no rotation can begin before an old one is deleted{at}");
        return Some(warning("quota_full", detail));
    }
    let foreign = pairs.iter().filter(|pair| pair.state == KeyPairState::Foreign);
    let foreign: Vec<_> =
        foreign.filter_map(|pair| pair.arn.as_ref().map(PlaybackKeyArn::as_str)).collect();
    Some(error(
        "quota_full",
        format!(
            "{used}, so no rotation can begin. Not of this keyring: {}. Delete one that nobody signs \
             with, with keys delete ARN",
            foreign.join(", ")
        ),
    ))
}

fn clock(facts: &Facts<'_>) -> Option<Finding> {
    let skew = facts.skew?;
    let detail = format!("this machine's clock is {} s from that of IVS", skew.as_secs());
    let drain_margin = facts
        .keyring
        .as_ref()
        .map_or(facts.policy.limits.drain_margin, |keyring| keyring.drain_margin);
    let is_too_far = skew > lifecycle::drain::skew_limit(drain_margin);
    Some(if is_too_far {
        error("clock_skew", format!("{detail}, so no rotation goes on here; set it by NTP"))
    } else if skew > SKEW_ERROR {
        error("clock_skew", format!("{detail}, so IVS may refuse its tokens; set it by NTP"))
    } else if skew > SKEW_WARNING {
        warning("clock_skew", format!("{detail}; set it by NTP"))
    } else {
        ok("clock", "this machine's clock agrees with that of IVS")
    })
}
