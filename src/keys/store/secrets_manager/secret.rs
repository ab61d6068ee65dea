//! One secret: the calls of AWS Secrets Manager that the store makes, in terms of versions and labels.

use std::{collections::HashMap, error::Error as StdError, fmt, time::Duration};

use aws_config::{SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_secretsmanager::{
    Client,
    config::StalledStreamProtectionConfig,
    error::{ProvideErrorMetadata, SdkError},
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use zeroize::Zeroizing;

use super::{STAGED_LABEL, SecretsManagerFault};
use crate::{
    ivs::arn::Region,
    keys::store::{DocumentFault, Revision, StoreError},
};

/// The label of the version that counts. AWS fixes the name.
const CURRENT_LABEL: &str = "AWSCURRENT";

/// As the AWS SDKs have it where nothing is configured.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3100);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// Of a call with all its attempts. A replacement makes six at most, which is a claim's minute; the
/// import that follows is begun only where enough of the claim is left.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(10);
/// Attempts of a call, the first included. Each call may be repeated: a version is made under an id
/// that the caller chose, and a label moves off the version that the caller names, or not at all.
const ATTEMPTS: u32 = 3;

/// A call that the store makes; its name is that of the IAM action, too.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Operation {
    /// `GetSecretValue`
    GetSecretValue,
    /// `DescribeSecret`
    DescribeSecret,
    /// `CreateSecret`
    CreateSecret,
    /// `PutSecretValue`
    PutSecretValue,
    /// `UpdateSecretVersionStage`
    UpdateSecretVersionStage,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// One secret in one region.
pub(super) struct Secret {
    client: Client,
    name: String,
    region: Region,
}

/// The value of the current version.
pub(super) struct Value {
    pub(super) revision: Revision,
    pub(super) text: Zeroizing<String>,
}

/// The labels of a secret that exists.
pub(super) struct Labels {
    /// The version that counts.
    pub(super) current: Option<Revision>,
    /// Whether any version has a label. The first version that is put has `AWSCURRENT` at once, so
    /// that a secret without a label is one without a version.
    pub(super) any: bool,
}

impl Secret {
    pub(super) fn new(client: Client, name: String, region: Region) -> Self {
        Self { client, name, region }
    }

    /// What it is, for people.
    pub(super) fn place(&self) -> String {
        format!("the secret {} in {}", self.name, self.region)
    }

    /// The value that counts; `None` without a secret, and without a version of that label.
    pub(super) async fn current(&self) -> Result<Option<Value>, StoreError> {
        let call = self
            .client
            .get_secret_value()
            .secret_id(&self.name)
            // Left out, it is the same; said, nobody has to know.
            .version_stage(CURRENT_LABEL)
            .send();
        let Some(answer) = self.found(Operation::GetSecretValue, call.await)? else {
            return Ok(None);
        };
        let not = |fault| StoreError::NotAKeyring { place: self.place(), fault };
        let text = match (answer.secret_string, answer.secret_binary) {
            (Some(text), _) => Zeroizing::new(text),
            (None, Some(_)) => return Err(not(DocumentFault::Binary)),
            (None, None) => return Err(not(DocumentFault::Empty)),
        };
        let revision = answer.version_id.as_deref().map(Revision::new).ok_or_else(|| {
            self.error(SecretsManagerFault::Unavailable {
                operation: Operation::GetSecretValue,
                reason: "its answer names no version".to_owned(),
            })
        })?;
        Ok(Some(Value { revision, text }))
    }

    /// Which versions have labels; `None` without a secret.
    pub(super) async fn labels(&self) -> Result<Option<Labels>, StoreError> {
        let call = self.client.describe_secret().secret_id(&self.name).send();
        let Some(answer) = self.found(Operation::DescribeSecret, call.await)? else {
            return Ok(None);
        };
        if answer.deleted_date.is_some() {
            let operation = Operation::DescribeSecret;
            return Err(self.error(SecretsManagerFault::WrongState { operation }));
        }
        Ok(Some(Labels::of(&answer.version_ids_to_stages.unwrap_or_default())))
    }

    /// Makes the secret with its first version; `false` where it exists with another.
    pub(super) async fn create(&self, version: &str, text: &str) -> Result<bool, StoreError> {
        let call = self
            .client
            .create_secret()
            .name(&self.name)
            .description("Playback key pairs of Amazon IVS, kept by ivs-playback-auth")
            .client_request_token(version)
            .secret_string(text)
            .send();
        match call.await {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some("ResourceExistsException") => Ok(false),
            Err(error) => Err(self.failed(Operation::CreateSecret, &error)),
        }
    }

    /// Adds a version that does not count yet, unless it is the secret's first.
    pub(super) async fn put(&self, version: &str, text: &str) -> Result<(), StoreError> {
        let call = self
            .client
            .put_secret_value()
            .secret_id(&self.name)
            .client_request_token(version)
            .version_stages(STAGED_LABEL)
            .secret_string(text)
            .send();
        call.await.map_err(|error| self.failed(Operation::PutSecretValue, &error))?;
        Ok(())
    }

    /// Makes `version` count instead of `previous`; refused where that is not what counts now.
    pub(super) async fn make_current(
        &self,
        version: &str,
        previous: Option<&Revision>,
    ) -> Result<(), StoreError> {
        let call = self
            .client
            .update_secret_version_stage()
            .secret_id(&self.name)
            .version_stage(CURRENT_LABEL)
            .move_to_version_id(version)
            .set_remove_from_version_id(previous.map(|it| it.as_str().to_owned()))
            .send();
        call.await.map_err(|error| self.failed(Operation::UpdateSecretVersionStage, &error))?;
        Ok(())
    }

    pub(super) fn error(&self, fault: SecretsManagerFault) -> StoreError {
        StoreError::SecretsManager { place: self.place(), fault }
    }

    fn failed<E>(&self, operation: Operation, error: &SdkError<E, HttpResponse>) -> StoreError
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        self.error(SecretsManagerFault::of(operation, error))
    }

    /// The answer about something that may not be there.
    fn found<T, E>(
        &self,
        operation: Operation,
        answer: Result<T, SdkError<E, HttpResponse>>,
    ) -> Result<Option<T>, StoreError>
    where
        E: ProvideErrorMetadata + StdError + 'static,
    {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.code() == Some("ResourceNotFoundException") => Ok(None),
            Err(error) => Err(self.failed(operation, &error)),
        }
    }
}

impl Labels {
    fn of(labels: &HashMap<String, Vec<String>>) -> Self {
        let is_current = |labels: &Vec<String>| labels.iter().any(|label| label == CURRENT_LABEL);
        Self {
            current: labels
                .iter()
                .find(|(_, labels)| is_current(labels))
                .map(|(version, _)| Revision::new(version)),
            any: labels.values().any(|labels| !labels.is_empty()),
        }
    }
}

/// A client of the region's Secrets Manager.
pub(super) fn connect(aws: &SdkConfig, region: &Region) -> Client {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build();
    let config = aws_sdk_secretsmanager::config::Builder::from(aws)
        .region(aws_config::Region::new(region.to_string()))
        .timeout_config(timeouts)
        // Exponential, with jitter.
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS))
        // Answers are small: the time-outs bound them, a throughput floor adds nothing.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build();
    Client::from_conf(config)
}
