//! `/metrics`: what this process counted, for Prometheus.
//!
//! It is served in one place: by the listener for operations to whoever reaches that, or, where there
//! is none, beside the API for clients with a scope of its own. Counters are kept as things happen;
//! how keys stand is looked at when somebody asks.

use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};

use super::{
    Api,
    extract::{Caller, MetricsRead},
    problem::{ApiError, ProblemType},
    respond::no_store,
};
use crate::{clock::Moment, ivs::arn::Region, keys::inventory::KeyPairState};

const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Where `/metrics` is served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MetricsPlace {
    /// Beside the API, for clients with the scope `metrics:read`.
    Api,
    /// On `server.operations_listen`, without a credential.
    Operations,
}

/// What this process counted, in the text format of `OpenMetrics` 1.0. Where the configuration sets
/// `server.operations_listen`, it is served there alone, without a credential, and this is 404.
#[utoipa::path(
    get, path = "/metrics", operation_id = "getMetrics", tag = "Operations",
    responses((
        status = 200, description = "Everything that was counted", body = String,
        content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    ))
)]
pub async fn get_metrics(
    State(api): State<Api>,
    _: Caller<MetricsRead>,
) -> Result<Response, ApiError> {
    write_metrics(&api)
}

/// The same for everybody, on a listener that is not for everybody.
pub async fn get_metrics_openly(State(api): State<Api>) -> Result<Response, ApiError> {
    write_metrics(&api)
}

/// In the place of [`get_metrics`] where metrics are served by the other listener.
pub async fn served_elsewhere() -> ApiError {
    ApiError::new(
        ProblemType::NotFound,
        "Metrics are served on the address of server.operations_listen, not here.",
    )
}

fn write_metrics(api: &Api) -> Result<Response, ApiError> {
    for region in api.ivs.names() {
        observe_keys(api, region);
        let offset = api.clocks(region, Moment::of(&api.clock)).offset_millis();
        if let Some(offset) = offset {
            api.metrics.set_ivs_clock_offset(region.as_str(), offset);
        }
    }
    let text = api.metrics.encode().map_err(ApiError::internal)?;
    Ok(no_store(([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response()))
}

fn observe_keys(api: &Api, region: &Region) {
    let (pairs, _) = api.inventory.key_pairs(region);
    // Also those without a pair, so that a series falls to 0 rather than out of sight.
    for state in KeyPairState::ALL {
        let keys = pairs.iter().filter(|pair| pair.state == state).count();
        api.metrics.set_key_state(region.as_str(), state.as_str(), keys);
    }
    if let Some(age) = api.keys.status(region).keyring_age {
        api.metrics.set_keyring_age(region.as_str(), age);
    }
}
