//! Call quotas, as a client sees them.

use std::time::Duration;

use aws_sdk_ivs::error::ProvideErrorMetadata;
use serde_json::json;

use crate::support::{REGION, TestEmulator};

#[tokio::test]
async fn calls_beyond_quota_are_throttled_in_sliding_window() {
    let test = TestEmulator::with(|options| options.enforce_rates = true);
    let client = test.client(REGION).await;
    let list = async || client.list_channels().send().await.is_ok();
    for _ in 0..2 {
        assert!(list().await);
    }
    test.clock.advance(Duration::from_millis(600));
    for _ in 0..3 {
        assert!(list().await);
    }
    let error = client.list_channels().send().await.unwrap_err();
    assert_eq!(error.raw_response().unwrap().status().as_u16(), 429);
    assert_eq!(error.raw_response().unwrap().headers().get("x-amzn-errortype"), error.code());
    assert_eq!(error.code(), Some("ThrottlingException"));
    assert!(error.message().unwrap().contains("ivs:ListChannels exceeded call rate: 5"));
    // The first two leave the window, the other three do not.
    test.clock.advance(Duration::from_millis(400));
    assert!(list().await && list().await && !list().await);

    client.list_streams().send().await.unwrap();
    test.client("eu-west-1").await.list_channels().send().await.unwrap();
}

#[tokio::test]
async fn quotas_differ_by_operation_and_apply_before_body_is_checked() {
    let test = TestEmulator::with(|options| options.enforce_rates = true);
    for (operation, quota) in [
        ("BatchStartViewerSessionRevocation", 2),
        ("ListPlaybackKeyPairs", 3),
        ("BatchGetChannel", 5),
        ("StartViewerSessionRevocation", 10),
    ] {
        let mut statuses = Vec::new();
        for _ in 0..=quota {
            statuses.push(test.call(operation, &json!({"maxResults": 0})).await.status.as_u16());
        }
        let mut expected = vec![400; quota];
        expected.push(429);
        assert_eq!(statuses, expected, "{operation}");
    }
}

#[tokio::test]
async fn calls_are_unlimited_by_default() {
    let test = TestEmulator::start();
    for _ in 0..20 {
        assert_eq!(test.call("ListChannels", &json!({})).await.status.as_u16(), 200);
    }
}
