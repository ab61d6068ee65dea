//! Which key pairs there are: the keyring beside what IVS lists.
//!
//! [`merge()`] is pure. [`Inventory`] remembers the last listing of each region, so that showing it
//! costs no call, and asks IVS for each pair's fingerprint once: a pair cannot change. A pair whose
//! fingerprint is another than its version's is of no use, and the inventory is who notices: it
//! takes the version away from the signing keys.

mod merge;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{material::Fingerprint, snapshot::SigningKeys};
use crate::{
    clock::{Clock, Timestamp},
    ivs::{
        IvsError, KeyPair, KeyPairSummary, RegionalIvs,
        arn::{PlaybackKeyArn, Region},
    },
};

pub use merge::{KeyPairState, KeyPairView, ListedPair, merge};

/// Between two listings that callers ask for. IVS allows three a second, for everyone who uses the
/// account in the region.
pub const REFRESH_PAUSE: Duration = Duration::from_secs(2);

/// How often a listing is repeated because key pairs were changed meanwhile.
const LISTING_ATTEMPTS: u32 = 3;

/// The key pairs of all regions, as far as they are known.
#[derive(Debug)]
pub struct Inventory {
    signing_keys: Arc<SigningKeys>,
    clock: Clock,
    regions: BTreeMap<Region, RegionInventory>,
}

#[derive(Debug)]
struct RegionInventory {
    ivs: RegionalIvs,
    known: Mutex<Known>,
    /// When IVS was last asked (monotonic), and how that went; held while it is.
    asked: tokio::sync::Mutex<Option<(Duration, Result<(), IvsError>)>>,
}

#[derive(Debug, Default)]
struct Known {
    /// `None` before the first listing.
    pairs: Option<Vec<KeyPairSummary>>,
    checked_at: Option<Timestamp>,
    fingerprints: BTreeMap<PlaybackKeyArn, Fingerprint>,
    /// How many imports and deletions were noted, so that a listing from before one is known as such.
    changes: u64,
}

impl Inventory {
    /// The inventory of the regions that `ivs` are of; nothing is known yet.
    pub fn new(
        signing_keys: Arc<SigningKeys>,
        ivs: impl IntoIterator<Item = RegionalIvs>,
        clock: Clock,
    ) -> Self {
        let region = |ivs: RegionalIvs| {
            let name = ivs.region().clone();
            let asked = tokio::sync::Mutex::default();
            (name, RegionInventory { ivs, known: Mutex::default(), asked })
        };
        Self { signing_keys, clock, regions: ivs.into_iter().map(region).collect() }
    }

    /// The keyrings that the inventory sets beside what IVS lists.
    pub fn signing_keys(&self) -> &Arc<SigningKeys> {
        &self.signing_keys
    }

    /// The region's key pairs, and when IVS last listed them; asks nobody.
    pub fn key_pairs(&self, region: &Region) -> (Vec<KeyPairView>, Option<Timestamp>) {
        let keyring = self.signing_keys.keyring(region);
        let known = self.regions.get(region).map(RegionInventory::known);
        let listed = known.as_ref().and_then(|known| known.listed());
        let checked_at = known.as_ref().and_then(|known| known.checked_at);
        (merge(region, keyring.as_deref(), listed.as_deref()), checked_at)
    }

    /// Asks IVS, unless that was done within [`REFRESH_PAUSE`].
    ///
    /// # Errors
    ///
    /// IVS could not be asked; what was known before stays.
    pub async fn refresh(&self, region: &Region) -> Result<(), IvsError> {
        let Some(inventory) = self.regions.get(region) else {
            return Ok(());
        };
        let mut asked = inventory.asked.lock().await;
        let now = self.clock.monotonic();
        if let Some((at, outcome)) = &*asked
            && now.saturating_sub(*at) < REFRESH_PAUSE
        {
            return outcome.clone();
        }
        let outcome = self.ask(region, inventory).await;
        *asked = Some((now, outcome.clone()));
        outcome
    }

    /// Takes note of a listing that somebody else asked for.
    pub fn note_listing(&self, region: &Region, pairs: Vec<KeyPairSummary>) {
        if let Some(inventory) = self.regions.get(region) {
            let mut known = inventory.known();
            known.pairs = Some(pairs);
            known.checked_at = Some(self.clock.now());
            known.forget_unlisted();
        }
    }

    /// Takes note of a pair that was imported or looked at.
    pub fn note_pair(&self, region: &Region, pair: &KeyPair) {
        if let Some(inventory) = self.regions.get(region) {
            inventory.known().note(pair);
        }
    }

    /// Takes note of a pair that was deleted.
    pub fn note_deleted(&self, region: &Region, arn: &PlaybackKeyArn) {
        if let Some(inventory) = self.regions.get(region) {
            let mut known = inventory.known();
            known.changes += 1;
            if let Some(pairs) = &mut known.pairs {
                pairs.retain(|pair| pair.arn != *arn);
            }
            known.forget_unlisted();
        }
    }

    async fn ask(&self, region: &Region, inventory: &RegionInventory) -> Result<(), IvsError> {
        let mut attempts = 0;
        loop {
            let before = inventory.known().changes;
            let pairs = inventory.ivs.list_playback_key_pairs().await?;
            attempts += 1;
            // A pair that was imported meanwhile would be shown as missing.
            if inventory.known().changes == before || attempts == LISTING_ATTEMPTS {
                self.note_listing(region, pairs);
                break;
            }
        }
        // Not in the loop's head, where the lock would be held until its end.
        let unknown = inventory.known().without_fingerprint();
        for arn in unknown {
            match inventory.ivs.get_playback_key_pair(&arn).await {
                Ok(pair) => inventory.known().note(&pair),
                // Deleted since it was listed; the next listing shows it.
                Err(IvsError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        self.check_fingerprints(region, inventory).await;
        Ok(())
    }

    /// A version whose pair has another fingerprint signs tokens that no edge accepts.
    async fn check_fingerprints(&self, region: &Region, inventory: &RegionInventory) {
        let Some(keyring) = self.signing_keys.keyring(region) else {
            return;
        };
        for version in keyring.present() {
            let Some(arn) = &version.arn else { continue };
            let listed = inventory.known().fingerprints.get(arn).copied();
            if listed.is_some_and(|listed| listed != version.fingerprint) {
                tracing::error!(
                    event = "fingerprint_mismatch",
                    %region,
                    keyPairArn = %arn,
                    "the pair in IVS is another key than the keyring says"
                );
                self.signing_keys.distrust(region, &version.id).await;
            }
        }
    }
}

impl RegionInventory {
    fn known(&self) -> MutexGuard<'_, Known> {
        // Each change is made by one call that does not panic half-way.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn listed(&self) -> Option<Vec<ListedPair>> {
        let listed = |pair: &KeyPairSummary| ListedPair {
            arn: pair.arn.clone(),
            name: pair.name.clone(),
            tags: pair.tags.clone(),
            fingerprint: self.fingerprints.get(&pair.arn).copied(),
        };
        self.pairs.as_ref().map(|pairs| pairs.iter().map(listed).collect())
    }

    fn without_fingerprint(&self) -> Vec<PlaybackKeyArn> {
        let arns = self.pairs.iter().flatten().map(|pair| &pair.arn);
        arns.filter(|arn| !self.fingerprints.contains_key(arn)).cloned().collect()
    }

    fn note(&mut self, pair: &KeyPair) {
        self.changes += 1;
        if let Ok(fingerprint) = pair.fingerprint.parse() {
            self.fingerprints.insert(pair.arn.clone(), fingerprint);
        }
        // Without a listing there is no telling what else there is.
        let Some(pairs) = &mut self.pairs else { return };
        if !pairs.iter().any(|listed| listed.arn == pair.arn) {
            pairs.push(KeyPairSummary {
                arn: pair.arn.clone(),
                name: pair.name.clone(),
                tags: pair.tags.clone(),
            });
        }
    }

    fn forget_unlisted(&mut self) {
        let pairs = self.pairs.as_deref().unwrap_or_default();
        self.fingerprints.retain(|arn, _| pairs.iter().any(|pair| pair.arn == *arn));
    }
}
