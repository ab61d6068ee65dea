//! The sessions of one region that wait to be revoked, and which call they go with. Bookkeeping
//! alone: it makes no call, reads no clock and never waits. `revoker` does.
//!
//! IVS has two operations with a quota each, and both are used: batches of 20 twice a second, single
//! ones 10 times a second; each at 0.9 of that, which makes 45 sessions a second. Requests take turns,
//! so that one viewer who must go now does not wait behind 500 others.
//!
//! One session that IVS refuses makes it refuse the whole batch. Its sessions are then revoked by single
//! calls, of which the quota allows more sessions than halving the batch again and again would. The
//! channel of the refused session stays out of batches for a while, so that its other sessions do
//! not spoil one batch each.
//!
//! Where IVS throttles, others in the account use the quota, too. The sessions wait in front of all
//! others of their request, and the lane rests for one call or so, by chance; it does not slow down
//! further, because it never asks for more than there is.

use std::{collections::HashMap, time::Duration};

use tokio::sync::oneshot;

use super::{RevokeError, answers::Verdict};
use crate::{
    channels::{FairQueue, Line},
    ivs::{
        ViewerSession,
        arn::ChannelArn,
        budget::{Budget, Pass},
    },
};

/// What part of IVS's quotas is used.
const SHARE: f64 = 0.9;

/// How often a session is tried where IVS fails, while others succeed.
const TRIES: u32 = 6;

/// How often where none has succeeded since it was first tried: IVS is out.
const TRIES_IN_OUTAGE: u32 = 2;

/// How long the sessions of a channel that spoiled a batch are revoked by single calls.
const APART_FOR: Duration = Duration::from_secs(10);

/// The calls that revoke.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Operation {
    /// `BatchStartViewerSessionRevocation`
    Batch,
    /// `StartViewerSessionRevocation`
    Single,
}

impl Operation {
    /// How many sessions one call takes (IVS's limit).
    pub(super) const fn size(self) -> usize {
        match self {
            Self::Batch => 20,
            Self::Single => 1,
        }
    }

    /// How many calls IVS allows in a second, for the account in a region.
    pub(super) const fn quota(self) -> u32 {
        match self {
            Self::Batch => 2,
            Self::Single => 10,
        }
    }

    /// How many calls may be unanswered: enough for the quota where an answer takes half a second, and
    /// few enough that an IVS in trouble is not buried under calls that nobody waits for any more.
    const fn unanswered(self) -> usize {
        match self {
            Self::Batch => 2,
            Self::Single => 5,
        }
    }

    /// Between two calls.
    pub(super) fn interval(self) -> Duration {
        Duration::from_secs(1).div_f64(f64::from(self.quota()) * SHARE)
    }
}

/// How a session ended.
pub(super) type Outcome = Result<(), RevokeError>;

/// A session that waits, or is part of a call.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) session: ViewerSession,
    line: Line,
    /// How many calls failed that it was part of.
    tries: u32,
    /// Whether a batch did not tell, so that only a single call will do.
    alone: bool,
    /// When it was first part of a call.
    first_tried: Option<Duration>,
    /// To whoever waits for it.
    outcome: oneshot::Sender<Outcome>,
}

impl Waiting {
    /// In this line, and where its outcome will be heard.
    pub(super) fn new(line: &Line, session: ViewerSession) -> (Self, oneshot::Receiver<Outcome>) {
        let (outcome, heard) = oneshot::channel();
        (
            Self {
                session,
                line: line.clone(),
                tries: 0,
                alone: false,
                first_tried: None,
                outcome,
            },
            heard,
        )
    }
}

/// What is to be done next.
#[derive(Debug)]
pub(super) enum Next {
    /// Make this call.
    Call(Operation, Vec<Waiting>, Pass),
    /// Nothing until then.
    Wait(Duration),
    /// Nothing until somebody asks.
    Rest,
}

/// The sessions of a region that wait.
#[derive(Debug)]
pub(super) struct Lanes {
    /// For either operation.
    any: FairQueue<Waiting>,
    /// For single calls: a batch did not tell.
    alone: FairQueue<Waiting>,
    batches: Lane,
    singles: Lane,
    /// Channels that spoiled a batch, and until when they stay out of batches.
    apart: HashMap<ChannelArn, Duration>,
    /// Whether somebody takes calls from here.
    served: bool,
    last_success: Option<Duration>,
}

/// The pace of one operation.
#[derive(Debug)]
struct Lane {
    operation: Operation,
    budget: Budget,
    rests_until: Duration,
    unanswered: usize,
}

impl Lane {
    fn new(operation: Operation) -> Self {
        let budget = Budget::of_quota(operation.quota(), SHARE);
        Self { operation, budget, rests_until: Duration::ZERO, unanswered: 0 }
    }

    fn take(&mut self, now: Duration) -> Result<Pass, Duration> {
        match self.rests_until.checked_sub(now).filter(|rest| !rest.is_zero()) {
            Some(rest) => Err(rest),
            // An answer wakes whoever waits.
            None if self.unanswered >= self.operation.unanswered() => Err(Duration::MAX),
            None => {
                let pass = self.budget.take(now)?;
                self.unanswered += 1;
                Ok(pass)
            }
        }
    }

    fn answered(&mut self, pass: Pass, now: Duration) {
        self.unanswered = self.unanswered.saturating_sub(1);
        // It is not told of throttling: it would slow down.
        self.budget.answered(pass, now, false);
    }
}

impl Lanes {
    pub(super) fn new() -> Self {
        Self {
            any: FairQueue::new(),
            alone: FairQueue::new(),
            batches: Lane::new(Operation::Batch),
            singles: Lane::new(Operation::Single),
            apart: HashMap::new(),
            served: false,
            last_success: None,
        }
    }

    /// To the end of its line.
    pub(super) fn push(&mut self, mut waiting: Waiting, now: Duration) {
        let until = self.apart.get(&waiting.session.channel);
        waiting.alone |= until.is_some_and(|until| now < *until);
        let line = waiting.line.clone();
        let queue = if waiting.alone { &mut self.alone } else { &mut self.any };
        queue.push(&line, waiting);
    }

    /// Whether somebody must begin to take calls, who then is the one.
    pub(super) fn needs_service(&mut self) -> bool {
        let needed = !(self.served || self.is_empty());
        self.served |= needed;
        needed
    }

    /// Whoever took calls does so no more.
    pub(super) fn service_ended(&mut self) {
        self.served = false;
    }

    /// Drops what nobody waits for any more.
    pub(super) fn forget_abandoned(&mut self) {
        self.any.retain(|waiting| !waiting.outcome.is_closed());
        self.alone.retain(|waiting| !waiting.outcome.is_closed());
    }

    /// The next call, for whoever serves.
    pub(super) fn next(&mut self, now: Duration) -> Next {
        if self.is_empty() {
            self.served = false;
            return Next::Rest;
        }
        // One alone is better off with the errors of a single call.
        let mut waits = Vec::new();
        if self.any.len() > 1 {
            match self.take(Operation::Batch, now) {
                Ok(call) => return call,
                Err(wait) => waits.push(wait),
            }
        }
        match self.take(Operation::Single, now) {
            Ok(call) => return call,
            Err(wait) => waits.push(wait),
        }
        if self.any.len() == 1 {
            match self.take(Operation::Batch, now) {
                Ok(call) => return call,
                Err(wait) => waits.push(wait),
            }
        }
        Next::Wait(waits.into_iter().min().unwrap_or_default())
    }

    /// A call ended, with a verdict on each of its sessions. Throttled, its lane rests for `rest`.
    pub(super) fn land(
        &mut self,
        operation: Operation,
        pass: Pass,
        now: Duration,
        rest: Duration,
        verdicts: Vec<(Waiting, Verdict)>,
    ) {
        let throttled = verdicts.iter().any(|(_, it)| *it == Verdict::Throttled);
        let lane = self.lane(operation);
        lane.answered(pass, now);
        if throttled {
            lane.rests_until = now + rest;
        }
        if verdicts.iter().any(|(_, it)| *it == Verdict::Revoked) {
            self.last_success = Some(now);
        }
        // What is put back at the head of a line must end up in the order that it had.
        for (mut waiting, verdict) in verdicts.into_iter().rev() {
            match verdict {
                Verdict::Revoked => end(waiting, Ok(())),
                Verdict::Refused(error) => {
                    let is_about_the_channel =
                        matches!(error, RevokeError::ChannelNotFound | RevokeError::Denied);
                    if waiting.alone && is_about_the_channel {
                        self.set_apart(waiting.session.channel.clone(), now);
                    }
                    end(waiting, Err(error));
                }
                Verdict::Throttled => self.put_back(waiting),
                Verdict::Unclear => {
                    waiting.alone = true;
                    self.put_back(waiting);
                }
                Verdict::Failing => {
                    waiting.tries += 1;
                    if self.gives_up(&waiting) {
                        end(waiting, Err(RevokeError::Unavailable));
                    } else {
                        self.put_back(waiting);
                    }
                }
            }
        }
    }

    /// A call ended, and nobody knows how: its task is gone, and with it its sessions.
    pub(super) fn abandon(&mut self, operation: Operation, pass: Pass, now: Duration) {
        self.lane(operation).answered(pass, now);
    }

    fn is_empty(&self) -> bool {
        self.any.is_empty() && self.alone.is_empty()
    }

    fn lane(&mut self, operation: Operation) -> &mut Lane {
        match operation {
            Operation::Batch => &mut self.batches,
            Operation::Single => &mut self.singles,
        }
    }

    fn take(&mut self, operation: Operation, now: Duration) -> Result<Next, Duration> {
        let pass = self.lane(operation).take(now)?;
        let mut taken = match operation {
            Operation::Single if !self.alone.is_empty() => self.alone.take(1),
            Operation::Single | Operation::Batch => self.any.take(operation.size()),
        };
        for waiting in &mut taken {
            waiting.first_tried.get_or_insert(now);
        }
        Ok(Next::Call(operation, taken, pass))
    }

    /// Keeps the channel out of batches for a while.
    fn set_apart(&mut self, channel: ChannelArn, now: Duration) {
        self.apart.retain(|_, until| now < *until);
        self.apart.insert(channel, now + APART_FOR);
        for waiting in self.any.take(self.any.len()) {
            self.push(waiting, now);
        }
    }

    /// To the head of its line.
    fn put_back(&mut self, waiting: Waiting) {
        let queue = if waiting.alone { &mut self.alone } else { &mut self.any };
        let line = waiting.line.clone();
        queue.put_back(&line, waiting);
    }

    fn gives_up(&self, waiting: &Waiting) -> bool {
        let works = self.last_success > waiting.first_tried;
        waiting.tries >= if works { TRIES } else { TRIES_IN_OUTAGE }
    }
}

fn end(waiting: Waiting, outcome: Outcome) {
    // Who does not wait any more has been told that it is unknown.
    let _ = waiting.outcome.send(outcome);
}

#[cfg(test)]
mod tests {
    use super::{super::simulation::session, *};
    use crate::channels::Requester;

    #[test]
    fn channel_that_spoiled_a_batch_stays_out_of_batches_for_a_while() {
        let of_refused_channel = |viewer: &str| ViewerSession {
            channel: "arn:aws:ivs:us-west-2:123456789012:channel/refused".parse().unwrap(),
            ..session(viewer, 1)
        };
        let mut lanes = Lanes::new();
        let line = Requester::LOCAL.line();
        let push = |lanes: &mut Lanes, session: ViewerSession, now| {
            let (waiting, _) = Waiting::new(&line, session);
            lanes.push(waiting, now);
        };
        push(&mut lanes, of_refused_channel("a"), Duration::ZERO);
        push(&mut lanes, session("b", 1), Duration::ZERO);
        let (mut now, mut batches) = (Duration::ZERO, Vec::new());
        let mut serve = |lanes: &mut Lanes, mut now: Duration| loop {
            let (operation, waiting, pass) = match lanes.next(now) {
                Next::Call(operation, waiting, pass) => (operation, waiting, pass),
                Next::Wait(wait) => {
                    now += wait;
                    continue;
                }
                Next::Rest => return now,
            };
            let is_refused = waiting.iter().any(|it| it.session.channel.id() == "refused");
            let verdict = match operation {
                _ if !is_refused => Verdict::Revoked,
                Operation::Batch => Verdict::Unclear,
                Operation::Single => Verdict::Refused(RevokeError::ChannelNotFound),
            };
            if operation == Operation::Batch {
                batches.push(is_refused);
            }
            let verdicts = waiting.into_iter().map(|waiting| (waiting, verdict)).collect();
            lanes.land(operation, pass, now, Duration::ZERO, verdicts);
        };
        now = serve(&mut lanes, now);
        for viewer in ["c", "d", "e"] {
            push(&mut lanes, of_refused_channel(viewer), now);
            push(&mut lanes, session(viewer, 1), now);
        }
        serve(&mut lanes, now);
        assert_eq!(batches.iter().filter(|is_refused| **is_refused).count(), 1, "{batches:?}");
    }
}
