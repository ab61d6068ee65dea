//! `/v1/key-pairs`, with the emulated IVS behind it.

use axum::body::Body;
use ivs_playback_auth::{keys::material::PrivateKey, secret::system_rng};
use serde_json::{Value, json};

use crate::app::{Answer, TestApp, encoded};

fn path_of(pair: &Value) -> String {
    format!("/v1/key-pairs/{}", encoded(pair["arn"].as_str().unwrap()))
}

async fn states(app: &TestApp) -> Vec<String> {
    let body = app.get("/v1/key-pairs?refresh=true").await.json();
    let pairs = body["keyPairs"].as_array().unwrap();
    pairs.iter().map(|pair| pair["state"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_first_key_is_listed_and_read() {
    let app = TestApp::start().await;
    let body = app.get("/v1/key-pairs").await.json();
    assert!(body["checkedAt"].is_string());
    let pair = &body["keyPairs"][0];
    assert_eq!((&pair["state"], &pair["region"]), (&"active".into(), &"us-west-2".into()));
    assert_eq!(pair["adopted"], false);
    assert!(pair["tags"]["ivs-playback-auth:keyring"].is_string());
    let by_fingerprint = format!("/v1/key-pairs/{}", pair["fingerprint"].as_str().unwrap());
    for path in [path_of(pair), by_fingerprint] {
        assert_eq!(&app.get(&path).await.json(), pair, "{path}");
    }
    app.get("/v1/key-pairs/00:11").await.problem(404, "key_pair_not_found");
}

#[tokio::test]
async fn a_generated_pair_is_pending_and_can_be_deleted() {
    let app = TestApp::start().await;
    let made =
        app.post("/v1/key-pairs", &json!({"name": "second", "tags": {"team": "video"}})).await;
    assert_eq!(made.status, 201, "{made:?}");
    let pair = made.json();
    assert_eq!((&pair["state"], &pair["name"]), (&"pending".into(), &"second".into()));
    assert_eq!(pair["tags"]["team"], "video");
    assert_eq!(states(&app).await, ["active", "pending"]);

    let deleted = app.delete(&path_of(&pair)).await;
    assert_eq!((deleted.status.as_u16(), deleted.text.as_str()), (204, ""));
    assert_eq!(states(&app).await, ["active"]);
    app.delete(&path_of(&pair)).await.problem(404, "key_pair_not_found");
}

#[tokio::test]
async fn the_signing_pair_cannot_be_deleted() {
    let app = TestApp::start().await;
    let pair = app.get("/v1/key-pairs").await.json()["keyPairs"][0].clone();
    let path = path_of(&pair);
    app.delete(&path).await.problem(409, "key_pair_in_use");
    app.delete(&format!("{path}?force=true")).await.problem(409, "key_pair_in_use");
    app.minted(json!({})).await;
    let fingerprint = pair["fingerprint"].as_str().unwrap();
    app.delete(&format!("/v1/key-pairs/{fingerprint}")).await.problem(422, "invalid_request");
}

#[tokio::test]
async fn a_public_key_is_imported_and_the_fourth_is_refused() {
    let app = TestApp::start().await;
    let app = &app;
    let import = |body: Value| async move { app.post("/v1/key-pairs", &body).await };
    let pem = || PrivateKey::generate(&mut system_rng()).unwrap().public_key().to_pem().to_owned();
    for _ in 0..2 {
        let made = import(json!({"publicKeyMaterial": pem()})).await;
        assert_eq!(made.status, 201, "{made:?}");
    }
    import(json!({"publicKeyMaterial": pem()})).await.problem(409, "key_pair_quota");
    import(json!({})).await.problem(409, "key_pair_quota");
    assert_eq!(states(app).await.len(), 3);
}

#[tokio::test]
async fn what_is_no_p384_public_key_is_named() {
    let app = TestApp::start_without_key().await;
    let private = include_str!("../fixtures/keys/pkcs8.pem");
    for (material, named) in [
        (include_str!("../fixtures/keys/p256-public.pem"), "P-256"),
        (include_str!("../fixtures/keys/rsa-public.pem"), "RSA"),
        (private, "private key"),
        ("hello", "PEM"),
    ] {
        let answer = app.post("/v1/key-pairs", &json!({"publicKeyMaterial": material})).await;
        assert_eq!(answer.pointers(), ["/publicKeyMaterial"]);
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(named), "{detail}");
    }
    let answer = app
        .post(
            "/v1/key-pairs",
            &json!({"name": "a b", "tags": {"aws:x": "1"}, "region": "eu-west-1"}),
        )
        .await;
    assert_eq!(answer.pointers(), ["/name", "/region", "/tags/aws:x"]);
}

#[tokio::test]
async fn an_idempotency_key_makes_one_pair() {
    let app = TestApp::start().await;
    let app = &app;
    let create = |key: &'static str, body: &'static str| async move {
        let request = app
            .request("POST", "/v1/key-pairs")
            .header("content-type", "application/json")
            .header("idempotency-key", key);
        app.send(request.body(Body::from(body)).unwrap()).await
    };
    let arn = |answer: Answer| answer.json()["arn"].clone();
    let first = arn(create("k1", "{\"name\":\"one\"}").await);
    assert_eq!(arn(create("k1", "{\"name\":\"one\"}").await), first);
    create("k1", "{\"name\":\"two\"}").await.problem(422, "idempotency_key_reused");
    assert_eq!(states(app).await.len(), 2);
    create("", "{}").await.problem(422, "invalid_request");
    // It is the name of one request, whatever was asked.
    let rotation = app.request("POST", "/v1/key-pairs/rotations");
    let rotation = rotation.header("content-type", "application/json");
    let rotation = rotation.header("idempotency-key", "k1").body(Body::from("{}"));
    app.send(rotation.unwrap()).await.problem(422, "idempotency_key_reused");
    // Who repeats a request lost its answer, perhaps because IVS is away.
    app.stop_emulator();
    assert_eq!(arn(create("k1", "{\"name\":\"one\"}").await), first);
}

#[tokio::test]
async fn a_pair_deleted_behind_our_back_is_missing_and_a_strange_one_foreign() {
    let app = TestApp::start().await;
    let ivs = app.regional_ivs();
    let strange = PrivateKey::generate(&mut system_rng()).unwrap();
    let strange =
        ivs.import_playback_key_pair(strange.public_key().to_pem(), "x", &[].into()).await.unwrap();
    app.advance_past_refresh_pause();
    assert_eq!(states(&app).await, ["active", "foreign"]);
    let active = app.get("/v1/key-pairs").await.json()["keyPairs"][0]["arn"].clone();
    ivs.delete_playback_key_pair(&active.as_str().unwrap().parse().unwrap()).await.unwrap();
    app.advance_past_refresh_pause();
    assert_eq!(states(&app).await, ["missing", "foreign"]);
    // A person asks for it by name, so it is done.
    let path = format!("/v1/key-pairs/{}", encoded(strange.arn.as_str()));
    assert_eq!(app.delete(&path).await.status, 204);
}
