//! The files of the page.

use axum::{
    Extension,
    extract::State,
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};

use super::{Demo, visitor::Visitor};
use crate::{
    http::{
        extract::PathText,
        problem::{ApiError, ProblemType},
        respond::no_store,
    },
    secret::ExposeSecret,
};

const INDEX: &str = include_str!("assets/index.html");

const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// The files by the last part of their path under `/demo/`.
const ASSETS: [(&str, &str, &str); 8] = [
    ("page.css", CSS, include_str!("assets/page.css")),
    ("page.js", JAVASCRIPT, include_str!("assets/page.js")),
    ("service.js", JAVASCRIPT, include_str!("assets/service.js")),
    ("token.js", JAVASCRIPT, include_str!("assets/token.js")),
    ("playlist.js", JAVASCRIPT, include_str!("assets/playlist.js")),
    ("media-source-player.js", JAVASCRIPT, include_str!("assets/media-source-player.js")),
    ("metadata.js", JAVASCRIPT, include_str!("assets/metadata.js")),
    ("private-playback.js", JAVASCRIPT, include_str!("../../../clients/web/private-playback.js")),
];

/// Serves the page, and the cookie that lets it call.
pub(super) async fn index(
    State(demo): State<Demo>,
    Extension(visitor): Extension<Visitor>,
) -> Result<Response, ApiError> {
    let cookie = HeaderValue::try_from(demo.set_cookie(visitor).expose_secret());
    let mut cookie = cookie.map_err(ApiError::internal)?;
    cookie.set_sensitive(true);
    let policy = HeaderValue::try_from(content_security_policy(&demo));
    let index = match visitor {
        Visitor::Local => INDEX.to_owned(),
        Visitor::Public => INDEX.replacen("<body>", "<body data-public>", 1),
    };
    let mut response = no_store(index.into_response());
    let headers = response.headers_mut();
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, html);
    headers.insert(header::SET_COOKIE, cookie);
    headers.insert(header::CONTENT_SECURITY_POLICY, policy.map_err(ApiError::internal)?);
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let opener = HeaderName::from_static("cross-origin-opener-policy");
    headers.insert(opener, HeaderValue::from_static("same-origin"));
    Ok(response)
}

/// Serves its style and scripts.
pub(super) async fn asset(name: PathText) -> Result<Response, ApiError> {
    let (_, media_type, text) =
        ASSETS.into_iter().find(|(known, _, _)| *known == name.0).ok_or_else(|| {
            ApiError::new(ProblemType::NotFound, "The demo page has no such part; it is at /.")
        })?;
    // The next start may be another version.
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    Ok((headers, text).into_response())
}

/// Allows only the page's own files and the stream, and no frame around the page, since a click there could
/// be meant for something else.
fn content_security_policy(demo: &Demo) -> String {
    let playback = &demo.0.playback_origin;
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
         connect-src 'self' {playback}; media-src blob: {playback}; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    )
}
