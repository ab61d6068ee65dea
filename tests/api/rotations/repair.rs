//! Pairs that somebody deletes behind the service's back.

use std::time::Duration;

use serde_json::{Value, json};

use super::{LOOK_AGAIN, logs::Logs};
use crate::app::TestApp;

/// The pair that signs, as the service lists it.
async fn active(app: &TestApp) -> Value {
    let body = app.get("/v1/key-pairs").await.json();
    let pairs = body["keyPairs"].as_array().unwrap();
    pairs.iter().find(|pair| pair["state"] == "active").unwrap_or_else(|| panic!("{body}")).clone()
}

/// Deletes the active pair, and lets the service notice: IVS has to say it twice.
async fn delete_active(app: &TestApp) -> Value {
    let pair = active(app).await;
    app.delete_in_console(&pair["arn"]).await;
    app.step().await;
    assert!(app.in_ivs().await.is_empty(), "nothing is done after one look");
    app.minted(json!({})).await;
    app.clock.advance(LOOK_AGAIN);
    app.step().await;
    pair
}

#[tokio::test]
async fn once_it_is_put_back_and_its_tokens_play_again() {
    let logs = Logs::collect();
    let app = TestApp::start().await;
    let minted = app.minted(json!({})).await;
    let deleted = delete_active(&app).await;
    let put_back = active(&app).await;
    assert_eq!(put_back["fingerprint"], deleted["fingerprint"]);
    assert_ne!(put_back["arn"], deleted["arn"]);
    assert!(app.plays(&minted).await, "the same key verifies what it signed before");
    let again = app.minted(json!({})).await;
    assert_eq!(again["keyPairArn"], put_back["arn"]);
    assert_eq!(app.findings().await.0, [""; 0]);
    assert_eq!(logs.count("keys_finding", "code", "active_key_pair_missing"), 1);
    assert_eq!(logs.count("keys_finding_over", "code", "active_key_pair_missing"), 1);
    assert_eq!(logs.count("key_pair_reimported", "region", "us-west-2"), 1);
    assert!(app.counts("key_heals_total{region=\"us-west-2\",outcome=\"reimported\"} 1"));
}

#[tokio::test]
async fn twice_within_the_hour_it_is_replaced() {
    let logs = Logs::collect();
    let app = TestApp::start().await;
    let minted = app.minted(json!({"ttlSeconds": 3600})).await;
    let first = delete_active(&app).await;
    app.clock.advance(Duration::from_mins(30));
    delete_active(&app).await;
    let new = active(&app).await;
    assert_ne!(new["fingerprint"], first["fingerprint"]);
    assert_eq!(app.in_ivs().await, [new["arn"].as_str().unwrap()]);
    assert!(!app.plays(&minted).await, "it was deleted on purpose");
    assert!(app.plays(&app.minted(json!({})).await).await);
    assert_eq!(app.private_keys(), 1);
    let rotations = app.get("/v1/key-pairs/rotations").await.json();
    let last = &rotations["rotations"][0];
    assert_eq!((&last["mode"], &last["phase"]), (&"emergency".into(), &"done".into()));
    assert_eq!(logs.count("key_pair_replaced", "region", "us-west-2"), 1);
    assert!(app.counts("key_heals_total{region=\"us-west-2\",outcome=\"reimported\"} 1"));
    assert!(app.counts("key_heals_total{region=\"us-west-2\",outcome=\"replaced\"} 1"));
}

#[tokio::test]
async fn twice_in_two_hours_it_is_put_back_twice() {
    let app = TestApp::start().await;
    let first = delete_active(&app).await;
    app.clock.advance(Duration::from_mins(61));
    delete_active(&app).await;
    assert_eq!(active(&app).await["fingerprint"], first["fingerprint"]);
    assert!(app.counts("key_heals_total{region=\"us-west-2\",outcome=\"reimported\"} 2"));
}

#[tokio::test]
async fn what_heal_says_is_done() {
    let app = TestApp::start_with(&[("keys.heal", "replace")], true).await;
    let deleted = delete_active(&app).await;
    assert_ne!(active(&app).await["fingerprint"], deleted["fingerprint"]);

    let app = TestApp::start_with(&[("keys.heal", "off")], true).await;
    delete_active(&app).await;
    assert!(app.in_ivs().await.is_empty());
    let (codes, details) = app.findings().await;
    assert_eq!(codes, ["active_key_pair_missing"]);
    assert!(details.contains("arn:aws:ivs"), "{details}");
}

#[tokio::test]
async fn the_new_key_of_a_rotation_is_put_back_too() {
    let app = TestApp::start().await;
    let rotation = app.begin(json!({})).await;
    app.step().await;
    let propagating = app.now(&rotation).await;
    app.delete_in_console(&propagating["newKeyPairArn"]).await;
    app.step().await;
    app.clock.advance(LOOK_AGAIN);
    app.step().await;
    let put_back = app.now(&rotation).await;
    assert_eq!(put_back["phase"], "propagating");
    assert_ne!(put_back["newKeyPairArn"], propagating["newKeyPairArn"]);
    app.clock.advance(super::PROPAGATION);
    app.step().await;
    assert!(app.plays(&app.minted(json!({})).await).await);
}

#[tokio::test]
async fn a_pair_for_which_there_is_no_slot_any_more_does_not_sign_for_long() {
    let app = TestApp::start().await;
    let arn = active(&app).await["arn"].clone();
    app.delete_in_console(&arn).await;
    for name in ["one", "two", "three"] {
        app.import_foreign(name).await;
    }
    app.step().await;
    app.clock.advance(LOOK_AGAIN);
    app.step().await;
    app.minted(json!({})).await;
    app.clock.advance(Duration::from_secs(62));
    app.step().await;
    app.mint(json!({"channel": "demo"})).await.problem(503, "no_active_key");
}
