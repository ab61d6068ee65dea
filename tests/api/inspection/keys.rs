//! Which key signed: what keyring and IVS say of it together.

use std::time::Duration;

use serde_json::{Value, json};

use super::{all_codes, codes, not_checked, sign, stranger};
use crate::app::TestApp;

impl TestApp {
    async fn of_token(&self, token: &str) -> Value {
        // IVS is asked for its key pairs once in 2 s.
        self.advance_past_refresh_pause();
        self.inspected(&json!({"token": token})).await
    }
}

#[tokio::test]
async fn a_token_that_plays_is_valid_and_says_who_signed() {
    let app = TestApp::start().await;
    let minted = app.minted(json!({})).await;
    for member in ["token", "playbackUrl"] {
        let inspection = app.inspected(&json!({member: minted[member]})).await;
        assert_eq!(inspection["valid"], true, "{inspection}");
        assert_eq!(inspection["keyPairArn"], minted["keyPairArn"]);
        assert_eq!(inspection["notChecked"], json!([]));
        assert_eq!(inspection["tokenId"], minted["tokenId"]);
    }
}

#[tokio::test]
async fn a_key_is_pending_then_draining_then_deleted() {
    let app = TestApp::start().await;
    let first = app.signing_keys();
    let old = app.minted(json!({"ttlSeconds": 3600})).await;
    let made = app.post("/v1/key-pairs", &json!({"name": "next"})).await;
    assert_eq!(made.status, 201, "{made:?}");
    let next = app.signing_keys().into_iter().find(|key| !first.contains(key)).unwrap();
    let pending = app.of_token(&sign(&next, &app.claims())).await;
    assert_eq!((&pending["valid"], all_codes(&pending)), (&true.into(), vec!["key_pending"]));
    assert_eq!(pending["keyPairArn"], made.json()["arn"]);

    app.rotate().await;
    let draining = app.of_token(old["token"].as_str().unwrap()).await;
    assert_eq!((&draining["valid"], all_codes(&draining)), (&true.into(), vec!["key_draining"]));
    assert_eq!(draining["keyPairArn"], old["keyPairArn"]);
    let active = app.minted(json!({})).await;
    let inspection = app.of_token(active["token"].as_str().unwrap()).await;
    assert_eq!((&inspection["valid"], all_codes(&inspection)), (&true.into(), vec![]));

    let path = old["keyPairArn"].as_str().unwrap().replace('/', "%2F");
    let deleted = app.delete(&format!("/v1/key-pairs/{path}?force=true")).await;
    assert_eq!(deleted.status, 204, "{deleted:?}");
    let deleted = app.of_token(old["token"].as_str().unwrap()).await;
    assert_eq!((&deleted["valid"], all_codes(&deleted)), (&false.into(), vec!["key_deleted"]));
    assert_eq!(deleted["keyPairArn"], old["keyPairArn"]);
}

#[tokio::test]
async fn a_pair_of_another_signer_is_known_though_ivs_shows_its_fingerprint_alone() {
    let app = TestApp::start().await;
    let theirs = stranger(7);
    let token = sign(&theirs, &app.claims());
    let unknown = app.of_token(&token).await;
    assert_eq!((&unknown["valid"], all_codes(&unknown)), (&false.into(), vec!["bad_signature"]));
    assert!(unknown.get("keyPairArn").is_none());

    let arn = app.import(&theirs).await;
    let known = app.of_token(&token).await;
    assert_eq!((&known["valid"], all_codes(&known)), (&true.into(), vec![]));
    assert_eq!(known["keyPairArn"], arn);

    app.sdk().delete_playback_key_pair().arn(&arn).send().await.unwrap();
    let gone = app.of_token(&token).await;
    assert_eq!((&gone["valid"], all_codes(&gone)), (&false.into(), vec!["bad_signature"]));
}

#[tokio::test]
async fn a_public_key_that_was_imported_here_is_another_signers() {
    let app = TestApp::start().await;
    let theirs = stranger(8);
    let pem = {
        use p384::pkcs8::{EncodePublicKey, LineEnding};
        theirs.verifying_key().to_public_key_pem(LineEnding::LF).unwrap()
    };
    let made = app.post("/v1/key-pairs", &json!({"publicKeyMaterial": pem})).await;
    assert_eq!(made.status, 201, "{made:?}");
    let inspection = app.of_token(&sign(&theirs, &app.claims())).await;
    assert_eq!((&inspection["valid"], all_codes(&inspection)), (&true.into(), vec![]));
}

#[tokio::test]
async fn a_pair_that_somebody_deleted_is_not_known_to_ivs() {
    let app = TestApp::start().await;
    let minted = app.minted(json!({})).await;
    let arn = minted["keyPairArn"].as_str().unwrap();
    app.sdk().delete_playback_key_pair().arn(arn).send().await.unwrap();
    let inspection = app.of_token(minted["token"].as_str().unwrap()).await;
    assert_eq!(inspection["valid"], false);
    assert_eq!(all_codes(&inspection), ["key_unknown_to_ivs"]);
}

#[tokio::test]
async fn a_key_signs_for_its_own_region_and_account() {
    let app = TestApp::start().await;
    let key = app.signing_keys().remove(0);
    for channel in [
        "arn:aws:ivs:eu-west-1:123456789012:channel/AbCdEfGh1234",
        "arn:aws:ivs:us-west-2:210987654321:channel/AbCdEfGh1234",
    ] {
        let mut claims = app.claims();
        claims["aws:channel-arn"] = channel.into();
        let inspection = app.of_token(&sign(&key, &claims)).await;
        assert_eq!(all_codes(&inspection), ["key_other_region"], "{channel}");
        assert_eq!(not_checked(&inspection), ["channel"]);
        // Nobody here knows whose pairs are there.
        let inspection = app.of_token(&sign(&stranger(9), &claims)).await;
        assert_eq!((&inspection["valid"], all_codes(&inspection)), (&Value::Null, vec![]));
        assert_eq!(not_checked(&inspection), ["signature", "channel"]);
    }
}

#[tokio::test]
async fn without_ivs_the_keyring_says_what_it_knows_and_nothing_is_called_bad() {
    let app = TestApp::start().await;
    let minted = app.minted(json!({})).await;
    app.stop_emulator();
    let ours = app.of_token(minted["token"].as_str().unwrap()).await;
    assert_eq!((&ours["valid"], all_codes(&ours)), (&Value::Null, vec![]));
    assert_eq!(not_checked(&ours), ["keyPair", "channel"]);
    let theirs = app.of_token(&sign(&stranger(7), &app.claims())).await;
    assert_eq!((&theirs["valid"], all_codes(&theirs)), (&Value::Null, vec![]));
    assert_eq!(not_checked(&theirs), ["signature", "channel"]);
    let expired = json!({"aws:channel-arn": app.channel.as_str(), "exp": 1});
    let expired = app.of_token(&sign(&stranger(7), &expired)).await;
    assert_eq!((&expired["valid"], codes(&expired, "error")), (&false.into(), vec!["expired"]));
}

#[tokio::test]
async fn an_ivs_that_hangs_holds_nobody_up() {
    let app = TestApp::start_with(&[("server.request_timeout", "2m")], true).await;
    let minted = app.minted(json!({})).await;
    app.fault(json!({"kind": "slow", "operations": "*", "delayMs": 600_000})).await;
    app.advance_past_refresh_pause();
    let body = json!({"token": minted["token"]});
    let asked = tokio::time::timeout(Duration::from_mins(1), app.inspected(&body));
    let inspection = asked.await.unwrap();
    assert_eq!(inspection["valid"], Value::Null);
    assert_eq!(not_checked(&inspection), ["keyPair", "channel"]);
}
