//! `Idempotency-Key`: a caller's name for one request, so that a repetition of it is not another one.
//!
//! Only hashes are kept. The key is hashed with its client, since two that choose the same key mean
//! two requests; the body is hashed, so that the same key with another body can be refused.

use axum::http::HeaderMap;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{Api, key_pairs::refuse_operation, problem::ApiError};
use crate::{
    access::Client,
    hex::Hex,
    ivs::arn::Region,
    keys::{keyring::IdempotencyRecord, operations::OperationError},
};

/// The longest key, in characters.
const MAX_LENGTH: usize = 255;

/// What is kept of a request that asks `operation` with this body; nothing where its caller gave it no
/// name.
///
/// # Errors
///
/// The header is there twice, or is no key.
pub(super) fn record(
    headers: &HeaderMap,
    client: &Client,
    operation: &str,
    body: &Map<String, Value>,
) -> Result<Option<IdempotencyRecord>, ApiError> {
    let Some(key) = key(headers)? else { return Ok(None) };
    let body = serde_json::to_vec(body).map_err(ApiError::internal)?;
    Ok(Some(IdempotencyRecord {
        key_hash: hash(&[client.id().as_str().as_bytes(), key.as_bytes()]),
        request_hash: hash(&[operation.as_bytes(), &body]),
    }))
}

/// Refuses a name that a request for another region has. A region whose keyring cannot be read must
/// not fail a request for this one.
///
/// # Errors
///
/// It is used there.
pub(super) async fn refuse_elsewhere(
    api: &Api,
    here: &Region,
    record: Option<&IdempotencyRecord>,
) -> Result<(), ApiError> {
    let Some(record) = record else { return Ok(()) };
    for (_, operations) in api.operations.iter().filter(|(region, _)| *region != here) {
        let reused = match operations.asked_before(record).await {
            Ok(None) => continue,
            // The body names the region, unless there is only one.
            Ok(Some(_)) | Err(OperationError::IdempotencyKeyReused) => {
                OperationError::IdempotencyKeyReused
            }
            Err(error) => {
                tracing::info!(event = "idempotency_unchecked", %error, "keyring not checked");
                continue;
            }
        };
        return Err(refuse_operation(reused));
    }
    Ok(())
}

fn key(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| (1..=MAX_LENGTH).contains(&key.len()));
    match (key, values.next()) {
        (Some(key), None) => Ok(Some(key)),
        (None | Some(_), _) => Err(ApiError::invalid_member(
            "",
            format!(
                "Idempotency-Key must be one header of 1 to {MAX_LENGTH} visible ASCII characters."
            ),
        )),
    }
}

/// SHA-256 in hexadecimal of parts that cannot run into each other.
fn hash(parts: &[&[u8]]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        digest.update(part);
    }
    Hex(&digest.finalize()).to_string()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
        assert_eq!(hash(&[b"ab", b"c"]).len(), 64);
    }

    #[test]
    fn a_key_is_one_header_of_bounded_length() {
        let headers = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
                headers.append("idempotency-key", value);
            }
            headers
        };
        assert_eq!(key(&headers(&[])).unwrap(), None);
        assert_eq!(key(&headers(&["k1"])).unwrap(), Some("k1"));
        for refused in [&["k1", "k1"][..], &[""], &["é"], &[&"k".repeat(MAX_LENGTH + 1)]] {
            assert!(key(&headers(refused)).is_err(), "{refused:?}");
        }
    }
}
