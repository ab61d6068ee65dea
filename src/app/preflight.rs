//! What can be known before `serve` starts, without the network and without changing anything.
//!
//! `serve` refuses to start with any of [`Preflight::problems`], and `config check` reports the same
//! ones, so that a configuration which the one accepts does not stop the other.

use std::path::Path;

use crate::{
    access::{
        audit,
        registry::{ClientsSource, Registry},
    },
    clock::Clock,
    config::{Config, ConfigError, Problem},
    ivs::{self, arn::Region},
    keys::KeyStore,
    keys::store::{Store as _, dir::DirStore},
    revocation::denials::Denials,
};

use super::tls;

/// What is wrong with a configuration and with the files that it names.
#[derive(Debug, Default)]
pub struct Preflight {
    /// What keeps `serve` from starting.
    pub problems: Vec<Problem>,
    /// What is probably a mistake and keeps nothing from starting.
    pub warnings: Vec<Problem>,
    /// The regions that `serve` would serve.
    regions: Vec<Region>,
}

impl Preflight {
    /// Logs the warnings, and returns the problems as an error.
    ///
    /// # Errors
    ///
    /// There is a problem.
    pub(super) fn into_result(self) -> Result<(), ConfigError> {
        for warning in &self.warnings {
            let event = "configuration_warning";
            tracing::warn!(event, problem = %warning, "the configuration may be wrong");
        }
        let Self { problems, .. } = self;
        if problems.is_empty() { Ok(()) } else { Err(ConfigError { problems }) }
    }
}

/// Checks what `serve` needs: regions, clients, TLS files, audit log and denials.
pub async fn preflight(config: &Config) -> Preflight {
    let mut found = Preflight::default();
    match ivs::resolve_regions(&config.ivs).await {
        Ok(regions) => found.regions = regions,
        Err(error) => {
            let message = format!("cannot be resolved: {error}.");
            found.problems.push(config.problem("ivs.regions", message));
        }
    }
    for region in &found.regions {
        if let Some(warning) = ivs::unknown_region(region) {
            let mut warning = config.problem("ivs.regions", format!("{warning}."));
            if config.ivs.region.is_some() {
                "--region".clone_into(&mut warning.place);
                warning.key = None;
            }
            found.warnings.push(warning);
        }
    }
    if let Err(error) = Registry::load(clients_source(config)) {
        let problem = config.problem("access.clients", format!("cannot be used. {error}"));
        found.problems.push(problem);
    }
    if let Some(files) = config.server.tls()
        && let Err(error) = tls::check(&files)
    {
        let problem = config.problem(error.key(), format!("cannot be used: {error}."));
        found.problems.push(problem);
    }
    if let Some(path) = config.audit.file()
        && let Err(error) = audit::check_file(&path)
    {
        let message = format!("cannot be written: {error}. Create its folder, or change the path.");
        found.problems.push(config.problem("audit.path", message));
    }
    if config.viewers.local_deny {
        let denials = Denials::new(config.viewers.deny_list.clone());
        if let Err(error) = denials.reload(Clock::system().now()) {
            let problem = config.problem("viewers.deny_list", format!("cannot be used. {error}"));
            found.problems.push(problem);
        }
    }
    found
}

/// Checks the key store of the regions in `preflight`, as far as it is a folder.
///
/// `serve` starts all the same, because one region's store must not stop the others and may recover;
/// it reports these problems in `/readyz` and the log.
pub async fn check_key_store(config: &Config, preflight: &Preflight) -> Vec<Problem> {
    if config.keys.store != KeyStore::Dir {
        return Vec::new();
    }
    let mut problems = Vec::new();
    if let Err(message) = check_key_folder(&config.keys.dir) {
        problems.push(config.problem("keys.dir", message));
    }
    let store = DirStore::new(config.keys.dir.clone(), config.key_passphrase.clone());
    for region in &preflight.regions {
        if let Err(error) = store.load(region).await {
            problems
                .push(config.problem("keys.dir", format!("cannot be used in {region}: {error}.")));
        }
    }
    problems
}

/// A folder that does not exist is created by the first write.
fn check_key_folder(dir: &Path) -> Result<(), String> {
    match std::fs::metadata(dir) {
        Ok(metadata) if !metadata.is_dir() => Err("is not a folder.".to_owned()),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Returns where the clients are.
pub(super) fn clients_source(config: &Config) -> ClientsSource {
    match &config.clients_inline {
        Some(inline) => ClientsSource::Inline(inline.clone()),
        None => ClientsSource::File(config.access.clients.clone()),
    }
}
