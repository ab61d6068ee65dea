//! What stands in the secret's place, and what of it is taken for a keyring.

use aws_sdk_secretsmanager::primitives::Blob;
use ivs_playback_auth::{
    ivs::arn::Region,
    keys::{
        copy::{Copied, CopyError, copy},
        keyring::{Keyring, VersionId},
        store::{
            DocumentFault, Revision, SecretsManagerFault, StoreError, Stored, dir::DirStore,
            secrets_manager::Operation,
        },
    },
    secret::system_rng,
};

use super::{
    super::suite::{self, loaded, region},
    Place, add_one,
};

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
    let keyring = Keyring::new(eu.clone(), std::time::Duration::ZERO, &mut system_rng());
    let theirs = Stored { keyring, ..suite::empty() };
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
    let (place, stored, _) = Place::with_keyring().await;
    let dir = tempfile::tempdir().unwrap();
    let store = place.open();
    let folder = DirStore::new(dir.path().join("keys"), None);
    assert_eq!(copy(&*store, &folder, &region()).await, Ok(Copied::Written { keys: 1 }));
    assert_eq!(loaded(&folder).await.0, stored);

    let elsewhere = Place::by_terraform().await;
    let copied = copy(&folder, &*elsewhere.open(), &region()).await;
    assert_eq!(copied, Ok(Copied::Written { keys: 1 }));
    assert_eq!(loaded(&*elsewhere.open()).await.0, stored);
    let again = copy(&folder, &*elsewhere.open(), &region()).await;
    assert_eq!(again, Ok(Copied::AlreadyThere { keys: 1 }));

    let (occupied, ..) = Place::with_keyring().await;
    let refused = copy(&folder, &*occupied.open(), &region()).await;
    let to = occupied.open().describe(&region());
    assert_eq!(refused, Err(CopyError::Occupied { to }));
}
