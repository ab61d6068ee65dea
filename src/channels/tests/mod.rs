//! The directory against an emulated IVS over loopback, with the real AWS SDK. The gate in between
//! counts the calls, holds them, or answers in place of IVS as IVS does when it is in trouble.

mod lookups;
mod simulation;
mod trouble;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::{Response, StatusCode},
    middleware::Next,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::*;
use crate::{
    clock::{Clock, ManualClock, Timestamp},
    emulator::{Emulator, Options},
    ivs::{
        IvsRegions,
        arn::{ChannelArn, Region},
    },
    telemetry::{
        Instruments,
        metrics::{ExpositionFormat, Metrics},
    },
};

/// As many calls as a test likes, each at once.
pub(super) const SETTINGS: Settings = Settings {
    fresh_for: Duration::from_mins(1),
    stale_for: Duration::from_hours(24),
    not_found_for: Duration::from_secs(10),
    capacity: 1000,
    calls_per_second: 1000.0,
    gather: Duration::ZERO,
    deadline: Duration::from_secs(30),
    on_unavailable: Unavailable::Refuse,
    warm_up: false,
    aliases: BTreeMap::new(),
};

const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_337_700);
const ABSENT: &str = "arn:aws:ivs:us-west-2:123456789012:channel/AbSeNt";
const ALICE: Requester<'_> = Requester::client("alice");

/// What the gate does with a call that looks a channel up.
#[derive(Clone, Copy, Debug)]
enum Mode {
    Pass,
    /// Holds the call.
    Hold,
    /// Passes the call and holds its answer.
    HoldAnswer,
    Answer(StatusCode, &'static str),
    /// Answers a batch with what is made of its ARNs; other calls pass.
    Batch(fn(&[Value]) -> Value),
    /// Refuses each call that asks for the channel of this id; others pass.
    Refuse(&'static str, StatusCode, &'static str),
    /// Closes the connection in the middle of an answer.
    Cut,
}

const THROTTLED: Mode = Mode::Answer(StatusCode::TOO_MANY_REQUESTS, "ThrottlingException");
const DENIED: Mode = Mode::Answer(StatusCode::FORBIDDEN, "AccessDeniedException");
const EXPIRED: Mode = Mode::Answer(StatusCode::FORBIDDEN, "ExpiredTokenException");
const BROKEN: Mode = Mode::Answer(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");

#[derive(Debug)]
struct Gate {
    batches: AtomicUsize,
    singles: AtomicUsize,
    /// Answers that are held, or were.
    held: AtomicUsize,
    mode: watch::Sender<Mode>,
}

impl Gate {
    async fn pass(State(gate): State<Arc<Self>>, request: Request, next: Next) -> Response<Body> {
        let batch = match request.uri().path() {
            "/BatchGetChannel" => true,
            "/GetChannel" => false,
            _ => return next.run(request).await,
        };
        let counter = if batch { &gate.batches } else { &gate.singles };
        counter.fetch_add(1, Ordering::SeqCst);
        let mut mode = gate.mode.subscribe();
        let mode = *mode.wait_for(|mode| !matches!(mode, Mode::Hold)).await.unwrap();
        match mode {
            Mode::Answer(status, code) => {
                let body = json!({"__type": code, "message": "in trouble"}).to_string();
                let response = Response::builder().status(status).header("x-amzn-errortype", code);
                response.body(Body::from(body)).unwrap()
            }
            Mode::Batch(answer) if batch => {
                let body = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
                let input: Value = serde_json::from_slice(&body).unwrap();
                let answer = answer(input["arns"].as_array().unwrap());
                Response::new(Body::from(answer.to_string()))
            }
            Mode::Refuse(id, status, code) => {
                let (parts, body) = request.into_parts();
                let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
                if !String::from_utf8_lossy(&body).contains(&format!("channel/{id}\"")) {
                    return next.run(Request::from_parts(parts, Body::from(body))).await;
                }
                let body = json!({"__type": code, "message": "refused"}).to_string();
                let response = Response::builder().status(status).header("x-amzn-errortype", code);
                response.body(Body::from(body)).unwrap()
            }
            Mode::Cut => {
                let part = Ok(Bytes::from_static(b"{\"channels\":"));
                let cut = Err(std::io::Error::other("cut"));
                Response::new(Body::from_stream(futures_util::stream::iter([part, cut])))
            }
            Mode::HoldAnswer => {
                let answer = next.run(request).await;
                gate.held.fetch_add(1, Ordering::SeqCst);
                let mut mode = gate.mode.subscribe();
                mode.wait_for(|mode| !matches!(mode, Mode::HoldAnswer)).await.unwrap();
                answer
            }
            Mode::Pass | Mode::Batch(_) | Mode::Hold => next.run(request).await,
        }
    }
}

struct Bench {
    emulator: Emulator,
    gate: Arc<Gate>,
    directory: ChannelDirectory,
    metrics: Metrics,
    tasks: TaskTracker,
    time: ManualClock,
    /// A private channel.
    demo: ChannelArn,
    _folder: TempDir,
}

impl Bench {
    async fn start(settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (clock, time) = Clock::manual(NOW);
        let region: Region = "us-west-2".parse().unwrap();
        let options = Options::new(folder.path(), "123456789012".parse().unwrap());
        let emulator = Emulator::open(options, clock.clone()).unwrap();
        let demo = create(&emulator, "demo", true).await;

        let gate = Arc::new(Gate {
            batches: AtomicUsize::new(0),
            singles: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            mode: watch::Sender::new(Mode::Pass),
        });
        let layer = axum::middleware::from_fn_with_state(Arc::clone(&gate), Gate::pass);
        let router = emulator.router().layer(layer);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint_url = format!("http://{}", listener.local_addr().unwrap());
        TaskTracker::new().spawn(async move { axum::serve(listener, router).await });

        let account = "123456789012".parse().unwrap();
        let timeout = Duration::from_secs(30);
        let instruments = Instruments::new(clock.clone());
        let metrics = instruments.metrics.clone();
        let (key, secret) = ("AKID", "secret");
        let ivs =
            IvsRegions::fixed(&endpoint_url, region, account, key, secret, timeout, &instruments);
        let tasks = TaskTracker::new();
        let directory = ChannelDirectory::new(&ivs, settings, clock, &tasks, metrics.clone());
        Self { emulator, gate, directory, metrics, tasks, time, demo, _folder: folder }
    }

    /// Calls of both operations.
    fn calls(&self) -> usize {
        self.batches() + self.singles()
    }

    fn batches(&self) -> usize {
        self.gate.batches.load(Ordering::SeqCst)
    }

    fn singles(&self) -> usize {
        self.gate.singles.load(Ordering::SeqCst)
    }

    fn set(&self, mode: Mode) {
        self.gate.mode.send_replace(mode);
    }

    fn advance(&self, seconds: u64) {
        self.time.advance(Duration::from_secs(seconds));
    }

    /// Until no refresh is under way.
    async fn settle(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }

    async fn until_calls(&self, calls: usize) {
        while self.calls() < calls {
            tokio::task::yield_now().await;
        }
    }

    async fn until_held(&self) {
        while self.gate.held.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    }

    async fn lookup(&self, arn: &ChannelArn) -> Result<Lookup, LookupError> {
        self.directory.lookup(arn, ALICE).await
    }

    async fn freshness(&self) -> Result<Freshness, LookupError> {
        self.lookup(&self.demo).await.map(|found| found.freshness)
    }

    async fn refresh(&self, arn: &ChannelArn) -> Result<Lookup, LookupError> {
        self.directory.refresh(arn, ALICE).await
    }

    async fn set_authorized(&self, authorized: bool) {
        let input = json!({"arn": self.demo.as_str(), "authorized": authorized});
        tell(&self.emulator, "UpdateChannel", input).await;
    }

    /// A line of the metrics, without the prefix that all have.
    fn metric(&self, name: &str) -> String {
        let text = self.metrics.encode(ExpositionFormat::OpenMetrics).unwrap();
        let prefix = format!("ivs_playback_auth_{name} ");
        text.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or("0").to_owned()
    }
}

async fn create(emulator: &Emulator, name: &str, authorized: bool) -> ChannelArn {
    let input = json!({"name": name, "authorized": authorized});
    let arn = tell(emulator, "CreateChannel", input).await["channel"]["arn"].take();
    serde_json::from_value(arn).unwrap()
}

/// A call of the emulator past the gate.
async fn tell(emulator: &Emulator, operation: &str, input: Value) -> Value {
    let authorization = "AWS4-HMAC-SHA256 Credential=AKID/20261122/us-west-2/ivs/aws4_request, \
                         SignedHeaders=host, Signature=00";
    let request = Request::post(format!("/{operation}"))
        .header("host", "127.0.0.1")
        .header("content-type", "application/json")
        .header("authorization", authorization)
        .body(Body::from(input.to_string()));
    let answer = emulator.router().oneshot(request.unwrap()).await.unwrap();
    assert!(answer.status().is_success(), "{operation}: {}", answer.status());
    let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap();
    serde_json::from_slice(&body).unwrap_or_default()
}
