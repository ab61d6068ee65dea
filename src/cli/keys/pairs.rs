//! `keys list|get|generate|import|delete`.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use serde_json::json;

use super::{Context, Failure, InRegions, in_each_region, is_shared};
use crate::{
    api::key_pair::KeyPairsBody,
    cli::{
        output::{self, Confirmation, note, span},
        place, read_input,
    },
    ivs::arn::PlaybackKeyArn,
    keys::{
        material::{KeyMaterialError, PrivateKey, PublicKey},
        rotation::{ImportPrivateKey, KeyPairState, KeyPairView, Label},
    },
    service::key_pairs::{Listing, NewKeyPair},
};

/// A key file larger than this is no key.
const MAX_KEY_FILE: u64 = 1024 * 1024;

#[derive(Args, Debug)]
pub(in crate::cli) struct LabelArgs {
    /// The name of the pair in IVS
    #[arg(long)]
    name: Option<String>,
    /// A tag of the pair in IVS; may be repeated
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
    /// The longest lifetime of the other signer's tokens, such as 6h
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
    /// The ARN of the pair
    arn: PlaybackKeyArn,
    /// Delete a draining pair too; its tokens can then no longer start playback
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    pub(super) confirmation: Confirmation,
}

/// `keys list`
pub(super) async fn list(contexts: &[Context<'_>]) -> Result<(), Failure> {
    let listed = in_each_region(contexts, async |context| {
        let listing = context.listing().await?;
        match &listing.failure {
            Some(error) if listing.key_pairs.is_empty() => Err(Failure::Failed(format!(
                "IVS cannot be queried for the key pairs of {}, and the keyring has none: {error}",
                context.region()
            ))),
            Some(_) | None => Ok(listing),
        }
    });
    let InRegions { results, has_failed } = listed.await?;
    let is_complete = !has_failed && results.iter().all(|listing| listing.failure.is_none());
    let mut body = KeyPairsBody::from(results);
    if has_failed {
        body.checked_at = None;
    }
    if let Some(context) = contexts.first() {
        context.global.print(&body, || table(&body.key_pairs))?;
    }
    if is_complete { Ok(()) } else { Err(Failure::Negative) }
}

impl Context<'_> {
    pub(super) async fn get(&self, name: &str) -> Result<(), Failure> {
        let Listing { key_pairs, failure, .. } = self.listing().await?;
        let region = self.region();
        match (key_pairs.into_iter().find(|pair| pair.is_named(name)), failure) {
            (Some(pair), _) => self.show(&pair),
            (None, Some(error)) => Err(Failure::Failed(format!(
                "the keyring of {region} has no key pair with this ARN or fingerprint, and IVS cannot \
                 be queried: {error}"
            ))),
            (None, None) => Err(Failure::Failed(format!(
                "{region} has no key pair with this ARN or fingerprint; see `keys list`"
            ))),
        }
    }

    pub(super) async fn generate(&self, args: &LabelArgs) -> Result<(), Failure> {
        let new = NewKeyPair { label: args.label()?, public_key: None };
        self.announce("Generating a key pair").await;
        self.show(&self.create(new).await?)
    }

    pub(super) async fn import(&self, args: &ImportArgs) -> Result<(), Failure> {
        let label = args.label.label()?;
        let unreadable = |file: &Path, error: KeyMaterialError| {
            Failure::Usage(format!("{}: {error}", place(file)))
        };
        if let Some(file) = &args.public_key {
            let key = PublicKey::read(&*read_input(file, MAX_KEY_FILE)?)
                .map_err(|error| unreadable(file, error))?;
            self.announce("Importing a public key").await;
            return self.show(&self.create(NewKeyPair { label, public_key: Some(key) }).await?);
        }
        let Some(file) = &args.private_key else {
            return Err(Failure::Usage("give --private-key or --public-key".to_owned()));
        };
        let key = PrivateKey::read(
            &*read_input(file, MAX_KEY_FILE)?,
            self.config.key_passphrase.as_ref(),
        )
        .map_err(|error| unreadable(file, error))?;
        self.announce("Importing a private key").await;
        let &ImportArgs { exclusive, longest_ttl, .. } = args;
        let request = ImportPrivateKey { key, label, exclusive, longest_ttl };
        let pair = self.keys.import_private_key(self.operator, request).await?;
        self.show(&pair)?;
        if pair.adopted {
            note(&self.after_adoption(&pair).await?);
        }
        Ok(())
    }

    async fn create(&self, new: NewKeyPair) -> Result<KeyPairView, Failure> {
        Ok(self.app.api().key_pairs.create(self.keys, self.operator, new, None).await?)
    }

    /// Says what was adopted, who else may use it, and what comes next.
    async fn after_adoption(&self, pair: &KeyPairView) -> Result<String, Failure> {
        let arn = pair.arn.as_ref().map_or("the pair", PlaybackKeyArn::as_str);
        let signs = if pair.state == KeyPairState::Active {
            "It signs here from now on."
        } else {
            "It does not sign here; the next `keys rotate` would use it."
        };
        let adopted = format!("Adopted {arn}. {signs}");
        let keyring = self.keyring().await?;
        if !is_shared(keyring.as_deref(), pair.arn.as_ref()) {
            return Ok(adopted);
        }
        let version = pair.arn.as_ref().and_then(|arn| keyring.as_ref()?.by_arn(arn));
        let drain = match version.and_then(|version| version.longest_ttl) {
            Some(ttl) => format!(
                "When it drains, it is kept for the other signer's tokens, which live for up to {}.",
                span(ttl)
            ),
            None => format!(
                "If the other signer's tokens live longer than {} (tokens.max_ttl), run this command \
                 again with --longest-ttl.",
                span(self.config.tokens.max_ttl)
            ),
        };
        Ok(format!(
            "{adopted}\nIts other signer may continue: tokens of both play.\n{drain}\n\
             Once no other signer uses it: keys rotate, then keys release {arn}"
        ))
    }

    pub(super) async fn delete(&self, args: DeleteArgs) -> Result<(), Failure> {
        let DeleteArgs { arn, force, confirmation } = args;
        self.announce("Deleting a key pair").await;
        let question = format!("Delete {arn}? Tokens it signed can no longer start playback.");
        if !confirmation.confirms(&question) {
            return Err(Failure::Failed("nothing was deleted".to_owned()));
        }
        self.keys.delete(self.operator, arn.clone(), force).await?;
        self.global.print(&json!({ "arn": arn, "deleted": true }), || format!("Deleted {arn}."))
    }

    /// Returns what the keyring and IVS contain, or the keyring alone where IVS cannot be queried.
    async fn listing(&self) -> Result<Listing, Failure> {
        self.keyring().await?;
        let listing = self.keys.list(true).await;
        if let Some(error) = listing.failure.as_ref().filter(|_| !listing.key_pairs.is_empty()) {
            note(&format!(
                "IVS cannot be queried for the key pairs of {}: {error}. This is the keyring alone.",
                self.region()
            ));
        }
        Ok(listing)
    }

    fn show(&self, pair: &KeyPairView) -> Result<(), Failure> {
        self.global.print(pair, || {
            let mut fields = vec![
                ("ARN", text_or(pair.arn.as_ref(), "not imported yet")),
                ("name", pair.name.clone()),
                ("fingerprint", text_or(pair.fingerprint.as_ref(), "not known")),
                ("region", pair.region.to_string()),
                ("state", state(pair)),
            ];
            for (label, at) in [
                ("created", pair.created_at),
                ("activated", pair.activated_at),
                ("retires", pair.retires_at),
            ] {
                fields.extend(at.map(|at| (label, at.to_string())));
            }
            output::fields(&fields)
        })
    }
}

impl LabelArgs {
    fn label(&self) -> Result<Label, Failure> {
        let mut seen = BTreeSet::new();
        if let Some((key, _)) = self.tags.iter().find(|(key, _)| !seen.insert(key)) {
            return Err(Failure::Usage(format!("--tag {key}= is given twice; give each tag once")));
        }
        Label::new(self.name.clone(), self.tags.iter().cloned().collect()).map_err(|faults| {
            let details: Vec<_> = faults.into_iter().map(|fault| fault.detail).collect();
            Failure::Usage(details.join(" "))
        })
    }
}

/// Returns key pairs, one per line.
pub(super) fn table(pairs: &[KeyPairView]) -> String {
    let row = |pair: &KeyPairView| {
        [
            pair.region.to_string(),
            state(pair),
            text_or(pair.arn.as_ref(), ""),
            text_or(pair.fingerprint.as_ref(), ""),
            text_or(pair.created_at.as_ref(), ""),
            pair.name.clone(),
        ]
    };
    let rows: Vec<_> = pairs.iter().map(row).collect();
    output::table(["REGION", "STATE", "ARN", "FINGERPRINT", "CREATED", "NAME"], &rows)
}

fn state(pair: &KeyPairView) -> String {
    let adopted = if pair.adopted { " (adopted)" } else { "" };
    format!("{}{adopted}", pair.state.as_str())
}

fn text_or<T: ToString>(value: Option<&T>, otherwise: &str) -> String {
    value.map_or_else(|| otherwise.to_owned(), T::to_string)
}

fn tag(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a tag is written KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}
