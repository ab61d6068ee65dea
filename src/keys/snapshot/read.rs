//! What was read of one region: immutable, and judged by its age.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{NoSigner, RefreshError};
use crate::{
    clock::{Moment, Timestamp},
    ivs::arn::Region,
    keys::{
        keyring::{Keyring, VersionId},
        signer::Signer,
        store::Stored,
    },
};

/// What was last read of one region.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    /// `None` before the first successful read.
    pub(super) read: Option<Arc<Read>>,
    /// How many reads have ended.
    pub(super) attempts: u64,
    /// When the last of them was begun, and when it ended (monotonic).
    pub(super) tried_at: Option<Duration>,
    pub(super) ended_at: Option<Duration>,
    /// Why the last read failed, and since when reads do.
    pub(super) failure: Option<(Timestamp, RefreshError)>,
}

#[derive(Debug)]
pub(super) struct Read {
    /// Taken before the store was asked, so that the age is never understated.
    pub(super) at: Timestamp,
    pub(super) at_monotonic: Duration,
    pub(super) keyring: Option<Arc<Keyring>>,
    pub(super) signer: Result<Arc<Signer>, NoSigner>,
}

impl Snapshot {
    /// Whether the last read ended because the store did not answer.
    pub(super) fn hung(&self) -> bool {
        matches!(self.failure, Some((_, RefreshError::TimedOut)))
    }

    pub(super) fn signer(&self) -> Option<&Arc<Signer>> {
        self.read.as_ref()?.signer.as_ref().ok()
    }
}

impl Read {
    /// The signer, unless IVS has not had its pair for `heal_wait`.
    pub(super) fn signer(
        &self,
        now: Timestamp,
        heal_wait: Duration,
    ) -> Result<Arc<Signer>, NoSigner> {
        let active = self.keyring.as_ref().and_then(|keyring| keyring.active());
        if let Some(active) = active
            && let (Some(since), Some(arn)) = (active.missing_since, &active.arn)
            && now.saturating_since(since) > heal_wait
        {
            return Err(NoSigner::PairMissing { arn: arn.clone() });
        }
        self.signer.clone()
    }

    /// By the wall clock or the monotonic one, whichever says more.
    pub(super) fn age(&self, now: Timestamp, monotonic: Duration) -> Duration {
        let read = Moment { wall: self.at, monotonic: self.at_monotonic };
        read.until(Moment { wall: now, monotonic })
    }
}

/// The signer of the active version: the one that signed before, where that is still it.
pub(super) fn signer_of(
    region: &Region,
    stored: Option<&Stored>,
    before: Option<&Arc<Signer>>,
    distrusted: &BTreeSet<VersionId>,
) -> Result<Arc<Signer>, NoSigner> {
    let empty = || NoSigner::EmptyKeyring { region: region.clone() };
    let none = || NoSigner::NoActiveKey { region: region.clone() };
    let stored = stored.filter(|stored| !stored.keyring.keys.is_empty()).ok_or_else(empty)?;
    let version = stored.keyring.active().ok_or_else(none)?;
    // The rules of keyrings, and every store, promise both.
    let (Some(private), Some(arn)) = (stored.private_keys.get(&version.id), &version.arn) else {
        return Err(none());
    };
    if distrusted.contains(&version.id) {
        return Err(NoSigner::FingerprintMismatch { arn: arn.clone() });
    }
    if let Some(before) = before.filter(|it| it.version_id() == &version.id && it.arn() == arn) {
        return Ok(Arc::clone(before));
    }
    Signer::new(private, arn.clone(), version.id.clone())
        .map(Arc::new)
        .map_err(|cause| NoSigner::Unusable { region: region.clone(), cause })
}

pub(super) fn log_change(region: &Region, before: &Snapshot, after: &Snapshot) {
    match (&before.failure, &after.failure) {
        (None, Some((_, error))) => {
            tracing::warn!(event = "keyring_unreadable", %region, %error, "cannot read the keyring");
        }
        (Some(_), None) => {
            tracing::info!(event = "keyring_readable", %region, "the keyring can be read again");
        }
        (None, None) | (Some(_), Some(_)) => {}
    }
    let id = |snapshot: &Snapshot| snapshot.signer().map(|signer| signer.version_id().clone());
    if id(before) == id(after) {
        return;
    }
    if let Some(signer) = after.signer() {
        let (arn, fingerprint) = (signer.arn(), signer.fingerprint());
        tracing::info!(
            event = "signer_changed",
            %region,
            keyPairArn = %arn,
            keyFingerprint = %fingerprint,
            "another key signs"
        );
    } else {
        tracing::warn!(event = "signer_lost", %region, "no key can sign");
    }
}
