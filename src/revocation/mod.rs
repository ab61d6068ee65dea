//! Revoking viewer sessions, and keeping viewers out for a while.
//!
//! To revoke a viewer takes three steps, in this order: *deny*, so that no new token is minted (only
//! where `denyFor` asks for it, and durably); then choose the *version*, so that every token that was
//! stamped before is at or below it; then tell *IVS*, which ends those sessions. A mint that is under
//! way meanwhile is refused if the viewer is denied. Otherwise its token either has a version that is
//! revoked, or it was stamped after the revocation chose its version, and plays.
//!
//! - [`denials`]: who gets no new token, on disk and in memory
//! - `admission`: who may wait
//! - `request`: the steps of one request
//! - `plan`: which sessions stand for others
//! - `versions`: up to which version each viewer was revoked, so that the next token plays
//! - `revoker`: the tasks that call IVS, one for each region; `lanes`: what waits, in which order, and
//!   at which pace; `answers`: what IVS said; `source`: its two operations
//!
//! # Who retries what
//!
//! The SDK retries nothing here. `lanes` does: what was throttled until the time of its request is
//! over, what failed a few times, and what a batch does not tell once more alone.

mod admission;
mod answers;
pub mod denials;
mod lanes;
mod plan;
mod request;
mod revoker;
#[cfg(test)]
mod simulation;
mod source;
mod versions;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::admission::{Admission, QueueFull};
use self::{
    admission::Room, denials::Denials, revoker::Revoker, source::RevocationSource,
    versions::RevokedVersions,
};
use crate::{
    clock::{Clock, Timestamp},
    ivs::{
        IvsRegions,
        arn::{ChannelArn, Region},
    },
    tokens::claims::ViewerId,
};

/// How long the revocations of one request may take (contract).
pub const BOUND: Duration = Duration::from_mins(1);

/// The most viewer sessions of one request (contract).
pub const MAX_SESSIONS: usize = 500;

/// The longest denial.
pub const MAX_DENIAL: Duration = Duration::from_hours(366 * 24);

/// How long requests that are cut off may take to say what is left.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What is to be done to a viewer on a channel.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The channel.
    pub channel: ChannelArn,
    /// The viewer.
    pub viewer: ViewerId,
    /// Sessions of this version and of lower ones end, 0 to 2147483647; without it all sessions until
    /// now.
    pub version: Option<i32>,
    /// For how long the viewer gets no new token; without it at once.
    pub deny_for: Option<Duration>,
}

/// A viewer was revoked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Revoked {
    /// The version that was asked for or chosen.
    pub version: i32,
    /// From when on tokens play that are stamped with the time of their issue alone, as by a replica
    /// that does not know of the revocation.
    pub playable_from: Timestamp,
    /// Until when the viewer is denied, by this request or an earlier one.
    pub denied_until: Option<Timestamp>,
}

/// A viewer was not revoked, or nobody knows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NotRevoked {
    /// Why.
    pub error: RevokeError,
    /// The version that was to be revoked, where one could be chosen.
    pub version: Option<i32>,
    /// Whether the viewer is denied all the same.
    pub denial: LeftDenied,
}

/// Whether a viewer who was not revoked gets new tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LeftDenied {
    /// As before.
    No,
    /// None until then.
    Until(Timestamp),
    /// Nobody knows: the denial was being written.
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
        "Amazon IVS denied the call; the log of this service says what its credentials lack. Send \
         it again when that is mended."
    )]
    Denied,
    /// IVS failed again and again.
    #[error("Amazon IVS could not be used; send this viewer session again.")]
    Unavailable,
    /// The time of the request was over before its turn, or before IVS answered.
    #[error(
        "This viewer session was not known to be revoked within 60 s; send it again, which does no \
         harm if it was."
    )]
    Overdue,
    /// The service stops.
    #[error(
        "The service stopped before this viewer session was known to be revoked; send it again."
    )]
    Stopped,
    /// The clock shows a time that is no version.
    #[error(
        "The clock of this service shows a time that cannot be a session version, so nothing was \
         revoked; set the clock, or send viewerSessionVersionsLessThanOrEqualTo."
    )]
    Clock,
    /// The denial could not be made durable, so that nothing was done.
    #[error(
        "The denial could not be written, so nothing was revoked; the log of this service says why."
    )]
    NotDenied,
}

/// How denials and versions are made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `viewers.clock_allowance`: how far ahead another clock may have stamped a token.
    pub clock_allowance: Duration,
    /// `viewers.deny_list`, where `viewers.local_deny` allows denials.
    pub deny_list: Option<std::path::PathBuf>,
    /// Whether tokens are minted elsewhere, by processes that take up denials from the file.
    pub minted_elsewhere: bool,
}

/// Revokes viewer sessions of every region served. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ViewerSessions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    regions: BTreeMap<Region, Regional>,
    denials: Option<Denials>,
    versions: RevokedVersions,
    settings: Settings,
    clock: Clock,
    /// Requests under way, whether or not their callers are still there.
    requests: TaskTracker,
    /// They must end now.
    cut: CancellationToken,
    next_request: AtomicU64,
}

/// A region's revoker, and who gets to it.
#[derive(Debug)]
struct Regional {
    revoker: Revoker,
    room: Room,
}

/// How many sessions of a request have ended. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<AtomicUsize>);

impl Progress {
    /// How many by now.
    pub fn ended(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl ViewerSessions {
    /// For every region of `ivs`. Calls run on `tasks`.
    pub fn new(ivs: &IvsRegions, settings: Settings, clock: Clock, tasks: &TaskTracker) -> Self {
        let sources = ivs.iter().map(|regional| {
            let source: Arc<dyn RevocationSource> = Arc::new(regional.clone());
            (regional.region().clone(), source)
        });
        Self::with_sources(sources, settings, clock, tasks)
    }

    fn with_sources(
        sources: impl IntoIterator<Item = (Region, Arc<dyn RevocationSource>)>,
        settings: Settings,
        clock: Clock,
        tasks: &TaskTracker,
    ) -> Self {
        let regional = |(region, source): (Region, _)| {
            let revoker = Revoker::new(region.clone(), source, tasks.clone());
            (region, Regional { revoker, room: Room::default() })
        };
        Self(Arc::new(Inner {
            regions: sources.into_iter().map(regional).collect(),
            denials: settings.deny_list.clone().map(Denials::new),
            versions: RevokedVersions::default(),
            settings,
            clock,
            requests: TaskTracker::new(),
            cut: CancellationToken::new(),
            next_request: AtomicU64::new(0),
        }))
    }

    /// Who is denied; nothing where `viewers.local_deny` does not allow it.
    pub fn denials(&self) -> Option<&Denials> {
        self.0.denials.as_ref()
    }

    /// Up to which version this process revoked the viewer on the channel, if it remembers that it did.
    /// A mint reads the time before it asks.
    pub fn last_revoked(&self, channel: &ChannelArn, viewer: &ViewerId) -> Option<i32> {
        self.0.versions.last(channel, viewer)
    }

    /// `viewers.clock_allowance`.
    pub fn clock_allowance(&self) -> Duration {
        self.0.settings.clock_allowance
    }

    /// Makes room for the sessions of a request, all or nothing.
    ///
    /// # Errors
    ///
    /// Those of other requests would not leave it enough of its time.
    pub fn admit(&self, wanted: &[Wanted]) -> Result<Admission, QueueFull> {
        let mut admission = Admission::default();
        for (region, regional) in &self.0.regions {
            let sessions = wanted.iter().filter(|it| it.channel.region() == region).count();
            admission.add(regional.room.admit(sessions)?);
        }
        Ok(admission)
    }

    /// Runs a request to its end, also when its caller is gone.
    pub fn in_background<T: Send + 'static>(
        &self,
        request: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.0.requests.spawn(request)
    }

    /// Waits until the requests under way have ended, for at most `grace`; then cuts them off. What
    /// is left then comes back to its caller, and into the audit, as not revoked.
    pub async fn drain(&self, grace: Duration) {
        self.0.requests.close();
        if tokio::time::timeout(grace, self.0.requests.wait()).await.is_err() {
            let event = "revocations_cut_off";
            let requests = self.0.requests.len();
            tracing::warn!(event, requests, "sessions left unrevoked at shutdown");
            self.0.cut.cancel();
            // They have but to say so.
            let _ = tokio::time::timeout(LAST_WORDS, self.0.requests.wait()).await;
        }
    }
}
