//! Observing: the keyring, what IVS has, and what the canary sees.

use std::time::Duration;

use super::{
    canary::{Canary, Verdict},
    error::OperationError,
    manager::KeyManager,
    observation::Observation,
    state::Watch,
};
use crate::{
    ivs::{IvsError, arn::PlaybackKeyArn},
    keys::{
        keyring::{KeyState, KeyVersion, Keyring, RotationMode},
        material::PrivateKey,
        signing::Signer,
        store::{PrivateKeys, Stored},
    },
    secret::system_rng,
};

impl KeyManager {
    /// Observes the keyring, and what IVS has of it and beside it.
    pub(super) async fn observe(&self) -> Result<(Option<Stored>, Observation), OperationError> {
        let stored = self.load_with_private_keys().await?;
        let keyring = stored.as_ref().map(|stored| &stored.keyring);
        let mut observation = self.list(keyring).await?;
        if let Err(error) = self.check_fingerprints(keyring).await {
            tracing::debug!(event = "fingerprints_unchecked", %error, "cannot compare fingerprints");
        }
        observation.distrusted = self.signing_keys.distrusted(self.region());
        if let Some(keyring) = keyring {
            self.find_missing(keyring, &mut observation).await?;
        }
        Ok((stored, observation))
    }

    /// Reads each recorded pair that is not listed by name, and again a while later: a list may be old, and to import a
    /// pair that is there would double it.
    async fn find_missing(
        &self,
        keyring: &Keyring,
        observation: &mut Observation,
    ) -> Result<(), OperationError> {
        let recorded: Vec<_> = keyring.present().filter_map(recorded_pair).cloned().collect();
        self.state().keep_suspects(|arn| recorded.contains(arn));
        for arn in recorded {
            if observation.has(&arn) {
                self.state().found(&arn);
                continue;
            }
            match self.get(&arn).await {
                Ok(pair) => {
                    self.state().found(&arn);
                    observation.listed.push(pair.into());
                }
                Err(OperationError::Ivs(IvsError::NotFound)) => {
                    let now = self.clock.monotonic();
                    if self.state().not_found(&arn, now) {
                        observation.gone.insert(arn);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Runs one round of the canary, if a new key waits for it and one is due.
    pub(super) async fn ask_canary(&self, stored: &Stored, observation: &Observation) {
        let Some(probe) = &self.probe else { return };
        let Some((active, new)) = awaited(&stored.keyring, observation) else {
            self.state().canary = None;
            return;
        };
        let now = self.clock.monotonic();
        let keys = &stored.private_keys;
        let Some([active, new, throwaway]) = self.canary_signers(active, new, keys, now) else {
            return;
        };
        let round = probe.round(&active, &new, &throwaway).await;
        let now = self.clock.monotonic();
        let mut state = self.state();
        let Some(watch) = &mut state.canary else { return };
        watch.canary.record(round, now);
        watch.asked_at = Some(now);
        if let Some(took) = watch.canary.measured()
            && !std::mem::replace(&mut watch.is_reported, true)
        {
            tracing::info!(
                event = "canary_known",
                region = %self.region(),
                after_seconds = took.as_secs(),
                "IVS knows the new key"
            );
        }
    }

    /// Returns the canary's verdict on the key that a rotation leads to; `None` without a canary.
    pub(super) fn verdict(&self, keyring: &Keyring) -> Option<Verdict> {
        self.probe.as_ref()?;
        let now = self.clock.monotonic();
        let state = self.state();
        let watch = state.canary.as_ref().filter(|watch| {
            keyring.rotations.iter().any(|it| it.is_before_activation() && it.to == watch.version)
        });
        Some(watch.map_or(Verdict::Unknown, |watch| watch.verdict(now)))
    }

    /// Returns the signers of a round that is due: active, new, throwaway.
    fn canary_signers(
        &self,
        active: &KeyVersion,
        new: &KeyVersion,
        private_keys: &PrivateKeys,
        now: Duration,
    ) -> Option<[Signer; 3]> {
        let mut state = self.state();
        if state.canary.as_ref().is_none_or(|watch| watch.version != new.id) {
            state.canary = Some(Watch {
                version: new.id.clone(),
                canary: Canary::new(now),
                throwaway: PrivateKey::generate(&mut system_rng()).ok()?,
                settle: self.settings.canary_settle,
                timeout: self.settings.canary_timeout,
                asked_at: None,
                is_reported: false,
            });
        }
        let watch = state.canary.as_ref().filter(|watch| watch.next_round() <= now)?;
        let signer = |version: &KeyVersion, key: &PrivateKey| {
            Signer::new(key, version.arn.clone()?, version.id.clone()).ok()
        };
        Some([
            signer(active, private_keys.get(&active.id)?)?,
            signer(new, private_keys.get(&new.id)?)?,
            signer(active, &watch.throwaway)?,
        ])
    }
}

fn recorded_pair(version: &KeyVersion) -> Option<&PlaybackKeyArn> {
    match version.state {
        KeyState::Imported | KeyState::Active | KeyState::Draining => version.arn.as_ref(),
        KeyState::Pending | KeyState::Retiring | KeyState::Retired => None,
    }
}

/// Returns the active version, and the imported one that a graceful rotation leads to.
fn awaited<'a>(
    keyring: &'a Keyring,
    observation: &Observation,
) -> Option<(&'a KeyVersion, &'a KeyVersion)> {
    let rotation = keyring
        .rotations
        .iter()
        .rev()
        .find(|it| it.is_before_activation() && it.mode == RotationMode::Graceful)?;
    let new = keyring.version(&rotation.to).filter(|it| it.state == KeyState::Imported)?;
    Some((keyring.active()?, new)).filter(|_| observation.has_pair_of(new))
}
