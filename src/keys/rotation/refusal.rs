//! Why a change of a keyring is refused. Each refusal is decided from the keyring and an observation, without I/O.

use std::fmt;

use super::invariants::Violation;
use crate::{
    clock::Timestamp,
    ivs::arn::{AccountId, PlaybackKeyArn, Region},
    keys::{
        keyring::{Claim, ClaimOp, KeyReused, PRESENT_MAX, RotationId},
        service::{KEY_PAIR_QUOTA, Names, PairName},
    },
};

/// Why a change of a keyring is refused. Unless the variant says otherwise, the same request can be repeated, and
/// continues where it stopped.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// A rotation is in progress, and another one cannot start beside it.
    #[error(
        "rotation {id} is in progress, and IVS has no slot for another key; wait until it is done, \
         or see `keys status`"
    )]
    RotationInProgress {
        /// The rotation.
        id: RotationId,
    },
    /// There is no such rotation.
    #[error("there is no such rotation; `keys status` shows the last ones")]
    RotationNotFound,
    /// The rotation cannot be cancelled.
    #[error("the rotation cannot be cancelled: {reason}")]
    NotCancellable {
        /// Why.
        reason: &'static str,
    },
    /// There is no key to go back to.
    #[error("there is nothing to roll back: {reason}")]
    NothingToRollBack {
        /// Why.
        reason: &'static str,
    },
    /// No other signer ever used the pair.
    #[error("{arn} was created here, so there is no other signer to release it from")]
    NotAdopted {
        /// The pair.
        arn: PlaybackKeyArn,
    },
    /// A step would do harm. Only a bug in the plan asks for one.
    #[error("refused to continue: {0}. Please report this")]
    Unsafe(#[from] Violation),
    /// IVS has pairs of a keyring that the store does not have.
    #[error("IVS has playback key pairs of a keyring that is lost: {}", Names(pairs))]
    LostKeyring {
        /// The pairs.
        pairs: Vec<PairName>,
    },
    /// There is no room for another key.
    #[error("{full}")]
    Quota {
        /// What is full.
        full: Full,
    },
    /// A pair, or the AWS credentials, belong to another account.
    #[error(
        "{said_by} names account {expected}, but the AWS credentials or the key pair belong to \
         account {found}; use those of {expected}, or {}",
        said_by.way_out()
    )]
    OtherAccount {
        /// The account that should own the pairs.
        expected: AccountId,
        /// What names that account.
        said_by: AccountSource,
        /// The account that owns them.
        found: AccountId,
    },
    /// The ARN belongs to another region.
    #[error("the key pair is in {found}, not in {expected}")]
    OtherRegion {
        /// The region of the ARN.
        found: Region,
        /// The region of the keyring.
        expected: Region,
    },
    /// Another process has claimed the key.
    #[error("another process is busy with this key until {until} at the latest; try again then")]
    Claimed {
        /// What it is doing.
        op: ClaimOp,
        /// When its claim ends.
        until: Timestamp,
    },
    /// The pair cannot be deleted.
    #[error("{arn} cannot be deleted: {reason}")]
    InUse {
        /// The pair.
        arn: PlaybackKeyArn,
        /// Why.
        reason: InUse,
    },
    /// There is no such pair.
    #[error("there is no such playback key pair in {region}; see `keys list`")]
    NotFound {
        /// The region that was searched.
        region: Region,
    },
    /// The private half of the key is known to have leaked.
    #[error("this key was retired as compromised and is not imported again; make a new one")]
    Compromised,
    /// The version was cancelled or deleted while it was being imported.
    #[error("the key was deleted in the meantime")]
    Deleted,
    /// The same `Idempotency-Key` came with another request, which cannot be repeated.
    #[error("this Idempotency-Key was used for another request; use a new one")]
    IdempotencyKeyReused,
}

/// What names the account that the pairs belong to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AccountSource {
    /// The pairs in the keyring.
    Keyring,
    /// `ivs.account_id`
    Configuration,
}

impl AccountSource {
    fn way_out(self) -> &'static str {
        match self {
            Self::Keyring => "another key store",
            Self::Configuration => "correct ivs.account_id",
        }
    }
}

impl From<KeyReused> for Refusal {
    fn from(_: KeyReused) -> Self {
        Self::IdempotencyKeyReused
    }
}

impl From<Claim> for Refusal {
    fn from(Claim { op, until, .. }: Claim) -> Self {
        Self::Claimed { op, until }
    }
}

impl fmt::Display for AccountSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keyring => "the keyring",
            Self::Configuration => "ivs.account_id",
        })
    }
}

/// What has no room for another key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Full {
    /// IVS has as many pairs as it allows per region.
    Region {
        /// All of them.
        pairs: Vec<PairName>,
        /// Those that are not in the keyring.
        foreign: Vec<PairName>,
    },
    /// The keyring has [`PRESENT_MAX`] versions that are not retired.
    Keyring,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Region { pairs, foreign } => {
                let quota = KEY_PAIR_QUOTA;
                write!(f, "IVS allows {quota} playback key pairs per region, and there are: ")?;
                write!(f, "{}. ", Names(pairs))?;
                if !foreign.is_empty() {
                    write!(f, "Not of this keyring: {}. ", Names(foreign))?;
                }
                f.write_str("Delete one that no one signs with, with `keys delete ARN`")
            }
            Self::Keyring => write!(
                f,
                "the keyring of this region has {PRESENT_MAX} keys that are not retired, which is the \
                 most that it takes; `keys list` shows them. Delete those that no one signs with, with \
                 `keys delete ARN`, or wait until imports in progress are done"
            ),
        }
    }
}

/// Why a pair cannot be deleted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum InUse {
    /// It signs.
    Active,
    /// Tokens that it signed may still start playback; `force` cuts them off.
    Draining,
    /// It is being deleted already.
    Retiring,
    /// Another process has claimed it.
    Claimed,
}

impl fmt::Display for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "it signs; rotate first",
            Self::Draining => {
                "tokens that it signed may still start playback; delete it with force to cut them off"
            }
            Self::Retiring => "it is being deleted already",
            Self::Claimed => "another process is busy with it; try again in a minute",
        })
    }
}
