//! Reads every section from its keys.

use std::collections::BTreeMap;

use url::Url;

use super::{
    Overrides,
    parse::{self, Choice},
    reader::Reader,
    tree::{
        Access, Audit, AuditFailure, AuditSink, Channels, Heal, Ivs, KeyStore, Keys, Log,
        PublicChannels, Rotation, Server, Shared, SharedFailure, TlsFiles, Tokens, Unavailable,
        Viewers,
    },
};
use crate::{
    ivs::{
        arn::{ChannelArn, Region},
        parse_region,
    },
    telemetry::Format,
};

/// Every section.
#[derive(Debug)]
pub(super) struct Sections {
    pub(super) server: Server,
    pub(super) ivs: Ivs,
    pub(super) keys: Keys,
    pub(super) rotation: Rotation,
    pub(super) tokens: Tokens,
    pub(super) channels: Channels,
    pub(super) viewers: Viewers,
    pub(super) access: Access,
    pub(super) audit: Audit,
    pub(super) shared: Shared,
    pub(super) log: Log,
}

/// Reads every key of every section, so that all problems are found; nothing if there is one.
pub(super) fn read(reader: &mut Reader<'_>, overrides: Overrides) -> Option<Sections> {
    let server = server(reader);
    let ivs = ivs(reader, overrides);
    let keys = keys(reader);
    let rotation = rotation(reader);
    let tokens = tokens(reader);
    let channels = channels(reader);
    let viewers = viewers(reader);
    let access = access(reader);
    let audit = audit(reader);
    let shared = shared(reader);
    let log = log(reader);
    Some(Sections {
        server: server?,
        ivs: ivs?,
        keys: keys?,
        rotation: rotation?,
        tokens: tokens?,
        channels: channels?,
        viewers: viewers?,
        access: access?,
        audit: audit?,
        shared: shared?,
        log: log?,
    })
}

/// Reads each `field` of a section from the key `section.field` by its parser, all of them before the
/// first missing value ends it. Fields in brackets were read before.
macro_rules! section {
    (
        $reader:ident, $section:literal,
        $name:ident { $($field:ident: $parse:expr),+ $(,)? } $(, [$($given:ident),+])?
    ) => {{
        $(let $field = $reader.read(concat!($section, ".", stringify!($field)), $parse);)+
        Some($name { $($field: $field?,)+ $($($given: $given?,)+)? })
    }};
}

fn server(reader: &mut Reader<'_>) -> Option<Server> {
    let cert = reader.read("server.tls_cert", parse::optional_path);
    let key = reader.read("server.tls_key", parse::optional_path);
    // Both or neither: see `rules`.
    let tls =
        cert.zip(key).map(|(cert, key)| cert.zip(key).map(|(cert, key)| TlsFiles { cert, key }));
    section!(
        reader,
        "server",
        Server {
            listen: parse::address,
            workers: parse::threads,
            request_timeout: parse::period,
            max_body: parse::size,
            keep_alive: parse::period,
            header_timeout: parse::period,
            write_timeout: parse::period,
            max_connections: parse::connections,
            drain_delay: parse::duration,
            shutdown_grace: parse::duration,
            cors_origins: parse::cors_origins,
            operations_listen: parse::optional_address,
            trusted_proxies: parse::networks,
        },
        [tls]
    )
}

fn ivs(reader: &mut Reader<'_>, overrides: Overrides) -> Option<Ivs> {
    let region = overrides.region.as_deref().map(parse_region).transpose();
    if let Err(error) = &region {
        reader.flag_problem("--region", &format!("{error}."));
    }
    let region = region.ok();
    let configured = reader.peek("ivs.regions", parse::regions).unwrap_or_default();
    if let Some(Some(region)) = &region
        && !configured.is_empty()
        && !configured.contains(region)
    {
        // A key made there would sign for nobody.
        let covered = Region::list(&configured);
        let problem =
            format!("must be one of ivs.regions: {covered}. Add {region} there, or choose.");
        reader.flag_problem("--region", &problem);
    }
    let profile = Some(overrides.profile);
    let endpoint_url = Some(overrides.endpoint_url).filter(|endpoint_url| {
        let usable = endpoint_url.as_deref().is_none_or(is_http_url);
        if !usable {
            reader.flag_problem(
                "--endpoint-url",
                "must be a URL that begins with http:// or https://.",
            );
        }
        usable
    });
    section!(
        reader,
        "ivs",
        Ivs {
            regions: parse::regions,
            account_id: parse::optional_account,
            timeout: parse::period,
        },
        [region, profile, endpoint_url]
    )
}

fn is_http_url(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

fn keys(reader: &mut Reader<'_>) -> Option<Keys> {
    section!(
        reader,
        "keys",
        Keys {
            store: parse::choice,
            dir: parse::path,
            secret_name: parse::secret_name,
            refresh_every: parse::period,
            max_staleness: parse::period,
            manage: parse::boolean,
            heal: parse::choice,
        }
    )
}

fn rotation(reader: &mut Reader<'_>) -> Option<Rotation> {
    section!(
        reader,
        "rotation",
        Rotation {
            every: parse::period_or_off,
            propagation_wait: parse::duration,
            drain_margin: parse::period,
            reconcile_every: parse::period,
            heal_wait: parse::duration,
            canary_channel: parse::optional_text,
            canary_settle: parse::duration,
            canary_timeout: parse::period,
        }
    )
}

fn tokens(reader: &mut Reader<'_>) -> Option<Tokens> {
    section!(
        reader,
        "tokens",
        Tokens {
            default_ttl: parse::lifetime,
            max_ttl: parse::lifetime,
            public_channels: parse::choice,
            stamp_session_version: parse::boolean,
            share: parse::period_or_off,
        }
    )
}

fn channels(reader: &mut Reader<'_>) -> Option<Channels> {
    let aliases = aliases(reader);
    section!(
        reader,
        "channels",
        Channels {
            fresh_for: parse::duration,
            stale_for: parse::duration,
            not_found_for: parse::duration,
            capacity: parse::capacity,
            calls_per_second: parse::rate,
            gather: parse::duration,
            deadline: parse::period,
            on_unavailable: parse::choice,
            warm_up: parse::boolean,
        },
        [aliases]
    )
}

fn aliases(reader: &mut Reader<'_>) -> Option<BTreeMap<String, ChannelArn>> {
    let mut aliases = BTreeMap::new();
    let mut complete = true;
    for (key, name) in reader.entries("channels.aliases") {
        let arn = reader.read(&key, parse::channel_arn);
        let named = is_alias_name(&name);
        if !named {
            reader.problem(
                &key,
                "must have a name of at most 64 characters: a-z, 0-9, - and _, beginning with a \
                 letter or digit.",
            );
        }
        match arn {
            Some(arn) if named => {
                aliases.insert(name, arn);
            }
            Some(_) | None => complete = false,
        }
    }
    complete.then_some(aliases)
}

/// `[a-z0-9][a-z0-9_-]{0,63}`
fn is_alias_name(name: &str) -> bool {
    let first = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 64
        && name.bytes().next().is_some_and(first)
        && name.bytes().all(|c| first(c) || matches!(c, b'_' | b'-'))
}

fn viewers(reader: &mut Reader<'_>) -> Option<Viewers> {
    section!(
        reader,
        "viewers",
        Viewers {
            clock_allowance: parse::seconds,
            local_deny: parse::boolean,
            deny_list: parse::path,
        }
    )
}

fn access(reader: &mut Reader<'_>) -> Option<Access> {
    section!(reader, "access", Access { clients: parse::path, reload_every: parse::period })
}

fn audit(reader: &mut Reader<'_>) -> Option<Audit> {
    let kind = reader.read("audit.sink", parse::choice);
    let path = reader.read("audit.path", parse::optional_path);
    let sink = kind.zip(path).and_then(|(kind, path)| match kind {
        // A file needs its path: see `rules`.
        SinkKind::File => path.map(AuditSink::File),
        SinkKind::Off => Some(AuditSink::Off),
        SinkKind::Stdout => Some(AuditSink::Stdout),
    });
    section!(reader, "audit", Audit { on_failure: parse::choice }, [sink])
}

/// `audit.sink`, before `audit.path` is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum SinkKind {
    File,
    Off,
    Stdout,
}

fn shared(reader: &mut Reader<'_>) -> Option<Shared> {
    section!(reader, "shared", Shared { url: parse::optional_secret, on_failure: parse::choice })
}

fn log(reader: &mut Reader<'_>) -> Option<Log> {
    section!(reader, "log", Log { format: parse::choice, level: parse::directives })
}

impl Choice for KeyStore {
    const WORDS: &[(&str, Self)] = &[("dir", Self::Dir), ("secrets-manager", Self::SecretsManager)];
}

impl Choice for Heal {
    const WORDS: &[(&str, Self)] =
        &[("reimport", Self::Reimport), ("replace", Self::Replace), ("off", Self::Off)];
}

impl Choice for PublicChannels {
    const WORDS: &[(&str, Self)] = &[("refuse", Self::Refuse), ("mint", Self::Mint)];
}

impl Choice for Unavailable {
    const WORDS: &[(&str, Self)] = &[("refuse", Self::Refuse), ("mint", Self::Mint)];
}

impl Choice for SinkKind {
    const WORDS: &[(&str, Self)] =
        &[("stdout", Self::Stdout), ("file", Self::File), ("off", Self::Off)];
}

impl Choice for AuditFailure {
    const WORDS: &[(&str, Self)] = &[("warn", Self::Warn), ("deny", Self::Deny)];
}

impl Choice for SharedFailure {
    const WORDS: &[(&str, Self)] = &[("allow", Self::Allow), ("deny", Self::Deny)];
}

impl Choice for Format {
    const WORDS: &[(&str, Self)] =
        &[("auto", Self::Auto), ("json", Self::Json), ("text", Self::Text)];
}
