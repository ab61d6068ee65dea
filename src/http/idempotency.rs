//! `Idempotency-Key`: a caller's name for one request, so that a retry does not repeat its effect.
//!
//! Only hashes are kept. The key is hashed with its client, because two clients may choose the same key for
//! different requests; the body is hashed, so that the same key with another body can be refused.

use axum::http::HeaderMap;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::problem::ApiError;
use crate::{access::Client, hex::Hex, keys::keyring::IdempotencyRecord};

/// The longest key, in characters.
const MAX_LENGTH: usize = 255;

/// Returns the record of a request for `operation` with this body, if its caller named it.
///
/// # Errors
///
/// The header is given twice, or is not a valid key.
pub(super) fn record(
    headers: &HeaderMap,
    client: &Client,
    operation: &str,
    body: &impl Serialize,
) -> Result<Option<IdempotencyRecord>, ApiError> {
    let Some(key) = key(headers)? else { return Ok(None) };
    // By way of a map, so that the order of members makes no difference.
    let body = serde_json::to_value(body).and_then(|body| serde_json::to_vec(&body));
    let body = body.map_err(ApiError::internal)?;
    Ok(Some(IdempotencyRecord {
        key_hash: hash(&[client.id().as_str().as_bytes(), key.as_bytes()]),
        request_hash: hash(&[operation.as_bytes(), &body]),
    }))
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

/// Returns the SHA-256 of parts in hexadecimal; the length of each part is hashed, too.
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
    fn hash_depends_on_where_parts_end() {
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
        assert_eq!(hash(&[b"ab", b"c"]).len(), 64);
    }

    #[test]
    fn key_is_one_header_of_bounded_length() {
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
