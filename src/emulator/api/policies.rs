//! Playback restriction policies: `CreatePlaybackRestrictionPolicy`,
//! `GetPlaybackRestrictionPolicy`, `ListPlaybackRestrictionPolicies`,
//! `UpdatePlaybackRestrictionPolicy`, `DeletePlaybackRestrictionPolicy`.
//!
//! They restrict where public channels may be played, which the edge enforces.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    call::{ByArn, Call, set},
    pages::Page,
    response::ApiError,
};
use crate::{
    emulator::store::{
        collection::{self, Tagged, Tags},
        records::PlaybackRestrictionPolicy,
    },
    ivs::arn::ResourceKind,
};

/// The settings that a caller chooses when it creates or updates a policy.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Settings {
    allowed_countries: Option<Vec<String>>,
    allowed_origins: Option<Vec<String>>,
    enable_strict_origin_enforcement: Option<bool>,
    name: Option<String>,
}

impl Settings {
    /// Applies the given settings. Absent ones stay unchanged.
    fn apply(self, policy: &mut PlaybackRestrictionPolicy) {
        set(&mut policy.allowed_countries, self.allowed_countries);
        set(&mut policy.allowed_origins, self.allowed_origins);
        set(&mut policy.enable_strict_origin_enforcement, self.enable_strict_origin_enforcement);
        set(&mut policy.name, self.name);
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Create {
    #[serde(flatten)]
    settings: Settings,
    #[serde(default)]
    tags: Tags,
}

pub(super) fn create(call: &Call<'_>, input: Create) -> Result<Value, ApiError> {
    let mut record = PlaybackRestrictionPolicy {
        arn: call.new_arn(ResourceKind::PlaybackRestrictionPolicy)?,
        name: String::new(),
        allowed_countries: Vec::new(),
        allowed_origins: Vec::new(),
        enable_strict_origin_enforcement: false,
    };
    input.settings.apply(&mut record);
    let policy = Tagged { tags: input.tags, record };
    call.shared.store.write(|transaction| collection::insert(transaction, &policy))?;
    Ok(json!({ "playbackRestrictionPolicy": shape(&policy) }))
}

pub(super) fn get(call: &Call<'_>, input: &ByArn) -> Result<Value, ApiError> {
    Ok(json!({ "playbackRestrictionPolicy": shape(&call.get(&input.arn)?) }))
}

pub(super) fn list(call: &Call<'_>, page: &Page) -> Result<Value, ApiError> {
    let policies = call.collection(ResourceKind::PlaybackRestrictionPolicy);
    call.list(page, "playbackRestrictionPolicies", &policies, shape)
}

#[derive(Debug, Deserialize)]
pub(super) struct Update {
    arn: String,
    #[serde(flatten)]
    settings: Settings,
}

pub(super) fn update(call: &Call<'_>, input: Update) -> Result<Value, ApiError> {
    let policy = call.shared.store.write(|transaction| {
        let mut policy = call.find::<PlaybackRestrictionPolicy>(transaction, &input.arn)?;
        input.settings.apply(&mut policy.record);
        collection::replace(transaction, &policy)?;
        Ok::<_, ApiError>(policy)
    })?;
    Ok(json!({ "playbackRestrictionPolicy": shape(&policy) }))
}

pub(super) fn delete(call: &Call<'_>, input: &ByArn) -> Result<Value, ApiError> {
    call.delete_unattached::<PlaybackRestrictionPolicy>(&input.arn, |channel| {
        channel.playback_restriction_policy_arn == input.arn
    })
}

/// Returns the shape `PlaybackRestrictionPolicy`, which equals `PlaybackRestrictionPolicySummary`.
fn shape(policy: &Tagged<PlaybackRestrictionPolicy>) -> Value {
    let Tagged { tags, record } = policy;
    json!({
        "allowedCountries": record.allowed_countries,
        "allowedOrigins": record.allowed_origins,
        "arn": record.arn,
        "enableStrictOriginEnforcement": record.enable_strict_origin_enforcement,
        "name": record.name,
        "tags": tags,
    })
}
