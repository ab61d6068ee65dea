//! Tests of the `dir` store: broken folders, and faults at every step. The suite of all stores runs in
//! `tests/api/stores`.

use std::{collections::BTreeSet, os::unix::fs::PermissionsExt as _};

use super::{
    super::{DocumentFault, samples},
    faults::{Fault, FaultyDisk},
    *,
};
use crate::{
    keys::{
        keyring::{KeyState, strategies},
        material::fixtures,
    },
    secret::system_rng,
};

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn dir(&self) -> PathBuf {
        self.0.path().join("deep/keys")
    }

    fn folder(&self) -> PathBuf {
        self.dir().join("us-west-2")
    }

    fn document(&self) -> PathBuf {
        self.folder().join(DOCUMENT)
    }

    fn store(&self) -> DirStore {
        DirStore::new(self.dir(), None)
    }

    fn store_with(&self, passphrase: &str) -> DirStore {
        DirStore::new(self.dir(), Some(passphrase.into()))
    }

    fn load(&self) -> Result<Option<(Keyring, Revision)>, StoreError> {
        load(&self.store())
    }

    /// Writes a keyring with one key, and returns that key's file.
    fn one_key(&self) -> (Keyring, Revision, PathBuf) {
        let mut keyring = samples::empty();
        let id = samples::add_key(&mut keyring, 0);
        let revision = self.replace(None, &keyring).unwrap();
        (keyring, revision, self.file_of(&id))
    }

    fn file_of(&self, id: &VersionId) -> PathBuf {
        self.folder().join(PrivateKeyFile::of(id).file)
    }

    fn replace(
        &self,
        expected: Option<&Revision>,
        keyring: &Keyring,
    ) -> Result<Revision, StoreError> {
        replace(&self.store(), expected, keyring)
    }

    fn names(&self) -> BTreeSet<String> {
        list(&self.folder()).unwrap().into_iter().collect()
    }

    /// What the folder holds when nothing is left over.
    fn tidy(keyring: &Keyring) -> BTreeSet<String> {
        let keys = keyring.keys.iter().filter(|version| version.has_private_key);
        keys.map(|version| PrivateKeyFile::of(&version.id).file)
            .chain([DOCUMENT.to_owned(), ".lock".to_owned()])
            .collect()
    }
}

/// Loads a keyring, with all its private halves.
fn load(store: &DirStore) -> Result<Option<(Keyring, Revision)>, StoreError> {
    let found = store.0.load(&samples::region())?;
    Ok(found.map(|(stored, revision)| {
        assert_eq!(stored, samples::stored(stored.keyring.clone()));
        (stored.keyring, revision)
    }))
}

fn replace(
    store: &DirStore,
    expected: Option<&Revision>,
    keyring: &Keyring,
) -> Result<Revision, StoreError> {
    store.0.replace(&samples::region(), expected, &samples::stored(keyring.clone()))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn files_and_folders_are_the_owners_alone() {
    let place = Place::new();
    let (_, _, file) = place.one_key();
    assert_eq!(mode(&place.folder()), 0o700);
    for path in [&file, &place.document(), &place.folder().join(".lock")] {
        assert_eq!(mode(path), 0o600, "{}", path.display());
    }
    // The key is what openssl reads, and the document has nothing of it.
    let pem = fs::read_to_string(&file).unwrap();
    assert_eq!(PrivateKey::read(&pem, None).unwrap(), strategies::KEYS[0]);
    let document = fs::read_to_string(place.document()).unwrap();
    assert!(pem.lines().all(|line| !document.contains(line)), "{document}");
}

#[test]
fn wider_permissions_are_refused_with_the_command_that_mends_them() {
    let place = Place::new();
    let (keyring, revision, file) = place.one_key();
    for (path, wide) in [
        (place.folder(), 0o750),
        (place.folder(), 0o701),
        (place.document(), 0o640),
        (place.document(), 0o604),
        (file.clone(), 0o644),
        (file.clone(), 0o620),
    ] {
        let before = mode(&path);
        chmod(&path, wide);
        let error = place.load().unwrap_err();
        let mend = format!("chmod -R go-rwx {}", place.folder().display());
        let expected = StoreError::WidePermissions { path: show(&path), mode: wide, mend };
        assert_eq!(error, expected);
        let refused = place.replace(Some(&revision), &keyring);
        assert_eq!(refused, Err(expected), "writing");
        chmod(&path, before);
    }
    chmod(&place.dir(), 0o777);
    assert!(matches!(place.load(), Err(StoreError::WidePermissions { .. })));
    chmod(&place.dir(), 0o755);
    assert!(place.load().is_ok());
}

#[test]
fn what_is_not_a_keyring_is_refused_by_name_and_never_overwritten() {
    let place = Place::new();
    let (mut keyring, revision, _) = place.one_key();
    let good = fs::read(place.document()).unwrap();
    samples::add_key(&mut keyring, 1);
    let cut_off = &good[..good.len() / 2];
    for bad in [cut_off, b"", b"[]", b"{\"version\":2}", b"{\"hello\":\"world\"}", b"\xff\xfe"] {
        fs::write(place.document(), bad).unwrap();
        let error = place.load().unwrap_err();
        assert!(error.to_string().starts_with(&show(&place.document())), "{error}");
        for expected in [None, Some(&revision)] {
            assert_eq!(place.replace(expected, &keyring), Err(error.clone()));
        }
        assert_eq!(fs::read(place.document()).unwrap(), bad);
    }
    fs::write(place.document(), good).unwrap();
    assert!(place.replace(Some(&revision), &keyring).is_ok());
}

#[test]
fn a_keyring_that_could_not_be_read_again_is_not_written() {
    let place = Place::new();
    let (keyring, revision, _) = place.one_key();
    let mut huge = keyring.clone();
    let id = samples::add_key(&mut huge, 1);
    let tags = (0..MAX_DOCUMENT / 256).map(|number| (number.to_string(), "v".repeat(256)));
    huge.version_mut(&id).unwrap().tags = tags.collect();
    let refused = place.replace(Some(&revision), &huge);
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })), "{refused:?}");
    assert_eq!(place.load().unwrap(), Some((keyring.clone(), revision)));
    assert_eq!(place.names(), Place::tidy(&keyring));

    // Nor are folders made for it.
    let place = Place::new();
    assert!(matches!(place.replace(None, &huge), Err(StoreError::TooLarge { .. })));
    assert!(!place.dir().exists());
}

#[test]
fn a_lost_document_is_not_an_empty_keyring() {
    let place = Place::new();
    let (keyring, _, file) = place.one_key();
    fs::remove_file(place.document()).unwrap();
    let expected = StoreError::DocumentMissing { path: show(&place.document()) };
    assert_eq!(place.load(), Err(expected.clone()));
    assert_eq!(place.replace(None, &keyring), Err(expected));
    assert!(file.exists());
    // Nor is one behind a link that leads nowhere.
    fs::remove_file(&file).unwrap();
    assert_eq!(place.load(), Ok(None));
    std::os::unix::fs::symlink("/nowhere/at/all", place.document()).unwrap();
    assert!(matches!(place.load(), Err(StoreError::Io { .. })));
}

#[test]
fn a_folder_that_cannot_be_read_is_not_an_empty_keyring() {
    let place = Place::new();
    fs::create_dir_all(place.dir()).unwrap();
    fs::write(place.folder(), "").unwrap();
    assert!(matches!(place.load(), Err(StoreError::Io { .. })));
    fs::remove_file(place.folder()).unwrap();
    assert_eq!(place.load(), Ok(None));
    std::os::unix::fs::symlink("/nowhere/at/all", place.folder()).unwrap();
    assert!(matches!(place.load(), Err(StoreError::Io { .. })));
}

#[test]
fn a_private_key_that_is_missing_or_another_is_refused_by_name() {
    let place = Place::new();
    let (mut keyring, revision, file) = place.one_key();
    let path = show(&file);
    let pem = fs::read(&file).unwrap();

    fs::remove_file(&file).unwrap();
    assert_eq!(place.load(), Err(StoreError::PrivateKeyMissing { path: path.clone() }));

    fs::write(&file, fixtures::PKCS8).unwrap();
    chmod(&file, 0o600);
    let other = StoreError::OtherPrivateKey { path: path.clone() };
    assert_eq!(place.load(), Err(other.clone()));
    samples::add_key(&mut keyring, 1);
    assert_eq!(place.replace(Some(&revision), &keyring), Err(other));
    assert_eq!(fs::read_to_string(&file).unwrap(), fixtures::PKCS8);

    for broken in [&pem[..pem.len() / 2], fixtures::P256.as_bytes(), b""] {
        fs::write(&file, broken).unwrap();
        let error = place.load().unwrap_err();
        assert!(matches!(error, StoreError::PrivateKeyUnreadable { .. }), "{error}");
        assert!(error.to_string().starts_with(&path), "{error}");
    }

    fs::write(&file, pem).unwrap();
    assert!(place.replace(Some(&revision), &keyring).is_ok());
}

#[test]
fn a_document_cannot_name_a_file_elsewhere() {
    let place = Place::new();
    let (_, _, file) = place.one_key();
    let name = file.file_name().unwrap().to_string_lossy();
    let document = fs::read_to_string(place.document()).unwrap();
    for elsewhere in ["../us-west-2/a.pem", "/etc/passwd"] {
        fs::write(place.document(), document.replace(&*name, elsewhere)).unwrap();
        let expected = StoreError::OtherPrivateKey { path: show(&place.document()) };
        assert_eq!(place.load(), Err(expected));
    }
}

#[test]
fn another_regions_folder_is_refused() {
    let place = Place::new();
    place.one_key();
    fs::rename(place.folder(), place.dir().join("eu-west-1")).unwrap();
    let error = place.store().0.load(&"eu-west-1".parse().unwrap()).unwrap_err();
    assert!(matches!(error, StoreError::OtherRegion { .. }), "{error}");
}

#[test]
fn with_a_passphrase_no_plain_key_stays_on_disk() {
    let place = Place::new();
    let (mut keyring, revision, file) = place.one_key();
    let plain = fs::read_to_string(&file).unwrap();
    assert!(plain.starts_with("-----BEGIN PRIVATE KEY-----"));

    // What is plain can be read, and the next write encrypts it.
    let store = place.store_with("correct horse");
    assert_eq!(load(&store).unwrap().unwrap().0, keyring);
    samples::add_key(&mut keyring, 1);
    let revision = replace(&store, Some(&revision), &keyring).unwrap();
    for version in &keyring.keys {
        let pem = fs::read_to_string(place.file_of(&version.id)).unwrap();
        assert!(pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"), "{pem}");
    }
    let again = place.store_with("correct horse");
    assert_eq!(load(&again), Ok(Some((keyring.clone(), revision.clone()))));

    // Neither without nor with another passphrase is anything read or overwritten.
    assert_eq!(place.load(), Err(StoreError::PassphraseMissing { path: show(&file) }));
    let error = load(&place.store_with("wrong")).unwrap_err();
    let fault = KeyMaterialError::WrongPassphrase;
    assert_eq!(error, StoreError::PrivateKeyUnreadable { path: show(&file), fault });
    let before = fs::read(&file).unwrap();
    samples::add_key(&mut keyring, 2);
    assert!(place.replace(Some(&revision), &keyring).is_err());
    assert!(replace(&place.store_with("wrong"), Some(&revision), &keyring).is_err());
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn an_encrypted_key_is_opened_once() {
    let place = Place::new();
    let store = place.store_with("correct horse");
    let region = samples::region();
    let mut keyring = samples::empty();
    let id = samples::add_key(&mut keyring, 0);
    let revision = replace(&store, None, &keyring).unwrap();
    load(&store).unwrap();
    let opened = || store.0.cache().get(&(region.clone(), id.clone())).cloned();
    let first = opened().unwrap();
    load(&store).unwrap();
    let same = std::ptr::eq(first.key.as_pkcs8_der(), opened().unwrap().key.as_pkcs8_der());
    assert!(same, "the key was opened again");
    // A key that left the keyring leaves memory, too.
    keyring.version_mut(&id).unwrap().state = KeyState::Retiring;
    let revision = replace(&store, Some(&revision), &keyring).unwrap();
    keyring.retire(&id, samples::now());
    replace(&store, Some(&revision), &keyring).unwrap();
    load(&store).unwrap();
    assert!(opened().is_none());
}

#[test]
fn leftovers_go_and_other_peoples_files_stay() {
    let place = Place::new();
    let (mut keyring, revision, _) = place.one_key();
    let ours = place.file_of(&strategies::stranger());
    let temporary = place.folder().join(".keyring.json.tmp");
    let theirs = place.folder().join("old.pem");
    for path in [&ours, &temporary, &theirs] {
        fs::write(path, fixtures::PKCS8).unwrap();
    }
    samples::add_key(&mut keyring, 1);
    place.replace(Some(&revision), &keyring).unwrap();
    assert!(!ours.exists() && !temporary.exists());
    assert!(theirs.exists());
}

#[test]
fn a_lock_that_is_held_keeps_writers_out_and_readers_in() {
    let place = Place::new();
    let (mut keyring, revision, _) = place.one_key();
    let held = fs::File::open(place.folder().join(".lock")).unwrap();
    held.lock().unwrap();
    assert!(place.load().is_ok());
    samples::add_key(&mut keyring, 1);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| place.replace(Some(&revision), &keyring));
        assert_eq!(place.load().unwrap().unwrap().1, revision);
        held.unlock().unwrap();
        assert!(writer.join().unwrap().is_ok());
    });
}

/// A write to try with a fault at each of its steps.
struct Scenario {
    name: &'static str,
    before: Option<Keyring>,
    after: Keyring,
    /// Of the process that writes and of those that come later.
    passphrase: Option<&'static str>,
}

fn scenarios() -> Vec<Scenario> {
    let mut one = samples::empty();
    let id = samples::add_key(&mut one, 0);
    let mut older = one.clone();
    older.max_ttl += std::time::Duration::from_secs(1);
    let mut two = one.clone();
    samples::add_key(&mut two, 1);
    let mut retiring = two.clone();
    retiring.version_mut(&id).unwrap().state = KeyState::Retiring;
    let mut retired = retiring.clone();
    retired.retire(&id, samples::now());
    samples::add_key(&mut retired, 2);
    vec![
        Scenario { name: "first", before: None, after: one.clone(), passphrase: None },
        Scenario { name: "add", before: Some(one.clone()), after: two, passphrase: None },
        Scenario {
            name: "retire",
            before: Some(retiring.clone()),
            after: retired,
            passphrase: None,
        },
        Scenario {
            name: "encrypt",
            before: Some(one),
            after: retiring,
            passphrase: Some("secret"),
        },
    ]
}

/// Runs a scenario with the fault at step `step`; `None` once there is no such step.
fn strike(scenario: &Scenario, fault: Fault, step: usize) -> Option<()> {
    let place = Place::new();
    let context = format!("{}, {fault:?} at step {step}", scenario.name);
    fs::create_dir_all(place.dir()).unwrap();
    let before = scenario.before.as_ref().map(|keyring| place.replace(None, keyring).unwrap());

    let disk = Arc::new(FaultyDisk::new(fault, step));
    let secret = scenario.passphrase.map(SecretString::from);
    let faulty = DirStore::on(place.dir(), secret.clone(), Arc::clone(&disk) as Arc<dyn Disk>);
    let outcome = replace(&faulty, before.as_ref(), &scenario.after);
    disk.restart();

    // The next process finds the old keyring or the new one, with all its private halves.
    let next = DirStore::new(place.dir(), secret);
    let found = load(&next).unwrap_or_else(|error| panic!("{context}: {error}"));
    let keyring = found.as_ref().map(|(keyring, _)| keyring);
    let mut unborn = scenario.after.clone();
    (unborn.keys, unborn.rotations) = (Vec::new(), Vec::new());
    let is_new = keyring == Some(&scenario.after);
    let is_old = keyring == scenario.before.as_ref()
        || scenario.before.is_none() && keyring == Some(&unborn);
    assert!(is_old || is_new, "{context}: {keyring:?}");
    // What was reported as written, is.
    assert!(outcome.is_err() || is_new, "{context}");

    // And can do the same again, after which nothing is left over.
    if !is_new {
        let revision = found.map(|(_, revision)| revision);
        replace(&next, revision.as_ref(), &scenario.after)
            .unwrap_or_else(|error| panic!("{context}: {error}"));
    }
    let (mut keyring, revision) = load(&next).unwrap().unwrap();
    keyring.max_ttl += std::time::Duration::from_secs(1);
    replace(&next, Some(&revision), &keyring).unwrap();
    assert_eq!(place.names(), Place::tidy(&keyring), "{context}");
    disk.struck().then_some(())
}

#[test]
fn a_fault_at_any_step_leaves_the_old_keyring_or_the_new_one() {
    for scenario in scenarios() {
        for fault in [Fault::Once, Fault::Crash, Fault::PowerCut, Fault::Reordered] {
            let step = (0..100).find(|step| strike(&scenario, fault, *step).is_none()).unwrap();
            assert!(step >= 6, "{} has {step} steps", scenario.name);
        }
    }
}

#[test]
fn a_full_disk_leaves_the_old_keyring() {
    let scenario = &scenarios()[1];
    // Up to the rename of the document, no failure is felt by readers.
    for step in 0..5 {
        let place = Place::new();
        let before = place.replace(None, scenario.before.as_ref().unwrap()).unwrap();
        let disk = Arc::new(FaultyDisk::new(Fault::Once, step));
        let faulty = DirStore::on(place.dir(), None, disk);
        let outcome = replace(&faulty, Some(&before), &scenario.after);
        assert!(matches!(outcome, Err(StoreError::Io { .. })), "{step}: {outcome:?}");
        assert_eq!(place.load().unwrap().unwrap(), (scenario.before.clone().unwrap(), before));
    }
}

#[test]
fn an_error_message_says_which_file() {
    let place = Place::new();
    let fault = DocumentFault::CutOff;
    let error = StoreError::NotAKeyring { place: show(&place.document()), fault };
    assert!(error.to_string().contains("keyring.json"));
    let mut rng = system_rng();
    let keyring: Keyring =
        Keyring::new("eu-west-1".parse().unwrap(), std::time::Duration::ZERO, &mut rng);
    let refused = place.replace(None, &keyring);
    assert!(matches!(refused, Err(StoreError::OtherRegion { .. })));
}
