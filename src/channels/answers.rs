//! What an answer of IVS says of each channel that was asked for. Pure.
//!
//! Which codes IVS gives the items of a batch is not documented, so that only a clear "not found" is
//! believed; whatever else is not a channel is left to `GetChannel`, whose errors are.

use std::{collections::HashMap, time::Duration};

use super::LookupError;
use crate::ivs::{BatchError, BatchGetChannel, Channel, IvsError, arn::ChannelArn};

/// How long a caller is told to wait after a call that failed.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What IVS said of one channel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Answer {
    /// There it is.
    Found(Channel),
    /// There is no such channel.
    Gone,
    /// This is no ARN that a channel can have.
    Impossible,
    /// The batch does not tell.
    Unclear,
    /// IVS refused the whole batch, which may be about any of its channels.
    Refused,
    /// Not now: too many calls.
    Throttled,
    /// The call failed.
    Failed(LookupError),
}

/// Codes of a batch's item that say that there is no such channel.
const NOT_FOUND: [&str; 3] = ["404", "NotFound", "ResourceNotFoundException"];

/// What `BatchGetChannel` said of each of `asked`.
pub(super) fn of_batch(
    asked: &[ChannelArn],
    answer: Result<BatchGetChannel, IvsError>,
) -> Vec<(ChannelArn, Answer)> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            let answer = of_refused_batch(&error);
            return asked.iter().map(|arn| (arn.clone(), answer.clone())).collect();
        }
    };
    let mut found: HashMap<ChannelArn, Vec<Answer>> = HashMap::new();
    for channel in answer.channels {
        found.entry(channel.arn.clone()).or_default().push(Answer::Found(channel));
    }
    for error in answer.errors {
        if let Ok(arn) = error.arn.parse() {
            found.entry(arn).or_default().push(of_item(&error));
        }
    }
    let said = |arn: &ChannelArn| match found.remove(arn)?.as_mut_slice() {
        [only] => Some(std::mem::replace(only, Answer::Unclear)),
        // Twice: one of them is wrong.
        _ => None,
    };
    let answers: Vec<_> = asked.iter().map(said).collect();
    asked.iter().cloned().zip(answers.into_iter().map(|it| it.unwrap_or(Answer::Unclear))).collect()
}

/// What `GetChannel` said of `asked`.
pub(super) fn of_one(asked: &ChannelArn, answer: Result<Channel, IvsError>) -> Answer {
    match answer {
        Ok(channel) if channel.arn == *asked => Answer::Found(channel),
        Ok(_) => Answer::Failed(UNAVAILABLE),
        Err(error) => match error {
            IvsError::NotFound => Answer::Gone,
            IvsError::Invalid { .. } => Answer::Impossible,
            IvsError::Throttled => Answer::Throttled,
            IvsError::Denied { code, .. } if is_about_the_resource(&code) => {
                Answer::Failed(LookupError::Denied)
            }
            IvsError::Denied { .. }
            | IvsError::NoCredentials
            | IvsError::Conflict { .. }
            | IvsError::QuotaExceeded { .. }
            | IvsError::Unavailable { .. }
            | IvsError::TimedOut => Answer::Failed(UNAVAILABLE),
        },
    }
}

const UNAVAILABLE: LookupError = LookupError::Unavailable { retry_after: RETRY_AFTER };

fn of_item(error: &BatchError) -> Answer {
    let clear = NOT_FOUND.iter().any(|code| error.code.eq_ignore_ascii_case(code));
    if clear { Answer::Gone } else { Answer::Unclear }
}

/// One channel among fifty may be why IVS refuses them all, and a policy may allow `GetChannel` and
/// not the batch. A call that failed says nothing about any.
fn of_refused_batch(error: &IvsError) -> Answer {
    match error {
        IvsError::Throttled => Answer::Throttled,
        IvsError::NotFound
        | IvsError::Invalid { .. }
        | IvsError::Conflict { .. }
        | IvsError::QuotaExceeded { .. } => Answer::Refused,
        IvsError::Denied { code, .. } if is_about_the_resource(code) => Answer::Refused,
        IvsError::Denied { .. }
        | IvsError::NoCredentials
        | IvsError::Unavailable { .. }
        | IvsError::TimedOut => Answer::Failed(UNAVAILABLE),
    }
}

/// Whether a denial is of what was asked for, rather than of credentials that are expired or wrong:
/// those hide every channel at once, and none of them is absent.
fn is_about_the_resource(code: &str) -> bool {
    code.starts_with("AccessDenied")
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn only_what_a_batch_says_clearly_is_believed() {
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
        let said: Vec<_> = of_batch(&asked, Ok(answer)).into_iter().map(|it| it.1).collect();
        let mut expected = vec![Answer::Unclear; 7];
        expected[0] = Answer::Found(channel("found"));
        expected[1] = Answer::Gone;
        assert_eq!(said, expected);
    }

    #[test]
    fn a_refused_batch_says_nothing_of_its_channels() {
        let refused = [
            denied("AccessDeniedException"),
            IvsError::Invalid { message: String::new() },
            IvsError::NotFound,
        ];
        for error in refused {
            assert_eq!(of_batch(&[arn("a")], Err(error)), [(arn("a"), Answer::Refused)]);
        }
        let throttled = of_batch(&[arn("a")], Err(IvsError::Throttled));
        assert_eq!(throttled, [(arn("a"), Answer::Throttled)]);
        for error in [IvsError::TimedOut, IvsError::NoCredentials, denied("ExpiredToken")] {
            assert_eq!(of_batch(&[arn("a")], Err(error))[0].1, Answer::Failed(UNAVAILABLE));
        }
    }

    #[test]
    fn the_answer_to_one_question_is_final() {
        let of = |answer| of_one(&arn("a"), answer);
        assert_eq!(of(Ok(channel("a"))), Answer::Found(channel("a")));
        assert_eq!(of(Ok(channel("b"))), Answer::Failed(UNAVAILABLE), "another channel");
        assert_eq!(of(Err(IvsError::NotFound)), Answer::Gone);
        assert_eq!(of(Err(IvsError::Invalid { message: String::new() })), Answer::Impossible);
        let refused = denied("AccessDeniedException");
        assert_eq!(of(Err(refused)), Answer::Failed(LookupError::Denied));
        for error in [IvsError::TimedOut, denied("UnrecognizedClientException")] {
            assert_eq!(of(Err(error)), Answer::Failed(UNAVAILABLE));
        }
    }
}
