//! `channels get|list`.

use clap::Subcommand;

use super::{Failure, Global, output};
use crate::{
    api::{Channel, ChannelList},
    app::{App, KeyAccess},
    clock::Clock,
    ivs::IvsError,
};

#[derive(Debug, Subcommand)]
pub(super) enum ChannelsCommand {
    /// Show one channel
    #[command(after_help = "Example:\n  ivs-playback-auth channels get demo")]
    Get {
        /// A channel ARN or a configured alias
        channel: String,
    },
    /// List the channels of the region, and whether they are private
    #[command(after_help = "Example:\n  ivs-playback-auth channels list --region us-west-2")]
    List,
}

pub(super) async fn run(global: &Global, command: ChannelsCommand) -> Result<(), Failure> {
    let config = global.load_config()?;
    super::log_trouble(&config)?;
    let app = App::for_command(&config, KeyAccess::LookOnly, Clock::system()).await?;
    let channels = &app.api().channels;
    match command {
        ChannelsCommand::Get { channel } => {
            let found = channels.get(&super::operator(), &channel).await;
            // The cause says more than callers over HTTP may know.
            let channel = found.map_err(|error| match error.cause() {
                Some(cause) => Failure::Failed(cause.to_string()),
                None => error.into(),
            })?;
            global.print(&channel, || fields(&channel))
        }
        ChannelsCommand::List => {
            let region = super::only_region(&app)?.region();
            let ivs = app.api().ivs.region(region).ok_or(IvsError::NotFound)?;
            let list = channels.list(ivs).await?;
            global.print(&list, || table(&list))
        }
    }
}

fn fields(channel: &Channel) -> String {
    output::fields(&[
        ("ARN", channel.arn.clone()),
        ("name", channel.name.clone()),
        ("playback", privacy(channel.authorized)),
        ("type", channel.r#type.clone()),
        ("latency mode", channel.latency_mode.clone()),
        ("playback URL", channel.playback_url.clone()),
    ])
}

fn table(list: &ChannelList) -> String {
    let channels = list.channels.iter();
    let rows: Vec<_> = channels
        .map(|channel| [channel.arn.to_string(), privacy(channel.authorized), channel.name.clone()])
        .collect();
    output::table(["ARN", "PLAYBACK", "NAME"], &rows)
}

fn privacy(authorized: bool) -> String {
    if authorized { "private" } else { "public" }.to_owned()
}
