//! The demo page of `dev`: who may see it, who may act by its cookie, and what that is worth.

use std::net::SocketAddr;

use axum::{Router, body::Body, extract::ConnectInfo, http::Request};
use ivs_playback_auth::{
    http::demo::{Demo, PublicDemo},
    secret::system_rng,
};
use serde_json::{Value, json};

use crate::app::{Answer, TestApp, ask, credential};

const HOST: &str = "localhost:8080";

/// What proxies add.
const FORWARDING: [&str; 7] = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
];

struct Page {
    test: TestApp,
    router: Router,
    /// As a browser sends it.
    cookie: String,
}

/// What a browser on the page sends.
#[derive(Clone, Copy, Debug)]
struct Browser<'a> {
    peer: &'a str,
    host: &'a str,
    origin: Option<&'a str>,
    site: Option<&'a str>,
    cookie: Option<&'a str>,
}

impl Page {
    async fn start() -> Self {
        Self::start_with(None).await
    }

    /// With `--public-demo` where there is a URL.
    async fn start_with(public_url: Option<&str>) -> Self {
        let public = public_url.map(|url| PublicDemo {
            url: url.parse().unwrap(),
            credential: credential('v').into(),
        });
        let mut test = TestApp::start().await;
        let demo = Demo::new(
            "127.0.0.1:8080".parse().unwrap(),
            test.credential.as_str().into(),
            public,
            format!("http://{}", test.emulator_address),
            &mut system_rng(),
        );
        test.app.serve_demo(demo);
        let router = test.app.router();
        let page = Self { test, router, cookie: String::new() };
        let index = page.get("/", page.browser()).await;
        let set_cookie = index.header("set-cookie").unwrap();
        let cookie = set_cookie.split(';').next().unwrap().to_owned();
        Self { cookie, ..page }
    }

    fn browser(&self) -> Browser<'_> {
        Browser {
            peer: "127.0.0.1:50000",
            host: HOST,
            origin: Some("http://localhost:8080"),
            site: Some("same-origin"),
            cookie: Some(&self.cookie),
        }
    }

    async fn get(&self, path: &str, browser: Browser<'_>) -> Answer {
        self.send("GET", path, browser, Body::empty()).await
    }

    async fn post(&self, path: &str, browser: Browser<'_>, body: Value) -> Answer {
        self.send("POST", path, browser, Body::from(body.to_string())).await
    }

    /// What a browser on another machine sends through a proxy on this one, with the cookie that `/`
    /// gave it.
    async fn visitor<'a>(&self, cookie: &'a mut String) -> Browser<'a> {
        let mut browser = Browser {
            peer: "127.0.0.1:50000",
            host: "demo.example",
            origin: Some("https://demo.example"),
            site: Some("same-origin"),
            cookie: None,
        };
        let index = self.get("/", browser).await;
        assert_eq!(index.status, 200, "{index:?}");
        let set_cookie = index.header("set-cookie").unwrap();
        assert!(set_cookie.ends_with("; HttpOnly; SameSite=Strict; Secure"), "{set_cookie}");
        assert!(index.text.contains("<body data-public>"));
        set_cookie.split(';').next().unwrap().clone_into(cookie);
        browser.cookie = Some(cookie);
        browser
    }

    /// What somebody gets for whom a proxy on this machine asks.
    async fn forwarded(&self, path: &str, name: &str) -> Answer {
        self.forwarded_by(self.browser(), path, name).await
    }

    async fn forwarded_by(&self, browser: Browser<'_>, path: &str, name: &str) -> Answer {
        let peer: SocketAddr = browser.peer.parse().unwrap();
        let request = Request::builder()
            .uri(path)
            .header("host", browser.host)
            .header(name, "192.0.2.7")
            .header("cookie", browser.cookie.unwrap_or_default())
            .extension(ConnectInfo(peer));
        ask(self.router.clone(), request.body(Body::empty()).unwrap()).await
    }

    async fn send(&self, method: &str, path: &str, browser: Browser<'_>, body: Body) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header("host", browser.host);
        let headers = [
            ("origin", browser.origin),
            ("sec-fetch-site", browser.site),
            ("cookie", browser.cookie),
        ];
        for (name, value) in headers {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let peer: SocketAddr = browser.peer.parse().unwrap();
        let request = request
            .header("content-type", "application/json")
            .extension(ConnectInfo(peer))
            .body(body)
            .unwrap();
        ask(self.router.clone(), request).await
    }
}

fn mint() -> Value {
    json!({"channel": "demo", "viewerId": "alice"})
}

#[tokio::test]
async fn the_page_comes_whole_from_the_binary_and_with_a_strict_policy() {
    let page = Page::start().await;
    let index = page.get("/", page.browser()).await;
    assert_eq!(index.status, 200);
    let cookie = index.header("set-cookie").unwrap();
    assert!(cookie.ends_with("; Path=/demo; HttpOnly; SameSite=Strict"), "{cookie}");
    assert!(!index.text.contains(&page.test.credential) && !cookie.contains(&page.test.credential));
    assert_eq!(index.header("cache-control"), Some("no-store"));
    let policy = index.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"));
    assert!(policy.contains(&format!("connect-src 'self' http://{};", page.test.emulator_address)));
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");

    // Everything that the page and its scripts name is there.
    let parts = regex_lite::Regex::new(r"(?:/demo/|from '\./)([a-z-]+\.(?:js|css))").unwrap();
    let mut left = vec!["/".to_owned()];
    let mut seen = std::collections::BTreeSet::new();
    while let Some(path) = left.pop() {
        let answer = page.get(&path, page.browser()).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(!answer.text.contains("https://cdn") && !answer.text.contains("innerHTML"));
        for name in parts.captures_iter(&answer.text).map(|found| found[1].to_owned()) {
            if seen.insert(name.clone()) {
                left.push(format!("/demo/{name}"));
            }
        }
    }
    assert_eq!(seen.len(), 8, "{seen:?}");
    page.get("/demo/absent.js", page.browser()).await.problem(404, "not_found");
}

#[tokio::test]
async fn the_cookie_stands_for_the_credential_on_this_page_alone() {
    let page = Page::start().await;
    let minted = page.post("/demo/v1/tokens", page.browser(), mint()).await;
    assert_eq!(minted.status, 200, "{minted:?}");
    assert_eq!(page.get("/demo/v1/key-pairs", page.browser()).await.status, 200);
    // Older browsers name one of the two.
    for (origin, site) in [(Some("http://localhost:8080"), None), (None, Some("same-origin"))] {
        let browser = Browser { origin, site, ..page.browser() };
        assert_eq!(page.post("/demo/v1/tokens", browser, mint()).await.status, 200);
    }

    // The API itself knows no cookies.
    let strict = page.post("/v1/tokens", page.browser(), mint()).await;
    strict.problem(401, "unauthenticated");
    assert_eq!(strict.header("www-authenticate"), Some("Bearer"));
    // And the page's way is judged as any call is.
    let faulty = page.post("/demo/v1/tokens", page.browser(), json!({"channel": 1})).await;
    assert_eq!(faulty.pointers(), ["/channel"]);
}

#[tokio::test]
async fn whoever_is_not_the_page_is_refused() {
    let page = Page::start().await;
    let wrong = format!("{}0", page.cookie);
    let own = page.browser();
    for browser in [
        Browser { cookie: None, ..own },
        Browser { cookie: Some(&wrong), ..own },
        Browser { cookie: Some("ivs-playback-auth-demo-8080="), ..own },
        // A page on another port of this machine is same-site: the cookie comes along.
        Browser { origin: Some("http://localhost:3000"), site: Some("same-site"), ..own },
        Browser { origin: Some("http://localhost:3000"), site: None, ..own },
        Browser { origin: None, site: Some("same-site"), ..own },
        Browser { origin: Some("null"), site: Some("cross-site"), ..own },
        Browser { origin: None, site: None, ..own },
    ] {
        let answer = page.post("/demo/v1/tokens", browser, mint()).await;
        answer.problem(403, "forbidden");
        let answer = page.post("/demo/metadata", browser, json!({})).await;
        answer.problem(403, "forbidden");
    }
    let other = Browser { site: Some("same-site"), origin: None, ..own };
    page.get("/demo/v1/key-pairs", other).await.problem(403, "forbidden");
}

#[tokio::test]
async fn another_host_is_misdirected_and_another_machine_forbidden() {
    let page = Page::start().await;
    let own = page.browser();
    for path in ["/", "/demo/page.js", "/demo/v1/key-pairs", "/demo/channels"] {
        for host in
            ["evil.example", "evil.example:8080", "127.0.0.1:9999", "localhost.evil.example"]
        {
            let answer = page.get(path, Browser { host, ..own }).await;
            assert_eq!(answer.status, 421, "{path} {host}");
            assert_eq!(answer.header("set-cookie"), None);
        }
        for peer in ["192.0.2.7:50000", "[2001:db8::1]:50000", "[::ffff:192.0.2.7]:50000"] {
            let answer = page.get(path, Browser { peer, ..own }).await;
            assert_eq!(answer.status, 403, "{path} {peer}");
            assert_eq!(answer.header("set-cookie"), None);
            assert!(answer.text.contains("http://localhost:8080/"), "{answer:?}");
        }
        for name in FORWARDING {
            let answer = page.forwarded(path, name).await;
            assert_eq!(answer.status, 403, "{path} {name}: a proxy asks for somebody");
            assert_eq!(answer.header("set-cookie"), None);
        }
        for (host, peer) in [("127.0.0.1:8080", "[::1]:50000"), (HOST, "[::ffff:127.0.0.1]:50000")]
        {
            let origin = None;
            let answer = page.get(path, Browser { peer, host, origin, ..own }).await;
            assert_eq!(answer.status, 200, "{path} {host} {peer}");
        }
    }
    // The API is for whoever has a credential, under whatever name.
    assert_eq!(page.test.get("/v1/channels/demo").await.status, 200);
}

#[tokio::test]
async fn public_visitor_may_mint_and_revoke_but_not_touch_keys() {
    let page = Page::start_with(Some("https://demo.example")).await;
    let mut cookie = String::new();
    let visitor = page.visitor(&mut cookie).await;
    assert_ne!(visitor.cookie, Some(&*page.cookie));
    let remote = Browser { peer: "192.0.2.7:50000", ..visitor };
    for browser in [visitor, remote] {
        let minted = page.post("/demo/v1/tokens", browser, mint()).await;
        assert_eq!(minted.status, 200, "{minted:?}");
        page.test.clock.advance(std::time::Duration::from_secs(1));
        assert_eq!(page.get("/demo/channels", browser).await.status, 200);
        let session = json!({"viewerSessions": [{"channel": "demo", "viewerId": "alice"}]});
        let revoked = page.post("/demo/v1/viewer-sessions/revocations", browser, session).await;
        assert_eq!(revoked.status, 200, "{revoked:?}");
        for path in ["/demo/v1/key-pairs", "/demo/v1/key-pairs/rotations"] {
            page.get(path, browser).await.problem(403, "forbidden");
            let body = json!({"mode": "emergency"});
            page.post(path, browser, body).await.problem(403, "forbidden");
        }
        let delete = page.send("DELETE", "/demo/v1/key-pairs/x", browser, Body::empty()).await;
        delete.problem(403, "forbidden");
    }
    // The page on this machine keeps every right.
    assert_eq!(page.get("/demo/v1/key-pairs", page.browser()).await.status, 200);
}

#[tokio::test]
async fn public_page_opens_under_its_own_host_alone() {
    let page = Page::start_with(Some("https://demo.example")).await;
    let mut cookie = String::new();
    let visitor = page.visitor(&mut cookie).await;
    let local_cookie = Some(&*page.cookie);
    for (browser, status) in [
        // Another name, which a web site could have pointed here.
        (Browser { host: "evil.example", ..visitor }, 421),
        (Browser { peer: "192.0.2.7:50000", host: "evil.example", ..visitor }, 421),
        // The local name from elsewhere.
        (Browser { peer: "192.0.2.7:50000", host: HOST, ..visitor }, 403),
        (Browser { peer: "192.0.2.7:50000", ..page.browser() }, 403),
        // Pages of another origin.
        (Browser { origin: Some("https://evil.example"), site: None, ..visitor }, 403),
        (Browser { origin: Some("http://demo.example"), site: None, ..visitor }, 403),
        (Browser { site: Some("cross-site"), ..visitor }, 403),
        (Browser { origin: None, site: None, ..visitor }, 403),
        // A cookie of the other kind.
        (Browser { cookie: None, ..visitor }, 403),
        (Browser { cookie: local_cookie, ..visitor }, 403),
        (Browser { cookie: visitor.cookie, ..page.browser() }, 403),
    ] {
        let answer = page.post("/demo/v1/tokens", browser, mint()).await;
        assert_eq!(answer.status, status, "{browser:?}: {answer:?}");
    }
    for name in FORWARDING {
        // Forwarded under the local name: the client may be anywhere.
        let answer = page.forwarded("/", name).await;
        assert_eq!(answer.status, 403, "{name}");
        let answer = page.forwarded_by(visitor, "/demo/v1/key-pairs", name).await;
        answer.problem(403, "forbidden");
        assert_eq!(page.forwarded_by(visitor, "/demo/channels", name).await.status, 200, "{name}");
        page.test.clock.advance(std::time::Duration::from_secs(1));
    }
}

#[tokio::test]
async fn channels_are_listed_and_metadata_is_put() {
    let page = Page::start().await;
    let sdk = page.test.sdk();
    sdk.create_channel().name("public").send().await.unwrap();
    sdk.create_channel().name("offline").authorized(true).send().await.unwrap();
    let listed = page.get("/demo/channels", page.browser()).await.json();
    assert_eq!(listed["truncated"], false);
    let mut names: Vec<_> = listed["channels"].as_array().unwrap().clone();
    names.sort_by_key(|channel| channel["name"].to_string());
    let shown = |channel: &Value| (channel["name"].clone(), channel["live"].clone());
    assert_eq!(
        names.iter().map(shown).collect::<Vec<_>>(),
        [(json!("demo"), json!(true)), (json!("offline"), json!(false))]
    );

    let offline = names[1]["arn"].clone();
    let put = async |channel: &Value, metadata: &str| {
        page.test.clock.advance(std::time::Duration::from_secs(1));
        let body = json!({"channel": channel, "metadata": metadata});
        page.post("/demo/metadata", page.browser(), body).await
    };
    assert_eq!(put(&names[0]["arn"], "{\"poll\": 1}").await.status, 204);
    assert_eq!(put(&json!("demo"), "again").await.status, 204);
    assert_eq!(page.test.calls("PutMetadata").await, json!({"204": 2}));
    assert_eq!(put(&json!("demo"), &"x".repeat(1025)).await.pointers(), ["/metadata"]);
    assert_eq!(put(&json!("demo"), "").await.pointers(), ["/metadata"]);
    assert_eq!(put(&offline, "x").await.pointers(), ["/channel"]);
    put(&json!("nobody"), "x").await.problem(404, "channel_not_found");
    let absent = json!("arn:aws:ivs:us-west-2:123456789012:channel/absent");
    put(&absent, "x").await.problem(404, "channel_not_found");
}

#[tokio::test]
async fn lists_are_asked_for_twice_a_second_at_most() {
    let page = Page::start().await;
    for _ in 0..2 {
        assert_eq!(page.get("/demo/channels", page.browser()).await.status, 200);
    }
    let third = page.get("/demo/channels", page.browser()).await;
    third.problem(429, "rate_limited");
    assert_eq!(third.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn a_service_without_the_page_has_none() {
    let test = TestApp::start().await;
    for path in ["/", "/demo/page.js", "/demo/v1/key-pairs", "/demo/channels"] {
        test.get(path).await.problem(404, "not_found");
    }
}
