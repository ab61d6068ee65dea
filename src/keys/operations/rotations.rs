//! What people ask of rotations. Each is one write of the keyring; the
//! [rotator](crate::keys::rotator) does the rest.

use std::sync::Arc;

use super::{KeyOperations, OperationError};
use crate::{
    ivs::arn::PlaybackKeyArn,
    keys::{
        keyring::{Keyring, RotationId},
        lifecycle::{
            Observed, invariants,
            requests::{self, Begin, Begun},
        },
        material::PrivateKey,
    },
    secret::system_rng,
};

impl KeyOperations {
    /// Begins a rotation: the new key is durable and claimed for its import when this returns.
    ///
    /// # Errors
    ///
    /// See [`OperationError`].
    pub async fn begin_rotation(self: &Arc<Self>, request: Begin) -> Result<Begun, OperationError> {
        let this = Arc::clone(self);
        self.to_the_end(async move {
            // Whoever lost the answer to it must get that also while IVS is away.
            if let Some(keyring) = this.load().await?
                && let Some(known) = requests::repeated(&keyring, &request)?
            {
                return Ok(Begun::Known(known));
            }
            let observed = this.observe().await?;
            this.begin_observed(&request, &observed, |_| true).await?.ok_or(OperationError::Deleted)
        })
        .await
    }

    /// Leaves a rotation that this process began to others, which then need not wait until its claim
    /// on the new key ends.
    ///
    /// # Errors
    ///
    /// There is no such rotation.
    pub async fn leave_rotation(self: &Arc<Self>, id: RotationId) -> Result<(), OperationError> {
        let this = Arc::clone(self);
        self.to_the_end(async move {
            let leave = |keyring: &mut Keyring| {
                let rotation = keyring.rotations.iter().find(|it| it.id == id);
                let to = rotation.ok_or(OperationError::RotationNotFound)?.to.clone();
                if let Some(version) = keyring.version_mut(&to) {
                    version.give_up_claim(&this.settings.driver);
                }
                Ok(())
            };
            this.edit_existing(leave).await?.ok_or(OperationError::RotationNotFound)
        })
        .await
    }

    /// Stops a rotation before its new key signs.
    ///
    /// # Errors
    ///
    /// There is no such rotation, or its new key signs already.
    pub async fn cancel_rotation(self: &Arc<Self>, id: RotationId) -> Result<(), OperationError> {
        let this = Arc::clone(self);
        self.to_the_end(async move {
            let cancel =
                |keyring: &mut Keyring| requests::cancel(keyring, &id, this.now().latest());
            this.edit_existing(cancel).await?.ok_or(OperationError::RotationNotFound)
        })
        .await
    }

    /// Lets the key sign again that drains.
    ///
    /// # Errors
    ///
    /// There is none, or it can sign no more.
    pub async fn roll_back(
        self: &Arc<Self>,
        requested_by: String,
    ) -> Result<RotationId, OperationError> {
        let this = Arc::clone(self);
        self.to_the_end(async move {
            let observed = this.observe().await?;
            let mut attempts = Attempts::default();
            let roll_back = |keyring: &mut Keyring| {
                // Once more would take it back.
                if let Some(id) = attempts.written_to(keyring) {
                    return Ok(id);
                }
                let (now, policy) = (this.now(), &this.settings.policy);
                let before = keyring.clone();
                let id =
                    requests::roll_back(keyring, &requested_by, &observed, now.latest(), policy)?;
                invariants::check(&before, keyring, now)?;
                attempts.note(&id);
                Ok(id)
            };
            let nothing = OperationError::NothingToRollBack { reason: "there is no keyring" };
            this.edit_existing(roll_back).await?.ok_or(nothing)
        })
        .await
    }

    /// Takes down that an adopted pair has no other signer any more.
    ///
    /// # Errors
    ///
    /// The keyring has no such pair, or it is none that was adopted.
    pub async fn release(self: &Arc<Self>, arn: PlaybackKeyArn) -> Result<(), OperationError> {
        let this = Arc::clone(self);
        self.to_the_end(async move {
            let release =
                |keyring: &mut Keyring| requests::release(keyring, &arn, this.now().latest());
            let nothing = OperationError::NotFound { region: this.region().clone() };
            this.edit_existing(release).await?.ok_or(nothing)
        })
        .await
    }

    /// Begins a rotation where `may` still holds for what the store has.
    pub(in crate::keys) async fn begin_observed(
        &self,
        request: &Begin,
        observed: &Observed,
        may: impl Fn(&Keyring) -> bool + Send + Sync,
    ) -> Result<Option<Begun>, OperationError> {
        let made = PrivateKey::generate(&mut system_rng())?;
        let mut attempts = Attempts::default();
        self.edit_adding(Some(&made), |keyring| {
            // It is under way by this very request.
            if let Some(id) = attempts.written_to(keyring) {
                return Ok(Some(Begun::New(id)));
            }
            if !may(keyring) {
                return Ok(None);
            }
            let now = self.now().latest();
            let driver = &self.settings.driver;
            let begun = requests::begin(keyring, request, made.public_key(), observed, driver, now)
                .map_err(|error| self.with_place(error))?;
            if let Begun::New(id) = &begun {
                attempts.note(id);
            }
            Ok(Some(begun))
        })
        .await
    }

    /// The rules do not know which store lacks the pairs that they name.
    fn with_place(&self, error: OperationError) -> OperationError {
        if let OperationError::LostPairs { pairs } = error {
            return self.lost_keyring(pairs);
        }
        error
    }

    /// What IVS has now.
    async fn observe(&self) -> Result<Observed, OperationError> {
        let keyring = self.load().await?;
        let listed_at = Some(self.clock.now());
        let listed = self.list(keyring.as_ref()).await?;
        Ok(Observed { listed, listed_at, ..Observed::default() })
    }
}

/// The rotations that earlier attempts of a write were to bring. One of them may be there although
/// the write was answered with a conflict; see [`Store::replace`](crate::keys::store::Store::replace).
#[derive(Debug, Default)]
struct Attempts(Vec<RotationId>);

impl Attempts {
    fn note(&mut self, id: &RotationId) {
        self.0.push(id.clone());
    }

    /// The one that was written after all.
    fn written_to(&self, keyring: &Keyring) -> Option<RotationId> {
        let is_there = |id: &&RotationId| keyring.rotations.iter().any(|it| it.id == **id);
        self.0.iter().find(is_there).cloned()
    }
}
