//! Durability across restarts, and `ensure_live_channel`.

use axum::http::{Method, StatusCode};
use ivs_playback_auth::emulator::{Emulator, EmulatorError, Options, StoreError};
use serde_json::json;

use crate::support::{REGION, TestEmulator, key};

#[tokio::test]
async fn state_survives_restart() {
    let test = TestEmulator::start();
    let arn = test.channel(&json!({"name": "n", "tags": {"a": "b"}})).await;
    test.channel(&json!({})).await;
    let pair = test.import(&key(1)).await;
    test.stream(Method::PUT, &arn).await;
    let read = async |test: &TestEmulator| {
        [
            test.call("GetChannel", &json!({"arn": arn})).await.body,
            test.call("GetPlaybackKeyPair", &json!({"arn": pair})).await.body,
            test.call("GetStream", &json!({"channelArn": arn})).await.body,
            test.call("ListChannels", &json!({"maxResults": 1})).await.body,
        ]
    };
    let before = read(&test).await;
    let page = test.call("ListChannels", &json!({"maxResults": 1})).await.json();
    let test = test.restart();
    assert_eq!(read(&test).await, before);
    let next = test.call("ListChannels", &json!({"nextToken": page["nextToken"]})).await;
    assert_eq!(next.status, StatusCode::OK);
}

#[tokio::test]
async fn data_folder_in_use_is_refused() {
    let test = TestEmulator::start();
    let options = Options::new(test.dir.path(), "123456789012".parse().unwrap());
    let error = Emulator::open(options, ivs_playback_auth::clock::Clock::system()).unwrap_err();
    assert!(matches!(error, EmulatorError::Store(StoreError::InUse { .. })));
    assert!(error.to_string().contains("--data-dir"), "{error}");
}

#[tokio::test]
async fn ensured_channel_is_created_once_and_put_live_again() {
    let test = TestEmulator::start();
    let region = REGION.parse().unwrap();
    test.channel(&json!({"name": "demo"})).await;
    let arn = test.emulator.ensure_live_channel(&region, "demo").await.unwrap();
    let channel = test.call("GetChannel", &json!({"arn": arn})).await.json();
    assert_eq!(
        channel["channel"]["authorized"], true,
        "a public channel of that name does not count"
    );
    let again = test.emulator.ensure_live_channel(&region, "demo").await.unwrap();
    assert_eq!(again, arn);
    test.stream(Method::DELETE, arn.as_str()).await;
    let test = test.restart();
    assert_eq!(test.emulator.ensure_live_channel(&region, "demo").await.unwrap(), arn);
    let stream = test.call("GetStream", &json!({"channelArn": arn})).await;
    assert_eq!(stream.status, StatusCode::OK);
    let keys = test.call("ListStreamKeys", &json!({"channelArn": arn})).await.json();
    assert_eq!(keys["streamKeys"].as_array().unwrap().len(), 1);
    let error = test.emulator.ensure_live_channel(&region, "no name").await.unwrap_err();
    assert!(matches!(error, EmulatorError::ChannelName));
}

#[tokio::test]
async fn auto_live_puts_existing_channels_live() {
    let test = TestEmulator::start();
    let arn = test.channel(&json!({})).await;
    let TestEmulator { emulator, dir, .. } = test;
    drop(emulator);
    let options = Options {
        public_url: Some("https://play.example".parse().unwrap()),
        auto_live: true,
        ..Options::new(dir.path(), "123456789012".parse().unwrap())
    };
    let (clock, manual) = ivs_playback_auth::clock::Clock::manual(
        ivs_playback_auth::clock::Timestamp::from_unix_seconds(0),
    );
    let emulator = Emulator::open(options, clock).unwrap();
    let test = TestEmulator { emulator, clock: manual, dir };
    let stream = test.call("GetStream", &json!({"channelArn": arn})).await.json();
    let url = stream["stream"]["playbackUrl"].as_str().unwrap();
    assert!(url.starts_with("https://play.example/api/video/v1/us-west-2."), "{url}");
}
