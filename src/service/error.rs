//! Why a use case was refused.

use std::{error::Error as StdError, sync::Arc, time::Duration};

use crate::{
    access::audit::AuditUnavailable,
    api::problem::{Problem, ProblemType},
    channels::{ChannelRefError, LookupError},
    clock::whole_seconds,
    keys::{keyring::RotationId, signing::NoSigner},
    tokens::grant::Violation,
};

/// How long a caller waits before it tries again what the key store, Amazon IVS or the audit log refused.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(5);

/// An error on its way to the caller. It carries what the caller may see, and beside it the cause, which
/// only the log sees. An internal error has no detail, so nothing internal can be put there.
///
/// The contents are boxed because the error travels in every `Result`.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", self.detail())]
pub struct Error(Box<Contents>);

#[derive(Clone, Debug)]
struct Contents {
    problem: ProblemType,
    detail: Option<String>,
    violations: Vec<Violation>,
    retry_after: Option<Duration>,
    rotation: Option<RotationId>,
    cause: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Makes a problem with a sentence for the caller.
    pub fn new(problem: ProblemType, detail: impl Into<String>) -> Self {
        let detail = (problem != ProblemType::Internal).then(|| detail.into());
        Self(Box::new(Contents {
            problem,
            detail,
            violations: Vec::new(),
            retry_after: None,
            rotation: None,
            cause: None,
        }))
    }

    /// Reports a defect: the cause goes to the log, and the caller sees a fixed text.
    pub fn internal(cause: impl StdError + Send + Sync + 'static) -> Self {
        Self::new(ProblemType::Internal, "").caused_by(cause)
    }

    /// Refuses a request that breaks rules, reporting all of them at once.
    pub fn invalid(violations: Vec<Violation>) -> Self {
        let detail = match violations.as_slice() {
            [] => "The request is invalid.".to_owned(),
            [only] => only.detail.clone(),
            more => format!("{} members are invalid; see errors.", more.len()),
        };
        let mut error = Self::new(ProblemType::InvalidRequest, detail);
        error.0.violations = violations;
        error
    }

    /// [`Error::invalid`] with one broken rule.
    pub fn invalid_member(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::invalid(vec![Violation { pointer: pointer.into(), detail: detail.into() }])
    }

    /// Says how long the caller should wait before it tries again.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Names the rotation that is in the way.
    #[must_use]
    pub fn rotation(mut self, id: RotationId) -> Self {
        self.0.rotation = Some(id);
        self
    }

    /// Adds the cause for the log.
    #[must_use]
    pub fn caused_by(mut self, cause: impl StdError + Send + Sync + 'static) -> Self {
        self.0.cause = Some(Arc::new(cause));
        self
    }

    /// Returns the kind of problem.
    pub fn problem(&self) -> ProblemType {
        self.0.problem
    }

    /// Returns the code of the problem.
    pub fn code(&self) -> &'static str {
        self.0.problem.spec().code
    }

    /// Returns the sentence for the caller.
    pub fn detail(&self) -> &str {
        self.0.detail.as_deref().unwrap_or(
            "Something in this service failed; its log has the cause under this request id.",
        )
    }

    /// Returns the broken rules.
    pub fn violations(&self) -> &[Violation] {
        &self.0.violations
    }

    /// Returns the cause, for the log only.
    pub fn cause(&self) -> Option<&(dyn StdError + Send + Sync)> {
        self.0.cause.as_deref()
    }

    /// Returns how many seconds the caller should wait. It is at least 1: a caller told to wait 0 s would come
    /// back at once.
    pub fn retry_seconds(&self) -> Option<u64> {
        self.0.retry_after.map(|wait| whole_seconds(wait).max(1))
    }

    /// Returns the problem document. An item of a batch has no header, so `in_batch` puts the wait into the
    /// body.
    pub fn to_problem(&self, request_id: Option<&str>, in_batch: bool) -> Problem {
        let spec = self.0.problem.spec();
        Problem {
            r#type: self.0.problem.type_uri(),
            title: spec.title,
            status: spec.status,
            detail: self.detail().to_owned(),
            code: spec.code,
            request_id: request_id.map(ToOwned::to_owned),
            errors: self.0.violations.clone(),
            retry_after: self.retry_seconds().filter(|_| in_batch),
            rotation_id: self.0.rotation.as_ref().map(ToString::to_string),
        }
    }
}

impl From<AuditUnavailable> for Error {
    /// Refuses a request that must not go unrecorded while the audit log cannot be written.
    fn from(error: AuditUnavailable) -> Self {
        let detail = "This service cannot write its audit log, and audit.on_failure is deny. Its log says why.";
        Self::new(ProblemType::AuditUnavailable, detail).retry_after(RETRY_AFTER).caused_by(error)
    }
}

impl From<ChannelRefError> for Error {
    /// Refuses a text that names no channel of this service.
    fn from(error: ChannelRefError) -> Self {
        let detail = error.to_string();
        match error {
            ChannelRefError::NotAChannel => Self::new(ProblemType::ChannelNotFound, detail),
            ChannelRefError::OtherResource { .. }
            | ChannelRefError::OtherRegion { .. }
            | ChannelRefError::OtherAccount { .. } => Self::invalid_member("/channel", detail),
        }
    }
}

impl From<LookupError> for Error {
    /// Refuses a request whose channel could not be looked up.
    fn from(error: LookupError) -> Self {
        let detail = format!("{error}.");
        match error {
            // A caller must not learn whether a channel that it may not see exists. The log distinguishes
            // the two.
            LookupError::NotFound | LookupError::Denied => {
                Self::new(ProblemType::ChannelNotFound, format!("{}.", LookupError::NotFound))
                    .caused_by(error)
            }
            LookupError::Throttled { retry_after } => {
                Self::new(ProblemType::IvsThrottled, detail).retry_after(retry_after)
            }
            LookupError::Unavailable { retry_after } => {
                Self::new(ProblemType::IvsUnavailable, detail).retry_after(retry_after)
            }
        }
    }
}

impl From<NoSigner> for Error {
    /// Refuses a mint in a region that cannot sign.
    fn from(reason: NoSigner) -> Self {
        Self::new(ProblemType::NoActiveKey, reason.finding().public_detail)
            .retry_after(RETRY_AFTER)
            .caused_by(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_error_has_no_room_for_a_detail() {
        let error = Error::new(ProblemType::Internal, "the password is hunter2");
        let body = serde_json::to_string(&error.to_problem(Some("r1"), false)).unwrap();
        assert!(!body.contains("hunter2"), "{body}");
    }

    #[test]
    fn wait_is_rounded_up_to_whole_seconds() {
        let seconds = |wait| {
            Error::new(ProblemType::Overloaded, "x").retry_after(wait).retry_seconds().unwrap()
        };
        assert_eq!(seconds(Duration::ZERO), 1);
        assert_eq!(seconds(Duration::from_millis(1001)), 2);
        assert_eq!(seconds(Duration::from_secs(3)), 3);
    }
}
