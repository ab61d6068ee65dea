//! An IVS that throttles, denies, cuts connections, or gives odd answers.

use futures_util::future::join_all;

use super::*;

/// Keeps tests of throttling short.
const HURRIED: Settings = {
    let mut settings = SETTINGS;
    settings.deadline = Duration::from_secs(3);
    settings
};

#[tokio::test]
async fn remembered_channel_is_served_for_a_day_while_ivs_fails() {
    for trouble in [BROKEN, THROTTLED, DENIED, EXPIRED, Mode::Cut] {
        let bench = Bench::start(HURRIED).await;
        bench.freshness().await.unwrap();
        bench.set(trouble);
        bench.advance(60);
        for second in 0..5 {
            for _ in 0..10 {
                assert_eq!(bench.freshness().await, Ok(Freshness::Stale));
                bench.settle().await;
            }
            // A channel that IVS refused in a batch is asked for alone after that.
            let tries = if bench.singles() == 0 { bench.batches() } else { 1 + bench.singles() };
            assert_eq!(tries, 2 + second, "one try a second");
            bench.advance(1);
        }
        bench.advance(86_400 - 66);
        assert_eq!(bench.freshness().await, Ok(Freshness::Stale));
        bench.settle().await;
        bench.advance(1);
        assert!(bench.freshness().await.is_err());
        assert_eq!(after_trouble(&bench).await, Ok(Freshness::Fresh));
    }
}

/// The lookup after IVS has recovered. The rate may be low by then, and the reported wait must be enough.
async fn after_trouble(bench: &Bench) -> Result<Freshness, LookupError> {
    bench.set(Mode::Pass);
    bench.settle().await;
    match bench.freshness().await {
        Err(LookupError::Throttled { retry_after }) => {
            tokio::time::sleep(retry_after).await;
            bench.freshness().await
        }
        found => found,
    }
}

#[tokio::test]
async fn failed_lookup_of_an_unseen_channel_returns_the_reason() {
    let bench = Bench::start(HURRIED).await;
    let unavailable = LookupError::Unavailable { retry_after: Duration::from_secs(1) };
    for trouble in [BROKEN, Mode::Cut, EXPIRED] {
        bench.set(trouble);
        assert_eq!(bench.freshness().await, Err(unavailable));
    }
    assert_eq!((bench.batches(), bench.singles()), (3, 0));
    bench.set(DENIED);
    assert_eq!(bench.freshness().await, Err(LookupError::Denied));
    assert_eq!((bench.batches(), bench.singles()), (4, 1), "GetChannel may be allowed");
    bench.set(THROTTLED);
    assert!(matches!(bench.freshness().await, Err(LookupError::Throttled { .. })));
    assert_eq!(bench.metric("channel_lookups_total{result=\"denied\"}"), "1");
    assert_eq!(bench.metric("channel_lookups_total{result=\"unavailable\"}"), "4");
    assert_ne!(bench.metric("channel_throttles_total"), "0");
    // None of it is remembered.
    assert_eq!(after_trouble(&bench).await, Ok(Freshness::Fresh));
}

#[tokio::test]
async fn throttling_costs_time_and_causes_no_error() {
    let bench = Bench::start(SETTINGS).await;
    bench.set(THROTTLED);
    let release = async {
        bench.until_calls(4).await;
        bench.set(Mode::Pass);
    };
    let (found, ()) = tokio::join!(bench.freshness(), release);
    assert_eq!(found, Ok(Freshness::Fresh));
}

#[tokio::test]
async fn mint_needs_no_lookup_if_configured_so() {
    let bench = Bench::start(Settings { on_unavailable: Unavailable::Mint, ..HURRIED }).await;
    let lookup = async |trouble| {
        bench.set(trouble);
        bench.directory.lookup_for_mint(&bench.demo, ALICE).await
    };
    assert!(lookup(DENIED).await.is_err());
    assert!(matches!(lookup(BROKEN).await, Ok(LookupForMint::Unverified)));
    assert!(matches!(lookup(THROTTLED).await, Ok(LookupForMint::Unverified)));
    assert_eq!(after_trouble(&bench).await, Ok(Freshness::Fresh));
    assert!(matches!(lookup(Mode::Pass).await, Ok(LookupForMint::Found(_))));
}

#[tokio::test]
async fn public_channel_is_never_served_stale() {
    let bench = Bench::start(SETTINGS).await;
    bench.set_authorized(false).await;
    bench.freshness().await.unwrap();
    bench.advance(10);
    bench.set(BROKEN);
    assert!(matches!(bench.freshness().await, Err(LookupError::Unavailable { .. })));
}

#[tokio::test]
async fn caller_waits_until_the_deadline_and_the_answer_is_kept() {
    let bench = Bench::start(HURRIED).await;
    bench.set(Mode::Hold);
    assert!(matches!(bench.freshness().await, Err(LookupError::Unavailable { .. })));
    bench.set(Mode::Pass);
    bench.settle().await;
    assert_eq!(bench.freshness().await, Ok(Freshness::Fresh));
    assert_eq!(bench.calls(), 1);
}

#[tokio::test]
async fn lookup_that_would_exceed_its_deadline_is_refused_at_once() {
    let bench = Bench::start(Settings { calls_per_second: 0.01, ..SETTINGS }).await;
    bench.freshness().await.unwrap();
    let absent = ABSENT.parse().unwrap();
    let Err(LookupError::Throttled { retry_after }) = bench.lookup(&absent).await else {
        panic!("the next call is 100 s away, the deadline 30 s");
    };
    assert!(retry_after > Duration::from_secs(80) && retry_after <= Duration::from_secs(100));
    assert_eq!(bench.calls(), 1);
}

#[tokio::test]
async fn lookup_that_no_one_waits_for_keeps_no_task_waiting() {
    let deadline = Duration::from_mins(5);
    let bench = Bench::start(Settings { calls_per_second: 0.01, deadline, ..SETTINGS }).await;
    bench.freshness().await.unwrap();
    let absent = ABSENT.parse().unwrap();
    let mut leaving = Box::pin(bench.lookup(&absent));
    assert!(futures_util::poll!(&mut leaving).is_pending());
    drop(leaving);
    let settled = tokio::time::timeout(Duration::from_secs(30), bench.settle()).await;
    assert!(settled.is_ok(), "the next call is 100 s away");
    assert_eq!(bench.calls(), 1);
}

#[tokio::test]
async fn failed_refresh_drops_nothing() {
    let bench = Bench::start(SETTINGS).await;
    bench.freshness().await.unwrap();
    bench.advance(60);
    bench.set(BROKEN);
    let failed = bench.refresh(&bench.demo).await.unwrap_err();
    assert!(matches!(failed, LookupError::Unavailable { .. }));
    let again = bench.refresh(&bench.demo).await.unwrap();
    assert_eq!(again.freshness, Freshness::Stale);
    assert_eq!(bench.calls(), 2);
    assert_eq!(bench.freshness().await, Ok(Freshness::Stale));
}

#[tokio::test]
async fn channel_without_a_clear_answer_in_a_batch_is_looked_up_alone_once() {
    let odd: [fn(&[Value]) -> Value; 5] = [
        |_| json!({}),
        |arns| json!({"errors": [{"arn": arns[0], "code": "418", "message": ""}]}),
        |arns| json!({"errors": [{"arn": arns[0], "code": "403"}, {"arn": arns[0], "code": "404"}]}),
        |arns| json!({"channels": [{"arn": arns[0]}]}),
        |arns| {
            let channel = json!({"arn": arns[0], "playbackUrl": "https://elsewhere.test"});
            json!({"channels": [channel, channel]})
        },
    ];
    for answer in odd {
        let bench = Bench::start(SETTINGS).await;
        bench.set(Mode::Batch(answer));
        let found = bench.lookup(&bench.demo).await.unwrap();
        assert!(found.channel.playback_url.contains("/api/video/v1/"));
        let absent = ABSENT.parse().unwrap();
        assert_eq!(bench.lookup(&absent).await.unwrap_err(), LookupError::NotFound);
        assert_eq!((bench.batches(), bench.singles()), (2, 2));
    }
}

#[tokio::test]
async fn clear_not_found_in_a_batch_needs_no_second_call() {
    let bench = Bench::start(SETTINGS).await;
    bench.set(Mode::Batch(|arns| json!({"errors": [{"arn": arns[0], "code": "404"}]})));
    assert_eq!(bench.freshness().await, Err(LookupError::NotFound));
    assert_eq!((bench.batches(), bench.singles()), (1, 0));
}

#[tokio::test]
async fn refused_batch_does_not_fail_its_channels() {
    let bench = Bench::start(Settings { gather: Duration::from_millis(5), ..SETTINGS }).await;
    bench.set(Mode::Batch(|_| json!({"channels": "of another type"})));
    assert!(matches!(bench.freshness().await, Err(LookupError::Unavailable { .. })));
    let refused = Mode::Answer(StatusCode::BAD_REQUEST, "ValidationException");
    bench.set(refused);
    let absent = ABSENT.parse().unwrap();
    let release = async {
        bench.until_calls(2).await;
        bench.set(Mode::Pass);
    };
    let (one, other, ()) = tokio::join!(bench.lookup(&bench.demo), bench.lookup(&absent), release);
    assert_eq!(one.unwrap().channel.arn, bench.demo);
    assert_eq!(other.unwrap_err(), LookupError::NotFound);
    assert_eq!((bench.batches(), bench.singles()), (2, 2));
}

#[tokio::test]
async fn channel_that_ivs_refuses_does_not_send_its_batch_to_get_channel() {
    let invalid = (StatusCode::BAD_REQUEST, "ValidationException", LookupError::NotFound);
    let denied = (StatusCode::FORBIDDEN, "AccessDeniedException", LookupError::Denied);
    for (status, code, expected) in [invalid, denied] {
        let bench = Bench::start(Settings { gather: Duration::from_millis(50), ..SETTINGS }).await;
        let mut arns = Vec::new();
        for number in 0..49 {
            arns.push(create(&bench.emulator, &format!("show-{number}"), true).await);
        }
        bench.set(Mode::Refuse("AbSeNt", status, code));
        let refused: ChannelArn = ABSENT.parse().unwrap();
        arns.insert(20, refused.clone());
        let found = join_all(arns.iter().map(|arn| bench.lookup(arn))).await;
        for (arn, found) in arns.iter().zip(found) {
            let outcome = found.map(|_| ());
            assert_eq!(
                outcome,
                if *arn == refused { Err(expected) } else { Ok(()) },
                "{code} {arn}"
            );
        }
        assert!(bench.batches() <= 13, "{} batches", bench.batches());
        assert!(bench.singles() <= 3, "{} single calls", bench.singles());

        // The next batch is whole: the refused channel is not part of it.
        let (batches, next) = (bench.batches(), create(&bench.emulator, "next", true).await);
        let (_, found) = tokio::join!(bench.lookup(&refused), bench.lookup(&next));
        assert!(found.is_ok());
        assert_eq!(bench.batches(), batches + 1, "{code}");
    }
}
