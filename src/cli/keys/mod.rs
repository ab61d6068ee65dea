//! `keys …`: showing, changing and rotating key pairs.

mod copy;
mod doctor;
mod pairs;
mod rotations;
mod status;

use std::sync::Arc;

use clap::Subcommand;
use serde::Serialize;
use tracing::level_filters::LevelFilter;

use super::{
    Failure, Global,
    output::{self, note, span},
};
use crate::{
    access::audit::Actor,
    app::{App, KeyAccess},
    clock::{Clock, Timestamp},
    config::Config,
    ivs::arn::{AccountId, PlaybackKeyArn, Region},
    keys::{
        keyring::{KeyVersion, Keyring, RotationId},
        rotation::OperationError,
    },
    service::key_pairs::RegionKeys,
};

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// List the key pairs of the keyring and of IVS, in one region or in all of them
    #[command(
        after_help = "Example:\n  ivs-playback-auth keys list --region us-west-2\n\nThe exit \
                            code is 1 if IVS cannot be queried; the list then shows the keyring alone."
    )]
    List,
    /// Show the active key, draining keys, rotations and findings, in one region or in all of them
    #[command(
        after_help = "Example:\n  ivs-playback-auth keys status --region us-west-2\n\nChanges \
                            nothing. The exit code is 1 if IVS cannot be queried."
    )]
    Status,
    /// Check the keys, permissions and clock for problems, and say how to fix them
    #[command(
        after_help = "Example:\n  ivs-playback-auth keys doctor --simulate\n\nChanges nothing. \
                            The exit code is 1 if there is a problem to fix."
    )]
    Doctor(doctor::DoctorArgs),
    /// Show one key pair
    #[command(after_help = "Example:\n  ivs-playback-auth keys get \
                            40:74:58:e6:9c:c4:2c:2a:48:9d:f0:cb:92:54:15:5b")]
    Get {
        /// The ARN or fingerprint of the pair
        #[arg(value_name = "ARN|FINGERPRINT")]
        key_pair: String,
    },
    /// Generate a key pair and import it into IVS; the next rotation starts signing with it
    #[command(after_help = "Example:\n  ivs-playback-auth keys generate --name autumn")]
    Generate(pairs::LabelArgs),
    /// Take over a private key, or import a public key whose private key is elsewhere
    #[command(after_help = "Examples:\n  ivs-playback-auth keys import --private-key old.pem \
                            --longest-ttl 6h\n  ivs-playback-auth keys import --public-key \
                            public.pem --name lambda\n\nAn encrypted private key is opened with the \
                            passphrase in IVS_PLAYBACK_AUTH_KEY_PASSPHRASE.")]
    Import(pairs::ImportArgs),
    /// Delete a key pair and erase its private key; tokens it signed can no longer start playback
    #[command(after_help = "Example:\n  ivs-playback-auth keys delete \
                            arn:aws:ivs:us-west-2:123456789012:playback-key/AbCdEfGh1234")]
    Delete(pairs::DeleteArgs),
    /// Replace the key that signs, or create the first one
    #[command(after_help = "Examples:\n  ivs-playback-auth keys rotate --region us-west-2\n  \
                            ivs-playback-auth keys rotate --if-older-than 30d\n  \
                            ivs-playback-auth keys rotate --emergency\n\nViewers do not notice a \
                            rotation: the old pair is deleted after the last of its tokens has \
                            expired. An emergency rotation does not wait for that.")]
    Rotate(rotations::RotateArgs),
    /// Cancel a rotation before its new key signs
    #[command(after_help = "Example:\n  ivs-playback-auth keys cancel \
                            0b1f6a2f-9f0e-4c57-8d0b-6f0a3c1e7d0b\n\n`keys status` shows the ids.")]
    Cancel {
        /// The id of the rotation
        id: RotationId,
    },
    /// Return to the key that signed before the last rotation
    #[command(after_help = "Example:\n  ivs-playback-auth keys rollback --region us-west-2")]
    Rollback,
    /// State that no other signer uses an adopted key, so that it may retire
    #[command(after_help = "Example:\n  ivs-playback-auth keys release \
                            arn:aws:ivs:us-west-2:123456789012:playback-key/AbCdEfGh1234")]
    Release {
        /// The ARN of a pair that `keys import --private-key` took over
        arn: PlaybackKeyArn,
    },
    /// Copy the keyring of a region from one store to another
    #[command(after_help = "Example:\n  ivs-playback-auth keys copy --from dir --to \
                            secrets-manager\n\nFirst stop every process that manages keys. Nothing is \
                            removed from the old store.")]
    Copy(copy::CopyArgs),
}

pub(super) async fn run(global: &Global, command: KeysCommand) -> Result<(), Failure> {
    if let KeysCommand::Delete(args) = &command {
        args.confirmation.require("keys delete")?;
    } else if let KeysCommand::Rotate(args) = &command
        && args.emergency
    {
        args.confirmation.require("keys rotate --emergency")?;
    }
    let config = global.load_config()?;
    super::log_from(&config, command.log_level())?;
    let app = App::for_command(&config, command.access(), Clock::system()).await?;
    let operator = super::operator();
    let context = |keys| Context { global, config: &config, app: &app, operator: &operator, keys };
    let all = || app.api().key_pairs.regions().map(context).collect::<Vec<_>>();
    let only = || super::only_region(&app).map(context);
    let outcome = match command {
        KeysCommand::List => pairs::list(&all()).await,
        KeysCommand::Status => status::status(&all()).await,
        KeysCommand::Doctor(args) => doctor::doctor(&all(), &args).await,
        KeysCommand::Get { key_pair } => only()?.get(&key_pair).await,
        KeysCommand::Generate(args) => only()?.generate(&args).await,
        KeysCommand::Import(args) => only()?.import(&args).await,
        KeysCommand::Delete(args) => only()?.delete(args).await,
        KeysCommand::Rotate(args) => only()?.rotate(&args).await,
        KeysCommand::Cancel { id } => only()?.cancel(&id).await,
        KeysCommand::Rollback => only()?.roll_back().await,
        KeysCommand::Release { arn } => only()?.release(&arn).await,
        KeysCommand::Copy(args) => only()?.copy(&args).await,
    };
    // The steps that the manager took.
    app.api().audit.settle().await;
    outcome
}

impl KeysCommand {
    /// Findings that are part of the result need not be logged, too.
    const fn log_level(&self) -> LevelFilter {
        if matches!(self, Self::Status | Self::Doctor(_)) {
            LevelFilter::ERROR
        } else {
            LevelFilter::WARN
        }
    }

    /// Commands that only show something, or copy it, never sign or change a key.
    const fn access(&self) -> KeyAccess {
        if matches!(
            self,
            Self::List | Self::Status | Self::Doctor(_) | Self::Get { .. } | Self::Copy(_)
        ) {
            KeyAccess::LookOnly
        } else {
            KeyAccess::Managed
        }
    }
}

/// What every subcommand needs: the components, and one region's keys.
struct Context<'a> {
    global: &'a Global,
    config: &'a Config,
    app: &'a App,
    operator: &'a Actor,
    keys: &'a RegionKeys,
}

impl Context<'_> {
    fn region(&self) -> &Region {
        self.keys.region()
    }

    /// Returns the keyring as the store has it now.
    async fn keyring(&self) -> Result<Option<Arc<Keyring>>, Failure> {
        let signing_keys = &self.app.api().keys;
        signing_keys.refresh(self.region()).await?;
        Ok(signing_keys.keyring(self.region()))
    }

    fn require_management(&self) -> Result<(), OperationError> {
        if self.config.keys.manage { Ok(()) } else { Err(OperationError::NotManaged) }
    }

    fn now(&self) -> Timestamp {
        self.app.api().clock.now()
    }

    /// Prints an explanation as the result; where that is JSON, beside it.
    fn explain(&self, text: &str) -> Result<(), Failure> {
        if self.global.json() {
            note(text);
            return Ok(());
        }
        output::line(text)
    }

    /// Says where something is about to change.
    async fn announce(&self, action: &str) {
        self.announce_at(action, &self.app.store_of(self.region())).await;
    }

    async fn announce_at(&self, action: &str, store: &str) {
        let account = account_text(self.account().await.as_ref());
        note(&format!("{action}: account {account}, region {}, store {store}", self.region()));
    }

    async fn account(&self) -> Option<AccountId> {
        self.app.api().ivs.account().await.ok()
    }
}

fn account_text(account: Option<&AccountId>) -> String {
    account.map_or_else(|| "not known yet".to_owned(), ToString::to_string)
}

/// The results of several regions.
struct InRegions<T> {
    results: Vec<T>,
    /// A region is missing; stderr says why.
    has_failed: bool,
}

/// Does the same in each region, and continues with the others where one fails.
///
/// # Errors
///
/// It failed everywhere.
async fn in_each_region<'a, T>(
    contexts: &'a [Context<'a>],
    act: impl AsyncFn(&'a Context<'a>) -> Result<T, Failure>,
) -> Result<InRegions<T>, Failure> {
    let (mut results, mut failure) = (Vec::new(), None);
    for context in contexts {
        match act(context).await {
            Ok(result) => results.push(result),
            Err(Failure::Failed(reason)) if contexts.len() > 1 => {
                note(&format!("{}: {reason}", context.region()));
                failure = Some(Failure::Negative);
            }
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(failure) if results.is_empty() => Err(failure),
        failure => Ok(InRegions { results, has_failed: failure.is_some() }),
    }
}

impl<T: Serialize> InRegions<T> {
    /// Prints each region's result. The JSON of a command for one region is not in a list.
    fn print(&self, contexts: &[Context<'_>], text: impl Fn(&T) -> String) -> Result<(), Failure> {
        match (contexts, self.results.as_slice()) {
            ([context], [only]) => context.global.print(only, || text(only)),
            ([context, ..], results) => {
                context.global.print(&serde_json::json!({ "regions": results }), || {
                    results.iter().map(text).collect::<Vec<_>>().join("\n\n")
                })
            }
            ([], _) => Ok(()),
        }
    }
}

/// Whether another signer may use a pair, so that it waits for `keys release`.
fn is_shared(keyring: Option<&Keyring>, arn: Option<&PlaybackKeyArn>) -> bool {
    let version = arn.zip(keyring).and_then(|(arn, keyring)| keyring.by_arn(arn));
    version.is_some_and(KeyVersion::is_shared)
}

/// Returns a future time, and how long it is until then.
fn moment(at: Timestamp, now: Timestamp) -> String {
    format!("{at} (in {})", span(at.saturating_since(now)))
}
