//! `channels get|list`.

use clap::Subcommand;
use serde_json::json;

use super::{Failure, Global, output};
use crate::{
    app::KeyAccess, channels::Requester, http::channels::ChannelBody, ivs::ChannelSummary,
};

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
            let api = app.api();
            let arn = api.resolve(&channel).map_err(Failure::failed)?;
            let lookup = runtime.block_on(api.channels.lookup(&arn, Requester::LOCAL));
            let lookup = lookup.map_err(Failure::failed)?;
            if global.json() {
                return output::json(&ChannelBody::from(&lookup));
            }
            let channel = &lookup.channel;
            output::line(&format!("ARN           {}", channel.arn))?;
            output::line(&format!("name          {}", channel.name))?;
            output::line(&format!("playback      {}", privacy(channel.authorized)))?;
            output::line(&format!("type          {}", channel.channel_type))?;
            output::line(&format!("latency mode  {}", channel.latency_mode))?;
            output::line(&format!("playback URL  {}", channel.playback_url))
        }
        ChannelsCommand::List => {
            let ivs = super::only_region(&app.api().ivs)?;
            let channels = runtime.block_on(async {
                let mut channels: Vec<ChannelSummary> = Vec::new();
                let mut next_token = None;
                loop {
                    let (page, next) = ivs.list_channels(next_token).await?;
                    channels.extend(page);
                    next_token = next;
                    if next_token.is_none() {
                        return Ok::<_, crate::ivs::IvsError>(channels);
                    }
                }
            });
            let channels = channels.map_err(Failure::failed)?;
            if global.json() {
                let channels: Vec<_> = channels
                    .iter()
                    .map(|it| json!({"arn": it.arn, "name": it.name, "authorized": it.authorized}))
                    .collect();
                return output::json(&json!({ "channels": channels }));
            }
            let rows: Vec<_> = channels
                .iter()
                .map(|it| {
                    vec![it.arn.to_string(), privacy(it.authorized).to_owned(), it.name.clone()]
                })
                .collect();
            output::table(&["ARN", "PLAYBACK", "NAME"], &rows)
        }
    }
}

fn privacy(authorized: bool) -> &'static str {
    if authorized { "private" } else { "public" }
}
