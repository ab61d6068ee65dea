//! Why an operation on key pairs failed.

use super::refusal::Refusal;
use crate::{
    ivs::{
        IvsError,
        arn::{PlaybackKeyArn, Region},
    },
    keys::{
        material::KeyMaterialError,
        service::{Names, PairName},
        store::StoreError,
    },
};

/// Why an operation on key pairs failed. Unless the variant says otherwise, the same request can be repeated, and
/// continues where it stopped.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OperationError {
    /// The configuration forbids this process to change keys.
    #[error(
        "this process does not manage keys (keys.manage = false); run the command where it is true"
    )]
    NotManaged,
    /// The state of the keys does not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// [`Refusal::LostKeyring`] together with the store, which pure decisions do not know.
    #[error(
        "IVS has playback key pairs in {region} that this program imported, and their private keys \
         are not in {store}: {}. Either point this process at the store that has them, import a \
         private key with `keys import --private-key FILE`, or start over with \
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
    /// IVS imported another key than the one that was sent.
    #[error(
        "{arn} has another fingerprint in IVS than the key has here, so it was not used; delete \
         it with `keys delete {arn}` and try again"
    )]
    FingerprintMismatch {
        /// The pair.
        arn: PlaybackKeyArn,
    },
    /// Other processes wrote the keyring again and again.
    #[error("other processes keep writing the keyring; try again")]
    Contended,
    /// The program is shutting down.
    #[error("the operation was interrupted; try again")]
    Interrupted,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// IVS failed.
    #[error(transparent)]
    Ivs(#[from] IvsError),
    /// The key cannot be used.
    #[error(transparent)]
    KeyMaterial(#[from] KeyMaterialError),
}

impl OperationError {
    /// Whether repeating the step changes nothing until someone helps.
    pub(super) fn needs_help(&self) -> bool {
        match self {
            Self::Ivs(error) => match error {
                IvsError::Denied { .. }
                | IvsError::NoCredentials
                | IvsError::QuotaExceeded { .. }
                | IvsError::Invalid { .. } => true,
                IvsError::Throttled
                | IvsError::NotFound
                | IvsError::Conflict { .. }
                | IvsError::Unavailable { .. }
                | IvsError::TimedOut => false,
            },
            Self::Refused(refusal) => matches!(
                refusal,
                Refusal::Quota { .. }
                    | Refusal::OtherAccount { .. }
                    | Refusal::RotationNotFound
                    | Refusal::Unsafe(_)
            ),
            Self::NotManaged | Self::FingerprintMismatch { .. } | Self::Interrupted => true,
            Self::LostKeyring { .. } | Self::Contended | Self::Store(_) | Self::KeyMaterial(_) => {
                false
            }
        }
    }

    /// Returns the word for metrics.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Ivs(error) => error.kind(),
            Self::Store(_) => "store",
            Self::Refused(Refusal::Claimed { .. }) => "claimed",
            Self::Refused(Refusal::Quota { .. }) => "quota",
            Self::NotManaged
            | Self::Refused(_)
            | Self::LostKeyring { .. }
            | Self::FingerprintMismatch { .. }
            | Self::Contended
            | Self::Interrupted
            | Self::KeyMaterial(_) => "failed",
        }
    }
}
