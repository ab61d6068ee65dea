//! `keys list|get|generate|import|delete|rotate`.

use std::{
    io::{IsTerminal, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::{Args, Subcommand};
use serde_json::json;
use tokio::runtime::Runtime;

use super::{Failure, Global, output};
use crate::{
    app::App,
    http::key_pairs::KeyPairsBody,
    ivs::{
        IvsError,
        arn::{PlaybackKeyArn, Region},
    },
    keys::{
        inventory::KeyPairView,
        keyring::RotationMode,
        lifecycle::requests::Begin,
        material::{PrivateKey, PublicKey},
        operations::{GenerateKey, ImportPrivateKey, ImportPublicKey, KeyOperations, Label},
        rotator::{Goal, Rotator},
    },
    secret::SecretString,
};

/// A key file larger than this is no key.
const MAX_KEY_FILE: u64 = 1024 * 1024;

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
    Generate(LabelArgs),
    /// Take over a private key, or import a public key whose private half is elsewhere
    #[command(after_help = "Examples:\n  ivs-playback-auth keys import --private-key old.pem \
                            --longest-ttl 6h\n  ivs-playback-auth keys import --public-key \
                            public.pem --name lambda")]
    Import(ImportArgs),
    /// Delete a key pair and erase its private half; tokens that it signed start playback no more
    #[command(after_help = "Example:\n  ivs-playback-auth keys delete \
                            arn:aws:ivs:us-west-2:123456789012:playback-key/AbCdEfGh1234")]
    Delete {
        /// Its ARN
        arn: PlaybackKeyArn,
        /// Also a draining pair, whose tokens may still be about to start playback
        #[arg(long)]
        force: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
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

#[derive(Args, Debug)]
pub(super) struct LabelArgs {
    /// Its name in IVS
    #[arg(long)]
    name: Option<String>,
    /// A tag in IVS; may be repeated
    #[arg(long = "tag", value_name = "K=V", value_parser = tag)]
    tags: Vec<(String, String)>,
}

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("key").required(true).args(["private_key", "public_key"]))]
pub(super) struct ImportArgs {
    /// A P-384 private key: PKCS#8 or SEC1, PEM or DER; - reads standard input
    #[arg(long, value_name = "FILE")]
    private_key: Option<PathBuf>,
    /// No other signer uses the key
    #[arg(long, requires = "private_key")]
    exclusive: bool,
    /// The longest lifetime of the tokens of the other signer, such as 6h
    #[arg(long, value_name = "D", requires = "private_key", value_parser = super::duration)]
    longest_ttl: Option<Duration>,
    /// A P-384 public key in PEM; - reads standard input
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    #[command(flatten)]
    label: LabelArgs,
}

pub(super) fn run(global: &Global, command: KeysCommand) -> Result<(), Failure> {
    let config = global.load_config()?;
    super::log_trouble(&config)?;
    let (runtime, app) = super::components(&config)?;
    let region = super::only_region(&app.api().ivs)?.region().clone();
    let context = Context { global, runtime, app, region };
    match command {
        KeysCommand::List => context.list(),
        KeysCommand::Get { key_pair } => context.get(&key_pair),
        KeysCommand::Generate(args) => {
            let label = args.label()?;
            context.announce("Generating a key pair");
            let operations = context.operations()?;
            let made = operations.generate(GenerateKey { label, idempotency: None });
            context.show(&context.runtime.block_on(made).map_err(Failure::failed)?)
        }
        KeysCommand::Import(args) => context.import(&args, config.key_passphrase.as_ref()),
        KeysCommand::Delete { arn, force, yes } => context.delete(&arn, force, yes),
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

/// What every subcommand needs.
struct Context<'a> {
    global: &'a Global,
    runtime: Runtime,
    app: App,
    region: Region,
}

impl Context<'_> {
    fn operations(&self) -> Result<&Arc<KeyOperations>, Failure> {
        self.app
            .api()
            .operations
            .get(&self.region)
            .ok_or_else(|| Failure::Failed(format!("{} is not served", self.region)))
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

    /// Keyring and IVS; without IVS the keyring alone, said on stderr.
    #[expect(clippy::print_stderr, reason = "for people, beside the result on stdout")]
    fn known(&self) -> Result<KeyPairsBody, Failure> {
        let api = self.app.api();
        let read = self.runtime.block_on(api.keys.refresh(&self.region));
        read.map_err(Failure::failed)?;
        let asked: Result<(), IvsError> =
            self.runtime.block_on(api.inventory.refresh(&self.region));
        if let Err(error) = asked {
            eprintln!("ivs-playback-auth: {error}; this is what the keyring alone says");
        }
        let (key_pairs, checked_at) = api.inventory.key_pairs(&self.region);
        Ok(KeyPairsBody { key_pairs, checked_at })
    }

    fn list(&self) -> Result<(), Failure> {
        let known = self.known()?;
        if self.global.json() {
            return output::json(&known);
        }
        let rows: Vec<_> = known.key_pairs.iter().map(row).collect();
        output::table(&["STATE", "ARN", "FINGERPRINT", "CREATED", "NAME"], &rows)
    }

    fn get(&self, name: &str) -> Result<(), Failure> {
        let known = self.known()?;
        let pair =
            known.key_pairs.into_iter().find(|pair| pair.is_named(name)).ok_or_else(|| {
                Failure::Failed(format!(
                    "{} has no key pair of this ARN or fingerprint; see keys list",
                    self.region
                ))
            })?;
        self.show(&pair)
    }

    fn import(&self, args: &ImportArgs, passphrase: Option<&SecretString>) -> Result<(), Failure> {
        let label = args.label.label()?;
        let operations = self.operations()?;
        let made = match (&args.private_key, &args.public_key) {
            (Some(file), _) => {
                let bytes = read_key(file)?;
                let key = PrivateKey::read(&*bytes, passphrase)
                    .map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
                self.announce("Importing a private key");
                let &ImportArgs { exclusive, longest_ttl, .. } = args;
                let request = ImportPrivateKey { key, label, exclusive, longest_ttl };
                self.runtime.block_on(operations.import_private_key(request))
            }
            (None, Some(file)) => {
                let bytes = read_key(file)?;
                let key = PublicKey::read(&*bytes)
                    .map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
                self.announce("Importing a public key");
                let request = ImportPublicKey { key, label, idempotency: None };
                self.runtime.block_on(operations.import_public_key(request))
            }
            (None, None) => {
                return Err(Failure::Usage("give --private-key or --public-key".to_owned()));
            }
        };
        self.show(&made.map_err(Failure::failed)?)
    }

    fn delete(&self, arn: &PlaybackKeyArn, force: bool, yes: bool) -> Result<(), Failure> {
        self.announce("Deleting a key pair");
        if !yes && !confirmed(&format!("Delete {arn}? Tokens that it signed become useless.")) {
            return Err(Failure::Failed("nothing was deleted".to_owned()));
        }
        let deleted = self.operations()?.delete(arn.clone(), force);
        self.runtime.block_on(deleted).map_err(Failure::failed)?;
        if self.global.json() {
            return output::json(&json!({ "arn": arn, "deleted": true }));
        }
        output::line(&format!("Deleted {arn}."))
    }

    fn show(&self, pair: &KeyPairView) -> Result<(), Failure> {
        if self.global.json() {
            return output::json(pair);
        }
        let arn = pair.arn.as_ref().map(ToString::to_string);
        let fingerprint = pair.fingerprint.map(|it| it.to_string());
        output::line(&format!("ARN          {}", arn.as_deref().unwrap_or("not imported yet")))?;
        output::line(&format!("name         {}", pair.name))?;
        output::line(&format!("fingerprint  {}", fingerprint.as_deref().unwrap_or("not known")))?;
        output::line(&format!("region       {}", pair.region))?;
        output::line(&format!("state        {}", state(pair)))?;
        for (label, instant) in [
            ("created", pair.created_at),
            ("activated", pair.activated_at),
            ("retires", pair.retires_at),
        ] {
            if let Some(instant) = instant {
                output::line(&format!("{label:11}  {instant}"))?;
            }
        }
        Ok(())
    }
}

impl LabelArgs {
    fn label(&self) -> Result<Label, Failure> {
        Label::new(self.name.clone(), self.tags.iter().cloned().collect()).map_err(|faults| {
            let sentences: Vec<_> = faults.into_iter().map(|fault| fault.detail).collect();
            Failure::Usage(sentences.join(" "))
        })
    }
}

fn row(pair: &KeyPairView) -> Vec<String> {
    vec![
        state(pair),
        pair.arn.as_ref().map(ToString::to_string).unwrap_or_default(),
        pair.fingerprint.map(|it| it.to_string()).unwrap_or_default(),
        pair.created_at.map(|it| it.to_string()).unwrap_or_default(),
        pair.name.clone(),
    ]
}

/// The word of the API.
fn state(pair: &KeyPairView) -> String {
    let word = serde_json::to_value(pair.state).ok();
    let word = word.as_ref().and_then(|word| word.as_str()).unwrap_or_default();
    let adopted = if pair.adopted { " (adopted)" } else { "" };
    format!("{word}{adopted}")
}

fn tag(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a tag is written KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// The bytes are wiped when they are dropped: they may be a private key.
fn read_key(path: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>, Failure> {
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    let read = if path == Path::new("-") {
        std::io::stdin().take(MAX_KEY_FILE).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_KEY_FILE).read_to_end(&mut bytes))
    };
    read.map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))?;
    Ok(bytes)
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
