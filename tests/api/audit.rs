//! The audit log, as those who call see it.

use axum::{body::Body, http::Request};
use serde_json::{Value, json};

use crate::app::TestApp;

const DENY: (&str, &str) = ("audit.on_failure", "deny");

#[tokio::test]
async fn a_line_is_there_with_its_token_and_names_the_trace() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let settings = [("audit.sink", "file"), ("audit.path", path.to_str().unwrap()), DENY];
    let app = TestApp::start_with(&settings, true).await;
    let mint = async |traceparent: &str| {
        let request = Request::post("/v1/tokens")
            .header("authorization", format!("Bearer {}", app.credential))
            .header("content-type", "application/json")
            .header("traceparent", traceparent)
            .body(Body::from(r#"{"channel": "demo", "viewerId": "alice"}"#))
            .unwrap();
        let answer = app.send(request).await.json();
        let text = std::fs::read_to_string(&path).unwrap();
        let line: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!((&line["tokenId"], &line["viewerId"]), (&answer["tokenId"], &json!("alice")));
        line["traceId"].clone()
    };
    let [trace, parent] = ["0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"];
    assert_eq!(mint(&format!("00-{trace}-{parent}-01")).await, trace);
    // A later version may have more parts; what breaks the rules names no trace.
    assert_eq!(mint(&format!("cc-{trace}-{parent}-01-more")).await, trace);
    for broken in [
        format!("00-{trace}-{parent}-01-more"),
        format!("ff-{trace}-{parent}-01"),
        format!("00-{}-{parent}-01", trace.to_uppercase()),
        format!("00-{}-{parent}-01", "0".repeat(32)),
        format!("00-{trace}-{}-01", "0".repeat(16)),
        format!("00-{trace}-{parent}"),
        "\"\n".escape_debug().to_string(),
    ] {
        assert_eq!(mint(&broken).await, Value::Null, "{broken}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn no_token_leaves_without_its_line() {
    let settings = [("audit.sink", "file"), ("audit.path", "/dev/full"), DENY];
    let app = TestApp::start_with(&settings, true).await;
    app.mint(json!({})).await.problem(500, "internal");
    let batch = json!({"requests": vec![json!({"channel": "demo"}); 20]});
    let answer = app.post("/v1/tokens/batch", &batch).await.json();
    for item in answer["results"].as_array().unwrap() {
        assert_eq!((&item["error"]["code"], &item["token"]), (&json!("internal"), &Value::Null));
    }
}
