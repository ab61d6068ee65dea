//! Stream sessions and timed metadata.

use aws_sdk_ivs::error::ProvideErrorMetadata;
use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{NOW, REGION, TestEmulator};

async fn listed(test: &TestEmulator, channel: &str) -> Vec<Value> {
    let answer = test.call("ListStreamSessions", &json!({"channelArn": channel})).await;
    answer.json()["streamSessions"].as_array().unwrap().clone()
}

#[tokio::test]
async fn each_stream_has_session_listed_latest_first() {
    let test = TestEmulator::start();
    let client = test.client(REGION).await;
    let channel = test.channel(&json!({"name": "first"})).await;
    assert_eq!(listed(&test, &channel).await, Vec::<Value>::new());
    let never = client.get_stream_session().channel_arn(&channel).send().await.unwrap_err();
    assert!(never.into_service_error().is_resource_not_found_exception());

    test.stream(Method::PUT, &channel).await;
    let live = client.get_stream().channel_arn(&channel).send().await.unwrap().stream.unwrap();
    let id = live.stream_id().unwrap();
    assert_eq!(
        listed(&test, &channel).await,
        [json!({"streamId": id, "startTime": "2026-11-22T08:55:00Z", "hasErrorEvent": false})]
    );
    test.advance(60);
    client.stop_stream().channel_arn(&channel).send().await.unwrap();
    client.update_channel().arn(&channel).name("second").send().await.unwrap();
    test.advance(60);
    test.stream(Method::PUT, &channel).await;
    test.stream(Method::PUT, &channel).await;

    let latest = client.get_stream_session().channel_arn(&channel).send().await.unwrap();
    let latest = latest.stream_session.unwrap();
    assert_eq!(latest.start_time().unwrap().secs(), NOW + 120);
    assert_eq!(latest.end_time(), None);
    assert_eq!(latest.channel().unwrap().name(), Some("second"));
    let first = client.get_stream_session().channel_arn(&channel).stream_id(id);
    let first = first.send().await.unwrap().stream_session.unwrap();
    assert_eq!(first.end_time().unwrap().secs(), NOW + 60);
    assert_eq!(
        first.channel().unwrap().name(),
        Some("first"),
        "the channel at the start of the stream"
    );
    let events = first.truncated_events().iter().map(|event| event.name().unwrap());
    assert_eq!(events.collect::<Vec<_>>(), ["Stream End", "Stream Start"]);
    let ids: Vec<_> =
        listed(&test, &channel).await.iter().map(|session| session["streamId"].clone()).collect();
    assert_eq!(ids, [json!(latest.stream_id()), json!(id)]);

    let page = client.list_stream_sessions().channel_arn(&channel).max_results(1);
    let page = page.send().await.unwrap();
    let next = client.list_stream_sessions().channel_arn(&channel);
    let next = next.next_token(page.next_token().unwrap()).send().await.unwrap();
    assert_eq!(next.stream_sessions()[0].stream_id(), Some(id));
    assert_eq!(next.next_token(), None);

    client.stop_stream().channel_arn(&channel).send().await.unwrap();
    client.delete_channel().arn(&channel).send().await.unwrap();
    let gone = client.list_stream_sessions().channel_arn(&channel).send().await.unwrap_err();
    assert!(gone.into_service_error().is_resource_not_found_exception());
}

#[tokio::test]
async fn session_has_recording_configuration() {
    let test = TestEmulator::start();
    let bucket = json!({"destinationConfiguration": {"s3": {"bucketName": "recordings"}}});
    let made = test.call("CreateRecordingConfiguration", &bucket).await.json();
    let configuration = &made["recordingConfiguration"]["arn"];
    let channel = test.channel(&json!({"recordingConfigurationArn": configuration})).await;
    test.stream(Method::PUT, &channel).await;
    let session = test.call("GetStreamSession", &json!({"channelArn": channel})).await.json();
    let session = &session["streamSession"];
    assert_eq!(session["recordingConfiguration"]["arn"], *configuration);
    assert_eq!(session["channel"]["arn"], channel);
    assert!(session.get("endTime").is_none() && session.get("ingestConfiguration").is_none());
    let other = json!({"channelArn": channel, "streamId": format!("st-{}", "x".repeat(23))});
    let other = test.call("GetStreamSession", &other).await;
    assert_eq!(other.error(), (404, "ResourceNotFoundException".to_owned()));
}

#[tokio::test]
async fn auto_live_channel_has_session() {
    let test = TestEmulator::with(|options| options.auto_live = true);
    let channel = test.channel(&json!({})).await;
    assert_eq!(listed(&test, &channel).await.len(), 1);
}

#[tokio::test]
async fn metadata_requires_live_channel_and_has_size_limit() {
    let test = TestEmulator::start();
    let client = test.client(REGION).await;
    let channel = test.channel(&json!({})).await;
    let put = async |channel: &str, text: &str| {
        client.put_metadata().channel_arn(channel).metadata(text).send().await
    };
    let unknown = put(&format!("{channel}x"), "a").await.unwrap_err().into_service_error();
    assert!(unknown.is_resource_not_found_exception());
    let idle = put(&channel, "a").await.unwrap_err();
    assert_eq!(idle.raw_response().unwrap().status().as_u16(), 404);
    let idle = idle.into_service_error();
    assert!(idle.is_channel_not_broadcasting());
    assert!(idle.message().unwrap().contains(&format!("{channel} is not currently online")));

    test.stream(Method::PUT, &channel).await;
    let answer = test.call("PutMetadata", &json!({"channelArn": channel, "metadata": "a"})).await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (204, ""));
    // 1024 bytes; each of these characters has two.
    put(&channel, &"\u{e9}".repeat(512)).await.unwrap();
    let large = put(&channel, &"\u{e9}".repeat(513)).await.unwrap_err().into_service_error();
    assert!(large.is_validation_exception());
    assert!(large.message().unwrap().contains("Metadata size exceeds payload limit"));
    let empty = test.call("PutMetadata", &json!({"channelArn": channel, "metadata": ""})).await;
    assert_eq!(empty.error(), (400, "ValidationException".to_owned()));
}

#[tokio::test]
async fn channel_accepts_five_pieces_of_metadata_per_second() {
    let test = TestEmulator::start();
    let client = test.client(REGION).await;
    let (one, other) = (test.channel(&json!({})).await, test.channel(&json!({})).await);
    for channel in [&one, &other] {
        test.stream(Method::PUT, channel).await;
    }
    let put =
        async |channel: &str| client.put_metadata().channel_arn(channel).metadata("a").send().await;
    for _ in 0..5 {
        put(&one).await.unwrap();
    }
    let error = put(&one).await.unwrap_err();
    assert_eq!(error.raw_response().unwrap().status().as_u16(), 429);
    let error = error.into_service_error();
    assert!(error.is_throttling_exception());
    let expected = format!("Operation: ivs:PutMetadata exceeded call rate: 5 for resource: {one}");
    assert_eq!(error.message(), Some(expected.as_str()));
    put(&other).await.unwrap();
    test.advance(1);
    put(&one).await.unwrap();
}

#[tokio::test]
async fn account_accepts_155_pieces_of_metadata_per_second() {
    let test = TestEmulator::with(|options| options.enforce_rates = true);
    let mut channels = Vec::new();
    for _ in 0..32 {
        channels.push(test.channel(&json!({})).await);
        test.advance(1);
    }
    for channel in &channels {
        test.stream(Method::PUT, channel).await;
    }
    let mut statuses = Vec::new();
    for channel in channels.iter().cycle().take(156) {
        let input = json!({"channelArn": channel, "metadata": "a"});
        statuses.push(test.call("PutMetadata", &input).await.status.as_u16());
    }
    assert_eq!(statuses.iter().filter(|&&status| status == 204).count(), 155);
    assert_eq!(statuses[155], 429);
}
