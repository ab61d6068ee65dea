//! One read of the store, which a caller that goes away or a time-out may leave half-way.
//!
//! A load that hangs may hold a thread that nothing can end, so there is never a second one beside
//! it: the next refresh waits for the same load, then begins its own.

use std::{fmt, pin::Pin, sync::Arc};

use super::{RefreshError, SigningKeysSettings};
use crate::{
    ivs::arn::Region,
    keys::store::{Revision, Store, StoreError, Stored},
};

/// How often raising the recorded limits is tried while others write.
const RAISE_ATTEMPTS: usize = 5;

type Loaded = Result<Option<Stored>, RefreshError>;

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
        let Some((stored, revision)) = store.load(&region).await? else {
            return Ok(None);
        };
        match raise_limits(&*store, &region, settings, stored, revision).await {
            Err(RefreshError::Store(StoreError::Conflict)) => {}
            raised => return raised.map(Some),
        }
    }
    Err(StoreError::Conflict.into())
}

/// Nothing is signed before the keyring records how long tokens live and how long this process uses
/// a keyring: rotations compute from it when the old key may be deleted.
async fn raise_limits(
    store: &dyn Store,
    region: &Region,
    settings: SigningKeysSettings,
    mut stored: Stored,
    revision: Revision,
) -> Result<Stored, RefreshError> {
    let keyring = &mut stored.keyring;
    let raised: Vec<_> = settings.limits.beyond(keyring.limits()).collect();
    let Some(first) = raised.first().filter(|_| keyring.active().is_some()) else {
        return Ok(stored);
    };
    if !settings.manage {
        return Err(RefreshError::UnrecordedLimit(*first));
    }
    keyring.raise_limits(settings.limits);
    store.replace(region, Some(revision), &stored).await?;
    for limit in raised {
        tracing::info!(
            event = "keyring_limit_raised",
            %region,
            setting = limit.key,
            fromSeconds = limit.recorded.as_secs(),
            toSeconds = limit.configured.as_secs(),
            "the keyring records a larger limit"
        );
    }
    Ok(stored)
}
