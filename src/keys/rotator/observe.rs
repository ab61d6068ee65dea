//! Looking: the keyring, what IVS has, and what the canary sees.

use std::time::Duration;

use super::{Rotator, memory::Watch};
use crate::{
    ivs::{IvsError, arn::PlaybackKeyArn},
    keys::{
        keyring::{KeyState, KeyVersion, Keyring, RotationMode},
        lifecycle::{
            Observed,
            canary::{Canary, Verdict},
        },
        material::PrivateKey,
        operations::OperationError,
        signing::Signer,
        store::{PrivateKeys, Stored},
    },
    secret::system_rng,
};

impl Rotator {
    /// The keyring, and what IVS has of it and beside it.
    pub(super) async fn observe(&self) -> Result<(Option<Stored>, Observed), OperationError> {
        let stored = self.operations.load_with_private_keys().await?;
        let keyring = stored.as_ref().map(|stored| &stored.keyring);
        let listed_at = Some(self.operations.clock().now());
        let listed = self.operations.list(keyring).await?;
        let mut observed = Observed { listed, listed_at, ..Observed::default() };
        self.operations.look_at_fingerprints(keyring).await;
        observed.distrusted = self.signing_keys.distrusted(self.region());
        if let Some(keyring) = keyring {
            self.look_for_missing(keyring, &mut observed).await?;
        }
        Ok((stored, observed))
    }

    /// A pair that is not listed is asked for by name, and again a while later: a list may be old,
    /// and to put back what is there would double it.
    async fn look_for_missing(
        &self,
        keyring: &Keyring,
        observed: &mut Observed,
    ) -> Result<(), OperationError> {
        let recorded: Vec<_> = keyring.present().filter_map(recorded_pair).cloned().collect();
        self.memory().keep_suspects(|arn| recorded.contains(arn));
        for arn in recorded {
            if observed.has(&arn) {
                self.memory().seen(&arn);
                continue;
            }
            match self.operations.get(&arn).await {
                Ok(pair) => {
                    self.memory().seen(&arn);
                    observed.listed.push(pair.into());
                }
                Err(OperationError::Ivs(IvsError::NotFound)) => {
                    let now = self.operations.clock().monotonic();
                    if self.memory().not_found(&arn, now) {
                        observed.gone.insert(arn);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// One round of the canary, where a new key waits for it and one is due.
    pub(super) async fn ask_canary(&self, stored: &Stored, observed: &Observed) {
        let Some(probe) = &self.probe else { return };
        let Some((active, new)) = awaited(&stored.keyring, observed) else {
            self.memory().canary = None;
            return;
        };
        let now = self.operations.clock().monotonic();
        let keys = &stored.private_keys;
        let Some([active, new, throwaway]) = self.canary_signers(active, new, keys, now) else {
            return;
        };
        let round = probe.round(&active, &new, &throwaway).await;
        let now = self.operations.clock().monotonic();
        let mut memory = self.memory();
        let Some(watch) = &mut memory.canary else { return };
        watch.canary.note(round, now);
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

    /// What the canary says of the key that a rotation leads to.
    pub(super) fn verdict(&self, keyring: &Keyring) -> Option<Verdict> {
        self.probe.as_ref()?;
        let now = self.operations.clock().monotonic();
        let memory = self.memory();
        let watch = memory.canary.as_ref().filter(|watch| {
            keyring.rotations.iter().any(|it| it.is_before_activation() && it.to == watch.version)
        });
        Some(watch.map_or(Verdict::Unknown, |watch| watch.verdict(now, &self.settings)))
    }

    /// The signers of a round that is due: active, new, throwaway.
    fn canary_signers(
        &self,
        active: &KeyVersion,
        new: &KeyVersion,
        private_keys: &PrivateKeys,
        now: Duration,
    ) -> Option<[Signer; 3]> {
        let mut memory = self.memory();
        if memory.canary.as_ref().is_none_or(|watch| watch.version != new.id) {
            memory.canary = Some(Watch {
                version: new.id.clone(),
                canary: Canary::new(now),
                throwaway: PrivateKey::generate(&mut system_rng()).ok()?,
                asked_at: None,
                is_reported: false,
            });
        }
        let watch = memory.canary.as_ref().filter(|watch| watch.next_round() <= now)?;
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

/// The active version, and the imported one that a graceful rotation leads to.
fn awaited<'a>(
    keyring: &'a Keyring,
    observed: &Observed,
) -> Option<(&'a KeyVersion, &'a KeyVersion)> {
    let rotation = keyring
        .rotations
        .iter()
        .rev()
        .find(|it| it.is_before_activation() && it.mode == RotationMode::Graceful)?;
    let new = keyring.version(&rotation.to).filter(|it| it.state == KeyState::Imported)?;
    Some((keyring.active()?, new)).filter(|_| observed.has_pair_of(new))
}
