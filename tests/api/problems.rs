//! Every way out of the API is `application/problem+json`.

use std::convert::Infallible;

use axum::{body::Body, http::Request};
use bytes::Bytes;
use serde_json::json;

use crate::app::{TestApp, credential};

const POSTS: [&str; 6] = [
    "/v1/tokens",
    "/v1/tokens/batch",
    "/v1/tokens/inspect",
    "/v1/key-pairs",
    "/v1/channels/demo/refresh",
    "/v1/viewer-sessions/revocations",
];
const GETS: [&str; 4] =
    ["/v1/channels/demo", "/v1/key-pairs", "/v1/key-pairs/00:11", "/v1/key-pairs/x%2Fy"];
const WITH_BODY: [&str; 5] = [
    "/v1/tokens",
    "/v1/tokens/batch",
    "/v1/tokens/inspect",
    "/v1/key-pairs",
    "/v1/viewer-sessions/revocations",
];

#[tokio::test]
async fn nobody_gets_in_without_a_good_credential() {
    let app = TestApp::start_without_key().await;
    let unknown = format!("Bearer ipa_{}_{}", "z".repeat(12), "B".repeat(43));
    let wrong = format!("Bearer ipa_{}_{}", "a".repeat(12), "C".repeat(43));
    let good = format!("Bearer {}", app.credential);
    let routes = POSTS.map(|path| ("POST", path)).into_iter().chain(GETS.map(|path| ("GET", path)));
    for (method, path) in routes {
        let send = |headers: Vec<String>| {
            let mut request = Request::builder().method(method).uri(path);
            for value in headers {
                request = request.header("authorization", value);
            }
            // A body that never ends: whoever reads it before the headers hangs.
            let endless = futures_util::stream::pending::<Result<Bytes, Infallible>>();
            let body = if method == "POST" { Body::from_stream(endless) } else { Body::empty() };
            app.send(request.body(body).unwrap())
        };
        let answer = send(vec![]).await;
        answer.problem(401, "unauthenticated");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{method} {path}");
        for headers in [
            vec![unknown.clone()],
            vec![wrong.clone()],
            vec!["Bearer x".to_owned()],
            vec![good.clone(), good.clone()],
        ] {
            let answer = send(headers).await;
            answer.problem(401, "unauthenticated");
            let challenge = answer.header("www-authenticate").unwrap();
            assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
        }
    }
}

#[tokio::test]
async fn bodies_that_are_no_json_objects_are_told_apart() {
    let app = TestApp::start_without_key().await;
    for path in WITH_BODY {
        for body in ["", "{", "[]", "null", "{\"a\":1,\"a\":2}", "{}}", "\u{feff}{}"] {
            app.post_text(path, body).await.problem(400, "invalid_json");
        }
        let deep = format!("{{\"channel\":{}1{}}}", "[".repeat(5000), "]".repeat(5000));
        app.post_text(path, &deep).await.problem(400, "invalid_json");

        let huge = format!("{{\"channel\":\"{}\"}}", "x".repeat(2 << 20));
        app.post_text(path, &huge).await.problem(413, "body_too_large");

        for media_type in [None, Some("text/plain"), Some("application/x-www-form-urlencoded")] {
            let mut request = app.request("POST", path);
            if let Some(media_type) = media_type {
                request = request.header("content-type", media_type);
            }
            let answer = app.send(request.body(Body::from("{}")).unwrap()).await;
            answer.problem(415, "unsupported_media_type");
        }
        let answer = app.post(path, &json!({"no-such-member": 1})).await;
        assert!(answer.pointers().contains(&"/no-such-member".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let app = TestApp::start_without_key().await;
    for path in ["/", "/v1", "/v1/token", "/v1/tokens/", "/docs/errors/nothing", "/%ff"] {
        app.get(path).await.problem(404, "not_found");
    }
    for (method, path, allow) in [
        ("GET", "/v1/tokens", "POST"),
        ("PUT", "/v1/key-pairs", "GET"),
        ("DELETE", "/healthz", "GET"),
        ("BREW", "/v1/tokens", "POST"),
    ] {
        let answer = app.send(app.request(method, path).body(Body::empty()).unwrap()).await;
        answer.problem(405, "method_not_allowed");
        assert!(answer.header("allow").unwrap().contains(allow), "{method} {path}");
    }
}

#[tokio::test]
async fn a_slow_body_ends_as_a_timeout() {
    // A tenth of it is between the two time-outs, also on a machine that is busy.
    let app = TestApp::start_with(&[("server.request_timeout", "500ms")], false).await;
    for path in WITH_BODY {
        let endless = futures_util::stream::pending::<Result<Bytes, Infallible>>();
        let request = app
            .request("POST", path)
            .header("content-type", "application/json")
            .body(Body::from_stream(endless))
            .unwrap();
        app.send(request).await.problem(408, "request_timeout");
    }
}

#[tokio::test]
async fn a_scope_that_is_missing_is_named() {
    let app = TestApp::start_without_key().await;
    let call = |method: &'static str, path: &'static str| {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", credential('r')));
        app.send(request.body(Body::empty()).unwrap())
    };
    assert_eq!(call("GET", "/v1/channels/demo").await.status, 200);
    for (method, path, scope) in [
        ("POST", "/v1/tokens", "tokens:mint"),
        ("POST", "/v1/tokens/batch", "tokens:mint"),
        ("POST", "/v1/tokens/inspect", "tokens:inspect"),
        ("GET", "/v1/key-pairs", "keys:read"),
        ("POST", "/v1/key-pairs", "keys:write"),
        ("DELETE", "/v1/key-pairs/x", "keys:write"),
    ] {
        let answer = call(method, path).await;
        let detail = answer.problem(403, "forbidden")["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(scope), "{detail}");
    }
}

#[tokio::test]
async fn a_request_id_of_the_caller_is_kept_if_it_is_harmless() {
    let app = TestApp::start_without_key().await;
    let id = |value: &'static str| {
        app.send(
            Request::get("/healthz").header("x-request-id", value).body(Body::empty()).unwrap(),
        )
    };
    assert_eq!(id("abc-1.2_3").await.header("x-request-id"), Some("abc-1.2_3"));
    for harmful in ["", "a b", "a\"b", "é"] {
        assert_ne!(id(harmful).await.header("x-request-id"), Some(harmful));
    }
}

#[tokio::test]
async fn cors_is_on_problems_too_and_a_preflight_needs_no_credential() {
    let origins = "https://app.example.com,https://*.example.org";
    let app = TestApp::start_with(&[("server.cors_origins", origins)], false).await;
    let from = |origin: &'static str| {
        let request = Request::post("/v1/tokens").header("origin", origin);
        app.send(request.body(Body::empty()).unwrap())
    };
    for origin in ["https://app.example.com", "https://a.b.example.org"] {
        let answer = from(origin).await;
        answer.problem(401, "unauthenticated");
        assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
        let exposed = answer.header("access-control-expose-headers").unwrap();
        for name in ["x-request-id", "retry-after", "www-authenticate"] {
            assert!(exposed.contains(name), "{exposed}");
        }
    }
    for origin in
        ["https://example.org", "http://app.example.com", "https://app.example.com.evil.test"]
    {
        assert_eq!(from(origin).await.header("access-control-allow-origin"), None);
    }
    let preflight = Request::builder()
        .method("OPTIONS")
        .uri("/v1/tokens")
        .header("origin", "https://app.example.com")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization, idempotency-key")
        .body(Body::empty())
        .unwrap();
    let answer = app.send(preflight).await;
    assert_eq!(answer.status, 200);
    let allowed = answer.header("access-control-allow-headers").unwrap();
    for name in ["authorization", "content-type", "idempotency-key", "x-request-id"] {
        assert!(allowed.contains(name), "{allowed}");
    }
}
