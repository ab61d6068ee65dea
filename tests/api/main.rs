//! The HTTP API and the key operations from the outside, with the emulator behind them: one binary,
//! because each test binary links the AWS crates.

mod app;
mod channels;
mod health;
mod key_pairs;
mod keys;
mod openapi;
mod problems;
mod tokens;
