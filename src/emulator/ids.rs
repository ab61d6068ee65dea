//! Identifiers that the emulator makes up: resource ids, stream keys, request ids.
//!
//! Their forms are those seen in answers of AWS. Randomness comes from the operating system, and
//! its failure is an error here, never a panic: a request that needs an id is then a 500.

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use rand::{TryRng, rngs::SysRng};

use crate::ivs::arn::{AccountId, Arn, ArnError, Region, ResourceKind};

/// The header that every AWS client logs and some cannot do without, on 204 too.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// Characters in the last part of an ARN.
const RESOURCE_ID_LENGTH: usize = 12;

/// The ARN of a new resource.
pub(super) fn arn(
    region: &Region,
    account: &AccountId,
    kind: ResourceKind,
) -> Result<Arn, IdError> {
    Ok(Arn::new(region, account, kind, &alphanumeric(RESOURCE_ID_LENGTH)?)?)
}

/// A stream id: `st-` and 23 characters, 26 in all (service model).
pub(super) fn stream_id() -> Result<String, IdError> {
    Ok(format!("st-{}", alphanumeric(23)?))
}

/// `length` characters of `[A-Za-z0-9]`, each equally likely.
pub(super) fn alphanumeric(length: usize) -> Result<String, IdError> {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let mut bytes = [0_u8; 64];
        fill(&mut bytes)?;
        // Six bits pick one of 64; the two that have no character are thrown away.
        let picked = bytes.iter().filter_map(|byte| ALPHABET.get(usize::from(byte & 0x3f)));
        text.extend(picked.take(length - text.len()).map(|&character| char::from(character)));
    }
    Ok(text)
}

/// 128 random bits.
pub(super) fn random_u128() -> Result<u128, IdError> {
    let mut bytes = [0; 16];
    fill(&mut bytes)?;
    Ok(u128::from_be_bytes(bytes))
}

/// Puts a request id on whatever answer comes from within.
pub(super) async fn stamp_request_id(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    // An answer without a name is better than none when the random source fails.
    let id = uuid::Builder::from_random_bytes(random_u128().unwrap_or_default().to_be_bytes());
    if let Ok(id) = HeaderValue::try_from(id.into_uuid().to_string()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

fn fill(bytes: &mut [u8]) -> Result<(), IdError> {
    SysRng.try_fill_bytes(bytes).map_err(|_| IdError::Random)
}

/// Why there is no new identifier.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes; check that its random source works")]
    Random,
    /// No ARN can be made, because the name of the region is too long for one.
    #[error("no ARN can be made in the region: {0}; use a region of AWS")]
    Arn(#[from] ArnError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_forms_of_the_service_model() {
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
