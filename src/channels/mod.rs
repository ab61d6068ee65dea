//! The cached channel lookup, and the names that callers use for channels.
//!
//! A mint needs to know that its channel exists, is private, and where it plays, and IVS allows 5 such calls per
//! second for the whole account. So a channel is looked up once and then served from memory: fresh for a minute,
//! and for up to a day while one refresh runs, even if IVS cannot answer. Only an answer that permits a mint is
//! served so; that a channel is public is checked again before it causes a refusal. Channels that are not
//! remembered are looked up together, fifty per call.
//!
//! - [`names`]: from what a caller wrote to a channel ARN that this service covers
//! - [`directory`]: from the ARN to the channel
//! - `memory`: the channels that were seen, and those that are absent
//! - `lookups`: what `ivs::dispatch` sends to IVS, and what the answers mean
//! - `warm_up`: all channels at start
//!
//! # What retries what
//!
//! - The SDK retries no lookup: `ivs` makes `GetChannel` and `BatchGetChannel` once.
//! - `ivs::dispatch` sends a throttled lookup again for as long as someone waits, at a rate that it halves each
//!   time, and calls `GetChannel` once for a channel that a batch did not answer.
//! - Any other failure is returned to those who wait. The next caller starts another lookup.
//! - `warm_up` asks again after a pause for what is missing of a page, or for the list.

mod channel;
pub mod directory;
mod lookups;
mod memory;
pub mod names;
mod settings;
mod source;
#[cfg(test)]
mod tests;
mod warm_up;

pub use self::{
    channel::{Channel, Freshness, Lookup, LookupError, LookupForMint},
    directory::ChannelDirectory,
    names::{ChannelNames, ChannelRefError},
    settings::{Settings, Unavailable},
};
pub use crate::ivs::dispatch::Requester;
