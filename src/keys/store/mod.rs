//! Where keyrings are kept.
//!
//! A store does two things: load a keyring with its revision, and replace that revision. The
//! compare-and-swap is all the coordination between processes that there is. Three promises hold for
//! every store: a keyring that cannot be read is an error and never an absent one; a write that
//! returned is durable; and one that failed left either the old keyring or the new one, whole.

pub mod dir;
mod document;
#[cfg(test)]
pub(crate) mod samples;
pub mod secrets_manager;

use std::{collections::BTreeMap, fmt, pin::Pin, sync::Arc, time::Duration};

use super::{
    keyring::{KeyVersion, Keyring, KeyringFault, SuccessionFault, VersionId},
    material::{KeyMaterialError, PrivateKey},
};
use crate::ivs::arn::Region;

pub use document::DocumentFault;
pub use secrets_manager::SecretsManagerFault;

/// What the methods of a [`Store`] return: a future that a `dyn Store` can return, too.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// The private keys of a keyring, by version.
pub type PrivateKeys = BTreeMap<VersionId, PrivateKey>;

/// What a store keeps of a region: the keyring, and the private halves that it says there are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stored {
    /// The keyring.
    pub keyring: Keyring,
    /// The private halves. Those of versions without one are never written.
    pub private_keys: PrivateKeys,
}

impl Stored {
    /// Adds a private half to the version that has its public half, where that has none yet.
    pub fn add_private_key(&mut self, key: &PrivateKey) {
        let owner = self
            .keyring
            .present()
            .find(|version| version.has_private_key && version.public_key == *key.public_key());
        if let Some(version) = owner {
            self.private_keys.entry(version.id.clone()).or_insert_with(|| key.clone());
        }
    }

    /// Returns the private half of a version that has one.
    fn private_key(&self, version: &KeyVersion, place: &str) -> Result<&PrivateKey, StoreError> {
        self.private_keys
            .get(&version.id)
            .ok_or_else(|| StoreError::PrivateKeyMissing { path: place.to_owned() })
    }
}

/// A place that keeps one keyring per region.
pub trait Store: fmt::Debug + Send + Sync {
    /// The region's keyring and its revision; `None` only where there truly is none.
    ///
    /// # Errors
    ///
    /// It cannot be read, or not be trusted.
    fn load<'a>(&'a self, region: &'a Region) -> StoreFuture<'a, Option<(Stored, Revision)>>;

    /// Replaces the revision `expected` (`None`: no keyring yet) by `stored`, and returns when that
    /// is durable.
    ///
    /// # Errors
    ///
    /// [`StoreError::Conflict`] where another revision is there; it may have been built on this
    /// write, where the answer to that was lost. After any other error either keyring may be there.
    /// So load again before anything is done, and look for what this write was to bring.
    fn replace<'a>(
        &'a self,
        region: &'a Region,
        expected: Option<Revision>,
        stored: &'a Stored,
    ) -> StoreFuture<'a, Revision>;

    /// The longest random pause before a write of which several processes see the need. Nothing
    /// where a write that loses leaves nothing behind.
    fn spread(&self) -> Duration {
        Duration::ZERO
    }

    /// Where the region's keyring is, for people: `dir keys/us-west-2`.
    fn describe(&self, region: &Region) -> String;
}

/// Which state of a keyring was read. Two are equal where nothing was written in between.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Revision(Arc<str>);

impl Revision {
    /// A revision as a store names it.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a store could not do what was asked. Cheap enough to clone, so that one failure can be
/// reported to everyone who waited for it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StoreError {
    /// Somebody else wrote first.
    #[error("the keyring was changed by somebody else in between; try again")]
    Conflict,
    /// What is there is not a keyring, or a damaged one.
    #[error(
        "{place} is not a keyring of this program ({fault}); it was not touched. Restore it from a \
         backup; to start anew, move it away or configure another place"
    )]
    NotAKeyring {
        /// The file or secret.
        place: String,
        /// What is wrong with it.
        fault: DocumentFault,
    },
    /// What is there was written by a newer release.
    #[error(
        "{place} has format {found}, which is newer than this program; it was not touched. Run the \
         release that wrote it, or a later one"
    )]
    Newer {
        /// The file or secret.
        place: String,
        /// Its format.
        found: u64,
    },
    /// The keyring is another region's.
    #[error(
        "{place} is the keyring of {found}, not of {expected}; keep each region's in a place of \
         its own"
    )]
    OtherRegion {
        /// The file or secret.
        place: String,
        /// The region that it names.
        found: Region,
        /// The region that was asked for.
        expected: Region,
    },
    /// The keyring contradicts itself.
    #[error("{place} contradicts itself: {fault}. It was not touched; restore it from a backup")]
    Contradiction {
        /// The file or secret.
        place: String,
        /// The rule that it breaks.
        fault: KeyringFault,
    },
    /// The keyring to write contradicts itself. Only a bug of this program asks for that.
    #[error("refused to write a keyring that contradicts itself: {0}. Please report this")]
    Unsound(KeyringFault),
    /// The keyring to write cannot follow the one that is there. Only a bug asks for that.
    #[error(
        "refused to write a keyring that cannot follow the one that is there: {0}. Please \
             report this"
    )]
    Discontinuous(SuccessionFault),
    /// The keyring to write is larger than what is read again. Nothing was written.
    #[error(
        "the keyring would be larger than the {limit} bytes that {place} may have, so it was not \
         written; use fewer or shorter tags, or delete key pairs that nobody signs with"
    )]
    TooLarge {
        /// The file or secret.
        place: String,
        /// The largest document, in bytes.
        limit: usize,
    },
    /// Others than the owner may read or change what holds private keys.
    #[error("{path} is open to other users (mode {mode:o}); close it with `{mend}`")]
    WidePermissions {
        /// The file or folder.
        path: String,
        /// Its permission bits.
        mode: u32,
        /// The command that mends it.
        mend: String,
    },
    /// There are private keys, but nothing that says what they are.
    #[error(
        "{path} is missing, although private keys are beside it; restore it from a backup, or move \
         the folder away to start anew"
    )]
    DocumentMissing {
        /// The file.
        path: String,
    },
    /// The keyring names a private key that is not there.
    #[error(
        "{path} is missing, although the keyring names it; restore it from a backup, or move the \
         folder away to start anew"
    )]
    PrivateKeyMissing {
        /// The file.
        path: String,
    },
    /// A private key is encrypted, and no passphrase is configured.
    #[error("{path} is encrypted; set IVS_PLAYBACK_AUTH_KEY_PASSPHRASE")]
    PassphraseMissing {
        /// The file.
        path: String,
    },
    /// A private key cannot be read.
    #[error("{path} holds no usable private key: {fault}")]
    PrivateKeyUnreadable {
        /// The file or secret.
        path: String,
        /// What is wrong with it.
        fault: KeyMaterialError,
    },
    /// A private key is another one than the keyring says.
    #[error(
        "{path} holds another key than the keyring names; it was not touched. Restore the right one \
         from a backup"
    )]
    OtherPrivateKey {
        /// The file or secret.
        path: String,
    },
    /// A private key could not be encoded.
    #[error("a private key could not be written: {0}")]
    Encoding(KeyMaterialError),
    /// Somebody else holds the lock for long, or writes without end.
    #[error("{place} is busy: another process is writing to it. Try again")]
    Busy {
        /// The folder.
        place: String,
    },
    /// The operating system refused.
    #[error("could not {action} {path}: {reason}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file or folder.
        path: String,
        /// The operating system's own words.
        reason: String,
    },
    /// A call to AWS Secrets Manager failed.
    #[error("{place} could not be used: {fault}")]
    SecretsManager {
        /// The secret and its region.
        place: String,
        /// What happened.
        fault: SecretsManagerFault,
    },
}

/// What every store checks of a keyring before it looks at the one that is there.
fn check_new(keyring: &Keyring, region: &Region, place: &str) -> Result<(), StoreError> {
    keyring.check().map_err(StoreError::Unsound)?;
    if keyring.region != *region {
        let (place, found) = (place.to_owned(), keyring.region.clone());
        return Err(StoreError::OtherRegion { place, found, expected: region.clone() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{keys::material::fixtures, secret::system_rng};

    #[test]
    fn debug_output_of_a_keyring_holds_no_private_key() {
        let private = PrivateKey::read(fixtures::PKCS8, None).unwrap();
        let (mut keyring, public) = (samples::empty(), private.public_key().clone());
        keyring.keys.push(KeyVersion::new(public, true, samples::now(), &mut system_rng()));
        let mut stored = Stored { keyring, private_keys: PrivateKeys::new() };
        stored.add_private_key(&private);
        assert_eq!(stored.private_keys.len(), 1);
        let shown = format!("{stored:?}");
        let scalar = &fixtures::SEC1_DER[8..56];
        assert!(!shown.contains(&format!("{scalar:?}")[1..100]), "{shown}");
        assert!(fixtures::PKCS8.lines().all(|line| !shown.contains(line)), "{shown}");
    }
}
