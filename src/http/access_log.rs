//! One log line per request. A client that is refused repeatedly cannot flood the log: of refusals that are the
//! same, a few per second are logged, and then one line with the number of the others.

use std::{collections::HashMap, time::Duration};

use axum::{extract::MatchedPath, http::Method};
use parking_lot::Mutex;

use super::{
    problem::{ApiError, Severity},
    request::RequestFacts,
};
use crate::{
    access::Client,
    telemetry::{LogLimit, with_causes},
};

/// How many refusals of one kind are logged per second.
const LINES: u64 = 5;

const SECOND: Duration = Duration::from_secs(1);

/// The refusals that were logged within the last second.
#[derive(Debug, Default)]
pub struct AccessLog(Mutex<HashMap<Refusal, LogLimit>>);

/// What makes two refusals the same. There are few values: known codes, routes and clients.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Refusal {
    code: &'static str,
    route: String,
    client: Option<String>,
}

/// A request that was answered.
pub(super) struct Answered<'a> {
    pub(super) facts: &'a RequestFacts,
    pub(super) method: &'a Method,
    pub(super) route: Option<&'a MatchedPath>,
    pub(super) status: u16,
    pub(super) error: Option<&'a ApiError>,
    pub(super) took: Duration,
}

impl AccessLog {
    /// Logs a request, unless enough of its kind were logged within the same second.
    pub(super) fn log(&self, request: &Answered<'_>, now: Duration) {
        // A path that matches no route is the caller's text, so it is not logged.
        let route = request.route.map_or("", MatchedPath::as_str);
        let client = request.facts.client().map(|client| &**client);
        let client_id = client.map_or("", |client| client.id().as_str());
        let client_name = client.map_or("", Client::name);
        let Answered { facts, method, status, error, took, .. } = request;
        let code = error.map_or("", |error| error.problem().spec().code);
        if error.is_some() {
            let client = client.map(|client| client.id().to_string());
            if !self.admit(&Refusal { code, route: route.to_owned(), client }, now) {
                return;
            }
        }
        let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let cause = error.and_then(ApiError::cause).map(|it| with_causes(it)).unwrap_or_default();
        macro_rules! log {
            ($level:ident) => {
                tracing::$level!(
                    event = "request",
                    requestId = facts.request_id(),
                    traceId = facts.trace_id(),
                    clientId = client_id,
                    clientName = client_name,
                    %method,
                    route,
                    status,
                    code,
                    durationMs = duration_ms,
                    cause,
                    "request"
                )
            };
        }
        match error.map(|error| error.problem().spec().severity) {
            None => log!(debug),
            Some(Severity::Info) => log!(info),
            Some(Severity::Warn) => log!(warn),
            Some(Severity::Error) => log!(error),
        }
    }

    /// Logs how many refusals were not logged, for each kind whose second is over.
    pub fn summarize(&self, now: Duration) {
        for (refusal, lines) in self.take_suppressed(now) {
            report(&refusal, lines);
        }
    }

    fn admit(&self, refusal: &Refusal, now: Duration) -> bool {
        let mut limits = self.0.lock();
        let limit = limits.entry(refusal.clone()).or_insert_with(|| LogLimit::new(LINES, SECOND));
        let permitted = limit.permit(now);
        drop(limits);
        if let Some(lines) = permitted.filter(|lines| *lines > 0) {
            report(refusal, lines);
        }
        permitted.is_some()
    }

    fn take_suppressed(&self, now: Duration) -> Vec<(Refusal, u64)> {
        let mut limits = self.0.lock();
        let over = limits.extract_if(|_, limit| limit.is_over(now));
        over.map(|(refusal, limit)| (refusal, limit.unlogged()))
            .filter(|(_, lines)| *lines > 0)
            .collect()
    }
}

fn report(refusal: &Refusal, lines: u64) {
    let Refusal { code, route, client } = refusal;
    let client = client.as_deref().unwrap_or_default();
    tracing::info!(
        event = "requests_not_logged",
        code,
        route,
        clientId = client,
        lines,
        "similar refusals were not logged"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(code: &'static str, client: &str) -> Refusal {
        Refusal { code, route: "/v1/tokens".to_owned(), client: Some(client.to_owned()) }
    }

    #[test]
    fn same_refusals_are_logged_a_few_times_a_second_and_then_counted() {
        let log = AccessLog::default();
        let begin = Duration::from_secs(100);
        let admitted =
            |refusal: &Refusal, now| (0..100).filter(|_| log.admit(refusal, now)).count();
        let (forbidden, other) = (refusal("forbidden", "a"), refusal("forbidden", "b"));
        assert_eq!(admitted(&forbidden, begin), 5);
        assert_eq!(admitted(&other, begin), 5);
        assert_eq!(admitted(&forbidden, begin + SECOND / 2), 0);
        assert!(log.take_suppressed(begin + SECOND / 2).is_empty());

        let mut suppressed = log.take_suppressed(begin + SECOND);
        suppressed.sort_by_key(|(_, lines)| *lines);
        assert_eq!(suppressed, [(other, 95), (forbidden.clone(), 195)]);
        assert!(log.take_suppressed(begin + 9 * SECOND).is_empty());
        assert_eq!(admitted(&forbidden, begin + 9 * SECOND), 5);
    }
}
