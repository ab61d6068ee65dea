//! Revokes sessions of one region, at the pace of its `lanes`.
//!
//! All requests of the process share the lanes. The task that serves them runs while something waits,
//! so that an idle service has none.

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::{Mutex, MutexGuard};
use rand::RngExt as _;
use tokio::sync::{Notify, oneshot};
use tokio_util::task::TaskTracker;

use super::{
    answers::{self, Verdict},
    lanes::{Lanes, Next, Operation, Outcome, Waiting},
    plan::Merged,
    source::RevocationSource,
};
use crate::{
    channels::Line,
    clock::Moment,
    ivs::{
        Clocks, IvsError, ViewerSession,
        arn::Region,
        budget::{Pass, Stopwatch},
    },
    secret::system_rng,
    telemetry::Outage,
};

/// A queue that waits for its next call is looked at this often: what nobody waits for any more must
/// not keep the process from ending.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Revokes sessions of one region. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Revoker(Arc<Inner>);

struct Inner {
    region: Region,
    source: Arc<dyn RevocationSource>,
    stopwatch: Stopwatch,
    lanes: Mutex<Lanes>,
    /// Told when an answer may have made room for the next call.
    answered: Notify,
    tasks: TaskTracker,
    outage: Outage,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("region", &self.region).finish_non_exhaustive()
    }
}

impl Revoker {
    pub(super) fn new(
        region: Region,
        source: Arc<dyn RevocationSource>,
        tasks: TaskTracker,
    ) -> Self {
        Self(Arc::new(Inner {
            region,
            source,
            stopwatch: Stopwatch::start(),
            lanes: Mutex::new(Lanes::new()),
            answered: Notify::new(),
            tasks,
            outage: Outage::default(),
        }))
    }

    /// Puts the session at the end of the line, to be revoked in its turn after [`Revoker::serve`].
    /// Where its outcome is not waited for any more, it may be left out: see
    /// [`Revoker::forget_abandoned`].
    pub(super) fn push(&self, line: &Line, session: ViewerSession) -> oneshot::Receiver<Outcome> {
        let (waiting, outcome) = Waiting::new(line, session);
        self.0.lock().push(waiting, self.0.stopwatch.elapsed());
        outcome
    }

    /// Our clock at `now`, and what is known of IVS's.
    pub(super) fn clocks(&self, now: Moment) -> Clocks {
        self.0.source.clocks(now)
    }

    /// Sees to it that what waits is revoked.
    pub(super) fn serve(&self) {
        self.0.serve(&mut self.0.lock());
    }

    /// Does not revoke what nobody waits for any more.
    pub(super) fn forget_abandoned(&self) {
        self.0.lock().forget_abandoned();
        self.0.answered.notify_one();
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock()
    }

    fn serve(self: &Arc<Self>, lanes: &mut Lanes) {
        if lanes.needs_service() {
            self.tasks.spawn(Arc::clone(self).make_calls());
        }
    }

    /// Makes calls until nothing waits.
    async fn make_calls(self: Arc<Self>) {
        let mut service = Service { revoker: &self, ended: false };
        loop {
            let next = self.lock().next(self.stopwatch.elapsed());
            match next {
                Next::Call(operation, waiting, pass) => {
                    self.tasks.spawn(Arc::clone(&self).call(operation, waiting, pass));
                }
                Next::Wait(wait) => tokio::select! {
                    biased;
                    () = self.answered.notified() => {}
                    () = tokio::time::sleep(wait.min(LOOK_AGAIN)) => {}
                },
                Next::Rest => {
                    service.ended = true;
                    return;
                }
            }
        }
    }

    async fn call(self: Arc<Self>, operation: Operation, waiting: Vec<Waiting>, pass: Pass) {
        let mut call = Call { revoker: &self, operation, pass, landed: false };
        // Two requests may want the same viewer gone.
        let mut merged = Merged::default();
        let placed: Vec<_> =
            waiting.into_iter().map(|it| (merged.add(it.session.clone()), it)).collect();
        let verdicts = self.ask(operation, &merged.into_sessions()).await;
        let of_place = |place: usize| verdicts.get(place).copied().unwrap_or(Verdict::Unclear);
        let verdicts = placed.into_iter().map(|(place, it)| (it, of_place(place))).collect();
        let rest = operation.interval().mul_f64(system_rng().random_range(0.5..1.5));
        {
            let mut lanes = self.lock();
            lanes.land(operation, pass, self.stopwatch.elapsed(), rest, verdicts);
            self.serve(&mut lanes);
        }
        call.landed = true;
        self.answered.notify_one();
    }

    async fn ask(&self, operation: Operation, sessions: &[ViewerSession]) -> Vec<Verdict> {
        match (operation, sessions) {
            (Operation::Single, [session]) => {
                let answer = self.source.revoke_one(session).await;
                self.observe(answer.as_ref().err());
                vec![answers::of_single(answer.as_ref())]
            }
            (Operation::Single | Operation::Batch, sessions) => {
                let answer = self.source.revoke_batch(sessions).await;
                self.observe(answer.as_ref().err());
                answers::of_batch(sessions, answer.as_deref())
            }
        }
    }

    /// Logs that calls begin to fail, and that they work again.
    fn observe(&self, error: Option<&IvsError>) {
        let (region, now) = (&self.region, self.stopwatch.elapsed());
        let reason = match error {
            // These are about a session, and what AWS says may name the viewer.
            None | Some(IvsError::NotFound | IvsError::Invalid { .. }) => {
                if self.outage.ends(now) {
                    let event = "revocations_recovered";
                    tracing::info!(event, %region, "viewer-session revocations work again");
                }
                return;
            }
            Some(error @ IvsError::Conflict { .. }) => error.kind().to_owned(),
            Some(error) => error.to_string(),
        };
        if self.outage.begins(now) {
            tracing::warn!(
                event = "revocations_delayed",
                %region,
                reason,
                "viewer-session revocations are delayed"
            );
        }
    }
}

/// That the lanes are served; says so when that ends before they are empty.
struct Service<'a> {
    revoker: &'a Inner,
    ended: bool,
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.revoker.lock().service_ended();
        }
    }
}

/// That a call is under way; says so when that ends without an answer.
struct Call<'a> {
    revoker: &'a Inner,
    operation: Operation,
    pass: Pass,
    landed: bool,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.landed {
            let now = self.revoker.stopwatch.elapsed();
            self.revoker.lock().abandon(self.operation, self.pass, now);
        }
    }
}
