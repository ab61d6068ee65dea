//! `POST /v1/tokens/inspect` on a whole service: against its keyring, and against what IVS says.

mod asking;
mod edge;
mod keys;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use p384::{
    ecdsa::{Signature, SigningKey, signature::Signer},
    pkcs8::{DecodePrivateKey, EncodePublicKey, LineEnding},
};
use serde_json::{Value, json};

use crate::app::{START, TestApp};

impl TestApp {
    /// What is found in `body`.
    async fn inspected(&self, body: &Value) -> Value {
        let answer = self.post("/v1/tokens/inspect", body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// The private keys of the keyring, as their owner could read them.
    fn signing_keys(&self) -> Vec<SigningKey> {
        let files = std::fs::read_dir(self.keys_folder().join("us-west-2")).unwrap();
        let paths = files.map(|file| file.unwrap().path());
        let pems = paths.filter(|path| path.extension().is_some_and(|it| it == "pem"));
        pems.map(|path| SigningKey::from_pkcs8_pem(&std::fs::read_to_string(path).unwrap()))
            .map(Result::unwrap)
            .collect()
    }

    /// Imports a public key past the service; returns the ARN of its pair.
    async fn import(&self, key: &SigningKey) -> String {
        let pem = key.verifying_key().to_public_key_pem(LineEnding::LF).unwrap();
        let sent = self.sdk().import_playback_key_pair().public_key_material(pem).send().await;
        sent.unwrap().key_pair.unwrap().arn.unwrap()
    }

    /// The least claims of a token that plays `demo`.
    fn claims(&self) -> Value {
        json!({"aws:channel-arn": self.channel.as_str(), "exp": START.unix_seconds() + 300})
    }
}

/// A key of somebody else.
fn stranger(seed: u8) -> SigningKey {
    SigningKey::from_slice(&[seed; 48]).unwrap()
}

/// A token with these claims, signed as it should be.
fn sign(key: &SigningKey, claims: &Value) -> String {
    sign_text(key, r#"{"alg":"ES384","typ":"JWT"}"#, &claims.to_string())
}

/// A token of this header and these claims, whatever they are.
fn sign_text(key: &SigningKey, header: &str, claims: &str) -> String {
    let message = unsigned(header, claims);
    let signature: Signature = key.sign(message.as_bytes());
    format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature.to_bytes()))
}

/// Header and claims, to be signed.
fn unsigned(header: &str, claims: &str) -> String {
    let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}", encode(header), encode(claims))
}

/// The codes of the findings of this severity, in their order.
fn codes<'a>(inspection: &'a Value, severity: &str) -> Vec<&'a str> {
    let findings = inspection["findings"].as_array().unwrap();
    let wanted = findings.iter().filter(|it| it["severity"] == severity);
    wanted.map(|it| it["code"].as_str().unwrap()).collect()
}

/// Every code.
fn all_codes(inspection: &Value) -> Vec<&str> {
    [codes(inspection, "error"), codes(inspection, "warning")].concat()
}

fn not_checked(inspection: &Value) -> Vec<&str> {
    let words = inspection["notChecked"].as_array().unwrap();
    words.iter().map(|word| word.as_str().unwrap()).collect()
}
