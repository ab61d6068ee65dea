//! Recording configurations: `CreateRecordingConfiguration`, `GetRecordingConfiguration`,
//! `ListRecordingConfigurations`, `DeleteRecordingConfiguration`.
//!
//! They can be attached to channels, but nothing is recorded and no bucket is checked.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    call::{ByArn, Call},
    pages::Page,
    response::{ApiError, with},
};
use crate::{
    clock::Timestamp,
    emulator::store::{
        collection::{self, Tagged, Tags},
        records::{RecordingConfiguration, Thumbnails},
    },
    ivs::arn::ResourceKind,
};

/// Recording configurations per region (service quotas of IVS).
const QUOTA: usize = 20;

/// How long a configuration is `CREATING`. AWS takes "a few seconds, up to 20".
const CREATING: Duration = Duration::from_secs(2);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Create {
    destination_configuration: Destination,
    #[serde(default)]
    name: String,
    #[serde(default)]
    recording_reconnect_window_seconds: u16,
    #[serde(default)]
    rendition_configuration: Renditions,
    #[serde(default)]
    tags: Tags,
    #[serde(default)]
    thumbnail_configuration: Thumbnails,
}

#[derive(Debug, Deserialize)]
struct Destination {
    s3: S3Destination,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct S3Destination {
    bucket_name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Renditions {
    rendition_selection: Option<String>,
    #[serde(default)]
    renditions: Vec<String>,
}

pub(super) fn create(call: &Call<'_>, input: Create) -> Result<Value, ApiError> {
    let Renditions { rendition_selection, renditions } = input.rendition_configuration;
    let rendition_selection = rendition_selection.unwrap_or_else(|| "ALL".to_owned());
    if rendition_selection == "CUSTOM" && renditions.is_empty() {
        return Err(ApiError::invalid(
            "renditionConfiguration.renditions",
            "it is required where renditionSelection is CUSTOM",
        ));
    }
    let kind = ResourceKind::RecordingConfiguration;
    let created = call.shared.clock.now();
    let record = RecordingConfiguration {
        arn: call.new_arn(kind)?,
        name: input.name,
        bucket_name: input.destination_configuration.s3.bucket_name,
        created,
        reconnect_window_seconds: input.recording_reconnect_window_seconds,
        rendition_selection,
        renditions,
        thumbnails: input.thumbnail_configuration,
    };
    let configuration = Tagged { tags: input.tags, record };
    call.shared.store.write(|transaction| {
        call.check_quota(transaction, kind, ("Recording configuration", QUOTA))?;
        Ok::<_, ApiError>(collection::insert(transaction, &configuration)?)
    })?;
    Ok(json!({ "recordingConfiguration": shape(&configuration, created) }))
}

pub(super) fn get(call: &Call<'_>, input: &ByArn) -> Result<Value, ApiError> {
    let configuration = call.get(&input.arn)?;
    Ok(json!({ "recordingConfiguration": shape(&configuration, call.shared.clock.now()) }))
}

pub(super) fn list(call: &Call<'_>, page: &Page) -> Result<Value, ApiError> {
    let configurations = call.collection(ResourceKind::RecordingConfiguration);
    let now = call.shared.clock.now();
    call.list(page, "recordingConfigurations", &configurations, |found| summary(found, now))
}

pub(super) fn delete(call: &Call<'_>, input: &ByArn) -> Result<Value, ApiError> {
    call.delete_unattached::<RecordingConfiguration>(&input.arn, |channel| {
        channel.recording_configuration_arn == input.arn
    })
}

/// Returns the shape `RecordingConfiguration`.
pub(super) fn shape(configuration: &Tagged<RecordingConfiguration>, now: Timestamp) -> Value {
    let record = &configuration.record;
    let details = json!({
        "recordingReconnectWindowSeconds": record.reconnect_window_seconds,
        "renditionConfiguration": {
            "renditionSelection": record.rendition_selection,
            "renditions": record.renditions,
        },
        "thumbnailConfiguration": record.thumbnails,
    });
    with(summary(configuration, now), details)
}

/// Returns the shape `RecordingConfigurationSummary`.
fn summary(configuration: &Tagged<RecordingConfiguration>, now: Timestamp) -> Value {
    let Tagged { tags, record } = configuration;
    let state = if now < record.created + CREATING { "CREATING" } else { "ACTIVE" };
    json!({
        "arn": record.arn,
        "destinationConfiguration": { "s3": { "bucketName": record.bucket_name } },
        "name": record.name,
        "state": state,
        "tags": tags,
    })
}
