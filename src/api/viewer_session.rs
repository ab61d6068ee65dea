//! Revocations of viewer sessions.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{json::Item, problem::ProblemType};
use crate::clock::Timestamp;

/// Which sessions to revoke.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"viewerSessions": [{"channel": "demo", "viewerId": "alice"}]}))]
pub struct RevocationRequest {
    /// An item that is not valid is answered in `errors`.
    #[schema(min_items = 1, max_items = 500, value_type = Vec<ViewerSessionRequest>)]
    pub viewer_sessions: Vec<Item<ViewerSessionRequest>>,
}

/// Sessions of one viewer on one channel.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ViewerSessionRequest {
    /// A channel ARN, or a configured alias.
    #[schema(example = "demo")]
    pub channel: String,
    /// The viewer, as in the token.
    #[schema(min_length = 1, max_length = 40)]
    pub viewer_id: String,
    /// Sessions up to this version end. By default all sessions until now end: the version is the time in
    /// Unix seconds plus `viewers.clock_allowance`, or one above the last version that was revoked.
    #[schema(nullable = false, minimum = 0, maximum = 2_147_483_647, value_type = Option<i32>)]
    pub viewer_session_versions_less_than_or_equal_to: Option<i64>,
    /// For how many seconds the viewer is denied new tokens for the channel, at most 366 days. By default
    /// the viewer can get a new token at once. Of two denials, the longer one counts.
    #[schema(nullable = false, minimum = 1, maximum = 31_622_400)]
    pub deny_for: Option<i64>,
}

/// What happened to each viewer session. Both lists are in the order of the request.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(example = json!({
    "revoked": 1,
    "results": [{
        "channel": "demo", "viewerId": "alice", "version": 1_795_337_705,
        "playableFrom": "2026-11-22T08:55:06Z", "denied": "no"
    }],
    "errors": [{
        "channel": "stage", "viewerId": "bob", "code": "channel_not_found",
        "message": "This is neither the ARN of a channel nor an alias in channels.aliases."
    }]
}))]
pub struct RevocationResponse {
    /// How many were revoked: the length of results.
    pub revoked: usize,
    /// The sessions that were revoked.
    pub results: Vec<RevokedSession>,
    /// The sessions that were not revoked, or may not have been.
    pub errors: Vec<SessionError>,
}

/// A viewer session that was revoked.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevokedSession {
    /// As in the request.
    pub channel: String,
    /// As in the request.
    pub viewer_id: String,
    /// Sessions of this version and of lower ones have ended.
    pub version: i32,
    /// The time from which tokens of replicas that do not know of the revocation play. Tokens that this
    /// process mints play at once.
    #[schema(value_type = String, format = DateTime)]
    pub playable_from: Timestamp,
    /// Which replicas deny the viewer new tokens.
    pub denied: Denied,
}

/// Which replicas deny the viewer new tokens: all of them, the one that answered, or none.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Denied {
    /// All replicas.
    Shared,
    /// The one that answered.
    Local,
    /// None.
    No,
}

/// A viewer session that was not revoked, or may not have been.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionError {
    /// As in the request; null where it was not a string.
    #[schema(required)]
    pub channel: Option<String>,
    /// As in the request; null where it was not a string.
    #[schema(required)]
    pub viewer_id: Option<String>,
    /// Stable, to branch on.
    #[schema(value_type = ProblemType)]
    pub code: &'static str,
    /// What happened, and what to do next.
    pub message: String,
}
