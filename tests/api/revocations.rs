//! `POST /v1/viewer-sessions/revocations`, and what viewers notice of it at the edge.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{body::Body, http::Request};
use ivs_playback_auth::clock::Timestamp;
use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::app::{Emulated, START, TestApp, ask, credential};

const PATH: &str = "/v1/viewer-sessions/revocations";
const VERSION: &str = "viewerSessionVersionsLessThanOrEqualTo";
const LOCAL_DENY: &[(&str, &str)] = &[("viewers.local_deny", "true")];

impl TestApp {
    async fn revoke(&self, sessions: Value) -> Value {
        let answer = self.post(PATH, &json!({ "viewerSessions": sessions })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        answer.json()
    }

    async fn url_for(&self, viewer: &str) -> String {
        let minted = self.minted(json!({ "viewerId": viewer })).await;
        minted["playbackUrl"].as_str().unwrap().to_owned()
    }

    async fn admits(&self, url: &str) -> bool {
        let answer = self.play(url, None).await;
        match answer.status.as_u16() {
            200 => true,
            403 => {
                assert!(answer.text.contains("session_revoked"), "{answer:?}");
                false
            }
            other => panic!("{other}: {answer:?}"),
        }
    }
}

fn demo(viewer: &str) -> Value {
    json!({ "channel": "demo", "viewerId": viewer })
}

#[tokio::test]
async fn a_viewer_goes_and_others_stay() {
    let app = TestApp::start().await;
    let (alice, bob) = (app.url_for("alice").await, app.url_for("bob").await);
    let arn = app.channel.to_string();
    let version = START.unix_seconds() + 5;
    let playable_from = (START + Duration::from_secs(6)).to_string();
    assert_eq!(
        app.revoke(json!([demo("alice"), { "channel": arn, "viewerId": "carol" }])).await,
        json!({
            "revoked": 2,
            "results": [
                {
                    "channel": "demo", "viewerId": "alice", "version": version,
                    "playableFrom": playable_from, "denied": "no",
                },
                {
                    "channel": arn, "viewerId": "carol", "version": version,
                    "playableFrom": playable_from, "denied": "no",
                },
            ],
            "errors": [],
        })
    );
    assert!(!app.admits(&alice).await);
    assert!(app.admits(&bob).await);
    // Nothing keeps her out.
    assert!(app.admits(&app.url_for("alice").await).await);
    assert!(!app.admits(&alice).await);
}

#[tokio::test]
async fn token_minted_right_after_a_revocation_plays() {
    let app = TestApp::start().await;
    let mut before = app.url_for("alice").await;
    // All in the same second: the clock stands still.
    for round in 0..5 {
        let answer = app.revoke(json!([demo("alice"), demo("alice")])).await;
        assert_eq!(answer["revoked"], 2, "{answer}");
        assert!(!app.admits(&before).await, "{round}");
        before = app.url_for("alice").await;
        assert!(app.admits(&before).await, "{round}");
        let batch = json!({ "requests": [demo("alice"), demo("bob")] });
        let batch = app.post("/v1/tokens/batch", &batch).await.json();
        for minted in batch["results"].as_array().unwrap() {
            assert!(app.admits(minted["playbackUrl"].as_str().unwrap()).await, "{round}: {batch}");
        }
    }
    // A lower version takes nothing back, and a higher one is exceeded, too.
    let mut low = demo("alice");
    low[VERSION] = json!(7);
    let answer = app.revoke(json!([low])).await;
    let playable_from = answer["results"][0]["playableFrom"].as_str().unwrap();
    assert!(Timestamp::parse(playable_from).unwrap() > START, "{answer}");
    assert!(app.admits(&before).await);
    let mut high = demo("alice");
    high[VERSION] = json!(START.unix_seconds() + 1_000_000);
    app.revoke(json!([high])).await;
    assert!(!app.admits(&before).await);
    assert!(app.admits(&app.url_for("alice").await).await);
}

#[tokio::test]
async fn token_minted_after_a_revocation_without_an_answer_plays() {
    let app = TestApp::start().await;
    let before = app.url_for("alice").await;
    // It is revoked, and the service does not learn of that.
    let operations = ["StartViewerSessionRevocation", "BatchStartViewerSessionRevocation"];
    let fault = json!({ "kind": "lost_answer", "operations": operations, "count": 100 });
    app.fault(fault).await;
    let answer = app.revoke(json!([demo("alice")])).await;
    assert_eq!(answer["errors"][0]["code"], "ivs_unavailable", "{answer}");
    assert!(!app.admits(&before).await);
    assert!(app.admits(&app.url_for("alice").await).await);
}

#[tokio::test]
async fn viewer_revoked_up_to_the_highest_version_gets_no_useless_token() {
    let app = TestApp::start().await;
    let up_to = |version: i64| {
        let mut session = demo("alice");
        session[VERSION] = version.into();
        session
    };
    let highest = i64::from(i32::MAX);
    app.revoke(json!([up_to(highest - 1)])).await;
    let minted = app.minted(json!({ "viewerId": "alice" })).await;
    assert_eq!(minted["viewerSessionVersion"], highest);
    // A revocation "until now" has no higher version to choose.
    let answer = app.revoke(json!([demo("alice")])).await;
    assert_eq!(answer["results"][0]["version"], highest, "{answer}");
    app.mint(demo("alice")).await.problem(409, "session_versions_exhausted");
    let batch = json!({ "requests": [demo("alice"), demo("bob")] });
    let batch = app.post("/v1/tokens/batch", &batch).await.json();
    assert_eq!(batch["results"][0]["error"]["code"], "session_versions_exhausted");
    assert!(batch["results"][1]["token"].is_string());
    // A version that the caller chose is minted, with a warning.
    let body = json!({ "viewerId": "alice", "viewerSessionVersion": 7 });
    let minted = app.minted(body).await;
    assert_eq!(minted["warnings"][0]["code"], "session_revoked");
    assert!(!app.admits(minted["playbackUrl"].as_str().unwrap()).await);
}

/// Whatever the order of their steps is: a token is revoked, or it was minted after the revocation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_of_a_mint_during_a_revocation_is_revoked_or_plays() {
    let app = TestApp::start_with(&[("viewers.clock_allowance", "0s")], true).await;
    let mut older: Vec<String> = Vec::new();
    for round in 0..8 {
        let mints = async {
            let mut urls = Vec::new();
            for _ in 0..20 {
                urls.push(app.url_for("alice").await);
            }
            urls
        };
        let (during, others, answer) =
            tokio::join!(mints, app.url_for("bob"), app.revoke(json!([demo("alice")])));
        for url in &older {
            assert!(!app.admits(url).await, "{round}: {answer}");
        }
        // Once one of them plays, it was stamped after the revocation, and so were those after it.
        let mut plays = Vec::new();
        for url in &during {
            plays.push(app.admits(url).await);
        }
        assert!(plays.is_sorted(), "{round}: {plays:?}");
        let after = app.url_for("alice").await;
        assert!(app.admits(&after).await && app.admits(&others).await, "{round}");
        older = during;
        older.push(after);
    }
}

#[tokio::test]
async fn a_version_ends_it_and_those_below() {
    let app = TestApp::start().await;
    let mut urls = Vec::new();
    for version in [6, 7, 8] {
        let body = json!({ "viewerId": "alice", "viewerSessionVersion": version });
        urls.push(app.minted(body).await["playbackUrl"].as_str().unwrap().to_owned());
    }
    let up_to = |version: i64| {
        let mut session = demo("alice");
        session[VERSION] = version.into();
        session
    };
    // One viewer twice: the higher version counts, and each is told its own.
    let answer = app.revoke(json!([up_to(3), up_to(7), up_to(0)])).await;
    let versions: Vec<_> =
        answer["results"].as_array().unwrap().iter().map(|it| it["version"].clone()).collect();
    assert_eq!(
        (answer["revoked"].clone(), versions),
        (json!(3), vec![3.into(), 7.into(), 0.into()])
    );
    let calls = app.calls("BatchStartViewerSessionRevocation").await;
    let single = app.calls("StartViewerSessionRevocation").await;
    assert_eq!((calls, single), (Value::Null, json!({ "200": 1 })));
    let plays =
        [app.admits(&urls[0]).await, app.admits(&urls[1]).await, app.admits(&urls[2]).await];
    assert_eq!(plays, [false, false, true]);
}

#[tokio::test]
async fn a_clock_that_is_a_little_ahead_is_allowed_for() {
    let app = TestApp::start().await;
    app.clock.set_wall(START + Duration::from_secs(3));
    let ahead = app.url_for("alice").await;
    app.clock.set_wall(START);
    app.revoke(json!([demo("alice")])).await;
    assert!(!app.admits(&ahead).await);
}

/// The highest version would end whatever the viewer ever starts.
#[tokio::test]
async fn a_clock_that_is_no_version_revokes_nobody_until_now() {
    let app = TestApp::start_with(LOCAL_DENY, true).await;
    let last = i64::from(i32::MAX) - 5;
    app.clock.set_wall(Timestamp::from_unix_seconds(last));
    assert_eq!(app.revoke(json!([demo("alice")])).await["results"][0]["version"], i32::MAX);
    app.clock.advance(Duration::from_secs(1));
    let with = |name: &str, value: i64| {
        let mut session = demo("bob");
        session[name] = value.into();
        session
    };
    let answer = app.revoke(json!([demo("carol"), with("denyFor", 60), with(VERSION, 7)])).await;
    assert_eq!((&answer["revoked"], &answer["results"][0]["version"]), (&json!(1), &json!(7)));
    let errors = answer["errors"].as_array().unwrap();
    let texts: Vec<_> = errors.iter().map(|it| it["message"].as_str().unwrap()).collect();
    assert!(errors.iter().all(|it| it["code"] == "internal"), "{answer}");
    assert!(texts[0].contains("The clock of this service") && !texts[0].contains("denied"));
    assert!(texts[1].contains("The viewer is denied until 2038-01-19T03:15:03Z all the same."));
}

/// What is wrong with an item, and its code.
fn bad_items(other: &str) -> Vec<(Value, &'static str)> {
    let with = |name: &str, value: Value| {
        let mut item = demo("v");
        item[name] = value;
        item
    };
    vec![
        (with("channel", "nobody".into()), "channel_not_found"),
        (with("channel", "".into()), "channel_not_found"),
        (with("channel", other.into()), "channel_not_found"),
        (with("channel", other.replace("us-west-2", "eu-west-1").into()), "invalid_request"),
        (with("channel", other.replace("123456789012", "111111111111").into()), "invalid_request"),
        (with("channel", other.replace("channel/", "stream-key/").into()), "invalid_request"),
        (with("channel", Value::Null), "invalid_request"),
        (json!({ "viewerId": "v" }), "invalid_request"),
        (json!({ "channel": "demo" }), "invalid_request"),
        (with("viewerId", "".into()), "invalid_request"),
        (with("viewerId", "x".repeat(41).into()), "invalid_request"),
        (with("viewerId", 7.into()), "invalid_request"),
        (with(VERSION, (-1).into()), "invalid_request"),
        (with(VERSION, 2_147_483_648_i64.into()), "invalid_request"),
        (with(VERSION, "1".into()), "invalid_request"),
        (with(VERSION, json!(1.5)), "invalid_request"),
        (with("denyFor", 60.into()), "invalid_request"),
        (with("deny_for", 60.into()), "invalid_request"),
        (json!("demo"), "invalid_request"),
        (Value::Null, "invalid_request"),
    ]
}

#[tokio::test]
async fn twenty_bad_ones_fail_alone_while_ivs_throttles_half_of_the_calls() {
    let app = TestApp::start().await;
    let operations = ["StartViewerSessionRevocation", "BatchStartViewerSessionRevocation"];
    app.fault(json!({ "kind": "throttle", "operations": operations, "every": 2 })).await;
    let absent = "arn:aws:ivs:us-west-2:123456789012:channel/AbCdEfGh1234";
    let bad = bad_items(absent);
    assert_eq!(bad.len(), 20);
    let mut sessions: Vec<Value> = (0..100).map(|it| demo(&format!("v{it}"))).collect();
    for (index, (item, _)) in bad.iter().enumerate() {
        sessions.insert(index * 5, item.clone());
    }
    let urls = [app.url_for("v0").await, app.url_for("v99").await, app.url_for("w").await];

    let answer = app.revoke(sessions.into()).await;
    assert_eq!(answer["revoked"], 100, "{answer}");
    let viewers = answer["results"].as_array().unwrap().iter().map(|it| it["viewerId"].clone());
    assert!(viewers.eq((0..100).map(|it| json!(format!("v{it}")))));
    let errors = answer["errors"].as_array().unwrap();
    assert_eq!(errors.len(), bad.len());
    for (error, (item, code)) in errors.iter().zip(&bad) {
        assert_eq!(error["code"], *code, "{item}: {error}");
        let text = |name: &str| item[name].as_str().map_or(Value::Null, Value::from);
        assert_eq!((&error["channel"], &error["viewerId"]), (&text("channel"), &text("viewerId")));
        let message = error["message"].as_str().unwrap();
        assert!(message.ends_with('.') && !message.contains("xxx"), "{message}");
        assert_eq!(error.as_object().unwrap().len(), 4);
    }
    assert!(errors[16]["message"].as_str().unwrap().contains("viewers.local_deny"));
    assert!(errors[17]["message"].as_str().unwrap().starts_with("deny_for: "));
    let plays =
        [app.admits(&urls[0]).await, app.admits(&urls[1]).await, app.admits(&urls[2]).await];
    assert_eq!(plays, [false, false, true]);
}

#[tokio::test]
async fn only_the_envelope_fails_the_request() {
    let app = TestApp::start_without_key().await;
    let pointer = "/viewerSessions";
    for (body, pointers) in [
        (json!({}), vec![pointer]),
        (json!({ "viewerSessions": [] }), vec![pointer]),
        (json!({ "viewerSessions": {} }), vec![pointer]),
        (json!({ "viewerSessions": null }), vec![pointer]),
        (json!({ "viewerSessions": vec![demo("v"); 501] }), vec![pointer]),
        (json!({ "viewerSessions": [demo("v")], "denyFor": 5 }), vec!["/denyFor"]),
    ] {
        assert_eq!(app.post(PATH, &body).await.pointers(), pointers);
    }
    let answer = app.revoke(json!([null])).await;
    assert_eq!((&answer["revoked"], answer["errors"].as_array().unwrap().len()), (&json!(0), 1));
    let other = Request::post(PATH)
        .header("authorization", format!("Bearer {}", credential('r')))
        .body(Body::empty())
        .unwrap();
    app.send(other).await.problem(403, "forbidden");
}

#[tokio::test]
async fn a_body_has_the_time_of_any_request() {
    let app = TestApp::start_with(&[("server.request_timeout", "50ms")], false).await;
    let endless = futures_util::stream::pending::<Result<bytes::Bytes, std::convert::Infallible>>();
    let request = app.request("POST", PATH).header("content-type", "application/json");
    let answer = app.send(request.body(Body::from_stream(endless)).unwrap()).await;
    answer.problem(408, "request_timeout");
    // The work has more.
    app.fault(json!({
        "kind": "slow", "operations": "StartViewerSessionRevocation", "delayMs": 200,
    }))
    .await;
    assert_eq!(app.revoke(json!([demo("v")])).await["revoked"], 1);
}

#[tokio::test]
async fn who_is_denied_gets_no_token_for_that_channel_until_then() {
    let emulated = Emulated { cold: 1, ..Emulated::default() };
    let app = TestApp::start_against(emulated, LOCAL_DENY, true).await;
    let mut session = demo("alice");
    session["denyFor"] = json!(60);
    let url = app.url_for("alice").await;
    let answer = app.revoke(json!([session, demo("bob")])).await;
    assert_eq!(
        (&answer["results"][0]["denied"], &answer["results"][1]["denied"]),
        (&json!("local"), &json!("no"))
    );
    assert!(!app.admits(&url).await);
    // That holds on where the viewer is revoked again, and is said.
    assert_eq!(app.revoke(json!([demo("alice")])).await["results"][0]["denied"], "local");

    // Neither an alias nor the ARN, nor a batch.
    let by_arn = json!({ "channel": app.channel.as_str(), "viewerId": "alice" });
    for body in [demo("alice"), by_arn] {
        let problem = app.mint(body).await.problem(403, "viewer_denied");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("2026-11-22T08:56:00Z") && !detail.contains("alice"), "{detail}");
    }
    let batch = json!({ "requests": [demo("alice"), demo("bob"), { "channel": "demo" }] });
    let results = app.post("/v1/tokens/batch", &batch).await.json();
    assert_eq!(results["results"][0]["error"]["code"], "viewer_denied");
    assert!(
        results["results"][1]["token"].is_string() && results["results"][2]["token"].is_string()
    );
    // Another channel is another matter.
    let cold = json!({ "channel": app.cold[0].as_str(), "viewerId": "alice" });
    assert_eq!(app.mint(cold).await.status, 200);

    // A shorter denial does not shorten it.
    session["denyFor"] = json!(1);
    app.revoke(json!([session])).await;
    app.clock.advance(Duration::from_secs(59));
    app.mint(demo("alice")).await.problem(403, "viewer_denied");
    app.clock.advance(Duration::from_secs(1));
    assert!(app.admits(&app.url_for("alice").await).await);
}

#[tokio::test]
async fn a_denial_tells_nothing_of_the_channel() {
    let app = TestApp::start_with(LOCAL_DENY, true).await;
    let absent = "arn:aws:ivs:us-west-2:123456789012:channel/AbCdEfGh1234";
    let session = json!({ "channel": absent, "viewerId": "alice", "denyFor": 60 });
    let answer = app.revoke(json!([session])).await;
    let error = &answer["errors"][0];
    assert_eq!(error["code"], "channel_not_found");
    assert!(error["message"].as_str().unwrap().contains("denied until"), "{error}");
    let mint = json!({ "channel": absent, "viewerId": "alice" });
    app.mint(mint).await.problem(403, "viewer_denied");
    assert_eq!(app.calls("BatchGetChannel").await, Value::Null);

    for (seconds, code) in [(json!(0), "invalid_request"), (json!(31_622_401), "invalid_request")] {
        let mut session = demo("v");
        session["denyFor"] = seconds;
        assert_eq!(app.revoke(json!([session])).await["errors"][0]["code"], code);
    }
}

/// A mint that has passed the first look, and stamps its token long after the version was chosen.
#[tokio::test]
async fn a_mint_that_is_held_up_does_not_slip_through() {
    let emulated = Emulated { cold: 1, ..Emulated::default() };
    let app = TestApp::start_against(emulated, LOCAL_DENY, true).await;
    app.fault(json!({ "kind": "slow", "operations": "BatchGetChannel", "delayMs": 3000 })).await;
    let cold = app.cold[0].as_str();
    let mint = app.mint(json!({ "channel": cold, "viewerId": "alice" }));
    let revoke = async {
        while !app.is_asked("BatchGetChannel").await {
            tokio::task::yield_now().await;
        }
        let session = json!({ "channel": cold, "viewerId": "alice", "denyFor": 3600 });
        let answer = app.revoke(json!([session])).await;
        app.clock.advance(Duration::from_mins(1));
        answer
    };
    let (minted, revoked) = tokio::join!(mint, revoke);
    assert_eq!(revoked["revoked"], 1);
    minted.problem(403, "viewer_denied");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_token_that_races_a_ban_plays() {
    let app = Arc::new(TestApp::start_with(LOCAL_DENY, true).await);
    app.minted(json!({})).await;
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let minted = Arc::new(AtomicUsize::new(0));
    let minters: Vec<_> = (0..8)
        .map(|_| {
            let (app, stop, minted) = (Arc::clone(&app), stop.clone(), Arc::clone(&minted));
            tasks.spawn(async move {
                let mut urls = Vec::new();
                while !stop.is_cancelled() {
                    let answer = app.mint(demo("alice")).await;
                    if answer.status == 200 {
                        urls.push(answer.json()["playbackUrl"].as_str().unwrap().to_owned());
                        minted.fetch_add(1, Ordering::Relaxed);
                    } else {
                        answer.problem(403, "viewer_denied");
                    }
                    // A warm mint never waits, and others have work to do.
                    tokio::task::yield_now().await;
                }
                urls
            })
        })
        .collect();
    // Time flies, so that a stamp of a moment later is a higher one; no token expires.
    let ticker = {
        let (app, stop) = (Arc::clone(&app), stop.clone());
        tasks.spawn(async move {
            for _ in 0..100 {
                if stop.is_cancelled() {
                    break;
                }
                app.clock.advance(Duration::from_secs(2));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
    };
    while minted.load(Ordering::Relaxed) < 64 {
        tokio::task::yield_now().await;
    }
    let mut session = demo("alice");
    session["denyFor"] = json!(3600);
    assert_eq!(app.revoke(json!([session])).await["revoked"], 1);
    for _ in 0..20 {
        app.mint(demo("alice")).await.problem(403, "viewer_denied");
    }
    stop.cancel();
    ticker.await.unwrap();
    let mut count = 0;
    for minter in minters {
        for url in minter.await.unwrap() {
            assert!(!app.admits(&url).await);
            count += 1;
        }
    }
    assert!(count >= 64, "{count}");
}

#[tokio::test]
async fn the_work_goes_on_when_the_caller_is_gone() {
    let app = TestApp::start().await;
    let urls = [app.url_for("v0").await, app.url_for("v59").await];
    let sessions: Vec<_> = (0..60).map(|it| demo(&format!("v{it}"))).collect();
    let request = app
        .request("POST", PATH)
        .header("content-type", "application/json")
        .body(Body::from(json!({ "viewerSessions": sessions }).to_string()))
        .unwrap();
    {
        let mut answer = std::pin::pin!(ask(app.router.clone(), request));
        while !app.is_asked("BatchStartViewerSessionRevocation").await {
            tokio::select! {
                biased;
                answer = &mut answer => panic!("{answer:?}"),
                () = tokio::task::yield_now() => {}
            }
        }
    }
    app.app.drain(Duration::from_secs(10)).await;
    assert!(!app.admits(&urls[0]).await && !app.admits(&urls[1]).await);
    let metrics = app.get("/metrics").await.text;
    assert!(metrics.contains(r#"revocations_total{outcome="revoked"} 60"#), "{metrics}");
}

#[tokio::test]
async fn an_ivs_that_is_out_is_told_for_each() {
    let app = TestApp::start_with(LOCAL_DENY, true).await;
    app.minted(json!({})).await;
    app.stop_emulator();
    let mut session = demo("alice");
    session["denyFor"] = json!(60);
    let answer = app.revoke(json!([session, demo("bob")])).await;
    let errors = answer["errors"].as_array().unwrap();
    assert_eq!(
        (&errors[0]["code"], &errors[1]["code"]),
        (&json!("ivs_unavailable"), &json!("ivs_unavailable"))
    );
    assert!(errors[0]["message"].as_str().unwrap().contains("denied until"));
    // What could be done is done.
    app.mint(demo("alice")).await.problem(403, "viewer_denied");
    let metrics = app.get("/metrics").await.text;
    for series in [
        r#"revocations_total{outcome="ivs_unavailable"} 2"#,
        r#"refusals_total{code="ivs_unavailable"} 2"#,
        r#"refusals_total{code="viewer_denied"} 1"#,
    ] {
        assert!(metrics.contains(series), "{series} is not in\n{metrics}");
    }
}

#[tokio::test]
async fn a_denial_that_cannot_be_written_revokes_nobody() {
    let app = TestApp::start_with(LOCAL_DENY, true).await;
    std::fs::create_dir(app.folder().join("denied.jsonl")).unwrap();
    let mut session = demo("alice");
    session["denyFor"] = json!(60);
    let url = app.url_for("alice").await;
    let answer = app.revoke(json!([session, demo("bob")])).await;
    let (revoked, code) = (&answer["revoked"], &answer["errors"][0]["code"]);
    assert_eq!((revoked, code), (&json!(1), &json!("store_unavailable")));
    assert!(app.admits(&url).await);
}

/// Another process has the folder locked for ever.
#[tokio::test]
async fn a_shutdown_does_not_wait_for_the_file_of_denials() {
    let folder = tempfile::tempdir().unwrap();
    let (log, list) = (folder.path().join("audit.jsonl"), folder.path().join("denied.jsonl"));
    let settings = [
        ("audit.sink", "file"),
        ("audit.path", log.to_str().unwrap()),
        ("viewers.local_deny", "true"),
        ("viewers.deny_list", list.to_str().unwrap()),
    ];
    let app = TestApp::start_with(&settings, true).await;
    let lock = std::fs::File::open(folder.path()).unwrap();
    lock.try_lock().unwrap();
    let mut session = demo("alice");
    session["denyFor"] = json!(60);
    let mut answer = std::pin::pin!(app.revoke(json!([session])));
    let answer = loop {
        tokio::select! {
            biased;
            answer = &mut answer => break answer,
            // Ends at once as long as the request is not under way.
            () = app.app.drain(Duration::from_millis(50)) => {}
        }
    };
    let error = &answer["errors"][0];
    assert_eq!(error["code"], "timeout");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("The service stopped") && !message.contains("denied"), "{message}");
    assert!(app.app.api().audit.flush(Duration::from_secs(10)).await);
    // The first key pair left records, too.
    let text = std::fs::read_to_string(&log).unwrap();
    let line: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&line["outcome"], &line["code"]), (&json!("refused"), &json!("timeout")));
    assert!(line["deniedUntil"].is_null());
}

#[tokio::test]
async fn each_viewer_has_a_line_in_the_audit_and_none_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let settings = [
        ("audit.sink", "file"),
        ("audit.path", path.to_str().unwrap()),
        ("viewers.local_deny", "true"),
    ];
    let app = TestApp::start_with(&settings, false).await;
    let absent = "arn:aws:ivs:us-west-2:123456789012:channel/AbCdEfGh1234";
    let denied = json!({
        "channel": "demo", "viewerId": "alice", "denyFor": 60,
        "viewerSessionVersionsLessThanOrEqualTo": 7,
    });
    let sessions = json!([denied, { "channel": absent, "viewerId": "bob" }, { "viewerId": "" }]);
    app.revoke(sessions).await;
    assert!(app.app.api().audit.flush(Duration::from_secs(10)).await);
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [alice, bob, nobody] = lines.as_slice() else { panic!("{text}") };
    for line in &lines {
        assert_eq!(
            (&line["event"], &line["clientId"]),
            (&json!("revocation"), &json!("aaaaaaaaaaaa"))
        );
        assert!(line["requestId"].is_string() && line["durationMs"].is_u64());
    }
    let until: Timestamp = START + Duration::from_mins(1);
    assert_eq!(
        (&alice["viewerId"], &alice["viewerSessionVersion"], &alice["outcome"]),
        (&json!("alice"), &json!(7), &json!("revoked"))
    );
    assert_eq!(
        (&alice["channelArn"], &alice["deniedUntil"]),
        (&json!(app.channel.as_str()), &json!(until.to_string()))
    );
    assert_eq!((&bob["outcome"], &bob["code"]), (&json!("refused"), &json!("channel_not_found")));
    assert_eq!((&nobody["code"], &nobody["viewerId"]), (&json!("invalid_request"), &Value::Null));
}
