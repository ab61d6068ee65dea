//! Timed metadata: `PutMetadata`. The edge delivers it to players.

use serde::Deserialize;
use serde_json::Value;

use super::{
    Call,
    error::{ApiError, ErrorCode},
    streams,
};
use crate::emulator::store::metadata;

/// The longest metadata, in bytes of UTF-8 (service model).
const MAX_BYTES: usize = 1024;

/// Pieces a second that a channel takes (service model). This quota is a part of what the operation
/// does, and so it is enforced always.
const A_CHANNEL_A_SECOND: usize = 5;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Put {
    channel_arn: String,
    metadata: String,
}

pub(super) fn put(call: &Call<'_>, input: &Put) -> Result<Value, ApiError> {
    if input.metadata.len() > MAX_BYTES {
        return Err(ApiError::new(
            ErrorCode::Validation,
            format!("Metadata size exceeds payload limit: it may have {MAX_BYTES} bytes."),
        ));
    }
    let (shared, arn) = (call.shared, &input.channel_arn);
    shared.store.read(|view| streams::find(call, view, arn))?;
    let now = shared.clock.monotonic();
    if !shared.rates.admit_always("PutMetadata", arn, A_CHANNEL_A_SECOND, now) {
        return Err(ApiError::throttled("PutMetadata", A_CHANNEL_A_SECOND, Some(arn)));
    }
    shared.store.write(|transaction| {
        // The stream may have ended since.
        streams::find(call, transaction, arn)?;
        metadata::put(transaction, arn, &input.metadata, shared.clock.now())?;
        Ok(Value::Null)
    })
}
