//! The identifiers that the emulator generates: resource ids, stream keys, request ids.
//!
//! They have the forms that AWS uses. Randomness comes from the operating system. If it fails, a
//! request that needs an id gets a 500.

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use rand::{TryRng, rngs::SysRng};

use crate::ivs::arn::{AccountId, Arn, ArnError, Region, ResourceKind};

/// The header that every AWS client logs and some require, also with 204.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// The length of the last part of an ARN.
const RESOURCE_ID_LENGTH: usize = 12;

/// Returns the ARN of a new resource.
pub(super) fn arn(
    region: &Region,
    account: &AccountId,
    kind: ResourceKind,
) -> Result<Arn, IdError> {
    Ok(Arn::new(region, account, kind, &alphanumeric(RESOURCE_ID_LENGTH)?)?)
}

/// Returns a stream id: `st-` and 23 characters (service model).
pub(super) fn stream_id() -> Result<String, IdError> {
    Ok(format!("st-{}", alphanumeric(23)?))
}

/// Returns `length` random characters of `[A-Za-z0-9]`, all equally likely.
pub(super) fn alphanumeric(length: usize) -> Result<String, IdError> {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let mut bytes = [0_u8; 64];
        fill(&mut bytes)?;
        // Six bits select one of 64. The two values without a character are discarded.
        let picked = bytes.iter().filter_map(|byte| ALPHABET.get(usize::from(byte & 0x3f)));
        text.extend(picked.take(length - text.len()).map(|&character| char::from(character)));
    }
    Ok(text)
}

/// Returns 128 random bits.
pub(super) fn random_u128() -> Result<u128, IdError> {
    let mut bytes = [0; 16];
    fill(&mut bytes)?;
    Ok(u128::from_be_bytes(bytes))
}

/// Adds a request id to every response.
pub(super) async fn stamp_request_id(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    // If the random source fails, a response with a fixed id is better than none.
    let id = uuid::Builder::from_random_bytes(random_u128().unwrap_or_default().to_be_bytes());
    if let Ok(id) = HeaderValue::try_from(id.into_uuid().to_string()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

fn fill(bytes: &mut [u8]) -> Result<(), IdError> {
    SysRng.try_fill_bytes(bytes).map_err(|_| IdError::Random)
}

/// Why an identifier could not be generated.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// The random source of the operating system failed.
    #[error("the operating system returned no random bytes; check its random source")]
    Random,
    /// The name of the region is too long for an ARN.
    #[error("the region has no valid ARNs: {0}; use a region of AWS")]
    Arn(#[from] ArnError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_forms_of_service_model() {
        let (region, account) = ("us-west-2".parse().unwrap(), "123456789012".parse().unwrap());
        let arn = || arn(&region, &account, ResourceKind::Channel).unwrap();
        assert_eq!(arn().id().len(), 12);
        assert!(arn().id().bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(arn(), arn());
        let stream = stream_id().unwrap();
        assert_eq!(stream.len(), 26);
        assert!(stream.starts_with("st-"));
        assert_eq!(alphanumeric(200).unwrap().len(), 200);
    }
}
