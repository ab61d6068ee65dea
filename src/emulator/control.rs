//! `/_emulator`: what AWS has no call for.
//!
//! These calls are not signed, so web pages must not be able to make them. Their responses carry no
//! CORS headers, so pages of other origins cannot read them, and [`refuse_pages`] keeps pages from
//! changing anything.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
    routing,
};
use percent_encoding::percent_decode_str;
use redb::WriteTransaction;
use serde_json::json;
use url::{Host, Url};

use super::{
    Shared,
    api::{
        response::{self, ApiError, ErrorCode},
        streams as api_streams,
    },
    store::{StoreError, collection, records::Channel, streams},
    urls,
};
use crate::{clock::Timestamp, ivs::arn::ChannelArn};

const STREAMS: &str = "/_emulator/streams/";

pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/_emulator/health", routing::get(health))
        .route("/_emulator/streams/{*channel}", routing::put(put_live).delete(put_offline))
}

/// The router is served only after the state was opened, so any response means readiness.
async fn health() -> Response {
    response::json(StatusCode::OK, &json!({ "status": "ready" }))
}

async fn put_live(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let base_url = urls::base_url(shared.public_url.as_ref(), &uri, &headers);
    let stream = change_stream(shared, &uri, streams::start).await?;
    let stream = api_streams::shape(&base_url, &stream);
    Ok(response::json(StatusCode::OK, &json!({ "stream": stream })))
}

async fn put_offline(State(shared): State<Arc<Shared>>, uri: Uri) -> Result<StatusCode, ApiError> {
    let stop = |transaction: &_, channel: &ChannelArn, now| {
        streams::stop(transaction, channel.as_str(), now)
    };
    change_stream(shared, &uri, stop).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Changes the stream of the channel in the path, off the async threads.
async fn change_stream<T: Send + 'static>(
    shared: Arc<Shared>,
    uri: &Uri,
    change: fn(&WriteTransaction, &ChannelArn, Timestamp) -> Result<T, StoreError>,
) -> Result<T, ApiError> {
    let segment = uri.path().strip_prefix(STREAMS).unwrap_or_default();
    let arn = percent_decode_str(segment).decode_utf8().ok();
    let channel = arn.and_then(|arn| arn.parse::<ChannelArn>().ok()).ok_or_else(|| {
        ApiError::new(
            ErrorCode::Validation,
            "The path must end in the ARN of a channel, percent-encoded.",
        )
    })?;
    let changed = tokio::task::spawn_blocking(move || {
        shared.store.write(|transaction| {
            if collection::find::<Channel>(transaction, channel.as_str())?.is_none() {
                return Err(ApiError::not_found(channel.as_str()));
            }
            Ok(change(transaction, &channel, shared.clock.now())?)
        })
    });
    changed.await.map_err(|error| {
        tracing::error!(
            event = "emulator_failed",
            panicked = error.is_panic(),
            "a stream could not be changed"
        );
        ApiError::internal()
    })?
}

/// Refuses changes by web pages, except by pages that this emulator could have served itself.
///
/// A browser sends a preflight before most methods and gets no permission. But any page may send a
/// POST, and a page whose host name now resolves to this machine is, to the browser, of the same
/// origin. Programs send no `Origin` and pass.
pub(super) async fn refuse_pages(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    let may_pass = request.method().is_safe()
        || headers
            .get(header::ORIGIN)
            .is_none_or(|origin| is_own(origin, headers, shared.public_url.as_ref()));
    if may_pass {
        return next.run(request).await;
    }
    ApiError::new(
        ErrorCode::AccessDenied,
        "A web page cannot do this. Use a program, which sends no Origin.",
    )
    .into_response()
}

/// Returns whether a page of this origin was served at the requested host, under a name that cannot
/// be pointed elsewhere.
fn is_own(origin: &HeaderValue, headers: &HeaderMap, public_url: Option<&Url>) -> bool {
    let Some(origin) = origin.to_str().ok() else { return false };
    let Some((_, authority)) = origin.split_once("://") else { return false };
    let Ok(url) = Url::parse(origin) else { return false };
    let requested = headers.get(header::HOST).map(HeaderValue::as_bytes);
    let is_fixed = match url.host() {
        Some(Host::Ipv4(_) | Host::Ipv6(_) | Host::Domain("localhost")) => true,
        Some(Host::Domain(name)) => public_url.and_then(Url::host_str) == Some(name),
        None => false,
    };
    is_fixed && requested == Some(authority.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(origin: &str, host: &str, public_url: Option<&str>) -> bool {
        let headers = HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]);
        let public_url = public_url.map(|url| url.parse().unwrap());
        is_own(&origin.parse().unwrap(), &headers, public_url.as_ref())
    }

    #[test]
    fn page_is_own_at_host_that_cannot_be_pointed_elsewhere() {
        for host in ["127.0.0.1:8090", "[::1]:8090", "localhost:8090", "192.168.1.7:8090"] {
            assert!(own(&format!("http://{host}"), host, None), "{host}");
        }
        let host = "evil.test:8090";
        assert!(
            !own("http://evil.test:8090", host, None),
            "the name may now resolve to this machine"
        );
        let public = Some("https://ivs.example/emulated/");
        assert!(!own("http://evil.test:8090", host, public));
        assert!(own("https://ivs.example", "ivs.example", public));
        assert!(!own("http://localhost.evil.test:8090", "localhost.evil.test:8090", None));
    }

    #[test]
    fn page_of_other_host_or_port_is_not_own() {
        let host = "127.0.0.1:8090";
        for origin in
            ["https://evil.example", "null", "http://127.0.0.1:80900", "", "127.0.0.1:8090"]
        {
            assert!(!own(origin, host, None), "{origin}");
        }
        assert!(!own("http://127.0.0.1:8080", host, None));
    }
}
