//! The audit log: one JSON record for each mint decision, authenticated refusal, viewer session that was to be
//! revoked, and change of keys or clients. `docs/audit.md` is its contract.
//!
//! A record is made by the request and written by a thread of its own, with a bounded queue between
//! them. When the sink cannot be written, the writer keeps what it has and tries again. What a request
//! does depends on `audit.on_failure`:
//!
//! - `warn`: it waits for no disk. Records for which the queue has no room are lost, which is counted and
//!   logged.
//! - `deny`: it waits until the operating system has its record, and is refused if that fails.
//!
//! This is the only place where a viewer id is written.

mod file;
mod record;
mod writer;

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::Thread,
    time::Duration,
};

use rand::RngExt as _;
use tokio::sync::{oneshot, watch};

pub use self::file::check as check_file;
pub use self::record::{Actor, Kind, Outcome, Record};
use self::writer::{Queued, Writer, write_rest};
use super::{AuditFailure, AuditSettings, AuditSink};
use crate::{
    clock::Clock,
    secret::system_rng,
    telemetry::{Instruments, metrics::Metrics},
};

/// Records that may wait for the writer.
const QUEUE: usize = 10_000;

/// How long the writer waits after a failed write.
const RETRY_AFTER: Duration =
    if cfg!(test) { Duration::from_millis(1) } else { Duration::from_secs(1) };

/// A sink that takes longer than this for one write counts as broken.
const STALLED_AFTER: Duration = Duration::from_secs(2);

/// The audit log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be written.
    #[error(
        "The audit log {path} cannot be written: {cause}. Make it writable for this user or change \
         audit.path.", path = .path.display()
    )]
    File {
        /// `audit.path`.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// The operating system cannot start a thread.
    #[error("The audit log's thread cannot be started: {0}.")]
    Thread(io::Error),
}

/// An event could not be recorded, and `audit.on_failure` is `deny`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the audit log cannot be written, and audit.on_failure is deny")]
pub struct AuditUnavailable;

/// Where events are recorded. Cheap to clone; the writer ends with the last clone.
#[derive(Clone, Debug)]
pub struct AuditLog(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    queue: SyncSender<Queued>,
    on_failure: AuditFailure,
    /// Whether to wait for each record: under `deny`, and in a command, which would end before it is written.
    waits: bool,
    state: Arc<State>,
    written: watch::Receiver<u64>,
    writer: Thread,
    /// Random, so that the records of two processes can be distinguished.
    process: String,
    /// The number of the next record, without gaps unless records are lost.
    seq: AtomicU64,
}

/// The state that requests and the writer share.
#[derive(Debug)]
struct State {
    clock: Clock,
    metrics: Metrics,
    /// Records put into the queue.
    queued: AtomicU64,
    /// Records lost since the last one that was queued.
    lost: AtomicU64,
    /// The last write failed.
    broken: watch::Sender<bool>,
    /// The start of the current write, in milliseconds; 0 while there is none.
    writing_since: AtomicU64,
    /// A failure was logged, and its end was not.
    is_reported: AtomicBool,
    /// The process is ending, so nothing waits for records that cannot be written.
    closed: AtomicBool,
}

impl State {
    fn new(instruments: &Instruments) -> Self {
        Self {
            clock: instruments.clock.clone(),
            metrics: instruments.metrics.clone(),
            queued: AtomicU64::default(),
            lost: AtomicU64::default(),
            broken: watch::Sender::default(),
            writing_since: AtomicU64::default(),
            is_reported: AtomicBool::default(),
            closed: AtomicBool::default(),
        }
    }

    fn milliseconds(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX).max(1)
    }

    fn write_begins(&self) {
        self.writing_since.store(self.milliseconds(), Ordering::Relaxed);
    }

    fn write_ends(&self) {
        self.writing_since.store(0, Ordering::Relaxed);
    }

    /// Returns whether the last write failed or the current one does not finish.
    fn is_failing(&self) -> bool {
        if *self.broken.borrow() {
            return true;
        }
        let since = self.writing_since.load(Ordering::Relaxed);
        let is_stalled = since != 0
            && Duration::from_millis(self.milliseconds().saturating_sub(since)) >= STALLED_AFTER;
        if is_stalled {
            self.report_failure("it does not take the records");
        }
        is_stalled
    }

    fn report_failure(&self, error: &str) {
        if !self.is_reported.swap(true, Ordering::Relaxed) {
            tracing::error!(event = "audit_failing", error, "cannot write the audit log; retrying");
        }
    }

    fn report_recovery(&self) {
        if self.is_reported.swap(false, Ordering::Relaxed) {
            tracing::info!(event = "audit_recovered", "the audit log can be written again");
        }
    }

    fn lose(&self) {
        self.metrics.audit_records("lost", 1);
        if self.lost.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::error!(
                event = "audit_queue_full",
                "losing audit records: the sink is too slow or failing"
            );
        }
    }
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
    pub fn open(settings: &AuditSettings, instruments: &Instruments) -> Result<Self, OpenError> {
        let on_failure = settings.on_failure;
        let (waits, state) = (on_failure == AuditFailure::Deny, Arc::new(State::new(instruments)));
        if let Some(path) = settings.file() {
            // Fails here rather than at the first mint.
            file::open(&path).map_err(|cause| OpenError::File { path: path.clone(), cause })?;
            let write = move |rest: &mut &[u8]| file::append(&path, rest);
            return Self::start(on_failure, waits, QUEUE, state, write);
        }
        if settings.sink == AuditSink::Stdout {
            let write = |rest: &mut &[u8]| write_rest(&mut io::stdout(), rest);
            return Self::start(on_failure, waits, QUEUE, state, write);
        }
        Ok(Self::off())
    }

    /// For a command: records only to a file, because standard output holds the command's result. Nothing is
    /// made before the first record. `changes` says that the command will change something, so that a file that
    /// cannot be written is an error under `deny`.
    ///
    /// # Errors
    ///
    /// As [`AuditLog::open`].
    pub fn for_command(
        settings: &AuditSettings,
        changes: bool,
        instruments: &Instruments,
    ) -> Result<Self, OpenError> {
        let Some(path) = settings.file() else { return Ok(Self::off()) };
        let on_failure = settings.on_failure;
        if changes && on_failure == AuditFailure::Deny {
            file::check(&path).map_err(|cause| OpenError::File { path: path.clone(), cause })?;
        }
        let state = Arc::new(State::new(instruments));
        Self::start(on_failure, true, QUEUE, state, move |rest| file::append(&path, rest))
    }

    fn start(
        on_failure: AuditFailure,
        waits: bool,
        capacity: usize,
        state: Arc<State>,
        write: impl FnMut(&mut &[u8]) -> io::Result<()> + Send + 'static,
    ) -> Result<Self, OpenError> {
        let (queue, lines) = sync_channel(capacity);
        let (progress, written) = watch::channel(0);
        let writer = Writer { lines, write, state: Arc::clone(&state), progress };
        let thread = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run())
            .map_err(OpenError::Thread)?;
        let writer = thread.thread().clone();
        let process = format!("{:016x}", system_rng().random::<u64>());
        let seq = AtomicU64::new(1);
        let inner = Inner { queue, on_failure, waits, state, written, writer, process, seq };
        Ok(Self(Some(Arc::new(inner))))
    }

    /// Refuses early a request that [`AuditLog::record`] would refuse later.
    ///
    /// # Errors
    ///
    /// The sink is known to be broken, and no event may go unrecorded.
    pub fn check(&self) -> Result<(), AuditUnavailable> {
        match &self.0 {
            Some(inner) if inner.on_failure == AuditFailure::Deny => inner.check(),
            Some(_) | None => Ok(()),
        }
    }

    /// Returns whether records were lost or cannot be written now.
    pub fn is_failing(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| {
            inner.state.is_failing() || inner.state.lost.load(Ordering::Relaxed) > 0
        })
    }

    /// Records an event. If no event may go unrecorded, it waits until the record is written;
    /// otherwise it does not wait.
    ///
    /// # Errors
    ///
    /// The record was not written, and no event may go unrecorded.
    pub async fn record(&self, record: &Record<'_>) -> Result<(), AuditUnavailable> {
        let Some(inner) = &self.0 else { return Ok(()) };
        if !inner.waits {
            inner.queue(record, None);
            return Ok(());
        }
        let written = inner.write(record).await;
        if inner.on_failure == AuditFailure::Deny { written } else { Ok(()) }
    }

    /// Queues a record that no one waits for. The event is not refused for the sake of its record, and
    /// a record that is lost is counted and logged.
    pub fn record_later(&self, record: &Record<'_>) {
        if let Some(inner) = &self.0 {
            inner.queue(record, None);
        }
    }

    /// Waits until the records of [`AuditLog::record_later`] are written, where [`AuditLog::record`] would wait,
    /// too, and for as long.
    pub async fn settle(&self) {
        if self.0.as_ref().is_some_and(|inner| inner.waits) {
            self.flush(STALLED_AFTER).await;
        }
    }

    /// Waits until everything recorded so far is written, at most `deadline`. Returns whether it is.
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
        if self.state.is_failing() { Err(AuditUnavailable) } else { Ok(()) }
    }

    /// Queues a record and waits until it is written, or cannot be.
    async fn write(&self, record: &Record<'_>) -> Result<(), AuditUnavailable> {
        self.check()?;
        let (waits, written) = oneshot::channel();
        if !self.queue(record, Some(waits)) {
            return Err(AuditUnavailable);
        }
        let mut broken = self.state.broken.subscribe();
        tokio::select! {
            biased;
            written = written => written.map_err(|_| AuditUnavailable),
            _ = broken.wait_for(|broken| *broken) => Err(AuditUnavailable),
            () = tokio::time::sleep(STALLED_AFTER) => Err(AuditUnavailable),
        }
    }

    /// Queues a record; `waits` is notified once it is written. Returns whether there was room for it.
    fn queue(&self, record: &Record<'_>, waits: Option<oneshot::Sender<()>>) -> bool {
        let seq = self.seq.fetch_add(1, Ordering::Relaxed);
        let Ok(line) = record.line(&self.process, seq) else {
            self.state.lose();
            return false;
        };
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
                self.state.lose();
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        path::Path,
        sync::{Mutex, mpsc},
    };

    use rand::{SeedableRng as _, rngs::StdRng};

    use super::*;
    use crate::{
        access::{Client, Credential, Scope},
        clock::Timestamp,
    };

    const PROMPTLY: Duration = Duration::from_millis(1);
    const DEADLINE: Duration = Duration::from_secs(30);

    fn client() -> Arc<Client> {
        let credential = Credential::generate(&mut StdRng::seed_from_u64(1));
        let scopes = [Scope::TokensMint].into();
        Arc::new(Client::new("web", scopes, &credential, Timestamp::from_unix_seconds(0)).unwrap())
    }

    fn actor(request_id: &str) -> Actor {
        Actor::Client { client: client(), request_id: request_id.into(), trace_id: None }
    }

    async fn record(log: &AuditLog, request_id: &str) -> Result<(), AuditUnavailable> {
        let ts = Timestamp::from_unix_millis(1_795_337_700_012);
        let actor = actor(request_id);
        let record = Record {
            viewer_id: Some("viewer \"7\"\n"),
            token_id: Some("9f2c4be1a07d3358"),
            ttl_seconds: Some(300),
            channel_freshness: Some("fresh"),
            duration_ms: Some(2),
            ..Record::new(ts, &actor, (Kind::Mint, "mint"), Outcome::Minted)
        };
        log.record(&record).await
    }

    fn instruments() -> Instruments {
        Instruments::new(Clock::system())
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

    fn to_file(path: &Path, on_failure: AuditFailure) -> AuditSettings {
        AuditSettings { sink: AuditSink::File, path: Some(path.to_owned()), on_failure }
    }

    fn faulty(on_failure: AuditFailure, capacity: usize) -> (AuditLog, Faulty) {
        let sink = Faulty::default();
        let mut opened = sink.clone();
        let write = move |rest: &mut &[u8]| write_rest(&mut opened, rest);
        let state = Arc::new(State::new(&instruments()));
        (
            AuditLog::start(on_failure, on_failure == AuditFailure::Deny, capacity, state, write)
                .unwrap(),
            sink,
        )
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
        let log = AuditLog::open(&to_file(&path, AuditFailure::Deny), &instruments()).unwrap();
        record(&log, "r1").await.unwrap();
        std::fs::rename(&path, folder.path().join("moved.jsonl")).unwrap();
        record(&log, "r2").await.unwrap();

        let line = |name: &str| -> serde_json::Value {
            let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
            assert_eq!(text.matches('\n').count(), 1, "{text}");
            serde_json::from_str(&text).unwrap()
        };
        let moved = line("moved.jsonl");
        let process = moved["process"].as_str().unwrap();
        assert_eq!(process.len(), 16);
        assert_eq!(
            moved,
            serde_json::json!({
                "ts": "2026-11-22T08:55:00.012Z", "level": "info", "event": "mint", "kind": "mint",
                "process": process, "seq": 1, "requestId": "r1", "clientId": client().id(),
                "clientName": "web", "viewerId": "viewer \"7\"\n",
                "tokenId": "9f2c4be1a07d3358", "ttlSeconds": 300, "outcome": "minted",
                "channelFreshness": "fresh", "durationMs": 2,
            })
        );
        assert_eq!(
            (&line("audit.jsonl")["seq"], &line("audit.jsonl")["process"]),
            (&2.into(), &process.into())
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
        let mut sink = Faulty::default();
        let write = move |rest: &mut &[u8]| {
            let _ = gate.recv();
            write_rest(&mut sink, rest)
        };
        let state = Arc::new(State::new(&instruments()));
        (
            AuditLog::start(on_failure, on_failure == AuditFailure::Deny, 1, state, write).unwrap(),
            go,
        )
    }

    fn lost(log: &AuditLog) -> u64 {
        log.0.as_ref().unwrap().state.lost.load(Ordering::SeqCst)
    }

    /// `docs/audit.md` names each member and each kind, and no other.
    #[test]
    fn documentation_names_the_members_and_kinds_of_records() {
        let names = |heading: &str| -> BTreeSet<String> {
            let text = include_str!("../../docs/audit.md").split(heading).nth(1).unwrap();
            let table = text.split("\n## ").next().unwrap();
            let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
            rows.map(ToOwned::to_owned).collect()
        };
        let kinds =
            [Kind::Mint, Kind::Refusal, Kind::Revocation, Kind::KeyChange, Kind::ClientChange];
        let name = |kind| serde_json::to_value(kind).unwrap().as_str().unwrap().to_owned();
        assert_eq!(names("## Kinds"), kinds.map(name).into());

        let client = client();
        let actors = [
            Actor::Client {
                client: Arc::clone(&client),
                request_id: "r1".into(),
                trace_id: Some("0af7651916cd43dd8448eb211c80319c".into()),
            },
            Actor::Operator { user: "root".to_owned(), sudo_user: Some("alice".to_owned()) },
        ];
        let channel = "arn:aws:ivs:us-west-2:123456789012:channel/AbCdEfGh1234".parse().unwrap();
        let pair = "arn:aws:ivs:us-west-2:123456789012:playback-key/AbCdEfGh1234".parse().unwrap();
        let ts = Timestamp::from_unix_seconds(0);
        let written: BTreeSet<String> = actors
            .iter()
            .flat_map(|actor| {
                let record = Record {
                    ts,
                    actor,
                    event: "mint",
                    kind: Kind::Mint,
                    channel_arn: Some(&channel),
                    region: Some(channel.region()),
                    viewer_id: Some("v"),
                    viewer_session_version: Some(1),
                    denied_until: Some(ts),
                    token_id: Some("9f2c4be1a07d3358"),
                    key_pair_arn: Some(&pair),
                    key_fingerprint: Some("40:74"),
                    rotation_id: Some("id"),
                    mode: Some("graceful"),
                    step: Some("import"),
                    reason: Some("why"),
                    subject_id: Some(client.id()),
                    subject_name: Some(client.name()),
                    method: Some("GET"),
                    route: Some("/v1/tokens"),
                    ttl_seconds: Some(1),
                    outcome: Outcome::Changed,
                    code: Some("forbidden"),
                    channel_freshness: Some("fresh"),
                    duration_ms: Some(1),
                };
                let line = record.line("0123456789abcdef", 1).unwrap();
                let line: serde_json::Map<String, serde_json::Value> =
                    serde_json::from_slice(&line).unwrap();
                line.into_iter().map(|(name, _)| name)
            })
            .collect();
        assert_eq!(names("## Members"), written);
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
        let inner = log.0.as_ref().unwrap();
        let others = async {
            until(|| inner.state.writing_since.load(Ordering::SeqCst) != 0).await;
            let let_go = async {
                until(|| lost(&log) > 0).await;
                drop(go);
            };
            let (queued, refused, ()) =
                tokio::join!(record(&log, "queued"), record(&log, "refused"), let_go);
            (queued, refused)
        };
        let (written, others) = tokio::join!(record(&log, "written"), others);
        assert_eq!((written, others), (Ok(()), (Ok(()), Err(AuditUnavailable))));
        assert!(log.flush(DEADLINE).await);
    }

    /// A sink that neither takes a record nor fails, such as a hung mount.
    #[tokio::test(start_paused = true)]
    async fn stalled_sink_refuses_under_deny_until_it_moves() {
        let (go, gate) = mpsc::channel::<()>();
        let (clock, time) = Clock::manual(Timestamp::from_unix_seconds(1));
        let state = Arc::new(State::new(&Instruments::new(clock)));
        let write = move |rest: &mut &[u8]| {
            let _ = gate.recv();
            write_rest(&mut io::sink(), rest)
        };
        let log = AuditLog::start(AuditFailure::Deny, true, 9, state, write).unwrap();
        assert_eq!(record(&log, "waits and gives up").await, Err(AuditUnavailable));
        let inner = log.0.as_ref().unwrap();
        until(|| inner.state.writing_since.load(Ordering::SeqCst) != 0).await;
        time.advance(2 * STALLED_AFTER);
        assert_eq!(log.check(), Err(AuditUnavailable));
        assert!(log.is_failing());
        drop(go);
        until(|| log.check().is_ok()).await;
        assert!(!log.is_failing());
    }

    #[tokio::test]
    async fn off_records_nothing_and_is_never_in_the_way() {
        let on_failure = AuditFailure::Deny;
        let off = AuditSettings { sink: AuditSink::Off, path: None, on_failure };
        let log = AuditLog::open(&off, &instruments()).unwrap();
        record(&log, "r1").await.unwrap();
        assert!(log.flush(DEADLINE).await);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_told_at_start() {
        let path = PathBuf::from("/nonexistent/audit.jsonl");
        let error =
            AuditLog::open(&to_file(&path, AuditFailure::Warn), &instruments()).unwrap_err();
        assert!(
            error.to_string().starts_with("The audit log /nonexistent/audit.jsonl cannot be"),
            "{error}"
        );
    }
}
