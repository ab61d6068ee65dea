//! Playback key pairs.

pub mod inventory;
pub mod keyring;
pub mod material;
pub mod operations;
pub mod signer;
pub mod snapshot;
pub mod store;
