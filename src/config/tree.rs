//! The sections of the tree as types. What a key means, its unit and its default stand in
//! `config/default.toml`.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use secrecy::SecretString;

use super::{cors::CorsOrigin, network::Network};
use crate::{
    ivs::arn::{AccountId, ChannelArn, Region},
    telemetry::{Directives, Format},
};

/// `[server]`
#[derive(Clone, Debug)]
pub struct Server {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Worker threads; zero means one for each core.
    pub workers: usize,
    /// The longest that a request may take.
    pub request_timeout: Duration,
    /// The longest request body, in bytes.
    pub max_body: usize,
    /// How long an idle connection is kept.
    pub keep_alive: Duration,
    /// How long a request head may take to arrive.
    pub header_timeout: Duration,
    /// How long a client may take nothing of an answer.
    pub write_timeout: Duration,
    /// The most connections at a time; zero means what the limit of open files allows.
    pub max_connections: usize,
    /// How long to go on serving after SIGTERM.
    pub drain_delay: Duration,
    /// How long requests in flight may take to finish after that.
    pub shutdown_grace: Duration,
    /// The web origins that may call from a browser.
    pub cors_origins: Vec<CorsOrigin>,
    /// Where metrics and probes are served without a credential; none leaves `/metrics` on `listen`.
    pub operations_listen: Option<SocketAddr>,
    /// Proxies whose forwarding headers are believed.
    pub trusted_proxies: Vec<Network>,
    /// `tls_cert` and `tls_key`; none serves plain HTTP.
    pub tls: Option<TlsFiles>,
}

/// The PEM files that TLS needs.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate chain.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// `[ivs]`, and the flags that say how to reach AWS.
#[derive(Clone, Debug)]
pub struct Ivs {
    /// The regions to serve; empty means the region of the AWS configuration.
    pub regions: Vec<Region>,
    /// The only account whose credentials are accepted.
    pub account_id: Option<AccountId>,
    /// Time limit of one call.
    pub timeout: Duration,
    /// `--region`: the one region that this command is about.
    pub region: Option<Region>,
    /// `--profile`: a profile of the AWS configuration.
    pub profile: Option<String>,
    /// `--endpoint-url`: an endpoint for IVS, and for no other AWS service.
    pub endpoint_url: Option<String>,
}

/// `[keys]`
#[derive(Clone, Debug)]
pub struct Keys {
    /// Where private keys are kept.
    pub store: KeyStore,
    /// The folder of [`KeyStore::Dir`].
    pub dir: PathBuf,
    /// The secret's name of [`KeyStore::SecretsManager`], with `{account}` and `{region}` in it.
    pub secret_name: String,
    /// How often the keyring is read again.
    pub refresh_every: Duration,
    /// A keyring that was read longer ago signs nothing.
    pub max_staleness: Duration,
    /// Whether this process may write the keyring and change IVS.
    pub manage: bool,
    /// What to do about an active pair that was deleted in IVS.
    pub heal: Heal,
}

/// Where private keys are kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyStore {
    /// A folder on this machine.
    Dir,
    /// AWS Secrets Manager.
    SecretsManager,
}

/// What to do about an active pair that was deleted in IVS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Heal {
    /// Nothing.
    Off,
    /// Import the same public key again.
    Reimport,
    /// Make a new pair.
    Replace,
}

/// `[rotation]`
#[derive(Clone, Debug)]
pub struct Rotation {
    /// How often keys are rotated; none never.
    pub every: Option<Duration>,
    /// How long an imported key waits before it signs.
    pub propagation_wait: Duration,
    /// How much longer than its last token an old key is kept in IVS.
    pub drain_margin: Duration,
    /// How often the keyring is compared with IVS.
    pub reconcile_every: Duration,
    /// How long signing goes on while a deleted active pair is being imported again.
    pub heal_wait: Duration,
    /// The channel that proves that a new key is known.
    pub canary_channel: Option<String>,
    /// How long to wait after the canary has proved the new key.
    pub canary_settle: Duration,
    /// A canary that proves nothing for this long means that the rotation is stuck.
    pub canary_timeout: Duration,
}

/// `[tokens]`
#[derive(Clone, Debug)]
pub struct Tokens {
    /// Lifetime of a token whose request names none, in whole seconds.
    pub default_ttl: Duration,
    /// The longest lifetime that may be asked for, in whole seconds.
    pub max_ttl: Duration,
    /// What to do for a channel that plays without a token.
    pub public_channels: PublicChannels,
    /// Whether the issue time becomes the session version where none is asked for.
    pub stamp_session_version: bool,
    /// For how long equal claims may be given the same token; none never.
    pub share: Option<Duration>,
}

/// What to do for a channel that plays without a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PublicChannels {
    /// Mint, with a warning.
    Mint,
    /// Refuse.
    Refuse,
}

/// `[channels]`
#[derive(Clone, Debug)]
pub struct Channels {
    /// How long a looked-up channel counts as fresh.
    pub fresh_for: Duration,
    /// How long after it was fetched it may still be served.
    pub stale_for: Duration,
    /// How long absence is remembered, and that a channel is public.
    pub not_found_for: Duration,
    /// Channels kept in memory.
    pub capacity: u64,
    /// Calls a second to IVS, of each operation.
    pub calls_per_second: f64,
    /// How long lookups of different channels gather before they go out as one call.
    pub gather: Duration,
    /// The longest that a caller waits for a lookup.
    pub deadline: Duration,
    /// What to do for a channel never seen while IVS cannot answer.
    pub on_unavailable: Unavailable,
    /// Whether to read all channels at start.
    pub warm_up: bool,
    /// Short names for channels.
    pub aliases: BTreeMap<String, ChannelArn>,
}

/// What to do for a channel never seen while IVS cannot answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unavailable {
    /// Mint without having seen the channel.
    Mint,
    /// Refuse.
    Refuse,
}

/// `[viewers]`
#[derive(Clone, Debug)]
pub struct Viewers {
    /// How far clocks may differ when "until now" is revoked, in whole seconds.
    pub clock_allowance: Duration,
    /// Whether `denyFor` is allowed although other replicas do not learn of it.
    pub local_deny: bool,
    /// Where denials are kept.
    pub deny_list: PathBuf,
}

/// `[access]`
#[derive(Clone, Debug)]
pub struct Access {
    /// The clients file.
    pub clients: PathBuf,
    /// How often the clients file is looked at for changes.
    pub reload_every: Duration,
}

/// `[audit]`
#[derive(Clone, Debug)]
pub struct Audit {
    /// Where a line for each mint decision goes.
    pub sink: AuditSink,
    /// What to do when the sink cannot be written.
    pub on_failure: AuditFailure,
}

/// Where the audit log goes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AuditSink {
    /// This file (`audit.path`), appended to.
    File(PathBuf),
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
}

/// What to do when the audit log cannot be written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AuditFailure {
    /// Refuse to mint.
    Deny,
    /// Mint, and say so in the log.
    Warn,
}

/// `[shared]`
#[derive(Clone, Debug)]
pub struct Shared {
    /// The engine that replicas share. May hold a password.
    pub url: Option<SecretString>,
    /// What to do when it cannot be reached.
    pub on_failure: SharedFailure,
}

/// What to do when the shared engine cannot be reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SharedFailure {
    /// Go on without it.
    Allow,
    /// Refuse.
    Deny,
}

/// `[log]`
#[derive(Clone, Debug)]
pub struct Log {
    /// How lines are written.
    pub format: Format,
    /// How much is logged.
    pub level: Directives,
}
