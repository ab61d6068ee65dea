//! The only door to Amazon IVS, and the only module that names `aws_sdk_ivs`.
//!
//! It speaks in our terms: ARNs that are parsed, channels and key pairs with just the members that
//! playback authorization needs, and one [`IvsError`] whose variants say what a caller can do about
//! it. Every call has a time-out.
//!
//! Every operation is paced by a `budget` of its own, process-wide per region, and the SDK's retries
//! are off, because an attempt that the budget does not see would break the pace. Channel lookups
//! (`GetChannel`, `BatchGetChannel`) and viewer-session revocations are paced and retried by
//! `channels` and `viewers`, which know what waits; the demo page limits `PutMetadata`. The `pacer`
//! here does both for all other operations: 3 attempts, jittered, each in its turn.

pub mod arn;
pub(crate) mod budget;
mod client;
mod endpoint;
mod error;
mod pacer;
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
