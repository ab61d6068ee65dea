//! `/.well-known/jwks.json`: the public keys, for whoever wants to verify a token.

use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::Response,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Api, respond::json};

/// A JWK Set (RFC 7517).
#[derive(Debug, Serialize, ToSchema)]
pub struct JwkSet {
    keys: Vec<Jwk>,
}

/// One P-384 public key.
#[derive(Debug, Serialize, ToSchema)]
pub struct Jwk {
    kty: &'static str,
    crv: &'static str,
    x: String,
    y: String,
    /// The fingerprint, as Amazon IVS shows it.
    kid: String,
    alg: &'static str,
    r#use: &'static str,
}

/// Public keys of active, pending and draining pairs of every region.
#[utoipa::path(
    get, path = "/.well-known/jwks.json", operation_id = "getJwks", tag = "Key pairs", security(()),
    responses((status = 200, description = "A JWK Set", body = JwkSet))
)]
pub async fn get_jwks(State(api): State<Api>) -> Response {
    let mut keys: Vec<Jwk> = Vec::new();
    let published = api.ivs.names().iter().flat_map(|region| api.keys.public_keys(region));
    for published in published {
        let (x, y) = published.public_key.jwk_coordinates();
        let kid = published.fingerprint.to_string();
        // The same pair may have been imported into several regions.
        if keys.iter().all(|known| known.kid != kid) {
            keys.push(Jwk { kty: "EC", crv: "P-384", x, y, kid, alg: "ES384", r#use: "sig" });
        }
    }
    let mut response = json(&JwkSet { keys });
    // Short: a new key is announced here before it signs.
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
    response
}
