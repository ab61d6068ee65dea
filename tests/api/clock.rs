//! A service whose clock differs from that of IVS.

use std::{sync::atomic::Ordering, time::Duration};

use ivs_playback_auth::clock::Timestamp;
use serde_json::{Value, json};

use crate::app::{Answer, Emulated, START, TestApp};

const REVOCATIONS: &str = "/v1/viewer-sessions/revocations";

/// A service whose clock is so many seconds ahead of IVS's, behind if negative.
async fn start(ahead: i64) -> TestApp {
    let emulated = Emulated { clock_ahead: -ahead, ..Emulated::default() };
    TestApp::start_against(emulated, &[], true).await
}

/// The codes of what the region's readiness reports.
fn findings(ready: &Answer) -> Vec<String> {
    let findings = ready.json()["regions"]["us-west-2"]["findings"].clone();
    let codes = findings.as_array().unwrap().iter();
    codes.map(|finding| finding["code"].as_str().unwrap().to_owned()).collect()
}

async fn offset(app: &TestApp) -> f64 {
    let metrics = app.get("/metrics").await.text;
    let series = "ivs_playback_auth_ivs_clock_offset_seconds{region=\"us-west-2\"} ";
    let value = metrics.lines().find_map(|line| line.strip_prefix(series));
    value.unwrap_or_else(|| panic!("no offset in\n{metrics}")).parse().unwrap()
}

async fn plays(app: &TestApp, minted: &Value) -> bool {
    app.play(minted["playbackUrl"].as_str().unwrap(), None).await.status == 200
}

async fn revoke(app: &TestApp, viewer: &str) -> Value {
    let body = json!({ "viewerSessions": [{ "channel": "demo", "viewerId": viewer }] });
    let answer = app.post(REVOCATIONS, &body).await.json();
    assert_eq!(answer["revoked"], 1, "{answer}");
    answer["results"][0].clone()
}

#[tokio::test]
async fn clock_that_is_20_minutes_off_is_reported_and_tokens_still_play() {
    for ahead in [1200, -1200] {
        let app = start(ahead).await;
        let theirs = START.unix_seconds() - ahead;
        let ready = app.get("/readyz").await;
        assert_eq!((ready.status.as_u16(), &ready.json()["status"]), (200, &json!("degraded")));
        assert_eq!(findings(&ready), ["clock_skew"]);
        let seen = offset(&app).await;
        // Ahead, the second that a `Date` leaves open does not count.
        assert!(seen.abs() >= 1199.0 && seen.abs() <= 1200.0, "{seen}");
        assert!((seen > 0.0) == (ahead > 0), "{seen}");

        for body in [
            json!({}),
            json!({ "viewerId": "alice" }),
            json!({ "viewerId": "alice", "ttlSeconds": 600 }),
            json!({ "ttlSeconds": 1 }),
        ] {
            let minted = app.minted(body.clone()).await;
            assert_eq!(minted["warnings"][0]["code"], "clock_skew", "{body}");
            assert!(plays(&app, &minted).await, "{ahead}: {body} {minted}");
        }

        let before = app.minted(json!({ "viewerId": "alice" })).await;
        let revoked = revoke(&app, "alice").await;
        assert!(!plays(&app, &before).await, "{ahead}");
        // By the later of both clocks.
        let version = revoked["version"].as_i64().unwrap();
        let latest = START.unix_seconds().max(theirs);
        assert!((latest + 5..=latest + 6).contains(&version), "{ahead}: {version}");
        let after = app.minted(json!({ "viewerId": "alice" })).await;
        assert!(plays(&app, &after).await, "{ahead}: {after}");

        // Somebody sets the clock, and IVS is called again.
        app.clock.set_wall(Timestamp::from_unix_seconds(theirs));
        app.ivs_ahead.store(0, Ordering::SeqCst);
        app.clock.advance(Duration::from_secs(2));
        app.post("/v1/channels/demo/refresh", &json!({})).await;
        assert_eq!(findings(&app.get("/readyz").await), Vec::<String>::new());
        let seen = offset(&app).await;
        assert!(seen.abs() < f64::EPSILON, "{seen}");
        let after = app.minted(json!({ "viewerId": "alice" })).await;
        assert_eq!(after["warnings"], json!([]));
        // Nor does the revocation of before keep the viewer out.
        assert!(plays(&app, &after).await, "{ahead}: {after}");
    }
}

#[tokio::test]
async fn lifetime_of_600_s_is_accepted_within_the_clock_allowance() {
    for ahead in [4, -4] {
        let app = start(ahead).await;
        assert_eq!(app.get("/readyz").await.json()["status"], "ready");
        let minted = app.minted(json!({ "viewerId": "alice", "ttlSeconds": 600 })).await;
        assert_eq!((&minted["expiresIn"], &minted["warnings"]), (&json!(600), &json!([])));
        assert!(plays(&app, &minted).await, "{ahead}: {minted}");
    }
}

#[tokio::test]
async fn clock_that_was_just_set_is_not_judged_by_an_old_answer() {
    let app = start(0).await;
    // As far as an old answer tells, the machine may as well have slept for these hours.
    app.clock.set_wall(START + Duration::from_hours(3));
    assert_eq!(findings(&app.get("/readyz").await), Vec::<String>::new());
    let minted = app.minted(json!({ "viewerId": "alice" })).await;
    assert_eq!(minted["issuedAt"], (START + Duration::from_hours(3)).to_string());
    assert_eq!(minted["warnings"], json!([]));
}
