//! The HTTP API and the key operations from the outside, with the emulator behind them: one binary,
//! because each test binary links the AWS crates.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "clippy allows them in tests, but not in the helpers of tests"
)]

mod app;
mod audit;
mod channels;
mod clock;
mod demo;
mod health;
mod inspection;
mod ivs;
mod key_pairs;
mod keys;
mod lookups;
mod metrics;
#[path = "../moto/mod.rs"]
mod moto;
mod openapi;
mod problems;
mod revocations;
mod rotations;
mod stores;
mod tokens;
