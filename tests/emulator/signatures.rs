//! Calls to an emulator with an access key.

use aws_sdk_ivs::{Client, config::Credentials, error::ProvideErrorMetadata};
use aws_smithy_async::time::StaticTimeSource;
use axum::http::Method;
use ivs_playback_auth::emulator::AccessKey;
use serde_json::json;

use crate::support::{NOW, REGION, TestEmulator, encode, signed};

fn start() -> TestEmulator {
    TestEmulator::with(|options| {
        options.access_key =
            Some(AccessKey { id: "EXAMPLEKEY".to_owned(), secret: "a secret".to_owned().into() });
    })
}

/// Returns a client with these credentials, whose clock differs by `skew` seconds.
async fn client(test: &TestEmulator, id: &str, secret: &str, skew: i64) -> Client {
    let credentials = Credentials::new(id, secret, None, None, "test");
    let now = u64::try_from(NOW + skew).unwrap();
    let config = test
        .client_config(REGION)
        .await
        .credentials_provider(credentials)
        .time_source(StaticTimeSource::from_secs(now));
    Client::from_conf(config.build())
}

#[tokio::test]
async fn sdk_with_access_key_is_accepted() {
    let test = start();
    // A new client for each call: a client corrects its clock by the `Date` of responses.
    for skew in [0, -299, 299] {
        let client = async || client(&test, "EXAMPLEKEY", "a secret", skew).await;
        let created = client().await.create_channel().name("n").send().await.unwrap();
        let channel = created.channel.unwrap();
        let arn = channel.arn().unwrap();
        let tag = client().await.tag_resource().resource_arn(arn);
        tag.tags("a:b/c", "d e").tags("\u{e9}", "").send().await.unwrap();
        let untag = client().await.untag_resource().resource_arn(arn);
        untag.tag_keys("a:b/c").tag_keys("x y+z").send().await.unwrap();
        let list = client().await.list_tags_for_resource().resource_arn(arn);
        assert_eq!(list.send().await.unwrap().tags.len(), 1);
    }
}

#[tokio::test]
async fn other_signatures_are_refused_as_by_aws() {
    let test = start();
    for (id, secret, skew, code) in [
        ("EXAMPLEKEY", "another secret", 0, "InvalidSignatureException"),
        ("OTHERKEY", "a secret", 0, "UnrecognizedClientException"),
        ("EXAMPLEKEY", "a secret", 301, "InvalidSignatureException"),
        ("EXAMPLEKEY", "a secret", -301, "InvalidSignatureException"),
    ] {
        let client = client(&test, id, secret, skew).await;
        let error = client.list_channels().send().await.unwrap_err();
        assert_eq!(error.raw_response().unwrap().status().as_u16(), 403);
        assert_eq!(error.code(), Some(code), "{id} {secret} {skew}");
    }
    let made_up = test.call("CreateChannel", &json!({})).await;
    assert_eq!(made_up.error(), (403, "UnrecognizedClientException".to_owned()));
    let tags = signed(Method::GET, &format!("/tags/{}", encode("arn")), "");
    assert_eq!(test.send(tags).await.error().0, 403);
    // None of these calls was recorded, executed, or counted towards a quota.
    let calls = axum::http::Request::get("/_emulator/calls").body("".into()).unwrap();
    assert_eq!(test.send(calls).await.json()["operations"], json!({}));
}
