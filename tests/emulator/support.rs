//! An emulator for one test, and three ways to call it.

use std::{net::SocketAddr, time::Duration};

use aws_sdk_ivs::{
    Client, Config,
    config::{self, BehaviorVersion, Credentials, Region, retry::RetryConfig},
};
use axum::{
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode},
};
use ivs_playback_auth::{
    clock::{Clock, ManualClock, Timestamp},
    emulator::{Emulator, Options},
};
use p384::ecdsa::SigningKey;
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

pub(crate) use crate::signer::{key, pem, token};

pub(crate) const REGION: &str = "us-west-2";
pub(crate) const ACCOUNT: &str = "123456789012";

/// The time at which every test begins.
pub(crate) const NOW: i64 = 1_795_337_700;

/// An emulator with its own folder and clock.
pub(crate) struct TestEmulator {
    pub(crate) emulator: Emulator,
    pub(crate) clock: ManualClock,
    pub(crate) dir: TempDir,
}

impl TestEmulator {
    pub(crate) fn start() -> Self {
        Self::with(|_| ())
    }

    pub(crate) fn with(set: impl FnOnce(&mut Options)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (clock, manual) = Clock::manual(Timestamp::from_unix_seconds(NOW));
        let mut options = options(&dir);
        set(&mut options);
        Self { emulator: Emulator::open(options, clock).unwrap(), clock: manual, dir }
    }

    /// Opens the same folder again.
    pub(crate) fn restart(self) -> Self {
        let Self { emulator, clock, dir } = self;
        drop(emulator);
        let (same, _) = Clock::manual(Timestamp::from_unix_seconds(NOW));
        let emulator = Emulator::open(options(&dir), same).unwrap();
        Self { emulator, clock, dir }
    }

    /// Returns the real client, over loopback.
    pub(crate) async fn client(&self, region: &str) -> Client {
        Client::from_conf(self.client_config(region).await.build())
    }

    /// Returns the configuration of the client.
    pub(crate) async fn client_config(&self, region: &str) -> config::Builder {
        let address = self.listen().await;
        Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(region.to_owned()))
            .endpoint_url(format!("http://{address}"))
            .credentials_provider(Credentials::new("AKID", "secret", None, None, "test"))
            .retry_config(RetryConfig::disabled())
    }

    /// Starts a listener on loopback and returns its address.
    pub(crate) async fn listen(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = self.emulator.router();
        let server = async move { axum::serve(listener, router).await };
        tokio_util::task::TaskTracker::new().spawn(server);
        address
    }

    /// Sends a signed `POST /operation`.
    pub(crate) async fn call(&self, operation: &str, input: &Value) -> Answer {
        self.send(signed(Method::POST, &format!("/{operation}"), input.to_string())).await
    }

    /// Sends any request, without a network.
    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.emulator.router().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let text = String::from_utf8_lossy(&body).into_owned();
        Answer { status: parts.status, headers: parts.headers, body: text, bytes: body.to_vec() }
    }

    /// Creates a channel with these settings. Returns its ARN.
    pub(crate) async fn channel(&self, settings: &Value) -> String {
        let answer = self.call("CreateChannel", settings).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.json()["channel"]["arn"].as_str().unwrap().to_owned()
    }

    /// Puts a channel live (PUT) or offline (DELETE).
    pub(crate) async fn stream(&self, method: Method, channel: &str) -> Answer {
        let path = format!("/_emulator/streams/{}", encode(channel));
        self.send(Request::builder().method(method).uri(path).body(Body::empty()).unwrap()).await
    }

    /// Imports the public key. Returns the ARN of the pair.
    pub(crate) async fn import(&self, key: &SigningKey) -> String {
        let answer =
            self.call("ImportPlaybackKeyPair", &json!({"publicKeyMaterial": pem(key)})).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.json()["keyPair"]["arn"].as_str().unwrap().to_owned()
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

fn options(dir: &TempDir) -> Options {
    Options::new(dir.path(), ACCOUNT.parse().unwrap())
}

/// A response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The body as text, with replacement characters.
    pub(crate) body: String,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Returns the status and the code of an error. Checks that both places of the code agree.
    pub(crate) fn error(&self) -> (u16, String) {
        let json = self.json();
        let code = json["__type"].as_str().unwrap_or_else(|| panic!("no error: {}", self.body));
        assert_eq!(self.header("x-amzn-errortype"), Some(code));
        assert!(json["message"].as_str().is_some_and(|message| !message.is_empty()));
        assert_eq!(json["message"], json["exceptionMessage"]);
        (self.status.as_u16(), code.to_owned())
    }

    /// Returns the `emulator_reason` of a refusal by the edge.
    pub(crate) fn reason(&self) -> String {
        let json = self.json();
        assert_eq!(self.status, StatusCode::FORBIDDEN);
        assert_eq!(json.as_array().unwrap().len(), 1);
        assert_eq!(json[0]["type"], "error");
        json[0]["emulator_reason"].as_str().unwrap().to_owned()
    }
}

/// Returns the `Authorization` header of a call for `region`, as far as the emulator reads it.
pub(crate) fn authorization(region: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential=AKID/20261122/{region}/ivs/aws4_request, \
         SignedHeaders=content-type;host;x-amz-date, Signature=00"
    )
}

pub(crate) fn signed(method: Method, uri: &str, body: impl Into<Body>) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(uri)
        .header("host", "127.0.0.1:8090")
        .header("content-type", "application/json")
        .header("authorization", authorization(REGION))
        .body(body.into())
        .unwrap()
}

/// Percent-encodes a path segment.
pub(crate) fn encode(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
