//! The contents of a viewer token: grants, claims, IVS's rules, and minting.
//!
//! A request becomes [`grant::Terms`], which hold by construction. [`mint::prepare`] turns a grant into the
//! bytes to sign, and [`mint::Prepared::finish`] turns their signature into a token. Nothing here does I/O,
//! knows HTTP or reads a clock: `now` and randomness are arguments.

pub mod claims;
pub mod grant;
mod link;
pub mod mint;
pub mod origin;
pub mod payload;
mod settings;
#[cfg(test)]
pub(crate) mod testing;
mod token;

pub use link::{PlaybackUrlError, TOKEN_PARAMETER, playback_url};
pub use settings::{PublicChannels, Settings};
pub use token::{PlaybackToken, SIGNATURE_LENGTH, Warning, WarningCode, token_id};
