//! `/v1/viewer-sessions/revocations`: end what viewers watch, and keep them out for a while.
//!
//! Each item is judged alone; only what is wrong with the envelope fails the request. A request that
//! has begun goes on when its caller is gone.

mod item;

use std::time::Duration;

use axum::{
    extract::{FromRequest, Request, State},
    response::Response,
};
use serde::Serialize;
use utoipa::ToSchema;

use self::item::message;
pub use self::item::{Item, judge};
use super::{
    Api,
    extract::{Caller, JsonObject, ViewersRevoke},
    json::parse_items,
    layers::{RequestFacts, within},
    problem::{ApiError, ProblemType},
    respond::{json, no_store},
};
use crate::{
    access::audit::{Actor, Kind, Outcome, Record},
    clock::Timestamp,
    revocation::{
        Admission, LeftDenied, MAX_SESSIONS, NotRevoked, Progress, QueueFull, RevokeError, Revoked,
        Wanted,
    },
};

/// Which sessions to revoke.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase", example = json!({"viewerSessions": [{"channel": "demo", "viewerId": "alice"}]}))]
#[expect(dead_code, reason = "the schema of a body that is read member by member")]
pub struct RevocationRequest {
    /// An item that is not valid is answered in `errors`.
    #[schema(min_items = 1, max_items = 500)]
    viewer_sessions: Vec<ViewerSessionRequest>,
}

/// Sessions of one viewer on one channel.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "the schema of a body that is read member by member")]
pub struct ViewerSessionRequest {
    /// A channel ARN, or a configured alias.
    #[schema(example = "demo")]
    channel: String,
    /// The viewer, as in the token.
    #[schema(min_length = 1, max_length = 40)]
    viewer_id: String,
    /// Sessions up to this version end. By default all sessions until now end: the version is the time in
    /// Unix seconds plus `viewers.clock_allowance`, or one above the last version that was revoked.
    #[schema(nullable = false, minimum = 0, maximum = 2_147_483_647)]
    viewer_session_versions_less_than_or_equal_to: Option<i32>,
    /// For how many seconds the viewer is denied new tokens for the channel, at most 366 days. By default
    /// the viewer can get a new token at once. Of two denials, the longer one counts.
    #[schema(nullable = false, minimum = 1, maximum = 31_622_400)]
    deny_for: Option<i64>,
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
    pub(crate) revoked: usize,
    pub(crate) results: Vec<RevokedSession>,
    pub(crate) errors: Vec<SessionError>,
}

impl RevocationResponse {
    /// The same of further viewer sessions.
    pub fn extend(&mut self, further: Self) {
        self.revoked += further.revoked;
        self.results.extend(further.results);
        self.errors.extend(further.errors);
    }
}

/// A viewer session that was revoked.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevokedSession {
    /// As in the request.
    channel: String,
    viewer_id: String,
    /// Sessions of this version and of lower ones have ended.
    version: i32,
    /// The time from which tokens of replicas that do not know of the revocation play. Tokens that this
    /// process mints play at once.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) playable_from: Timestamp,
    /// Which replicas deny the viewer new tokens.
    pub(crate) denied: Denied,
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
    pub(crate) channel: Option<String>,
    /// As in the request; null where it was not a string.
    #[schema(required)]
    pub(crate) viewer_id: Option<String>,
    #[schema(value_type = ProblemType)]
    pub(crate) code: &'static str,
    /// What happened, and what to do next.
    pub(crate) message: String,
}

/// Revoke up to 500 viewer sessions, and optionally deny the viewers new tokens. It is safe to retry.
///
/// It takes about 12 s for 500 sessions and at most 60 s. Items not finished by then are returned as `timeout`.
#[utoipa::path(
    post, path = "/v1/viewer-sessions/revocations", operation_id = "revokeViewerSessions", tag = "Viewer sessions",
    security(("credential" = ["viewers:revoke"])),
    request_body = RevocationRequest, responses((status = 200, description = "What happened to each session", body = RevocationResponse))
)]
pub async fn revoke_viewer_sessions(
    State(api): State<Api>,
    client: Caller<ViewersRevoke>,
    facts: RequestFacts,
    request: Request,
) -> Result<Response, ApiError> {
    // The work may take longer than a request usually does, its body may not.
    let body = JsonObject::from_request(request, &api);
    let body = within(api.limits.request_timeout, body).await??;
    let items = parse_items(body.0, "viewerSessions", MAX_SESSIONS)?;
    let items: Vec<_> = items.into_iter().map(|it| judge(&api, it)).collect();
    let admission = api.viewers.admit(&wanted(&items)).map_err(|it| refuse_full_queue(&it))?;
    let caller = Audited { actor: client.actor(&facts), started: api.clock.monotonic() };
    let work = {
        let api = api.clone();
        async move { carry_out(&api, items, admission, Progress::default(), &caller).await }
    };
    let outcome = api.viewers.in_background(work).await.map_err(ApiError::internal)?;
    Ok(no_store(json(&outcome)))
}

/// The same for an operator on this machine, who needs no credential.
///
/// # Errors
///
/// Too many wait already.
pub async fn revoke_judged(
    api: &Api,
    operator: Actor,
    items: Vec<Item>,
    progress: Progress,
) -> Result<RevocationResponse, QueueFull> {
    let admission = api.viewers.admit(&wanted(&items))?;
    let caller = Audited { actor: operator, started: api.clock.monotonic() };
    Ok(carry_out(api, items, admission, progress, &caller).await)
}

/// Whose request the audit log records.
struct Audited {
    actor: Actor,
    /// By the monotonic clock.
    started: Duration,
}

fn wanted(items: &[Item]) -> Vec<Wanted> {
    items.iter().filter_map(Item::wanted).cloned().collect()
}

fn refuse_full_queue(full: &QueueFull) -> ApiError {
    ApiError::new(ProblemType::Overloaded, full.to_string()).retry_after(full.retry_after)
}

/// Revokes what can be, tells audit and metrics, and makes the answer.
async fn carry_out(
    api: &Api,
    items: Vec<Item>,
    admission: Admission,
    progress: Progress,
    caller: &Audited,
) -> RevocationResponse {
    let outcomes = api.viewers.revoke(wanted(&items), admission, progress).await;
    let mut outcomes = outcomes.into_iter();
    let mut response = RevocationResponse::default();
    for Item { channel, viewer_id, judged } in items {
        let (wanted, ended) = match judged {
            Ok(wanted) => {
                // There is one for each.
                let Some(outcome) = outcomes.next() else { break };
                (Some(wanted), outcome.map_err(Failure::from))
            }
            Err(error) => (None, Err(Failure::from(error))),
        };
        let code = ended.as_ref().err().map(|it| it.problem.spec().code);
        api.metrics.revocation(code.unwrap_or("revoked"));
        audit(api, caller, viewer_id.as_deref(), wanted.as_ref(), &ended);
        match ended {
            Ok(Revoked { version, playable_from, denied_until }) => {
                response.results.push(RevokedSession {
                    channel: channel.unwrap_or_default(),
                    viewer_id: viewer_id.unwrap_or_default(),
                    version,
                    playable_from,
                    denied: if denied_until.is_some() { Denied::Local } else { Denied::No },
                });
            }
            Err(Failure { problem, message, .. }) => {
                // The layers see a success.
                api.metrics.refusal(problem.spec().code);
                let code = problem.spec().code;
                response.errors.push(SessionError { channel, viewer_id, code, message });
            }
        }
    }
    response.revoked = response.results.len();
    // The sessions have ended whether or not this succeeds, so that it fails nothing.
    api.audit.settle().await;
    response
}

/// Why a viewer session was not revoked, as the answer says it.
struct Failure {
    problem: ProblemType,
    message: String,
    left: Option<NotRevoked>,
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self { problem: error.problem(), message: message(&error), left: None }
    }
}

impl From<NotRevoked> for Failure {
    fn from(left: NotRevoked) -> Self {
        let problem = match left.error {
            RevokeError::ChannelNotFound => ProblemType::ChannelNotFound,
            RevokeError::Invalid => ProblemType::InvalidRequest,
            RevokeError::Denied | RevokeError::Unavailable => ProblemType::IvsUnavailable,
            RevokeError::Overdue | RevokeError::Stopped => ProblemType::Timeout,
            RevokeError::NotDenied => ProblemType::StoreUnavailable,
            RevokeError::Clock => ProblemType::Internal,
        };
        let mut message = left.error.to_string();
        match left.denial {
            LeftDenied::No => {}
            LeftDenied::Until(until) => {
                message = format!("{message} The viewer is denied until {until} all the same.");
            }
            LeftDenied::Perhaps => message.push_str(" The viewer may be denied all the same."),
        }
        Self { problem, message, left: Some(left) }
    }
}

fn audit(
    api: &Api,
    caller: &Audited,
    viewer_id: Option<&str>,
    wanted: Option<&Wanted>,
    ended: &Result<Revoked, Failure>,
) {
    let took = api.clock.monotonic().saturating_sub(caller.started);
    let (version, denied_until) = match ended {
        Ok(revoked) => (Some(revoked.version), revoked.denied_until),
        Err(Failure { left: Some(NotRevoked { version, denial, .. }), .. }) => match denial {
            LeftDenied::Until(until) => (*version, Some(*until)),
            LeftDenied::No | LeftDenied::Perhaps => (*version, None),
        },
        Err(Failure { left: None, .. }) => (None, None),
    };
    let outcome = if ended.is_ok() { Outcome::Revoked } else { Outcome::Refused };
    let event = (Kind::Revocation, "revocation");
    // A viewer who must go does not stay for the sake of a record.
    api.audit.record_later(&Record {
        channel_arn: wanted.map(|it| &it.channel),
        region: wanted.map(|it| it.channel.region()),
        // One that no token can have is any text.
        viewer_id: viewer_id.filter(|_| wanted.is_some()),
        viewer_session_version: version.map(i64::from),
        denied_until,
        code: ended.as_ref().err().map(|it| it.problem.spec().code),
        duration_ms: Some(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
        ..Record::new(api.clock.now(), &caller.actor, event, outcome)
    });
}
