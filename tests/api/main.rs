//! The HTTP API from the outside, with the emulator behind it: one binary, because each test binary
//! links the AWS crates.

mod app;
mod channels;
mod health;
mod key_pairs;
mod openapi;
mod problems;
mod tokens;
