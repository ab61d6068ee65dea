//! For every refusal of the emulated edge, inspection of the same request names the same cause.
//!
//! Two causes do not show in a token: that its viewer was revoked, and that it was used before. For
//! these, inspection is given the body of the refusal, too.

use std::collections::BTreeSet;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ivs_playback_auth::emulator::PLAYBACK_REFUSALS;
use p384::ecdsa::{DerSignature, SigningKey, signature::Signer};
use serde_json::{Value, json};

use super::{codes, sign, sign_text, stranger, unsigned};
use crate::app::{START, TestApp};

const NOW: i64 = START.unix_seconds();
const UUID: &str = "c0ffee00-1234-4abc-8def-0123456789ab";
const SITE: &str = "https://www.example.com";
const HEADER: &str = r#"{"alg":"ES384","typ":"JWT"}"#;

/// Refusals of channels that play without a token, by a policy that has no claim.
const NOT_OF_TOKENS: [&str; 1] = ["country_not_allowed"];

/// A request that the edge refuses.
struct Case {
    /// The edge's reason.
    reason: &'static str,
    /// The codes of inspection: the reason, or what it is more exactly.
    codes: &'static [&'static str],
    /// What follows the path of the playback URL.
    query: String,
    /// The `Origin` of the request.
    origin: Option<&'static str>,
}

struct Cases<'a> {
    app: &'a TestApp,
    key: SigningKey,
    all: Vec<Case>,
}

impl Cases<'_> {
    fn query(&mut self, reason: &'static str, codes: &'static [&'static str], query: String) {
        self.all.push(Case { reason, codes, query, origin: Some(SITE) });
    }

    fn token(&mut self, reason: &'static str, codes: &'static [&'static str], token: &str) {
        self.query(reason, codes, format!("?token={token}"));
    }

    /// Good claims with these beside or instead; `null` takes one away.
    fn with(&self, more: &Value) -> Value {
        let mut claims = self.app.claims();
        for (name, value) in more.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
        claims
    }

    fn claims(&mut self, reason: &'static str, codes: &'static [&'static str], more: &Value) {
        let token = sign(&self.key, &self.with(more));
        self.token(reason, codes, &token);
    }
}

fn cases(app: &TestApp) -> Vec<Case> {
    let key = app.signing_keys().remove(0);
    let mut cases = Cases { app, key, all: Vec::new() };
    let good = sign(&cases.key, &app.claims());
    tokens_that_are_none(&mut cases, &good);
    signatures(&mut cases, &good);
    claims(&mut cases);
    origins(&mut cases);
    cases.all
}

fn tokens_that_are_none(cases: &mut Cases<'_>, good: &str) {
    for query in ["", "?", "?token=", "?a=b"] {
        cases.query("token_missing", &["token_missing"], query.to_owned());
    }
    for query in [format!("?Token={good}"), format!("?token.m3u8?token={good}")] {
        cases.query("token_missing", &["url_malformed"], query);
    }
    cases.query("not_a_jwt", &["url_malformed"], format!("?token={good}&token={good}"));
    let (message, signature) = good.rsplit_once('.').unwrap();
    let twice = format!(r#"{{"exp":{},"exp":{}}}"#, NOW + 1, NOW + 2);
    for token in [
        "undefined".to_owned(),
        message.to_owned(),
        format!("{good}="),
        format!("{good}%20"),
        format!("{good}.x"),
        format!("{message}.{signature}.."),
        sign_text(&cases.key, r#"{"alg":"ES384","crit":["b64"],"b64":false}"#, "{}"),
        sign_text(&cases.key, r#"{"alg":"ES384","alg":"ES384"}"#, "{}"),
        sign_text(&cases.key, HEADER, &twice),
        sign_text(&cases.key, HEADER, "[]"),
        sign_text(&cases.key, HEADER, "{"),
        format!("{}.{}.AA", "8J-", BASE64_URL_SAFE_NO_PAD.encode([0xff, 0xfe])),
    ] {
        cases.token("not_a_jwt", &["not_a_jwt"], &token);
    }
}

fn signatures(cases: &mut Cases<'_>, good: &str) {
    let claims = cases.app.claims();
    let text = claims.to_string();
    let (message, signature) = good.rsplit_once('.').unwrap();
    let changed = sign(&cases.key, &cases.with(&json!({"iat": NOW})));
    let changed = format!("{}.{signature}", changed.rsplit_once('.').unwrap().0);
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    for token in [
        sign(&stranger(7), &claims),
        changed,
        format!("{message}.{}", encode(&[0; 96])),
        format!("{message}.{}", encode(&[0xff; 96])),
        format!("{message}.{}", encode(&[1; 95])),
        format!("{message}."),
    ] {
        cases.token("bad_signature", &["bad_signature"], &token);
    }
    let der: DerSignature = cases.key.sign(message.as_bytes());
    let der = format!("{message}.{}", encode(der.as_bytes()));
    cases.token("der_signature", &["der_signature"], &der);
    let padded = [[0; 16].as_slice(), &[9; 32], &[0; 16], &[9; 32]].concat();
    let other_algorithm = unsigned(r#"{"alg":"ES256","typ":"JWT"}"#, &text);
    for token in [
        format!("{message}.{}", encode(&[1; 64])),
        format!("{message}.{}", encode(&[1; 132])),
        format!("{message}.{}", encode(&padded)),
        format!("{other_algorithm}.{}", encode(&[1; 64])),
    ] {
        cases.token("wrong_curve", &["wrong_curve"], &token);
    }
    for header in [r#"{"alg":"HS256"}"#, r#"{"alg":"none"}"#, r#"{"typ":"JWT"}"#, r#"{"alg":1}"#] {
        let token = sign_text(&cases.key, header, &text);
        cases.token("wrong_algorithm", &["wrong_algorithm"], &token);
    }
}

fn claims(cases: &mut Cases<'_>) {
    let channel = cases.app.channel.as_str();
    let (viewer, once) = ("aws:viewer-id", "aws:single-use-uuid");
    for (reason, more) in [
        ("channel_arn_missing", json!({"aws:channel-arn": null})),
        ("channel_mismatch", json!({"aws:channel-arn": format!("{channel}x")})),
        ("channel_mismatch", json!({"aws:channel-arn": "demo"})),
        ("claim_type", json!({"aws:channel-arn": [channel]})),
        ("claim_without_aws_prefix", json!({"aws:channel-arn": null, "channelArn": channel})),
        ("exp_missing", json!({"exp": null})),
        ("exp_not_integer", json!({"exp": "soon"})),
        ("exp_not_integer", json!({"exp": 1_795_338_000.5})),
        ("expired", json!({"exp": NOW})),
        ("expired", json!({"exp": -1})),
        ("ttl_over_600", json!({"exp": NOW + 601, viewer: "v"})),
        ("ttl_over_600", json!({"exp": NOW + 601, once: UUID})),
        ("exp_in_milliseconds", json!({"exp": (NOW + 60) * 1000, viewer: "v"})),
        ("exp_in_milliseconds", json!({"exp": u64::MAX, once: UUID})),
        ("claim_type", json!({viewer: 42})),
        ("claim_type", json!({viewer: {"id": "v"}})),
        ("claim_type", json!({once: true})),
        ("claim_type", json!({"aws:maximum-resolution": "1080p"})),
        ("claim_type", json!({"aws:viewer-session-version": 1.5, viewer: "v"})),
        ("claim_type", json!({"aws:strict-origin-enforcement": "true"})),
        ("claim_type", json!({"aws:access-control-allow-origin": [SITE]})),
        ("viewer_id_length", json!({viewer: ""})),
        ("viewer_id_length", json!({viewer: "é".repeat(41)})),
    ] {
        let same = PLAYBACK_REFUSALS.iter().position(|known| *known == reason).unwrap();
        cases.claims(reason, &PLAYBACK_REFUSALS[same..=same], &more);
    }
}

fn origins(cases: &mut Cases<'_>) {
    let (allow, strict) = ("aws:access-control-allow-origin", "aws:strict-origin-enforcement");
    for entry in [
        "",
        "www.example.com",
        "https://www.example.com/",
        "https://www.example.com/#/",
        "https://www.example.com:0",
        "https://www.example.com:99999",
        "https://www..example.com",
        "https://%77ww.example.com",
        "https://exa\"mple.com",
        "https://user@www.example.com",
        "https://a.*.example.com",
        "https://*:0",
        "ftp://www.example.com",
    ] {
        cases.claims("origin_invalid", &["origin_invalid"], &json!({allow: entry}));
    }
    let mixed = format!("{SITE},https://b.example/");
    cases.claims("origin_invalid", &["origin_invalid"], &json!({allow: mixed}));
    for list in [
        "https://example.com",
        "http://www.example.com",
        "https://www.example.com:8443",
        "https://*.www.example.com",
        "https://a.example,https://b.example",
    ] {
        cases.claims("origin_not_allowed", &["origin_not_allowed"], &json!({allow: list}));
    }
    for more in [json!({strict: true}), json!({strict: true, allow: "*"})] {
        cases.claims("strict_without_origin", &["strict_without_origin"], &more);
    }
    let six = [SITE; 6].join(",");
    let more = json!({strict: true, allow: six});
    cases.claims("too_many_strict_origins", &["too_many_strict_origins"], &more);
    cases.claims("origin_missing", &["origin_missing"], &json!({strict: true, allow: SITE}));
    if let Some(last) = cases.all.last_mut() {
        last.origin = None;
    }
}

/// The reason of a refusal, for people; inspection never reads it.
fn reason(body: &str) -> String {
    let body: Value = serde_json::from_str(body).expect(body);
    body[0]["emulator_reason"].as_str().expect("a refusal").to_owned()
}

impl TestApp {
    /// What inspection finds in the request that was refused.
    async fn explained(&self, url: &str, origin: Option<&str>, body: Option<&str>) -> Value {
        let mut request = json!({"playbackUrl": url, "origin": origin.unwrap_or_default()});
        if let Some(body) = body {
            request["edgeError"] = body.into();
        }
        self.inspected(&request).await
    }
}

#[tokio::test]
async fn inspection_names_the_cause_of_every_refusal() {
    let app = TestApp::start().await;
    let minted = app.minted(json!({})).await;
    let base = minted["playbackUrl"].as_str().unwrap().split('?').next().unwrap().to_owned();
    let mut seen = BTreeSet::from(NOT_OF_TOKENS.map(str::to_owned));
    for Case { reason: expected, codes: named, query, origin } in cases(&app) {
        let url = format!("{base}{query}");
        let refused = app.play(&url, origin).await;
        assert_eq!(refused.status, 403, "{query}");
        assert_eq!(reason(&refused.text), expected, "{query}");
        let alone = app.explained(&url, origin, None).await;
        assert_eq!(
            (&alone["valid"], codes(&alone, "error")),
            (&false.into(), named.to_vec()),
            "{query}"
        );
        // What the edge said adds nothing to what the token shows.
        let beside = app.explained(&url, origin, Some(&refused.text)).await;
        assert_eq!(codes(&beside, "error"), named, "{query} {}", refused.text);
        seen.insert(expected.to_owned());
    }

    // What does not show in the token.
    for (expected, more) in [
        ("session_revoked", json!({"viewerId": "v"})),
        ("single_use_spent", json!({"singleUse": true})),
        ("single_use_spent", json!({"singleUse": true, "viewerId": "w"})),
    ] {
        let minted = app.minted(more).await;
        let url = minted["playbackUrl"].as_str().unwrap();
        assert_eq!(app.play(url, None).await.status, 200);
        if expected == "session_revoked" {
            let call =
                app.sdk().start_viewer_session_revocation().channel_arn(app.channel.as_str());
            let version = minted["viewerSessionVersion"].as_i64().unwrap();
            let call =
                call.viewer_session_versions_less_than_or_equal_to(version.try_into().unwrap());
            call.viewer_id("v").send().await.unwrap();
        }
        let refused = app.play(url, None).await;
        assert_eq!(reason(&refused.text), expected);
        let alone = app.explained(url, None, None).await;
        assert_eq!((&alone["valid"], codes(&alone, "error")), (&Value::Null, vec![]));
        let beside = app.explained(url, None, Some(&refused.text)).await;
        assert_eq!((&beside["valid"], codes(&beside, "error")), (&false.into(), vec![expected]));
        seen.insert(expected.to_owned());
    }
    let every: BTreeSet<_> = PLAYBACK_REFUSALS.iter().map(|&reason| reason.to_owned()).collect();
    assert_eq!(seen, every, "a reason of the edge has no case here");
}

#[tokio::test]
async fn what_inspection_calls_valid_plays() {
    let app = TestApp::start().await;
    let key = app.signing_keys().remove(0);
    let base = app.minted(json!({})).await["playbackUrl"].as_str().unwrap().to_owned();
    let base = base.split('?').next().unwrap();
    let allow = "aws:access-control-allow-origin";
    for (more, origin) in [
        (json!({}), None),
        (json!({"exp": NOW + 86_400, "iat": NOW, "iss": "me"}), Some("null")),
        (json!({"exp": u64::MAX}), None),
        (json!({allow: "*"}), Some(SITE)),
        (json!({allow: "https://*.example.com"}), Some(SITE)),
        (json!({allow: "https://*"}), Some(SITE)),
        (json!({allow: "HTTPS://WWW.Example.com:443"}), Some(SITE)),
        (json!({allow: "https://*.b\u{fc}cher.example"}), Some("https://a.xn--bcher-kva.example")),
        (json!({allow: "http://[::1]:8080,http://192.0.2.1"}), Some("http://192.0.2.1")),
        (json!({allow: "https://a_b.example."}), Some("https://a_b.example.")),
        (json!({allow: SITE}), None),
        (json!({allow: SITE, "aws:strict-origin-enforcement": true}), Some(SITE)),
        (json!({"aws:strict-origin-enforcement": false}), None),
        (json!({"aws:unknown": {"a": [1]}, "sub": "v"}), None),
        (json!({"aws:viewer-session-version": -1}), None),
    ] {
        let mut claims = app.claims();
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let url = format!("{base}?token={}", sign(&key, &claims));
        let inspection = app.explained(&url, origin, None).await;
        assert_eq!(inspection["valid"], true, "{inspection}");
        let played = app.play(&url, origin).await;
        assert_eq!(played.status, 200, "{claims} {}", played.text);
    }
}
