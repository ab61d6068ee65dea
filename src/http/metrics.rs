//! `/metrics`: the counters and gauges of this process, for Prometheus.
//!
//! They are served in one place: by the operations listener without a credential, or, if there
//! is none, beside the API for clients with `metrics:read`. Counters are updated as events happen;
//! the state of keys is read when the metrics are read.

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};

use super::{
    Api,
    extract::{Caller, MetricsRead},
    problem::{ApiError, ProblemType},
    respond::no_store,
};
use crate::{
    clock::Moment, ivs::arn::Region, keys::rotation::KeyPairState,
    telemetry::metrics::ExpositionFormat,
};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Where `/metrics` is served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MetricsPlace {
    /// Beside the API, for clients with the scope `metrics:read`.
    Api,
    /// On `server.operations_listen`, without a credential.
    Operations,
}

/// Read the metrics of this process, in the text format that `Accept` prefers. Where the configuration sets
/// `server.operations_listen`, they are served there alone, without a credential, and this is 404.
#[utoipa::path(
    get, path = "/metrics", operation_id = "getMetrics", tag = "Operations",
    security(("credential" = ["metrics:read"])),
    responses((
        status = 200, description = "The metrics",
        content(
            (String = "application/openmetrics-text; version=1.0.0; charset=utf-8"),
            (String = "text/plain; version=0.0.4; charset=utf-8")
        )
    ))
)]
pub async fn get_metrics(
    State(api): State<Api>,
    _: Caller<MetricsRead>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    write_metrics(&api, &headers)
}

/// The same without a credential, on the operations listener.
pub async fn get_metrics_openly(
    State(api): State<Api>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    write_metrics(&api, &headers)
}

/// In place of [`get_metrics`] if the operations listener serves the metrics.
pub async fn served_elsewhere() -> ApiError {
    ApiError::new(
        ProblemType::NotFound,
        "Metrics are served on the address of server.operations_listen, not here.",
    )
}

fn write_metrics(api: &Api, headers: &HeaderMap) -> Result<Response, ApiError> {
    for region in api.ivs.names() {
        observe_keys(api, region);
        let offset = api.ivs.clocks(region, Moment::of(&api.clock)).offset_millis();
        if let Some(offset) = offset {
            api.metrics.set_ivs_clock_offset(region.as_str(), offset);
        }
    }
    api.metrics.set_clients_not_reloaded(api.registry.fault().is_some());
    api.metrics.set_audit_failing(api.audit.is_failing());
    let format = accepted_format(headers);
    let content_type = match format {
        ExpositionFormat::OpenMetrics => OPEN_METRICS,
        ExpositionFormat::Classic => CLASSIC,
    };
    let text = api.metrics.encode(format).map_err(ApiError::internal)?;
    let headers = [(header::CONTENT_TYPE, content_type), (header::VARY, "accept")];
    Ok(no_store((headers, text).into_response()))
}

/// Returns the format that `Accept` prefers; `OpenMetrics` if it prefers neither or accepts neither (RFC 9110
/// allows that, and a scraper reads the content type).
fn accepted_format(headers: &HeaderMap) -> ExpositionFormat {
    let ranges: Vec<MediaRange<'_>> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(MediaRange::parse)
        .collect();
    let classic = quality(&ranges, "text", "plain", &["0.0.4"]);
    let open = quality(&ranges, "application", "openmetrics-text", &["1.0.0", "0.0.1"]);
    if classic > open { ExpositionFormat::Classic } else { ExpositionFormat::OpenMetrics }
}

/// One entry of `Accept`.
struct MediaRange<'a> {
    kind: &'a str,
    subtype: &'a str,
    version: Option<&'a str>,
    quality: f32,
}

impl<'a> MediaRange<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let mut range = Self { kind, subtype, version: None, quality: 1.0 };
        for parameter in parts {
            let Some((name, value)) = parameter.split_once('=') else { continue };
            let value = value.trim().trim_matches('"');
            if name.trim().eq_ignore_ascii_case("q") {
                range.quality = value.parse().ok().filter(|q| (0.0..=1.0).contains(q))?;
            } else if name.trim().eq_ignore_ascii_case("version") {
                range.version = Some(value);
            }
        }
        Some(range)
    }

    /// Returns how closely the range describes a type: 2 for the type itself, 0 for `*/*`, `None` if it does not.
    fn specificity(&self, kind: &str, subtype: &str, versions: &[&str]) -> Option<u8> {
        let is_served = self.version.is_none_or(|version| versions.contains(&version));
        match (self.kind, self.subtype) {
            ("*", "*") => Some(0),
            (a, "*") if a.eq_ignore_ascii_case(kind) => Some(1),
            (a, b) if a.eq_ignore_ascii_case(kind) && b.eq_ignore_ascii_case(subtype) => {
                is_served.then_some(2)
            }
            _ => None,
        }
    }
}

/// Returns the quality that the closest ranges give to a type; 0 if it is not acceptable.
fn quality(ranges: &[MediaRange<'_>], kind: &str, subtype: &str, versions: &[&str]) -> f32 {
    let matching = ranges.iter().filter_map(|range| {
        range.specificity(kind, subtype, versions).map(|specificity| (specificity, range.quality))
    });
    let closest = matching.max_by(|(a, p), (b, q)| a.cmp(b).then(p.total_cmp(q)));
    closest.map_or(0.0, |(_, quality)| quality)
}

fn observe_keys(api: &Api, region: &Region) {
    let pairs = api.key_managers.get(region).map(|keys| keys.key_pairs().0).unwrap_or_default();
    // States without a pair, too, so that a series drops to 0 instead of disappearing.
    for state in KeyPairState::ALL {
        let keys = pairs.iter().filter(|pair| pair.state == state).count();
        api.metrics.set_key_state(region.as_str(), state.as_str(), keys);
    }
    if let Some(age) = api.keys.status(region).keyring_age {
        api.metrics.set_keyring_age(region.as_str(), age);
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn format(accept: &[&'static str]) -> ExpositionFormat {
        let values = accept.iter().map(|value| (header::ACCEPT, HeaderValue::from_static(value)));
        accepted_format(&values.collect())
    }

    #[test]
    fn accept_chooses_the_format() {
        for accept in [
            "text/plain",
            "Text/Plain; version=0.0.4; charset=utf-8",
            "text/*",
            "text/plain;q=0.2, application/openmetrics-text;q=0.1",
            "*/*;q=0.1, text/plain;q=0.2",
            "application/openmetrics-text;version=2.0.0, text/plain;version=0.0.4;q=0.1",
            "application/openmetrics-text;q=0, */*",
        ] {
            assert_eq!(format(&[accept]), ExpositionFormat::Classic, "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/html, */*;q=0.8",
            "application/openmetrics-text",
            "text/plain, application/openmetrics-text",
            "text/plain;q=0, */*;q=0.1",
            "text/plain;version=1.0.0",
            "text/plain;q=2",
            "image/png",
            // Prometheus 2
            "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=\
             0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
        ] {
            assert_eq!(format(&[accept]), ExpositionFormat::OpenMetrics, "{accept}");
        }
        assert_eq!(format(&[]), ExpositionFormat::OpenMetrics);
        assert_eq!(format(&["image/png", "text/plain"]), ExpositionFormat::Classic);
    }
}
