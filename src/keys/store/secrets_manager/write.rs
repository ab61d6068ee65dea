//! Writing: a new version first, and then the label that makes it count.
//!
//! [`Secret::put`] and [`Secret::create`] may be repeated without making a second version, and
//! [`Secret::make_current`] moves the label off the version that was read, or not at all. Whatever
//! fails in between leaves the old keyring. Where an answer is missing, the labels say who won.

use rand::Rng as _;
use zeroize::Zeroizing;

use super::{Inner, inline, read::State, secret::Secret};
use crate::{
    ivs::arn::Region,
    keys::store::{Revision, StoreError, Stored, check_new},
    secret::system_rng,
};

/// A version about to be written.
struct Draft {
    revision: Revision,
    text: Zeroizing<String>,
}

impl Inner {
    pub(super) async fn replace(
        &self,
        region: &Region,
        expected: Option<Revision>,
        stored: &Stored,
    ) -> Result<Revision, StoreError> {
        let secret = self.secret(region).await?;
        check_new(&stored.keyring, region, &secret.place())?;
        let draft = Draft::of(stored, &secret)?;
        // Read again, so that who is late adds no version, and to check the succession.
        match (State::of(&secret, region).await?, expected) {
            (State::Current(current, revision), Some(expected)) if revision == expected => {
                current
                    .keyring
                    .check_successor(&stored.keyring)
                    .map_err(StoreError::Discontinuous)?;
                draft.put(&secret, Some(&revision)).await
            }
            (State::Absent, None) => draft.create(&secret).await,
            (State::WithoutVersion, None) => draft.put(&secret, None).await,
            (State::Current(..), _) | (State::Absent | State::WithoutVersion, Some(_)) => {
                Err(StoreError::Conflict)
            }
        }
    }
}

impl Draft {
    fn of(stored: &Stored, secret: &Secret) -> Result<Self, StoreError> {
        let text = inline::encode(stored, &secret.place())?;
        let mut bytes = [0; 16];
        system_rng().fill_bytes(&mut bytes);
        let id = uuid::Builder::from_random_bytes(bytes).into_uuid().to_string();
        Ok(Self { revision: Revision::new(&id), text })
    }

    /// Makes the secret.
    async fn create(&self, secret: &Secret) -> Result<Revision, StoreError> {
        match secret.create(self.revision.as_str(), &self.text).await {
            Ok(true) => Ok(self.revision.clone()),
            // Somebody made it since, perhaps without a version.
            Ok(false) => match secret.labels().await? {
                Some(labels) if !labels.any => self.put(secret, None).await,
                Some(labels) => self.judge(labels.current, None, StoreError::Conflict),
                None => Err(StoreError::Conflict),
            },
            Err(error) => self.look(secret, None, error).await,
        }
    }

    /// Adds a version to the secret, and lets it count instead of `previous`.
    async fn put(
        &self,
        secret: &Secret,
        previous: Option<&Revision>,
    ) -> Result<Revision, StoreError> {
        if let Err(error) = secret.put(self.revision.as_str(), &self.text).await {
            return self.look(secret, previous, error).await;
        }
        if previous.is_none() {
            // AWS makes the first version count, whatever label was asked for. Of two that were put
            // at once, only the labels tell which was the first.
            let current = secret.labels().await?.and_then(|labels| labels.current);
            if current.is_some() {
                return self.judge(current, None, StoreError::Conflict);
            }
        }
        match secret.make_current(self.revision.as_str(), previous).await {
            Ok(()) => Ok(self.revision.clone()),
            Err(error) => self.look(secret, previous, error).await,
        }
    }

    /// What became of a call that failed with `error`: it may have been lost before or after it took
    /// effect.
    async fn look(
        &self,
        secret: &Secret,
        previous: Option<&Revision>,
        error: StoreError,
    ) -> Result<Revision, StoreError> {
        match secret.labels().await {
            Ok(Some(labels)) => self.judge(labels.current, previous, error),
            Ok(None) | Err(_) => Err(error),
        }
    }

    /// Who won, by the version that counts now; `otherwise` where nobody has yet.
    fn judge(
        &self,
        current: Option<Revision>,
        previous: Option<&Revision>,
        otherwise: StoreError,
    ) -> Result<Revision, StoreError> {
        match current {
            Some(current) if current == self.revision => Ok(current),
            Some(current) if Some(&current) != previous => Err(StoreError::Conflict),
            Some(_) | None => Err(otherwise),
        }
    }
}
