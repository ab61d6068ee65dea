//! Playback key pairs.

pub mod material;
