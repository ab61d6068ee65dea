//! `keys copy`: a keyring from one store into another, when a deployment moves.

use clap::{Args, ValueEnum};
use serde_json::json;

use super::{Changed, Context, Failure};
use crate::{
    app::open_store,
    cli::output,
    config::KeyStore,
    keys::{
        copy::{Copied, copy},
        operations::OperationError,
    },
};

#[derive(Args, Debug)]
pub(in crate::cli) struct CopyArgs {
    /// Where the keyring is now
    #[arg(long, value_enum, value_name = "STORE")]
    from: StoreKind,
    /// Where it is to be as well
    #[arg(long, value_enum, value_name = "STORE")]
    to: StoreKind,
}

/// A store by the name that `keys.store` gives it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum StoreKind {
    Dir,
    SecretsManager,
}

impl From<StoreKind> for KeyStore {
    fn from(kind: StoreKind) -> Self {
        match kind {
            StoreKind::Dir => Self::Dir,
            StoreKind::SecretsManager => Self::SecretsManager,
        }
    }
}

impl Context<'_> {
    pub(super) fn copy(&self, args: &CopyArgs) -> Result<(), Failure> {
        if !self.config.keys.manage {
            return Err(Failure::failed(OperationError::NotManaged));
        }
        let open = |kind: StoreKind| open_store(kind.into(), self.config, &self.app.api().ivs);
        let (from, to) = (open(args.from), open(args.to));
        let places = (from.describe(&self.region), to.describe(&self.region));
        self.announce_at("Copying a keyring", &format!("{} to {}", places.0, places.1));
        let copied = self.runtime.block_on(copy(&*from, &*to, &self.region));
        let copied = copied.map_err(Failure::failed)?;
        self.record("keyring_copied", &Changed::default())?;
        // Named again: a store may have learned its account.
        let to_place = to.describe(&self.region);
        let (outcome, keys) = match copied {
            Copied::Written { keys } => ("written", keys),
            Copied::AlreadyThere { keys } => ("alreadyThere", keys),
        };
        if self.global.json() {
            let from_place = from.describe(&self.region);
            return output::json(&json!({
                "region": self.region,
                "from": from_place,
                "to": to_place,
                "outcome": outcome,
                "keys": keys,
            }));
        }
        let verb = if outcome == "written" { "holds" } else { "held already" };
        output::line(&format!("{to_place} {verb} the same keyring, with {keys} key(s)."))?;
        output::line(
            "Set keys.store to the new place everywhere, see that tokens play, then remove the old \
             keyring by hand: nothing was removed.",
        )
    }
}
