//! Viewer tokens made by the tests' own hand, with another library than the product's.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use p384::{
    ecdsa::{Signature, SigningKey, signature::Signer},
    pkcs8::{EncodePublicKey, LineEnding},
};
use serde_json::{Value, json};

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed; 48]).unwrap()
}

/// The public half as IVS takes it.
pub(crate) fn pem(key: &SigningKey) -> String {
    p384::PublicKey::from(key.verifying_key()).to_public_key_pem(LineEnding::LF).unwrap()
}

/// A token with these claims.
pub(crate) fn token(key: &SigningKey, claims: &Value) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({"alg": "ES384", "typ": "JWT"})), part(claims));
    let signature: Signature = key.sign(signed.as_bytes());
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature.to_bytes()))
}
