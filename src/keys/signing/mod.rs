//! What each mint reads: the region's active signer, and the age rule.
//!
//! A snapshot is immutable and exchanged as a whole, so a mint takes no lock and parses no key.
//! It may be used until it is [`SigningKeysSettings::max_staleness`] old, by the wall clock or the
//! monotonic one, whichever says more: a process that was frozen, or whose clock was set back, must
//! not sign with a key that a rotation has since deleted. Rotations wait that long before they
//! delete, which is what makes the rule sufficient.

mod error;
mod signer;
mod snapshot;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};
use rand::RngExt as _;
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    keyring::{KeyState, KeyVersion, Keyring, Limits, VersionId},
    material::{Fingerprint, PublicKey},
    store::Store,
};
use crate::{
    clock::{Clock, Moment, Timestamp},
    ivs::arn::Region,
    secret::system_rng,
};

use self::snapshot::{Loading, Read, Snapshot, log_change, signer_of};
pub use self::{
    error::{NoSigner, RefreshError},
    signer::{SIGNATURE_LENGTH, SignError, Signer},
};

/// How long a store may take. One that hangs is asked no more for as long, but for the background task.
const REFRESH_DEADLINE: Duration = Duration::from_secs(5);
/// Between two attempts that mints ask for, so that a rush on a dead store is no rush there.
const REFRESH_PAUSE: Duration = Duration::from_secs(1);

/// The settings of [`SigningKeys`].
#[derive(Clone, Copy, Debug)]
pub struct SigningKeysSettings {
    /// `keys.refresh_every`: how often the store is read again.
    pub refresh_every: Duration,
    /// `keys.max_staleness`: how old a keyring may be to sign with it.
    pub max_staleness: Duration,
    /// What the keyring must record before this process signs with it.
    pub limits: Limits,
    /// `keys.manage`: whether this process may write keyrings.
    pub manage: bool,
    /// `rotation.heal_wait`: how long a key signs on whose pair somebody deleted in IVS.
    pub heal_wait: Duration,
}

/// The signing keys of all regions.
#[derive(Debug)]
pub struct SigningKeys {
    store: Arc<dyn Store>,
    clock: Clock,
    settings: SigningKeysSettings,
    regions: BTreeMap<Region, RegionKeys>,
}

#[derive(Debug)]
struct RegionKeys {
    snapshot: ArcSwap<Snapshot>,
    /// Held over a refresh; mints that must wait for one wait here, and share what it brings. Holds
    /// what an earlier one began and did not see the end of.
    refreshing: tokio::sync::Mutex<Option<Loading>>,
    /// A mint found the snapshot older than `refresh_every`.
    wake: Notify,
    /// Versions whose pair in IVS has another fingerprint. Neither a pair nor the key of a version can
    /// change, so once in here, a version stays.
    distrusted: Mutex<BTreeSet<VersionId>>,
}

/// How one region stands, for readiness and metrics.
#[derive(Clone, Debug)]
pub struct RegionStatus {
    /// The region.
    pub region: Region,
    /// The signer, judged by the age rule.
    pub signer: Result<Arc<Signer>, NoSigner>,
    /// How long ago the keyring was read; `None` if never.
    pub keyring_age: Option<Duration>,
    /// Since when reads fail, and why the last one did.
    pub failing: Option<(Timestamp, RefreshError)>,
}

/// A public key that tokens may be signed with now or soon, for the JWK set.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PublishedKey {
    /// The key.
    pub public_key: PublicKey,
    /// Its fingerprint: the `kid`.
    pub fingerprint: Fingerprint,
    /// Pending, imported, active or draining.
    pub state: KeyState,
}

impl SigningKeys {
    /// The signing keys of `regions`; nothing is read yet.
    pub fn new(
        store: Arc<dyn Store>,
        regions: impl IntoIterator<Item = Region>,
        clock: Clock,
        settings: SigningKeysSettings,
    ) -> Self {
        let empty = || RegionKeys {
            snapshot: ArcSwap::from_pointee(Snapshot::default()),
            refreshing: tokio::sync::Mutex::default(),
            wake: Notify::new(),
            distrusted: Mutex::default(),
        };
        let regions = regions.into_iter().map(|region| (region, empty())).collect();
        Self { store, clock, settings, regions }
    }

    /// The regions, in order.
    pub fn regions(&self) -> impl Iterator<Item = &Region> {
        self.regions.keys()
    }

    /// The key that signs for `region`.
    ///
    /// `now` and `monotonic` are the caller's, read together, and `now` must be the time that the
    /// token is issued at: a process that is stopped after this call then signs a token that has
    /// expired, not one that outlives its key.
    ///
    /// # Errors
    ///
    /// There is none, or what is known of it is too old and cannot be renewed.
    pub async fn signer(
        &self,
        region: &Region,
        now: Timestamp,
        monotonic: Duration,
    ) -> Result<Arc<Signer>, NoSigner> {
        let keys = self.keys(region)?;
        let now = Moment { wall: now, monotonic };
        {
            let snapshot = keys.snapshot.load();
            if let Some(read) = &snapshot.read {
                let age = read.at.until(now);
                if age > self.settings.refresh_every {
                    keys.wake.notify_one();
                }
                if age < self.settings.max_staleness {
                    return read.signer(now.wall, self.settings.heal_wait);
                }
            }
        }
        let cause = self.refresh_for_mint(region, keys, now.monotonic).await;
        self.judge(region, &keys.snapshot.load_full(), now, cause)
    }

    /// Reads the keyring of `region` again. Calls that wait for the same read share it.
    ///
    /// # Errors
    ///
    /// It could not be read, or not be signed with; what was read before stays in use until it is
    /// too old.
    pub async fn refresh(&self, region: &Region) -> Result<(), RefreshError> {
        let Ok(keys) = self.keys(region) else {
            return Ok(());
        };
        let asked_at = self.clock.monotonic();
        let attempts_before = keys.snapshot.load().attempts;
        let mut unfinished = keys.refreshing.lock().await;
        let before = keys.snapshot.load_full();
        let began_since = before.tried_at.is_some_and(|tried_at| tried_at > asked_at);
        // Who waited for a store that hung need not wait for it once more.
        let hung_since = before.hung() && before.attempts > attempts_before;
        if began_since || hung_since {
            return before.failure.as_ref().map_or(Ok(()), |(_, error)| Err(error.clone()));
        }
        let at = Moment::of(&self.clock);
        let SigningKeysSettings { limits, manage, .. } = self.settings;
        let load = snapshot::read_again(&mut unfinished, &self.store, region, limits, manage);
        let loaded = tokio::time::timeout(REFRESH_DEADLINE, load).await;
        let loaded = loaded.unwrap_or(Err(RefreshError::TimedOut));
        let (read, failure) = match loaded {
            Ok(stored) => {
                let distrusted = keys.distrusted().clone();
                let signer = signer_of(region, stored.as_ref(), before.signer(), &distrusted);
                let keyring = stored.map(|stored| Arc::new(stored.keyring));
                (Some(Arc::new(Read { at, keyring, signer })), None)
            }
            Err(error) => {
                let since = before.failure.as_ref().map_or(at.wall, |(since, _)| *since);
                (before.read.clone(), Some((since, error)))
            }
        };
        let after = Snapshot {
            read,
            attempts: before.attempts + 1,
            tried_at: Some(at.monotonic),
            ended_at: Some(self.clock.monotonic()),
            failure,
        };
        log_change(region, &before, &after);
        let outcome = after.failure.as_ref().map_or(Ok(()), |(_, error)| Err(error.clone()));
        keys.snapshot.store(Arc::new(after));
        outcome
    }

    /// Reads every region once, at start.
    pub async fn refresh_all(&self) {
        for region in self.regions.keys() {
            // A failure is in the status, and mints report it.
            let _ = self.refresh(region).await;
        }
    }

    /// Keeps every region fresh until `shutdown`.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let tasks = TaskTracker::new();
        for region in self.regions.keys() {
            let (keys, region) = (Arc::clone(&self), region.clone());
            let shutdown = shutdown.clone();
            tasks.spawn(async move {
                shutdown.run_until_cancelled(keys.keep_fresh(&region)).await;
            });
        }
        tasks.close();
        tasks.wait().await;
    }

    /// Never signs with `version` again: its pair in IVS has another fingerprint than its public
    /// half. Returns whether that is new.
    pub async fn distrust(&self, region: &Region, version: &VersionId) -> bool {
        let Ok(keys) = self.keys(region) else { return false };
        if keys.distrusted().contains(version) {
            return false;
        }
        // Under the same lock as refreshes, so that none brings the signer back.
        let _refreshing = keys.refreshing.lock().await;
        let is_new = keys.distrusted().insert(version.clone());
        let mut snapshot = Snapshot::clone(&keys.snapshot.load());
        let Some(read) = &snapshot.read else { return is_new };
        let Ok(signer) = &read.signer else { return is_new };
        if signer.version_id() != version {
            return is_new;
        }
        let mismatch = NoSigner::FingerprintMismatch { arn: signer.arn().clone() };
        tracing::error!(event = "key_distrusted", %region, error = %mismatch, "signing stopped");
        snapshot.read = Some(Arc::new(Read {
            at: read.at,
            keyring: read.keyring.clone(),
            signer: Err(mismatch),
        }));
        keys.snapshot.store(Arc::new(snapshot));
        is_new
    }

    /// How a region stands.
    pub fn status(&self, region: &Region) -> RegionStatus {
        let now = Moment::of(&self.clock);
        let snapshot = self.keys(region).ok().map(|keys| keys.snapshot.load_full());
        let signer = match &snapshot {
            Some(snapshot) => {
                let cause = snapshot.failure.as_ref().map(|(_, error)| error.clone());
                let cause = cause.unwrap_or(RefreshError::NotTried);
                self.judge(region, snapshot, now, cause)
            }
            None => Err(NoSigner::UnknownRegion { region: region.clone() }),
        };
        let read = snapshot.as_ref().and_then(|snapshot| snapshot.read.as_ref());
        RegionStatus {
            region: region.clone(),
            signer,
            keyring_age: read.map(|read| read.at.until(now)),
            failing: snapshot.and_then(|snapshot| snapshot.failure.clone()),
        }
    }

    /// The keyring that was last read, without private halves.
    pub fn keyring(&self, region: &Region) -> Option<Arc<Keyring>> {
        let snapshot = self.keys(region).ok()?.snapshot.load_full();
        snapshot.read.as_ref()?.keyring.clone()
    }

    /// The public keys of the region's pending, active and draining pairs.
    pub fn public_keys(&self, region: &Region) -> Vec<PublishedKey> {
        let published = |version: &KeyVersion| {
            let state = version.state;
            let (public_key, fingerprint) = (version.public_key.clone(), version.fingerprint);
            match state {
                KeyState::Pending | KeyState::Imported | KeyState::Active | KeyState::Draining => {
                    Some(PublishedKey { public_key, fingerprint, state })
                }
                KeyState::Retiring | KeyState::Retired => None,
            }
        };
        self.keyring(region)
            .map(|keyring| keyring.keys.iter().filter_map(published).collect())
            .unwrap_or_default()
    }

    /// The versions that are another key in IVS.
    pub fn distrusted(&self, region: &Region) -> BTreeSet<VersionId> {
        self.keys(region).map(|keys| keys.distrusted().clone()).unwrap_or_default()
    }

    fn keys(&self, region: &Region) -> Result<&RegionKeys, NoSigner> {
        self.regions.get(region).ok_or_else(|| NoSigner::UnknownRegion { region: region.clone() })
    }

    /// Reads the keyring for a mint that cannot do without; returns why that failed, if it did.
    async fn refresh_for_mint(
        &self,
        region: &Region,
        keys: &RegionKeys,
        monotonic: Duration,
    ) -> RefreshError {
        let snapshot = keys.snapshot.load_full();
        if let Some((_, error)) = &snapshot.failure {
            let pause = if snapshot.hung() { REFRESH_DEADLINE } else { REFRESH_PAUSE };
            let ended_at = snapshot.ended_at.unwrap_or_default();
            let just_failed = monotonic.saturating_sub(ended_at) < pause;
            let is_hanging = snapshot.hung() && keys.refreshing.try_lock().is_err();
            if just_failed || is_hanging {
                return error.clone();
            }
        }
        match self.refresh(region).await {
            Ok(()) => RefreshError::NotTried,
            Err(error) => error,
        }
    }

    /// The age rule, on a snapshot that could not be made fresher because of `cause`.
    fn judge(
        &self,
        region: &Region,
        snapshot: &Snapshot,
        now: Moment,
        cause: RefreshError,
    ) -> Result<Arc<Signer>, NoSigner> {
        let region = region.clone();
        let Some(read) = &snapshot.read else {
            return Err(NoSigner::NotRead { region, cause });
        };
        let age = read.at.until(now);
        if age >= self.settings.max_staleness {
            return Err(NoSigner::TooOld { region, age, cause });
        }
        read.signer(now.wall, self.settings.heal_wait)
    }

    async fn keep_fresh(&self, region: &Region) {
        let Ok(keys) = self.keys(region) else { return };
        loop {
            // Somewhat earlier than asked, so that replicas drift apart and never exceed it.
            let pause = self.settings.refresh_every.mul_f64(system_rng().random_range(0.8..1.0));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = keys.wake.notified() => {
                    let tried_at = keys.snapshot.load().tried_at.unwrap_or_default();
                    if self.clock.monotonic().saturating_sub(tried_at) < REFRESH_PAUSE {
                        continue;
                    }
                }
            }
            // A failure is in the status, and logged when it begins.
            let _ = self.refresh(region).await;
        }
    }
}

impl RegionKeys {
    fn distrusted(&self) -> MutexGuard<'_, BTreeSet<VersionId>> {
        self.distrusted.lock()
    }
}
