//! The key pairs that the API and the command line show: the keyring beside what IVS lists.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    clock::Timestamp,
    ivs::arn::{PlaybackKeyArn, Region},
    keys::{
        keyring::{KeyState, KeyVersion, Keyring},
        material::Fingerprint,
    },
};

/// A key pair, as the keyring and IVS together know it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = KeyPairBody, example = json!({
    "arn": "arn:aws:ivs:us-west-2:123456789012:playback-key/IjKlMnOp5678",
    "name": "ivs-playback-auth-52b7cda3",
    "fingerprint": "98:0d:1a:a0:19:96:1e:ea:0a:0a:2c:9a:42:19:2b:e7",
    "region": "us-west-2", "tags": {"team": "video"}, "state": "active", "adopted": false,
    "createdAt": "2026-11-22T08:40:00Z", "activatedAt": "2026-11-22T08:50:00Z", "retiresAt": null
}))]
pub struct KeyPairView {
    /// Null before the pair is imported.
    #[schema(required, value_type = Option<String>)]
    pub arn: Option<PlaybackKeyArn>,
    /// Its name in IVS.
    pub name: String,
    /// The MD5 of the `SubjectPublicKeyInfo`, as Amazon IVS shows it. Null for a foreign pair that was
    /// not read yet.
    #[schema(required, value_type = Option<String>)]
    pub fingerprint: Option<Fingerprint>,
    /// Its region.
    #[schema(value_type = String)]
    pub region: Region,
    /// Its tags in IVS.
    pub tags: BTreeMap<String, String>,
    /// Its state.
    pub state: KeyPairState,
    /// The key was imported from elsewhere, so another signer may use it too.
    pub adopted: bool,
    /// Null for a foreign pair.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    pub created_at: Option<Timestamp>,
    /// Null before the pair signs.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    pub activated_at: Option<Timestamp>,
    /// The time from which the pair may be deleted; null where that is not known.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    pub retires_at: Option<Timestamp>,
}

impl KeyPairView {
    /// Whether `text` is its ARN or its fingerprint.
    pub fn is_named(&self, text: &str) -> bool {
        self.arn.as_ref().is_some_and(|arn| arn.as_str() == text)
            || self.fingerprint.is_some_and(|fingerprint| text.parse() == Ok(fingerprint))
    }
}

/// The state of a key pair. IVS has a `foreign` pair and the keyring does not; `missing` is the reverse.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum KeyPairState {
    /// It may sign one day; IVS has it or is about to.
    Pending,
    /// It signs.
    Active,
    /// It signed, and its tokens may still be about to start playback.
    Draining,
    /// It is being deleted.
    Retiring,
    /// IVS has it, the keyring does not.
    Foreign,
    /// The keyring has it, IVS does not.
    Missing,
}

impl KeyPairState {
    /// All states.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Active, Self::Draining, Self::Retiring, Self::Foreign, Self::Missing];

    /// Returns the word in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Retiring => "retiring",
            Self::Foreign => "foreign",
            Self::Missing => "missing",
        }
    }
}

/// A pair as IVS lists it, with its fingerprint if that is known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListedPair {
    /// Its ARN.
    pub arn: PlaybackKeyArn,
    /// Its name.
    pub name: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its fingerprint, which takes a call per pair.
    pub fingerprint: Option<Fingerprint>,
}

/// Returns the versions of the keyring that are not retired, oldest first, then the other pairs that IVS has. Without a
/// list, no pair is known to be missing or foreign.
pub(super) fn merge(
    region: &Region,
    keyring: Option<&Keyring>,
    listed: Option<&[ListedPair]>,
) -> Vec<KeyPairView> {
    let mut ours = BTreeSet::new();
    let mut views = Vec::new();
    for (keyring, version) in
        keyring.iter().flat_map(|keyring| keyring.present().map(|version| (*keyring, version)))
    {
        let pair = listed.and_then(|listed| pair_of(keyring, version, listed));
        ours.extend(pair.map(|pair| &pair.arn));
        views.push(view_of(keyring, version, pair, listed.is_some()));
    }
    let foreign = listed.into_iter().flatten().filter(|pair| !ours.contains(&pair.arn));
    views.extend(foreign.map(|pair| KeyPairView {
        arn: Some(pair.arn.clone()),
        name: pair.name.clone(),
        fingerprint: pair.fingerprint,
        region: region.clone(),
        tags: pair.tags.clone(),
        state: KeyPairState::Foreign,
        adopted: false,
        created_at: None,
        activated_at: None,
        retires_at: None,
    }));
    views
}

/// Returns the pair of a version: the recorded one or, if the answer to its import was lost, the one with its tags.
fn pair_of<'a>(
    keyring: &Keyring,
    version: &KeyVersion,
    listed: &'a [ListedPair],
) -> Option<&'a ListedPair> {
    listed.iter().find(|pair| match &version.arn {
        Some(arn) => pair.arn == *arn,
        None => keyring.are_tags_of(version, &pair.tags),
    })
}

fn view_of(
    keyring: &Keyring,
    version: &KeyVersion,
    pair: Option<&ListedPair>,
    was_listed: bool,
) -> KeyPairView {
    let is_missing = was_listed && pair.is_none() && version.arn.is_some();
    let state = match version.state {
        KeyState::Retiring | KeyState::Retired => KeyPairState::Retiring,
        _ if is_missing => KeyPairState::Missing,
        KeyState::Pending | KeyState::Imported => KeyPairState::Pending,
        KeyState::Active => KeyPairState::Active,
        KeyState::Draining => KeyPairState::Draining,
    };
    KeyPairView {
        arn: version.arn.clone().or_else(|| pair.map(|pair| pair.arn.clone())),
        name: pair.map_or_else(|| version.name.clone(), |pair| pair.name.clone()),
        fingerprint: Some(version.fingerprint),
        region: keyring.region.clone(),
        tags: pair.map_or_else(|| keyring.pair_tags(version), |pair| pair.tags.clone()),
        state,
        adopted: version.adopted,
        created_at: Some(version.created_at),
        activated_at: version.activated_at,
        retires_at: version.retires_at,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::keys::{
        keyring::{VERSION_TAG, strategies},
        store::samples,
    };

    fn listed(arn: PlaybackKeyArn) -> ListedPair {
        ListedPair { arn, name: "listed".to_owned(), tags: BTreeMap::new(), fingerprint: None }
    }

    #[test]
    fn a_state_is_one_word_everywhere() {
        for state in KeyPairState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }

    #[test]
    fn a_view_has_the_members_of_the_contract() {
        let mut keyring = samples::empty();
        keyring.account_id = Some("123456789012".parse().unwrap());
        let id = samples::add_key(&mut keyring, 0);
        let version = keyring.version_mut(&id).unwrap();
        (version.state, version.arn) = (KeyState::Imported, Some(strategies::arn(0)));
        let views = merge(&samples::region(), Some(&keyring), None);
        let json = serde_json::to_value(&views[0]).unwrap();
        let mut members: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        members.sort_unstable();
        assert_eq!(
            members,
            [
                "activatedAt",
                "adopted",
                "arn",
                "createdAt",
                "fingerprint",
                "name",
                "region",
                "retiresAt",
                "state",
                "tags"
            ]
        );
        assert_eq!(json["state"], "pending");
        assert_eq!(json["createdAt"], "2026-11-22T08:55:00Z");
        assert!(json["retiresAt"].is_null());
        assert_eq!(json["tags"][VERSION_TAG], id.as_str());
    }

    #[test]
    fn a_pair_is_found_by_arn_or_fingerprint() {
        let mut keyring = samples::empty();
        keyring.account_id = Some("123456789012".parse().unwrap());
        let id = samples::add_key(&mut keyring, 0);
        keyring.version_mut(&id).unwrap().arn = Some(strategies::arn(0));
        let view = &merge(&samples::region(), Some(&keyring), None)[0];
        assert!(view.is_named(strategies::arn(0).as_str()));
        assert!(view.is_named(&view.fingerprint.unwrap().to_string()));
        assert!(view.is_named(&view.fingerprint.unwrap().to_string().to_uppercase()));
        assert!(!view.is_named(strategies::arn(1).as_str()));
    }

    #[test]
    fn a_lost_answer_is_found_by_its_tags() {
        let mut keyring = samples::empty();
        let id = samples::add_key(&mut keyring, 0);
        let mut pair = listed(strategies::arn(7));
        pair.tags = keyring.pair_tags(keyring.version(&id).unwrap());
        let views = merge(&samples::region(), Some(&keyring), Some(&[pair]));
        assert_eq!(views.len(), 1);
        assert_eq!(views[0].arn, Some(strategies::arn(7)));
        assert_eq!(views[0].state, KeyPairState::Pending);
    }

    proptest! {
        #[test]
        fn every_version_and_every_pair_is_shown_once(
            keyring in strategies::keyring(),
            listed_too in prop::collection::vec(any::<bool>(), strategies::KEYS.len()),
            foreign in 0..3_usize,
        ) {
            let own = keyring.present().filter_map(|version| version.arn.clone());
            let mut pairs: Vec<_> = own
                .zip(listed_too)
                .filter_map(|(arn, is_listed)| is_listed.then(|| listed(arn)))
                .collect();
            pairs.extend((0..foreign).map(|position| listed(strategies::arn(100 + position))));
            let views = merge(&samples::region(), Some(&keyring), Some(&pairs));
            let count = |state| views.iter().filter(|view| view.state == state).count();
            prop_assert_eq!(count(KeyPairState::Foreign), foreign);
            prop_assert_eq!(views.len(), keyring.present().count() + foreign);
            let arns: BTreeSet<_> = views.iter().filter_map(|view| view.arn.clone()).collect();
            for pair in &pairs {
                prop_assert!(arns.contains(&pair.arn));
            }
            for (view, version) in views.iter().zip(keyring.present()) {
                let is_listed = pairs.iter().any(|pair| Some(&pair.arn) == version.arn.as_ref());
                let should_miss = version.arn.is_some()
                    && !is_listed
                    && version.state != KeyState::Retiring;
                prop_assert_eq!(view.state == KeyPairState::Missing, should_miss);
            }
            // Without a listing, nobody can say what is missing or foreign.
            let views = merge(&samples::region(), Some(&keyring), None);
            let unknowable = [KeyPairState::Missing, KeyPairState::Foreign];
            prop_assert!(views.iter().all(|view| !unknowable.contains(&view.state)));
        }
    }
}
