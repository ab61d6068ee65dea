//! The lookups that wait for IVS, of one region: which there are, and which call each goes with.
//!
//! A channel is looked up once for all who ask for it meanwhile; they may leave without ending it for
//! the others, and a lookup that everybody has left is dropped when its turn comes. Each client that
//! asks puts the channel into its own line, so that nobody waits in another's.
//!
//! This is the bookkeeping alone: it makes no call, reads no clock, and never waits. `gather` does.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{
    LookupError,
    answers::RETRY_AFTER,
    desk::{Desks, Operation},
    fairness::Line,
    memory::Seen,
};
use crate::ivs::{arn::ChannelArn, budget::Pass};

/// What a lookup comes to.
pub(super) type Outcome = Result<Arc<Seen>, LookupError>;

/// The lookups that wait for IVS.
#[derive(Debug)]
pub(super) struct Flights {
    /// Each channel that is being looked up.
    lookups: HashMap<ChannelArn, Waiting>,
    desks: Desks,
    /// The longest that a caller waits.
    deadline: Duration,
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
}

impl Flight {
    /// The outcome; nothing if the lookup ended without one.
    pub(super) async fn outcome(mut self) -> Option<Outcome> {
        let landed = self.0.wait_for(Option::is_some).await.ok()?;
        landed.clone()
    }
}

impl Flights {
    pub(super) fn new(calls_per_second: f64, deadline: Duration) -> Self {
        Self { lookups: HashMap::new(), desks: Desks::new(calls_per_second), deadline }
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
        let desk = self.desks.of_mut(Operation::BatchGetChannel);
        let wait = desk.wait(line, now);
        if !desk.makes(self.deadline, wait) {
            return Err(desk.refusal(wait));
        }
        desk.queue.push(line, arn.clone());
        Ok(self.insert(arn, vec![line.clone()]))
    }

    /// Starts a lookup that nobody needs to wait for, if there is room. It must not exist yet.
    pub(super) fn start_in_background(&mut self, arn: &ChannelArn) -> Option<Flight> {
        let desk = self.desks.of_mut(Operation::BatchGetChannel);
        desk.queue.push_background(arn.clone()).then(|| self.insert(arn, Vec::new()))
    }

    /// Why a caller's time is over.
    pub(super) fn overdue(&self, arn: &ChannelArn, line: &Line, now: Duration) -> LookupError {
        let held_up_at = self.lookups.get(arn).and_then(|waiting| match waiting.stage {
            Stage::Queued(operation) => Some(operation),
            // What took so long was the throttling, not the call that is under way now.
            Stage::Sent(operation) => waiting.throttled.then_some(operation),
        });
        match held_up_at.map(|operation| self.desks.of(operation)) {
            Some(desk) => desk.refusal(desk.wait(line, now)),
            None => LookupError::Unavailable { retry_after: RETRY_AFTER },
        }
    }

    /// Whether somebody must be found who serves the queue of this operation from now on.
    pub(super) fn needs_service(&mut self, operation: Operation) -> bool {
        let desk = self.desks.of_mut(operation);
        let needs = !desk.served && !desk.queue.is_empty();
        desk.served |= needs;
        needs
    }

    /// Nobody serves the queue of this operation any more.
    pub(super) fn service_ended(&mut self, operation: Operation) {
        self.desks.of_mut(operation).served = false;
    }

    /// What is to be done for the queue of this operation. After [`Next::Rest`] it is served no more.
    pub(super) fn next(&mut self, operation: Operation, now: Duration) -> Next {
        let Self { lookups, desks, .. } = self;
        let desk = desks.of_mut(operation);
        desk.queue.retain(|arn| match lookups.get(arn) {
            Some(waiting) if waiting.stage != Stage::Queued(operation) => false,
            Some(waiting) if waiting.is_wanted() => true,
            Some(_) => {
                lookups.remove(arn);
                false
            }
            None => false,
        });
        if desk.queue.is_empty() {
            desk.served = false;
            return Next::Rest;
        }
        let pass = match desk.budget.take(now) {
            Ok(pass) => pass,
            Err(wait) => return Next::Wait(wait),
        };
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
        // What is put back at the head of a line must end up in the order that it had.
        for (arn, landing) in landings.into_iter().rev() {
            match landing {
                Landing::Outcome(outcome) => self.end(&arn, outcome),
                Landing::Again => self.ask_again(&arn, operation, now),
                Landing::Alone => self.ask_alone(&arn, now),
            }
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

    fn insert(&mut self, arn: &ChannelArn, lines: Vec<Line>) -> Flight {
        let (outcome, flight) = watch::channel(None);
        let stage = Stage::Queued(Operation::BatchGetChannel);
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
        let waits = waiting.lines.iter().map(|line| desk.wait(line, now));
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
        Flights::new(4.0, DEADLINE)
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
            let _ = flights.start_in_background(&arn(&format!("refresh-{refresh}")));
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
        let _ = flights.start_in_background(&arn("refresh"));
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
        let _ = flights.start_in_background(&arn("refresh"));
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
}
