//! Recording configurations: `CreateRecordingConfiguration`, `GetRecordingConfiguration`,
//! `ListRecordingConfigurations`, `DeleteRecordingConfiguration`.
//!
//! They are kept and can be attached to channels; nothing is recorded, and no bucket is looked at.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Call,
    error::{ApiError, ErrorCode},
    input::ByArn,
    pages::{Listing, PageInput},
};
use crate::{
    clock::Timestamp,
    emulator::{
        ids,
        store::{
            collection::{self, Tagged, Tags},
            records::{RecordingConfiguration, Thumbnails},
        },
    },
    ivs::arn::ResourceKind,
};

/// Recording configurations in a region (service quotas of IVS).
const QUOTA: usize = 20;

/// Page size of `ListRecordingConfigurations` where the caller does not say: the quota or 100,
/// whichever is smaller.
const DEFAULT_PAGE: usize = QUOTA;

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
    thumbnail_configuration: ThumbnailInput,
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

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ThumbnailInput {
    recording_mode: Option<String>,
    resolution: Option<String>,
    storage: Option<Vec<String>>,
    target_interval_seconds: Option<u8>,
}

impl From<ThumbnailInput> for Thumbnails {
    fn from(input: ThumbnailInput) -> Self {
        Self {
            recording_mode: input.recording_mode.unwrap_or_else(|| "INTERVAL".to_owned()),
            resolution: input.resolution,
            storage: input.storage.unwrap_or_else(|| vec!["SEQUENTIAL".to_owned()]),
            target_interval_seconds: input.target_interval_seconds.unwrap_or(60),
        }
    }
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
        arn: ids::arn(&call.region, &call.shared.account, kind)?,
        name: input.name,
        bucket_name: input.destination_configuration.s3.bucket_name,
        created,
        reconnect_window_seconds: input.recording_reconnect_window_seconds,
        rendition_selection,
        renditions,
        thumbnails: input.thumbnail_configuration.into(),
    };
    let configuration = Tagged { tags: input.tags, record };
    call.shared.store.write(|transaction| {
        if collection::count(transaction, &call.collection(kind))? >= QUOTA {
            return Err(ApiError::new(
                ErrorCode::ServiceQuotaExceeded,
                format!(
                    "Recording configuration quota of {QUOTA} for this account and region is \
                     reached."
                ),
            ));
        }
        Ok(collection::insert(transaction, &configuration)?)
    })?;
    Ok(json!({ "recordingConfiguration": shape(&configuration, created) }))
}

pub(super) fn get(call: &Call<'_>, input: &ByArn) -> Result<Value, ApiError> {
    let found = call.shared.store.read(|view| call.find(view, &input.arn))?;
    Ok(json!({ "recordingConfiguration": shape(&found, call.shared.clock.now()) }))
}

pub(super) fn list(call: &Call<'_>, page: &PageInput) -> Result<Value, ApiError> {
    let listing = Listing {
        collection: &call.collection(ResourceKind::RecordingConfiguration),
        filters: &[],
        member: "recordingConfigurations",
        default_limit: DEFAULT_PAGE,
    };
    let now = call.shared.clock.now();
    call.list(&listing, page, |_| true, |configuration| summary(configuration, now))
}

/// Refused while a channel records with it.
pub(super) fn delete(call: &Call<'_>, input: &ByArn) -> Result<Value, ApiError> {
    call.delete_unattached::<RecordingConfiguration>(&input.arn, |channel| {
        channel.recording_configuration_arn == input.arn
    })
}

/// The shape `RecordingConfiguration`.
pub(super) fn shape(configuration: &Tagged<RecordingConfiguration>, now: Timestamp) -> Value {
    let record = &configuration.record;
    let mut shape = summary(configuration, now);
    if let Some(members) = shape.as_object_mut() {
        let window = record.reconnect_window_seconds;
        members.insert("recordingReconnectWindowSeconds".to_owned(), window.into());
        let renditions = json!({
            "renditionSelection": record.rendition_selection,
            "renditions": record.renditions,
        });
        members.insert("renditionConfiguration".to_owned(), renditions);
        members.insert("thumbnailConfiguration".to_owned(), json!(record.thumbnails));
    }
    shape
}

/// The shape `RecordingConfigurationSummary`.
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
