//! `config check|show`.

use clap::Subcommand;
use serde_json::json;

use super::{Failure, Global, output, output::note};
use crate::{
    app,
    config::{Config, ConfigError, Problem},
};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Report every problem of the configuration and of the files it names, and start nothing
    #[command(
        after_help = "Example:\n  ivs-playback-auth config check --config production.toml\n\nIt \
                      reports what serve would refuse, and problems of the key store. The exit \
                      code is 1 where there is a problem; a warning changes nothing."
    )]
    Check,
    /// Print the configuration in force, with where each value comes from
    #[command(after_help = "Example:\n  ivs-playback-auth config show --config production.toml")]
    Show,
}

pub(super) fn run(global: &Global, command: &ConfigCommand) -> Result<(), Failure> {
    let loaded = Config::load(global.sources());
    match command {
        ConfigCommand::Check => check(global, loaded),
        ConfigCommand::Show => {
            let config = loaded.map_err(|error| Failure::Usage(error.to_string()))?;
            if global.json() {
                return output::json(config.show());
            }
            output::line(config.show().to_toml().trim_end())
        }
    }
}

fn check(global: &Global, loaded: Result<Config, ConfigError>) -> Result<(), Failure> {
    let (problems, warnings) = match loaded {
        Ok(config) => problems_of(&config)?,
        Err(error) => (error.problems, Vec::new()),
    };
    let is_valid = problems.is_empty();
    if global.json() {
        let found = json!({ "valid": is_valid, "problems": problems, "warnings": warnings });
        output::json(&found)?;
        return if is_valid { Ok(()) } else { Err(Failure::Negative) };
    }
    for warning in &warnings {
        note(&format!("warning: {warning}"));
    }
    if is_valid {
        output::line("The configuration is valid.")
    } else {
        Err(Failure::failed(ConfigError { problems }))
    }
}

/// The problems and warnings of a configuration that could be loaded.
fn problems_of(config: &Config) -> Result<(Vec<Problem>, Vec<Problem>), Failure> {
    super::small_runtime()?.block_on(async {
        let mut found = app::preflight(config).await;
        let keys = app::check_key_store(config, &found).await;
        found.problems.extend(keys);
        Ok((found.problems, found.warnings))
    })
}
