//! Stream keys: `CreateStreamKey`, `GetStreamKey`, `BatchGetStreamKey`, `ListStreamKeys`,
//! `DeleteStreamKey`.
//!
//! A channel is made with one and may have one. To replace it is to delete it and make another.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Call,
    error::{ApiError, ErrorCode},
    input::{ByArn, ByArns, OfChannel},
    pages::{Listing, PageInput},
};
use crate::{
    emulator::{
        ids::{self, IdError},
        store::{
            collection::{self, Tagged, Tags},
            records::{Channel, Hidden, StreamKey},
        },
    },
    ivs::arn::{ChannelArn, ResourceKind},
};

/// Stream keys of a channel (service quotas of IVS).
const QUOTA: usize = 1;

/// Page size of `ListStreamKeys` where the caller does not say.
const DEFAULT_PAGE: usize = 1;

/// A new stream key of a channel.
pub(super) fn new(channel: &ChannelArn, tags: Tags) -> Result<Tagged<StreamKey>, IdError> {
    let region = channel.region();
    let arn = ids::arn(region, channel.account(), ResourceKind::StreamKey)?;
    let value = format!("sk_{region}_{}_{}", arn.id(), ids::alphanumeric(30)?);
    let value = Hidden::new(value);
    Ok(Tagged { tags, record: StreamKey { arn, channel_arn: channel.clone(), value } })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Create {
    channel_arn: String,
    #[serde(default)]
    tags: Tags,
}

pub(super) fn create(call: &Call<'_>, input: Create) -> Result<Value, ApiError> {
    let key = call.shared.store.write(|transaction| {
        let channel = call.find::<Channel>(transaction, &input.channel_arn)?.record.arn;
        if collection::count(transaction, &StreamKey::of(channel.as_str()))? >= QUOTA {
            return Err(ApiError::new(
                ErrorCode::ServiceQuotaExceeded,
                format!("{channel} has a stream key already. Delete it to make another."),
            ));
        }
        let key = new(&channel, input.tags)?;
        collection::insert(transaction, &key)?;
        Ok(key)
    })?;
    Ok(json!({ "streamKey": shape(&key) }))
}

pub(super) fn get(call: &Call<'_>, input: &ByArn) -> Result<Value, ApiError> {
    let key = call.shared.store.read(|view| call.find(view, &input.arn))?;
    Ok(json!({ "streamKey": shape(&key) }))
}

pub(super) fn batch_get(call: &Call<'_>, input: &ByArns) -> Result<Value, ApiError> {
    let found = call.find_each(&input.arns)?;
    let keys: Vec<Value> = found.items.iter().map(shape).collect();
    Ok(json!({ "streamKeys": keys, "errors": found.errors }))
}

pub(super) fn list(
    call: &Call<'_>,
    input: &OfChannel,
    page: &PageInput,
) -> Result<Value, ApiError> {
    let listing = Listing {
        collection: &StreamKey::of(&input.channel_arn),
        filters: &[],
        member: "streamKeys",
        default_limit: DEFAULT_PAGE,
    };
    call.list_of_channel(&input.channel_arn, &listing, page, summary)
}

pub(super) fn delete(call: &Call<'_>, input: &ByArn) -> Result<Value, ApiError> {
    call.shared.store.write(|transaction| {
        call.find::<StreamKey>(transaction, &input.arn)?;
        collection::remove(transaction, &input.arn)?;
        Ok(Value::Null)
    })
}

/// The shape `StreamKey`.
pub(super) fn shape(key: &Tagged<StreamKey>) -> Value {
    let Tagged { tags, record } = key;
    json!({
        "arn": record.arn,
        "channelArn": record.channel_arn,
        "tags": tags,
        "value": record.value,
    })
}

/// The shape `StreamKeySummary`, which lacks the value.
fn summary(key: &Tagged<StreamKey>) -> Value {
    let Tagged { tags, record } = key;
    json!({ "arn": record.arn, "channelArn": record.channel_arn, "tags": tags })
}
