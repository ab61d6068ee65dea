//! Dispatches items to IVS within its quotas: paced, fair and in batches.
//!
//! IVS has pairs of operations, one for several items and one for a single item, each with a quota of its own.
//! A [`Dispatcher`] serves one such pair in one region, for the whole process: channel lookups and viewer
//! sessions to revoke each have one per region. All other operations are paced by a `Pacer`.
//!
//! - Items wait in a fair queue, one per caller. Equal items are dispatched once, for all who wait for them.
//! - A [`Budget`] decides when the next call may be made. The call takes as many items as it can.
//! - An item whose slot would come after the deadline is refused at once ([`NotDispatched::QueueFull`]). So the
//!   deadline bounds the queues, and not a number: a client that mints for 300 new channels at once is served, by
//!   six calls. An item that no one waits for any longer is dropped.
//! - A throttled item returns to the head of its callers' queues, and so does one whose call failed, a few
//!   times.
//! - A batch that IVS refuses as a whole is halved until the refused item is alone. The other items are
//!   answered after a few calls. The channel of the refused item then stays out of batches for a while.
//! - An item that a batch does not answer clearly is dispatched again by the operation for a single item.
//!
//! `Queues` is the bookkeeping: it makes no call, reads no clock and never waits. The tasks of a
//! [`Dispatcher`] make the calls. They end when nothing waits, so that an idle service has none.

pub(crate) mod budget;
mod fair_queue;
mod pacer;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use rand::RngExt as _;
use tokio::sync::{Notify, watch};
use tokio_util::task::TaskTracker;

pub(crate) use self::fair_queue::Caller;
pub use self::fair_queue::Requester;
pub(super) use self::pacer::ATTEMPTS;
pub(crate) use self::pacer::Pacer;
use self::{
    budget::{Budget, Pass, Stopwatch},
    fair_queue::FairQueue,
};
use super::arn::ChannelArn;
use crate::secret::system_rng;

/// Queues are checked this often while they wait for a slot: items that no one waits for must not keep the
/// process from ending.
const RECHECK: Duration = Duration::from_secs(1);

/// After this number of refused batches in a row, IVS refuses batches rather than an item in them, and the
/// items are dispatched alone. Halving a batch of 50 takes six levels.
const REFUSALS_MAX: u32 = 8;

/// The limit of isolated channels; beyond it, those whose time is over are forgotten first.
const ISOLATED_MAX: usize = 1000;

/// What a caller who was refused without a known slot should wait.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// One of the two operations of a dispatcher.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Route {
    /// The operation for several items.
    Batch,
    /// The operation for a single item.
    Single,
}

/// Something that is dispatched to IVS. Equal items are dispatched once.
pub(crate) trait Item: Clone + Eq + Hash + Send + Sync + 'static {
    /// Returns the channel that the item is about.
    fn channel(&self) -> &ChannelArn;
}

/// The calls that dispatch items.
pub(crate) trait Calls: Send + Sync + 'static {
    /// What is dispatched.
    type Item: Item;
    /// What an item comes to.
    type Outcome: Clone + Send + Sync + 'static;

    /// Makes one call. Returns a verdict on each item, in their order.
    fn call(
        &self,
        route: Route,
        items: &[Self::Item],
    ) -> impl Future<Output = Vec<Verdict<Self::Outcome>>> + Send;
}

/// What a call meant for one of its items.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Verdict<O> {
    /// The item has this outcome.
    Done(O),
    /// The item has this outcome, because IVS refuses its channel.
    Refused(O),
    /// IVS throttled the call: dispatch the item again.
    Throttled,
    /// The call failed: dispatch the item again, or give up with this outcome.
    Failed(O),
    /// The batch does not answer for the item: dispatch it again, alone.
    Alone,
    /// IVS refused the whole batch: dispatch it again, in halves.
    Halve,
}

impl<O> Verdict<O> {
    /// Returns the verdict with its outcome converted.
    pub(crate) fn map<P>(self, convert: impl FnOnce(O) -> P) -> Verdict<P> {
        match self {
            Self::Done(outcome) => Verdict::Done(convert(outcome)),
            Self::Refused(outcome) => Verdict::Refused(convert(outcome)),
            Self::Throttled => Verdict::Throttled,
            Self::Failed(outcome) => Verdict::Failed(convert(outcome)),
            Self::Alone => Verdict::Alone,
            Self::Halve => Verdict::Halve,
        }
    }
}

/// Why an item was not dispatched, or has no outcome.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NotDispatched {
    /// Its slot comes too late: too many items wait before it, or IVS throttles.
    QueueFull {
        /// When an item that is dispatched now gets its slot.
        retry_after: Duration,
    },
    /// Calls fail, or its call was not answered in time.
    Unavailable {
        /// When to try again.
        retry_after: Duration,
    },
}

/// How a dispatcher works.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    /// Whether single calls also take items that could go into a batch.
    pub(crate) singles_share_the_load: bool,
    /// How long the first item of a batch waits for others.
    pub(crate) coalesce_for: Duration,
    /// The longest time until an item has its outcome; `None` refuses no item.
    pub(crate) deadline: Option<Duration>,
    /// How long a channel that IVS refuses stays out of batches.
    pub(crate) isolate_for: Duration,
    /// How often an item is sent before it is given up, while calls for others succeed.
    pub(crate) tries: u32,
    /// How often if none has succeeded since the item was first sent: IVS is down.
    pub(crate) tries_in_outage: u32,
}

/// One operation: its limits, the items that wait for it, and its calls.
#[derive(Debug)]
pub(crate) struct Operation<I> {
    /// The largest number of items in one call.
    size: usize,
    /// The largest number of calls without an answer.
    max_unanswered: usize,
    budget: Budget,
    queue: FairQueue<I>,
    /// Calls without an answer.
    unanswered: usize,
    /// Whether the last call failed.
    is_failing: bool,
}

impl<I> Operation<I> {
    /// Returns an operation that takes up to `size` items per call.
    pub(crate) fn new(size: usize, max_unanswered: usize, budget: Budget) -> Self {
        let queue = FairQueue::new();
        Self { size, max_unanswered, budget, queue, unanswered: 0, is_failing: false }
    }

    /// Returns permission for a call, or how long to wait for it.
    fn take_slot(&mut self, now: Duration) -> Result<Pass, Duration> {
        if self.unanswered >= self.max_unanswered {
            // The next answer notifies the task.
            return Err(Duration::MAX);
        }
        let pass = self.budget.take(now)?;
        self.unanswered += 1;
        Ok(pass)
    }

    /// Returns how long the caller's next item waits for its call, behind `earlier` other calls.
    fn wait(&self, caller: &Caller, earlier: usize, now: Duration) -> Duration {
        self.budget.slot(now, earlier + self.queue.calls_before(caller, self.size))
    }

    /// Refuses an item that waits so long if it would have its outcome after the deadline.
    fn check(&self, wait: Duration, deadline: Option<Duration>) -> Result<(), NotDispatched> {
        // However slow IVS was, an item whose slot has come is worth a try.
        let is_late = |deadline| wait + self.budget.took().min(deadline / 2) > deadline;
        if deadline.is_some_and(is_late) { Err(self.refusal(wait)) } else { Ok(()) }
    }

    fn refusal(&self, retry_after: Duration) -> NotDispatched {
        if self.is_failing {
            NotDispatched::Unavailable { retry_after }
        } else {
            NotDispatched::QueueFull { retry_after }
        }
    }
}

/// An item that has no outcome yet, as one of those who wait for it has it.
#[derive(Debug)]
pub(crate) struct Pending<O>(watch::Receiver<Option<Dispatched<O>>>);

/// The outcome of an item, or why there is none.
pub(crate) type Dispatched<O> = Result<O, NotDispatched>;

impl<O: Clone> Pending<O> {
    /// Waits for the outcome.
    pub(crate) async fn outcome(&mut self) -> Dispatched<O> {
        match self.0.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone()) {
            Some(outcome) => outcome,
            // The task that made the call is gone.
            None => Err(NotDispatched::Unavailable { retry_after: RETRY_AFTER }),
        }
    }

    /// Returns the outcome if there is one by now.
    pub(crate) fn known(&self) -> Option<Dispatched<O>> {
        self.0.borrow().clone()
    }
}

/// Dispatches items to one pair of operations in one region.
pub(crate) struct Dispatcher<C: Calls>(Arc<Inner<C>>);

struct Inner<C: Calls> {
    calls: C,
    queues: Mutex<Queues<C::Item, C::Outcome>>,
    /// Notified when an answer or a new item may allow the next call.
    changed: Notify,
    stopwatch: Stopwatch,
    tasks: TaskTracker,
}

impl<C: Calls> Dispatcher<C> {
    /// Returns a dispatcher that runs its calls on `tasks`.
    pub(crate) fn new(
        calls: C,
        batch: Operation<C::Item>,
        single: Operation<C::Item>,
        policy: Policy,
        tasks: TaskTracker,
    ) -> Self {
        Self(Arc::new(Inner {
            calls,
            queues: Mutex::new(Queues::new(batch, single, policy)),
            changed: Notify::new(),
            stopwatch: Stopwatch::start(),
            tasks,
        }))
    }

    /// Returns what makes the calls.
    pub(crate) fn calls(&self) -> &C {
        &self.0.calls
    }

    /// Dispatches an item and waits for its outcome, for no longer than `patience`.
    ///
    /// Joins the equal item that is dispatched already, if there is one. Otherwise it takes what is `known`, if
    /// anything: an item may have had its outcome just before.
    pub(crate) async fn dispatch(
        &self,
        item: &C::Item,
        caller: &Caller,
        patience: Duration,
        known: impl FnOnce() -> Option<C::Outcome>,
    ) -> Dispatched<C::Outcome> {
        let mut pending = {
            let mut queues = self.0.queues.lock();
            let pending = match queues.join(item, Some(caller)) {
                Some(pending) => pending,
                None => match known() {
                    Some(outcome) => return Ok(outcome),
                    None => queues.start(item, Some(caller), self.0.stopwatch.elapsed()),
                },
            };
            self.0.serve(&mut queues);
            pending
        };
        match tokio::time::timeout(patience, pending.outcome()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.0.queues.lock().overdue(item, caller, self.0.stopwatch.elapsed())),
        }
    }

    /// Dispatches items in the queue of one caller. Without a caller they wait in the background, if there is room.
    pub(crate) fn submit(
        &self,
        items: impl IntoIterator<Item = C::Item>,
        caller: Option<&Caller>,
    ) -> Vec<Pending<C::Outcome>> {
        let mut queues = self.0.queues.lock();
        let now = self.0.stopwatch.elapsed();
        let submit =
            |item| queues.join(&item, caller).unwrap_or_else(|| queues.start(&item, caller, now));
        let pending = items.into_iter().map(submit).collect();
        self.0.serve(&mut queues);
        pending
    }

    /// Returns whether an equal item is waiting or being dispatched.
    pub(crate) fn is_pending(&self, item: &C::Item) -> bool {
        self.0.queues.lock().entries.contains_key(item)
    }
}

impl<C: Calls> Inner<C> {
    /// Makes sure that a task makes the calls for what waits.
    fn serve(self: &Arc<Self>, queues: &mut Queues<C::Item, C::Outcome>) {
        if queues.needs_service() {
            let inner = Arc::clone(self);
            self.tasks.spawn(async move {
                // A panic must not leave the queues without a task.
                if AssertUnwindSafe(inner.make_calls()).catch_unwind().await.is_err() {
                    inner.queues.lock().is_served = false;
                }
            });
        } else if std::mem::take(&mut queues.has_news) {
            self.changed.notify_one();
        }
    }

    /// Makes calls until nothing waits.
    async fn make_calls(self: &Arc<Self>) {
        loop {
            let next = self.queues.lock().next(self.stopwatch.elapsed());
            match next {
                Next::Call(route, items, pass) => {
                    self.tasks.spawn(Arc::clone(self).call(route, items, pass));
                }
                Next::Wait(wait) => tokio::select! {
                    biased;
                    () = self.changed.notified() => {}
                    () = tokio::time::sleep(wait.min(RECHECK)) => {}
                },
                Next::Idle => return,
            }
        }
    }

    async fn call(self: Arc<Self>, route: Route, items: Vec<C::Item>, pass: Pass) {
        let call = self.calls.call(route, &items);
        // Whoever waits must learn that a call has panicked.
        let verdicts = AssertUnwindSafe(call).catch_unwind().await.ok();
        let jitter = system_rng().random_range(0.0..1.0);
        {
            let mut queues = self.queues.lock();
            queues.land((route, pass), self.stopwatch.elapsed(), jitter, items, verdicts);
            self.serve(&mut queues);
        }
        self.changed.notify_one();
    }
}

/// The items of a dispatcher: which there are, and which call each goes with.
#[derive(Debug)]
struct Queues<I, O> {
    /// Every item without an outcome.
    entries: HashMap<I, Entry<O>>,
    /// The operation for several items, with the queue for both.
    batch: Operation<I>,
    /// The operation for a single item, with the queue for it alone.
    single: Operation<I>,
    policy: Policy,
    /// Halves of batches that IVS refused; each becomes a batch of its own.
    halves: VecDeque<Vec<I>>,
    /// How many batches IVS refused in a row.
    refusals: u32,
    /// Channels that stay out of batches, and until when.
    isolated: HashMap<ChannelArn, Duration>,
    /// Until when the next batch waits for more items.
    coalesce_until: Duration,
    last_success: Option<Duration>,
    /// Whether a task makes the calls.
    is_served: bool,
    /// Whether an item came into an empty queue since the task was last notified.
    has_news: bool,
}

/// An item without an outcome.
#[derive(Debug)]
struct Entry<O> {
    outcome: watch::Sender<Option<Dispatched<O>>>,
    stage: Stage,
    /// The callers in whose queues it waits; none for a background item.
    callers: Vec<Caller>,
    /// Whether only a single call will do.
    is_alone: bool,
    /// Whether IVS throttled one of its calls.
    was_throttled: bool,
    /// How many of its calls failed.
    failures: u32,
    first_sent: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// In the queue of this operation, possibly for several callers.
    Queued(Route),
    /// In a half of a refused batch.
    InHalf,
    /// In a call of this operation.
    Sent(Route),
}

impl<O> Entry<O> {
    /// A background item is dispatched although no one waits for it.
    fn is_wanted(&self) -> bool {
        self.callers.is_empty() || self.outcome.receiver_count() > 0
    }
}

/// What the task of a dispatcher does next.
#[derive(Debug)]
enum Next<I> {
    /// Makes this call.
    Call(Route, Vec<I>, Pass),
    /// Waits for this long, or until something changes.
    Wait(Duration),
    /// Ends: nothing waits.
    Idle,
}

impl<I: Item, O: Clone> Queues<I, O> {
    fn new(batch: Operation<I>, single: Operation<I>, policy: Policy) -> Self {
        Self {
            entries: HashMap::new(),
            batch,
            single,
            policy,
            halves: VecDeque::new(),
            refusals: 0,
            isolated: HashMap::new(),
            coalesce_until: Duration::ZERO,
            last_success: None,
            is_served: false,
            has_news: false,
        }
    }

    /// Joins the equal item, if there is one. A caller also gets it into its own queue.
    fn join(&mut self, item: &I, caller: Option<&Caller>) -> Option<Pending<O>> {
        let Self { entries, batch, single, .. } = self;
        let entry = entries.get_mut(item)?;
        if let Some(caller) = caller
            && !entry.callers.contains(caller)
        {
            entry.callers.push(Arc::clone(caller));
            match entry.stage {
                Stage::Queued(Route::Batch) => batch.queue.push(caller, item.clone()),
                Stage::Queued(Route::Single) => single.queue.push(caller, item.clone()),
                Stage::InHalf | Stage::Sent(_) => {}
            }
        }
        Some(Pending(entry.outcome.subscribe()))
    }

    /// Queues a new item, unless its slot would come too late. Without a caller it waits in the background.
    fn start(&mut self, item: &I, caller: Option<&Caller>, now: Duration) -> Pending<O> {
        let is_isolated = self.isolated.get(item.channel()).is_some_and(|until| now < *until);
        let route = if is_isolated { Route::Single } else { Route::Batch };
        let (outcome, pending) = watch::channel(None);
        let entry = Entry {
            outcome,
            stage: Stage::Queued(route),
            callers: caller.cloned().into_iter().collect(),
            is_alone: is_isolated,
            was_throttled: false,
            failures: 0,
            first_sent: None,
        };
        self.entries.insert(item.clone(), entry);
        self.enqueue(item, route, now);
        Pending(pending)
    }

    /// Appends the item to the queues of its callers, or ends it if its slot would come too late or the
    /// background has no room.
    fn enqueue(&mut self, item: &I, route: Route, now: Duration) {
        let Some(entry) = self.entries.get_mut(item) else { return };
        let (operation, earlier) = match route {
            Route::Batch => (&mut self.batch, self.halves.len()),
            Route::Single => (&mut self.single, 0),
        };
        let was_empty = operation.queue.is_empty();
        let waits = entry.callers.iter().map(|caller| operation.wait(caller, earlier, now));
        let refusal = match waits.min() {
            Some(wait) => operation.check(wait, self.policy.deadline),
            None if operation.queue.push_background(item.clone()) => Ok(()),
            None => Err(operation.refusal(operation.budget.slot(now, 0))),
        };
        if let Err(refusal) = refusal {
            self.end(item, Err(refusal));
            return;
        }
        entry.stage = Stage::Queued(route);
        for caller in &entry.callers {
            operation.queue.push(caller, item.clone());
        }
        if was_empty {
            self.has_news = true;
            if route == Route::Batch {
                self.coalesce_until = now + self.policy.coalesce_for;
            }
        }
    }

    /// Returns why the item has no outcome in the time of its caller.
    fn overdue(&self, item: &I, caller: &Caller, now: Duration) -> NotDispatched {
        let held_up_at = self.entries.get(item).and_then(|entry| match entry.stage {
            Stage::Queued(route) => Some(route),
            Stage::InHalf => Some(Route::Batch),
            // Throttling took the time, not the call that is in flight now.
            Stage::Sent(route) => entry.was_throttled.then_some(route),
        });
        match held_up_at {
            Some(Route::Batch) => {
                self.batch.refusal(self.batch.wait(caller, self.halves.len(), now))
            }
            Some(Route::Single) => self.single.refusal(self.single.wait(caller, 0, now)),
            None => NotDispatched::Unavailable { retry_after: RETRY_AFTER },
        }
    }

    fn is_empty(&self) -> bool {
        self.batch.queue.is_empty() && self.single.queue.is_empty() && self.halves.is_empty()
    }

    /// Returns whether a task must begin to make calls, and records that one does.
    fn needs_service(&mut self) -> bool {
        let is_needed = !self.is_served && !self.is_empty();
        self.is_served |= is_needed;
        is_needed
    }

    /// Returns what to do now. After [`Next::Idle`] no task makes calls.
    fn next(&mut self, now: Duration) -> Next<I> {
        self.drop_unwanted(now);
        if self.is_empty() {
            self.is_served = false;
            return Next::Idle;
        }
        // A single call has the clearer answer for the only item.
        let is_only_item = self.halves.is_empty() && self.batch.queue.len() == 1;
        let routes = if self.policy.singles_share_the_load && is_only_item {
            [Route::Single, Route::Batch]
        } else {
            [Route::Batch, Route::Single]
        };
        let mut wait = Duration::MAX;
        for route in routes {
            match self.take_slot(route, now) {
                Some(Ok(pass)) => return Next::Call(route, self.take_items(route, now), pass),
                Some(Err(later)) => wait = wait.min(later),
                None => {}
            }
        }
        Next::Wait(wait)
    }

    /// Drops the queued items that no one waits for, and takes those of isolated channels out of the queue for
    /// batches.
    fn drop_unwanted(&mut self, now: Duration) {
        let Self { entries, batch, single, halves, isolated, .. } = self;
        let mut is_wanted = |item: &I, stage: Stage| match entries.get(item) {
            Some(entry) if entry.stage != stage => false,
            Some(entry) if entry.is_wanted() => true,
            Some(_) => {
                entries.remove(item);
                false
            }
            None => false,
        };
        single.queue.retain(|item| is_wanted(item, Stage::Queued(Route::Single)));
        for half in &mut *halves {
            half.retain(|item| is_wanted(item, Stage::InHalf));
        }
        halves.retain(|half| !half.is_empty());
        let mut alone = Vec::new();
        batch.queue.retain(|item| {
            let stays = is_wanted(item, Stage::Queued(Route::Batch));
            let is_isolated = isolated.get(item.channel()).is_some_and(|until| now < *until);
            if stays && is_isolated {
                alone.push(item.clone());
            }
            stays && !is_isolated
        });
        for item in alone {
            // Once, although it may have waited for several callers.
            if self.entries.get(&item).is_some_and(|entry| !entry.is_alone) {
                self.dispatch_alone(&item, now);
            }
        }
    }

    /// Returns permission for a call, or how long to wait for it; `None` if there are no items for it.
    fn take_slot(&mut self, route: Route, now: Duration) -> Option<Result<Pass, Duration>> {
        match route {
            Route::Batch if !self.halves.is_empty() => Some(self.batch.take_slot(now)),
            Route::Batch if self.batch.queue.is_empty() => None,
            Route::Batch => Some(match self.coalesce_until.checked_sub(now) {
                Some(wait) if !wait.is_zero() => Err(wait),
                Some(_) | None => self.batch.take_slot(now),
            }),
            Route::Single => {
                let shares = self.policy.singles_share_the_load && !self.batch.queue.is_empty();
                (shares || !self.single.queue.is_empty()).then(|| self.single.take_slot(now))
            }
        }
    }

    /// Takes the items of the next call out of the queues.
    fn take_items(&mut self, route: Route, now: Duration) -> Vec<I> {
        let Self { entries, batch, single, halves, .. } = self;
        // An item may wait in the queues of several callers.
        let mut is_sent = |item: &I, stage: Stage| match entries.get_mut(item) {
            Some(entry) if entry.stage == stage => {
                entry.stage = Stage::Sent(route);
                entry.first_sent.get_or_insert(now);
                true
            }
            Some(_) | None => false,
        };
        if route == Route::Batch
            && let Some(half) = halves.pop_front()
        {
            return half.into_iter().filter(|item| is_sent(item, Stage::InHalf)).collect();
        }
        let size = match route {
            Route::Batch => batch.size,
            Route::Single => single.size,
        };
        let (queue, stage) = match route {
            Route::Single if !single.queue.is_empty() => {
                (&mut single.queue, Stage::Queued(Route::Single))
            }
            Route::Single | Route::Batch => (&mut batch.queue, Stage::Queued(Route::Batch)),
        };
        let mut items = Vec::new();
        while items.len() < size && !queue.is_empty() {
            let taken = queue.take(size - items.len());
            items.extend(taken.into_iter().filter(|item| is_sent(item, stage)));
        }
        items
    }

    /// Records what a call meant for its items. Without verdicts its task has failed, and the items have no
    /// outcome.
    fn land(
        &mut self,
        (route, pass): (Route, Pass),
        now: Duration,
        jitter: f64,
        items: Vec<I>,
        verdicts: Option<Vec<Verdict<O>>>,
    ) {
        let has = |wanted: fn(&Verdict<O>) -> bool| verdicts.iter().flatten().any(wanted);
        let throttled = has(|verdict| matches!(verdict, Verdict::Throttled));
        let failed = has(|verdict| matches!(verdict, Verdict::Failed(_)));
        if has(|verdict| matches!(verdict, Verdict::Done(_))) {
            self.last_success = Some(now);
        }
        let operation = match route {
            Route::Batch => &mut self.batch,
            Route::Single => &mut self.single,
        };
        operation.budget.answered(pass, now, throttled, jitter);
        operation.unanswered = operation.unanswered.saturating_sub(1);
        operation.is_failing = failed;
        let Some(verdicts) = verdicts else {
            // Dropping an entry tells those who wait for it.
            for item in &items {
                self.entries.remove(item);
            }
            return;
        };
        let (mut alone, mut refused) = (Vec::new(), Vec::new());
        // Items that are put back at the head of a queue must keep their order.
        for (item, verdict) in items.into_iter().zip(verdicts).rev() {
            match verdict {
                Verdict::Done(outcome) => self.end(&item, Ok(outcome)),
                Verdict::Refused(outcome) => {
                    if self.entries.get(&item).is_some_and(|entry| entry.is_alone) {
                        self.isolate(&item, now);
                    }
                    self.end(&item, Ok(outcome));
                }
                Verdict::Failed(outcome) if self.gives_up(&item) => self.end(&item, Ok(outcome)),
                Verdict::Throttled | Verdict::Failed(_) => self.put_back(&item, now),
                Verdict::Alone => alone.push(item),
                Verdict::Halve => refused.push(item),
            }
        }
        for item in alone.iter().rev() {
            self.dispatch_alone(item, now);
        }
        if !refused.is_empty() {
            self.halve(refused, now);
        } else if route == Route::Batch && !throttled && !failed {
            self.refusals = 0;
        }
    }

    fn end(&mut self, item: &I, outcome: Dispatched<O>) {
        if let Some(entry) = self.entries.remove(item) {
            entry.outcome.send_replace(Some(outcome));
        }
    }

    /// Puts the item back at the heads of its callers' queues. An item that no one waits for is dropped.
    fn put_back(&mut self, item: &I, now: Duration) {
        let Self { entries, batch, single, .. } = self;
        let Some(entry) = entries.get_mut(item) else { return };
        if entry.outcome.receiver_count() == 0 {
            entries.remove(item);
            return;
        }
        entry.was_throttled = true;
        let (operation, route) =
            if entry.is_alone { (single, Route::Single) } else { (batch, Route::Batch) };
        if entry.callers.is_empty() {
            self.enqueue(item, route, now);
            return;
        }
        let slot = operation.budget.slot(now, 0);
        if let Err(refusal) = operation.check(slot, self.policy.deadline) {
            self.end(item, Err(refusal));
            return;
        }
        entry.stage = Stage::Queued(route);
        for caller in &entry.callers {
            operation.queue.put_back(caller, item.clone());
        }
    }

    /// Appends the item to the queues for single calls.
    fn dispatch_alone(&mut self, item: &I, now: Duration) {
        if let Some(entry) = self.entries.get_mut(item) {
            entry.is_alone = true;
            self.enqueue(item, Route::Single, now);
        }
    }

    /// Dispatches a batch that IVS refused again, in halves. An item that is alone then is isolated.
    fn halve(&mut self, mut batch: Vec<I>, now: Duration) {
        self.refusals = self.refusals.saturating_add(1);
        if self.refusals >= REFUSALS_MAX {
            for item in batch {
                self.dispatch_alone(&item, now);
            }
            return;
        }
        let rest = batch.split_off(batch.len() / 2);
        for half in [batch, rest] {
            if let [item] = half.as_slice() {
                self.isolate(item, now);
                self.dispatch_alone(item, now);
            } else if !half.is_empty() {
                for item in &half {
                    if let Some(entry) = self.entries.get_mut(item) {
                        entry.stage = Stage::InHalf;
                    }
                }
                self.halves.push_back(half);
            }
        }
    }

    /// Keeps the items of this channel out of batches for a while.
    fn isolate(&mut self, item: &I, now: Duration) {
        if self.isolated.len() >= ISOLATED_MAX {
            self.isolated.retain(|_, until| now < *until);
        }
        if self.isolated.len() < ISOLATED_MAX {
            self.isolated.insert(item.channel().clone(), now + self.policy.isolate_for);
        }
    }

    /// Counts a failed call of the item. Returns whether it was the last one.
    fn gives_up(&mut self, item: &I) -> bool {
        let Some(entry) = self.entries.get_mut(item) else { return true };
        entry.failures += 1;
        let others_succeed = self.last_success > entry.first_sent;
        entry.failures
            >= if others_succeed { self.policy.tries } else { self.policy.tries_in_outage }
    }
}
