//! The command line: help, exit codes, one sentence on stderr.

use crate::program::{program, run};

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
    let mut command = program(&["keys", "list"]);
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
