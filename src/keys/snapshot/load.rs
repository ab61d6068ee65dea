//! One read of the store, which a caller that goes away or a time-out may leave half-way.
//!
//! A load that hangs may hold a thread that nothing can end, so there is never a second one beside
//! it: the next refresh waits for the same load, then begins its own.

use std::{fmt, pin::Pin, sync::Arc};

use super::{RefreshError, SigningKeysSettings};
use crate::{
    ivs::arn::Region,
    keys::{
        keyring::Keyring,
        store::{Revision, Store, StoreError},
    },
};

/// How often `maxTtl` is tried to be raised while others write.
const RAISE_ATTEMPTS: usize = 5;

type Loaded = Result<Option<Keyring>, RefreshError>;

/// A load under way.
pub(super) struct Loading(Pin<Box<dyn Future<Output = Loaded> + Send>>);

impl fmt::Debug for Loading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Loading")
    }
}

/// Reads the keyring, once `unfinished` has ended. Dropped before its end, it leaves the load that
/// is under way there.
pub(super) async fn anew(
    unfinished: &mut Option<Loading>,
    store: &Arc<dyn Store>,
    region: &Region,
    settings: SigningKeysSettings,
) -> Loaded {
    if let Some(Loading(earlier)) = unfinished {
        // What it brings may be older than what the caller waits for.
        drop(earlier.await);
        *unfinished = None;
    }
    let load = load(Arc::clone(store), region.clone(), settings);
    let Loading(load) = unfinished.insert(Loading(Box::pin(load)));
    let loaded = load.await;
    *unfinished = None;
    loaded
}

async fn load(store: Arc<dyn Store>, region: Region, settings: SigningKeysSettings) -> Loaded {
    for _ in 0..RAISE_ATTEMPTS {
        let Some((keyring, revision)) = store.load(&region).await? else {
            return Ok(None);
        };
        match raise_max_ttl(&*store, &region, settings, keyring, revision).await {
            Err(RefreshError::Store(StoreError::Conflict)) => {}
            raised => return raised.map(Some),
        }
    }
    Err(StoreError::Conflict.into())
}

/// Nothing is signed before the keyring knows how long the tokens may live: a rotation computes
/// from it when the old key may be deleted.
async fn raise_max_ttl(
    store: &dyn Store,
    region: &Region,
    settings: SigningKeysSettings,
    mut keyring: Keyring,
    revision: Revision,
) -> Result<Keyring, RefreshError> {
    let (configured, recorded) = (settings.max_ttl, keyring.max_ttl);
    if configured <= recorded || keyring.active().is_none() {
        return Ok(keyring);
    }
    if !settings.manage {
        return Err(RefreshError::MaxTtl { configured, recorded });
    }
    keyring.max_ttl = configured;
    store.replace(region, Some(revision), &keyring).await?;
    tracing::info!(
        event = "max_ttl_raised",
        %region,
        from_seconds = recorded.as_secs(),
        to_seconds = configured.as_secs(),
        "the keyring now knows of longer-lived tokens"
    );
    Ok(keyring)
}
