//! The IVS of one region, with the operations that playback authorization needs.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use aws_sdk_ivs::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    types,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::{
    IvsError,
    arn::{ChannelArn, PlaybackKeyArn, Region},
    dispatch::{ATTEMPTS, Pacer},
    observer::Observer,
    server_time::{Clocks, ServerTime},
};
use crate::{
    clock::Moment,
    telemetry::{Instruments, Outage},
};

/// The IVS endpoint of one region. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RegionalIvs {
    region: Region,
    /// Without the SDK's retries: an attempt that nothing here sees would break the pace.
    client: Client,
    pacers: Arc<Pacers>,
    /// How long a paced call may take with all its attempts.
    limit: Duration,
    observer: Observer,
    /// Why the last call failed, if IVS itself was the reason.
    outage: Arc<ArcSwapOption<IvsError>>,
    /// Decides when to log that.
    logged: Arc<Outage>,
    instruments: Instruments,
}

/// The operations without batches.
#[derive(Debug)]
struct Pacers {
    list_channels: Pacer,
    list_streams: Pacer,
    list_playback_key_pairs: Pacer,
    get_playback_key_pair: Pacer,
    import_playback_key_pair: Pacer,
    delete_playback_key_pair: Pacer,
}

impl Pacers {
    /// Returns pacers for IVS's quotas in calls per second, without limits if `has_quotas` is false. One call per
    /// second is left to the rest of the account, such as a command beside `serve`.
    fn new(has_quotas: bool) -> Self {
        let pacer = |operation, quota: u32| {
            Pacer::new(operation, f64::from(if has_quotas { quota - 1 } else { u32::MAX }))
        };
        Self {
            list_channels: pacer("ListChannels", 5),
            list_streams: pacer("ListStreams", 5),
            list_playback_key_pairs: pacer("ListPlaybackKeyPairs", 3),
            get_playback_key_pair: pacer("GetPlaybackKeyPair", 3),
            import_playback_key_pair: pacer("ImportPlaybackKeyPair", 3),
            delete_playback_key_pair: pacer("DeletePlaybackKeyPair", 3),
        }
    }
}

/// A channel as lookups need it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Channel {
    /// Its ARN.
    pub arn: ChannelArn,
    /// Its name; empty if it has none.
    pub name: String,
    /// Whether playback requires a token: a *private* channel.
    pub authorized: bool,
    /// `BASIC`, `STANDARD`, `ADVANCED_SD` or `ADVANCED_HD`, as IVS returns it.
    pub channel_type: String,
    /// `LOW` or `NORMAL`.
    pub latency_mode: String,
    /// The playback URL, without a token.
    pub playback_url: String,
}

/// A channel as lists return it: without a playback URL.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct ChannelSummary {
    /// Its ARN.
    pub arn: ChannelArn,
    /// Its name; empty if it has none.
    pub name: String,
    /// Whether playback requires a token.
    pub authorized: bool,
}

/// The response of `BatchGetChannel`. It need not contain every ARN of the request.
#[derive(Clone, Debug, Default)]
pub struct BatchGetChannel {
    /// The channels that were found.
    pub channels: Vec<Channel>,
    /// One entry for each ARN that failed.
    pub errors: Vec<BatchError>,
}

/// Why one item of a batch failed. Which codes IVS uses is not documented.
#[derive(Clone, Debug)]
pub struct BatchError {
    /// The ARN of the request, as IVS repeats it.
    pub arn: String,
    /// IVS's code.
    pub code: String,
    /// IVS's message.
    pub message: String,
}

/// Which sessions of a viewer end. Its `Debug` does not show the viewer.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct ViewerSession {
    /// The channel.
    pub channel: ChannelArn,
    /// The viewer, 1 to 40 characters.
    pub viewer_id: String,
    /// Sessions up to this version end, 0 to 2147483647.
    pub versions_up_to: i32,
}

impl fmt::Debug for ViewerSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ViewerSession").field("channel", &self.channel).finish_non_exhaustive()
    }
}

/// Why one session of `BatchStartViewerSessionRevocation` was not revoked. Which codes IVS uses is
/// not documented. Its `Debug` does not show the viewer.
#[derive(Clone, Eq, PartialEq)]
pub struct ViewerSessionError {
    /// The channel, as IVS repeats it.
    pub channel: String,
    /// The viewer, as IVS repeats it.
    pub viewer_id: String,
    /// IVS's code.
    pub code: String,
}

impl fmt::Debug for ViewerSessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ViewerSessionError").field("code", &self.code).finish_non_exhaustive()
    }
}

/// A playback key pair as lists return it: without its fingerprint.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyPairSummary {
    /// Its ARN.
    pub arn: PlaybackKeyArn,
    /// Its name; empty if it has none.
    pub name: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl From<KeyPair> for KeyPairSummary {
    fn from(pair: KeyPair) -> Self {
        let KeyPair { arn, name, fingerprint: _, tags } = pair;
        Self { arn, name, tags }
    }
}

/// A playback key pair. IVS never returns the public key itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyPair {
    /// Its ARN.
    pub arn: PlaybackKeyArn,
    /// Its name; empty if it has none.
    pub name: String,
    /// MD5 of the `SubjectPublicKeyInfo`, in hexadecimal with colons.
    pub fingerprint: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl RegionalIvs {
    /// Returns the IVS of `region`. `observer` observes `client`, and `timeout` is that of one attempt of a call.
    pub(super) fn new(
        region: Region,
        client: Client,
        has_quotas: bool,
        timeout: Duration,
        observer: Observer,
        instruments: Instruments,
    ) -> Self {
        let limit = timeout.saturating_mul(ATTEMPTS);
        let pacers = Arc::new(Pacers::new(has_quotas));
        let (outage, logged) = (Arc::default(), Arc::default());
        Self { region, client, pacers, limit, observer, outage, logged, instruments }
    }

    /// Returns the region.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Returns why the last call failed, if IVS or the connection to it was the reason; `None` after a call that
    /// was answered.
    pub fn outage(&self) -> Option<Arc<IvsError>> {
        self.outage.load_full()
    }

    /// Returns the clock of IVS as its last answer showed it, even an error; `None` before the first answer.
    pub fn server_time(&self) -> Option<ServerTime> {
        self.observer.server_time()
    }

    /// Returns our clock at `now`, and what is known of IVS's.
    pub fn clocks(&self, now: Moment) -> Clocks {
        Clocks::new(now, self.server_time())
    }

    /// Waits for a call, and records how it ended. `call` is lazy, so that all of it is timed.
    async fn recorded<T, E>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, IvsError>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let Instruments { clock, metrics } = &self.instruments;
        let started = clock.monotonic();
        // On the heap: the SDK's futures are large, and callers would hold this one twice.
        let outcome = Box::pin(call).await;
        let outcome =
            outcome.map_err(|error| IvsError::from_sdk(&error).at(self.observer.endpoint()));
        let took = clock.monotonic().saturating_sub(started);
        metrics.ivs_call(operation, outcome.as_ref().map_or_else(IvsError::kind, |_| "ok"), took);
        let region = &self.region;
        match &outcome {
            Err(error) if error.is_outage() => {
                self.outage.store(Some(Arc::new(error.clone())));
                if self.logged.begins(clock.monotonic()) {
                    let event = "ivs_failing";
                    tracing::warn!(event, %region, operation, %error, "calls to Amazon IVS fail");
                }
            }
            Ok(_) | Err(_) => {
                // Written only when something changes: lookups run on many cores.
                if self.outage.load().is_some() {
                    self.outage.store(None);
                }
                if self.logged.ends(clock.monotonic()) {
                    let event = "ivs_recovered";
                    tracing::info!(event, %region, operation, "calls to Amazon IVS work again");
                }
            }
        }
        outcome
    }

    /// Makes a call within the quota of its operation, and again after a transient failure.
    async fn paced<T, E, F>(&self, pacer: &Pacer, call: impl Fn() -> F) -> Result<T, IvsError>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
        F: Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    {
        pacer.call_with_retries(self.limit, || self.recorded(pacer.operation, call())).await
    }

    /// Calls `GetChannel`, without retries.
    pub async fn get_channel(&self, arn: &ChannelArn) -> Result<Channel, IvsError> {
        let call = self.client.get_channel().arn(arn.as_str()).send();
        let answer = self.recorded("GetChannel", call).await?;
        let channel = answer.channel.ok_or_else(|| IvsError::malformed("holds no channel"))?;
        channel_from(channel)
    }

    /// Calls `BatchGetChannel` for 1 to 50 channels, without retries.
    pub async fn batch_get_channel(
        &self,
        arns: &[ChannelArn],
    ) -> Result<BatchGetChannel, IvsError> {
        let call = self
            .client
            .batch_get_channel()
            .set_arns(Some(arns.iter().map(ToString::to_string).collect()))
            .send();
        let answer = self.recorded("BatchGetChannel", call).await?;
        let errors = answer.errors.unwrap_or_default().into_iter().map(|error| BatchError {
            arn: error.arn.unwrap_or_default(),
            code: error.code.unwrap_or_default(),
            message: error.message.unwrap_or_default(),
        });
        Ok(BatchGetChannel {
            // One unreadable item must not fail the others; it counts as not answered.
            channels: answer
                .channels
                .unwrap_or_default()
                .into_iter()
                .filter_map(|channel| channel_from(channel).ok())
                .collect(),
            errors: errors.collect(),
        })
    }

    /// Calls `StartViewerSessionRevocation`, without retries. IVS does not check that the viewer or the
    /// version exists.
    pub async fn start_viewer_session_revocation(
        &self,
        session: &ViewerSession,
    ) -> Result<(), IvsError> {
        let call = self
            .client
            .start_viewer_session_revocation()
            .channel_arn(session.channel.as_str())
            .viewer_id(&session.viewer_id)
            .viewer_session_versions_less_than_or_equal_to(session.versions_up_to)
            .send();
        self.recorded("StartViewerSessionRevocation", call).await.map(|_| ())
    }

    /// Calls `BatchStartViewerSessionRevocation` for 1 to 20 sessions, without retries. Returns those that were not
    /// revoked.
    pub async fn batch_start_viewer_session_revocation(
        &self,
        sessions: &[ViewerSession],
    ) -> Result<Vec<ViewerSessionError>, IvsError> {
        let shape = |session: &ViewerSession| {
            types::BatchStartViewerSessionRevocationViewerSession::builder()
                .channel_arn(session.channel.as_str())
                .viewer_id(&session.viewer_id)
                .viewer_session_versions_less_than_or_equal_to(session.versions_up_to)
                .build()
                .map_err(|_| IvsError::Invalid { message: "it lacks a member".to_owned() })
        };
        let sessions = sessions.iter().map(shape).collect::<Result<_, _>>()?;
        let call = self
            .client
            .batch_start_viewer_session_revocation()
            .set_viewer_sessions(Some(sessions))
            .send();
        let answer = self.recorded("BatchStartViewerSessionRevocation", call).await?;
        let errors =
            answer.errors.unwrap_or_default().into_iter().map(|error| ViewerSessionError {
                channel: error.channel_arn,
                viewer_id: error.viewer_id,
                code: error.code.unwrap_or_default(),
            });
        Ok(errors.collect())
    }

    /// Calls `ListChannels` for a page of at most 100. Returns the channels, and the token of the next page.
    pub async fn list_channels(
        &self,
        next_token: Option<String>,
    ) -> Result<(Vec<ChannelSummary>, Option<String>), IvsError> {
        let call = self.client.list_channels().max_results(100).set_next_token(next_token);
        let answer = self.paced(&self.pacers.list_channels, || call.clone().send()).await?;
        let channels = answer
            .channels
            .into_iter()
            .map(|summary| {
                Ok(ChannelSummary {
                    arn: channel_arn(summary.arn)?,
                    name: summary.name.unwrap_or_default(),
                    authorized: summary.authorized,
                })
            })
            .collect::<Result<_, IvsError>>()?;
        Ok((channels, answer.next_token.filter(|token| !token.is_empty())))
    }

    /// Calls `ListStreams` for a page of at most 100. Returns the channels that are live, and the token of the next
    /// page.
    pub async fn list_streams(
        &self,
        next_token: Option<String>,
    ) -> Result<(Vec<ChannelArn>, Option<String>), IvsError> {
        let call = self.client.list_streams().max_results(100).set_next_token(next_token);
        let answer = self.paced(&self.pacers.list_streams, || call.clone().send()).await?;
        let streams = answer.streams.into_iter().map(|stream| channel_arn(stream.channel_arn));
        let next_token = answer.next_token.filter(|token| !token.is_empty());
        Ok((streams.collect::<Result<_, _>>()?, next_token))
    }

    /// Calls `PutMetadata`, without retries, because a second try could show viewers the metadata twice. A channel
    /// that is not live is [`IvsError::Conflict`].
    pub async fn put_metadata(&self, arn: &ChannelArn, metadata: &str) -> Result<(), IvsError> {
        let call = self.client.put_metadata();
        let call = call.channel_arn(arn.as_str()).metadata(metadata).send();
        self.recorded("PutMetadata", call).await.map(|_| ())
    }

    /// Calls `ListPlaybackKeyPairs` for all pages.
    pub async fn list_playback_key_pairs(&self) -> Result<Vec<KeyPairSummary>, IvsError> {
        let mut pairs = Vec::new();
        let mut next_token = None;
        loop {
            let call = self.client.list_playback_key_pairs().set_next_token(next_token);
            let pacer = &self.pacers.list_playback_key_pairs;
            let answer = self.paced(pacer, || call.clone().send()).await?;
            for summary in answer.key_pairs {
                pairs.push(KeyPairSummary {
                    arn: key_arn(summary.arn)?,
                    name: summary.name.unwrap_or_default(),
                    tags: summary.tags.unwrap_or_default().into_iter().collect(),
                });
            }
            next_token = answer.next_token.filter(|token| !token.is_empty());
            if next_token.is_none() {
                return Ok(pairs);
            }
        }
    }

    /// Calls `GetPlaybackKeyPair`.
    pub async fn get_playback_key_pair(&self, arn: &PlaybackKeyArn) -> Result<KeyPair, IvsError> {
        let call = self.client.get_playback_key_pair().arn(arn.as_str());
        let answer = self.paced(&self.pacers.get_playback_key_pair, || call.clone().send()).await?;
        key_pair_from(answer.key_pair)
    }

    /// Calls `ImportPlaybackKeyPair` with a P-384 public key in PEM (`SubjectPublicKeyInfo`).
    ///
    /// After [`IvsError::Unavailable`] and [`IvsError::TimedOut`] the pair may have been imported.
    pub async fn import_playback_key_pair(
        &self,
        public_key_pem: &str,
        name: &str,
        tags: &BTreeMap<String, String>,
    ) -> Result<KeyPair, IvsError> {
        let tags = tags.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        let call = self
            .client
            .import_playback_key_pair()
            .public_key_material(public_key_pem)
            .set_name((!name.is_empty()).then(|| name.to_owned()))
            .set_tags(Some(tags));
        let pacer = &self.pacers.import_playback_key_pair;
        let answer = self.paced(pacer, || call.clone().send()).await?;
        key_pair_from(answer.key_pair)
    }

    /// Calls `DeletePlaybackKeyPair`. A pair that does not exist is [`IvsError::NotFound`].
    pub async fn delete_playback_key_pair(&self, arn: &PlaybackKeyArn) -> Result<(), IvsError> {
        let call = self.client.delete_playback_key_pair().arn(arn.as_str());
        let pacer = &self.pacers.delete_playback_key_pair;
        self.paced(pacer, || call.clone().send()).await.map(|_| ())
    }
}

fn channel_from(channel: types::Channel) -> Result<Channel, IvsError> {
    Ok(Channel {
        arn: channel_arn(channel.arn)?,
        name: channel.name.unwrap_or_default(),
        authorized: channel.authorized,
        channel_type: channel.r#type.map(|word| word.as_str().to_owned()).unwrap_or_default(),
        latency_mode: channel.latency_mode.map(|word| word.as_str().to_owned()).unwrap_or_default(),
        playback_url: channel
            .playback_url
            .ok_or_else(|| IvsError::malformed("holds a channel without a playback URL"))?,
    })
}

fn key_pair_from(pair: Option<types::PlaybackKeyPair>) -> Result<KeyPair, IvsError> {
    let pair = pair.ok_or_else(|| IvsError::malformed("holds no key pair"))?;
    Ok(KeyPair {
        arn: key_arn(pair.arn)?,
        name: pair.name.unwrap_or_default(),
        fingerprint: pair.fingerprint.unwrap_or_default(),
        tags: pair.tags.unwrap_or_default().into_iter().collect(),
    })
}

fn channel_arn(arn: Option<String>) -> Result<ChannelArn, IvsError> {
    arn.and_then(|arn| arn.parse().ok())
        .ok_or_else(|| IvsError::malformed("holds a channel without a proper ARN"))
}

fn key_arn(arn: Option<String>) -> Result<PlaybackKeyArn, IvsError> {
    arn.and_then(|arn| arn.parse().ok())
        .ok_or_else(|| IvsError::malformed("holds a key pair without a proper ARN"))
}
