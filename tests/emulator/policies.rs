//! Playback restriction policies through the real client.

use serde_json::json;

use crate::support::{REGION, TestEmulator};

#[tokio::test]
async fn policy_is_created_read_updated_and_deleted() {
    let test = TestEmulator::start();
    let client = test.client(REGION).await;
    let answer = test.call("CreatePlaybackRestrictionPolicy", &json!({"tags": {"a": "b"}})).await;
    let policy = answer.json()["playbackRestrictionPolicy"].clone();
    let arn = policy["arn"].as_str().unwrap().to_owned();
    assert!(arn.starts_with("arn:aws:ivs:us-west-2:123456789012:playback-restriction-policy/"));
    assert_eq!(
        policy,
        json!({
            "allowedCountries": [], "allowedOrigins": [], "arn": arn,
            "enableStrictOriginEnforcement": false, "name": "", "tags": {"a": "b"},
        })
    );
    let update = client
        .update_playback_restriction_policy()
        .arn(&arn)
        .allowed_origins("https://site.example")
        .enable_strict_origin_enforcement(true);
    let updated = update.send().await.unwrap().playback_restriction_policy.unwrap();
    assert_eq!(updated.allowed_origins(), ["https://site.example"]);
    let update = client.update_playback_restriction_policy().arn(&arn).allowed_countries("US");
    let updated = update.send().await.unwrap().playback_restriction_policy.unwrap();
    assert_eq!(updated.allowed_countries(), ["US"]);
    assert_eq!(updated.enable_strict_origin_enforcement(), Some(true), "it stays unchanged");
    assert_eq!(updated.tags().unwrap()["a"], "b");
    let read = client.get_playback_restriction_policy().arn(&arn).send().await.unwrap();
    assert_eq!(read.playback_restriction_policy.unwrap(), updated);
    let empty = json!({"arn": arn, "allowedCountries": []});
    let emptied = test.call("UpdatePlaybackRestrictionPolicy", &empty).await.json();
    assert_eq!(emptied["playbackRestrictionPolicy"]["allowedCountries"], json!([]));

    let deleted = test.call("DeletePlaybackRestrictionPolicy", &json!({"arn": arn})).await;
    assert_eq!((deleted.status.as_u16(), deleted.body.as_str()), (204, ""));
    let gone = client.delete_playback_restriction_policy().arn(&arn).send().await;
    assert!(gone.unwrap_err().into_service_error().is_resource_not_found_exception());
    let gone = client.get_playback_restriction_policy().arn(&arn).send().await;
    assert!(gone.unwrap_err().into_service_error().is_resource_not_found_exception());
    let gone = client.update_playback_restriction_policy().arn(&arn).send().await;
    assert!(gone.unwrap_err().into_service_error().is_resource_not_found_exception());
}

#[tokio::test]
async fn attached_policy_cannot_be_deleted() {
    let test = TestEmulator::start();
    let client = test.client(REGION).await;
    let created = client.create_playback_restriction_policy().name("eu").send().await.unwrap();
    let policy = created.playback_restriction_policy.unwrap();
    let attached = json!({"playbackRestrictionPolicyArn": policy.arn()});
    let channel = test.channel(&attached).await;
    let listed = client.list_channels().filter_by_playback_restriction_policy_arn(policy.arn());
    assert_eq!(listed.send().await.unwrap().channels()[0].arn(), Some(channel.as_str()));
    let delete =
        async || client.delete_playback_restriction_policy().arn(policy.arn()).send().await;
    assert!(delete().await.unwrap_err().into_service_error().is_conflict_exception());
    client.delete_channel().arn(&channel).send().await.unwrap();
    delete().await.unwrap();
}

#[tokio::test]
async fn policies_are_listed_one_per_page_by_default() {
    let test = TestEmulator::start();
    let client = test.client(REGION).await;
    for name in ["a", "b", "c"] {
        client.create_playback_restriction_policy().name(name).send().await.unwrap();
    }
    let first = client.list_playback_restriction_policies().send().await.unwrap();
    assert_eq!(first.playback_restriction_policies().len(), 1);
    let rest = client.list_playback_restriction_policies().max_results(100);
    let rest = rest.next_token(first.next_token().unwrap()).send().await.unwrap();
    let names = rest.playback_restriction_policies().iter().map(|policy| policy.name().unwrap());
    assert_eq!(names.collect::<Vec<_>>(), ["b", "c"]);
    assert_eq!(rest.next_token(), None);
    let other = test.call("ListChannels", &json!({"nextToken": first.next_token()})).await;
    assert_eq!(other.error(), (400, "ValidationException".to_owned()));
}
