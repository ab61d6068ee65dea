//! `config check|show`.

use clap::Subcommand;
use serde_json::json;

use super::{Failure, Global, output};
use crate::{
    access::registry::{ClientsSource, Registry},
    app::check_tls,
    config::{Config, ConfigError, Problem},
};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Report every problem of the configuration, and start nothing
    #[command(after_help = "Example:\n  ivs-playback-auth config check --config production.toml")]
    Check,
    /// Print the configuration in force, with where each value comes from
    #[command(after_help = "Example:\n  ivs-playback-auth config show --config production.toml")]
    Show,
}

pub(super) fn run(global: &Global, command: &ConfigCommand) -> Result<(), Failure> {
    let loaded = Config::load(global.sources());
    let loaded = match (command, loaded) {
        (ConfigCommand::Check, Ok(config)) => check_files(&config).map(|()| config),
        (_, loaded) => loaded,
    };
    match (command, loaded) {
        (ConfigCommand::Check, Ok(_)) if global.json() => {
            output::json(&json!({ "valid": true, "problems": [] }))
        }
        (ConfigCommand::Check, Ok(_)) => output::line("The configuration is valid."),
        (ConfigCommand::Check, Err(error)) if global.json() => {
            output::json(&json!({ "valid": false, "problems": error.problems }))?;
            Err(Failure::Negative)
        }
        (ConfigCommand::Check, Err(error)) => Err(Failure::failed(error)),
        (ConfigCommand::Show, Ok(config)) if global.json() => output::json(config.show()),
        (ConfigCommand::Show, Ok(config)) => output::line(config.show().to_toml().trim_end()),
        (ConfigCommand::Show, Err(error)) => Err(Failure::Usage(error.to_string())),
    }
}

/// What the configuration names must be readable, too: what `serve` would refuse is told here.
fn check_files(config: &Config) -> Result<(), ConfigError> {
    let mut problems = Vec::new();
    let mut problem = |key: &str, place: &str, message: String| {
        problems.push(Problem { key: Some(key.to_owned()), place: place.to_owned(), message });
    };
    let clients = match &config.clients_inline {
        Some(inline) => Some(ClientsSource::Inline(inline.clone())),
        // The default path need not exist before there are clients.
        None if config.is_chosen("access.clients") => {
            Some(ClientsSource::File(config.access.clients.clone()))
        }
        None => None,
    };
    if let Some(Err(error)) = clients.map(Registry::load) {
        problem("access.clients", "clients", format!("cannot be used. {error}"));
    }
    if let Some(Err(error)) = config.server.tls.as_ref().map(check_tls) {
        problem("server.tls_cert", "server.tls_key", format!("cannot be used. {error}"));
    }
    if problems.is_empty() { Ok(()) } else { Err(ConfigError { problems }) }
}
