//! One request from its viewers to an outcome for each: deny, choose the version, dispatch to IVS.
//!
//! IVS has two operations with a quota each, and both are used: batches of 20 twice per second and single calls
//! 10 times per second, each at 0.9 of that, which makes 45 sessions per second. Requests share them fairly, so
//! that an urgent viewer does not wait behind 500 others.
//!
//! One session that IVS refuses makes it refuse the whole batch. Its sessions are then revoked by single calls, of
//! which the quota allows more sessions than halving the batch would.
//!
//! IVS does not document which codes the items of a batch get. AWS's example shows `403` with "not authorized",
//! which is also what a channel that does not exist gets. A session without a clear answer is sent again alone,
//! because `StartViewerSessionRevocation` has documented errors.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{task::JoinHandle, time::Sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    BOUND, LeftDenied, NotRevoked, Progress, QueueFull, RevokeError, Revoked, Settings, Wanted,
    denials::{self, Denial, Denials, NotDenied},
    source::RevocationSource,
    versions::RevokedVersions,
};
use crate::{
    clock::{Clock, Moment, Timestamp},
    ivs::{
        Clocks, IvsError, IvsRegions, ViewerSession, ViewerSessionError,
        arn::{ChannelArn, Region},
        dispatch::{
            Caller, Calls, Dispatcher, Item, Operation, Pending, Policy, Route, Verdict,
            budget::{Budget, Stopwatch},
        },
    },
    telemetry::Outage,
    tokens::claims::ViewerId,
};

/// The limit of sessions that requests have in a region, so that all of them end within a minute: 45 are
/// revoked per second.
const ROOM: usize = 2000;

/// The part of it that is kept for small requests: one viewer can be revoked while others revoke thousands.
const ROOM_FOR_SMALL: usize = 200;
const SMALL: usize = 20;

/// How many sessions are revoked per second, approximately.
const PACE: usize = 40;

/// The part of IVS's quotas that is used.
const SHARE: f64 = 0.9;

/// How long requests that are cut off may take to return what is left.
const CUT_OFF_GRACE: Duration = Duration::from_secs(1);

/// What a session comes to.
type Outcome = Result<(), RevokeError>;

/// Revokes viewer sessions of every region served. Cheap to clone.
#[derive(Clone)]
pub struct ViewerSessions(Arc<Inner>);

impl fmt::Debug for ViewerSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ViewerSessions").finish_non_exhaustive()
    }
}

struct Inner {
    regions: BTreeMap<Region, Regional>,
    denials: Option<Denials>,
    versions: RevokedVersions,
    settings: Settings,
    /// Whether other processes mint the tokens and read denials from the file.
    minted_elsewhere: bool,
    clock: Clock,
    /// Requests in progress, whether or not their callers are still there.
    requests: TaskTracker,
    /// Cancelled when they must end.
    cut: CancellationToken,
    next_request: AtomicU64,
}

struct Regional {
    dispatcher: Dispatcher<RevocationCalls>,
    /// How many sessions the admitted requests have.
    taken: Arc<AtomicUsize>,
}

/// Permission to revoke the sessions of one request. Dropping it makes room for others.
#[derive(Debug, Default)]
pub struct Admission(Vec<(Arc<AtomicUsize>, usize)>);

impl Drop for Admission {
    fn drop(&mut self) {
        for (taken, sessions) in &self.0 {
            taken.fetch_sub(*sessions, Ordering::Relaxed);
        }
    }
}

impl ViewerSessions {
    /// Returns a service for every region of `ivs`. Calls run on `tasks`.
    ///
    /// `minted_elsewhere`: other processes mint the tokens and read denials from the file.
    pub fn new(
        ivs: &IvsRegions,
        settings: Settings,
        minted_elsewhere: bool,
        clock: Clock,
        tasks: &TaskTracker,
    ) -> Self {
        let sources = ivs.iter().map(|regional| {
            let source: Arc<dyn RevocationSource> = Arc::new(regional.clone());
            (regional.region().clone(), source)
        });
        Self::with_sources(sources, settings, minted_elsewhere, clock, tasks)
    }

    pub(super) fn with_sources(
        sources: impl IntoIterator<Item = (Region, Arc<dyn RevocationSource>)>,
        settings: Settings,
        minted_elsewhere: bool,
        clock: Clock,
        tasks: &TaskTracker,
    ) -> Self {
        let regional = |(region, source): (Region, _)| {
            let calls = RevocationCalls {
                region: region.clone(),
                source,
                stopwatch: Stopwatch::start(),
                outage: Outage::default(),
            };
            // The limits of unanswered calls allow the quota with answers that take half a second, and keep an IVS in
            // trouble from being flooded with calls that no one waits for.
            let batch = Operation::new(20, 2, Budget::of_quota(2, SHARE));
            let single = Operation::new(1, 5, Budget::of_quota(10, SHARE));
            let dispatcher = Dispatcher::new(calls, batch, single, POLICY, tasks.clone());
            (region, Regional { dispatcher, taken: Arc::default() })
        };
        Self(Arc::new(Inner {
            regions: sources.into_iter().map(regional).collect(),
            denials: settings.local_deny.then(|| Denials::new(settings.deny_list.clone())),
            versions: RevokedVersions::default(),
            settings,
            minted_elsewhere,
            clock,
            requests: TaskTracker::new(),
            cut: CancellationToken::new(),
            next_request: AtomicU64::new(0),
        }))
    }

    /// Returns the denials; `None` if `viewers.local_deny` does not allow them.
    pub fn denials(&self) -> Option<&Denials> {
        self.0.denials.as_ref()
    }

    /// Returns up to which version this process revoked the viewer on the channel, if it remembers that.
    /// A mint reads the time before it asks.
    pub fn last_revoked(&self, channel: &ChannelArn, viewer: &ViewerId) -> Option<i32> {
        self.0.versions.last(channel, viewer)
    }

    /// Returns `viewers.clock_allowance`.
    pub fn clock_allowance(&self) -> Duration {
        self.0.settings.clock_allowance
    }

    /// Admits a request with all of its sessions, or refuses it.
    ///
    /// # Errors
    ///
    /// The sessions of other requests would take too much of its time.
    pub fn admit(&self, wanted: &[Wanted]) -> Result<Admission, QueueFull> {
        let mut admission = Admission::default();
        for (region, Regional { taken, .. }) in &self.0.regions {
            let sessions = wanted.iter().filter(|item| item.channel.region() == region).count();
            let room = if sessions <= SMALL { ROOM } else { ROOM - ROOM_FOR_SMALL };
            let add = |taken: usize| Some(taken + sessions).filter(|taken| *taken <= room);
            if let Err(before) = taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add) {
                let missing = before + sessions - room;
                let seconds = u64::try_from((missing - 1) / PACE).unwrap_or(u64::MAX);
                return Err(QueueFull { retry_after: Duration::from_secs(seconds + 1) });
            }
            admission.0.push((Arc::clone(taken), sessions));
        }
        Ok(admission)
    }

    /// Runs a request to its end, even if its caller is gone.
    pub fn in_background<T: Send + 'static>(
        &self,
        request: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.0.requests.spawn(request)
    }

    /// Waits until the requests in progress have ended, for at most `grace`; then cuts them off. Their
    /// remaining sessions are returned to the caller, and recorded in the audit log, as not revoked.
    pub async fn drain(&self, grace: Duration) {
        self.0.requests.close();
        if tokio::time::timeout(grace, self.0.requests.wait()).await.is_err() {
            let event = "revocations_cut_off";
            let requests = self.0.requests.len();
            tracing::warn!(event, requests, "sessions left unrevoked at shutdown");
            self.0.cut.cancel();
            // They return at once, unless they do not run.
            let _ = tokio::time::timeout(CUT_OFF_GRACE, self.0.requests.wait()).await;
        }
    }

    /// Denies, chooses versions and revokes, within [`BOUND`]. Returns an outcome for each, in their order.
    pub async fn revoke(
        &self,
        wanted: Vec<Wanted>,
        admission: Admission,
        progress: Progress,
    ) -> Vec<Result<Revoked, NotRevoked>> {
        let mut over = pin!(tokio::time::sleep(BOUND));
        let denied = self.deny(&wanted, over.as_mut()).await;
        // After every denial.
        let now = Moment::of(&self.0.clock);
        let attempts: Vec<_> =
            wanted.into_iter().map(|item| self.attempt(item, denied, now)).collect();
        let sessions: Vec<_> =
            attempts.iter().flatten().map(|attempt| attempt.session.clone()).collect();
        let (merged, places) = merge(&sessions);
        let mut ended = Vec::new();
        for pending in self.dispatch(merged.iter()) {
            ended.push(self.outcome(pending, over.as_mut()).await);
            progress.advance();
        }
        drop(admission);
        let mut outcomes = places.into_iter().filter_map(|place| ended.get(place).copied());
        let mut end = |attempt: Attempt| {
            let outcome = outcomes.next().unwrap_or(Err(RevokeError::Unavailable));
            attempt.end(outcome, &self.0.versions)
        };
        attempts.into_iter().map(|attempt| end(attempt?)).collect()
    }

    /// Denies the viewers for whom that is requested, until the time of the request is over.
    async fn deny(&self, wanted: &[Wanted], over: Pin<&mut Sleep>) -> Result<(), Undenied> {
        let now = self.0.clock.now();
        let denial = |item: &Wanted| {
            let duration = item.deny_for?;
            Some(Denial::new(item.channel.clone(), item.viewer.clone(), now, duration))
        };
        let new: Vec<_> = wanted.iter().filter_map(denial).collect();
        if new.is_empty() {
            return Ok(());
        }
        let Some(denials) = &self.0.denials else {
            return Err(Undenied { error: RevokeError::NotDenied, denial: LeftDenied::No });
        };
        let mut denying = denials.deny(new, now);
        let (error, denied) = tokio::select! {
            biased;
            denied = denying.wait() => (RevokeError::NotDenied, denied),
            error = self.cut_off(over) => (error, Err(denying.give_up())),
        };
        if let Err(NotDenied { perhaps }) = denied {
            let denial = if perhaps { LeftDenied::Perhaps } else { LeftDenied::No };
            return Err(Undenied { error, denial });
        }
        if self.0.minted_elsewhere {
            // Until the processes that mint have read the file.
            tokio::time::sleep(2 * denials::READ_EVERY).await;
        }
        Ok(())
    }

    /// Chooses the version of a session, unless the viewer had to be denied before and was not. From here on
    /// mints stamp a higher version, whatever IVS answers.
    fn attempt(
        &self,
        wanted: Wanted,
        denied: Result<(), Undenied>,
        now: Moment,
    ) -> Result<Attempt, NotRevoked> {
        let Wanted { channel, viewer, version, deny_for } = wanted;
        if deny_for.is_some() {
            denied.map_err(|Undenied { error, denial }| NotRevoked { error, version, denial })?;
        }
        // Possibly by an earlier request.
        let denials = self.0.denials.as_ref();
        let denied_until = denials.and_then(|all| all.denied_until(&channel, &viewer, now.wall));
        let Some(versions_up_to) = self.choose_version(&channel, &viewer, version, now) else {
            let denial = denied_until.into();
            return Err(NotRevoked { error: RevokeError::Clock, version, denial });
        };
        let viewer_id = viewer.as_str().to_owned();
        let session = ViewerSession { channel, viewer_id, versions_up_to };
        Ok(Attempt { session, viewer, denied_until })
    }

    /// Returns the requested version, or one that covers every token that was stamped until now; `None` if the
    /// clock shows a time that cannot be a version. Versions have 31 bits, which are enough until January 2038.
    fn choose_version(
        &self,
        channel: &ChannelArn,
        viewer: &ViewerId,
        requested: Option<i32>,
        now: Moment,
    ) -> Option<i32> {
        let (versions, regional) = (&self.0.versions, self.0.regions.get(channel.region()));
        let clocks = regional.map_or_else(
            || Clocks::new(now, None),
            |regional| regional.dispatcher.calls().source.clocks(now),
        );
        if let Some(version) = requested {
            versions.revoke_up_to(channel, viewer, version, clocks.issue_time());
            return Some(version);
        }
        let until_now = (clocks.latest() + self.0.settings.clock_allowance).unix_seconds();
        let until_now = i32::try_from(until_now).ok().filter(|version| *version >= 0)?;
        Some(versions.revoke_until_now(channel, viewer, until_now, clocks.issue_time()))
    }

    /// Dispatches the sessions of one request, which is one caller in each region. Returns them in their order;
    /// `None` for a region that is not served.
    fn dispatch<'a>(
        &self,
        sessions: impl Iterator<Item = &'a ViewerSession>,
    ) -> Vec<Option<Pending<Outcome>>> {
        let request = self.0.next_request.fetch_add(1, Ordering::Relaxed);
        let caller: Caller = request.to_string().into();
        let sessions: Vec<_> = sessions.collect();
        let submit = |(region, regional): (_, &Regional)| {
            let own = sessions.iter().filter(|session| session.channel.region() == region);
            let own = own.copied().cloned();
            (region, regional.dispatcher.submit(own, Some(&caller)).into_iter())
        };
        let mut pending: BTreeMap<&Region, _> = self.0.regions.iter().map(submit).collect();
        let next = |session: &&ViewerSession| pending.get_mut(session.channel.region())?.next();
        sessions.iter().map(next).collect()
    }

    /// Waits for the outcome of a session, until the time of its request is over.
    async fn outcome(&self, pending: Option<Pending<Outcome>>, over: Pin<&mut Sleep>) -> Outcome {
        let mut pending = pending.ok_or(RevokeError::Unavailable)?;
        let dispatched = tokio::select! {
            biased;
            dispatched = pending.outcome() => dispatched,
            error = self.cut_off(over) => pending.known().unwrap_or(Ok(Err(error))),
        };
        // No session is refused for its slot: admission bounds the queue.
        dispatched.unwrap_or(Err(RevokeError::Unavailable))
    }

    /// Waits until the time of a request is over. Returns the reason.
    async fn cut_off(&self, over: Pin<&mut Sleep>) -> RevokeError {
        tokio::select! {
            biased;
            () = self.0.cut.cancelled() => RevokeError::Stopped,
            () = over => RevokeError::Overdue,
        }
    }
}

/// Viewers were not denied, so they are not revoked either.
#[derive(Clone, Copy, Debug)]
struct Undenied {
    error: RevokeError,
    denial: LeftDenied,
}

/// A viewer whose session is being revoked.
#[derive(Debug)]
struct Attempt {
    session: ViewerSession,
    viewer: ViewerId,
    denied_until: Option<Timestamp>,
}

impl Attempt {
    fn end(self, outcome: Outcome, versions: &RevokedVersions) -> Result<Revoked, NotRevoked> {
        let Self { session, viewer, denied_until } = self;
        let version = session.versions_up_to;
        if let Err(error) = outcome {
            return Err(NotRevoked { error, version: Some(version), denial: denied_until.into() });
        }
        // Possibly by another item or an earlier request.
        let last =
            versions.last(&session.channel, &viewer).map_or(version, |last| last.max(version));
        let playable_from = Timestamp::from_unix_seconds(i64::from(last) + 1);
        Ok(Revoked { version, playable_from, denied_until })
    }
}

const POLICY: Policy = Policy {
    singles_share_the_load: true,
    coalesce_for: Duration::ZERO,
    // A request has a time of its own.
    deadline: None,
    isolate_for: Duration::from_secs(10),
    tries: 6,
    tries_in_outage: 2,
};

impl Item for ViewerSession {
    fn channel(&self) -> &ChannelArn {
        &self.channel
    }
}

/// The calls that revoke sessions of one region.
struct RevocationCalls {
    region: Region,
    source: Arc<dyn RevocationSource>,
    stopwatch: Stopwatch,
    outage: Outage,
}

impl Calls for RevocationCalls {
    type Item = ViewerSession;
    type Outcome = Outcome;

    async fn call(&self, route: Route, sessions: &[ViewerSession]) -> Vec<Verdict<Outcome>> {
        if let (Route::Single, [session]) = (route, sessions) {
            let answer = self.source.revoke_one(session).await;
            self.log_outage(answer.as_ref().err());
            return vec![read_single(answer.as_ref())];
        }
        let (merged, places) = merge(sessions);
        let answer = self.source.revoke_batch(&merged).await;
        self.log_outage(answer.as_ref().err());
        let verdicts = read_batch(&merged, answer.as_deref());
        let verdict = |place: usize| verdicts.get(place).cloned().unwrap_or(Verdict::Alone);
        places.into_iter().map(verdict).collect()
    }
}

impl RevocationCalls {
    /// Logs when calls begin to fail, and when they work again.
    fn log_outage(&self, error: Option<&IvsError>) {
        let (region, now) = (&self.region, self.stopwatch.elapsed());
        let reason = match error {
            // These are about a session.
            None | Some(IvsError::NotFound | IvsError::Invalid { .. }) => {
                if self.outage.ends(now) {
                    let event = "revocations_recovered";
                    tracing::info!(event, %region, "viewer-session revocations work again");
                }
                return;
            }
            // What AWS says may name the viewer.
            Some(error @ IvsError::Conflict { .. }) => error.kind().to_owned(),
            Some(error) => error.to_string(),
        };
        if self.outage.begins(now) {
            let event = "revocations_delayed";
            tracing::warn!(event, %region, reason, "viewer-session revocations are delayed");
        }
    }
}

/// Merges sessions of one viewer on one channel, of one request or of several: the highest version stands
/// for the others, because a revocation ends the sessions of its version and of all lower ones.
///
/// Returns the remaining sessions, and for each given session the place of the one that stands for it.
fn merge(sessions: &[ViewerSession]) -> (Vec<ViewerSession>, Vec<usize>) {
    let mut merged: Vec<ViewerSession> = Vec::new();
    let mut known = HashMap::new();
    let mut places = Vec::new();
    for session in sessions {
        let place = *known.entry((&session.channel, &session.viewer_id)).or_insert(merged.len());
        match merged.get_mut(place) {
            Some(same) => same.versions_up_to = same.versions_up_to.max(session.versions_up_to),
            None => merged.push(session.clone()),
        }
        places.push(place);
    }
    (merged, places)
}

/// Reads what `StartViewerSessionRevocation` answers.
fn read_single(answer: Result<&(), &IvsError>) -> Verdict<Outcome> {
    match answer {
        Ok(&()) => Verdict::Done(Ok(())),
        Err(IvsError::Throttled) => Verdict::Throttled,
        Err(IvsError::NotFound) => Verdict::Refused(Err(RevokeError::ChannelNotFound)),
        Err(IvsError::Invalid { .. } | IvsError::Conflict { .. }) => {
            Verdict::Done(Err(RevokeError::Invalid))
        }
        Err(IvsError::Denied { .. } | IvsError::NoCredentials | IvsError::QuotaExceeded { .. }) => {
            Verdict::Refused(Err(RevokeError::Denied))
        }
        // Retrying is safe: revoking twice has no further effect.
        Err(IvsError::Unavailable { .. } | IvsError::TimedOut) => {
            Verdict::Failed(Err(RevokeError::Unavailable))
        }
    }
}

/// Reads what `BatchStartViewerSessionRevocation` answers for each of `sessions`, of which no two are of one viewer
/// on one channel.
fn read_batch(
    sessions: &[ViewerSession],
    answer: Result<&[ViewerSessionError], &IvsError>,
) -> Vec<Verdict<Outcome>> {
    let errors = match answer {
        Ok(errors) => errors,
        Err(error) => return vec![read_failed_batch(error); sessions.len()],
    };
    let mut items: HashMap<(&str, &str), Verdict<Outcome>> = errors
        .iter()
        .map(|error| ((&*error.channel, &*error.viewer_id), read_item(&error.code)))
        .collect();
    let verdicts: Vec<_> = sessions
        .iter()
        .map(|session| items.remove(&(session.channel.as_str(), &*session.viewer_id)))
        .collect();
    // An error that fits no session may be about any session without one.
    let silence = if items.is_empty() { Verdict::Done(Ok(())) } else { Verdict::Alone };
    verdicts.into_iter().map(|verdict| verdict.unwrap_or_else(|| silence.clone())).collect()
}

/// One session among twenty may be why IVS refuses them all, and an IAM policy may allow the revocation of one
/// and not the batch.
fn read_failed_batch(error: &IvsError) -> Verdict<Outcome> {
    match error {
        IvsError::NotFound | IvsError::Invalid { .. } | IvsError::Conflict { .. } => Verdict::Alone,
        IvsError::Denied { code, .. } if code.starts_with("AccessDenied") => Verdict::Alone,
        IvsError::Denied { .. }
        | IvsError::Throttled
        | IvsError::NoCredentials
        | IvsError::QuotaExceeded { .. }
        | IvsError::Unavailable { .. }
        | IvsError::TimedOut => read_single(Err(error)),
    }
}

/// Reads the code of an item: a status in AWS's examples, or the name of an error.
fn read_item(code: &str) -> Verdict<Outcome> {
    match code {
        "403" | "404" | "AccessDeniedException" | "ResourceNotFoundException" => {
            Verdict::Refused(Err(RevokeError::ChannelNotFound))
        }
        "429" | "ThrottlingException" | "TooManyRequestsException" => Verdict::Throttled,
        "500" | "502" | "503" | "504" | "InternalServerException" => {
            Verdict::Failed(Err(RevokeError::Unavailable))
        }
        _ => Verdict::Alone,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::tests::session, *};

    const REVOKED: Verdict<Outcome> = Verdict::Done(Ok(()));
    const NOT_FOUND: Verdict<Outcome> = Verdict::Refused(Err(RevokeError::ChannelNotFound));
    const FAILED: Verdict<Outcome> = Verdict::Failed(Err(RevokeError::Unavailable));

    fn error(session: &ViewerSession, code: &str) -> ViewerSessionError {
        ViewerSessionError {
            channel: session.channel.to_string(),
            viewer_id: session.viewer_id.clone(),
            code: code.to_owned(),
        }
    }

    fn denied(code: &str) -> IvsError {
        IvsError::Denied { code: code.to_owned(), message: String::new() }
    }

    #[test]
    fn each_session_of_a_batch_has_its_own_verdict() {
        let asked = ["a", "b", "c", "d", "e"].map(|id| session(id, 1));
        let errors = [
            error(&asked[1], "403"),
            error(&asked[2], "429"),
            error(&asked[3], "503"),
            error(&asked[4], "Unheard"),
        ];
        assert_eq!(
            read_batch(&asked, Ok(&errors)),
            [REVOKED, NOT_FOUND, Verdict::Throttled, FAILED, Verdict::Alone]
        );
        assert_eq!(read_batch(&asked, Ok(&[])), [REVOKED; 5]);
    }

    #[test]
    fn error_that_fits_no_session_leaves_all_others_in_doubt() {
        let asked = ["a", "b"].map(|id| session(id, 1));
        let errors = [error(&asked[0], "403"), error(&session("x", 1), "403")];
        assert_eq!(read_batch(&asked, Ok(&errors)), [NOT_FOUND, Verdict::Alone]);
    }

    #[test]
    fn refused_batch_does_not_fail_its_sessions() {
        let asked = [session("a", 1)];
        let refused = |error: &IvsError| read_batch(&asked, Err(error)).remove(0);
        let invalid = IvsError::Invalid { message: String::new() };
        assert_eq!(refused(&invalid), Verdict::Alone);
        assert_eq!(refused(&IvsError::NotFound), Verdict::Alone);
        assert_eq!(refused(&denied("AccessDeniedException")), Verdict::Alone);
        let expired = Verdict::Refused(Err(RevokeError::Denied));
        assert_eq!(refused(&denied("ExpiredTokenException")), expired);
        assert_eq!(refused(&IvsError::Throttled), Verdict::Throttled);
        assert_eq!(refused(&IvsError::TimedOut), FAILED);

        assert_eq!(read_single(Err(&invalid)), Verdict::Done(Err(RevokeError::Invalid)));
        let denied = denied("AccessDeniedException");
        assert_eq!(read_single(Err(&denied)), Verdict::Refused(Err(RevokeError::Denied)));
    }

    #[test]
    fn highest_version_stands_for_the_others() {
        let given = [session("a", 3), session("b", 9), session("a", 7), session("a", 5)];
        let merged = vec![session("a", 7), session("b", 9)];
        assert_eq!(merge(&given), (merged, vec![0, 1, 0, 0]));
    }

    proptest! {
        #[test]
        fn each_session_is_covered_once(given in prop::collection::vec((0_u8..5, 0_i32..9), 0..40)) {
            let given: Vec<_> =
                given.iter().map(|(id, version)| session(&id.to_string(), *version)).collect();
            let (sessions, places) = merge(&given);
            for (session, place) in given.iter().zip(&places) {
                let stands = &sessions[*place];
                prop_assert_eq!(&stands.viewer_id, &session.viewer_id);
                prop_assert!(stands.versions_up_to >= session.versions_up_to);
                prop_assert!(given.contains(stands), "nothing more is revoked than was requested");
            }
            for (place, session) in sessions.iter().enumerate() {
                let same_viewer = |other: &&ViewerSession| other.viewer_id == session.viewer_id;
                prop_assert_eq!(sessions.iter().filter(same_viewer).count(), 1);
                prop_assert!(places.contains(&place));
            }
        }
    }
}
