//! The store of several machines: AWS Secrets Manager, one secret a region, in that region.
//!
//! The secret's value is the keyring document with the private halves inside, and its revision the id
//! of the version that is labelled `AWSCURRENT`. `PutSecretValue` compares nothing, but a label only
//! moves off the version that the caller names. So a write is
//!
//! 1. `PutSecretValue` under [`STAGED_LABEL`], with an id of our own for the new version
//! 2. `UpdateSecretVersionStage`, which moves `AWSCURRENT` from the version that was read to the new one
//!
//! and whatever comes between two writers, one of them moves the label. With `AWSPREVIOUS`, which AWS
//! moves by itself, a secret has three labels, whatever happens; AWS allows 20. A version without a
//! label is deleted by AWS in its own time; see `docs/secrets-manager.md` for what that means for
//! private keys.

mod fault;
mod inline;
mod read;
mod secret;
mod write;

use std::{collections::HashMap, sync::Arc, time::Duration};

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

pub use self::{fault::SecretsManagerFault, secret::Operation};
use self::{
    read::State,
    secret::{Secret, connect},
};
use super::{Revision, Store, StoreError, StoreFuture, Stored};
use crate::ivs::{
    IvsRegions,
    arn::{AccountId, Region},
};

/// The label of a version that is written and does not count yet. One and the same for all writers:
/// a label of its own for each would use up AWS's 20.
pub const STAGED_LABEL: &str = "IVS_PLAYBACK_AUTH_STAGED";

/// The longest random pause before a write that several processes may be about to make.
const WRITE_SPREAD: Duration = Duration::from_secs(5);

const ACCOUNT: &str = "{account}";
const REGION: &str = "{region}";

/// Whose account stands in the names of the secrets.
#[derive(Clone, Debug)]
pub enum SecretAccount {
    /// This one.
    Known(AccountId),
    /// That of the AWS credentials, asked for when a name needs it.
    OfCredentials(IvsRegions),
}

/// A store in AWS Secrets Manager. Cheap to clone.
#[derive(Clone, Debug)]
pub struct SecretsManagerStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    aws: SdkConfig,
    /// With placeholders.
    name: String,
    account: SecretAccount,
    /// The account, once it is known.
    found: OnceCell<AccountId>,
    clients: Mutex<HashMap<Region, Client>>,
}

impl SecretsManagerStore {
    /// A store in the secrets of this name, in which `{account}` and `{region}` are replaced.
    ///
    /// Credentials, and an endpoint for Secrets Manager if there is one, are those of `aws`; its
    /// region is not looked at.
    pub fn new(aws: SdkConfig, name: &str, account: SecretAccount) -> Self {
        let known = match &account {
            SecretAccount::Known(account) => Some(account.clone()),
            SecretAccount::OfCredentials(_) => None,
        };
        Self(Arc::new(Inner {
            aws,
            name: name.to_owned(),
            account,
            found: OnceCell::new_with(known),
            clients: Mutex::default(),
        }))
    }
}

/// The name of a region's secret; `{account}` stays as it is where the account is not known.
pub fn secret_name(name: &str, region: &Region, account: Option<&str>) -> String {
    let name = name.replace(REGION, region.as_str());
    account.map_or_else(|| name.clone(), |account| name.replace(ACCOUNT, account))
}

impl Store for SecretsManagerStore {
    fn load<'a>(&'a self, region: &'a Region) -> StoreFuture<'a, Option<(Stored, Revision)>> {
        Box::pin(async move {
            let secret = self.0.secret(region).await?;
            match State::of(&secret, region).await? {
                State::Current(stored, revision) => Ok(Some((stored, revision))),
                State::Absent | State::WithoutVersion => Ok(None),
            }
        })
    }

    fn replace<'a>(
        &'a self,
        region: &'a Region,
        expected: Option<Revision>,
        stored: &'a Stored,
    ) -> StoreFuture<'a, Revision> {
        Box::pin(self.0.replace(region, expected, stored))
    }

    /// Each write leaves a version behind, also one that loses; AWS keeps a hundred.
    fn spread(&self) -> Duration {
        WRITE_SPREAD
    }

    fn describe(&self, region: &Region) -> String {
        format!("secrets-manager {} in {region}", self.0.name_as_known(region))
    }
}

impl Inner {
    async fn secret(&self, region: &Region) -> Result<Secret, StoreError> {
        if self.name.contains(ACCOUNT) {
            self.found.get_or_try_init(|| self.find_account(region)).await?;
        }
        Ok(Secret::new(self.client(region), self.name_as_known(region), region.clone()))
    }

    /// The name in a region, `{account}` left as it is until the account is known.
    fn name_as_known(&self, region: &Region) -> String {
        secret_name(&self.name, region, self.found.get().map(AccountId::as_str))
    }

    async fn find_account(&self, region: &Region) -> Result<AccountId, StoreError> {
        match &self.account {
            SecretAccount::Known(account) => Ok(account.clone()),
            SecretAccount::OfCredentials(ivs) => {
                ivs.account().await.map_err(|cause| StoreError::SecretsManager {
                    place: format!("the secret {} in {region}", self.name_as_known(region)),
                    fault: SecretsManagerFault::AccountUnknown { cause },
                })
            }
        }
    }

    fn client(&self, region: &Region) -> Client {
        let mut clients = self.clients.lock();
        clients.entry(region.clone()).or_insert_with(|| connect(&self.aws, region)).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Clock, telemetry::Instruments};

    fn regions() -> IvsRegions {
        IvsRegions::fixed(
            "http://127.0.0.1:9",
            "us-west-2".parse().unwrap(),
            "123456789012".parse().unwrap(),
            "AKID",
            "hunter2",
            Duration::from_secs(1),
            &Instruments::new(Clock::system()),
        )
    }

    fn store(name: &str, account: SecretAccount) -> SecretsManagerStore {
        SecretsManagerStore::new(regions().aws().clone(), name, account)
    }

    #[tokio::test]
    async fn the_name_holds_account_and_region() {
        let eu: Region = "eu-west-1".parse().unwrap();
        let known = SecretAccount::Known("999999999999".parse().unwrap());
        let known = store("ivs/{account}/{region}", known);
        let expected = "secrets-manager ivs/999999999999/eu-west-1 in eu-west-1";
        assert_eq!(known.describe(&eu), expected);

        // The account of credentials is known once a secret was looked at.
        let asked = store("ivs/{account}/{region}", SecretAccount::OfCredentials(regions()));
        let expected = "secrets-manager ivs/{account}/eu-west-1 in eu-west-1";
        assert_eq!(asked.describe(&eu), expected);
        let secret = asked.0.secret(&eu).await.unwrap();
        assert_eq!(secret.place(), "the secret ivs/123456789012/eu-west-1 in eu-west-1");
        let expected = "secrets-manager ivs/123456789012/eu-west-1 in eu-west-1";
        assert_eq!(asked.describe(&eu), expected);
    }

    #[test]
    fn nothing_of_the_credentials_is_shown() {
        let store = store("ivs", SecretAccount::OfCredentials(regions()));
        assert!(!format!("{store:?}").contains("hunter2"), "{store:?}");
    }
}
