//! The composition root: configuration to components, components to a router and background tasks.
//!
//! Nothing else sees everything. [`App`] is the token service without its port, [`serve`] runs it
//! until a signal, [`run_emulator`] the emulated IVS, and [`run_dev`] both in one process.

mod canary;
mod clock_watch;
mod compose;
mod connection;
mod dev;
mod drain;
mod emulator;
mod error;
pub(crate) mod fetch;
mod open_files;
mod preflight;
mod serve;
mod server;
mod settings;
mod signals;
mod tls;

pub use compose::{App, KeyAccess};
pub use dev::{DevOptions, is_not_applied, run_dev};
pub use emulator::{EmulatorOptions, run_emulator};
pub use error::StartError;
pub use preflight::{Preflight, check_key_store, preflight};
pub use serve::serve;
pub use server::{ListenError, Listener};
pub use tls::TlsError;

/// The OpenAPI document of the HTTP API.
pub use crate::http::openapi::document as openapi_document;
pub(crate) use tls::configured_certificate;
pub(crate) use {compose::open_store, settings::key_limits};
