//! The demo page of `dev`, which shows tokens, playback, revocation, metadata and rotations.
//!
//! `serve` has none. The binary contains the whole page, which loads nothing from elsewhere but the
//! stream that it plays. It calls `/demo`: all of `/v1` again, and the two calls to Amazon IVS
//! that the API does not have (list channels, put metadata).
//!
//! The page holds no credential. `/` gives the browser a cookie, and [`visitor`] puts a credential
//! in its place once it knows that a request comes from this page: that of `dev` on this machine, and
//! with `--public-demo` one with fewer scopes for everyone else. From there on it is handled like any
//! other call; outside of `/demo` the cookie means nothing.

mod ivs;
mod pace;
mod page;
mod visitor;

use std::{net::SocketAddr, sync::Arc};

use axum::{Router, middleware::from_fn_with_state, routing::get};
use rand::{CryptoRng, RngExt};
use secrecy::SecretString;
use url::Url;

use self::visitor::Visitor;
use super::Api;
use crate::{clock::Clock, secret::ExposeSecret};

/// The demo page of one process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Demo(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Where this process listens, with the real port.
    address: SocketAddr,
    /// Contains the port, since all ports of a host share their cookies.
    cookie_name: String,
    /// For browsers on this machine.
    local: Access,
    /// For everyone else, under the host of this URL alone.
    public: Option<(Url, Access)>,
    /// The origin of playback URLs.
    playback_origin: String,
}

/// What a visitor of the page gets.
#[derive(Debug)]
struct Access {
    /// The value of the cookie, valid for this process only.
    cookie: SecretString,
    /// The credential that the cookie stands for.
    credential: SecretString,
}

impl Access {
    fn new(credential: SecretString, rng: &mut impl CryptoRng) -> Self {
        let cookie = format!("{:032x}{:032x}", rng.random::<u128>(), rng.random::<u128>());
        Self { cookie: cookie.into(), credential }
    }
}

/// Shows the page to callers on other machines, too.
#[derive(Debug)]
pub struct PublicDemo {
    /// The page is shown under the host of this URL.
    pub url: Url,
    /// The credential of those visitors. Its scopes are all that they may do.
    pub credential: SecretString,
}

impl Demo {
    /// For a process that listens on `address`, whose page calls with `credential` on this machine and
    /// plays from `playback_origin`.
    pub fn new(
        address: SocketAddr,
        credential: SecretString,
        public: Option<PublicDemo>,
        playback_origin: String,
        rng: &mut impl CryptoRng,
    ) -> Self {
        Self(Arc::new(Inner {
            address,
            cookie_name: format!("ivs-playback-auth-demo-{}", address.port()),
            local: Access::new(credential, rng),
            public: public.map(|public| (public.url, Access::new(public.credential, rng))),
            playback_origin,
        }))
    }

    /// Returns the routes of the page, and under `/demo` what it calls: `v1` and calls of its own.
    pub(super) fn routes(&self, v1: Router<Api>, clock: &Clock) -> Router<Api> {
        let calls = v1
            .merge(ivs::routes(clock))
            .layer(from_fn_with_state(self.clone(), visitor::stand_in))
            .layer(from_fn_with_state(self.clone(), visitor::admit));
        Router::new()
            .route("/", get(page::index))
            .route("/demo/{asset}", get(page::asset))
            .layer(from_fn_with_state(self.clone(), visitor::admit))
            .with_state(self.clone())
            .merge(Router::new().nest("/demo", calls))
    }

    /// Returns `Set-Cookie`: for the calls of this page only, and for no script.
    fn set_cookie(&self, visitor: Visitor) -> SecretString {
        let cookie = self.0.access(visitor).cookie.expose_secret();
        let secure = if self.0.scheme(visitor) == "https" { "; Secure" } else { "" };
        let name = &self.0.cookie_name;
        format!("{name}={cookie}; Path=/demo; HttpOnly; SameSite=Strict{secure}").into()
    }
}

impl Inner {
    fn access(&self, visitor: Visitor) -> &Access {
        match (visitor, &self.public) {
            (Visitor::Public, Some((_, access))) => access,
            (Visitor::Local | Visitor::Public, _) => &self.local,
        }
    }

    /// Returns the scheme under which a visitor's browser reaches the page.
    fn scheme(&self, visitor: Visitor) -> &str {
        match (visitor, &self.public) {
            (Visitor::Public, Some((url, _))) => url.scheme(),
            (Visitor::Local | Visitor::Public, _) => "http",
        }
    }
}
