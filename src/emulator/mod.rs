//! An IVS-compatible endpoint: the control plane and the playback edge of Amazon IVS on one port.
//!
//! Real AWS clients and real players use it in place of AWS, so that everything runs without an AWS
//! account. It is the only fake of IVS in this project, and is always called over HTTP.
//!
//! It is separate from the rest: of the crate it imports only [`crate::clock`] and
//! [`crate::ivs::arn`], and it verifies tokens with its own code and the `p384` crate instead of the
//! code that signs them, so that a mistake shared by signer and verifier cannot go unnoticed.
//! `docs/emulator.md` lists what is emulated, what is not, and every choice where the behaviour of
//! AWS is not known.
//!
//! - `api`: the control plane, `POST /CreateChannel` and the other operations
//! - `edge`: playback, `GET /api/video/v1/….m3u8?token=…`
//! - `control`: what AWS has no call for, such as putting a stream live
//! - `faults`: misbehaviour of IVS on demand
//! - `calls`: the log of calls
//! - `rates`: call quotas
//! - `store`: the durable state

mod api;
mod calls;
mod control;
mod edge;
mod faults;
mod ids;
mod rates;
mod store;
mod urls;

use std::{path::PathBuf, sync::Arc};

use axum::{Router, middleware};
use secrecy::SecretString;
use tokio::sync::Semaphore;
use url::Url;

use self::api::signature::Verifier;
pub use self::{ids::IdError, store::StoreError};
use crate::{
    clock::Clock,
    ivs::arn::{AccountId, ChannelArn, Region},
};

/// Every `emulator_reason` with which the playback edge refuses a multivariant playlist.
pub const PLAYBACK_REFUSALS: &[&str] = edge::refusal::REASONS;

/// The settings of an emulator.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder of its state. Created for the owner only if it does not exist.
    pub data_dir: PathBuf,
    /// The account of every caller, whatever access key it signs with.
    pub account_id: AccountId,
    /// The beginning of playback URLs. Without it they contain the host that the caller used.
    pub public_url: Option<Url>,
    /// Whether every channel is live as soon as it exists.
    pub auto_live: bool,
    /// Whether calls beyond IVS's call quotas are throttled. Calls are counted by the monotonic time
    /// of the emulator's clock: if a test stops that clock, a second never passes.
    pub enforce_rates: bool,
    /// The access key that calls must be signed with. Without it, any signature is accepted.
    pub access_key: Option<AccessKey>,
}

/// An access key of AWS clients.
#[derive(Clone, Debug)]
pub struct AccessKey {
    /// The id, which is sent with each call.
    pub id: String,
    /// The secret, which signs each call.
    pub secret: SecretString,
}

impl Options {
    /// Returns the defaults for an emulator that keeps its state in `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>, account_id: AccountId) -> Self {
        Self {
            data_dir: data_dir.into(),
            account_id,
            public_url: None,
            auto_live: false,
            enforce_rates: false,
            access_key: None,
        }
    }
}

/// A running emulator. Cheap to clone; clones share one state.
#[derive(Clone, Debug)]
pub struct Emulator(Arc<Shared>);

/// The state that every request can access.
#[derive(Debug)]
struct Shared {
    store: store::Store,
    faults: faults::registry::Faults,
    calls: calls::Calls,
    rates: rates::Rates,
    enforce_rates: bool,
    sessions: edge::session::Sessions,
    verification_slots: Arc<Semaphore>,
    verifier: Option<Verifier>,
    clock: Clock,
    account: AccountId,
    public_url: Option<Url>,
    auto_live: bool,
}

impl Emulator {
    /// Opens the state in `options.data_dir`, or creates it.
    ///
    /// With `auto_live`, offline channels are put live. This blocks on the file system.
    pub fn open(options: Options, clock: Clock) -> Result<Self, EmulatorError> {
        let store = store::Store::open(&options.data_dir)?;
        store.write(|transaction| {
            store::viewers::prune_spent(transaction, clock.now())?;
            if options.auto_live {
                store::streams::start_all(transaction, clock.now())?;
            }
            Ok::<_, StoreError>(())
        })?;
        Ok(Self(Arc::new(Shared {
            store,
            faults: faults::registry::Faults::default(),
            calls: calls::Calls::default(),
            rates: rates::Rates::default(),
            enforce_rates: options.enforce_rates,
            sessions: edge::session::Sessions::default(),
            verification_slots: edge::verification_slots(),
            verifier: options.access_key.map(|key| Verifier::new(key.id, &key.secret)),
            clock,
            account: options.account_id,
            public_url: options.public_url,
            auto_live: options.auto_live,
        })))
    }

    /// Returns the routes that players use: playlists and segments.
    pub fn edge_router(&self) -> Router {
        self.edge().with_state(Arc::clone(&self.0))
    }

    fn edge(&self) -> Router<Arc<Shared>> {
        let shared = Arc::clone(&self.0);
        edge::router().layer(middleware::from_fn_with_state(shared, faults::playback))
    }

    /// Returns the routes of the emulator, for one listener.
    pub fn router(&self) -> Router {
        let shared = || Arc::clone(&self.0);
        control::router()
            .merge(faults::router())
            .merge(calls::router())
            .route_layer(middleware::from_fn_with_state(shared(), control::refuse_pages))
            .merge(self.edge())
            .fallback(api::handle)
            .with_state(shared())
            .layer(middleware::from_fn(ids::stamp_request_id))
    }

    /// Makes sure that `region` has a private channel of that name and that it is live.
    ///
    /// Another call, also after a crash, finds the channel that the first one created.
    pub async fn ensure_live_channel(
        &self,
        region: &Region,
        name: &str,
    ) -> Result<ChannelArn, EmulatorError> {
        let (shared, region, name) = (Arc::clone(&self.0), region.clone(), name.to_owned());
        tokio::task::spawn_blocking(move || api::channels::ensure_live(&shared, &region, &name))
            .await
            .map_err(|_| EmulatorError::Interrupted)?
    }
}

/// Why an emulator cannot start or create a channel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmulatorError {
    /// The name violates IVS's rule for channel names.
    #[error(
        "a channel name has at most 128 letters, digits, hyphens and underscores; choose such a name"
    )]
    ChannelName,
    /// The region already has as many channels as IVS allows.
    #[error("the emulated region has as many channels as IVS allows; delete one first")]
    ChannelQuota,
    /// The state could not be opened, read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An identifier could not be generated.
    #[error(transparent)]
    Id(#[from] IdError),
    /// The process is shutting down.
    #[error("the emulator stopped while it created the channel; start it again")]
    Interrupted,
}
