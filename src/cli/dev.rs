//! `dev`.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;
use url::Url;

use super::{Failure, Global};
use crate::{app, clock::Clock};

#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  ivs-playback-auth dev\n  . .dev/env && aws ivs list-channels\n\n\
                  It is always us-west-2 and account 123456789012, and ignores every AWS variable \
                  and profile."
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
    /// Every channel is live as soon as it is made
    #[arg(long)]
    auto_live: bool,
}

pub(super) fn run(global: &Global, args: DevArgs) -> Result<(), Failure> {
    for (given, flag) in [
        (global.config.is_some(), "--config"),
        (global.region.is_some(), "--region"),
        (global.profile.is_some(), "--profile"),
        (global.endpoint_url.is_some(), "--endpoint-url"),
    ] {
        if given {
            return Err(Failure::Usage(format!(
                "dev is configured by its data folder alone; leave {flag} out, or run emulator and \
                 serve side by side"
            )));
        }
    }
    global.log_by_flags()?;
    let options = app::DevOptions {
        listen: args.listen,
        emulator_listen: args.emulator_listen,
        data_dir: args.data_dir,
        public_url: args.public_url,
        auto_live: args.auto_live,
    };
    super::run_server(0, app::run_dev(options, Clock::system()))
}
