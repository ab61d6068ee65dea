//! The log of calls: `/_emulator/calls`.
//!
//! A test that must not cause a call, or must not exceed a rate, counts here rather than in the
//! client, which retries on its own. A call is recorded when it arrives, once its operation and region
//! are known, and completed when it is answered. A restart empties the log. Variant playlists and
//! segments, which one player may request a hundred times per second, are only counted.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use axum::{Router, extract::State, http::StatusCode, response::Response, routing};
use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;
use serde_json::json;

use super::{Shared, api::response};
use crate::{clock::Timestamp, ivs::arn::Region};

/// How many calls are listed individually. Counts include the earlier ones.
const RECENT: usize = 10_000;

pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new().route("/_emulator/calls", routing::get(show).delete(clear))
}

async fn show(State(shared): State<Arc<Shared>>) -> Response {
    let log = shared.calls.lock();
    response::json(StatusCode::OK, &json!({ "operations": log.operations, "recent": log.recent }))
}

async fn clear(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.calls.clear();
    StatusCode::NO_CONTENT
}

/// The calls since the start, or since the log was last cleared.
#[derive(Debug, Default)]
pub(super) struct Calls(Mutex<Log>);

#[derive(Debug, Default)]
struct Log {
    operations: BTreeMap<&'static str, Count>,
    recent: VecDeque<Recent>,
    /// The number of the next call. Numbers are never reused, also after the log was cleared.
    next: u64,
    /// The number of the first call since the log was cleared.
    first: u64,
}

#[derive(Debug, Default, Serialize)]
struct Count {
    calls: u64,
    /// Complete responses by status. A call without one is not included.
    statuses: BTreeMap<u16, u64>,
}

/// A call in the list. `status` is `null` until a complete response is sent.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Recent {
    #[serde(skip)]
    number: u64,
    operation: &'static str,
    region: Region,
    /// When it arrived, in milliseconds since the Unix epoch.
    at_millis: i64,
    status: Option<u16>,
}

/// The entry of a call that arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    number: u64,
    operation: &'static str,
}

impl Calls {
    /// Records a call that arrived. Variant playlists and segments have no region.
    pub(super) fn arrived(
        &self,
        operation: &'static str,
        region: Option<&Region>,
        at: Timestamp,
    ) -> Entry {
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
        Entry { number, operation }
    }

    /// Records the response to a call.
    pub(super) fn answered(&self, entry: Entry, status: StatusCode) {
        let mut log = self.lock();
        if entry.number < log.first {
            return;
        }
        let count = log.operations.entry(entry.operation).or_default();
        *count.statuses.entry(status.as_u16()).or_default() += 1;
        // Calls are in the order of their numbers.
        if let Ok(place) = log.recent.binary_search_by_key(&entry.number, |recent| recent.number)
            && let Some(recent) = log.recent.get_mut(place)
        {
            recent.status = Some(status.as_u16());
        }
    }

    fn clear(&self) {
        let mut log = self.lock();
        *log = Log { next: log.next, first: log.next, ..Log::default() };
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.0.lock()
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
    fn calls_are_counted_and_latest_are_listed() {
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
        calls.clear();
        calls.answered(second, StatusCode::OK);
        assert_eq!(shown(&calls), json!({"operations": {}, "recent": []}));
    }
}
