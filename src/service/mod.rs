//! The use cases, each implemented once, over domain types. `http` and `cli` call them.

mod channels;
mod error;
mod inspect;
pub mod key_pairs;
mod mint;
pub mod revocation;
mod rotations;

pub use self::{
    channels::Channels,
    error::Error,
    inspect::{Facts, Inspections},
    mint::Minting,
};
use crate::{access::audit::Actor, channels::Requester};

/// Returns on whose behalf channels are looked up, so that one caller cannot use up the quota of others.
fn requester(caller: &Actor) -> Requester<'_> {
    match caller {
        Actor::Client { client, .. } => Requester::client(client.id().as_str()),
        Actor::Operator { .. } | Actor::Service => Requester::LOCAL,
    }
}

/// Refuses an array member of a body that has no items or more than `max`.
pub(crate) fn check_count<T>(member: &str, items: &[T], max: usize) -> Result<(), Error> {
    if (1..=max).contains(&items.len()) {
        return Ok(());
    }
    let detail = format!("{member} must contain 1 to {max} objects.");
    Err(Error::invalid_member(format!("/{member}"), detail))
}
