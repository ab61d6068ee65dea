//! A region's keyring from one store into another, when a deployment moves.
//!
//! The copy is the same keyring, with the same id, so that it finds the same key pairs in IVS. From
//! then on one of the two counts: whatever changes the keys must be configured for the new store,
//! and the old keyring is removed by hand once that is seen to work. Nothing here deletes.

use super::store::{Revision, Store, StoreError, Stored};
use crate::ivs::arn::Region;

/// What came of a copy that did not fail. In each case the two stores now hold the same.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Copied {
    /// It was written and read back.
    Written {
        /// How many keys that are not retired it has.
        keys: usize,
    },
    /// The same keyring was there already.
    AlreadyThere {
        /// How many keys that are not retired it has.
        keys: usize,
    },
}

/// Why a keyring was not copied.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CopyError {
    /// Both names lead to one place.
    #[error("{place} cannot be copied to itself; name two stores")]
    SamePlace {
        /// The place.
        place: String,
    },
    /// There is no keyring to copy.
    #[error("there is no keyring in {from}; check the store and the region")]
    NothingThere {
        /// The store that was to be copied from.
        from: String,
    },
    /// Another keyring with keys is there already.
    #[error(
        "{to} holds another keyring, which has keys; nothing was written. Copy to an empty place, \
         or remove that keyring first if its keys are no longer needed"
    )]
    Occupied {
        /// The store that was to be copied to.
        to: String,
    },
    /// What was read back is not what was written.
    #[error(
        "{to} does not hold what was just copied to it. Stop what manages keys there, and copy again"
    )]
    Differs {
        /// The store that was copied to.
        to: String,
    },
    /// The keyring went on changing where it came from.
    #[error(
        "the keyring in {from} was changed while it was copied, so the copy in {to} is out of date \
         and must not be used. Stop what manages keys, remove the copy, and copy again"
    )]
    SourceChanged {
        /// The store that was copied from.
        from: String,
        /// The store that was copied to.
        to: String,
    },
    /// A store failed.
    #[error("{store}: {cause}")]
    Store {
        /// Which one.
        store: String,
        /// Why.
        cause: StoreError,
    },
}

/// Copies a region's keyring. Asked for again after a failure, it goes on or says why it cannot.
///
/// # Errors
///
/// - there is nothing to copy, or something else where it should go
/// - somebody wrote to either store meanwhile
/// - either store failed
pub async fn copy(from: &dyn Store, to: &dyn Store, region: &Region) -> Result<Copied, CopyError> {
    let names = (from.describe(region), to.describe(region));
    if names.0 == names.1 {
        return Err(CopyError::SamePlace { place: names.0 });
    }
    let (source, revision) = load(from, region)
        .await?
        .ok_or_else(|| CopyError::NothingThere { from: from.describe(region) })?;
    let keys = source.keyring.present().count();
    let expected = match load(to, region).await? {
        Some((target, _)) if target == source => return Ok(Copied::AlreadyThere { keys }),
        Some((target, _)) if !target.keyring.keys.is_empty() => {
            return Err(CopyError::Occupied { to: to.describe(region) });
        }
        Some((_, revision)) => Some(revision),
        None => None,
    };
    to.replace(region, expected, &source).await.map_err(|cause| failed(to, region, cause))?;
    if load(to, region).await?.is_none_or(|(target, _)| target != source) {
        return Err(CopyError::Differs { to: to.describe(region) });
    }
    // Had somebody changed it before the copy was whole, two keyrings would go on under one id.
    if load(from, region).await?.is_none_or(|(_, now)| now != revision) {
        let (from, to) = (from.describe(region), to.describe(region));
        return Err(CopyError::SourceChanged { from, to });
    }
    Ok(Copied::Written { keys })
}

async fn load(store: &dyn Store, region: &Region) -> Result<Option<(Stored, Revision)>, CopyError> {
    store.load(region).await.map_err(|cause| failed(store, region, cause))
}

fn failed(store: &dyn Store, region: &Region, cause: StoreError) -> CopyError {
    CopyError::Store { store: store.describe(region), cause }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::PathBuf,
        sync::atomic::{AtomicBool, Ordering},
    };

    use super::*;
    use crate::keys::{
        keyring::{KeyState, strategies},
        store::{StoreFuture, dir::DirStore, samples},
    };

    struct Place {
        folder: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().unwrap() }
        }

        fn dir(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn store(&self, name: &str) -> DirStore {
            DirStore::new(self.dir(name), None)
        }

        /// A store with a keyring of one key in each state.
        async fn filled(&self, name: &str) -> DirStore {
            let store = self.store(name);
            let mut keyring = samples::empty();
            keyring.account_id = Some("123456789012".parse().unwrap());
            for (position, state) in KeyState::ALL.into_iter().enumerate() {
                let id = samples::add_key(&mut keyring, position);
                let version = keyring.version_mut(&id).unwrap();
                version.arn = Some(strategies::arn(position));
                version.retires_at = Some(samples::now());
                version.state = state;
                if state == KeyState::Retired {
                    keyring.retire(&id, samples::now());
                }
            }
            store.replace(&samples::region(), None, &samples::stored(keyring)).await.unwrap();
            store
        }
    }

    async fn copy(from: &dyn Store, to: &dyn Store) -> Result<Copied, CopyError> {
        super::copy(from, to, &samples::region()).await
    }

    #[tokio::test]
    async fn the_copy_is_the_same_keyring_and_the_source_stays() {
        let place = Place::new();
        let (from, to) = (place.filled("from").await, place.store("to"));
        let before = samples::loaded(&from).await;
        assert_eq!(copy(&from, &to).await, Ok(Copied::Written { keys: 5 }));
        assert_eq!(samples::loaded(&to).await.0, before.0);
        assert_eq!(samples::loaded(&from).await, before);
        // Once more is no harm.
        let written = samples::loaded(&to).await;
        assert_eq!(copy(&from, &to).await, Ok(Copied::AlreadyThere { keys: 5 }));
        assert_eq!(samples::loaded(&to).await, written);
    }

    #[tokio::test]
    async fn keys_that_are_there_are_not_replaced() {
        let place = Place::new();
        let (from, to) = (place.filled("from").await, place.filled("to").await);
        let before = samples::loaded(&to).await;
        let occupied = CopyError::Occupied { to: to.describe(&samples::region()) };
        assert_eq!(copy(&from, &to).await, Err(occupied));
        assert_eq!(samples::loaded(&to).await, before);

        let empty = place.store("empty");
        let nothing = samples::stored(samples::empty());
        empty.replace(&samples::region(), None, &nothing).await.unwrap();
        assert_eq!(copy(&from, &empty).await, Ok(Copied::Written { keys: 5 }));
        assert_eq!(samples::loaded(&empty).await.0, samples::loaded(&from).await.0);
    }

    #[tokio::test]
    async fn nothing_is_copied_from_nowhere_or_to_itself() {
        let place = Place::new();
        let (from, to) = (place.store("from"), place.store("to"));
        let nothing = CopyError::NothingThere { from: from.describe(&samples::region()) };
        assert_eq!(copy(&from, &to).await, Err(nothing));
        let same = CopyError::SamePlace { place: from.describe(&samples::region()) };
        assert_eq!(copy(&from, &from).await, Err(same));
        assert_eq!(to.load(&samples::region()).await, Ok(None));
    }

    #[tokio::test]
    async fn a_store_that_fails_is_named_and_left_alone() {
        let place = Place::new();
        let (from, to) = (place.filled("from").await, place.filled("to").await);
        let document = place.dir("to").join("us-west-2/keyring.json");
        fs::write(&document, "not ours").unwrap();
        let error = copy(&from, &to).await.unwrap_err();
        assert!(matches!(error, CopyError::Store { .. }), "{error}");
        assert!(error.to_string().starts_with(&to.describe(&samples::region())), "{error}");
        assert_eq!(fs::read_to_string(document).unwrap(), "not ours");
    }

    /// A store whose neighbour is written to by somebody else, right after it was written itself.
    #[derive(Debug)]
    struct Meddled {
        inner: DirStore,
        neighbour: DirStore,
        done: AtomicBool,
    }

    impl Store for Meddled {
        fn load<'a>(&'a self, region: &'a Region) -> StoreFuture<'a, Option<(Stored, Revision)>> {
            self.inner.load(region)
        }

        fn replace<'a>(
            &'a self,
            region: &'a Region,
            expected: Option<Revision>,
            stored: &'a Stored,
        ) -> StoreFuture<'a, Revision> {
            Box::pin(async move {
                let revision = self.inner.replace(region, expected, stored).await?;
                if !self.done.swap(true, Ordering::Relaxed) {
                    let (mut changed, seen) = samples::loaded(&self.neighbour).await;
                    changed.keyring.max_ttl *= 2;
                    self.neighbour.replace(region, Some(seen), &changed).await?;
                }
                Ok(revision)
            })
        }

        fn describe(&self, region: &Region) -> String {
            self.inner.describe(region)
        }
    }

    #[tokio::test]
    async fn a_change_meanwhile_is_told() {
        let place = Place::new();
        let from = place.filled("from").await;
        let meddled = |neighbour: &DirStore, name| Meddled {
            inner: place.store(name),
            neighbour: neighbour.clone(),
            done: AtomicBool::new(false),
        };
        let to = meddled(&from, "behind");
        let error = copy(&from, &to).await.unwrap_err();
        assert!(matches!(error, CopyError::SourceChanged { .. }), "{error}");
        let to = meddled(&place.store("changed"), "changed");
        let error = copy(&from, &to).await.unwrap_err();
        assert!(matches!(error, CopyError::Differs { .. }), "{error}");
    }
}
