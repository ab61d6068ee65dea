//! Tests of the emulator over HTTP: with the real `aws-sdk-ivs` client over loopback where possible,
//! with raw requests where the wire format matters.
//!
//! This is one binary because each test binary links the AWS crates.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod channels;
mod durability;
mod edge;
mod faults;
mod key_pairs;
mod playing;
mod policies;
mod rates;
mod recording;
mod sessions;
mod signatures;
#[path = "../signer/mod.rs"]
mod signer;
mod streams;
mod support;
mod tags;
mod wire;
