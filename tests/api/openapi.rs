//! `/openapi.json`: what is served is what is documented.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::{body::Body, http::Request};
use ivs_playback_auth::{
    http::{
        openapi::{Served, document, problems_of},
        problem::ProblemType,
    },
    ivs::arn::{AccountId, Region},
};
use serde_json::{Value, json};

use crate::app::{TestApp, credential};

#[tokio::test]
async fn the_document_names_every_operation() {
    let app = TestApp::start_without_key().await;
    let document = app.get("/openapi.json").await.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let operations: BTreeSet<&str> = operations(&document).map(|(id, _)| id).collect();
    let expected = [
        "cancelRotation",
        "createKeyPair",
        "deleteKeyPair",
        "getChannel",
        "getHealth",
        "getJwks",
        "getKeyPair",
        "getMetrics",
        "getReadiness",
        "getRotation",
        "inspectToken",
        "listKeyPairs",
        "listRotations",
        "mintToken",
        "mintTokenBatch",
        "refreshChannel",
        "revokeViewerSessions",
        "startRotation",
    ];
    assert_eq!(operations, BTreeSet::from(expected));
}

#[tokio::test]
async fn every_operation_documents_the_problems_it_can_answer_with() {
    let app = TestApp::start_without_key().await;
    let document = app.get("/openapi.json").await.json();
    for (id, operation) in operations(&document) {
        for problem in problems_of(id) {
            let spec = problem.spec();
            let response = &operation["responses"][spec.status.to_string()];
            assert!(
                response["content"].get("application/problem+json").is_some()
                    || id == "getReadiness",
                "{id} lacks {}",
                spec.code
            );
        }
    }
    let documented: BTreeSet<&str> = operations(&document)
        .flat_map(|(id, _)| problems_of(id))
        .map(|problem| problem.spec().code)
        .collect();
    let unused: Vec<&str> = ProblemType::ALL
        .iter()
        .map(|problem| problem.spec().code)
        .filter(|code| !documented.contains(code))
        .collect();
    // The former belongs to no operation; the latter is answered by the demo page only.
    assert_eq!(unused, ["method_not_allowed", "rate_limited"]);
}

#[tokio::test]
async fn every_operation_requires_its_documented_scope() {
    let app = TestApp::start().await;
    let document = app.get("/openapi.json").await.json();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let call = |authorization: Option<String>| {
                let uri = path.replace("{channel}", "demo").replace("{keyPair}", "x");
                let request = Request::builder()
                    .method(method.to_uppercase().as_str())
                    .uri(uri.replace("{id}", "x"));
                let request = match authorization {
                    Some(credential) => {
                        request.header("authorization", format!("Bearer {credential}"))
                    }
                    None => request,
                };
                app.send(request.body(Body::empty()).unwrap())
            };
            let security = operation["security"].as_array().unwrap();
            // Without a credential, and with the one that has the scope channels:read alone.
            let anonymous = call(None).await;
            let limited = call(Some(credential('r'))).await;
            let Some(scope) = security.iter().find_map(|it| it["credential"][0].as_str()) else {
                assert_eq!(anonymous.status, 200, "{method} {path}");
                continue;
            };
            if security.contains(&json!({})) {
                assert_eq!(anonymous.status, 200, "{method} {path}");
                continue;
            }
            anonymous.problem(401, "unauthenticated");
            if scope == "channels:read" {
                assert_eq!(limited.status, 200, "{method} {path}");
            } else {
                let detail = limited.problem(403, "forbidden")["detail"].to_string();
                assert!(detail.contains(scope), "{method} {path}: {detail}");
            }
        }
    }
}

#[test]
fn document_describes_the_configured_regions_account_and_lifetime() {
    let regions: Vec<Region> =
        ["eu-west-1", "us-west-2"].map(|region| region.parse().unwrap()).to_vec();
    let account: AccountId = "111122223333".parse().unwrap();
    let max_ttl = Duration::from_secs(1234);
    let served = Served { regions: &regions, account: Some(&account), max_ttl };
    let document: Value = serde_json::from_str(&document(Some(&served))).unwrap();
    let schemas = &document["components"]["schemas"];
    for name in ["CreateKeyPairRequest", "StartRotationRequest", "KeyPairBody"] {
        let region = &schemas[name]["properties"]["region"];
        assert_eq!(region["enum"], json!(["eu-west-1", "us-west-2"]), "{name}");
        assert_eq!(region["minLength"], 1, "{name}");
    }
    assert_eq!(schemas["MintRequest"]["properties"]["ttlSeconds"]["maximum"], 1234);
    let parameters =
        |path: &str, method: &str| document["paths"][path][method]["parameters"].clone();
    for path in ["/v1/key-pairs", "/v1/key-pairs/rotations"] {
        let region = &parameters(path, "get")[0]["schema"]["enum"];
        assert_eq!(*region, json!(["eu-west-1", "us-west-2"]), "{path}");
    }
    for method in ["get", "delete"] {
        let pattern = parameters("/v1/key-pairs/{keyPair}", method)[0]["schema"]["pattern"].clone();
        assert!(
            pattern.as_str().unwrap().contains("ivs:(eu-west-1|us-west-2):111122223333:"),
            "{pattern}"
        );
    }
    assert!(!document.to_string().contains("arn:aws:ivs:us-west-2"), "an example of a region");
}

#[tokio::test]
async fn every_response_documents_its_headers() {
    let app = TestApp::start_without_key().await;
    let document = app.get("/openapi.json").await.json();
    assert_eq!(document["servers"][0]["url"], "/");
    for (id, operation) in operations(&document) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let headers = &response["headers"];
            assert!(headers["x-request-id"].is_object(), "{id} {status}");
            assert_eq!(headers["www-authenticate"].is_object(), status == "401", "{id} {status}");
            assert!(status != "503" || headers["retry-after"].is_object(), "{id} {status}");
        }
    }
}

fn operations(document: &Value) -> impl Iterator<Item = (&str, &Value)> {
    document["paths"].as_object().unwrap().values().flat_map(|item| {
        item.as_object().unwrap().values().filter_map(|operation| {
            operation.get("operationId").map(|id| (id.as_str().unwrap(), operation))
        })
    })
}
