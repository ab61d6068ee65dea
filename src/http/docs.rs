//! `/docs`: a page about the API, and a page for every problem. The binary contains all of it.

use std::fmt::Write;

use axum::{
    http::{HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use utoipa::OpenApi;

use super::{
    extract::PathText,
    openapi::ApiDoc,
    problem::{ApiError, ProblemType},
};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;\
padding:0 1rem;color-scheme:light dark}code{font-size:.95em}td,th{text-align:left;\
vertical-align:top;padding:.2rem .8rem .2rem 0}";

/// Serves the list of operations and problems.
pub async fn overview() -> Response {
    let document = ApiDoc::openapi();
    let mut rows = String::new();
    for (path, item) in &document.paths.paths {
        for (method, operation) in
            [("GET", &item.get), ("POST", &item.post), ("DELETE", &item.delete)]
        {
            let Some(operation) = operation else { continue };
            let summary = operation.summary.as_deref().unwrap_or_default();
            // Writing into a String cannot fail.
            let _ = write!(
                rows,
                "<tr><td><code>{method}</code></td><td><code>{}</code></td><td>{}</td></tr>",
                escape(path),
                escape(summary)
            );
        }
    }
    let mut problems = String::new();
    for problem in ProblemType::ALL {
        let spec = problem.spec();
        let _ = write!(
            problems,
            "<tr><td>{}</td><td><a href=\"/docs/errors/{code}\"><code>{code}</code></a></td>\
             <td>{}</td></tr>",
            spec.status,
            escape(spec.title),
            code = spec.code,
        );
    }
    page(
        "ivs-playback-auth: HTTP API",
        &format!(
            "<p>The contract for machines: <a href=\"/openapi.json\">/openapi.json</a>.</p>\
             <h2>Operations</h2><table>{rows}</table><h2>Problems</h2><table>{problems}</table>"
        ),
    )
}

/// Serves the page that the `type` member of a problem points to.
pub async fn problem(code: PathText) -> Result<Response, ApiError> {
    let problem = ProblemType::from_code(&code.0).ok_or_else(|| {
        ApiError::new(ProblemType::NotFound, "No problem has this code; /docs lists them.")
    })?;
    let spec = problem.spec();
    Ok(page(
        &format!("{}: {}", spec.code, spec.title),
        &format!(
            "<p>HTTP status {}.</p><p>{}</p><p><a href=\"/docs\">All problems</a></p>",
            spec.status,
            code_spans(spec.explanation)
        ),
    ))
}

/// Returns a small page; `body` is HTML.
pub(super) fn page(title: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{0}</title><style>{STYLE}</style></head><body>\
         <h1>{0}</h1>{body}</body></html>",
        escape(title)
    );
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (
            HeaderName::from_static("content-security-policy"),
            HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'"),
        ),
    ];
    (headers, html).into_response()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Turns `` `code` `` into code.
fn code_spans(text: &str) -> String {
    let mut html = String::new();
    for (index, part) in escape(text).split('`').enumerate() {
        let (open, close) = if index % 2 == 1 { ("<code>", "</code>") } else { ("", "") };
        html.push_str(open);
        html.push_str(part);
        html.push_str(close);
    }
    html
}
