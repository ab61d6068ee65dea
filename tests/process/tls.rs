//! `serve` and `healthcheck` over TLS, and configuration that is replaced while the service runs.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::{Command, Stdio},
    thread,
};

use crate::{
    program::{PAUSE, Server, get, program, run},
    serve::configured,
};

/// Writes a certificate with this name that signs itself, and its key, valid for so many days.
fn certificate(folder: &Path, name: &str, days: &str) {
    fs::create_dir_all(folder).unwrap();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-subj", &format!("/CN={name}"), "-days", days])
        .arg("-keyout")
        .arg(folder.join("tls.key"))
        .arg("-out")
        .arg(folder.join("tls.crt"))
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success());
    fs::set_permissions(folder.join("tls.key"), fs::Permissions::from_mode(0o600)).unwrap();
}

/// The name in the certificate that the service presents.
fn presented(url: &str) -> String {
    let address = url.strip_prefix("https://").unwrap();
    let made = Command::new("openssl")
        .args(["s_client", "-connect", address])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8(made.stdout).unwrap()
}

/// `arguments` with TLS from the links in `folder`, as Kubernetes mounts a secret.
fn with_tls(arguments: &[&str], folder: &Path) -> Command {
    let mut command = configured(program(arguments), folder, "http://127.0.0.1:9");
    command
        .env("IVS_PLAYBACK_AUTH__SERVER__TLS_CERT", folder.join("current/tls.crt"))
        .env("IVS_PLAYBACK_AUTH__SERVER__TLS_KEY", folder.join("current/tls.key"))
        .env("IVS_PLAYBACK_AUTH__ACCESS__RELOAD_EVERY", "100ms");
    command
}

/// Lets `current` lead to another folder, in one step.
fn swap(folder: &Path, to: &str) {
    let next = folder.join("next");
    symlink(to, &next).unwrap();
    fs::rename(next, folder.join("current")).unwrap();
}

#[test]
fn a_replaced_certificate_is_loaded_and_an_unusable_one_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    certificate(&folder.join("one"), "first.test", "365");
    certificate(&folder.join("two"), "second.test", "3");
    certificate(&folder.join("torn"), "torn.test", "365");
    fs::copy(folder.join("one/tls.key"), folder.join("torn/tls.key")).unwrap();
    swap(folder, "one");
    let mut command = with_tls(&["serve"], folder);
    command.env("IVS_PLAYBACK_AUTH__SERVER__OPERATIONS_LISTEN", "127.0.0.1:0");
    let mut server = Server::start(command);
    let log = server.log_line("without a credential");
    let operations = log["url"].as_str().unwrap().to_owned();
    assert!(presented(&server.url).contains("first.test"));

    swap(folder, "torn");
    let log = server.log_line("tls_not_reloaded");
    assert!(log["fault"].as_str().unwrap().contains("server.tls_key"), "{log}");
    assert!(presented(&server.url).contains("first.test"));
    let reports = || get(&operations, "/readyz").unwrap().1.contains("tls_not_reloaded");
    while !reports() {
        thread::sleep(PAUSE);
    }
    assert!(get(&operations, "/metrics").unwrap().1.contains("tls_not_reloaded 1"));

    swap(folder, "two");
    server.log_line("tls_certificate_expires");
    assert!(presented(&server.url).contains("second.test"));
    assert!(!reports());
    let metrics = get(&operations, "/metrics").unwrap().1;
    assert!(metrics.contains("tls_not_reloaded 0"), "{metrics}");
    assert!(metrics.contains("tls_certificate_expiry_timestamp_seconds 1"), "{metrics}");

    fs::set_permissions(folder.join("two/tls.key"), fs::Permissions::from_mode(0o604)).unwrap();
    let log = server.log_line("tls_not_reloaded");
    assert!(log["fault"].as_str().unwrap().contains("chmod"), "{log}");
    let ended = run(&mut with_tls(&["serve"], folder));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("chmod"), "{ended:?}");
}

#[test]
fn healthcheck_asks_the_service_of_its_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    certificate(&folder.join("one"), "not-this-host.test", "365");
    certificate(&folder.join("two"), "replaced.test", "365");
    swap(folder, "one");
    let server = Server::start(with_tls(&["serve"], folder));
    let listen = server.url.strip_prefix("https://").unwrap().to_owned();
    let check = |arguments: &[&str]| {
        let mut command = with_tls(arguments, folder);
        command.env("IVS_PLAYBACK_AUTH__SERVER__LISTEN", &listen);
        run(&mut command)
    };
    let healthy = check(&["healthcheck"]);
    assert_eq!((healthy.code, healthy.stderr.as_str()), (Some(0), ""), "{healthy:?}");
    // It cannot sign: no key was made.
    assert_eq!(check(&["healthcheck", "--ready"]).code, Some(1));
    // Whoever names a URL means a host, whose certificate is verified.
    let named = check(&["healthcheck", "--url", &server.url]);
    assert_eq!(named.code, Some(1), "{named:?}");
    drop(server);
    assert_eq!(check(&["healthcheck"]).code, Some(1));

    let mut command = with_tls(&["serve"], folder);
    command.env("IVS_PLAYBACK_AUTH__SERVER__OPERATIONS_LISTEN", "127.0.0.1:0");
    command.env("IVS_PLAYBACK_AUTH__ACCESS__RELOAD_EVERY", "1h");
    let mut server = Server::start(command);
    let log = server.log_line("without a credential");
    let operations = log["url"].as_str().unwrap().strip_prefix("http://").unwrap();
    let mut command = with_tls(&["healthcheck"], folder);
    command.env("IVS_PLAYBACK_AUTH__SERVER__OPERATIONS_LISTEN", operations);
    command.env("IVS_PLAYBACK_AUTH__SERVER__LISTEN", "127.0.0.1:9");
    assert_eq!(run(&mut command).code, Some(0));

    // It runs on with the certificate that it has.
    swap(folder, "two");
    let mut command = with_tls(&["healthcheck"], folder);
    command.env("IVS_PLAYBACK_AUTH__SERVER__LISTEN", server.url.strip_prefix("https://").unwrap());
    let healthy = run(&mut command);
    assert_eq!(healthy.code, Some(0), "{healthy:?}");
    assert!(healthy.stderr.contains("another certificate"), "{healthy:?}");
}

#[test]
fn sighup_reloads_clients_and_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    certificate(&folder.join("one"), "first.test", "365");
    certificate(&folder.join("two"), "second.test", "365");
    swap(folder, "one");
    let clients = folder.join("clients.toml");
    let create = |name: &str| {
        let made = run(program(&["clients", "create", name, "--scope", "tokens:mint", "--write"])
            .env("IVS_PLAYBACK_AUTH__ACCESS__CLIENTS", &clients));
        assert_eq!(made.code, Some(0), "{made:?}");
    };
    create("one");
    let mut command = with_tls(&["serve"], folder);
    command
        .env_remove("IVS_PLAYBACK_AUTH_CLIENTS")
        .env("IVS_PLAYBACK_AUTH__ACCESS__CLIENTS", &clients)
        .env("IVS_PLAYBACK_AUTH__ACCESS__RELOAD_EVERY", "1h")
        .env("IVS_PLAYBACK_AUTH__SERVER__DRAIN_DELAY", "1h");
    let mut server = Server::start(command);
    create("two");
    swap(folder, "two");
    server.signal("HUP");
    assert_eq!(server.log_line("clients_reloaded")["clients"], 2);
    server.log_line("tls_reloaded");
    assert!(presented(&server.url).contains("second.test"));

    fs::write(&clients, "[[clients").unwrap();
    server.signal("HUP");
    server.log_line("clients_not_reloaded");

    // Also while it stops.
    server.signal("TERM");
    server.log_line("shutting down");
    fs::write(&clients, "# none\n").unwrap();
    server.signal("HUP");
    assert_eq!(server.log_line("clients_reloaded")["clients"], 0);
    server.signal("TERM");
    let (code, said) = server.wait();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn sighup_does_not_end_dev() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().display().to_string();
    let listeners = ["--listen", "127.0.0.1:0", "--emulator-listen", "127.0.0.1:0"];
    let mut command = program(&[&["dev", "--data-dir", &data][..], &listeners].concat());
    command.env("HOME", folder.path());
    let mut server = Server::start(command);
    server.signal("HUP");
    server.log_line("reload_requested");
    assert_eq!(server.get("/healthz").unwrap().0, 200);
}
