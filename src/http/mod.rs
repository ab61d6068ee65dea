//! The HTTP API: axum, with one file per resource. The only module with status codes.
//!
//! [`router`] puts it together. A request passes the [`layers`] from the outside in, is checked by the
//! [`extract`]ors in the order in which its handler names them, and is answered with JSON or a [`problem`].
//! Handlers have no rules of their own: they read a body of `api`, call a use case of `service`, and send what it
//! returns.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::Method,
    routing::{get, post},
};

use crate::{
    access::{audit::AuditLog, registry::Registry},
    clock::{Clock, Moment},
    ivs::{IvsRegions, Skew, arn::Region},
    keys::{rotation::KeyManager, signing::SigningKeys},
    service::{Channels, Inspections, Minting, key_pairs::KeyPairs, revocation::Revocations},
    telemetry::metrics::Metrics,
};

pub use self::settings::{Settings, TlsFiles};
use self::{cors_origin::CorsOrigin, demo::Demo, metrics::MetricsPlace};

pub mod access_log;
pub mod channels;
pub mod cors_origin;
pub mod demo;
pub mod docs;
pub mod extract;
pub mod health;
mod idempotency;
pub mod jwks;
pub mod key_pairs;
pub mod layers;
pub mod metrics;
pub mod openapi;
pub mod problem;
pub mod protocol;
pub mod request;
mod respond;
pub mod rotations;
mod settings;
pub mod tokens;
pub mod viewer_sessions;

/// What handlers use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Api(Arc<Components>);

impl std::ops::Deref for Api {
    type Target = Components;

    fn deref(&self) -> &Components {
        &self.0
    }
}

impl From<Components> for Api {
    fn from(components: Components) -> Self {
        Self(Arc::new(components))
    }
}

impl Api {
    /// Returns by how much the clock of this process differs from that of IVS in the region, if that is more than
    /// `viewers.clock_allowance`.
    pub fn clock_skew(&self, region: &Region) -> Option<Skew> {
        let clocks = self.ivs.clocks(region, Moment::of(&self.clock));
        clocks.skew_over(self.revocations.sessions.clock_allowance())
    }
}

/// The parts of [`Api`], made by `app`.
#[derive(Debug)]
pub struct Components {
    /// The time.
    pub clock: Clock,
    /// The metrics of this process.
    pub metrics: Metrics,
    /// The clients of the API.
    pub registry: Arc<Registry>,
    /// The audit log.
    pub audit: AuditLog,
    /// The channels that this service covers.
    pub channels: Arc<Channels>,
    /// Mints tokens.
    pub minting: Minting,
    /// Inspects tokens.
    pub inspections: Inspections,
    /// Each region's active signer.
    pub keys: Arc<SigningKeys>,
    /// Manages key pairs and rotates them.
    pub key_pairs: KeyPairs,
    /// The managers of key pairs, by region.
    pub key_managers: BTreeMap<Region, Arc<KeyManager>>,
    /// Revokes viewers.
    pub revocations: Revocations,
    /// The regions.
    pub ivs: IvsRegions,
    /// The limits of requests.
    pub limits: Limits,
    /// The state of the server's certificate.
    pub certificate: health::CertificateStatus,
    /// Whether the process is shutting down.
    pub shutdown: health::ShutdownFlag,
    /// The log of requests.
    pub access_log: access_log::AccessLog,
}

/// The limits of requests.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest body, in bytes (`server.max_body`).
    pub max_body: usize,
    /// The longest that a request may take (`server.request_timeout`).
    pub request_timeout: Duration,
}

/// Returns the routes of the HTTP API: `/metrics` unless the operations listener serves it, and the demo page with `demo`.
pub fn router(
    api: Api,
    cors_origins: &[CorsOrigin],
    metrics_place: MetricsPlace,
    demo: Option<&Demo>,
) -> Router {
    let bounded = Router::new()
        .route("/v1/tokens", post(tokens::mint_token))
        .route("/v1/tokens/batch", post(tokens::mint_token_batch))
        .route("/v1/tokens/inspect", post(tokens::inspect_token))
        .route("/v1/channels/{channel}", get(channels::get_channel))
        .route("/v1/channels/{channel}/refresh", post(channels::refresh_channel))
        .route("/v1/key-pairs", get(key_pairs::list_key_pairs).post(key_pairs::create_key_pair))
        .route(
            "/v1/key-pairs/rotations",
            get(rotations::list_rotations).post(rotations::start_rotation),
        )
        .route(
            "/v1/key-pairs/rotations/{id}",
            get(rotations::get_rotation).delete(rotations::cancel_rotation),
        )
        .route(
            "/v1/key-pairs/{key_pair}",
            get(key_pairs::get_key_pair).delete(key_pairs::delete_key_pair),
        );
    // A revocation has a time limit of its own.
    let revocations = "/v1/viewer-sessions/revocations";
    let bounded = layers::timed(bounded, api.limits.request_timeout)
        .route(revocations, post(viewer_sessions::revoke_viewer_sessions));
    let bounded = layers::shedding(bounded);
    let demo = demo.map(|demo| demo.routes(bounded.clone(), &api.clock)).unwrap_or_default();
    let metrics = match metrics_place {
        MetricsPlace::Api => get(metrics::get_metrics),
        MetricsPlace::Operations => get(metrics::served_elsewhere),
    };
    let document = openapi::document_of(&api);
    let routes = bounded
        .merge(demo)
        .route("/.well-known/jwks.json", get(jwks::get_jwks))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", metrics)
        .route("/openapi.json", get(move || std::future::ready(openapi::get_openapi(document))))
        .route("/docs", get(docs::overview))
        .route("/docs/errors/{code}", get(docs::problem))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        // The extractor limits bodies to `server.max_body`; axum's own limit would come first.
        .layer(DefaultBodyLimit::disable())
        .with_state(api.clone());
    layers::around(routes, cors_origins, api)
}

/// Returns the routes of `server.operations_listen`: metrics and probes, without a credential.
pub fn operations_router(api: Api) -> Router {
    let routes = Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::get_metrics_openly))
        .fallback(no_such_operations_path)
        .method_not_allowed_fallback(no_such_method)
        .with_state(api.clone());
    layers::around(routes, &[], api)
}

async fn no_such_path() -> problem::ApiError {
    problem::ApiError::new(
        problem::ProblemType::NotFound,
        "There is nothing at this path; /openapi.json lists the paths.",
    )
}

async fn no_such_operations_path() -> problem::ApiError {
    problem::ApiError::new(
        problem::ProblemType::NotFound,
        "This address serves /metrics, /healthz and /readyz; the API is on server.listen.",
    )
}

async fn no_such_method(request: Request) -> problem::ApiError {
    // A method is the caller's text, so only a known one is repeated.
    let method = match *request.method() {
        Method::GET | Method::POST | Method::PUT | Method::DELETE | Method::PATCH => {
            request.method().as_str()
        }
        _ => "This method",
    };
    problem::ApiError::new(
        problem::ProblemType::MethodNotAllowed,
        format!("{method} is not served at this path; see the allow header."),
    )
}
