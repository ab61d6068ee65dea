//! What tests of tokens need: a key, and tokens that say anything.

use aws_lc_rs::{
    encoding::AsDer,
    rand::SystemRandom,
    signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::keys::material::PublicKey;

use super::token::SIGNATURE_LENGTH;

/// The channel that test tokens are for.
pub(crate) const CHANNEL: &str = "arn:aws:ivs:us-west-2:123456789012:channel/AbCdEfGh1234";

/// A key of this test run.
pub(crate) struct TestKey(EcdsaKeyPair);

impl TestKey {
    pub(crate) fn generate() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap())
    }

    pub(crate) fn public_key(&self) -> PublicKey {
        let der = self.0.public_key().as_der().unwrap();
        PublicKey::read(der.as_ref()).unwrap()
    }

    /// A token with this header and these claims, whatever they are.
    pub(crate) fn token(&self, header: &Value, claims: &Value) -> String {
        let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = self.sign(message.as_bytes());
        format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LENGTH] {
        let signature = self.0.sign(&SystemRandom::new(), message).unwrap();
        signature.as_ref().try_into().unwrap()
    }
}
