//! `keys …`: what is there, what people change, and rotations.

mod copy;
mod doctor;
mod follow;
mod pairs;
mod rotate;
mod rotations;
mod status;

use std::{
    io::{IsTerminal, Write},
    sync::Arc,
};

use clap::Subcommand;
use serde::Serialize;
use tokio::runtime::Runtime;
use tracing::level_filters::LevelFilter;

use super::{
    Failure, Global,
    output::{self, note, span},
};
use crate::{
    access::audit::Record,
    app::{App, KeyAccess},
    clock::Timestamp,
    config::Config,
    ivs::arn::{PlaybackKeyArn, Region},
    keys::{
        inventory::KeyPairView,
        keyring::{KeyVersion, Keyring, RotationId, RotationMode},
        material::Fingerprint,
        operations::KeyOperations,
        rotator::Rotator,
    },
};

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// List the key pairs of keyring and IVS together, in every region or in one
    #[command(
        after_help = "Example:\n  ivs-playback-auth keys list --region us-west-2\n\nThe exit \
                            code is 1 where IVS could not be asked, because the list is then that of \
                            the keyring alone."
    )]
    List,
    /// Show what signs, what drains, rotations and findings, in every region or in one; changes nothing
    #[command(
        after_help = "Example:\n  ivs-playback-auth keys status --region us-west-2\n\nThe exit \
                            code is 1 where IVS could not be asked."
    )]
    Status,
    /// Look for everything that is wrong with the keys, and say what to do; changes nothing
    #[command(
        after_help = "Example:\n  ivs-playback-auth keys doctor --simulate\n\nThe exit code is 1 \
                            where something must be mended."
    )]
    Doctor(doctor::DoctorArgs),
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
    /// Exchange the key that signs, or make the first: generate, import, wait, sign with the new one
    #[command(after_help = "Examples:\n  ivs-playback-auth keys rotate --region us-west-2\n  \
                            ivs-playback-auth keys rotate --if-older-than 30d\n  \
                            ivs-playback-auth keys rotate --emergency\n\nViewers notice nothing: the \
                            old key's pair is deleted after the last of its tokens has expired. An \
                            emergency does not wait for that.")]
    Rotate(rotate::RotateArgs),
    /// Stop a rotation before its new key signs
    #[command(after_help = "Example:\n  ivs-playback-auth keys cancel \
                            0b1f6a2f-9f0e-4c57-8d0b-6f0a3c1e7d0b\n\nkeys status shows the ids.")]
    Cancel {
        /// The rotation
        id: RotationId,
    },
    /// Let the key sign again that signed before the last rotation
    #[command(after_help = "Example:\n  ivs-playback-auth keys rollback --region us-west-2")]
    Rollback,
    /// Say that no other signer uses an adopted key any more, so that it may retire
    #[command(after_help = "Example:\n  ivs-playback-auth keys release \
                            arn:aws:ivs:us-west-2:123456789012:playback-key/AbCdEfGh1234")]
    Release {
        /// The pair that keys import --private-key took over
        arn: PlaybackKeyArn,
    },
    /// Copy the keyring of a region from one store into another
    #[command(after_help = "Example:\n  ivs-playback-auth keys copy --from dir --to \
                            secrets-manager\n\nStop what manages keys first. Nothing is removed.")]
    Copy(copy::CopyArgs),
}

pub(super) fn run(global: &Global, command: KeysCommand) -> Result<(), Failure> {
    if let Some(name) = command.unconfirmed()
        && !std::io::stdin().is_terminal()
    {
        return Err(Failure::Usage(format!(
            "{name} cannot be undone, and there is no terminal to confirm it on; add --yes to \
             confirm it"
        )));
    }
    let config = global.load_config()?;
    super::log_from(&config, command.log_level())?;
    let (runtime, app) = super::components(&config, command.access())?;
    let context = |region: &Region| {
        let rotator = app.api().rotators.get(region).map(Arc::clone);
        let rotator = rotator.ok_or_else(|| Failure::Failed(format!("{region} is not served")))?;
        let (config, runtime, region) = (&config, &runtime, region.clone());
        Ok(Context { global, config, runtime, app: &app, region, rotator })
    };
    let ivs = &app.api().ivs;
    let all = || ivs.names().iter().map(context).collect::<Result<Vec<_>, Failure>>();
    let only = || context(super::only_region(ivs)?.region());
    let outcome = match command {
        KeysCommand::List => pairs::list(&all()?),
        KeysCommand::Status => status::status(&all()?),
        KeysCommand::Doctor(args) => doctor::doctor(&all()?, &args),
        KeysCommand::Get { key_pair } => only()?.get(&key_pair),
        KeysCommand::Generate(args) => only()?.generate(&args),
        KeysCommand::Import(args) => only()?.import(&args),
        KeysCommand::Delete(args) => only()?.delete(&args),
        KeysCommand::Rotate(args) => only()?.rotate(&args),
        KeysCommand::Cancel { id } => only()?.cancel(&id),
        KeysCommand::Rollback => only()?.roll_back(),
        KeysCommand::Release { arn } => only()?.release(&arn),
        KeysCommand::Copy(args) => only()?.copy(&args),
    };
    // What the rotator did by itself.
    runtime.block_on(app.api().audit.settle());
    outcome
}

/// The results of several regions, as far as they could be had.
struct InRegions<T> {
    results: Vec<T>,
    /// Reported on stderr, each with its region.
    has_failed: bool,
}

/// Does the same in each region, and continues with the others where one fails.
///
/// # Errors
///
/// It failed everywhere.
fn in_each_region<'a, T>(
    contexts: &'a [Context<'a>],
    act: impl Fn(&'a Context<'a>) -> Result<T, Failure>,
) -> Result<InRegions<T>, Failure> {
    let (mut results, mut failure) = (Vec::new(), None);
    for context in contexts {
        match act(context) {
            Ok(result) => results.push(result),
            Err(Failure::Failed(reason)) if contexts.len() > 1 => {
                note(&format!("{}: {reason}", context.region));
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
    /// Prints the results as JSON: that of one region as it is.
    fn print_json(&self, contexts: &[Context<'_>]) -> Result<(), Failure> {
        match self.results.as_slice() {
            [only] if contexts.len() == 1 => output::json(only),
            results => output::json(&serde_json::json!({ "regions": results })),
        }
    }
}

impl KeysCommand {
    /// Returns the name of a command that cannot be undone and was given without `--yes`.
    const fn unconfirmed(&self) -> Option<&'static str> {
        if let Self::Delete(args) = self
            && !args.yes
        {
            Some("keys delete")
        } else if let Self::Rotate(args) = self
            && args.emergency
            && !args.yes
        {
            Some("keys rotate --emergency")
        } else {
            None
        }
    }

    /// What a result of findings says need not be logged, too.
    const fn log_level(&self) -> LevelFilter {
        if matches!(self, Self::Status | Self::Doctor(_)) {
            LevelFilter::ERROR
        } else {
            LevelFilter::WARN
        }
    }

    const fn access(&self) -> KeyAccess {
        match self {
            Self::List | Self::Status | Self::Doctor(_) | Self::Get { .. } | Self::Copy(_) => {
                KeyAccess::LookOnly
            }
            Self::Generate(_)
            | Self::Import(_)
            | Self::Delete(_)
            | Self::Rotate(_)
            | Self::Cancel { .. }
            | Self::Rollback
            | Self::Release { .. } => KeyAccess::Managed,
        }
    }
}

/// What every subcommand needs: the components, and the region that it is about.
struct Context<'a> {
    global: &'a Global,
    config: &'a Config,
    runtime: &'a Runtime,
    app: &'a App,
    region: Region,
    rotator: Arc<Rotator>,
}

impl Context<'_> {
    fn operations(&self) -> &Arc<KeyOperations> {
        self.rotator.operations()
    }

    /// Reads the keyring, which the signing keys then hold.
    fn read_keyring(&self) -> Result<(), Failure> {
        let read = self.app.api().keys.refresh(&self.region);
        self.runtime.block_on(read).map_err(Failure::failed)
    }

    /// The keyring as the store has it now.
    fn keyring(&self) -> Result<Option<Arc<Keyring>>, Failure> {
        self.read_keyring()?;
        Ok(self.app.api().keys.keyring(&self.region))
    }

    /// A sentence of the result: where that is JSON, beside it.
    fn tell(&self, text: &str) -> Result<(), Failure> {
        if self.global.json() {
            note(text);
            return Ok(());
        }
        output::line(text)
    }

    /// Records a change that was made.
    fn record(&self, event: &'static str, changed: &Changed<'_>) -> Result<(), Failure> {
        let (api, operator) = (self.app.api(), crate::cli::operator());
        let fingerprint = changed.fingerprint.map(|it| it.to_string());
        let rotation = changed.rotation.map(ToString::to_string);
        let record = Record {
            region: Some(&self.region),
            key_pair_arn: changed.arn,
            key_fingerprint: fingerprint.as_deref(),
            rotation_id: rotation.as_deref(),
            mode: changed.mode.map(RotationMode::word),
            ..Record::key_change(api.clock.now(), &operator, event)
        };
        self.runtime
            .block_on(api.audit.record(&record))
            .map_err(|error| Failure::Failed(format!("the change was made, but {error}")))
    }

    fn record_pair(&self, event: &'static str, pair: &KeyPairView) -> Result<(), Failure> {
        let changed =
            Changed { arn: pair.arn.as_ref(), fingerprint: pair.fingerprint, ..Changed::default() };
        self.record(event, &changed)
    }

    /// Says where something is about to change, before it does.
    fn announce(&self, what: &str) {
        self.announce_at(what, &self.app.store_of(&self.region));
    }

    fn announce_at(&self, what: &str, store: &str) {
        let account = self.runtime.block_on(self.app.api().ivs.account());
        let account =
            account.map_or_else(|_| "not known yet".to_owned(), |account| account.to_string());
        note(&format!("{what}: account {account}, region {}, store {store}", self.region));
    }
}

/// What a command changed, for the audit.
#[derive(Clone, Copy, Debug, Default)]
struct Changed<'a> {
    arn: Option<&'a PlaybackKeyArn>,
    fingerprint: Option<Fingerprint>,
    rotation: Option<&'a RotationId>,
    mode: Option<RotationMode>,
}

/// Whether another signer may use a pair, so that it waits for `keys release`.
fn is_shared(keyring: Option<&Keyring>, arn: Option<&PlaybackKeyArn>) -> bool {
    let version = arn.zip(keyring).and_then(|(arn, keyring)| keyring.by_arn(arn));
    version.is_some_and(KeyVersion::is_shared)
}

/// An instant to come, and in how long it does.
fn moment(at: Timestamp, now: Timestamp) -> String {
    format!("{at} (in {})", span(at.saturating_since(now)))
}

/// Asks the operator. [`run`] has refused commands without a terminal to ask on.
fn confirmed(question: &str) -> bool {
    let mut stderr = std::io::stderr();
    // Without an answer nothing happens, so a terminal that cannot be written to is a "no".
    if write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush()).is_err() {
        return false;
    }
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
}
