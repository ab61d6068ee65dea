//! What commands and servers record, and what stays off standard output.

use std::{fs, path::Path, process::Command};

use serde_json::{Value, json};

use crate::{
    connection::Connection,
    program::{Server, program, run},
    serve::configured,
};

fn records(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn events(records: &[Value]) -> Vec<&str> {
    records.iter().map(|record| record["event"].as_str().unwrap()).collect()
}

#[test]
fn commands_record_changes_and_mints_with_their_operator_in_the_file_alone() {
    let folder = tempfile::tempdir().unwrap();
    let emulator = Server::emulator(&folder.path().join("emulator"));
    let mut connection = Connection::open(&emulator.url).unwrap();
    let made = connection.call("CreateChannel", &json!({"authorized": true})).unwrap().1;
    let channel = made["channel"]["arn"].as_str().unwrap();
    let path = folder.path().join("audit.jsonl");
    let command = |arguments: &[&str]| -> Command {
        let mut command = configured(program(arguments), folder.path(), &emulator.url);
        command
            .env("IVS_PLAYBACK_AUTH__AUDIT__SINK", "file")
            .env("IVS_PLAYBACK_AUTH__AUDIT__PATH", &path)
            .env("IVS_PLAYBACK_AUTH__AUDIT__ON_FAILURE", "deny")
            .env("SUDO_USER", "alice");
        command
    };
    let done = |arguments: &[&str]| {
        let ended = run(&mut command(arguments));
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended
    };
    done(&["keys", "list"]);
    assert!(!path.exists(), "a command that changes nothing made the file");
    done(&["keys", "rotate"]);
    let rotated = records(&path);
    assert_eq!(rotated[0]["event"], "rotation_started");
    assert!(events(&rotated).contains(&"rotation_step"), "{rotated:?}");

    let minted =
        done(&["token", "mint", "--channel", channel, "--viewer-id", "bob", "--output", "json"]);
    let mint = records(&path).pop().unwrap();
    assert_eq!((&mint["kind"], &mint["viewerId"]), (&json!("mint"), &json!("bob")));
    assert_eq!(mint["tokenId"], minted.json()["tokenId"]);
    done(&["viewers", "revoke", "--channel", channel, "--viewer-id", "bob"]);
    let pair = done(&["keys", "generate", "--output", "json"]).json();
    done(&["keys", "delete", pair["arn"].as_str().unwrap(), "--yes"]);

    let clients = folder.path().join("clients.toml");
    let changed = |arguments: &[&str]| {
        let mut command = command(arguments);
        command
            .env_remove("IVS_PLAYBACK_AUTH_CLIENTS")
            .env("IVS_PLAYBACK_AUTH__ACCESS__CLIENTS", &clients);
        run(&mut command)
    };
    let create =
        ["clients", "create", "web", "--scope", "tokens:mint", "--write", "--output", "json"];
    let client = changed(&create).json();
    let again = changed(&create);
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("has the name \"web\" already"), "{again:?}");
    assert_eq!(changed(&["clients", "revoke", client["id"].as_str().unwrap()]).code, Some(0));

    let all = records(&path);
    let rest = &all[rotated.len()..];
    assert_eq!(
        events(rest),
        [
            "mint",
            "revocation",
            "key_pair_created",
            "key_pair_deleted",
            "client_created",
            "client_revoked"
        ]
    );
    for record in rest {
        assert_eq!((&record["clientId"], &record["sudoUser"]), (&Value::Null, &json!("alice")));
        assert!(record["operator"].is_string(), "{record}");
    }
    assert_eq!(rest[4]["subjectName"], "web");
    assert_eq!(rest[5]["subjectId"], client["id"]);
}

#[test]
fn service_records_what_changed_in_its_clients_file() {
    let folder = tempfile::tempdir().unwrap();
    let (clients, path) = (folder.path().join("clients.toml"), folder.path().join("audit.jsonl"));
    let configured = |arguments: &[&str]| {
        let mut command = configured(program(arguments), folder.path(), "http://127.0.0.1:9");
        command
            .env_remove("IVS_PLAYBACK_AUTH_CLIENTS")
            .env("IVS_PLAYBACK_AUTH__ACCESS__CLIENTS", &clients)
            .env("IVS_PLAYBACK_AUTH__ACCESS__RELOAD_EVERY", "100ms")
            .env("IVS_PLAYBACK_AUTH__AUDIT__SINK", "file")
            .env("IVS_PLAYBACK_AUTH__AUDIT__PATH", &path);
        command
    };
    let create = |name| {
        let create = ["clients", "create", name, "--scope", "tokens:mint", "--write"];
        assert_eq!(run(&mut configured(&create)).code, Some(0));
    };
    create("first");
    let service = Server::start(configured(&["serve"]));
    create("second");
    while !events(&records(&path)).contains(&"client_added") {
        std::thread::sleep(crate::program::PAUSE);
    }
    let added = records(&path).pop().unwrap();
    assert_eq!(
        (&added["kind"], &added["subjectName"]),
        (&json!("client_change"), &json!("second"))
    );
    assert_eq!((&added["operator"], &added["clientId"]), (&Value::Null, &Value::Null));
    drop(service);
}

#[test]
fn change_that_cannot_be_recorded_under_deny_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let emulator = Server::emulator(&folder.path().join("emulator"));
    let mut command = configured(program(&["keys", "generate"]), folder.path(), &emulator.url);
    command
        .env("IVS_PLAYBACK_AUTH__AUDIT__SINK", "file")
        .env("IVS_PLAYBACK_AUTH__AUDIT__PATH", folder.path().join("absent/audit.jsonl"))
        .env("IVS_PLAYBACK_AUTH__AUDIT__ON_FAILURE", "deny");
    let ended = run(&mut command);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("absent/audit.jsonl cannot be written"), "{ended:?}");
    assert!(!folder.path().join("keys").exists());
}

#[test]
fn standard_output_of_serve_has_the_address_and_then_records_alone() {
    let folder = tempfile::tempdir().unwrap();
    let emulator = Server::emulator(&folder.path().join("emulator"));
    // A rotator that has something to do at once.
    let begin = ["keys", "rotate", "--detach"];
    let rotated = run(&mut configured(program(&begin), folder.path(), &emulator.url));
    assert_eq!(rotated.code, Some(0), "{rotated:?}");
    assert!(!rotated.stdout.contains("\"kind\""), "{rotated:?}");
    let command = configured(program(&["serve"]), folder.path(), &emulator.url);
    let mut service = Server::start_with_first_line(command);
    let started = service.log_line("\"event\":\"started\"");
    assert_eq!(started["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(started["regions"], "us-west-2");
    assert_eq!(started["listen"], service.url.as_str());
    assert!(started["store"].as_str().unwrap().contains("keys"), "{started}");
    for member in ["commit", "account"] {
        assert!(started[member].is_string(), "{started}");
    }
    service.log_line("\"event\":\"signer_changed\"");
    service.signal("TERM");
    let (code, stdout, _) = service.wait_apart();
    assert_eq!(code, Some(0));
    let records: Vec<Value> =
        stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events(&records).contains(&"rotation_step"), "{records:?}");
}
