//! As many channels as IVS allows, in two regions: lists reach each of them once, and the quota holds.

use std::collections::BTreeSet;

use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::channels;
use crate::{
    clock::Clock,
    emulator::{Emulator, Options, store::StoreError},
    ivs::arn::Region,
};

const REGIONS: [&str; 2] = ["us-west-2", "eu-west-1"];

struct Full {
    emulator: Emulator,
    _dir: tempfile::TempDir,
}

impl Full {
    /// In one transaction, since 10,000 that are on disk one by one take minutes.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new(dir.path(), "123456789012".parse().unwrap());
        let emulator = Emulator::open(options, Clock::system()).unwrap();
        let shared = &emulator.0;
        let fill = |transaction: &_| {
            for region in REGIONS {
                let region: Region = region.parse().unwrap();
                for index in 0..channels::QUOTA {
                    let mut channel = channels::unset(shared, &region)?;
                    channel.name = format!("channel-{}", index % 1_000);
                    channels::insert(shared, transaction, channel.into())?;
                }
            }
            Ok::<_, StoreError>(())
        };
        shared.store.write(fill).unwrap();
        Self { emulator, _dir: dir }
    }

    async fn call(&self, region: &str, operation: &str, input: &Value) -> (StatusCode, Value) {
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKID/20261122/{region}/ivs/aws4_request, \
             SignedHeaders=host, Signature=00"
        );
        let request = Request::post(format!("/{operation}"))
            .header("authorization", authorization)
            .body(Body::from(input.to_string()))
            .unwrap();
        let response = self.emulator.router().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// The ARNs of all pages, and how many pages there were.
    async fn list(&self, region: &str, filter: &Value) -> (Vec<String>, usize) {
        let (mut arns, mut pages, mut input) = (Vec::new(), 0, filter.clone());
        loop {
            let (status, page) = self.call(region, "ListChannels", &input).await;
            assert_eq!(status, StatusCode::OK, "{page}");
            let channels = page["channels"].as_array().unwrap();
            arns.extend(channels.iter().map(|it| it["arn"].as_str().unwrap().to_owned()));
            pages += 1;
            if page.get("nextToken").is_none() {
                return (arns, pages);
            }
            input["nextToken"] = page["nextToken"].clone();
        }
    }
}

#[tokio::test]
async fn ten_thousand_channels_are_listed_found_and_no_more_are_made() {
    let full = Full::new();
    let mut all = BTreeSet::new();
    for region in REGIONS {
        let (arns, pages) = full.list(region, &json!({})).await;
        assert_eq!((arns.len(), pages), (5_000, 50));
        all.extend(arns);
        let (named, pages) = full.list(region, &json!({"filterByName": "channel-7"})).await;
        assert_eq!((named.len(), pages), (5, 1));
        let (status, refused) = full.call(region, "CreateChannel", &json!({})).await;
        assert_eq!(status, StatusCode::PAYMENT_REQUIRED);
        assert_eq!(refused["__type"], "ServiceQuotaExceededException");
    }
    assert_eq!(all.len(), 10_000);
    let arn = all.iter().find(|arn| arn.contains(REGIONS[0])).unwrap();
    let (status, _) = full.call(REGIONS[0], "DeleteChannel", &json!({"arn": arn})).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (status, _) = full.call(REGIONS[0], "CreateChannel", &json!({})).await;
    assert_eq!(status, StatusCode::OK);
}
