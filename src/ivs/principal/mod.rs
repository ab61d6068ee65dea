//! The identity of the credentials, and what IAM allows them.
//!
//! Only `keys doctor --simulate` uses it. It needs two operations of IAM, and the SDK's client for IAM, which has more
//! than 170, takes minutes to build. So the calls are made here: `query` signs a call with the SDK's signer and sends
//! it, and `answer` reads the XML.

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
    /// An ARN, in which `*` is a literal: policies for all resources of a kind match it.
    pub resource: String,
}

/// Why it is unknown what the credentials may do.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SimulationError {
    /// There are no credentials, or AWS STS does not know them.
    #[error("AWS STS could not return the identity of the credentials: {reason}")]
    Identity {
        /// What happened.
        reason: String,
    },
    /// IAM simulates the policies of users and roles.
    #[error(
        "IAM can simulate a user or a role, but these credentials belong to {arn}; use those of a user or a role"
    )]
    OtherPrincipal {
        /// Their owner.
        arn: String,
    },
    /// The credentials may not ask.
    #[error(
        "IAM denied the simulation ({code}): {message}. Allow iam:SimulatePrincipalPolicy and \
         iam:GetRole on the role or user itself, or omit --simulate"
    )]
    Denied {
        /// The error code on the wire.
        code: String,
        /// AWS's message.
        message: String,
    },
    /// IAM refused the simulation for another reason.
    #[error("IAM refused the simulation ({code}): {message}")]
    Refused {
        /// The error code on the wire.
        code: String,
        /// AWS's message.
        message: String,
    },
    /// IAM could not be called, or its answer not be read.
    #[error("IAM cannot be used: {reason}")]
    Unavailable {
        /// What happened.
        reason: String,
    },
}

impl SimulationError {
    fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into() }
    }

    /// The messages of [`IvsError`] name IVS.
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
    /// Returns for each action whether the policies of the credentials' user or role allow it, as IAM decides.
    /// An action without a decision is absent.
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
            let mut decided = iam.simulate(&arn, question).await;
            if let (Err(error), Principal::Role { name, .. }) = (&decided, &principal)
                && error.is_no_such_entity()
            {
                // The role has a path, which the ARN of its session omits.
                arn = iam.role_arn(name).await?;
                decided = iam.simulate(&arn, question).await;
            }
            decisions.extend(decided?);
        }
        Ok(decisions)
    }
}

/// The user or role whose policies are simulated.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Principal {
    User { arn: String },
    Role { account: String, name: String },
}

impl Principal {
    /// Returns the ARN of a user, or of a role without a path.
    fn arn(&self) -> String {
        match self {
            Self::User { arn } => arn.clone(),
            Self::Role { account, name } => format!("arn:aws:iam::{account}:role/{name}"),
        }
    }
}

impl FromStr for Principal {
    type Err = SimulationError;

    /// Parses the ARN of the caller as STS returns it.
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

/// Calls IAM with the credentials of this process.
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

    /// Calls `SimulatePrincipalPolicy`.
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

    /// Calls `GetRole`. Returns the role's ARN with its path.
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
    fn session_counts_as_its_role_and_user_as_itself() {
        let session = "arn:aws:sts::123456789012:assumed-role/playback/i-0abc";
        let principal: Principal = session.parse().unwrap();
        assert_eq!(principal.arn(), "arn:aws:iam::123456789012:role/playback");
        let user = "arn:aws:iam::123456789012:user/ops/anna";
        assert_eq!(user.parse::<Principal>().unwrap().arn(), user);
    }

    #[test]
    fn other_principals_are_named_in_the_error() {
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
