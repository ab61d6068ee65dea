//! Revoking viewers: each session of a request is judged alone, and leaves a line in the audit.

use std::{sync::Arc, time::Duration};

use super::{Channels, Error};
use crate::{
    access::audit::{Actor, AuditLog, Kind, Outcome, Record},
    api::{
        problem::ProblemType,
        viewer_session::{
            Denied, RevocationResponse, RevokedSession, SessionError, ViewerSessionRequest,
        },
    },
    clock::Clock,
    revocation::{
        LeftDenied, MAX_DENIAL, NotRevoked, Progress, QueueFull, RevokeError, Revoked,
        ViewerSessions, Wanted,
    },
    telemetry::metrics::Metrics,
    tokens::{
        claims::{MAX_VIEWER_SESSION_VERSION, ViewerId, ViewerIdError},
        grant::Violation,
    },
};

/// Revokes viewer sessions and records what happened to each. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Revocations {
    /// Denies viewers and calls IVS.
    pub sessions: ViewerSessions,
    /// Resolves channels.
    pub channels: Arc<Channels>,
    /// Where each session is recorded.
    pub audit: AuditLog,
    /// Counts outcomes.
    pub metrics: Metrics,
    /// The time of the records.
    pub clock: Clock,
}

/// A viewer session of a request.
#[derive(Debug)]
pub struct Session {
    /// The channel as in the request, if it is a string.
    pub channel: Option<String>,
    /// The viewer as in the request, if it is a string.
    pub viewer_id: Option<String>,
    /// What to revoke, or why the session is refused.
    pub checked: Result<Wanted, Error>,
}

/// Why a viewer session was not revoked.
struct Failure {
    problem: ProblemType,
    message: String,
    left: Option<NotRevoked>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { problem: error.problem(), message: message(&error), left: None }
    }
}

impl From<NotRevoked> for Failure {
    fn from(left: NotRevoked) -> Self {
        let NotRevoked { error, denial, .. } = left;
        let problem = match error {
            RevokeError::ChannelNotFound => ProblemType::ChannelNotFound,
            RevokeError::Invalid => ProblemType::InvalidRequest,
            RevokeError::Denied | RevokeError::Unavailable => ProblemType::IvsUnavailable,
            RevokeError::Overdue | RevokeError::Stopped => ProblemType::Timeout,
            RevokeError::NotDenied => ProblemType::StoreUnavailable,
            RevokeError::Clock => ProblemType::Internal,
        };
        let message = match denial {
            LeftDenied::No => error.to_string(),
            LeftDenied::Until(until) => {
                format!("{error} The viewer is denied until {until} all the same.")
            }
            LeftDenied::Perhaps => format!("{error} The viewer may be denied all the same."),
        };
        Self { problem, message, left: Some(left) }
    }
}

/// Returns a refusal in one text, in which each broken rule names its member.
pub fn message(error: &Error) -> String {
    let detail = |Violation { pointer, detail }: &Violation| {
        let name = pointer.trim_start_matches('/');
        let is_named = name.is_empty() || detail.contains(name);
        if is_named { detail.clone() } else { format!("{name}: {detail}") }
    };
    match error.violations() {
        [] => error.detail().to_owned(),
        violations => violations.iter().map(detail).collect::<Vec<_>>().join(" "),
    }
}

impl Revocations {
    /// Checks a session.
    ///
    /// # Errors
    ///
    /// Every broken rule.
    pub fn check(&self, request: &ViewerSessionRequest) -> Result<Wanted, Error> {
        const VERSION: &str = "viewerSessionVersionsLessThanOrEqualTo";
        let mut violations = Vec::new();
        let mut violate = |member: &str, detail: String| {
            violations.push(Violation { pointer: format!("/{member}"), detail });
        };
        let viewer = match ViewerId::parse(request.viewer_id.clone()) {
            Ok(viewer) => Some(viewer),
            Err(error) => {
                violate(
                    "viewerId",
                    match error {
                        ViewerIdError::Empty => "viewerId is empty; name the viewer.".to_owned(),
                        ViewerIdError::TooLong => {
                            "viewerId has more than 40 characters, so no token can name it."
                                .to_owned()
                        }
                    },
                );
                None
            }
        };
        let version = request.viewer_session_versions_less_than_or_equal_to;
        if version.is_some_and(|version| !(0..=MAX_VIEWER_SESSION_VERSION).contains(&version)) {
            let detail = format!(
                "{VERSION} must be from 0 to {MAX_VIEWER_SESSION_VERSION}; omit it to revoke all \
                 sessions until now."
            );
            violate(VERSION, detail);
        }
        let deny_for = request.deny_for.map(|seconds| u64::try_from(seconds).unwrap_or(0));
        if deny_for.is_some_and(|seconds| !(1..=MAX_DENIAL.as_secs()).contains(&seconds)) {
            let detail = "denyFor must be from 1 to 31622400 seconds, which are 366 days.";
            violate("denyFor", detail.to_owned());
        }
        if deny_for.is_some() && self.sessions.denials().is_none() {
            let detail = "denyFor is not available, because only this replica would apply it. Set \
                          viewers.local_deny = true if there is no other replica, or omit denyFor.";
            violate("denyFor", detail.to_owned());
        }
        let channel = self.channels.resolve(&request.channel);
        match (channel, viewer) {
            (Ok(channel), Some(viewer)) if violations.is_empty() => Ok(Wanted {
                channel,
                viewer,
                version: version.and_then(|version| i32::try_from(version).ok()),
                deny_for: deny_for.map(Duration::from_secs),
            }),
            // Without other faults, an unknown channel has the same code as in a mint.
            (Err(error), _) if violations.is_empty() => Err(error.into()),
            (channel, _) => {
                violations.extend(channel.err().map(|error| Violation {
                    pointer: "/channel".to_owned(),
                    detail: error.to_string(),
                }));
                Err(Error::invalid(violations))
            }
        }
    }

    /// Revokes the sessions of a request, to the end even if its caller goes away.
    ///
    /// # Errors
    ///
    /// Too many sessions wait to be revoked.
    pub async fn revoke(
        &self,
        actor: Actor,
        sessions: Vec<Session>,
        progress: Progress,
    ) -> Result<RevocationResponse, QueueFull> {
        let wanted: Vec<_> =
            sessions.iter().filter_map(|session| session.checked.as_ref().ok()).cloned().collect();
        let admission = self.sessions.admit(&wanted)?;
        let this = self.clone();
        let work = async move {
            let started = this.clock.monotonic();
            let outcomes = this.sessions.revoke(wanted, admission, progress).await;
            let took = this.clock.monotonic().saturating_sub(started);
            this.respond(&actor, sessions, outcomes, took).await
        };
        let response = self.sessions.in_background(work).await;
        Ok(response.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())))
    }

    /// Counts and records what happened to each session.
    async fn respond(
        &self,
        actor: &Actor,
        sessions: Vec<Session>,
        outcomes: Vec<Result<Revoked, NotRevoked>>,
        took: Duration,
    ) -> RevocationResponse {
        let mut outcomes = outcomes.into_iter();
        let mut response = RevocationResponse::default();
        for Session { channel, viewer_id, checked } in sessions {
            let (wanted, ended) = match checked {
                Ok(wanted) => {
                    // There is an outcome for each.
                    let Some(outcome) = outcomes.next() else { break };
                    (Some(wanted), outcome.map_err(Failure::from))
                }
                Err(error) => (None, Err(Failure::from(error))),
            };
            let code = ended.as_ref().err().map(|failure| failure.problem.spec().code);
            self.metrics.revocation(code.unwrap_or("revoked"));
            self.record(actor, viewer_id.as_deref(), wanted.as_ref(), &ended, took);
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
                    let code = problem.spec().code;
                    // The response as a whole is a success.
                    self.metrics.refusal(code);
                    response.errors.push(SessionError { channel, viewer_id, code, message });
                }
            }
        }
        response.revoked = response.results.len();
        // The sessions have ended whether or not this succeeds, so a failure here fails nothing.
        self.audit.settle().await;
        response
    }

    fn record(
        &self,
        actor: &Actor,
        viewer_id: Option<&str>,
        wanted: Option<&Wanted>,
        ended: &Result<Revoked, Failure>,
        took: Duration,
    ) {
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
        // Revoking a viewer does not wait for the record.
        self.audit.record_later(&Record {
            channel_arn: wanted.map(|wanted| &wanted.channel),
            region: wanted.map(|wanted| wanted.channel.region()),
            // A viewer id that no token can have may be any text.
            viewer_id: viewer_id.filter(|_| wanted.is_some()),
            viewer_session_version: version.map(i64::from),
            denied_until,
            code: ended.as_ref().err().map(|failure| failure.problem.spec().code),
            duration_ms: Some(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
            ..Record::new(self.clock.now(), actor, event, outcome)
        });
    }
}
