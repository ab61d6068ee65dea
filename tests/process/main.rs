//! The built binary as a process: exit codes, sentences, signals, state on disk. One binary, because
//! each test binary links the AWS crates.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "clippy allows them in tests, but not in the helpers of tests"
)]

mod audit;
mod cli;
mod connection;
mod connections;
mod doctor;
mod emulator;
mod files;
mod keys;
#[path = "../moto/mod.rs"]
mod moto;
mod output;
mod playback;
mod program;
mod secrets_manager;
mod serve;
#[path = "../signer/mod.rs"]
mod signer;
mod tls;
