//! Ending viewer sessions, and denying viewers new tokens for a while.
//!
//! Revoking a viewer takes three steps, in this order: *deny*, so that no new token is minted (only where
//! `denyFor` asks for it, and durably); then choose the *version*, so that every token that was stamped before
//! is at or below it; then call *IVS*, which ends those sessions. A mint that runs at the same time is refused
//! if the viewer is denied. Otherwise its token either has a version that is revoked, or it was stamped after the
//! revocation chose its version, and plays.
//!
//! - `sessions`: the steps of one request, and what IVS's answers mean
//! - [`denials`]: which viewers get no new token, on disk and in memory
//! - `versions`: up to which version each viewer was revoked, so that the next token plays
//!
//! # What retries what
//!
//! The SDK retries nothing here. `ivs::dispatch` sends a throttled session again until the time of its request is
//! over, a session whose call failed a few times, and one for which a batch does not answer once more, alone.

pub mod denials;
mod sessions;
mod settings;
mod source;
#[cfg(test)]
mod tests;
mod versions;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

pub use self::{
    sessions::{Admission, ViewerSessions},
    settings::Settings,
};
use crate::{clock::Timestamp, ivs::arn::ChannelArn, tokens::claims::ViewerId};

/// How long the revocations of one request may take (contract).
pub const BOUND: Duration = Duration::from_mins(1);

/// The most viewer sessions of one request (contract).
pub const MAX_SESSIONS: usize = 500;

/// The longest denial.
pub const MAX_DENIAL: Duration = Duration::from_hours(366 * 24);

/// What to do to a viewer on a channel.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The channel.
    pub channel: ChannelArn,
    /// The viewer.
    pub viewer: ViewerId,
    /// Sessions up to this version end, 0 to 2147483647; without it all sessions until now.
    pub version: Option<i32>,
    /// How long the viewer gets no new token; without it the viewer may get one at once.
    pub deny_for: Option<Duration>,
}

/// A viewer was revoked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Revoked {
    /// The version that was requested or chosen.
    pub version: i32,
    /// The time from which tokens play that are stamped with their issue time alone, as by a replica that
    /// does not know of the revocation.
    pub playable_from: Timestamp,
    /// The end of the denial, by this request or an earlier one.
    pub denied_until: Option<Timestamp>,
}

/// A viewer was not revoked, or the result is unknown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NotRevoked {
    /// Why.
    pub error: RevokeError,
    /// The version that was to be revoked, if one could be chosen.
    pub version: Option<i32>,
    /// Whether the viewer is denied all the same.
    pub denial: LeftDenied,
}

/// Whether a viewer who was not revoked gets new tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LeftDenied {
    /// As before.
    No,
    /// Not until then.
    Until(Timestamp),
    /// Unknown: the denial was being written.
    Perhaps,
}

impl From<Option<Timestamp>> for LeftDenied {
    fn from(until: Option<Timestamp>) -> Self {
        until.map_or(Self::No, Self::Until)
    }
}

/// Why a viewer was not revoked.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RevokeError {
    /// IVS has no such channel for these credentials.
    #[error(
        "Amazon IVS has no such channel in this account, or denies it to this service's credentials."
    )]
    ChannelNotFound,
    /// IVS found the viewer session itself invalid.
    #[error("Amazon IVS refused this viewer session as invalid; check viewerId.")]
    Invalid,
    /// IVS does not let these credentials revoke.
    #[error(
        "Amazon IVS denied the call; the log of this service says what its credentials lack. Fix that, then \
         retry."
    )]
    Denied,
    /// IVS failed repeatedly.
    #[error("Amazon IVS could not be used; retry this viewer session.")]
    Unavailable,
    /// The time of the request ended before the session was sent, or before IVS answered.
    #[error(
        "This viewer session was not known to be revoked within 60 s. Retrying is safe: revoking twice has no \
         further effect."
    )]
    Overdue,
    /// The service stops.
    #[error("The service stopped before this viewer session was known to be revoked; retry it.")]
    Stopped,
    /// The clock shows a time that cannot be a version.
    #[error(
        "The clock of this service shows a time that cannot be a session version, so nothing was \
         revoked; set the clock, or send viewerSessionVersionsLessThanOrEqualTo."
    )]
    Clock,
    /// The denial could not be made durable, so nothing was done.
    #[error(
        "The denial could not be written, so nothing was revoked; the log of this service gives the reason."
    )]
    NotDenied,
}

/// Too many viewer sessions are waiting already.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "More viewer sessions are waiting than can be revoked within a minute; retry after a few seconds."
)]
pub struct QueueFull {
    /// When there will be room, approximately.
    pub retry_after: Duration,
}

/// How many sessions of a request have ended. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<AtomicUsize>);

impl Progress {
    /// Returns how many have ended by now.
    pub fn ended(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn advance(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
