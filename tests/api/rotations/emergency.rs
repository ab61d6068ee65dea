//! A key that leaked.

use serde_json::json;

use super::{logs::Logs, manager};
use crate::app::TestApp;

#[tokio::test]
async fn the_leaked_key_and_its_tokens_end_at_once() {
    let app = TestApp::start().await;
    let leaked = app.minted(json!({})).await;
    let rotation = app.begin(json!({"mode": "emergency"})).await;
    assert_eq!(rotation["mode"], "emergency");
    app.step().await;
    assert_eq!(app.now(&rotation).await["phase"], "done");
    let minted = app.minted(json!({})).await;
    assert_ne!(minted["keyPairArn"], leaked["keyPairArn"]);
    assert_eq!(app.in_ivs().await, [minted["keyPairArn"].as_str().unwrap()]);
    assert_eq!(app.private_keys(), 1);
    assert!(app.plays(&minted).await && !app.plays(&leaked).await);
}

#[tokio::test]
async fn asked_for_twice_it_is_one() {
    let app = TestApp::start().await;
    let first = app.begin(json!({"mode": "emergency"})).await;
    assert_eq!(app.begin(json!({"mode": "emergency"})).await["id"], first["id"]);
    let refused = app.post("/v1/key-pairs/rotations", &json!({})).await;
    assert_eq!(refused.problem(409, "rotation_in_progress")["rotationId"], first["id"]);
    app.step().await;
    assert_eq!(app.in_ivs().await.len(), 1);
}

#[tokio::test]
async fn it_takes_the_place_of_a_graceful_one_and_of_its_new_key() {
    let app = TestApp::start().await;
    let graceful = app.begin(json!({})).await;
    app.step().await;
    let emergency = app.begin(json!({"mode": "emergency"})).await;
    app.step().await;
    let replaced = app.now(&graceful).await;
    assert_eq!(
        (&replaced["phase"], &replaced["error"]["code"]),
        (&"cancelled".into(), &"preempted".into())
    );
    let emergency = app.now(&emergency).await;
    assert_eq!(emergency["phase"], "done");
    assert_eq!(emergency["newKeyPairArn"], replaced["newKeyPairArn"]);
    assert_eq!((app.in_ivs().await.len(), app.private_keys()), (1, 1));
}

#[tokio::test]
async fn in_the_middle_of_a_drain_every_key_that_ever_signed_goes() {
    let app = TestApp::start().await;
    let first = app.minted(json!({"ttlSeconds": 3600})).await;
    let graceful = app.rotate().await;
    let second = app.minted(json!({})).await;
    assert!(app.plays(&first).await && app.plays(&second).await);
    let emergency = app.begin(json!({"mode": "emergency"})).await;
    app.step().await;
    for rotation in [&graceful, &emergency] {
        assert_eq!(app.now(rotation).await["phase"], "done");
    }
    assert!(!app.plays(&first).await && !app.plays(&second).await);
    let third = app.minted(json!({})).await;
    assert!(app.plays(&third).await);
    assert_eq!(app.in_ivs().await, [third["keyPairArn"].as_str().unwrap()]);
    assert_eq!(app.private_keys(), 1);
}

#[tokio::test]
async fn with_every_slot_taken_the_leaked_pair_makes_room() {
    let logs = Logs::collect();
    let app = TestApp::start().await;
    let foreign = [app.import_foreign("one").await, app.import_foreign("two").await];
    let leaked = app.minted(json!({})).await;
    let rotation = app.begin(json!({"mode": "emergency"})).await;
    app.step().await;
    assert_eq!(app.now(&rotation).await["phase"], "done");
    let steps = logs.steps();
    let position = |step: &str| steps.iter().rposition(|it| it == step).unwrap();
    let order = ["withdraw", "delete", "import", "activate"].map(position);
    assert!(order.is_sorted(), "{steps:?}");
    assert!(!app.plays(&leaked).await);
    assert!(app.plays(&app.minted(json!({})).await).await);
    let left = app.in_ivs().await;
    assert!(left.len() == 3 && foreign.iter().all(|arn| left.contains(arn)), "{left:?}");
}

#[tokio::test]
async fn with_nothing_of_ours_in_the_slots_it_is_refused() {
    let app = TestApp::start_without_key().await;
    for name in ["one", "two", "three"] {
        app.import_foreign(name).await;
    }
    let refused = app.post("/v1/key-pairs/rotations", &json!({"mode": "emergency"})).await;
    refused.problem(409, "key_pair_quota");
    assert!(manager(&app.app).rotations().await.unwrap().is_empty());
}
