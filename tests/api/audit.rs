//! The audit log, as those who call see it.

use axum::{body::Body, http::Request};
use serde_json::{Value, json};

use crate::app::{TestApp, credential};

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

/// A file that the audit goes to, and what was recorded.
struct AuditFile {
    folder: tempfile::TempDir,
}

impl AuditFile {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// A sink that can be written again once [`AuditFile::repair`] was called.
    fn full() -> Self {
        let this = Self::new();
        std::os::unix::fs::symlink("/dev/full", this.path()).unwrap();
        this
    }

    fn repair(&self) {
        std::fs::remove_file(self.path()).unwrap();
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("audit.jsonl")
    }

    async fn app(&self, on_failure: &str, with_key: bool) -> TestApp {
        let path = self.path().display().to_string();
        let settings =
            [("audit.sink", "file"), ("audit.path", &path), ("audit.on_failure", on_failure)];
        TestApp::start_with(&settings, with_key).await
    }

    fn records(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn last(&self) -> Value {
        self.records().pop().unwrap()
    }
}

async fn readiness(app: &TestApp) -> (u16, Value, Value) {
    let answer = app.get("/readyz").await;
    let body = answer.json();
    let finding = &body["regions"]["us-west-2"]["findings"][0]["code"];
    (answer.status.as_u16(), body["status"].clone(), finding.clone())
}

#[tokio::test]
async fn full_disk_under_deny_refuses_mints_and_makes_unready_until_it_has_room() {
    let file = AuditFile::full();
    let app = file.app("deny", true).await;
    let refused = app.mint(json!({})).await;
    refused.problem(503, "audit_unavailable");
    assert_eq!(refused.header("retry-after"), Some("5"));
    let batch = json!({"requests": vec![json!({"channel": "demo"}); 20]});
    let answer = app.post("/v1/tokens/batch", &batch).await.json();
    for item in answer["results"].as_array().unwrap() {
        let (error, token) = (&item["error"], &item["token"]);
        assert_eq!((&error["code"], token), (&json!("audit_unavailable"), &Value::Null));
        assert_eq!(error["retryAfter"], 5);
    }
    app.post("/v1/key-pairs", &json!({})).await.problem(503, "audit_unavailable");
    // A refusal that cannot be recorded is one of the audit.
    app.post("/v1/tokens", &json!({"channel": 7})).await.problem(503, "audit_unavailable");
    let unready = (503, json!("unready"), json!("audit_unavailable"));
    assert_eq!(readiness(&app).await, unready);
    let failing = "ivs_playback_auth_audit_failing 1";
    assert!(app.get("/metrics").await.text.contains(failing));

    file.repair();
    while readiness(&app).await.0 != 200 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    app.minted(json!({"viewerId": "alice"})).await;
    assert_eq!(file.last()["viewerId"], "alice");
    let metrics = app.get("/metrics").await.text;
    assert!(metrics.contains("ivs_playback_auth_audit_failing 0"), "{metrics}");
    assert!(metrics.contains("audit_records_total{outcome=\"written\"}"), "{metrics}");
}

#[tokio::test]
async fn full_disk_under_warn_mints_and_degrades() {
    let file = AuditFile::full();
    let app = file.app("warn", true).await;
    app.minted(json!({})).await;
    let degraded = (200, json!("degraded"), json!("audit_unavailable"));
    while readiness(&app).await != degraded {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    app.minted(json!({"viewerId": "alice"})).await;
    file.repair();
    assert!(app.app.api().audit.flush(std::time::Duration::from_mins(1)).await);
    assert_eq!(file.last()["viewerId"], "alice");
}

#[tokio::test]
async fn every_operation_documents_that_its_refusal_may_fail_to_be_recorded() {
    let app = AuditFile::full().app("deny", true).await;
    let document = app.get("/openapi.json").await.json();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let security = operation["security"].as_array().unwrap();
            let scope = security.iter().find_map(|scheme| scheme["credential"][0].as_str());
            let Some(scope) = scope.filter(|_| !security.contains(&json!({}))) else { continue };
            let without_scope = credential(if scope == "channels:read" { 'i' } else { 'r' });
            let request = Request::builder()
                .method(method.to_uppercase().as_str())
                .uri(path.replace(['{', '}'], ""))
                .header("authorization", format!("Bearer {without_scope}"))
                .body(Body::empty())
                .unwrap();
            app.send(request).await.problem(503, "audit_unavailable");
            let codes = operation["responses"]["503"]["x-problem-codes"].as_array().unwrap();
            assert!(codes.contains(&json!("audit_unavailable")), "{method} {path}: {codes:?}");
        }
    }
}

/// A viewer who must go, and a key that leaked, do not wait for a disk.
#[tokio::test]
async fn full_disk_under_deny_stops_neither_revocations_nor_emergencies() {
    let file = AuditFile::full();
    let app = file.app("deny", true).await;
    let sessions = json!({"viewerSessions": [{"channel": "demo", "viewerId": "alice"}]});
    let revoked = app.post("/v1/viewer-sessions/revocations", &sessions).await.json();
    assert_eq!(revoked["revoked"], 1);
    let emergency = json!({"mode": "emergency"});
    assert_eq!(app.post("/v1/key-pairs/rotations", &emergency).await.status, 202);
    app.post("/v1/key-pairs/rotations", &json!({})).await.problem(503, "audit_unavailable");
}

#[tokio::test]
async fn refusals_of_known_clients_are_recorded_and_those_of_strangers_are_not() {
    let file = AuditFile::new();
    let app = file.app("deny", false).await;
    let stranger = Request::get("/v1/key-pairs").body(Body::empty()).unwrap();
    app.send(stranger).await.problem(401, "unauthenticated");
    let limited = Request::delete("/v1/key-pairs/x")
        .header("authorization", format!("Bearer {}", credential('r')))
        .header("x-request-id", "request-7")
        .body(Body::empty())
        .unwrap();
    app.send(limited).await.problem(403, "forbidden");
    app.post("/v1/tokens", &json!({"channel": "demo", "ttl": 1})).await;

    let [forbidden, mint] = file.records().try_into().unwrap();
    let process = forbidden["process"].clone();
    assert_eq!(
        forbidden,
        json!({
            "ts": forbidden["ts"], "level": "info", "event": "refusal", "kind": "refusal",
            "process": process, "seq": 1, "requestId": "request-7", "clientId": "rrrrrrrrrrrr",
            "clientName": forbidden["clientName"], "method": "DELETE",
            "route": "/v1/key-pairs/{key_pair}", "outcome": "refused", "code": "forbidden",
        })
    );
    // The decision on a mint is the only record of it.
    assert_eq!((&mint["kind"], &mint["outcome"]), (&json!("mint"), &json!("refused")));
    assert_eq!((&mint["seq"], &mint["process"]), (&json!(2), &process));
}

#[tokio::test]
async fn changes_of_key_pairs_and_rotations_name_their_client_and_request() {
    let file = AuditFile::new();
    let app = file.app("deny", true).await;
    let pair = app.post("/v1/key-pairs", &json!({})).await;
    let created = file.last();
    assert_eq!(
        (&created["kind"], &created["event"]),
        (&json!("key_change"), &json!("key_pair_created"))
    );
    assert_eq!(created["clientId"], "aaaaaaaaaaaa");
    assert_eq!(created["requestId"].as_str(), pair.header("x-request-id"));
    assert_eq!(created["keyPairArn"], pair.json()["arn"]);
    assert_eq!(created["keyFingerprint"], pair.json()["fingerprint"]);

    let path =
        format!("/v1/key-pairs/{}", created["keyPairArn"].as_str().unwrap().replace('/', "%2F"));
    let delete = Request::delete(path)
        .header("authorization", format!("Bearer {}", app.credential))
        .body(Body::empty())
        .unwrap();
    let deleted = app.send(delete).await;
    assert_eq!(deleted.status, 204, "{deleted:?}");
    let record = file.last();
    assert_eq!(record["event"], "key_pair_deleted");
    assert_eq!(record["keyPairArn"], created["keyPairArn"]);
    assert_eq!(record["requestId"].as_str(), deleted.header("x-request-id"));

    let rotation = app.post("/v1/key-pairs/rotations", &json!({})).await.json();
    let record = file.last();
    assert_eq!(
        (&record["event"], &record["mode"]),
        (&json!("rotation_started"), &json!("graceful"))
    );
    assert_eq!(record["rotationId"], rotation["id"]);
    // What the manager does by itself, from the first key on.
    app.app.api().key_managers.values().next().unwrap().reconcile().await;
    app.app.api().audit.flush(std::time::Duration::from_mins(1)).await;
    let steps: Vec<_> =
        file.records().into_iter().filter(|record| record["event"] == "rotation_step").collect();
    assert!(steps.len() >= 3, "{steps:?}");
    for step in steps {
        assert_eq!((&step["kind"], &step["clientId"]), (&json!("key_change"), &Value::Null));
        assert!(step["step"].is_string() && step["reason"].is_string(), "{step}");
    }
}
