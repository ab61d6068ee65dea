//! Why a region cannot sign.

use std::time::Duration;

use super::signer::SignError;
use crate::{
    clock::Timestamp,
    ivs::arn::{PlaybackKeyArn, Region},
    keys::{
        finding::{Finding, FindingCode},
        keyring::UnrecordedLimit,
        store::StoreError,
    },
};

/// Why there is no key to sign with. All of them are `no_active_key` to a caller.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoSigner {
    /// The region is not one of ours.
    #[error("{region} is not configured; add it to ivs.regions")]
    UnknownRegion {
        /// The region that was asked for.
        region: Region,
    },
    /// Nobody made a key yet.
    #[error("{region} has no playback key yet; make one with `keys rotate --region {region}`")]
    EmptyKeyring {
        /// The region.
        region: Region,
    },
    /// There are keys, but none is active.
    #[error("{region} has no active playback key; make one with `keys rotate --region {region}`")]
    NoActiveKey {
        /// The region.
        region: Region,
    },
    /// The pair in IVS is another key than the keyring says.
    #[error(
        "the active pair {arn} has another fingerprint in IVS than in the keyring, so tokens would \
         be useless; rotate with `keys rotate --emergency --region {region}`",
        region = arn.region()
    )]
    FingerprintMismatch {
        /// The pair.
        arn: PlaybackKeyArn,
    },
    /// Somebody deleted the active pair in IVS, and it was not put back in time.
    #[error(
        "the active pair {arn} was deleted in IVS and could not be put back yet; the log says why"
    )]
    PairMissing {
        /// The pair.
        arn: PlaybackKeyArn,
    },
    /// The active key cannot be used.
    #[error("the active key of {region} cannot sign: {cause}")]
    Unusable {
        /// The region.
        region: Region,
        /// Why.
        cause: SignError,
    },
    /// The keyring could not be read since this process began.
    #[error("the keyring of {region} could not be read: {cause}")]
    NotRead {
        /// The region.
        region: Region,
        /// Why.
        cause: RefreshError,
    },
    /// The keyring was read too long ago to sign with it, and cannot be read now.
    #[error(
        "the keyring of {region} was last read {} s ago, which is too long to sign with it: {cause}",
        age.as_secs()
    )]
    TooOld {
        /// The region.
        region: Region,
        /// The age of what was read.
        age: Duration,
        /// Why it cannot be read now.
        cause: RefreshError,
    },
}

/// Why a keyring could not be read anew.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RefreshError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store does not answer.
    #[error("the store does not answer; check its disk or network")]
    TimedOut,
    /// A rotation could delete a key while tokens of this process live, or while it still signs with
    /// it; and this process may not write the keyring.
    #[error("{0}")]
    UnrecordedLimit(UnrecordedLimit),
    /// Nothing was tried yet.
    #[error("it was not read yet")]
    NotTried,
}

impl NoSigner {
    /// Reports it.
    pub fn finding(&self) -> Finding {
        let code = match self {
            Self::EmptyKeyring { .. } | Self::NoActiveKey { .. } => FindingCode::NoActiveKey,
            Self::FingerprintMismatch { .. } => FindingCode::FingerprintMismatch,
            Self::PairMissing { .. } => FindingCode::ActiveKeyPairMissing,
            Self::NotRead { cause, .. } => cause.finding_code(),
            Self::TooOld { .. } => FindingCode::KeyringTooOld,
            Self::Unusable { .. } => FindingCode::KeyUnusable,
            Self::UnknownRegion { .. } => FindingCode::RegionNotServed,
        };
        let finding = Finding::complete(code, self.to_string());
        match self {
            Self::EmptyKeyring { .. }
            | Self::NoActiveKey { .. }
            | Self::UnknownRegion { .. }
            | Self::NotRead { cause: RefreshError::UnrecordedLimit(_), .. }
            | Self::TooOld { cause: RefreshError::UnrecordedLimit(_), .. } => finding.public(),
            Self::FingerprintMismatch { .. }
            | Self::PairMissing { .. }
            | Self::Unusable { .. }
            | Self::NotRead { .. }
            | Self::TooOld { .. } => finding,
        }
    }
}

impl RefreshError {
    /// The code under which it is reported.
    pub fn finding_code(&self) -> FindingCode {
        match self {
            Self::UnrecordedLimit(limit) => limit.code,
            Self::Store(_) | Self::TimedOut | Self::NotTried => FindingCode::KeyringUnreadable,
        }
    }

    /// Reports that reads have failed since `since`.
    pub fn finding(&self, since: Timestamp) -> Finding {
        let detail = format!("the keyring cannot be read since {since}: {self}");
        let finding = Finding::complete(self.finding_code(), detail);
        if let Self::UnrecordedLimit(_) = self { finding.public() } else { finding }
    }
}
