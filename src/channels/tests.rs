//! The directory over loopback: the real AWS client asks the emulator, through a gate that counts
//! the calls, holds them, or answers in place of IVS as IVS does when it is in trouble.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{Response, StatusCode},
    middleware::Next,
};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::*;
use crate::{
    clock::{Clock, ManualClock, Timestamp},
    config::Unavailable,
    emulator::{Emulator, Options},
    ivs::{
        IvsRegions,
        arn::{ChannelArn, Region},
    },
    telemetry::Instruments,
};

pub(super) const SETTINGS: Settings = Settings {
    fresh_for: Duration::from_mins(1),
    stale_for: Duration::from_hours(24),
    not_found_for: Duration::from_secs(10),
    capacity: 1000,
    deadline: Duration::from_secs(30),
    on_unavailable: Unavailable::Refuse,
};

const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_337_700);
const ABSENT: &str = "arn:aws:ivs:us-west-2:123456789012:channel/AbSeNt";

/// What the gate does with a `GetChannel`.
#[derive(Clone, Copy, Debug)]
enum Mode {
    Pass,
    Hold,
    Answer(StatusCode, &'static str),
}

const THROTTLED: Mode = Mode::Answer(StatusCode::TOO_MANY_REQUESTS, "ThrottlingException");
const DENIED: Mode = Mode::Answer(StatusCode::FORBIDDEN, "AccessDeniedException");
const BROKEN: Mode = Mode::Answer(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");

#[derive(Debug)]
struct Gate {
    calls: AtomicUsize,
    mode: watch::Sender<Mode>,
}

impl Gate {
    async fn pass(State(gate): State<Arc<Self>>, request: Request, next: Next) -> Response<Body> {
        if request.uri().path() == "/GetChannel" {
            gate.calls.fetch_add(1, Ordering::SeqCst);
            let mut mode = gate.mode.subscribe();
            let mode = *mode.wait_for(|mode| !matches!(mode, Mode::Hold)).await.unwrap();
            if let Mode::Answer(status, code) = mode {
                let body = json!({"__type": code, "message": "in trouble"}).to_string();
                let response = Response::builder().status(status).header("x-amzn-errortype", code);
                return response.body(Body::from(body)).unwrap();
            }
        }
        next.run(request).await
    }
}

struct Bench {
    emulator: Emulator,
    gate: Arc<Gate>,
    directory: ChannelDirectory,
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
        let input = json!({"name": "demo", "authorized": true});
        let demo = tell(&emulator, "CreateChannel", input).await["channel"]["arn"].take();
        let demo = serde_json::from_value(demo).unwrap();

        let gate =
            Arc::new(Gate { calls: AtomicUsize::new(0), mode: watch::Sender::new(Mode::Pass) });
        let layer = axum::middleware::from_fn_with_state(Arc::clone(&gate), Gate::pass);
        let router = emulator.router().layer(layer);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint_url = format!("http://{}", listener.local_addr().unwrap());
        TaskTracker::new().spawn(async move { axum::serve(listener, router).await });

        let account = "123456789012".parse().unwrap();
        let timeout = Duration::from_secs(30);
        let instruments = Instruments::new(clock.clone());
        let ivs = IvsRegions::fixed(
            &endpoint_url,
            region,
            account,
            "AKID",
            "secret",
            timeout,
            &instruments,
        );
        let tasks = TaskTracker::new();
        let directory = ChannelDirectory::new(ivs, settings, clock, tasks.clone());
        Self { emulator, gate, directory, tasks, time, demo, _folder: folder }
    }

    fn calls(&self) -> usize {
        self.gate.calls.load(Ordering::SeqCst)
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

    async fn freshness(&self) -> Result<Freshness, LookupError> {
        self.directory.lookup(&self.demo).await.map(|found| found.freshness)
    }

    async fn set_authorized(&self, authorized: bool) {
        let input = json!({"arn": self.demo.as_str(), "authorized": authorized});
        tell(&self.emulator, "UpdateChannel", input).await;
    }
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

#[tokio::test]
async fn a_channel_is_asked_for_once_and_then_remembered() {
    let bench = Bench::start(SETTINGS).await;
    let first = bench.directory.lookup(&bench.demo).await.unwrap();
    assert_eq!(first.channel.arn, bench.demo);
    assert_eq!(first.channel.name, "demo");
    assert!(first.channel.authorized);
    assert!(first.channel.playback_url.contains(".m3u8"));
    assert_eq!(first.channel.fetched_at, NOW);
    bench.advance(59);
    assert_eq!(bench.freshness().await, Ok(Freshness::Fresh));
    assert_eq!(bench.calls(), 1);

    let json = serde_json::to_value(&*first.channel).unwrap();
    let mut members: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(
        members,
        ["arn", "authorized", "fetchedAt", "latencyMode", "name", "playbackUrl", "type"]
    );
}

#[tokio::test]
async fn a_rush_for_one_cold_channel_is_one_call() {
    let bench = Bench::start(SETTINGS).await;
    bench.set(Mode::Hold);
    let rush = join_all((0..500).map(|_| bench.directory.lookup(&bench.demo)));
    let release = async {
        bench.until_calls(1).await;
        bench.set(Mode::Pass);
    };
    let (found, ()) = tokio::join!(rush, release);
    assert!(found.iter().all(Result::is_ok));
    assert_eq!(bench.calls(), 1);
}

#[tokio::test]
async fn callers_who_leave_do_not_end_the_call_for_the_others() {
    let bench = Bench::start(SETTINGS).await;
    bench.set(Mode::Hold);
    let leaving = bench.directory.lookup(&bench.demo);
    let staying = bench.directory.lookup(&bench.demo);
    let mut leaving = Box::pin(leaving);
    assert!(futures_util::poll!(&mut leaving).is_pending());
    bench.until_calls(1).await;
    drop(leaving);
    let (found, ()) = tokio::join!(staying, async { bench.set(Mode::Pass) });
    assert!(found.is_ok());
    assert_eq!(bench.calls(), 1);
}

#[tokio::test]
async fn a_stale_channel_is_served_at_once_while_one_refresh_runs() {
    let bench = Bench::start(SETTINGS).await;
    bench.freshness().await.unwrap();
    bench.advance(60);
    bench.set(Mode::Hold);
    for _ in 0..100 {
        assert_eq!(bench.freshness().await, Ok(Freshness::Stale));
    }
    bench.set(Mode::Pass);
    bench.settle().await;
    assert_eq!(bench.freshness().await, Ok(Freshness::Fresh));
    assert_eq!(bench.calls(), 2);
}

#[tokio::test]
async fn ivs_in_trouble_is_no_trouble_for_a_day() {
    for trouble in [BROKEN, THROTTLED, DENIED] {
        let bench = Bench::start(SETTINGS).await;
        bench.freshness().await.unwrap();
        bench.set(trouble);
        bench.advance(60);
        for second in 0..5 {
            for _ in 0..10 {
                assert_eq!(bench.freshness().await, Ok(Freshness::Stale));
                bench.settle().await;
            }
            assert_eq!(bench.calls(), 2 + second, "one try a second");
            bench.advance(1);
        }
        bench.advance(86_400 - 66);
        assert_eq!(bench.freshness().await, Ok(Freshness::Stale));
        bench.settle().await;
        bench.advance(1);
        assert!(bench.freshness().await.is_err());
        bench.set(Mode::Pass);
        assert_eq!(bench.freshness().await, Ok(Freshness::Fresh));
    }
}

#[tokio::test]
async fn trouble_with_an_unseen_channel_is_told_by_its_kind() {
    let bench = Bench::start(SETTINGS).await;
    let retry_after = Duration::from_secs(1);
    bench.set(THROTTLED);
    assert_eq!(bench.freshness().await, Err(LookupError::Throttled { retry_after }));
    bench.set(BROKEN);
    assert_eq!(bench.freshness().await, Err(LookupError::Unavailable { retry_after }));
    bench.set(DENIED);
    assert_eq!(bench.freshness().await, Err(LookupError::Denied));
    // None of it is remembered.
    bench.set(Mode::Pass);
    assert_eq!(bench.freshness().await, Ok(Freshness::Fresh));
    assert_eq!(bench.calls(), 4);
}

#[tokio::test]
async fn a_mint_can_do_without_a_lookup_where_that_is_wanted() {
    let bench = Bench::start(Settings { on_unavailable: Unavailable::Mint, ..SETTINGS }).await;
    for trouble in [BROKEN, THROTTLED] {
        bench.set(trouble);
        let found = bench.directory.lookup_for_mint(&bench.demo).await;
        assert!(matches!(found, Ok(LookupForMint::Unverified)), "{found:?}");
    }
    bench.set(DENIED);
    assert!(bench.directory.lookup_for_mint(&bench.demo).await.is_err());
    bench.set(Mode::Pass);
    let found = bench.directory.lookup_for_mint(&bench.demo).await;
    assert!(matches!(found, Ok(LookupForMint::Found(_))), "{found:?}");
}

#[tokio::test]
async fn absence_is_remembered_for_a_while() {
    let bench = Bench::start(SETTINGS).await;
    let absent: ChannelArn = ABSENT.parse().unwrap();
    for _ in 0..60 {
        let found = bench.directory.lookup(&absent).await;
        assert_eq!(found.unwrap_err(), LookupError::NotFound);
    }
    assert_eq!(bench.calls(), 1);
    bench.advance(10);
    assert_eq!(bench.directory.lookup(&absent).await.unwrap_err(), LookupError::NotFound);
    assert_eq!(bench.calls(), 2);
}

#[tokio::test]
async fn a_deleted_channel_is_forgotten_by_the_next_refresh() {
    let bench = Bench::start(SETTINGS).await;
    bench.freshness().await.unwrap();
    tell(&bench.emulator, "DeleteChannel", json!({"arn": bench.demo.as_str()})).await;
    bench.advance(60);
    assert_eq!(bench.freshness().await, Ok(Freshness::Stale));
    bench.settle().await;
    assert_eq!(bench.freshness().await, Err(LookupError::NotFound));
    assert_eq!(bench.calls(), 2);
}

#[tokio::test]
async fn that_a_channel_is_public_is_asked_again_before_it_refuses() {
    let bench = Bench::start(SETTINGS).await;
    bench.set_authorized(false).await;
    assert!(!bench.directory.lookup(&bench.demo).await.unwrap().channel.authorized);
    bench.set_authorized(true).await;
    bench.advance(9);
    assert!(!bench.directory.lookup(&bench.demo).await.unwrap().channel.authorized);
    bench.advance(1);
    let found = bench.directory.lookup(&bench.demo).await.unwrap();
    assert!(found.channel.authorized);
    assert_eq!(found.freshness, Freshness::Fresh);
}

#[tokio::test]
async fn a_refusal_is_never_served_stale() {
    let bench = Bench::start(SETTINGS).await;
    bench.set_authorized(false).await;
    bench.freshness().await.unwrap();
    bench.advance(10);
    bench.set(BROKEN);
    assert!(matches!(bench.freshness().await, Err(LookupError::Unavailable { .. })));
}

#[tokio::test]
async fn nobody_waits_past_the_deadline_but_the_answer_is_kept() {
    let bench = Bench::start(Settings { deadline: Duration::from_millis(1), ..SETTINGS }).await;
    bench.set(Mode::Hold);
    assert!(matches!(bench.freshness().await, Err(LookupError::Unavailable { .. })));
    bench.set(Mode::Pass);
    bench.settle().await;
    assert_eq!(bench.freshness().await, Ok(Freshness::Fresh));
    assert_eq!(bench.calls(), 1);
}

#[tokio::test]
async fn refresh_asks_again_at_most_once_a_second() {
    let bench = Bench::start(SETTINGS).await;
    let refresh = || async { bench.directory.refresh(&bench.demo).await.unwrap() };
    assert!(refresh().await.channel.authorized);
    bench.set_authorized(false).await;
    assert!(refresh().await.channel.authorized, "asked within this second");
    assert_eq!(bench.calls(), 1);
    bench.advance(1);
    let found = refresh().await;
    assert!(!found.channel.authorized);
    assert_eq!(found.freshness, Freshness::Fresh);
    assert_eq!(bench.calls(), 2);
}

#[tokio::test]
async fn a_refresh_that_fails_drops_nothing() {
    let bench = Bench::start(SETTINGS).await;
    bench.freshness().await.unwrap();
    bench.advance(60);
    bench.set(BROKEN);
    let failed = bench.directory.refresh(&bench.demo).await.unwrap_err();
    assert!(matches!(failed, LookupError::Unavailable { .. }));
    let again = bench.directory.refresh(&bench.demo).await.unwrap();
    assert_eq!(again.freshness, Freshness::Stale);
    assert_eq!(bench.calls(), 2);
    assert_eq!(bench.freshness().await, Ok(Freshness::Stale));
}

#[tokio::test]
async fn refresh_of_an_absent_channel_is_asked_again_sooner_than_a_lookup() {
    let bench = Bench::start(SETTINGS).await;
    let absent: ChannelArn = ABSENT.parse().unwrap();
    for seconds in [0, 0, 1] {
        bench.advance(seconds);
        assert_eq!(bench.directory.refresh(&absent).await.unwrap_err(), LookupError::NotFound);
    }
    assert_eq!(bench.calls(), 2);
}

#[tokio::test]
async fn a_clock_that_is_set_back_keeps_nothing_fresh() {
    let bench = Bench::start(SETTINGS).await;
    bench.freshness().await.unwrap();
    bench.advance(60);
    bench.time.set_wall(NOW);
    assert_eq!(bench.freshness().await, Ok(Freshness::Stale));
}

#[tokio::test]
async fn a_region_that_is_not_served_has_no_channels() {
    let bench = Bench::start(SETTINGS).await;
    let elsewhere = bench.demo.as_str().replace("us-west-2", "eu-west-1").parse().unwrap();
    let found = bench.directory.lookup(&elsewhere).await;
    assert_eq!(found.unwrap_err(), LookupError::NotFound);
    assert_eq!(bench.calls(), 0);
}
