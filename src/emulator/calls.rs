//! What was called, how often and when: `/_emulator/calls`.
//!
//! A test that must not provoke a call, or must not exceed a rate, counts here rather than in the
//! client, which retries on its own. A call is noted when it arrives, once its operation and region
//! are known, and again when it is answered; a restart forgets it. Of variant playlists and segments,
//! which one player may ask for a hundred times a second, there is the count alone.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{Router, extract::State, http::StatusCode, response::Response, routing};
use serde::Serialize;
use serde_json::json;

use super::{Shared, api::response};
use crate::{clock::Timestamp, ivs::arn::Region};

/// How many calls that name a region are kept one by one. Counts go on beyond.
const RECENT: usize = 10_000;

pub(super) fn router(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route("/_emulator/calls", routing::get(show).delete(forget))
        .with_state(Arc::clone(shared))
}

async fn show(State(shared): State<Arc<Shared>>) -> Response {
    let log = shared.calls.lock();
    response::json(StatusCode::OK, &json!({ "operations": log.operations, "recent": log.recent }))
}

async fn forget(State(shared): State<Arc<Shared>>) -> Response {
    shared.calls.forget();
    response::empty(StatusCode::NO_CONTENT)
}

/// The calls since the start, or since they were last forgotten.
#[derive(Debug, Default)]
pub(super) struct Calls(Mutex<Log>);

#[derive(Debug, Default)]
struct Log {
    operations: BTreeMap<&'static str, Count>,
    recent: VecDeque<Recent>,
    /// The number of the next call; never used twice, also after the log was emptied.
    next: u64,
    /// The number of the first call that is counted.
    first: u64,
}

#[derive(Debug, Default, Serialize)]
struct Count {
    calls: u64,
    /// Whole answers by status. A call without one is in none.
    statuses: BTreeMap<u16, u64>,
}

/// A call, as it is shown. `status` is `null` before the answer, and where none came whole.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Recent {
    #[serde(skip)]
    number: u64,
    operation: &'static str,
    region: Region,
    /// When it arrived, since the Unix epoch.
    at_millis: i64,
    status: Option<u16>,
}

/// A call that was noted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    number: u64,
    operation: &'static str,
}

impl Calls {
    /// Notes a call that arrived. Variant playlists and segments do not tell their region.
    pub(super) fn arrived(
        &self,
        operation: &'static str,
        region: Option<&Region>,
        at: Timestamp,
    ) -> Call {
        let mut log = self.lock();
        let number = log.next;
        log.next += 1;
        log.operations.entry(operation).or_default().calls += 1;
        if let Some(region) = region.cloned() {
            if log.recent.len() == RECENT {
                log.recent.pop_front();
            }
            let at_millis = at.unix_millis();
            log.recent.push_back(Recent { number, operation, region, at_millis, status: None });
        }
        Call { number, operation }
    }

    /// Notes the answer to a call.
    pub(super) fn answered(&self, call: Call, status: StatusCode) {
        let mut log = self.lock();
        if call.number < log.first {
            return;
        }
        let count = log.operations.entry(call.operation).or_default();
        *count.statuses.entry(status.as_u16()).or_default() += 1;
        // Calls are in the order of their numbers.
        if let Ok(place) = log.recent.binary_search_by_key(&call.number, |recent| recent.number)
            && let Some(recent) = log.recent.get_mut(place)
        {
            recent.status = Some(status.as_u16());
        }
    }

    fn forget(&self) {
        let mut log = self.lock();
        *log = Log { next: log.next, first: log.next, ..Log::default() };
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        // No code that holds the lock can leave the log half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(calls: &Calls) -> serde_json::Value {
        let log = calls.lock();
        json!({ "operations": log.operations, "recent": log.recent })
    }

    #[test]
    fn calls_are_counted_and_the_latest_kept() {
        let (calls, region) = (Calls::default(), "us-west-2".parse().unwrap());
        let arrive =
            |at| calls.arrived("GetChannel", Some(&region), Timestamp::from_unix_millis(at));
        let (first, second) = (arrive(1), arrive(2));
        let segment = calls.arrived("Playback", None, Timestamp::from_unix_millis(3));
        calls.answered(segment, StatusCode::PARTIAL_CONTENT);
        calls.answered(second, StatusCode::TOO_MANY_REQUESTS);
        calls.answered(first, StatusCode::OK);
        assert_eq!(
            shown(&calls),
            json!({
                "operations": {
                    "GetChannel": {"calls": 2, "statuses": {"200": 1, "429": 1}},
                    "Playback": {"calls": 1, "statuses": {"206": 1}},
                },
                "recent": [
                    {"operation": "GetChannel", "region": "us-west-2", "atMillis": 1, "status": 200},
                    {"operation": "GetChannel", "region": "us-west-2", "atMillis": 2, "status": 429},
                ],
            })
        );
        for at in 0..10_000 {
            arrive(at);
        }
        calls.answered(first, StatusCode::OK);
        let seen = shown(&calls)["operations"]["GetChannel"].clone();
        assert_eq!(seen, json!({"calls": 10_002, "statuses": {"200": 2, "429": 1}}));
        assert_eq!(shown(&calls)["recent"].as_array().unwrap().len(), RECENT);
        calls.forget();
        calls.answered(second, StatusCode::OK);
        assert_eq!(shown(&calls), json!({"operations": {}, "recent": []}));
    }
}
