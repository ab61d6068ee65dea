//! The composition root: builds the components from the configuration, and runs the server and the background tasks.
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
mod signals;
mod tls;

pub use compose::{App, KeyAccess};
pub(crate) use compose::{key_limits, open_store};
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
