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
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};
use tokio_util::task::TaskTracker;

use super::{
    connection::{self, End, TimeLimits, Watch},
    drain,
    tls::ServerTls,
};
use crate::{
    http::{health::ShutdownFlag, protocol::complete_refusal},
    telemetry::{Instruments, LogLimit},
};

/// Connections that the kernel holds for us before we accept them.
const BACKLOG: u32 = 4096;

/// What the kernel may hold of a connection in each direction, in bytes; it doubles the number for its own
/// needs. Left alone, it grows both to megabytes for a client that sends and never reads.
const SOCKET_BUFFER: u32 = 32 * 1024;

/// A connection is not evicted before it has waited this long, so that a new one has time for its request.
const MIN_WAIT: Duration = Duration::from_secs(1);

/// Between two attempts to find room, and after a failure to accept.
const PAUSE: Duration = Duration::from_millis(100);

/// An event that clients can cause at will is logged once in this time, with the number of the others.
const LOG_EVERY: Duration = Duration::from_secs(10);

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

/// How the connections of a listener are treated.
#[derive(Clone, Debug)]
pub(super) struct ConnectionSettings {
    /// The label of the listener in metrics and logs.
    pub(super) name: &'static str,
    /// How long each side may wait.
    pub(super) limits: TimeLimits,
    /// The most connections at a time.
    pub(super) max_connections: usize,
    /// The server's certificate and key, or plain HTTP.
    pub(super) tls: Option<Arc<ServerTls>>,
    /// Whether an answer that hyper makes itself gets the body of a problem.
    pub(super) problems: bool,
    /// Once set, each answer is the last of its connection.
    pub(super) stopping: ShutdownFlag,
    pub(super) instruments: Instruments,
}

/// How far the end of a listener has come.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Stage {
    /// Connections are accepted.
    Serving,
    /// None is accepted; requests that were sent are answered.
    Closing,
    /// What is left is cut off.
    Cut,
}

/// What the connections of a listener have in common.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) router: Router,
    pub(super) settings: ConnectionSettings,
    stage: watch::Receiver<Stage>,
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
    refused: Mutex<LogLimit>,
    timed_out: Mutex<LogLimit>,
    accept_failed: Mutex<LogLimit>,
    /// Whether the lack of room was logged, and its end was not.
    is_full: Mutex<bool>,
}

impl Logs {
    fn new() -> Self {
        let limit = || Mutex::new(LogLimit::new(1, LOG_EVERY));
        Self {
            refused: limit(),
            timed_out: limit(),
            accept_failed: limit(),
            is_full: Mutex::new(false),
        }
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
    let server = Arc::new(Server {
        router: router.layer(from_fn(drain::before_answering)),
        stage,
        open: Mutex::default(),
        next: AtomicU64::default(),
        room: Arc::new(Semaphore::new(settings.max_connections)),
        gauge: metrics.connections(settings.name),
        logs: Logs::new(),
        settings,
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
        () = server.reached(Stage::Closing) => {}
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
    /// Waits until the end has come as far as `stage`.
    pub(super) async fn reached(&self, stage: Stage) {
        // Without a sender nobody waits for the rest.
        let _ = self.stage.clone().wait_for(|reached| *reached >= stage).await;
    }

    /// Whether an answer is the last of its connection.
    pub(super) fn is_stopping(&self) -> bool {
        self.settings.stopping.is_set() || *self.stage.borrow() >= Stage::Closing
    }

    /// What is sent instead of an answer that hyper made itself, if `bytes` is one. Counts and logs it.
    pub(super) fn refusal(&self, bytes: &[u8]) -> Option<Bytes> {
        let metrics = &self.settings.instruments.metrics;
        let refusal = complete_refusal(bytes, metrics, self.settings.problems)?;
        if let Some(unlogged) = self.logs.refused.lock().permit(self.now()) {
            tracing::info!(
                event = "request_malformed",
                listener = self.settings.name,
                code = refusal.code,
                requestId = &*refusal.request_id,
                unlogged,
                "refused a request that is not valid HTTP"
            );
        }
        Some(refusal.answer)
    }

    fn now(&self) -> Duration {
        self.settings.instruments.clock.monotonic()
    }

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
        let longest = self.now().saturating_sub(MIN_WAIT);
        let mut waiting: Vec<_> = self
            .open()
            .values()
            .filter_map(|watch| Some((watch.waiting()?, Arc::clone(watch))))
            .filter(|((_, since), _)| *since <= longest)
            .collect();
        waiting.sort_unstable_by_key(|(order, _)| *order);
        let most = self.settings.max_connections.div_ceil(16);
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
                    self.settings.instruments.metrics.accept_failure(self.settings.name);
                    if let Some(unlogged) = self.logs.accept_failed.lock().permit(self.now()) {
                        tracing::error!(
                            event = "accept_failed",
                            listener = self.settings.name,
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
        let watch = Arc::new(Watch::new(self.settings.instruments.clock.clone()));
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.open().insert(id, Arc::clone(&watch));
        self.gauge.inc();
        let _entry = Entry { server: Arc::clone(&self), id, _room: room };
        // An answer must not wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let end = connection::serve(Arc::clone(&self), stream, peer, watch).await;
        self.record(end);
    }

    fn record(&self, end: End) {
        let Some(reason) = end.reason() else { return };
        self.settings.instruments.metrics.connection_ended(self.settings.name, reason);
        if let Some(unlogged) = self.logs.timed_out.lock().permit(self.now()) {
            tracing::info!(
                event = "connection_ended",
                listener = self.settings.name,
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
                listener = self.settings.name,
                maxConnections = self.settings.max_connections,
                "the listener has as many connections as server.max_connections allows"
            );
        }
    }

    /// Logs the recovery once a tenth of all connections is free, so that the line does not alternate with
    /// the other one.
    fn log_room(&self) {
        let mut is_full = self.logs.is_full.lock();
        if *is_full && self.room.available_permits() >= self.settings.max_connections / 10 {
            *is_full = false;
            tracing::info!(
                event = "connections_available",
                listener = self.settings.name,
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
