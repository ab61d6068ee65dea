//! Whole configurations: layers over each other, all problems at once, what is shown.

use proptest::prelude::*;
use secrecy::ExposeSecret;
use tempfile::TempDir;

use super::{keys::variable_of, *};
use crate::{access::AuditSink, keys::KeyStore};

const DEMO: &str = "arn:aws:ivs:us-west-2:123456789012:channel/AbCdEfGh1234";

fn load(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load(Sources { env: variables.iter().copied().collect(), ..Sources::default() })
}

/// The configuration of a file `site.toml` with this text, in a folder of its own.
fn load_file(text: &str) -> (TempDir, Result<Config, ConfigError>) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("site.toml"), text).unwrap();
    let sources = Sources {
        file: Some("site.toml".into()),
        cwd: folder.path().to_owned(),
        ..Sources::default()
    };
    (folder, Config::load(sources))
}

fn problems(result: Result<Config, ConfigError>) -> Vec<String> {
    result.unwrap_err().problems.iter().map(ToString::to_string).collect()
}

/// `IVS_PLAYBACK_AUTH__…` with this value has exactly this problem.
fn assert_problem(key: &str, value: &str, expected: &str) {
    let variable = variable_of(key);
    let found = problems(load(&[(variable.as_str(), value)]));
    assert_eq!(found, [format!("{variable}: {key} {expected}")]);
}

#[test]
fn defaults_are_those_of_the_contract() {
    let config = load(&[]).unwrap();
    let expected = r#"
        [server]
        listen = "127.0.0.1:8080"
        workers = 0
        request_timeout = "10s"
        max_body = "1MiB"
        keep_alive = "75s"
        header_timeout = "10s"
        write_timeout = "30s"
        max_connections = 0
        drain_delay = "0s"
        shutdown_grace = "15s"
        cors_origins = []
        operations_listen = ""
        trusted_proxies = []
        tls_cert = ""
        tls_key = ""
        [ivs]
        regions = []
        account_id = ""
        timeout = "5s"
        [keys]
        store = "dir"
        dir = "keys"
        secret_name = "ivs-playback-auth/{account}/{region}"
        refresh_every = "15s"
        max_staleness = "6h"
        manage = true
        heal = "reimport"
        [rotation]
        every = "off"
        propagation_wait = "10m"
        drain_margin = "24h"
        reconcile_every = "60s"
        heal_wait = "60s"
        canary_channel = ""
        canary_settle = "30s"
        canary_timeout = "10m"
        [tokens]
        default_ttl = "5m"
        max_ttl = "1h"
        public_channels = "refuse"
        stamp_session_version = true
        share = "off"
        [channels]
        fresh_for = "60s"
        stale_for = "24h"
        not_found_for = "10s"
        capacity = 100000
        calls_per_second = 4
        gather = "5ms"
        deadline = "5s"
        on_unavailable = "refuse"
        warm_up = false
        [viewers]
        clock_allowance = "5s"
        local_deny = false
        deny_list = "data/denied-viewers.jsonl"
        [access]
        clients = "config/clients.toml"
        reload_every = "5s"
        [audit]
        sink = "stdout"
        path = ""
        on_failure = "warn"
        [shared]
        url = ""
        on_failure = "allow"
        [log]
        format = "auto"
        level = "info"
    "#;
    let expected: toml::Table = expected.parse().unwrap();
    let shown: toml::Table = config.show().to_toml().parse().unwrap();
    assert_eq!(shown, expected);
}

#[test]
fn later_layer_wins() {
    let folder = tempfile::tempdir().unwrap();
    let text = "[tokens]\nmax_ttl = \"2h\"\ndefault_ttl = \"1m\"\n[server]\nworkers = 1\n\
                listen = \"127.0.0.1:1\"\n";
    fs::write(folder.path().join("site.toml"), text).unwrap();
    let config = Config::load(Sources {
        file: Some("site.toml".into()),
        env: [
            ("IVS_PLAYBACK_AUTH__TOKENS__MAX_TTL", "3h"),
            ("IVS_PLAYBACK_AUTH__SERVER__LISTEN", "127.0.0.1:2"),
        ]
        .into_iter()
        .collect(),
        overrides: Overrides { listen: Some("127.0.0.1:3".to_owned()), ..Overrides::default() },
        cwd: folder.path().to_owned(),
        ..Sources::default()
    })
    .unwrap();
    assert_eq!(config.tokens.default_ttl.as_secs(), 60);
    assert_eq!(config.tokens.max_ttl.as_secs(), 3 * 3600);
    assert_eq!(config.server.workers, 1);
    assert_eq!(config.server.listen.port(), 3);

    let shown = serde_json::to_value(config.show()).unwrap();
    assert_eq!(shown["tokens"]["max_ttl"], "3h");
    assert_eq!(shown["server"]["workers"], 1);
    assert_eq!(shown["origins"]["tokens.max_ttl"], "IVS_PLAYBACK_AUTH__TOKENS__MAX_TTL");
    assert_eq!(shown["origins"]["tokens.default_ttl"], "site.toml:3");
    assert_eq!(shown["origins"]["server.listen"], "--listen");
    assert_eq!(shown["origins"]["server.keep_alive"], "default");
    assert!(config.show().to_toml().contains("listen = \"127.0.0.1:3\"  # --listen\n"));
}

#[test]
fn all_problems_are_reported_at_once_with_their_places() {
    let text = "[server]\nlisen = \"0.0.0.0:80\"\nworkers = \"many\"\n\n[tokens]\n\
                default_ttl = \"2h\"\nmax_ttl = \"1h\"\n[serve]\n";
    let (folder, _) = load_file(text);
    let found = problems(Config::load(Sources {
        file: Some("site.toml".into()),
        env: [
            ("IVS_PLAYBACK_AUTH__CHANNELS__FRESH_FOR", "60"),
            ("IVS_PLAYBACK_AUTH__CHANNEL__FRESH_FOR", "60s"),
        ]
        .into_iter()
        .collect(),
        overrides: Overrides { log_level: Some("loud".to_owned()), ..Overrides::default() },
        cwd: folder.path().to_owned(),
        ..Sources::default()
    }));
    assert_eq!(
        found,
        [
            "IVS_PLAYBACK_AUTH__CHANNEL__FRESH_FOR is not a variable of this service. The nearest \
             known one is IVS_PLAYBACK_AUTH__CHANNELS__FRESH_FOR.",
            "site.toml:8: serve is not a known key. The nearest section is [server].",
            "site.toml:2: server.lisen is not a known key. The nearest known key is server.listen.",
            "site.toml:3: server.workers must be a whole number from 0 to 1024.",
            "IVS_PLAYBACK_AUTH__CHANNELS__FRESH_FOR: channels.fresh_for must be a duration: a \
             whole number and one of ms, s, m, h, d, w, such as \"30s\".",
            "--log-level: log.level must be error, warn, info, debug, trace or off, also for \
             modules: \"info,keys=debug\".",
            "site.toml:6: tokens.default_ttl must not be longer than tokens.max_ttl. Lower it, or \
             raise tokens.max_ttl.",
        ]
    );
}

#[test]
fn error_message_counts_its_problems() {
    let one = load(&[("IVS_PLAYBACK_AUTH__SERVER__WORKERS", "x")]).unwrap_err().to_string();
    assert_eq!(
        one,
        "The configuration has a problem. IVS_PLAYBACK_AUTH__SERVER__WORKERS: server.workers must \
         be a whole number from 0 to 1024."
    );
    let two = load(&[
        ("IVS_PLAYBACK_AUTH__SERVER__WORKERS", "x"),
        ("IVS_PLAYBACK_AUTH__SERVER__MAX_BODY", "x"),
    ]);
    let two = two.unwrap_err().to_string();
    assert!(two.starts_with("The configuration has 2 problems:\n  IVS_"), "{two}");
    assert_eq!(two.lines().count(), 3);
}

#[test]
fn file_that_cannot_be_used_is_reported_together_with_the_rest() {
    let sources = Sources {
        file: Some("/nonexistent/site.toml".into()),
        env: [("IVS_PLAYBACK_AUTH__SERVER__WORKERS", "x")].into_iter().collect(),
        ..Sources::default()
    };
    let found = problems(Config::load(sources));
    assert!(found[0].starts_with("/nonexistent/site.toml cannot be read: "), "{found:?}");
    assert_eq!(found.len(), 2);

    let (_folder, broken) = load_file("[server\nlisten = hunter2\n");
    let found = problems(broken);
    assert!(found[0].starts_with("site.toml:1 is not TOML here: "), "{found:?}");
    assert!(!found.join("\n").contains("hunter2"), "{found:?}");
}

#[test]
fn section_written_as_a_key_is_explained() {
    let (_folder, result) = load_file("server = 5\n");
    assert_eq!(
        problems(result),
        ["site.toml:1: server is a section; put its keys under [server]."]
    );
}

#[test]
fn relative_path_is_relative_to_the_file_that_has_it() {
    let (folder, config) = load_file("[keys]\ndir = \"private\"\n");
    let config = config.unwrap();
    assert_eq!(config.keys.dir, folder.path().join("private"));
    assert_eq!(config.access.clients, PathBuf::from("config/clients.toml"));

    let config = Config::load(Sources {
        env: [("IVS_PLAYBACK_AUTH__KEYS__DIR", "private")].into_iter().collect(),
        cwd: "/srv".into(),
        ..Sources::default()
    });
    assert_eq!(config.unwrap().keys.dir, PathBuf::from("/srv/private"));
}

#[test]
fn lists_and_aliases_come_from_the_environment_too() {
    let config = load(&[
        ("IVS_PLAYBACK_AUTH__IVS__REGIONS", "us-west-2, eu-west-1"),
        ("IVS_PLAYBACK_AUTH__CHANNELS__ALIASES__DEMO", DEMO),
        ("IVS_PLAYBACK_AUTH__CHANNELS__CALLS_PER_SECOND", "0.5"),
        ("IVS_PLAYBACK_AUTH__TOKENS__STAMP_SESSION_VERSION", "false"),
    ])
    .unwrap();
    assert_eq!(config.ivs.regions.len(), 2);
    assert_eq!(config.channels.aliases["demo"].as_str(), DEMO);
    assert!((config.channels.calls_per_second - 0.5).abs() < f64::EPSILON);
    assert!(!config.tokens.stamp_session_version);
    let shown: toml::Table = config.show().to_toml().parse().unwrap();
    assert_eq!(shown["channels"]["aliases"]["demo"].as_str(), Some(DEMO));
}

#[test]
fn broken_rule_between_keys_is_a_problem() {
    let order =
        |greater: &str| format!("must not be longer than {greater}. Lower it, or raise {greater}.");
    assert_problem("channels.fresh_for", "2d", &order("channels.stale_for"));
    assert_problem("channels.gather", "6s", &order("channels.deadline"));
    assert_problem("keys.refresh_every", "7h", &order("keys.max_staleness"));
    assert_problem("tokens.default_ttl", "61m", &order("tokens.max_ttl"));
    assert_problem("tokens.max_ttl", "2000d", "must be at most a year, \"366d\".");
    let problem = "must be at most \"1h\". Set the clocks instead.";
    assert_problem("viewers.clock_allowance", "3601s", problem);
    assert_problem("ivs.timeout", "11s", "must be at most \"10s\", so that claims outlive calls.");
    assert_problem("server.tls_cert", "a.pem", "needs server.tls_key beside it.");
    assert_problem("server.tls_key", "a.pem", "needs server.tls_cert beside it.");
    assert_problem("audit.sink", "file", "is \"file\" and needs audit.path beside it.");
    let config = load(&[
        ("IVS_PLAYBACK_AUTH__AUDIT__SINK", "file"),
        ("IVS_PLAYBACK_AUTH__AUDIT__PATH", "audit.log"),
    ]);
    let audit = config.unwrap().audit;
    assert_eq!((audit.sink, audit.file()), (AuditSink::File, Some("audit.log".into())));
}

#[test]
fn two_listeners_need_two_ports() {
    let address = "server.operations_listen";
    let collides = "takes the port of server.listen. Choose another port.";
    // That of server.listen is 127.0.0.1:8080.
    for taken in ["127.0.0.1:8080", "0.0.0.0:8080", "[::]:8080"] {
        assert_problem(address, taken, collides);
    }
    for free in ["127.0.0.1:9090", "127.0.0.2:8080", "127.0.0.1:0"] {
        let config = load(&[("IVS_PLAYBACK_AUTH__SERVER__OPERATIONS_LISTEN", free)]).unwrap();
        assert_eq!(config.server.operations_listen, Some(free.parse().unwrap()));
    }
    let any_port = ("IVS_PLAYBACK_AUTH__SERVER__LISTEN", "127.0.0.1:0");
    load(&[any_port, ("IVS_PLAYBACK_AUTH__SERVER__OPERATIONS_LISTEN", "127.0.0.1:0")]).unwrap();
    assert_problem(
        address,
        "localhost:9090",
        "must be an IP address with a port, such as \"127.0.0.1:8080\" or \"[::]:8080\".",
    );
}

#[test]
fn region_must_have_the_form_of_one() {
    let expected = |fault: &str| {
        format!("must be a list of AWS regions, such as [\"us-west-2\"]; item {fault}.")
    };
    let zone = expected("2 is an availability zone, not a region; use its region, us-east-1");
    assert_problem("ivs.regions", "us-west-2,us-east-1a", &zone);
    let typo = expected(
        "1 is not the name of an AWS region, such as us-west-2; the nearest known region is us-west-2",
    );
    assert_problem("ivs.regions", "us_west_2", &typo);
}

#[test]
fn alias_must_be_of_a_served_region_and_account() {
    let alias = ("IVS_PLAYBACK_AUTH__CHANNELS__ALIASES__DEMO", DEMO);
    let found = problems(load(&[alias, ("IVS_PLAYBACK_AUTH__IVS__REGIONS", "eu-west-1")]));
    assert_eq!(
        found,
        ["IVS_PLAYBACK_AUTH__CHANNELS__ALIASES__DEMO: channels.aliases.demo is in us-west-2. Add \
          us-west-2 to ivs.regions."]
    );
    let found = problems(load(&[alias, ("IVS_PLAYBACK_AUTH__IVS__ACCOUNT_ID", "999999999999")]));
    assert!(found[0].ends_with("belongs to another account than ivs.account_id."), "{found:?}");

    let (_folder, result) = load_file("[channels.aliases]\nDemo = \"demo\"\n");
    let found = problems(result);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("must be the ARN of a channel: an ARN of Amazon IVS begins with"));
    assert!(found[1].contains("must have a name of at most 64 characters"));
}

#[test]
fn canary_must_be_a_channel_of_a_served_region() {
    const CANARY: &str = "IVS_PLAYBACK_AUTH__ROTATION__CANARY_CHANNEL";
    let neither = "must be the ARN of a channel, or an alias of [channels.aliases].";
    assert_problem("rotation.canary_channel", "demo", neither);
    let alias = ("IVS_PLAYBACK_AUTH__CHANNELS__ALIASES__DEMO", DEMO);
    for canary in ["demo", DEMO] {
        let config = load(&[alias, (CANARY, canary)]).unwrap();
        assert_eq!(config.rotation.canary_channel.as_deref(), Some(canary));
    }
    let regions = ("IVS_PLAYBACK_AUTH__IVS__REGIONS", "eu-west-1");
    let found = problems(load(&[(CANARY, DEMO), regions]));
    assert_eq!(
        found,
        [format!(
            "{CANARY}: rotation.canary_channel is in us-west-2. Add us-west-2 to ivs.regions."
        )]
    );
}

#[test]
fn unavailable_feature_is_refused() {
    let sentence = |feature: &str, default: &str| {
        format!(
            "asks for {feature}, which is not available in this version. Leave it at its default, \
             {default}."
        )
    };
    let share = sentence("sharing tokens between requests", "\"off\"");
    assert_problem("tokens.share", "1s", &share);
    let shared = sentence("a shared engine", "\"\"");
    assert_problem("shared.url", "redis://:hunter2@cache", &shared);
    let on_failure = sentence("a shared engine", "\"allow\"");
    assert_problem("shared.on_failure", "deny", &on_failure);
    let proxies = sentence("trusting the headers of a proxy", "[]");
    assert_problem("server.trusted_proxies", "10.0.0.0/8", &proxies);
}

#[test]
fn every_key_has_an_effect_or_is_refused() {
    let code = code_below("src");
    for key in keys::all() {
        let (_, name) = keys::split(&key.name);
        // Where a module uses its `Settings`; the declaration itself is `name: TYPE`.
        let is_used = regex_lite::Regex::new(&format!(r"\.{name}\b")).unwrap().is_match(&code);
        let is_refused = key.not_available.is_some();
        assert!(is_used || is_refused, "{}: used {is_used}, refused {is_refused}", key.name);
    }
}

#[test]
fn every_default_is_a_valid_value() {
    let (config, problems) = Layers::new().read();
    assert!(config.is_some());
    assert_eq!(problems, []);
}

/// The Rust code below a folder of this crate, without texts and comments, which may name a key.
fn code_below(folder: &str) -> String {
    let text = regex_lite::Regex::new(r#"(?s)"(\\.|[^"\\])*"|//[^\n]*"#).unwrap();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    let mut code = String::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                code.push_str(&text.replace_all(&fs::read_to_string(path).unwrap(), ""));
            }
        }
    }
    code
}

#[test]
fn keys_may_be_kept_in_secrets_manager() {
    let config = load(&[
        ("IVS_PLAYBACK_AUTH__KEYS__STORE", "secrets-manager"),
        ("IVS_PLAYBACK_AUTH__KEYS__SECRET_NAME", "video/{region}"),
    ]);
    let keys = config.unwrap().keys;
    assert_eq!((keys.store, &*keys.secret_name), (KeyStore::SecretsManager, "video/{region}"));
    assert_problem("keys.store", "vault", "must be \"dir\" or \"secrets-manager\".");
}

#[test]
fn clients_come_from_a_file_or_from_a_variable() {
    let inline = ("IVS_PLAYBACK_AUTH_CLIENTS", "clients = []");
    let config = load(&[inline]).unwrap();
    assert_eq!(config.clients_inline.unwrap().expose_secret(), "clients = []");

    let found = problems(load(&[inline, ("IVS_PLAYBACK_AUTH__ACCESS__CLIENTS", "a.toml")]));
    assert_eq!(
        found,
        ["IVS_PLAYBACK_AUTH__ACCESS__CLIENTS: access.clients is set, and \
          IVS_PLAYBACK_AUTH_CLIENTS too. Unset one of them."]
    );
}

#[test]
fn passphrase_is_kept_secret_and_must_not_be_empty() {
    let config = load(&[("IVS_PLAYBACK_AUTH_KEY_PASSPHRASE", "hunter2")]).unwrap();
    assert_eq!(config.key_passphrase.as_ref().unwrap().expose_secret(), "hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));
    let shown = config.show();
    assert!(shown.to_toml().starts_with("# IVS_PLAYBACK_AUTH_KEY_PASSPHRASE is set\n"));
    assert!(!serde_json::to_string(shown).unwrap().contains("hunter2"));

    let found = problems(load(&[("IVS_PLAYBACK_AUTH_KEY_PASSPHRASE", "")]));
    assert_eq!(
        found,
        ["IVS_PLAYBACK_AUTH_KEY_PASSPHRASE is empty. Unset it to keep private keys unencrypted."]
    );
}

#[test]
fn flags_that_are_not_keys_are_checked_too() {
    let overrides = |region: &str, endpoint_url: &str| Overrides {
        region: Some(region.to_owned()),
        profile: Some("staging".to_owned()),
        endpoint_url: Some(endpoint_url.to_owned()),
        ..Overrides::default()
    };
    let load = |overrides| Config::load(Sources { overrides, ..Sources::default() });
    let config = load(overrides("eu-west-1", "http://127.0.0.1:8090")).unwrap();
    assert_eq!(config.ivs.region.unwrap().as_str(), "eu-west-1");
    assert_eq!(config.ivs.profile.as_deref(), Some("staging"));
    assert_eq!(config.ivs.endpoint_url.as_deref(), Some("http://127.0.0.1:8090"));
    let regions = ("IVS_PLAYBACK_AUTH__IVS__REGIONS", "us-west-2,eu-west-1");
    let among = |region: &str| {
        let overrides = Overrides { region: Some(region.to_owned()), ..Overrides::default() };
        let env = [(regions.0.to_owned(), regions.1.to_owned())].into_iter().collect();
        Config::load(Sources { env, overrides, ..Sources::default() })
    };
    assert!(among("eu-west-1").is_ok());
    assert_eq!(
        problems(among("us-west-1")),
        [
            "--region must be one of ivs.regions: us-west-2, eu-west-1. Add us-west-1 there, or choose."
        ]
    );
    assert_eq!(
        problems(load(overrides("EU", "localhost:8090"))),
        [
            "--region is not the name of an AWS region, such as us-west-2.",
            "--endpoint-url must be a URL that begins with http:// or https://.",
        ]
    );
}

#[test]
fn any_key_can_be_set_by_a_flag() {
    let set = |key, value: &str| Override { key, value: value.to_owned(), flag: "--data-dir" };
    let load = |settings| {
        let overrides = Overrides { settings, ..Overrides::default() };
        Config::load(Sources { overrides, cwd: "/srv".into(), ..Sources::default() })
    };
    let config = load(vec![set("keys.dir", ".dev/keys")]).unwrap();
    assert_eq!(config.keys.dir, PathBuf::from("/srv/.dev/keys"));
    assert_eq!(
        problems(load(vec![set("keys.dri", "a")])),
        ["--data-dir: keys.dri is not a known key. The nearest known key is keys.dir."]
    );
}

#[test]
fn command_sets_defaults_below_the_file_and_applies_only_what_it_takes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("site.toml");
    let text = "[ivs]\nregions = [\"eu-west-1\"]\n[tokens]\nmax_ttl = \"2h\"\n";
    fs::write(&file, text).unwrap();
    let set = |key, value: &str| Override { key, value: value.to_owned(), flag: "dev" };
    let config = Config::load(Sources {
        file: Some(file),
        defaults: vec![set("tokens.max_ttl", "3h"), set("keys.max_staleness", "5m")],
        not_applied: Some(|key, _| key.starts_with("ivs.")),
        ..Sources::default()
    })
    .unwrap();
    assert_eq!(config.tokens.max_ttl.as_secs(), 2 * 3600);
    assert_eq!(config.keys.max_staleness.as_secs(), 300);
    assert_eq!((config.ivs.regions.len(), config.not_applied), (0, vec!["ivs.regions".to_owned()]));
}

/// No value may stand in a problem: people put secrets into wrong places.
#[test]
fn problems_never_repeat_a_value() {
    for key in keys::all() {
        let variable = variable_of(&key.name);
        if let Err(error) = load(&[(variable.as_str(), "hunter2")]) {
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}

proptest! {
    #[test]
    fn no_file_makes_loading_panic(text in "(\\[(server|channels\\.aliases|x)\\]\n|(listen|a|\"\") = (1|-1\\.5|\"x\"|\\[1, []{}]\\]|\\{\\}|2026-11-22)\n|\\PC{0,10}\n){0,6}") {
        let _ = load_file(&text);
    }
}

#[test]
fn production_example_is_a_configuration() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config/examples/production.toml");
    let config = Config::load(Sources { file: Some(file.into()), ..Sources::default() }).unwrap();
    assert_eq!(config.server.listen.to_string(), "0.0.0.0:8080");
    assert!(config.ivs.account_id.is_some());
}
