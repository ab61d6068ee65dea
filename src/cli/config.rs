//! `config check|show`.

use clap::Subcommand;
use serde_json::json;

use super::{Failure, Global, output};

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
    let loaded = crate::config::Config::load(global.sources());
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
