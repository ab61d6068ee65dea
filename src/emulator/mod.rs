//! An IVS-compatible endpoint: the control plane and the playback edge of Amazon IVS on one port.
//!
//! Real AWS clients and real players use it in place of AWS, so that everything runs with no AWS
//! account. It is the only fake of IVS in this project and is always spoken to over HTTP.
//!
//! It stands apart: of the crate it imports [`crate::clock`] and [`crate::ivs::arn`] alone, and it
//! verifies tokens with its own code and the `p384` crate, not with what signs them, so that a
//! mistake shared by signer and verifier cannot pass here. `docs/emulator.md` lists what is
//! emulated, what is not, and each choice where the behaviour of AWS is not known.
//!
//! - `api`: the control plane, `POST /CreateChannel` and its siblings
//! - `edge`: playback, `GET /api/video/v1/….m3u8?token=…`
//! - `control`: what AWS has no call for, such as a stream that goes live
//! - `faults`, `calls`: IVS on a bad day, and what it was asked
//! - `browsers`: keeps web pages from changing any of these
//! - `rates`: how often it may be asked
//! - `store`: the durable state behind all of them

mod api;
mod browsers;
mod calls;
mod control;
mod edge;
mod faults;
mod ids;
mod live;
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

/// Every `emulator_reason` with which the playback edge refuses a request for the multivariant
/// playlist.
pub const PLAYBACK_REFUSALS: &[&str] = edge::REASONS;

/// How an emulator is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where its state is kept. Made, for the owner alone, where it is absent.
    pub data_dir: PathBuf,
    /// The account that every caller is, whatever access key it signs with.
    pub account_id: AccountId,
    /// What playback URLs begin with. Without it they name the host that the caller asked.
    pub public_url: Option<Url>,
    /// Whether every channel is live as soon as it exists.
    pub auto_live: bool,
    /// Whether calls beyond IVS's call quotas are throttled. They are counted by the monotonic time
    /// of the emulator's clock: where a test holds that still, a second never passes.
    pub enforce_rates: bool,
    /// The access key that calls must be signed with. Without it any signature will do.
    pub access_key: Option<AccessKey>,
}

/// An access key of AWS clients.
#[derive(Clone, Debug)]
pub struct AccessKey {
    /// What is sent with each call.
    pub id: String,
    /// What each call is signed with.
    pub secret: SecretString,
}

impl Options {
    /// An emulator that keeps its state in `data_dir` and leaves everything else at its default.
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

/// What every request sees.
#[derive(Debug)]
struct Shared {
    store: store::Store,
    faults: faults::Faults,
    calls: calls::Calls,
    rates: rates::Rates,
    sessions: edge::Sessions,
    /// Of players that start.
    turns: Arc<Semaphore>,
    verifier: Option<Verifier>,
    clock: Clock,
    account: AccountId,
    public_url: Option<Url>,
    auto_live: bool,
}

impl Emulator {
    /// Opens the state in `options.data_dir`, or makes it.
    ///
    /// With `auto_live`, channels that are offline are put live. This blocks on the file system.
    pub fn open(options: Options, clock: Clock) -> Result<Self, EmulatorError> {
        let store = store::Store::open(&options.data_dir)?;
        let shared = Shared {
            store,
            faults: faults::Faults::default(),
            calls: calls::Calls::default(),
            rates: rates::Rates::new(options.enforce_rates),
            sessions: edge::Sessions::default(),
            turns: edge::turns(),
            verifier: options.access_key.map(|key| Verifier::new(key.id, &key.secret)),
            clock,
            account: options.account_id,
            public_url: options.public_url,
            auto_live: options.auto_live,
        };
        live::prune_spent(&shared)?;
        if shared.auto_live {
            live::start_all(&shared)?;
        }
        Ok(Self(Arc::new(shared)))
    }

    /// Everything that it serves, for one listener.
    pub fn router(&self) -> Router {
        let shared = || Arc::clone(&self.0);
        let edge =
            edge::router(&self.0).layer(middleware::from_fn_with_state(shared(), faults::playback));
        control::router(&self.0)
            .merge(faults::router(&self.0))
            .merge(calls::router(&self.0))
            .route_layer(middleware::from_fn_with_state(shared(), browsers::refuse_pages))
            .merge(edge)
            .fallback_service(api::service(&self.0))
            .layer(middleware::from_fn(ids::stamp_request_id))
    }

    /// Makes sure that `region` has a private channel of that name, and that it is live.
    ///
    /// Asked again, also after a crash, it finds the channel that it made before.
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

/// Why an emulator cannot start or do what its owner asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmulatorError {
    /// The name breaks IVS's rule for channel names.
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
    /// An identifier could not be made.
    #[error(transparent)]
    Id(#[from] IdError),
    /// The process is shutting down.
    #[error("the emulator stopped while the channel was being made; start it again")]
    Interrupted,
}
