//! The certificate and key of the server, which are read again while it runs.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use x509_cert::{Certificate, der::Decode as _};

use crate::{
    clock::Timestamp,
    files::{ConfiguredFile, Content},
    http::{TlsFiles, health::CertificateStatus},
    telemetry::Instruments,
};

/// The largest file of a certificate chain or key, in bytes.
const MAX_FILE: usize = 1 << 20;

/// How long before a certificate expires the log warns, and how often.
const WARN_BEFORE: Duration = Duration::from_hours(14 * 24);
const WARN_EVERY: Duration = Duration::from_hours(24);

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or other users could have changed it.
    #[error("{path} cannot be read: {cause}", path = .path.display())]
    Unreadable {
        /// The configuration key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// The file holds no certificates.
    #[error("{path} is not a PEM file of certificates", path = .0.display())]
    Certificate(PathBuf),
    /// The file holds no private key. Says nothing about its content.
    #[error("{path} is not a PEM file of a private key", path = .0.display())]
    Key(PathBuf),
    /// They do not belong together, or the certificate is of a kind that TLS cannot use.
    #[error("the certificate does not belong to the key of server.tls_key: {0}")]
    Mismatch(rustls::Error),
}

impl TlsError {
    /// Returns the configuration key that names the file.
    pub(super) fn key(&self) -> &'static str {
        match self {
            Self::Unreadable { key, .. } => key,
            Self::Certificate(_) | Self::Mismatch(_) => "server.tls_cert",
            Self::Key(_) => "server.tls_key",
        }
    }
}

/// Checks whether the files can be used.
///
/// # Errors
///
/// One of them cannot be read, or they do not match.
pub(super) fn check(files: &TlsFiles) -> Result<(), TlsError> {
    let files = Files::new(files);
    files.parse(&files.read()?).map(|_| ())
}

/// The certificate that the service presents, as far as the file tells. `None` if it cannot be read.
pub(crate) fn configured_certificate(files: &TlsFiles) -> Option<CertificateDer<'static>> {
    let pem = Files::new(files).cert.read().ok()?;
    CertificateDer::from_pem_slice(&pem).ok()
}

/// The certificate and key that the server uses.
#[derive(Debug)]
pub(super) struct ServerTls {
    files: Files,
    config: ArcSwap<ServerConfig>,
    state: Mutex<State>,
    /// For `/readyz`.
    status: CertificateStatus,
    instruments: Instruments,
}

#[derive(Debug)]
struct State {
    digest: [u8; 32],
    expires: Timestamp,
    /// Why the last attempt to reload failed, if it did.
    fault: Option<String>,
    /// When the log last warned that the certificate expires.
    warned: Option<Duration>,
}

impl ServerTls {
    /// Reads the files for the first time.
    ///
    /// # Errors
    ///
    /// One of them cannot be read, or they do not match.
    pub(super) fn load(
        files: &TlsFiles,
        status: CertificateStatus,
        instruments: Instruments,
    ) -> Result<Self, TlsError> {
        let files = Files::new(files);
        let pems = files.read()?;
        let (config, expires) = files.parse(&pems)?;
        let state = State { digest: pems.digest, expires, fault: None, warned: None };
        let tls = Self {
            files,
            config: ArcSwap::from_pointee(config),
            state: Mutex::new(state),
            status,
            instruments,
        };
        tls.report_expiry();
        Ok(tls)
    }

    /// Accepts a connection with the current certificate.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load_full())
    }

    /// Reads the files again every `every` until `stop`.
    pub(super) async fn run(self: Arc<Self>, every: Duration, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
            let tls = Arc::clone(&self);
            // A reading that panics is one that failed; the next one may not.
            let _ = tokio::task::spawn_blocking(move || tls.reload()).await;
        }
    }

    /// Reads the files again, and uses them if they can be used. Logs an outcome that differs from the last
    /// one. Blocks on the files.
    pub(super) fn reload(&self) {
        let outcome = self.reload_changed();
        let mut state = self.state.lock();
        match outcome {
            Ok(changed) => {
                let recovered = state.fault.take().is_some();
                if changed || recovered {
                    let expires = state.expires;
                    tracing::info!(event = "tls_reloaded", %expires, "the certificate is up to date");
                }
            }
            Err(error) => {
                let fault = format!("{}: {error}", error.key());
                if state.fault.as_ref() != Some(&fault) {
                    tracing::error!(
                        event = "tls_not_reloaded",
                        fault,
                        "cannot reload the certificate; keeping the old one"
                    );
                    state.fault = Some(fault);
                }
            }
        }
        drop(state);
        self.report_expiry();
    }

    /// Whether the files have changed.
    fn reload_changed(&self) -> Result<bool, TlsError> {
        let pems = self.files.read()?;
        let mut state = self.state.lock();
        if state.digest == pems.digest {
            return Ok(false);
        }
        let (config, expires) = self.files.parse(&pems)?;
        self.config.store(Arc::new(config));
        state.digest = pems.digest;
        state.expires = expires;
        state.warned = None;
        Ok(true)
    }

    /// Sets the metrics and the readiness, and warns in time.
    fn report_expiry(&self) {
        let Instruments { clock, metrics } = &self.instruments;
        let mut state = self.state.lock();
        metrics.set_certificate(state.expires.unix_seconds(), state.fault.is_some());
        self.status.set(state.expires, state.fault.clone());
        let now = clock.monotonic();
        let due = state.warned.is_none_or(|warned| now.saturating_sub(warned) >= WARN_EVERY);
        if due && clock.now() + WARN_BEFORE >= state.expires {
            state.warned = Some(now);
            let expires = state.expires;
            tracing::warn!(
                event = "tls_certificate_expires",
                %expires,
                "the certificate expires soon or has expired; replace the file of server.tls_cert"
            );
        }
    }
}

/// The two files.
#[derive(Debug)]
struct Files {
    cert: ConfiguredFile,
    key: ConfiguredFile,
}

/// What they hold.
struct Pems {
    cert: zeroize::Zeroizing<Vec<u8>>,
    key: zeroize::Zeroizing<Vec<u8>>,
    digest: [u8; 32],
}

impl Files {
    fn new(files: &TlsFiles) -> Self {
        Self {
            cert: ConfiguredFile::new(files.cert.clone(), Content::Public, MAX_FILE),
            key: ConfiguredFile::new(files.key.clone(), Content::Secret, MAX_FILE),
        }
    }

    fn read(&self) -> Result<Pems, TlsError> {
        let read = |key, file: &ConfiguredFile| {
            let path = file.path().to_owned();
            file.read().map_err(|cause| TlsError::Unreadable { key, path, cause })
        };
        let cert = read("server.tls_cert", &self.cert)?;
        let key = read("server.tls_key", &self.key)?;
        let mut digest = Sha256::new();
        digest.update(Sha256::digest(&*cert));
        digest.update(Sha256::digest(&*key));
        Ok(Pems { cert, key, digest: digest.finalize().into() })
    }

    /// The configuration of TLS, and when the first certificate of the chain expires.
    fn parse(&self, pems: &Pems) -> Result<(ServerConfig, Timestamp), TlsError> {
        let no_certificate = || TlsError::Certificate(self.cert.path().to_owned());
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&pems.cert)
            .collect::<Result<_, _>>()
            .map_err(|_| no_certificate())?;
        let expires: Vec<_> = chain
            .iter()
            .map(|der| expiry(der))
            .collect::<Option<_>>()
            .ok_or_else(no_certificate)?;
        let expires = expires.into_iter().min().ok_or_else(no_certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&pems.key)
            .map_err(|_| TlsError::Key(self.key.path().to_owned()))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(TlsError::Mismatch)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok((config, expires))
    }
}

fn expiry(der: &CertificateDer<'_>) -> Option<Timestamp> {
    let certificate = Certificate::from_der(der).ok()?;
    let expires = certificate.tbs_certificate().validity().not_after.to_unix_duration();
    Some(Timestamp::from_unix_seconds(i64::try_from(expires.as_secs()).ok()?))
}
