//! Channels: `CreateChannel`, `GetChannel`, `BatchGetChannel`, `ListChannels`, `UpdateChannel`,
//! `DeleteChannel`.

use redb::WriteTransaction;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Call,
    constraint::Form,
    error::{ApiError, ErrorCode},
    input::{ByArn, ByArns},
    pages::{Listing, PageInput},
    set, stream_keys,
};
use crate::{
    emulator::{
        EmulatorError, Shared,
        ids::{self, IdError},
        live,
        store::{
            StoreError,
            collection::{self, Tagged, Tags},
            metadata,
            records::{self, Channel, Hidden, Multitrack, StreamKey, StreamSession},
            viewers,
        },
        urls,
    },
    ivs::arn::{ChannelArn, Region, ResourceKind},
};

/// Channels in a region (service quotas of IVS; AWS raises it on request).
pub(super) const QUOTA: usize = 5_000;

/// Page size of `ListChannels` where the caller does not say.
const DEFAULT_PAGE: usize = 100;

/// The settings that a caller chooses, when a channel is made and later.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Settings {
    authorized: Option<bool>,
    container_format: Option<String>,
    insecure_ingest: Option<bool>,
    latency_mode: Option<String>,
    multitrack_input_configuration: Option<MultitrackInput>,
    name: Option<String>,
    playback_restriction_policy_arn: Option<String>,
    preset: Option<String>,
    recording_configuration_arn: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MultitrackInput {
    enabled: Option<bool>,
    maximum_resolution: Option<String>,
    policy: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Create {
    #[serde(flatten)]
    settings: Settings,
    #[serde(default)]
    tags: Tags,
}

pub(super) fn create(call: &Call<'_>, input: Create) -> Result<Value, ApiError> {
    let (channel, key) = call.shared.store.write(|transaction| {
        let count = collection::count(transaction, &call.collection(ResourceKind::Channel))?;
        if count >= QUOTA {
            return Err(ApiError::new(
                ErrorCode::ServiceQuotaExceeded,
                format!("Channel count quota of {QUOTA} for this account and region is reached."),
            ));
        }
        let mut channel = unset(call.shared, &call.region)?;
        call.apply(transaction, input.settings, &mut channel)?;
        Ok(insert(call.shared, transaction, Tagged { tags: input.tags, record: channel })?)
    })?;
    Ok(json!({ "channel": call.channel(&channel), "streamKey": stream_keys::shape(&key) }))
}

pub(super) fn get(call: &Call<'_>, input: &ByArn) -> Result<Value, ApiError> {
    let channel = call.shared.store.read(|view| call.find::<Channel>(view, &input.arn))?;
    Ok(json!({ "channel": call.channel(&channel) }))
}

pub(super) fn batch_get(call: &Call<'_>, input: &ByArns) -> Result<Value, ApiError> {
    let found = call.find_each::<Channel>(&input.arns)?;
    let channels: Vec<Value> = found.items.iter().map(|channel| call.channel(channel)).collect();
    Ok(json!({ "channels": channels, "errors": found.errors }))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names of the service model")]
pub(super) struct Filters {
    filter_by_name: Option<String>,
    filter_by_playback_restriction_policy_arn: Option<String>,
    filter_by_recording_configuration_arn: Option<String>,
}

impl Filters {
    fn keep(&self, channel: &Channel) -> bool {
        let fits = |filter: &Option<String>, value: &String| {
            filter.as_ref().is_none_or(|wanted| wanted == value)
        };
        fits(&self.filter_by_name, &channel.name)
            && fits(
                &self.filter_by_playback_restriction_policy_arn,
                &channel.playback_restriction_policy_arn,
            )
            && fits(
                &self.filter_by_recording_configuration_arn,
                &channel.recording_configuration_arn,
            )
    }

    /// Each filter by its name and value, for what a page token is bound to.
    fn given(&self) -> Vec<&str> {
        let filters = [
            ("name", &self.filter_by_name),
            ("policy", &self.filter_by_playback_restriction_policy_arn),
            ("recording", &self.filter_by_recording_configuration_arn),
        ];
        let given = filters.into_iter().filter_map(|(name, value)| Some([name, value.as_deref()?]));
        given.flatten().collect()
    }
}

pub(super) fn list(
    call: &Call<'_>,
    filters: &Filters,
    page: &PageInput,
) -> Result<Value, ApiError> {
    let given = filters.given();
    if given.len() > 2 {
        return Err(ApiError::new(
            ErrorCode::Conflict,
            "ListChannels takes one filter at a time. Leave out all but one.",
        ));
    }
    let listing = Listing {
        collection: &call.collection(ResourceKind::Channel),
        filters: &given,
        member: "channels",
        default_limit: DEFAULT_PAGE,
    };
    call.list(&listing, page, |channel| filters.keep(channel), summary)
}

#[derive(Debug, Deserialize)]
pub(super) struct Update {
    arn: String,
    #[serde(flatten)]
    settings: Settings,
}

pub(super) fn update(call: &Call<'_>, input: Update) -> Result<Value, ApiError> {
    let channel = call.shared.store.write(|transaction| {
        let mut channel = call.find::<Channel>(transaction, &input.arn)?;
        refuse_live(transaction, &channel.record.arn, "updated")?;
        call.apply(transaction, input.settings, &mut channel.record)?;
        collection::replace(transaction, &channel)?;
        Ok::<_, ApiError>(channel)
    })?;
    Ok(json!({ "channel": call.channel(&channel) }))
}

pub(super) fn delete(call: &Call<'_>, input: &ByArn) -> Result<Value, ApiError> {
    call.shared.store.write(|transaction| {
        let arn = call.find::<Channel>(transaction, &input.arn)?.record.arn;
        refuse_live(transaction, &arn, "deleted")?;
        collection::remove_all::<StreamKey>(transaction, &StreamKey::of(arn.as_str()))?;
        collection::remove_all::<StreamSession>(transaction, &StreamSession::of(arn.as_str()))?;
        viewers::forget_channel(transaction, &arn)?;
        metadata::forget_channel(transaction, arn.as_str())?;
        collection::remove(transaction, arn.as_str())?;
        Ok(Value::Null)
    })
}

/// The private channel of that name, live. See [`crate::emulator::Emulator::ensure_live_channel`].
pub(in crate::emulator) fn ensure_live(
    shared: &Shared,
    region: &Region,
    name: &str,
) -> Result<ChannelArn, EmulatorError> {
    if name.chars().count() > 128 || !Form::Name.matches(name) {
        return Err(EmulatorError::ChannelName);
    }
    shared.store.write(|transaction| {
        let all = records::in_region(region, &shared.account, ResourceKind::Channel);
        let is_it = |channel: &Channel| channel.name == name && channel.authorized;
        let found = collection::page(transaction, &all, 0, 1, is_it)?.items.pop();
        let arn = if let Some(channel) = found {
            channel.record.arn
        } else {
            if collection::count(transaction, &all)? >= QUOTA {
                return Err(EmulatorError::ChannelQuota);
            }
            let mut channel = unset(shared, region)?;
            name.clone_into(&mut channel.name);
            channel.authorized = true;
            insert(shared, transaction, channel.into())?.0.record.arn
        };
        live::start(transaction, &arn, shared.clock.now())?;
        Ok(arn)
    })
}

/// A channel as IVS makes it when the caller says nothing.
pub(super) fn unset(shared: &Shared, region: &Region) -> Result<Channel, IdError> {
    Ok(Channel {
        arn: ids::arn(region, &shared.account, ResourceKind::Channel)?.try_into()?,
        name: String::new(),
        latency_mode: "LOW".to_owned(),
        kind: "STANDARD".to_owned(),
        authorized: false,
        insecure_ingest: false,
        preset: String::new(),
        container_format: "TS".to_owned(),
        recording_configuration_arn: String::new(),
        playback_restriction_policy_arn: String::new(),
        multitrack: Multitrack {
            enabled: false,
            maximum_resolution: "FULL_HD".to_owned(),
            policy: "ALLOW".to_owned(),
        },
        srt_passphrase: Hidden::new(ids::alphanumeric(72)?),
    })
}

/// Stores a new channel, with its stream key; with `--auto-live` it is live at once.
pub(super) fn insert(
    shared: &Shared,
    transaction: &WriteTransaction,
    channel: Tagged<Channel>,
) -> Result<(Tagged<Channel>, Tagged<StreamKey>), StoreError> {
    // Tags of the channel are not copied to its stream key.
    let key = stream_keys::new(&channel.record.arn, Tags::new())?;
    collection::insert(transaction, &channel)?;
    collection::insert(transaction, &key)?;
    if shared.auto_live {
        live::start(transaction, &channel.record.arn, shared.clock.now())?;
    }
    Ok((channel, key))
}

fn refuse_live(
    transaction: &WriteTransaction,
    channel: &ChannelArn,
    what: &str,
) -> Result<(), ApiError> {
    match live::find(transaction, channel.as_str())? {
        None => Ok(()),
        Some(_) => Err(ApiError::new(
            ErrorCode::Conflict,
            format!("Channel: {channel} is live and cannot be {what}. Stop its stream first."),
        )),
    }
}

impl Call<'_> {
    /// Applies the given settings. Those left out stay as they are.
    fn apply(
        &self,
        transaction: &WriteTransaction,
        settings: Settings,
        channel: &mut Channel,
    ) -> Result<(), ApiError> {
        set(&mut channel.authorized, settings.authorized);
        set(&mut channel.container_format, settings.container_format);
        set(&mut channel.insecure_ingest, settings.insecure_ingest);
        set(&mut channel.latency_mode, settings.latency_mode);
        set(&mut channel.name, settings.name);
        set(&mut channel.kind, settings.kind);
        apply_preset(channel, settings.preset)?;
        apply_multitrack(channel, settings.multitrack_input_configuration)?;
        for arn in
            [&settings.playback_restriction_policy_arn, &settings.recording_configuration_arn]
        {
            self.check_attached(transaction, arn.as_deref().unwrap_or_default())?;
        }
        set(&mut channel.playback_restriction_policy_arn, settings.playback_restriction_policy_arn);
        set(&mut channel.recording_configuration_arn, settings.recording_configuration_arn);
        Ok(())
    }

    /// What is attached to a channel must exist; `""` attaches nothing.
    fn check_attached(&self, transaction: &WriteTransaction, arn: &str) -> Result<(), ApiError> {
        if arn.is_empty() {
            return Ok(());
        }
        self.check_own(arn)?;
        match collection::tags(transaction, arn)? {
            Some(_) => Ok(()),
            None => Err(ApiError::not_found(arn)),
        }
    }

    /// The shape `Channel`.
    pub(super) fn channel(&self, channel: &Tagged<Channel>) -> Value {
        let Tagged { tags, record } = channel;
        let label = urls::ingest_label(record.arn.region(), record.arn.account());
        json!({
            "arn": record.arn,
            "authorized": record.authorized,
            "containerFormat": record.container_format,
            "ingestEndpoint": format!("{label}.global-contribute.live-video.net"),
            "insecureIngest": record.insecure_ingest,
            "latencyMode": record.latency_mode,
            "multitrackInputConfiguration": record.multitrack,
            "name": record.name,
            "playbackRestrictionPolicyArn": record.playback_restriction_policy_arn,
            "playbackUrl": urls::playback_url(&self.base_url, &record.arn),
            "preset": record.preset,
            "recordingConfigurationArn": record.recording_configuration_arn,
            "srt": {
                "endpoint": format!("{label}.srt.live-video.net"),
                "passphrase": record.srt_passphrase,
            },
            "tags": tags,
            "type": record.kind,
        })
    }
}

/// The shape `ChannelSummary`.
fn summary(channel: &Tagged<Channel>) -> Value {
    let Tagged { tags, record } = channel;
    json!({
        "arn": record.arn,
        "authorized": record.authorized,
        "insecureIngest": record.insecure_ingest,
        "latencyMode": record.latency_mode,
        "name": record.name,
        "playbackRestrictionPolicyArn": record.playback_restriction_policy_arn,
        "preset": record.preset,
        "recordingConfigurationArn": record.recording_configuration_arn,
        "tags": tags,
        "type": record.kind,
    })
}

/// Presets are for the ADVANCED types. A type without one has `""`, whatever it had before.
fn apply_preset(channel: &mut Channel, preset: Option<String>) -> Result<(), ApiError> {
    let advanced = channel.kind.starts_with("ADVANCED_");
    match preset {
        Some(_) if !advanced => {
            return Err(ApiError::invalid(
                "preset",
                "it is for the channel types ADVANCED_SD and ADVANCED_HD only",
            ));
        }
        Some(preset) => channel.preset = preset,
        None if !advanced => channel.preset.clear(),
        None if channel.preset.is_empty() => {
            "HIGHER_BANDWIDTH_DELIVERY".clone_into(&mut channel.preset);
        }
        None => {}
    }
    Ok(())
}

/// Multitrack input needs a STANDARD channel that is packed as fragmented MP4, also when a later
/// call changes either; who enables it says policy and resolution too (service model).
fn apply_multitrack(channel: &mut Channel, input: Option<MultitrackInput>) -> Result<(), ApiError> {
    const MEMBER: &str = "multitrackInputConfiguration";
    if let Some(input) = input {
        let complete = input.maximum_resolution.is_some() && input.policy.is_some();
        if input.enabled == Some(true) && !complete {
            return Err(ApiError::invalid(
                MEMBER,
                "policy and maximumResolution are required when enabled is true",
            ));
        }
        set(&mut channel.multitrack.enabled, input.enabled);
        set(&mut channel.multitrack.maximum_resolution, input.maximum_resolution);
        set(&mut channel.multitrack.policy, input.policy);
    }
    let allowed = channel.kind == "STANDARD" && channel.container_format == "FRAGMENTED_MP4";
    if channel.multitrack.enabled && !allowed {
        return Err(ApiError::invalid(
            MEMBER,
            "enabled needs type STANDARD and containerFormat FRAGMENTED_MP4",
        ));
    }
    Ok(())
}
