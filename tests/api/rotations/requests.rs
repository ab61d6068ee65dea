//! `/v1/key-pairs/rotations` itself: what is asked, answered and refused.

use std::time::Duration;

use axum::body::Body;
use serde_json::{Value, json};

use super::path_of;
use crate::app::{Answer, TestApp, credential};

const PATH: &str = "/v1/key-pairs/rotations";
const UNKNOWN: &str = "6f1c1f0e-8a39-4b5e-9d33-0f6f1c3f8a39";

async fn post_named(app: &TestApp, key: &str, body: Value) -> Answer {
    let request = app
        .request("POST", PATH)
        .header("content-type", "application/json")
        .header("idempotency-key", key);
    app.send(request.body(Body::from(body.to_string())).unwrap()).await
}

#[tokio::test]
async fn a_rotation_has_the_members_of_the_contract() {
    let app = TestApp::start().await;
    let rotation = app.begin(json!({})).await;
    let mut members: Vec<_> = rotation.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    let expected = [
        "error",
        "id",
        "mode",
        "newKeyPairArn",
        "nextAt",
        "nextStep",
        "oldKeyPairArn",
        "phase",
        "region",
        "since",
    ];
    assert_eq!(members, expected);
    assert_eq!(rotation["region"], "us-west-2");
    assert_eq!(rotation["mode"], "graceful");
    assert_eq!(app.now(&rotation).await, rotation);
    for path in [PATH.to_owned(), format!("{PATH}?region=us-west-2")] {
        let answer = app.get(&path).await;
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let listed = answer.json();
        assert_eq!(listed["rotations"][0], rotation, "{listed}");
        // The region's first key came by a rotation, too.
        assert_eq!(listed["rotations"][1]["oldKeyPairArn"], Value::Null);
        assert_eq!(listed["rotations"].as_array().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn the_first_key_can_be_asked_for_too() {
    let app = TestApp::start_without_key().await;
    assert_eq!(app.get(PATH).await.json(), json!({"rotations": []}));
    let rotation = app.begin(json!({})).await;
    app.step().await;
    // Nothing else signs, so there is nothing to wait for.
    assert_eq!(app.now(&rotation).await["phase"], "done");
    app.minted(json!({})).await;
}

#[tokio::test]
async fn while_one_is_under_way_another_is_refused_by_its_id() {
    let app = TestApp::start().await;
    let rotation = app.begin(json!({})).await;
    for _ in 0..2 {
        let refused = app.post(PATH, &json!({})).await;
        let problem = refused.problem(409, "rotation_in_progress");
        assert_eq!(problem["rotationId"], rotation["id"]);
        app.step().await;
    }
    assert_eq!(app.in_ivs().await.len(), 2);
}

#[tokio::test]
async fn the_same_request_is_one_rotation_however_late_it_comes_again() {
    let app = TestApp::start().await;
    let first = post_named(&app, "k1", json!({"mode": "graceful"})).await;
    assert_eq!(first.status, 202, "{first:?}");
    let id = first.json()["id"].clone();
    for (phase, passes) in [
        ("importing", Duration::ZERO),
        ("propagating", super::PROPAGATION),
        ("draining", super::DRAIN + Duration::from_secs(4)),
        ("done", Duration::ZERO),
    ] {
        let again = post_named(&app, "k1", json!({"mode": "graceful"})).await;
        assert_eq!((again.status.as_u16(), &again.json()["id"]), (202, &id));
        assert_eq!(again.json()["phase"], phase);
        app.clock.advance(passes);
        app.step().await;
    }
    // Who repeats a request lost its answer, perhaps because IVS is away.
    app.stop_emulator();
    let again = post_named(&app, "k1", json!({"mode": "graceful"})).await;
    assert_eq!((again.status.as_u16(), &again.json()["id"]), (202, &id));
    let reused = post_named(&app, "k1", json!({"mode": "emergency"})).await;
    reused.problem(422, "idempotency_key_reused");
    post_named(&app, "", json!({})).await.problem(422, "invalid_request");
    assert_eq!(app.get(PATH).await.json()["rotations"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_rotation_is_cancelled_before_its_new_key_signs() {
    let app = TestApp::start().await;
    let rotation = app.begin(json!({})).await;
    app.step().await;
    assert_eq!(app.in_ivs().await.len(), 2);
    for _ in 0..2 {
        let answer = app.delete(&path_of(&rotation)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let cancelled = answer.json();
        assert_eq!((&cancelled["id"], &cancelled["phase"]), (&rotation["id"], &"cancelled".into()));
        assert_eq!((&cancelled["nextStep"], &cancelled["nextAt"]), (&Value::Null, &Value::Null));
        app.step().await;
    }
    assert_eq!((app.in_ivs().await.len(), app.private_keys()), (1, 1));
    let states = app.states().await;
    assert_eq!((states.len(), states[0].0.as_str()), (1, "active"));

    let rotation = app.rotate().await;
    let refused = app.delete(&path_of(&rotation)).await;
    let problem = refused.problem(409, "key_pair_in_use");
    assert!(problem["detail"].as_str().unwrap().contains("rollback"), "{problem}");
    app.clock.advance(super::DRAIN);
    app.step().await;
    app.delete(&path_of(&rotation)).await.problem(409, "key_pair_in_use");
}

#[tokio::test]
async fn a_key_that_somebody_made_outlives_the_rotation_that_was_to_use_it() {
    let app = TestApp::start().await;
    let made = app.post("/v1/key-pairs", &json!({"name": "mine"})).await.json();
    let rotation = app.begin(json!({})).await;
    assert_eq!(rotation["newKeyPairArn"], made["arn"]);
    assert_eq!(app.delete(&path_of(&rotation)).await.status, 200);
    app.step().await;
    let states: Vec<_> = app.states().await.into_iter().map(|(state, _)| state).collect();
    assert_eq!(states, ["active", "pending"]);
}

#[tokio::test]
async fn what_is_no_rotation_is_not_found() {
    let app = TestApp::start().await;
    let id = app.begin(json!({})).await["id"].as_str().unwrap().to_owned();
    let upper = id.to_uppercase();
    for name in [UNKNOWN, "x", upper.as_str(), "..%2F..", &format!("%7B{id}%7D")] {
        let path = format!("{PATH}/{name}");
        app.get(&path).await.problem(404, "rotation_not_found");
        app.delete(&path).await.problem(404, "rotation_not_found");
    }
    app.get(&format!("{PATH}/{id}/x")).await.problem(404, "not_found");
    app.delete(PATH).await.problem(405, "method_not_allowed");
    app.post(&format!("{PATH}/{id}"), &json!({})).await.problem(405, "method_not_allowed");
}

#[tokio::test]
async fn invalid_request_is_refused_by_its_first_fault() {
    let app = TestApp::start().await;
    for (body, pointer) in [
        (json!({"mode": "gentle", "region": "eu-west-1", "when": "now"}), "/mode"),
        (json!({"mode": null, "region": 5}), "/mode"),
        (json!({"region": "eu-west-1"}), "/region"),
        (json!({"when": "now"}), "/when"),
    ] {
        assert_eq!(app.post(PATH, &body).await.pointers(), [pointer], "{body}");
    }
    app.post_text(PATH, "[]").await.problem(400, "invalid_json");
    assert_eq!(app.get(&format!("{PATH}?region=x&y=1")).await.pointers(), ["?region", "?y"]);
    let request = app.request("POST", PATH).body(Body::from("{}")).unwrap();
    app.send(request).await.problem(415, "unsupported_media_type");
    assert_eq!(app.get(PATH).await.json()["rotations"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn reading_and_writing_need_their_scopes() {
    let app = TestApp::start().await;
    let one = format!("{PATH}/{UNKNOWN}");
    for (method, path) in [("GET", PATH), ("POST", PATH), ("GET", &one), ("DELETE", &one)] {
        let request = |authorization: Option<String>| {
            let mut request = axum::http::Request::builder().method(method).uri(path);
            if let Some(authorization) = authorization {
                request = request.header("authorization", authorization);
            }
            request.body(Body::empty()).unwrap()
        };
        app.send(request(None)).await.problem(401, "unauthenticated");
        let reader = format!("Bearer {}", credential('r'));
        app.send(request(Some(reader))).await.problem(403, "forbidden");
    }
}
