//! What was observed of IVS, and what it says about a keyring.

use std::collections::BTreeSet;

use super::refusal::{AccountSource, Full, Refusal};
use crate::{
    clock::Timestamp,
    ivs::{
        KeyPairSummary,
        arn::{AccountId, PlaybackKeyArn},
    },
    keys::{
        keyring::{KEYRING_TAG, KeyVersion, Keyring, VERSION_TAG, VersionId},
        service::{KEY_PAIR_QUOTA, PairName},
    },
};

/// What IVS was observed to have in a region.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// The pairs.
    pub listed: Vec<KeyPairSummary>,
    /// When the list was requested, by our clock.
    pub listed_at: Option<Timestamp>,
    /// Recorded pairs that IVS reported twice as not found.
    pub gone: BTreeSet<PlaybackKeyArn>,
    /// Versions whose pair has another fingerprint than their public half.
    pub distrusted: BTreeSet<VersionId>,
}

impl Observation {
    /// Whether IVS has the recorded pair of a version.
    pub fn has_pair_of(&self, version: &KeyVersion) -> bool {
        version.arn.as_ref().is_some_and(|arn| self.has(arn))
    }

    /// Whether IVS has the pair.
    pub fn has(&self, arn: &PlaybackKeyArn) -> bool {
        self.listed.iter().any(|pair| pair.arn == *arn)
    }

    /// Whether IVS takes another pair.
    pub fn has_slot(&self) -> bool {
        self.listed.len() < KEY_PAIR_QUOTA
    }

    /// Returns the refusal that names the pairs which fill the region.
    pub fn quota(&self, keyring: &Keyring) -> Refusal {
        let pairs = self.listed.iter().map(PairName::of).collect();
        Refusal::Quota { full: Full::Region { pairs, foreign: self.foreign(keyring) } }
    }

    /// Returns the pairs that no version of the keyring, not even a retired one, is or was.
    pub fn foreign(&self, keyring: &Keyring) -> Vec<PairName> {
        let is_foreign = |pair: &&KeyPairSummary| {
            keyring.keys.iter().all(|version| {
                version.arn.as_ref() != Some(&pair.arn) && !keyring.are_tags_of(version, &pair.tags)
            })
        };
        self.listed.iter().filter(is_foreign).map(PairName::of).collect()
    }

    /// Returns the pairs that this program imported for a version that the keyring does not have: the keyring was
    /// lost, or belongs to another deployment. Without a keyring, these are all the pairs that it imported.
    pub fn lost(&self, keyring: Option<&Keyring>) -> Vec<PairName> {
        let versions = keyring.iter().flat_map(|keyring| &keyring.keys);
        let known: BTreeSet<_> = versions.map(|version| version.id.as_str()).collect();
        let present = keyring.iter().flat_map(|keyring| keyring.present());
        let arns: BTreeSet<_> = present.filter_map(|version| version.arn.as_ref()).collect();
        let is_lost = |pair: &&KeyPairSummary| {
            let version = pair.tags.get(VERSION_TAG).map(String::as_str);
            let is_ours = pair.tags.contains_key(KEYRING_TAG) || version.is_some();
            // A pair that was adopted by `keys import` keeps the tags of its earlier keyring.
            let is_known = arns.contains(&pair.arn) || version.is_some_and(|id| known.contains(id));
            is_ours && !is_known
        };
        self.listed.iter().filter(is_lost).map(PairName::of).collect()
    }

    /// Returns the pairs that carry the tags of a version: more than one if IVS accepted an import twice.
    pub fn tagged(&self, keyring: &Keyring, version: &KeyVersion) -> BTreeSet<PlaybackKeyArn> {
        let tagged = self.listed.iter().filter(|pair| keyring.are_tags_of(version, &pair.tags));
        tagged.map(|pair| pair.arn.clone()).collect()
    }
}

/// Refuses an account other than the configured one or the keyring's.
pub(super) fn check_account(
    keyring: Option<&Keyring>,
    configured: Option<&AccountId>,
    found: &AccountId,
) -> Result<(), Refusal> {
    let recorded = keyring.and_then(|keyring| keyring.account_id.as_ref());
    for (expected, said_by) in
        [(configured, AccountSource::Configuration), (recorded, AccountSource::Keyring)]
    {
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            let (expected, found) = (expected.clone(), found.clone());
            return Err(Refusal::OtherAccount { expected, said_by, found });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::keys::{keyring::strategies, store::samples};

    fn pair(position: usize, tags: BTreeMap<String, String>) -> KeyPairSummary {
        KeyPairSummary { arn: strategies::arn(position), name: String::new(), tags }
    }

    #[test]
    fn pairs_of_a_lost_keyring_are_told_from_our_own_and_from_foreign_ones() {
        let mut keyring = samples::empty();
        keyring.account_id = Some("123456789012".parse().unwrap());
        samples::add_key(&mut keyring, 0);
        let id = samples::add_key(&mut keyring, 1);
        keyring.version_mut(&id).unwrap().arn = Some(strategies::arn(1));
        let mut other = samples::empty();
        samples::add_key(&mut other, 2);
        let of_other = other.pair_tags(&other.keys[0]);
        let listed = vec![
            pair(0, keyring.pair_tags(&keyring.keys[0])),
            // Adopted from a keyring that was lost.
            pair(1, of_other.clone()),
            pair(2, of_other),
            pair(3, BTreeMap::from([("team".to_owned(), "video".to_owned())])),
        ];
        let observation = Observation { listed, ..Observation::default() };
        let lost_arns = |keyring: Option<&Keyring>| -> Vec<_> {
            observation.lost(keyring).into_iter().map(|pair| pair.arn).collect()
        };
        assert_eq!(lost_arns(Some(&keyring)), [strategies::arn(2)]);
        for without in [Some(&samples::empty()), None] {
            assert_eq!(lost_arns(without), [0, 1, 2].map(strategies::arn));
        }
        let found = observation.tagged(&keyring, &keyring.keys[0]);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [strategies::arn(0)]);
        assert!(observation.tagged(&keyring, &keyring.keys[1]).is_empty());
    }

    #[test]
    fn another_accounts_pairs_and_a_full_quota_are_refused() {
        let mut keyring = samples::empty();
        let [ours, theirs] = ["123456789012", "999999999999"].map(|it| it.parse().unwrap());
        assert_eq!(check_account(Some(&keyring), None, &theirs), Ok(()));
        keyring.account_id = Some(ours.clone());
        assert_eq!(check_account(Some(&keyring), Some(&ours), &ours), Ok(()));
        for refused in [
            check_account(Some(&keyring), None, &theirs),
            check_account(None, Some(&ours), &theirs),
        ] {
            let message = refused.unwrap_err().to_string();
            assert!(message.contains("123456789012"), "{message}");
            assert!(message.contains("999999999999"), "{message}");
        }
        let listed: Vec<_> = (0..3).map(|position| pair(position, BTreeMap::new())).collect();
        let mut observation = Observation { listed, ..Observation::default() };
        assert!(!observation.has_slot());
        let refused = observation.quota(&keyring);
        assert!(refused.to_string().contains(strategies::arn(2).as_str()), "{refused}");
        observation.listed.pop();
        assert!(observation.has_slot());
    }
}
