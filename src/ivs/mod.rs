//! The only door to Amazon IVS, and the only module that names `aws_sdk_ivs`.
//!
//! It speaks in our terms: ARNs that are parsed, channels and key pairs with just the members that
//! playback authorization needs, and one [`IvsError`] whose variants say what a caller can do about
//! it. Every call has a time-out.
//!
//! Who retries what: channel lookups (`GetChannel`, `BatchGetChannel`) and viewer-session revocations
//! are never retried here, since `channels` and `viewers` above pace them inside IVS's quotas (with a
//! `budget`) and an invisible second try would break that pace. All other calls use the SDK's standard retries (3 attempts, jittered).

pub mod arn;
pub(crate) mod budget;
mod client;
mod endpoint;
mod error;
mod principal;
mod region_name;
mod regions;
mod server_time;

pub use client::{
    BatchError, BatchGetChannel, Channel, ChannelSummary, KeyPair, KeyPairSummary, RegionalIvs,
    ViewerSession, ViewerSessionError,
};
pub use error::IvsError;
pub use principal::{Question, SimulationError};
pub use region_name::{RegionNameError, parse_region, unknown_region};
pub use regions::{AwsSettings, ConnectError, IvsRegions, resolve_regions};
pub use server_time::{Clocks, ServerTime, Skew};
