//! What is known about a request: its ids, and its client once that is authenticated.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    extract::{FromRequestParts, Request},
    http::{HeaderName, request::Parts},
};
use rand::RngExt;

use super::problem::ApiError;
use crate::{
    access::{Client, audit::Actor},
    secret::system_rng,
};

/// The header that identifies a request in logs and responses.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// W3C Trace Context: `version-traceid-parentid-flags`, in lower-case hexadecimal.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What is known about a request while it is being answered.
#[derive(Clone, Debug)]
pub struct RequestFacts {
    request_id: Arc<str>,
    trace_id: Option<Arc<str>>,
    client: Arc<OnceLock<Arc<Client>>>,
    is_audited: Arc<AtomicBool>,
}

impl RequestFacts {
    /// Returns what the head of a request says.
    pub(super) fn of(request: &Request) -> Self {
        Self {
            request_id: caller_id(request).unwrap_or_else(random_id),
            trace_id: trace_id(request),
            client: Arc::default(),
            is_audited: Arc::default(),
        }
    }

    /// Returns the `x-request-id` of the response.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Returns the trace that the request belongs to, as the caller says.
    pub fn trace_id(&self) -> Option<&str> {
        self.trace_id.as_deref()
    }

    /// Returns the client, once its credential was accepted.
    pub fn client(&self) -> Option<&Arc<Client>> {
        self.client.get()
    }

    pub(super) fn set_client(&self, client: &Arc<Client>) {
        // A request has one client, so a second call can only repeat it.
        let _ = self.client.set(Arc::clone(client));
    }

    /// Returns `client` as the sender of this request, for the audit.
    pub(super) fn sent_by(&self, client: &Arc<Client>) -> Actor {
        Actor::Client {
            client: Arc::clone(client),
            request_id: Arc::clone(&self.request_id),
            trace_id: self.trace_id.clone(),
        }
    }

    /// Returns whether the audit has a record of this request.
    pub(super) fn is_audited(&self) -> bool {
        self.is_audited.load(Ordering::Relaxed)
    }

    /// Notes that the audit has a record of this request, whatever the response will be.
    pub(super) fn set_audited(&self) {
        self.is_audited.store(true, Ordering::Relaxed);
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequestFacts {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| ApiError::internal(std::io::Error::other("a route outside of finish")))
    }
}

/// Returns the caller's request id if it is harmless in a log.
fn caller_id(request: &Request) -> Option<Arc<str>> {
    let harmless = |id: &str| {
        (1..=128).contains(&id.len())
            && id.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-'))
    };
    let id = request.headers().get(&X_REQUEST_ID)?.to_str().ok()?;
    harmless(id).then(|| id.into())
}

/// Returns a new request id.
pub(super) fn random_id() -> Arc<str> {
    format!("{:032x}", system_rng().random::<u128>()).into()
}

/// Returns the trace id of the caller's `traceparent`. A header that breaks the rules is ignored, as
/// W3C Trace Context requires.
fn trace_id(request: &Request) -> Option<Arc<str>> {
    let mut headers = request.headers().get_all(TRACEPARENT).iter();
    let (Some(header), None) = (headers.next(), headers.next()) else { return None };
    let mut parts = header.to_str().ok()?.split('-');
    let mut part = |length: usize| {
        let is_hex = |c| matches!(c, b'0'..=b'9' | b'a'..=b'f');
        parts.next().filter(|part| part.len() == length && part.bytes().all(is_hex))
    };
    let (version, trace, parent, _) = (part(2)?, part(32)?, part(16)?, part(2)?);
    // A later version may say more.
    let fits = version != "ff" && (version != "00" || parts.next().is_none());
    let is_zero = |id: &str| id.bytes().all(|c| c == b'0');
    (fits && !is_zero(trace) && !is_zero(parent)).then(|| trace.into())
}
