//! The `secrets-manager` store against moto: the suite, what is in the secret besides, and every way
//! in which two writers or a bad line can come between its calls.
//!
//! Where moto is not AWS, as far as it matters here:
//!
//! - It has no limit of 20 labels, so the labels are counted after each test.
//! - It says `ResourceNotFoundException` in the same words with and without a secret; AWS in others.
//!   The store looks at the code alone.
//! - Without `VersionStage`, `GetSecretValue` gives the version that was current first, wherever the
//!   label went since. The store names the label.
//! - It takes `AWSCURRENT` off a version without giving it to another, which AWS refuses.
//! - A secret that is scheduled for deletion can be written to.

use std::{collections::BTreeMap, sync::Arc};

use aws_credential_types::{
    credential_fn::provide_credentials_fn,
    provider::{SharedCredentialsProvider, error::CredentialsError},
};
use aws_sdk_secretsmanager::{Client, primitives::Blob};
use ivs_playback_auth::{
    ivs::arn::Region,
    keys::{
        copy::{Copied, CopyError, copy},
        keyring::{Keyring, VersionId},
        material::PrivateKey,
        store::{
            DocumentFault, Revision, SecretsManagerFault, Store, StoreError,
            dir::DirStore,
            secrets_manager::{Operation, STAGED_LABEL, SecretAccount, SecretsManagerStore},
        },
    },
    secret::system_rng,
};
use tokio::task::JoinSet;

use super::{
    suite::{self, add_key, loaded, region},
    wire::{Fault, Wire},
};
use crate::moto;

/// A secret's name that no other test has.
#[derive(Clone)]
struct Place {
    /// With placeholders.
    name: String,
    region: Region,
}

impl Place {
    fn new() -> Self {
        Self::in_region(region())
    }

    fn in_region(region: Region) -> Self {
        let unique = VersionId::random(&mut system_rng());
        Self { name: format!("{unique}/{{account}}/{{region}}"), region }
    }

    /// A place with a secret that has no version, as Terraform makes it.
    async fn by_terraform() -> Self {
        let place = Self::new();
        place.make_secret().await;
        place
    }

    async fn make_secret(&self) {
        self.client().create_secret().name(self.secret()).send().await.unwrap();
    }

    /// A place with a keyring of one key.
    async fn with_keyring() -> (Self, Keyring, Revision) {
        let place = Self::new();
        let mut keyring = suite::empty();
        add_key(&mut keyring);
        let revision = place.open().replace(&region(), None, &keyring).await.unwrap();
        (place, keyring, revision)
    }

    fn secret(&self) -> String {
        self.name.replace("{account}", moto::ACCOUNT).replace("{region}", self.region.as_str())
    }

    fn named(&self) -> String {
        format!("the secret {} in {}", self.secret(), self.region)
    }

    fn open(&self) -> Arc<dyn Store> {
        self.open_with(moto::config(self.region.as_str()))
    }

    fn open_on(&self, wire: &Arc<Wire>) -> Arc<dyn Store> {
        self.open_with(wire.config(moto::config(self.region.as_str())))
    }

    fn open_with(&self, config: aws_config::SdkConfig) -> Arc<dyn Store> {
        let account = SecretAccount::Known(moto::ACCOUNT.parse().unwrap());
        Arc::new(SecretsManagerStore::new(config, &self.name, account))
    }

    /// Secrets Manager itself, past the store.
    fn client(&self) -> Client {
        Client::new(&moto::config(self.region.as_str()))
    }

    async fn put(&self, text: &str) {
        let put = self.client().put_secret_value().secret_id(self.secret()).secret_string(text);
        put.send().await.unwrap();
    }

    async fn text(&self) -> String {
        let get = self.client().get_secret_value().secret_id(self.secret());
        let value = get.version_stage("AWSCURRENT").send().await.unwrap();
        value.secret_string.unwrap()
    }

    /// The labels of all versions, those without one included.
    async fn versions(&self) -> BTreeMap<String, Vec<String>> {
        let list = self.client().list_secret_version_ids().secret_id(self.secret());
        let answer = list.include_deprecated(true).send().await.unwrap();
        let versions = answer.versions.unwrap().into_iter();
        versions.map(|it| (it.version_id.unwrap(), it.version_stages.unwrap_or_default())).collect()
    }

    /// Each label stands once, and there are none but these.
    async fn check_labels(&self) {
        let mut labels: Vec<_> = self.versions().await.into_values().flatten().collect();
        labels.sort();
        let known = ["AWSCURRENT", "AWSPREVIOUS", STAGED_LABEL].map(str::to_owned);
        assert!(labels.is_sorted_by(|a, b| a < b), "{labels:?}");
        assert!(labels.iter().all(|label| known.contains(label)), "{labels:?}");
    }

    fn fault(&self, fault: SecretsManagerFault) -> StoreError {
        StoreError::SecretsManager { place: self.named(), fault }
    }
}

/// Replaces what is there by a keyring with one key more.
async fn add_one(store: &dyn Store) -> Result<(Keyring, Revision), StoreError> {
    let read = store.load(&region()).await?;
    let (mut keyring, expected) = match read {
        Some((keyring, revision)) => (keyring, Some(revision)),
        None => (suite::empty(), None),
    };
    add_key(&mut keyring);
    let revision = store.replace(&region(), expected, &keyring).await?;
    Ok((keyring, revision))
}

#[tokio::test]
async fn it_does_what_every_store_does() {
    for place in [Place::new(), Place::by_terraform().await] {
        suite::one_writer(&|| place.open()).await;
        place.check_labels().await;
    }
}

#[tokio::test]
async fn no_write_of_many_is_lost() {
    let place = Place::new();
    suite::many_writers(&|| place.open(), 4, 5).await;
    place.check_labels().await;
}

#[tokio::test]
async fn one_of_several_wins() {
    for place in [Place::new(), Place::by_terraform().await] {
        suite::one_of_several(&|| place.open(), 5).await;
        place.check_labels().await;
    }
}

#[tokio::test]
async fn the_secret_is_a_document_that_people_can_read() {
    let (place, keyring, revision) = Place::with_keyring().await;
    let json: serde_json::Value = serde_json::from_str(&place.text().await).unwrap();
    assert_eq!(json["version"], 1);
    assert_eq!(json["id"], keyring.id.as_str());
    let pem = json["keys"][0]["privateKey"].as_str().unwrap();
    assert_eq!(PrivateKey::read(pem, None).ok(), keyring.keys[0].private_key);

    let store = place.open();
    let described = format!("secrets-manager {} in us-west-2", place.secret());
    assert_eq!(store.describe(&region()), described);
    assert_eq!(place.versions().await[revision.as_str()], ["AWSCURRENT"]);
}

#[tokio::test]
async fn reading_is_one_call_and_writing_three() {
    let place = Place::new();
    let wire = Wire::new();
    let store = place.open_on(&wire);
    add_one(&*store).await.unwrap();
    let first = ["GetSecretValue", "DescribeSecret", "GetSecretValue", "DescribeSecret"];
    assert_eq!(wire.take_calls(), [&first[..], &["CreateSecret"]].concat());

    let (mut keyring, revision) = loaded(&*store).await;
    assert_eq!(wire.take_calls(), ["GetSecretValue"]);
    add_key(&mut keyring);
    store.replace(&region(), Some(revision.clone()), &keyring).await.unwrap();
    let write = ["GetSecretValue", "PutSecretValue", "UpdateSecretVersionStage"];
    assert_eq!(wire.take_calls(), write);

    // Who is late adds no version.
    let versions = place.versions().await.len();
    let refused = store.replace(&region(), Some(revision), &keyring).await;
    assert_eq!(refused, Err(StoreError::Conflict));
    assert_eq!(wire.take_calls(), ["GetSecretValue"]);
    assert_eq!(place.versions().await.len(), versions);
}

#[tokio::test]
async fn what_is_not_a_keyring_is_refused_by_name_and_never_overwritten() {
    let place = Place::by_terraform().await;
    let not = |fault| StoreError::NotAKeyring { place: place.named(), fault };
    let newer = StoreError::Newer { place: place.named(), found: 2 };
    for (text, expected) in [
        ("{}", not(DocumentFault::NoVersion)),
        (" ", not(DocumentFault::Empty)),
        ("hunter2", not(DocumentFault::At { line: 1, column: 1 })),
        ("{\"username\": \"a\", \"password\": \"hunter2\"}", not(DocumentFault::NoVersion)),
        ("{\"version\": 1, \"accountId\":", not(DocumentFault::CutOff)),
        ("{\"version\": 2, \"anything\": []}", newer),
    ] {
        place.put(text).await;
        check_refused(&place, &expected).await;
        assert_eq!(place.text().await, text);
    }
    let binary = Blob::new(*b"hunter2");
    let put = place.client().put_secret_value().secret_id(place.secret()).secret_binary(binary);
    put.send().await.unwrap();
    check_refused(&place, &not(DocumentFault::Binary)).await;
}

/// Neither reading nor any writing goes past what is there.
async fn check_refused(place: &Place, expected: &StoreError) {
    let (store, before) = (place.open(), place.versions().await);
    let error = store.load(&region()).await.unwrap_err();
    assert_eq!(error, *expected);
    assert!(error.to_string().contains(&place.secret()), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    let revisions = before.keys().map(|version| Some(Revision::new(version)));
    for revision in revisions.chain([None]) {
        let refused = store.replace(&region(), revision, &suite::empty()).await;
        assert_eq!(refused, Err(expected.clone()));
    }
    assert_eq!(place.versions().await, before);
}

#[tokio::test]
async fn a_secret_without_a_current_version_is_not_an_empty_one() {
    let (place, _, revision) = Place::with_keyring().await;
    add_one(&*place.open()).await.unwrap();
    let (_, current) = loaded(&*place.open()).await;
    assert_ne!(current, revision);
    let strip = place.client().update_secret_version_stage().secret_id(place.secret());
    let strip = strip.version_stage("AWSCURRENT").remove_from_version_id(current.as_str());
    strip.send().await.unwrap();
    check_refused(&place, &place.fault(SecretsManagerFault::NoCurrentVersion)).await;
}

#[tokio::test]
async fn a_secret_about_to_be_deleted_is_not_an_absent_one() {
    let (place, ..) = Place::with_keyring().await;
    place.client().delete_secret().secret_id(place.secret()).send().await.unwrap();
    let operation = Operation::GetSecretValue;
    check_refused(&place, &place.fault(SecretsManagerFault::WrongState { operation })).await;

    let place = Place::by_terraform().await;
    place.client().delete_secret().secret_id(place.secret()).send().await.unwrap();
    let operation = Operation::DescribeSecret;
    let error = place.open().load(&region()).await.unwrap_err();
    assert_eq!(error, place.fault(SecretsManagerFault::WrongState { operation }));
    assert!(error.to_string().contains("restore-secret"), "{error}");
}

#[tokio::test]
async fn regions_are_kept_apart_even_under_one_name() {
    let mut west = Place::new();
    west.name = format!("{}-for-all", VersionId::random(&mut system_rng()));
    let store = west.open();
    let eu: Region = "eu-west-1".parse().unwrap();
    let ours = add_one(&*store).await.unwrap();
    assert_eq!(store.load(&eu).await, Ok(None));
    let theirs = Keyring::new(eu.clone(), std::time::Duration::ZERO, &mut system_rng());
    store.replace(&eu, None, &theirs).await.unwrap();
    assert_eq!(store.load(&eu).await.unwrap().unwrap().0, theirs);
    assert_eq!(loaded(&*store).await, ours);

    // As a secret that AWS replicates from one region to another.
    let east = Place { region: eu.clone(), ..west.clone() };
    east.put(&west.text().await).await;
    let error = store.load(&eu).await.unwrap_err();
    let (place, found) = (east.named(), region());
    assert_eq!(error, StoreError::OtherRegion { place, found, expected: eu });
}

#[tokio::test]
async fn a_keyring_moves_between_stores() {
    let (place, keyring, _) = Place::with_keyring().await;
    let dir = tempfile::tempdir().unwrap();
    let store = place.open();
    let folder = DirStore::new(dir.path().join("keys"), None);
    assert_eq!(copy(&*store, &folder, &region()).await, Ok(Copied::Written { keys: 1 }));
    assert_eq!(loaded(&folder).await.0, keyring);

    let elsewhere = Place::by_terraform().await;
    let copied = copy(&folder, &*elsewhere.open(), &region()).await;
    assert_eq!(copied, Ok(Copied::Written { keys: 1 }));
    assert_eq!(loaded(&*elsewhere.open()).await.0, keyring);
    let again = copy(&folder, &*elsewhere.open(), &region()).await;
    assert_eq!(again, Ok(Copied::AlreadyThere { keys: 1 }));

    let (occupied, ..) = Place::with_keyring().await;
    let refused = copy(&folder, &*occupied.open(), &region()).await;
    let to = occupied.open().describe(&region());
    assert_eq!(refused, Err(CopyError::Occupied { to }));
}

/// Where a secret stands before a write, and the calls that the write makes after it looked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Start {
    NoSecret,
    NoVersion,
    Keyring,
}

impl Start {
    const ALL: [Self; 3] = [Self::NoSecret, Self::NoVersion, Self::Keyring];

    fn calls(self) -> &'static [&'static str] {
        match self {
            Self::NoSecret => &["CreateSecret"],
            Self::NoVersion => &["PutSecretValue"],
            Self::Keyring => &["PutSecretValue", "UpdateSecretVersionStage"],
        }
    }

    /// Whether this call makes the new keyring count.
    fn decides(self, call: &str) -> bool {
        self.calls().last() == Some(&call)
    }

    async fn place(self) -> Place {
        match self {
            Self::NoSecret => Place::new(),
            Self::NoVersion => Place::by_terraform().await,
            Self::Keyring => Place::with_keyring().await.0,
        }
    }
}

/// A write whose `call` meets a fault each time that it is tried.
async fn strike(start: Start, call: &'static str, fault: Fault, blind: bool) {
    let context = format!("{start:?}, {call}, {fault:?}, blind: {blind}");
    let place = start.place().await;
    let wire = Wire::new();
    let store = place.open_on(&wire);
    let before = store.load(&region()).await.unwrap();
    let (mut keyring, expected) = match before.clone() {
        Some((keyring, revision)) => (keyring, Some(revision)),
        None => (suite::empty(), None),
    };
    add_key(&mut keyring);
    wire.break_down(call, fault);
    let calls = Arc::clone(&wire);
    if blind {
        // What the labels would tell is not heard either.
        wire.before(call, async move { calls.break_down("DescribeSecret", Fault::RequestLost) });
    }
    let outcome = store.replace(&region(), expected, &keyring).await;
    wire.mend();

    let after = store.load(&region()).await.unwrap();
    let arrived = matches!(fault, Fault::AnswerLost | Fault::FailedAfter) && start.decides(call);
    match &outcome {
        Ok(revision) => {
            assert!(arrived && !blind, "{context}");
            assert_eq!(after, Some((keyring, revision.clone())), "{context}");
        }
        Err(error) => {
            assert!(!arrived || blind, "{context}: {error}");
            assert!(matches!(error, StoreError::SecretsManager { .. }), "{context}: {error}");
            assert!(error.to_string().contains(call), "{context}: {error}");
            if arrived {
                assert_eq!(after.map(|(keyring, _)| keyring), Some(keyring), "{context}");
            } else {
                assert_eq!(after, before, "{context}");
            }
        }
    }
    // Whoever comes next goes on.
    let written = add_one(&*store).await.unwrap();
    assert_eq!(loaded(&*place.open()).await, written, "{context}");
    place.check_labels().await;
}

#[tokio::test]
async fn the_labels_decide_what_an_answer_did_not_tell() {
    let mut strikes = JoinSet::new();
    for start in Start::ALL {
        for call in start.calls() {
            for fault in [
                Fault::RequestLost,
                Fault::AnswerLost,
                Fault::FailedAfter,
                Fault::Refused("ThrottlingException"),
                Fault::Refused("AccessDeniedException"),
            ] {
                for blind in [false, true] {
                    strikes.spawn(strike(start, call, fault, blind));
                }
            }
        }
    }
    assert_eq!(strikes.join_all().await.len(), 40);
}

/// Has somebody else write at the moment when `call` is about to arrive, and returns what both got.
async fn overtaken(place: &Place, call: &'static str) -> (Result<Revision, StoreError>, Keyring) {
    let wire = Wire::new();
    let (store, other) = (place.open_on(&wire), place.open());
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let (mut keyring, expected) = match store.load(&region()).await.unwrap() {
        Some((keyring, revision)) => (keyring, Some(revision)),
        None => (suite::empty(), None),
    };
    wire.before(call, async move {
        let _ = sender.send(add_one(&*other).await.unwrap().0);
    });
    add_key(&mut keyring);
    let outcome = store.replace(&region(), expected, &keyring).await;
    (outcome, receiver.await.unwrap())
}

#[tokio::test]
async fn whoever_is_overtaken_is_told_and_changes_nothing() {
    for start in Start::ALL {
        for call in [&["GetSecretValue"], start.calls()].concat() {
            let place = start.place().await;
            let (outcome, written) = overtaken(&place, call).await;
            assert_eq!(outcome, Err(StoreError::Conflict), "{start:?}, {call}");
            assert_eq!(loaded(&*place.open()).await.0, written, "{start:?}, {call}");
            place.check_labels().await;
        }
    }
}

#[tokio::test]
async fn a_secret_that_appears_meanwhile_is_used() {
    let place = Place::new();
    let wire = Wire::new();
    let store = place.open_on(&wire);
    let terraform = place.clone();
    wire.before("CreateSecret", async move { terraform.make_secret().await });
    let written = add_one(&*store).await.unwrap();
    assert_eq!(loaded(&*place.open()).await, written);
    let calls = wire.take_calls();
    assert!(calls.ends_with(&["PutSecretValue".to_owned(), "DescribeSecret".to_owned()]));

    // A reader, between its two looks.
    let place = Place::new();
    let other = place.open();
    wire.before("DescribeSecret", async move {
        add_one(&*other).await.unwrap();
    });
    let read = place.open_on(&wire).load(&region()).await.unwrap();
    assert_eq!(read, Some(loaded(&*place.open()).await));
}

#[tokio::test]
async fn a_lost_answer_and_then_overtaken_is_a_conflict() {
    let (place, ..) = Place::with_keyring().await;
    let wire = Wire::new();
    let (store, other) = (place.open_on(&wire), place.open());
    wire.break_down("UpdateSecretVersionStage", Fault::AnswerLost);
    wire.before("DescribeSecret", async move {
        add_one(&*other).await.unwrap();
    });
    assert_eq!(add_one(&*store).await, Err(StoreError::Conflict));
    // Both keys are there: who came second built on what was first.
    assert_eq!(loaded(&*place.open()).await.0.keys.len(), 3);
}

#[tokio::test]
async fn what_went_wrong_is_told_with_what_to_do() {
    // A region of its own: the SDK counts retries by region.
    let place = Place::in_region("eu-central-1".parse().unwrap());
    let wire = Wire::new();
    let store = place.open_on(&wire);
    let operation = Operation::GetSecretValue;
    let message = "User: test may not do this".to_owned();
    for (code, attempts, expected) in [
        (
            "AccessDeniedException",
            1,
            SecretsManagerFault::Denied {
                operation,
                code: "AccessDeniedException".into(),
                message,
            },
        ),
        ("ThrottlingException", 3, SecretsManagerFault::Throttled { operation }),
        (
            "DecryptionFailure",
            1,
            SecretsManagerFault::KmsKey { operation, code: "DecryptionFailure".into() },
        ),
    ] {
        wire.break_down("GetSecretValue", Fault::Refused(code));
        let error = store.load(&place.region).await.unwrap_err();
        assert_eq!(error, place.fault(expected));
        assert_eq!(wire.take_calls().len(), attempts, "{code}");
    }
    wire.break_down("GetSecretValue", Fault::RequestLost);
    let error = store.load(&place.region).await.unwrap_err();
    let reason = "no connection to its endpoint".to_owned();
    assert_eq!(error, place.fault(SecretsManagerFault::Unavailable { operation, reason }));

    let nobody = provide_credentials_fn(async || Err(CredentialsError::not_loaded("none")));
    let nobody = moto::config("eu-central-1")
        .into_builder()
        .credentials_provider(SharedCredentialsProvider::new(nobody))
        .build();
    let error = place.open_with(nobody).load(&place.region).await.unwrap_err();
    assert_eq!(error, place.fault(SecretsManagerFault::NoCredentials));
}

#[tokio::test(start_paused = true)]
async fn silence_ends_in_time() {
    let place = Place::in_region("eu-north-1".parse().unwrap());
    let wire = Wire::new();
    wire.break_down("GetSecretValue", Fault::Silence);
    let error = place.open_on(&wire).load(&place.region).await.unwrap_err();
    let operation = Operation::GetSecretValue;
    assert_eq!(error, place.fault(SecretsManagerFault::TimedOut { operation }));
}
