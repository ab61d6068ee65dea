//! The lookups of one region: what is dispatched, how IVS's answers are read, and what is learned from them.
//!
//! IVS does not document which codes the items of a batch get, so only a clear "not found" is believed. For
//! everything else that is not a channel, `GetChannel` is called, whose errors are documented.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio_util::task::TaskTracker;

use super::{
    LookupError, Settings,
    memory::{Answered, Memory, Outcome, REFRESH_PAUSE, Since},
    source::ChannelSource,
};
use crate::{
    clock::{Clock, Moment},
    ivs::{
        BatchError, BatchGetChannel, Channel, IvsError,
        arn::{ChannelArn, Region},
        dispatch::{
            Caller, Calls, Dispatcher, Item, Operation, Policy, Requester, Route, Verdict,
            budget::{Budget, Stopwatch},
        },
    },
    telemetry::{Outage, metrics::Metrics},
};

/// The most channels of one `BatchGetChannel` (IVS's limit).
const BATCH_SIZE: usize = 50;

/// What a caller should wait after a call that failed.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the lookups of all regions share.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) memory: Memory,
    /// Decides how old an answer is.
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
}

/// Looks up the channels of one region.
pub(super) type Lookups = Dispatcher<LookupCalls>;

/// Returns lookups whose calls run on `tasks`.
pub(super) fn lookups(
    shared: Arc<Shared>,
    region: Region,
    source: Arc<dyn ChannelSource>,
    tasks: TaskTracker,
) -> Lookups {
    let settings = &shared.settings;
    // The budget bounds the calls in flight.
    let operation = |size| Operation::new(size, usize::MAX, Budget::new(settings.calls_per_second));
    let policy = Policy {
        // GetChannel is left to the rest of the account.
        singles_share_the_load: false,
        coalesce_for: settings.gather,
        deadline: Some(settings.deadline),
        isolate_for: settings.not_found_for,
        // A failure is returned to those who wait; the next caller starts another lookup.
        tries: 1,
        tries_in_outage: 1,
    };
    let (batch, single) = (operation(BATCH_SIZE), operation(1));
    let (stopwatch, outage) = (Stopwatch::start(), Outage::default());
    let calls = LookupCalls { shared, region, source, stopwatch, outage };
    Dispatcher::new(calls, batch, single, policy, tasks)
}

impl Lookups {
    /// Returns what IVS says of the channel, and has said `since` then. Waits for no longer than the deadline.
    ///
    /// A pending lookup may have been sent too early. Then the channel is looked up again, unless that was
    /// within the last second.
    pub(super) async fn fetch(
        &self,
        arn: &ChannelArn,
        requester: Requester<'_>,
        since: Since,
    ) -> Outcome {
        let LookupCalls { shared, stopwatch, .. } = self.calls();
        let (began, caller) = (stopwatch.elapsed(), requester.caller());
        // A lookup may have ended since memory was read.
        let mut outcome = self.ask(arn, &caller, began, || shared.memory.said(arn, since)).await;
        if self.is_too_early(arn, &outcome, since) {
            let first = outcome.clone();
            let recent = || (!self.may_ask_again(arn, &first)).then(|| first.clone());
            let known = || shared.memory.said(arn, since).or_else(recent);
            outcome = self.ask(arn, &caller, began, known).await;
        }
        shared.metrics.channel_wait(stopwatch.elapsed().saturating_sub(began));
        outcome
    }

    /// Returns the outcome of the pending lookup, or else what is `known`, or else the outcome of another
    /// lookup.
    async fn ask(
        &self,
        arn: &ChannelArn,
        caller: &Caller,
        began: Duration,
        known: impl FnOnce() -> Option<Outcome>,
    ) -> Outcome {
        let LookupCalls { shared, stopwatch, .. } = self.calls();
        let waited = stopwatch.elapsed().saturating_sub(began);
        let left = shared.settings.deadline.saturating_sub(waited);
        self.dispatch(arn, caller, left, known).await?
    }

    /// Returns whether the call with this outcome may have been made too early.
    fn is_too_early(&self, arn: &ChannelArn, outcome: &Outcome, since: Since) -> bool {
        let answered = match outcome {
            Ok(seen) => Some(seen.answered),
            Err(LookupError::NotFound) => self.calls().shared.memory.absent(arn),
            Err(
                LookupError::Denied
                | LookupError::Throttled { .. }
                | LookupError::Unavailable { .. },
            ) => None,
        };
        answered.is_some_and(|answered| !since.admits(answered))
    }

    /// Returns whether IVS was last asked a second ago, and no one else asks again.
    fn may_ask_again(&self, arn: &ChannelArn, last: &Outcome) -> bool {
        let now = Moment::of(&self.calls().shared.clock);
        if let Ok(seen) = last {
            seen.next_try.take(now, REFRESH_PAUSE)
        } else {
            let absent = self.calls().shared.memory.absent(arn);
            absent.is_some_and(|absent| absent.asked.until(now) >= REFRESH_PAUSE)
        }
    }
}

impl Item for ChannelArn {
    fn channel(&self) -> &ChannelArn {
        self
    }
}

/// The calls that look channels up.
pub(super) struct LookupCalls {
    pub(super) shared: Arc<Shared>,
    pub(super) region: Region,
    pub(super) source: Arc<dyn ChannelSource>,
    stopwatch: Stopwatch,
    outage: Outage,
}

impl Calls for LookupCalls {
    type Item = ChannelArn;
    type Outcome = Outcome;

    async fn call(&self, route: Route, arns: &[ChannelArn]) -> Vec<Verdict<Outcome>> {
        let asked = Moment::of(&self.shared.clock);
        let verdicts = match (route, arns) {
            (Route::Single, [arn]) => {
                let answer = self.source.get_channel(arn).await;
                self.log_outage(answer.as_ref().err());
                vec![read_single(arn, answer)]
            }
            (Route::Single | Route::Batch, arns) => {
                self.shared.metrics.channel_batch(arns.len());
                let answer = self.source.batch_get_channel(arns).await;
                self.log_outage(answer.as_ref().err());
                read_batch(arns, answer)
            }
        };
        let answered = Answered { asked, learned: self.shared.clock.monotonic() };
        // Remembered before the lookup ends: a caller that finds no pending lookup must find its result.
        let remember = |(arn, verdict): (&ChannelArn, Verdict<Answer>)| {
            verdict.map(|answer| self.remember(arn, answer, answered))
        };
        arns.iter().zip(verdicts).map(remember).collect()
    }
}

impl LookupCalls {
    fn remember(&self, arn: &ChannelArn, answer: Answer, answered: Answered) -> Outcome {
        let memory = &self.shared.memory;
        match answer {
            Answer::Found(channel) => Ok(memory.learn(arn, channel, answered)),
            Answer::Absent => {
                memory.forget(arn, answered);
                Err(LookupError::NotFound)
            }
            Answer::NotAChannel => {
                memory.remember_absence(arn, answered);
                Err(LookupError::NotFound)
            }
            Answer::Denied => Err(LookupError::Denied),
            Answer::Unavailable => Err(LookupError::Unavailable { retry_after: RETRY_AFTER }),
        }
    }

    /// Logs when calls begin to fail, and when they work again.
    fn log_outage(&self, error: Option<&IvsError>) {
        let (region, now) = (&self.region, self.stopwatch.elapsed());
        let error = match error {
            // These are about the channel.
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
            let event = "channel_lookups_failing";
            tracing::warn!(event, %region, %error, "channel lookups fail");
        }
    }
}

/// What IVS says of one channel.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Answer {
    Found(Channel),
    /// There is no such channel.
    Absent,
    /// No channel can have this ARN.
    NotAChannel,
    /// The credentials may not read this channel.
    Denied,
    /// The call failed.
    Unavailable,
}

/// The codes of a batch's items that say that there is no such channel.
const NOT_FOUND: [&str; 3] = ["404", "NotFound", "ResourceNotFoundException"];

/// Reads what `BatchGetChannel` answers for each of `arns`.
fn read_batch(
    arns: &[ChannelArn],
    answer: Result<BatchGetChannel, IvsError>,
) -> Vec<Verdict<Answer>> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return vec![read_failed_batch(&error); arns.len()],
    };
    let mut items: HashMap<ChannelArn, Vec<Verdict<Answer>>> = HashMap::new();
    for channel in answer.channels {
        let verdict = Verdict::Done(Answer::Found(channel.clone()));
        items.entry(channel.arn).or_default().push(verdict);
    }
    for error in answer.errors {
        if let Ok(arn) = error.arn.parse() {
            items.entry(arn).or_default().push(read_item(&error));
        }
    }
    let verdict = |arn: &ChannelArn| match items.remove(arn)?.as_mut_slice() {
        [only] => Some(std::mem::replace(only, Verdict::Alone)),
        // There are two, one of which is wrong.
        _ => None,
    };
    let verdicts: Vec<_> = arns.iter().map(verdict).collect();
    verdicts.into_iter().map(|verdict| verdict.unwrap_or(Verdict::Alone)).collect()
}

/// Reads what `GetChannel` answers for `arn`.
fn read_single(arn: &ChannelArn, answer: Result<Channel, IvsError>) -> Verdict<Answer> {
    match answer {
        Ok(channel) if channel.arn == *arn => Verdict::Done(Answer::Found(channel)),
        Ok(_) => Verdict::Failed(Answer::Unavailable),
        Err(error) => match error {
            IvsError::NotFound => Verdict::Done(Answer::Absent),
            IvsError::Invalid { .. } => Verdict::Done(Answer::NotAChannel),
            IvsError::Throttled => Verdict::Throttled,
            IvsError::Denied { code, .. } if is_about_the_channel(&code) => {
                Verdict::Done(Answer::Denied)
            }
            IvsError::Denied { .. }
            | IvsError::NoCredentials
            | IvsError::Conflict { .. }
            | IvsError::QuotaExceeded { .. }
            | IvsError::Unavailable { .. }
            | IvsError::TimedOut => Verdict::Failed(Answer::Unavailable),
        },
    }
}

fn read_item(error: &BatchError) -> Verdict<Answer> {
    let is_not_found = NOT_FOUND.iter().any(|code| error.code.eq_ignore_ascii_case(code));
    if is_not_found { Verdict::Done(Answer::Absent) } else { Verdict::Alone }
}

/// One channel among fifty may be why IVS refuses them all, and an IAM policy may allow `GetChannel` and
/// not the batch. A call that failed says nothing about any channel.
fn read_failed_batch(error: &IvsError) -> Verdict<Answer> {
    match error {
        IvsError::Throttled => Verdict::Throttled,
        IvsError::NotFound
        | IvsError::Invalid { .. }
        | IvsError::Conflict { .. }
        | IvsError::QuotaExceeded { .. } => Verdict::Halve,
        IvsError::Denied { code, .. } if is_about_the_channel(code) => Verdict::Halve,
        IvsError::Denied { .. }
        | IvsError::NoCredentials
        | IvsError::Unavailable { .. }
        | IvsError::TimedOut => Verdict::Failed(Answer::Unavailable),
    }
}

/// Returns whether IVS denies access to the channel, rather than rejecting expired or wrong credentials, which
/// hide all channels at once although none of them is absent.
fn is_about_the_channel(code: &str) -> bool {
    code.starts_with("AccessDenied")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: Verdict<Answer> = Verdict::Failed(Answer::Unavailable);

    fn arn(id: &str) -> ChannelArn {
        format!("arn:aws:ivs:us-west-2:123456789012:channel/{id}").parse().unwrap()
    }

    fn channel(id: &str) -> Channel {
        Channel {
            arn: arn(id),
            name: String::new(),
            authorized: true,
            channel_type: "STANDARD".to_owned(),
            latency_mode: "LOW".to_owned(),
            playback_url: format!("https://play.test/{id}.m3u8"),
        }
    }

    fn error(id: &str, code: &str) -> BatchError {
        BatchError { arn: arn(id).to_string(), code: code.to_owned(), message: String::new() }
    }

    fn denied(code: &str) -> IvsError {
        IvsError::Denied { code: code.to_owned(), message: String::new() }
    }

    #[test]
    fn batch_is_believed_only_where_it_is_clear() {
        let asked = ["found", "gone", "missing", "twice", "both", "odd", "denied"].map(arn);
        let answer = BatchGetChannel {
            channels: ["found", "twice", "twice", "both", "foreign"].map(channel).to_vec(),
            errors: vec![
                error("gone", "404"),
                error("both", "404"),
                error("odd", "418"),
                error("denied", "403"),
                error("foreign", "404"),
                BatchError { arn: "x".to_owned(), ..error("x", "404") },
            ],
        };
        let mut expected = vec![Verdict::Alone; 7];
        expected[0] = Verdict::Done(Answer::Found(channel("found")));
        expected[1] = Verdict::Done(Answer::Absent);
        assert_eq!(read_batch(&asked, Ok(answer)), expected);
    }

    #[test]
    fn refused_batch_says_nothing_about_its_channels() {
        let refused = [
            denied("AccessDeniedException"),
            IvsError::Invalid { message: String::new() },
            IvsError::NotFound,
        ];
        for error in refused {
            assert_eq!(read_batch(&[arn("a")], Err(error)), [Verdict::Halve]);
        }
        let throttled = read_batch(&[arn("a")], Err(IvsError::Throttled));
        assert_eq!(throttled, [Verdict::Throttled]);
        for error in [IvsError::TimedOut, IvsError::NoCredentials, denied("ExpiredToken")] {
            assert_eq!(read_batch(&[arn("a")], Err(error)), [FAILED]);
        }
    }

    #[test]
    fn answer_to_a_single_call_is_final() {
        let read = |answer| read_single(&arn("a"), answer);
        assert_eq!(read(Ok(channel("a"))), Verdict::Done(Answer::Found(channel("a"))));
        assert_eq!(read(Ok(channel("b"))), FAILED, "another channel");
        assert_eq!(read(Err(IvsError::NotFound)), Verdict::Done(Answer::Absent));
        let invalid = IvsError::Invalid { message: String::new() };
        assert_eq!(read(Err(invalid)), Verdict::Done(Answer::NotAChannel));
        assert_eq!(read(Err(denied("AccessDeniedException"))), Verdict::Done(Answer::Denied));
        for error in [IvsError::TimedOut, denied("UnrecognizedClientException")] {
            assert_eq!(read(Err(error)), FAILED);
        }
    }
}
