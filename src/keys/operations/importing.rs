//! Generating and importing, with the claim around `ImportPlaybackKeyPair`.

use std::{collections::BTreeSet, time::Duration};

use super::{
    GenerateKey, ImportPrivateKey, ImportPublicKey, KeyOperations, OperationError,
    enroll::{Candidate, Enrolment, Recorded, activate_if_none, record_import},
    unimported::make_room,
};
use crate::{
    ivs::{IvsError, KeyPair, KeyPairSummary, arn::PlaybackKeyArn},
    keys::{
        inventory::KeyPairView,
        keyring::{CLAIM_LIFETIME, ClaimOp, KeyState, KeyVersion, Keyring, VersionId},
        material::{Fingerprint, PrivateKey},
        survey,
    },
    secret::system_rng,
};

/// How often somebody else's claim is looked at again.
const CLAIM_POLL: Duration = Duration::from_secs(2);
/// A call to IVS begins only while this much of the claim is left: three attempts of `ivs.timeout`,
/// which is five seconds and at most ten, their pauses, and clocks that differ.
const CLAIM_RESERVE: Duration = Duration::from_secs(30);
/// What looking at IVS may take under a claim before the call begins.
const CLAIM_SLACK: Duration = Duration::from_secs(10);
/// How often a claim is won anew because looking at IVS took too long to act under it.
const CLAIM_ATTEMPTS: usize = 3;

/// A pair of ours in IVS.
struct Found {
    pair: KeyPair,
    /// Others with the same tags: IVS accepted an import twice.
    duplicates: BTreeSet<PlaybackKeyArn>,
}

/// Why a pair was neither found nor imported.
struct Failure {
    error: OperationError,
    certainty: Certainty,
}

/// What is known of IVS after a failure.
#[derive(Clone, Copy)]
enum Certainty {
    /// It may have the pair.
    Unknown,
    /// Nothing was asked of it this time, so others may try at once.
    NotAsked,
    /// It certainly refused the pair.
    Refused,
}

/// Before the call that changes IVS, any error means that nothing was done.
impl From<OperationError> for Failure {
    fn from(error: OperationError) -> Self {
        Self { error, certainty: Certainty::NotAsked }
    }
}

/// What winning a claim came to.
enum Turn {
    /// The version is ours to import.
    Ours(Box<(Keyring, KeyVersion)>),
    /// It is imported already.
    Done,
}

impl KeyOperations {
    pub(super) async fn generate_now(
        &self,
        request: GenerateKey,
    ) -> Result<KeyPairView, OperationError> {
        let enrolment = Enrolment {
            candidate: Candidate::Generated(PrivateKey::generate(&mut system_rng())?),
            label: request.label,
            idempotency: request.idempotency,
            found: None,
        };
        let (id, is_new) = self.enrol(enrolment).await?;
        self.ensure_imported(&id, is_new).await?;
        self.view(&id).await
    }

    pub(super) async fn import_private_now(
        &self,
        request: ImportPrivateKey,
    ) -> Result<KeyPairView, OperationError> {
        let ImportPrivateKey { key, label, exclusive, longest_ttl } = request;
        let candidate = Candidate::Private { key, exclusive, longest_ttl };
        let enrolment = Enrolment { candidate, label, idempotency: None, found: None };
        let (id, is_new) = self.enrol(enrolment).await?;
        self.ensure_imported(&id, is_new).await?;
        self.edit(|keyring| {
            activate_if_none(keyring, &id, self.clock.now());
            Ok(())
        })
        .await?;
        self.view(&id).await
    }

    pub(super) async fn import_public_now(
        &self,
        request: ImportPublicKey,
    ) -> Result<KeyPairView, OperationError> {
        let ImportPublicKey { key, label, idempotency } = request;
        let candidate = Candidate::Public(key);
        let enrolment = Enrolment { candidate, label, idempotency, found: None };
        let (id, is_new) = self.enrol(enrolment).await?;
        self.ensure_imported(&id, is_new).await?;
        self.view(&id).await
    }

    /// Brings the key into the keyring, after a look at IVS that spares beginning in vain. Tells
    /// whether it was not there before.
    async fn enrol(&self, mut enrolment: Enrolment) -> Result<(VersionId, bool), OperationError> {
        let keyring = self.load().await?;
        // Whoever lost the answer to it must get that also while IVS is away.
        if let Some(keyring) = &keyring
            && let Some(known) = enrolment.repeated(keyring)?
        {
            return Ok((known, false));
        }
        let listed_at = self.clock.now();
        let listed = self.list(keyring.as_ref()).await?;
        enrolment.found = match &enrolment.candidate {
            Candidate::Generated(_) => None,
            Candidate::Private { .. } | Candidate::Public(_) => {
                let fingerprint = enrolment.candidate.public_key().fingerprint();
                self.find_by_fingerprint(&listed, fingerprint).await?
            }
        };
        // Bringing the private key is one of the ways out of a lost keyring, making one is none.
        let is_new_key = matches!(enrolment.candidate, Candidate::Generated(_));
        let driver = &self.settings.driver;
        self.edit_adding(enrolment.candidate.private_key(), |keyring| {
            let now = self.clock.now();
            keyring.retire_unimported(now);
            let is_new = enrolment.existing(keyring, driver, now)?.is_none();
            if is_new {
                let lost = survey::lost(Some(keyring), &listed);
                if is_new_key && keyring.keys.is_empty() && !lost.is_empty() {
                    return Err(self.lost_keyring(lost));
                }
                if enrolment.found.is_none() {
                    survey::check_quota(keyring, &listed)?;
                }
                make_room(keyring, &listed, listed_at);
            }
            Ok((enrolment.enrol(keyring, driver, now)?, is_new))
        })
        .await
    }

    /// Sees to it that IVS has a version: finds it there, or wins the claim and imports it. One that
    /// IVS refuses may be dropped, above all where it `is_new`: made by this request.
    pub(in crate::keys) async fn ensure_imported(
        &self,
        id: &VersionId,
        is_new: bool,
    ) -> Result<(), OperationError> {
        let began = self.clock.monotonic();
        let mut attempts = 0;
        loop {
            let (won_at, turn) = (self.clock.monotonic(), self.win_import(id).await);
            let (keyring, version) = match turn {
                Ok(Turn::Done) => return Ok(()),
                Ok(Turn::Ours(ours)) => *ours,
                Err(claimed @ OperationError::Claimed { .. }) => {
                    if self.clock.monotonic().saturating_sub(began) >= self.settings.claim_wait {
                        return Err(claimed);
                    }
                    tracing::info!(
                        event = "claim_wait",
                        region = %self.region(),
                        reason = %claimed,
                        "waiting for another process"
                    );
                    tokio::time::sleep(CLAIM_POLL).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            return match self.find_or_import(&keyring, &version, won_at).await {
                Ok(Some(found)) => self.record(id, found).await,
                // The claim ran out before the call; somebody else may hold it now.
                Ok(None) => {
                    attempts += 1;
                    if attempts < CLAIM_ATTEMPTS {
                        continue;
                    }
                    self.give_up_claim(id).await;
                    Err(IvsError::TimedOut.into())
                }
                Err(Failure { error, certainty }) => {
                    match certainty {
                        Certainty::Unknown => {}
                        Certainty::NotAsked => self.give_up_claim(id).await,
                        Certainty::Refused => self.drop_refused(id, is_new, &error).await,
                    }
                    Err(error)
                }
            };
        }
    }

    async fn win_import(&self, id: &VersionId) -> Result<Turn, OperationError> {
        self.edit(|keyring| {
            let version = keyring.version_mut(id).ok_or(OperationError::Deleted)?;
            match version.state {
                KeyState::Pending => {}
                // Its pair is to be put back.
                KeyState::Imported | KeyState::Active | KeyState::Draining
                    if version.missing_since.is_some() => {}
                KeyState::Imported | KeyState::Active | KeyState::Draining => {
                    return Ok(Turn::Done);
                }
                KeyState::Retiring | KeyState::Retired => return Err(OperationError::Deleted),
            }
            let (driver, now) = (&self.settings.driver, self.clock.now());
            // One that was won a moment ago, together with another write, is as good as a new one.
            let is_ours = version
                .claim
                .as_ref()
                .is_some_and(|it| it.by == *driver && now + CLAIM_RESERVE + CLAIM_SLACK < it.until);
            if !is_ours {
                version.try_claim(ClaimOp::Import, driver, now)?;
            }
            let version = version.clone();
            Ok(Turn::Ours(Box::new((keyring.clone(), version))))
        })
        .await
    }

    /// The version's pair; `None` where the claim is too old to call IVS under it.
    async fn find_or_import(
        &self,
        keyring: &Keyring,
        version: &KeyVersion,
        won_at: Duration,
    ) -> Result<Option<Found>, Failure> {
        // An earlier attempt may have imported it and lost the answer.
        let listed = self.list(Some(keyring)).await?;
        if let Some(found) = self.find_tagged(keyring, version, &listed).await? {
            return Ok(Some(found));
        }
        // A process that was stopped since it won must not act on what it won.
        let until = version.claim.as_ref().map(|claim| claim.until);
        let age = self.clock.monotonic().saturating_sub(won_at);
        let is_young = age + CLAIM_RESERVE < CLAIM_LIFETIME
            && until.is_some_and(|until| self.clock.now() + CLAIM_RESERVE < until);
        if !is_young {
            return Ok(None);
        }
        let (pem, tags) = (version.public_key.to_pem(), keyring.pair_tags(version));
        match self.ivs.import(pem, &version.name, &tags).await {
            Ok(pair) => {
                if let Err(error) = self.check_account(Some(keyring), pair.arn.account()) {
                    self.take_back(&pair.arn).await;
                    return Err(error.into());
                }
                tracing::info!(
                    event = "key_pair_imported",
                    region = %self.region(),
                    keyPairArn = %pair.arn,
                    keyFingerprint = %version.fingerprint,
                    "a playback key pair was imported"
                );
                Ok(Some(Found { pair, duplicates: BTreeSet::new() }))
            }
            Err(error) => self.find_after(keyring, version, error).await.map(Some),
        }
    }

    /// Deletes a pair that was just imported into an account that nobody meant: where it had none, only
    /// the answer to the import told. The answer says that it is ours, and nothing signs with it.
    async fn take_back(&self, arn: &PlaybackKeyArn) {
        let (event, region) = ("imported_elsewhere", self.region());
        match self.ivs.delete(arn).await {
            Ok(()) | Err(IvsError::NotFound) => tracing::warn!(
                event, %region, keyPairArn = %arn,
                "a key pair was imported into another account, and deleted there again"
            ),
            Err(error) => tracing::error!(
                event, %region, keyPairArn = %arn, %error,
                "a key pair was imported into another account and is still there; delete it"
            ),
        }
    }

    /// Looks for the pair after an import that failed. Whatever the last attempt of the call says,
    /// one before it may have been carried out.
    async fn find_after(
        &self,
        keyring: &Keyring,
        version: &KeyVersion,
        error: IvsError,
    ) -> Result<Found, Failure> {
        let unknown = |error| Failure { error, certainty: Certainty::Unknown };
        let listed = self.list(Some(keyring)).await.map_err(unknown)?;
        if let Some(found) = self.find_tagged(keyring, version, &listed).await.map_err(unknown)? {
            return Ok(found);
        }
        if matches!(error, IvsError::Conflict { .. }) {
            // Somebody imported this very key without our tags, or took them away.
            let fingerprint = version.fingerprint;
            let pair = self.find_by_fingerprint(&listed, fingerprint).await.map_err(unknown)?;
            if let Some(pair) = pair {
                return Ok(Found { pair, duplicates: BTreeSet::new() });
            }
        }
        let certainty = match &error {
            IvsError::Denied { .. }
            | IvsError::NoCredentials
            | IvsError::QuotaExceeded { .. }
            | IvsError::Invalid { .. } => Certainty::Refused,
            IvsError::Throttled
            | IvsError::NotFound
            | IvsError::Conflict { .. }
            | IvsError::Unavailable { .. }
            | IvsError::TimedOut => Certainty::Unknown,
        };
        let error = if matches!(error, IvsError::QuotaExceeded { .. }) {
            survey::quota_of(keyring, &listed)
        } else {
            error.into()
        };
        Err(Failure { error, certainty })
    }

    async fn record(&self, id: &VersionId, found: Found) -> Result<(), OperationError> {
        let Found { pair, duplicates } = found;
        self.tell_pair(&pair);
        // Two imports at once, both accepted: the keyring says which one counts, and what goes.
        let (recorded, strays) = self
            .edit(|keyring| {
                let recorded = record_import(keyring, id, &pair, self.now().latest())?;
                let mut strays = match recorded {
                    Recorded::Imported => duplicates.clone(),
                    Recorded::Duplicate => BTreeSet::from([pair.arn.clone()]),
                    Recorded::Mismatch => BTreeSet::new(),
                };
                if let Some(version) = keyring.version_mut(id) {
                    strays.retain(|arn| version.arn.as_ref() != Some(arn));
                    let new = strays.iter().filter(|arn| !version.strays.contains(arn)).cloned();
                    let new: Vec<_> = new.collect();
                    version.strays.extend(new);
                }
                Ok((recorded, strays))
            })
            .await?;
        for arn in &strays {
            self.delete_duplicate(arn).await?;
        }
        match recorded {
            Recorded::Imported | Recorded::Duplicate => Ok(()),
            Recorded::Mismatch => Err(OperationError::FingerprintMismatch { arn: pair.arn }),
        }
    }

    pub(in crate::keys) async fn delete_duplicate(
        &self,
        arn: &PlaybackKeyArn,
    ) -> Result<(), OperationError> {
        tracing::warn!(
            event = "duplicate_deleted",
            region = %self.region(),
            keyPairArn = %arn,
            "IVS has a key of ours twice; the pair that the keyring does not name is deleted"
        );
        self.delete_in_ivs(arn).await
    }

    async fn find_tagged(
        &self,
        keyring: &Keyring,
        version: &KeyVersion,
        listed: &[KeyPairSummary],
    ) -> Result<Option<Found>, OperationError> {
        let mut arns = survey::tagged(keyring, version, listed);
        arns.retain(|arn| !version.strays.contains(arn));
        while let Some(arn) = arns.pop_first() {
            match self.get(&arn).await {
                Ok(pair) => return Ok(Some(Found { pair, duplicates: arns })),
                // Deleted since it was listed.
                Err(OperationError::Ivs(IvsError::NotFound)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The list has no fingerprints, so each pair is asked for; there are three at most.
    async fn find_by_fingerprint(
        &self,
        listed: &[KeyPairSummary],
        fingerprint: Fingerprint,
    ) -> Result<Option<KeyPair>, OperationError> {
        for summary in listed {
            match self.get(&summary.arn).await {
                Ok(pair) if pair.fingerprint.parse() == Ok(fingerprint) => return Ok(Some(pair)),
                Ok(_) | Err(OperationError::Ivs(IvsError::NotFound)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Lets others try at once.
    pub(super) async fn give_up_claim(&self, id: &VersionId) {
        let given_up = self
            .edit(|keyring| {
                if let Some(version) = keyring.version_mut(id) {
                    version.give_up_claim(&self.settings.driver);
                }
                Ok(())
            })
            .await;
        if let Err(error) = given_up {
            tracing::debug!(event = "claim_kept", %error, "a claim was not released; it expires");
        }
    }
}
