//! `serve` against `emulator`, both as processes, configured by the environment alone.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    connection::Connection,
    program::{PAUSE, Server, client, clients, get, program, run, send},
};

/// The environment of a `serve` whose IVS is at `ivs`.
pub(crate) fn configured(mut command: Command, folder: &Path, ivs: &str) -> Command {
    command
        .env("AWS_ENDPOINT_URL_IVS", ivs)
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_REGION", "us-west-2")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("IVS_PLAYBACK_AUTH__IVS__TIMEOUT", "10s")
        .env("IVS_PLAYBACK_AUTH__SERVER__LISTEN", "127.0.0.1:0")
        .env("IVS_PLAYBACK_AUTH__KEYS__DIR", folder.join("keys"))
        .env("IVS_PLAYBACK_AUTH_CLIENTS", clients());
    command
}

#[test]
fn the_first_key_makes_an_unready_service_ready() {
    let folder = tempfile::tempdir().unwrap();
    let emulator = Server::emulator(&folder.path().join("emulator"));
    let mut command = configured(program(&["serve"]), folder.path(), &emulator.url);
    command.env("IVS_PLAYBACK_AUTH__KEYS__REFRESH_EVERY", "50ms");
    let service = Server::start(command);
    assert_eq!(service.get("/healthz").unwrap().0, 200);
    let (status, body) = service.get("/readyz").unwrap();
    assert_eq!(status, 503);
    assert!(body.contains("keys rotate --region us-west-2"), "{body}");

    let rotate = run(&mut configured(
        program(&["keys", "rotate", "--output", "json"]),
        folder.path(),
        &emulator.url,
    ));
    assert_eq!(rotate.code, Some(0), "{rotate:?}");
    assert!(rotate.stderr.contains("us-west-2") && rotate.stderr.contains("store"), "{rotate:?}");
    let rotation: Value = serde_json::from_str(&rotate.stdout).unwrap();
    assert_eq!(rotation["phase"], "done");
    while service.get("/readyz").unwrap().0 != 200 {
        thread::sleep(PAUSE);
    }
}

#[test]
fn an_unreachable_ivs_does_not_keep_it_from_starting() {
    let folder = tempfile::tempdir().unwrap();
    let emulator = Server::emulator(&folder.path().join("emulator"));
    let rotate = run(&mut configured(program(&["keys", "rotate"]), folder.path(), &emulator.url));
    assert_eq!(rotate.code, Some(0), "{rotate:?}");
    drop(emulator);
    let service =
        Server::start(configured(program(&["serve"]), folder.path(), "http://127.0.0.1:9"));
    assert_eq!(service.get("/readyz").unwrap().0, 200);
}

#[test]
fn sigterm_drains_then_stops() {
    let folder = tempfile::tempdir().unwrap();
    let emulator = Server::emulator(&folder.path().join("emulator"));
    let rotate = run(&mut configured(program(&["keys", "rotate"]), folder.path(), &emulator.url));
    assert_eq!(rotate.code, Some(0), "{rotate:?}");
    let mut command = configured(program(&["serve"]), folder.path(), &emulator.url);
    command.env("IVS_PLAYBACK_AUTH__SERVER__DRAIN_DELAY", "1h");
    let service = Server::start(command);
    service.signal("TERM");
    // Not ready at once, but served on for the drain delay. It has a key, so nothing else makes it
    // unready: two signals that come before the first is taken would be one.
    while service.get("/readyz").unwrap().0 == 200 {
        thread::sleep(PAUSE);
    }
    assert_eq!(service.get("/healthz").unwrap().0, 200);
    // A second signal ends the drain.
    service.signal("TERM");
    let (code, said) = service.wait();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("shutting down") && said.contains("stopped"), "{said}");
}

#[test]
fn a_connection_without_a_request_ends() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = configured(program(&["serve"]), folder.path(), "http://127.0.0.1:9");
    command.env("IVS_PLAYBACK_AUTH__SERVER__KEEP_ALIVE", "1s");
    let service = Server::start(command);
    let address = service.url.strip_prefix("http://").unwrap();
    // Nothing, the beginning of a method, of a head, and of HTTP/2.
    let said = ["", "P", "POST /v1/tokens HTTP/1.1\r\nhost", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"];
    let silent = said.map(|said| {
        let mut connection = TcpStream::connect(address).unwrap();
        connection.write_all(said.as_bytes()).unwrap();
        connection.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        connection
    });
    for mut connection in silent {
        // An end, or a reset where something was not read.
        if let Err(error) = connection.read_to_end(&mut Vec::new()) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
        }
    }
}

#[test]
fn operations_have_a_listener_of_their_own_to_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let emulator = Server::emulator(&folder.path().join("emulator"));
    let mut command = configured(program(&["serve"]), folder.path(), &emulator.url);
    command
        .env("IVS_PLAYBACK_AUTH__SERVER__OPERATIONS_LISTEN", "127.0.0.1:0")
        .env("IVS_PLAYBACK_AUTH__SERVER__DRAIN_DELAY", "1h");
    let mut service = Server::start(command);
    let log = service.log_line("operations_listening");
    let operations = log["url"].as_str().unwrap();
    assert_ne!(operations, service.url);
    let (status, metrics) = get(operations, "/metrics").unwrap();
    assert_eq!(status, 200);
    let line = "ivs_playback_auth_key_state{region=\"us-west-2\",state=\"active\"} 0\n";
    assert!(metrics.contains(line), "{metrics}");
    assert_eq!(service.get("/metrics").unwrap().0, 404);

    service.signal("TERM");
    // Without a key it was unready before: what it says tells that the first signal was taken. Two
    // that come before would be one.
    service.log_line("shutting down");
    assert!(get(operations, "/readyz").unwrap().1.contains("\"status\":\"unready\""));
    service.signal("TERM");
    let (code, said) = service.wait();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_port_in_use_is_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let emulator = Server::emulator(&folder.path().join("emulator"));
    let address = emulator.url.strip_prefix("http://").unwrap();
    let other = folder.path().join("other").display().to_string();
    for arguments in [
        &["emulator", "--data-dir", &other, "--listen", address][..],
        &["dev", "--data-dir", &other, "--listen", address, "--emulator-listen", "127.0.0.1:0"],
    ] {
        let ended = run(&mut program(arguments));
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains("is in use"), "{ended:?}");
    }
    let mut serve = configured(program(&["serve", "--listen", address]), folder.path(), "http://x");
    let ended = run(&mut serve);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("is in use"), "{ended:?}");
    let mut serve = configured(program(&["serve"]), folder.path(), "http://x");
    serve.env("IVS_PLAYBACK_AUTH__SERVER__OPERATIONS_LISTEN", address);
    let ended = run(&mut serve);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("choose another server.operations_listen"), "{ended:?}");
}

#[test]
fn two_processes_on_one_data_folder_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("emulator");
    let _emulator = Server::emulator(&data_dir);
    let ended = run(&mut program(&[
        "emulator",
        "--listen",
        "127.0.0.1:0",
        "--data-dir",
        &data_dir.display().to_string(),
    ]));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(ended.stderr.trim_end().lines().count(), 1, "{ended:?}");
}

#[test]
fn a_keyring_that_cannot_be_trusted_is_refused_by_name_and_left_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let emulator = Server::emulator(&folder.path().join("emulator"));
    let command = |arguments: &[&str]| configured(program(arguments), folder.path(), &emulator.url);
    assert_eq!(run(&mut command(&["keys", "rotate"])).code, Some(0));
    let keyring = folder.path().join("keys/us-west-2/keyring.json");
    let whole = std::fs::read(&keyring).unwrap();

    std::fs::write(&keyring, whole.get(..whole.len() / 2).unwrap()).unwrap();
    for arguments in [&["keys", "rotate"][..], &["keys", "list"], &["keys", "generate"]] {
        let ended = run(&mut command(arguments));
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains("keyring.json"), "{ended:?}");
    }
    assert_eq!(std::fs::read(&keyring).unwrap().len(), whole.len() / 2);
    let service = Server::start(command(&["serve"]));
    assert_eq!(service.get("/readyz").unwrap().0, 503);
    drop(service);

    std::fs::write(&keyring, &whole).unwrap();
    std::fs::set_permissions(&keyring, std::fs::Permissions::from_mode(0o644)).unwrap();
    let ended = run(&mut command(&["keys", "list"]));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("chmod"), "{ended:?}");
}

#[test]
fn credentials_of_another_account_are_refused_by_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let emulator = Server::emulator(&folder.path().join("emulator"));
    let command = |arguments: &[&str]| {
        let mut command = configured(program(arguments), folder.path(), &emulator.url);
        command.env("IVS_PLAYBACK_AUTH__IVS__ACCOUNT_ID", "111111111111");
        run(&mut command)
    };
    // Known only from what IVS answers, in a region with nothing in it yet.
    let rotate = command(&["keys", "rotate"]);
    assert_eq!(rotate.code, Some(1), "{rotate:?}");
    assert!(rotate.stderr.contains("123456789012"), "{rotate:?}");

    let made = run(&mut configured(program(&["keys", "rotate"]), folder.path(), &emulator.url));
    assert_eq!(made.code, Some(0), "{made:?}");
    for arguments in [&["keys", "list"][..], &["channels", "list"], &["serve"]] {
        let ended = command(arguments);
        assert_eq!(ended.code, Some(1), "{arguments:?}: {ended:?}");
        assert!(ended.stderr.contains("111111111111"), "{ended:?}");
    }
}

/// Runs `act` against an emulator that enforces IVS's call rates; no call may be throttled.
fn within_quotas(folder: &Path, act: impl FnOnce(&Server)) {
    let data_dir = folder.join("emulator").display().to_string();
    let arguments: [&str; 6] =
        ["emulator", "--listen", "127.0.0.1:0", "--enforce-rates", "--data-dir", &data_dir];
    let emulator = Server::start(program(&arguments));
    act(&emulator);
    let (_, calls) = emulator.get("/_emulator/calls").unwrap();
    let calls: Value = serde_json::from_str(&calls).unwrap();
    let operations = calls["operations"].as_object().unwrap();
    assert!(operations.contains_key("ListPlaybackKeyPairs"), "{calls}");
    for (operation, count) in operations {
        assert!(count["statuses"].get("429").is_none(), "{operation} was throttled: {calls}");
    }
}

#[test]
fn calls_of_a_process_stay_within_the_quotas_of_ivs() {
    let folder = tempfile::tempdir().unwrap();
    let wait = ("IVS_PLAYBACK_AUTH__ROTATION__PROPAGATION_WAIT", "100ms");
    for arguments in [["keys", "rotate"], ["keys", "rotate"], ["keys", "doctor"], ["keys", "list"]]
    {
        within_quotas(folder.path(), |emulator| {
            let mut command = configured(program(&arguments), folder.path(), &emulator.url);
            let ended = run(command.env(wait.0, wait.1));
            assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
        });
    }
    within_quotas(folder.path(), |emulator| {
        let mut command = configured(program(&["serve"]), folder.path(), &emulator.url);
        command.env("IVS_PLAYBACK_AUTH__ROTATION__RECONCILE_EVERY", "300ms");
        let service = Server::start(command);
        let lists = || {
            let (_, calls) = emulator.get("/_emulator/calls").unwrap();
            let calls: Value = serde_json::from_str(&calls).unwrap();
            calls["operations"]["ListPlaybackKeyPairs"]["statuses"]["200"]
                .as_u64()
                .unwrap_or_default()
        };
        while service.get("/readyz").unwrap().0 != 200 || lists() < 5 {
            thread::sleep(PAUSE);
        }
    });
}

#[test]
fn start_rotation_refreshes_and_doctor_at_once_stay_within_the_quotas_of_ivs() {
    let folder = tempfile::tempdir().unwrap();
    let emulator = Server::emulator(&folder.path().join("emulator"));
    let first = run(&mut configured(program(&["keys", "rotate"]), folder.path(), &emulator.url));
    assert_eq!(first.code, Some(0), "{first:?}");
    let mut connection = Connection::open(&emulator.url).unwrap();
    let channels: Vec<String> = (0..12)
        .map(|_| {
            let (_, made) = connection.call("CreateChannel", &json!({"authorized": true})).unwrap();
            made["channel"]["arn"].as_str().unwrap().replace('/', "%2F")
        })
        .collect();
    drop((connection, emulator));

    within_quotas(folder.path(), |emulator| {
        let (entry, credential) = client(&["channels:read", "keys:read", "keys:write"]);
        let command = |arguments: &[&str]| {
            let mut command = configured(program(arguments), folder.path(), &emulator.url);
            command
                // Without it, the doctor lists key pairs twice, to learn the account first. The service
                // leaves it only one of the three calls per second.
                .env("AWS_ACCOUNT_ID", "123456789012")
                .env("IVS_PLAYBACK_AUTH_CLIENTS", &entry)
                .env("IVS_PLAYBACK_AUTH__ROTATION__PROPAGATION_WAIT", "100ms")
                .env("IVS_PLAYBACK_AUTH__ROTATION__RECONCILE_EVERY", "300ms");
            command
        };
        let service = Server::start(command(&["serve"]));
        let expect = |method: &str, path: &str, expected: u16| -> Value {
            let (status, _, body) = send(&service.url, method, path, &credential, "{}");
            assert_eq!(status, expected, "{method} {path}: {body}");
            serde_json::from_str(&body).unwrap()
        };
        thread::scope(|scope| {
            scope.spawn(|| {
                let doctor = run(&mut command(&["keys", "doctor"]));
                assert_eq!(doctor.code, Some(0), "{doctor:?}");
            });
            for channel in &channels {
                let path = format!("/v1/channels/{channel}/refresh");
                scope.spawn(move || expect("POST", &path, 200));
            }
            for _ in 0..4 {
                scope.spawn(|| expect("GET", "/v1/key-pairs", 200));
            }
            let rotation = expect("POST", "/v1/key-pairs/rotations", 202);
            let path = format!("/v1/key-pairs/rotations/{}", rotation["id"].as_str().unwrap());
            while expect("GET", &path, 200)["phase"] != "draining" {
                thread::sleep(PAUSE);
            }
        });
    });
}

#[test]
fn refusals_are_logged_at_info_and_successes_at_debug() {
    let folder = tempfile::tempdir().unwrap();
    let (entry, credential) = client(&["tokens:mint"]);
    let mut command = configured(program(&["serve"]), folder.path(), "http://127.0.0.1:9");
    command.env("IVS_PLAYBACK_AUTH_CLIENTS", entry).env("IVS_PLAYBACK_AUTH__LOG__LEVEL", "debug");
    let mut service = Server::start(command);

    assert_eq!(send(&service.url, "POST", "/v1/tokens", &credential, "{}").0, 422);
    let refusal = service.log_line("\"event\":\"request\"");
    assert_eq!((&refusal["level"], &refusal["status"]), (&json!("info"), &json!(422)));
    assert_eq!((&refusal["clientName"], &refusal["route"]), (&json!("test"), &json!("/v1/tokens")));
    assert_eq!(refusal["code"], "invalid_request");
    assert!(refusal["durationMs"].is_u64() && refusal["requestId"].is_string(), "{refusal}");

    assert_eq!(service.get("/.well-known/jwks.json").unwrap().0, 200);
    let success = service.log_line("\"event\":\"request\"");
    assert_eq!((&success["level"], &success["status"]), (&json!("debug"), &json!(200)));
}
