//! A small HTTP client, for what is asked of other servers than those of AWS: a service's health, a
//! JWK Set, a playback edge.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use parking_lot::Mutex;
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
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

/// `GET`s a URL of the service that runs with this machine's configuration: the status, the text, and the
/// certificate that it presented, if it has one.
///
/// A certificate names other hosts than this machine's loopback address and may be signed by its own key, so
/// that neither its names nor its signer are checked; what is fetched and sent is no secret.
///
/// # Errors
///
/// A sentence that says what went wrong, without the URL.
pub(crate) async fn get_own(
    url: &Url,
) -> Result<(u16, String, Option<CertificateDer<'static>>), String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let presented = Arc::new(AnyCertificate { provider, presented: Mutex::default() });
    let verifier = Arc::clone(&presented) as Arc<dyn ServerCertVerifier>;
    let tls = ClientConfig::builder_with_provider(Arc::clone(&presented.provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
    let (status, text) = Fetcher::over(connector, MAX_ANSWER).get(url).await?;
    let presented = presented.presented.lock().take();
    Ok((status, text, presented))
}

/// Accepts every certificate whose key the server has, and remembers it.
#[derive(Debug)]
struct AnyCertificate {
    provider: Arc<CryptoProvider>,
    presented: Mutex<Option<CertificateDer<'static>>>,
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut presented = self.presented.lock();
        *presented = Some(certificate.clone().into_owned());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
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
        Ok(Self::over(connector, max_answer))
    }

    fn over(connector: HttpsConnector<HttpConnector>, max_answer: usize) -> Self {
        let mut client = Client::builder(TokioExecutor::new());
        // Each request goes where the name points now, and to no server for being connected to it.
        client.pool_max_idle_per_host(0);
        Self { client: client.build(connector), max_answer }
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
