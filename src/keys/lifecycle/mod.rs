//! What is to be done next about a region's keys: the pure half of rotation and repair.
//!
//! [`plan()`] looks at a [`Situation`] (keyring, what IVS has, now, policy) and says which [`Step`]s
//! are to be taken, in order, each with its reason; what is waited for; and what somebody should
//! know. [`change::apply`] is what a step writes into the keyring, [`invariants::check`] what no
//! write may break. Nothing in here calls anybody. The [rotator](super::rotator) takes a step,
//! records it by compare-and-swap, and asks again, so that a crash anywhere resumes and a step that
//! somebody else took is not taken twice.
//!
//! Time is judged twice: what must have passed is judged by the earlier of our clock and IVS's, what
//! is written down by the later ([`Now`]). So a clock that is wrong makes things late, not early.

pub mod canary;
pub mod change;
pub mod drain;
pub mod invariants;
mod planning;
pub mod requests;
pub mod view;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, time::Duration};

use super::{
    finding::Finding,
    keyring::{DriverId, KeyVersion, Keyring, Limits, RotationId, VersionId},
};
use crate::{
    clock::Timestamp,
    config::Heal,
    ivs::{KeyPairSummary, arn::PlaybackKeyArn},
};

use self::canary::Verdict;

/// A pair that was deleted again within this time of being put back was meant to go.
pub const HEAL_ONCE_IN: Duration = Duration::from_hours(1);

/// How IVS's clock, which tells whole seconds, may differ from ours beside what is configured.
const DATE_RESOLUTION: Duration = Duration::from_secs(1);

/// The settings that plans depend on.
#[derive(Clone, Debug)]
pub struct Policy {
    /// `rotation.propagation_wait`: how long after its import a key may sign.
    pub propagation_wait: Duration,
    /// The limits of this process. How long a key drains is computed from those of the keyring, which
    /// an activation sets to these.
    pub limits: Limits,
    /// `keys.heal`: what to do about an active pair that somebody deleted in IVS.
    pub heal: Heal,
    /// `rotation.every`: how old an active key becomes; `None` where nothing is scheduled.
    pub every: Option<Duration>,
    /// Whether a canary says when a new key may sign.
    pub has_canary: bool,
}

/// An instant by our clock and, where it was heard, by IVS's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Now {
    /// By our clock.
    pub own: Timestamp,
    /// What IVS's last answer was dated, with the time since added: at most a second behind IVS's
    /// clock.
    pub ivs: Option<Timestamp>,
    /// How far the clocks are from each other at least; `None` where that is not known.
    pub skew: Option<Duration>,
}

impl Now {
    /// For judging what must have passed.
    pub fn earliest(self) -> Timestamp {
        self.ivs.map_or(self.own, |ivs| ivs.min(self.own))
    }

    /// For writing down when something was.
    pub fn latest(self) -> Timestamp {
        let ivs = self.ivs.map(|ivs| ivs + DATE_RESOLUTION);
        ivs.map_or(self.own, |ivs| ivs.max(self.own)).floor_to_second()
    }

    /// With an answer of IVS that took no time.
    #[cfg(test)]
    pub(in crate::keys) fn exact(own: Timestamp, ivs: Timestamp) -> Self {
        let skew = ivs.saturating_since(own).max(own.saturating_since(ivs));
        Self { own, ivs: Some(ivs), skew: Some(skew) }
    }
}

/// What IVS was seen to have.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The region's pairs.
    pub listed: Vec<KeyPairSummary>,
    /// When they were asked for, by our clock.
    pub listed_at: Option<Timestamp>,
    /// Recorded pairs that IVS said twice it does not have.
    pub gone: BTreeSet<PlaybackKeyArn>,
    /// Versions whose pair has another fingerprint than their public half.
    pub distrusted: BTreeSet<VersionId>,
}

impl Observed {
    /// Whether the recorded pair of a version is there.
    pub fn has_pair_of(&self, version: &KeyVersion) -> bool {
        version.arn.as_ref().is_some_and(|arn| self.has(arn))
    }

    /// Whether the pair is there.
    pub fn has(&self, arn: &PlaybackKeyArn) -> bool {
        self.listed.iter().any(|pair| pair.arn == *arn)
    }
}

/// Everything that a plan depends on.
#[derive(Debug)]
pub struct Situation<'a> {
    /// The instant, read after the keyring was.
    pub now: Now,
    /// The keyring.
    pub keyring: &'a Keyring,
    /// What IVS has.
    pub observed: &'a Observed,
    /// The settings.
    pub policy: &'a Policy,
    /// Who would take the steps.
    pub driver: &'a DriverId,
    /// What the canary says of the key that a rotation leads to; `None` where there is no canary.
    pub canary: Option<Verdict>,
    /// How much later than `rotation.every` this process begins a scheduled rotation, so that
    /// replicas do not all begin at once.
    pub schedule_delay: Duration,
    /// A region before this one is being rotated and has not come to the drain.
    pub waits_for_other_region: bool,
}

/// What to do, in order; what is waited for; and what somebody should know.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The steps that can be taken now, the most urgent first. They do not depend on each other,
    /// but after each the plan is made anew.
    pub steps: Vec<Planned>,
    /// What is waited for, where nothing else is to do about a key.
    pub waits: Vec<Wait>,
    /// What is not as it should be.
    pub findings: Vec<Finding>,
}

/// A step and why it is taken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Planned {
    /// The step.
    pub step: Step,
    /// In a sentence, for the log.
    pub reason: &'static str,
}

/// One thing to do. Each begins or ends with one write of the keyring.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Step {
    /// Ends rotations that have nothing left to do.
    Settle,
    /// Begins a rotation because `rotation.every` says so.
    Schedule,
    /// Begins an emergency rotation of a pair that was deleted in IVS on purpose.
    Replace(VersionId),
    /// Imports a version, or finds that IVS has it.
    Import(VersionId),
    /// Takes down since when IVS does not have the pair of the active version.
    NoteMissing(VersionId),
    /// Imports a version again whose pair somebody deleted.
    Reimport(VersionId),
    /// Takes back that a pair is missing: IVS has it after all.
    Recover(VersionId),
    /// Lets the new key of a rotation sign.
    Activate(RotationId),
    /// In an emergency: lets the old key sign no more, before there is a new one.
    Withdraw(VersionId),
    /// Takes down when a version was first seen to drain.
    ConfirmDrain(VersionId),
    /// Decides that a version's pair is deleted.
    Retire(VersionId),
    /// Deletes the pair of a retiring version, and takes that down.
    Delete(VersionId),
    /// Takes down that IVS has a key of ours a second time.
    NoteStray(VersionId, PlaybackKeyArn),
    /// Deletes such a pair.
    DeleteStray(VersionId, PlaybackKeyArn),
}

impl Step {
    /// Whether the step writes the keyring and calls no one, so that IVS has what it had before.
    pub const fn only_writes(&self) -> bool {
        match self {
            Self::Settle
            | Self::NoteMissing(_)
            | Self::Recover(_)
            | Self::Activate(_)
            | Self::Withdraw(_)
            | Self::ConfirmDrain(_)
            | Self::Retire(_)
            | Self::NoteStray(..) => true,
            Self::Schedule
            | Self::Replace(_)
            | Self::Import(_)
            | Self::Reimport(_)
            | Self::Delete(_)
            | Self::DeleteStray(..) => false,
        }
    }

    /// A word for metrics and logs.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Settle => "settle",
            Self::Schedule => "schedule",
            Self::Replace(_) => "replace",
            Self::Import(_) => "import",
            Self::NoteMissing(_) => "note_missing",
            Self::Reimport(_) => "reimport",
            Self::Recover(_) => "recover",
            Self::Activate(_) => "activate",
            Self::Withdraw(_) => "withdraw",
            Self::ConfirmDrain(_) => "confirm_drain",
            Self::Retire(_) => "retire",
            Self::Delete(_) => "delete",
            Self::NoteStray(..) => "note_stray",
            Self::DeleteStray(..) => "delete_stray",
        }
    }

    /// The key that it is about.
    pub const fn version(&self) -> Option<&VersionId> {
        match self {
            Self::Replace(id)
            | Self::Import(id)
            | Self::NoteMissing(id)
            | Self::Reimport(id)
            | Self::Recover(id)
            | Self::Withdraw(id)
            | Self::ConfirmDrain(id)
            | Self::Retire(id)
            | Self::Delete(id)
            | Self::NoteStray(id, _)
            | Self::DeleteStray(id, _) => Some(id),
            Self::Settle | Self::Schedule | Self::Activate(_) => None,
        }
    }

    /// The rotation that it is about.
    pub const fn rotation(&self) -> Option<&RotationId> {
        if let Self::Activate(id) = self { Some(id) } else { None }
    }
}

/// What is waited for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Wait {
    /// Until an imported key is known everywhere.
    Propagation(Timestamp),
    /// Until the canary has seen the new key.
    Canary,
    /// Until the tokens of a draining key have expired.
    Drain(Timestamp),
    /// Until somebody says that no other signer uses a key.
    Release(PlaybackKeyArn),
    /// Until the claim of somebody else ends.
    Claim(Timestamp),
    /// Until a rotation is due.
    Schedule(Timestamp),
    /// Until a slot in IVS is free.
    Slot,
}

impl Wait {
    /// When it ends, where that is known.
    pub const fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Propagation(until)
            | Self::Drain(until)
            | Self::Claim(until)
            | Self::Schedule(until) => Some(*until),
            Self::Canary | Self::Release(_) | Self::Slot => None,
        }
    }
}

impl Plan {
    /// When the first of what is waited for ends.
    pub fn next_at(&self) -> Option<Timestamp> {
        self.waits.iter().filter_map(Wait::until).min()
    }

    /// Whether this step is in it.
    pub fn contains(&self, step: &Step) -> bool {
        self.steps.iter().any(|planned| planned.step == *step)
    }
}

/// What to do about a region's keys.
pub fn plan(situation: &Situation<'_>) -> Plan {
    planning::Planner::new(situation).run()
}
