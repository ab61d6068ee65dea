//! One key of a keyring, and the states of its life.

use std::{collections::BTreeMap, time::Duration};

use rand::CryptoRng;
use serde::{Deserialize, Deserializer, Serialize, de::IgnoredAny};

use super::{DriverId, IdempotencyRecord, VersionId, seconds};
use crate::{
    clock::Timestamp,
    ivs::arn::PlaybackKeyArn,
    keys::material::{Fingerprint, PublicKey},
};

/// How long a claim holds. Longer than any call to IVS with its retries; as short as someone will
/// wait after a crash.
pub const CLAIM_LIFETIME: Duration = Duration::from_mins(1);

/// One key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each a member of the document"
)]
pub struct KeyVersion {
    /// Which version this is: the value of the tag [`VERSION_TAG`](super::VERSION_TAG).
    pub id: VersionId,
    /// Its state.
    pub state: KeyState,
    /// How IVS names the public key; computed here, never taken from IVS.
    pub fingerprint: Fingerprint,
    /// The public half (SPKI).
    pub public_key: PublicKey,
    /// Whether the store keeps the private half; not where only the public half was imported, nor in
    /// retired versions. The store that writes the document puts its own form of the key in here.
    #[serde(rename = "privateKey", default, deserialize_with = "is_present", skip_serializing)]
    pub has_private_key: bool,
    /// The pair in IVS, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arn: Option<PlaybackKeyArn>,
    /// The name of the pair in IVS.
    pub name: String,
    /// Tags that the pair was asked to have, beside ours.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// The key was imported, so another signer may use it, too.
    #[serde(default)]
    pub adopted: bool,
    /// No other signer uses the adopted key (`--exclusive`, `keys release`).
    #[serde(default)]
    pub released: bool,
    /// The longest lifetime of its tokens, if that may exceed `maxTtl`: those of an
    /// adopted key's other signer, or those of the time before `maxTtl` fell. In seconds.
    #[serde(default, with = "seconds::optional", skip_serializing_if = "Option::is_none")]
    pub longest_ttl: Option<Duration>,
    /// How long it drains at least: what `maxStaleness`, `maxTtl` and `drainMargin` came to before
    /// they were lowered. In seconds.
    #[serde(default, with = "seconds::optional", skip_serializing_if = "Option::is_none")]
    pub longest_drain: Option<Duration>,
    /// The private half leaked.
    #[serde(default)]
    pub compromised: bool,
    /// When it came into the keyring.
    pub created_at: Timestamp,
    /// When IVS first had it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported_at: Option<Timestamp>,
    /// When it began to sign, the last time it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activated_at: Option<Timestamp>,
    /// From when on the pair may be deleted in IVS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retires_at: Option<Timestamp>,
    /// When a process first read that it drains. The write that began to drain it may have been held
    /// up, so `retires_at` counts from this, and nothing is deleted before it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_seen_at: Option<Timestamp>,
    /// When its private half was erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_at: Option<Timestamp>,
    /// Since when IVS does not have the recorded pair, because it was deleted there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_since: Option<Timestamp>,
    /// When it was last imported again after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healed_at: Option<Timestamp>,
    /// Duplicate pairs that IVS has of this key. They are deleted, and never recorded as its pair.
    #[serde(rename = "strays", default, skip_serializing_if = "Vec::is_empty")]
    pub duplicates: Vec<PlaybackKeyArn>,
    /// The process that is about to change the pair in IVS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
    /// The request that made it, where it is not to be repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<IdempotencyRecord>,
}

/// Reads over a store's form of a private half.
fn is_present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Option::<IgnoredAny>::deserialize(deserializer)?.is_some())
}

impl KeyVersion {
    /// A pending version.
    pub fn new(
        public_key: PublicKey,
        has_private_key: bool,
        now: Timestamp,
        rng: &mut impl CryptoRng,
    ) -> Self {
        let id = VersionId::random(rng);
        // Eight characters distinguish the few keys of a deployment; the tag contains all of them.
        let short: String = id.as_str().chars().take(8).collect();
        Self {
            name: format!("ivs-playback-auth-{short}"),
            id,
            state: KeyState::Pending,
            fingerprint: public_key.fingerprint(),
            public_key,
            has_private_key,
            arn: None,
            tags: BTreeMap::new(),
            adopted: false,
            released: false,
            longest_ttl: None,
            longest_drain: None,
            compromised: false,
            created_at: now.floor_to_second(),
            imported_at: None,
            activated_at: None,
            retires_at: None,
            drain_seen_at: None,
            retired_at: None,
            missing_since: None,
            healed_at: None,
            duplicates: Vec::new(),
            claim: None,
            idempotency: None,
        }
    }

    /// Whether it could become active: it has a private half that did not leak, and it has not begun to
    /// retire.
    pub fn is_candidate(&self) -> bool {
        matches!(self.state, KeyState::Pending | KeyState::Imported)
            && self.has_private_key
            && !self.compromised
    }

    /// Whether another signer may use the key, so that it must not retire by itself.
    pub fn is_shared(&self) -> bool {
        self.adopted && !self.released && !self.compromised
    }

    /// Begins to delete the pair. There is no way back, so the private half goes now: the store's
    /// last state but one, which some stores keep readable, then no longer holds it when the pair is
    /// gone.
    pub fn begin_retiring(&mut self, now: Timestamp) {
        self.state = KeyState::Retiring;
        self.has_private_key = false;
        self.missing_since = None;
        self.retires_at.get_or_insert_with(|| now.floor_to_second());
    }

    /// Returns the claim of another process than `driver`, if it still holds at `now`.
    pub fn foreign_claim(&self, driver: &DriverId, now: Timestamp) -> Option<&Claim> {
        self.claim.as_ref().filter(|claim| claim.by != *driver && claim.until > now)
    }

    /// Claims the version, unless another process holds it.
    ///
    /// # Errors
    ///
    /// The claim that still holds.
    pub fn try_claim(
        &mut self,
        op: ClaimOp,
        driver: &DriverId,
        now: Timestamp,
    ) -> Result<(), Claim> {
        if let Some(claim) = self.foreign_claim(driver, now) {
            return Err(claim.clone());
        }
        let until = (now + CLAIM_LIFETIME).floor_to_second();
        self.claim = Some(Claim { op, by: driver.clone(), until });
        Ok(())
    }

    /// Gives up a claim of `driver`, so that others need not wait until it ends.
    pub fn give_up_claim(&mut self, driver: &DriverId) {
        self.claim.take_if(|claim| claim.by == *driver);
    }
}

/// The state of a key. It moves in one direction, except for a rollback:
///
/// ```text
/// pending -> imported -> active -> draining -> retiring -> retired
///                               <- rollback -
/// pending, imported -> retiring (cancelled)
/// ```
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum KeyState {
    /// The store has it; IVS may or may not.
    Pending,
    /// IVS has it. It does not sign.
    Imported,
    /// It signs. At most one is.
    Active,
    /// It signed; tokens that it signed may still be about to start playback.
    Draining,
    /// The pair is being deleted in IVS. No way back.
    Retiring,
    /// The pair and the private half are gone.
    Retired,
}

impl KeyState {
    /// Every state, in the order of a key's life.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Imported,
        Self::Active,
        Self::Draining,
        Self::Retiring,
        Self::Retired,
    ];

    /// Whether one write may take a key from this state to `next`.
    pub const fn may_become(self, next: Self) -> bool {
        match self {
            Self::Pending => matches!(next, Self::Pending | Self::Imported | Self::Retiring),
            Self::Imported => matches!(next, Self::Imported | Self::Active | Self::Retiring),
            Self::Active => matches!(next, Self::Active | Self::Draining),
            Self::Draining => matches!(next, Self::Draining | Self::Active | Self::Retiring),
            Self::Retiring => matches!(next, Self::Retiring | Self::Retired),
            Self::Retired => matches!(next, Self::Retired),
        }
    }
}

/// The right to change a pair in IVS; other processes wait until it expires.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Claim {
    /// What the holder is about to do.
    pub op: ClaimOp,
    /// The holder.
    pub by: DriverId,
    /// When it ends, unless it is given up before.
    pub until: Timestamp,
}

/// The changes of IVS that a claim covers.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ClaimOp {
    /// `ImportPlaybackKeyPair`
    Import,
    /// `DeletePlaybackKeyPair`
    Delete,
}
