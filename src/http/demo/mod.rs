//! The demo page of `dev`: tokens, playback, revocation, metadata and rotations, to look at.
//!
//! `serve` has none. Everything stands in the binary; the page loads nothing from elsewhere but the
//! stream that it plays. It acts through `/demo`: all of `/v1` again, and the two calls to Amazon IVS
//! that the API does not have (list channels, put metadata).
//!
//! The page holds no credential. `/` gives the browser a cookie, and [`visitor`] puts the credential
//! of `dev` in its place once it knows that a request comes from this page on this machine. From
//! there on it is judged as any call is; outside of `/demo` the cookie means nothing.

mod ivs;
mod pace;
mod page;
mod visitor;

use std::{net::SocketAddr, sync::Arc};

use axum::{Router, middleware::from_fn_with_state, routing::get};
use rand::{CryptoRng, RngExt};
use secrecy::SecretString;

use super::Api;
use crate::{clock::Clock, secret::ExposeSecret};

/// The demo page of one process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Demo(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Where this process listens, with the real port.
    address: SocketAddr,
    /// Has the port in it, since all ports of a host share their cookies.
    cookie_name: String,
    /// What the cookie holds; of this process alone.
    cookie: SecretString,
    /// What the cookie stands for.
    credential: SecretString,
    /// The origin of playback URLs.
    playback_origin: String,
}

impl Demo {
    /// For a process that listens on `address`, whose page calls with `credential` and plays from
    /// `playback_origin`.
    pub fn new(
        address: SocketAddr,
        credential: SecretString,
        playback_origin: String,
        rng: &mut impl CryptoRng,
    ) -> Self {
        let cookie = format!("{:032x}{:032x}", rng.random::<u128>(), rng.random::<u128>());
        Self(Arc::new(Inner {
            address,
            cookie_name: format!("ivs-playback-auth-demo-{}", address.port()),
            cookie: cookie.into(),
            credential,
            playback_origin,
        }))
    }

    /// The page, and under `/demo` what it calls: `v1` and calls of its own.
    pub(super) fn routes(&self, v1: Router<Api>, clock: &Clock) -> Router<Api> {
        let calls = v1
            .merge(ivs::routes(clock))
            .layer(from_fn_with_state(self.clone(), visitor::stand_in))
            .layer(from_fn_with_state(self.clone(), visitor::only_here));
        Router::new()
            .route("/", get(page::index))
            .route("/demo/{asset}", get(page::asset))
            .layer(from_fn_with_state(self.clone(), visitor::only_here))
            .with_state(self.clone())
            .merge(Router::new().nest("/demo", calls))
    }

    /// `Set-Cookie`: for this page's calls alone, and for no script.
    fn set_cookie(&self) -> SecretString {
        let Inner { cookie_name, cookie, .. } = &*self.0;
        let cookie = cookie.expose_secret();
        format!("{cookie_name}={cookie}; Path=/demo; HttpOnly; SameSite=Strict").into()
    }
}
