//! Who calls, read from the signature of a request.
//!
//! The region of a call is in no URL: clients put it into the credential scope of their AWS
//! Signature Version 4, `Credential=KEY/20261122/us-west-2/ivs/aws4_request`. The signature itself
//! is verified by [`super::signature`], and only where the emulator was given an access key.

use axum::http::{HeaderMap, header};

use super::error::{ApiError, ErrorCode};
use crate::ivs::arn::Region;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
pub(super) const SERVICE: &str = "ivs";

/// Far more than any region's name has; with it an ARN stays within its 128 characters.
const MAX_REGION_LENGTH: usize = 32;

/// What the `Authorization` header of a call says. Not `Debug`, since it holds the signature.
#[derive(Clone, Copy)]
pub(super) struct Signed<'a> {
    pub(super) access_key_id: &'a str,
    /// The region's name, as it was signed.
    pub(super) region: &'a str,
    service: &'a str,
    /// The names of the signed headers, with semicolons between them.
    pub(super) headers: &'a str,
    pub(super) signature: &'a str,
}

/// Who signed a call, and the region that it was signed for.
pub(super) fn read(headers: &HeaderMap) -> Result<(Signed<'_>, Region), ApiError> {
    let Some(authorization) = headers.get(header::AUTHORIZATION) else {
        return Err(ApiError::new(
            ErrorCode::MissingAuthenticationToken,
            "Missing Authentication Token. Sign the call as AWS clients do, in the header \
             Authorization; a signature in the query is not looked at.",
        ));
    };
    let signed = authorization.to_str().ok().and_then(Signed::parse).ok_or_else(|| {
        ApiError::new(
            ErrorCode::IncompleteSignature,
            "Authorization must be AWS4-HMAC-SHA256 with Credential, SignedHeaders and Signature.",
        )
    })?;
    if signed.service != SERVICE {
        return Err(ApiError::new(
            ErrorCode::InvalidSignature,
            "Credential should be scoped to correct service: 'ivs'.",
        ));
    }
    let region = Some(signed.region).filter(|region| region.len() <= MAX_REGION_LENGTH);
    let region = region.and_then(|region| region.parse().ok()).ok_or_else(|| {
        ApiError::new(
            ErrorCode::InvalidSignature,
            "Credential should be scoped to a valid region, such as 'us-west-2'.",
        )
    })?;
    Ok((signed, region))
}

impl<'a> Signed<'a> {
    fn parse(authorization: &'a str) -> Option<Self> {
        let parameters = authorization.strip_prefix(ALGORITHM)?.strip_prefix([' ', '\t'])?;
        let parameter = |name: &str| {
            parameters.split(',').find_map(|parameter| {
                let value = parameter.trim().strip_prefix(name)?.strip_prefix('=')?;
                (!value.is_empty()).then_some(value)
            })
        };
        let (headers, signature) = (parameter("SignedHeaders")?, parameter("Signature")?);
        // From the right, since an access key is whatever people configure.
        let mut parts = parameter("Credential")?.rsplitn(5, '/');
        let (end, service, region) = (parts.next()?, parts.next()?, parts.next()?);
        let (date, access_key_id) = (parts.next()?, parts.next()?);
        let dated = date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit());
        (end == "aws4_request" && dated && !access_key_id.is_empty()).then_some(Self {
            access_key_id,
            region,
            service,
            headers,
            signature,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_of(authorization: &str) -> Result<String, ErrorCode> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, authorization.parse().unwrap());
        let read = read(&headers);
        read.map(|(_, region)| region.to_string()).map_err(|error| error.code())
    }

    #[test]
    fn the_region_is_that_of_the_credential_scope() {
        for credential in ["AKID", "a/b", "test"] {
            let header = format!(
                "AWS4-HMAC-SHA256 Credential={credential}/20261122/eu-west-1/ivs/aws4_request, \
                 SignedHeaders=host;x-amz-date, Signature=abc"
            );
            assert_eq!(code_of(&header), Ok("eu-west-1".to_owned()));
            assert_eq!(code_of(&header.replace(", ", ",")), Ok("eu-west-1".to_owned()));
        }
    }

    #[test]
    fn each_way_to_sign_badly_has_its_error() {
        let unsigned = read(&HeaderMap::new()).err().map(|error| error.code());
        assert_eq!(unsigned, Some(ErrorCode::MissingAuthenticationToken));
        let signed = |credential: &str| {
            code_of(&format!(
                "AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host, Signature=abc"
            ))
        };
        let incomplete = Err(ErrorCode::IncompleteSignature);
        assert_eq!(code_of("Bearer x"), incomplete);
        assert_eq!(code_of("AWS4-HMAC-SHA256"), incomplete);
        assert_eq!(
            code_of("AWS4-HMAC-SHA256 Credential=k/20261122/a/ivs/aws4_request"),
            incomplete
        );
        assert_eq!(signed("k/20261122/us-west-2/ivs"), incomplete);
        assert_eq!(signed("k/2026/us-west-2/ivs/aws4_request"), incomplete);
        assert_eq!(signed("/20261122/us-west-2/ivs/aws4_request"), incomplete);
        let wrong = Err(ErrorCode::InvalidSignature);
        assert_eq!(signed("k/20261122/us-west-2/s3/aws4_request"), wrong);
        assert_eq!(signed("k/20261122/US/ivs/aws4_request"), wrong);
        assert_eq!(signed("k/20261122//ivs/aws4_request"), wrong);
        let long = "a".repeat(MAX_REGION_LENGTH + 1);
        assert_eq!(signed(&format!("k/20261122/{long}/ivs/aws4_request")), wrong);
    }
}
