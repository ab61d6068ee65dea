//! `keys list|get|generate|import|delete`.

use std::{
    collections::BTreeSet,
    io::Read,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use serde_json::json;

use super::{Changed, Context, Failure, InRegions, confirmed, in_each_region, is_shared, note};
use crate::{
    cli::output::{self, span},
    clock::Timestamp,
    http::key_pairs::KeyPairsBody,
    ivs::{IvsError, arn::PlaybackKeyArn},
    keys::{
        inventory::{KeyPairState, KeyPairView},
        material::{PrivateKey, PublicKey},
        operations::{GenerateKey, ImportPrivateKey, ImportPublicKey, Label},
    },
};

/// A key file larger than this is no key.
const MAX_KEY_FILE: u64 = 1024 * 1024;

#[derive(Args, Debug)]
pub(in crate::cli) struct LabelArgs {
    /// Its name in IVS
    #[arg(long)]
    name: Option<String>,
    /// A tag in IVS; may be repeated
    #[arg(long = "tag", value_name = "K=V", value_parser = tag)]
    tags: Vec<(String, String)>,
}

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("key").required(true).args(["private_key", "public_key"]))]
pub(in crate::cli) struct ImportArgs {
    /// A P-384 private key: PKCS#8 or SEC1, PEM or DER; - reads standard input
    #[arg(long, value_name = "FILE")]
    private_key: Option<PathBuf>,
    /// No other signer uses the key
    #[arg(long, requires = "private_key", conflicts_with = "public_key")]
    exclusive: bool,
    /// The longest lifetime of the tokens of the other signer, such as 6h
    #[arg(
        long,
        value_name = "D",
        requires = "private_key",
        conflicts_with = "public_key",
        value_parser = crate::cli::duration
    )]
    longest_ttl: Option<Duration>,
    /// A P-384 public key in PEM; - reads standard input
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    #[command(flatten)]
    label: LabelArgs,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct DeleteArgs {
    /// Its ARN
    arn: PlaybackKeyArn,
    /// Also a draining pair, whose tokens may still be about to start playback
    #[arg(long)]
    force: bool,
    /// Confirm the deletion without being asked; required where stdin is not a terminal
    #[arg(long)]
    pub(super) yes: bool,
}

/// `keys list`
pub(super) fn list(contexts: &[Context<'_>]) -> Result<(), Failure> {
    let InRegions { results, mut has_failed } = in_each_region(contexts, |context| {
        let known = context.known()?;
        if known.unasked.is_some() && known.key_pairs.is_empty() {
            return Err(context.nothing_known(&known));
        }
        context.note_unasked(&known);
        Ok(known)
    })?;
    has_failed |= results.iter().any(|known| known.unasked.is_some());
    let checked_at = results.iter().map(|known| known.checked_at).min().flatten();
    // Of a region that failed nothing is known.
    let checked_at = checked_at.filter(|_| results.len() == contexts.len());
    let key_pairs: Vec<_> = results.into_iter().flat_map(|known| known.key_pairs).collect();
    if contexts.iter().any(|context| context.global.json()) {
        output::json(&KeyPairsBody { key_pairs, checked_at })?;
    } else if contexts.len() == 1 {
        show_table(&key_pairs)?;
    } else {
        show_table_of_regions(&key_pairs)?;
    }
    if has_failed { Err(Failure::Negative) } else { Ok(()) }
}

/// The key pairs of a region.
struct Known {
    key_pairs: Vec<KeyPairView>,
    /// When IVS listed them.
    checked_at: Option<Timestamp>,
    /// Why IVS could not be asked: these are the pairs of the keyring alone.
    unasked: Option<IvsError>,
}

impl Context<'_> {
    pub(super) fn get(&self, name: &str) -> Result<(), Failure> {
        let known = self.known()?;
        if let Some(pair) = known.key_pairs.iter().find(|pair| pair.is_named(name)) {
            self.note_unasked(&known);
            return self.show(pair);
        }
        if let Some(error) = &known.unasked {
            return Err(Failure::Failed(format!(
                "the keyring of {} has no key pair of this ARN or fingerprint, and IVS could not be \
                 asked: {error}",
                self.region
            )));
        }
        Err(Failure::Failed(format!(
            "{} has no key pair of this ARN or fingerprint; see keys list",
            self.region
        )))
    }

    pub(super) fn generate(&self, args: &LabelArgs) -> Result<(), Failure> {
        let label = args.label()?;
        self.announce("Generating a key pair");
        let made = self.operations().generate(GenerateKey { label, idempotency: None });
        let pair = self.runtime.block_on(made).map_err(Failure::failed)?;
        self.record_pair("key_pair_created", &pair)?;
        self.show(&pair)
    }

    pub(super) fn import(&self, args: &ImportArgs) -> Result<(), Failure> {
        let label = args.label.label()?;
        let (operations, passphrase) = (self.operations(), self.config.key_passphrase.as_ref());
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
        let pair = made.map_err(Failure::failed)?;
        self.record_pair("key_pair_imported", &pair)?;
        self.show(&pair)?;
        if args.private_key.is_some() && pair.adopted {
            for line in self.after_adoption(&pair)? {
                note(&line);
            }
        }
        Ok(())
    }

    /// What was adopted, who else may use it, and what comes next.
    fn after_adoption(&self, pair: &KeyPairView) -> Result<Vec<String>, Failure> {
        let arn = pair.arn.as_ref().map_or("the pair", PlaybackKeyArn::as_str);
        let mut lines = vec![match pair.state {
            KeyPairState::Active => format!("Adopted {arn}. It signs here from now on."),
            KeyPairState::Pending
            | KeyPairState::Draining
            | KeyPairState::Retiring
            | KeyPairState::Foreign
            | KeyPairState::Missing => {
                format!("Adopted {arn}. It does not sign here; the next keys rotate would use it.")
            }
        }];
        let keyring = self.keyring()?;
        if !is_shared(keyring.as_deref(), pair.arn.as_ref()) {
            return Ok(lines);
        }
        let version = pair.arn.as_ref().and_then(|arn| keyring.as_ref()?.by_arn(arn));
        lines.push("Its other signer may go on: tokens of both play.".to_owned());
        lines.push(match version.and_then(|version| version.longest_ttl) {
            Some(ttl) => format!(
                "When it drains, it is kept for tokens of the other signer that live for {}.",
                span(ttl)
            ),
            None => format!(
                "If the other signer's tokens live for longer than {} (tokens.max_ttl), run this \
                 again with --longest-ttl.",
                span(self.config.tokens.max_ttl)
            ),
        });
        lines.push(format!(
            "Once nobody signs elsewhere any more: keys rotate, then keys release {arn}"
        ));
        Ok(lines)
    }

    pub(super) fn delete(&self, args: &DeleteArgs) -> Result<(), Failure> {
        let DeleteArgs { arn, force, yes } = args;
        self.announce("Deleting a key pair");
        if !yes && !confirmed(&format!("Delete {arn}? Tokens that it signed become useless.")) {
            return Err(Failure::Failed("nothing was deleted".to_owned()));
        }
        let deleted = self.operations().delete(arn.clone(), *force);
        self.runtime.block_on(deleted).map_err(Failure::failed)?;
        self.record("key_pair_deleted", &Changed { arn: Some(arn), ..Changed::default() })?;
        if self.global.json() {
            return output::json(&json!({ "arn": arn, "deleted": true }));
        }
        output::line(&format!("Deleted {arn}."))
    }

    /// What keyring and IVS contain, or the keyring alone where IVS cannot be asked.
    fn known(&self) -> Result<Known, Failure> {
        let api = self.app.api();
        self.read_keyring()?;
        let asked = self.runtime.block_on(api.inventory.refresh(&self.region));
        let (key_pairs, checked_at) = api.inventory.key_pairs(&self.region);
        Ok(Known { key_pairs, checked_at, unasked: asked.err() })
    }

    fn note_unasked(&self, known: &Known) {
        if let Some(error) = &known.unasked {
            let region = &self.region;
            note(&format!(
                "IVS could not be asked for the key pairs of {region}: {error}. These are the key \
                 pairs of the keyring alone."
            ));
        }
    }

    fn nothing_known(&self, known: &Known) -> Failure {
        let error = known.unasked.as_ref().map(ToString::to_string).unwrap_or_default();
        Failure::Failed(format!(
            "IVS could not be asked for the key pairs of {}, and the keyring has none: {error}",
            self.region
        ))
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
        let mut seen = BTreeSet::new();
        if let Some((key, _)) = self.tags.iter().find(|(key, _)| !seen.insert(key)) {
            return Err(Failure::Usage(format!("--tag {key}= is given twice; give each tag once")));
        }
        Label::new(self.name.clone(), self.tags.iter().cloned().collect()).map_err(|faults| {
            let sentences: Vec<_> = faults.into_iter().map(|fault| fault.detail).collect();
            Failure::Usage(sentences.join(" "))
        })
    }
}

/// Key pairs, one a line.
pub(super) fn show_table(pairs: &[KeyPairView]) -> Result<(), Failure> {
    let rows: Vec<_> = pairs.iter().map(row).collect();
    output::table(&["STATE", "ARN", "FINGERPRINT", "CREATED", "NAME"], &rows)
}

/// The same of several regions.
fn show_table_of_regions(pairs: &[KeyPairView]) -> Result<(), Failure> {
    let with_region = |pair: &KeyPairView| {
        let mut cells = row(pair);
        cells.insert(0, pair.region.to_string());
        cells
    };
    let rows: Vec<_> = pairs.iter().map(with_region).collect();
    output::table(&["REGION", "STATE", "ARN", "FINGERPRINT", "CREATED", "NAME"], &rows)
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
    let adopted = if pair.adopted { " (adopted)" } else { "" };
    format!("{}{adopted}", pair.state.as_str())
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
