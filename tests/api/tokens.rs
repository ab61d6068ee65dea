//! `POST /v1/tokens` and its batch: every rule of the contract's table, and the way to the edge.

use serde_json::{Value, json};

use crate::app::{START, TestApp};

#[tokio::test]
async fn a_plain_token_plays() {
    let app = TestApp::start().await;
    let minted = app.minted(json!({})).await;
    assert_eq!(minted["issuedAt"], START.to_string());
    assert_eq!(minted["expiresIn"], 300);
    assert_eq!(minted["expiresAt"], "2026-11-22T09:00:00Z");
    assert_eq!(minted["refreshAfter"], "2026-11-22T08:58:20Z");
    assert_eq!(minted["channelArn"], app.channel.as_str());
    assert_eq!(minted["channelFreshness"], "fresh");
    assert_eq!(minted["warnings"], json!([]));
    assert_eq!(minted["tokenId"].as_str().unwrap().len(), 16);
    let played = app.play(minted["playbackUrl"].as_str().unwrap(), None).await;
    assert!(played.text.starts_with("#EXTM3U"), "{played:?}");
}

#[tokio::test]
async fn a_warm_mint_asks_nobody() {
    let app = TestApp::start().await;
    app.minted(json!({})).await;
    // Neither IVS nor the key store is there any more.
    app.stop_emulator();
    std::fs::remove_dir_all(app.keys_folder()).unwrap();
    let minted = app.minted(json!({"viewerId": "a"})).await;
    assert_eq!(minted["channelFreshness"], "fresh");
}

#[tokio::test]
async fn nothing_that_holds_a_token_may_be_cached() {
    let app = TestApp::start().await;
    for (path, body) in [
        ("/v1/tokens", json!({"channel": "demo"})),
        ("/v1/tokens/batch", json!({"requests": [{"channel": "demo"}]})),
        ("/v1/tokens/inspect", json!({"token": "a.b.c"})),
    ] {
        let answer = app.post(path, &body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
    }
}

#[tokio::test]
async fn each_rule_is_refused_at_its_member() {
    let app = TestApp::start().await;
    let long = "x".repeat(41);
    let cases: &[(Value, &[&str])] = &[
        (json!({}), &["/channel"]),
        (json!({"channel": 5}), &["/channel"]),
        (json!({"channel": null}), &["/channel"]),
        (json!({"channel": "demo", "viewerId": ""}), &["/viewerId"]),
        (json!({"channel": "demo", "viewerId": long}), &["/viewerId"]),
        (json!({"channel": "demo", "viewerId": null}), &["/viewerId"]),
        (json!({"channel": "demo", "viewerId": 7}), &["/viewerId"]),
        (json!({"channel": "demo", "viewerSessionVersion": 1}), &["/viewerSessionVersion"]),
        (
            json!({"channel": "demo", "viewerId": "a", "viewerSessionVersion": -1}),
            &["/viewerSessionVersion"],
        ),
        (
            json!({"channel": "demo", "viewerId": "a", "viewerSessionVersion": 2_147_483_648_u64}),
            &["/viewerSessionVersion"],
        ),
        (
            json!({"channel": "demo", "viewerId": "a", "viewerSessionVersion": 1.5}),
            &["/viewerSessionVersion"],
        ),
        (
            json!({"channel": "demo", "viewerId": "a", "viewerSessionVersion": "1"}),
            &["/viewerSessionVersion"],
        ),
        (json!({"channel": "demo", "allowedOrigins": []}), &["/allowedOrigins"]),
        (json!({"channel": "demo", "allowedOrigins": "https://a.b"}), &["/allowedOrigins"]),
        (json!({"channel": "demo", "allowedOrigins": ["https://a.b/"]}), &["/allowedOrigins/0"]),
        (
            json!({"channel": "demo", "allowedOrigins": ["https://a.b", "ftp://a"]}),
            &["/allowedOrigins/1"],
        ),
        (json!({"channel": "demo", "allowedOrigins": ["https://u@a.b"]}), &["/allowedOrigins/0"]),
        (json!({"channel": "demo", "allowedOrigins": ["https://a,b"]}), &["/allowedOrigins/0"]),
        (json!({"channel": "demo", "allowedOrigins": ["https://a b"]}), &["/allowedOrigins/0"]),
        (json!({"channel": "demo", "allowedOrigins": ["a.b"]}), &["/allowedOrigins/0"]),
        (
            json!({"channel": "demo", "strictOriginEnforcement": true}),
            &["/strictOriginEnforcement"],
        ),
        (json!({"channel": "demo", "singleUse": "yes"}), &["/singleUse"]),
        (json!({"channel": "demo", "maximumResolution": "4K"}), &["/maximumResolution"]),
        (json!({"channel": "demo", "ttlSeconds": 0}), &["/ttlSeconds"]),
        (json!({"channel": "demo", "ttlSeconds": 3601}), &["/ttlSeconds"]),
        (json!({"channel": "demo", "ttlSeconds": 601, "singleUse": true}), &["/ttlSeconds"]),
        (json!({"channel": "demo", "ttlSeconds": 601, "viewerId": "a"}), &["/ttlSeconds"]),
        (json!({"channel": "demo", "ttlSeconds": 300.5}), &["/ttlSeconds"]),
        (json!({"channel": "demo", "viewer_id": "a"}), &["/viewer_id"]),
    ];
    for (body, pointers) in cases {
        assert_eq!(&app.mint(body.clone()).await.pointers(), pointers, "{body}");
    }
}

#[tokio::test]
async fn what_is_asked_in_the_query_is_not_unheard() {
    let app = TestApp::start_without_key().await;
    for (path, body) in [
        ("/v1/tokens?viewerId=bob", json!({"channel": "demo"})),
        ("/v1/tokens/batch?x", json!({"requests": [{"channel": "demo"}]})),
        ("/v1/key-pairs/rotations?mode=emergency", json!({})),
        ("/v1/key-pairs?name=a", json!({})),
        ("/v1/viewer-sessions/revocations?denyFor=60", json!({"viewerSessions": [{}]})),
    ] {
        let answer = app.post(path, &body).await;
        let name = path.split_once('?').unwrap().1.split('=').next().unwrap();
        assert_eq!(answer.pointers(), [format!("?{name}")], "{path}");
    }
}

#[tokio::test]
async fn every_broken_rule_is_reported_at_once() {
    let app = TestApp::start().await;
    let mut body = json!({
        "channel": "nobody", "viewerId": "", "viewerSessionVersion": -1,
        "allowedOrigins": ["https://a/b", "https://a.b", "ftp://c"], "singleUse": true,
        "maximumResolution": "UHD", "ttlSeconds": -5
    });
    let rules = [
        "/allowedOrigins/0",
        "/allowedOrigins/2",
        "/channel",
        "/maximumResolution",
        "/ttlSeconds",
        "/viewerId",
        "/viewerSessionVersion",
    ];
    assert_eq!(app.mint(body.clone()).await.pointers(), rules);
    // A body without the shape of its schema has its first fault reported alone.
    body["extra"] = json!({});
    assert_eq!(app.mint(body.clone()).await.pointers(), ["/extra"]);
    body["allowedOrigins"][1] = json!(3);
    assert_eq!(app.mint(body).await.pointers(), ["/allowedOrigins/1"]);
}

#[tokio::test]
async fn wrong_type_is_not_judged_as_if_the_member_were_absent() {
    let app = TestApp::start().await;
    let cases: &[(Value, &[&str])] = &[
        (json!({"allowedOrigins": [1, "bad origin"]}), &["/allowedOrigins/0"]),
        (json!({"allowedOrigins": [1]}), &["/allowedOrigins/0"]),
        (json!({"allowedOrigins": "x", "strictOriginEnforcement": true}), &["/allowedOrigins"]),
        (json!({"viewerId": ["x"], "viewerSessionVersion": 5}), &["/viewerId"]),
        (json!({"channel": "nobody", "viewerId": ""}), &["/channel", "/viewerId"]),
    ];
    for (body, pointers) in cases {
        let mut body = body.clone();
        if body.get("channel").is_none() {
            body["channel"] = json!("demo");
        }
        assert_eq!(&app.mint(body.clone()).await.pointers(), pointers, "{body}");
    }
}

#[tokio::test]
async fn an_answer_is_no_multiple_of_its_request() {
    let app = TestApp::start().await;
    let entries = vec![1; 100_000];
    let answer = app.mint(json!({"channel": "demo", "allowedOrigins": entries})).await;
    answer.problem(422, "invalid_request");
    assert!(answer.text.len() < 50_000, "{}", answer.text.len());
}

#[tokio::test]
async fn error_of_the_600_s_rule_is_that_of_the_contract() {
    let app = TestApp::start().await;
    let answer = app.mint(json!({"channel": "demo", "viewerId": "a", "ttlSeconds": 3600})).await;
    let detail = answer.problem(422, "invalid_request")["errors"][0]["detail"].clone();
    assert_eq!(
        detail,
        "ttlSeconds 3600 exceeds 600, the limit for a token with viewerId or singleUse. Omit it to \
         use the default."
    );
    let exactly = app.minted(json!({"viewerId": "a", "ttlSeconds": 600})).await;
    assert_eq!(exactly["expiresIn"], 600);
}

#[tokio::test]
async fn the_default_lifetime_leaves_room_below_600_s() {
    let app = TestApp::start_with(&[("tokens.default_ttl", "30m")], true).await;
    assert_eq!(app.minted(json!({})).await["expiresIn"], 1800);
    assert_eq!(app.minted(json!({"viewerId": "a"})).await["expiresIn"], 590);
    assert_eq!(app.minted(json!({"singleUse": true})).await["expiresIn"], 590);
    assert_eq!(app.minted(json!({"singleUse": false})).await["expiresIn"], 1800);
}

#[tokio::test]
async fn a_channel_is_refused_by_what_is_wrong_with_it() {
    let app = TestApp::start().await;
    for absent in ["nobody", "", "arn", "arn:aws:ivs:us-west-2:123456789012:channel/AAAAAAAAAAAA"] {
        let answer = app.mint(json!({"channel": absent})).await;
        answer.problem(404, "channel_not_found");
    }
    for other in [
        "arn:aws:ivs:us-west-2:123456789012:stream-key/AAAAAAAAAAAA",
        "arn:aws:ivs:eu-west-1:123456789012:channel/AAAAAAAAAAAA",
        "arn:aws:ivs:us-west-2:111111111111:channel/AAAAAAAAAAAA",
    ] {
        assert_eq!(app.mint(json!({"channel": other})).await.pointers(), ["/channel"], "{other}");
    }
    let detail = |answer: Value| answer["errors"][0]["detail"].as_str().unwrap().to_owned();
    let answer =
        app.mint(json!({"channel": "arn:aws:ivs:eu-west-1:123456789012:channel/AAAA"})).await;
    assert_eq!(
        detail(answer.json()),
        "The channel is in eu-west-1; this service covers us-west-2. Add it to ivs.regions."
    );
    let answer =
        app.mint(json!({"channel": "arn:aws:ivs:us-west-2:111111111111:channel/AAAA"})).await;
    assert_eq!(
        detail(answer.json()),
        "This channel belongs to 111111111111; this service signs for 123456789012. Its tokens \
         could never play there."
    );
}

#[tokio::test]
async fn without_a_key_nothing_is_minted_and_the_way_out_is_named() {
    let app = TestApp::start_without_key().await;
    let answer = app.mint(json!({"channel": "demo"})).await;
    let body = answer.problem(503, "no_active_key");
    assert!(body["detail"].as_str().unwrap().contains("keys rotate"), "{body}");
    assert!(answer.header("retry-after").is_some());
    app.make_first_key().await;
    app.minted(json!({})).await;
}

#[tokio::test]
async fn a_batch_answers_each_item_in_its_place() {
    let app = TestApp::start().await;
    let answer = app
        .post(
            "/v1/tokens/batch",
            &json!({"requests": [
                {"channel": "demo", "viewerId": "a"},
                {"channel": "demo", "viewerId": ""},
                {"channel": "nobody"},
                5,
                {"channel": "demo"}
            ]}),
        )
        .await;
    assert_eq!(answer.status, 200);
    let body = answer.json();
    let results = body["results"].as_array().unwrap();
    assert_eq!(results.len(), 5);
    assert_eq!(results[0]["viewerId"], "a");
    assert_eq!(results[1]["error"]["code"], "invalid_request");
    assert_eq!(results[1]["error"]["errors"][0]["pointer"], "/viewerId");
    assert_eq!(results[2]["error"]["code"], "channel_not_found");
    assert_eq!(results[3]["error"]["code"], "invalid_request");
    assert!(results[4]["token"].is_string());

    for bad in [
        json!({}),
        json!({"requests": []}),
        json!({"requests": {}}),
        json!({"requests": vec![json!({"channel": "demo"}); 501]}),
    ] {
        assert_eq!(app.post("/v1/tokens/batch", &bad).await.pointers(), ["/requests"]);
    }
    let most = json!({"requests": vec![json!({"channel": "demo"}); 500]});
    let answer = app.post("/v1/tokens/batch", &most).await.json();
    assert!(answer["results"].as_array().unwrap().iter().all(|it| it["token"].is_string()));
}

#[tokio::test]
async fn origins_that_make_a_token_over_8_kib_are_refused() {
    let app = TestApp::start().await;
    let origins = |count: usize| -> Vec<_> {
        (0..count).map(|n| format!("https://{n:05}.example")).collect()
    };
    let body = |count| json!({ "channel": "demo", "allowedOrigins": origins(count) });
    // Each origin adds 22 bytes to the claim, which are 29 or 30 in base64.
    let mut longest = 0;
    let mut refused = 0;
    for count in 265..285 {
        let answer = app.mint(body(count)).await;
        if answer.status == 200 {
            longest = answer.json()["token"].as_str().unwrap().len();
            assert_eq!(answer.json()["warnings"][0]["code"], "token_over_2kb");
        } else {
            assert_eq!(answer.pointers(), ["/allowedOrigins"]);
            refused += 1;
        }
    }
    assert!((8192 - 30..=8192).contains(&longest) && refused > 0, "{longest}, {refused}");

    for count in [1000, 1001, 20_000] {
        assert_eq!(app.mint(body(count)).await.pointers(), ["/allowedOrigins"], "{count}");
    }
    let batch = json!({ "requests": [body(20_000), { "channel": "demo" }] });
    let results = app.post("/v1/tokens/batch", &batch).await.json()["results"].clone();
    assert_eq!(results[0]["error"]["code"], "invalid_request");
    assert_eq!(results[0]["error"]["errors"][0]["pointer"], "/allowedOrigins");
    assert!(results[1]["token"].is_string());
}
