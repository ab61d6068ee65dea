//! Channels through the real client: defaults, rules, filters, pages, regions.

use aws_sdk_ivs::{
    error::ProvideErrorMetadata,
    operation::list_channels::ListChannelsOutput,
    types::{
        ChannelLatencyMode, ChannelType, ContainerFormat, MultitrackInputConfiguration,
        MultitrackMaximumResolution, MultitrackPolicy, TranscodePreset,
    },
};
use axum::http::Method;
use serde_json::json;

use crate::support::{REGION, TestEmulator};

#[tokio::test]
async fn channel_without_settings_has_defaults_of_ivs() {
    let test = TestEmulator::start();
    let answer = test.call("CreateChannel", &json!({"name": "x"})).await.json();
    let channel = &answer["channel"];
    let id = channel["arn"].as_str().unwrap().rsplit_once('/').unwrap().1;
    let ingest = channel["ingestEndpoint"].as_str().unwrap();
    let label = ingest.strip_suffix(".global-contribute.live-video.net").unwrap();
    let passphrase = channel["srt"]["passphrase"].as_str().unwrap();
    assert_eq!(
        *channel,
        json!({
            "arn": format!("arn:aws:ivs:us-west-2:123456789012:channel/{id}"),
            "authorized": false,
            "containerFormat": "TS",
            "ingestEndpoint": ingest,
            "insecureIngest": false,
            "latencyMode": "LOW",
            "multitrackInputConfiguration":
                {"enabled": false, "maximumResolution": "FULL_HD", "policy": "ALLOW"},
            "name": "x",
            "playbackRestrictionPolicyArn": "",
            "playbackUrl": format!(
                "http://127.0.0.1:8090/api/video/v1/us-west-2.123456789012.channel.{id}.m3u8"
            ),
            "preset": "",
            "recordingConfigurationArn": "",
            "srt": {"endpoint": format!("{label}.srt.live-video.net"), "passphrase": passphrase},
            "tags": {},
            "type": "STANDARD",
        })
    );
    assert_eq!(id.len(), 12);
    let key = &answer["streamKey"];
    let key_id = key["arn"].as_str().unwrap().rsplit_once('/').unwrap().1;
    assert_eq!(key["channelArn"], channel["arn"]);
    assert_eq!(key["tags"], json!({}));
    let value = key["value"].as_str().unwrap();
    let random = value.strip_prefix(&format!("sk_us-west-2_{key_id}_")).unwrap();
    assert_eq!(random.len(), 30);
    assert_eq!(test.call("CreateChannel", &json!({})).await.json()["channel"]["name"], "");
}

#[tokio::test]
async fn sdk_creates_updates_and_deletes_channel() {
    let test = TestEmulator::start();
    let client = test.client(REGION).await;
    let created = client
        .create_channel()
        .name("show")
        .authorized(true)
        .latency_mode(ChannelLatencyMode::NormalLatency)
        .r#type(ChannelType::AdvancedHdChannelType)
        .tags("team", "video")
        .send()
        .await
        .unwrap();
    let channel = created.channel.unwrap();
    let arn = channel.arn().unwrap();
    assert_eq!(channel.preset(), Some(&TranscodePreset::HigherBandwidthTranscodePreset));
    assert!(created.stream_key.unwrap().tags().unwrap().is_empty());

    let updated = client.update_channel().arn(arn).name("").authorized(false).send().await.unwrap();
    let updated = updated.channel.unwrap();
    assert_eq!((updated.name(), updated.authorized()), (Some(""), false));
    assert_eq!(updated.latency_mode(), channel.latency_mode());
    assert_eq!(updated.tags(), channel.tags());
    let read = client.get_channel().arn(arn).send().await.unwrap().channel.unwrap();
    assert_eq!(read, updated);

    client.delete_channel().arn(arn).send().await.unwrap();
    let error = client.delete_channel().arn(arn).send().await.unwrap_err().into_service_error();
    assert!(error.is_resource_not_found_exception());
    assert!(error.message().unwrap().contains(arn));
    let error = client.get_channel().arn(arn).send().await.unwrap_err().into_service_error();
    assert!(error.is_resource_not_found_exception());
    let error = client.update_channel().arn(arn).send().await.unwrap_err().into_service_error();
    assert!(error.is_resource_not_found_exception());
}

#[tokio::test]
async fn preset_requires_advanced_type() {
    let test = TestEmulator::start();
    let refused = json!({"preset": "HIGHER_BANDWIDTH_DELIVERY"});
    let refused = test.call("CreateChannel", &refused).await;
    assert_eq!(refused.error(), (400, "ValidationException".to_owned()));
    assert!(refused.body.contains("preset"));
    let settings = json!({"type": "ADVANCED_SD", "preset": "CONSTRAINED_BANDWIDTH_DELIVERY"});
    let arn = test.channel(&settings).await;
    let preset = async |settings: serde_json::Value| {
        let mut input = settings;
        input["arn"] = json!(arn);
        test.call("UpdateChannel", &input).await.json()["channel"]["preset"].clone()
    };
    assert_eq!(preset(json!({"type": "ADVANCED_HD"})).await, "CONSTRAINED_BANDWIDTH_DELIVERY");
    assert_eq!(preset(json!({"type": "BASIC"})).await, "");
    assert_eq!(preset(json!({"type": "ADVANCED_HD"})).await, "HIGHER_BANDWIDTH_DELIVERY");
}

#[tokio::test]
async fn multitrack_requires_standard_fragmented_mp4_and_all_members() {
    let test = TestEmulator::start();
    let client = test.client(REGION).await;
    let multitrack = MultitrackInputConfiguration::builder()
        .enabled(true)
        .maximum_resolution(MultitrackMaximumResolution::Hd)
        .policy(MultitrackPolicy::Require)
        .build();
    let create = || client.create_channel().multitrack_input_configuration(multitrack.clone());
    let error = create().send().await.unwrap_err().into_service_error();
    assert!(error.is_validation_exception(), "TS");
    let error = create()
        .container_format(ContainerFormat::FragmentedMp4)
        .r#type(ChannelType::BasicChannelType)
        .send()
        .await
        .unwrap_err();
    assert!(error.into_service_error().is_validation_exception(), "BASIC");
    let created = create().container_format(ContainerFormat::FragmentedMp4).send().await.unwrap();
    let channel = created.channel.unwrap();
    assert_eq!(channel.multitrack_input_configuration(), Some(&multitrack));
    let back = client.update_channel().arn(channel.arn().unwrap());
    let error = back.container_format(ContainerFormat::Ts).send().await.unwrap_err();
    assert!(error.into_service_error().is_validation_exception(), "back to TS");
    let incomplete = json!({
        "containerFormat": "FRAGMENTED_MP4",
        "multitrackInputConfiguration": {"enabled": true, "policy": "ALLOW"},
    });
    let answer = test.call("CreateChannel", &incomplete).await;
    assert_eq!(answer.error(), (400, "ValidationException".to_owned()));
}

#[tokio::test]
async fn attached_resource_must_exist() {
    let test = TestEmulator::start();
    let arn = |kind: &str| format!("arn:aws:ivs:us-west-2:123456789012:{kind}/AbCdEfGh1234");
    for (member, kind) in [
        ("recordingConfigurationArn", "recording-configuration"),
        ("playbackRestrictionPolicyArn", "playback-restriction-policy"),
    ] {
        let unknown = test.call("CreateChannel", &json!({member: arn(kind)})).await;
        assert_eq!(unknown.error(), (404, "ResourceNotFoundException".to_owned()));
        test.channel(&json!({member: ""})).await;
    }
    for member in ["adConfigurationArn", "failoverSlateConfigurationArn"] {
        let refused = test.call("CreateChannel", &json!({member: arn("ad-configuration")})).await;
        assert_eq!(refused.error(), (400, "ValidationException".to_owned()));
        assert!(refused.body.contains(member));
    }
}

#[tokio::test]
async fn live_channel_cannot_be_changed() {
    let test = TestEmulator::start();
    let client = test.client(REGION).await;
    let arn = test.channel(&json!({})).await;
    test.stream(Method::PUT, &arn).await;
    let error = client.update_channel().arn(&arn).name("n").send().await.unwrap_err();
    assert!(error.into_service_error().is_conflict_exception());
    let error = client.delete_channel().arn(&arn).send().await.unwrap_err();
    assert!(error.into_service_error().is_conflict_exception());
    client.stop_stream().channel_arn(&arn).send().await.unwrap();
    client.update_channel().arn(&arn).name("n").send().await.unwrap();
    client.delete_channel().arn(&arn).send().await.unwrap();
}

#[tokio::test]
async fn paginator_returns_every_channel_once_in_order() {
    let test = TestEmulator::start();
    let client = test.client(REGION).await;
    let mut made = Vec::new();
    for index in 0..7 {
        let name = if index % 2 == 0 { "even" } else { "odd" };
        made.push(test.channel(&json!({"name": name})).await);
    }
    let pages = client.list_channels().max_results(3).into_paginator().send();
    let pages: Vec<_> = pages.collect::<Result<Vec<_>, _>>().await.unwrap();
    let listed: Vec<_> = pages.iter().flat_map(ListChannelsOutput::channels).collect();
    let arns: Vec<&str> = listed.iter().map(|channel| channel.arn().unwrap()).collect();
    assert_eq!(arns, made);
    let filtered = client.list_channels().filter_by_name("even").max_results(2);
    let pages: Vec<_> =
        filtered.into_paginator().send().collect::<Result<Vec<_>, _>>().await.unwrap();
    assert_eq!(pages.iter().map(|page| page.channels().len()).collect::<Vec<_>>(), [2, 2]);
    let none = client.list_channels().filter_by_name("eve").send().await.unwrap();
    assert!(none.channels().is_empty() && none.next_token().is_none());
}

#[tokio::test]
async fn page_token_is_refused_by_other_lists() {
    let test = TestEmulator::start();
    for _ in 0..3 {
        test.channel(&json!({"name": "a"})).await;
    }
    let first = test.call("ListChannels", &json!({"maxResults": 1})).await.json();
    let token = &first["nextToken"];
    let second = test.call("ListChannels", &json!({"nextToken": token, "maxResults": 2})).await;
    assert_eq!(second.json()["channels"].as_array().unwrap().len(), 2);
    assert!(second.json().get("nextToken").is_none());
    let refused = (400, "ValidationException".to_owned());
    for (operation, input) in [
        ("ListChannels", json!({"nextToken": token, "filterByName": "a"})),
        ("ListPlaybackKeyPairs", json!({"nextToken": token})),
        ("ListStreams", json!({"nextToken": token})),
        ("ListChannels", json!({"nextToken": "AAAA"})),
        ("ListChannels", json!({"nextToken": "not a token"})),
    ] {
        let answer = test.call(operation, &input).await;
        assert_eq!(answer.error(), refused, "{operation} {input}");
        assert!(answer.body.contains("nextToken"));
    }
}

#[tokio::test]
async fn two_filters_conflict() {
    let test = TestEmulator::start();
    let client = test.client(REGION).await;
    let both = client.list_channels().filter_by_name("a").filter_by_recording_configuration_arn("");
    assert!(both.send().await.unwrap_err().into_service_error().is_conflict_exception());
}

#[tokio::test]
async fn summary_has_members_of_service_model() {
    let test = TestEmulator::start();
    let arn = test.channel(&json!({"name": "n", "tags": {"a": "b"}})).await;
    assert_eq!(
        test.call("ListChannels", &json!({})).await.json(),
        json!({"channels": [{
            "arn": arn, "authorized": false, "insecureIngest": false, "latencyMode": "LOW",
            "name": "n", "playbackRestrictionPolicyArn": "", "preset": "",
            "recordingConfigurationArn": "", "tags": {"a": "b"}, "type": "STANDARD",
        }]})
    );
}

#[tokio::test]
async fn batch_returns_found_channels_and_errors_for_others() {
    let test = TestEmulator::start();
    let client = test.client(REGION).await;
    let (a, b) = (test.channel(&json!({})).await, test.channel(&json!({})).await);
    let unknown = format!("{a}x");
    let batch = client.batch_get_channel().arns(&b).arns(&unknown).arns(&a).arns(&b);
    let answer = batch.send().await.unwrap();
    let found: Vec<_> = answer.channels().iter().map(|channel| channel.arn().unwrap()).collect();
    assert_eq!(found, [&b, &a]);
    assert_eq!(answer.errors().len(), 1);
    assert_eq!(answer.errors()[0].arn(), Some(unknown.as_str()));
    assert_eq!(answer.errors()[0].code(), Some("404"));
}

#[tokio::test]
async fn call_sees_only_its_region_and_account() {
    let test = TestEmulator::start();
    let arn = test.channel(&json!({})).await;
    let elsewhere = test.client("eu-west-1").await;
    assert!(elsewhere.list_channels().send().await.unwrap().channels().is_empty());
    let error = elsewhere.get_channel().arn(&arn).send().await.unwrap_err();
    assert!(error.into_service_error().is_resource_not_found_exception());
    let there = elsewhere.create_channel().send().await.unwrap().channel.unwrap();
    assert!(there.arn().unwrap().starts_with("arn:aws:ivs:eu-west-1:123456789012:channel/"));
    assert!(there.playback_url().unwrap().contains("/api/video/v1/eu-west-1.123456789012."));
    let foreign = arn.replace("123456789012", "210987654321");
    let answer = test.call("GetChannel", &json!({"arn": foreign})).await;
    assert_eq!(answer.error(), (404, "ResourceNotFoundException".to_owned()));
}
