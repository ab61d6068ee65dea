//! What the driver calls outside this module: the canary's probe, and the audit.

use std::{fmt, pin::Pin};

use super::canary::Round;
use crate::{
    ivs::arn::{PlaybackKeyArn, Region},
    keys::{keyring::RotationId, material::Fingerprint, signing::Signer},
};

/// What a [`Probe`] returns: `None` if the edge could not be asked.
pub type ProbeFuture<'a> = Pin<Box<dyn Future<Output = Option<Round>> + Send + 'a>>;

/// Asks the edge whether it knows a key: the canary.
pub trait Probe: fmt::Debug + Send + Sync {
    /// Runs one round: the same playlist with a token of each key.
    fn round<'a>(
        &'a self,
        active: &'a Signer,
        new: &'a Signer,
        throwaway: &'a Signer,
    ) -> ProbeFuture<'a>;
}

/// A step that was taken and changed key pairs or a rotation.
#[derive(Clone, Debug)]
pub struct StepTaken<'a> {
    /// Its word in metrics and logs.
    pub step: &'static str,
    /// Why it was taken.
    pub reason: &'a str,
    /// The key pair that it changed, if the step names one.
    pub arn: Option<PlaybackKeyArn>,
    /// The key, likewise.
    pub fingerprint: Option<Fingerprint>,
    /// The rotation, likewise.
    pub rotation: Option<RotationId>,
}

/// Receives the steps that a driver takes by itself: the audit.
pub trait Witness: fmt::Debug + Send + Sync {
    /// Receives a step that was taken.
    fn step_taken(&self, region: &Region, taken: &StepTaken<'_>);
}
