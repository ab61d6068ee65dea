//! Playback key pairs: what they are made of, where they are kept, and which one signs.
//!
//! - [`material`]: keys as they are read, written and named; nothing in it signs
//! - [`keyring`]: a region's keys and their states, as a value with rules
//! - [`store`]: where keyrings are kept; loads, and replaces by compare-and-swap
//! - [`copy`]: from one store into another
//! - [`signing`]: the active key, parsed, and how long it may be used without reading the keyring again
//! - [`service`]: the calls to IVS that key pairs need
//! - [`rotation`]: what to do next, as a pure plan, and the manager that carries it out and has one
//!   method per use case: generate, import, rotate, cancel, roll back, release, delete, list
//! - [`finding`]: the table of what readiness, `keys status` and `keys doctor` report
//! - [`doctor`]: what is wrong with a region's keys, and what to do about it
//!
//! Two rules hold all of it together: no call that changes IVS is made before its intent is in the
//! keyring, and no token is signed with a keyring that may be too old.

pub mod copy;
pub mod doctor;
pub mod finding;
pub mod keyring;
pub mod material;
pub mod rotation;
pub mod service;
mod settings;
pub mod signing;
pub mod store;

pub use self::settings::{Heal, KeyStore, RotationSettings, Settings};
