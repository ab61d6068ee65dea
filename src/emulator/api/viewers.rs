//! Viewer sessions: `StartViewerSessionRevocation`, `BatchStartViewerSessionRevocation`.
//!
//! IVS knows viewers only from tokens, so any viewer id of an existing channel can be revoked, even
//! before the viewer has played.

use redb::WriteTransaction;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    call::Call,
    response::{ApiError, ErrorCode},
};
use crate::emulator::store::{records::Channel, viewers};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ViewerSession {
    channel_arn: String,
    viewer_id: String,
    /// Version 0 by default, like the claim.
    #[serde(default, rename = "viewerSessionVersionsLessThanOrEqualTo")]
    up_to_version: i64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Batch {
    viewer_sessions: Vec<ViewerSession>,
}

pub(super) fn revoke(call: &Call<'_>, session: &ViewerSession) -> Result<Value, ApiError> {
    call.shared.store.write(|transaction| {
        revoke_one(call, transaction, session)?;
        Ok(json!({}))
    })
}

/// Handles each session separately. A channel that the caller does not have is an error of its item
/// (the shape `BatchStartViewerSessionRevocationError`), with the code and the text of AWS's example.
pub(super) fn batch_revoke(call: &Call<'_>, batch: &Batch) -> Result<Value, ApiError> {
    let mut errors = Vec::new();
    call.shared.store.write(|transaction| {
        for session in &batch.viewer_sessions {
            match revoke_one(call, transaction, session) {
                Err(error) if error.code() == ErrorCode::ResourceNotFound => {
                    errors.push(json!({
                        "channelArn": session.channel_arn,
                        "code": "403",
                        "message": "not authorized",
                        "viewerId": session.viewer_id,
                    }));
                }
                result => result?,
            }
        }
        Ok::<_, ApiError>(())
    })?;
    Ok(json!({ "errors": errors }))
}

fn revoke_one(
    call: &Call<'_>,
    transaction: &WriteTransaction,
    session: &ViewerSession,
) -> Result<(), ApiError> {
    let channel = call.find::<Channel>(transaction, &session.channel_arn)?.record.arn;
    Ok(viewers::revoke(transaction, &channel, &session.viewer_id, session.up_to_version)?)
}
