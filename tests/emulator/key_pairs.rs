//! Playback key pairs through the real client.

use aws_sdk_ivs::{
    error::ProvideErrorMetadata, operation::list_playback_key_pairs::ListPlaybackKeyPairsOutput,
};
use serde_json::json;

use crate::support::{REGION, TestEmulator, key, pem};

#[tokio::test]
async fn pair_is_imported_read_and_deleted() {
    let test = TestEmulator::start();
    let client = test.client(REGION).await;
    let import = client.import_playback_key_pair().public_key_material(pem(&key(1)));
    let pair = import.name("first").tags("a", "b").send().await.unwrap().key_pair.unwrap();
    let arn = pair.arn().unwrap();
    assert!(arn.starts_with("arn:aws:ivs:us-west-2:123456789012:playback-key/"));
    let fingerprint = pair.fingerprint().unwrap();
    assert_eq!(fingerprint.len(), 47);
    assert!(fingerprint.split(':').all(|pair| u8::from_str_radix(pair, 16).is_ok()));
    let read = client.get_playback_key_pair().arn(arn).send().await.unwrap().key_pair.unwrap();
    assert_eq!(read, pair);
    let deleted = test.call("DeletePlaybackKeyPair", &json!({"arn": arn})).await;
    assert_eq!((deleted.status.as_u16(), deleted.body.as_str()), (200, "{}"));
    let error = client.delete_playback_key_pair().arn(arn).send().await.unwrap_err();
    assert!(error.into_service_error().is_resource_not_found_exception());
    let error = client.get_playback_key_pair().arn(arn).send().await.unwrap_err();
    assert!(error.into_service_error().is_resource_not_found_exception());
}

#[tokio::test]
async fn fourth_pair_and_duplicate_key_are_refused() {
    let test = TestEmulator::start();
    let client = test.client(REGION).await;
    let import = async |seed: u8| {
        client.import_playback_key_pair().public_key_material(pem(&key(seed))).send().await
    };
    import(1).await.unwrap();
    let again = import(1).await.unwrap_err().into_service_error();
    assert!(again.is_conflict_exception());
    import(2).await.unwrap();
    let third = import(3).await.unwrap().key_pair.unwrap();
    let fourth = import(4).await.unwrap_err();
    assert_eq!(fourth.raw_response().unwrap().status().as_u16(), 402);
    assert!(fourth.into_service_error().is_service_quota_exceeded_exception());
    // The quota is per region.
    let elsewhere = test.client("eu-west-1").await;
    let same = elsewhere.import_playback_key_pair().public_key_material(pem(&key(1)));
    same.send().await.unwrap();
    client.delete_playback_key_pair().arn(third.arn().unwrap()).send().await.unwrap();
    import(3).await.unwrap();
}

#[tokio::test]
async fn material_other_than_p384_key_is_refused_naming_member() {
    let test = TestEmulator::start();
    let client = test.client(REGION).await;
    let private = pem(&key(1)).replace("PUBLIC KEY", "PRIVATE KEY");
    for material in ["", "x", &private] {
        let import = client.import_playback_key_pair().public_key_material(material);
        let error = import.send().await.unwrap_err().into_service_error();
        assert!(error.is_validation_exception());
        let message = error.message().unwrap();
        assert!(message.starts_with("Request member: publicKeyMaterial failed"), "{message}");
        assert!(material.is_empty() || !message.contains(material.lines().nth(1).unwrap_or("?")));
    }
}

#[tokio::test]
async fn list_has_pages_and_no_fingerprints() {
    let test = TestEmulator::start();
    let client = test.client(REGION).await;
    let mut made = Vec::new();
    for seed in 1..=3 {
        made.push(test.import(&key(seed)).await);
    }
    let all = test.call("ListPlaybackKeyPairs", &json!({})).await.json();
    assert_eq!(all["keyPairs"].as_array().unwrap().len(), 3);
    assert_eq!(all["keyPairs"][0], json!({"arn": made[0], "name": "", "tags": {}}));
    assert!(all.get("nextToken").is_none());
    let pages = client.list_playback_key_pairs().max_results(1).into_paginator().send();
    let pages: Vec<_> = pages.collect::<Result<Vec<_>, _>>().await.unwrap();
    let listed: Vec<_> = pages.iter().flat_map(ListPlaybackKeyPairsOutput::key_pairs).collect();
    assert_eq!(listed.iter().map(|pair| pair.arn().unwrap()).collect::<Vec<_>>(), made);
}
