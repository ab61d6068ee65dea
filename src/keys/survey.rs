//! What a listing of key pairs says about a keyring: which pairs are its own, foreign, or of one that
//! was lost, and whether there is room for another. Nothing in here calls anybody; planning and the
//! operations both judge by it.

use std::{collections::BTreeSet, fmt};

use super::{
    keyring::{KEYRING_TAG, KeyVersion, Keyring, VERSION_TAG},
    operations::{AccountSource, Full, OperationError},
};
use crate::ivs::{
    KeyPairSummary,
    arn::{AccountId, PlaybackKeyArn},
};

/// How many playback key pairs IVS allows in a region (Service Quotas; not adjustable).
pub const KEY_PAIR_QUOTA: usize = 3;

/// A pair as messages name it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PairName {
    /// Its ARN.
    pub arn: PlaybackKeyArn,
    /// Its name in IVS.
    pub name: String,
}

pub(in crate::keys) struct Names<'a>(pub(in crate::keys) &'a [PairName]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, pair) in self.0.iter().enumerate() {
            let comma = if position > 0 { ", " } else { "" };
            write!(f, "{comma}{}", pair.arn)?;
            // IVS's pattern for names allows nothing that could confuse a terminal.
            if !pair.name.is_empty() {
                write!(f, " ({})", pair.name)?;
            }
        }
        Ok(())
    }
}

/// Refuses an account that is not the one of the configuration, or not the keyring's.
pub(in crate::keys) fn check_account(
    keyring: Option<&Keyring>,
    configured: Option<&AccountId>,
    found: &AccountId,
) -> Result<(), OperationError> {
    let recorded = keyring.and_then(|keyring| keyring.account_id.as_ref());
    for (expected, said_by) in
        [(configured, AccountSource::Configuration), (recorded, AccountSource::Keyring)]
    {
        if let Some(expected) = expected.filter(|expected| *expected != found) {
            let (expected, found) = (expected.clone(), found.clone());
            return Err(OperationError::OtherAccount { expected, said_by, found });
        }
    }
    Ok(())
}

/// Refuses to begin with what could not be imported in the end.
pub(in crate::keys) fn check_quota(
    keyring: &Keyring,
    listed: &[KeyPairSummary],
) -> Result<(), OperationError> {
    if listed.len() < KEY_PAIR_QUOTA {
        return Ok(());
    }
    Err(quota_of(keyring, listed))
}

/// Refuses another version where the keyring has as many as it takes.
pub(in crate::keys) fn check_room(keyring: &Keyring) -> Result<(), OperationError> {
    if keyring.has_room() { Ok(()) } else { Err(OperationError::Quota { full: Full::Keyring }) }
}

/// The error that names the pairs which fill the region.
pub(in crate::keys) fn quota_of(keyring: &Keyring, listed: &[KeyPairSummary]) -> OperationError {
    let foreign = listed.iter().filter(|pair| is_foreign(keyring, pair)).map(name_of).collect();
    OperationError::Quota {
        full: Full::Region { pairs: listed.iter().map(name_of).collect(), foreign },
    }
}

/// Whether no version of the keyring, not even a retired one, is or was this pair.
pub(in crate::keys) fn is_foreign(keyring: &Keyring, pair: &KeyPairSummary) -> bool {
    keyring.keys.iter().all(|version| {
        version.arn.as_ref() != Some(&pair.arn) && !keyring.are_tags_of(version, &pair.tags)
    })
}

/// The pairs that this program imported, for a version that the keyring does not have: the keyring
/// was lost, or belongs to another deployment. Without a keyring all of them are.
pub(in crate::keys) fn lost(keyring: Option<&Keyring>, listed: &[KeyPairSummary]) -> Vec<PairName> {
    let versions = keyring.iter().flat_map(|keyring| &keyring.keys);
    let known: BTreeSet<_> = versions.map(|version| version.id.as_str()).collect();
    let present = keyring.iter().flat_map(|keyring| keyring.present());
    let arns: BTreeSet<_> = present.filter_map(|version| version.arn.as_ref()).collect();
    let is_lost = |pair: &&KeyPairSummary| {
        let version = pair.tags.get(VERSION_TAG).map(String::as_str);
        let is_ours = pair.tags.contains_key(KEYRING_TAG) || version.is_some();
        // One that was taken over by `keys import` keeps the tags of the keyring that it had.
        let is_known = arns.contains(&pair.arn) || version.is_some_and(|id| known.contains(id));
        is_ours && !is_known
    };
    listed.iter().filter(is_lost).map(name_of).collect()
}

/// The pairs that carry the tags of a version. More than one, where IVS accepted an import twice.
pub(in crate::keys) fn tagged(
    keyring: &Keyring,
    version: &KeyVersion,
    listed: &[KeyPairSummary],
) -> BTreeSet<PlaybackKeyArn> {
    let tagged = listed.iter().filter(|pair| keyring.are_tags_of(version, &pair.tags));
    tagged.map(|pair| pair.arn.clone()).collect()
}

pub(in crate::keys) fn name_of(pair: &KeyPairSummary) -> PairName {
    PairName { arn: pair.arn.clone(), name: pair.name.clone() }
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
        let listed = [
            pair(0, keyring.pair_tags(&keyring.keys[0])),
            // Taken over from a keyring that was lost.
            pair(1, of_other.clone()),
            pair(2, of_other),
            pair(3, BTreeMap::from([("team".to_owned(), "video".to_owned())])),
        ];
        let lost_arns = |keyring: Option<&Keyring>| -> Vec<_> {
            lost(keyring, &listed).into_iter().map(|pair| pair.arn).collect()
        };
        assert_eq!(lost_arns(Some(&keyring)), [strategies::arn(2)]);
        for without in [Some(&samples::empty()), None] {
            assert_eq!(lost_arns(without), [0, 1, 2].map(strategies::arn));
        }
        let found = tagged(&keyring, &keyring.keys[0], &listed);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [strategies::arn(0)]);
        assert!(tagged(&keyring, &keyring.keys[1], &listed).is_empty());
    }

    #[test]
    fn another_accounts_pairs_and_a_full_quota_are_refused() {
        let mut keyring = samples::empty();
        let listed: Vec<_> = (0..3).map(|position| pair(position, BTreeMap::new())).collect();
        let [ours, theirs] = ["123456789012", "999999999999"].map(|it| it.parse().unwrap());
        assert_eq!(check_account(Some(&keyring), None, &theirs), Ok(()));
        keyring.account_id = Some(ours.clone());
        assert_eq!(check_account(Some(&keyring), Some(&ours), &ours), Ok(()));
        for refused in [
            check_account(Some(&keyring), None, &theirs),
            check_account(None, Some(&ours), &theirs),
        ] {
            let sentence = refused.unwrap_err().to_string();
            assert!(sentence.contains("123456789012"), "{sentence}");
            assert!(sentence.contains("999999999999"), "{sentence}");
        }
        assert_eq!(check_quota(&keyring, &listed[..2]), Ok(()));
        let refused = check_quota(&keyring, &listed).unwrap_err();
        assert!(refused.to_string().contains(strategies::arn(2).as_str()), "{refused}");
    }
}
