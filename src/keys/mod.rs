//! Playback key pairs: what they are made of, where they are kept, and which one signs.
//!
//! - [`material`]: keys as they are read, written and named; nothing in it signs
//! - [`keyring`]: a region's keys and their states, as a value with rules
//! - [`store`]: where keyrings are kept; loads, and replaces by compare-and-swap
//! - [`copy`]: from one store into another
//! - [`signing`]: the active key, parsed, and how long it may be used without reading the keyring again
//! - [`inventory`]: the keyring beside what IVS lists
//! - [`survey`]: what a listing says about a keyring
//! - [`operations`]: what people do: generate, import, delete, ask for a rotation
//! - [`lifecycle`]: what is to be done next, as a pure plan; [`rotator`]: doing it
//! - [`finding`]: the table of what readiness, `keys status` and `keys doctor` report
//! - [`doctor`]: what is wrong with a region's keys, and what to do about it
//!
//! Two rules hold all of it together: no call that changes IVS is made before its intent is in the
//! keyring, and no token is signed with a keyring that may be too old.

pub mod copy;
pub mod doctor;
pub mod finding;
pub mod inventory;
pub mod keyring;
pub mod lifecycle;
pub mod material;
pub mod operations;
pub mod rotator;
pub mod service;
mod settings;
pub mod signing;
pub mod store;
pub mod survey;

pub use self::settings::{Heal, KeyStore, RotationSettings, Settings};
