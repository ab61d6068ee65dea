//! `/metrics`, in either place, and what is counted.

use std::time::Duration;

use axum::{body::Body, http::Request};
use serde_json::json;

use crate::app::{Answer, TestApp, ask, credential};

/// The value of a series.
fn value(metrics: &Answer, series: &str) -> Option<f64> {
    let line = metrics.text.lines().find_map(|line| line.strip_prefix(series))?;
    Some(line.strip_prefix(' ')?.parse().unwrap())
}

/// Expects each series to have its value.
fn assert_series(metrics: &Answer, expected: &[(&str, f64)]) {
    for (series, expected) in expected {
        let found = value(metrics, &format!("ivs_playback_auth_{series}"));
        assert_eq!(found, Some(*expected), "{series} in\n{}", metrics.text);
    }
}

fn anonymous(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn metrics_need_a_scope_beside_the_api() {
    let app = TestApp::start().await;
    app.send(anonymous("/metrics")).await.problem(401, "unauthenticated");
    let request = Request::get("/metrics")
        .header("authorization", format!("Bearer {}", credential('r')))
        .body(Body::empty())
        .unwrap();
    app.send(request).await.problem(403, "forbidden");

    let metrics = app.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    assert_eq!(
        metrics.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert_eq!(metrics.header("cache-control"), Some("no-store"));
    assert!(metrics.text.ends_with("# EOF\n"), "{metrics:?}");
}

#[tokio::test]
async fn a_listener_for_operations_serves_them_to_everybody_and_alone() {
    let app = TestApp::start_with(&[("server.operations_listen", "127.0.0.1:0")], true).await;
    app.get("/metrics").await.problem(404, "not_found");
    app.send(anonymous("/metrics")).await.problem(404, "not_found");
    let operations = app.app.operations_router();
    for path in ["/metrics", "/healthz", "/readyz"] {
        let answer = ask(operations.clone(), anonymous(path)).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }
    ask(operations.clone(), anonymous("/v1/key-pairs")).await.problem(404, "not_found");
    let post = Request::post("/metrics").body(Body::empty()).unwrap();
    ask(operations, post).await.problem(405, "method_not_allowed");
}

#[tokio::test]
async fn every_mint_and_every_refusal_is_counted_items_of_batches_too() {
    let app = TestApp::start().await;
    app.minted(json!({})).await;
    app.mint(json!({"channel": "demo", "ttlSeconds": 0})).await.problem(422, "invalid_request");
    let batch = json!({"requests": [{"channel": "demo"}, {"channel": "nobody"}, 7]});
    assert_eq!(app.post("/v1/tokens/batch", &batch).await.status, 200);
    app.post_text("/v1/tokens", "no JSON").await.problem(400, "invalid_json");
    app.send(anonymous("/v1/key-pairs")).await.problem(401, "unauthenticated");

    let metrics = app.get("/metrics").await;
    assert_series(
        &metrics,
        &[
            (r#"mints_total{client="aaaaaaaaaaaa",outcome="minted"}"#, 2.0),
            (r#"mints_total{client="aaaaaaaaaaaa",outcome="invalid_request"}"#, 2.0),
            (r#"mints_total{client="aaaaaaaaaaaa",outcome="channel_not_found"}"#, 1.0),
            (r#"refusals_total{code="invalid_request"}"#, 2.0),
            (r#"refusals_total{code="channel_not_found"}"#, 1.0),
            (r#"refusals_total{code="invalid_json"}"#, 1.0),
            (r#"refusals_total{code="unauthenticated"}"#, 1.0),
        ],
    );
}

#[tokio::test]
async fn requests_are_told_apart_by_route_and_never_by_what_a_caller_wrote() {
    let app = TestApp::start().await;
    app.get("/v1/channels/demo").await;
    app.get("/v1/channels/hunter2").await.problem(404, "channel_not_found");
    app.get("/hunter2").await.problem(404, "not_found");
    let strange = Request::builder().method("HUNTER2").uri("/healthz").body(Body::empty()).unwrap();
    app.send(strange).await.problem(405, "method_not_allowed");

    let metrics = app.get("/metrics").await;
    let count = |labels| format!("http_request_duration_seconds_count{{{labels}}}");
    assert_series(
        &metrics,
        &[
            (&count(r#"method="GET",route="/v1/channels/{channel}",status="200""#), 1.0),
            (&count(r#"method="GET",route="/v1/channels/{channel}",status="404""#), 1.0),
            (&count(r#"method="GET",route="unmatched",status="404""#), 1.0),
            (&count(r#"method="other",route="/healthz",status="405""#), 1.0),
        ],
    );
    assert!(!metrics.text.to_ascii_lowercase().contains("hunter2"), "{metrics:?}");
}

#[tokio::test]
async fn calls_to_ivs_are_counted_by_how_they_ended() {
    let app = TestApp::start_without_key().await;
    app.get("/v1/channels/demo").await;
    let absent = "arn:aws:ivs:us-west-2:123456789012:channel/AbCdEfGh1234".parse().unwrap();
    app.regional_ivs().get_channel(&absent).await.unwrap_err();
    app.stop_emulator();
    app.regional_ivs().list_playback_key_pairs().await.unwrap_err();
    assert_series(
        &app.get("/metrics").await,
        &[
            (r#"ivs_calls_total{operation="BatchGetChannel",outcome="ok"}"#, 1.0),
            (r#"ivs_calls_total{operation="GetChannel",outcome="not_found"}"#, 1.0),
            (r#"ivs_calls_total{operation="ListPlaybackKeyPairs",outcome="unavailable"}"#, 3.0),
            (r#"ivs_call_duration_seconds_count{operation="GetChannel"}"#, 1.0),
        ],
    );
}

#[tokio::test]
async fn a_scrape_looks_at_the_keys() {
    let app = TestApp::start_without_key().await;
    let active = r#"key_state{region="us-west-2",state="active"}"#;
    assert_series(&app.get("/metrics").await, &[(active, 0.0)]);
    app.make_first_key().await;
    app.post("/v1/key-pairs", &json!({})).await;
    // Nothing runs in the background here, so the keyring is as old as the last change.
    app.app.api().keys.refresh_all().await;
    app.clock.advance(Duration::from_millis(1500));
    assert_series(
        &app.get("/metrics").await,
        &[
            (active, 1.0),
            (r#"key_state{region="us-west-2",state="pending"}"#, 1.0),
            (r#"key_state{region="us-west-2",state="draining"}"#, 0.0),
            (r#"key_state{region="us-west-2",state="foreign"}"#, 0.0),
            (r#"key_state{region="us-west-2",state="missing"}"#, 0.0),
            (r#"keyring_age_seconds{region="us-west-2"}"#, 1.5),
        ],
    );
}
