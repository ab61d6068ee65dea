//! Why an operation on key pairs was not done.

use std::fmt;

use crate::{
    clock::Timestamp,
    ivs::{
        IvsError,
        arn::{AccountId, PlaybackKeyArn, Region},
    },
    keys::{
        keyring::{Claim, ClaimOp, KeyReused, PRESENT_MAX, RotationId},
        lifecycle::invariants::Violation,
        material::KeyMaterialError,
        store::StoreError,
        survey::{KEY_PAIR_QUOTA, Names, PairName},
    },
};

/// Why an operation on key pairs was not done. Unless the variant says otherwise, the same operation
/// may be asked for again, and goes on where it stopped.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OperationError {
    /// This process was told to leave keys alone.
    #[error(
        "this process does not manage keys (keys.manage = false); run the command where it is true"
    )]
    NotManaged,
    /// A rotation is under way, and another one cannot be begun beside it.
    #[error(
        "rotation {id} is under way, and IVS has no slot for another key; wait until it is done, \
         or see `keys status`"
    )]
    RotationInProgress {
        /// Which.
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
    /// Nobody else ever signed with the pair.
    #[error("{arn} was made here, so there is no other signer to release it from")]
    NotAdopted {
        /// The pair.
        arn: PlaybackKeyArn,
    },
    /// The plan asked for something that would harm. Only a defect does.
    #[error("refused to go on: {0}. Please report this")]
    Unsafe(#[from] Violation),
    /// IVS has pairs of a keyring of ours; [`OperationError::LostKeyring`] without the place, which the
    /// rules do not know.
    #[error("IVS has playback key pairs of a keyring that is lost: {}", Names(pairs))]
    LostPairs {
        /// The pairs.
        pairs: Vec<PairName>,
    },
    /// IVS has pairs of a keyring of ours, and the store lacks their private halves.
    #[error(
        "IVS has playback key pairs in {region} that this program imported, and their private keys \
         are not in {store}: {}. Either point this process at the store that has them, import a \
         private key with `keys import --private-key FILE`, or start anew with \
         `keys rotate --new-keyring`",
        Names(pairs)
    )]
    LostKeyring {
        /// The region.
        region: Region,
        /// Which store lacks them.
        store: String,
        /// The pairs.
        pairs: Vec<PairName>,
    },
    /// There is no room for another key.
    #[error("{full}")]
    Quota {
        /// Where there is none.
        full: Full,
    },
    /// IVS answered for another account.
    #[error(
        "{said_by} names account {expected}, but the AWS credentials or the key pair are of account \
         {found}; use those of {expected}, or {}",
        said_by.way_out()
    )]
    OtherAccount {
        /// Whose the pairs should be.
        expected: AccountId,
        /// Who says so.
        said_by: AccountSource,
        /// Whose they are.
        found: AccountId,
    },
    /// The ARN is of another region.
    #[error("the key pair is in {found}, not in {expected}")]
    OtherRegion {
        /// The region of the ARN.
        found: Region,
        /// The region of this keyring.
        expected: Region,
    },
    /// What IVS imported is another key than what was sent.
    #[error(
        "{arn} has another fingerprint in IVS than the key has here, so it was not used; delete \
         it with `keys delete {arn}` and try again"
    )]
    FingerprintMismatch {
        /// The pair.
        arn: PlaybackKeyArn,
    },
    /// Somebody else is at it.
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
        /// Where it was looked for.
        region: Region,
    },
    /// The key is known to be in wrong hands.
    #[error("this key was retired as compromised and is not imported again; make a new one")]
    Compromised,
    /// The version was cancelled or deleted while it was being imported.
    #[error("the key was deleted by somebody else in the meantime")]
    Deleted,
    /// The same `Idempotency-Key` came with another request. Not to be repeated.
    #[error("this Idempotency-Key was used for another request; use a new one")]
    IdempotencyKeyReused,
    /// Others wrote the keyring without end.
    #[error("the keyring is being written by other processes all the time; try again")]
    Contended,
    /// The program is shutting down.
    #[error("the operation was broken off; ask for it again")]
    BrokenOff,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// IVS failed.
    #[error(transparent)]
    Ivs(#[from] IvsError),
    /// The key itself.
    #[error(transparent)]
    KeyMaterial(#[from] KeyMaterialError),
}

/// Who says which account the pairs belong to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AccountSource {
    /// The pairs that the keyring knows.
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

impl From<KeyReused> for OperationError {
    fn from(_: KeyReused) -> Self {
        Self::IdempotencyKeyReused
    }
}

impl From<Claim> for OperationError {
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

/// Where there is no room for another key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Full {
    /// IVS holds as many pairs as it allows in a region.
    Region {
        /// All of them.
        pairs: Vec<PairName>,
        /// Those that are not of this keyring.
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
                write!(f, "IVS allows {quota} playback key pairs in a region, and there are: ")?;
                write!(f, "{}. ", Names(pairs))?;
                if !foreign.is_empty() {
                    write!(f, "Not of this keyring: {}. ", Names(foreign))?;
                }
                f.write_str("Delete one that nobody signs with, with `keys delete ARN`")
            }
            Self::Keyring => write!(
                f,
                "the keyring of this region has {PRESENT_MAX} keys that are not retired, which is \
                 as many as it takes; `keys list` shows them. Delete those that nobody signs with, \
                 with `keys delete ARN`, or wait until imports under way are done"
            ),
        }
    }
}

/// Why a pair cannot be deleted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum InUse {
    /// It signs.
    Active,
    /// Tokens that it signed may still be about to start playback; `force` cuts them.
    Draining,
    /// It is being deleted already.
    Retiring,
    /// Somebody is at it.
    Claimed,
}

impl fmt::Display for InUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Active => "it signs; rotate first",
            Self::Draining => {
                "tokens that it signed may still be about to start playback; delete it with force \
                 to cut them off"
            }
            Self::Retiring => "it is being deleted already",
            Self::Claimed => "another process is busy with it; try again in a minute",
        })
    }
}
