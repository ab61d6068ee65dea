//! Recording configurations through the real client.

use aws_sdk_ivs::{
    operation::list_recording_configurations::ListRecordingConfigurationsOutput,
    types::{
        DestinationConfiguration, RecordingConfigurationState, RenditionConfiguration,
        RenditionConfigurationRendition, RenditionConfigurationRenditionSelection,
        S3DestinationConfiguration,
    },
};
use serde_json::{Value, json};

use crate::support::{REGION, TestEmulator};

fn bucket(name: &str) -> Value {
    json!({"destinationConfiguration": {"s3": {"bucketName": name}}})
}

async fn made(test: &TestEmulator) -> String {
    let answer = test.call("CreateRecordingConfiguration", &bucket("recordings")).await;
    answer.json()["recordingConfiguration"]["arn"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn configuration_has_defaults_of_ivs_and_becomes_active() {
    let test = TestEmulator::start();
    let answer = test.call("CreateRecordingConfiguration", &bucket("my-bucket.example")).await;
    let mut configuration = answer.json()["recordingConfiguration"].clone();
    let arn = configuration["arn"].as_str().unwrap().to_owned();
    assert!(arn.starts_with("arn:aws:ivs:us-west-2:123456789012:recording-configuration/"));
    assert_eq!(
        configuration,
        json!({
            "arn": arn,
            "destinationConfiguration": {"s3": {"bucketName": "my-bucket.example"}},
            "name": "",
            "recordingReconnectWindowSeconds": 0,
            "renditionConfiguration": {"renditionSelection": "ALL", "renditions": []},
            "state": "CREATING",
            "tags": {},
            "thumbnailConfiguration": {
                "recordingMode": "INTERVAL", "storage": ["SEQUENTIAL"], "targetIntervalSeconds": 60,
            },
        })
    );
    let get = async || {
        let answer = test.call("GetRecordingConfiguration", &json!({"arn": arn})).await;
        answer.json()["recordingConfiguration"].clone()
    };
    assert_eq!(get().await, configuration);
    test.advance(20);
    configuration["state"] = json!("ACTIVE");
    assert_eq!(get().await, configuration);
}

#[tokio::test]
async fn sdk_creates_lists_and_deletes_configurations() {
    let test = TestEmulator::start();
    let client = test.client(REGION).await;
    let s3 = S3DestinationConfiguration::builder().bucket_name("recordings").build().unwrap();
    let create = |renditions: RenditionConfiguration| {
        client
            .create_recording_configuration()
            .name("show")
            .tags("team", "video")
            .recording_reconnect_window_seconds(300)
            .destination_configuration(DestinationConfiguration::builder().s3(s3.clone()).build())
            .rendition_configuration(renditions)
            .send()
    };
    let custom = RenditionConfiguration::builder()
        .rendition_selection(RenditionConfigurationRenditionSelection::Custom);
    let refused = create(custom.clone().build()).await.unwrap_err().into_service_error();
    assert!(refused.is_validation_exception());
    let custom = custom.renditions(RenditionConfigurationRendition::Hd).build();
    let created = create(custom.clone()).await.unwrap().recording_configuration.unwrap();
    assert_eq!(created.state(), &RecordingConfigurationState::Creating);
    assert_eq!(created.rendition_configuration(), Some(&custom));
    assert_eq!(created.recording_reconnect_window_seconds(), 300);

    for _ in 1..20 {
        made(&test).await;
    }
    let full = create(custom).await.unwrap_err();
    assert_eq!(full.raw_response().unwrap().status().as_u16(), 402);
    assert!(full.into_service_error().is_service_quota_exceeded_exception());
    let one_page = client.list_recording_configurations().send().await.unwrap();
    assert_eq!((one_page.recording_configurations().len(), one_page.next_token()), (20, None));
    let pages = client.list_recording_configurations().max_results(9).into_paginator().send();
    let pages: Vec<_> = pages.collect::<Result<Vec<_>, _>>().await.unwrap();
    let sizes = pages.iter().map(ListRecordingConfigurationsOutput::recording_configurations);
    assert_eq!(sizes.map(<[_]>::len).collect::<Vec<_>>(), [9, 9, 2]);
    let first = &pages[0].recording_configurations()[0];
    assert_eq!(first.tags().unwrap()["team"], "video");

    client.delete_recording_configuration().arn(created.arn()).send().await.unwrap();
    let gone = client.delete_recording_configuration().arn(created.arn()).send().await;
    assert!(gone.unwrap_err().into_service_error().is_resource_not_found_exception());
    let gone = client.get_recording_configuration().arn(created.arn()).send().await;
    assert!(gone.unwrap_err().into_service_error().is_resource_not_found_exception());
}

#[tokio::test]
async fn attached_configuration_cannot_be_deleted() {
    let test = TestEmulator::start();
    let client = test.client(REGION).await;
    let arn = made(&test).await;
    let channel = test.channel(&json!({"recordingConfigurationArn": arn})).await;
    test.channel(&json!({})).await;
    let listed = client.list_channels().filter_by_recording_configuration_arn(&arn);
    let listed = listed.send().await.unwrap();
    assert_eq!(listed.channels().len(), 1);
    assert_eq!(listed.channels()[0].arn(), Some(channel.as_str()));
    let delete = async || client.delete_recording_configuration().arn(&arn).send().await;
    assert!(delete().await.unwrap_err().into_service_error().is_conflict_exception());
    let detach = client.update_channel().arn(&channel).recording_configuration_arn("");
    detach.send().await.unwrap();
    delete().await.unwrap();
    let attach = client.update_channel().arn(&channel).recording_configuration_arn(&arn);
    let error = attach.send().await.unwrap_err().into_service_error();
    assert!(error.is_resource_not_found_exception());
}

#[tokio::test]
async fn destination_must_be_s3_bucket() {
    let test = TestEmulator::start();
    for (input, member) in [
        (json!({}), "destinationConfiguration"),
        (json!({"destinationConfiguration": {}}), "destinationConfiguration.s3"),
        (bucket("My_Bucket"), "destinationConfiguration.s3.bucketName"),
        (bucket("ab"), "destinationConfiguration.s3.bucketName"),
    ] {
        let answer = test.call("CreateRecordingConfiguration", &input).await;
        assert_eq!(answer.error(), (400, "ValidationException".to_owned()));
        assert!(answer.body.contains(member), "{}", answer.body);
    }
}
