//! Stream keys and streams.

use aws_sdk_ivs::{
    operation::list_streams::ListStreamsOutput,
    types::{StreamFilters, StreamHealth, StreamState},
};
use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use serde_json::json;

use crate::support::{NOW, REGION, TestEmulator, encode};

#[tokio::test]
async fn channel_has_one_stream_key_at_a_time() {
    let test = TestEmulator::start();
    let client = test.client(REGION).await;
    let created = client.create_channel().send().await.unwrap();
    let (channel, first) = (created.channel.unwrap(), created.stream_key.unwrap());
    let (channel, arn) = (channel.arn().unwrap(), first.arn().unwrap());
    let second = client.create_stream_key().channel_arn(channel).send().await.unwrap_err();
    assert!(second.into_service_error().is_service_quota_exceeded_exception());
    let read = client.get_stream_key().arn(arn).send().await.unwrap().stream_key.unwrap();
    assert_eq!(read, first);
    let listed = test.call("ListStreamKeys", &json!({"channelArn": channel})).await.json();
    assert_eq!(listed, json!({"streamKeys": [{"arn": arn, "channelArn": channel, "tags": {}}]}));
    let batch = client.batch_get_stream_key().arns(arn).arns(format!("{arn}x"));
    let batch = batch.send().await.unwrap();
    assert_eq!(batch.stream_keys()[0].value(), first.value());
    assert_eq!(batch.errors()[0].code(), Some("404"));

    client.delete_stream_key().arn(arn).send().await.unwrap();
    let error = client.delete_stream_key().arn(arn).send().await.unwrap_err();
    assert!(error.into_service_error().is_resource_not_found_exception());
    let renewed = client.create_stream_key().channel_arn(channel).tags("a", "b");
    let renewed = renewed.send().await.unwrap().stream_key.unwrap();
    assert_ne!(renewed.value(), first.value());
    client.delete_channel().arn(channel).send().await.unwrap();
    let error = client.get_stream_key().arn(renewed.arn().unwrap()).send().await.unwrap_err();
    assert!(error.into_service_error().is_resource_not_found_exception());
    let error = client.list_stream_keys().channel_arn(channel).send().await.unwrap_err();
    assert!(error.into_service_error().is_resource_not_found_exception());
}

#[tokio::test]
async fn stream_starts_and_stops() {
    let test = TestEmulator::start();
    let client = test.client(REGION).await;
    let arn = test.channel(&json!({})).await;
    let error = client.get_stream().channel_arn(&arn).send().await.unwrap_err();
    assert_eq!(error.raw_response().unwrap().status().as_u16(), 404);
    assert!(error.into_service_error().is_channel_not_broadcasting());
    let error = client.stop_stream().channel_arn(&arn).send().await.unwrap_err();
    assert!(error.into_service_error().is_channel_not_broadcasting());

    let on = test.stream(Method::PUT, &arn).await;
    assert_eq!(on.status, StatusCode::OK);
    let stream = client.get_stream().channel_arn(&arn).send().await.unwrap().stream.unwrap();
    assert_eq!(on.json()["stream"]["streamId"], stream.stream_id().unwrap());
    assert_eq!(stream.start_time().unwrap().secs(), NOW);
    assert_eq!(stream.state(), Some(&StreamState::StreamLive));
    assert_eq!(stream.health(), Some(&StreamHealth::StreamHealthy));
    assert!(stream.playback_url().unwrap().contains("/api/video/v1/us-west-2."));
    assert_eq!(stream.stream_id().unwrap().len(), 26);
    let again = test.stream(Method::PUT, &arn).await;
    assert_eq!(again.json()["stream"]["streamId"], stream.stream_id().unwrap());

    let stopped = test.call("StopStream", &json!({"channelArn": arn})).await;
    assert_eq!((stopped.status.as_u16(), stopped.body.as_str()), (200, "{}"));
    assert_eq!(test.stream(Method::DELETE, &arn).await.status, StatusCode::NO_CONTENT);
    test.stream(Method::PUT, &arn).await;
    assert_eq!(test.stream(Method::DELETE, &arn).await.status, StatusCode::NO_CONTENT);
    let error = client.get_stream().channel_arn(&arn).send().await.unwrap_err();
    assert!(error.into_service_error().is_channel_not_broadcasting());
}

#[tokio::test]
async fn live_streams_are_listed_by_health() {
    let test = TestEmulator::start();
    let client = test.client(REGION).await;
    let mut live = Vec::new();
    for _ in 0..3 {
        let arn = test.channel(&json!({})).await;
        test.stream(Method::PUT, &arn).await;
        live.push(arn);
    }
    test.channel(&json!({})).await;
    let pages = client.list_streams().max_results(2).into_paginator().send();
    let pages: Vec<_> = pages.collect::<Result<Vec<_>, _>>().await.unwrap();
    let listed: Vec<_> = pages.iter().flat_map(ListStreamsOutput::streams).collect();
    assert_eq!(listed.iter().map(|s| s.channel_arn().unwrap()).collect::<Vec<_>>(), live);
    let of = async |health: StreamHealth| {
        let filter = StreamFilters::builder().health(health).build();
        client.list_streams().filter_by(filter).send().await.unwrap().streams().len()
    };
    assert_eq!(of(StreamHealth::StreamHealthy).await, 3);
    assert_eq!(of(StreamHealth::Starving).await, 0);
    let summary = test.call("ListStreams", &json!({"filterBy": {}})).await.json();
    let summary = summary["streams"][0].as_object().unwrap();
    assert_eq!(summary["startTime"], "2026-11-22T08:55:00Z");
    assert!(!summary.contains_key("playbackUrl"));
}

#[tokio::test]
async fn unknown_channel_cannot_go_live() {
    let test = TestEmulator::start();
    let arn = test.channel(&json!({})).await;
    for method in [Method::PUT, Method::DELETE] {
        let unknown = test.stream(method.clone(), &format!("{arn}x")).await;
        assert_eq!(unknown.error(), (404, "ResourceNotFoundException".to_owned()));
        let other = test.stream(method, &arn.replace(":channel/", ":stream-key/")).await;
        assert_eq!(other.error(), (400, "ValidationException".to_owned()));
    }
    let client = test.client(REGION).await;
    let error = client.get_stream().channel_arn(format!("{arn}x")).send().await.unwrap_err();
    assert!(error.into_service_error().is_resource_not_found_exception());
    let error = client.stop_stream().channel_arn(format!("{arn}x")).send().await.unwrap_err();
    assert!(error.into_service_error().is_resource_not_found_exception());
    // A slash that is not encoded is accepted here, because the path ends with the ARN.
    let path = format!("/_emulator/streams/{}", encode(&arn).replace("%2F", "/"));
    let request = Request::builder().method(Method::PUT).uri(path).body(Body::empty()).unwrap();
    assert_eq!(test.send(request).await.status, StatusCode::OK);
}

#[tokio::test]
async fn auto_live_puts_every_channel_live() {
    let test = TestEmulator::with(|options| options.auto_live = true);
    let client = test.client(REGION).await;
    let arn = test.channel(&json!({})).await;
    client.get_stream().channel_arn(&arn).send().await.unwrap();
    client.stop_stream().channel_arn(&arn).send().await.unwrap();
    let error = client.get_stream().channel_arn(&arn).send().await.unwrap_err();
    assert!(error.into_service_error().is_channel_not_broadcasting());
}
