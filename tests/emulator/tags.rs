//! Tags, whose ARN in the path is easy to get wrong.

use std::collections::HashMap;

use axum::{
    body::Body,
    http::{Method, StatusCode},
};
use serde_json::json;

use crate::support::{REGION, TestEmulator, encode, key, signed};

#[tokio::test]
async fn sdk_tags_every_resource() {
    let test = TestEmulator::start();
    let client = test.client(REGION).await;
    let created = client.create_channel().tags("made", "yes").send().await.unwrap();
    let channel = created.channel.unwrap();
    let stream_key = created.stream_key.unwrap();
    let pair = test.import(&key(1)).await;
    for arn in [channel.arn().unwrap(), stream_key.arn().unwrap(), &pair] {
        let tag = client.tag_resource().resource_arn(arn).tags("a:b/c", "d e").tags("x", "");
        tag.send().await.unwrap();
        client.tag_resource().resource_arn(arn).tags("x", "2").send().await.unwrap();
        let tags = client.list_tags_for_resource().resource_arn(arn).send().await.unwrap().tags;
        assert_eq!((tags["a:b/c"].as_str(), tags["x"].as_str()), ("d e", "2"));
        let untag = client.untag_resource().resource_arn(arn).tag_keys("a:b/c").tag_keys("gone");
        untag.send().await.unwrap();
    }
    let read = client.get_channel().arn(channel.arn().unwrap()).send().await.unwrap();
    let expected = HashMap::from([("made", "yes"), ("x", "2")].map(|(k, v)| (k.into(), v.into())));
    assert_eq!(read.channel.unwrap().tags, Some(expected));
}

#[tokio::test]
async fn query_may_encode_space_either_way() {
    let test = TestEmulator::start();
    let arn = test.channel(&json!({"tags": {"b c": "1", "d e": "2", "f+g": "3", "h": "4"}})).await;
    let path = format!("/tags/{}", encode(&arn));
    let untag = format!("{path}?tagKeys=b+c&tagKeys=d%20e&tagKeys=f%2Bg");
    let answer = test.send(signed(Method::DELETE, &untag, Body::empty())).await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::OK, "{}"));
    let answer = test.send(signed(Method::GET, &path, Body::empty())).await;
    assert_eq!(answer.json(), json!({"tags": {"h": "4"}}));
}

#[tokio::test]
async fn arn_is_one_segment_decoded_once() {
    let test = TestEmulator::start();
    let arn = test.channel(&json!({})).await;
    let get = async |path: &str| test.send(signed(Method::GET, path, Body::empty())).await;
    assert_eq!(get(&format!("/tags/{}", encode(&arn))).await.json(), json!({"tags": {}}));
    let colons = format!("/tags/{}", arn.replace('/', "%2f"));
    assert_eq!(get(&colons).await.status, StatusCode::OK);
    let ignored = format!("{colons}?maxResults=5&nextToken=x");
    assert_eq!(get(&ignored).await.status, StatusCode::OK);
    let refused = |code: u16, name: &str| (code, name.to_owned());
    let twice = get(&format!("/tags/{}", encode(&encode(&arn)))).await;
    assert_eq!(twice.error(), refused(400, "ValidationException"));
    let plain = get(&format!("/tags/{arn}")).await;
    assert_eq!(plain.error(), refused(404, "UnknownOperationException"));
    let unknown = get(&format!("/tags/{}", encode(&format!("{arn}x")))).await;
    assert_eq!(unknown.error(), refused(404, "ResourceNotFoundException"));
    assert_eq!(get("/tags/x").await.error(), refused(400, "ValidationException"));
    assert_eq!(get("/tags/%ff").await.error(), refused(400, "SerializationException"));
    assert_eq!(get("/tags/").await.error(), refused(404, "UnknownOperationException"));
}

#[tokio::test]
async fn tag_limits_are_enforced() {
    let test = TestEmulator::start();
    let many = |range: std::ops::Range<u32>| -> serde_json::Map<String, serde_json::Value> {
        range.map(|index| (format!("k{index}"), json!("v"))).collect()
    };
    let refused = (400, "ValidationException".to_owned());
    assert_eq!(test.call("CreateChannel", &json!({"tags": many(0..51)})).await.error(), refused);
    let arn = test.channel(&json!({"tags": many(0..50)})).await;
    let path = format!("/tags/{}", encode(&arn));
    let tag = async |tags: serde_json::Value| {
        test.send(signed(Method::POST, &path, json!({"tags": tags}).to_string())).await
    };
    assert_eq!(tag(json!({"k0": "again"})).await.body, "{}");
    assert_eq!(tag(json!({"one more": "v"})).await.error(), refused);
    for tags in
        [json!({"aws:x": "v"}), json!({"": "v"}), json!({"k*": "v"}), json!({"k": "\u{1f600}"})]
    {
        assert_eq!(tag(tags).await.error(), refused);
    }
    assert_eq!(tag(json!({"k": 1})).await.error(), (400, "SerializationException".to_owned()));
    assert_eq!(tag(json!(null)).await.error(), refused);
    assert_eq!(tag(json!({"k0": null})).await.body, "{}");
    let none = test.send(signed(Method::DELETE, &path, Body::empty())).await;
    assert_eq!(none.error(), refused);
    assert!(none.body.contains("tagKeys"));
}
