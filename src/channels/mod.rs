//! The cached channel lookup, and the names that people give channels.
//!
//! A mint needs to know that its channel exists, is private, and where it plays; IVS allows 5 such
//! calls a second. So a channel is looked up once and served from memory: fresh for a minute, then
//! still served while one refresh runs, for up to a day, also while IVS cannot answer. Only an answer
//! that permits is served so: that a channel is public is asked again before it refuses.
//!
//! - [`names`]: from what a caller wrote to a channel ARN that this service covers
//! - [`directory`]: from the ARN to the channel
//! - `policy`: what may be done with a remembered channel of some age, and nothing else
//! - `flights`: one call for all who wait for it
//!
//! Who retries: nobody. `ivs` makes lookups without the SDK's retries, a failed call is answered to
//! those who wait for it, and the next caller starts another.

pub mod directory;
mod flights;
pub mod names;
mod policy;
#[cfg(test)]
mod tests;

pub use self::{
    directory::{
        Channel, ChannelDirectory, Freshness, Lookup, LookupError, LookupForMint, Settings,
    },
    names::{ChannelNames, ChannelRefError},
};
