//! The request, and what IVS is asked: channels, and for whom.

use axum::{body::Body, http::Request};
use serde_json::{Value, json};

use super::{all_codes, not_checked, sign, stranger};
use crate::app::{Answer, TestApp, credential};

/// The operations with which a channel can be looked up.
const LOOKUPS: [&str; 3] = ["BatchGetChannel", "GetChannel", "ListChannels"];

impl TestApp {
    /// Asks as the client that may inspect tokens, and nothing else.
    async fn inspected_by_support(&self, body: &Value) -> Answer {
        let request = Request::post("/v1/tokens/inspect")
            .header("authorization", format!("Bearer {}", credential('i')))
            .header("content-type", "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    /// Lets `demo` play without a token. A channel is asked for once a second.
    async fn make_public(&self) {
        let arn = self.channel.as_str();
        self.sdk().stop_stream().channel_arn(arn).send().await.unwrap();
        self.sdk().update_channel().arn(arn).authorized(false).send().await.unwrap();
        self.advance_past_refresh_pause();
    }

    async fn lookups(&self) -> Vec<Value> {
        let mut calls = Vec::new();
        for operation in LOOKUPS {
            calls.push(self.calls(operation).await);
        }
        calls
    }
}

fn other(id: &str) -> String {
    format!("arn:aws:ivs:us-west-2:123456789012:channel/{id}")
}

#[tokio::test]
async fn a_channel_is_private_public_or_absent() {
    let app = TestApp::start().await;
    let minted = app.minted(json!({})).await;
    let token = json!({"token": minted["token"]});
    assert_eq!(all_codes(&app.inspected(&token).await), [""; 0]);

    app.make_public().await;
    let public = app.inspected(&token).await;
    assert_eq!((&public["valid"], all_codes(&public)), (&true.into(), vec!["channel_public"]));
    let url = minted["playbackUrl"].as_str().unwrap().split('?').next().unwrap();
    let bare = app.inspected(&json!({"playbackUrl": url})).await;
    assert_eq!(all_codes(&bare), ["channel_public"], "it plays without a token");

    let key = app.signing_keys().remove(0);
    let mut claims = app.claims();
    claims["aws:channel-arn"] = other("ZyXwVuTs9876").into();
    let absent = app.inspected(&json!({"token": sign(&key, &claims)})).await;
    assert_eq!((&absent["valid"], all_codes(&absent)), (&false.into(), vec!["channel_mismatch"]));
    let detail = absent["findings"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("IVS does not have this channel"), "{detail}");
}

#[tokio::test]
async fn who_may_not_see_channels_cannot_tell_whether_there_is_one() {
    let app = TestApp::start().await;
    app.minted(json!({})).await;
    let key = app.signing_keys().remove(0);
    app.make_public().await;
    let before = app.lookups().await;
    let mut answers = Vec::new();
    for channel in [app.channel.as_str().to_owned(), other("ZyXwVuTs9876")] {
        let mut claims = app.claims();
        claims["aws:channel-arn"] = channel.as_str().into();
        let token = sign(&key, &claims);
        for body in [
            json!({"token": token}),
            json!({"token": token, "channel": channel}),
            json!({"token": token, "edgeError": "Forbidden"}),
        ] {
            let mut answer = app.inspected_by_support(&body).await.json();
            assert!(not_checked(&answer).contains(&"channel"), "{answer}");
            for own in ["tokenId", "claims"] {
                answer[own].take();
            }
            answers.push(answer);
        }
    }
    assert_eq!(answers[..3], answers[3..], "the public channel and the absent one");
    assert_eq!(app.lookups().await, before, "nobody was asked");

    // An alias is as unknown as any other name.
    for name in ["demo", "no-such-alias"] {
        let body = json!({"token": "x", "channel": name});
        let refused = app.inspected_by_support(&body).await;
        refused.problem(404, "channel_not_found");
    }
    let refused = app.inspected_by_support(&json!({"token": "x", "channel": "demo"})).await;
    assert!(!refused.text.contains(app.channel.as_str()), "{}", refused.text);
    let known = app.inspected(&json!({"token": "x", "channel": "demo"})).await;
    assert_eq!(all_codes(&known), ["not_a_jwt"]);
}

#[tokio::test]
async fn what_gives_no_cause_to_ask_asks_nobody() {
    let app = TestApp::start().await;
    app.advance_past_refresh_pause();
    let count = async || {
        let keys = app.calls("ListPlaybackKeyPairs").await;
        (app.lookups().await, keys)
    };
    let before = count().await;
    for body in [
        json!({"edgeError": "Forbidden"}),
        json!({"token": "undefined"}),
        json!({"token": "a.b.c", "edgeError": "origin required"}),
    ] {
        app.inspected(&body).await;
    }
    assert_eq!(count().await, before);
}

#[tokio::test]
async fn many_inspections_ask_as_seldom_as_one() {
    let app = TestApp::start().await;
    let token = app.minted(json!({})).await["token"].clone();
    app.advance_past_refresh_pause();
    let total = |calls: &Value| -> u64 {
        let statuses = calls.as_object().into_iter().flatten();
        statuses.map(|(_, count)| count.as_u64().unwrap()).sum()
    };
    let before = total(&app.calls("ListPlaybackKeyPairs").await);
    let lookups = total(&app.calls("BatchGetChannel").await);
    let body = json!({"token": token});
    let all = (0..50).map(|_| app.inspected(&body));
    for inspection in futures_util::future::join_all(all).await {
        assert_eq!(inspection["valid"], true, "{inspection}");
    }
    assert_eq!(total(&app.calls("ListPlaybackKeyPairs").await), before + 1);
    assert_eq!(total(&app.calls("BatchGetChannel").await), lookups + 1);
}

#[tokio::test]
async fn a_request_names_one_thing_to_inspect() {
    let app = TestApp::start_without_key().await;
    for (body, pointers) in [
        (json!({}), &[""][..]),
        (json!({"token": "a", "playbackUrl": "b"}), &["/playbackUrl"]),
        (json!({"token": 7}), &["/token"]),
        (json!({"token": null}), &["/token"]),
        (json!({"edgeError": [{"error_code": "playback_auth_error"}]}), &["/edgeError"]),
        (json!({"token": "a", "origin": 1, "x": 2}), &["/origin"]),
    ] {
        let answer = app.post("/v1/tokens/inspect", &body).await;
        assert_eq!(answer.pointers(), pointers, "{body}");
    }
    let unknown = json!({"token": "a", "channel": "no-such-alias"});
    app.post("/v1/tokens/inspect", &unknown).await.problem(404, "channel_not_found");
    let twice = app.post_text("/v1/tokens/inspect", r#"{"token":"a","token":"b"}"#).await;
    twice.problem(400, "invalid_json");
}

#[tokio::test]
async fn whatever_is_sent_is_answered() {
    let app = TestApp::start().await;
    let key = stranger(3);
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    for token in [
        "x".repeat(1_000_000),
        ".".repeat(1_000_000),
        super::sign_text(&key, "{}", &format!(r#"{{"exp":{deep}}}"#)),
        super::sign_text(&key, r#"{"alg":["ES384"]}"#, "[]"),
        sign(&key, &json!({"exp": {"a": [1]}, "aws:channel-arn": null, "aws:viewer-id": {}})),
        "\u{0}\u{202e}é.\u{10ffff}.=".to_owned(),
    ] {
        for body in
            [json!({"token": token}), json!({"playbackUrl": token}), json!({"edgeError": token})]
        {
            let inspection = app.inspected(&body).await;
            assert_ne!(inspection["valid"], true);
        }
    }
    let answer = app.post("/v1/tokens/inspect", &json!({"token": "x".repeat(1 << 20)})).await;
    answer.problem(413, "body_too_large");
}
