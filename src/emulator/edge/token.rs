//! Parses and verifies a token: JSON Web Signature, compact form, ES384 (RFC 7515, RFC 7518).
//!
//! This is the emulator's own verifier, on the `p384` crate, so that it cannot share a mistake with
//! the code that signs the tokens of this project.

use std::fmt;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use p384::ecdsa::{Signature, VerifyingKey, signature::Verifier};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::refusal::Reason;

/// The length of an ES384 signature in bytes: r and s have 48 each.
const SIGNATURE_LENGTH: usize = 96;

/// A well-formed token whose signature is not verified yet.
pub(super) struct Unverified<'a> {
    /// The signed bytes: header, dot, payload.
    signed: &'a [u8],
    algorithm: Option<String>,
    payload: Map<String, Value>,
    signature: Vec<u8>,
}

impl<'a> Unverified<'a> {
    /// Parses the three parts.
    pub(super) fn parse(token: &'a str) -> Result<Self, Reason> {
        let (signed, signature) = token.rsplit_once('.').ok_or(Reason::NotAJwt)?;
        let (header, payload) = signed.split_once('.').ok_or(Reason::NotAJwt)?;
        let header = object(header)?;
        // `crit` names extensions that the verifier must support (RFC 7515, section 4.1.11). It
        // supports none.
        if header.contains_key("crit") {
            return Err(Reason::NotAJwt);
        }
        Ok(Self {
            signed: signed.as_bytes(),
            algorithm: header.get("alg").and_then(Value::as_str).map(str::to_owned),
            payload: object(payload)?,
            signature: bytes(signature)?,
        })
    }

    /// Returns the payload if one of these public keys (SEC 1 points) verifies the signature.
    pub(super) fn verify<'k>(
        self,
        mut keys: impl Iterator<Item = &'k [u8]>,
    ) -> Result<Map<String, Value>, Reason> {
        match self.algorithm.as_deref() {
            Some("ES384") => {}
            // The same algorithm with a key of P-256, secp256k1 or P-521.
            Some("ES256" | "ES256K" | "ES512") => return Err(Reason::WrongCurve),
            Some(_) | None => return Err(Reason::WrongAlgorithm),
        }
        if self.signature.len() != SIGNATURE_LENGTH {
            return Err(wrong_length(&self.signature));
        }
        if is_padded_p256(&self.signature) {
            return Err(Reason::WrongCurve);
        }
        let signature = Signature::from_slice(&self.signature).map_err(|_| Reason::BadSignature)?;
        let verifies = |point: &[u8]| {
            VerifyingKey::from_sec1_bytes(point)
                .is_ok_and(|key| key.verify(self.signed, &signature).is_ok())
        };
        if keys.any(verifies) { Ok(self.payload) } else { Err(Reason::BadSignature) }
    }
}

fn object(part: &str) -> Result<Map<String, Value>, Reason> {
    let object: Object = serde_json::from_slice(&bytes(part)?).map_err(|_| Reason::NotAJwt)?;
    Ok(object.0)
}

/// A JSON object without duplicate members: parsers disagree about which of two counts (RFC 7519,
/// section 4).
struct Object(Map<String, Value>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor)
    }
}

struct ObjectVisitor;

impl<'de> Visitor<'de> for ObjectVisitor {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Object, A::Error> {
        let mut object = Map::new();
        while let Some((name, value)) = members.next_entry()? {
            if object.insert(name, value).is_some() {
                return Err(de::Error::custom("a duplicate member"));
            }
        }
        Ok(Object(object))
    }
}

/// Decodes base64url without padding. A surplus dot does not pass either.
fn bytes(part: &str) -> Result<Vec<u8>, Reason> {
    BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| Reason::NotAJwt)
}

/// Explains a signature of another length. Libraries that return DER and keys of other curves are
/// common mistakes.
fn wrong_length(signature: &[u8]) -> Reason {
    match signature.len() {
        _ if is_der(signature) => Reason::DerSignature,
        // r and s of P-256 and of P-521
        64 | 132 => Reason::WrongCurve,
        _ => Reason::BadSignature,
    }
}

/// Returns whether r and s fit into 32 bytes each. On P-384 that does not happen, but the Node
/// package `jsonwebtoken` pads the numbers of a P-256 key like this when it signs ES384 with one.
fn is_padded_p256(signature: &[u8]) -> bool {
    let (r, s) = signature.split_at(signature.len() / 2);
    let is_small = |number: &[u8]| number.iter().take(16).all(|byte| *byte == 0);
    is_small(r) && is_small(s) && r.iter().any(|byte| *byte != 0)
}

/// Returns whether this is an ASN.1 sequence of two integers and nothing else.
fn is_der(signature: &[u8]) -> bool {
    let sequence = match signature {
        // Signatures over 127 bytes (P-521) need the long form of the length.
        [0x30, 0x81, length, rest @ ..] | [0x30, length, rest @ ..]
            if rest.len() == usize::from(*length) =>
        {
            rest
        }
        _ => return false,
    };
    after_integer(sequence).and_then(after_integer).is_some_and(<[u8]>::is_empty)
}

fn after_integer(bytes: &[u8]) -> Option<&[u8]> {
    match bytes {
        [0x02, length, rest @ ..] if *length > 0 => rest.get(usize::from(*length)..),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use p384::ecdsa::{DerSignature, SigningKey, signature::Signer};
    use serde_json::json;

    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_slice(&[seed; 48]).unwrap()
    }

    fn point(key: &SigningKey) -> Vec<u8> {
        key.verifying_key().to_sec1_bytes().to_vec()
    }

    fn encode(bytes: impl AsRef<[u8]>) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    fn signed(header: &Value) -> String {
        format!("{}.{}", encode(header.to_string()), encode(r#"{"exp":1}"#))
    }

    fn with(signed: &str, signature: impl AsRef<[u8]>) -> String {
        format!("{signed}.{}", encode(signature))
    }

    fn verdict(token: &str, keys: &[&SigningKey]) -> Result<(), Reason> {
        let points: Vec<Vec<u8>> = keys.iter().map(|key| point(key)).collect();
        Unverified::parse(token)?.verify(points.iter().map(Vec::as_slice)).map(drop)
    }

    #[test]
    fn signature_of_any_key_verifies() {
        let text = signed(&json!({"alg": "ES384", "typ": "JWT"}));
        let signature: Signature = key(1).sign(text.as_bytes());
        let token = with(&text, signature.to_bytes());
        assert_eq!(verdict(&token, &[&key(1)]), Ok(()));
        assert_eq!(verdict(&token, &[&key(2), &key(3), &key(1)]), Ok(()));
        assert_eq!(verdict(&token, &[&key(2)]), Err(Reason::BadSignature));
        assert_eq!(verdict(&token, &[]), Err(Reason::BadSignature));
    }

    #[test]
    fn changed_bit_breaks_signature() {
        let text = signed(&json!({"alg": "ES384", "typ": "JWT"}));
        let signature: Signature = key(1).sign(text.as_bytes());
        for index in [0, 47, 48, 95] {
            let mut bytes = signature.to_bytes().to_vec();
            bytes[index] ^= 1;
            assert_eq!(verdict(&with(&text, bytes), &[&key(1)]), Err(Reason::BadSignature));
        }
        let other = signed(&json!({"alg": "ES384"}));
        assert_eq!(
            verdict(&with(&other, signature.to_bytes()), &[&key(1)]),
            Err(Reason::BadSignature)
        );
    }

    #[test]
    fn common_mistakes_have_their_reasons() {
        let text = signed(&json!({"alg": "ES384", "typ": "JWT"}));
        let der: DerSignature = key(1).sign(text.as_bytes());
        assert_eq!(verdict(&with(&text, der.as_bytes()), &[&key(1)]), Err(Reason::DerSignature));
        assert_eq!(verdict(&with(&text, [1; 64]), &[&key(1)]), Err(Reason::WrongCurve));
        assert_eq!(verdict(&with(&text, [1; 132]), &[&key(1)]), Err(Reason::WrongCurve));
        assert_eq!(verdict(&with(&text, [1; 95]), &[&key(1)]), Err(Reason::BadSignature));
        assert_eq!(verdict(&with(&text, []), &[&key(1)]), Err(Reason::BadSignature));
        let padded = [[0; 16].as_slice(), &[1; 32], &[0; 16], &[1; 32]].concat();
        assert_eq!(verdict(&with(&text, padded), &[&key(1)]), Err(Reason::WrongCurve));
        assert_eq!(verdict(&with(&text, [0; 96]), &[&key(1)]), Err(Reason::BadSignature));
        let other_curve = with(&signed(&json!({"alg": "ES256"})), [1; 64]);
        assert_eq!(verdict(&other_curve, &[&key(1)]), Err(Reason::WrongCurve));
        for header in [
            json!({"alg": "HS256"}),
            json!({"alg": "none"}),
            json!({"typ": "JWT"}),
            json!({"alg": 1}),
        ] {
            let text = signed(&header);
            let signature: Signature = key(1).sign(text.as_bytes());
            let token = with(&text, signature.to_bytes());
            assert_eq!(verdict(&token, &[&key(1)]), Err(Reason::WrongAlgorithm), "{header}");
        }
    }

    #[test]
    fn malformed_token_is_not_a_jwt() {
        let text = signed(&json!({"alg": "ES384"}));
        let good = with(&text, [1; 96]);
        let refused = [
            String::new(),
            "x".to_owned(),
            "..".to_owned(),
            text.clone(),
            format!("{good}."),
            format!("{good}.x"),
            format!("{good}="),
            format!(" {good}"),
            good.replace('.', "%2E"),
            with(&format!("{}.{}", encode("[]"), encode("{}")), [1; 96]),
            with(&format!("{}.{}", encode("{}"), encode("1")), [1; 96]),
            with(&format!("{}.{}", encode([0xff]), encode("{}")), [1; 96]),
            with(&signed(&json!({"alg": "ES384", "crit": ["b64"]})), [1; 96]),
            format!("{}.{}.{}", encode("{}"), encode("{}"), "a+b/"),
            with(&format!("{}.{}", encode("{}"), encode(r#"{"exp":1,"exp":2}"#)), [1; 96]),
            with(&format!("{}.{}", encode(r#"{"alg":"ES384","alg":""}"#), encode("{}")), [1; 96]),
        ];
        for token in refused {
            assert_eq!(verdict(&token, &[&key(1)]), Err(Reason::NotAJwt), "{token}");
        }
    }
}
