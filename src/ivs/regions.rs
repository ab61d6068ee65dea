//! The regions that one process serves, and the AWS configuration behind them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aws_config::{
    BehaviorVersion, SdkConfig, default_provider::region::DefaultRegionChain, retry::RetryConfig,
    timeout::TimeoutConfig,
};
use aws_credential_types::{Credentials, provider::ProvideCredentials};
use aws_sdk_ivs::config::StalledStreamProtectionConfig;
use aws_types::service_config::ServiceConfigKey;
use tokio::sync::OnceCell;

use super::{
    Clocks, IvsError, RegionalIvs, Settings,
    arn::{AccountId, Region},
    observer::Observer,
    region_name::{RegionNameError, parse_region},
};
use crate::{clock::Moment, telemetry::Instruments};

/// The longest time that connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Why no region can be served.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ConnectError {
    /// Neither this configuration nor that of AWS names a region.
    #[error(
        "no AWS region: set ivs.regions, pass --region, set AWS_REGION, or name a region in the \
         AWS profile"
    )]
    NoRegion,
    /// The AWS configuration names something that cannot be a region.
    #[error(
        "the region of the AWS configuration {0}; set ivs.regions, or correct AWS_REGION or the profile"
    )]
    BadRegion(#[from] RegionNameError),
    /// The credentials are of another account than `ivs.account_id`.
    #[error(
        "the AWS credentials belong to account {actual}, but ivs.account_id is {expected}; use the \
         credentials of {expected} or change ivs.account_id"
    )]
    OtherAccount {
        /// The value of `ivs.account_id`.
        expected: AccountId,
        /// The account of the credentials.
        actual: AccountId,
    },
}

/// Every region that this process serves. Cheap to clone.
#[derive(Clone, Debug)]
pub struct IvsRegions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    regions: BTreeMap<Region, RegionalIvs>,
    /// In the order of the configuration.
    order: Vec<Region>,
    expected_account: Option<AccountId>,
    /// Without `endpoint_url`, which is for IVS alone.
    aws: SdkConfig,
    endpoint_url: Option<String>,
    account: OnceCell<AccountId>,
}

/// Returns the regions to serve: the configured ones, otherwise that of the environment, the profile or the
/// instance.
///
/// # Errors
///
/// No region is configured anywhere, or that of the AWS configuration is not one.
pub async fn resolve_regions(settings: &Settings) -> Result<Vec<Region>, ConnectError> {
    // The chain ends with the instance metadata, which takes seconds if there is none.
    let chosen = settings.chosen_regions();
    if !chosen.is_empty() {
        return Ok(chosen);
    }
    let mut chain = DefaultRegionChain::builder();
    if let Some(profile) = &settings.profile {
        chain = chain.profile_name(profile);
    }
    let region = chain.build().region().await.ok_or(ConnectError::NoRegion)?;
    Ok(vec![parse_region(region.as_ref())?])
}

impl IvsRegions {
    /// Loads the standard AWS configuration: environment, profile, container or instance role.
    ///
    /// Makes no network calls except those that finding a region may need.
    ///
    /// # Errors
    ///
    /// No region is configured anywhere.
    pub async fn connect(
        settings: &Settings,
        instruments: &Instruments,
    ) -> Result<Self, ConnectError> {
        let regions = resolve_regions(settings).await?;
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        if let Some(profile) = &settings.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(first) = regions.first() {
            loader = loader.region(aws_config::Region::new(first.to_string()));
        }
        let aws = loader.load().await;
        Ok(Self(Arc::new(Inner::new(aws, regions, settings, true, instruments))))
    }

    /// Returns a single region of an emulator in this process, behind `endpoint_url`, with fixed credentials.
    /// Reads no environment variable and no profile. Calls for key pairs and lists are not paced, because
    /// such an emulator has no quotas.
    pub fn fixed(
        endpoint_url: &str,
        region: Region,
        account_id: AccountId,
        access_key_id: &str,
        secret_access_key: &str,
        timeout: Duration,
        instruments: &Instruments,
    ) -> Self {
        let credentials = Credentials::builder()
            .access_key_id(access_key_id)
            .secret_access_key(secret_access_key)
            .provider_name("fixed")
            .account_id(account_id.as_str())
            .build();
        let aws = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(aws_config::Region::new(region.to_string()))
            .credentials_provider(aws_credential_types::provider::SharedCredentialsProvider::new(
                credentials,
            ))
            .sleep_impl(aws_smithy_async::rt::sleep::TokioSleep::new())
            .time_source(aws_smithy_async::time::SystemTimeSource::new())
            // Plain HTTP works on a machine without root certificates, too.
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        let settings = Settings {
            regions: vec![region],
            account_id: Some(account_id),
            timeout,
            region: None,
            profile: None,
            endpoint_url: Some(endpoint_url.to_owned()),
        };
        Self(Arc::new(Inner::new(aws, settings.regions.clone(), &settings, false, instruments)))
    }

    /// Returns the IVS of `region`, if it is served.
    pub fn region(&self, region: &Region) -> Option<&RegionalIvs> {
        self.0.regions.get(region)
    }

    /// Returns this process's clock at `now`, and what is known of IVS's clock in the region.
    pub fn clocks(&self, region: &Region, now: Moment) -> Clocks {
        self.region(region).map_or_else(|| Clocks::new(now, None), |ivs| ivs.clocks(now))
    }

    /// Returns the regions served, in the order of the configuration.
    pub fn names(&self) -> &[Region] {
        &self.0.order
    }

    /// Returns the IVS of every region, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &RegionalIvs> {
        self.0.order.iter().filter_map(|region| self.0.regions.get(region))
    }

    /// Returns the AWS configuration behind the clients, for clients of other services. It does not contain
    /// [`Settings::endpoint_url`].
    pub fn aws(&self) -> &SdkConfig {
        &self.0.aws
    }

    /// Returns the account of the credentials, from themselves, from an ARN in an answer of IVS, from AWS STS
    /// (unless IVS has an endpoint of its own, whose account STS does not know), or from `ivs.account_id`.
    /// It is remembered.
    ///
    /// # Errors
    ///
    /// None of these could be reached.
    pub async fn account(&self) -> Result<AccountId, IvsError> {
        self.0.account.get_or_try_init(|| self.0.find_account()).await.cloned()
    }

    /// Returns the account if it is known without a call.
    pub fn known_account(&self) -> Option<&AccountId> {
        self.0.account.get().or(self.0.expected_account.as_ref())
    }

    /// Refuses credentials of another account than `ivs.account_id`, if their account can be found.
    ///
    /// # Errors
    ///
    /// [`ConnectError::OtherAccount`].
    pub async fn check_account(&self) -> Result<(), ConnectError> {
        let Some(expected) = &self.0.expected_account else { return Ok(()) };
        match self.0.account_of_caller().await {
            Ok(Some(actual)) if actual != *expected => {
                Err(ConnectError::OtherAccount { expected: expected.clone(), actual })
            }
            Ok(Some(actual)) => {
                // Another call may have found it since; it is the same one.
                let _ = self.0.account.set(actual);
                Ok(())
            }
            // IVS itself refuses what does not belong to its caller.
            Ok(None) | Err(_) => Ok(()),
        }
    }
}

impl Inner {
    fn new(
        aws: SdkConfig,
        order: Vec<Region>,
        settings: &Settings,
        has_quotas: bool,
        instruments: &Instruments,
    ) -> Self {
        let regional = |region: &Region| {
            let observer = Observer::new(instruments.clock.clone());
            let config = client_config(&aws, region, settings).interceptor(observer.clone());
            let client = aws_sdk_ivs::Client::from_conf(config.build());
            let (region, timeout) = (region.clone(), settings.timeout);
            RegionalIvs::new(region, client, has_quotas, timeout, observer, instruments.clone())
        };
        let regions = order.iter().map(|region| (region.clone(), regional(region))).collect();
        Self {
            regions,
            order,
            expected_account: settings.account_id.clone(),
            aws,
            endpoint_url: settings.endpoint_url.clone(),
            account: OnceCell::new(),
        }
    }

    async fn find_account(&self) -> Result<AccountId, IvsError> {
        let found = self.account_of_caller().await;
        match (found, &self.expected_account) {
            (Ok(Some(account)), _) => Ok(account),
            (Ok(None) | Err(_), Some(expected)) => Ok(expected.clone()),
            (Err(error), None) => Err(error),
            (Ok(None), None) => Err(IvsError::Unavailable {
                reason: "nothing tells the account of the credentials yet; set ivs.account_id"
                    .to_owned(),
            }),
        }
    }

    /// Returns the account that the credentials belong to, whatever the configuration expects.
    async fn account_of_caller(&self) -> Result<Option<AccountId>, IvsError> {
        if let Some(provider) = self.aws.credentials_provider() {
            let credentials =
                provider.provide_credentials().await.map_err(|_| IvsError::NoCredentials)?;
            if let Some(account) = credentials.account_id() {
                return Ok(account.as_str().parse().ok());
            }
        }
        let mut failure = None;
        if let Some(ivs) = self.order.first().and_then(|region| self.regions.get(region)) {
            match account_in_listings(ivs).await {
                Ok(Some(account)) => return Ok(Some(account)),
                Ok(None) => {}
                Err(error) => failure = Some(error),
            }
        }
        if !self.has_own_ivs_endpoint() {
            match self.account_from_sts().await {
                Ok(account) => return Ok(Some(account)),
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(None), Err)
    }

    /// Returns whether IVS is an emulator, which STS does not know.
    fn has_own_ivs_endpoint(&self) -> bool {
        self.endpoint_url.is_some() || own_endpoint(&self.aws, "ivs").is_some()
    }

    async fn account_from_sts(&self) -> Result<AccountId, IvsError> {
        let identity = caller_identity(&self.aws).await?;
        identity
            .account()
            .and_then(|account| account.parse().ok())
            .ok_or_else(|| IvsError::malformed("contains no account"))
    }
}

/// Returns the endpoint that the environment or a profile names for a service, or for all services.
pub(super) fn own_endpoint(aws: &SdkConfig, service_id: &str) -> Option<String> {
    let key = ServiceConfigKey::builder()
        .service_id(service_id)
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build();
    let for_service = key.ok().and_then(|key| aws.service_config()?.load_config(key));
    for_service.or_else(|| aws.endpoint_url().map(str::to_owned))
}

/// Calls AWS STS for the identity of the credentials.
pub(super) async fn caller_identity(
    aws: &SdkConfig,
) -> Result<aws_sdk_sts::operation::get_caller_identity::GetCallerIdentityOutput, IvsError> {
    let config =
        aws_sdk_sts::config::Builder::from(aws).timeout_config(timeouts(CONNECT_TIMEOUT)).build();
    let call = aws_sdk_sts::Client::from_conf(config).get_caller_identity().send();
    call.await.map_err(|error| IvsError::from_sdk(&error))
}

/// Returns the account in the lists of IVS, which belong to the caller.
async fn account_in_listings(ivs: &RegionalIvs) -> Result<Option<AccountId>, IvsError> {
    if let Some(pair) = ivs.list_playback_key_pairs().await?.first() {
        return Ok(Some(pair.arn.account().clone()));
    }
    let (channels, _) = ivs.list_channels(None).await?;
    Ok(channels.first().map(|channel| channel.arn.account().clone()))
}

fn client_config(
    aws: &SdkConfig,
    region: &Region,
    settings: &Settings,
) -> aws_sdk_ivs::config::Builder {
    let mut config = aws_sdk_ivs::config::Builder::from(aws);
    if let Some(endpoint_url) = &settings.endpoint_url {
        config = config.endpoint_url(endpoint_url);
    }
    config
        .region(aws_config::Region::new(region.to_string()))
        .timeout_config(timeouts(settings.timeout))
        .retry_config(RetryConfig::disabled())
        // Answers are small and bounded by the time-outs.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
}

fn timeouts(attempt: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(attempt.min(CONNECT_TIMEOUT))
        .operation_attempt_timeout(attempt)
        .operation_timeout(attempt)
        .build()
}
