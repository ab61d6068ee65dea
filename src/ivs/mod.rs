//! The only access to Amazon IVS, and the only module that names `aws_sdk_ivs`.
//!
//! Its types hold what playback authorization needs: parsed ARNs, channels and key pairs with just those members, and
//! one [`IvsError`] whose variants say what a caller can do about it. Every call has a time-out.
//!
//! `dispatch` keeps every call within IVS's quotas, process-wide per region and operation. It sends channel lookups
//! and viewer sessions in batches and retries them, and paces all other operations, with 3 attempts. The demo page
//! limits `PutMetadata`. The SDK's retries are off, because an attempt that `dispatch` does not see would exceed the
//! pace.

pub mod arn;
mod client;
pub(crate) mod dispatch;
mod error;
mod observer;
mod principal;
mod region_name;
mod regions;
mod server_time;
mod settings;

pub use client::{
    BatchError, BatchGetChannel, Channel, ChannelSummary, KeyPair, KeyPairSummary, RegionalIvs,
    ViewerSession, ViewerSessionError,
};
pub use error::IvsError;
pub use principal::{Question, SimulationError};
pub use region_name::{RegionNameError, parse_region, unknown_region};
pub use regions::{ConnectError, IvsRegions, resolve_regions};
pub use server_time::{Clocks, ServerTime, Skew};
pub use settings::Settings;
