//! Which ASN.1 structure some DER is, told by its members rather than by what a PEM label claims.

use pkcs8::{
    AlgorithmIdentifierRef,
    der::{Decode as _, Reader as _, SliceReader, Tag, Tagged as _, asn1::AnyRef},
};

use super::Algorithm;

/// Named curves and signature keys alike are under this algorithm (RFC 5480, section 2.1.1).
const EC_PUBLIC_KEY: &str = "1.2.840.10045.2.1";

/// The structures that key files hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Shape {
    /// `PrivateKeyInfo` or `OneAsymmetricKey` (RFC 5208, RFC 5958).
    Pkcs8,
    /// `EncryptedPrivateKeyInfo` (RFC 5208).
    EncryptedPkcs8,
    /// `ECPrivateKey` (SEC 1, RFC 5915).
    Sec1,
    /// `RSAPrivateKey` (RFC 8017), or one of DSA, which looks alike.
    Pkcs1Private,
    /// `RSAPublicKey` (RFC 8017).
    Pkcs1Public,
    /// `SubjectPublicKeyInfo` (RFC 5280).
    Spki,
    /// `Certificate` or `CertificationRequest`.
    Certificate,
    /// `ECParameters` alone, as `openssl ecparam` writes in front of a key.
    EcParameters,
    /// None of these.
    Other,
}

impl Shape {
    pub(super) fn of(der: &[u8]) -> Self {
        let Ok(value) = AnyRef::from_der(der) else {
            return Self::Other;
        };
        if value.tag() == Tag::ObjectIdentifier {
            return Self::EcParameters;
        }
        if value.tag() != Tag::Sequence {
            return Self::Other;
        }
        match *member_tags(value.value()).unwrap_or_default() {
            [Tag::Integer, Tag::Sequence, Tag::OctetString, ..] => Self::Pkcs8,
            [Tag::Integer, Tag::OctetString, ..] => Self::Sec1,
            [Tag::Integer, Tag::Integer] => Self::Pkcs1Public,
            [Tag::Integer, Tag::Integer, Tag::Integer, ..] => Self::Pkcs1Private,
            // Explicit parameters begin with their version and a description of the field.
            [Tag::Integer, Tag::Sequence, Tag::Sequence, ..] => Self::EcParameters,
            [Tag::Sequence, Tag::OctetString] => Self::EncryptedPkcs8,
            [Tag::Sequence, Tag::BitString] => Self::Spki,
            [Tag::Sequence, Tag::Sequence, Tag::BitString] => Self::Certificate,
            _ => Self::Other,
        }
    }
}

fn member_tags(sequence: &[u8]) -> Option<Vec<Tag>> {
    let mut reader = SliceReader::new(sequence).ok()?;
    let mut tags = Vec::new();
    while !reader.is_finished() {
        tags.push(AnyRef::decode(&mut reader).ok()?.tag());
    }
    Some(tags)
}

/// The algorithm of a key, where it has curves the curve.
pub(super) fn algorithm(identifier: AlgorithmIdentifierRef<'_>) -> Algorithm {
    if identifier.oid.to_string() != EC_PUBLIC_KEY {
        return Algorithm::of(identifier.oid);
    }
    curve(identifier.parameters)
}

/// The curve that the parameters of an elliptic curve key name.
pub(super) fn curve(parameters: Option<AnyRef<'_>>) -> Algorithm {
    parameters
        .and_then(|parameters| parameters.decode_as().ok())
        .map_or(Algorithm::ExplicitParameters, Algorithm::of)
}
