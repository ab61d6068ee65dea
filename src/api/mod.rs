//! The JSON of requests and responses: one struct per body, which `http` reads and sends, and which
//! `--output json` prints.

mod channels;
mod inspect;
pub mod json;
mod jwks;
pub mod key_pair;
pub mod problem;
pub mod rotation;
mod tokens;
pub mod viewer_session;

pub use self::{
    channels::{Channel, ChannelList},
    inspect::InspectRequest,
    jwks::{Jwk, JwkSet},
    tokens::{BatchItem, BatchRequest, BatchResponse, ChannelFreshness, Minted},
};
pub(crate) use self::{inspect::inspect_rules, tokens::mint_rules};
pub use crate::{inspection::Inspection, tokens::grant::MintRequest};
