//! A graceful rotation from its request to its end.

use std::time::Duration;

use ivs_playback_auth::{
    keys::{
        material::PrivateKey,
        rotation::{ImportPrivateKey, Label},
    },
    secret::system_rng,
};
use serde_json::{Value, json};

use super::{DRAIN, PROPAGATION, logs::Logs, manager};
use crate::app::{TestApp, encoded};

fn advance(app: &TestApp, by: Duration) {
    app.clock.advance(by);
}

#[tokio::test]
async fn the_new_key_signs_once_ivs_knows_it_and_the_old_one_goes_when_its_tokens_have() {
    let logs = Logs::collect();
    let app = TestApp::start().await;
    let before = app.minted(json!({"ttlSeconds": 3600})).await;
    let old = &before["keyPairArn"];
    let rotation = app.begin(json!({"mode": "graceful", "region": "us-west-2"})).await;
    assert_eq!(
        (&rotation["phase"], &rotation["nextStep"]),
        (&"importing".into(), &"import".into())
    );
    assert_eq!((&rotation["newKeyPairArn"], &rotation["nextAt"]), (&Value::Null, &Value::Null));
    assert_eq!(&rotation["oldKeyPairArn"], old);

    app.step().await;
    let propagating = app.now(&rotation).await;
    let new = &propagating["newKeyPairArn"];
    assert_eq!(propagating["phase"], "propagating");
    assert_eq!(propagating["nextStep"], "activate");
    assert!(propagating["nextAt"].is_string() && new.is_string() && new != old, "{propagating}");
    // Shortly before `rotation.propagation_wait` is over.
    advance(&app, Duration::from_secs(10 * 60 - 2));
    app.step().await;
    assert_eq!(app.now(&rotation).await, propagating);
    assert_eq!(&app.minted(json!({})).await["keyPairArn"], old);

    advance(&app, Duration::from_secs(4));
    app.step().await;
    let draining = app.now(&rotation).await;
    assert_eq!((&draining["phase"], &draining["nextStep"]), (&"draining".into(), &"retire".into()));
    let pairs = app.get("/v1/key-pairs").await.json();
    assert_eq!(pairs["keyPairs"][0]["retiresAt"], draining["nextAt"]);
    assert_eq!(pairs["keyPairs"][0]["state"], "draining");
    let after = app.minted(json!({})).await;
    assert_eq!(&after["keyPairArn"], new);
    assert!(app.plays(&before).await && app.plays(&after).await);

    // Shortly before the drain is.
    advance(&app, Duration::from_secs(31 * 60 * 60 - 4));
    app.step().await;
    assert_eq!(app.now(&rotation).await, draining);
    assert_eq!(app.in_ivs().await.len(), 2);
    advance(&app, Duration::from_secs(8));
    app.step().await;
    let done = app.now(&rotation).await;
    assert_eq!((&done["phase"], &done["nextStep"]), (&"done".into(), &Value::Null));
    assert_eq!((&done["nextAt"], &done["error"]), (&Value::Null, &Value::Null));
    assert_eq!(app.in_ivs().await, [new.as_str().unwrap()]);
    assert_eq!(app.private_keys(), 1);
    assert!(app.plays(&app.minted(json!({})).await).await);
    let steps = ["import", "activate", "confirm_drain", "retire", "delete"];
    assert_eq!(logs.steps().iter().rev().take(5).rev().collect::<Vec<_>>(), steps);
    assert!(
        app.counts("rotation_steps_total{region=\"us-west-2\",step=\"retire\",outcome=\"ok\"} 1")
    );
}

#[tokio::test]
async fn another_one_goes_while_one_drains_as_long_as_there_are_slots() {
    let app = TestApp::start().await;
    let first = app.rotate().await;
    let second = app.rotate().await;
    assert_eq!(app.in_ivs().await.len(), 3);
    let refused = app.post("/v1/key-pairs/rotations", &json!({})).await;
    let problem = refused.problem(409, "rotation_in_progress");
    assert_eq!(problem["rotationId"], second["id"]);
    advance(&app, DRAIN + Duration::from_secs(4));
    app.step().await;
    for rotation in [&first, &second] {
        assert_eq!(app.now(rotation).await["phase"], "done");
    }
    app.rotate().await;
}

#[tokio::test]
async fn a_full_quota_is_refused_at_once_and_its_pairs_are_named() {
    let app = TestApp::start().await;
    let foreign = [app.import_foreign("one").await, app.import_foreign("two").await];
    let problem =
        app.post("/v1/key-pairs/rotations", &json!({})).await.problem(409, "key_pair_quota");
    let detail = problem["detail"].as_str().unwrap();
    let (_, not_ours) = detail.split_once("Not of this keyring").unwrap();
    for arn in &foreign {
        assert!(not_ours.contains(arn.as_str()), "{detail}");
    }
    assert_eq!(app.private_keys(), 1);
    assert!(app.get("/v1/key-pairs/rotations").await.json()["rotations"][1].is_null());
    app.step().await;
    let (codes, details) = app.findings().await;
    assert_eq!(codes, ["foreign_key_pairs"]);
    assert!(foreign.iter().all(|arn| details.contains(arn.as_str())), "{details}");
    assert_eq!(app.in_ivs().await.len(), 3);
}

#[tokio::test]
async fn a_rotation_that_finds_the_quota_full_is_stuck_until_somebody_makes_room() {
    let logs = Logs::collect();
    let app = TestApp::start().await;
    let rotation = app.begin(json!({})).await;
    let foreign = [app.import_foreign("one").await, app.import_foreign("two").await];
    app.step().await;
    let stuck = app.now(&rotation).await;
    assert_eq!(
        (&stuck["phase"], &stuck["error"]["code"]),
        (&"importing".into(), &"rotation_stuck".into())
    );
    assert!(stuck["error"]["detail"].as_str().unwrap().contains(&foreign[0]), "{stuck}");
    let (mut codes, _) = app.findings().await;
    codes.sort();
    assert_eq!(codes, ["foreign_key_pairs", "rotation_stuck"]);
    assert_eq!(logs.count("keys_finding", "code", "rotation_stuck"), 1);
    assert!(app.counts("rotation_stuck{region=\"us-west-2\"} 1"));
    assert!(!logs.hold("eyJ"));
    app.minted(json!({})).await;

    let arn = encoded(&foreign[1]);
    assert_eq!(app.delete(&format!("/v1/key-pairs/{arn}")).await.status, 204);
    app.step().await;
    let goes_on = app.now(&rotation).await;
    assert_eq!((&goes_on["phase"], &goes_on["error"]), (&"propagating".into(), &Value::Null));
    assert_eq!(logs.count("keys_finding_over", "code", "rotation_stuck"), 1);
    assert!(app.counts("rotation_stuck{region=\"us-west-2\"} 0"));
}

#[tokio::test]
async fn a_scheduled_rotation_begins_by_itself() {
    let app = TestApp::start_with(&[("rotation.every", "30d")], true).await;
    let old = app.minted(json!({})).await["keyPairArn"].clone();
    advance(&app, Duration::from_hours(30 * 24 - 1));
    app.step().await;
    assert_eq!(app.in_ivs().await.len(), 1);
    // An hour is the most by which replicas are kept apart.
    advance(&app, Duration::from_hours(2));
    app.step().await;
    let rotations = app.get("/v1/key-pairs/rotations").await.json();
    assert_eq!(rotations["rotations"][0]["phase"], "propagating", "{rotations}");
    advance(&app, PROPAGATION);
    app.step().await;
    assert_ne!(app.minted(json!({})).await["keyPairArn"], old);
}

#[tokio::test]
async fn an_adopted_pair_waits_until_somebody_says_that_its_other_signer_is_gone() {
    let app = TestApp::start_without_key().await;
    let lambda = PrivateKey::generate(&mut system_rng()).unwrap();
    let (pem, tags) = (lambda.public_key().to_pem(), [].into());
    let theirs = app.regional_ivs().import_playback_key_pair(pem, "lambda", &tags).await.unwrap();
    let request = ImportPrivateKey {
        key: lambda,
        label: Label::default(),
        exclusive: false,
        longest_ttl: Some(Duration::from_hours(6)),
    };
    let manager = manager(&app.app);
    let adopted = manager.import_private_key(request).await.unwrap();
    assert_eq!(adopted.arn.as_ref(), Some(&theirs.arn));
    assert_eq!(app.minted(json!({})).await["keyPairArn"], theirs.arn.as_str());

    let rotation = app.rotate().await;
    // Its drain is as long as that signer's tokens need.
    advance(&app, DRAIN + Duration::from_hours(4));
    app.step().await;
    assert_eq!(app.now(&rotation).await["nextStep"], "retire");
    advance(&app, Duration::from_hours(1) + Duration::from_secs(2));
    app.step().await;
    let waits = app.now(&rotation).await;
    assert_eq!((&waits["phase"], &waits["nextStep"]), (&"draining".into(), &"release".into()));
    assert_eq!(waits["error"]["code"], "awaits_release");
    let (codes, details) = app.findings().await;
    assert_eq!(codes, ["awaits_release"]);
    assert!(details.contains("keys release arn:aws:ivs"), "{details}");
    advance(&app, Duration::from_hours(1000));
    app.step().await;
    assert_eq!(app.in_ivs().await.len(), 2);

    manager.release(theirs.arn.clone()).await.unwrap();
    app.step().await;
    // The other signer may have signed until a moment ago.
    assert_eq!(app.now(&rotation).await["nextStep"], "retire");
    advance(&app, Duration::from_hours(6 + 24) + Duration::from_secs(2));
    app.step().await;
    assert_eq!(app.now(&rotation).await["phase"], "done");
    assert_eq!(app.in_ivs().await.len(), 1);
    assert_eq!(app.findings().await.0, [""; 0]);
}
