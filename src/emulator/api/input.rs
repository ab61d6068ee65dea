//! Inputs that several operations share: those that name what they are about, and nothing else.

use serde::Deserialize;

#[derive(Debug, Deserialize)]
pub(super) struct ByArn {
    pub(super) arn: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct ByArns {
    pub(super) arns: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OfChannel {
    pub(super) channel_arn: String,
}
