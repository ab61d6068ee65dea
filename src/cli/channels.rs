//! `channels get|list`.

use clap::Subcommand;

use super::{Failure, Global, output};
use crate::app::KeyAccess;

#[derive(Debug, Subcommand)]
pub(super) enum ChannelsCommand {
    /// Show one channel
    #[command(after_help = "Example:\n  ivs-playback-auth channels get demo")]
    Get {
        /// A channel ARN, or an alias of the configuration
        channel: String,
    },
    /// List the channels of the region, and whether they are private
    #[command(after_help = "Example:\n  ivs-playback-auth channels list --region us-west-2")]
    List,
}

pub(super) fn run(global: &Global, command: ChannelsCommand) -> Result<(), Failure> {
    let config = global.load_config()?;
    super::log_trouble(&config)?;
    let (runtime, app) = super::components(&config, KeyAccess::LookOnly)?;
    match command {
        ChannelsCommand::Get { channel } => {
            let operator = super::operator();
            let found = runtime.block_on(app.api().channels.get(&operator, &channel));
            // The cause says more than callers over HTTP may know.
            let channel = found.map_err(|error| match error.cause() {
                Some(cause) => Failure::failed(cause),
                None => Failure::failed(&error),
            })?;
            if global.json() {
                return output::json(&channel);
            }
            output::line(&format!("ARN           {}", channel.arn))?;
            output::line(&format!("name          {}", channel.name))?;
            output::line(&format!("playback      {}", privacy(channel.authorized)))?;
            output::line(&format!("type          {}", channel.r#type))?;
            output::line(&format!("latency mode  {}", channel.latency_mode))?;
            output::line(&format!("playback URL  {}", channel.playback_url))
        }
        ChannelsCommand::List => {
            let ivs = super::only_region(&app.api().ivs)?;
            let list = runtime.block_on(app.api().channels.list(ivs)).map_err(Failure::failed)?;
            if global.json() {
                return output::json(&list);
            }
            let rows: Vec<_> = list
                .channels
                .into_iter()
                .map(|channel| {
                    let privacy = privacy(channel.authorized).to_owned();
                    vec![channel.arn.to_string(), privacy, channel.name]
                })
                .collect();
            output::table(&["ARN", "PLAYBACK", "NAME"], &rows)
        }
    }
}

fn privacy(authorized: bool) -> &'static str {
    if authorized { "private" } else { "public" }
}
