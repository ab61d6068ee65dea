//! Tags of any resource: `TagResource`, `UntagResource`, `ListTagsForResource`.
//!
//! The HTTP method selects the operation. The path contains the ARN as one percent-encoded segment,
//! and the query the keys to remove.

use std::borrow::Cow;

use axum::http::Uri;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    call::Call,
    response::{ApiError, ErrorCode},
};
use crate::emulator::store::{
    View,
    collection::{self, Tags},
};

/// Tags per resource (service model).
const MAX_TAGS: usize = 50;

/// Adds the members of the path and the query to the input. They override those of the body.
pub(super) fn add_path_and_query(
    input: &mut Map<String, Value>,
    uri: &Uri,
) -> Result<(), ApiError> {
    let segment = uri.path().strip_prefix("/tags/").unwrap_or_default();
    let arn = percent_decode_str(segment).decode_utf8().map_err(|_| {
        ApiError::new(ErrorCode::Serialization, "The ARN in the path is not UTF-8.")
    })?;
    input.insert("resourceArn".to_owned(), arn.into());
    let query = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let keys: Vec<Cow<'_, str>> =
        query.filter(|(name, _)| name == "tagKeys").map(|(_, key)| key).collect();
    if keys.is_empty() {
        input.remove("tagKeys");
    } else {
        input.insert("tagKeys".to_owned(), json!(keys));
    }
    Ok(())
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ByArn {
    resource_arn: String,
}

pub(super) fn list(call: &Call<'_>, input: &ByArn) -> Result<Value, ApiError> {
    let tags = call.shared.store.read(|view| call.tags(view, &input.resource_arn))?;
    Ok(json!({ "tags": tags }))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tag {
    resource_arn: String,
    tags: Tags,
}

pub(super) fn tag(call: &Call<'_>, input: Tag) -> Result<Value, ApiError> {
    call.shared.store.write(|transaction| {
        let mut tags = call.tags(transaction, &input.resource_arn)?;
        tags.extend(input.tags);
        if tags.len() > MAX_TAGS {
            let rule = format!("a resource has at most {MAX_TAGS} tags, and these would be more");
            return Err(ApiError::invalid("tags", &rule));
        }
        collection::set_tags(transaction, &input.resource_arn, tags)?;
        Ok(json!({}))
    })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Untag {
    resource_arn: String,
    tag_keys: Vec<String>,
}

pub(super) fn untag(call: &Call<'_>, input: &Untag) -> Result<Value, ApiError> {
    call.shared.store.write(|transaction| {
        let mut tags = call.tags(transaction, &input.resource_arn)?;
        tags.retain(|key, _| !input.tag_keys.contains(key));
        collection::set_tags(transaction, &input.resource_arn, tags)?;
        Ok(json!({}))
    })
}

impl Call<'_> {
    fn tags(&self, view: &impl View, arn: &str) -> Result<Tags, ApiError> {
        self.check_own(arn)?;
        collection::tags(view, arn)?.ok_or_else(|| ApiError::not_found(arn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(uri: &str) -> Map<String, Value> {
        let mut input = Map::new();
        add_path_and_query(&mut input, &uri.parse().unwrap()).unwrap();
        input
    }

    #[test]
    fn path_is_decoded_once() {
        let plain = input("/tags/arn%3Aaws%3Aivs%3Aa%3A1%3Achannel%2Fx");
        assert_eq!(plain["resourceArn"], "arn:aws:ivs:a:1:channel/x");
        assert!(!plain.contains_key("tagKeys"));
        assert_eq!(input("/tags/channel%252Fx")["resourceArn"], "channel%2Fx");
        assert_eq!(input("/tags/a+b")["resourceArn"], "a+b");
        assert!(add_path_and_query(&mut Map::new(), &"/tags/%ff".parse().unwrap()).is_err());
    }

    #[test]
    fn tag_keys_come_only_from_query() {
        let keys = input("/tags/x?tagKeys=a&tagKeys=b%20c&tagKeys=d+e&tagKeys=f%2Bg&other=1");
        assert_eq!(keys["tagKeys"], json!(["a", "b c", "d e", "f+g"]));
        let mut body = Map::from_iter([("tagKeys".to_owned(), json!(["z"]))]);
        add_path_and_query(&mut body, &"/tags/x".parse().unwrap()).unwrap();
        assert!(!body.contains_key("tagKeys"));
    }
}
