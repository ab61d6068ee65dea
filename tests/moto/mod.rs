//! An AWS Secrets Manager to test with: [moto](https://docs.getmoto.org), which `tests/run` installs.
//!
//! It runs in a process of its own, once for a test binary, and ends with it.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::LazyLock,
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_async::{rt::sleep::TokioSleep, time::SystemTimeSource};

/// The account that moto acts for, whatever the credentials are.
pub(crate) const ACCOUNT: &str = "123456789012";

struct Moto {
    url: String,
    /// Its standard input is open as long as this process lives.
    _process: Child,
}

static MOTO: LazyLock<Moto> = LazyLock::new(start);

/// Where it listens.
pub(crate) fn url() -> &'static str {
    &MOTO.url
}

/// The AWS configuration of a process that uses it, in `region`.
pub(crate) fn config(region: &str) -> SdkConfig {
    let credentials = Credentials::builder()
        .access_key_id("test")
        .secret_access_key("test")
        .provider_name("test")
        .build();
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(region.to_owned()))
        .endpoint_url(url())
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .sleep_impl(TokioSleep::new())
        .time_source(SystemTimeSource::new())
        // A client of its own for each test: connections belong to the test's runtime.
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build()
}

fn start() -> Moto {
    let python = python();
    assert!(
        python.exists(),
        "{} is missing: run `tests/run rust` once, which prepares the Python environment that the \
         tests of the Secrets Manager store need",
        python.display()
    );
    let mut process = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/moto/server.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut port = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let port: u16 = port.trim().parse().expect("moto ended before it listened; see above");
    Moto { url: format!("http://127.0.0.1:{port}"), _process: process }
}

/// Of the environment that `tests/run` prepares in the target folder.
fn python() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    target.join("python/bin/python")
}
