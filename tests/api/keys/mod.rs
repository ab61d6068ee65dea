//! Key operations against the emulator, through the real AWS client over loopback.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod faults;
mod refusals;
mod rules;
mod world;
