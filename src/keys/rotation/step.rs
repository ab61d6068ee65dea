//! The steps of rotation and repair, and the plan that they make up.

use crate::{
    clock::Timestamp,
    ivs::arn::PlaybackKeyArn,
    keys::{
        finding::Finding,
        keyring::{RotationId, VersionId},
    },
};

/// What to do, in order; what is waited for; and what the operator should know.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The steps that can be taken now, the most urgent first. They do not depend on each other, but the plan is made
    /// again after each.
    pub steps: Vec<Planned>,
    /// What is waited for before anything else can be done about a key.
    pub waits: Vec<Wait>,
    /// Problems.
    pub findings: Vec<Finding>,
}

impl Plan {
    /// Returns when the first of the waits ends.
    pub fn next_at(&self) -> Option<Timestamp> {
        self.waits.iter().filter_map(Wait::until).min()
    }

    /// Whether the plan contains this step.
    pub fn contains(&self, step: &Step) -> bool {
        self.steps.iter().any(|planned| planned.step == *step)
    }
}

/// A step and why it is taken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Planned {
    /// The step.
    pub step: Step,
    /// The reason, for the log.
    pub reason: &'static str,
}

/// One thing to do. Each step begins or ends with one write of the keyring.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Step {
    /// Ends rotations that have nothing left to do.
    Settle,
    /// Begins a rotation because `rotation.every` has passed.
    Schedule,
    /// Begins an emergency rotation of a pair that was deleted in IVS on purpose.
    Replace(VersionId),
    /// Imports a version, or finds that IVS has it.
    Import(VersionId),
    /// Records since when IVS does not have the pair of the active version.
    RecordMissing(VersionId),
    /// Imports a version again whose pair was deleted in IVS.
    Reimport(VersionId),
    /// Records that IVS has a missing pair after all.
    Recover(VersionId),
    /// Makes the new key of a rotation sign.
    Activate(RotationId),
    /// Stops signing with the leaked key in an emergency, before there is a new one.
    Withdraw(VersionId),
    /// Records when a version was first seen to drain.
    ConfirmDrain(VersionId),
    /// Records that the pair of a version is to be deleted.
    Retire(VersionId),
    /// Deletes the pair of a retiring version, and records that.
    Delete(VersionId),
    /// Records that IVS has a key of the keyring a second time.
    RecordDuplicate(VersionId, PlaybackKeyArn),
    /// Deletes such a duplicate pair.
    DeleteDuplicate(VersionId, PlaybackKeyArn),
}
impl Step {
    /// Whether the step writes the keyring and calls no one, so that IVS has what it had before.
    pub const fn only_writes(&self) -> bool {
        match self {
            Self::Settle
            | Self::RecordMissing(_)
            | Self::Recover(_)
            | Self::Activate(_)
            | Self::Withdraw(_)
            | Self::ConfirmDrain(_)
            | Self::Retire(_)
            | Self::RecordDuplicate(..) => true,
            Self::Schedule
            | Self::Replace(_)
            | Self::Import(_)
            | Self::Reimport(_)
            | Self::Delete(_)
            | Self::DeleteDuplicate(..) => false,
        }
    }

    /// Returns the word for metrics and logs.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Settle => "settle",
            Self::Schedule => "schedule",
            Self::Replace(_) => "replace",
            Self::Import(_) => "import",
            Self::RecordMissing(_) => "note_missing",
            Self::Reimport(_) => "reimport",
            Self::Recover(_) => "recover",
            Self::Activate(_) => "activate",
            Self::Withdraw(_) => "withdraw",
            Self::ConfirmDrain(_) => "confirm_drain",
            Self::Retire(_) => "retire",
            Self::Delete(_) => "delete",
            Self::RecordDuplicate(..) => "note_stray",
            Self::DeleteDuplicate(..) => "delete_stray",
        }
    }

    /// Returns the version concerned.
    pub const fn version(&self) -> Option<&VersionId> {
        match self {
            Self::Replace(id)
            | Self::Import(id)
            | Self::RecordMissing(id)
            | Self::Reimport(id)
            | Self::Recover(id)
            | Self::Withdraw(id)
            | Self::ConfirmDrain(id)
            | Self::Retire(id)
            | Self::Delete(id)
            | Self::RecordDuplicate(id, _)
            | Self::DeleteDuplicate(id, _) => Some(id),
            Self::Settle | Self::Schedule | Self::Activate(_) => None,
        }
    }

    /// Returns the rotation concerned.
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
    /// Until the operator confirms that no other signer uses a key.
    Release(PlaybackKeyArn),
    /// Until the claim of another process ends.
    Claim(Timestamp),
    /// Until a rotation is due.
    Schedule(Timestamp),
    /// Until a slot in IVS is free.
    Slot,
}

impl Wait {
    /// Returns when it ends, if that is known.
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
