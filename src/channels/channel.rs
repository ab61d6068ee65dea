//! What a lookup returns, and why it may fail.

use std::{sync::Arc, time::Duration};

use serde::Serialize;

use crate::{
    clock::{Timestamp, whole_seconds},
    ivs::{arn::ChannelArn, dispatch::NotDispatched},
};

/// What IVS says about a channel.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Channel {
    /// Its ARN.
    pub arn: ChannelArn,
    /// Its name; empty if it has none.
    pub name: String,
    /// Whether playback requires a token: a *private* channel.
    pub authorized: bool,
    /// `BASIC`, `STANDARD` and so on, as IVS returns it.
    #[serde(rename = "type")]
    pub channel_type: String,
    /// `LOW` or `NORMAL`.
    pub latency_mode: String,
    /// The playback URL, without a token.
    pub playback_url: String,
    /// When IVS was asked.
    pub fetched_at: Timestamp,
}

/// How current a lookup is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Freshness {
    /// Fetched within `channels.fresh_for`.
    Fresh,
    /// Older; a refresh is under way or has failed.
    Stale,
}

impl Freshness {
    /// Returns the word for responses and logs.
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
    /// How current it is.
    pub freshness: Freshness,
}

/// What a mint may rely on.
#[derive(Clone, Debug)]
pub enum LookupForMint {
    /// The channel was found.
    Found(Lookup),
    /// IVS cannot answer, and `channels.on_unavailable` is `mint`: nothing is known about the channel.
    Unverified,
}

/// Why a lookup failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LookupError {
    /// IVS has no such channel, or its region is not served.
    #[error("Amazon IVS has no such channel in this account and region")]
    NotFound,
    /// IVS does not let this service see the channel. Callers see an absent channel, but it is not remembered as
    /// absent, because permissions get fixed.
    #[error("Amazon IVS does not let this service see the channel")]
    Denied,
    /// The lookup would wait, or has waited, for longer than `channels.deadline`, because many channels are looked
    /// up or IVS throttles the account's calls.
    #[error(
        "Amazon IVS limits how fast channels can be looked up, and this lookup would wait too long; \
         try again in {} s",
        // As in the header `retry-after`.
        whole_seconds(*.retry_after).max(1)
    )]
    Throttled {
        /// When a lookup that starts now would be made.
        retry_after: Duration,
    },
    /// IVS did not answer, or not within `channels.deadline`.
    #[error("Amazon IVS cannot return the channel now")]
    Unavailable {
        /// When to try again.
        retry_after: Duration,
    },
}

impl From<NotDispatched> for LookupError {
    fn from(reason: NotDispatched) -> Self {
        match reason {
            NotDispatched::QueueFull { retry_after } => Self::Throttled { retry_after },
            NotDispatched::Unavailable { retry_after } => Self::Unavailable { retry_after },
        }
    }
}
