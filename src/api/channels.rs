//! Channels: `/v1/channels` and the commands of the same name.

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    channels::{Freshness, Lookup},
    clock::Timestamp,
    ivs::ChannelSummary,
};

/// A channel as this service knows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChannelBody, example = json!({
    "arn": "arn:aws:ivs:us-west-2:123456789012:channel/AbCdEfGh1234", "name": "demo",
    "authorized": true, "type": "STANDARD", "latencyMode": "LOW",
    "playbackUrl": "https://a1b2c3.us-west-2.playback.live-video.net/api/video/v1/us-west-2.123456789012.channel.AbCdEfGh1234.m3u8",
    "fetchedAt": "2026-11-22T08:55:00Z", "freshness": "fresh"
}))]
#[serde(rename_all = "camelCase")]
pub struct Channel {
    /// The ARN.
    pub arn: String,
    /// The name; empty if the channel has none.
    pub name: String,
    /// Whether the channel is private: playback needs a token.
    pub authorized: bool,
    /// `BASIC`, `STANDARD` and so on.
    #[schema(example = "STANDARD")]
    pub r#type: String,
    /// `LOW` or `NORMAL`.
    #[schema(example = "LOW")]
    pub latency_mode: String,
    /// Where players begin, without a token.
    pub playback_url: String,
    /// When Amazon IVS returned this.
    #[schema(value_type = String, format = DateTime)]
    pub fetched_at: Timestamp,
    /// `fresh`, or `stale` where it is older than `channels.fresh_for`.
    pub freshness: Freshness,
}

impl From<Lookup> for Channel {
    fn from(Lookup { channel, freshness }: Lookup) -> Self {
        Self {
            arn: channel.arn.to_string(),
            name: channel.name.clone(),
            authorized: channel.authorized,
            r#type: channel.channel_type.clone(),
            latency_mode: channel.latency_mode.clone(),
            playback_url: channel.playback_url.clone(),
            fetched_at: channel.fetched_at,
            freshness,
        }
    }
}

/// The channels of a region, as `channels list` prints them.
#[derive(Debug, Serialize)]
pub struct ChannelList {
    /// In the order of Amazon IVS.
    pub channels: Vec<ChannelSummary>,
}
