//! The cached lookup before an IVS that enforces its quotas, and one in trouble: what reaches IVS, and
//! what viewers notice of it.

use std::time::{Duration, Instant};

use axum::{body::Body, http::Request};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::app::{Answer, Emulated, TestApp, credential, encoded};

const ABSENT: &str = "arn:aws:ivs:us-west-2:123456789012:channel/AAAAAAAAAAAA";

async fn enforcing(cold: usize, settings: &[(&str, &str)]) -> TestApp {
    TestApp::start_against(
        Emulated { enforce_rates: true, cold, ..Emulated::default() },
        settings,
        true,
    )
    .await
}

#[expect(clippy::disallowed_methods, reason = "what is measured here is real time")]
fn now() -> Instant {
    Instant::now()
}

/// Reads a channel as the client that may do nothing else.
async fn read(app: &TestApp, arn: &str) -> Answer {
    let request = Request::get(format!("/v1/channels/{}", encoded(arn)))
        .header("authorization", format!("Bearer {}", credential('r')))
        .body(Body::empty());
    app.send(request.unwrap()).await
}

fn retry_after(answer: &Answer) -> u64 {
    answer.header("retry-after").expect("retry-after").parse().unwrap()
}

#[tokio::test]
async fn a_rush_for_one_cold_channel_costs_one_call() {
    let app = enforcing(0, &[]).await;
    let rush = join_all((0..500).map(|_| app.mint(json!({"channel": "demo"})))).await;
    assert!(rush.iter().all(|answer| answer.status == 200));
    assert_eq!(app.calls("BatchGetChannel").await, json!({"200": 1}));
    assert_eq!(app.calls("GetChannel").await, Value::Null);
}

#[tokio::test]
async fn three_hundred_cold_channels_are_minted_for_within_seconds() {
    for in_a_batch in [false, true] {
        let patient = [("channels.deadline", "1m"), ("server.request_timeout", "2m")];
        let app = enforcing(300, &patient).await;
        let mint_all = async || {
            let began = now();
            if in_a_batch {
                let requests: Vec<_> = app.cold.iter().map(|arn| json!({"channel": arn})).collect();
                let requests = json!({"requests": requests});
                let answer = app.post("/v1/tokens/batch", &requests).await.json();
                let results = answer["results"].as_array().unwrap();
                assert!(results.iter().all(|result| result["token"].is_string()), "{answer}");
            } else {
                let rush = app.cold.iter().map(|arn| app.minted(json!({"channel": arn})));
                join_all(rush).await;
            }
            began.elapsed()
        };
        // The rest is this machine's time for 300 signatures, which a busy one has not.
        let (cold, warm) = (mint_all().await, mint_all().await);
        assert!(cold < Duration::from_secs(8) + warm, "{cold:?} {warm:?}");
        assert_eq!(app.calls("BatchGetChannel").await, json!({"200": 6}));
        assert_eq!(app.calls("GetChannel").await, Value::Null);
    }
}

#[tokio::test]
async fn the_fastest_that_may_be_configured_provokes_no_429() {
    let app = enforcing(12, &[("channels.calls_per_second", "5")]).await;
    // Each is a call of its own, as soon as it may be made.
    for arn in &app.cold {
        app.minted(json!({"channel": arn})).await;
    }
    assert_eq!(app.calls("BatchGetChannel").await, json!({"200": 12}));
}

#[tokio::test]
async fn an_absent_channel_costs_a_call_in_a_while() {
    let app = enforcing(0, &[]).await;
    for _ in 0..60 {
        app.mint(json!({"channel": ABSENT})).await.problem(404, "channel_not_found");
    }
    let calls = app.calls("BatchGetChannel").await;
    assert_eq!((calls, app.calls("GetChannel").await), (json!({"200": 1}), Value::Null));
}

#[tokio::test]
async fn a_dead_ivs_is_survived_and_its_return_noticed() {
    let mut app = TestApp::start_against(
        Emulated { cold: 20, ..Emulated::default() },
        &[("channels.deadline", "30s"), ("server.request_timeout", "2m")],
        true,
    )
    .await;
    let (seen, unseen) = app.cold.split_at(10);
    for arn in seen {
        app.minted(json!({"channel": arn})).await;
    }
    app.stop_emulator();
    app.clock.advance(Duration::from_hours(23));
    // Keys are read more often than that.
    app.app.api().keys.refresh_all().await;
    for arn in seen {
        assert_eq!(app.minted(json!({"channel": arn})).await["channelFreshness"], "stale");
    }
    let began = now();
    let refused = join_all(unseen.iter().map(|arn| app.mint(json!({"channel": arn})))).await;
    assert!(began.elapsed() < Duration::from_secs(20), "sooner than at the deadline");
    for answer in refused {
        answer.problem(503, "ivs_unavailable");
        assert_eq!(retry_after(&answer), 1);
    }

    app.restart_emulator().await;
    app.clock.advance(Duration::from_secs(1));
    let minted = join_all(app.cold.iter().map(|arn| app.minted(json!({"channel": arn})))).await;
    assert!(minted[10..].iter().all(|it| it["channelFreshness"] == "fresh"), "the unseen ones");
    let fresh = async || {
        let again = join_all(app.cold.iter().map(|arn| app.minted(json!({"channel": arn})))).await;
        again.iter().all(|it| it["channelFreshness"] == "fresh")
    };
    while !fresh().await {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_channel_made_private_is_minted_for_soon() {
    let app = TestApp::start().await;
    let made = app.sdk().create_channel().name("show").send().await.unwrap();
    let arn = made.channel.unwrap().arn.unwrap();
    for _ in 0..30 {
        app.mint(json!({"channel": arn})).await.problem(409, "channel_not_private");
        app.clock.advance(Duration::from_secs(1));
    }
    app.sdk().update_channel().arn(&arn).authorized(true).send().await.unwrap();
    app.clock.advance(Duration::from_secs(10));
    assert_eq!(app.minted(json!({"channel": arn})).await["channelFreshness"], "fresh");

    // The other way round it is noticed with the next refresh.
    app.sdk().update_channel().arn(&arn).authorized(false).send().await.unwrap();
    let refresh = format!("/v1/channels/{}/refresh", encoded(&arn));
    app.clock.advance(Duration::from_secs(1));
    assert_eq!(app.post(&refresh, &json!({})).await.json()["authorized"], false);
    app.mint(json!({"channel": arn})).await.problem(409, "channel_not_private");
}

#[tokio::test]
async fn an_ivs_that_throttles_every_second_call_costs_time_only() {
    let settings = [("channels.deadline", "20s"), ("server.request_timeout", "30s")];
    let emulated = Emulated { cold: 120, ..Emulated::default() };
    let app = TestApp::start_against(emulated, &settings, true).await;
    app.fault(json!({"kind": "throttle", "operations": "BatchGetChannel", "every": 2})).await;
    join_all(app.cold.iter().map(|arn| app.minted(json!({"channel": arn})))).await;
    assert_eq!(app.calls("BatchGetChannel").await, json!({"200": 3, "429": 2}));
}

#[tokio::test]
async fn an_ivs_that_answers_oddly_is_asked_once_more_for_what_is_unclear() {
    for kind in ["omit_item", "repeat_item", "fail_item"] {
        let app =
            TestApp::start_against(Emulated { cold: 5, ..Emulated::default() }, &[], true).await;
        app.fault(json!({"kind": kind, "operations": "BatchGetChannel"})).await;
        join_all(app.cold.iter().map(|arn| app.minted(json!({"channel": arn})))).await;
        assert_eq!(app.calls("BatchGetChannel").await, json!({"200": 1}), "{kind}");
        assert_eq!(app.calls("GetChannel").await, json!({"200": 1}), "{kind}");
    }
}

#[tokio::test]
async fn an_ivs_that_cuts_the_connection_is_unavailable_for_those_who_wait() {
    let app = TestApp::start().await;
    for kind in ["cut", "lost_answer"] {
        app.fault(json!({"kind": kind, "operations": "BatchGetChannel", "count": 1})).await;
        let answer = app.mint(json!({"channel": "demo"})).await;
        answer.problem(503, "ivs_unavailable");
        assert_eq!(retry_after(&answer), 1);
    }
    app.minted(json!({})).await;
}

#[tokio::test]
async fn an_ivs_that_is_slow_keeps_nobody_past_the_deadline() {
    let settings = [("channels.deadline", "300ms")];
    let app = TestApp::start_with(&settings, true).await;
    app.fault(
        json!({"kind": "slow", "operations": "BatchGetChannel", "delayMs": 3000, "count": 1}),
    )
    .await;
    app.mint(json!({"channel": "demo"})).await.problem(503, "ivs_unavailable");
    assert!(app.is_asked("BatchGetChannel").await);
    assert_eq!(app.calls("BatchGetChannel").await, json!({}), "not answered yet");
    // The answer is kept when it comes.
    while app.mint(json!({"channel": "demo"})).await.status != 200 {}
    assert_eq!(app.calls("BatchGetChannel").await, json!({"200": 1}));
}

#[tokio::test]
async fn who_would_wait_too_long_is_told_so_at_once() {
    // The next turn comes after 1000 s, and the deadline after 60.
    let slow = ("channels.calls_per_second", "0.001");
    let settings = [slow, ("channels.deadline", "1m"), ("server.request_timeout", "2m")];
    let app = TestApp::start_with(&settings, true).await;
    let began = now();
    app.minted(json!({})).await;
    let answer = app.mint(json!({"channel": ABSENT})).await;
    assert!(began.elapsed() < Duration::from_secs(30), "sooner than at the deadline");
    let body = answer.problem(503, "ivs_throttled");
    let is_truthful = |told: u64| told <= 1000 && told + began.elapsed().as_secs() + 1 >= 1000;
    assert!(is_truthful(retry_after(&answer)), "{answer:?}");
    let told = format!("try again in {} s.", retry_after(&answer));
    assert!(body["detail"].as_str().unwrap().ends_with(&told), "{body}");
    let batch = app.post("/v1/tokens/batch", &json!({"requests": [{"channel": ABSENT}]})).await;
    let error = &batch.json()["results"][0]["error"];
    assert_eq!(error["code"], "ivs_throttled");
    assert!(is_truthful(error["retryAfter"].as_u64().unwrap()), "{error}");
}

#[tokio::test]
async fn a_spray_of_made_up_arns_delays_no_honest_caller() {
    let app = enforcing(20, &[]).await;
    let spray = join_all((0..3000).map(|number| {
        let app = &app;
        async move { read(app, &format!("{ABSENT}{number}")).await }
    }));
    let honest = join_all(app.cold.iter().map(|arn| app.minted(json!({"channel": arn}))));
    let (sprayed, _) = tokio::join!(spray, honest);
    let refused = sprayed.iter().filter(|answer| answer.status == 503).count();
    assert!((1..3000).contains(&refused), "{refused} of 3000 refused");
    for answer in &sprayed {
        match answer.json()["code"].as_str() {
            Some("channel_not_found") => {}
            // The latter where the time was over while the call was under way.
            Some("ivs_throttled" | "ivs_unavailable") => assert!(retry_after(answer) >= 1),
            _ => panic!("{answer:?}"),
        }
    }
    let calls = app.calls("BatchGetChannel").await;
    assert!(calls.get("429").is_none(), "{calls}");
}

#[tokio::test]
async fn a_warm_start_needs_no_call_for_the_first_viewers() {
    let settings = [("channels.warm_up", "true")];
    let app = TestApp::start_against(
        Emulated { enforce_rates: true, cold: 120, ..Emulated::default() },
        &settings,
        true,
    )
    .await;
    app.app.start_background();
    let warm = async || app.calls("BatchGetChannel").await == json!({"200": 3});
    while !warm().await {
        tokio::task::yield_now().await;
    }
    app.stop_emulator();
    join_all(app.cold.iter().map(|arn| app.minted(json!({"channel": arn})))).await;
}
