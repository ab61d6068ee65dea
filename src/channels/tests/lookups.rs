//! How long lookups are remembered, and how many calls they make.

use futures_util::future::join_all;

use super::*;

#[tokio::test]
async fn channel_is_looked_up_once_and_then_remembered() {
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
async fn traffic_spike_for_one_cold_channel_makes_one_call() {
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
async fn cold_channels_are_looked_up_fifty_per_call() {
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
async fn caller_that_leaves_does_not_end_the_call_for_the_others() {
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
async fn lookup_that_no_one_waits_for_is_not_made() {
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
async fn stale_channel_is_served_at_once_while_one_refresh_runs() {
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
async fn made_up_arns_evict_no_channel() {
    let bench = Bench::start(Settings { capacity: 10, ..SETTINGS }).await;
    bench.freshness().await.unwrap();
    for number in 0..20 {
        let arns: Vec<ChannelArn> =
            (0..50).map(|id| format!("{ABSENT}-{number}-{id}").parse().unwrap()).collect();
        join_all(arns.iter().map(|arn| bench.lookup(arn))).await;
    }
    let calls = bench.calls();
    assert_eq!(bench.freshness().await, Ok(Freshness::Fresh));
    assert_eq!(bench.calls(), calls);
}

#[tokio::test]
async fn deleted_channel_is_forgotten_by_the_next_refresh() {
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
async fn public_channel_is_looked_up_again_before_it_is_refused() {
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
async fn refresh_calls_ivs_at_most_once_per_second() {
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
async fn concurrent_refreshes_share_a_call() {
    let bench = Bench::start(SETTINGS).await;
    bench.freshness().await.unwrap();
    bench.set_authorized(false).await;
    bench.advance(1);
    let refreshed = join_all((0..10).map(|_| bench.refresh(&bench.demo))).await;
    assert!(refreshed.iter().all(|found| !found.as_ref().unwrap().channel.authorized));
    assert_eq!(bench.calls(), 2);
}

#[tokio::test]
async fn refresh_ignores_a_call_that_was_made_before_it() {
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
    assert!(found.iter().all(|found| !found.as_ref().unwrap().channel.authorized));
    assert_eq!(bench.calls(), 3, "one for all of them");
}

#[tokio::test]
async fn refresh_within_a_second_joins_the_pending_lookup() {
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
async fn refresh_ignores_an_absence_from_before_it() {
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
async fn refresh_of_an_absent_channel_calls_ivs_sooner_than_a_lookup() {
    let bench = Bench::start(SETTINGS).await;
    let absent: ChannelArn = ABSENT.parse().unwrap();
    for seconds in [0, 0, 1] {
        bench.advance(seconds);
        assert_eq!(bench.refresh(&absent).await.unwrap_err(), LookupError::NotFound);
    }
    assert_eq!(bench.calls(), 2);
}

#[tokio::test]
async fn clock_that_is_set_back_keeps_no_channel_fresh() {
    let bench = Bench::start(SETTINGS).await;
    bench.freshness().await.unwrap();
    bench.advance(60);
    bench.time.set_wall(NOW);
    assert_eq!(bench.freshness().await, Ok(Freshness::Stale));
}

#[tokio::test]
async fn region_that_is_not_served_has_no_channels() {
    let bench = Bench::start(SETTINGS).await;
    let elsewhere = bench.demo.as_str().replace("us-west-2", "eu-west-1").parse().unwrap();
    assert_eq!(bench.lookup(&elsewhere).await.unwrap_err(), LookupError::NotFound);
    assert_eq!(bench.calls(), 0);
}

#[tokio::test]
async fn warm_up_reads_every_private_channel() {
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
