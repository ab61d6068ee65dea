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

mod content;
mod errors;
mod races;
mod wire;

use std::{collections::BTreeMap, sync::Arc};

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;
use ivs_playback_auth::{
    ivs::arn::Region,
    keys::{
        keyring::VersionId,
        material::PrivateKey,
        store::{
            Revision, SecretsManagerFault, Store, StoreError, Stored,
            secrets_manager::{STAGED_LABEL, SecretAccount, SecretsManagerStore},
        },
    },
    secret::system_rng,
};

use self::wire::Wire;
use super::suite::{self, add_key, loaded, region};
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
    async fn with_keyring() -> (Self, Stored, Revision) {
        let place = Self::new();
        let mut stored = suite::empty();
        add_key(&mut stored);
        let revision = place.open().replace(&region(), None, &stored).await.unwrap();
        (place, stored, revision)
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

    fn open_with(&self, config: SdkConfig) -> Arc<dyn Store> {
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
async fn add_one(store: &dyn Store) -> Result<(Stored, Revision), StoreError> {
    let read = store.load(&region()).await?;
    let (mut stored, expected) = match read {
        Some((stored, revision)) => (stored, Some(revision)),
        None => (suite::empty(), None),
    };
    add_key(&mut stored);
    let revision = store.replace(&region(), expected, &stored).await?;
    Ok((stored, revision))
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
    let (place, stored, revision) = Place::with_keyring().await;
    let json: serde_json::Value = serde_json::from_str(&place.text().await).unwrap();
    assert_eq!(json["version"], 1);
    assert_eq!(json["id"], stored.keyring.id.as_str());
    let pem = json["keys"][0]["privateKey"].as_str().unwrap();
    let id = &stored.keyring.keys[0].id;
    assert_eq!(PrivateKey::read(pem, None).ok().as_ref(), stored.private_keys.get(id));

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

    let (mut stored, revision) = loaded(&*store).await;
    assert_eq!(wire.take_calls(), ["GetSecretValue"]);
    add_key(&mut stored);
    store.replace(&region(), Some(revision.clone()), &stored).await.unwrap();
    let write = ["GetSecretValue", "PutSecretValue", "UpdateSecretVersionStage"];
    assert_eq!(wire.take_calls(), write);

    // Who is late adds no version.
    let versions = place.versions().await.len();
    let refused = store.replace(&region(), Some(revision), &stored).await;
    assert_eq!(refused, Err(StoreError::Conflict));
    assert_eq!(wire.take_calls(), ["GetSecretValue"]);
    assert_eq!(place.versions().await.len(), versions);
}
