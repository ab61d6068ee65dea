//! `dev`.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use url::Url;

use super::{Failure, Global};
use crate::{
    app,
    clock::Clock,
    config::{Overrides, Sources},
    telemetry::Delivery,
};

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  ivs-playback-auth dev\n  ivs-playback-auth dev --config my.toml\n  . .dev/env && aws ivs list-channels\n\n\
                  `dev` always uses us-west-2 and account 123456789012, and ignores every AWS variable \
                  and profile. From the --config file it applies the settings of the service, and a \
                  warning names the settings that it does not apply."
)]
pub(super) struct DevArgs {
    /// Address of the token service; with port 0 it takes a free port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Address of the emulated IVS; with port 0 it takes a free port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8090")]
    emulator_listen: SocketAddr,
    /// Folder for the keys, the credential and the emulator's state
    #[arg(long, value_name = "DIR", default_value = ".dev")]
    data_dir: PathBuf,
    /// Beginning of playback URLs, if browsers reach the emulator at another address
    #[arg(long, value_name = "URL", value_parser = super::public_url)]
    public_url: Option<Url>,
    /// Show the demo page to everyone who opens it under the host of --public-url; visitors can mint,
    /// inspect, read channels and revoke viewers, but cannot see or change keys
    #[arg(long, requires = "public_url")]
    public_demo: bool,
    /// Make every channel live as soon as it is created
    #[arg(long)]
    auto_live: bool,
}

pub(super) fn run(global: &Global, args: DevArgs) -> Result<(), Failure> {
    for (given, flag) in [
        (global.region.is_some(), "--region"),
        (global.profile.is_some(), "--profile"),
        (global.endpoint_url.is_some(), "--endpoint-url"),
    ] {
        if given {
            return Err(Failure::Usage(format!(
                "`dev` always uses its own emulated IVS; omit {flag}, or run `emulator` and `serve` \
                 side by side"
            )));
        }
    }
    // Without the settings of the data folder: to set up the log, and to refuse an invalid file early.
    let config = super::load(Sources {
        file: global.config.clone(),
        overrides: Overrides { log_level: global.log_level.clone(), ..Overrides::default() },
        not_applied: Some(app::is_not_applied),
        ..Sources::default()
    })?;
    super::log(&config.log, Delivery::Queued)?;
    let options = app::DevOptions {
        listen: args.listen,
        emulator_listen: args.emulator_listen,
        data_dir: args.data_dir,
        config: global.config.clone(),
        public_url: args.public_url,
        public_demo: args.public_demo,
        auto_live: args.auto_live,
    };
    super::run_server(config.server.workers, app::run_dev(options, Clock::system()))
}
