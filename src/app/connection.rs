//! One connection: hyper speaks HTTP/1.1 on it, and this file bounds how long each side may wait.
//!
//! [`Watch`] is what the parts of a connection know in common. [`Watched`], the stream under hyper, reports
//! what is received and written; the service reports requests and answers; [`drive`] ends the connection when
//! a time limit has passed; and the accept loop evicts connections that wait when it has no room.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::ConnectInfo,
    http::{HeaderValue, Request, Response, header},
};
use hyper::{
    body::{Frame, Incoming, SizeHint},
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::rt::TokioIo;
use parking_lot::{Mutex, MutexGuard};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
    sync::{Notify, watch},
    time::{Sleep, sleep, timeout},
};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tower::ServiceExt as _;

use super::tls::ServerTls;
use crate::{
    clock::Clock,
    http::{health::ShutdownFlag, protocol::complete_refusal},
    telemetry::{Instruments, LogLimit},
};

/// The longest request head, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// How long a connection that waits for a request is kept once the server closes: a request that its
/// client has just sent is still answered, and one that never comes delays the end no longer than this.
const LAST_CHANCE: Duration = Duration::from_millis(300);

/// The write time-out once the server closes.
const LAST_WRITE: Duration = Duration::from_secs(2);

/// Requests that a client may send before it has the answer to the one before, in the life of a connection. A client
/// that sends many may never read.
const MAX_PIPELINED: u32 = 100;

/// An event that clients can cause at will is logged once in this time, with the number of the others.
pub(super) const LOG_EVERY: Duration = Duration::from_secs(10);

/// How long a connection is read after its last answer. Data that arrives on a closed socket resets it, and
/// a client whose connection is reset may lose an answer that it has not read yet.
const LINGER: Duration = Duration::from_secs(1);

/// The most that is read while a connection lingers, in bytes.
const LINGER_BYTES: usize = 8 * 1024 * 1024;

/// What is expected of the client next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// Anything at all: nothing was received yet.
    Fresh,
    /// The rest of a request head.
    Head,
    /// Nothing: its request is being answered.
    Answering,
    /// The next request, or the end.
    Idle,
    /// The end: the last answer was sent. See [`linger`].
    Lingering,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// The HTTP exchange ended: the client closed, or the last answer was sent.
    Finished,
    /// No request came in time; nothing is wrong with that.
    Idle,
    /// No complete request head came in time.
    HeadTimeout,
    /// The client took none of an answer in time.
    WriteTimeout,
    /// Another connection needed the room.
    Evicted,
    /// There was no TLS handshake, or not in time.
    TlsHandshake,
    /// The server ended.
    Shutdown,
}

impl End {
    /// The label of the metric; `None` for an end that is nobody's fault.
    pub(super) const fn reason(self) -> Option<&'static str> {
        match self {
            Self::Finished | Self::Idle | Self::Shutdown => None,
            Self::HeadTimeout => Some("header_timeout"),
            Self::WriteTimeout => Some("write_timeout"),
            Self::Evicted => Some("evicted"),
            Self::TlsHandshake => Some("tls_handshake"),
        }
    }
}

/// Time limits of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeLimits {
    /// For the next request after an answer (`server.keep_alive`).
    pub(super) keep_alive: Duration,
    /// For a TLS handshake, for the first byte of a new connection, and for a request head from its first
    /// byte on (`server.header_timeout`).
    pub(super) header: Duration,
    /// For the client to take some of an answer (`server.write_timeout`).
    pub(super) write: Duration,
}

#[derive(Clone, Copy, Debug)]
struct State {
    phase: Phase,
    /// When the phase began.
    since: Duration,
    /// Whether hyper still holds part of an answer of the service.
    unwritten: bool,
    /// Since when the client has taken nothing of what there is to write.
    blocked_since: Option<Duration>,
    /// Requests that arrived before the answer to the one before was written.
    pipelined: u32,
}

/// What the parts of a connection know in common.
#[derive(Debug)]
pub(super) struct Watch {
    clock: Clock,
    state: Mutex<State>,
    evicted: Notify,
    /// The client takes what there is to write again.
    unblocked: Notify,
}

impl Watch {
    pub(super) fn new(clock: Clock) -> Self {
        let since = clock.monotonic();
        let state = State {
            phase: Phase::Fresh,
            since,
            unwritten: false,
            blocked_since: None,
            pipelined: 0,
        };
        Self { clock, state: Mutex::new(state), evicted: Notify::new(), unblocked: Notify::new() }
    }

    /// Since when the connection has waited for its client, unless it answers a request; connections that
    /// never sent a whole request, or have no other to send, come first.
    pub(super) fn waiting(&self) -> Option<(bool, Duration)> {
        let state = self.state();
        match state.phase {
            Phase::Answering => None,
            Phase::Idle => Some((true, state.since)),
            Phase::Fresh | Phase::Head | Phase::Lingering => Some((false, state.since)),
        }
    }

    /// Ends the connection.
    pub(super) fn evict(&self) {
        self.evicted.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn enter(&self, phase: Phase) {
        let mut state = self.state();
        // Nothing was received since the last answer.
        let is_pipelined = phase == Phase::Answering && state.phase == Phase::Idle;
        state.pipelined += u32::from(is_pipelined);
        state.phase = phase;
        state.since = self.clock.monotonic();
        state.unwritten |= phase == Phase::Answering;
    }

    fn received(&self) {
        let phase = self.state().phase;
        if matches!(phase, Phase::Fresh | Phase::Idle) {
            self.enter(Phase::Head);
        }
    }

    fn blocked(&self) {
        let now = self.clock.monotonic();
        self.state().blocked_since.get_or_insert(now);
    }

    fn progressed(&self) {
        if self.state().blocked_since.take().is_some() {
            self.unblocked.notify_one();
        }
    }

    /// Waits until the client takes what there is to write. hyper would go on to answer requests that wait,
    /// and keep the answers, however many they are.
    async fn until_unblocked(&self) {
        while self.state().blocked_since.is_some() {
            self.unblocked.notified().await;
        }
    }

    /// hyper flushes when it has nothing left to write.
    fn flushed(&self) {
        let mut state = self.state();
        state.unwritten &= state.phase == Phase::Answering;
    }

    /// Whether what hyper writes now cannot be part of an answer of the service.
    fn answers_by_itself(&self) -> bool {
        let state = self.state();
        state.phase != Phase::Answering && !state.unwritten
    }

    /// When the connection ends if nothing happens before. `closing` is when the server began to close.
    fn deadline(&self, limits: &TimeLimits, closing: Option<Duration>) -> Option<(Duration, End)> {
        let State { phase, since, blocked_since, .. } = *self.state();
        let waits = match phase {
            Phase::Answering | Phase::Lingering => None,
            Phase::Fresh => Some((since + limits.header, End::Idle)),
            Phase::Head => Some((since + limits.header, End::HeadTimeout)),
            Phase::Idle => Some((since + limits.keep_alive, End::Idle)),
        };
        let waits = waits.map(|(deadline, end)| match closing {
            Some(closing) if closing + LAST_CHANCE < deadline => {
                (closing + LAST_CHANCE, End::Shutdown)
            }
            _ => (deadline, end),
        });
        let writes = blocked_since.map(|since| {
            let limit = closing.map_or(limits.write, |_| limits.write.min(LAST_WRITE));
            (since + limit, End::WriteTimeout)
        });
        [waits, writes].into_iter().flatten().min_by_key(|(deadline, _)| *deadline)
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
pub(super) struct Shared {
    router: Router,
    pub(super) settings: ConnectionSettings,
    stage: watch::Receiver<Stage>,
    refused: Mutex<LogLimit>,
}

impl Shared {
    /// Returns what is common to connections that `router` answers until `stage` ends them.
    pub(super) fn new(
        router: Router,
        settings: ConnectionSettings,
        stage: watch::Receiver<Stage>,
    ) -> Self {
        Self { router, settings, stage, refused: Mutex::new(LogLimit::new(1, LOG_EVERY)) }
    }

    /// Waits until the listener has reached `stage`.
    pub(super) async fn reached(&self, stage: Stage) {
        // Without a sender, no later stage comes.
        let _ = self.stage.clone().wait_for(|reached| *reached >= stage).await;
    }

    /// Returns whether a response is the last of its connection.
    fn is_stopping(&self) -> bool {
        self.settings.stopping.is_set() || *self.stage.borrow() >= Stage::Closing
    }

    /// Returns what is sent instead of a response that hyper made itself, if `bytes` is one. Counts and logs it.
    fn refusal(&self, bytes: &[u8]) -> Option<Bytes> {
        let metrics = &self.settings.instruments.metrics;
        let refusal = complete_refusal(bytes, metrics, self.settings.problems)?;
        if let Some(unlogged) = self.refused.lock().permit(self.now()) {
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

    pub(super) fn now(&self) -> Duration {
        self.settings.instruments.clock.monotonic()
    }
}

/// The stream under hyper, with or without TLS.
struct Watched {
    stream: Either<TcpStream, TlsStream<TcpStream>>,
    shared: Arc<Shared>,
    watch: Arc<Watch>,
    /// What is written instead of an answer that hyper made itself.
    refusal: Bytes,
}

impl Watched {
    fn tcp(&self) -> &TcpStream {
        match &self.stream {
            Either::Left(tcp) => tcp,
            Either::Right(tls) => tls.get_ref().0,
        }
    }

    fn poll_refusal(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.refusal.is_empty() {
            let written = Pin::new(&mut self.stream).poll_write(context, &self.refusal);
            let written = ready!(self.note(written))?;
            let _ = self.refusal.split_to(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Reports whether the client takes what there is to write.
    fn note<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match polled {
            Poll::Pending => self.watch.blocked(),
            Poll::Ready(_) => self.watch.progressed(),
        }
        polled
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.watch.received();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.watch.answers_by_itself()
            && let Some(refusal) = self.shared.refusal(bytes)
        {
            self.refusal = refusal;
            return Poll::Ready(Ok(bytes.len()));
        }
        ready!(self.poll_refusal(context))?;
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_refusal(context))?;
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        ready!(self.note(flushed))?;
        self.watch.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_refusal(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The body of an answer. hyper drops it when it has taken the last of it.
struct Answer {
    body: Body,
    watch: Arc<Watch>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.watch.enter(Phase::Idle);
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Serves a connection to its end.
pub(super) async fn serve(
    shared: Arc<Shared>,
    tcp: TcpStream,
    peer: SocketAddr,
    watch: Arc<Watch>,
) -> End {
    let stream = match &shared.settings.tls {
        None => Either::Left(tcp),
        Some(tls) => {
            let handshake = timeout(shared.settings.limits.header, tls.acceptor().accept(tcp));
            let tls = tokio::select! {
                tls = handshake => tls,
                () = watch.evicted.notified() => return End::Evicted,
                () = shared.reached(Stage::Closing) => return End::Shutdown,
            };
            let Ok(Ok(tls)) = tls else { return End::TlsHandshake };
            Either::Right(tls)
        }
    };
    let stream = Watched {
        stream,
        shared: Arc::clone(&shared),
        watch: Arc::clone(&watch),
        refusal: Bytes::new(),
    };
    let service = service_fn(|request: Request<Incoming>| {
        watch.enter(Phase::Answering);
        let answer = answer(shared.router.clone(), request, peer);
        let (shared, watch) = (Arc::clone(&shared), Arc::clone(&watch));
        Box::pin(async move {
            watch.until_unblocked().await;
            let mut response = answer.await?;
            if shared.is_stopping() || watch.state().pipelined > MAX_PIPELINED {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(header::CONNECTION, close);
            }
            Ok::<_, Infallible>(response.map(|body| Answer { body, watch }))
        })
    });
    let mut connection = http1::Builder::new()
        // The limits here tell an idle connection from one whose head does not come.
        .header_read_timeout(None)
        .max_header_size(MAX_HEAD)
        .max_buf_size(MAX_HEAD)
        .writev(false)
        .serve_connection(TokioIo::new(stream), service);
    let end = drive(&shared, &watch, &mut connection).await;
    let stream = connection.into_parts().io.into_inner();
    match end {
        End::Finished => linger(&shared, stream).await,
        // What the client never read must not stay in the kernel's memory. It is gone, or has been silent
        // for so long that a reset takes nothing from it.
        End::WriteTimeout => {
            let _ = stream.tcp().set_zero_linger();
            end
        }
        End::Idle | End::HeadTimeout | End::Evicted | End::TlsHandshake | End::Shutdown => end,
    }
}

async fn answer(
    router: Router,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> Result<Response<Body>, Infallible> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    router.oneshot(request).await
}

/// Lets hyper run until the exchange or the time of the connection ends.
async fn drive<S, B>(
    shared: &Shared,
    watch: &Watch,
    connection: &mut http1::Connection<TokioIo<Watched>, S>,
) -> End
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Unpin,
    S::Future: Unpin,
    B: HttpBody + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let limits = &shared.settings.limits;
    let mut closing = None;
    let mut alarm = Alarm::new(limits.header);
    loop {
        let exchange = std::future::poll_fn(|context| {
            // A parse error of hyper was answered and counted; the other errors are clients that left.
            if connection.poll_without_shutdown(context).is_ready() {
                return Poll::Ready(End::Finished);
            }
            // That may have changed what the connection waits for.
            alarm.poll(context, &watch.clock, || watch.deadline(limits, closing))
        });
        tokio::select! {
            biased;
            end = exchange => return end,
            () = watch.evicted.notified() => return End::Evicted,
            () = shared.reached(Stage::Cut) => return End::Shutdown,
            () = shared.reached(Stage::Closing), if closing.is_none() => {
                closing = Some(watch.clock.monotonic());
                if watch.waiting().is_none() {
                    // An answer whose head went out before is the last all the same.
                    Pin::new(&mut *connection).graceful_shutdown();
                }
            }
        }
    }
}

/// Tells the client that there is no more, and reads until it closes, too.
async fn linger(shared: &Shared, mut stream: Watched) -> End {
    let watch = Arc::clone(&stream.watch);
    watch.enter(Phase::Lingering);
    let to_end = async {
        stream.shutdown().await?;
        let mut rest = [0; 4096];
        let mut left = LINGER_BYTES;
        loop {
            let length = stream.read(&mut rest).await?;
            match left.checked_sub(length) {
                Some(less) if length > 0 => left = less,
                _ => return Ok::<_, io::Error>(()),
            }
        }
    };
    tokio::select! {
        // Whatever it came to, this connection was served.
        _ = timeout(LINGER, to_end) => End::Finished,
        () = watch.evicted.notified() => End::Finished,
        () = shared.reached(Stage::Cut) => End::Finished,
    }
}

/// A timer for a deadline that moves. It is set anew only for an earlier one: most deadlines never come.
struct Alarm {
    sleep: Pin<Box<Sleep>>,
    rings_at: Option<Duration>,
}

impl Alarm {
    fn new(first: Duration) -> Self {
        Self { sleep: Box::pin(sleep(first)), rings_at: None }
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
        clock: &Clock,
        deadline: impl Fn() -> Option<(Duration, End)>,
    ) -> Poll<End> {
        loop {
            let Some((deadline, end)) = deadline() else { return Poll::Pending };
            let now = clock.monotonic();
            if now >= deadline {
                return Poll::Ready(end);
            }
            if self.rings_at.is_none_or(|rings_at| deadline < rings_at) {
                self.sleep.set(sleep(deadline.saturating_sub(now)));
                self.rings_at = Some(deadline);
            }
            ready!(self.sleep.as_mut().poll(context));
            self.rings_at = None;
        }
    }
}
