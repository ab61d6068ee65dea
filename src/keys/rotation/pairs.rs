//! The key pairs of a region in IVS: the calls, and what they answered last, so that showing the pairs costs no call.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::{Mutex, MutexGuard};
use tokio_util::task::TaskTracker;

use super::{key_pair::ListedPair, now::Now};
use crate::{
    clock::{Clock, Moment, Timestamp},
    ivs::{
        IvsError, KeyPair, KeyPairSummary,
        arn::{PlaybackKeyArn, Region},
    },
    keys::{keyring::KeyVersion, material::Fingerprint, service::KeyPairService},
};

/// The least time between two lists that callers ask for. IVS allows three per second, for everyone who uses the account
/// in the region.
pub const REFRESH_PAUSE: Duration = Duration::from_secs(2);

/// How many imports, reads and deletions are remembered, to be applied to lists that were requested before them. A list
/// takes seconds, and there are three pairs per region.
const CHANGES_KEPT: usize = 32;

/// The key pairs of one region.
#[derive(Debug)]
pub(super) struct Pairs {
    ivs: Arc<dyn KeyPairService>,
    clock: Clock,
    known: Mutex<Known>,
    /// The last refresh; held while one is in progress.
    refreshed: Arc<tokio::sync::Mutex<Option<Refreshed>>>,
}

#[derive(Debug)]
struct Refreshed {
    /// Monotonic.
    at: Duration,
    outcome: Result<(), IvsError>,
}

/// What IVS answered.
#[derive(Debug, Default)]
struct Known {
    /// `None` before the first list.
    pairs: Option<Vec<KeyPairSummary>>,
    checked_at: Option<Timestamp>,
    fingerprints: BTreeMap<PlaybackKeyArn, Fingerprint>,
    /// Counts requests for lists and recorded changes, which orders them.
    sequence: u64,
    /// When the list in `pairs` was requested.
    listed: u64,
    /// The last changes and when they were recorded, oldest first.
    changes: VecDeque<(u64, Change)>,
}

#[derive(Debug)]
enum Change {
    Seen(KeyPairSummary),
    Deleted(PlaybackKeyArn),
}

impl Pairs {
    pub(super) fn new(ivs: Arc<dyn KeyPairService>, clock: Clock) -> Self {
        Self { ivs, clock, known: Mutex::default(), refreshed: Arc::default() }
    }

    pub(super) fn region(&self) -> &Region {
        self.ivs.region()
    }

    pub(super) fn now(&self, moment: Moment) -> Now {
        Now { own: moment.wall, ivs: self.ivs.time(moment), skew: self.ivs.skew(moment) }
    }

    /// Lists the pairs. What the list does not show may have been imported since it was requested, and what it shows may
    /// have been deleted, so the record of it includes the changes since then. A list with a pair that `check` refuses is
    /// not recorded.
    pub(super) async fn list<E>(
        &self,
        check: impl Fn(&KeyPairSummary) -> Result<(), E>,
    ) -> Result<Result<Vec<KeyPairSummary>, E>, IvsError> {
        let requested = self.known().next();
        let listed = self.ivs.list().await?;
        if let Err(refused) = listed.iter().try_for_each(check) {
            return Ok(Err(refused));
        }
        self.known().record_list(requested, listed.clone(), self.clock.now());
        Ok(Ok(listed))
    }

    pub(super) async fn get(&self, arn: &PlaybackKeyArn) -> Result<KeyPair, IvsError> {
        let pair = self.ivs.get(arn).await?;
        self.known().record(&pair);
        Ok(pair)
    }

    pub(super) async fn import(
        &self,
        version: &KeyVersion,
        tags: &BTreeMap<String, String>,
    ) -> Result<KeyPair, IvsError> {
        let pair = self.ivs.import(version.public_key.to_pem(), &version.name, tags).await?;
        self.known().record(&pair);
        Ok(pair)
    }

    /// Deletes a pair, which may be gone already.
    pub(super) async fn delete(&self, arn: &PlaybackKeyArn) -> Result<(), IvsError> {
        match self.ivs.delete(arn).await {
            Ok(()) | Err(IvsError::NotFound) => {
                self.known().record_change(Change::Deleted(arn.clone()));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Gets each listed pair whose fingerprint is not known yet: the list has none, and a pair cannot change.
    pub(super) async fn get_fingerprints(&self) -> Result<(), IvsError> {
        // Not in the head of the loop, where the lock would be held until its end.
        let unknown = self.known().without_fingerprint();
        for arn in unknown {
            match self.get(&arn).await {
                // Deleted since it was listed; the next list shows that.
                Ok(_) | Err(IvsError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    pub(super) fn fingerprint(&self, arn: &PlaybackKeyArn) -> Option<Fingerprint> {
        self.known().fingerprints.get(arn).copied()
    }

    /// Returns the pairs, `None` before the first list, and when they were listed.
    pub(super) fn listed(&self) -> (Option<Vec<ListedPair>>, Option<Timestamp>) {
        let known = self.known();
        (known.listed(), known.checked_at)
    }

    /// Runs `list`, unless that was done within [`REFRESH_PAUSE`], and to its end although the caller gives up: the next
    /// caller waits for the same answer, and asks no more often.
    pub(super) async fn refresh<F>(
        &self,
        tasks: &TaskTracker,
        list: impl FnOnce() -> F,
    ) -> Result<(), IvsError>
    where
        F: Future<Output = Result<(), IvsError>> + Send + 'static,
    {
        let mut refreshed = Arc::clone(&self.refreshed).lock_owned().await;
        let now = self.clock.monotonic();
        if let Some(last) = &*refreshed
            && now.saturating_sub(last.at) < REFRESH_PAUSE
        {
            return last.outcome.clone();
        }
        let list = list();
        let listing = tasks.spawn(async move {
            let outcome = list.await;
            *refreshed = Some(Refreshed { at: now, outcome: outcome.clone() });
            outcome
        });
        listing.await.unwrap_or_else(|_| {
            Err(IvsError::Unavailable { reason: "the call was interrupted".to_owned() })
        })
    }

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

    fn record(&mut self, pair: &KeyPair) {
        if let Ok(fingerprint) = pair.fingerprint.parse() {
            self.fingerprints.insert(pair.arn.clone(), fingerprint);
        }
        self.record_change(Change::Seen(pair.clone().into()));
    }

    fn record_change(&mut self, change: Change) {
        // Without a list, the other pairs are unknown.
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

    /// Records a list together with what changed since it was requested, unless a later one was recorded.
    fn record_list(&mut self, requested: u64, mut pairs: Vec<KeyPairSummary>, now: Timestamp) {
        if requested < self.listed {
            return;
        }
        for (_, change) in self.changes.iter().filter(|(at, _)| *at > requested) {
            change.apply_to(&mut pairs);
        }
        self.listed = requested;
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
        known.record_change(Change::Seen(pair(0)));
        let begun = known.next();
        known.record_change(Change::Seen(pair(1)));
        known.record_change(Change::Deleted(strategies::arn(2)));
        // IVS answers as of the beginning; that pair 0 is gone was before.
        known.record_list(begun, vec![pair(2), pair(3)], samples::now());
        assert_eq!(shown(&known), [3, 1].map(strategies::arn));
    }

    #[test]
    fn of_two_listings_the_one_that_began_later_counts() {
        let mut known = Known::default();
        let [first, second] = [(); 2].map(|()| known.next());
        known.record_list(second, vec![pair(1)], samples::now());
        known.record_list(first, vec![pair(0)], samples::now() + Duration::from_secs(1));
        assert_eq!(shown(&known), [strategies::arn(1)]);
        assert_eq!(known.checked_at, Some(samples::now()));
        for position in 0..CHANGES_KEPT + 2 {
            known.record_change(Change::Seen(pair(position)));
        }
        assert_eq!(known.changes.len(), CHANGES_KEPT);
    }
}
