//! The command line: help, exit codes, one sentence on stderr.

use crate::program::{Ended, Server, clients, program, run};

/// Every command that there is.
const COMMANDS: [&[&str]; 26] = [
    &["serve"],
    &["dev"],
    &["emulator"],
    &["keys", "list"],
    &["keys", "status"],
    &["keys", "doctor"],
    &["keys", "get"],
    &["keys", "generate"],
    &["keys", "import"],
    &["keys", "rotate"],
    &["keys", "cancel"],
    &["keys", "rollback"],
    &["keys", "release"],
    &["keys", "delete"],
    &["keys", "copy"],
    &["token", "mint"],
    &["token", "inspect"],
    &["channels", "get"],
    &["channels", "list"],
    &["clients", "create"],
    &["clients", "list"],
    &["clients", "revoke"],
    &["config", "check"],
    &["config", "show"],
    &["openapi"],
    &["healthcheck"],
];

#[test]
fn every_command_has_help_with_an_example() {
    for command in COMMANDS {
        let mut arguments = command.to_vec();
        arguments.push("--help");
        let ended = run(&mut program(&arguments));
        assert_eq!(ended.code, Some(0), "{command:?}: {ended:?}");
        assert!(ended.stdout.contains("Example"), "{command:?}: {}", ended.stdout);
        assert!(ended.stdout.contains("ivs-playback-auth "), "{command:?}: {}", ended.stdout);
    }
}

#[test]
fn bad_usage_is_2_and_says_so_on_stderr() {
    for arguments in [
        &["no-such-command"][..],
        &["token", "mint"],
        &["keys", "delete", "demo"],
        &["keys", "import"],
        &["keys", "import", "--public-key", "a", "--private-key", "b"],
        &["serve", "--listen", "nowhere"],
        &["clients", "create", "x", "--scope", "everything"],
        &["token", "inspect", "x", "--public-key", "/nonexistent"],
        &["config", "show", "--config", "/nonexistent"],
    ] {
        let ended = run(&mut program(arguments));
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        assert!(ended.stdout.is_empty() && !ended.stderr.is_empty(), "{ended:?}");
    }
}

#[test]
fn serve_without_clients_says_how_to_make_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = program(&["serve"]);
    command.current_dir(folder.path()).env("AWS_REGION", "us-west-2");
    command.env("IVS_PLAYBACK_AUTH__SERVER__LISTEN", "127.0.0.1:0");
    let ended = run(&mut command);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("clients create"), "{ended:?}");
}

#[test]
fn several_regions_need_a_choice() {
    let mut command = program(&["keys", "rollback"]);
    command.env("IVS_PLAYBACK_AUTH__IVS__REGIONS", "us-west-2,eu-west-1");
    let ended = run(&mut command);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    for expected in ["us-west-2", "eu-west-1", "--region"] {
        assert!(ended.stderr.contains(expected), "{ended:?}");
    }
}

#[test]
fn every_problem_of_a_configuration_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.toml");
    std::fs::write(&file, "[server]\nlisten = 5\nworkes = 2\n[tokens]\nmax_ttl = \"1 hour\"\n")
        .unwrap();
    let file = file.display().to_string();
    let mut command = program(&["config", "check", "--config", &file]);
    command.env("IVS_PLAYBACK_AUTH__CHANELS__CAPACITY", "1");
    let ended = run(&mut command);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for expected in ["server.listen", "server.workes", "workers", "tokens.max_ttl", "CHANELS"] {
        assert!(ended.stderr.contains(expected), "{expected}: {}", ended.stderr);
    }
}

/// A folder with a configuration that `serve` accepts, and the environment of both commands.
struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("clients.toml"), clients()).unwrap();
        let config = "[server]\nlisten = \"127.0.0.1:0\"\n[ivs]\nregions = [\"us-west-2\"]\n\
                      [access]\nclients = \"clients.toml\"\n";
        std::fs::write(folder.path().join("site.toml"), config).unwrap();
        Self { folder }
    }

    fn command(&self, arguments: &[&str], settings: &[(&str, &str)]) -> std::process::Command {
        let mut command = program(&[arguments, &["--config", "site.toml"]].concat());
        command
            .current_dir(self.folder.path())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_CONFIG_FILE", "/dev/null")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
            .envs(settings.iter().copied());
        command
    }

    fn check(&self, settings: &[(&str, &str)]) -> Ended {
        run(&mut self.command(&["config", "check"], settings))
    }

    /// Every path below the folder.
    fn files(&self) -> Vec<std::path::PathBuf> {
        let mut folders = vec![self.folder.path().to_owned()];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path.clone());
                }
                files.push(path);
            }
        }
        files.sort();
        files
    }
}

#[test]
fn config_check_refuses_what_serve_refuses_and_creates_nothing() {
    let site = Site::new();
    let path = |name: &str| site.folder.path().join(name);
    std::fs::write(path("bad-denials.jsonl"), "{}\n").unwrap();
    std::fs::write(path("bad-clients.toml"), "[[clients]]\nid = \"x\"\n").unwrap();
    std::fs::write(path("no-clients.toml"), "").unwrap();
    std::fs::create_dir(path("folder")).unwrap();
    let before = site.files();
    for (settings, expected) in [
        (&[("ACCESS__CLIENTS", "absent.toml")][..], "clients create"),
        (&[("ACCESS__CLIENTS", "no-clients.toml")], "clients create"),
        (&[("ACCESS__CLIENTS", "bad-clients.toml")], "bad-clients.toml"),
        (&[("IVS__REGIONS", "")], "no AWS region"),
        (&[("IVS__REGIONS", ""), ("AWS_REGION", "us-east-1a")], "use its region, us-east-1"),
        (&[("IVS__REGIONS", "us-east-1a")], "use its region, us-east-1"),
        (&[("IVS__REGIONS", "us_west_2")], "the nearest known region is us-west-2"),
        (&[("IVS__REGIONS", "nowhere")], "is not the name of an AWS region"),
        (&[("AUDIT__SINK", "file"), ("AUDIT__PATH", "absent/audit.jsonl")], "audit.path"),
        (&[("AUDIT__SINK", "file"), ("AUDIT__PATH", "folder")], "audit.path"),
        (&[("SERVER__TLS_CERT", "a.pem"), ("SERVER__TLS_KEY", "b.pem")], "server.tls_cert"),
        (
            &[("VIEWERS__LOCAL_DENY", "true"), ("VIEWERS__DENY_LIST", "bad-denials.jsonl")],
            "viewers.deny_list",
        ),
        (&[("SERVER__OPERATIONS_LISTEN", "nowhere")], "server.operations_listen"),
    ] {
        let settings: Vec<_> = settings
            .iter()
            .map(|(key, value)| match *key {
                "AWS_REGION" => ((*key).to_owned(), *value),
                key => (format!("IVS_PLAYBACK_AUTH__{key}"), *value),
            })
            .collect();
        let settings: Vec<_> = settings.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        let checked = site.check(&settings);
        assert_eq!(checked.code, Some(1), "{settings:?}: {checked:?}");
        assert!(checked.stderr.contains(expected), "{settings:?}: {checked:?}");
        let served = run(&mut site.command(&["serve"], &settings));
        assert!(matches!(served.code, Some(1 | 2)), "{settings:?}: {served:?}");
        assert!(served.stderr.contains(expected), "{settings:?}: {served:?}");
        assert_eq!(site.files(), before, "{settings:?}");
    }
}

#[test]
fn config_check_accepts_what_serve_accepts() {
    let site = Site::new();
    let settings = [
        ("IVS_PLAYBACK_AUTH__AUDIT__SINK", "file"),
        ("IVS_PLAYBACK_AUTH__AUDIT__PATH", "audit.jsonl"),
        ("IVS_PLAYBACK_AUTH__VIEWERS__LOCAL_DENY", "true"),
    ];
    let before = site.files();
    let checked = site.check(&settings);
    assert_eq!((checked.code, &*checked.stderr), (Some(0), ""), "{checked:?}");
    assert_eq!(site.files(), before);
    Server::start(site.command(&["serve"], &settings));
}

#[test]
fn config_check_reports_every_problem_with_its_line() {
    let site = Site::new();
    let config = "[ivs]\nregions = [\"us-west-2\"]\n[audit]\nsink = \"file\"\n\
                  path = \"absent/audit.jsonl\"\n[access]\nclients = \"absent.toml\"\n";
    std::fs::write(site.folder.path().join("site.toml"), config).unwrap();
    let checked = run(&mut site.command(&["config", "check", "--output", "json"], &[]));
    assert_eq!(checked.code, Some(1), "{checked:?}");
    let found = checked.json();
    let places: Vec<_> = found["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| (problem["key"].as_str().unwrap(), problem["place"].as_str().unwrap()))
        .collect();
    assert_eq!(places, [("access.clients", "site.toml:7"), ("audit.path", "site.toml:5")]);
}

#[test]
fn unknown_region_is_a_warning() {
    let site = Site::new();
    let checked = site.check(&[("IVS_PLAYBACK_AUTH__IVS__REGIONS", "us-wst-2")]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.stderr.contains("the nearest known region is us-west-2"), "{checked:?}");
    let from_aws = [("IVS_PLAYBACK_AUTH__IVS__REGIONS", ""), ("AWS_REGION", "us-wst-2")];
    assert!(site.check(&from_aws).stderr.contains("the nearest known region is us-west-2"));
}

#[test]
fn config_check_reports_a_key_store_that_cannot_be_used() {
    use std::os::unix::fs::PermissionsExt as _;
    let site = Site::new();
    let folder = site.folder.path().join("keys/us-west-2");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    let keys = site.folder.path().join("keys").display().to_string();
    let checked = site.check(&[("IVS_PLAYBACK_AUTH__KEYS__DIR", &keys)]);
    assert_eq!(checked.code, Some(1), "{checked:?}");
    assert!(checked.stderr.contains("keys.dir") && checked.stderr.contains("us-west-2"));
}

#[test]
fn unreachable_endpoint_is_named() {
    let site = Site::new();
    let credentials = [("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];
    let arguments = ["channels", "list", "--endpoint-url", "http://user:hunter2@127.0.0.1:1"];
    let ended = run(&mut site.command(&arguments, &credentials));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("no connection to http://127.0.0.1:1;"), "{ended:?}");
    assert!(!ended.stderr.contains("hunter2"), "{ended:?}");
}

#[test]
fn the_client_that_is_made_is_the_one_that_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clients.toml");
    let command = |arguments: &[&str]| {
        let mut command = program(arguments);
        command.env("IVS_PLAYBACK_AUTH__ACCESS__CLIENTS", &file);
        run(&mut command)
    };
    let made = command(&["clients", "create", "web", "--scope", "tokens:mint", "--output", "json"]);
    let made: serde_json::Value = serde_json::from_str(&made.stdout).unwrap();
    let members: Vec<_> = made.as_object().unwrap().keys().collect();
    assert_eq!(members, ["credential", "entry", "id", "scopes"]);
    let credential = made["credential"].as_str().unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains(credential.rsplit('_').next().unwrap()));

    let id = made["id"].as_str().unwrap();
    assert!(command(&["clients", "list"]).stdout.contains(id));
    assert_eq!(command(&["clients", "revoke", id]).code, Some(0));
    assert!(!command(&["clients", "list"]).stdout.contains(id));
    assert_eq!(command(&["clients", "revoke", id]).code, Some(1));
}

#[test]
fn inspection_needs_nothing_and_tells_by_its_exit_code() {
    // Header and claims are readable, the signature is not one.
    let token = "eyJhbGciOiJFUzM4NCIsInR5cCI6IkpXVCJ9.eyJhd3M6Y2hhbm5lbC1hcm4iOiJhcm46YXdzOml2czp1cy\
                 13ZXN0LTI6MTIzNDU2Nzg5MDEyOmNoYW5uZWwvQWJDZEVmR2gxMjM0IiwiZXhwIjoxfQ.AAAA";
    let ended = run(&mut program(&["token", "inspect", token, "--output", "json"]));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let inspection: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(inspection["valid"], false);
    let codes = inspection["findings"].to_string();
    assert!(codes.contains("\"expired\""), "{codes}");
}

#[test]
fn an_emulator_takes_no_empty_access_key() {
    for key in [["", "secret"], ["AKID", ""], ["", ""]] {
        let [id, secret] = key;
        let arguments = ["emulator", "--access-key-id", id, "--secret-access-key", secret];
        let ended = run(&mut program(&arguments));
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains("a value is required"), "{ended:?}");
    }
}
