//! `serve`.

use std::net::SocketAddr;

use clap::Args;

use super::{Failure, Global};
use crate::{app, clock::Clock, telemetry::Delivery};

#[derive(Args, Clone, Copy, Debug)]
#[command(after_help = "Example:\n  ivs-playback-auth clients create backend --scope tokens:mint \
                  --write\n  ivs-playback-auth keys rotate --region us-west-2\n  ivs-playback-auth \
                  serve --region us-west-2")]
pub(super) struct ServeArgs {
    /// Address to listen on; with port 0 it takes a free port [default: server.listen, 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
}

pub(super) fn run(global: &Global, args: ServeArgs) -> Result<(), Failure> {
    let mut sources = global.sources();
    sources.overrides.listen = args.listen.map(|address| address.to_string());
    let config = super::load(sources)?;
    super::log(&config.log, Delivery::Queued)?;
    super::run_server(config.server.workers, app::serve(config, Clock::system()))
}
