//! What a viewer token says: grants, IVS's rules, and minting.
//!
//! A request becomes [`grant::Terms`], which hold by construction; [`mint::mint`] turns a grant
//! into a token. Nothing here does I/O, knows HTTP, or looks at a clock: `now` and randomness are
//! arguments.

pub mod claims;
pub mod grant;
mod link;
pub mod mint;
pub mod origin;

pub use link::{PlaybackUrlError, TOKEN_PARAMETER, playback_url};
pub use mint::{Minted, PlaybackToken, Sign, SignError, mint, token_id};
