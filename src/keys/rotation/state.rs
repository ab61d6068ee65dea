//! What a driver remembers between two reconciliations. All of it may be lost: after a restart, things take a little
//! longer. Instants are on the monotonic clock.

use std::{collections::BTreeMap, time::Duration};

use rand::{CryptoRng, RngExt as _};

use super::{
    canary::{Canary, Verdict},
    error::OperationError,
    step::{Plan, Step},
};
use crate::{
    ivs::arn::PlaybackKeyArn,
    keys::{keyring::VersionId, material::PrivateKey},
};

/// The pause between two reads of a pair that IVS reported as not found.
const READ_AGAIN: Duration = Duration::from_secs(10);

/// The pause between two rounds of a canary.
const CANARY_PAUSE: Duration = Duration::from_secs(5);

/// The pause after a step failed, and its maximum when the step fails again and again.
const BACK_OFF: Duration = Duration::from_secs(1);
const BACK_OFF_MAX: Duration = Duration::from_mins(1);

#[derive(Debug, Default)]
pub(super) struct State {
    /// Pairs that IVS reported as not found, and when it first did.
    suspects: BTreeMap<PlaybackKeyArn, Duration>,
    /// Steps that were not taken.
    failures: BTreeMap<Step, Failed>,
    /// The canary for one new key.
    pub(super) canary: Option<Watch>,
}

/// A step that was not taken.
#[derive(Debug)]
struct Failed {
    /// How often, in a row.
    count: u32,
    /// When it may be tried again.
    until: Duration,
    /// Why, unless another process was faster.
    error: Option<OperationError>,
}

/// A canary at work.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) version: VersionId,
    pub(super) canary: Canary,
    /// A key that IVS never had.
    pub(super) throwaway: PrivateKey,
    pub(super) settle: Duration,
    pub(super) timeout: Duration,
    pub(super) asked_at: Option<Duration>,
    pub(super) is_reported: bool,
}

impl State {
    /// Records that IVS has the pair.
    pub(super) fn found(&mut self, arn: &PlaybackKeyArn) {
        self.suspects.remove(arn);
    }

    /// Records that IVS reported the pair as not found. Returns whether it first did so long enough ago.
    pub(super) fn not_found(&mut self, arn: &PlaybackKeyArn, now: Duration) -> bool {
        let first = *self.suspects.entry(arn.clone()).or_insert(now);
        now.saturating_sub(first) >= READ_AGAIN
    }

    /// Forgets the pairs that no version has.
    pub(super) fn keep_suspects(&mut self, is_known: impl Fn(&PlaybackKeyArn) -> bool) {
        self.suspects.retain(|arn, _| is_known(arn));
    }

    pub(super) fn is_backing_off(&self, step: &Step, now: Duration) -> bool {
        self.failures.get(step).is_some_and(|failed| now < failed.until)
    }

    pub(super) fn succeeded(&mut self, step: &Step) {
        self.failures.remove(step);
    }

    pub(super) fn failed(
        &mut self,
        step: &Step,
        error: Option<&OperationError>,
        now: Duration,
        rng: &mut impl CryptoRng,
    ) {
        let count = self.failures.get(step).map_or(0, |failed| failed.count);
        let pause = BACK_OFF.saturating_mul(1 << count.min(6)).min(BACK_OFF_MAX);
        let until = now + pause.mul_f64(rng.random_range(0.5..1.5));
        let failed = Failed { count: count + 1, until, error: error.cloned() };
        self.failures.insert(step.clone(), failed);
    }

    /// Returns why a step of the plan could not be taken the last time; forgets the steps that are not in the plan.
    pub(super) fn failure(&mut self, plan: &Plan) -> Option<OperationError> {
        self.failures.retain(|step, _| plan.contains(step));
        plan.steps.iter().find_map(|it| self.failures.get(&it.step)?.error.clone())
    }

    /// Returns in how long something is to be observed again.
    pub(super) fn next_in(&self, now: Duration) -> Option<Duration> {
        let suspects = self.suspects.values().map(|first| *first + READ_AGAIN);
        let failures = self.failures.values().map(|failed| failed.until);
        let later = suspects.chain(failures).filter(|at| *at > now);
        let watch = self.canary.as_ref();
        let watch = watch.filter(|it| it.verdict(now) != Verdict::Known);
        let soonest = later.chain(watch.map(Watch::next_round)).min()?;
        Some(soonest.saturating_sub(now))
    }
}

impl Watch {
    pub(super) fn verdict(&self, now: Duration) -> Verdict {
        self.canary.verdict(now, self.settle, self.timeout)
    }

    pub(super) fn next_round(&self) -> Duration {
        self.asked_at.map_or(Duration::ZERO, |asked_at| asked_at + CANARY_PAUSE)
    }
}
