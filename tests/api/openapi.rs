//! `/openapi.json`: what is served is what is documented.

use std::collections::BTreeSet;

use ivs_playback_auth::http::{openapi::problems_of, problem::ProblemType};
use serde_json::Value;

use crate::app::TestApp;

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
            let response = &operation["responses"][spec.status.as_str()];
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
    // It belongs to no operation.
    assert_eq!(unused, ["method_not_allowed"]);
}

fn operations(document: &Value) -> impl Iterator<Item = (&str, &Value)> {
    document["paths"].as_object().unwrap().values().flat_map(|item| {
        item.as_object().unwrap().values().filter_map(|operation| {
            operation.get("operationId").map(|id| (id.as_str().unwrap(), operation))
        })
    })
}
