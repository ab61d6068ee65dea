//! Reading: the keyring that counts, or why there is none.

use std::time::Duration;

use super::{SecretsManagerFault, inline, secret::Secret};
use crate::{
    ivs::arn::Region,
    keys::store::{Revision, StoreError, Stored},
};

/// How often the secret is looked at again because it appeared between two looks.
const ATTEMPTS: usize = 3;
const PAUSE: Duration = Duration::from_millis(200);

/// What stands in a secret's place.
pub(super) enum State {
    /// No secret.
    Absent,
    /// A secret that was made without a value, as Terraform does.
    WithoutVersion,
    /// A keyring.
    Current(Stored, Revision),
}

impl State {
    pub(super) async fn of(secret: &Secret, region: &Region) -> Result<Self, StoreError> {
        for _ in 0..ATTEMPTS {
            if let Some(value) = secret.current().await? {
                let stored = inline::decode(&value.text, region, &secret.place())?;
                return Ok(Self::Current(stored, value.revision));
            }
            // One error code says that the secret is not there, and that it has no such version. A
            // secret with other versions only was somebody's, and is not taken for an empty one.
            match secret.labels().await? {
                None => return Ok(Self::Absent),
                Some(labels) if !labels.any => return Ok(Self::WithoutVersion),
                Some(labels) if labels.current.is_none() => {
                    return Err(secret.error(SecretsManagerFault::NoCurrentVersion));
                }
                Some(_) => tokio::time::sleep(PAUSE).await,
            }
        }
        Err(StoreError::Busy { place: secret.place() })
    }
}
