//! `/v1/channels`.

use std::time::Duration;

use axum::body::Body;
use serde_json::json;

use crate::app::{START, TestApp, encoded};

#[tokio::test]
async fn a_channel_is_read_by_alias_and_by_arn() {
    let app = TestApp::start_without_key().await;
    let slash = encoded(app.channel.as_str());
    let fully = slash.replace(':', "%3A");
    for name in ["demo", &slash, &fully] {
        let answer = app.get(&format!("/v1/channels/{name}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let body = answer.json();
        assert_eq!(body["arn"], app.channel.as_str());
        assert_eq!(body["name"], "demo");
        assert_eq!(body["authorized"], true);
        assert_eq!(body["type"], "STANDARD");
        assert_eq!(body["latencyMode"], "LOW");
        assert_eq!(body["fetchedAt"], START.to_string());
        assert_eq!(body["freshness"], "fresh");
        assert!(body["playbackUrl"].as_str().unwrap().contains("/api/video/v1/"));
    }
    // Unencoded, the slash makes another path.
    app.get(&format!("/v1/channels/{}", app.channel)).await.problem(404, "not_found");
}

#[tokio::test]
async fn a_stale_channel_says_so_and_refresh_mends_it() {
    let app = TestApp::start_without_key().await;
    app.get("/v1/channels/demo").await;
    app.clock.advance(Duration::from_secs(61));
    let body = app.get("/v1/channels/demo").await.json();
    assert_eq!(
        (&body["freshness"], &body["fetchedAt"]),
        (&"stale".into(), &START.to_string().into())
    );
    let request = app.request("POST", "/v1/channels/demo/refresh").body(Body::empty()).unwrap();
    let body = app.send(request).await.json();
    assert_eq!(body["freshness"], "fresh");
    assert_eq!(body["fetchedAt"], (START + Duration::from_secs(61)).to_string());
}

#[tokio::test]
async fn what_is_no_channel_of_ours_is_refused() {
    let app = TestApp::start_without_key().await;
    app.get("/v1/channels/nobody").await.problem(404, "channel_not_found");
    let absent = "arn:aws:ivs:us-west-2:123456789012:channel%2FAAAAAAAAAAAA";
    app.get(&format!("/v1/channels/{absent}")).await.problem(404, "channel_not_found");
    let elsewhere = "arn:aws:ivs:eu-west-1:123456789012:channel%2FAAAAAAAAAAAA";
    app.get(&format!("/v1/channels/{elsewhere}")).await.problem(422, "invalid_request");
    app.get("/v1/channels/demo?x=1").await.problem(422, "invalid_request");
}

#[tokio::test]
async fn a_public_channel_is_refused_unless_it_may_be_minted_for() {
    for (policy, refused) in [("refuse", true), ("mint", false)] {
        let app = TestApp::start_with(&[("tokens.public_channels", policy)], true).await;
        let made = app.sdk().create_channel().name("public").send().await.unwrap();
        let arn = made.channel.unwrap().arn.unwrap();
        let answer = app.mint(json!({"channel": arn})).await;
        if refused {
            let body = answer.problem(409, "channel_not_private");
            assert!(body["detail"].as_str().unwrap().contains("update-channel"), "{body}");
        } else {
            assert_eq!(answer.json()["warnings"][0]["code"], "channel_not_private");
        }
    }
}

#[tokio::test]
async fn an_unreachable_ivs_stops_no_mint_for_a_channel_that_was_seen() {
    let app = TestApp::start().await;
    app.minted(json!({})).await;
    let unseen = "arn:aws:ivs:us-west-2:123456789012:channel/AAAAAAAAAAAA";
    app.stop_emulator();
    app.clock.advance(Duration::from_mins(2));
    let minted = app.minted(json!({})).await;
    assert_eq!(minted["channelFreshness"], "stale");
    let answer = app.mint(json!({"channel": unseen})).await;
    answer.problem(503, "ivs_unavailable");
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test]
async fn an_unseen_channel_can_be_minted_for_unverified() {
    let app = TestApp::start_with(&[("channels.on_unavailable", "mint")], true).await;
    app.stop_emulator();
    let minted = app.minted(json!({})).await;
    assert_eq!(minted["channelFreshness"], "unverified");
    assert!(minted.get("playbackUrl").is_none(), "{minted}");
}
