//! The keyring of a region: which playback keys there are and what each is for.
//!
//! A keyring is a value. A change loads it from a [store](crate::keys::store), edits the copy and writes
//! that back by compare-and-swap; stores refuse a keyring that breaks the [rules](Keyring::check) or cannot
//! [follow](Keyring::check_successor) the stored one. So a crash always leaves a valid keyring.
//!
//! A keyring holds no secret: it says which versions have a private half, and the store keeps those
//! [beside it](crate::keys::store::Stored).

mod idempotency;
mod ids;
mod limits;
mod rotation;
mod rules;
mod seconds;
#[cfg(test)]
pub(crate) mod strategies;
mod version;

use std::{collections::BTreeMap, time::Duration};

use rand::CryptoRng;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::material::PublicKey;
use crate::{
    clock::Timestamp,
    ivs::arn::{AccountId, PlaybackKeyArn, Region},
};

pub use idempotency::{Asked, IdempotencyRecord, KeyReused};
pub use ids::{DriverId, IdError, KeyringId, RotationId, VersionId};
pub use limits::{Limits, UnrecordedLimit};
pub use rotation::{Rotation, RotationFailure, RotationMode, RotationOutcome};
pub use rules::{KeyringFault, SuccessionFault};
pub use version::{CLAIM_LIFETIME, Claim, ClaimOp, KeyState, KeyVersion};

/// The format that this program writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// How many retired versions keep their public half, so that inspection can name a deleted key.
pub const RETIRED_KEPT: usize = 10;

/// How many versions that are not retired a keyring takes. IVS has three pairs per region; the others
/// wait to be imported, or their import was never answered.
pub const PRESENT_MAX: usize = 10;

/// How many rotations are kept.
pub const ROTATIONS_KEPT: usize = 20;

/// The tag that holds the keyring's id, on every key pair that we import.
pub const KEYRING_TAG: &str = "ivs-playback-auth:keyring";

/// The tag that holds the version's id, on every key pair that we import.
pub const VERSION_TAG: &str = "ivs-playback-auth:version";

/// How the tags begin that only this program sets.
pub const RESERVED_TAG_PREFIX: &str = "ivs-playback-auth:";

/// One region's keys.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Keyring {
    #[serde(rename = "version")]
    format: FormatVersion,
    /// The account that owns the key pairs; unknown until IVS first named an ARN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<AccountId>,
    /// The region of the key pairs.
    pub region: Region,
    /// Which keyring this is: the value of [`KEYRING_TAG`].
    pub id: KeyringId,
    /// The largest `tokens.max_ttl` of any process that signs with these keys, in seconds.
    #[serde(with = "seconds")]
    pub max_ttl: Duration,
    /// The largest `keys.max_staleness` of any process that signs with these keys, in seconds. Not
    /// written while it is the default: version 0.1 refuses unknown members.
    #[serde(
        default = "seconds::max_staleness",
        skip_serializing_if = "seconds::is_max_staleness",
        with = "seconds"
    )]
    pub max_staleness: Duration,
    /// The largest `rotation.drain_margin` of any process that signs with these keys, in seconds.
    /// Not written while it is the default.
    #[serde(
        default = "seconds::drain_margin",
        skip_serializing_if = "seconds::is_drain_margin",
        with = "seconds"
    )]
    pub drain_margin: Duration,
    /// The versions, oldest first. A store writes them, each with its form of the private half.
    #[serde(skip_serializing)]
    pub keys: Vec<KeyVersion>,
    /// The last [`ROTATIONS_KEPT`] rotations, oldest first.
    #[serde(default)]
    pub rotations: Vec<Rotation>,
}

impl Keyring {
    /// An empty keyring with a new id.
    pub fn new(region: Region, max_ttl: Duration, rng: &mut impl CryptoRng) -> Self {
        Self {
            format: FormatVersion,
            account_id: None,
            region,
            id: KeyringId::random(rng),
            max_ttl,
            max_staleness: limits::MAX_STALENESS,
            drain_margin: limits::DRAIN_MARGIN,
            keys: Vec::new(),
            rotations: Vec::new(),
        }
    }

    /// Returns the version that signs.
    pub fn active(&self) -> Option<&KeyVersion> {
        self.keys.iter().find(|version| version.state == KeyState::Active)
    }

    /// Returns the version with this id.
    pub fn version(&self, id: &VersionId) -> Option<&KeyVersion> {
        self.keys.iter().find(|version| version.id == *id)
    }

    /// Returns the version with this id, to change it.
    pub fn version_mut(&mut self, id: &VersionId) -> Option<&mut KeyVersion> {
        self.keys.iter_mut().find(|version| version.id == *id)
    }

    /// Returns the version that is imported as this pair, unless it is retired.
    pub fn by_arn(&self, arn: &PlaybackKeyArn) -> Option<&KeyVersion> {
        self.present().find(|version| version.arn.as_ref() == Some(arn))
    }

    /// Returns the version with this public key, unless it is retired.
    pub fn by_public_key(&self, public_key: &PublicKey) -> Option<&KeyVersion> {
        self.present().find(|version| version.public_key == *public_key)
    }

    /// Returns all versions except the retired ones.
    pub fn present(&self) -> impl Iterator<Item = &KeyVersion> {
        self.keys.iter().filter(|version| version.state != KeyState::Retired)
    }

    /// Returns the tags of the pair that a version is imported as: its own, and those by which it is found.
    pub fn pair_tags(&self, version: &KeyVersion) -> BTreeMap<String, String> {
        let mut tags = version.tags.clone();
        tags.insert(KEYRING_TAG.to_owned(), self.id.to_string());
        tags.insert(VERSION_TAG.to_owned(), version.id.to_string());
        tags
    }

    /// Whether these are the tags of the pair that the version was imported as.
    pub fn are_tags_of(&self, version: &KeyVersion, tags: &BTreeMap<String, String>) -> bool {
        let has = |tag, id| tags.get(tag).is_some_and(|it| it == id);
        has(KEYRING_TAG, self.id.as_str()) && has(VERSION_TAG, version.id.as_str())
    }

    /// Whether another version may come in; see [`PRESENT_MAX`].
    pub fn has_room(&self) -> bool {
        // A version that retires without a pair is as good as gone: IVS has nothing to delete.
        let lasting =
            |version: &&KeyVersion| version.state != KeyState::Retiring || version.arn.is_some();
        self.present().filter(lasting).count() < PRESENT_MAX
    }

    /// Retires a version that IVS no longer has: its private half and its tags are dropped, and its public
    /// half is kept until [`RETIRED_KEPT`] younger ones are retired. Versions that IVS never had make room
    /// for it: no token was signed with them.
    pub fn retire(&mut self, id: &VersionId, now: Timestamp) {
        if let Some(version) = self.version_mut(id) {
            version.state = KeyState::Retired;
            version.has_private_key = false;
            version.claim = None;
            version.tags.clear();
            version.longest_drain = None;
            version.retired_at = Some(now.floor_to_second());
        }
        self.keys.retain(|version| {
            let was_imported = version.arn.is_some() || version.compromised;
            version.state != KeyState::Retired || was_imported || version.id == *id
        });
        let mut surplus = self.keys.len() - self.present().count();
        self.keys.retain(|version| {
            let drop = version.state == KeyState::Retired && surplus > RETIRED_KEPT;
            surplus -= usize::from(version.state == KeyState::Retired);
            !drop
        });
    }

    /// Retires the retiring versions that IVS never had; a crash may have left one. A claimed one stays,
    /// because IVS may be importing it.
    pub fn retire_unimported(&mut self, now: Timestamp) {
        let is_unimported = |version: &&KeyVersion| {
            version.state == KeyState::Retiring && version.arn.is_none() && version.claim.is_none()
        };
        while let Some(id) = self.keys.iter().find(is_unimported).map(|it| it.id.clone()) {
            self.retire(&id, now);
        }
    }

    /// Adds a rotation and forgets the oldest beyond [`ROTATIONS_KEPT`].
    pub fn record_rotation(&mut self, rotation: Rotation) {
        self.rotations.push(rotation);
        let surplus = self.rotations.len().saturating_sub(ROTATIONS_KEPT);
        self.rotations.drain(..surplus);
    }

    /// Records that AWS denied a call for the pair of this version which a rotation needs. The first
    /// denial stays.
    pub fn record_denial(&mut self, id: &VersionId, words: &str) {
        for rotation in self.rotations_that_wait_for(id) {
            rotation.error.get_or_insert_with(|| RotationFailure::denied(words));
        }
    }

    /// Removes the record of a denial, because the call succeeded.
    pub fn clear_denial(&mut self, id: &VersionId) {
        for rotation in self.rotations_that_wait_for(id) {
            rotation.clear_denial();
        }
    }

    /// Returns the rotations that continue when the pair of this version is imported, or deleted.
    fn rotations_that_wait_for(&mut self, id: &VersionId) -> impl Iterator<Item = &mut Rotation> {
        let version = self.keys.iter().find(|version| version.id == *id);
        let is_ending = version.is_some_and(|it| it.state == KeyState::Retiring);
        let is_compromised = version.is_some_and(|it| it.compromised);
        self.rotations.iter_mut().filter(move |rotation| {
            let is_emergency = rotation.mode == RotationMode::Emergency;
            let is_new = rotation.is_before_activation() && rotation.to == *id;
            let is_old = rotation.from.as_ref() == Some(id) || is_emergency && is_compromised;
            is_new || rotation.is_open() && is_ending && is_old
        })
    }
}

/// Written as [`FORMAT_VERSION`], and nothing else is read as one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct FormatVersion;

impl Serialize for FormatVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(FORMAT_VERSION)
    }
}

impl<'de> Deserialize<'de> for FormatVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if u32::deserialize(deserializer)? == FORMAT_VERSION {
            return Ok(Self);
        }
        Err(serde::de::Error::custom("not this format"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{keys::material::fixtures, secret::system_rng};

    fn now() -> Timestamp {
        Timestamp::from_unix_seconds(1_795_337_700)
    }

    fn empty() -> Keyring {
        Keyring::new("us-west-2".parse().unwrap(), Duration::from_hours(1), &mut system_rng())
    }

    #[test]
    fn the_last_ten_retired_versions_keep_their_public_half() {
        let mut keyring = empty();
        let ids: Vec<_> = (0..12)
            .map(|_| {
                let public = PublicKey::read(fixtures::PUBLIC).unwrap();
                let version = KeyVersion::new(public, true, now(), &mut system_rng());
                let id = version.id.clone();
                keyring.keys.push(version);
                keyring.version_mut(&id).unwrap().arn = Some(strategies::arn(0));
                keyring.retire(&id, now());
                id
            })
            .collect();
        assert_eq!(keyring.keys.iter().map(|it| it.id.clone()).collect::<Vec<_>>(), ids[2..]);
        assert!(keyring.keys.iter().all(|it| !it.has_private_key));
    }

    #[test]
    fn versions_that_ivs_never_had_do_not_push_out_those_that_signed() {
        let mut keyring = empty();
        let mut add = |arn: Option<PlaybackKeyArn>, state| {
            let public = PublicKey::read(fixtures::PUBLIC).unwrap();
            let mut version = KeyVersion::new(public, true, now(), &mut system_rng());
            version.tags.insert("team".to_owned(), "video".to_owned());
            (version.state, version.arn) = (state, arn);
            let id = version.id.clone();
            keyring.keys.push(version);
            keyring.retire_unimported(now());
            id
        };
        let signed = add(Some(strategies::arn(0)), KeyState::Retired);
        for _ in 0..20 {
            add(None, KeyState::Retiring);
        }
        assert_eq!((keyring.keys.len(), &keyring.keys[0].id), (2, &signed));
        let last = &keyring.keys[1];
        assert_eq!((last.state, last.has_private_key), (KeyState::Retired, false));
        assert!(last.tags.is_empty());
    }

    #[test]
    fn the_last_twenty_rotations_are_kept() {
        let mut keyring = empty();
        for _ in 0..23 {
            let to = VersionId::random(&mut system_rng());
            let mode = RotationMode::Graceful;
            keyring.record_rotation(Rotation::new(mode, "test", to, now(), &mut system_rng()));
        }
        assert_eq!(keyring.rotations.len(), ROTATIONS_KEPT);
    }
}
