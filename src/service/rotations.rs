//! Rotations: starting, listing, cancelling and undoing them.

use std::sync::Arc;

use super::key_pairs::{Change, KeyPairError, KeyPairs, RegionKeys};
use crate::{
    access::audit::{Actor, AuditUnavailable},
    ivs::arn::PlaybackKeyArn,
    keys::{
        keyring::{RotationId, RotationMode},
        rotation::{Begin, Begun, OperationError, Refusal, view::RotationView},
    },
};

impl KeyPairs {
    /// Returns the rotation with this id and its region, which the id does not name.
    ///
    /// # Errors
    ///
    /// There is no such rotation, or a store failed that may have it.
    pub async fn find_rotation(
        &self,
        id: &str,
    ) -> Result<(&RegionKeys, RotationView), OperationError> {
        let mut failure = OperationError::Refused(Refusal::RotationNotFound);
        if let Ok(id) = id.parse::<RotationId>() {
            for keys in self.regions() {
                match keys.manager.rotation(&id).await {
                    Ok(rotation) => return Ok((keys, rotation)),
                    Err(OperationError::Refused(Refusal::RotationNotFound)) => {}
                    Err(error) => failure = error,
                }
            }
        }
        Err(failure)
    }

    /// Starts a rotation, or finds the one that is in progress, and returns it with the outcome of
    /// recording it. An emergency starts even if it cannot be recorded: a leaked key is replaced first.
    ///
    /// # Errors
    ///
    /// See [`KeyPairError`].
    pub async fn start_rotation(
        &self,
        keys: &RegionKeys,
        actor: &Actor,
        request: Begin,
    ) -> Result<(Begun, Result<(), AuditUnavailable>), KeyPairError> {
        let mode = request.mode;
        self.refuse_reused_elsewhere(keys, request.idempotency.as_ref()).await?;
        if mode == RotationMode::Graceful {
            keys.audit.check()?;
        }
        let (tasks, keys, actor) = (keys.tasks.clone(), keys.clone(), actor.clone());
        let started = tasks.spawn(async move {
            let begun = keys.manager.begin_rotation(request).await?;
            if matches!(begun, Begun::UnderWay(_)) && mode == RotationMode::Graceful {
                return Ok((begun, Ok(())));
            }
            keys.manager.wake();
            let (rotation, mode) = (Some(begun.id().clone()), Some(mode));
            let change = Change { event: "rotation_started", rotation, mode, ..Change::default() };
            let recorded = keys.record(&actor, &change).await;
            Ok::<_, OperationError>((begun, recorded))
        });
        started.await.unwrap_or(Err(OperationError::Interrupted)).map_err(KeyPairError::from)
    }
}

impl RegionKeys {
    /// Cancels a rotation before its new key signs.
    ///
    /// # Errors
    ///
    /// See [`KeyPairError`].
    pub async fn cancel_rotation(
        &self,
        actor: &Actor,
        id: RotationId,
    ) -> Result<RotationView, KeyPairError> {
        let manager = Arc::clone(&self.manager);
        let cancelled = id.clone();
        self.change(actor, async move {
            manager.cancel_rotation(id.clone()).await?;
            manager.wake();
            let change =
                Change { event: "rotation_cancelled", rotation: Some(id), ..Change::default() };
            Ok((change, ()))
        })
        .await?;
        Ok(self.manager.rotation(&cancelled).await?)
    }

    /// Returns signing to the key that signed before the last rotation, by a new rotation, whose id it returns.
    ///
    /// # Errors
    ///
    /// See [`KeyPairError`].
    pub async fn roll_back(
        &self,
        actor: &Actor,
        requested_by: String,
    ) -> Result<RotationId, KeyPairError> {
        let manager = Arc::clone(&self.manager);
        self.change(actor, async move {
            let id = manager.roll_back(requested_by).await?;
            let rotation = Some(id.clone());
            Ok((Change { event: "rotation_rolled_back", rotation, ..Change::default() }, id))
        })
        .await
    }

    /// Records that no other signer uses an adopted pair, so that it may retire.
    ///
    /// # Errors
    ///
    /// See [`KeyPairError`].
    pub async fn release(&self, actor: &Actor, arn: PlaybackKeyArn) -> Result<(), KeyPairError> {
        let manager = Arc::clone(&self.manager);
        self.change(actor, async move {
            manager.release(arn.clone()).await?;
            Ok((Change { event: "key_pair_released", arn: Some(arn), ..Change::default() }, ()))
        })
        .await
    }
}
