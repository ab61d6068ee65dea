//! Whose credentials these are, and what IAM says they may do.
//!
//! For `keys doctor --simulate` alone. Of IAM this needs two calls, and the SDK's client for it takes
//! minutes to build. So they are made here: `query` signs a call with the SDK's signer and sends it,
//! `answer` reads the XML.

mod answer;
mod query;

use std::{collections::BTreeMap, str::FromStr};

use aws_config::SdkConfig;
use aws_credential_types::provider::ProvideCredentials as _;

use self::query::Endpoint;
use super::{IvsError, IvsRegions, regions};
use crate::clock::Timestamp;

/// Actions on one kind of resource that IAM is asked about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Question {
    /// As `ivs:GetChannel`.
    pub actions: Vec<&'static str>,
    /// An ARN, in which `*` stands for itself: policies that are about all of a kind match it.
    pub resource: String,
}

/// Why IAM could not tell what the credentials may do.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SimulationError {
    /// There are no credentials, or AWS STS does not know them.
    #[error("whose the credentials are, AWS STS could not tell: {reason}")]
    Identity {
        /// What happened.
        reason: String,
    },
    /// IAM simulates the policies of users and roles.
    #[error(
        "IAM can tell this of a user or a role, and the credentials are those of {arn}; use a user's \
         or a role's"
    )]
    OtherPrincipal {
        /// Whose they are.
        arn: String,
    },
    /// The credentials may not ask.
    #[error(
        "IAM denied the question ({code}): {message}. Allow iam:SimulatePrincipalPolicy and \
         iam:GetRole on the role or user itself, or leave out --simulate"
    )]
    Denied {
        /// The error code on the wire.
        code: String,
        /// AWS's own sentence.
        message: String,
    },
    /// IAM refused the question for another reason.
    #[error("IAM refused the question ({code}): {message}")]
    Refused {
        /// The error code on the wire.
        code: String,
        /// AWS's own sentence.
        message: String,
    },
    /// IAM could not be asked, or its answer not be read.
    #[error("IAM cannot be asked: {reason}")]
    Unavailable {
        /// What happened.
        reason: String,
    },
}

impl SimulationError {
    fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into() }
    }

    /// [`IvsError`] speaks of IVS where it says who failed.
    fn identity(error: &IvsError) -> Self {
        let reason = match error {
            IvsError::Unavailable { reason } => reason.clone(),
            IvsError::TimedOut => "it did not answer in time".to_owned(),
            IvsError::Throttled => "it throttles this account's calls".to_owned(),
            IvsError::Denied { code, message } => format!("it denied the call ({code}): {message}"),
            IvsError::NoCredentials
            | IvsError::NotFound
            | IvsError::Conflict { .. }
            | IvsError::QuotaExceeded { .. }
            | IvsError::Invalid { .. } => error.to_string(),
        };
        Self::Identity { reason }
    }

    fn is_no_such_entity(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == "NoSuchEntity")
    }
}

impl IvsRegions {
    /// What IAM says of each action: whether the policies of the credentials' user or role allow it.
    /// An action that it says nothing of is absent.
    ///
    /// # Errors
    ///
    /// See [`SimulationError`].
    pub async fn simulate(
        &self,
        questions: &[Question],
        now: Timestamp,
    ) -> Result<BTreeMap<String, bool>, SimulationError> {
        let aws = self.aws();
        let identity = regions::caller_identity(aws).await;
        let identity = identity.map_err(|error| SimulationError::identity(&error))?;
        let principal: Principal = identity.arn().unwrap_or_default().parse()?;
        let iam = Iam::new(aws, now).await?;
        let mut arn = principal.arn();
        let mut decisions = BTreeMap::new();
        for question in questions {
            let mut told = iam.simulate(&arn, question).await;
            if let (Err(error), Principal::Role { name, .. }) = (&told, &principal)
                && error.is_no_such_entity()
            {
                // The role has a path, which the name of its session leaves out.
                arn = iam.role_arn(name).await?;
                told = iam.simulate(&arn, question).await;
            }
            decisions.extend(told?);
        }
        Ok(decisions)
    }
}

/// Whose policies count.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Principal {
    User { arn: String },
    Role { account: String, name: String },
}

impl Principal {
    /// The ARN of a user, or of a role that has no path.
    fn arn(&self) -> String {
        match self {
            Self::User { arn } => arn.clone(),
            Self::Role { account, name } => format!("arn:aws:iam::{account}:role/{name}"),
        }
    }
}

impl FromStr for Principal {
    type Err = SimulationError;

    /// From what STS calls the caller.
    fn from_str(arn: &str) -> Result<Self, SimulationError> {
        let other = || SimulationError::OtherPrincipal { arn: arn.to_owned() };
        let mut parts = arn.splitn(6, ':').skip(2);
        let (service, _, account) = (parts.next(), parts.next(), parts.next());
        let resource = parts.next().unwrap_or_default();
        let (kind, name) = resource.split_once('/').ok_or_else(other)?;
        match (service, account, kind) {
            (Some("iam"), Some(_), "user") => Ok(Self::User { arn: arn.to_owned() }),
            (Some("sts"), Some(account), "assumed-role") => {
                let name = name.split('/').next().unwrap_or_default().to_owned();
                Ok(Self::Role { account: account.to_owned(), name })
            }
            _ => Err(other()),
        }
    }
}

/// IAM, with the credentials of this process.
struct Iam {
    endpoint: Endpoint,
}

impl Iam {
    async fn new(aws: &SdkConfig, now: Timestamp) -> Result<Self, SimulationError> {
        let none = || SimulationError::identity(&IvsError::NoCredentials);
        let provider = aws.credentials_provider().ok_or_else(none)?;
        let credentials = provider.provide_credentials().await.map_err(|_| none())?;
        Ok(Self { endpoint: Endpoint::new(aws, credentials, now)? })
    }

    /// `SimulatePrincipalPolicy`
    async fn simulate(
        &self,
        arn: &str,
        question: &Question,
    ) -> Result<BTreeMap<String, bool>, SimulationError> {
        let mut parameters = vec![
            ("PolicySourceArn".to_owned(), arn),
            ("ResourceArns.member.1".to_owned(), &*question.resource),
        ];
        let numbered = question.actions.iter().zip(1..);
        parameters.extend(
            numbered.map(|(action, number)| (format!("ActionNames.member.{number}"), *action)),
        );
        let answer = self.endpoint.call("SimulatePrincipalPolicy", &parameters).await?;
        answer::decisions(&answer).ok_or_else(unreadable)
    }

    /// `GetRole`: the role's ARN with its path.
    async fn role_arn(&self, name: &str) -> Result<String, SimulationError> {
        let answer = self.endpoint.call("GetRole", &[("RoleName".to_owned(), name)]).await?;
        answer::role_arn(&answer).ok_or_else(unreadable)
    }
}

fn unreadable() -> SimulationError {
    SimulationError::unavailable("its answer could not be read")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_counts_as_its_role_and_a_user_as_itself() {
        let session = "arn:aws:sts::123456789012:assumed-role/playback/i-0abc";
        let principal: Principal = session.parse().unwrap();
        assert_eq!(principal.arn(), "arn:aws:iam::123456789012:role/playback");
        let user = "arn:aws:iam::123456789012:user/ops/anna";
        assert_eq!(user.parse::<Principal>().unwrap().arn(), user);
    }

    #[test]
    fn whose_policies_cannot_be_simulated_is_named() {
        for arn in [
            "arn:aws:iam::123456789012:root",
            "arn:aws:sts::123456789012:federated-user/anna",
            "",
            "nonsense/user",
        ] {
            let error = arn.parse::<Principal>().unwrap_err();
            assert_eq!(error, SimulationError::OtherPrincipal { arn: arn.to_owned() });
        }
    }
}
