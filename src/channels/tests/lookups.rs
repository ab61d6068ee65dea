//! What is remembered, for how long, and what it costs.

use futures_util::future::join_all;

use super::*;

#[tokio::test]
async fn a_channel_is_asked_for_once_and_then_remembered() {
    let bench = Bench::start(SETTINGS).await;
    let first = bench.lookup(&bench.demo).await.unwrap();
    assert_eq!(first.channel.arn, bench.demo);
    assert_eq!(first.channel.name, "demo");
    assert!(first.channel.authorized);
    assert!(first.channel.playback_url.contains(".m3u8"));
    assert_eq!(first.channel.fetched_at, NOW);
    bench.advance(59);
    assert_eq!(bench.freshness().await, Ok(Freshness::Fresh));
    assert_eq!((bench.batches(), bench.singles()), (1, 0));

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
    let rush = join_all((0..500).map(|_| bench.lookup(&bench.demo)));
    let release = async {
        bench.until_calls(1).await;
        bench.set(Mode::Pass);
    };
    let (found, ()) = tokio::join!(rush, release);
    assert!(found.iter().all(Result::is_ok));
    assert_eq!(bench.calls(), 1);
}

#[tokio::test]
async fn cold_channels_gather_fifty_a_call() {
    let gather = Duration::from_millis(5);
    let bench = Bench::start(Settings { gather, ..SETTINGS }).await;
    let mut arns = Vec::new();
    for number in 0..120 {
        arns.push(create(&bench.emulator, &format!("cold-{number}"), true).await);
    }
    let found = join_all(arns.iter().map(|arn| bench.lookup(arn))).await;
    for (arn, found) in arns.iter().zip(found) {
        assert_eq!(found.unwrap().channel.arn, *arn);
    }
    assert_eq!((bench.batches(), bench.singles()), (3, 0));
    assert_eq!(bench.metric("channel_batch_size_sum"), "120.0");
    assert_eq!(bench.metric("channel_lookup_wait_seconds_count"), "120");
    assert_eq!(bench.metric("channel_lookups_total{result=\"miss\"}"), "120");
}

#[tokio::test]
async fn callers_who_leave_do_not_end_the_call_for_the_others() {
    let bench = Bench::start(SETTINGS).await;
    bench.set(Mode::Hold);
    let leaving = bench.lookup(&bench.demo);
    let staying = bench.lookup(&bench.demo);
    let mut leaving = Box::pin(leaving);
    assert!(futures_util::poll!(&mut leaving).is_pending());
    bench.until_calls(1).await;
    drop(leaving);
    let (found, ()) = tokio::join!(staying, async { bench.set(Mode::Pass) });
    assert!(found.is_ok());
    assert_eq!(bench.calls(), 1);
}

#[tokio::test]
async fn a_lookup_that_everybody_has_left_is_not_made() {
    let gather = Duration::from_millis(20);
    let bench = Bench::start(Settings { gather, ..SETTINGS }).await;
    let mut leaving = Box::pin(bench.lookup(&bench.demo));
    assert!(futures_util::poll!(&mut leaving).is_pending());
    drop(leaving);
    bench.settle().await;
    assert_eq!(bench.calls(), 0);
    assert_eq!(bench.freshness().await, Ok(Freshness::Fresh));
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
    assert_eq!(bench.metric("channel_lookups_total{result=\"stale\"}"), "100");
    assert_eq!(bench.metric("channel_lookups_total{result=\"hit\"}"), "1");
}

#[tokio::test]
async fn absence_is_remembered_for_a_while() {
    let bench = Bench::start(SETTINGS).await;
    let absent: ChannelArn = ABSENT.parse().unwrap();
    for _ in 0..60 {
        assert_eq!(bench.lookup(&absent).await.unwrap_err(), LookupError::NotFound);
    }
    assert_eq!((bench.batches(), bench.singles()), (1, 0));
    bench.advance(10);
    assert_eq!(bench.lookup(&absent).await.unwrap_err(), LookupError::NotFound);
    assert_eq!(bench.calls(), 2);
    assert_eq!(bench.metric("channel_lookups_total{result=\"not_found\"}"), "61");
}

#[tokio::test]
async fn a_spray_of_made_up_arns_evicts_no_channel() {
    let bench = Bench::start(Settings { capacity: 10, ..SETTINGS }).await;
    bench.freshness().await.unwrap();
    for number in 0..20 {
        let arns: Vec<ChannelArn> =
            (0..50).map(|it| format!("{ABSENT}-{number}-{it}").parse().unwrap()).collect();
        join_all(arns.iter().map(|arn| bench.lookup(arn))).await;
    }
    let calls = bench.calls();
    assert_eq!(bench.freshness().await, Ok(Freshness::Fresh));
    assert_eq!(bench.calls(), calls);
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
    assert!(!bench.lookup(&bench.demo).await.unwrap().channel.authorized);
    bench.set_authorized(true).await;
    bench.advance(9);
    assert!(!bench.lookup(&bench.demo).await.unwrap().channel.authorized);
    bench.advance(1);
    let found = bench.lookup(&bench.demo).await.unwrap();
    assert!(found.channel.authorized);
    assert_eq!(found.freshness, Freshness::Fresh);
}

#[tokio::test]
async fn refresh_asks_again_at_most_once_a_second() {
    let bench = Bench::start(SETTINGS).await;
    assert!(bench.refresh(&bench.demo).await.unwrap().channel.authorized);
    bench.set_authorized(false).await;
    let again = bench.refresh(&bench.demo).await.unwrap();
    assert!(again.channel.authorized, "asked within this second");
    assert_eq!(bench.calls(), 1);
    bench.advance(1);
    let found = bench.refresh(&bench.demo).await.unwrap();
    assert!(!found.channel.authorized);
    assert_eq!(found.freshness, Freshness::Fresh);
    assert_eq!(bench.calls(), 2);
}

#[tokio::test]
async fn refreshes_at_the_same_time_share_a_call() {
    let bench = Bench::start(SETTINGS).await;
    bench.freshness().await.unwrap();
    bench.set_authorized(false).await;
    bench.advance(1);
    let refreshed = join_all((0..10).map(|_| bench.refresh(&bench.demo))).await;
    assert!(refreshed.iter().all(|it| !it.as_ref().unwrap().channel.authorized));
    assert_eq!(bench.calls(), 2);
}

#[tokio::test]
async fn a_refresh_takes_nothing_that_was_asked_for_before_it() {
    let bench = Bench::start(SETTINGS).await;
    bench.freshness().await.unwrap();
    bench.advance(60);
    bench.set(Mode::HoldAnswer);
    assert_eq!(bench.freshness().await, Ok(Freshness::Stale));
    bench.until_held().await;
    bench.set_authorized(false).await;
    bench.advance(1);
    let refreshes = join_all((0..10).map(|_| bench.refresh(&bench.demo)));
    let (found, ()) = tokio::join!(refreshes, async { bench.set(Mode::Pass) });
    assert!(found.iter().all(|it| !it.as_ref().unwrap().channel.authorized));
    assert_eq!(bench.calls(), 3, "one for all of them");
}

#[tokio::test]
async fn a_refresh_within_a_second_takes_what_is_under_way() {
    let bench = Bench::start(SETTINGS).await;
    bench.freshness().await.unwrap();
    bench.advance(60);
    bench.set(Mode::HoldAnswer);
    assert_eq!(bench.freshness().await, Ok(Freshness::Stale));
    bench.until_held().await;
    bench.time.advance(Duration::from_millis(999));
    let refresh = bench.refresh(&bench.demo);
    let (refreshed, ()) = tokio::join!(refresh, async { bench.set(Mode::Pass) });
    assert_eq!(refreshed.unwrap().freshness, Freshness::Fresh);
    assert_eq!(bench.calls(), 2);
}

#[tokio::test]
async fn a_refresh_does_not_believe_in_an_absence_from_before_it() {
    let bench = Bench::start(SETTINGS).await;
    let absent: ChannelArn = ABSENT.parse().unwrap();
    bench.set(Mode::HoldAnswer);
    let refreshes = async {
        bench.until_held().await;
        bench.advance(1);
        let refreshes = join_all((0..10).map(|_| bench.refresh(&absent)));
        tokio::join!(refreshes, async { bench.set(Mode::Pass) }).0
    };
    let (first, others) = tokio::join!(bench.lookup(&absent), refreshes);
    for outcome in others.into_iter().chain([first]) {
        assert_eq!(outcome.unwrap_err(), LookupError::NotFound);
    }
    assert_eq!(bench.calls(), 2, "one more for all of the refreshes");
}

#[tokio::test]
async fn refresh_of_an_absent_channel_is_asked_again_sooner_than_a_lookup() {
    let bench = Bench::start(SETTINGS).await;
    let absent: ChannelArn = ABSENT.parse().unwrap();
    for seconds in [0, 0, 1] {
        bench.advance(seconds);
        assert_eq!(bench.refresh(&absent).await.unwrap_err(), LookupError::NotFound);
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
    assert_eq!(bench.lookup(&elsewhere).await.unwrap_err(), LookupError::NotFound);
    assert_eq!(bench.calls(), 0);
}

#[tokio::test]
async fn a_warm_start_has_read_every_private_channel() {
    let bench = Bench::start(SETTINGS).await;
    let mut arns = vec![bench.demo.clone()];
    for number in 0..220 {
        arns.push(create(&bench.emulator, &format!("private-{number}"), true).await);
    }
    let public = create(&bench.emulator, "public", false).await;
    bench.directory.warm_up().await;
    assert_eq!((bench.batches(), bench.singles()), (5, 0), "two for each full page of 100");
    for arn in &arns {
        assert_eq!(bench.lookup(arn).await.unwrap().freshness, Freshness::Fresh);
    }
    assert_eq!(bench.calls(), 5);
    assert!(!bench.lookup(&public).await.unwrap().channel.authorized);
    assert_eq!(bench.calls(), 6);
}
