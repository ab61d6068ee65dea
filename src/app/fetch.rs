//! A small HTTP client, for what is asked of other servers than those of AWS: a service's health, a
//! JWK Set, a playback edge.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use url::Url;

/// An answer that takes longer than this is none.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The most that [`get`] reads of an answer, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;

/// `GET`s a URL once: the status and the text. Follows no redirect.
///
/// # Errors
///
/// A sentence that says what went wrong, without the URL.
pub(crate) async fn get(url: &Url) -> Result<(u16, String), String> {
    Fetcher::new(MAX_ANSWER)?.get(url).await
}

/// Fetches what URLs name. Follows no redirect, and reads answers of a bounded size only.
#[derive(Debug)]
pub(crate) struct Fetcher {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    max_answer: usize,
}

impl Fetcher {
    /// One that takes answers of at most `max_answer` bytes.
    ///
    /// # Errors
    ///
    /// A sentence: this machine has no root certificates.
    pub(crate) fn new(max_answer: usize) -> Result<Self, String> {
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())
            .map_err(|error| format!("cannot use this machine's root certificates: {error}"))?
            .https_or_http()
            .enable_http1()
            .build();
        let mut client = Client::builder(TokioExecutor::new());
        // Each request goes where the name points now, and to no server for being connected to it.
        client.pool_max_idle_per_host(0);
        Ok(Self { client: client.build(connector), max_answer })
    }

    /// `GET`s a URL: the status and the text.
    ///
    /// # Errors
    ///
    /// A sentence that says what went wrong, without the URL: it may hold a token.
    pub(crate) async fn get(&self, url: &Url) -> Result<(u16, String), String> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err("the URL must begin with http:// or https://".to_owned());
        }
        match tokio::time::timeout(TIMEOUT, self.exchange(url)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs())),
        }
    }

    async fn exchange(&self, url: &Url) -> Result<(u16, String), String> {
        let request = Request::get(url.as_str())
            .body(Empty::<Bytes>::new())
            .map_err(|error| format!("the URL cannot be asked for: {error}"))?;
        let response = self.client.request(request).await.map_err(|error| {
            // The client's own text is "client error (Connect)"; the cause below says why.
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            format!("nothing answers there: {}", cause.unwrap_or_else(|| error.to_string()))
        })?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), self.max_answer)
            .collect()
            .await
            .map_err(|error| format!("the answer broke off or is too large: {error}"))?
            .to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, response::Redirect, routing::get};

    use super::*;

    /// A server on loopback, until the test's runtime ends.
    async fn serve(router: Router) -> Url {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}/").parse().unwrap()
    }

    #[tokio::test]
    async fn no_redirect_is_followed_and_no_long_answer_read() {
        let router = Router::new()
            .route("/", get(|| async { "x".repeat(64) }))
            .route("/moved", get(|| async { Redirect::temporary("/") }));
        let url = serve(router).await;
        let moved = url.join("/moved").unwrap();
        assert_eq!(Fetcher::new(64).unwrap().get(&moved).await.unwrap().0, 307);
        let (status, text) = Fetcher::new(64).unwrap().get(&url).await.unwrap();
        assert_eq!((status, text.len()), (200, 64));
        let refused = Fetcher::new(63).unwrap().get(&url).await.unwrap_err();
        assert!(refused.contains("too large"), "{refused}");
    }

    #[tokio::test]
    async fn no_failure_repeats_the_url() {
        for url in ["http://127.0.0.1:1/?token=secret", "ftp://127.0.0.1/?token=secret"] {
            let refused = super::get(&url.parse().unwrap()).await.unwrap_err();
            assert!(!refused.contains("secret"), "{refused}");
        }
    }
}
