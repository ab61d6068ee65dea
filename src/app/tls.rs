//! The certificate and key of the server.

use std::{path::Path, sync::Arc};

use axum_server::tls_rustls::RustlsConfig;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::config::TlsFiles;

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate chain cannot be read.
    #[error("server.tls_cert: {0} is no readable PEM file of certificates")]
    Certificate(String),
    /// The private key cannot be read. Says nothing of its content.
    #[error("server.tls_key: {0} is no readable PEM file of a private key")]
    Key(String),
    /// They do not belong together, or the certificate is of a kind that TLS cannot use.
    #[error("server.tls_cert and server.tls_key cannot be used together: {0}")]
    Mismatch(rustls::Error),
}

/// Whether the files can be served with.
///
/// # Errors
///
/// One of them cannot be read, or they do not match.
pub(super) fn check(files: &TlsFiles) -> Result<(), TlsError> {
    load(files).map(|_| ())
}

/// Reads the files.
///
/// # Errors
///
/// One of them cannot be read, or they do not match.
pub(super) fn load(files: &TlsFiles) -> Result<RustlsConfig, TlsError> {
    let name = |path: &Path| path.display().to_string();
    let certificates = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .ok()
        .filter(|certificates| !certificates.is_empty())
        .ok_or_else(|| TlsError::Certificate(name(&files.cert)))?;
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|_| TlsError::Key(name(&files.key)))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key))
        .map_err(TlsError::Mismatch)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(RustlsConfig::from_config(Arc::new(config)))
}
