//! The public keys that a signature is checked against, and what is known about each.

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, EllipticCurveKeyParameters, JwkSet};
use pkcs8::EncodePublicKey;

use crate::{
    ivs::arn::PlaybackKeyArn,
    keys::material::{KeyMaterialError, PublicKey},
};

/// The public keys that may have signed a token.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    keys: Vec<KnownKey>,
}

/// A public key, and what is known about it in IVS.
#[derive(Clone, Debug)]
pub struct KnownKey {
    /// The key.
    pub key: PublicKey,
    /// The playback key pair in IVS, where known.
    pub arn: Option<PlaybackKeyArn>,
    /// What IVS does with its signatures.
    pub standing: KeyStanding,
}

/// What IVS does with the signatures of a key.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum KeyStanding {
    /// Nobody asked IVS: the key came from a file or a JWK set.
    Unknown,
    /// It is a key pair of IVS and signs now.
    Active,
    /// It is imported, or will be, and does not sign yet.
    Pending,
    /// It is a key pair of IVS; another key signs now.
    Draining,
    /// It was deleted from IVS.
    Retired,
    /// IVS does not list it, though it should be there.
    Missing,
}

impl KeyRing {
    /// A ring of these keys.
    pub fn new(keys: impl IntoIterator<Item = KnownKey>) -> Self {
        Self { keys: keys.into_iter().collect() }
    }

    /// A ring of one public key, in PEM or DER, of which nothing else is known.
    ///
    /// # Errors
    ///
    /// It is no P-384 public key; the error says what it is.
    pub fn from_public_key(text: impl AsRef<[u8]>) -> Result<Self, KeyRingError> {
        Ok(Self::new([KnownKey::from_file(PublicKey::read(text)?)]))
    }

    /// A ring of the P-384 keys of a JWK set (RFC 7517). Other keys in it are passed over, since
    /// they cannot have signed a viewer token.
    ///
    /// # Errors
    ///
    /// The text is no JWK set, or has no P-384 key.
    pub fn from_jwks(text: &str) -> Result<Self, KeyRingError> {
        let set: JwkSet = serde_json::from_str(text).map_err(|_| KeyRingError::NotAJwkSet)?;
        let keys: Vec<_> = set
            .keys
            .iter()
            .filter_map(|jwk| {
                let AlgorithmParameters::EllipticCurve(key) = &jwk.algorithm else { return None };
                read_jwk(key)
            })
            .map(KnownKey::from_file)
            .collect();
        if keys.is_empty() { Err(KeyRingError::NoKeyInSet) } else { Ok(Self { keys }) }
    }

    /// The key that made this signature (r and s, 96 bytes) of the message.
    pub(super) fn find_signer(&self, message: &[u8], signature: &[u8]) -> Option<&KnownKey> {
        self.keys.iter().find(|known| {
            UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, known.key.as_sec1_point())
                .verify(message, signature)
                .is_ok()
        })
    }
}

impl KnownKey {
    fn from_file(key: PublicKey) -> Self {
        Self { key, arn: None, standing: KeyStanding::Unknown }
    }
}

/// Why keys to check against could not be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyRingError {
    /// No P-384 public key.
    #[error(transparent)]
    PublicKey(#[from] KeyMaterialError),
    /// Not JSON, or without `keys`.
    #[error("this is no JWK set; give JSON with a member keys, such as /.well-known/jwks.json has")]
    NotAJwkSet,
    /// No key on P-384 is in it.
    #[error("the JWK set has no P-384 key, so none of its keys can have signed a viewer token")]
    NoKeyInSet,
}

fn read_jwk(key: &EllipticCurveKeyParameters) -> Option<PublicKey> {
    if key.curve != EllipticCurve::P384 {
        return None;
    }
    let mut point = vec![0x04];
    for coordinate in [&key.x, &key.y] {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(coordinate).ok()?;
        point.extend_from_slice(&bytes);
    }
    let spki = p384::PublicKey::from_sec1_bytes(&point).ok()?.to_public_key_der().ok()?;
    PublicKey::read(spki.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::keys::material::fixtures;

    #[test]
    fn a_jwk_set_gives_its_p384_keys() {
        let key = PublicKey::read(fixtures::PUBLIC).unwrap();
        let (x, y) = key.jwk_coordinates();
        let set = json!({"keys": [
            {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
            {"kty": "EC", "crv": "P-256", "x": x, "y": y},
            {"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"},
            {"kty": "made-up", "crv": 7},
            {"kty": "EC", "crv": "P-384", "x": x, "y": y, "kid": "a", "alg": "ES384", "use": "sig"},
        ]});
        let ring = KeyRing::from_jwks(&set.to_string()).unwrap();
        assert_eq!(ring.keys.len(), 1);
        assert_eq!(ring.keys[0].key, key);
    }

    #[test]
    fn what_holds_no_key_is_refused() {
        let refusal = |text| KeyRing::from_jwks(text).unwrap_err();
        assert_eq!(refusal("nothing"), KeyRingError::NotAJwkSet);
        assert_eq!(refusal("{}"), KeyRingError::NotAJwkSet);
        assert_eq!(refusal(r#"{"keys": []}"#), KeyRingError::NoKeyInSet);
        assert!(matches!(
            KeyRing::from_public_key(fixtures::P256_PUBLIC),
            Err(KeyRingError::PublicKey(KeyMaterialError::Found { .. }))
        ));
        assert!(matches!(
            KeyRing::from_public_key(fixtures::PKCS8),
            Err(KeyRingError::PublicKey(KeyMaterialError::Found { .. }))
        ));
        assert!(KeyRing::from_public_key(fixtures::PUBLIC).is_ok());
    }
}
