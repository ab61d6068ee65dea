//! Adding and importing keys, with the claim around `ImportPlaybackKeyPair`.

use std::{collections::BTreeSet, time::Duration};

use super::{
    error::OperationError,
    manager::KeyManager,
    new_key::{NewKey, Recorded, record_import, refuse},
    observation::Observation,
    refusal::Refusal,
};
use crate::{
    ivs::{IvsError, KeyPair, arn::PlaybackKeyArn},
    keys::{
        keyring::{CLAIM_LIFETIME, ClaimOp, KeyState, KeyVersion, Keyring, VersionId},
        material::Fingerprint,
    },
};

/// How often the claim of another process is read again.
const CLAIM_POLL: Duration = Duration::from_secs(2);
/// A call to IVS begins only while this much of the claim is left: three attempts of `ivs.timeout`, which is five seconds
/// and at most ten, their pauses, and clocks that differ.
const CLAIM_RESERVE: Duration = Duration::from_secs(30);
/// How long observing IVS may take under a claim before the call begins.
const CLAIM_SLACK: Duration = Duration::from_secs(10);
/// How often a claim is won again because observing IVS took too long to act under it.
const CLAIM_ATTEMPTS: usize = 3;

/// A pair of the keyring in IVS.
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

/// The result of claiming a version.
enum Claimed {
    /// This process may import the version.
    Ours(Box<(Keyring, KeyVersion)>),
    /// The version is imported already.
    Done,
}

impl KeyManager {
    /// Adds a key to the keyring, or finds the version that an earlier attempt left, and makes sure that IVS has it.
    pub(super) async fn add_key(&self, mut new: NewKey) -> Result<VersionId, OperationError> {
        let keyring = self.load().await?;
        let known = keyring.as_ref().map(|it| it.version_of_request(new.idempotency.as_ref()));
        // A caller that lost the answer gets it again even while IVS cannot be reached.
        let (id, is_new) = if let Some(known) = known.transpose().map_err(Refusal::from)?.flatten()
        {
            (known, false)
        } else {
            let observation = self.list(keyring.as_ref()).await?;
            if !new.source.is_generated() {
                let fingerprint = new.source.public_key().fingerprint();
                new.found = self.find_by_fingerprint(&observation, fingerprint).await?;
            }
            self.edit_adding(new.source.private_key(), |keyring| {
                let (driver, now) = (&self.settings.driver, self.clock.now());
                new.enroll(keyring, &observation, driver, now)
            })
            .await?
        };
        self.ensure_imported(&id, is_new).await?;
        Ok(id)
    }

    /// Makes sure that IVS has a version: finds it there, or wins the claim and imports it. A version that IVS refuses may
    /// be dropped, above all if it `is_new`: added by this request.
    pub(super) async fn ensure_imported(
        &self,
        id: &VersionId,
        is_new: bool,
    ) -> Result<(), OperationError> {
        let began = self.clock.monotonic();
        let mut attempts = 0;
        loop {
            let (won_at, claimed) = (self.clock.monotonic(), self.claim_import(id).await);
            let (keyring, version) = match claimed {
                Ok(Claimed::Done) => return Ok(()),
                Ok(Claimed::Ours(ours)) => *ours,
                Err(claimed @ OperationError::Refused(Refusal::Claimed { .. })) => {
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
                Ok(Some(found)) => self.record_found(id, found).await,
                // The claim ran out before the call; another process may have it now.
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

    async fn claim_import(&self, id: &VersionId) -> Result<Claimed, OperationError> {
        self.edit(|keyring| {
            let version = keyring.version_mut(id).ok_or(Refusal::Deleted)?;
            match version.state {
                KeyState::Pending => {}
                // Its pair is to be imported again.
                KeyState::Imported | KeyState::Active | KeyState::Draining
                    if version.missing_since.is_some() => {}
                KeyState::Imported | KeyState::Active | KeyState::Draining => {
                    return Ok(Claimed::Done);
                }
                KeyState::Retiring | KeyState::Retired => return Err(Refusal::Deleted),
            }
            let (driver, now) = (&self.settings.driver, self.clock.now());
            // A claim that was won a moment ago, together with another write, is as good as a new one.
            let is_ours = version
                .claim
                .as_ref()
                .is_some_and(|it| it.by == *driver && now + CLAIM_RESERVE + CLAIM_SLACK < it.until);
            if !is_ours {
                version.try_claim(ClaimOp::Import, driver, now)?;
            }
            let version = version.clone();
            Ok(Claimed::Ours(Box::new((keyring.clone(), version))))
        })
        .await
    }

    /// Returns the version's pair; `None` if the claim is too old to call IVS under it.
    async fn find_or_import(
        &self,
        keyring: &Keyring,
        version: &KeyVersion,
        won_at: Duration,
    ) -> Result<Option<Found>, Failure> {
        // An earlier attempt may have imported it and lost the answer.
        let observation = self.list(Some(keyring)).await?;
        if let Some(found) = self.find_tagged(keyring, version, &observation).await? {
            return Ok(Some(found));
        }
        // A process that was stopped since it won the claim must not act under it.
        let until = version.claim.as_ref().map(|claim| claim.until);
        let age = self.clock.monotonic().saturating_sub(won_at);
        let is_young = age + CLAIM_RESERVE < CLAIM_LIFETIME
            && until.is_some_and(|until| self.clock.now() + CLAIM_RESERVE < until);
        if !is_young {
            return Ok(None);
        }
        match self.pairs.import(version, &keyring.pair_tags(version)).await {
            Ok(pair) => {
                if let Err(error) = self.check_account(Some(keyring), pair.arn.account()) {
                    self.take_back(&pair.arn).await;
                    return Err(OperationError::from(error).into());
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

    /// Deletes a pair that was just imported into the wrong account: if that account had no pairs, only the answer to the
    /// import showed it. The answer says that the pair is ours, and nothing signs with it.
    async fn take_back(&self, arn: &PlaybackKeyArn) {
        let (event, region) = ("imported_elsewhere", self.region());
        match self.pairs.delete(arn).await {
            Ok(()) => tracing::warn!(
                event, %region, keyPairArn = %arn,
                "a key pair was imported into another account, and deleted there again"
            ),
            Err(error) => tracing::error!(
                event, %region, keyPairArn = %arn, %error,
                "a key pair was imported into another account and is still there; delete it"
            ),
        }
    }

    /// Looks for the pair after an import that failed. Whatever the last attempt of the call returned, an earlier one may
    /// have been carried out.
    async fn find_after(
        &self,
        keyring: &Keyring,
        version: &KeyVersion,
        error: IvsError,
    ) -> Result<Found, Failure> {
        let unknown = |error| Failure { error, certainty: Certainty::Unknown };
        let observation = self.list(Some(keyring)).await.map_err(unknown)?;
        let found = self.find_tagged(keyring, version, &observation).await.map_err(unknown)?;
        if let Some(found) = found {
            return Ok(found);
        }
        if matches!(error, IvsError::Conflict { .. }) {
            // This very key was imported without our tags, or they were removed.
            let fingerprint = version.fingerprint;
            let pair =
                self.find_by_fingerprint(&observation, fingerprint).await.map_err(unknown)?;
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
            observation.quota(keyring).into()
        } else {
            error.into()
        };
        Err(Failure { error, certainty })
    }

    async fn record_found(&self, id: &VersionId, found: Found) -> Result<(), OperationError> {
        let Found { pair, duplicates: found_beside } = found;
        // After two imports at once that IVS both accepted, the keyring says which pair counts and which are deleted.
        let (recorded, duplicates) = self
            .edit(|keyring| {
                let recorded = record_import(keyring, id, &pair, self.now().latest())?;
                let mut duplicates = match recorded {
                    Recorded::Imported => found_beside.clone(),
                    Recorded::Duplicate => BTreeSet::from([pair.arn.clone()]),
                    Recorded::Mismatch => BTreeSet::new(),
                };
                if let Some(version) = keyring.version_mut(id) {
                    duplicates.retain(|arn| version.arn.as_ref() != Some(arn));
                    let new =
                        duplicates.iter().filter(|arn| !version.duplicates.contains(arn)).cloned();
                    let new: Vec<_> = new.collect();
                    version.duplicates.extend(new);
                }
                Ok((recorded, duplicates))
            })
            .await?;
        for arn in &duplicates {
            self.delete_duplicate(arn).await?;
        }
        match recorded {
            Recorded::Imported | Recorded::Duplicate => Ok(()),
            Recorded::Mismatch => Err(OperationError::FingerprintMismatch { arn: pair.arn }),
        }
    }

    pub(super) async fn delete_duplicate(
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
        observation: &Observation,
    ) -> Result<Option<Found>, OperationError> {
        let mut arns = observation.tagged(keyring, version);
        arns.retain(|arn| !version.duplicates.contains(arn));
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

    /// Finds a pair by its fingerprint. The list has none, so each pair is read; there are three at most.
    async fn find_by_fingerprint(
        &self,
        observation: &Observation,
        fingerprint: Fingerprint,
    ) -> Result<Option<KeyPair>, OperationError> {
        for summary in &observation.listed {
            match self.get(&summary.arn).await {
                Ok(pair) if pair.fingerprint.parse() == Ok(fingerprint) => return Ok(Some(pair)),
                Ok(_) | Err(OperationError::Ivs(IvsError::NotFound)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Drops a version that IVS certainly refused to import with `error`, or lets others try.
    async fn drop_refused(&self, id: &VersionId, is_new: bool, error: &OperationError) {
        // The same call with the same name and tags would always be refused.
        let is_final = matches!(error, OperationError::Ivs(IvsError::Invalid { .. }));
        let dropped = async {
            let (driver, now) = (&self.settings.driver, self.clock.now());
            self.edit(|keyring| {
                refuse(keyring, id, driver, is_new, is_final, now);
                Ok(())
            })
            .await?;
            self.edit(|keyring| {
                keyring.retire_unimported(self.clock.now());
                Ok(())
            })
            .await
        };
        if let Err(error) = dropped.await {
            tracing::debug!(event = "refused_key_kept", %error, "cannot drop a refused key yet");
        }
    }

    /// Gives up a claim, so that others need not wait until it ends.
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
