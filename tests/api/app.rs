//! A whole service against an emulated IVS, with a clock that a test moves.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, HeaderValue, Request, StatusCode},
};
use http_body_util::BodyExt;
use ivs_playback_auth::{
    app::App,
    clock::{Clock, ManualClock, TimeSource, Timestamp},
    config::{Config, Environment, Sources},
    emulator::{Emulator, Options},
    ivs::{
        IvsRegions, RegionalIvs,
        arn::{AccountId, ChannelArn, Region},
    },
    telemetry::{Instruments, metrics::Metrics},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

/// When the clock of a test starts.
pub(crate) const START: Timestamp = Timestamp::from_unix_seconds(1_795_337_700);

pub(crate) struct TestApp {
    pub(crate) app: App,
    pub(crate) router: Router,
    pub(crate) clock: ManualClock,
    /// How many seconds the clock of IVS is ahead of `clock`.
    pub(crate) ivs_ahead: Arc<AtomicI64>,
    pub(crate) emulator: Emulator,
    pub(crate) emulator_address: SocketAddr,
    pub(crate) channel: ChannelArn,
    /// Private channels that nobody has asked for yet.
    pub(crate) cold: Vec<ChannelArn>,
    pub(crate) credential: String,
    pub(crate) metrics: Metrics,
    /// The environment that it is configured by, but for the settings of the test.
    pub(crate) variables: Vec<(String, String)>,
    server: tokio::task::AbortHandle,
    /// Removed when the test ends.
    folder: TempDir,
}

/// What kind of IVS is emulated.
#[derive(Debug, Default)]
pub(crate) struct Emulated {
    /// Whether it throttles, by real time.
    pub(crate) enforce_rates: bool,
    /// Private channels beside `demo`.
    pub(crate) cold: usize,
    /// How many seconds the clock of IVS is ahead of that of the service.
    pub(crate) clock_ahead: i64,
}

/// Another clock, so many seconds ahead.
#[derive(Debug)]
struct Ahead(Clock, Arc<AtomicI64>);

impl TimeSource for Ahead {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(
            self.0.now().unix_millis() + 1000 * self.1.load(Ordering::SeqCst),
        )
    }

    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The body of a problem, after checking what every problem has.
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        let body = self.json();
        assert_eq!((self.status.as_u16(), body["code"].as_str()), (status, Some(code)), "{body}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        assert_eq!(body["status"], status);
        assert_eq!(body["type"], format!("/docs/errors/{code}"));
        assert_eq!(body["requestId"].as_str(), self.header("x-request-id"));
        assert!(body["title"].is_string() && body["detail"].is_string(), "{body}");
        body
    }

    /// The pointers of an `invalid_request`, sorted.
    pub(crate) fn pointers(&self) -> Vec<String> {
        let body = self.problem(422, "invalid_request");
        let errors = body["errors"].as_array().expect("errors");
        let mut pointers: Vec<_> =
            errors.iter().map(|it| it["pointer"].as_str().unwrap().to_owned()).collect();
        pointers.sort();
        pointers
    }
}

impl TestApp {
    /// With a key pair that signs, one private channel `demo`, and a client with every scope.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[], true).await
    }

    pub(crate) async fn start_without_key() -> Self {
        Self::start_with(&[], false).await
    }

    /// With more configuration; `with_key` makes the first key pair.
    pub(crate) async fn start_with(settings: &[(&str, &str)], with_key: bool) -> Self {
        Self::start_against(Emulated::default(), settings, with_key).await
    }

    /// The same against another IVS.
    pub(crate) async fn start_against(
        emulated: Emulated,
        settings: &[(&str, &str)],
        with_key: bool,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // An IVS that goes by real time would find the clock of a fixed start hours off.
        let start = if emulated.enforce_rates { Clock::system().now() } else { START };
        let (clock, manual) = Clock::manual(start);
        let account: AccountId = "123456789012".parse().unwrap();
        let region: Region = "us-west-2".parse().unwrap();
        let mut options = Options::new(folder.path().join("emulator"), account.clone());
        let mut cold = Vec::new();
        if emulated.cold > 0 {
            // Before rates are enforced: 300 channels would take a minute to make.
            let emulator = Emulator::open(options.clone(), clock.clone()).unwrap();
            for number in 0..emulated.cold {
                let name = format!("cold-{number}");
                cold.push(emulator.ensure_live_channel(&region, &name).await.unwrap());
            }
        }
        options.enforce_rates = emulated.enforce_rates;
        let ivs_ahead = Arc::new(AtomicI64::new(emulated.clock_ahead));
        let emulator_clock = if emulated.enforce_rates {
            Clock::system()
        } else {
            Clock::from_source(Ahead(clock.clone(), Arc::clone(&ivs_ahead)))
        };
        let emulator = Emulator::open(options, emulator_clock).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let emulator_address = listener.local_addr().unwrap();
        let server = serve(listener, emulator.router());
        let channel = emulator.ensure_live_channel(&region, "demo").await.unwrap();

        let credential = credential('a');
        let all = "tokens:mint,tokens:inspect,channels:read,keys:read,keys:write,viewers:revoke,\
                   metrics:read";
        let visitor = "tokens:mint,tokens:inspect,channels:read,viewers:revoke";
        let clients = [('a', all), ('i', "tokens:inspect"), ('r', "channels:read"), ('v', visitor)];
        let clients = clients.map(|(id, scopes)| client(id, scopes)).join("\n");
        let variables = vec![
            ("IVS_PLAYBACK_AUTH__IVS__REGIONS".to_owned(), "us-west-2".to_owned()),
            ("IVS_PLAYBACK_AUTH__IVS__ACCOUNT_ID".to_owned(), account.to_string()),
            ("IVS_PLAYBACK_AUTH__CHANNELS__ALIASES__DEMO".to_owned(), channel.to_string()),
            ("IVS_PLAYBACK_AUTH__AUDIT__SINK".to_owned(), "off".to_owned()),
            ("IVS_PLAYBACK_AUTH_CLIENTS".to_owned(), clients),
            (
                "IVS_PLAYBACK_AUTH__VIEWERS__DENY_LIST".to_owned(),
                folder.path().join("denied.jsonl").display().to_string(),
            ),
            (
                "IVS_PLAYBACK_AUTH__KEYS__DIR".to_owned(),
                folder.path().join("keys").display().to_string(),
            ),
        ];
        let app = build(emulator_address, &variables, settings, clock).await;
        let test = Self {
            router: app.router(),
            metrics: app.api().metrics.clone(),
            app,
            clock: manual,
            ivs_ahead,
            emulator,
            emulator_address,
            channel,
            cold,
            credential,
            variables,
            server,
            folder,
        };
        if with_key {
            test.make_first_key().await;
        }
        test
    }

    /// Where the private keys are.
    pub(crate) fn keys_folder(&self) -> std::path::PathBuf {
        self.folder.path().join("keys")
    }

    /// Where files of the test are kept.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Makes the region's first key, as `keys rotate` does.
    pub(crate) async fn make_first_key(&self) {
        self.app.ensure_first_key(&"us-west-2".parse().unwrap()).await.unwrap();
    }

    /// IVS itself, past the service.
    pub(crate) fn regional_ivs(&self) -> RegionalIvs {
        self.app.api().ivs.iter().next().unwrap().clone()
    }

    /// The `aws_sdk_ivs` client, for what the service never calls.
    pub(crate) fn sdk(&self) -> aws_sdk_ivs::Client {
        let credentials = aws_sdk_ivs::config::Credentials::new("test", "test", None, None, "test");
        let config = aws_sdk_ivs::Config::builder()
            .behavior_version(aws_sdk_ivs::config::BehaviorVersion::latest())
            .region(aws_sdk_ivs::config::Region::new("us-west-2"))
            .credentials_provider(credentials)
            .endpoint_url(format!("http://{}", self.emulator_address))
            .build();
        aws_sdk_ivs::Client::from_conf(config)
    }

    /// From now on nothing answers at IVS's address.
    pub(crate) fn stop_emulator(&self) {
        self.server.abort();
    }

    /// A listing may be asked for once in 2 s.
    pub(crate) fn advance_past_refresh_pause(&self) {
        self.clock.advance(Duration::from_secs(3));
    }

    /// The emulator is back at its address.
    pub(crate) async fn restart_emulator(&mut self) {
        let listener = tokio::net::TcpListener::bind(self.emulator_address).await.unwrap();
        self.server = serve(listener, self.emulator.router());
    }

    /// Makes calls of the emulator misbehave.
    pub(crate) async fn fault(&self, fault: Value) {
        let body = Body::from(fault.to_string());
        let request = Request::post("/_emulator/faults").body(body).unwrap();
        let answer = ask(self.emulator.router(), request).await;
        assert_eq!(answer.status, 201, "{fault}");
    }

    /// How many calls of this operation arrived at the emulator, by status.
    pub(crate) async fn calls(&self, operation: &str) -> Value {
        let request = Request::get("/_emulator/calls").body(Body::empty()).unwrap();
        let calls = ask(self.emulator.router(), request).await.json();
        calls["operations"][operation]["statuses"].clone()
    }

    /// Whether a call of this operation has arrived at the emulator, answered or not.
    pub(crate) async fn is_asked(&self, operation: &str) -> bool {
        let request = Request::get("/_emulator/calls").body(Body::empty()).unwrap();
        let answer = ask(self.emulator.router(), request).await.json();
        !answer["operations"][operation].is_null()
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let answer = ask(self.router.clone(), request).await;
        assert!(answer.header("x-request-id").is_some(), "{answer:?}");
        answer
    }

    /// A request with the credential that has every scope.
    pub(crate) fn request(&self, method: &str, path: &str) -> axum::http::request::Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", self.credential))
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(self.request("DELETE", path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_text(path, &body.to_string()).await
    }

    pub(crate) async fn post_text(&self, path: &str, body: &str) -> Answer {
        let request = self
            .request("POST", path)
            .header("content-type", "application/json")
            .body(Body::from(body.to_owned()))
            .unwrap();
        self.send(request).await
    }

    pub(crate) async fn mint(&self, body: Value) -> Answer {
        self.post("/v1/tokens", &body).await
    }

    /// Mints for `demo` and expects a token.
    pub(crate) async fn minted(&self, mut body: Value) -> Value {
        if body.get("channel").is_none() {
            body["channel"] = json!("demo");
        }
        let answer = self.mint(body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// What the emulated playback edge answers.
    pub(crate) async fn play(&self, playback_url: &str, origin: Option<&str>) -> Answer {
        let url = url::Url::parse(playback_url).unwrap();
        let path = &url[url::Position::BeforePath..];
        let mut request = Request::builder().uri(path).header("host", "edge.test");
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        ask(self.emulator.router(), request.body(Body::empty()).unwrap()).await
    }
}

/// A service before the IVS at this address, by the variables and, over them, the settings.
pub(crate) async fn build(
    emulator: SocketAddr,
    variables: &[(String, String)],
    settings: &[(&str, &str)],
    clock: Clock,
) -> App {
    let settings = settings.iter().map(|(key, value)| {
        let key = key.replace('.', "__").to_uppercase();
        (format!("IVS_PLAYBACK_AUTH__{key}"), (*value).to_owned())
    });
    let env: Environment = variables.iter().cloned().chain(settings).collect();
    let config = Config::load(Sources { env, ..Sources::default() }).unwrap();
    let instruments = Instruments::new(clock);
    let ivs = IvsRegions::fixed(
        &format!("http://{emulator}"),
        "us-west-2".parse().unwrap(),
        "123456789012".parse().unwrap(),
        "test",
        "test",
        // What is waited for is what a test is about.
        Duration::from_secs(30),
        &instruments,
    );
    App::build(&config, ivs, instruments).await.unwrap()
}

/// An ARN as a segment of a path.
pub(crate) fn encoded(arn: &str) -> String {
    arn.replace('/', "%2F")
}

/// What a router answers.
pub(crate) async fn ask(router: Router, mut request: Request<Body>) -> Answer {
    request.headers_mut().entry("host").or_insert(HeaderValue::from_static("service.test"));
    let response = router.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    Answer { status: parts.status, headers: parts.headers, text }
}

fn serve(listener: tokio::net::TcpListener, router: Router) -> tokio::task::AbortHandle {
    #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    server.abort_handle()
}

/// The credential of a client: `a` may do everything, `i` inspects tokens only, `r` reads channels
/// only, `v` is a visitor of a public demo page.
pub(crate) fn credential(client: char) -> String {
    format!("ipa_{}_{}", client.to_string().repeat(12), "B".repeat(43))
}

fn client(client: char, scopes: &str) -> String {
    let id = client.to_string().repeat(12);
    let scopes: Vec<_> = scopes.split(',').map(|scope| format!("\"{scope}\"")).collect();
    format!(
        "[[clients]]\nid = \"{id}\"\nname = \"{id}\"\nsecret_sha256 = \"{}\"\nscopes = [{}]\n",
        sha256(&"B".repeat(43)),
        scopes.join(", ")
    )
}

fn sha256(text: &str) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(text).iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}
