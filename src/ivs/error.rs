//! What can go wrong in a call to AWS, by what the caller can do about it.

use std::error::Error as StdError;

use aws_sdk_ivs::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

/// Why a call to Amazon IVS (or, for the account of the credentials, to AWS STS) failed.
///
/// IVS does not model throttling for every operation, so variants are chosen by the error code on
/// the wire and, where that says nothing, by the HTTP status.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum IvsError {
    /// The account's call rate is exceeded. Wait, then try again.
    #[error("Amazon IVS throttles this account's calls")]
    Throttled,
    /// The resource does not exist in this region and account.
    #[error("Amazon IVS has no such resource")]
    NotFound,
    /// The credentials may not do this, or are not accepted at all.
    #[error("Amazon IVS denied the call ({code}): {message}")]
    Denied {
        /// The error code on the wire.
        code: String,
        /// AWS's own sentence; it names the principal and the action.
        message: String,
    },
    /// No AWS credentials could be found or loaded.
    #[error(
        "no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, choose a profile, or \
         run with a role"
    )]
    NoCredentials,
    /// The resource is in a state that forbids this, or exists already.
    #[error("Amazon IVS reports a conflict: {message}")]
    Conflict {
        /// AWS's own sentence.
        message: String,
    },
    /// A quota that waiting does not help with, such as three key pairs a region.
    #[error("a quota of Amazon IVS is used up: {message}")]
    QuotaExceeded {
        /// AWS's own sentence.
        message: String,
    },
    /// IVS found the request itself invalid.
    #[error("Amazon IVS refused the request: {message}")]
    Invalid {
        /// AWS's own sentence.
        message: String,
    },
    /// IVS answered with an error of its own, cut the connection, or could not be reached.
    #[error("Amazon IVS cannot be used now: {reason}")]
    Unavailable {
        /// What happened, without bodies.
        reason: String,
    },
    /// No answer within `ivs.timeout`. The call may have taken effect.
    #[error("Amazon IVS did not answer in time")]
    TimedOut,
}

/// The reason of a failed connection, before its endpoint is known.
const NO_CONNECTION: &str = "no connection to its endpoint";

impl IvsError {
    /// Whether this says something about IVS or the way to it, rather than about what was asked.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Throttled
            | Self::Denied { .. }
            | Self::NoCredentials
            | Self::Unavailable { .. }
            | Self::TimedOut => true,
            Self::NotFound
            | Self::Conflict { .. }
            | Self::QuotaExceeded { .. }
            | Self::Invalid { .. } => false,
        }
    }

    /// Whether the same call may succeed soon.
    pub(super) const fn is_transient(&self) -> bool {
        match self {
            Self::Throttled | Self::Unavailable { .. } | Self::TimedOut => true,
            Self::NotFound
            | Self::Denied { .. }
            | Self::NoCredentials
            | Self::Conflict { .. }
            | Self::QuotaExceeded { .. }
            | Self::Invalid { .. } => false,
        }
    }

    /// One word for metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::NotFound => "not_found",
            Self::Denied { .. } => "denied",
            Self::NoCredentials => "no_credentials",
            Self::Conflict { .. } => "conflict",
            Self::QuotaExceeded { .. } => "quota",
            Self::Invalid { .. } => "invalid",
            Self::Unavailable { .. } => "unavailable",
            Self::TimedOut => "timed_out",
        }
    }

    /// Names the endpoint that could not be reached.
    pub(super) fn at(self, endpoint: Option<&str>) -> Self {
        match (self, endpoint) {
            (Self::Unavailable { reason }, Some(endpoint)) if reason == NO_CONNECTION => {
                let reason =
                    format!("no connection to {endpoint}; check the region and the network");
                Self::Unavailable { reason }
            }
            (error, _) => error,
        }
    }

    /// An answer that the service model does not allow.
    pub(super) fn malformed(what: &str) -> Self {
        Self::Unavailable { reason: format!("its answer {what}") }
    }

    /// What a failure means; the codes that all AWS services share are told apart here alone.
    pub(crate) fn from_sdk<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        match error {
            SdkError::TimeoutError(_) => Self::TimedOut,
            SdkError::ServiceError(context) => from_service(
                context.err().code().unwrap_or_default(),
                context.err().message().unwrap_or_default(),
                context.raw().status().as_u16(),
            ),
            SdkError::ResponseError(_) => Self::malformed("could not be read"),
            other if lacks_credentials(other) => Self::NoCredentials,
            SdkError::ConstructionFailure(_) => Self::Unavailable {
                reason: "the call could not be prepared; check the AWS configuration".to_owned(),
            },
            // `SdkError` is foreign and non-exhaustive; what is left is a failed connection.
            SdkError::DispatchFailure(_) | _ => {
                Self::Unavailable { reason: NO_CONNECTION.to_owned() }
            }
        }
    }
}

fn from_service(code: &str, message: &str, status: u16) -> IvsError {
    let message = message.to_owned();
    match code {
        "ThrottlingException"
        | "Throttling"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "RequestThrottled"
        | "SlowDown" => IvsError::Throttled,
        "ResourceNotFoundException" => IvsError::NotFound,
        "AccessDeniedException"
        | "AccessDenied"
        | "PendingVerification"
        | "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "MissingAuthenticationTokenException"
        | "ExpiredTokenException"
        | "ExpiredToken"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "RequestExpired"
        | "RequestTimeTooSkewed" => IvsError::Denied { code: code.to_owned(), message },
        "ConflictException" | "ChannelNotBroadcasting" => IvsError::Conflict { message },
        "ServiceQuotaExceededException" => IvsError::QuotaExceeded { message },
        "ValidationException" | "SerializationException" => IvsError::Invalid { message },
        _ => match status {
            429 => IvsError::Throttled,
            401 | 403 => IvsError::Denied { code: format!("HTTP {status}"), message },
            402 => IvsError::QuotaExceeded { message },
            409 => IvsError::Conflict { message },
            // A 400 or 404 without IVS's own code comes from something that is not IVS; taking it
            // for an answer about the resource would make channels and key pairs vanish.
            _ => IvsError::Unavailable { reason: format!("it answered with HTTP {status}") },
        },
    }
}

fn lacks_credentials(error: &(dyn StdError + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(current) = cause {
        if current.is::<aws_credential_types::provider::error::CredentialsError>() {
            return true;
        }
        cause = current.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_win_over_statuses() {
        assert_eq!(from_service("ThrottlingException", "", 400), IvsError::Throttled);
        assert_eq!(from_service("ResourceNotFoundException", "", 404), IvsError::NotFound);
        let offline = IvsError::Conflict { message: String::new() };
        assert_eq!(from_service("ChannelNotBroadcasting", "", 404), offline);
        assert!(matches!(from_service("", "", 503), IvsError::Unavailable { .. }));
        assert_eq!(from_service("Unheard", "", 429), IvsError::Throttled);
    }

    #[test]
    fn a_bare_404_is_not_an_absent_resource() {
        assert!(matches!(from_service("", "", 400), IvsError::Unavailable { .. }));
        assert!(matches!(from_service("RequestExpired", "", 400), IvsError::Denied { .. }));
        assert!(matches!(from_service("", "", 404), IvsError::Unavailable { .. }));
        assert!(matches!(
            from_service("UnknownOperationException", "", 404),
            IvsError::Unavailable { .. }
        ));
    }
}
