//! Viewer sessions: `StartViewerSessionRevocation`, `BatchStartViewerSessionRevocation`.
//!
//! IVS knows no viewers but those that tokens name, so that any viewer id of an existing channel
//! can be revoked, also before it has played.

use redb::WriteTransaction;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Call,
    error::{ApiError, ErrorCode},
};
use crate::emulator::store::{records::Channel, viewers};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ViewerSession {
    channel_arn: String,
    viewer_id: String,
    /// Sessions without a version are of version 0, as the claim's default is.
    #[serde(default, rename = "viewerSessionVersionsLessThanOrEqualTo")]
    up_to_version: i64,
}

pub(super) fn start(call: &Call<'_>, session: &ViewerSession) -> Result<Value, ApiError> {
    call.shared.store.write(|transaction| {
        revoke(call, transaction, session)?;
        Ok(json!({}))
    })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Batch {
    viewer_sessions: Vec<ViewerSession>,
}

/// The shape `BatchStartViewerSessionRevocationError`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BatchError<'a> {
    channel_arn: &'a str,
    code: &'static str,
    message: &'static str,
    viewer_id: &'a str,
}

/// Judges each session alone. A channel that the caller does not have is an error of its item,
/// with the code and the text that AWS's example shows.
pub(super) fn batch_start(call: &Call<'_>, batch: &Batch) -> Result<Value, ApiError> {
    let mut errors = Vec::new();
    call.shared.store.write(|transaction| {
        for session in &batch.viewer_sessions {
            match revoke(call, transaction, session) {
                Ok(()) => {}
                Err(error) if error.code() == ErrorCode::ResourceNotFound => {
                    errors.push(BatchError {
                        channel_arn: &session.channel_arn,
                        code: "403",
                        message: "not authorized",
                        viewer_id: &session.viewer_id,
                    });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    })?;
    Ok(json!({ "errors": errors }))
}

fn revoke(
    call: &Call<'_>,
    transaction: &WriteTransaction,
    session: &ViewerSession,
) -> Result<(), ApiError> {
    let channel = call.find::<Channel>(transaction, &session.channel_arn)?.record.arn;
    Ok(viewers::revoke(transaction, &channel, &session.viewer_id, session.up_to_version)?)
}
