//! The layers around the routes: request id, problem bodies, CORS, time-out, load shedding, panics.
//!
//! From the outside in: `finish` (request id, problem body, metrics, log line), CORS, panics, and on
//! the routes of the API load shedding and the time-out. Health checks are outside the last two, so
//! that an orchestrator does not restart a process for being busy.

use std::{any::Any, time::Duration};

use axum::{
    Router,
    body::Body,
    error_handling::HandleErrorLayer,
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Method, header, request::Parts},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
};
use tower::{
    BoxError, ServiceBuilder, limit::GlobalConcurrencyLimitLayer, load_shed::error::Overloaded,
};
use tower_http::{
    catch_panic::CatchPanicLayer,
    cors::{AllowOrigin, CorsLayer},
};

use super::{
    Api,
    access_log::Answered,
    cors_origin::CorsOrigin,
    problem::{ApiError, ProblemType, write_head},
    protocol,
    request::{RequestFacts, X_REQUEST_ID},
};
use crate::{
    access::audit::{Kind, Outcome, Record},
    telemetry::metrics::Metrics,
};

/// The most requests in flight; further ones are refused with `overloaded`.
///
/// A mint that waits for Amazon IVS takes a few kilobytes, so a traffic spike for channels that are not cached fits
/// into some tens of megabytes; at worst each holds a body of `server.max_body`.
pub const MAX_IN_FLIGHT: usize = 8192;

/// How long a browser may remember a preflight.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_mins(10);

/// Sheds load.
pub fn shedding<S: Clone + Send + Sync + 'static>(routes: Router<S>) -> Router<S> {
    routes.layer(
        ServiceBuilder::new()
            .layer(HandleErrorLayer::new(refuse_overload))
            .load_shed()
            // One semaphore for all routes; axum applies a layer to each of them separately.
            .layer(GlobalConcurrencyLimitLayer::new(MAX_IN_FLIGHT)),
    )
}

/// Bounds the time of a request.
pub fn timed<S: Clone + Send + Sync + 'static>(
    routes: Router<S>,
    request_timeout: Duration,
) -> Router<S> {
    routes.layer(from_fn(move |request: Request, next: Next| async move {
        match within(request_timeout, next.run(request)).await {
            Ok(response) => response,
            Err(error) => error.into_response(),
        }
    }))
}

/// Returns the result of `future` if it is there within `server.request_timeout`.
pub(super) async fn within<T>(
    request_timeout: Duration,
    future: impl Future<Output = T>,
) -> Result<T, ApiError> {
    tokio::time::timeout(request_timeout, future).await.map_err(|_| {
        let seconds = request_timeout.as_secs_f64();
        let detail = format!(
            "The request took longer than {seconds} s, the limit of server.request_timeout."
        );
        ApiError::new(ProblemType::Timeout, detail)
    })
}

/// Puts the outer layers around all routes.
pub fn around<S: Clone + Send + Sync + 'static>(
    routes: Router<S>,
    cors_origins: &[CorsOrigin],
    api: Api,
) -> Router<S> {
    let routes = routes.layer(from_fn(protocol::check));
    let routes = routes.layer(CatchPanicLayer::custom(answer_panic));
    let routes = if cors_origins.is_empty() { routes } else { routes.layer(cors(cors_origins)) };
    routes.layer(from_fn_with_state(api, finish))
}

fn cors(origins: &[CorsOrigin]) -> CorsLayer {
    let origins = origins.to_vec();
    let allowed = AllowOrigin::predicate(move |origin: &HeaderValue, _: &Parts| {
        origin.to_str().is_ok_and(|origin| origins.iter().any(|allowed| allowed.allows(origin)))
    });
    CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            HeaderName::from_static("idempotency-key"),
            X_REQUEST_ID,
        ])
        .expose_headers([X_REQUEST_ID, header::RETRY_AFTER, header::WWW_AUTHENTICATE])
        .max_age(PREFLIGHT_MAX_AGE)
}

/// The outermost layer: assigns the request id, records an authenticated refusal, writes the body of a problem, counts
/// and logs the outcome.
async fn finish(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let started = api.clock.monotonic();
    let facts = RequestFacts::of(&request);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    request.extensions_mut().insert(facts.clone());

    let mut response = next.run(request).await;

    if let Ok(value) = HeaderValue::from_str(facts.request_id()) {
        response.headers_mut().insert(X_REQUEST_ID, value);
    }
    let mut error = response.extensions_mut().remove::<ApiError>();
    if let Some(refusal) = &error
        && let Err(unavailable) =
            record_refusal(&api, &facts, &method, route.as_ref(), refusal).await
    {
        write_head(&unavailable, &mut response);
        error = Some(unavailable);
    }
    if let Some(error) = &error {
        write_problem(&mut response, error, &facts);
    }
    let now = api.clock.monotonic();
    let took = now.saturating_sub(started);
    count_end(&api.metrics, &method, route.as_ref(), &response, error.as_ref(), took);
    let answered = Answered {
        facts: &facts,
        method: &method,
        route: route.as_ref(),
        status: response.status().as_u16(),
        error: error.as_ref(),
        took,
    };
    api.access_log.log(&answered, now);
    response
}

/// Records the refusal of a known client, unless the handler recorded the request. An unknown caller
/// leaves no record, or anyone could fill the disk.
async fn record_refusal(
    api: &Api,
    facts: &RequestFacts,
    method: &Method,
    route: Option<&MatchedPath>,
    error: &ApiError,
) -> Result<(), ApiError> {
    let Some(client) = facts.client().filter(|_| !facts.is_audited()) else {
        return Ok(());
    };
    if error.problem() == ProblemType::AuditUnavailable {
        return Ok(());
    }
    let actor = facts.sent_by(client);
    let record = Record {
        method: Some(method.as_str()),
        route: route.map(MatchedPath::as_str),
        code: Some(error.problem().spec().code),
        ..Record::new(api.clock.now(), &actor, (Kind::Refusal, "refusal"), Outcome::Refused)
    };
    api.audit.record(&record).await.map_err(ApiError::from)
}

fn write_problem(response: &mut Response, error: &ApiError, facts: &RequestFacts) {
    let problem = error.to_problem(Some(facts.request_id()), false);
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    *response.body_mut() = Body::from(body);
}

fn count_end(
    metrics: &Metrics,
    method: &Method,
    route: Option<&MatchedPath>,
    response: &Response,
    error: Option<&ApiError>,
    took: Duration,
) {
    // Methods and paths are the caller's text, and labels are kept forever, so only known ones are used.
    let method = match *method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PUT
        | Method::PATCH
        | Method::DELETE
        | Method::OPTIONS => method.as_str(),
        _ => "other",
    };
    let route = route.map_or("unmatched", MatchedPath::as_str);
    metrics.request(method, route, response.status().as_u16(), took);
    if let Some(error) = error {
        metrics.refusal(error.problem().spec().code);
    }
}

async fn refuse_overload(error: BoxError) -> ApiError {
    if error.is::<Overloaded>() {
        ApiError::new(
            ProblemType::Overloaded,
            "More requests are in flight than this process takes; try again shortly.",
        )
        .retry_after(Duration::from_secs(1))
    } else {
        ApiError::internal(std::io::Error::other(error))
    }
}

/// The message of a panic may contain anything, so it is dropped (`telemetry` logs the place).
fn answer_panic(_: Box<dyn Any + Send + 'static>) -> Response {
    ApiError::internal(std::io::Error::other("a handler panicked")).into_response()
}
