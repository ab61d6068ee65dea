//! What a lookup answers, and why it may not.

use std::{sync::Arc, time::Duration};

use serde::Serialize;

use crate::{
    clock::{Timestamp, whole_seconds},
    config::Unavailable,
    ivs::arn::ChannelArn,
};

/// The settings of a [`ChannelDirectory`](super::ChannelDirectory), from `[channels]`.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long a looked-up channel counts as fresh.
    pub fresh_for: Duration,
    /// How long after it was fetched it may still be served.
    pub stale_for: Duration,
    /// How long absence is remembered, and that a channel is public.
    pub not_found_for: Duration,
    /// Channels kept in memory.
    pub capacity: u64,
    /// Calls a second of each operation in each region; over 0.
    pub calls_per_second: f64,
    /// How long lookups of different channels gather before they go out as one call.
    pub gather: Duration,
    /// The longest that a caller waits.
    pub deadline: Duration,
    /// What [`lookup_for_mint`](super::ChannelDirectory::lookup_for_mint) does where IVS cannot
    /// answer.
    pub on_unavailable: Unavailable,
}

/// What IVS said of a channel.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Channel {
    /// Its ARN.
    pub arn: ChannelArn,
    /// Its name; empty where it has none.
    pub name: String,
    /// Whether playback demands a token: a *private* channel.
    pub authorized: bool,
    /// `BASIC`, `STANDARD` and so on; whatever IVS says.
    #[serde(rename = "type")]
    pub channel_type: String,
    /// `LOW` or `NORMAL`.
    pub latency_mode: String,
    /// Where players begin, without a token.
    pub playback_url: String,
    /// When IVS was asked.
    pub fetched_at: Timestamp,
}

/// How far a lookup can be trusted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Freshness {
    /// Fetched within `channels.fresh_for`.
    Fresh,
    /// Older; a refresh is under way or has failed.
    Stale,
}

impl Freshness {
    /// As in responses and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
        }
    }
}

/// A channel that was found.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// The channel.
    pub channel: Arc<Channel>,
    /// How far it can be trusted.
    pub freshness: Freshness,
}

/// What a mint may go by.
#[derive(Clone, Debug)]
pub enum LookupForMint {
    /// The channel was found.
    Found(Lookup),
    /// IVS cannot answer, and `channels.on_unavailable` is `mint`: nothing is known of the channel.
    Unverified,
}

/// Why there is no channel to go by.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LookupError {
    /// IVS has no such channel, or its region is not served.
    #[error("Amazon IVS has no such channel in this account and region")]
    NotFound,
    /// IVS does not let this service see the channel. Towards callers this is as if it were absent,
    /// but it is not remembered, since permissions are mended.
    #[error("Amazon IVS does not let this service see the channel")]
    Denied,
    /// The lookup would wait, or has waited, for longer than `channels.deadline`: so many channels
    /// are asked for, or IVS throttles the account's calls.
    #[error(
        "Amazon IVS limits how fast channels can be looked up, and the turn of this one does not come \
         in time; try again in {} s",
        // As in the header `retry-after`.
        whole_seconds(*.retry_after).max(1)
    )]
    Throttled {
        /// When the turn of a lookup that is asked for now will have come.
        retry_after: Duration,
    },
    /// IVS did not answer, or not within `channels.deadline`.
    #[error("Amazon IVS cannot be asked for the channel now")]
    Unavailable {
        /// When to try again.
        retry_after: Duration,
    },
}
