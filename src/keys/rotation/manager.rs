//! What operators and clients do with the key pairs of a region: one method per use case.
//!
//! One law holds here: no call that changes IVS is made before its intent is in the keyring. So each operation first
//! records what it is about to do (a pending version with a claim, a retiring one), then calls IVS, then records the
//! result. A crash in between leaves an intent that the same request, repeated, continues: a pair whose import was not
//! answered is found by its tags.
//!
//! Operations run to their end even if the caller goes away, and one at a time in a process; between processes, the
//! claims keep order.

use std::{convert::Infallible, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};
use rand::RngExt as _;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::{
    error::OperationError,
    hooks::{Probe, Witness},
    invariants,
    key_pair::{KeyPairView, ListedPair, merge},
    label::Label,
    new_key::{KeySource, NewKey, activate_if_none},
    now::Now,
    observation::{Observation, check_account},
    pairs::Pairs,
    refusal::Refusal,
    report::Report,
    requests::{self, Begin, Begun},
    situation::Policy,
    state::State,
    transitions,
    view::{self, RotationView},
};
use crate::{
    clock::{Clock, Moment, Timestamp},
    ivs::{
        IvsError, KeyPair, KeyPairSummary,
        arn::{AccountId, PlaybackKeyArn, Region},
    },
    keys::{
        keyring::{Asked, DriverId, IdempotencyRecord, Keyring, RotationId, VersionId},
        material::{PrivateKey, PublicKey},
        service::KeyPairService,
        signing::SigningKeys,
        store::{Store, StoreError, Stored},
    },
    secret::system_rng,
    telemetry::metrics::Metrics,
};

/// How often a write of the keyring is repeated because another process wrote in between.
const WRITE_ATTEMPTS: usize = 50;

/// The settings of a [`KeyManager`].
#[derive(Clone, Debug)]
pub struct ManagerSettings {
    /// The name that claims are made under; see [`DriverId`]. No one else may use it at the same time.
    pub driver: DriverId,
    /// `keys.manage`: whether this process may write keyrings and change IVS.
    pub manage: bool,
    /// `ivs.account_id`: the account that must own the pairs, if it is configured.
    pub expected_account: Option<AccountId>,
    /// What rotations depend on; its limits are those of a new keyring.
    pub policy: Policy,
    /// How long to wait for the claim of another process: zero in a server, whose callers have time-outs; more than
    /// [`CLAIM_LIFETIME`](crate::keys::keyring::CLAIM_LIFETIME) in a command that is repeated after a crash.
    pub claim_wait: Duration,
    /// `rotation.reconcile_every`: how often the keyring and IVS are compared.
    pub reconcile_every: Duration,
    /// The longest random pause before a step, so that replicas which observe the same do not all write it. Zero if a
    /// lost write costs nothing.
    pub spread: Duration,
    /// `rotation.canary_settle`
    pub canary_settle: Duration,
    /// `rotation.canary_timeout`
    pub canary_timeout: Duration,
    /// The regions that a scheduled rotation of this one waits for.
    pub earlier_regions: Vec<Region>,
}

/// Manages the key pairs of one region.
///
/// Its background task ([`run`](Self::run)) and its commands ([`drive`](Self::drive)) are in the driver.
#[derive(Debug)]
pub struct KeyManager {
    store: Arc<dyn Store>,
    pub(super) pairs: Pairs,
    pub(super) signing_keys: Arc<SigningKeys>,
    pub(super) clock: Clock,
    pub(super) settings: ManagerSettings,
    pub(super) metrics: Metrics,
    pub(super) tasks: TaskTracker,
    pub(super) probe: Option<Arc<dyn Probe>>,
    pub(super) witness: Option<Arc<dyn Witness>>,
    pub(super) schedule_delay: Duration,
    state: Mutex<State>,
    pub(super) report: ArcSwap<Report>,
    pub(super) wake: Notify,
    /// Held over each operation.
    operating: tokio::sync::Mutex<()>,
    /// Held over a reconciliation, so that a command and the background task do not double it.
    pub(super) reconciling: tokio::sync::Mutex<()>,
}

/// A pair to generate.
#[derive(Clone, Debug, Default)]
pub struct GenerateKey {
    /// Its name and tags in IVS.
    pub label: Label,
    /// The request, if it must not be carried out twice.
    pub idempotency: Option<IdempotencyRecord>,
}

/// A private key to import.
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

/// A public key to import, whose private half is elsewhere.
#[derive(Clone, Debug)]
pub struct ImportPublicKey {
    /// The key.
    pub key: PublicKey,
    /// Name and tags in IVS, unless IVS has the pair already.
    pub label: Label,
    /// The request, if it must not be carried out twice.
    pub idempotency: Option<IdempotencyRecord>,
}

impl KeyManager {
    /// Makes the manager of the region of `ivs`, which does nothing by itself before it [runs](Self::run). Shutting down
    /// waits for `tasks`.
    pub fn new(
        store: Arc<dyn Store>,
        ivs: Arc<dyn KeyPairService>,
        signing_keys: Arc<SigningKeys>,
        clock: Clock,
        settings: ManagerSettings,
        metrics: Metrics,
        tasks: TaskTracker,
    ) -> Self {
        let every = settings.policy.every.unwrap_or_default();
        let latest = (every / 20).min(Duration::from_hours(1));
        Self {
            store,
            pairs: Pairs::new(ivs, clock.clone()),
            signing_keys,
            clock,
            settings,
            metrics,
            tasks,
            probe: None,
            witness: None,
            schedule_delay: latest.mul_f64(system_rng().random_range(0.0..1.0)),
            state: Mutex::default(),
            report: ArcSwap::default(),
            wake: Notify::new(),
            operating: tokio::sync::Mutex::default(),
            reconciling: tokio::sync::Mutex::default(),
        }
    }

    /// Asks a canary before a new key signs.
    #[must_use]
    pub fn with_probe(mut self, probe: Arc<dyn Probe>) -> Self {
        self.probe = Some(probe);
        self
    }

    /// Reports the steps that this manager takes by itself to `witness`.
    #[must_use]
    pub fn with_witness(mut self, witness: Arc<dyn Witness>) -> Self {
        self.witness = Some(witness);
        self
    }

    /// Returns the region.
    pub fn region(&self) -> &Region {
        self.pairs.region()
    }

    /// Returns the settings that rotations depend on.
    pub fn policy(&self) -> &Policy {
        &self.settings.policy
    }

    /// Whether this process may write keyrings and change IVS.
    pub fn manages(&self) -> bool {
        self.settings.manage
    }

    /// Generates a pair, stores it and imports its public half. It is pending: the next rotation uses it.
    ///
    /// # Errors
    ///
    /// See [`OperationError`].
    pub async fn generate(
        self: &Arc<Self>,
        GenerateKey { label, idempotency }: GenerateKey,
    ) -> Result<KeyPairView, OperationError> {
        self.operate(|this| async move {
            let source = KeySource::Generated(PrivateKey::generate(&mut system_rng())?);
            let id = this.add_key(NewKey { source, label, idempotency, found: None }).await?;
            this.key_pair(&id).await
        })
        .await
    }

    /// Imports a private key: that of a pair which IVS has, found by its fingerprint, or else of one that is imported
    /// now. It becomes active if no key is; otherwise it is pending.
    ///
    /// # Errors
    ///
    /// See [`OperationError`].
    pub async fn import_private_key(
        self: &Arc<Self>,
        ImportPrivateKey { key, label, exclusive, longest_ttl }: ImportPrivateKey,
    ) -> Result<KeyPairView, OperationError> {
        self.operate(|this| async move {
            let source = KeySource::Private { key, exclusive, longest_ttl };
            let id = this.add_key(NewKey { source, label, idempotency: None, found: None }).await?;
            this.edit(|keyring| {
                activate_if_none(keyring, &id, this.clock.now());
                Ok(())
            })
            .await?;
            this.key_pair(&id).await
        })
        .await
    }

    /// Imports a public key. It never signs here.
    ///
    /// # Errors
    ///
    /// See [`OperationError`].
    pub async fn import_public_key(
        self: &Arc<Self>,
        ImportPublicKey { key, label, idempotency }: ImportPublicKey,
    ) -> Result<KeyPairView, OperationError> {
        self.operate(|this| async move {
            let source = KeySource::Public(key);
            let id = this.add_key(NewKey { source, label, idempotency, found: None }).await?;
            this.key_pair(&id).await
        })
        .await
    }

    /// Deletes a pair in IVS and erases its private half; a draining one only with `force`. A pair that is not in the
    /// keyring is deleted as well, since the caller names it.
    ///
    /// # Errors
    ///
    /// See [`OperationError`].
    pub async fn delete(
        self: &Arc<Self>,
        arn: PlaybackKeyArn,
        force: bool,
    ) -> Result<(), OperationError> {
        self.operate(|this| async move {
            if arn.region() != this.region() {
                let (found, expected) = (arn.region().clone(), this.region().clone());
                return Err(Refusal::OtherRegion { found, expected }.into());
            }
            let keyring = this.load().await?;
            this.check_account(keyring.as_ref(), arn.account())?;
            let known = keyring.as_ref().and_then(|keyring| keyring.by_arn(&arn));
            let pair = match known {
                Some(_) => None,
                // Not in the keyring, or not recorded there: an import whose answer was lost.
                None => match this.get(&arn).await {
                    Ok(pair) => Some(pair),
                    Err(OperationError::Ivs(IvsError::NotFound)) => {
                        return Err(Refusal::NotFound { region: this.region().clone() }.into());
                    }
                    Err(error) => return Err(error),
                },
            };
            // Checked again, because a keyring may have been created since, with this very pair. Without one, there is
            // nothing to record, and a deletion creates none.
            let intend = |keyring: &mut Keyring| {
                let (driver, now) = (&this.settings.driver, this.clock.now());
                requests::delete(keyring, &arn, pair.as_ref(), force, driver, now)
            };
            let version = this.edit_existing(intend).await?.flatten();
            let deleted = this.delete_in_ivs(&arn).await;
            let Some(id) = version else {
                return deleted;
            };
            if let Err(error) = deleted {
                this.give_up_claim(&id).await;
                return Err(error);
            }
            this.edit(|keyring| {
                transitions::retired(keyring, &id, this.clock.now());
                Ok(())
            })
            .await
        })
        .await
    }

    /// Returns what a request with this record did in this region when it came before.
    ///
    /// # Errors
    ///
    /// Its key belongs to another request, or the keyring cannot be read.
    pub async fn asked_before(
        &self,
        request: &IdempotencyRecord,
    ) -> Result<Option<Asked>, OperationError> {
        let keyring = self.load().await?;
        let asked = keyring.map(|keyring| keyring.asked_before(request)).transpose();
        Ok(asked.map_err(Refusal::from)?.flatten())
    }

    /// Begins a rotation: the new key is durable and claimed for its import when this returns.
    ///
    /// # Errors
    ///
    /// See [`OperationError`].
    pub async fn begin_rotation(self: &Arc<Self>, request: Begin) -> Result<Begun, OperationError> {
        self.operate(|this| async move {
            let keyring = this.load().await?;
            // A caller that lost the answer gets it again even while IVS cannot be reached.
            if let Some(keyring) = &keyring {
                let known = keyring.rotation_of_request(request.idempotency.as_ref());
                if let Some(known) = known.map_err(Refusal::from)? {
                    return Ok(Begun::Known(known));
                }
            }
            let observation = this.list(keyring.as_ref()).await?;
            let begun = this.begin_if(&request, &observation, |_| true).await?;
            Ok(begun.ok_or(Refusal::Deleted)?)
        })
        .await
    }

    /// Leaves a rotation that this process began to other processes, which then do not wait until its claim on the new
    /// key ends.
    ///
    /// # Errors
    ///
    /// There is no such rotation.
    pub async fn leave_rotation(self: &Arc<Self>, id: RotationId) -> Result<(), OperationError> {
        self.operate(|this| async move {
            let leave = |keyring: &mut Keyring| {
                let rotation = keyring.rotations.iter().find(|it| it.id == id);
                let to = rotation.ok_or(Refusal::RotationNotFound)?.to.clone();
                if let Some(version) = keyring.version_mut(&to) {
                    version.give_up_claim(&this.settings.driver);
                }
                Ok(())
            };
            Ok(this.edit_existing(leave).await?.ok_or(Refusal::RotationNotFound)?)
        })
        .await
    }

    /// Cancels a rotation before its new key signs.
    ///
    /// # Errors
    ///
    /// There is no such rotation, or its new key signs already.
    pub async fn cancel_rotation(self: &Arc<Self>, id: RotationId) -> Result<(), OperationError> {
        self.operate(|this| async move {
            let cancel =
                |keyring: &mut Keyring| requests::cancel(keyring, &id, this.now().latest());
            Ok(this.edit_existing(cancel).await?.ok_or(Refusal::RotationNotFound)?)
        })
        .await
    }

    /// Makes the key that drains sign again.
    ///
    /// # Errors
    ///
    /// There is no such key, or it can no longer sign.
    pub async fn roll_back(
        self: &Arc<Self>,
        requested_by: String,
    ) -> Result<RotationId, OperationError> {
        self.operate(|this| async move {
            let keyring = this.load().await?;
            let observation = this.list(keyring.as_ref()).await?;
            let mut attempts = Attempts::default();
            let roll_back = |keyring: &mut Keyring| {
                // Doing it again would undo it.
                if let Some(id) = attempts.written_to(keyring) {
                    return Ok(id);
                }
                let (now, policy) = (this.now(), this.policy());
                let before = keyring.clone();
                let at = now.latest();
                let id = requests::roll_back(keyring, &requested_by, &observation, at, policy)?;
                invariants::check(&before, keyring, now)?;
                attempts.0.push(id.clone());
                Ok(id)
            };
            let nothing = Refusal::NothingToRollBack { reason: "there is no keyring" };
            Ok(this.edit_existing(roll_back).await?.ok_or(nothing)?)
        })
        .await
    }

    /// Records that an adopted pair no longer has another signer.
    ///
    /// # Errors
    ///
    /// The keyring has no such pair, or the pair was not adopted.
    pub async fn release(self: &Arc<Self>, arn: PlaybackKeyArn) -> Result<(), OperationError> {
        self.operate(|this| async move {
            let release =
                |keyring: &mut Keyring| requests::release(keyring, &arn, this.now().latest());
            let nothing = Refusal::NotFound { region: this.region().clone() };
            Ok(this.edit_existing(release).await?.ok_or(nothing)?)
        })
        .await
    }

    /// Returns the rotations of the region, the latest first, as the store has them now.
    ///
    /// # Errors
    ///
    /// The store failed.
    pub async fn rotations(&self) -> Result<Vec<RotationView>, OperationError> {
        let Some(keyring) = self.load().await? else { return Ok(Vec::new()) };
        let mut views = view::rotations(&keyring, self.policy(), self.now().own);
        for view in &mut views {
            self.report.load().explain(view);
        }
        Ok(views)
    }

    /// Returns one rotation, as the store has it now.
    ///
    /// # Errors
    ///
    /// The store failed, or there is no such rotation.
    pub async fn rotation(&self, id: &RotationId) -> Result<RotationView, OperationError> {
        let found = self.rotations().await?.into_iter().find(|view| view.id == *id);
        Ok(found.ok_or(Refusal::RotationNotFound)?)
    }

    /// Returns the key pairs, and when IVS last listed them; calls no one.
    pub fn key_pairs(&self) -> (Vec<KeyPairView>, Option<Timestamp>) {
        let keyring = self.signing_keys.keyring(self.region());
        let (listed, checked_at) = self.pairs.listed();
        (merge(self.region(), keyring.as_deref(), listed.as_deref()), checked_at)
    }

    /// Returns what IVS listed last; `None` before the first list. Calls no one.
    pub fn listed(&self) -> Option<Vec<ListedPair>> {
        self.pairs.listed().0
    }

    /// Lists the pairs in IVS, unless that was done a moment ago ([`REFRESH_PAUSE`](super::REFRESH_PAUSE)). Once begun,
    /// the call continues although the caller gives up: the next caller waits for the same answer.
    ///
    /// # Errors
    ///
    /// IVS could not be asked; what was known before stays.
    pub async fn refresh_key_pairs(self: &Arc<Self>) -> Result<(), IvsError> {
        let this = Arc::clone(self);
        let list = || async move {
            let Ok(_) = this.pairs.list(|_| Ok::<_, Infallible>(())).await?;
            let keyring = this.signing_keys.keyring(this.region());
            this.check_fingerprints(keyring.as_deref()).await
        };
        self.pairs.refresh(&self.tasks, list).await
    }

    /// Runs an operation when no other one runs, and to its end even if the caller goes away: one that is dropped
    /// between a call and its record would look like a crash to the next.
    pub(super) async fn operate<T, F>(
        self: &Arc<Self>,
        operation: impl FnOnce(Arc<Self>) -> F,
    ) -> Result<T, OperationError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, OperationError>> + Send + 'static,
    {
        if !self.settings.manage {
            return Err(OperationError::NotManaged);
        }
        let operation = operation(Arc::clone(self));
        let this = Arc::clone(self);
        let task = self.tasks.spawn(async move {
            let _operating = this.operating.lock().await;
            operation.await
        });
        task.await.unwrap_or(Err(OperationError::Interrupted))
    }

    /// Changes the keyring by compare-and-swap, and repeats that while other processes write in between. So `change` must
    /// only change the keyring, and the keyring may contain the change already, if the answer to an earlier write was
    /// lost. If there is no keyring, `change` gets a new one.
    pub(super) async fn edit<T>(
        &self,
        change: impl FnMut(&mut Keyring) -> Result<T, Refusal> + Send,
    ) -> Result<T, OperationError> {
        self.edit_adding(None, change).await
    }

    /// Changes the keyring as [`edit`](Self::edit) does, where `change` may add the version of the private key `new`.
    pub(super) async fn edit_adding<T>(
        &self,
        new: Option<&PrivateKey>,
        mut change: impl FnMut(&mut Keyring) -> Result<T, Refusal> + Send,
    ) -> Result<T, OperationError> {
        self.exchange(new, |stored| {
            let mut keyring = stored.unwrap_or_else(|| self.new_keyring());
            let outcome = change(&mut keyring)?;
            Ok((Some(keyring), outcome))
        })
        .await
    }

    /// Changes the keyring as [`edit`](Self::edit) does; returns `None` if there is no keyring.
    pub(super) async fn edit_existing<T>(
        &self,
        mut change: impl FnMut(&mut Keyring) -> Result<T, Refusal> + Send,
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
        mut change: impl FnMut(Option<Keyring>) -> Result<(Option<Keyring>, T), Refusal> + Send,
    ) -> Result<T, OperationError> {
        for attempt in 0..WRITE_ATTEMPTS {
            let (stored, revision) = self.store.load(self.region()).await?.unzip();
            let before = stored.as_ref().map(|stored| stored.keyring.clone());
            let (after, outcome) =
                change(before.clone()).map_err(|refusal| self.naming_store(refusal))?;
            let Some(keyring) = after.filter(|after| before.as_ref() != Some(after)) else {
                if attempt > 0 {
                    // An earlier attempt may have been written after all.
                    self.reload_signing_keys().await;
                }
                return Ok(outcome);
            };
            let private_keys = stored.map(|stored| stored.private_keys).unwrap_or_default();
            let mut after = Stored { keyring, private_keys };
            if let Some(new) = new {
                after.add_private_key(new);
            }
            match self.store.replace(self.region(), revision, &after).await {
                Ok(_) => {
                    self.reload_signing_keys().await;
                    return Ok(outcome);
                }
                Err(StoreError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(OperationError::Contended)
    }

    fn naming_store(&self, refusal: Refusal) -> OperationError {
        let Refusal::LostKeyring { pairs } = refusal else { return refusal.into() };
        let region = self.region().clone();
        OperationError::LostKeyring { store: self.store.describe(&region), region, pairs }
    }

    fn new_keyring(&self) -> Keyring {
        let (region, limits) = (self.region().clone(), self.settings.policy.limits);
        let mut keyring = Keyring::new(region, limits.max_ttl, &mut system_rng());
        keyring.set_limits(limits);
        keyring
    }

    /// Reads the keyring again for the mints of this process.
    async fn reload_signing_keys(&self) {
        // If that fails, the background task repeats it, and readiness reports it.
        let _ = self.signing_keys.refresh(self.region()).await;
    }

    /// Begins a rotation if `may` holds for the keyring in the store.
    pub(super) async fn begin_if(
        &self,
        request: &Begin,
        observation: &Observation,
        may: impl Fn(&Keyring) -> bool + Send + Sync,
    ) -> Result<Option<Begun>, OperationError> {
        let made = PrivateKey::generate(&mut system_rng())?;
        let mut attempts = Attempts::default();
        self.edit_adding(Some(&made), |keyring| {
            // This very request began it.
            if let Some(id) = attempts.written_to(keyring) {
                return Ok(Some(Begun::New(id)));
            }
            if !may(keyring) {
                return Ok(None);
            }
            let (driver, now) = (&self.settings.driver, self.now().latest());
            let begun =
                requests::begin(keyring, request, made.public_key(), observation, driver, now)?;
            if let Begun::New(id) = &begun {
                attempts.0.push(id.clone());
            }
            Ok(Some(begun))
        })
        .await
    }

    /// Returns the time by our clock and by IVS's.
    pub(super) fn now(&self) -> Now {
        self.pairs.now(Moment::of(&self.clock))
    }

    pub(super) async fn load(&self) -> Result<Option<Keyring>, OperationError> {
        Ok(self.load_with_private_keys().await?.map(|stored| stored.keyring))
    }

    pub(super) async fn load_with_private_keys(&self) -> Result<Option<Stored>, OperationError> {
        Ok(self.store.load(self.region()).await?.map(|(stored, _)| stored))
    }

    /// Lists the pairs in IVS; refused if they belong to another account.
    pub(super) async fn list(
        &self,
        keyring: Option<&Keyring>,
    ) -> Result<Observation, OperationError> {
        if let Some(configured) = &self.settings.expected_account {
            check_account(keyring, None, configured)?;
        }
        let listed_at = Some(self.clock.now());
        let is_ours = |pair: &KeyPairSummary| self.check_account(keyring, pair.arn.account());
        let listed = self.pairs.list(is_ours).await??;
        Ok(Observation { listed, listed_at, ..Observation::default() })
    }

    pub(super) async fn get(&self, arn: &PlaybackKeyArn) -> Result<KeyPair, OperationError> {
        let pair = self.pairs.get(arn).await?;
        self.check_account(None, pair.arn.account())?;
        Ok(pair)
    }

    /// Deletes a pair in IVS, which may be gone already.
    pub(super) async fn delete_in_ivs(&self, arn: &PlaybackKeyArn) -> Result<(), OperationError> {
        self.pairs.delete(arn).await?;
        tracing::info!(
            event = "key_pair_deleted",
            region = %self.region(),
            keyPairArn = %arn,
            "a playback key pair was deleted"
        );
        Ok(())
    }

    /// Refuses an account other than the configured one or the keyring's.
    pub(super) fn check_account(
        &self,
        keyring: Option<&Keyring>,
        found: &AccountId,
    ) -> Result<(), Refusal> {
        check_account(keyring, self.settings.expected_account.as_ref(), found)
    }

    /// Gets the fingerprint of each listed pair once, since a pair cannot change, and stops signing with versions whose
    /// pair is another key in IVS: no edge accepts their tokens.
    pub(super) async fn check_fingerprints(
        &self,
        keyring: Option<&Keyring>,
    ) -> Result<(), IvsError> {
        self.pairs.get_fingerprints().await?;
        let region = self.region();
        for version in keyring.iter().flat_map(|keyring| keyring.present()) {
            let Some(arn) = &version.arn else { continue };
            if self.pairs.fingerprint(arn).is_some_and(|listed| listed != version.fingerprint)
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
        Ok(())
    }

    /// Returns the pair of a version after an operation.
    async fn key_pair(&self, id: &VersionId) -> Result<KeyPairView, OperationError> {
        let keyring = self.load().await?.ok_or(Refusal::Deleted)?;
        let version = keyring.version(id).ok_or(Refusal::Deleted)?;
        let mut listed = Vec::new();
        if let Some(arn) = &version.arn {
            // Only IVS has the tags of an adopted pair. The operation is done, so a failure here is not its failure.
            let (name, tags) = match self.get(arn).await {
                Ok(pair) => (pair.name, pair.tags),
                Err(_) => (version.name.clone(), keyring.pair_tags(version)),
            };
            let fingerprint = Some(version.fingerprint);
            listed.push(ListedPair { arn: arn.clone(), name, tags, fingerprint });
        }
        let view = merge(self.region(), Some(&keyring), Some(&listed))
            .into_iter()
            .find(|view| view.fingerprint == Some(version.fingerprint));
        Ok(view.ok_or(Refusal::Deleted)?)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// The rotations that earlier attempts of a write began. One of them may be in the store although the write was answered
/// with a conflict; see [`Store::replace`].
#[derive(Debug, Default)]
struct Attempts(Vec<RotationId>);

impl Attempts {
    /// Returns the rotation that was written after all.
    fn written_to(&self, keyring: &Keyring) -> Option<RotationId> {
        let is_there = |id: &&RotationId| keyring.rotations.iter().any(|it| it.id == **id);
        self.0.iter().find(is_there).cloned()
    }
}
