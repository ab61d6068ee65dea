//! Taking one step.

use std::sync::Arc;

use super::Rotator;
use crate::{
    ivs::IvsError,
    keys::{
        keyring::{ClaimOp, KeyState, Keyring, RotationMode, VersionId},
        lifecycle::{Observed, Step, change, invariants, plan, requests::Begin},
        operations::OperationError,
        survey,
    },
};

impl Rotator {
    /// Takes a step, to its end even when the caller goes away. `false` where the keyring that the
    /// store has by now does not ask for it.
    pub(super) async fn take(
        self: &Arc<Self>,
        step: &Step,
        observed: &Observed,
    ) -> Result<bool, OperationError> {
        let (this, step, observed) = (Arc::clone(self), step.clone(), observed.clone());
        self.operations
            .to_the_end(async move {
                let taken = this.take_now(&step, &observed).await;
                if let Err(OperationError::Ivs(IvsError::Denied { message, .. })) = &taken {
                    this.note_denial(&step, message).await;
                }
                taken
            })
            .await
    }

    /// Writes down what AWS denied, for whoever asks why a rotation does not go on; the doctor, who
    /// tries no write, knows it by that.
    async fn note_denial(&self, step: &Step, words: &str) {
        let (Step::Import(id) | Step::Reimport(id) | Step::Delete(id)) = step else { return };
        let note = |keyring: &mut Keyring| {
            keyring.note_denial(id, words);
            Ok(())
        };
        if let Err(error) = self.operations.edit_existing(note).await {
            tracing::debug!(event = "denial_unrecorded", %error, "a denial was not recorded");
        }
    }

    async fn take_now(&self, step: &Step, observed: &Observed) -> Result<bool, OperationError> {
        match step {
            Step::Settle
            | Step::NoteMissing(_)
            | Step::Recover(_)
            | Step::Activate(_)
            | Step::Withdraw(_)
            | Step::ConfirmDrain(_)
            | Step::Retire(_)
            | Step::NoteStray(..) => self.write(step, observed).await,
            Step::Schedule => self.begin(step, observed, RotationMode::Graceful, "schedule").await,
            Step::Replace(_) => {
                self.begin(step, observed, RotationMode::Emergency, "reconciliation").await
            }
            Step::Import(id) => self.operations.ensure_imported(id, false).await.map(|()| true),
            Step::Reimport(id) => {
                if !self.mark_missing(step, id, observed).await? {
                    return Ok(false);
                }
                self.operations.ensure_imported(id, false).await.map(|()| true)
            }
            Step::Delete(id) => self.delete(id, observed).await,
            // That it goes is in the keyring, and cannot be taken back.
            Step::DeleteStray(_, arn) => self.operations.delete_duplicate(arn).await.map(|()| true),
        }
    }

    /// A step that only writes: planned again for what the store has now, and checked.
    async fn write(&self, step: &Step, observed: &Observed) -> Result<bool, OperationError> {
        self.operations
            .edit(|keyring| {
                let situation = self.situation(keyring, observed);
                if !plan(&situation).contains(step) {
                    return Ok(false);
                }
                let (now, policy) = (situation.now, self.operations.policy());
                let before = keyring.clone();
                change::apply(step, keyring, now, policy);
                invariants::check(&before, keyring, now)?;
                Ok(true)
            })
            .await
    }

    async fn begin(
        &self,
        step: &Step,
        observed: &Observed,
        mode: RotationMode,
        requested_by: &str,
    ) -> Result<bool, OperationError> {
        let request = Begin {
            mode,
            requested_by: requested_by.to_owned(),
            idempotency: None,
            new_keyring: false,
        };
        let may = |keyring: &Keyring| plan(&self.situation(keyring, observed)).contains(step);
        Ok(self.operations.begin_observed(&request, observed, may).await?.is_some())
    }

    /// Takes down that a pair is gone, and that it is ours to put back.
    async fn mark_missing(
        &self,
        step: &Step,
        id: &VersionId,
        observed: &Observed,
    ) -> Result<bool, OperationError> {
        self.operations
            .edit(|keyring| {
                let situation = self.situation(keyring, observed);
                if !plan(&situation).contains(step) {
                    return Ok(false);
                }
                let now = situation.now;
                if let Some(version) = keyring.version_mut(id) {
                    version.missing_since.get_or_insert_with(|| now.latest());
                    version.try_claim(ClaimOp::Import, self.operations.driver(), now.own)?;
                }
                Ok(true)
            })
            .await
    }

    /// Deletes the pairs of a version whose end was decided: its own, and those of imports that
    /// nobody recorded.
    async fn delete(&self, id: &VersionId, observed: &Observed) -> Result<bool, OperationError> {
        let Some(keyring) = self.operations.load().await? else { return Ok(false) };
        let Some(version) = keyring.version(id).filter(|it| it.state == KeyState::Retiring) else {
            return Ok(false);
        };
        let mut arns = survey::tagged(&keyring, version, &observed.listed);
        arns.extend(version.arn.clone());
        arns.extend(version.strays.iter().cloned());
        for arn in &arns {
            self.operations.delete_in_ivs(arn).await?;
        }
        self.operations
            .edit(|keyring| {
                let now = self.operations.now().latest();
                let state = keyring.version(id).map(|version| version.state);
                if state == Some(KeyState::Retiring) {
                    change::retired(keyring, id, now);
                    return Ok(true);
                }
                Ok(false)
            })
            .await
    }
}
