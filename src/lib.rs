//! Playback authorization for Amazon IVS private channels.

pub mod access;
pub mod app;
pub mod channels;
pub mod cli;
pub mod clock;
pub mod config;
pub mod emulator;
pub mod http;
pub mod ivs;
pub mod keys;
pub mod secret;
pub mod telemetry;
pub mod tokens;
