//! Processes that share a keyring in AWS Secrets Manager.

use std::{path::Path, process::Command};

use crate::{
    moto,
    program::{PAUSE, Server, clients, program, run},
};

/// The environment of a process with its keyring in moto and its IVS at `ivs`.
fn configured(mut command: Command, name: &str, ivs: &str) -> Command {
    command
        // For IVS alone: Secrets Manager is elsewhere.
        .args(["--endpoint-url", ivs])
        .env("AWS_ENDPOINT_URL_SECRETS_MANAGER", moto::url())
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_REGION", "us-west-2")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("IVS_PLAYBACK_AUTH__SERVER__LISTEN", "127.0.0.1:0")
        .env("IVS_PLAYBACK_AUTH__KEYS__STORE", "secrets-manager")
        .env("IVS_PLAYBACK_AUTH__KEYS__SECRET_NAME", name)
        .env("IVS_PLAYBACK_AUTH__KEYS__REFRESH_EVERY", "50ms")
        .env("IVS_PLAYBACK_AUTH_CLIENTS", clients());
    command
}

fn emulator(folder: &Path) -> Server {
    Server::emulator(&folder.join("emulator"))
}

#[tokio::test]
async fn replicas_sign_with_the_key_of_one_secret() {
    let folder = tempfile::tempdir().unwrap();
    let emulator = emulator(folder.path());
    let name = "process/{account}/{region}/signing";
    let with_account = |arguments: &[&str]| {
        let mut command = configured(program(arguments), name, &emulator.url);
        command.env("IVS_PLAYBACK_AUTH__IVS__ACCOUNT_ID", moto::ACCOUNT);
        command
    };
    let replicas = [(); 2].map(|()| Server::start(with_account(&["serve"])));
    for replica in &replicas {
        let (status, body) = replica.get("/readyz").unwrap();
        assert_eq!(status, 503, "{body}");
    }

    let rotate = run(&mut with_account(&["keys", "rotate", "--output", "json"]));
    assert_eq!(rotate.code, Some(0), "{rotate:?}");
    let secret = format!("process/{}/us-west-2/signing", moto::ACCOUNT);
    let store = format!("secrets-manager {secret} in us-west-2");
    assert!(rotate.stderr.contains(&store), "{rotate:?}");
    for replica in &replicas {
        while replica.get("/readyz").unwrap().0 != 200 {
            std::thread::sleep(PAUSE);
        }
    }

    let rotation = rotate.json();
    let client = aws_sdk_secretsmanager::Client::new(&moto::config("us-west-2"));
    let value = client.get_secret_value().secret_id(secret).version_stage("AWSCURRENT");
    let value = value.send().await.unwrap().secret_string.unwrap();
    let document: serde_json::Value = serde_json::from_str(&value).unwrap();
    assert_eq!(document["keys"][0]["arn"], rotation["newKeyPairArn"]);
    let pem = document["keys"][0]["privateKey"].as_str().unwrap();
    for replica in replicas {
        replica.signal("TERM");
        let (code, written) = replica.wait();
        assert_eq!(code, Some(0), "{written}");
        assert!(pem.lines().all(|line| !written.contains(line)), "{written}");
    }
}

#[test]
fn a_name_that_needs_the_account_says_how_to_give_it() {
    let folder = tempfile::tempdir().unwrap();
    let emulator = emulator(folder.path());
    let name = "process/{account}/unknown";
    let rotate = run(&mut configured(program(&["keys", "rotate"]), name, &emulator.url));
    assert_eq!(rotate.code, Some(1), "{rotate:?}");
    assert!(rotate.stderr.contains("Set ivs.account_id"), "{rotate:?}");
}

#[test]
fn a_keyring_moves_from_a_folder_to_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let emulator = emulator(folder.path());
    let command = |arguments: &[&str], store: &str| {
        let mut command = configured(program(arguments), "process/moved", &emulator.url);
        command.env("IVS_PLAYBACK_AUTH__KEYS__STORE", store);
        command.env("IVS_PLAYBACK_AUTH__KEYS__DIR", folder.path().join("keys"));
        run(&mut command)
    };
    let listed = |store: &str| command(&["keys", "list", "--output", "json"], store).json();
    assert_eq!(command(&["keys", "rotate"], "dir").code, Some(0));
    let copy = ["keys", "copy", "--from", "dir", "--to", "secrets-manager"];
    let nothing = command(&["keys", "copy", "--from", "secrets-manager", "--to", "dir"], "dir");
    assert_eq!(nothing.code, Some(1), "{nothing:?}");
    assert!(nothing.stderr.contains("there is no keyring in"), "{nothing:?}");

    let copied = command(&copy, "dir");
    assert_eq!(copied.code, Some(0), "{copied:?}");
    for expected in ["123456789012", "us-west-2", "dir ", "secrets-manager process/moved"] {
        assert!(copied.stderr.contains(expected), "{expected}: {copied:?}");
    }
    assert_eq!(listed("secrets-manager")["keyPairs"], listed("dir")["keyPairs"]);
    let again = command(&[&copy[..], &["--output", "json"]].concat(), "secrets-manager");
    assert_eq!(again.code, Some(0), "{again:?}");
    assert_eq!(
        (&again.json()["outcome"], &again.json()["keys"]),
        (&"alreadyThere".into(), &1.into())
    );
}
