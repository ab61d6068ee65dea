//! Which key pairs there are: the keyring beside what IVS lists.
//!
//! [`merge()`] is pure. [`Inventory`] remembers the last listing of each region, so that showing it
//! costs no call, and asks IVS for each pair's fingerprint once: a pair cannot change. A pair whose
//! fingerprint is another than its version's is of no use, and the inventory is who notices: it
//! takes the version away from the signing keys.

mod merge;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use tokio_util::task::TaskTracker;

use super::{keyring::Keyring, material::Fingerprint, signing::SigningKeys};
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

/// How many imports, looks and deletions are remembered, to be held against listings that were begun
/// before them. A listing takes seconds, and there are three pairs a region.
const CHANGES_KEPT: usize = 32;

/// The key pairs of all regions, as far as they are known.
#[derive(Debug)]
pub struct Inventory {
    signing_keys: Arc<SigningKeys>,
    clock: Clock,
    tasks: TaskTracker,
    regions: BTreeMap<Region, RegionInventory>,
}

#[derive(Debug)]
struct RegionInventory {
    ivs: RegionalIvs,
    known: Mutex<Known>,
    /// The last time that IVS was asked; held while it is.
    asked: Arc<tokio::sync::Mutex<Option<Asked>>>,
}

#[derive(Debug)]
struct Asked {
    /// Monotonic.
    at: Duration,
    outcome: Result<(), IvsError>,
}

#[derive(Debug, Default)]
struct Known {
    /// `None` before the first listing.
    pairs: Option<Vec<KeyPairSummary>>,
    checked_at: Option<Timestamp>,
    fingerprints: BTreeMap<PlaybackKeyArn, Fingerprint>,
    /// Counts listings that began and changes that were noted: what happened before what.
    sequence: u64,
    /// When the listing in `pairs` began.
    listed: u64,
    /// The last changes and when they were noted, oldest first.
    changes: VecDeque<(u64, Change)>,
}

/// The moment a listing began. What it does not show may have been imported since, and what it shows
/// be deleted.
#[derive(Clone, Copy, Debug)]
pub struct ListingBegun(u64);

#[derive(Debug)]
enum Change {
    Seen(KeyPairSummary),
    Deleted(PlaybackKeyArn),
}

impl Inventory {
    /// The inventory of the regions that `ivs` are of; nothing is known yet. `tasks` carries what is
    /// under way for whoever asked to its end.
    pub fn new(
        signing_keys: Arc<SigningKeys>,
        ivs: impl IntoIterator<Item = RegionalIvs>,
        clock: Clock,
        tasks: TaskTracker,
    ) -> Self {
        let region = |ivs: RegionalIvs| {
            let name = ivs.region().clone();
            (name, RegionInventory { ivs, known: Mutex::default(), asked: Arc::default() })
        };
        Self { signing_keys, clock, tasks, regions: ivs.into_iter().map(region).collect() }
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

    /// What IVS listed last, beside which nothing is known to be there; asks nobody.
    pub fn listed(&self, region: &Region) -> Option<Vec<ListedPair>> {
        self.regions.get(region)?.known().listed()
    }

    /// Asks IVS, unless that was done within [`REFRESH_PAUSE`]. Once begun, that goes on although the
    /// caller gives up: the next one waits for the same answer, and asks no more often.
    ///
    /// # Errors
    ///
    /// IVS could not be asked; what was known before stays.
    pub async fn refresh(self: &Arc<Self>, region: &Region) -> Result<(), IvsError> {
        let Some(inventory) = self.regions.get(region) else {
            return Ok(());
        };
        let mut asked = Arc::clone(&inventory.asked).lock_owned().await;
        let now = self.clock.monotonic();
        if let Some(last) = &*asked
            && now.saturating_sub(last.at) < REFRESH_PAUSE
        {
            return last.outcome.clone();
        }
        let (this, region) = (Arc::clone(self), region.clone());
        let asking = self.tasks.spawn(async move {
            let outcome = this.ask(&region).await;
            *asked = Some(Asked { at: now, outcome: outcome.clone() });
            outcome
        });
        asking.await.unwrap_or_else(|_| {
            Err(IvsError::Unavailable { reason: "asking it was broken off".to_owned() })
        })
    }

    /// To be called before IVS is asked for a listing; see [`Inventory::note_listing`].
    pub fn begin_listing(&self, region: &Region) -> ListingBegun {
        let next = |inventory: &RegionInventory| inventory.known().next();
        ListingBegun(self.regions.get(region).map(next).unwrap_or_default())
    }

    /// Takes note of a listing that somebody else asked for, together with what changed since it
    /// began. One that began before the last one did is dropped.
    pub fn note_listing(&self, region: &Region, begun: ListingBegun, pairs: Vec<KeyPairSummary>) {
        if let Some(inventory) = self.regions.get(region) {
            inventory.known().note_listing(begun, pairs, self.clock.now());
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
            inventory.known().note_change(Change::Deleted(arn.clone()));
        }
    }

    async fn ask(&self, region: &Region) -> Result<(), IvsError> {
        let Some(inventory) = self.regions.get(region) else {
            return Ok(());
        };
        let begun = self.begin_listing(region);
        let pairs = inventory.ivs.list_playback_key_pairs().await?;
        self.note_listing(region, begun, pairs);
        let keyring = self.signing_keys.keyring(region);
        self.look_at_new(region, keyring.as_deref()).await
    }

    /// Asks IVS for the fingerprint of each listed pair that was not asked for yet, and takes
    /// versions of `keyring` away from the signing keys that are another key in IVS.
    ///
    /// # Errors
    ///
    /// IVS could not be asked.
    pub async fn look_at_new(
        &self,
        region: &Region,
        keyring: Option<&Keyring>,
    ) -> Result<(), IvsError> {
        let Some(inventory) = self.regions.get(region) else {
            return Ok(());
        };
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
        if let Some(keyring) = keyring {
            self.check_fingerprints(region, inventory, keyring).await;
        }
        Ok(())
    }

    /// A version whose pair has another fingerprint signs tokens that no edge accepts.
    async fn check_fingerprints(
        &self,
        region: &Region,
        inventory: &RegionInventory,
        keyring: &Keyring,
    ) {
        for version in keyring.present() {
            let Some(arn) = &version.arn else { continue };
            let listed = inventory.known().fingerprints.get(arn).copied();
            if listed.is_some_and(|listed| listed != version.fingerprint)
                && self.signing_keys.distrust(region, &version.id).await
            {
                tracing::error!(
                    event = "fingerprint_mismatch",
                    %region,
                    keyPairArn = %arn,
                    "the pair in IVS is another key than the keyring says"
                );
            }
        }
    }
}

impl RegionInventory {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock()
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

    fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    fn note(&mut self, pair: &KeyPair) {
        if let Ok(fingerprint) = pair.fingerprint.parse() {
            self.fingerprints.insert(pair.arn.clone(), fingerprint);
        }
        self.note_change(Change::Seen(pair.clone().into()));
    }

    fn note_change(&mut self, change: Change) {
        // Without a listing there is no telling what else there is.
        if let Some(pairs) = &mut self.pairs {
            change.apply_to(pairs);
        }
        if matches!(change, Change::Deleted(_)) {
            self.forget_unlisted();
        }
        let at = self.next();
        self.changes.push_back((at, change));
        let surplus = self.changes.len().saturating_sub(CHANGES_KEPT);
        self.changes.drain(..surplus);
    }

    fn note_listing(
        &mut self,
        ListingBegun(begun): ListingBegun,
        mut pairs: Vec<KeyPairSummary>,
        now: Timestamp,
    ) {
        if begun < self.listed {
            return;
        }
        for (_, change) in self.changes.iter().filter(|(at, _)| *at > begun) {
            change.apply_to(&mut pairs);
        }
        self.listed = begun;
        self.pairs = Some(pairs);
        self.checked_at = Some(now);
        self.forget_unlisted();
    }

    fn forget_unlisted(&mut self) {
        let pairs = self.pairs.as_deref().unwrap_or_default();
        self.fingerprints.retain(|arn, _| pairs.iter().any(|pair| pair.arn == *arn));
    }
}

impl Change {
    fn apply_to(&self, pairs: &mut Vec<KeyPairSummary>) {
        match self {
            Self::Seen(pair) => {
                if !pairs.iter().any(|listed| listed.arn == pair.arn) {
                    pairs.push(pair.clone());
                }
            }
            Self::Deleted(arn) => pairs.retain(|listed| listed.arn != *arn),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{keyring::strategies, store::samples};

    fn pair(position: usize) -> KeyPairSummary {
        KeyPairSummary {
            arn: strategies::arn(position),
            name: String::new(),
            tags: BTreeMap::new(),
        }
    }

    fn shown(known: &Known) -> Vec<PlaybackKeyArn> {
        known.pairs.iter().flatten().map(|pair| pair.arn.clone()).collect()
    }

    #[test]
    fn a_listing_is_held_against_what_happened_since_it_began() {
        let mut known = Known::default();
        known.note_change(Change::Seen(pair(0)));
        let begun = ListingBegun(known.next());
        known.note_change(Change::Seen(pair(1)));
        known.note_change(Change::Deleted(strategies::arn(2)));
        // IVS answers as of the beginning; that pair 0 is gone was before.
        known.note_listing(begun, vec![pair(2), pair(3)], samples::now());
        assert_eq!(shown(&known), [3, 1].map(strategies::arn));
    }

    #[test]
    fn of_two_listings_the_one_that_began_later_counts() {
        let mut known = Known::default();
        let [first, second] = [(); 2].map(|()| ListingBegun(known.next()));
        known.note_listing(second, vec![pair(1)], samples::now());
        known.note_listing(first, vec![pair(0)], samples::now() + Duration::from_secs(1));
        assert_eq!(shown(&known), [strategies::arn(1)]);
        assert_eq!(known.checked_at, Some(samples::now()));
        for position in 0..CHANGES_KEPT + 2 {
            known.note_change(Change::Seen(pair(position)));
        }
        assert_eq!(known.changes.len(), CHANGES_KEPT);
    }
}
