//! What a viewer token says: grants, IVS's rules, minting, and the inspection of any token.
//!
//! A request becomes [`grant::Terms`], which hold by construction; [`mint::mint`] turns a grant
//! into a token; [`inspect::inspect`] tells what is wrong with a token that anyone made. Nothing
//! here does I/O, knows HTTP, or looks at a clock: `now` and randomness are arguments.

mod check;
pub mod claims;
pub mod grant;
pub mod inspect;
mod link;
pub mod mint;
pub mod origin;
#[cfg(test)]
mod properties;
#[cfg(test)]
pub(crate) mod testing;
mod token;

pub use link::{PlaybackUrlError, TOKEN_PARAMETER, playback_url};
pub use mint::{Minted, PlaybackToken, Sign, SignError, mint, token_id};
