//! Asks IVS, one region's: lookups go out together, at the pace of the budget.
//!
//! `flights` knows what waits; here are the tasks that make its calls. The one that serves a queue
//! runs while the queue holds something, so that an idle service has none.

use std::{fmt, sync::Arc, time::Duration};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::{
    LookupError, Settings,
    answers::{self, Answer, RETRY_AFTER},
    desk::Operation,
    fairness::{Line, Requester},
    flights::{Flight, Flights, Landing, Next, Outcome},
    memory::{Answered, Memory, REFRESH_PAUSE, Since},
    source::ChannelSource,
};
use crate::{
    clock::{Clock, Moment},
    ivs::{
        IvsError,
        arn::{ChannelArn, Region},
        budget::{Pass, Stopwatch},
    },
    telemetry::{Outage, metrics::Metrics},
};

/// A queue that waits for its next call is looked at this often: what everybody has left must keep
/// neither memory nor the end of the process waiting.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What the lookups of all regions share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) memory: Memory,
    /// Decides what is old.
    pub(super) clock: Clock,
    /// Where calls run.
    pub(super) tasks: TaskTracker,
    pub(super) metrics: Metrics,
}

/// Asks the IVS of one region. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Gatherer(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    region: Region,
    source: Arc<dyn ChannelSource>,
    stopwatch: Stopwatch,
    outage: Outage,
    flights: Mutex<Flights>,
    /// Told when an answer may have made room for the next call.
    answered: [Notify; Operation::ALL.len()],
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("region", &self.region).finish_non_exhaustive()
    }
}

impl Gatherer {
    pub(super) fn new(shared: Arc<Shared>, region: Region, source: Arc<dyn ChannelSource>) -> Self {
        let flights = Mutex::new(Flights::new(&shared.settings));
        let answered = Operation::ALL.map(|_| Notify::new());
        let stopwatch = Stopwatch::start();
        let outage = Outage::default();
        Self(Arc::new(Inner { shared, region, source, stopwatch, outage, flights, answered }))
    }

    /// What IVS says of the channel, since then. Waits for no longer than the deadline.
    ///
    /// A call that is under way already may have been asked too early. Then it is asked once more,
    /// unless that was within the last second.
    pub(super) async fn fetch(
        &self,
        arn: &ChannelArn,
        requester: Requester<'_>,
        since: Since,
    ) -> Outcome {
        let began = self.0.stopwatch.elapsed();
        let line = requester.line();
        let memory = &self.0.shared.memory;
        // A call may have landed between the look into memory and now.
        let mut outcome = self.wait_for(arn, &line, began, || memory.said(arn, since)).await;
        if self.is_too_early(arn, &outcome, since) {
            let first = outcome.clone();
            let recent = || (!self.may_ask_again(arn, &first)).then(|| first.clone());
            let known = || memory.said(arn, since).or_else(recent);
            outcome = self.wait_for(arn, &line, began, known).await;
        }
        self.0.shared.metrics.channel_wait(self.0.stopwatch.elapsed().saturating_sub(began));
        outcome
    }

    /// Has the channel asked for when there is room for it, and hands out the wait for that; nothing
    /// if there is none.
    pub(super) fn fetch_in_background(&self, arn: &ChannelArn) -> Option<Flight> {
        let mut flights = self.0.lock();
        let now = self.0.stopwatch.elapsed();
        let flight = flights.join(arn, None).or_else(|| flights.start_in_background(arn, now));
        self.0.serve(&mut flights);
        flight
    }

    pub(super) fn is_under_way(&self, arn: &ChannelArn) -> bool {
        self.0.lock().is_under_way(arn)
    }

    pub(super) fn region(&self) -> &Region {
        &self.0.region
    }

    pub(super) fn source(&self) -> &dyn ChannelSource {
        &*self.0.source
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    /// What the lookup of the channel comes to that is under way, or else what is `known`, or else
    /// what another lookup comes to.
    async fn wait_for(
        &self,
        arn: &ChannelArn,
        line: &Line,
        began: Duration,
        known: impl FnOnce() -> Option<Outcome>,
    ) -> Outcome {
        let flight = {
            let mut flights = self.0.lock();
            let flight = match flights.join(arn, Some(line)) {
                Some(flight) => flight,
                None => match known() {
                    Some(outcome) => return outcome,
                    None => flights.start(arn, line, self.0.stopwatch.elapsed())?,
                },
            };
            self.0.serve(&mut flights);
            flight
        };
        let waited = self.0.stopwatch.elapsed().saturating_sub(began);
        let left = self.0.shared.settings.deadline.saturating_sub(waited);
        match tokio::time::timeout(left, flight.outcome()).await {
            Ok(Some(outcome)) => outcome,
            Ok(None) => Err(LookupError::Unavailable { retry_after: RETRY_AFTER }),
            Err(_) => Err(self.0.lock().overdue(arn, line, self.0.stopwatch.elapsed())),
        }
    }

    /// Whether the call that this came of may have been made too early.
    fn is_too_early(&self, arn: &ChannelArn, outcome: &Outcome, since: Since) -> bool {
        let answered = match outcome {
            Ok(seen) => Some(seen.answered),
            Err(LookupError::NotFound) => self.0.shared.memory.absent(arn),
            Err(
                LookupError::Denied
                | LookupError::Throttled { .. }
                | LookupError::Unavailable { .. },
            ) => None,
        };
        answered.is_some_and(|answered| !since.admits(answered))
    }

    /// Whether it is a second since IVS was asked what it said, and nobody else asks again.
    fn may_ask_again(&self, arn: &ChannelArn, said: &Outcome) -> bool {
        let now = Moment::of(&self.0.shared.clock);
        if let Ok(seen) = said {
            return seen.next_try.take(now, REFRESH_PAUSE);
        }
        let absent = self.0.shared.memory.absent(arn);
        absent.is_some_and(|absent| absent.asked.until(now) >= REFRESH_PAUSE)
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Flights> {
        self.flights.lock()
    }

    fn answered(&self, operation: Operation) -> &Notify {
        let [batches, singles] = &self.answered;
        match operation {
            Operation::BatchGetChannel => batches,
            Operation::GetChannel => singles,
        }
    }

    /// Sees to it that every queue that holds something is served.
    fn serve(self: &Arc<Self>, flights: &mut Flights) {
        for operation in Operation::ALL {
            if flights.needs_service(operation) {
                self.shared.tasks.spawn(Arc::clone(self).make_calls(operation));
            }
        }
    }

    /// Makes calls until the queue is empty.
    async fn make_calls(self: Arc<Self>, operation: Operation) {
        let mut service = Service { gatherer: &self, operation, ended: false };
        let gather = self.shared.settings.gather;
        if operation == Operation::BatchGetChannel && !gather.is_zero() {
            tokio::time::sleep(gather).await;
        }
        loop {
            let next = self.lock().next(operation, self.stopwatch.elapsed());
            match next {
                Next::Call(arns, pass) => {
                    self.shared.tasks.spawn(Arc::clone(&self).call(operation, arns, pass));
                }
                Next::Wait(wait) => tokio::select! {
                    biased;
                    () = self.answered(operation).notified() => {}
                    () = tokio::time::sleep(wait.min(LOOK_AGAIN)) => {}
                },
                Next::Rest => {
                    service.ended = true;
                    return;
                }
            }
        }
    }

    async fn call(self: Arc<Self>, operation: Operation, arns: Vec<ChannelArn>, pass: Pass) {
        let mut call = Call { gatherer: &self, operation, arns, pass, landed: false };
        let asked = Moment::of(&self.shared.clock);
        let answers = self.ask(operation, &call.arns).await;
        let answered = Answered { asked, learned: self.shared.clock.monotonic() };
        // First into the memory: whoever finds no lookup under way must find there what it brought.
        let landings: Vec<_> = answers
            .into_iter()
            .map(|(arn, answer)| (arn.clone(), self.remember(arn, answer, answered)))
            .collect();
        {
            let mut flights = self.lock();
            flights.land(operation, pass, self.stopwatch.elapsed(), landings);
            self.serve(&mut flights);
        }
        call.landed = true;
        self.answered(operation).notify_one();
    }

    async fn ask(&self, operation: Operation, arns: &[ChannelArn]) -> Vec<(ChannelArn, Answer)> {
        match (operation, arns) {
            (Operation::GetChannel, [arn]) => {
                let answer = self.source.get_channel(arn).await;
                self.observe(answer.as_ref().err());
                vec![(arn.clone(), answers::of_one(arn, answer))]
            }
            (Operation::GetChannel | Operation::BatchGetChannel, arns) => {
                self.shared.metrics.channel_batch(arns.len());
                let answer = self.source.batch_get_channel(arns).await;
                self.observe(answer.as_ref().err());
                answers::of_batch(arns, answer)
            }
        }
    }

    fn remember(&self, arn: ChannelArn, answer: Answer, answered: Answered) -> Landing {
        let memory = &self.shared.memory;
        Landing::Outcome(match answer {
            Answer::Found(channel) => Ok(memory.learn(arn, channel, answered)),
            Answer::Gone => {
                memory.forget(arn, answered);
                Err(LookupError::NotFound)
            }
            Answer::Impossible => {
                memory.doubt(arn, answered);
                Err(LookupError::NotFound)
            }
            Answer::Failed(error) => Err(error),
            Answer::Unclear => return Landing::Alone,
            Answer::Refused => return Landing::Part,
            Answer::Throttled => return Landing::Again,
        })
    }

    /// Logs that calls begin to fail, and that they work again.
    fn observe(&self, error: Option<&IvsError>) {
        let (region, now) = (&self.region, self.stopwatch.elapsed());
        let error = match error {
            // These are about the channel, not about us or IVS.
            None | Some(IvsError::NotFound | IvsError::Invalid { .. }) => {
                if self.outage.ends(now) {
                    let event = "channel_lookups_recovered";
                    tracing::info!(event, %region, "channel lookups work again");
                }
                return;
            }
            Some(error) => error,
        };
        if matches!(error, IvsError::Throttled) {
            self.shared.metrics.channel_throttle();
        }
        if self.outage.begins(now) {
            tracing::warn!(
                event = "channel_lookups_failing",
                %region,
                %error,
                "channel lookups fail"
            );
        }
    }
}

/// That a queue is served; says so when that ends before the queue is empty.
struct Service<'a> {
    gatherer: &'a Inner,
    operation: Operation,
    ended: bool,
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.gatherer.lock().service_ended(self.operation);
        }
    }
}

/// That a call is under way; says so when that ends without an answer.
struct Call<'a> {
    gatherer: &'a Inner,
    operation: Operation,
    arns: Vec<ChannelArn>,
    pass: Pass,
    landed: bool,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.landed {
            let now = self.gatherer.stopwatch.elapsed();
            self.gatherer.lock().abandon(self.operation, self.pass, now, &self.arns);
        }
    }
}
