//! The `[server]` section of the configuration.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use schemars::{JsonSchema, Schema, json_schema};
use serde::Deserialize;

use super::cors_origin::CorsOrigin;
use crate::settings::{As, Form, NotAvailable, Period, Size, Value, Whole};

/// The HTTP server.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// IP address and port to listen on; port 0 takes a free one.
    #[serde(with = "As::<SocketAddr>")]
    #[schemars(extend("default" = "127.0.0.1:8080"))]
    pub listen: SocketAddr,
    /// Worker threads; 0 means one for each core.
    #[serde(with = "As::<Whole<usize, 0, 1024>>")]
    #[schemars(extend("default" = 0))]
    pub workers: usize,
    /// A request that takes longer is answered 504; one whose body takes longer than nine tenths of it, 408.
    #[serde(with = "As::<Period>")]
    #[schemars(extend("default" = "10s"))]
    pub request_timeout: Duration,
    /// A longer request body is answered 413.
    #[serde(with = "As::<Size>")]
    #[schemars(extend("default" = "1MiB"))]
    pub max_body: usize,
    /// How long an idle connection is kept. It is longer than a load balancer's 60 s, so that the load balancer
    /// never sends into a connection that was just closed.
    #[serde(with = "As::<Period>")]
    #[schemars(extend("default" = "75s"))]
    pub keep_alive: Duration,
    /// How long a client may take to send a request head, counted from its first byte, or to finish the TLS
    /// handshake; also how long a new connection may stay silent.
    #[serde(with = "As::<Period>")]
    #[schemars(extend("default" = "10s"))]
    pub header_timeout: Duration,
    /// A connection whose client accepts no byte of a response for this long is closed.
    #[serde(with = "As::<Period>")]
    #[schemars(extend("default" = "30s"))]
    pub write_timeout: Duration,
    /// The maximum number of connections to `server.listen`. 0: the limit of open files less 256, at most 16384.
    /// When all are in use, those that have waited longest for a request are closed.
    #[serde(with = "As::<Connections>")]
    #[schemars(extend("default" = 0))]
    pub max_connections: usize,
    /// On SIGTERM: how long to continue serving with /readyz at 503, until load balancers have noticed.
    #[serde(with = "As::<Duration>")]
    #[schemars(extend("default" = "0s"))]
    pub drain_delay: Duration,
    /// After `drain_delay`: how long requests in flight may take to finish.
    #[serde(with = "As::<Duration>")]
    #[schemars(extend("default" = "15s"))]
    pub shutdown_grace: Duration,
    /// Web origins that may call from a browser: exact, or "https://*.example.com"; never "*".
    #[serde(with = "As::<Vec<CorsOrigin>>")]
    #[schemars(extend("default" = []))]
    pub cors_origins: Vec<CorsOrigin>,
    /// A second IP address and port, in plain HTTP and without credentials, for /metrics and the probes; empty:
    /// /metrics is on the first one, for clients with the scope metrics:read.
    #[serde(with = "As::<Option<SocketAddr>>")]
    #[schemars(extend("default" = ""))]
    pub operations_listen: Option<SocketAddr>,
    /// Not available in this version: addresses or networks (10.0.0.0/8) of proxies whose forwarding headers are
    /// trusted.
    #[serde(with = "As::<NotAvailable>")]
    #[schemars(extend("default" = [], "x-not-available" = "trusting the headers of a proxy"))]
    pub trusted_proxies: NotAvailable,
    /// PEM file of a TLS certificate chain; empty: plain HTTP.
    #[serde(with = "As::<Option<PathBuf>>")]
    #[schemars(extend("default" = ""))]
    pub tls_cert: Option<PathBuf>,
    /// PEM file of its private key; both files or neither.
    #[serde(with = "As::<Option<PathBuf>>")]
    #[schemars(extend("default" = ""))]
    pub tls_key: Option<PathBuf>,
}

/// The PEM files that TLS needs.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate chain.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Settings {
    /// Returns the TLS files, or nothing where the server speaks plain HTTP.
    pub fn tls(&self) -> Option<TlsFiles> {
        let (cert, key) = self.tls_cert.clone().zip(self.tls_key.clone())?;
        Some(TlsFiles { cert, key })
    }
}

/// A number of connections; zero leaves it to the limit of open files. Fewer than 16 serve no one.
struct Connections;

impl Form for Connections {
    type Value = usize;

    fn schema() -> Schema {
        json_schema!({ "anyOf": [{ "const": 0 }, Whole::<usize, 16, 1_000_000>::schema()] })
    }

    fn read(value: &Value) -> Result<usize, String> {
        if value.as_integer() == Some(0) {
            return Ok(0);
        }
        Whole::<usize, 16, 1_000_000>::read(value)
            .map_err(|_| "must be 0, or a whole number from 16 to 1000000".to_owned())
    }
}
