//! What people do with key pairs: generate, import, delete, and ask for rotations.
//!
//! One law rules here: no call that changes IVS is made before its intent is in the keyring. So each
//! operation first writes what it is about to do (a pending version with a claim, a retiring one), then
//! calls IVS, then writes what came of it. A crash in between leaves an intent that the same operation,
//! asked for again, picks up: what a lost answer imported is found by its tags.
//!
//! Operations run to their end even when the caller goes away, and one at a time in a process; among
//! processes the claims keep order.

mod delete;
mod enroll;
mod error;
mod importing;
mod label;
mod rotations;
mod unimported;

use std::{sync::Arc, time::Duration};

use tokio_util::task::TaskTracker;

use super::{
    inventory::{Inventory, KeyPairView, ListedPair, merge},
    keyring::{Asked, DriverId, IdempotencyRecord, Keyring, VersionId},
    lifecycle::{Now, Policy},
    material::{PrivateKey, PublicKey},
    service::KeyPairService,
    store::{Store, StoreError, Stored},
    survey::{self, PairName},
};
use crate::{
    clock::{Clock, Moment},
    ivs::{
        KeyPair, KeyPairSummary,
        arn::{AccountId, PlaybackKeyArn, Region},
    },
    secret::system_rng,
};

pub use error::{AccountSource, Full, InUse, OperationError};
pub use label::{Label, LabelFault, MAX_TAG_KEY, MAX_TAG_VALUE, MAX_TAGS};

/// How often a write of the keyring is tried anew because others wrote in between.
const WRITE_ATTEMPTS: usize = 50;

/// The settings of [`KeyOperations`].
#[derive(Clone, Debug)]
pub struct OperationSettings {
    /// Who claims; see [`DriverId`]. Nobody else in this process may use the same one.
    pub driver: DriverId,
    /// `keys.manage`: whether this process may write keyrings and change IVS.
    pub manage: bool,
    /// `ivs.account_id`: the account whose pairs these are to be, where it is configured.
    pub expected_account: Option<AccountId>,
    /// What rotations depend on; its limits are those of a new keyring.
    pub policy: Policy,
    /// How long to wait for the claim of another process: nothing for a server, whose callers have
    /// time-outs; more than [`CLAIM_LIFETIME`](super::keyring::CLAIM_LIFETIME) for a command that a
    /// person runs again after a crash.
    pub claim_wait: Duration,
}

/// The operations on one region's key pairs.
#[derive(Debug)]
pub struct KeyOperations {
    store: Arc<dyn Store>,
    ivs: Arc<dyn KeyPairService>,
    clock: Clock,
    settings: OperationSettings,
    tasks: TaskTracker,
    inventory: Option<Arc<Inventory>>,
    /// Held over each operation.
    turn: tokio::sync::Mutex<()>,
}

/// A pair to generate.
#[derive(Clone, Debug, Default)]
pub struct GenerateKey {
    /// Its name and tags in IVS.
    pub label: Label,
    /// The request, where it must not be carried out twice.
    pub idempotency: Option<IdempotencyRecord>,
}

/// A private key that somebody brings.
#[derive(Clone, Debug)]
pub struct ImportPrivateKey {
    /// The key.
    pub key: PrivateKey,
    /// Name and tags in IVS, unless IVS has the pair already.
    pub label: Label,
    /// No other signer uses the key.
    pub exclusive: bool,
    /// The longest lifetime of the tokens of the other signer.
    pub longest_ttl: Option<Duration>,
}

/// A public key that somebody brings, whose private half is elsewhere.
#[derive(Clone, Debug)]
pub struct ImportPublicKey {
    /// The key.
    pub key: PublicKey,
    /// Name and tags in IVS, unless IVS has the pair already.
    pub label: Label,
    /// The request, where it must not be carried out twice.
    pub idempotency: Option<IdempotencyRecord>,
}

impl KeyOperations {
    /// The operations on the region of `ivs`. Shutting down waits for `tasks`.
    pub fn new(
        store: Arc<dyn Store>,
        ivs: Arc<dyn KeyPairService>,
        clock: Clock,
        settings: OperationSettings,
        tasks: TaskTracker,
    ) -> Self {
        let turn = tokio::sync::Mutex::default();
        Self { store, ivs, clock, settings, tasks, inventory: None, turn }
    }

    /// Tells `inventory`, and the signing keys behind it, of each step.
    #[must_use]
    pub fn telling(mut self, inventory: Arc<Inventory>) -> Self {
        self.inventory = Some(inventory);
        self
    }

    /// What rotations depend on.
    pub fn policy(&self) -> &Policy {
        &self.settings.policy
    }

    pub(in crate::keys) fn driver(&self) -> &DriverId {
        &self.settings.driver
    }

    pub(in crate::keys) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Whether this process may write keyrings and change IVS.
    pub fn manages(&self) -> bool {
        self.settings.manage
    }

    /// The region.
    pub fn region(&self) -> &Region {
        self.ivs.region()
    }

    /// Generates a pair, stores it and imports its public half. It is pending: the next rotation
    /// uses it.
    ///
    /// # Errors
    ///
    /// See [`OperationError`].
    pub async fn generate(
        self: &Arc<Self>,
        request: GenerateKey,
    ) -> Result<KeyPairView, OperationError> {
        let this = Arc::clone(self);
        self.to_the_end(async move { this.generate_now(request).await }).await
    }

    /// Takes over a private key: of a pair that IVS has, found by its fingerprint, or else of one
    /// that is imported now. It becomes active where none is, else it is pending.
    ///
    /// # Errors
    ///
    /// See [`OperationError`].
    pub async fn import_private_key(
        self: &Arc<Self>,
        request: ImportPrivateKey,
    ) -> Result<KeyPairView, OperationError> {
        let this = Arc::clone(self);
        self.to_the_end(async move { this.import_private_now(request).await }).await
    }

    /// Imports a public key. It never signs here.
    ///
    /// # Errors
    ///
    /// See [`OperationError`].
    pub async fn import_public_key(
        self: &Arc<Self>,
        request: ImportPublicKey,
    ) -> Result<KeyPairView, OperationError> {
        let this = Arc::clone(self);
        self.to_the_end(async move { this.import_public_now(request).await }).await
    }

    /// What a request with this record brought about in this region when it came before.
    ///
    /// # Errors
    ///
    /// Its key belongs to another request, or the keyring cannot be read.
    pub async fn asked_before(
        &self,
        request: &IdempotencyRecord,
    ) -> Result<Option<Asked>, OperationError> {
        let keyring = self.load().await?;
        Ok(keyring.map(|it| it.asked_before(request)).transpose()?.flatten())
    }

    /// Deletes a pair in IVS and erases its private half; a draining one only with `force`. A pair
    /// that is not ours is deleted, too: somebody asks for it by name.
    ///
    /// # Errors
    ///
    /// See [`OperationError`].
    pub async fn delete(
        self: &Arc<Self>,
        arn: PlaybackKeyArn,
        force: bool,
    ) -> Result<(), OperationError> {
        let this = Arc::clone(self);
        self.to_the_end(async move { this.delete_now(&arn, force).await }).await
    }

    /// Runs an operation in its turn, and to its end even when the caller goes away: one that is
    /// dropped between a call and its record would look like a crash to the next.
    pub(in crate::keys) async fn to_the_end<T: Send + 'static>(
        self: &Arc<Self>,
        operation: impl Future<Output = Result<T, OperationError>> + Send + 'static,
    ) -> Result<T, OperationError> {
        if !self.settings.manage {
            return Err(OperationError::NotManaged);
        }
        let this = Arc::clone(self);
        let task = self.tasks.spawn(async move {
            let _turn = this.turn.lock().await;
            operation.await
        });
        task.await.unwrap_or(Err(OperationError::BrokenOff))
    }

    /// Changes the keyring by compare-and-swap, as often as others write in between. So `change` must
    /// not do anything but change, and it may be given a keyring that holds its own change already,
    /// where the answer to that write was lost. Without a keyring it gets a new one.
    pub(in crate::keys) async fn edit<T>(
        &self,
        change: impl FnMut(&mut Keyring) -> Result<T, OperationError> + Send,
    ) -> Result<T, OperationError> {
        self.edit_adding(None, change).await
    }

    /// As [`KeyOperations::edit`], where `change` may add the version of the private key `new`.
    pub(in crate::keys) async fn edit_adding<T>(
        &self,
        new: Option<&PrivateKey>,
        mut change: impl FnMut(&mut Keyring) -> Result<T, OperationError> + Send,
    ) -> Result<T, OperationError> {
        self.exchange(new, |stored| {
            let mut keyring = stored.unwrap_or_else(|| self.new_keyring());
            let outcome = change(&mut keyring)?;
            Ok((Some(keyring), outcome))
        })
        .await
    }

    fn new_keyring(&self) -> Keyring {
        let (region, limits) = (self.region().clone(), self.settings.policy.limits);
        let mut keyring = Keyring::new(region, limits.max_ttl, &mut system_rng());
        keyring.set_limits(limits);
        keyring
    }

    /// As [`KeyOperations::edit`], but `None` where there is no keyring to change.
    pub(in crate::keys) async fn edit_existing<T>(
        &self,
        mut change: impl FnMut(&mut Keyring) -> Result<T, OperationError> + Send,
    ) -> Result<Option<T>, OperationError> {
        self.exchange(None, |stored| {
            let Some(mut keyring) = stored else { return Ok((None, None)) };
            let outcome = change(&mut keyring)?;
            Ok((Some(keyring), Some(outcome)))
        })
        .await
    }

    /// Writes the keyring that `change` makes of the stored one, unless they are equal.
    async fn exchange<T>(
        &self,
        new: Option<&PrivateKey>,
        mut change: impl FnMut(Option<Keyring>) -> Result<(Option<Keyring>, T), OperationError> + Send,
    ) -> Result<T, OperationError> {
        for attempt in 0..WRITE_ATTEMPTS {
            let (before, revision) = self.store.load(self.region()).await?.unzip();
            let (before, mut private_keys) =
                before.map(|stored| (stored.keyring, stored.private_keys)).unzip();
            let (after, outcome) = change(before.clone())?;
            let Some(keyring) = after.filter(|after| before.as_ref() != Some(after)) else {
                if attempt > 0 {
                    // An earlier attempt may have been written after all.
                    self.tell_written().await;
                }
                return Ok(outcome);
            };
            let mut after =
                Stored { keyring, private_keys: private_keys.take().unwrap_or_default() };
            if let Some(new) = new {
                after.add_private_key(new);
            }
            match self.store.replace(self.region(), revision, &after).await {
                Ok(_) => {
                    self.tell_written().await;
                    return Ok(outcome);
                }
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(OperationError::Contended)
    }

    /// The time, by our clock and by IVS's.
    pub(in crate::keys) fn now(&self) -> Now {
        let moment = Moment::of(&self.clock);
        Now { own: moment.wall, ivs: self.ivs.time(moment), skew: self.ivs.skew(moment) }
    }

    pub(in crate::keys) async fn load(&self) -> Result<Option<Keyring>, OperationError> {
        Ok(self.load_with_private_keys().await?.map(|stored| stored.keyring))
    }

    pub(in crate::keys) async fn load_with_private_keys(
        &self,
    ) -> Result<Option<Stored>, OperationError> {
        Ok(self.store.load(self.region()).await?.map(|(stored, _)| stored))
    }

    /// What IVS lists, refused where that is another account's.
    pub(in crate::keys) async fn list(
        &self,
        keyring: Option<&Keyring>,
    ) -> Result<Vec<KeyPairSummary>, OperationError> {
        if let Some(configured) = &self.settings.expected_account {
            survey::check_account(keyring, None, configured)?;
        }
        let begun = self.inventory.as_ref().map(|inventory| inventory.begin_listing(self.region()));
        let listed = self.ivs.list().await?;
        for pair in &listed {
            self.check_account(keyring, pair.arn.account())?;
        }
        if let Some((inventory, begun)) = self.inventory.as_ref().zip(begun) {
            inventory.note_listing(self.region(), begun, listed.clone());
        }
        Ok(listed)
    }

    pub(in crate::keys) async fn get(
        &self,
        arn: &PlaybackKeyArn,
    ) -> Result<KeyPair, OperationError> {
        let pair = self.ivs.get(arn).await?;
        self.check_account(None, pair.arn.account())?;
        self.tell_pair(&pair);
        Ok(pair)
    }

    /// Refuses what is of another account than the keyring or the configuration says.
    fn check_account(
        &self,
        keyring: Option<&Keyring>,
        found: &AccountId,
    ) -> Result<(), OperationError> {
        survey::check_account(keyring, self.settings.expected_account.as_ref(), found)
    }

    /// The version as people are shown it, after an operation.
    async fn view(&self, id: &VersionId) -> Result<KeyPairView, OperationError> {
        let keyring = self.load().await?.ok_or(OperationError::Deleted)?;
        let version = keyring.version(id).ok_or(OperationError::Deleted)?;
        let mut listed = Vec::new();
        if let Some(arn) = &version.arn {
            // The tags of an adopted pair are known to IVS alone. The operation is done, so a
            // failure here is not one of the operation.
            let (name, tags) = match self.get(arn).await {
                Ok(pair) => (pair.name, pair.tags),
                Err(_) => (version.name.clone(), keyring.pair_tags(version)),
            };
            let fingerprint = Some(version.fingerprint);
            listed.push(ListedPair { arn: arn.clone(), name, tags, fingerprint });
        }
        merge(self.region(), Some(&keyring), Some(&listed))
            .into_iter()
            .find(|view| view.fingerprint == Some(version.fingerprint))
            .ok_or(OperationError::Deleted)
    }

    fn lost_keyring(&self, pairs: Vec<PairName>) -> OperationError {
        let region = self.region().clone();
        let store = self.store.describe(&region);
        OperationError::LostKeyring { region, store, pairs }
    }

    fn tell_pair(&self, pair: &KeyPair) {
        if let Some(inventory) = &self.inventory {
            inventory.note_pair(self.region(), pair);
        }
    }

    /// Looks once at each pair that was listed since, to know its fingerprint.
    pub(in crate::keys) async fn look_at_fingerprints(&self, keyring: Option<&Keyring>) {
        if let Some(inventory) = &self.inventory
            && let Err(error) = inventory.look_at_new(self.region(), keyring).await
        {
            tracing::debug!(event = "fingerprints_unchecked", %error, "cannot compare fingerprints");
        }
    }

    async fn tell_written(&self) {
        if let Some(inventory) = &self.inventory {
            // Where that fails, the background task tries again and readiness tells.
            let _ = inventory.signing_keys().refresh(self.region()).await;
        }
    }
}
