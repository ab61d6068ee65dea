//! `/healthz`, `/readyz`, the JWK Set and the documentation pages.

use axum::{body::Body, http::Request};
use ivs_playback_auth::http::problem::ProblemType;

use crate::app::TestApp;

#[tokio::test]
async fn alive_says_what_runs() {
    let app = TestApp::start_without_key().await;
    let answer = app.send(Request::get("/healthz").body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["version"], env!("CARGO_PKG_VERSION"));
    assert!(answer.json()["commit"].is_string());
}

#[tokio::test]
async fn ready_means_that_it_can_sign() {
    let app = TestApp::start_without_key().await;
    let anonymous = || Request::get("/readyz").body(Body::empty()).unwrap();
    let answer = app.send(anonymous()).await;
    assert_eq!(answer.status, 503);
    let body = answer.json();
    assert_eq!(body["status"], "unready");
    let finding = &body["regions"]["us-west-2"]["findings"][0];
    assert!(finding["detail"].as_str().unwrap().contains("keys rotate"), "{body}");

    app.make_first_key().await;
    let answer = app.send(anonymous()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["status"], "ready");
    assert!(!answer.text.contains("arn:aws"), "{answer:?}");

    app.app.begin_shutdown();
    let answer = app.send(anonymous()).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["status"]), (503, &"unready".into()));
}

#[tokio::test]
async fn an_ivs_that_is_out_degrades_and_takes_nothing_out_of_service() {
    let app = TestApp::start().await;
    app.stop_emulator();
    app.advance_past_refresh_pause();
    let answer = app.get("/v1/key-pairs?refresh=true").await;
    answer.problem(503, "ivs_unavailable");
    assert!(answer.header("retry-after").is_some());
    let ready = app.get("/readyz").await;
    assert_eq!(ready.status, 200);
    assert_eq!(ready.json()["status"], "degraded");
    assert_eq!(ready.json()["regions"]["us-west-2"]["findings"][0]["code"], "ivs_unavailable");
}

#[tokio::test]
async fn a_wrong_credential_at_readyz_is_nobodys() {
    let app = TestApp::start().await;
    for value in ["Bearer x", "Basic eDp5"] {
        let request = Request::get("/readyz").header("authorization", value);
        assert_eq!(app.send(request.body(Body::empty()).unwrap()).await.status, 200);
    }
}

#[tokio::test]
async fn the_jwk_set_has_the_signing_key() {
    let app = TestApp::start().await;
    let answer =
        app.send(Request::get("/.well-known/jwks.json").body(Body::empty()).unwrap()).await;
    let body = answer.json();
    let keys = body["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 1);
    let pairs = app.get("/v1/key-pairs").await.json();
    assert_eq!(keys[0]["kid"], pairs["keyPairs"][0]["fingerprint"]);
    for (member, value) in [("kty", "EC"), ("crv", "P-384"), ("alg", "ES384"), ("use", "sig")] {
        assert_eq!(keys[0][member], value);
    }
    assert!(keys[0].get("d").is_none());
}

#[tokio::test]
async fn every_problem_has_its_page() {
    let app = TestApp::start_without_key().await;
    let overview = app.get("/docs").await;
    assert_eq!(overview.status, 200);
    for problem in ProblemType::ALL {
        let answer = app.get(&problem.type_uri()).await;
        assert_eq!(answer.status, 200, "{problem:?}");
        assert!(answer.text.contains(problem.spec().code));
        assert!(overview.text.contains(problem.spec().code));
    }
}
