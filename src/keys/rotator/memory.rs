//! What a rotator remembers between two looks. All of it can be lost: after a restart things take a
//! little longer. Instants are on the monotonic clock.

use std::{collections::BTreeMap, time::Duration};

use rand::{CryptoRng, RngExt as _};

use super::{Plan, RotatorSettings, Step};
use crate::{
    ivs::arn::PlaybackKeyArn,
    keys::{
        keyring::VersionId,
        lifecycle::canary::{Canary, Verdict},
        material::PrivateKey,
        operations::OperationError,
    },
};

/// Between two looks at a pair that IVS said it does not have.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Between two rounds of a canary.
const CANARY_PAUSE: Duration = Duration::from_secs(5);

/// After a step failed, and the most that this becomes when it fails again and again.
const BACK_OFF: Duration = Duration::from_secs(1);
const BACK_OFF_MAX: Duration = Duration::from_mins(1);

#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Pairs that IVS said it does not have, and when it first did.
    suspects: BTreeMap<PlaybackKeyArn, Duration>,
    /// Steps that were not taken.
    failures: BTreeMap<Step, Failed>,
    /// The canary for one new key.
    pub(super) canary: Option<Watch>,
}

/// A step that was not taken.
#[derive(Debug)]
struct Failed {
    /// How often in a row.
    count: u32,
    /// Until when it is left alone.
    until: Duration,
    /// Why, unless somebody else was faster.
    error: Option<OperationError>,
}

/// A canary at work.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) version: VersionId,
    pub(super) canary: Canary,
    /// A key that IVS never had.
    pub(super) throwaway: PrivateKey,
    pub(super) asked_at: Option<Duration>,
    pub(super) is_reported: bool,
}

impl Memory {
    /// IVS has the pair.
    pub(super) fn seen(&mut self, arn: &PlaybackKeyArn) {
        self.suspects.remove(arn);
    }

    /// IVS says that it does not have the pair. Returns whether it said so long enough ago, too.
    pub(super) fn not_found(&mut self, arn: &PlaybackKeyArn, now: Duration) -> bool {
        let first = *self.suspects.entry(arn.clone()).or_insert(now);
        now.saturating_sub(first) >= LOOK_AGAIN
    }

    /// Forgets the pairs that no version has any more.
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

    /// Why a step of the plan could not be taken the last time; forgets the steps that are not in it
    /// any more.
    pub(super) fn failure(&mut self, plan: &Plan) -> Option<OperationError> {
        self.failures.retain(|step, _| plan.contains(step));
        plan.steps.iter().find_map(|it| self.failures.get(&it.step)?.error.clone())
    }

    /// In how long something is to be looked at again.
    pub(super) fn next_in(&self, now: Duration, settings: &RotatorSettings) -> Option<Duration> {
        let suspects = self.suspects.values().map(|first| *first + LOOK_AGAIN);
        let failures = self.failures.values().map(|failed| failed.until);
        let later = suspects.chain(failures).filter(|at| *at > now);
        let watch = self.canary.as_ref();
        let watch = watch.filter(|it| it.verdict(now, settings) != Verdict::Known);
        let soonest = later.chain(watch.map(Watch::next_round)).min()?;
        Some(soonest.saturating_sub(now))
    }
}

impl Watch {
    pub(super) fn verdict(&self, now: Duration, settings: &RotatorSettings) -> Verdict {
        self.canary.verdict(now, settings.canary_settle, settings.canary_timeout)
    }

    pub(super) fn next_round(&self) -> Duration {
        self.asked_at.map_or(Duration::ZERO, |asked_at| asked_at + CANARY_PAUSE)
    }
}
