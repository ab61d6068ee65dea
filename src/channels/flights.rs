//! The lookups that wait for IVS, of one region: which there are, and which call each goes with.
//!
//! A channel is looked up once for all who ask for it meanwhile; they may leave without ending it for
//! the others, and a lookup that everybody has left is dropped when its turn comes. Each client that
//! asks puts the channel into its own line, so that nobody waits in another's.
//!
//! One channel that IVS refuses makes it refuse the whole batch. The batch is then halved, and each half
//! is asked for by a batch again, until the refused ones are alone: the other channels are answered after
//! a few calls. What was alone then stays out of batches for a while.
//!
//! This is the bookkeeping alone: it makes no call, reads no clock, and never waits. `gather` does.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::sync::watch;

use super::{
    LookupError, Settings,
    answers::RETRY_AFTER,
    desk::{Desks, Operation},
    fairness::Line,
    memory::Seen,
};
use crate::ivs::{arn::ChannelArn, budget::Pass};

/// After so many refused batches in a row, IVS refuses batches rather than a channel in them, and
/// their channels are asked for alone. Halving a batch of 50 takes six levels.
const REFUSALS_MAX: u32 = 8;

/// So many channels are kept out of batches; beyond it, those whose time is over are forgotten first.
const SUSPECTS_MAX: usize = 1000;

/// What a lookup comes to.
pub(super) type Outcome = Result<Arc<Seen>, LookupError>;

/// The lookups that wait for IVS.
#[derive(Debug)]
pub(super) struct Flights {
    /// Each channel that is being looked up.
    lookups: HashMap<ChannelArn, Waiting>,
    desks: Desks,
    /// Parts of batches that IVS refused, each of which is asked for by a batch of its own.
    parts: VecDeque<Vec<ChannelArn>>,
    /// How many batches IVS refused in a row.
    refusals: u32,
    /// Channels that may be why IVS refused a batch, and until when they are asked for alone.
    suspects: HashMap<ChannelArn, Duration>,
    /// The longest that a caller waits.
    deadline: Duration,
    /// How long a channel stays out of batches.
    suspected_for: Duration,
}

/// A lookup that has no outcome yet.
#[derive(Debug)]
struct Waiting {
    outcome: watch::Sender<Option<Outcome>>,
    stage: Stage,
    /// Whether IVS throttled it.
    throttled: bool,
    /// The lines of those who asked for it; none for a refresh.
    lines: Vec<Line>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// In the queue of this operation; maybe in several lines of it.
    Queued(Operation),
    /// In a part of a refused batch.
    InPart,
    /// Part of a call of this operation.
    Sent(Operation),
}

/// Somebody's wait for an outcome.
#[derive(Debug)]
pub(super) struct Flight(watch::Receiver<Option<Outcome>>);

/// What is to be done for the queue of an operation.
#[derive(Debug)]
pub(super) enum Next {
    /// Make this call.
    Call(Vec<ChannelArn>, Pass),
    /// Nothing until then.
    Wait(Duration),
    /// Nothing until somebody asks again.
    Rest,
}

/// What a call meant for one of its channels.
#[derive(Debug)]
pub(super) enum Landing {
    /// This is the outcome.
    Outcome(Outcome),
    /// The call was throttled: again, before all others.
    Again,
    /// The channel must be asked for by itself.
    Alone,
    /// The whole batch was refused: again, in halves.
    Part,
}

impl Flight {
    /// The outcome; nothing if the lookup ended without one.
    pub(super) async fn outcome(mut self) -> Option<Outcome> {
        let landed = self.0.wait_for(Option::is_some).await.ok()?;
        landed.clone()
    }
}

impl Flights {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            lookups: HashMap::new(),
            desks: Desks::new(settings.calls_per_second),
            parts: VecDeque::new(),
            refusals: 0,
            suspects: HashMap::new(),
            deadline: settings.deadline,
            suspected_for: settings.not_found_for,
        }
    }

    pub(super) fn is_under_way(&self, arn: &ChannelArn) -> bool {
        self.lookups.contains_key(arn)
    }

    /// Joins the lookup of this channel, if there is one. Without a line it is joined as it stands.
    pub(super) fn join(&mut self, arn: &ChannelArn, line: Option<&Line>) -> Option<Flight> {
        let waiting = self.lookups.get_mut(arn)?;
        let flight = Flight(waiting.outcome.subscribe());
        if let Some(line) = line
            && !waiting.lines.contains(line)
        {
            waiting.lines.push(line.clone());
            if let Stage::Queued(operation) = waiting.stage {
                self.desks.of_mut(operation).queue.push(line, arn.clone());
            }
        }
        Some(flight)
    }

    /// Starts a lookup, unless it would not be answered before the deadline. It must not exist yet.
    ///
    /// # Errors
    ///
    /// Too many wait before it.
    pub(super) fn start(
        &mut self,
        arn: &ChannelArn,
        line: &Line,
        now: Duration,
    ) -> Result<Flight, LookupError> {
        let operation = self.operation_for(arn, now);
        let parts = self.parts_before(operation);
        let desk = self.desks.of_mut(operation);
        let wait = desk.wait(line, parts, now);
        if !desk.makes(self.deadline, wait) {
            return Err(desk.refusal(wait));
        }
        desk.queue.push(line, arn.clone());
        Ok(self.insert(arn, operation, vec![line.clone()]))
    }

    /// Starts a lookup that nobody needs to wait for, if there is room. It must not exist yet.
    pub(super) fn start_in_background(
        &mut self,
        arn: &ChannelArn,
        now: Duration,
    ) -> Option<Flight> {
        let operation = self.operation_for(arn, now);
        let desk = self.desks.of_mut(operation);
        desk.queue.push_background(arn.clone()).then(|| self.insert(arn, operation, Vec::new()))
    }

    /// Which operation a new lookup of the channel waits for.
    fn operation_for(&self, arn: &ChannelArn, now: Duration) -> Operation {
        let is_suspect = self.suspects.get(arn).is_some_and(|until| now < *until);
        if is_suspect { Operation::GetChannel } else { Operation::BatchGetChannel }
    }

    /// How many calls for parts go before whatever is queued for this operation.
    fn parts_before(&self, operation: Operation) -> usize {
        if operation == Operation::BatchGetChannel { self.parts.len() } else { 0 }
    }

    /// Why a caller's time is over.
    pub(super) fn overdue(&self, arn: &ChannelArn, line: &Line, now: Duration) -> LookupError {
        let held_up_at = self.lookups.get(arn).and_then(|waiting| match waiting.stage {
            Stage::Queued(operation) => Some(operation),
            Stage::InPart => Some(Operation::BatchGetChannel),
            // What took so long was the throttling, not the call that is under way now.
            Stage::Sent(operation) => waiting.throttled.then_some(operation),
        });
        match held_up_at.map(|operation| self.desks.of(operation)) {
            Some(desk) => desk.refusal(desk.wait(line, 0, now)),
            None => LookupError::Unavailable { retry_after: RETRY_AFTER },
        }
    }

    /// Whether somebody must be found who serves the queue of this operation from now on.
    pub(super) fn needs_service(&mut self, operation: Operation) -> bool {
        let has_parts = self.parts_before(operation) > 0;
        let desk = self.desks.of_mut(operation);
        let needs = !desk.served && (has_parts || !desk.queue.is_empty());
        desk.served |= needs;
        needs
    }

    /// Nobody serves the queue of this operation any more.
    pub(super) fn service_ended(&mut self, operation: Operation) {
        self.desks.of_mut(operation).served = false;
    }

    /// What is to be done for the queue of this operation. After [`Next::Rest`] it is served no more.
    pub(super) fn next(&mut self, operation: Operation, now: Duration) -> Next {
        self.drop_unwanted(operation);
        let has_parts = self.parts_before(operation) > 0;
        let Self { lookups, desks, parts, .. } = self;
        let desk = desks.of_mut(operation);
        if !has_parts && desk.queue.is_empty() {
            desk.served = false;
            return Next::Rest;
        }
        let pass = match desk.budget.take(now) {
            Ok(pass) => pass,
            Err(wait) => return Next::Wait(wait),
        };
        if has_parts && let Some(part) = parts.pop_front() {
            for arn in &part {
                if let Some(waiting) = lookups.get_mut(arn) {
                    waiting.stage = Stage::Sent(operation);
                }
            }
            return Next::Call(part, pass);
        }
        let mut arns = Vec::new();
        loop {
            let taken = desk.queue.take(operation.size() - arns.len());
            if taken.is_empty() {
                return Next::Call(arns, pass);
            }
            for arn in taken {
                // It may stand in several lines.
                if let Some(waiting) = lookups.get_mut(&arn)
                    && waiting.stage == Stage::Queued(operation)
                {
                    waiting.stage = Stage::Sent(operation);
                    arns.push(arn);
                }
            }
        }
    }

    /// Drops the queued lookups that no one waits for any longer.
    fn drop_unwanted(&mut self, operation: Operation) {
        let Self { lookups, desks, parts, .. } = self;
        let mut is_wanted = |arn: &ChannelArn, stage: Stage| match lookups.get(arn) {
            Some(waiting) if waiting.stage != stage => false,
            Some(waiting) if waiting.is_wanted() => true,
            Some(_) => {
                lookups.remove(arn);
                false
            }
            None => false,
        };
        desks.of_mut(operation).queue.retain(|arn| is_wanted(arn, Stage::Queued(operation)));
        if operation == Operation::BatchGetChannel {
            for part in &mut *parts {
                part.retain(|arn| is_wanted(arn, Stage::InPart));
            }
            parts.retain(|part| !part.is_empty());
        }
    }

    /// A call ended.
    pub(super) fn land(
        &mut self,
        operation: Operation,
        pass: Pass,
        now: Duration,
        landings: Vec<(ChannelArn, Landing)>,
    ) {
        let throttled = landings.iter().any(|(_, it)| matches!(it, Landing::Again));
        let fails = landings.iter().any(|(_, it)| it.is_failure());
        let desk = self.desks.of_mut(operation);
        desk.budget.answered(pass, now, throttled);
        desk.fails = fails;
        let mut part = Vec::new();
        // What is put back at the head of a line must end up in the order that it had.
        for (arn, landing) in landings.into_iter().rev() {
            match landing {
                Landing::Outcome(outcome) => self.end(&arn, outcome),
                Landing::Again => self.ask_again(&arn, operation, now),
                Landing::Alone => self.ask_alone(&arn, now),
                Landing::Part => part.push(arn),
            }
        }
        if !part.is_empty() {
            self.halve(part, now);
        } else if operation == Operation::BatchGetChannel && !throttled && !fails {
            self.refusals = 0;
        }
    }

    /// IVS refused this batch as a whole.
    fn halve(&mut self, mut batch: Vec<ChannelArn>, now: Duration) {
        self.refusals = self.refusals.saturating_add(1);
        if self.refusals >= REFUSALS_MAX {
            for arn in batch {
                self.ask_alone(&arn, now);
            }
            return;
        }
        let rest = batch.split_off(batch.len() / 2);
        for half in [batch, rest] {
            if let [arn] = half.as_slice() {
                self.suspect(arn, now);
                self.ask_alone(arn, now);
            } else if !half.is_empty() {
                for arn in &half {
                    if let Some(waiting) = self.lookups.get_mut(arn) {
                        waiting.stage = Stage::InPart;
                    }
                }
                self.parts.push_back(half);
            }
        }
    }

    /// Keeps the channel out of batches for a while.
    fn suspect(&mut self, arn: &ChannelArn, now: Duration) {
        if self.suspects.len() >= SUSPECTS_MAX {
            self.suspects.retain(|_, until| now < *until);
        }
        if self.suspects.len() < SUSPECTS_MAX {
            self.suspects.insert(arn.clone(), now + self.suspected_for);
        }
    }

    /// A call ended without an answer and without an error: its task is gone.
    pub(super) fn abandon(
        &mut self,
        operation: Operation,
        pass: Pass,
        now: Duration,
        arns: &[ChannelArn],
    ) {
        self.desks.of_mut(operation).budget.answered(pass, now, false);
        for arn in arns {
            // Those who wait learn it from the end of the channel.
            self.lookups.remove(arn);
        }
    }

    fn insert(&mut self, arn: &ChannelArn, operation: Operation, lines: Vec<Line>) -> Flight {
        let (outcome, flight) = watch::channel(None);
        let stage = Stage::Queued(operation);
        self.lookups.insert(arn.clone(), Waiting { outcome, stage, throttled: false, lines });
        Flight(flight)
    }

    fn end(&mut self, arn: &ChannelArn, outcome: Outcome) {
        if let Some(waiting) = self.lookups.remove(arn) {
            waiting.outcome.send_replace(Some(outcome));
        }
    }

    /// Back to the heads of its lines. What nobody waits for is dropped: the next lookup asks again.
    fn ask_again(&mut self, arn: &ChannelArn, operation: Operation, now: Duration) {
        let Some(waiting) = self.lookups.get_mut(arn) else { return };
        if waiting.outcome.receiver_count() == 0 {
            self.lookups.remove(arn);
            return;
        }
        waiting.stage = Stage::Queued(operation);
        waiting.throttled = true;
        let desk = self.desks.of_mut(operation);
        let wait = desk.budget.turn(now, 0);
        if !desk.makes(self.deadline, wait) {
            let refusal = desk.refusal(wait);
            self.end(arn, Err(refusal));
            return;
        }
        for line in &waiting.lines {
            desk.queue.put_back(line, arn.clone());
        }
        self.queue_if_background(arn, operation);
    }

    /// To the ends of its lines at the desk of `GetChannel`.
    fn ask_alone(&mut self, arn: &ChannelArn, now: Duration) {
        let Some(waiting) = self.lookups.get_mut(arn) else { return };
        waiting.stage = Stage::Queued(Operation::GetChannel);
        let desk = self.desks.of_mut(Operation::GetChannel);
        let waits = waiting.lines.iter().map(|line| desk.wait(line, 0, now));
        if let Some(wait) = waits.min().filter(|wait| !desk.makes(self.deadline, *wait)) {
            let refusal = desk.refusal(wait);
            self.end(arn, Err(refusal));
            return;
        }
        for line in &waiting.lines {
            desk.queue.push(line, arn.clone());
        }
        self.queue_if_background(arn, Operation::GetChannel);
    }

    /// Queues a refresh, which stands in no client's line; it is dropped where there is no room.
    fn queue_if_background(&mut self, arn: &ChannelArn, operation: Operation) {
        let is_background = self.lookups.get(arn).is_some_and(|it| it.lines.is_empty());
        let queue = &mut self.desks.of_mut(operation).queue;
        if is_background && !queue.push_background(arn.clone()) {
            self.lookups.remove(arn);
        }
    }
}

impl Waiting {
    /// Somebody waits for it, or it is a refresh, which nobody needs to wait for.
    fn is_wanted(&self) -> bool {
        self.lines.is_empty() || self.outcome.receiver_count() > 0
    }
}

impl Landing {
    fn is_failure(&self) -> bool {
        matches!(self, Self::Outcome(Err(LookupError::Unavailable { .. })))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::{super::fairness::Requester, *};

    const DEADLINE: Duration = Duration::from_secs(5);
    const SETTINGS: Settings =
        Settings { calls_per_second: 4.0, deadline: DEADLINE, ..super::super::tests::SETTINGS };

    fn line(client: &str) -> Line {
        Requester::client(client).line()
    }

    fn arn(id: &str) -> ChannelArn {
        format!("arn:aws:ivs:us-west-2:123456789012:channel/{id}").parse().unwrap()
    }

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn flights() -> Flights {
        Flights::new(&SETTINGS)
    }

    fn start(flights: &mut Flights, client: &str, id: &str) -> Flight {
        flights.start(&arn(id), &line(client), at(0)).unwrap()
    }

    fn call(flights: &mut Flights, operation: Operation, now: Duration) -> (Vec<String>, Pass) {
        let Next::Call(arns, pass) = flights.next(operation, now) else { panic!("no call") };
        (arns.iter().map(|arn| arn.id().to_owned()).collect(), pass)
    }

    fn gone(id: &str) -> (ChannelArn, Landing) {
        (arn(id), Landing::Outcome(Err(LookupError::NotFound)))
    }

    #[tokio::test]
    async fn all_who_join_get_one_outcome() {
        let mut flights = flights();
        let first = start(&mut flights, "a", "x");
        let second = flights.join(&arn("x"), Some(&line("b"))).unwrap();
        drop(first);
        let (asked, pass) = call(&mut flights, Operation::BatchGetChannel, at(0));
        assert_eq!(asked, ["x"], "once, though it stands in two lines");
        let third = flights.join(&arn("x"), Some(&line("c"))).unwrap();
        flights.land(Operation::BatchGetChannel, pass, at(9), vec![gone("x")]);
        for flight in [second, third] {
            assert!(matches!(flight.outcome().await, Some(Err(LookupError::NotFound))));
        }
        assert!(!flights.is_under_way(&arn("x")));
        assert!(matches!(flights.next(Operation::BatchGetChannel, at(9)), Next::Rest));
    }

    #[test]
    fn nobody_waits_in_the_line_of_another() {
        let mut flights = flights();
        let _spray: Vec<_> =
            (0..200).map(|it| start(&mut flights, "spray", &it.to_string())).collect();
        // What the sprayer asks for last, somebody else asks for, too.
        let _joined = flights.join(&arn("199"), Some(&line("b"))).unwrap();
        let (asked, _) = call(&mut flights, Operation::BatchGetChannel, at(0));
        assert_eq!((asked.len(), asked[1].as_str()), (50, "199"));
    }

    #[tokio::test]
    async fn a_refresh_that_somebody_comes_to_wait_for_is_a_lookup() {
        let mut flights = flights();
        let _busy: Vec<_> =
            (0..100).map(|it| start(&mut flights, "busy", &it.to_string())).collect();
        for refresh in 0..6 {
            let _ = flights.start_in_background(&arn(&format!("refresh-{refresh}")), at(0));
        }
        let _joined = flights.join(&arn("refresh-5"), Some(&line("b"))).unwrap();
        let (asked, _) = call(&mut flights, Operation::BatchGetChannel, at(0));
        assert_eq!(asked[1], "refresh-5");
        assert_eq!(asked.iter().filter(|it| it.starts_with("refresh")).count(), 6);
    }

    #[test]
    fn what_was_throttled_comes_first_and_only_for_those_who_wait() {
        let mut flights = flights();
        let _waiting = start(&mut flights, "a", "stays");
        drop(start(&mut flights, "a", "leaves"));
        let leaving = start(&mut flights, "a", "leaves-later");
        let _ = flights.start_in_background(&arn("refresh"), at(0));
        let (asked, pass) = call(&mut flights, Operation::BatchGetChannel, at(0));
        assert_eq!(asked, ["stays", "leaves-later", "refresh"]);
        drop(leaving);
        let _next = start(&mut flights, "a", "next");
        let again = asked.iter().map(|id| (arn(id), Landing::Again)).collect();
        flights.land(Operation::BatchGetChannel, pass, at(10), again);
        assert!(matches!(flights.next(Operation::BatchGetChannel, at(509)), Next::Wait(_)));
        let (asked, _) = call(&mut flights, Operation::BatchGetChannel, at(510));
        assert_eq!(asked, ["stays", "next"]);
    }

    #[tokio::test]
    async fn what_must_be_asked_for_alone_is_refused_where_that_takes_too_long() {
        let mut flights = flights();
        let waits: Vec<_> = (0..50).map(|it| start(&mut flights, "a", &it.to_string())).collect();
        let _ = flights.start_in_background(&arn("refresh"), at(0));
        let (asked, pass) = call(&mut flights, Operation::BatchGetChannel, at(0));
        let alone = asked.iter().rev().map(|id| (arn(id), Landing::Alone)).collect();
        flights.land(Operation::BatchGetChannel, pass, at(0), alone);
        let mut refused = 0;
        for wait in waits {
            if let Some(Some(Err(error))) = wait.outcome().now_or_never() {
                let truthful = |wait| wait > DEADLINE && wait < DEADLINE * 2;
                assert!(
                    matches!(error, LookupError::Throttled { retry_after } if truthful(retry_after))
                );
                refused += 1;
            }
        }
        // The refresh took a place in the call; one is asked for each 262.5 ms from now on.
        assert_eq!(refused, 49 - 20);
        let (asked, _) = call(&mut flights, Operation::GetChannel, at(0));
        assert_eq!(asked, ["refresh"], "nobody waits for the others any more");
    }

    #[tokio::test]
    async fn work_that_ends_without_an_outcome_is_told() {
        let mut flights = flights();
        let flight = start(&mut flights, "a", "x");
        assert!(flights.needs_service(Operation::BatchGetChannel));
        assert!(!flights.needs_service(Operation::BatchGetChannel));
        let (_, pass) = call(&mut flights, Operation::BatchGetChannel, at(0));
        flights.abandon(Operation::BatchGetChannel, pass, at(5), &[arn("x")]);
        flights.service_ended(Operation::BatchGetChannel);
        assert!(flight.outcome().await.is_none());
        let _again = start(&mut flights, "a", "x");
        assert!(flights.needs_service(Operation::BatchGetChannel));
    }

    #[test]
    fn a_caller_whose_time_is_over_is_told_why() {
        let mut flights = flights();
        let _waiting = start(&mut flights, "a", "x");
        let overdue = |flights: &Flights, now| flights.overdue(&arn("x"), &line("a"), now);
        let throttled = LookupError::Throttled { retry_after: Duration::ZERO };
        assert_eq!(overdue(&flights, at(5000)), throttled);
        let (_, pass) = call(&mut flights, Operation::BatchGetChannel, at(0));
        let unavailable = LookupError::Unavailable { retry_after: RETRY_AFTER };
        assert_eq!(overdue(&flights, at(5000)), unavailable);
        let again = vec![(arn("x"), Landing::Again)];
        flights.land(Operation::BatchGetChannel, pass, at(1000), again);
        call(&mut flights, Operation::BatchGetChannel, at(1500));
        assert_eq!(overdue(&flights, at(5000)), throttled, "though a call is under way");
    }

    /// Makes the calls of batches, of which IVS refuses those that `is_refused`, until none is left.
    /// Returns their number and when the last one was answered.
    fn make_batches(
        flights: &mut Flights,
        is_refused: impl Fn(&[ChannelArn]) -> bool,
    ) -> (usize, Duration) {
        let (mut calls, mut now) = (0, at(0));
        loop {
            match flights.next(Operation::BatchGetChannel, now) {
                Next::Call(arns, pass) => {
                    calls += 1;
                    now += at(50);
                    let refused = is_refused(&arns);
                    let landings = arns.into_iter().map(|arn| {
                        let found = Landing::Outcome(Err(LookupError::NotFound));
                        (arn, if refused { Landing::Part } else { found })
                    });
                    flights.land(Operation::BatchGetChannel, pass, now, landings.collect());
                }
                Next::Wait(wait) => now += wait,
                Next::Rest => return (calls, now),
            }
        }
    }

    #[tokio::test]
    async fn refused_channel_delays_the_others_of_its_batch_by_a_few_calls() {
        for refused in [0, 17, 49] {
            let mut flights = flights();
            let mut waits: Vec<_> =
                (0..50).map(|it| start(&mut flights, "a", &it.to_string())).collect();
            let refused = arn(&refused.to_string());
            let (calls, end) = make_batches(&mut flights, |arns| arns.contains(&refused));
            assert!(calls <= 13 && end < DEADLINE, "{calls} calls, until {end:?}");
            let position = refused.id().parse::<usize>().unwrap();
            let lookup = waits.remove(position);
            let mut alone = Vec::new();
            for (position, wait) in waits.into_iter().enumerate() {
                // Unconstrained, since so many polls exceed a task's budget.
                let outcome = tokio::task::unconstrained(wait.outcome());
                if outcome.now_or_never().is_none() {
                    alone.push(position);
                }
            }
            assert!(alone.len() <= 2, "only its neighbours in the last parts are left: {alone:?}");
            let (asked, _) = call(&mut flights, Operation::GetChannel, end);
            assert!(asked.len() == 1 && lookup.outcome().now_or_never().is_none());

            // It stays out of the next batches for a while.
            let mut later = Flights { lookups: HashMap::new(), ..flights };
            later.desks = Desks::new(4.0);
            let _next = later.start(&refused, &line("a"), end).unwrap();
            let _other = later.start(&arn("other"), &line("a"), end).unwrap();
            let (asked, _) = call(&mut later, Operation::BatchGetChannel, end);
            assert_eq!(asked, ["other"]);
        }
    }

    #[test]
    fn batches_that_are_always_refused_are_not_halved_for_ever() {
        let mut flights = flights();
        let _waits: Vec<_> = (0..50).map(|it| start(&mut flights, "a", &it.to_string())).collect();
        let (calls, _) = make_batches(&mut flights, |_| true);
        assert!(calls <= 16, "{calls}");
        let _next = flights.start(&arn("next"), &line("a"), at(60_000)).unwrap();
        assert_eq!(call(&mut flights, Operation::BatchGetChannel, at(60_000)).0, ["next"]);
    }
}
