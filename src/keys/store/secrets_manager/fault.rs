//! Why AWS Secrets Manager did not do what was asked, by what a person can do about it.

use std::error::Error as StdError;

use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::secret::Operation;
use crate::ivs::IvsError;

/// Why a call to AWS Secrets Manager failed. No variant holds anything of a secret's value.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SecretsManagerFault {
    /// The credentials may not do this, or are not accepted at all.
    #[error(
        "AWS Secrets Manager denied {operation} ({code}): {message}. Allow this process the IAM \
         action secretsmanager:{operation} on the secret"
    )]
    Denied {
        /// The call.
        operation: Operation,
        /// The error code on the wire.
        code: String,
        /// AWS's own sentence; it names the principal, the action and the secret.
        message: String,
    },
    /// The key that encrypts the secret cannot be used.
    #[error(
        "AWS Secrets Manager could not use the secret's KMS key for {operation} ({code}). Allow \
         this process kms:Decrypt and, to write, kms:GenerateDataKey on that key, and see that it \
         is enabled"
    )]
    KmsKey {
        /// The call.
        operation: Operation,
        /// The error code on the wire.
        code: String,
    },
    /// No AWS credentials could be found or loaded.
    #[error(
        "there are no AWS credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, choose a \
         profile, or run with a role"
    )]
    NoCredentials,
    /// The account's call rate is exceeded, and was after several tries.
    #[error("AWS Secrets Manager throttles {operation}; wait, then try again")]
    Throttled {
        /// The call.
        operation: Operation,
    },
    /// No answer in time, although the call was tried several times. It may have taken effect.
    #[error(
        "AWS Secrets Manager did not answer {operation} in time; check the network or the VPC \
         endpoint, then try again"
    )]
    TimedOut {
        /// The call.
        operation: Operation,
    },
    /// It answered with an error of its own, cut the connection, or could not be reached. The call
    /// may have taken effect.
    #[error("AWS Secrets Manager cannot be used for {operation} now: {reason}; try again")]
    Unavailable {
        /// The call.
        operation: Operation,
        /// What happened, without addresses or bodies.
        reason: String,
    },
    /// The secret is in a state that forbids this.
    #[error(
        "AWS Secrets Manager refused {operation}, since the secret is scheduled for deletion or \
         managed by another service. Restore it with `aws secretsmanager restore-secret`, or set \
         another keys.secret_name"
    )]
    WrongState {
        /// The call.
        operation: Operation,
    },
    /// The secret has as many versions as AWS allows.
    #[error(
        "AWS Secrets Manager refused {operation}, since a quota is used up, such as that of a \
         secret's versions. AWS removes old versions after a day; find out what writes so often"
    )]
    Quota {
        /// The call.
        operation: Operation,
    },
    /// The call itself was refused.
    #[error("AWS Secrets Manager refused {operation} ({code}); load the keyring and try again")]
    Refused {
        /// The call.
        operation: Operation,
        /// The error code on the wire.
        code: String,
    },
    /// The secret has versions, but none that is current.
    #[error(
        "none of its versions is labelled AWSCURRENT; it was not touched. Give the label back to \
         the right one with `aws secretsmanager update-secret-version-stage`, or set another \
         keys.secret_name"
    )]
    NoCurrentVersion,
    /// The secret's name holds the account, which nothing tells.
    #[error(
        "keys.secret_name holds {{account}}, and the account of the AWS credentials could not be \
         found out ({cause}). Set ivs.account_id"
    )]
    AccountUnknown {
        /// What was tried last.
        cause: IvsError,
    },
}

impl SecretsManagerFault {
    pub(super) fn of<E>(operation: Operation, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        let code = error.code().unwrap_or_default();
        Self::of_code(operation, code).unwrap_or_else(|| {
            // What is left has the same codes at every AWS service.
            match IvsError::from_sdk(error) {
                IvsError::Throttled => Self::Throttled { operation },
                IvsError::Denied { code, message } => {
                    let message = message.trim_end_matches('.').to_owned();
                    Self::Denied { operation, code, message }
                }
                IvsError::NoCredentials => Self::NoCredentials,
                IvsError::TimedOut => Self::TimedOut { operation },
                IvsError::Unavailable { reason } => Self::Unavailable { operation, reason },
                IvsError::NotFound
                | IvsError::Conflict { .. }
                | IvsError::QuotaExceeded { .. }
                | IvsError::Invalid { .. } => Self::Refused { operation, code: code.to_owned() },
            }
        })
    }

    /// The codes of Secrets Manager alone. Its sentences are left out: they may repeat what was
    /// sent.
    fn of_code(operation: Operation, code: &str) -> Option<Self> {
        match code {
            "DecryptionFailure" | "EncryptionFailure" => {
                Some(Self::KmsKey { operation, code: code.to_owned() })
            }
            "InvalidRequestException" => Some(Self::WrongState { operation }),
            "LimitExceededException" => Some(Self::Quota { operation }),
            "InvalidParameterException"
            | "PreconditionNotMetException"
            | "ResourceExistsException" => Some(Self::Refused { operation, code: code.to_owned() }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_secretsmanager::{
        error::ErrorMetadata, operation::put_secret_value::PutSecretValueError,
    };
    use aws_smithy_runtime_api::http::StatusCode;

    use super::*;

    fn fault(code: &str, status: u16) -> SecretsManagerFault {
        let metadata = ErrorMetadata::builder().code(code).message("hunter2 leaked.").build();
        let response =
            HttpResponse::new(StatusCode::try_from(status).unwrap(), "hunter2".to_owned().into());
        let error = SdkError::service_error(PutSecretValueError::generic(metadata), response);
        SecretsManagerFault::of(Operation::PutSecretValue, &error)
    }

    #[test]
    fn each_code_says_what_to_do() {
        for (code, status, expected) in [
            ("AccessDeniedException", 400, "the IAM action secretsmanager:PutSecretValue on"),
            ("UnrecognizedClientException", 400, "denied PutSecretValue (Unrec"),
            ("EncryptionFailure", 400, "kms:GenerateDataKey"),
            ("ThrottlingException", 400, "throttles PutSecretValue"),
            ("InternalServiceError", 500, "it answered with HTTP 500"),
            ("InvalidRequestException", 400, "aws secretsmanager restore-secret"),
            ("LimitExceededException", 400, "find out what writes so often"),
            ("InvalidParameterException", 400, "load the keyring and try again"),
            ("ResourceNotFoundException", 400, "refused PutSecretValue (ResourceNotFound"),
            ("", 400, "it answered with HTTP 400"),
        ] {
            let sentence = fault(code, status).to_string();
            assert!(sentence.contains(expected), "{code}: {sentence}");
            // AWS's sentence about a denial names who may not do what, and is worth repeating.
            let is_denial = sentence.contains("denied");
            assert_eq!(sentence.contains("hunter2"), is_denial, "{code}: {sentence}");
        }
    }

    #[test]
    fn an_answer_that_never_came_is_told_apart() {
        let timeout: SdkError<PutSecretValueError, HttpResponse> = SdkError::timeout_error("late");
        assert_eq!(
            SecretsManagerFault::of(Operation::PutSecretValue, &timeout),
            SecretsManagerFault::TimedOut { operation: Operation::PutSecretValue }
        );
    }
}
