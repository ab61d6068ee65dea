//! Files that root and the user of the service share, paths that lead to something else than a file,
//! and disks that are full.
//!
//! As root, the service runs as another user. Without root there is only one user, so the same commands
//! run as that user, and a folder of root is the one that may not be changed.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use rustix::{
    fs::{CWD, Mode, mkfifoat},
    process::{Pid, Resource, Rlimit, geteuid, getrlimit, prlimit},
};
use serde_json::{Value, json};

use crate::{
    connection::Connection,
    program::{Ended, PAUSE, Server, get, program, run, send, started},
};

const DEADLINE: Duration = Duration::from_mins(1);

/// Does not exist, which the kernel does not mind.
const SERVICE_USER: u32 = 12_345;
const OTHER_USER: u32 = 12_346;

fn is_root() -> bool {
    geteuid().is_root()
}

/// The user that the service runs as.
fn service_user() -> u32 {
    if is_root() { SERVICE_USER } else { geteuid().as_raw() }
}

/// An emulator, and a folder of the user of the service.
struct World {
    folder: tempfile::TempDir,
    binary: PathBuf,
    emulator: Server,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let binary = reachable_binary(folder.path());
        let state = folder.path().join("state");
        fs::create_dir(&state).unwrap();
        fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
        chown(&state, Some(service_user()), None).unwrap();
        let emulator = Server::emulator(&folder.path().join("emulator"));
        Self { folder, binary, emulator }
    }

    /// With a first key and a client, which root made. Returns the id and the credential of the client.
    fn with_client() -> (Self, String, String) {
        let world = Self::new();
        let rotated = run(&mut world.as_root(&["keys", "rotate"]));
        assert_eq!(rotated.code, Some(0), "{rotated:?}");
        let created = run(&mut world.as_root(&create("web"))).json();
        let text = |member: &str| created[member].as_str().unwrap().to_owned();
        (world, text("id"), text("credential"))
    }

    fn state(&self, name: &str) -> PathBuf {
        self.folder.path().join("state").join(name)
    }

    fn as_root(&self, arguments: &[&str]) -> Command {
        self.configured(Command::new(&self.binary), arguments)
    }

    fn as_user(&self, user: u32, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        if is_root() {
            command.uid(user).gid(user);
        }
        self.configured(command, arguments)
    }

    fn as_service(&self, arguments: &[&str]) -> Command {
        self.as_user(service_user(), arguments)
    }

    fn configured(&self, mut command: Command, arguments: &[&str]) -> Command {
        command
            .args(arguments)
            .env_clear()
            .stdin(std::process::Stdio::null())
            .env("AWS_ENDPOINT_URL_IVS", &self.emulator.url)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_REGION", "us-west-2")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("IVS_PLAYBACK_AUTH__SERVER__LISTEN", "127.0.0.1:0")
            .env("IVS_PLAYBACK_AUTH__ACCESS__CLIENTS", self.state("config/clients.toml"))
            .env("IVS_PLAYBACK_AUTH__ACCESS__RELOAD_EVERY", "200ms")
            .env("IVS_PLAYBACK_AUTH__AUDIT__SINK", "off")
            .env("IVS_PLAYBACK_AUTH__KEYS__DIR", self.state("keys"))
            .env("IVS_PLAYBACK_AUTH__KEYS__REFRESH_EVERY", "100ms");
        command
    }
}

fn create(name: &str) -> Vec<&str> {
    let mut arguments = vec!["clients", "create", name, "--write", "--output", "json"];
    for scope in ["keys:read", "keys:write", "metrics:read", "tokens:mint"] {
        arguments.extend(["--scope", scope]);
    }
    arguments
}

/// The binary where every user may run it.
fn reachable_binary(folder: &Path) -> PathBuf {
    let built = PathBuf::from(env!("CARGO_BIN_EXE_ivs-playback-auth"));
    let open = |path: &Path| fs::metadata(path).unwrap().mode() & 0o001 != 0;
    if built.ancestors().all(open) {
        return built;
    }
    let copy = folder.join("ivs-playback-auth");
    fs::copy(built, &copy).unwrap();
    copy
}

/// Waits until `holds`, or fails.
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = started();
    while !holds() {
        assert!(started.elapsed() < DEADLINE, "waited too long: {what}");
        thread::sleep(PAUSE);
    }
}

/// Everything in a folder, and the folder itself.
fn tree(path: &Path) -> Vec<PathBuf> {
    let mut found = vec![path.to_owned()];
    if path.is_dir() {
        found.extend(fs::read_dir(path).unwrap().flat_map(|entry| tree(&entry.unwrap().path())));
    }
    found
}

fn assert_owned_by_service(path: &Path) {
    for path in tree(path) {
        let metadata = fs::symlink_metadata(&path).unwrap();
        assert_eq!(metadata.uid(), service_user(), "{}", path.display());
        assert!(path.is_dir() || metadata.mode() & 0o777 == 0o600, "{}", path.display());
    }
}

/// A private channel.
fn create_channel(emulator: &Server) -> String {
    let (_, created) = call(emulator, "CreateChannel", &json!({"authorized": true}));
    created["channel"]["arn"].as_str().unwrap().to_owned()
}

fn call(emulator: &Server, operation: &str, input: &Value) -> (u16, Value) {
    let mut connection = Connection::open(&emulator.url).unwrap();
    connection.call(operation, input).unwrap()
}

/// The ARN of the key pair with which the service signs a token.
fn signer(service: &Server, credential: &str, channel: &str) -> String {
    let body = json!({ "channel": channel }).to_string();
    let (status, _, minted) = send(&service.url, "POST", "/v1/tokens", credential, &body);
    assert_eq!(status, 200, "{minted}");
    let minted: Value = serde_json::from_str(&minted).unwrap();
    minted["keyPairArn"].as_str().unwrap().to_owned()
}

#[test]
fn client_revoked_by_root_is_refused_by_service_of_another_user() {
    let (world, id, credential) = World::with_client();
    let service = Server::start(world.as_service(&["serve"]));
    let status = || send(&service.url, "GET", "/v1/key-pairs", &credential, "").0;
    assert_eq!(status(), 200);
    let revoked = run(&mut world.as_root(&["clients", "revoke", &id]));
    assert_eq!(revoked.code, Some(0), "{revoked:?}");
    wait_until("the revoked credential is still accepted", || status() == 401);
    assert_owned_by_service(&world.state("config"));
}

#[test]
fn service_of_another_user_signs_with_the_key_of_an_emergency_rotation_by_root() {
    let (world, _, credential) = World::with_client();
    let service = Server::start(world.as_service(&["serve"]));
    let channel = create_channel(&world.emulator);
    let before = signer(&service, &credential, &channel);
    let rotated = run(&mut world.as_root(&["keys", "rotate", "--emergency", "--yes"]));
    assert_eq!(rotated.code, Some(0), "{rotated:?}");
    wait_until("the service still signs with the old key", || {
        signer(&service, &credential, &channel) != before
    });
    assert_eq!(service.get("/readyz").unwrap().0, 200);
    // The user of the service can still write what root wrote.
    let generated = run(&mut world.as_service(&["keys", "generate"]));
    assert_eq!(generated.code, Some(0), "{generated:?}");
    assert_owned_by_service(&world.state("keys"));
}

#[test]
fn concurrent_changes_by_root_and_by_the_service_user_are_all_kept() {
    let world = World::new();
    let names: Vec<String> = (0..8).map(|number| format!("client-{number}")).collect();
    let children: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(number, name)| {
            let arguments = create(name);
            let mut command = if number % 2 == 0 {
                world.as_root(&arguments)
            } else {
                world.as_service(&arguments)
            };
            thread::spawn(move || run(&mut command))
        })
        .collect();
    for child in children {
        let ended = child.join().unwrap();
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    let listed = run(&mut world.as_service(&["clients", "list"]));
    assert!(names.iter().all(|name| listed.stdout.contains(name)), "{listed:?}");
    assert_owned_by_service(&world.state("config"));
}

#[test]
fn command_of_another_user_fails_before_it_changes_anything_and_names_the_right_command() {
    let world = World::new();
    let refused = |user: u32, path: &Path, run_instead: &str| {
        let before = fs::read(path).ok();
        let mut command = world.as_user(user, &create("web"));
        let ended = run(command.env("IVS_PLAYBACK_AUTH__ACCESS__CLIENTS", path));
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(
            ended.stderr.contains(&format!("`{run_instead} ivs-playback-auth …`")),
            "{ended:?}"
        );
        assert_eq!(fs::read(path).ok(), before);
    };
    if !is_root() {
        return refused(service_user(), Path::new("/clients.toml"), "sudo");
    }
    // Everyone may change the folder and read the file, but no one else may give the file to its owner.
    let folder = world.folder.path().join("shared");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    let path = folder.join("clients.toml");
    fs::write(&path, "# none yet\n").unwrap();
    refused(OTHER_USER, &path, "sudo");
    chown(&path, Some(SERVICE_USER), None).unwrap();
    refused(OTHER_USER, &path, &format!("sudo -u '#{SERVICE_USER}'"));
    assert_eq!(tree(&folder), [folder, path], "a temporary file is left");
}

#[test]
fn clients_path_that_leads_to_a_named_pipe_is_reported_until_it_is_a_file_again() {
    let (world, _, credential) = World::with_client();
    let path = world.state("config/clients.toml");
    let mut service = Server::start(world.as_service(&["serve"]));
    let url = service.url.clone();
    let is_ready = || {
        let (status, body) = get(&url, "/readyz").unwrap();
        assert_eq!(status, 200, "{body}");
        !body.contains("clients_not_reloaded")
    };
    assert!(is_ready());

    let saved = path.with_extension("saved");
    fs::rename(&path, &saved).unwrap();
    mkfifoat(CWD, &path, Mode::from_raw_mode(0o644)).unwrap();
    wait_until("the pipe is not reported", || !is_ready());
    let metric = "ivs_playback_auth_clients_not_reloaded";
    let metrics = || send(&url, "GET", "/metrics", &credential, "").2;
    assert!(metrics().contains(&format!("{metric} 1")));
    // The old clients stay.
    assert_eq!(send(&url, "GET", "/v1/key-pairs", &credential, "").0, 200);

    fs::rename(&saved, &path).unwrap();
    wait_until("the file is not read again", is_ready);
    assert!(metrics().contains(&format!("{metric} 0")));
    let reported = service.log_line("clients_not_reloaded").to_string();
    assert!(reported.contains("it is a named pipe, not a regular file"), "{reported}");
    service.log_line("clients_reloaded");

    // At start it is an error.
    fs::remove_file(&path).unwrap();
    mkfifoat(CWD, &path, Mode::from_raw_mode(0o644)).unwrap();
    let ended: Ended = run(&mut world.as_service(&["serve"]));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("it is a named pipe, not a regular file"), "{ended:?}");
}

/// Starts a process whose writes to files fail once [`fill_disk`] is called: a limit of the kernel that
/// binds every user, where a full disk would need a file system of its own.
fn with_small_disk(command: &Command) -> Command {
    let mut limited = Command::new("/bin/sh");
    limited.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]);
    limited.arg(command.get_program()).args(command.get_args()).env_clear();
    for (name, value) in command.get_envs() {
        limited.env(name, value.unwrap());
    }
    limited
}

fn fill_disk(server: &Server, is_full: bool) {
    let pid = Pid::from_raw(server.pid().cast_signed());
    let Rlimit { maximum, .. } = getrlimit(Resource::Fsize);
    let limit = Rlimit { current: if is_full { Some(0) } else { maximum }, maximum };
    prlimit(pid, Resource::Fsize, limit).unwrap();
}

#[test]
fn full_disk_of_the_keys_is_store_unavailable_until_there_is_room() {
    let (world, _, credential) = World::with_client();
    let service = Server::start(with_small_disk(&world.as_root(&["serve"])));
    let pem = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keys/public.pem");
    let body = json!({"publicKeyMaterial": fs::read_to_string(pem).unwrap()}).to_string();
    let import = || send(&service.url, "POST", "/v1/key-pairs", &credential, &body);
    fill_disk(&service, true);
    let (status, head, answer) = import();
    assert_eq!(status, 503, "{answer}");
    assert!(
        answer.contains("store_unavailable") && head.contains("retry-after: "),
        "{head}{answer}"
    );
    // What it has in memory still signs.
    assert_eq!(service.get("/readyz").unwrap().0, 200);
    fill_disk(&service, false);
    let (status, _, answer) = import();
    assert_eq!(status, 201, "{answer}");
}

#[test]
fn emulator_recovers_from_a_full_disk_and_keeps_what_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("emulator").display().to_string();
    let arguments = ["emulator", "--listen", "127.0.0.1:0", "--data-dir", &data];
    let mut emulator = Server::start(with_small_disk(&program(&arguments)));
    let channels = |server: &Server| {
        let (status, listed) = call(server, "ListChannels", &json!({}));
        assert_eq!(status, 200, "{listed}");
        listed["channels"].as_array().unwrap().len()
    };
    assert_eq!(call(&emulator, "CreateChannel", &json!({})).0, 200);
    fill_disk(&emulator, true);
    for _ in 0..2 {
        assert_eq!(call(&emulator, "CreateChannel", &json!({})).0, 500);
    }
    fill_disk(&emulator, false);
    assert_eq!(channels(&emulator), 1);
    assert_eq!(call(&emulator, "CreateChannel", &json!({})).0, 200);
    emulator.log_line("emulator_store_failed");
    emulator.log_line("emulator_store_recovered");
    drop(emulator);
    assert_eq!(channels(&Server::emulator(&folder.path().join("emulator"))), 2);
}
