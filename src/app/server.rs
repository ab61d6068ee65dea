//! A listening port and its end: bind, serve, drain, stop.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use axum::{Router, middleware::from_fn};
use axum_server::{
    Handle,
    accept::NoDelayAcceptor,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use tokio::net::TcpSocket;

use super::drain;

/// Connections that the kernel holds for us before we accept them.
const BACKLOG: u32 = 4096;

/// A bound port that does not serve yet.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

/// Why a port cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody listens there already.
    #[error("{address} is in use: stop the process that listens there, or choose another {flag}")]
    InUse {
        /// What was asked for.
        address: SocketAddr,
        /// The flag that asks for another.
        flag: &'static str,
    },
    /// Ports below 1024 need a privilege.
    #[error("not allowed to listen on {address}: choose a port from 1024 up with {flag}")]
    NotAllowed {
        /// What was asked for.
        address: SocketAddr,
        /// The flag that asks for another.
        flag: &'static str,
    },
    /// Anything else, such as an address that this machine does not have.
    #[error("cannot listen on {address}: {source}")]
    Other {
        /// What was asked for.
        address: SocketAddr,
        /// The operating system's reason.
        source: io::Error,
    },
}

impl Listener {
    /// Binds `address`, which `flag` chooses; from then on the kernel accepts connections.
    ///
    /// # Errors
    ///
    /// The port is taken or not allowed.
    pub fn bind(address: SocketAddr, flag: &'static str) -> Result<Self, ListenError> {
        let bind = || {
            let socket =
                if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            // Without it a restart fails for a minute while old connections fade.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            let listener = socket.listen(BACKLOG)?.into_std()?;
            let address = listener.local_addr()?;
            Ok(Self { listener, address })
        };
        bind().map_err(|source: io::Error| {
            if source.kind() == io::ErrorKind::AddrInUse {
                ListenError::InUse { address, flag }
            } else if source.kind() == io::ErrorKind::PermissionDenied {
                ListenError::NotAllowed { address, flag }
            } else {
                ListenError::Other { address, source }
            }
        })
    }

    /// The address with the real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// How connections are treated.
#[derive(Clone, Debug)]
pub(super) struct ConnectionSettings {
    /// An idle connection, or one whose request head does not arrive whole, is closed after this.
    pub(super) keep_alive: Duration,
    /// The server's certificate and key, or plain HTTP.
    pub(super) tls: Option<RustlsConfig>,
}

/// Serves `router` until `handle` is told to stop.
///
/// # Errors
///
/// The listener breaks.
pub(super) async fn serve(
    listener: Listener,
    router: Router,
    settings: ConnectionSettings,
    handle: Handle<SocketAddr>,
) -> io::Result<()> {
    let router = router.layer(from_fn(drain::before_answering));
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let mut server = axum_server::from_tcp(listener.listener)?.handle(handle);
    server
        .http_builder()
        .http1()
        .timer(hyper_util::rt::TokioTimer::new())
        .header_read_timeout(settings.keep_alive);
    // HTTP/1.1 alone: finding out which version a client speaks has no time-out, so that one that
    // says nothing would hold its connection for ever. Said last, since `acceptor` forgets it.
    match settings.tls {
        None => server.acceptor(NoDelayAcceptor::new()).http1_only().serve(service).await,
        Some(tls) => {
            let acceptor = RustlsAcceptor::new(tls).acceptor(NoDelayAcceptor::new());
            server.acceptor(acceptor).http1_only().serve(service).await
        }
    }
}
