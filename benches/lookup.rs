//! The cached lookup: what a warm hit costs on one core and on two, and what a channel takes of memory.
//!
//! `cargo bench --bench lookup`

#![expect(clippy::expect_used, reason = "a bench that cannot be set up has nothing to measure")]
#![expect(clippy::print_stdout, reason = "criterion measures time; memory is printed beside it")]

use std::{
    collections::BTreeMap,
    fs,
    hint::black_box,
    thread,
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, routing::post};
use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::{FutureExt as _, future::join_all};
use ivs_playback_auth::{
    channels::{ChannelDirectory, Requester, Settings, Unavailable},
    clock::Clock,
    ivs::{IvsRegions, arn::ChannelArn},
    telemetry::{Instruments, metrics::Metrics},
};
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

/// What `channels.capacity` is by default.
const CHANNELS: usize = 100_000;

/// Each thread looks up so many channels in turn.
const HOT: usize = 1000;

fn arn(number: usize) -> ChannelArn {
    let arn = format!("arn:aws:ivs:us-west-2:123456789012:channel/AbCdEf{number:06}");
    arn.parse().expect("an ARN")
}

/// `BatchGetChannel` of an IVS that has every channel.
async fn batch_get_channel(body: Bytes) -> String {
    let input: Value = serde_json::from_slice(&body).expect("JSON");
    let arns = input.get("arns").and_then(Value::as_array).expect("arns");
    let channel = |arn: &Value| {
        let id = arn.as_str().and_then(|arn| arn.rsplit('/').next()).expect("an ARN");
        let host = "https://a1b2c3d4e5f6.us-west-2.playback.live-video.net";
        let playback_url = format!("{host}/api/video/v1/us-west-2.123456789012.channel.{id}.m3u8");
        json!({
            "arn": arn, "name": format!("channel-{id}"), "authorized": true, "type": "STANDARD",
            "latencyMode": "LOW", "playbackUrl": playback_url,
        })
    };
    json!({"channels": arns.iter().map(channel).collect::<Vec<_>>(), "errors": []}).to_string()
}

/// A directory before an IVS that answers whatever it is asked.
async fn directory() -> ChannelDirectory {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let endpoint_url = format!("http://{}", listener.local_addr().expect("an address"));
    let router = Router::new().route("/BatchGetChannel", post(batch_get_channel));
    let tasks = TaskTracker::new();
    tasks.spawn(async move { axum::serve(listener, router).await });
    let ivs = IvsRegions::fixed(
        &endpoint_url,
        "us-west-2".parse().expect("a region"),
        "123456789012".parse().expect("an account"),
        "AKID",
        "secret",
        Duration::from_secs(30),
        &Instruments::new(Clock::system()),
    );
    let settings = Settings {
        fresh_for: Duration::from_hours(1),
        stale_for: Duration::from_hours(24),
        not_found_for: Duration::from_secs(10),
        capacity: u64::try_from(CHANNELS).expect("a number"),
        // Not IVS's quota: filling the cache is not what is measured.
        calls_per_second: 500.0,
        gather: Duration::from_millis(5),
        deadline: Duration::from_mins(2),
        on_unavailable: Unavailable::Refuse,
        warm_up: false,
        aliases: BTreeMap::new(),
    };
    ChannelDirectory::new(&ivs, settings, Clock::system(), &tasks, Metrics::default())
}

/// The memory of this process, in bytes.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    kib.unwrap_or_default() * 1024
}

async fn fill(directory: &ChannelDirectory, numbers: std::ops::Range<usize>) {
    // By pieces, so that what waiting takes is not counted as what remembering takes.
    for start in numbers.clone().step_by(HOT) {
        let arns: Vec<_> = (start..(start + HOT).min(numbers.end)).map(arn).collect();
        let looked_up = arns.iter().map(|arn| directory.lookup(arn, Requester::LOCAL));
        assert!(join_all(looked_up).await.iter().all(Result::is_ok), "every channel exists");
    }
}

/// `iterations` warm lookups on each of `threads` threads at the same time.
fn hits(directory: &ChannelDirectory, threads: usize, iterations: u64) -> Duration {
    let arns: Vec<ChannelArn> = (0..HOT).map(arn).collect();
    let ready = std::sync::Barrier::new(threads);
    let times = thread::scope(|scope| {
        let hit_all = |offset: usize| {
            let (arns, ready) = (&arns, &ready);
            scope.spawn(move || {
                let mut turn = arns.iter().cycle().skip(offset);
                ready.wait();
                let began = now();
                for _ in 0..iterations {
                    let arn = turn.next().expect("a cycle has no end");
                    let lookup = directory.lookup(black_box(arn), Requester::LOCAL);
                    let _ = black_box(lookup.now_or_never().expect("a hit does not wait"));
                }
                began.elapsed()
            })
        };
        let running: Vec<_> = (0..threads).map(|thread| hit_all(thread * HOT / 2)).collect();
        running.into_iter().map(|it| it.join().expect("a time")).collect::<Vec<_>>()
    });
    times.into_iter().max().unwrap_or_default()
}

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn now() -> Instant {
    Instant::now()
}

fn bench(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let directory = runtime.block_on(async {
        let directory = directory().await;
        // What connections and buffers take is there before the first measurement.
        fill(&directory, 0..HOT).await;
        let before = resident();
        fill(&directory, HOT..CHANNELS).await;
        let each = resident().saturating_sub(before) / (CHANNELS - HOT);
        println!("memory: {each} bytes a cached channel, resident, of {CHANNELS} channels");
        directory
    });
    criterion.bench_function("lookup: a warm hit, on one core", |bencher| {
        bencher.iter_custom(|iterations| hits(&directory, 1, iterations));
    });
    criterion.bench_function("lookup: a warm hit, on each of two cores at once", |bencher| {
        bencher.iter_custom(|iterations| hits(&directory, 2, iterations));
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);
