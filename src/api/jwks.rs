//! `/.well-known/jwks.json`: the public keys, for anyone who wants to verify a token.

use serde::Serialize;
use utoipa::ToSchema;

use crate::keys::material::PublicKey;

/// A JWK Set (RFC 7517).
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"keys": [{
    "kty": "EC", "crv": "P-384", "alg": "ES384", "use": "sig",
    "x": "qofKIr6LBTeOscce8yCtdG4dO2KLp5uYWfdB4IJUKjhVAvJdv1UpbDpUXjhydgq3",
    "y": "NhfeSpYmLG9dnpi_kpLcKfj0Hb0omhR86doxE7XwuMAKYLHOHX6BnXpDHXyQ6g5f",
    "kid": "98:0d:1a:a0:19:96:1e:ea:0a:0a:2c:9a:42:19:2b:e7"
}]}))]
pub struct JwkSet {
    keys: Vec<Jwk>,
}

/// One P-384 public key.
#[derive(Debug, Serialize, ToSchema)]
pub struct Jwk {
    #[schema(pattern = "^EC$")]
    kty: &'static str,
    #[schema(pattern = "^P-384$")]
    crv: &'static str,
    x: String,
    y: String,
    /// The fingerprint, as Amazon IVS shows it.
    kid: String,
    #[schema(pattern = "^ES384$")]
    alg: &'static str,
    #[schema(pattern = "^sig$")]
    r#use: &'static str,
}

impl JwkSet {
    /// Makes a set of keys, each of which it lists once.
    pub fn of<'a>(public_keys: impl Iterator<Item = &'a PublicKey>) -> Self {
        let mut keys: Vec<Jwk> = Vec::new();
        for key in public_keys {
            let (x, y) = key.jwk_coordinates();
            let kid = key.fingerprint().to_string();
            if keys.iter().all(|known| known.kid != kid) {
                keys.push(Jwk { kty: "EC", crv: "P-384", x, y, kid, alg: "ES384", r#use: "sig" });
            }
        }
        Self { keys }
    }
}
