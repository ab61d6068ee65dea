//! `/v1/viewer-sessions/revocations`: end viewer sessions, and deny viewers new tokens for a period.
//!
//! Each item is judged alone; only a fault of the envelope fails the request.

use axum::{
    extract::{FromRequest, Request, State},
    response::Response,
};

use super::{
    Api,
    extract::{Body, Caller, ViewersRevoke},
    layers::within,
    problem::{ApiError, ProblemType},
    respond::{json, no_store},
};
use crate::{
    api::{
        json::Item,
        viewer_session::{RevocationRequest, RevocationResponse, ViewerSessionRequest},
    },
    revocation::{MAX_SESSIONS, Progress},
    service::{check_count, revocation::Session},
};

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
    request: Request,
) -> Result<Response, ApiError> {
    // The work may take longer than other requests; reading the body may not.
    let body = Body::<RevocationRequest>::from_request(request, &api);
    let Body(request) = within(api.limits.request_timeout, body).await??;
    check_count("viewerSessions", &request.viewer_sessions, MAX_SESSIONS)?;
    let session = |item: Item<ViewerSessionRequest>| {
        let text = |name| item.source.text(name).map(ToOwned::to_owned);
        let (channel, viewer_id) = (text("channel"), text("viewerId"));
        let read = item.read.map_err(|fault| ApiError::invalid(vec![fault.into()]));
        let checked = read.and_then(|request| api.revocations.check(&request));
        Session { channel, viewer_id, checked }
    };
    let sessions = request.viewer_sessions.into_iter().map(session).collect();
    let revoked = api.revocations.revoke(client.actor(), sessions, Progress::default()).await;
    let response = revoked.map_err(|full| {
        ApiError::new(ProblemType::Overloaded, full.to_string()).retry_after(full.retry_after)
    })?;
    Ok(no_store(json(&response)))
}
