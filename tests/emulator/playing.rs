//! Playback after the multivariant playlist: variant playlists, segments, and what ends a session.

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
};
use ivs_playback_auth::clock::Timestamp;
use serde_json::{Value, json};

use crate::{
    edge::{Edge, PAGE, UUID},
    support::{Answer, NOW, TestEmulator},
};

const EVIL: &str = "https://evil.example";

/// A player with a multivariant playlist.
struct Player<'a> {
    edge: &'a Edge,
    /// The paths of its variant playlists.
    variants: Vec<String>,
    origin: Option<&'static str>,
}

impl<'a> Player<'a> {
    async fn start(edge: &'a Edge, claims: &Value, origin: Option<&'static str>) -> Self {
        Self::of(edge, &edge.play(claims, origin).await, origin)
    }

    fn of(edge: &'a Edge, answer: &Answer, origin: Option<&'static str>) -> Self {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        let urls = answer.body.lines().filter(|line| !line.starts_with('#'));
        let path = |url: &str| url.strip_prefix("http://127.0.0.1:8090").unwrap().to_owned();
        Self { edge, variants: urls.map(path).collect(), origin }
    }

    fn variant(&self) -> &str {
        &self.variants[0]
    }

    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.edge.test.send(request.body(Body::empty()).unwrap()).await
    }

    async fn get(&self, path: &str) -> Answer {
        let headers: Vec<_> = self.origin.iter().map(|origin| ("origin", *origin)).collect();
        self.ask(Method::GET, path, &headers).await
    }

    /// Returns the paths in the variant playlist: the initialization section, then the segments.
    async fn media(&self) -> Vec<String> {
        let playlist = self.get(self.variant()).await;
        assert_eq!(playlist.status, StatusCode::OK, "{}", playlist.body);
        media_of(self.variant(), &playlist.body)
    }
}

/// Returns the paths in a variant playlist.
fn media_of(variant: &str, playlist: &str) -> Vec<String> {
    let base = url::Url::parse("http://h").unwrap().join(variant).unwrap();
    let map = playlist.lines().find_map(|line| line.strip_prefix("#EXT-X-MAP:URI=\""));
    let map = map.unwrap().trim_end_matches('"');
    let segments = playlist.lines().filter(|line| !line.starts_with('#'));
    let path = |name: &str| base.join(name).unwrap().path().to_owned();
    [map].into_iter().chain(segments).map(path).collect()
}

fn tag(playlist: &str, name: &str) -> String {
    let line = playlist.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {playlist}")).trim_start_matches(':').to_owned()
}

#[tokio::test]
async fn valid_token_plays_every_rendition() {
    let edge = Edge::start().await;
    let mut player = Player::start(&edge, &json!({"aws:viewer-id": "v"}), None).await;
    assert_eq!(player.variants.len(), 3);
    for variant in player.variants.clone() {
        player.variants = vec![variant];
        let playlist = player.get(player.variant()).await;
        assert_eq!(playlist.header("content-type"), Some("application/vnd.apple.mpegurl"));
        assert_eq!(playlist.header("cache-control"), Some("no-store"));
        assert!(!playlist.body.contains("token") && !playlist.body.contains("ENDLIST"));
        let media = player.media().await;
        assert_eq!(media.len(), 1 + 6);
        let initialization = player.get(&media[0]).await;
        assert_eq!(initialization.status, StatusCode::OK);
        assert_eq!(&initialization.bytes[4..8], b"ftyp");
        for segment in &media[1..] {
            let segment = player.get(segment).await;
            assert_eq!(segment.status, StatusCode::OK);
            assert_eq!(segment.header("content-type"), Some("video/mp4"));
            assert_eq!(segment.header("access-control-allow-origin"), Some("*"));
            assert_eq!(&segment.bytes[4..8], b"moof");
        }
    }
}

#[tokio::test]
async fn stream_loops_without_gap() {
    let edge = Edge::start().await;
    let player = Player::start(&edge, &json!({}), None).await;
    let mut last = player.get(player.variant()).await.body;
    // Three loops of the film; a player reloads more often than a segment lasts.
    for _ in 0..40 {
        edge.test.advance(1);
        let playlist = player.get(player.variant()).await.body;
        let first =
            |playlist: &str| -> u64 { tag(playlist, "#EXT-X-MEDIA-SEQUENCE").parse().unwrap() };
        let date = |playlist: &str| {
            Timestamp::parse(&tag(playlist, "#EXT-X-PROGRAM-DATE-TIME")).unwrap().unix_millis()
        };
        let moved = first(&playlist) - first(&last);
        assert!(moved <= 1);
        assert_eq!(date(&playlist) - date(&last), i64::try_from(moved).unwrap() * 1_600);
        last = playlist;
    }
    assert_eq!(tag(&last, "#EXT-X-MEDIA-SEQUENCE"), "25");
    let newest = player.media().await.pop().unwrap();
    assert!(newest.ends_with("/30.m4s"), "{newest}");
    let next = newest.replace("/30.m4s", "/31.m4s");
    assert_eq!(player.get(&next).await.status, StatusCode::NOT_FOUND, "it is not recorded yet");
    edge.test.advance(60);
    assert_eq!(
        player.get(&newest).await.status,
        StatusCode::NOT_FOUND,
        "it left the playlist long ago"
    );
}

#[tokio::test]
async fn strict_origin_is_checked_with_every_request() {
    let edge = Edge::start().await;
    let claims = json!({
        "aws:access-control-allow-origin": PAGE, "aws:strict-origin-enforcement": true,
    });
    let player = Player::start(&edge, &claims, Some(PAGE)).await;
    let media = player.media().await;
    for path in [player.variant(), &media[0], &media[1]] {
        let good = player.ask(Method::GET, path, &[("origin", PAGE)]).await;
        assert_eq!(good.status, StatusCode::OK);
        assert_eq!(good.header("access-control-allow-origin"), Some(PAGE));
        let unnamed = player.ask(Method::GET, path, &[]).await;
        let answer = (unnamed.status, unnamed.body.as_str());
        assert_eq!(answer, (StatusCode::FORBIDDEN, "origin required"));
        let evil = player.ask(Method::GET, path, &[("origin", EVIL)]).await;
        assert_eq!(evil.status, StatusCode::FORBIDDEN);
        assert_eq!(evil.header("access-control-allow-origin"), None);
        let both = player.ask(Method::GET, path, &[("origin", PAGE), ("origin", EVIL)]).await;
        assert_eq!(both.status, StatusCode::FORBIDDEN);
    }
    let loose = json!({"aws:access-control-allow-origin": PAGE});
    let player = Player::start(&edge, &loose, Some(PAGE)).await;
    let media = player.media().await;
    let unnamed = player.ask(Method::GET, &media[1], &[]).await;
    assert_eq!(
        unnamed.status,
        StatusCode::OK,
        "without strict enforcement, only the multivariant playlist checks the origin"
    );
    let good = player.ask(Method::GET, &media[1], &[("origin", PAGE)]).await;
    assert_eq!(good.header("access-control-allow-origin"), Some(PAGE));
    let evil = player.ask(Method::GET, &media[1], &[("origin", EVIL)]).await;
    assert_eq!(evil.header("access-control-allow-origin"), None, "no other page may read them");
}

#[tokio::test]
async fn revocation_ends_only_sessions_of_its_viewer() {
    let edge = Edge::start().await;
    let player = async |id: &str, version: i64| {
        let claims = json!({"aws:viewer-id": id, "aws:viewer-session-version": version});
        Player::start(&edge, &claims, None).await
    };
    let (old, new, other) = (player("v", 7).await, player("v", 8).await, player("w", 7).await);
    let segment = old.media().await.pop().unwrap();
    let input = json!({
        "channelArn": edge.channel, "viewerId": "v", "viewerSessionVersionsLessThanOrEqualTo": 7,
    });
    edge.test.call("StartViewerSessionRevocation", &input).await;
    for path in [&segment, old.variant(), &segment] {
        let cut = old.get(path).await;
        assert_eq!((cut.status, cut.body.as_str()), (StatusCode::FORBIDDEN, "Forbidden"));
        assert_eq!(cut.header("access-control-allow-origin"), Some("*"));
    }
    for player in [&new, &other] {
        let segment = player.media().await.pop().unwrap();
        assert_eq!(player.get(&segment).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn session_ends_with_stream_channel_or_emulator() {
    let edge = Edge::start().await;
    let player = Player::start(&edge, &json!({}), None).await;
    let segment = player.media().await.pop().unwrap();
    edge.test.stream(Method::DELETE, &edge.channel).await;
    edge.test.advance(3);
    let ended = player.get(player.variant()).await;
    assert!(ended.body.ends_with("#EXT-X-ENDLIST\n"), "{}", ended.body);
    assert_eq!(player.get(&segment).await.status, StatusCode::OK, "it plays to the end");
    edge.test.stream(Method::PUT, &edge.channel).await;
    let still_ended = player.get(player.variant()).await;
    assert!(still_ended.body.contains("ENDLIST"), "another stream is another session");
    let next = Player::start(&edge, &json!({}), None).await;
    assert_ne!(next.variant(), player.variant());
    edge.test.stream(Method::DELETE, &edge.channel).await;
    edge.test.call("DeleteChannel", &json!({"arn": edge.channel})).await;
    assert_eq!(player.get(player.variant()).await.status, StatusCode::NOT_FOUND);
    assert_eq!(player.get(&segment).await.status, StatusCode::NOT_FOUND);

    let Edge { test, channel, key } = edge;
    let edge = Edge { test: test.restart(), channel, key };
    let player = Player { edge: &edge, variants: vec![segment], origin: None };
    let over = player.get(player.variant()).await;
    assert_eq!((over.status, over.body.as_str()), (StatusCode::FORBIDDEN, "Forbidden"));
}

#[tokio::test]
async fn session_serves_only_granted_renditions() {
    let edge = Edge::start().await;
    for (most, count) in [("SD", 1), ("HD", 2), ("FULL_HD", 3)] {
        let player = Player::start(&edge, &json!({"aws:maximum-resolution": most}), None).await;
        assert_eq!(player.variants.len(), count);
        for (index, name) in ["360p", "720p", "1080p"].into_iter().enumerate() {
            let smallest = player.variants.last().unwrap();
            let variant = player.get(&smallest.replace("360p", name)).await;
            let segment = player.media().await.pop().unwrap();
            let folder = segment.rsplit('/').nth(1).unwrap();
            let segment = player.get(&segment.replace(folder, name)).await;
            let expected = if index < count { StatusCode::OK } else { StatusCode::FORBIDDEN };
            assert_eq!((variant.status, segment.status), (expected, expected), "{most} {name}");
        }
        let unknown = player.get(&player.variant().replace("0p", "1p")).await;
        assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn metadata_appears_in_variant_playlist() {
    let edge = Edge::start().await;
    let player = Player::start(&edge, &json!({}), None).await;
    edge.test.advance(20);
    for text in ["goal: 1-0", "{\"score\": \"2\u{2013}0\"}"] {
        let input = json!({"channelArn": edge.channel, "metadata": text});
        assert_eq!(edge.test.call("PutMetadata", &input).await.status, StatusCode::NO_CONTENT);
        edge.test.advance(1);
    }
    let ranges = async || {
        let playlist = player.get(player.variant()).await.body;
        let lines = playlist.lines().filter(|line| line.starts_with("#EXT-X-DATERANGE:"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let shown = ranges().await;
    assert_eq!(shown.len(), 2);
    assert!(shown[0].contains("START-DATE=\"2026-11-22T08:55:20.000Z\""), "{}", shown[0]);
    assert!(shown[0].ends_with("X-IVS-METADATA=\"goal: 1-0\""), "{}", shown[0]);
    assert!(shown[1].ends_with("\"{%22score%22: %222%E2%80%930%22}\""), "{}", shown[1]);
    edge.test.advance(20);
    assert_eq!(ranges().await, Vec::<String>::new(), "its segments have left the playlist");

    let put = async |text: &str| {
        let input = json!({"channelArn": edge.channel, "metadata": text});
        assert_eq!(edge.test.call("PutMetadata", &input).await.status, StatusCode::NO_CONTENT);
    };
    put("good night").await;
    edge.test.stream(Method::DELETE, &edge.channel).await;
    edge.test.advance(2);
    edge.test.stream(Method::PUT, &edge.channel).await;
    put("good morning").await;
    let shown = ranges().await;
    assert_eq!(shown.len(), 1);
    assert!(shown[0].contains("\"good night\""), "a stream that ended shows only its own metadata");
    let next = Player::start(&edge, &json!({}), None).await;
    let playlist = next.get(next.variant()).await.body;
    assert!(playlist.contains("\"good morning\"") && !playlist.contains("\"good night\""));
}

#[tokio::test]
async fn policy_restricts_players_of_public_channels() {
    let edge = Edge::start().await;
    let policy = edge
        .test
        .call(
            "CreatePlaybackRestrictionPolicy",
            &json!({
                "allowedCountries": ["DE"], "allowedOrigins": [PAGE],
                "enableStrictOriginEnforcement": true,
            }),
        )
        .await
        .json();
    let policy = policy["playbackRestrictionPolicy"]["arn"].as_str().unwrap();
    let attached = json!({"playbackRestrictionPolicyArn": policy});
    let channel = edge.test.channel(&attached).await;
    let private = json!({"playbackRestrictionPolicyArn": policy, "authorized": true});
    let private = edge.test.channel(&private).await;
    for channel in [&channel, &private] {
        edge.test.stream(Method::PUT, channel).await;
    }
    let edge = Edge { channel, ..edge };
    let player = Player { edge: &edge, variants: vec![], origin: None };
    let ask = async |headers: &[(&str, &str)]| {
        let mut headers = headers.to_vec();
        headers.push(("host", "127.0.0.1:8090"));
        player.ask(Method::GET, &edge.path(), &headers).await
    };
    let country = ("cloudfront-viewer-country", "de");
    assert_eq!(ask(&[]).await.reason(), "country_not_allowed");
    assert_eq!(ask(&[("cloudfront-viewer-country", "FR")]).await.reason(), "country_not_allowed");
    assert_eq!(ask(&[country]).await.reason(), "origin_missing");
    assert_eq!(ask(&[country, ("origin", EVIL)]).await.reason(), "origin_not_allowed");
    let good = ask(&[country, ("origin", PAGE)]).await;
    assert_eq!(good.header("access-control-allow-origin"), Some(PAGE));
    let player = Player::of(&edge, &good, Some(PAGE));
    let segment = player.media().await.pop().unwrap();
    let unnamed = player.ask(Method::GET, &segment, &[]).await;
    assert_eq!(unnamed.body, "origin required");

    let open = json!({
        "arn": policy, "allowedCountries": [], "allowedOrigins": [],
        "enableStrictOriginEnforcement": false,
    });
    edge.test.call("UpdatePlaybackRestrictionPolicy", &open).await;
    assert_eq!(ask(&[]).await.status, StatusCode::OK, "a change applies to the next player");
    let edge = Edge { channel: private, ..edge };
    Player::start(&edge, &json!({}), Some(EVIL)).await;
}

#[tokio::test]
async fn segments_support_ranges_and_other_paths_are_not_found() {
    let edge = Edge::start().await;
    let player = Player::start(&edge, &json!({}), None).await;
    let segment = player.media().await.pop().unwrap();
    let whole = player.get(&segment).await.bytes;
    let part = player.ask(Method::GET, &segment, &[("range", "bytes=4-7")]).await;
    assert_eq!((part.status, part.bytes.as_slice()), (StatusCode::PARTIAL_CONTENT, &b"moof"[..]));
    let range = format!("bytes 4-7/{}", whole.len());
    assert_eq!(part.header("content-range"), Some(range.as_str()));
    let beyond = player.ask(Method::GET, &segment, &[("range", "bytes=999999999-")]).await;
    assert_eq!(beyond.status, StatusCode::RANGE_NOT_SATISFIABLE);
    let head = player.ask(Method::HEAD, &segment, &[]).await;
    assert_eq!((head.status, head.bytes.len()), (StatusCode::OK, 0));
    let preflight = [("origin", PAGE), ("access-control-request-headers", "range")];
    let preflight = player.ask(Method::OPTIONS, &segment, &preflight).await;
    assert_eq!(preflight.status, StatusCode::NO_CONTENT);
    assert_eq!(preflight.header("access-control-allow-headers"), Some("*"));

    let with_token = format!("{segment}?token=x&token=y");
    assert_eq!(player.get(&with_token).await.bytes, whole, "a token that a player adds is ignored");
    let session = segment.split('/').nth(3).unwrap();
    for path in [
        segment.replace(session, &"0".repeat(32)),
        segment.replace(session, "..%2f..%2fapi"),
        segment.replace("/v1/segment/", "/v1/segment/../segment/"),
        segment.replace("/v1/segment/", "/v1//segment/"),
        segment.replace(".m4s", ".m4s%00"),
        segment.replace(".m4s", ".m4s/../init.mp4"),
        segment.replace("1080p", "%31080p"),
        segment.replace("1080p", &"p".repeat(8_000)),
        format!("/v1/segment/{session}/1080p/99999999999999999999999.m4s"),
        format!("/v1/segment/{session}/1080p/-1.m4s"),
        format!("/v1/segment/{session}/"),
        format!("/v1/segment/{session}"),
        "/v1/segment/".to_owned(),
        "/v1/playlist/".to_owned(),
    ] {
        let status = player.get(&path).await.status;
        assert!(status.is_client_error(), "{path}: {status}");
    }
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        let status = player.ask(method, &segment, &[]).await.status;
        assert!(status.is_client_error(), "{status}");
    }
}

#[tokio::test]
async fn session_of_spent_single_use_continues() {
    let edge = Edge::start().await;
    let claims = json!({"aws:single-use-uuid": UUID, "exp": NOW + 5});
    let player = Player::start(&edge, &claims, None).await;
    edge.test.advance(60);
    assert_eq!(edge.play(&claims, None).await.reason(), "expired");
    let segment = player.media().await.pop().unwrap();
    assert_eq!(player.get(&segment).await.status, StatusCode::OK, "exp applies only to the start");
}

#[tokio::test]
async fn playback_faults_strike_segments() {
    let edge = Edge::on(TestEmulator::start()).await;
    let player = Player::start(&edge, &json!({}), None).await;
    let segment = player.media().await.pop().unwrap();
    let fault = json!({"kind": "error", "operations": "Playback", "status": 503, "count": 1});
    let set = Request::post("/_emulator/faults").body(Body::from(fault.to_string())).unwrap();
    assert_eq!(edge.test.send(set).await.status, StatusCode::CREATED);
    assert_eq!(player.get(&segment).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(player.get(&segment).await.status, StatusCode::OK);
}
