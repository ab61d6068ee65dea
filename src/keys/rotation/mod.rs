//! Rotation and repair of a region's keys, and everything else that changes them.
//!
//! Pure decisions:
//!
//! - `plan`: which `step`s to take next in a `situation`: the keyring, an `observation` of IVS, the time, the policy
//! - `transitions`: what each step writes into the keyring; [`drain`]: how long an old key is kept
//! - [`invariants`]: what no step may write
//! - `requests`, `new_key`: what operators ask for, as changes of the keyring; `refusal`: why not
//! - [`view`], `key_pair`: rotations and pairs as the API and the command line show them
//!
//! Effects:
//!
//! - `manager`: one method per use case, and the writing of the keyring by compare-and-swap
//! - `driver`: observes, plans, takes one step, and repeats; a crash anywhere resumes
//! - `observe`, `import`, `pairs`: the calls to IVS; `state`: what a driver remembers between them
//! - `journal`, `report`: what a driver logs and reports; `hooks`: the canary's probe and the audit
//!
//! Time is judged twice: what must have passed is judged by the earlier of our clock and IVS's, what is recorded by the
//! later ([`Now`]). So a wrong clock makes things late, not early.

pub mod canary;
pub mod drain;
mod driver;
mod error;
mod hooks;
mod import;
pub mod invariants;
mod journal;
mod key_pair;
mod label;
mod manager;
mod new_key;
mod now;
mod observation;
mod observe;
mod pairs;
mod plan;
mod refusal;
mod report;
mod requests;
mod situation;
mod state;
mod step;
mod transitions;
pub mod view;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

pub use self::{
    driver::{Goal, Reconciliation},
    error::OperationError,
    hooks::{Probe, ProbeFuture, StepTaken, Witness},
    key_pair::{KeyPairState, KeyPairView, ListedPair},
    label::{Label, LabelFault, MAX_TAG_KEY, MAX_TAG_VALUE, MAX_TAGS},
    manager::{GenerateKey, ImportPrivateKey, ImportPublicKey, KeyManager, ManagerSettings},
    now::Now,
    observation::Observation,
    pairs::REFRESH_PAUSE,
    plan::plan,
    refusal::{AccountSource, Full, InUse, Refusal},
    report::Report,
    requests::{Begin, Begun},
    situation::{HEAL_ONCE_IN, Policy, Situation},
    step::{Plan, Planned, Step, Wait},
};
