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
                  It is always us-west-2 and account 123456789012, and ignores every AWS variable \
                  and profile. Of the file of --config it applies what is about the service, and names \
                  in a warning what it does not apply."
)]
pub(super) struct DevArgs {
    /// Where the token service listens; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where the emulated IVS listens; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8090")]
    emulator_listen: SocketAddr,
    /// Where keys, the credential and the emulator's state are kept
    #[arg(long, value_name = "DIR", default_value = ".dev")]
    data_dir: PathBuf,
    /// What playback URLs begin with, where a browser reaches the emulator elsewhere
    #[arg(long, value_name = "URL", value_parser = super::public_url)]
    public_url: Option<Url>,
    /// Show the demo page to everyone who reaches it under the host of --public-url; visitors can mint,
    /// inspect, read channels and revoke viewers, and cannot see or change keys
    #[arg(long, requires = "public_url")]
    public_demo: bool,
    /// Every channel is live as soon as it is made
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
                "dev always uses its own emulated IVS; leave {flag} out, or run emulator and serve \
                 side by side"
            )));
        }
    }
    // Without the data folder's settings: for the log, and to refuse a file early.
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
