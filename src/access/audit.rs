//! The audit log: one JSON line a mint decision, made or refused, and one a viewer session that was to
//! be revoked.
//!
//! A line is made by the request and written by a thread of its own, with a bounded queue between
//! them. When the sink cannot be written, the writer keeps what it has and tries again. What a mint
//! does depends on `audit.on_failure`:
//!
//! - `warn`: it waits for no disk. Lines for which the queue has no room are lost, which is counted and
//!   told in the log.
//! - `deny`: it waits until the operating system has its line, and is refused if that fails.
//!
//! This is the only place where a viewer id is written down.

mod writer;

use std::{
    fs::OpenOptions,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::Thread,
    time::Duration,
};

use serde::Serialize;
use tokio::sync::{oneshot, watch};

use self::writer::{Queued, Writer};
use super::ClientId;
use crate::{
    clock::Timestamp,
    config::{AuditFailure, AuditSink},
    ivs::arn::{ChannelArn, Region},
    telemetry,
};

/// Lines that may wait for the writer.
const QUEUE: usize = 10_000;

/// How long the writer waits after a failed write.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What became of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// A token was minted.
    Minted,
    /// A viewer's sessions were revoked.
    Revoked,
    /// The request was refused; `code` says why.
    Refused,
}

/// One mint decision. Absent members are left out of its line.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision<'a> {
    /// When it was made.
    #[serde(skip)]
    pub ts: Timestamp,
    /// The response's `x-request-id`.
    pub request_id: &'a str,
    /// The trace that the request belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<&'a str>,
    /// Who asked.
    pub client_id: &'a ClientId,
    /// For which channel, once that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel_arn: Option<&'a ChannelArn>,
    /// The channel's region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<&'a Region>,
    /// For which viewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub viewer_id: Option<&'a str>,
    /// The token's id, as in the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_id: Option<&'a str>,
    /// The fingerprint of the key that signed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_fingerprint: Option<&'a str>,
    /// Its lifetime.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
    /// What became of the request.
    pub outcome: Outcome,
    /// The problem's code, where it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'a str>,
    /// `fresh`, `stale` or `unverified`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel_freshness: Option<&'a str>,
    /// How long the decision took.
    pub duration_ms: u64,
}

/// What became of one viewer session that was to be revoked. Absent members are left out of its line.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Revocation<'a> {
    /// When that was known.
    #[serde(skip)]
    pub ts: Timestamp,
    /// The response's `x-request-id`.
    pub request_id: &'a str,
    /// The trace that the request belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<&'a str>,
    /// Who asked.
    pub client_id: &'a ClientId,
    /// On which channel, once that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel_arn: Option<&'a ChannelArn>,
    /// The channel's region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<&'a Region>,
    /// Which viewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub viewer_id: Option<&'a str>,
    /// Sessions of this version and of lower ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub viewer_session_version: Option<i32>,
    /// Until when the viewer gets no new token, by this request or an earlier one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denied_until: Option<Timestamp>,
    /// What became of it.
    pub outcome: Outcome,
    /// The problem's code, where it was not revoked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'a str>,
    /// How long the request has taken.
    pub duration_ms: u64,
}

/// The audit log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be written.
    #[error(
        "The audit log {path} cannot be written: {cause}. Make its folder writable or change \
         audit.path.", path = .path.display()
    )]
    File {
        /// `audit.path`.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// The operating system gives no thread.
    #[error("The audit log's thread cannot be started: {0}.")]
    Thread(io::Error),
}

/// A decision could not be recorded, and `audit.on_failure` is `deny`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the audit log cannot be written, and audit.on_failure is deny")]
pub struct AuditUnavailable;

/// Where decisions are recorded. Cheap to clone; the writer ends with the last clone.
#[derive(Clone, Debug)]
pub struct AuditLog(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    queue: SyncSender<Queued>,
    on_failure: AuditFailure,
    state: Arc<State>,
    written: watch::Receiver<u64>,
    writer: Thread,
}

/// What the request side and the writer know of each other.
#[derive(Debug, Default)]
struct State {
    /// Lines put into the queue.
    queued: AtomicU64,
    /// Lines lost since the last one that was queued.
    lost: AtomicU64,
    /// The last write failed.
    broken: watch::Sender<bool>,
    /// Nobody is left to record, or to wait for what cannot be written.
    closed: AtomicBool,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.state.closed.store(true, Ordering::Relaxed);
        self.writer.unpark();
    }
}

impl AuditLog {
    /// Records nothing.
    pub fn off() -> Self {
        Self(None)
    }

    /// Opens the sink and starts its writer.
    ///
    /// # Errors
    ///
    /// The file cannot be written, or there is no thread.
    pub fn open(sink: AuditSink, on_failure: AuditFailure) -> Result<Self, OpenError> {
        match sink {
            AuditSink::Off => Ok(Self(None)),
            AuditSink::Stdout => Self::start(on_failure, QUEUE, RETRY_AFTER, || Ok(io::stdout())),
            AuditSink::File(path) => {
                // Fails here rather than at the first mint.
                open_file(&path).map_err(|cause| OpenError::File { path: path.clone(), cause })?;
                // Opened anew for each batch, so that a log may be moved away at any time.
                Self::start(on_failure, QUEUE, RETRY_AFTER, move || open_file(&path))
            }
        }
    }

    fn start<W: io::Write>(
        on_failure: AuditFailure,
        capacity: usize,
        retry_after: Duration,
        open: impl FnMut() -> io::Result<W> + Send + 'static,
    ) -> Result<Self, OpenError> {
        let (queue, lines) = sync_channel(capacity);
        let (progress, written) = watch::channel(0);
        let state = Arc::new(State::default());
        let writer = Writer { lines, open, state: Arc::clone(&state), progress, retry_after };
        let thread = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run())
            .map_err(OpenError::Thread)?;
        let writer = thread.thread().clone();
        Ok(Self(Some(Arc::new(Inner { queue, on_failure, state, written, writer }))))
    }

    /// Refuses early what [`AuditLog::record`] would refuse later.
    ///
    /// # Errors
    ///
    /// The sink is known to be broken, and a decision must not go unrecorded.
    pub fn check(&self) -> Result<(), AuditUnavailable> {
        match &self.0 {
            Some(inner) if inner.on_failure == AuditFailure::Deny => inner.check(),
            Some(_) | None => Ok(()),
        }
    }

    /// Records a decision. Where none may go unrecorded this waits until the line is written, and
    /// otherwise for nothing.
    ///
    /// # Errors
    ///
    /// The line was not written, and a decision must not go unrecorded.
    pub async fn record(&self, decision: &Decision<'_>) -> Result<(), AuditUnavailable> {
        let Some(inner) = &self.0 else { return Ok(()) };
        match inner.on_failure {
            AuditFailure::Warn => {
                inner.queue("mint", decision.ts, decision, None);
                Ok(())
            }
            AuditFailure::Deny => inner.write("mint", decision.ts, decision).await,
        }
    }

    /// Queues the line of a revocation. It is never refused: a viewer who must go does not stay for the
    /// sake of a line, and what is lost is counted and told in the log.
    pub fn record_revocation(&self, revocation: &Revocation<'_>) {
        if let Some(inner) = &self.0 {
            inner.queue("revocation", revocation.ts, revocation, None);
        }
    }

    /// Waits until everything recorded so far is written, at most `deadline`. Says whether it is.
    pub async fn flush(&self, deadline: Duration) -> bool {
        let Some(inner) = &self.0 else { return true };
        let queued = inner.state.queued.load(Ordering::Relaxed);
        let mut written = inner.written.clone();
        let flushed = written.wait_for(|written| *written >= queued);
        matches!(tokio::time::timeout(deadline, flushed).await, Ok(Ok(_)))
    }
}

impl Inner {
    fn check(&self) -> Result<(), AuditUnavailable> {
        if *self.state.broken.borrow() { Err(AuditUnavailable) } else { Ok(()) }
    }

    /// Queues a line and waits until it is written, or can not be.
    async fn write(
        &self,
        event: &'static str,
        ts: Timestamp,
        record: &impl Serialize,
    ) -> Result<(), AuditUnavailable> {
        self.check()?;
        let (waits, written) = oneshot::channel();
        if !self.queue(event, ts, record, Some(waits)) {
            return Err(AuditUnavailable);
        }
        let mut broken = self.state.broken.subscribe();
        tokio::select! {
            biased;
            written = written => written.map_err(|_| AuditUnavailable),
            _ = broken.wait_for(|broken| *broken) => Err(AuditUnavailable),
        }
    }

    /// Queues a line; `waits` is told once it is written. Says whether there was room for it.
    fn queue(
        &self,
        event: &'static str,
        ts: Timestamp,
        record: &impl Serialize,
        waits: Option<oneshot::Sender<()>>,
    ) -> bool {
        let line = Line { ts: telemetry::instant(ts), level: "info", event, record };
        let Ok(mut line) = serde_json::to_vec(&line) else { return false };
        line.push(b'\n');
        match self.queue.try_send(Queued { line, waits }) {
            Ok(()) => {
                self.state.queued.fetch_add(1, Ordering::Relaxed);
                let lost = self.state.lost.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    tracing::warn!(
                        event = "audit_records_lost",
                        lost,
                        "audit records were lost; the queue has room again"
                    );
                }
                true
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                if self.state.lost.fetch_add(1, Ordering::Relaxed) == 0 {
                    tracing::error!(
                        event = "audit_queue_full",
                        "losing audit records: the sink is too slow or failing"
                    );
                }
                false
            }
        }
    }
}

/// A record as it is written.
#[derive(Serialize)]
struct Line<'a, T> {
    ts: String,
    level: &'static str,
    event: &'static str,
    #[serde(flatten)]
    record: &'a T,
}

/// Appended to; made with mode 0600, since it holds viewer ids.
/// Checks that the file can be appended to, without creating it.
///
/// # Errors
///
/// The file cannot be written, or its folder does not exist or cannot be written to.
pub fn check_file(path: &Path) -> io::Result<()> {
    let is_new = match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
        Ok(_) => false,
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(error),
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    Ok(rustix::fs::access(if is_new { folder } else { path }, rustix::fs::Access::WRITE_OK)?)
}

fn open_file(path: &Path) -> io::Result<std::fs::File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use super::*;

    const PROMPTLY: Duration = Duration::from_millis(1);
    const DEADLINE: Duration = Duration::from_secs(30);

    fn decision<'a>(client_id: &'a ClientId, request_id: &'a str) -> Decision<'a> {
        Decision {
            ts: Timestamp::from_unix_millis(1_795_337_700_012),
            request_id,
            trace_id: None,
            client_id,
            channel_arn: None,
            region: None,
            viewer_id: Some("viewer \"7\"\n"),
            token_id: Some("9f2c4be1a07d3358"),
            key_fingerprint: None,
            ttl_seconds: Some(300),
            outcome: Outcome::Minted,
            code: None,
            channel_freshness: Some("fresh"),
            duration_ms: 2,
        }
    }

    async fn record(log: &AuditLog, request_id: &str) -> Result<(), AuditUnavailable> {
        log.record(&decision(&"k3v9x0aq71pd".parse().unwrap(), request_id)).await
    }

    /// A sink of two bytes a write that, while it is told to fail, takes no more than six.
    #[derive(Clone, Default)]
    struct Faulty {
        failing: Arc<AtomicBool>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl io::Write for Faulty {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut written = self.written.lock().unwrap();
            if self.failing.load(Ordering::SeqCst) && written.len() >= 6 {
                return Err(io::Error::other("no space left"));
            }
            let some = &bytes[..bytes.len().min(2)];
            written.extend_from_slice(some);
            Ok(some.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn faulty(on_failure: AuditFailure, capacity: usize) -> (AuditLog, Faulty) {
        let sink = Faulty::default();
        let opened = sink.clone();
        let open = move || Ok(opened.clone());
        (AuditLog::start(on_failure, capacity, PROMPTLY, open).unwrap(), sink)
    }

    async fn until(condition: impl Fn() -> bool) {
        while !condition() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_file_gets_a_line_a_decision_with_the_fields_of_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let log = AuditLog::open(AuditSink::File(path.clone()), AuditFailure::Deny).unwrap();
        record(&log, "r1").await.unwrap();
        std::fs::rename(&path, folder.path().join("moved.jsonl")).unwrap();
        record(&log, "r2").await.unwrap();

        let line = |name: &str| -> serde_json::Value {
            let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
            assert_eq!(text.matches('\n').count(), 1, "{text}");
            serde_json::from_str(&text).unwrap()
        };
        assert_eq!(
            line("moved.jsonl"),
            serde_json::json!({
                "ts": "2026-11-22T08:55:00.012Z", "level": "info", "event": "mint",
                "requestId": "r1", "clientId": "k3v9x0aq71pd", "viewerId": "viewer \"7\"\n",
                "tokenId": "9f2c4be1a07d3358", "ttlSeconds": 300, "outcome": "minted",
                "channelFreshness": "fresh", "durationMs": 2,
            })
        );
        assert_eq!(line("audit.jsonl")["requestId"], "r2");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[tokio::test]
    async fn deny_hands_out_nothing_whose_line_is_not_written() {
        let (log, sink) = faulty(AuditFailure::Deny, 100);
        sink.failing.store(true, Ordering::SeqCst);
        // The first of them finds out, while the others wait for the writer.
        let refused = (0..5).map(|_| record(&log, "refused"));
        let refused = futures_util::future::join_all(refused).await;
        assert_eq!(refused, [Err(AuditUnavailable); 5]);
        assert_eq!(log.check(), Err(AuditUnavailable));
        assert!(!log.flush(PROMPTLY).await);

        sink.failing.store(false, Ordering::SeqCst);
        assert!(log.flush(DEADLINE).await);
        until(|| log.check().is_ok()).await;
        record(&log, "minted").await.unwrap();
        let text = String::from_utf8(sink.written.lock().unwrap().clone()).unwrap();
        let line = |line| serde_json::from_str::<serde_json::Value>(line).unwrap();
        assert_eq!(text.lines().map(line).next_back().unwrap()["requestId"], "minted");
    }

    /// A log whose writer is held in opening its sink until the sender goes.
    fn held(on_failure: AuditFailure) -> (AuditLog, mpsc::Sender<()>) {
        let (go, gate) = mpsc::channel::<()>();
        let sink = Faulty::default();
        let open = move || {
            let _ = gate.recv();
            Ok(sink.clone())
        };
        (AuditLog::start(on_failure, 1, PROMPTLY, open).unwrap(), go)
    }

    fn lost(log: &AuditLog) -> u64 {
        log.0.as_ref().unwrap().state.lost.load(Ordering::SeqCst)
    }

    #[tokio::test]
    async fn a_full_queue_loses_lines_under_warn() {
        let (log, go) = held(AuditFailure::Warn);
        while lost(&log) == 0 {
            record(&log, "r").await.unwrap();
        }
        assert_eq!(log.check(), Ok(()));
        drop(go);
        assert!(log.flush(DEADLINE).await);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_under_deny() {
        let (log, go) = held(AuditFailure::Deny);
        // One with the writer, one in the queue, and so one that finds no room.
        let all = futures_util::future::join_all((0..3).map(|_| record(&log, "r")));
        let let_go = async {
            until(|| lost(&log) > 0).await;
            drop(go);
        };
        let (outcomes, ()) = tokio::join!(all, let_go);
        assert!(outcomes.contains(&Err(AuditUnavailable)), "{outcomes:?}");
        assert!(outcomes.contains(&Ok(())), "{outcomes:?}");
        assert!(log.flush(DEADLINE).await);
    }

    #[tokio::test]
    async fn off_records_nothing_and_is_never_in_the_way() {
        let log = AuditLog::open(AuditSink::Off, AuditFailure::Deny).unwrap();
        record(&log, "r1").await.unwrap();
        assert!(log.flush(DEADLINE).await);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_told_at_start() {
        let path = PathBuf::from("/nonexistent/audit.jsonl");
        let error = AuditLog::open(AuditSink::File(path), AuditFailure::Warn).unwrap_err();
        assert!(
            error.to_string().starts_with("The audit log /nonexistent/audit.jsonl cannot be"),
            "{error}"
        );
    }
}
