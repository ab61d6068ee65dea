//! The `[access]`, `[audit]` and `[shared]` sections of the configuration.

use std::{path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::settings::{As, NotAvailable, Period};

/// Who may call.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The clients file. The same TOML may be in the variable `IVS_PLAYBACK_AUTH_CLIENTS` instead.
    #[serde(with = "As::<PathBuf>")]
    #[schemars(extend("default" = "config/clients.toml"))]
    pub clients: PathBuf,
    /// How often the clients file and the TLS certificate are checked for changes.
    #[serde(with = "As::<Period>")]
    #[schemars(extend("default" = "5s"))]
    pub reload_every: Duration,
}

/// The audit log.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditSettings {
    /// Where a line for each mint decision goes: "stdout", "file" or "off".
    #[schemars(extend("default" = "stdout"))]
    pub sink: AuditSink,
    /// The file of the sink "file".
    #[serde(with = "As::<Option<PathBuf>>")]
    #[schemars(extend("default" = ""))]
    pub path: Option<PathBuf>,
    /// When the sink cannot be written: "warn" and mint, or "deny" the mint, which then waits for its line.
    #[schemars(extend("default" = "warn"))]
    pub on_failure: AuditFailure,
}

impl AuditSettings {
    /// Returns the file to write, where the sink is one.
    pub fn file(&self) -> Option<PathBuf> {
        self.path.clone().filter(|_| self.sink == AuditSink::File)
    }
}

/// Where the audit log goes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum AuditSink {
    /// Standard output.
    Stdout,
    /// The file `audit.path`, appended to.
    File,
    /// Nowhere.
    Off,
}

/// What to do when the audit log cannot be written.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum AuditFailure {
    /// Mint, and log the failure.
    Warn,
    /// Refuse to mint.
    Deny,
}

/// The engine that replicas share.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SharedSettings {
    /// Not available in this version: an engine that replicas share, "redis://…"; empty: none.
    #[serde(with = "As::<NotAvailable>")]
    #[schemars(extend("default" = "", "x-not-available" = "a shared engine", "writeOnly" = true))]
    pub url: NotAvailable,
    /// Not available in this version: what to do when the shared engine cannot be reached, "allow" or "deny".
    #[serde(with = "As::<NotAvailable>")]
    #[schemars(extend("default" = "allow", "x-not-available" = "a shared engine"))]
    pub on_failure: NotAvailable,
}
