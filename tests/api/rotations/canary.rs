//! The canary, with the emulated playback edge.

use std::time::Duration;

use axum::{body::Body, http::Request};
use serde_json::{Value, json};

use super::{PROPAGATION, logs::Logs};
use crate::app::{TestApp, ask, encoded};

/// Between two rounds.
const PAUSE: Duration = Duration::from_secs(5);

const CANARY: &[(&str, &str)] = &[("rotation.canary_channel", "demo")];

#[tokio::test]
async fn three_rounds_prove_the_new_key_long_before_the_wait_is_over() {
    let logs = Logs::collect();
    let app = TestApp::start_with(CANARY, true).await;
    let rotation = app.begin(json!({})).await;
    for _ in 0..3 {
        app.step().await;
        assert_eq!(app.now(&rotation).await["phase"], "propagating");
        app.clock.advance(PAUSE);
    }
    assert_eq!(logs.count("canary_known", "after_seconds", "10"), 1);
    app.clock.advance(Duration::from_secs(20));
    app.step().await;
    assert_eq!(app.now(&rotation).await["phase"], "propagating", "not before canary_settle");
    app.clock.advance(PAUSE);
    app.step().await;
    let draining = app.now(&rotation).await;
    assert_eq!(draining["phase"], "draining");
    assert_eq!(app.minted(json!({})).await["keyPairArn"], draining["newKeyPairArn"]);
    assert!(!logs.hold("eyJ"), "no token is logged");
}

/// A live channel cannot be changed, so it is off the air for a moment.
async fn make_public(app: &TestApp) {
    let channel = app.channel.as_str();
    app.sdk().stop_stream().channel_arn(channel).send().await.unwrap();
    app.sdk().update_channel().arn(channel).authorized(false).send().await.unwrap();
    let live = Request::put(format!("/_emulator/streams/{}", encoded(channel)));
    let answer = ask(app.emulator.router(), live.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn a_channel_that_plays_with_anything_proves_nothing_and_the_wait_counts() {
    let app = TestApp::start_with(CANARY, true).await;
    make_public(&app).await;
    let rotation = app.begin(json!({})).await;
    for _ in 0..10 {
        app.step().await;
        assert_eq!(app.now(&rotation).await["phase"], "propagating");
        app.clock.advance(PAUSE);
    }
    app.clock.advance(PROPAGATION);
    app.step().await;
    assert_eq!(app.now(&rotation).await["phase"], "draining");
}

#[tokio::test]
async fn a_canary_that_cannot_be_asked_is_told_as_stuck() {
    let logs = Logs::collect();
    let nobody = "arn:aws:ivs:us-west-2:123456789012:channel/AbCdEfGh1234";
    let app = TestApp::start_with(&[("rotation.canary_channel", nobody)], true).await;
    let rotation = app.begin(json!({})).await;
    app.step().await;
    let waits = app.now(&rotation).await;
    assert_eq!((&waits["phase"], &waits["error"]), (&"propagating".into(), &Value::Null));
    // `canary_timeout`
    app.clock.advance(Duration::from_mins(10));
    app.step().await;
    let stuck = app.now(&rotation).await;
    assert_eq!(stuck["phase"], "propagating");
    assert_eq!(stuck["error"]["code"], "rotation_stuck");
    assert_eq!(logs.count("canary_not_asked", "region", "us-west-2"), 2);
    assert_eq!(app.findings().await.0, ["rotation_stuck"]);
    let answer = app.delete(&super::path_of(&rotation)).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["phase"]), (200, &"cancelled".into()));
    app.step().await;
    assert_eq!(app.findings().await.0, [""; 0]);
}

#[tokio::test]
async fn where_no_canary_tells_of_the_region_the_wait_counts_and_has_an_end() {
    // This service knows the other region by its configuration only.
    let elsewhere = "arn:aws:ivs:eu-west-1:123456789012:channel/canary";
    let settings = [("rotation.canary_channel", elsewhere), ("ivs.regions", "us-west-2,eu-west-1")];
    let app = TestApp::start_with(&settings, true).await;
    let rotation = app.begin(json!({})).await;
    app.step().await;
    let propagating = app.now(&rotation).await;
    assert_eq!(propagating["phase"], "propagating");
    assert!(propagating["nextAt"].is_string(), "{propagating}");
}
