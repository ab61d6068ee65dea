//! What a plan depends on: the keyring, what IVS has, the time and the policy.

use std::time::Duration;

use super::{canary::Verdict, now::Now, observation::Observation};
use crate::keys::{
    Heal,
    keyring::{DriverId, Keyring, Limits},
};

/// Within this time after a repair, another deletion of the pair is taken as intended.
pub const HEAL_ONCE_IN: Duration = Duration::from_hours(1);

/// The settings that plans depend on.
#[derive(Clone, Debug)]
pub struct Policy {
    /// `rotation.propagation_wait`: how long after its import a key may sign.
    pub propagation_wait: Duration,
    /// The limits of this process. How long a key drains is computed from those of the keyring, which an activation sets
    /// to these.
    pub limits: Limits,
    /// `keys.heal`: what to do about an active pair that was deleted in IVS.
    pub heal: Heal,
    /// `rotation.every`: the age at which the active key is rotated; `None` if nothing is scheduled.
    pub every: Option<Duration>,
    /// Whether a canary decides when a new key may sign.
    pub has_canary: bool,
}

/// Everything that a plan depends on.
#[derive(Debug)]
pub struct Situation<'a> {
    /// The instant, read after the keyring was.
    pub now: Now,
    /// The keyring.
    pub keyring: &'a Keyring,
    /// What IVS has.
    pub observation: &'a Observation,
    /// The settings.
    pub policy: &'a Policy,
    /// The name that this process claims versions under.
    pub driver: &'a DriverId,
    /// The canary's verdict on the key that a rotation leads to; `None` without a canary.
    pub canary: Option<Verdict>,
    /// How much later than `rotation.every` this process begins a scheduled rotation, so that replicas do not all begin at
    /// once.
    pub schedule_delay: Duration,
    /// A rotation of an earlier region has not come to the drain.
    pub waits_for_other_region: bool,
}
