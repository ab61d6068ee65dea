//! Channels and their stream keys: `CreateChannel`, `GetChannel`, `BatchGetChannel`, `ListChannels`,
//! `UpdateChannel`, `DeleteChannel`, `CreateStreamKey`, `GetStreamKey`, `BatchGetStreamKey`,
//! `ListStreamKeys`, `DeleteStreamKey`.
//!
//! A channel is created with a stream key and can have only one: to replace a key, delete it and
//! create another.

use redb::WriteTransaction;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    call::{ByArn, ByArns, ByChannel, Call, set},
    constraints::Form,
    pages::Page,
    response::{ApiError, ErrorCode, with},
};
use crate::{
    emulator::{
        EmulatorError, Shared,
        ids::{self, IdError},
        store::{
            StoreError,
            collection::{self, Tagged, Tags},
            records::{self, Channel, Hidden, Multitrack, StreamKey},
            streams, viewers,
        },
        urls,
    },
    ivs::arn::{ChannelArn, Region, ResourceKind},
};

/// Channels per region (service quotas of IVS; AWS raises it on request).
pub(super) const QUOTA: usize = 5_000;

/// Stream keys per channel (service quotas of IVS).
const KEY_QUOTA: usize = 1;

/// The settings that a caller chooses when it creates or updates a channel.
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
        call.check_quota(transaction, ResourceKind::Channel, ("Channel count", QUOTA))?;
        let mut channel = default_channel(call.shared, &call.region)?;
        call.apply(transaction, input.settings, &mut channel)?;
        let channel = Tagged { tags: input.tags, record: channel };
        let key = insert(call.shared, transaction, &channel)?;
        Ok::<_, ApiError>((channel, key))
    })?;
    Ok(json!({ "channel": call.channel(&channel), "streamKey": key_shape(&key) }))
}

pub(super) fn get(call: &Call<'_>, input: &ByArn) -> Result<Value, ApiError> {
    Ok(json!({ "channel": call.channel(&call.get(&input.arn)?) }))
}

pub(super) fn batch_get(call: &Call<'_>, input: &ByArns) -> Result<Value, ApiError> {
    let (channels, errors) = call.get_each(&input.arns)?;
    let channels: Vec<Value> = channels.iter().map(|channel| call.channel(channel)).collect();
    Ok(json!({ "channels": channels, "errors": errors }))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names of the service model")]
pub(super) struct Filters {
    filter_by_name: Option<String>,
    filter_by_playback_restriction_policy_arn: Option<String>,
    filter_by_recording_configuration_arn: Option<String>,
}

pub(super) fn list(call: &Call<'_>, input: &Filters, page: &Page) -> Result<Value, ApiError> {
    let (name, policy, recording) = (
        input.filter_by_name.as_deref(),
        input.filter_by_playback_restriction_policy_arn.as_deref(),
        input.filter_by_recording_configuration_arn.as_deref(),
    );
    let keep = |channel: &Channel| {
        name.is_none_or(|name| channel.name == name)
            && policy.is_none_or(|arn| channel.playback_restriction_policy_arn == arn)
            && recording.is_none_or(|arn| channel.recording_configuration_arn == arn)
    };
    let filters = [("name", name), ("policy", policy), ("recording", recording)];
    let filters = filters.into_iter().filter_map(|(name, value)| Some([name, value?]));
    let filters: Vec<&str> = filters.flatten().collect();
    if filters.len() > 2 {
        return Err(ApiError::new(
            ErrorCode::Conflict,
            "ListChannels takes one filter at a time. Leave out all but one.",
        ));
    }
    let channels = call.collection(ResourceKind::Channel);
    call.list_filtered(page, "channels", &channels, (&filters, keep), summary)
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
        streams::forget_channel(transaction, arn.as_str())?;
        viewers::forget_channel(transaction, &arn)?;
        collection::remove(transaction, arn.as_str())?;
        Ok(Value::Null)
    })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CreateKey {
    channel_arn: String,
    #[serde(default)]
    tags: Tags,
}

pub(super) fn create_key(call: &Call<'_>, input: CreateKey) -> Result<Value, ApiError> {
    let key = call.shared.store.write(|transaction| {
        let channel = call.find::<Channel>(transaction, &input.channel_arn)?.record.arn;
        if collection::count(transaction, &StreamKey::of(channel.as_str()))? >= KEY_QUOTA {
            return Err(ApiError::new(
                ErrorCode::ServiceQuotaExceeded,
                format!("{channel} has a stream key already. Delete it to make another."),
            ));
        }
        let key = new_key(&channel, input.tags)?;
        collection::insert(transaction, &key)?;
        Ok(key)
    })?;
    Ok(json!({ "streamKey": key_shape(&key) }))
}

pub(super) fn get_key(call: &Call<'_>, input: &ByArn) -> Result<Value, ApiError> {
    Ok(json!({ "streamKey": key_shape(&call.get(&input.arn)?) }))
}

pub(super) fn batch_get_keys(call: &Call<'_>, input: &ByArns) -> Result<Value, ApiError> {
    let (keys, errors) = call.get_each(&input.arns)?;
    let keys: Vec<Value> = keys.iter().map(key_shape).collect();
    Ok(json!({ "streamKeys": keys, "errors": errors }))
}

pub(super) fn list_keys(
    call: &Call<'_>,
    input: &ByChannel,
    page: &Page,
) -> Result<Value, ApiError> {
    call.get::<Channel>(&input.channel_arn)?;
    call.list(page, "streamKeys", &StreamKey::of(&input.channel_arn), key_summary)
}

pub(super) fn delete_key(call: &Call<'_>, input: &ByArn) -> Result<Value, ApiError> {
    call.delete::<StreamKey>(&input.arn)?;
    Ok(Value::Null)
}

/// Makes sure that a private channel of that name exists and is live. See
/// [`crate::emulator::Emulator::ensure_live_channel`].
pub(crate) fn ensure_live(
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
        let channel = if let Some(channel) = found {
            channel
        } else {
            if collection::count(transaction, &all)? >= QUOTA {
                return Err(EmulatorError::ChannelQuota);
            }
            let mut channel = default_channel(shared, region)?;
            name.clone_into(&mut channel.name);
            channel.authorized = true;
            let channel = channel.into();
            insert(shared, transaction, &channel)?;
            channel
        };
        streams::start(transaction, &channel.record.arn, shared.clock.now())?;
        Ok(channel.record.arn)
    })
}

/// Returns a channel with the defaults of IVS.
pub(super) fn default_channel(shared: &Shared, region: &Region) -> Result<Channel, IdError> {
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
        srt_passphrase: Hidden(ids::alphanumeric(72)?),
    })
}

/// Stores a new channel and its stream key. With `--auto-live`, the channel is live at once.
pub(super) fn insert(
    shared: &Shared,
    transaction: &WriteTransaction,
    channel: &Tagged<Channel>,
) -> Result<Tagged<StreamKey>, StoreError> {
    // The stream key does not inherit the tags of the channel.
    let key = new_key(&channel.record.arn, Tags::new())?;
    collection::insert(transaction, channel)?;
    collection::insert(transaction, &key)?;
    if shared.auto_live {
        streams::start(transaction, &channel.record.arn, shared.clock.now())?;
    }
    Ok(key)
}

fn new_key(channel: &ChannelArn, tags: Tags) -> Result<Tagged<StreamKey>, IdError> {
    let region = channel.region();
    let arn = ids::arn(region, channel.account(), ResourceKind::StreamKey)?;
    let value = Hidden(format!("sk_{region}_{}_{}", arn.id(), ids::alphanumeric(30)?));
    Ok(Tagged { tags, record: StreamKey { arn, channel_arn: channel.clone(), value } })
}

fn refuse_live(
    transaction: &WriteTransaction,
    channel: &ChannelArn,
    action: &str,
) -> Result<(), ApiError> {
    match streams::find_live(transaction, channel.as_str())? {
        None => Ok(()),
        Some(_) => Err(ApiError::new(
            ErrorCode::Conflict,
            format!("Channel: {channel} is live and cannot be {action}. Stop its stream first."),
        )),
    }
}

impl Call<'_> {
    /// Applies the given settings. Absent ones stay unchanged.
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
        for (place, arn) in [
            (
                &mut channel.playback_restriction_policy_arn,
                settings.playback_restriction_policy_arn,
            ),
            (&mut channel.recording_configuration_arn, settings.recording_configuration_arn),
        ] {
            self.check_attached(transaction, arn.as_deref().unwrap_or_default())?;
            set(place, arn);
        }
        Ok(())
    }

    /// Refuses to attach a resource that does not exist. `""` attaches nothing.
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

    /// Returns the shape `Channel`.
    pub(super) fn channel(&self, channel: &Tagged<Channel>) -> Value {
        let record = &channel.record;
        let label = urls::ingest_label(record.arn.region(), record.arn.account());
        let details = json!({
            "containerFormat": record.container_format,
            "ingestEndpoint": format!("{label}.global-contribute.live-video.net"),
            "multitrackInputConfiguration": record.multitrack,
            "playbackUrl": urls::playback_url(&self.base_url, &record.arn),
            "srt": {
                "endpoint": format!("{label}.srt.live-video.net"),
                "passphrase": record.srt_passphrase,
            },
        });
        with(summary(channel), details)
    }
}

/// Returns the shape `ChannelSummary`.
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

/// Returns the shape `StreamKey`.
fn key_shape(key: &Tagged<StreamKey>) -> Value {
    with(key_summary(key), json!({ "value": key.record.value }))
}

/// Returns the shape `StreamKeySummary`, which lacks the value.
fn key_summary(key: &Tagged<StreamKey>) -> Value {
    let Tagged { tags, record } = key;
    json!({ "arn": record.arn, "channelArn": record.channel_arn, "tags": tags })
}

/// Presets are for the ADVANCED types. Another type has `""`, whatever it had before.
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

/// Multitrack input needs a STANDARD channel that is packaged as fragmented MP4, also when a later
/// call changes either. A call that enables it must give policy and resolution (service model).
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
