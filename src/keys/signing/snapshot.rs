//! What is read of a region: a load of the store, and the immutable snapshot that it leaves.
//!
//! A caller that goes away, or a time-out, may interrupt a load. One that hangs may hold a thread that
//! nothing can end, so there is never a second one beside it: the next refresh waits for the same load,
//! then begins its own.

use std::{collections::BTreeSet, fmt, pin::Pin, sync::Arc, time::Duration};

use super::{
    error::{NoSigner, RefreshError},
    signer::Signer,
};
use crate::{
    clock::{Moment, Timestamp},
    ivs::arn::Region,
    keys::{
        keyring::{Keyring, Limits, VersionId},
        store::{Revision, Store, StoreError, Stored},
    },
};

/// How often raising the recorded limits is tried while others write.
const RAISE_ATTEMPTS: usize = 5;

/// What was last read of one region.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    /// `None` before the first successful read.
    pub(super) read: Option<Arc<Read>>,
    /// How many reads have ended.
    pub(super) attempts: u64,
    /// When the last of them began, and when it ended (monotonic).
    pub(super) tried_at: Option<Duration>,
    pub(super) ended_at: Option<Duration>,
    /// Why the last read failed, and since when reads do.
    pub(super) failure: Option<(Timestamp, RefreshError)>,
}

/// One successful read.
#[derive(Debug)]
pub(super) struct Read {
    /// Taken before the store was asked, so that the age is never understated.
    pub(super) at: Moment,
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
}

/// Returns the signer of the active version; the one that signed before, if it is still the same.
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

type Loaded = Result<Option<Stored>, RefreshError>;

/// A load in progress.
pub(super) struct Loading(Pin<Box<dyn Future<Output = Loaded> + Send>>);

impl fmt::Debug for Loading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Loading")
    }
}

/// Reads the keyring once `unfinished` has ended. If it is dropped early, the load under way stays in
/// `unfinished`.
pub(super) async fn read_again(
    unfinished: &mut Option<Loading>,
    store: &Arc<dyn Store>,
    region: &Region,
    limits: Limits,
    manage: bool,
) -> Loaded {
    if let Some(Loading(earlier)) = unfinished {
        // Its result may be older than what the caller waits for.
        drop(earlier.await);
        *unfinished = None;
    }
    let load = load(Arc::clone(store), region.clone(), limits, manage);
    let Loading(load) = unfinished.insert(Loading(Box::pin(load)));
    let loaded = load.await;
    *unfinished = None;
    loaded
}

async fn load(store: Arc<dyn Store>, region: Region, limits: Limits, manage: bool) -> Loaded {
    for _ in 0..RAISE_ATTEMPTS {
        let Some((stored, revision)) = store.load(&region).await? else {
            return Ok(None);
        };
        match raise_limits(&*store, &region, limits, manage, stored, revision).await {
            Err(RefreshError::Store(StoreError::Conflict)) => {}
            raised => return raised.map(Some),
        }
    }
    Err(StoreError::Conflict.into())
}

/// Makes the keyring record how long tokens live and how long this process uses a keyring, before
/// anything is signed: rotations compute from it when the old key may be deleted.
async fn raise_limits(
    store: &dyn Store,
    region: &Region,
    limits: Limits,
    manage: bool,
    mut stored: Stored,
    revision: Revision,
) -> Result<Stored, RefreshError> {
    let keyring = &mut stored.keyring;
    let raised: Vec<_> = limits.beyond(keyring.limits()).collect();
    let Some(first) = raised.first().filter(|_| keyring.active().is_some()) else {
        return Ok(stored);
    };
    if !manage {
        return Err(RefreshError::UnrecordedLimit(*first));
    }
    keyring.raise_limits(limits);
    store.replace(region, Some(revision), &stored).await?;
    for limit in raised {
        tracing::info!(
            event = "keyring_limit_raised",
            %region,
            setting = limit.key,
            fromSeconds = limit.recorded.as_secs(),
            toSeconds = limit.configured.as_secs(),
            "the keyring records a larger limit"
        );
    }
    Ok(stored)
}
