//! `keys copy`: a keyring from one store to another, when a deployment moves.

use clap::{Args, ValueEnum};
use serde_json::json;

use super::{Context, Failure};
use crate::{
    app::open_store,
    keys::{
        KeyStore,
        copy::{Copied, copy},
    },
};

#[derive(Args, Debug)]
pub(in crate::cli) struct CopyArgs {
    /// The store that has the keyring
    #[arg(long, value_enum, value_name = "STORE")]
    from: StoreKind,
    /// The store that gets a copy
    #[arg(long, value_enum, value_name = "STORE")]
    to: StoreKind,
}

/// A store, by the name that `keys.store` gives it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum StoreKind {
    Dir,
    SecretsManager,
}

impl Context<'_> {
    pub(super) async fn copy(&self, args: &CopyArgs) -> Result<(), Failure> {
        self.require_management()?;
        let open = |kind| {
            let kind = match kind {
                StoreKind::Dir => KeyStore::Dir,
                StoreKind::SecretsManager => KeyStore::SecretsManager,
            };
            open_store(kind, self.config, &self.app.api().ivs)
        };
        let (from, to, region) = (open(args.from), open(args.to), self.region());
        let places = format!("{} to {}", from.describe(region), to.describe(region));
        self.announce_at("Copying a keyring", &places).await;
        let copied = copy(&*from, &*to, region).await?;
        self.keys.record_copy(self.operator).await?;
        // Described again, because a store may have learned its account.
        let (from, to) = (from.describe(region), to.describe(region));
        let (outcome, keys, verb) = match copied {
            Copied::Written { keys } => ("written", keys, "now has"),
            Copied::AlreadyThere { keys } => ("alreadyThere", keys, "already had"),
        };
        let body =
            json!({ "region": region, "from": from, "to": to, "outcome": outcome, "keys": keys });
        self.global.print(&body, || {
            format!(
                "{to} {verb} the same keyring, with {keys} key(s).\nSet keys.store to the new store \
                 everywhere, check that tokens play, then remove the old keyring by hand: nothing was \
                 removed."
            )
        })
    }
}
