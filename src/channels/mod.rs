//! The cached channel lookup, and the names that people give channels.
//!
//! A mint needs to know that its channel exists, is private, and where it plays; IVS allows 5 such
//! calls a second, for the whole account. So a channel is looked up once and served from memory:
//! fresh for a minute, then still served while one refresh runs, for up to a day, also while IVS
//! cannot answer. Only an answer that permits is served so: that a channel is public is asked again
//! before it refuses. What is not remembered is asked for together, fifty channels a call.
//!
//! - [`names`]: from what a caller wrote to a channel ARN that this service covers
//! - [`directory`]: from the ARN to the channel
//! - `memory`: the channels that were seen, and those that are absent
//! - `policy`: what may be done with a remembered channel of some age, and nothing else
//! - `gather`: the tasks that ask IVS, one call for all who wait
//! - `flights`: which lookups wait, and which call each goes with; `desk`: one operation's queue, in
//!   the order of `fairness` and at the pace of `ivs::budget`; `answers`: what IVS said
//! - `warm_up`: all channels at start
//!
//! # Who retries what
//!
//! - The SDK retries no lookup: `ivs` makes `GetChannel` and `BatchGetChannel` once.
//! - `flights` asks again where IVS throttled, for as long as somebody waits, at a rate that is
//!   halved each time; and asks once, by `GetChannel`, for what a batch did not answer.
//! - Any other failure is answered to those who wait. The next caller starts another lookup.
//! - `warm_up` asks again after a pause, for what is missing of a page or for the list. `ListChannels`
//!   has the SDK's retries below that, since nobody waits for it.

mod answers;
mod channel;
mod desk;
pub mod directory;
mod fairness;
mod flights;
mod gather;
mod memory;
pub mod names;
mod policy;
#[cfg(test)]
mod simulation;
mod source;
#[cfg(test)]
mod tests;
mod warm_up;

pub use self::{
    channel::{Channel, Freshness, Lookup, LookupError, LookupForMint, Settings},
    directory::ChannelDirectory,
    fairness::Requester,
    names::{ChannelNames, ChannelRefError},
};
pub(crate) use fairness::{FairQueue, Line};
