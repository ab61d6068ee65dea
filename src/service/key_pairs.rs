//! Managing key pairs: listing, finding, generating, importing and deleting them.
//!
//! A change runs to its end even if its caller goes away, and leaves a record in the audit log.

use std::sync::Arc;

use tokio_util::task::TaskTracker;

use super::{Error, error::RETRY_AFTER};
use crate::{
    access::audit::{Actor, AuditLog, AuditUnavailable, Record},
    api::{
        key_pair::{CreateKeyPairRequest, KeyPairsBody},
        problem::ProblemType,
    },
    clock::{Clock, Timestamp},
    ivs::{
        IvsError,
        arn::{PlaybackKeyArn, Region},
    },
    keys::{
        keyring::{IdempotencyRecord, RotationId, RotationMode},
        material::PublicKey,
        rotation::{
            GenerateKey, ImportPrivateKey, ImportPublicKey, KeyManager, KeyPairView, Label,
            OperationError, Refusal,
        },
        store::StoreError,
    },
    prose::sentence,
    tokens::grant::Violation,
};

/// The key pairs and rotations of every region, in the configured order.
#[derive(Debug)]
pub struct KeyPairs(Vec<RegionKeys>);

/// The key pairs and rotations of one region. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RegionKeys {
    /// Manages the keys.
    pub manager: Arc<KeyManager>,
    /// Where changes are recorded.
    pub audit: AuditLog,
    /// The time of the records.
    pub clock: Clock,
    /// Keeps a change running after its caller is gone.
    pub tasks: TaskTracker,
}

/// A key pair to create.
#[derive(Clone, Debug)]
pub struct NewKeyPair {
    /// Its name and tags in IVS.
    pub label: Label,
    /// The public key to import; without it a pair is generated.
    pub public_key: Option<PublicKey>,
}

/// The key pairs of a region, as far as they are known.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The pairs of the keyring and of IVS.
    pub key_pairs: Vec<KeyPairView>,
    /// When IVS last listed its pairs; `None` before the first time.
    pub checked_at: Option<Timestamp>,
    /// Why IVS could not be queried just now.
    pub failure: Option<IvsError>,
}

/// Why no region could be chosen.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RegionError {
    /// The region is not configured.
    #[error("this service covers {served}; add the region to ivs.regions")]
    NotServed {
        /// The configured regions.
        served: String,
    },
    /// Several regions are configured and none was named.
    #[error("region is required because several regions are configured ({served})")]
    Ambiguous {
        /// The configured regions.
        served: String,
    },
}

impl From<RegionError> for Violation {
    fn from(error: RegionError) -> Self {
        Self { pointer: "/region".to_owned(), detail: sentence(&error.to_string()) }
    }
}

/// Why a use case of key pairs or rotations failed.
#[derive(Debug, thiserror::Error)]
pub enum KeyPairError {
    /// The operation failed.
    #[error(transparent)]
    Operation(#[from] OperationError),
    /// The change could not be recorded, so it was not made.
    #[error(transparent)]
    Audit(#[from] AuditUnavailable),
    /// The change was made and could not be recorded.
    #[error("the change was made, but {0}")]
    Unrecorded(AuditUnavailable),
}

/// What a change did, for its audit record.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) event: &'static str,
    pub(super) arn: Option<PlaybackKeyArn>,
    pub(super) fingerprint: Option<String>,
    pub(super) rotation: Option<RotationId>,
    pub(super) mode: Option<RotationMode>,
}

impl Change {
    fn of_pair(event: &'static str, pair: &KeyPairView) -> Self {
        let fingerprint = pair.fingerprint.map(|fingerprint| fingerprint.to_string());
        Self { event, arn: pair.arn.clone(), fingerprint, ..Self::default() }
    }
}

impl KeyPairs {
    /// Manages the regions of `regions`.
    pub fn new(regions: Vec<RegionKeys>) -> Self {
        Self(regions)
    }

    /// Returns every region.
    pub fn regions(&self) -> impl Iterator<Item = &RegionKeys> {
        self.0.iter()
    }

    /// Returns the region called `name`, or the only one.
    ///
    /// # Errors
    ///
    /// The region is not configured, or it must be named.
    pub fn region(&self, name: Option<&str>) -> Result<&RegionKeys, RegionError> {
        let served = || {
            let names: Vec<_> = self.0.iter().map(|keys| keys.region().as_str()).collect();
            names.join(", ")
        };
        match (name, self.0.as_slice()) {
            (Some(name), regions) => regions
                .iter()
                .find(|keys| keys.region().as_str() == name)
                .ok_or_else(|| RegionError::NotServed { served: served() }),
            (None, [only]) => Ok(only),
            (None, _) => Err(RegionError::Ambiguous { served: served() }),
        }
    }

    /// Returns the pair with this ARN or fingerprint. A pair that was imported elsewhere since the last
    /// listing is found by querying IVS again.
    ///
    /// # Errors
    ///
    /// The pair is not known and IVS could not be queried.
    pub async fn find(
        &self,
        name: &str,
        region: Option<&Region>,
    ) -> Result<Option<KeyPairView>, OperationError> {
        for refresh in [false, true] {
            let asked = |keys: &&RegionKeys| region.is_none_or(|region| region == keys.region());
            for keys in self.0.iter().filter(asked) {
                let listing = keys.list(refresh).await;
                if let Some(error) = listing.failure.filter(|_| refresh) {
                    return Err(error.into());
                }
                if let Some(pair) = listing.key_pairs.into_iter().find(|pair| pair.is_named(name)) {
                    return Ok(Some(pair));
                }
            }
        }
        Ok(None)
    }

    /// Checks a request to create a key pair.
    ///
    /// # Errors
    ///
    /// Every broken rule.
    pub fn check(
        &self,
        request: CreateKeyPairRequest,
    ) -> Result<(&RegionKeys, NewKeyPair), Vec<Violation>> {
        let CreateKeyPairRequest { region, name, tags, public_key_material } = request;
        let keys = self.region(region.as_deref());
        let label = Label::new(name, tags.unwrap_or_default());
        let public_key = public_key_material.map(PublicKey::read).transpose();
        match (keys, label, public_key) {
            (Ok(keys), Ok(label), Ok(public_key)) => Ok((keys, NewKeyPair { label, public_key })),
            (keys, label, public_key) => {
                let mut violations: Vec<_> = keys.err().map(Violation::from).into_iter().collect();
                let faults = label.err().unwrap_or_default().into_iter();
                violations.extend(
                    faults.map(|fault| Violation { pointer: fault.pointer, detail: fault.detail }),
                );
                violations.extend(public_key.err().map(|error| Violation {
                    pointer: "/publicKeyMaterial".to_owned(),
                    detail: sentence(&error.to_string()),
                }));
                Err(violations)
            }
        }
    }

    /// Generates a pair or imports a public key.
    ///
    /// # Errors
    ///
    /// See [`KeyPairError`].
    pub async fn create(
        &self,
        keys: &RegionKeys,
        actor: &Actor,
        new: NewKeyPair,
        idempotency: Option<IdempotencyRecord>,
    ) -> Result<KeyPairView, KeyPairError> {
        self.refuse_reused_elsewhere(keys, idempotency.as_ref()).await?;
        let manager = Arc::clone(&keys.manager);
        keys.change(actor, async move {
            let NewKeyPair { label, public_key } = new;
            let (event, pair) = if let Some(key) = public_key {
                let request = ImportPublicKey { key, label, idempotency };
                ("key_pair_imported", manager.import_public_key(request).await?)
            } else {
                let request = GenerateKey { label, idempotency };
                ("key_pair_created", manager.generate(request).await?)
            };
            Ok((Change::of_pair(event, &pair), pair))
        })
        .await
    }

    /// Refuses an idempotency key that a request for a region other than `here` has used. A region whose
    /// keyring cannot be read does not fail a request for another region.
    pub(super) async fn refuse_reused_elsewhere(
        &self,
        here: &RegionKeys,
        request: Option<&IdempotencyRecord>,
    ) -> Result<(), OperationError> {
        let Some(request) = request else { return Ok(()) };
        for keys in self.0.iter().filter(|keys| keys.region() != here.region()) {
            match keys.manager.asked_before(request).await {
                Ok(None) => {}
                // The body names the region unless there is only one.
                Ok(Some(_)) | Err(OperationError::Refused(Refusal::IdempotencyKeyReused)) => {
                    return Err(OperationError::Refused(Refusal::IdempotencyKeyReused));
                }
                Err(error) => {
                    tracing::info!(event = "idempotency_unchecked", %error, "keyring not checked");
                }
            }
        }
        Ok(())
    }
}

impl From<Vec<Listing>> for KeyPairsBody {
    fn from(listings: Vec<Listing>) -> Self {
        let checked_at = listings.iter().map(|listing| listing.checked_at).min().flatten();
        let key_pairs = listings.into_iter().flat_map(|listing| listing.key_pairs);
        Self { key_pairs: key_pairs.collect(), checked_at }
    }
}

impl RegionKeys {
    /// Returns the region.
    pub fn region(&self) -> &Region {
        self.manager.region()
    }

    /// Returns the key pairs as of the last listing of IVS.
    pub fn known(&self) -> Listing {
        let (key_pairs, checked_at) = self.manager.key_pairs();
        Listing { key_pairs, checked_at, failure: None }
    }

    /// Lists the key pairs; queries IVS if `refresh` asks for it or if it was never queried.
    pub async fn list(&self, refresh: bool) -> Listing {
        let known = self.known();
        if !refresh && known.checked_at.is_some() {
            return known;
        }
        let failure = self.manager.refresh_key_pairs().await.err();
        Listing { failure, ..self.known() }
    }

    /// Takes over a private key.
    ///
    /// # Errors
    ///
    /// See [`KeyPairError`].
    pub async fn import_private_key(
        &self,
        actor: &Actor,
        request: ImportPrivateKey,
    ) -> Result<KeyPairView, KeyPairError> {
        let manager = Arc::clone(&self.manager);
        self.change(actor, async move {
            let pair = manager.import_private_key(request).await?;
            Ok((Change::of_pair("key_pair_imported", &pair), pair))
        })
        .await
    }

    /// Deletes a pair; a draining one only with `force`.
    ///
    /// # Errors
    ///
    /// See [`KeyPairError`].
    pub async fn delete(
        &self,
        actor: &Actor,
        arn: PlaybackKeyArn,
        force: bool,
    ) -> Result<(), KeyPairError> {
        let manager = Arc::clone(&self.manager);
        self.change(actor, async move {
            manager.delete(arn.clone(), force).await?;
            Ok((Change { event: "key_pair_deleted", arn: Some(arn), ..Change::default() }, ()))
        })
        .await
    }

    /// Records that the keyring was copied to another store.
    ///
    /// # Errors
    ///
    /// The audit log cannot be written and must be.
    pub async fn record_copy(&self, actor: &Actor) -> Result<(), KeyPairError> {
        let recorded =
            self.record(actor, &Change { event: "keyring_copied", ..Change::default() }).await;
        recorded.map_err(KeyPairError::Unrecorded)
    }

    /// Makes a change that must not go unrecorded. It runs to its end even if its caller goes away.
    pub(super) async fn change<T: Send + 'static>(
        &self,
        actor: &Actor,
        work: impl Future<Output = Result<(Change, T), OperationError>> + Send + 'static,
    ) -> Result<T, KeyPairError> {
        self.audit.check()?;
        let (keys, actor) = (self.clone(), actor.clone());
        let task = self.tasks.spawn(async move {
            let (change, done) = work.await?;
            keys.record(&actor, &change).await.map_err(KeyPairError::Unrecorded)?;
            Ok(done)
        });
        task.await.unwrap_or_else(|_| Err(OperationError::Interrupted.into()))
    }

    /// Records a change that was made.
    ///
    /// # Errors
    ///
    /// The audit log cannot be written and must be.
    pub(super) async fn record(
        &self,
        actor: &Actor,
        change: &Change,
    ) -> Result<(), AuditUnavailable> {
        let Change { event, arn, fingerprint, rotation, mode } = change;
        let rotation = rotation.as_ref().map(ToString::to_string);
        let record = Record {
            region: Some(self.region()),
            key_pair_arn: arn.as_ref(),
            key_fingerprint: fingerprint.as_deref(),
            rotation_id: rotation.as_deref(),
            mode: mode.map(RotationMode::word),
            ..Record::key_change(self.clock.now(), actor, event)
        };
        self.audit.record(&record).await
    }
}

impl From<KeyPairError> for Error {
    fn from(error: KeyPairError) -> Self {
        match error {
            KeyPairError::Operation(error) => error.into(),
            KeyPairError::Audit(error) | KeyPairError::Unrecorded(error) => error.into(),
        }
    }
}

impl From<OperationError> for Error {
    /// Refuses an operation on key pairs.
    fn from(error: OperationError) -> Self {
        let detail = sentence(&error.to_string());
        match &error {
            OperationError::NotManaged => Self::new(ProblemType::Forbidden, detail),
            OperationError::Refused(Refusal::RotationInProgress { id }) => {
                Self::new(ProblemType::RotationInProgress, detail).rotation(id.clone())
            }
            OperationError::Refused(Refusal::RotationNotFound) => Self::new(ProblemType::RotationNotFound, detail),
            OperationError::Refused(
                Refusal::NotCancellable { .. }
                | Refusal::NothingToRollBack { .. }
                | Refusal::NotAdopted { .. }
                | Refusal::InUse { .. }
                | Refusal::Deleted,
            ) => Self::new(ProblemType::KeyPairInUse, detail),
            OperationError::Refused(Refusal::Claimed { .. }) | OperationError::Contended => {
                Self::new(ProblemType::KeyPairInUse, detail).retry_after(RETRY_AFTER)
            }
            OperationError::Refused(Refusal::Quota { .. }) => Self::new(ProblemType::KeyPairQuota, detail),
            OperationError::Refused(Refusal::OtherRegion { .. }) => Self::invalid_member("/keyPair", detail),
            OperationError::Refused(Refusal::Compromised) | OperationError::KeyMaterial(_) => {
                Self::invalid_member("/publicKeyMaterial", detail)
            }
            OperationError::Refused(Refusal::NotFound { .. }) => Self::new(ProblemType::KeyPairNotFound, detail),
            OperationError::Refused(Refusal::IdempotencyKeyReused) => {
                Self::new(ProblemType::IdempotencyKeyReused, detail)
            }
            OperationError::Ivs(ivs) => ivs_failed(ivs.clone()),
            OperationError::LostKeyring { .. } | OperationError::Refused(Refusal::LostKeyring { .. }) => Self::new(
                ProblemType::KeyPairInUse,
                "Amazon IVS has key pairs that this program imported and whose private keys are not \
                 in its store; `keys rotate` on the service's machine names them and the ways out.",
            )
            .caused_by(error),
            OperationError::Store(StoreError::TooLarge { .. }) => Self::new(
                ProblemType::KeyPairQuota,
                "The keyring has no room for this key pair. Use fewer or shorter tags, or delete key \
                 pairs that no one signs with.",
            )
            .caused_by(error),
            // Their error messages name files and accounts, which are for the log. The store's own defects
            // come before its failures.
            OperationError::Refused(Refusal::OtherAccount { .. } | Refusal::Unsafe(_))
            | OperationError::FingerprintMismatch { .. }
            | OperationError::Interrupted
            | OperationError::Store(
                StoreError::Unsound(_) | StoreError::Discontinuous(_) | StoreError::Encoding(_),
            ) => Self::internal(error),
            OperationError::Store(_) => Self::new(
                ProblemType::StoreUnavailable,
                "The key store cannot be read or written; the log says why. Try again later.",
            )
            .retry_after(RETRY_AFTER)
            .caused_by(error),
        }
    }
}

/// Refuses a request because a call to IVS failed. AWS's own messages name principals and may repeat values,
/// so they are for the log.
fn ivs_failed(error: IvsError) -> Error {
    let (problem, detail) = match &error {
        IvsError::Throttled => {
            (ProblemType::IvsThrottled, "Amazon IVS throttles this account's calls; try again.")
        }
        IvsError::QuotaExceeded { .. } => (
            ProblemType::KeyPairQuota,
            "Amazon IVS has no room for another key pair in this region; delete one that no one \
             signs with.",
        ),
        IvsError::NotFound => {
            (ProblemType::KeyPairNotFound, "Amazon IVS has no such key pair in this region.")
        }
        IvsError::Conflict { .. } => (
            ProblemType::KeyPairInUse,
            "Amazon IVS reports a conflict: it may have this public key already. GET \
             /v1/key-pairs?refresh=true lists what it has.",
        ),
        IvsError::Invalid { .. } => (
            ProblemType::InvalidRequest,
            "Amazon IVS refused the key pair as invalid; check name and tags. The log has its \
             message.",
        ),
        IvsError::Denied { .. } | IvsError::NoCredentials => (
            ProblemType::IvsUnavailable,
            "This service's AWS credentials do not allow the call; the log says which.",
        ),
        IvsError::Unavailable { .. } | IvsError::TimedOut => {
            (ProblemType::IvsUnavailable, "Amazon IVS cannot be used now; try again.")
        }
    };
    let refusal = Error::new(problem, detail).caused_by(error);
    if problem.spec().status == 503 { refusal.retry_after(RETRY_AFTER) } else { refusal }
}
