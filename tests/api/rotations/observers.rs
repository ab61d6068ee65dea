//! Processes that see, and may not or must not act.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body, http::Request};
use ivs_playback_auth::{
    app::App,
    clock::Clock,
    keys::{
        doctor::{Answer, Doctor, Permission, Setup},
        keyring::Limits,
    },
};
use serde_json::{Value, json};

use super::{LOOK_AGAIN, manager};
use crate::app::{self, START, TestApp, ask};

/// A request to a replica, as the client with every scope.
async fn request(
    app: &TestApp,
    router: &Router,
    method: &str,
    path: &str,
    body: &str,
) -> app::Answer {
    let parts = app.request(method, path).header("content-type", "application/json");
    ask(router.clone(), parts.body(Body::from(body.to_owned())).unwrap()).await
}

async fn readiness(app: &TestApp, replica: &App) -> Value {
    let answer = request(app, &replica.router(), "GET", "/readyz", "").await;
    assert_eq!(answer.status, 200);
    answer.json()["regions"]["us-west-2"].clone()
}

#[tokio::test]
async fn an_examination_lists_the_pairs_once() {
    let app = TestApp::start().await;
    let (clock, _) = Clock::manual(START);
    let replica = app.replica(&[("keys.manage", "false")], clock.clone()).await;
    let api = replica.api();
    let doctor = Doctor {
        manager: Arc::clone(manager(&replica)),
        signing_keys: Arc::clone(&api.keys),
        ivs: api.ivs.clone(),
        clock,
        setup: Setup {
            manage: false,
            limits: Limits::default(),
            reconcile_every: Duration::from_mins(1),
            store: "dir keys/us-west-2".to_owned(),
            secret_arn: None,
        },
    };
    let before = app.calls("ListPlaybackKeyPairs").await["200"].as_u64().unwrap();
    let examination = doctor.examine(false).await;
    assert!(examination.is_healthy(), "{examination:?}");
    let known = |it: &&Permission| it.answer == Answer::Allowed;
    let known: Vec<_> = examination.permissions.iter().filter(known).map(|it| it.action).collect();
    assert!(known.contains(&"ivs:ListPlaybackKeyPairs"), "{known:?}");
    assert!(known.contains(&"ivs:GetPlaybackKeyPair"), "{known:?}");
    let after = app.calls("ListPlaybackKeyPairs").await["200"].as_u64().unwrap();
    assert_eq!(after - before, 1);
}

#[tokio::test]
async fn without_keys_manage_a_process_only_reports() {
    let app = TestApp::start().await;
    let (clock, time) = Clock::manual(START);
    let replica = app.replica(&[("keys.manage", "false")], clock).await;
    let router = replica.router();
    let keyring = || std::fs::read(app.keys_folder().join("us-west-2/keyring.json")).unwrap();
    let before = keyring();
    let refused = request(&app, &router, "POST", "/v1/key-pairs/rotations", "{}").await;
    let problem = refused.problem(403, "forbidden");
    assert!(problem["detail"].as_str().unwrap().contains("keys.manage"), "{problem}");

    let arn = app.minted(json!({})).await["keyPairArn"].clone();
    app.delete_in_console(&arn).await;
    for _ in 0..3 {
        let reconciled = manager(&replica).reconcile().await;
        assert_eq!((reconciled.steps, reconciled.failure), (0, None));
        for time in [&time, &app.clock] {
            time.advance(LOOK_AGAIN);
        }
    }
    assert_eq!((keyring(), app.in_ivs().await.len()), (before, 0));
    let region = readiness(&app, &replica).await;
    assert_eq!(region["status"], "degraded");
    assert_eq!(region["findings"][0]["code"], "active_key_pair_missing");
    assert!(region["findings"][0]["detail"].as_str().unwrap().contains(arn.as_str().unwrap()));
    let anonymous = Request::get("/readyz").body(Body::empty()).unwrap();
    let anonymous = ask(router.clone(), anonymous).await;
    assert!(!anonymous.text.contains("arn:aws"), "{anonymous:?}");
    assert!(anonymous.text.contains("active_key_pair_missing"), "{anonymous:?}");

    // The process that manages keys puts the pair back.
    app.step().await;
    for time in [&time, &app.clock] {
        time.advance(LOOK_AGAIN);
    }
    app.step().await;
    manager(&replica).reconcile().await;
    assert_eq!(readiness(&app, &replica).await["status"], "ready");
}

#[tokio::test]
async fn a_process_whose_clock_is_wrong_takes_no_step_and_says_so() {
    for (wrong, waits) in [
        (START + Duration::from_hours(7), true),
        (START - Duration::from_hours(7), true),
        // A quarter of the drain margin.
        (START + Duration::from_hours(6), false),
    ] {
        let app = TestApp::start().await;
        let (clock, _) = Clock::manual(wrong);
        let replica = app.replica(&[], clock).await;
        let rotation = app.begin(json!({})).await;
        // The claim of the process that began it is over.
        app.clock.advance(Duration::from_mins(2));
        let reconciled = manager(&replica).reconcile().await;
        assert_eq!(reconciled.failure, None);
        let codes = readiness(&app, &replica).await["findings"].clone();
        assert_eq!(codes[0]["code"], "clock_skew", "{codes}");
        assert_eq!(reconciled.steps == 0, waits, "{codes}");
        if !waits {
            continue;
        }
        let path = super::path_of(&rotation);
        let seen = request(&app, &replica.router(), "GET", &path, "").await.json();
        assert_eq!(
            (&seen["phase"], &seen["error"]["code"]),
            (&"importing".into(), &"clock_skew".into())
        );
        // One with the right time goes on.
        app.step().await;
        assert_eq!(app.now(&rotation).await["phase"], "propagating");
        // A leaked key waits for no clock.
        let emergency = json!({"mode": "emergency"}).to_string();
        let router = replica.router();
        let begun = request(&app, &router, "POST", "/v1/key-pairs/rotations", &emergency).await;
        assert_eq!(begun.status, 202, "{begun:?}");
        manager(&replica).reconcile().await;
        assert_eq!(app.in_ivs().await.len(), 1);
    }
}
