//! What an answer of IVS means for each session that was to be revoked. Pure.
//!
//! Which codes IVS gives the items of a batch is not documented; AWS's example shows `403` with "not
//! authorized", which is also what a channel that does not exist gets. Whatever is not clear is asked
//! again alone, since `StartViewerSessionRevocation` has errors that are.

use std::collections::HashMap;

use super::RevokeError;
use crate::ivs::{IvsError, ViewerSession, ViewerSessionError};

/// What a call meant for one of its sessions.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// It is revoked.
    Revoked,
    /// Too many calls: again.
    Throttled,
    /// IVS failed, or its answer was lost: again, but not for ever. To revoke twice does no harm.
    Failing,
    /// The batch does not tell: again, alone.
    Unclear,
    /// It will not be revoked.
    Refused(RevokeError),
}

/// What `StartViewerSessionRevocation` meant.
pub(super) fn of_single(answer: Result<&(), &IvsError>) -> Verdict {
    match answer {
        Ok(&()) => Verdict::Revoked,
        Err(IvsError::Throttled) => Verdict::Throttled,
        Err(IvsError::NotFound) => Verdict::Refused(RevokeError::ChannelNotFound),
        Err(IvsError::Invalid { .. } | IvsError::Conflict { .. }) => {
            Verdict::Refused(RevokeError::Invalid)
        }
        Err(IvsError::Denied { .. } | IvsError::NoCredentials | IvsError::QuotaExceeded { .. }) => {
            Verdict::Refused(RevokeError::Denied)
        }
        Err(IvsError::Unavailable { .. } | IvsError::TimedOut) => Verdict::Failing,
    }
}

/// What `BatchStartViewerSessionRevocation` meant for each of `asked`, of which no two are of one
/// viewer on one channel.
pub(super) fn of_batch(
    asked: &[ViewerSession],
    answer: Result<&[ViewerSessionError], &IvsError>,
) -> Vec<Verdict> {
    let errors = match answer {
        Ok(errors) => errors,
        Err(error) => return vec![of_refused_batch(error); asked.len()],
    };
    let mut said: HashMap<(&str, &str), Verdict> = errors
        .iter()
        .map(|error| ((&*error.channel, &*error.viewer_id), of_item(&error.code)))
        .collect();
    let verdicts: Vec<_> = asked
        .iter()
        .map(|session| said.remove(&(session.channel.as_str(), &*session.viewer_id)))
        .collect();
    // An error that fits none of them may be about any that has none.
    let silence = if said.is_empty() { Verdict::Revoked } else { Verdict::Unclear };
    verdicts.into_iter().map(|verdict| verdict.unwrap_or(silence)).collect()
}

/// One session among twenty may be why IVS refuses them all, and a policy may allow the revocation
/// of one and not the batch.
fn of_refused_batch(error: &IvsError) -> Verdict {
    match error {
        IvsError::NotFound | IvsError::Invalid { .. } | IvsError::Conflict { .. } => {
            Verdict::Unclear
        }
        IvsError::Denied { code, .. } if code.starts_with("AccessDenied") => Verdict::Unclear,
        IvsError::Denied { .. }
        | IvsError::Throttled
        | IvsError::NoCredentials
        | IvsError::QuotaExceeded { .. }
        | IvsError::Unavailable { .. }
        | IvsError::TimedOut => of_single(Err(error)),
    }
}

/// The code of an item: a status in the examples, or the name of an error.
fn of_item(code: &str) -> Verdict {
    match code {
        "403" | "404" | "AccessDeniedException" | "ResourceNotFoundException" => {
            Verdict::Refused(RevokeError::ChannelNotFound)
        }
        "429" | "ThrottlingException" | "TooManyRequestsException" => Verdict::Throttled,
        "500" | "502" | "503" | "504" | "InternalServerException" => Verdict::Failing,
        _ => Verdict::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::simulation::session, *};

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
    fn each_session_of_a_batch_is_judged_alone() {
        let asked = ["a", "b", "c", "d", "e"].map(|id| session(id, 1));
        let errors = [
            error(&asked[1], "403"),
            error(&asked[2], "429"),
            error(&asked[3], "503"),
            error(&asked[4], "Unheard"),
        ];
        assert_eq!(
            of_batch(&asked, Ok(&errors)),
            [
                Verdict::Revoked,
                Verdict::Refused(RevokeError::ChannelNotFound),
                Verdict::Throttled,
                Verdict::Failing,
                Verdict::Unclear,
            ]
        );
        assert_eq!(of_batch(&asked, Ok(&[])), [Verdict::Revoked; 5]);
    }

    #[test]
    fn an_error_that_fits_nobody_leaves_all_others_in_doubt() {
        let asked = ["a", "b"].map(|id| session(id, 1));
        let errors = [error(&asked[0], "403"), error(&session("x", 1), "403")];
        let verdicts = of_batch(&asked, Ok(&errors));
        assert_eq!(verdicts[0], Verdict::Refused(RevokeError::ChannelNotFound));
        assert_eq!(verdicts[1], Verdict::Unclear);
    }

    #[test]
    fn one_bad_session_does_not_fail_the_other_nineteen() {
        let asked = [session("a", 1)];
        let refused = |error: &IvsError| of_batch(&asked, Err(error))[0];
        let invalid = IvsError::Invalid { message: String::new() };
        assert_eq!(refused(&invalid), Verdict::Unclear);
        assert_eq!(refused(&IvsError::NotFound), Verdict::Unclear);
        assert_eq!(refused(&denied("AccessDeniedException")), Verdict::Unclear);
        let expired = Verdict::Refused(RevokeError::Denied);
        assert_eq!(refused(&denied("ExpiredTokenException")), expired);
        assert_eq!(refused(&IvsError::Throttled), Verdict::Throttled);
        assert_eq!(refused(&IvsError::TimedOut), Verdict::Failing);

        assert_eq!(of_single(Err(&invalid)), Verdict::Refused(RevokeError::Invalid));
        assert_eq!(
            of_single(Err(&denied("AccessDeniedException"))),
            Verdict::Refused(RevokeError::Denied)
        );
    }
}
