//! `/.well-known/jwks.json`: the public keys, for whoever wants to verify a token.

use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::Response,
};
use serde::Serialize;
use utoipa::{ToSchema, openapi::ObjectBuilder};

use super::{Api, openapi::one_of, respond};

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
    #[schema(schema_with = ec)]
    kty: &'static str,
    #[schema(schema_with = p384)]
    crv: &'static str,
    x: String,
    y: String,
    /// The fingerprint, as Amazon IVS shows it.
    kid: String,
    #[schema(schema_with = es384)]
    alg: &'static str,
    #[schema(schema_with = sig)]
    r#use: &'static str,
}

fn ec() -> ObjectBuilder {
    one_of(["EC"])
}

fn p384() -> ObjectBuilder {
    one_of(["P-384"])
}

fn es384() -> ObjectBuilder {
    one_of(["ES384"])
}

fn sig() -> ObjectBuilder {
    one_of(["sig"])
}

/// Read the public keys of the active, pending and draining pairs of every region.
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
    let mut response = respond::json(&JwkSet { keys });
    // Short: a new key is announced here before it signs.
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
    response
}
