//! A small HTTP client for the two commands that ask a server something.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use url::Url;

/// An answer that takes longer than this is none.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The most of an answer that is read, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;

/// `GET`s a URL: the status and the text. Follows no redirect.
///
/// # Errors
///
/// A sentence that says what went wrong.
pub(super) async fn get(url: &Url) -> Result<(u16, String), String> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err("the URL must begin with http:// or https://".to_owned());
    }
    match tokio::time::timeout(TIMEOUT, exchange(url)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs())),
    }
}

async fn exchange(url: &Url) -> Result<(u16, String), String> {
    let connector = HttpsConnectorBuilder::new()
        .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())
        .map_err(|error| format!("cannot use this machine's root certificates: {error}"))?
        .https_or_http()
        .enable_http1()
        .build();
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let request = Request::get(url.as_str())
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("the URL cannot be asked for: {error}"))?;
    let response = client.request(request).await.map_err(|error| {
        // The client's own text is "client error (Connect)"; the cause below says why.
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        format!("nothing answers there: {}", cause.unwrap_or_else(|| error.to_string()))
    })?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), MAX_ANSWER)
        .collect()
        .await
        .map_err(|error| format!("the answer broke off or is too large: {error}"))?
        .to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
