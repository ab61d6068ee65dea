//! `/.well-known/jwks.json`: the public keys, for anyone who wants to verify a token.

use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::Response,
};

use super::{Api, respond};
use crate::api::JwkSet;

/// Read the public keys of the active, pending and draining pairs of every region.
#[utoipa::path(
    get, path = "/.well-known/jwks.json", operation_id = "getJwks", tag = "Key pairs", security(()),
    responses((status = 200, description = "A JWK Set", body = JwkSet))
)]
pub async fn get_jwks(State(api): State<Api>) -> Response {
    let published: Vec<_> =
        api.ivs.names().iter().flat_map(|region| api.keys.public_keys(region)).collect();
    let mut response =
        respond::json(&JwkSet::of(published.iter().map(|published| &published.public_key)));
    // Short: a new key is announced here before it signs.
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
    response
}
