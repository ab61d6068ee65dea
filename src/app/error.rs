//! Why a server does not start.

use std::{io, path::PathBuf};

use super::{server::ListenError, tls::TlsError};
use crate::{
    access::{audit::OpenError, edit::EditError, registry::ClientsError},
    config::ConfigError,
    emulator::EmulatorError,
    ivs::ConnectError,
    keys::rotation::OperationError,
    revocation::denials::DenialsError,
};

/// Why a server does not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The AWS configuration.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The clients.
    #[error(transparent)]
    Clients(#[from] ClientsError),
    /// The clients file of `dev`.
    #[error(transparent)]
    EditClients(#[from] EditError),
    /// The configuration, or a file that it names.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The audit log.
    #[error(transparent)]
    Audit(#[from] OpenError),
    /// The file of denied viewers.
    #[error(transparent)]
    Denials(#[from] DenialsError),
    /// The certificate.
    #[error("{key}: {0}", key = .0.key())]
    Tls(#[from] TlsError),
    /// The emulator's state.
    #[error(transparent)]
    Emulator(#[from] EmulatorError),
    /// The first key pair of `dev`.
    #[error("cannot make the first key pair: {0}")]
    FirstKey(#[from] OperationError),
    /// The credential of `dev` is damaged.
    #[error("{path} holds no credential; remove the file, and the next start makes a new one")]
    ApiKey {
        /// The file.
        path: PathBuf,
    },
    /// A file of `dev`.
    #[error("cannot write {path}: {source}; choose another --data-dir or mend its permissions")]
    DataDir {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// More connections are configured than files may be open.
    #[error(
        "server.max_connections is {configured}, but the limit of open files is {limit}, which leaves {available} \
         for connections; raise the limit (ulimit -n, LimitNOFILE=), lower the key, or leave it at 0"
    )]
    OpenFiles {
        /// `server.max_connections`.
        configured: usize,
        /// The limit of open files.
        limit: u64,
        /// What it leaves for connections.
        available: u64,
    },
    /// The operating system gives no signals.
    #[error("cannot listen for signals: {0}")]
    Signals(io::Error),
    /// The listener broke while serving.
    #[error("the listener ended: {0}")]
    Ended(io::Error),
}
