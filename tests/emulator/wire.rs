//! The protocol: requests that no real client sends, and the headers of every response.

use std::convert::Infallible;

use axum::{
    body::{Body, Bytes},
    http::{Method, Request, StatusCode},
};
use serde_json::{Value, json};

use crate::support::{Answer, REGION, TestEmulator, authorization, signed};

async fn post(test: &TestEmulator, path: &str, body: impl Into<Body>) -> Answer {
    test.send(signed(Method::POST, path, body)).await
}

#[tokio::test]
async fn every_response_has_request_id_and_service_headers() {
    let test = TestEmulator::start();
    let arn = test.channel(&json!({})).await;
    let mut ids = std::collections::BTreeSet::new();
    for answer in [
        test.call("GetChannel", &json!({"arn": arn})).await,
        test.call("DeleteChannel", &json!({"arn": arn})).await,
        test.call("DeleteChannel", &json!({"arn": arn})).await,
        post(&test, "/Nonsense", "{}").await,
        test.send(
            Request::builder()
                .method(Method::OPTIONS)
                .uri("/GetChannel")
                .body(Body::empty())
                .unwrap(),
        )
        .await,
    ] {
        let id = answer.header("x-amzn-requestid").unwrap();
        assert!(uuid::Uuid::parse_str(id).is_ok_and(|id| id.get_version_num() == 4), "{id}");
        ids.insert(id.to_owned());
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
        let exposed = answer.header("access-control-expose-headers").unwrap();
        assert!(exposed.contains("x-amzn-requestid") && exposed.contains("x-amzn-errortype"));
        assert_eq!(answer.header("cache-control"), Some("no-store, no-cache"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    assert_eq!(ids.len(), 5);
    let health = Request::builder().uri("/_emulator/health").body(Body::empty()).unwrap();
    let health = test.send(health).await;
    assert_eq!(health.status, StatusCode::OK);
    assert!(health.header("x-amzn-requestid").is_some());
    assert_eq!(health.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn success_without_body_is_204() {
    let test = TestEmulator::start();
    let arn = test.channel(&json!({})).await;
    let keys = test.call("ListStreamKeys", &json!({"channelArn": arn})).await.json();
    for (operation, arn) in
        [("DeleteStreamKey", &keys["streamKeys"][0]["arn"]), ("DeleteChannel", &json!(arn))]
    {
        let answer = test.call(operation, &json!({"arn": arn})).await;
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::NO_CONTENT, ""));
        assert_eq!(answer.header("content-type"), None);
    }
}

#[tokio::test]
async fn call_must_be_signed_for_ivs() {
    let test = TestEmulator::start();
    let ask = async |authorization: Option<String>| {
        let mut request = Request::builder().method(Method::POST).uri("/ListChannels");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        test.send(request.body("{}".into()).unwrap()).await
    };
    assert_eq!(ask(None).await.error(), (403, "MissingAuthenticationTokenException".to_owned()));
    let bearer = ask(Some("Bearer x".to_owned())).await;
    assert_eq!(bearer.error(), (403, "IncompleteSignatureException".to_owned()));
    let other = ask(Some(authorization(REGION).replace("/ivs/", "/s3/"))).await;
    assert_eq!(other.error(), (403, "InvalidSignatureException".to_owned()));
    assert_eq!(ask(Some(authorization(REGION))).await.status, StatusCode::OK);
}

#[tokio::test]
async fn media_type_is_ignored_and_empty_body_is_empty_object() {
    let test = TestEmulator::start();
    for (media_type, body) in
        [("application/octet-stream", ""), ("text/plain", "{}"), ("application/json", " \n")]
    {
        let request = Request::builder()
            .method(Method::POST)
            .uri("/ListChannels?ignored=1")
            .header("content-type", media_type)
            .header("authorization", authorization(REGION));
        let answer = test.send(request.body(body.into()).unwrap()).await;
        assert_eq!(answer.json(), json!({"channels": []}), "{media_type}");
    }
}

#[tokio::test(start_paused = true)]
async fn body_that_does_not_arrive_is_refused() {
    let test = TestEmulator::start();
    for path in ["/ListChannels", "/_emulator/faults"] {
        let endless = futures_util::stream::pending::<Result<Bytes, Infallible>>();
        let answer = post(&test, path, Body::from_stream(endless)).await;
        assert_eq!(answer.error(), (408, "RequestTimeoutException".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn body_other_than_json_object_is_refused() {
    let test = TestEmulator::start();
    let deep = format!("{{\"name\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
    for body in ["{", "[]", "1", "\"x\"", "null", "{\"name\":}", "{}{}", "\u{feff}{}", &deep] {
        let answer = post(&test, "/CreateChannel", body.to_owned()).await;
        assert_eq!(answer.error(), (400, "SerializationException".to_owned()), "{body:.20}");
    }
    let bytes = post(&test, "/CreateChannel", vec![b'{', 0xff, b'}']).await;
    assert_eq!(bytes.error(), (400, "SerializationException".to_owned()));
    let large = post(&test, "/CreateChannel", " ".repeat(2 << 20)).await;
    assert_eq!(large.error(), (413, "RequestEntityTooLargeException".to_owned()));
}

#[tokio::test]
async fn wrong_types_are_refused_and_nulls_and_unknown_members_ignored() {
    let test = TestEmulator::start();
    for input in [
        json!({"authorized": "yes"}),
        json!({"authorized": 1}),
        json!({"name": 5}),
        json!({"tags": ["a"]}),
        json!({"multitrackInputConfiguration": {"enabled": "true"}}),
    ] {
        let answer = test.call("CreateChannel", &input).await;
        assert_eq!(answer.error(), (400, "SerializationException".to_owned()), "{input}");
    }
    for (input, name) in [
        (json!({"maxResults": 1.5}), "SerializationException"),
        (json!({"maxResults": 0}), "ValidationException"),
    ] {
        let answer = test.call("ListChannels", &input).await;
        assert_eq!(answer.error(), (400, name.to_owned()));
        assert!(answer.body.contains("maxResults"));
    }
    let odd = json!({"name": null, "tags": null, "type": null, "colour": {"a": [null]}});
    test.channel(&odd).await;
    let missing = test.call("GetChannel", &json!({"arn": null})).await;
    assert_eq!(missing.error(), (400, "ValidationException".to_owned()));
    assert!(missing.body.contains("GetChannel.arn is a required attribute"));
}

#[tokio::test]
async fn all_violations_are_reported_without_values() {
    let test = TestEmulator::start();
    let input = json!({"name": "not a name!", "type": "HUGE", "tags": {"k\u{7}": "v"}});
    let answer = test.call("CreateChannel", &input).await;
    assert_eq!(answer.error(), (400, "ValidationException".to_owned()));
    let message = answer.json()["message"].as_str().unwrap().to_owned();
    for member in ["member: name ", "member: type ", "member: tags "] {
        assert!(message.contains(member), "{message}");
    }
    assert!(!message.contains("not a name") && !message.contains("HUGE"), "{message}");
}

#[tokio::test]
async fn first_hundred_violations_are_reported() {
    let test = TestEmulator::start();
    let wrong_texts = json!({"allowedCountries": vec!["a"; 50_000]});
    let wrong_types = json!({"allowedCountries": vec![1; 50_000]});
    for (input, code) in
        [(wrong_texts, "ValidationException"), (wrong_types, "SerializationException")]
    {
        let answer = test.call("CreatePlaybackRestrictionPolicy", &input).await;
        assert_eq!(answer.error(), (400, code.to_owned()));
        let named = answer.json()["message"].as_str().unwrap().matches("Request member").count();
        assert!((90..=110).contains(&named), "{named}");
    }
}

#[tokio::test]
async fn unknown_and_not_emulated_operations_have_different_messages() {
    let test = TestEmulator::start();
    let unknown = (404, "UnknownOperationException".to_owned());
    for name in ["CreateAdConfiguration", "InsertAdBreak", "ListFailoverSlateConfigurations"] {
        let answer = post(&test, &format!("/{name}"), "{}").await;
        assert_eq!(answer.error(), unknown);
        assert!(answer.body.contains(name), "{}", answer.body);
    }
    for (method, path) in [
        (Method::POST, "/"),
        (Method::POST, "/CreateChannels"),
        (Method::POST, "/createchannel"),
        (Method::POST, "/CreateChannel/"),
        (Method::POST, "//CreateChannel"),
        (Method::POST, "/%43reateChannel"),
        (Method::POST, "/TagResource"),
        (Method::GET, "/CreateChannel"),
        (Method::PUT, "/tags/x"),
        (Method::GET, "/_emulator/other"),
    ] {
        let answer = test.send(signed(method.clone(), path, "{}")).await;
        assert_eq!(answer.error(), unknown, "{method} {path}");
    }
}

#[tokio::test]
async fn browser_may_make_signed_calls() {
    let test = TestEmulator::start();
    let preflight = Request::builder()
        .method(Method::OPTIONS)
        .uri("/CreateChannel")
        .header("origin", "https://a.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type,x-amz-date");
    let answer = test.send(preflight.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    let allowed = answer.header("access-control-allow-headers").unwrap();
    assert!(["authorization", "content-type", "x-amz-date"].iter().all(|h| allowed.contains(h)));
    assert!(answer.header("access-control-allow-methods").unwrap().contains("POST"));
}

#[tokio::test]
async fn revocations_of_batch_are_handled_separately() {
    let test = TestEmulator::start();
    let client = test.client(REGION).await;
    let arn = test.channel(&json!({})).await;
    let start = |channel: &str, version: Value| json!({"channelArn": channel, "viewerId": "v", "viewerSessionVersionsLessThanOrEqualTo": version});
    let answer = test.call("StartViewerSessionRevocation", &start(&arn, json!(3))).await;
    assert_eq!((answer.status.as_u16(), answer.body.as_str()), (200, "{}"));
    let largest = start(&arn, json!(2_147_483_647));
    assert_eq!(test.call("StartViewerSessionRevocation", &largest).await.status, StatusCode::OK);
    for version in [json!(-1), json!(2_147_483_648_u32)] {
        let answer = test.call("StartViewerSessionRevocation", &start(&arn, version)).await;
        assert_eq!(answer.error(), (400, "ValidationException".to_owned()));
    }
    let unknown = format!("{arn}x");
    let answer = test.call("StartViewerSessionRevocation", &start(&unknown, json!(0))).await;
    assert_eq!(answer.error(), (404, "ResourceNotFoundException".to_owned()));
    let session = |channel: &str| {
        aws_sdk_ivs::types::BatchStartViewerSessionRevocationViewerSession::builder()
            .channel_arn(channel)
            .viewer_id("v")
            .build()
            .unwrap()
    };
    let batch = client.batch_start_viewer_session_revocation();
    let batch = batch.viewer_sessions(session(&arn)).viewer_sessions(session(&unknown));
    let errors = batch.send().await.unwrap().errors.unwrap();
    assert_eq!(errors.len(), 1);
    assert_eq!((errors[0].channel_arn(), errors[0].code()), (unknown.as_str(), Some("403")));
    let many: Vec<Value> = (0..21).map(|_| start(&arn, json!(0))).collect();
    let answer =
        test.call("BatchStartViewerSessionRevocation", &json!({"viewerSessions": many})).await;
    assert_eq!(answer.error(), (400, "ValidationException".to_owned()));
}
