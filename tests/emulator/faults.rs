//! Faults, as real clients see them, and the log of calls.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use aws_sdk_ivs::error::{ProvideErrorMetadata, SdkError};
use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use serde_json::{Value, json};

use crate::support::{Answer, REGION, TestEmulator, encode, key, pem, signed};

async fn ask(test: &TestEmulator, method: Method, path: &str, body: &str) -> Answer {
    let request = Request::builder().method(method).uri(path).body(Body::from(body.to_owned()));
    test.send(request.unwrap()).await
}

/// Sets a fault. Returns its id.
async fn set(test: &TestEmulator, fault: &Value) -> u64 {
    let answer = ask(test, Method::POST, "/_emulator/faults", &fault.to_string()).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    answer.json()["fault"]["id"].as_u64().unwrap()
}

async fn calls(test: &TestEmulator) -> Value {
    ask(test, Method::GET, "/_emulator/calls", "").await.json()
}

/// Returns everything that the server sends before it closes the connection.
async fn exchange(test: &TestEmulator, operation: &str, input: &Value) -> String {
    let address = test.listen().await;
    let (head, body) = (signed(Method::POST, &format!("/{operation}"), ""), input.to_string());
    let authorization = head.headers()["authorization"].to_str().unwrap().to_owned();
    let request = format!(
        "POST /{operation} HTTP/1.1\r\nhost: {address}\r\nauthorization: {authorization}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let exchange = move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(5))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    tokio::task::spawn_blocking(exchange).await.unwrap()
}

#[tokio::test]
async fn throttle_strikes_selected_calls_until_it_ends() {
    let test = TestEmulator::start();
    let client = test.client(REGION).await;
    let arn = test.channel(&json!({})).await;
    let get = async || client.get_channel().arn(&arn).send().await;
    set(&test, &json!({"kind": "throttle", "operations": ["GetChannel"], "every": 2, "count": 2}))
        .await;
    let mut throttled = Vec::new();
    for _ in 0..6 {
        throttled.push(match get().await {
            Ok(_) => false,
            Err(error) => {
                assert_eq!(error.raw_response().unwrap().status().as_u16(), 429);
                assert_eq!(error.code(), Some("ThrottlingException"));
                true
            }
        });
    }
    assert_eq!(throttled, [false, true, false, true, false, false]);

    set(&test, &json!({"kind": "throttle", "operations": "*", "seconds": 30})).await;
    assert!(get().await.is_err());
    assert!(client.list_channels().send().await.is_err());
    test.advance(30);
    get().await.unwrap();
}

#[tokio::test]
async fn error_returns_code_of_ivs_or_bare_status() {
    let test = TestEmulator::start();
    let client = test.client(REGION).await;
    let list = async || client.list_channels().send().await.unwrap_err();
    for code in ["AccessDeniedException", "InternalServerException", "ServiceUnavailable"] {
        let fault =
            json!({"kind": "error", "operations": "ListChannels", "code": code, "count": 1});
        set(&test, &fault).await;
        let error = list().await;
        assert_eq!(error.code(), Some(code));
        assert!(error.message().unwrap().contains("/_emulator/faults"));
    }
    set(&test, &json!({"kind": "error", "operations": "ListChannels", "status": 502})).await;
    let error = list().await;
    assert_eq!(error.raw_response().unwrap().status().as_u16(), 502);
    assert_eq!(error.code(), None);
    test.client("eu-west-1").await.list_streams().send().await.unwrap();
}

#[tokio::test]
async fn fault_strikes_only_its_region() {
    let test = TestEmulator::start();
    let fault = json!({"kind": "error", "operations": "*", "region": "eu-west-1"});
    set(&test, &fault).await;
    test.client(REGION).await.list_channels().send().await.unwrap();
    assert!(test.client("eu-west-1").await.list_channels().send().await.is_err());
}

#[tokio::test]
async fn slow_delays_execution_and_late_answer_delays_response() {
    let test = TestEmulator::start();
    let client = test.client(REGION).await;
    let arrived = async || {
        let seen = calls(&test).await["operations"]["ImportPlaybackKeyPair"]["calls"].as_u64();
        seen.unwrap_or_default()
    };
    let pairs = async || {
        let answer = client.list_playback_key_pairs().send().await.unwrap();
        answer.key_pairs().len()
    };
    for (number, kind) in [(1, "slow"), (2, "late_answer")] {
        let operations = "ImportPlaybackKeyPair";
        let hour = 3_600_000;
        let fault = json!({"kind": kind, "operations": operations, "delayMs": hour, "count": 1});
        set(&test, &fault).await;
        let import = client.import_playback_key_pair().public_key_material(pem(&key(1))).send();
        let meanwhile = async {
            while arrived().await < number {
                tokio::task::yield_now().await;
            }
            while kind == "late_answer" && pairs().await == 0 {
                tokio::task::yield_now().await;
            }
            pairs().await
        };
        tokio::select! {
            answer = import => panic!("{kind}: {answer:?}"),
            pairs = meanwhile => assert_eq!(pairs, usize::from(kind == "late_answer"), "{kind}"),
        }
    }
    let fault = json!({"kind": "slow", "operations": "ListPlaybackKeyPairs", "delayMs": 1});
    set(&test, &fault).await;
    assert_eq!(pairs().await, 1, "a delayed call is executed");
}

#[tokio::test]
async fn cut_and_lost_answer_execute_call() {
    let test = TestEmulator::start();
    let client = test.client(REGION).await;
    let cut = json!({"kind": "cut", "operations": "CreateChannel", "count": 2});
    let lost = json!({"kind": "lost_answer", "operations": "CreateChannel", "count": 2});
    for (made, fault) in [(2, cut), (4, lost)] {
        set(&test, &fault).await;
        let sent = exchange(&test, "CreateChannel", &json!({})).await;
        if made == 2 {
            let (head, body) = sent.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.unwrap().parse().unwrap();
            assert_eq!(body.len(), length / 2);
        } else {
            assert_eq!(sent, "");
        }
        let error = client.create_channel().send().await.unwrap_err();
        let is_broken = matches!(error, SdkError::DispatchFailure(_) | SdkError::ResponseError(_));
        assert!(is_broken, "{error:?}");
        assert_eq!(client.list_channels().send().await.unwrap().channels().len(), made);
    }
    // Without a body to halve, nothing is sent either.
    let arn = test.channel(&json!({})).await;
    set(&test, &json!({"kind": "cut", "operations": "DeleteChannel"})).await;
    assert_eq!(exchange(&test, "DeleteChannel", &json!({"arn": arn})).await, "");
    let gone = test.call("GetChannel", &json!({"arn": arn})).await;
    assert_eq!(gone.error(), (404, "ResourceNotFoundException".to_owned()));
}

#[tokio::test]
async fn accept_duplicates_allows_second_import() {
    let test = TestEmulator::start();
    let fault = set(&test, &json!({"kind": "accept_duplicates"})).await;
    assert_ne!(test.import(&key(1)).await, test.import(&key(1)).await);
    let path = format!("/_emulator/faults/{fault}");
    assert_eq!(ask(&test, Method::DELETE, &path, "").await.status, StatusCode::NO_CONTENT);
    let again = json!({"publicKeyMaterial": pem(&key(1))});
    let again = test.call("ImportPlaybackKeyPair", &again).await;
    assert_eq!(again.error(), (409, "ConflictException".to_owned()));
    let gone = ask(&test, Method::DELETE, &path, "").await;
    assert_eq!(gone.error(), (404, "ResourceNotFoundException".to_owned()));
}

#[tokio::test]
async fn batch_faults_distort_items() {
    let test = TestEmulator::start();
    let client = test.client(REGION).await;
    let (a, b) = (test.channel(&json!({})).await, test.channel(&json!({})).await);
    let batch = async || {
        let answer = client.batch_get_channel().arns(&a).arns(&b).send().await.unwrap();
        let arns = answer.channels().iter().map(|channel| channel.arn().unwrap().to_owned());
        let codes = answer.errors().iter().map(|error| error.code().unwrap().to_owned());
        (arns.collect::<Vec<_>>(), codes.collect::<Vec<_>>())
    };
    for (fault, expected) in [
        (json!({"kind": "omit_item", "count": 1}), (vec![b.clone()], vec![])),
        (
            json!({"kind": "repeat_item", "count": 1}),
            (vec![a.clone(), b.clone(), a.clone()], vec![]),
        ),
        (
            json!({"kind": "fail_item", "code": "503", "count": 1}),
            (vec![b.clone()], vec!["503".to_owned()]),
        ),
    ] {
        set(&test, &fault).await;
        assert_eq!(batch().await, expected, "{fault}");
    }
    assert_eq!(batch().await, (vec![a.clone(), b.clone()], vec![]));
}

#[tokio::test]
async fn playback_faults_strike_only_playback() {
    let test = TestEmulator::start();
    let channel = test.channel(&json!({})).await;
    test.stream(Method::PUT, &channel).await;
    let path = format!(
        "/api/video/v1/us-west-2.123456789012.channel.{}.m3u8",
        channel.rsplit_once('/').unwrap().1
    );
    set(&test, &json!({"kind": "error", "operations": "*"})).await;
    assert_eq!(ask(&test, Method::GET, &path, "").await.status, StatusCode::OK);
    set(&test, &json!({"kind": "error", "operations": "Playback", "status": 503})).await;
    let failed = ask(&test, Method::GET, &path, "").await;
    assert_eq!(failed.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(failed.header("access-control-allow-origin"), Some("*"));
    assert_eq!(
        calls(&test).await["operations"]["Playback"]["statuses"],
        json!({"200": 1, "503": 1})
    );
}

#[tokio::test]
async fn faults_are_listed_with_counts_until_restart() {
    let test = TestEmulator::start();
    let fault = json!({"kind": "throttle", "operations": "ListChannels", "count": 1, "skip": 1});
    let id = set(&test, &fault).await;
    for _ in 0..3 {
        test.call("ListChannels", &json!({})).await;
    }
    let shown = ask(&test, Method::GET, "/_emulator/faults", "").await.json();
    assert_eq!(
        shown,
        json!({"faults": [{
            "id": id, "active": false, "matched": 2, "struck": 1,
            "kind": "throttle", "operations": ["ListChannels"], "count": 1, "skip": 1,
        }]})
    );
    for bad in ["{}", "x", "[]", r#"{"kind": "slow", "operations": "*"}"#] {
        let answer = ask(&test, Method::POST, "/_emulator/faults", bad).await;
        assert_eq!(answer.error().0, 400, "{bad}");
    }
    let cleared = ask(&test, Method::DELETE, "/_emulator/faults", "").await;
    assert_eq!(cleared.status, StatusCode::NO_CONTENT);
    set(&test, &json!({"kind": "throttle", "operations": "*"})).await;
    let test = test.restart();
    let shown = ask(&test, Method::GET, "/_emulator/faults", "").await.json();
    assert_eq!(shown, json!({"faults": []}));
    test.channel(&json!({})).await;
}

#[tokio::test]
async fn web_page_cannot_change_anything() {
    let test = TestEmulator::start();
    let channel = encode(&test.channel(&json!({})).await);
    let stream = format!("/_emulator/streams/{channel}");
    let cut = r#"{"kind": "cut", "operations": "*", "count": 1}"#;
    let changes = [
        (Method::POST, "/_emulator/faults", cut, StatusCode::CREATED),
        (Method::DELETE, "/_emulator/faults/1", "", StatusCode::NO_CONTENT),
        (Method::DELETE, "/_emulator/faults", "", StatusCode::NO_CONTENT),
        (Method::PUT, &stream, "", StatusCode::OK),
        (Method::DELETE, &stream, "", StatusCode::NO_CONTENT),
    ];
    for (method, path, body, done) in changes {
        let call = async |host: &str, origin: &str| {
            let request = Request::builder().method(&method).uri(path);
            let request = request.header("host", host).header("origin", origin);
            test.send(request.body(Body::from(body)).unwrap()).await
        };
        for (host, origin) in [
            ("127.0.0.1:8090", "https://evil.example"),
            ("127.0.0.1:8090", "null"),
            ("127.0.0.1:8090", "http://127.0.0.1:80900"),
            ("127.0.0.1:8090", ""),
            // A name that resolves to this machine since the page was loaded.
            ("evil.test:8090", "http://evil.test:8090"),
        ] {
            let refused = call(host, origin).await;
            let expected = (403, "AccessDeniedException".to_owned());
            assert_eq!(refused.error(), expected, "{method} {path} of {origin}");
        }
        let own = call("127.0.0.1:8090", "http://127.0.0.1:8090").await;
        assert_eq!(own.status, done, "{method} {path}");
    }
}

#[tokio::test]
async fn calls_are_counted_and_listed_with_times() {
    let test = TestEmulator::start();
    test.call("ListChannels", &json!({})).await;
    test.advance(2);
    test.call("ListChannels", &json!({"maxResults": 0})).await;
    set(&test, &json!({"kind": "lost_answer", "operations": "ListStreams"})).await;
    exchange(&test, "ListStreams", &json!({})).await;
    // Unsigned and unknown calls do not count as calls of an operation.
    ask(&test, Method::POST, "/ListChannels", "{}").await;
    test.call("MakeChannel", &json!({})).await;
    let seen = calls(&test).await;
    assert_eq!(
        seen["operations"],
        json!({
            "ListChannels": {"calls": 2, "statuses": {"200": 1, "400": 1}},
            "ListStreams": {"calls": 1, "statuses": {}},
        })
    );
    let recent = seen["recent"].as_array().unwrap();
    let at = |index: usize| recent[index]["atMillis"].as_i64().unwrap();
    assert_eq!(at(1) - at(0), 2_000);
    assert_eq!(recent[2]["status"], Value::Null);
    assert_eq!(recent[0]["region"], REGION);
    ask(&test, Method::DELETE, "/_emulator/calls", "").await;
    assert_eq!(calls(&test).await, json!({"operations": {}, "recent": []}));
}
