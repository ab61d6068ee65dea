//! `keys …` against `emulator`: exit codes, what is on which stream, JSON.

use std::path::PathBuf;

use serde_json::Value;

use crate::program::{Ended, Server, program, run};

/// Short, so that nothing is waited for; a clock that is read in whole seconds bounds the margin.
const SETTINGS: [(&str, &str); 7] = [
    ("ROTATION__PROPAGATION_WAIT", "200ms"),
    ("ROTATION__DRAIN_MARGIN", "4s"),
    ("ROTATION__RECONCILE_EVERY", "1s"),
    ("KEYS__MAX_STALENESS", "1s"),
    ("KEYS__REFRESH_EVERY", "100ms"),
    ("TOKENS__MAX_TTL", "1s"),
    ("TOKENS__DEFAULT_TTL", "1s"),
];

/// With these nothing finishes draining while a test looks.
const SLOW: [(&str, &str); 1] = [("KEYS__MAX_STALENESS", "1h")];

/// An emulator, and the folder in which a keyring is kept.
pub(crate) struct World {
    folder: tempfile::TempDir,
    emulator: Server,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let emulator = Server::emulator(&folder.path().join("emulator"));
        Self { folder, emulator }
    }

    /// With a first key.
    pub(crate) fn with_key() -> Self {
        let world = Self::new();
        let made = world.keys(&["rotate"]);
        assert_eq!(made.code, Some(0), "{made:?}");
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `keys …`
    pub(crate) fn keys(&self, arguments: &[&str]) -> Ended {
        self.keys_with(&[], arguments)
    }

    /// With other settings, `SECTION__KEY`, or other variables of AWS.
    pub(crate) fn keys_with(&self, settings: &[(&str, &str)], arguments: &[&str]) -> Ended {
        let mut command = program(&["keys"]);
        command
            .args(arguments)
            .env("AWS_ENDPOINT_URL_IVS", &self.emulator.url)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_REGION", "us-west-2")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("IVS_PLAYBACK_AUTH__KEYS__DIR", self.path("keys"));
        for (name, value) in SETTINGS.iter().chain(settings) {
            let name = if name.starts_with("AWS_") {
                (*name).to_owned()
            } else {
                format!("IVS_PLAYBACK_AUTH__{name}")
            };
            command.env(name, value);
        }
        run(&mut command)
    }

    /// The JSON of a command that succeeds.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        self.json_with(&[], arguments)
    }

    fn json_with(&self, settings: &[(&str, &str)], arguments: &[&str]) -> Value {
        let ended = self.keys_with(settings, &[arguments, &["--output", "json"]].concat());
        assert_eq!(ended.code, Some(0), "{arguments:?}: {ended:?}");
        ended.json()
    }

    /// The ARNs of all pairs in this state.
    fn arns(&self, state: &str) -> Vec<String> {
        let listed = self.json(&["list"]);
        let pairs = listed["keyPairs"].as_array().unwrap();
        let in_state = pairs.iter().filter(|pair| pair["state"] == state);
        in_state.map(|pair| pair["arn"].as_str().unwrap().to_owned()).collect()
    }

    /// Two pairs that are not of this keyring.
    fn import_foreign_pairs(&self) -> Vec<String> {
        let other = self.path("other").display().to_string();
        for file in ["public.pem", "other-public.pem"] {
            let file = format!("{}/tests/fixtures/keys/{file}", env!("CARGO_MANIFEST_DIR"));
            let imported =
                self.keys_with(&[("KEYS__DIR", &other)], &["import", "--public-key", &file]);
            assert_eq!(imported.code, Some(0), "{imported:?}");
        }
        let foreign = self.arns("foreign");
        assert_eq!(foreign.len(), 2);
        foreign
    }

    fn keyring(&self) -> Vec<u8> {
        std::fs::read(self.path("keys/us-west-2/keyring.json")).unwrap()
    }
}

#[test]
fn a_rotation_says_where_what_signs_what_drains_and_how_to_undo() {
    let world = World::with_key();
    let [old] = world.arns("active").try_into().unwrap();
    // Long enough for a look to see it wait.
    let rotated = world.keys_with(&[("ROTATION__PROPAGATION_WAIT", "10s")], &["rotate"]);
    assert_eq!(rotated.code, Some(0), "{rotated:?}");
    let [new] = world.arns("active").try_into().unwrap();
    assert_ne!(old, new);
    assert_eq!(world.arns("draining"), [&*old]);
    for expected in ["123456789012", "us-west-2", "dir ", "propagating: "] {
        assert!(rotated.stderr.contains(expected), "{expected}: {rotated:?}");
    }
    for expected in [&new, &old, " drains until ", "keys rollback --region us-west-2"] {
        assert!(rotated.stdout.contains(expected), "{expected}: {rotated:?}");
    }
}

#[test]
fn the_json_of_a_rotation_is_all_that_is_on_stdout() {
    let world = World::with_key();
    let draining = world.json(&["rotate"]);
    assert_eq!(draining["phase"], "draining");
    assert_eq!(draining["nextStep"], "retire");
    assert_eq!(draining["error"], Value::Null);
    let done = world.json(&["rotate", "--wait", "retired"]);
    assert_eq!(done["phase"], "done");
    assert_eq!(done["oldKeyPairArn"], draining["newKeyPairArn"]);
    // The one before drained meanwhile, since whoever follows a rotation takes all steps.
    assert_eq!(world.arns("active"), [done["newKeyPairArn"].as_str().unwrap()]);
    assert_eq!(world.json(&["list"])["keyPairs"].as_array().unwrap().len(), 1);
}

#[test]
fn what_is_begun_and_left_is_gone_on_with() {
    let world = World::with_key();
    let begun = world.json(&["rotate", "--detach"]);
    assert_eq!(begun["phase"], "importing");
    let again = world.keys(&["rotate", "--detach", "--output", "json"]);
    assert!(again.stderr.contains("already in progress"), "{again:?}");
    assert_eq!(again.json()["id"], begun["id"]);
    let done = world.json_with(&SLOW, &["rotate"]);
    assert_eq!((&done["id"], &done["phase"]), (&begun["id"], &"draining".into()));
    // Two that drain and one that signs fill the quota.
    assert_eq!(world.json_with(&SLOW, &["rotate"])["phase"], "draining");
    let refused = world.keys_with(&SLOW, &["rotate"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("is in progress, and IVS has no slot"), "{refused:?}");
    // For cron that is nothing to be told of at night.
    let cron = world.keys_with(&SLOW, &["rotate", "--if-older-than", "0s"]);
    assert_eq!(cron.code, Some(0), "{cron:?}");
    assert!(cron.stderr.contains("still drains"), "{cron:?}");
}

#[test]
fn for_cron_it_begins_goes_on_or_does_nothing_and_says_which() {
    let world = World::new();
    let monthly = ["rotate", "--if-older-than", "30d"];
    let first = world.keys(&monthly);
    assert_eq!(first.code, Some(0), "{first:?}");
    assert!(first.stderr.contains("started."), "{first:?}");
    let young = world.keys(&monthly);
    assert_eq!(young.code, Some(0), "{young:?}");
    assert!(young.stderr.contains("No rotation started"), "{young:?}");
    let begun = world.json(&["rotate", "--detach"]);
    let gone_on = world.keys(&[&monthly[..], &["--output", "json"]].concat());
    assert_eq!(gone_on.code, Some(0), "{gone_on:?}");
    assert!(gone_on.stderr.contains("continuing with it"), "{gone_on:?}");
    assert_eq!(gone_on.json()["id"], begun["id"]);
    let old = world.keys(&["rotate", "--if-older-than", "0s"]);
    assert_eq!(old.code, Some(0), "{old:?}");
    assert!(old.stderr.contains("started."), "{old:?}");
    // With nothing to begin it deletes what has drained, since nobody else may be there for that.
    while world.arns("draining").len() + world.arns("retiring").len() > 0 {
        assert_eq!(world.keys(&monthly).code, Some(0));
    }
    assert_eq!(world.json(&["list"])["keyPairs"].as_array().unwrap().len(), 1);
}

#[test]
fn a_rotation_is_cancelled_before_its_key_signs_and_rolled_back_after() {
    let world = World::with_key();
    let [old] = world.arns("active").try_into().unwrap();
    let begun = world.json(&["rotate", "--detach"]);
    let id = begun["id"].as_str().unwrap();
    assert_eq!(world.json(&["cancel", id])["phase"], "cancelled");
    assert_eq!(world.json(&["cancel", id])["phase"], "cancelled");
    assert_eq!(world.arns("active"), [&*old]);

    let none = world.keys(&["rollback"]);
    assert_eq!(none.code, Some(1), "{none:?}");
    assert!(none.stderr.contains("nothing to roll back"), "{none:?}");
    let rotated = world.json_with(&SLOW, &["rotate"]);
    let late = world.keys(&["cancel", rotated["id"].as_str().unwrap()]);
    assert_eq!(late.code, Some(1), "{late:?}");
    assert!(late.stderr.contains("keys rollback"), "{late:?}");
    let back = world.json_with(&SLOW, &["rollback"]);
    assert_eq!(back["newKeyPairArn"], old);
    assert_eq!(back["oldKeyPairArn"], rotated["newKeyPairArn"]);
    assert_eq!(world.arns("active"), [old]);

    let unknown = world.keys(&["cancel", "0b1f6a2f-9f0e-4c57-8d0b-6f0a3c1e7d0b"]);
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    assert_eq!(world.keys(&["cancel", "latest"]).code, Some(2));
}

#[test]
fn an_emergency_deletes_at_once_and_says_what_it_cost() {
    let world = World::with_key();
    let first = world.arns("active");
    world.json(&["rotate"]);
    let second = world.arns("active");
    let emergency = world.keys(&["rotate", "--emergency", "--yes"]);
    assert_eq!(emergency.code, Some(0), "{emergency:?}");
    assert_eq!(world.json(&["list"])["keyPairs"].as_array().unwrap().len(), 1);
    for expected in [&*first[0], &second[0], "keys.refresh_every", "Sessions that play", "edge"] {
        assert!(emergency.stdout.contains(expected), "{expected}: {emergency:?}");
    }
    let again = world.keys(&["rotate", "--emergency", "--yes", "--output", "json"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert_eq!(
        (&again.json()["phase"], &again.json()["mode"]),
        (&"done".into(), &"emergency".into())
    );
    assert!(again.stderr.contains("What it cost"), "{again:?}");
}

#[test]
fn irreversible_commands_without_a_terminal_need_yes() {
    let world = World::with_key();
    let [active] = world.arns("active").try_into().unwrap();
    let pending = world.json(&["generate"])["arn"].as_str().unwrap().to_owned();
    let before = world.keyring();
    for arguments in [
        &["rotate", "--emergency"][..],
        &["rotate", "--emergency", "--detach", "--output", "json"],
        &["delete", &pending],
        &["delete", &active, "--force"],
    ] {
        let refused = world.keys(arguments);
        assert_eq!(refused.code, Some(2), "{arguments:?}: {refused:?}");
        assert!(refused.stderr.contains("--yes") && refused.stdout.is_empty(), "{refused:?}");
    }
    assert_eq!(world.keyring(), before);
    let deleted = world.keys(&["delete", &pending, "--yes"]);
    assert_eq!(deleted.code, Some(0), "{deleted:?}");
    assert_eq!(world.arns("pending"), [""; 0]);
}

#[test]
fn a_quota_full_of_other_pairs_is_refused_by_name() {
    let world = World::with_key();
    let foreign = world.import_foreign_pairs();
    let refused = world.keys(&["rotate"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let examined = world.keys(&["doctor"]);
    assert_eq!(examined.code, Some(1), "{examined:?}");
    assert!(examined.stdout.contains("quota_full"), "{examined:?}");
    for arn in &foreign {
        assert!(refused.stderr.contains(arn), "{refused:?}");
        assert!(examined.stdout.contains(arn), "{examined:?}");
    }
}

#[test]
fn an_adopted_key_waits_for_its_release() {
    let world = World::new();
    let file = format!("{}/tests/fixtures/keys/sec1.pem", env!("CARGO_MANIFEST_DIR"));
    let adopted = ["import", "--private-key", &file, "--longest-ttl", "2s", "--output", "json"];
    let adopted = world.keys(&adopted);
    assert_eq!(adopted.code, Some(0), "{adopted:?}");
    let arn = adopted.json()["arn"].as_str().unwrap().to_owned();
    for expected in ["It signs here", "other signer", "2 s", &format!("keys release {arn}")] {
        assert!(adopted.stderr.contains(expected), "{expected}: {adopted:?}");
    }
    let rotated = world.keys(&["rotate"]);
    assert_eq!(rotated.code, Some(0), "{rotated:?}");
    assert!(rotated.stdout.contains(&format!("keys release {arn}")), "{rotated:?}");
    // It drains, then waits for somebody to say so.
    let stuck = world.keys(&["rotate", "--if-older-than", "30d"]);
    assert_eq!(stuck.code, Some(0), "{stuck:?}");
    while world.json(&["status"])["rotations"][0]["nextStep"] != "release" {}
    let status = world.json(&["status"]);
    assert_eq!(status["findings"][0]["code"], "awaits_release");

    let [own] = world.arns("active").try_into().unwrap();
    let own = world.keys(&["release", &own]);
    assert_eq!(own.code, Some(1), "{own:?}");
    assert_eq!(world.json(&["release", &arn])["arn"], arn);
    while world.arns("draining").contains(&arn) {
        assert_eq!(world.keys(&["rotate", "--if-older-than", "30d"]).code, Some(0));
    }
}

#[test]
fn a_repeated_release_says_the_same() {
    let world = World::new();
    let file = format!("{}/tests/fixtures/keys/sec1.pem", env!("CARGO_MANIFEST_DIR"));
    let adopted = world.json(&["import", "--private-key", &file]);
    let arn = adopted["arn"].as_str().unwrap();
    for _ in 0..2 {
        let released = world.keys(&["release", arn]);
        assert_eq!(released.code, Some(0), "{released:?}");
        assert!(released.stderr.contains("It signs."), "{released:?}");
    }
}

#[test]
fn the_state_is_shown_and_nothing_is_written() {
    let world = World::with_key();
    world.json(&["rotate", "--detach"]);
    let before = world.keyring();
    // A process that signs would write down the longer lifetime.
    let longer = [("TOKENS__MAX_TTL", "1h"), ("TOKENS__DEFAULT_TTL", "1h")];
    let status = world.keys_with(&longer, &["status", "--output", "json"]);
    assert_eq!(status.code, Some(0), "{status:?}");
    let status = status.json();
    let members: Vec<_> = status.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        members,
        [
            "account",
            "activeFor",
            "activeKeyPair",
            "checkedAt",
            "findings",
            "keyPairs",
            "region",
            "rotations",
            "store"
        ]
    );
    assert_eq!(status["activeKeyPair"]["state"], "active");
    assert_eq!(status["rotations"][0]["phase"], "importing");
    for arguments in [&["status"][..], &["doctor"], &["list"]] {
        assert_eq!(world.keys_with(&longer, arguments).code, Some(0), "{arguments:?}");
    }
    assert_eq!(world.keyring(), before);
    let text = world.keys(&["status"]).stdout;
    for expected in ["active    arn:aws:ivs:", "next      import", "dir "] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn a_process_that_may_not_manage_keys_shows_them_and_changes_none() {
    let world = World::with_key();
    let before = world.keyring();
    let unmanaged = [("KEYS__MANAGE", "false")];
    for arguments in [
        &["rotate"][..],
        &["rotate", "--emergency", "--yes"],
        &["rotate", "--if-older-than", "30d"],
        &["rollback"],
        &["copy", "--from", "dir", "--to", "secrets-manager"],
    ] {
        let refused = world.keys_with(&unmanaged, arguments);
        assert_eq!(refused.code, Some(1), "{arguments:?}: {refused:?}");
        assert!(refused.stderr.contains("keys.manage"), "{arguments:?}: {refused:?}");
    }
    for arguments in [&["status"][..], &["doctor"], &["list"]] {
        let shown = world.keys_with(&unmanaged, arguments);
        assert_eq!(shown.code, Some(0), "{arguments:?}: {shown:?}");
    }
    assert_eq!(world.keyring(), before);
}

#[test]
fn a_keyring_is_not_copied_to_itself() {
    let world = World::with_key();
    let same = world.keys(&["copy", "--from", "dir", "--to", "dir"]);
    assert_eq!(same.code, Some(1), "{same:?}");
    assert!(same.stderr.contains("cannot be copied to itself"), "{same:?}");
    assert_eq!(world.keys(&["copy", "--from", "dir", "--to", "elsewhere"]).code, Some(2));
}

#[test]
fn flags_that_contradict_each_other_are_bad_usage() {
    for arguments in [
        &["keys", "rotate", "--detach", "--wait", "retired"][..],
        &["keys", "rotate", "--emergency", "--if-older-than", "30d"],
        &["keys", "rotate", "--if-older-than", "monthly"],
        &["keys", "release", "demo"],
        &["keys", "copy", "--from", "dir"],
    ] {
        let ended = run(&mut program(arguments));
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
    }
}

/// No one listens there.
const UNREACHABLE: [(&str, &str); 2] =
    [("AWS_ENDPOINT_URL_IVS", "http://127.0.0.1:9"), ("IVS__TIMEOUT", "1s")];

#[test]
fn unreachable_ivs_is_no_empty_list() {
    let world = World::new();
    let listed = world.keys_with(&UNREACHABLE, &["list"]);
    assert_eq!((listed.code, listed.stdout.as_str()), (Some(1), ""), "{listed:?}");
    assert!(listed.stderr.contains("IVS cannot be queried"), "{listed:?}");
    assert!(listed.stderr.contains("us-west-2"), "{listed:?}");
    assert_eq!(world.keys_with(&UNREACHABLE, &["status"]).code, Some(1));
}

#[test]
fn unreachable_ivs_leaves_the_pairs_of_the_keyring() {
    let world = World::with_key();
    let arn = world.json(&["list"])["keyPairs"][0]["arn"].as_str().unwrap().to_owned();
    for arguments in [&["list"][..], &["status"]] {
        let shown = world.keys_with(&UNREACHABLE, arguments);
        assert_eq!(shown.code, Some(1), "{shown:?}");
        assert!(shown.stdout.contains(&arn), "{shown:?}");
    }
    let listed = world.keys_with(&UNREACHABLE, &["list", "--output", "json"]);
    assert_eq!(listed.code, Some(1), "{listed:?}");
    assert!(listed.stderr.contains("keyring alone"), "{listed:?}");
    assert_eq!(listed.json()["checkedAt"], Value::Null);
    assert_eq!(world.keys_with(&UNREACHABLE, &["get", &arn]).code, Some(0));
}

#[test]
fn commands_that_show_keys_cover_every_region() {
    let world = World::with_key();
    let both = [("IVS__REGIONS", "us-west-2,eu-west-1")];
    let made = world.keys_with(&both, &["rotate", "--region", "eu-west-1"]);
    assert_eq!(made.code, Some(0), "{made:?}");

    let text = world.keys_with(&both, &["list"]);
    assert_eq!(text.code, Some(0), "{text:?}");
    for expected in ["REGION", "us-west-2", "eu-west-1"] {
        assert!(text.stdout.contains(expected), "{expected}: {text:?}");
    }
    let listed = world.keys_with(&both, &["list", "--output", "json"]).json();
    let of = |pairs: &Value| -> Vec<String> {
        let pairs = pairs.as_array().unwrap().iter();
        pairs.map(|pair| pair["region"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(of(&listed["keyPairs"]), ["us-west-2", "eu-west-1"]);
    assert!(listed["checkedAt"].is_string(), "{listed}");
    for command in ["status", "doctor"] {
        let shown = world.keys_with(&both, &[command]);
        assert_eq!(shown.code, Some(0), "{shown:?}");
        assert!(shown.stdout.contains("us-west-2") && shown.stdout.contains("eu-west-1"));
        let body = world.keys_with(&both, &[command, "--output", "json"]).json();
        assert_eq!(of(&body["regions"]), ["us-west-2", "eu-west-1"], "{body}");
        let one = world.keys_with(&both, &[command, "--region", "eu-west-1", "--output", "json"]);
        assert_eq!(one.json()["region"], "eu-west-1");
    }

    // One region that fails does not hide the other.
    std::fs::write(world.path("keys/us-west-2/keyring.json"), "{").unwrap();
    for command in ["list", "status", "doctor"] {
        let shown = world.keys_with(&both, &[command]);
        assert_eq!(shown.code, Some(1), "{shown:?}");
        assert!(shown.stdout.contains("arn:aws:ivs:eu-west-1:"), "{shown:?}");
    }
    let listed = world.keys_with(&both, &["list", "--output", "json"]);
    assert!(listed.stderr.contains("us-west-2: "), "{listed:?}");
    assert_eq!(of(&listed.json()["keyPairs"]), ["eu-west-1"]);
    assert_eq!(listed.json()["checkedAt"], Value::Null);
    // Commands that change keys need one region.
    assert_eq!(world.keys_with(&both, &["rotate"]).code, Some(2));
}

#[test]
fn lost_keyring_comes_with_advice_that_works() {
    let world = World::with_key();
    std::fs::remove_dir_all(world.path("keys")).unwrap();
    let examined = world.keys(&["doctor", "--output", "json"]).json();
    let findings = examined["findings"].as_array().unwrap();
    let detail = |code: &str| {
        let finding = findings.iter().find(|finding| finding["code"] == code);
        finding.unwrap_or_else(|| panic!("{code}: {examined}"))["detail"].as_str().unwrap()
    };
    assert!(!detail("no_active_key").contains("keys rotate"), "{examined}");
    for way_out in ["keys import", "keys rotate --new-keyring"] {
        assert!(detail("lost_keyring").contains(way_out), "{examined}");
    }
    assert_eq!(world.keys(&["rotate"]).code, Some(1));
    assert_eq!(world.keys(&["rotate", "--new-keyring"]).code, Some(0));
}
