//! A listening port: binding it, accepting connections while there is room, and closing it without losing a
//! request.

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Router, middleware::from_fn};
use parking_lot::{Mutex, MutexGuard};
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};
use tokio_util::task::TaskTracker;

use super::{
    connection::{self, ConnectionSettings, End, LOG_EVERY, Shared, Stage, Watch},
    drain,
};
use crate::telemetry::LogLimit;

/// Connections that the kernel holds for us before we accept them.
const BACKLOG: u32 = 4096;

/// What the kernel may hold of a connection in each direction, in bytes; it doubles the number for its own
/// needs. Left alone, it grows both to megabytes for a client that sends and never reads.
const SOCKET_BUFFER: u32 = 32 * 1024;

/// A connection is not evicted before it has waited this long, so that a new one has time for its request.
const MIN_WAIT: Duration = Duration::from_secs(1);

/// Between two attempts to find room, and after a failure to accept.
const PAUSE: Duration = Duration::from_millis(100);

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
            // Accepted connections inherit them.
            socket.set_send_buffer_size(SOCKET_BUFFER)?;
            socket.set_recv_buffer_size(SOCKET_BUFFER)?;
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

/// A listener that accepts connections.
#[derive(Debug)]
struct Server {
    shared: Arc<Shared>,
    /// Open connections by their number.
    open: Mutex<BTreeMap<u64, Arc<Watch>>>,
    next: AtomicU64,
    room: Arc<Semaphore>,
    gauge: Gauge,
    logs: Logs,
}

/// The log lines that clients can cause at will.
#[derive(Debug)]
struct Logs {
    timed_out: Mutex<LogLimit>,
    accept_failed: Mutex<LogLimit>,
    /// Whether the lack of room was logged, and its end was not.
    is_full: Mutex<bool>,
}

impl Logs {
    fn new() -> Self {
        let limit = || Mutex::new(LogLimit::new(1, LOG_EVERY));
        Self { timed_out: limit(), accept_failed: limit(), is_full: Mutex::new(false) }
    }
}

/// Serves `router` until `stage` says otherwise.
///
/// # Errors
///
/// The listener cannot be used.
pub(super) async fn serve(
    listener: Listener,
    router: Router,
    settings: ConnectionSettings,
    stage: watch::Receiver<Stage>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener.listener)?;
    let metrics = &settings.instruments.metrics;
    metrics.set_max_connections(settings.name, settings.max_connections);
    let room = Arc::new(Semaphore::new(settings.max_connections));
    let gauge = metrics.connections(settings.name);
    let router = router.layer(from_fn(drain::before_answering));
    let shared = Arc::new(Shared::new(router, settings, stage));
    let server = Arc::new(Server {
        open: Mutex::default(),
        next: AtomicU64::default(),
        room,
        gauge,
        logs: Logs::new(),
        shared: Arc::clone(&shared),
    });
    let connections = TaskTracker::new();
    let accepting = async {
        loop {
            let (stream, peer) = server.accept(&listener).await;
            let room = server.room().await;
            connections.spawn(Arc::clone(&server).connection(stream, peer, room));
        }
    };
    tokio::select! {
        () = shared.reached(Stage::Closing) => {}
        () = accepting => {}
    }
    // Clients of connections in the backlog have been told that they are connected.
    let listener = listener.into_std()?;
    while let Ok(room) = Arc::clone(&server.room).try_acquire_owned()
        && let Ok((stream, peer)) = listener.accept()
    {
        let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
        if let Ok(stream) = stream {
            connections.spawn(Arc::clone(&server).connection(stream, peer, room));
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
    Ok(())
}

impl Server {
    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Watch>>> {
        self.open.lock()
    }

    /// Room for one more connection. While there is none, those that have waited longest are evicted.
    async fn room(&self) -> OwnedSemaphorePermit {
        if let Ok(permit) = Arc::clone(&self.room).try_acquire_owned() {
            return permit;
        }
        self.log_full();
        loop {
            self.evict();
            // The semaphore is never closed, so that only the pause can end this without a permit.
            if let Ok(Ok(permit)) = timeout(PAUSE, Arc::clone(&self.room).acquire_owned()).await {
                return permit;
            }
        }
    }

    /// Ends the connections that have waited longest for their client, a sixteenth of all at most:
    /// first those that have sent no whole request, then idle ones.
    fn evict(&self) {
        let longest = self.shared.now().saturating_sub(MIN_WAIT);
        let mut waiting: Vec<_> = self
            .open()
            .values()
            .filter_map(|watch| Some((watch.waiting()?, Arc::clone(watch))))
            .filter(|((_, since), _)| *since <= longest)
            .collect();
        waiting.sort_unstable_by_key(|(order, _)| *order);
        let most = self.shared.settings.max_connections.div_ceil(16);
        for (_, watch) in waiting.iter().take(most) {
            watch.evict();
        }
    }

    async fn accept(&self, listener: &tokio::net::TcpListener) -> (TcpStream, SocketAddr) {
        loop {
            match listener.accept().await {
                Ok(accepted) => return accepted,
                // The client was gone before we came to it.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted
                            | io::ErrorKind::ConnectionReset
                            | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => {
                    self.shared
                        .settings
                        .instruments
                        .metrics
                        .accept_failure(self.shared.settings.name);
                    if let Some(unlogged) = self.logs.accept_failed.lock().permit(self.shared.now())
                    {
                        tracing::error!(
                            event = "accept_failed",
                            listener = self.shared.settings.name,
                            %error,
                            unlogged,
                            "cannot accept a connection"
                        );
                    }
                    self.evict();
                    sleep(PAUSE).await;
                }
            }
        }
    }

    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        room: OwnedSemaphorePermit,
    ) {
        let watch = Arc::new(Watch::new(self.shared.settings.instruments.clock.clone()));
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.open().insert(id, Arc::clone(&watch));
        self.gauge.inc();
        let _entry = Entry { server: Arc::clone(&self), id, _room: room };
        // An answer must not wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let end = connection::serve(Arc::clone(&self.shared), stream, peer, watch).await;
        self.record(end);
    }

    fn record(&self, end: End) {
        let Some(reason) = end.reason() else { return };
        self.shared
            .settings
            .instruments
            .metrics
            .connection_ended(self.shared.settings.name, reason);
        if let Some(unlogged) = self.logs.timed_out.lock().permit(self.shared.now()) {
            tracing::info!(
                event = "connection_ended",
                listener = self.shared.settings.name,
                reason,
                unlogged,
                "ended a connection whose client was too slow"
            );
        }
    }

    fn log_full(&self) {
        let mut is_full = self.logs.is_full.lock();
        if !std::mem::replace(&mut *is_full, true) {
            tracing::warn!(
                event = "connections_exhausted",
                listener = self.shared.settings.name,
                maxConnections = self.shared.settings.max_connections,
                "the listener has as many connections as server.max_connections allows"
            );
        }
    }

    /// Logs the recovery once a tenth of all connections is free, so that the line does not alternate with
    /// the other one.
    fn log_room(&self) {
        let mut is_full = self.logs.is_full.lock();
        if *is_full && self.room.available_permits() >= self.shared.settings.max_connections / 10 {
            *is_full = false;
            tracing::info!(
                event = "connections_available",
                listener = self.shared.settings.name,
                "the listener has room for connections again"
            );
        }
    }
}

/// The place of an open connection, which is free again however the connection ends.
struct Entry {
    server: Arc<Server>,
    id: u64,
    _room: OwnedSemaphorePermit,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.server.open().remove(&self.id);
        self.server.gauge.dec();
        self.server.log_room();
    }
}
