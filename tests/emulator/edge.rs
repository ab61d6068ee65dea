//! The multivariant playlist: which tokens get one, and why others are refused.

use std::collections::BTreeMap;

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use p384::ecdsa::SigningKey;
use serde_json::{Value, json};

use crate::support::{Answer, NOW, TestEmulator, key, token};

pub(crate) const UUID: &str = "0b0e5f1e-5b1c-4b4e-9b1e-0b0e5f1e5b1c";
pub(crate) const PAGE: &str = "https://site.example";

/// A live private channel, a key pair, and ways to request its playlist.
pub(crate) struct Edge {
    pub(crate) test: TestEmulator,
    pub(crate) channel: String,
    pub(crate) key: SigningKey,
}

impl Edge {
    pub(crate) async fn start() -> Self {
        Self::on(TestEmulator::start()).await
    }

    pub(crate) async fn on(test: TestEmulator) -> Self {
        let channel = test.channel(&json!({"authorized": true})).await;
        test.stream(Method::PUT, &channel).await;
        let key = key(1);
        test.import(&key).await;
        Self { test, channel, key }
    }

    pub(crate) fn path(&self) -> String {
        let id = self.channel.rsplit_once('/').unwrap().1;
        format!("/api/video/v1/us-west-2.123456789012.channel.{id}.m3u8")
    }

    /// Returns the minimal claims that play, merged with these; `null` removes a claim.
    pub(crate) fn claims(&self, more: &Value) -> Value {
        let mut claims = json!({"aws:channel-arn": self.channel, "exp": NOW + 300});
        for (name, value) in more.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        claims
    }

    pub(crate) async fn ask(&self, method: Method, query: &str, origin: Option<&str>) -> Answer {
        let mut request = Request::builder().method(method).uri(format!("{}{query}", self.path()));
        request = request.header("host", "127.0.0.1:8090");
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        self.test.send(request.body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn play(&self, more: &Value, origin: Option<&str>) -> Answer {
        let token = token(&self.key, &self.claims(more));
        self.ask(Method::GET, &format!("?token={token}"), origin).await
    }
}

#[tokio::test]
async fn valid_token_gets_multivariant_playlist() {
    let edge = Edge::start().await;
    let answer = edge.play(&json!({"iat": NOW}), None).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    assert_eq!(answer.header("content-type"), Some("application/vnd.apple.mpegurl"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert!(answer.body.starts_with("#EXTM3U\n"));
    assert!(!answer.body.contains("token"));
    let urls: Vec<&str> = answer.body.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(urls.len(), 3);
    assert!(urls.iter().all(|url| url.starts_with("http://127.0.0.1:8090/v1/playlist/")));
}

#[tokio::test]
async fn public_channel_plays_without_token_and_ignores_one() {
    let edge = Edge::start().await;
    let channel = edge.test.channel(&json!({})).await;
    edge.test.stream(Method::PUT, &channel).await;
    let edge = Edge { channel, ..edge };
    for query in ["", "?token=x"] {
        let answer = edge.ask(Method::GET, query, Some(PAGE)).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    }
}

#[tokio::test]
async fn each_refusal_has_body_of_ivs_and_emulator_reason() {
    let edge = Edge::start().await;
    let other = format!("{}x", edge.channel);
    let six = [PAGE; 6].join(",");
    for (reason, claims) in [
        ("channel_mismatch", json!({"aws:channel-arn": other})),
        ("channel_arn_missing", json!({"aws:channel-arn": null})),
        ("claim_without_aws_prefix", json!({"aws:channel-arn": null, "channel-arn": edge.channel})),
        ("exp_missing", json!({"exp": null})),
        ("exp_not_integer", json!({"exp": "soon"})),
        ("expired", json!({"exp": NOW})),
        ("ttl_over_600", json!({"exp": NOW + 601, "aws:viewer-id": "v"})),
        ("ttl_over_600", json!({"exp": NOW + 601, "aws:single-use-uuid": UUID})),
        ("exp_in_milliseconds", json!({"exp": (NOW + 60) * 1000, "aws:viewer-id": "v"})),
        ("claim_type", json!({"aws:maximum-resolution": "UHD"})),
        ("viewer_id_length", json!({"aws:viewer-id": "v".repeat(41)})),
        ("origin_invalid", json!({"aws:access-control-allow-origin": "https://site.example/#/"})),
        ("origin_not_allowed", json!({"aws:access-control-allow-origin": "https://x.example"})),
        ("strict_without_origin", json!({"aws:strict-origin-enforcement": true})),
        (
            "too_many_strict_origins",
            json!({"aws:strict-origin-enforcement": true, "aws:access-control-allow-origin": six}),
        ),
    ] {
        let answer = edge.play(&claims, Some(PAGE)).await;
        assert_eq!(answer.reason(), reason, "{claims}");
        let body = answer.json();
        assert_eq!(body[0]["error_code"], "invalid_playback_auth_token");
        assert_eq!(body[0]["url"], edge.path());
        assert!(!answer.body.contains("ey"), "the token is not repeated");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
}

#[tokio::test]
async fn several_or_malformed_tokens_are_refused() {
    let edge = Edge::start().await;
    let good = token(&edge.key, &edge.claims(&json!({})));
    for (query, reason) in [
        (String::new(), "token_missing"),
        ("?".to_owned(), "token_missing"),
        ("?token=".to_owned(), "token_missing"),
        (format!("?Token={good}"), "token_missing"),
        (format!("?token.m3u8?token={good}"), "token_missing"),
        (format!("?token={good}&token={good}"), "not_a_jwt"),
        (format!("?token={good}.x"), "not_a_jwt"),
        (format!("?token={good}="), "not_a_jwt"),
        (format!("?token={good}%20"), "not_a_jwt"),
        (format!("?token={}", "a".repeat(50_000)), "not_a_jwt"),
        ("?token=%ff%fe.x.y".to_owned(), "not_a_jwt"),
    ] {
        let answer = edge.ask(Method::GET, &query, None).await;
        assert_eq!(answer.reason(), reason, "{query:.60}");
        let text = "token contains an invalid number of segments";
        assert_eq!(answer.json()[0]["error"], text);
    }
    let encoded = good.replace('.', "%2E");
    let answer = edge.ask(Method::GET, &format!("?a=b&token={encoded}"), None).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn only_existing_pairs_of_same_region_verify() {
    let edge = Edge::start().await;
    let stranger = token(&key(9), &edge.claims(&json!({})));
    let ask = async |token: &str| edge.ask(Method::GET, &format!("?token={token}"), None).await;
    assert_eq!(ask(&stranger).await.reason(), "bad_signature");
    let arn = edge.test.import(&key(9)).await;
    assert_eq!(ask(&stranger).await.status, StatusCode::OK);
    edge.test.call("DeletePlaybackKeyPair", &json!({"arn": arn})).await;
    assert_eq!(ask(&stranger).await.reason(), "bad_signature");
}

#[tokio::test]
async fn token_plays_until_exp() {
    let edge = Edge::start().await;
    let claims = json!({"exp": NOW + 600, "aws:viewer-id": "v"});
    assert_eq!(edge.play(&claims, None).await.status, StatusCode::OK);
    edge.test.advance(599);
    assert_eq!(edge.play(&claims, None).await.status, StatusCode::OK);
    edge.test.advance(1);
    assert_eq!(edge.play(&claims, None).await.reason(), "expired");
}

#[tokio::test]
async fn origins_bind_browsers_and_strict_origins_bind_all_players() {
    let edge = Edge::start().await;
    let claims =
        json!({"aws:access-control-allow-origin": "https://*.site.example,https://site.example"});
    let answer = edge.play(&claims, Some(PAGE)).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE));
    assert_eq!(answer.header("vary"), Some("Origin"));
    let answer = edge.play(&claims, Some("https://www.site.example")).await;
    assert_eq!(answer.status, StatusCode::OK);
    let unnamed = edge.play(&claims, None).await;
    assert_eq!(unnamed.status, StatusCode::OK);
    assert_eq!(unnamed.header("access-control-allow-origin"), None);
    let refused = edge.play(&claims, Some("https://evil.example")).await;
    assert_eq!(refused.reason(), "origin_not_allowed");
    assert_eq!(refused.header("access-control-allow-origin"), None);
    let mut strict = claims;
    strict["aws:strict-origin-enforcement"] = json!(true);
    assert_eq!(edge.play(&strict, Some(PAGE)).await.status, StatusCode::OK);
    let missing = edge.play(&strict, None).await;
    assert_eq!(missing.reason(), "origin_missing");
    assert_eq!(missing.json()[0]["error"], "origin required");
    let any = json!({"aws:access-control-allow-origin": "*"});
    let answer = edge.play(&any, Some("null")).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
}

#[tokio::test]
async fn preflight_matches_response() {
    let edge = Edge::start().await;
    let claims = edge.claims(&json!({
        "aws:access-control-allow-origin": PAGE, "aws:single-use-uuid": UUID,
    }));
    let query = format!("?token={}", token(&edge.key, &claims));
    for _ in 0..2 {
        let answer = edge.ask(Method::OPTIONS, &query, Some(PAGE)).await;
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::NO_CONTENT, ""));
        assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE));
        assert!(answer.header("access-control-allow-methods").unwrap().contains("GET"));
    }
    let answer = edge.ask(Method::OPTIONS, &query, Some("https://evil.example")).await;
    assert_eq!(answer.header("access-control-allow-origin"), None);
    let answer = edge.ask(Method::GET, &query, Some(PAGE)).await;
    assert_eq!(answer.status, StatusCode::OK, "a preflight spends nothing");
}

#[tokio::test]
async fn revocation_refuses_only_its_viewer() {
    let edge = Edge::start().await;
    let viewer = async |id: &str, version: Option<i64>| {
        let mut claims = json!({"aws:viewer-id": id});
        if let Some(version) = version {
            claims["aws:viewer-session-version"] = json!(version);
        }
        edge.play(&claims, None).await
    };
    let revoke = async |version: Option<i64>| {
        let mut input = json!({"channelArn": edge.channel, "viewerId": "v"});
        if let Some(version) = version {
            input["viewerSessionVersionsLessThanOrEqualTo"] = json!(version);
        }
        let answer = edge.test.call("StartViewerSessionRevocation", &input).await;
        assert_eq!(answer.status, StatusCode::OK);
    };
    assert_eq!(viewer("v", None).await.status, StatusCode::OK);
    revoke(None).await;
    assert_eq!(viewer("v", None).await.reason(), "session_revoked");
    assert_eq!(viewer("v", Some(0)).await.reason(), "session_revoked");
    assert_eq!(viewer("v", Some(1)).await.status, StatusCode::OK);
    assert_eq!(viewer("w", None).await.status, StatusCode::OK);
    revoke(Some(7)).await;
    revoke(Some(2)).await;
    assert_eq!(viewer("v", Some(7)).await.reason(), "session_revoked");
    assert_eq!(viewer("v", Some(i64::from(i32::MAX) + 1)).await.status, StatusCode::OK);
    assert_eq!(edge.play(&json!({}), None).await.status, StatusCode::OK);
}

#[tokio::test]
async fn single_use_is_spent_only_by_first_success() {
    let edge = Edge::start().await;
    let claims = json!({"aws:single-use-uuid": UUID, "aws:access-control-allow-origin": PAGE});
    let refused = edge.play(&claims, Some("https://evil.example")).await;
    assert_eq!(refused.reason(), "origin_not_allowed");
    edge.test.stream(Method::DELETE, &edge.channel).await;
    assert_eq!(edge.play(&claims, Some(PAGE)).await.status, StatusCode::NOT_FOUND);
    edge.test.stream(Method::PUT, &edge.channel).await;
    let query = format!("?token={}", token(&edge.key, &edge.claims(&claims)));
    let head = edge.ask(Method::HEAD, &query, Some(PAGE)).await;
    assert_eq!((head.status, head.body.as_str()), (StatusCode::OK, ""));
    assert_eq!(edge.play(&claims, Some(PAGE)).await.status, StatusCode::OK);
    let again = edge.play(&claims, Some(PAGE)).await;
    assert_eq!(again.reason(), "single_use_spent");
    assert_eq!(again.json()[0]["error_code"], "playback_auth_error");
    let upper = json!({"aws:single-use-uuid": UUID.to_uppercase()});
    assert_eq!(edge.play(&upper, None).await.reason(), "single_use_spent");
    edge.test.stream(Method::DELETE, &edge.channel).await;
    assert_eq!(edge.play(&claims, Some(PAGE)).await.reason(), "single_use_spent");
    edge.test.stream(Method::PUT, &edge.channel).await;
    let Edge { test, channel, key } = edge;
    let edge = Edge { test: test.restart(), channel, key };
    assert_eq!(edge.play(&claims, Some(PAGE)).await.reason(), "single_use_spent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_many_concurrent_single_uses_plays() {
    let edge = std::sync::Arc::new(Edge::start().await);
    let query =
        format!("?token={}", token(&edge.key, &edge.claims(&json!({"aws:single-use-uuid": UUID}))));
    let tracker = tokio_util::task::TaskTracker::new();
    let players: Vec<_> = (0..20)
        .map(|_| {
            let (edge, query) = (std::sync::Arc::clone(&edge), query.clone());
            tracker.spawn(async move { edge.ask(Method::GET, &query, None).await.status })
        })
        .collect();
    let mut seen = BTreeMap::new();
    for player in players {
        *seen.entry(player.await.unwrap().as_u16()).or_insert(0) += 1;
    }
    assert_eq!(seen, BTreeMap::from([(200, 1), (403, 19)]));
}

#[tokio::test]
async fn unknown_channel_is_404_before_token_is_read() {
    let edge = Edge::start().await;
    let good = token(&edge.key, &edge.claims(&json!({})));
    let path = edge.path();
    for path in [
        path.replace(".m3u8", "x.m3u8"),
        path.replace("us-west-2", "eu-west-1"),
        path.replace("123456789012", "210987654321"),
        path.replace(".m3u8", ""),
        path.replace("/v1/", "/v1//"),
        path.replace("/v1/", "/v1/../v1/"),
        path.replace("/v1/", "/v1/%2e%2e/v1/"),
        path.replace(".channel.", "%2Echannel."),
        format!("{path}/"),
        format!("{path}%00"),
    ] {
        let uri = format!("{path}?token={good}");
        let request = Request::builder().uri(uri).body(Body::empty()).unwrap();
        let answer = edge.test.send(request).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert!(!answer.body.contains(&good));
    }
    edge.test.stream(Method::DELETE, &edge.channel).await;
    assert_eq!(edge.play(&json!({}), None).await.status, StatusCode::NOT_FOUND);
    assert_eq!(edge.play(&json!({"exp": NOW}), None).await.reason(), "expired");
    edge.test.stream(Method::PUT, &edge.channel).await;
    let post = edge.ask(Method::POST, "", None).await;
    assert_eq!(post.status, StatusCode::METHOD_NOT_ALLOWED);
}
