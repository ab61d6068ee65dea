//! `keys …`: what is there, what people change, and rotations.

mod pairs;

use std::{
    io::{IsTerminal, Write},
    sync::Arc,
};

use clap::Subcommand;
use tokio::runtime::Runtime;

use super::{Failure, Global, output};
use crate::{
    app::{App, KeyAccess},
    ivs::arn::Region,
    keys::{
        keyring::RotationMode,
        lifecycle::requests::Begin,
        operations::KeyOperations,
        rotator::{Goal, Rotator},
    },
};

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// List the key pairs of keyring and IVS together
    #[command(after_help = "Example:\n  ivs-playback-auth keys list --region us-west-2")]
    List,
    /// Show one key pair
    #[command(after_help = "Example:\n  ivs-playback-auth keys get \
                            40:74:58:e6:9c:c4:2c:2a:48:9d:f0:cb:92:54:15:5b")]
    Get {
        /// Its ARN or fingerprint
        #[arg(value_name = "ARN|FINGERPRINT")]
        key_pair: String,
    },
    /// Generate a key pair and import it; it does not sign until a rotation makes it
    #[command(after_help = "Example:\n  ivs-playback-auth keys generate --name autumn")]
    Generate(pairs::LabelArgs),
    /// Take over a private key, or import a public key whose private half is elsewhere
    #[command(after_help = "Examples:\n  ivs-playback-auth keys import --private-key old.pem \
                            --longest-ttl 6h\n  ivs-playback-auth keys import --public-key \
                            public.pem --name lambda")]
    Import(pairs::ImportArgs),
    /// Delete a key pair and erase its private half; tokens that it signed start playback no more
    #[command(after_help = "Example:\n  ivs-playback-auth keys delete \
                            arn:aws:ivs:us-west-2:123456789012:playback-key/AbCdEfGh1234")]
    Delete(pairs::DeleteArgs),
    /// Make the region's first key pair: generate, import, and sign with it
    #[command(after_help = "Example:\n  ivs-playback-auth keys rotate --region us-west-2\n\nThis \
                            version makes a region's first key. It does not replace a key that \
                            signs.")]
    Rotate {
        /// Go on although IVS has pairs whose keyring was lost
        #[arg(long)]
        new_keyring: bool,
    },
}

pub(super) fn run(global: &Global, command: KeysCommand) -> Result<(), Failure> {
    let config = global.load_config()?;
    super::log_trouble(&config)?;
    let (runtime, app) = super::components(&config, command.access())?;
    let region = super::only_region(&app.api().ivs)?.region().clone();
    let context = Context { global, runtime, app, region };
    match command {
        KeysCommand::List => context.list(),
        KeysCommand::Get { key_pair } => context.get(&key_pair),
        KeysCommand::Generate(args) => context.generate(&args),
        KeysCommand::Import(args) => context.import(&args, config.key_passphrase.as_ref()),
        KeysCommand::Delete(args) => context.delete(&args),
        KeysCommand::Rotate { new_keyring } => {
            context.announce("Rotating");
            let request = Begin {
                mode: RotationMode::Graceful,
                requested_by: "cli".to_owned(),
                idempotency: None,
                new_keyring,
            };
            let rotator = context.rotator()?;
            let begun = context.runtime.block_on(rotator.operations().begin_rotation(request));
            let begun = begun.map_err(Failure::failed)?;
            let driven = rotator.drive(begun.id(), Goal::Active, |_| {});
            let view = context.runtime.block_on(driven).map_err(Failure::failed)?;
            output::json(&view)
        }
    }
}

impl KeysCommand {
    const fn access(&self) -> KeyAccess {
        match self {
            Self::List | Self::Get { .. } => KeyAccess::LookOnly,
            Self::Generate(_) | Self::Import(_) | Self::Delete(_) | Self::Rotate { .. } => {
                KeyAccess::Managed
            }
        }
    }
}

/// What every subcommand needs.
struct Context<'a> {
    global: &'a Global,
    runtime: Runtime,
    app: App,
    region: Region,
}

impl Context<'_> {
    fn operations(&self) -> Result<&Arc<KeyOperations>, Failure> {
        self.rotator().map(|rotator| rotator.operations())
    }

    fn rotator(&self) -> Result<&Arc<Rotator>, Failure> {
        self.app
            .api()
            .rotators
            .get(&self.region)
            .ok_or_else(|| Failure::Failed(format!("{} is not served", self.region)))
    }

    /// Says where something is about to change, before it does.
    #[expect(clippy::print_stderr, reason = "for people, beside the result on stdout")]
    fn announce(&self, what: &str) {
        let account = self.runtime.block_on(self.app.api().ivs.account());
        let account =
            account.map_or_else(|_| "not known yet".to_owned(), |account| account.to_string());
        eprintln!(
            "{what}: account {account}, region {}, store {}",
            self.region,
            self.app.store_of(&self.region)
        );
    }
}

/// Asks on a terminal; elsewhere there is nobody to ask, and the command was meant.
fn confirmed(question: &str) -> bool {
    if !std::io::stdin().is_terminal() {
        return true;
    }
    let mut stderr = std::io::stderr();
    // Without an answer nothing happens, so a terminal that cannot be written to is a "no".
    if write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush()).is_err() {
        return false;
    }
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}
