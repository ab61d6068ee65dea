//! The regions that one process serves, and the AWS configuration behind them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use aws_config::{
    BehaviorVersion, SdkConfig, default_provider::region::DefaultRegionChain, retry::RetryConfig,
    timeout::TimeoutConfig,
};
use aws_credential_types::{Credentials, provider::ProvideCredentials};
use aws_sdk_ivs::config::StalledStreamProtectionConfig;
use tokio::sync::OnceCell;

use super::{
    Clocks, IvsError, RegionalIvs,
    arn::{AccountId, Region},
    endpoint::Endpoint,
    pacer::Pacers,
    region_name::{RegionNameError, parse_region},
    server_time::LastServerTime,
};
use crate::{clock::Moment, telemetry::Instruments};

/// The largest share of a time-out that connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// What to load the AWS configuration with, beyond what the environment and profiles say.
#[derive(Clone, Debug)]
pub struct AwsSettings {
    /// The regions to serve; empty means the region of the AWS configuration.
    pub regions: Vec<Region>,
    /// The only account whose credentials are accepted; `None` accepts any.
    pub account_id: Option<AccountId>,
    /// A profile other than the one that the environment names.
    pub profile: Option<String>,
    /// An endpoint for IVS, as `aws ivs --endpoint-url`. Other services keep theirs.
    pub endpoint_url: Option<String>,
    /// How long one attempt of a call may take.
    pub timeout: Duration,
}

/// Why no region can be served at all.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ConnectError {
    /// Neither our configuration nor AWS's names a region.
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
        /// What `ivs.account_id` demands.
        expected: AccountId,
        /// Whose credentials were found.
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

/// Finds the regions to serve: the configured ones, else that of the environment, the profile or the
/// instance.
///
/// # Errors
///
/// No region is configured anywhere, or that of the AWS configuration is not one.
pub async fn resolve_regions(settings: &AwsSettings) -> Result<Vec<Region>, ConnectError> {
    // The instance metadata, which takes seconds where there is none, is asked last.
    if !settings.regions.is_empty() {
        return Ok(settings.regions.clone());
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
    /// Nothing is called over the network but what finding a region may need.
    ///
    /// # Errors
    ///
    /// No region is configured anywhere.
    pub async fn connect(
        settings: AwsSettings,
        instruments: &Instruments,
    ) -> Result<Self, ConnectError> {
        let regions = resolve_regions(&settings).await?;
        let mut loader = aws_config::defaults(BehaviorVersion::latest());
        if let Some(profile) = &settings.profile {
            loader = loader.profile_name(profile);
        }
        if let Some(first) = regions.first() {
            loader = loader.region(aws_config::Region::new(first.to_string()));
        }
        let aws = loader.load().await;
        Ok(Self(Arc::new(Inner::new(aws, regions, &settings, true, instruments))))
    }

    /// A single region of an emulator in this process, behind `endpoint_url`, with fixed credentials.
    /// Reads no environment variable and no profile. Calls of key pairs and lists are not paced, since
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
            // Plain HTTP: a machine without root certificates can run it too.
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .build();
        let settings = AwsSettings {
            regions: vec![region],
            account_id: Some(account_id),
            profile: None,
            endpoint_url: Some(endpoint_url.to_owned()),
            timeout,
        };
        Self(Arc::new(Inner::new(aws, settings.regions.clone(), &settings, false, instruments)))
    }

    /// The endpoint of `region`, if it is served.
    pub fn region(&self, region: &Region) -> Option<&RegionalIvs> {
        self.0.regions.get(region)
    }

    /// Returns this process's clock at `now`, and what is known of IVS's clock in the region.
    pub fn clocks(&self, region: &Region, now: Moment) -> Clocks {
        self.region(region).map_or_else(|| Clocks::new(now, None), |ivs| ivs.clocks(now))
    }

    /// The regions served, in the order of the configuration.
    pub fn names(&self) -> &[Region] {
        &self.0.order
    }

    /// Every region's endpoint, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &RegionalIvs> {
        self.0.order.iter().filter_map(|region| self.0.regions.get(region))
    }

    /// The AWS configuration behind the clients, for clients of other services. It knows nothing of
    /// [`AwsSettings::endpoint_url`].
    pub fn aws(&self) -> &SdkConfig {
        &self.0.aws
    }

    /// The account of the credentials: what they or an ARN in an answer of IVS tell, else AWS STS
    /// (unless IVS has an endpoint of its own, which STS would not know), else `ivs.account_id`.
    /// Found once, then remembered.
    ///
    /// # Errors
    ///
    /// Nothing that tells the account could be reached.
    pub async fn account(&self) -> Result<AccountId, IvsError> {
        self.0.account.get_or_try_init(|| self.0.find_account()).await.cloned()
    }

    /// The account, as far as it is known without asking anyone.
    pub fn known_account(&self) -> Option<&AccountId> {
        self.0.account.get().or(self.0.expected_account.as_ref())
    }

    /// Refuses credentials of another account than `ivs.account_id`, as far as they can be told
    /// without a call.
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
                // Somebody else may have found it since; it is the same one.
                let _ = self.0.account.set(actual);
                Ok(())
            }
            // Nothing to compare with yet: IVS itself refuses what is not its caller's.
            Ok(None) | Err(_) => Ok(()),
        }
    }
}

impl Inner {
    fn new(
        aws: SdkConfig,
        order: Vec<Region>,
        settings: &AwsSettings,
        has_quotas: bool,
        instruments: &Instruments,
    ) -> Self {
        let regional = |region: &Region| {
            let server_time = LastServerTime::default();
            let endpoint = Endpoint::default();
            let config = client_config(&aws, region, settings)
                .interceptor(server_time.reader(instruments.clock.clone()))
                .interceptor(endpoint.clone());
            let client = aws_sdk_ivs::Client::from_conf(config.build());
            let (region, timeout) = (region.clone(), settings.timeout);
            let (pacers, instruments) = (Pacers::new(has_quotas), instruments.clone());
            RegionalIvs::new(region, client, pacers, timeout, endpoint, server_time, instruments)
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

    /// The account that the credentials belong to, whatever the configuration expects.
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

    /// Whether IVS is somewhere else than at AWS: an emulator, which STS knows nothing of.
    fn has_own_ivs_endpoint(&self) -> bool {
        self.endpoint_url.is_some()
            || self.aws.endpoint_url().is_some()
            || self.aws.service_config().is_some_and(|config| {
                let key = aws_types::service_config::ServiceConfigKey::builder()
                    .service_id("ivs")
                    .env("AWS_ENDPOINT_URL")
                    .profile("endpoint_url")
                    .build();
                key.is_ok_and(|key| config.load_config(key).is_some())
            })
    }

    async fn account_from_sts(&self) -> Result<AccountId, IvsError> {
        let identity = caller_identity(&self.aws).await?;
        identity
            .account()
            .and_then(|account| account.parse().ok())
            .ok_or_else(|| IvsError::malformed("tells no account"))
    }
}

/// Whose the credentials are, asked of AWS STS.
pub(super) async fn caller_identity(
    aws: &SdkConfig,
) -> Result<aws_sdk_sts::operation::get_caller_identity::GetCallerIdentityOutput, IvsError> {
    let config =
        aws_sdk_sts::config::Builder::from(aws).timeout_config(timeouts(CONNECT_TIMEOUT)).build();
    let call = aws_sdk_sts::Client::from_conf(config).get_caller_identity().send();
    call.await.map_err(|error| IvsError::from_sdk(&error))
}

/// Whatever IVS lists belongs to the caller.
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
    settings: &AwsSettings,
) -> aws_sdk_ivs::config::Builder {
    let mut config = aws_sdk_ivs::config::Builder::from(aws);
    if let Some(endpoint_url) = &settings.endpoint_url {
        config = config.endpoint_url(endpoint_url);
    }
    config
        .region(aws_config::Region::new(region.to_string()))
        .timeout_config(timeouts(settings.timeout))
        .retry_config(RetryConfig::disabled())
        // Answers are small: the time-outs bound them, a throughput floor adds nothing.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
}

fn timeouts(attempt: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(attempt.min(CONNECT_TIMEOUT))
        .operation_attempt_timeout(attempt)
        .operation_timeout(attempt)
        .build()
}
