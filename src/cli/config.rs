//! `config check|show|schema`.

use clap::Subcommand;
use serde_json::json;

use super::{Failure, Global, output::note};
use crate::{
    app,
    config::{self, Config, ConfigError},
};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Report all problems of the configuration and of the files it names, without starting anything
    #[command(
        after_help = "Example:\n  ivs-playback-auth config check --config production.toml\n\nIt \
                      reports what `serve` would refuse, and problems of the key store. The exit \
                      code is 1 if there is a problem; warnings do not affect it."
    )]
    Check,
    /// Print the effective configuration and where each value comes from
    #[command(after_help = "Example:\n  ivs-playback-auth config show --config production.toml")]
    Show,
    /// Print the JSON Schema of configuration files, by which editors complete and check them
    #[command(
        after_help = "Example:\n  ivs-playback-auth config schema > schema.json\n\nEditors with \
                      TOML support read it from a line at the top of a file: #:schema ./schema.json"
    )]
    Schema,
}

pub(super) async fn run(global: &Global, command: &ConfigCommand) -> Result<(), Failure> {
    let loaded = Config::load(global.sources());
    match command {
        ConfigCommand::Check => check(global, loaded).await,
        ConfigCommand::Schema => {
            let schema = config::schema();
            global.print(&schema, || format!("{schema:#}"))
        }
        ConfigCommand::Show => {
            let config = loaded.map_err(|error| Failure::Usage(error.to_string()))?;
            let shown = config.show();
            global.print(shown, || shown.to_toml().trim_end().to_owned())
        }
    }
}

async fn check(global: &Global, loaded: Result<Config, ConfigError>) -> Result<(), Failure> {
    let (problems, warnings) = match loaded {
        Ok(config) => {
            let mut found = app::preflight(&config).await;
            found.problems.extend(app::check_key_store(&config, &found).await);
            (found.problems, found.warnings)
        }
        Err(error) => (error.problems, Vec::new()),
    };
    let is_valid = problems.is_empty();
    if !global.json() {
        for warning in &warnings {
            note(&format!("warning: {warning}"));
        }
        if !is_valid {
            return Err(ConfigError { problems }.into());
        }
    }
    let body = json!({ "valid": is_valid, "problems": problems, "warnings": warnings });
    global.print(&body, || "The configuration is valid.".to_owned())?;
    if is_valid { Ok(()) } else { Err(Failure::Negative) }
}
