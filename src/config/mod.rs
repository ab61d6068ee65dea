//! The configuration: one typed tree, composed of the `Settings` of the modules below, loaded once and validated whole.
//!
//! A later layer overrides an earlier one: the defaults that the `Settings` declare, the `--config` file, the
//! environment, flags. [`Config::load`] lays them over each other, reads every key into its type and checks the rules
//! between keys. It reports all problems at once, each with the place to fix it; nothing starts from a configuration
//! with problems. This is the one place that reads the environment.

mod environment;
#[cfg(test)]
mod generated;
mod keys;
mod layers;
mod rules;
mod show;
#[cfg(test)]
mod tests;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;

pub use self::{environment::Environment, keys::schema, show::Shown};
use self::{
    environment::{CLIENTS, FromEnvironment},
    layers::{Layer, Layers, Origin, Setting},
};
use crate::{
    access, channels, http,
    ivs::{self, arn::Region, parse_region},
    keys as key_pairs, revocation,
    settings::Value,
    telemetry, tokens,
};

pub use crate::keys::{Heal, KeyStore};

/// The whole configuration.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Configuration of ivs-playback-auth")]
pub struct Config {
    /// The HTTP server.
    pub server: http::Settings,
    /// Amazon IVS.
    pub ivs: ivs::Settings,
    /// The keyring and where it is kept.
    pub keys: key_pairs::Settings,
    /// Rotation of key pairs.
    pub rotation: key_pairs::RotationSettings,
    /// What viewer tokens may contain.
    pub tokens: tokens::Settings,
    /// The channel lookup.
    pub channels: channels::Settings,
    /// Revocation of viewer sessions.
    pub viewers: revocation::Settings,
    /// Who may call.
    pub access: access::Settings,
    /// The audit log.
    pub audit: access::AuditSettings,
    /// The engine that replicas share.
    pub shared: access::SharedSettings,
    /// Logging.
    pub log: telemetry::Settings,
    /// `IVS_PLAYBACK_AUTH_KEY_PASSPHRASE`: encrypts private keys in the store `dir`.
    #[serde(skip)]
    pub key_passphrase: Option<SecretString>,
    /// `IVS_PLAYBACK_AUTH_CLIENTS`: the TOML of the clients file, used instead of that file.
    #[serde(skip)]
    pub clients_inline: Option<SecretString>,
    /// The keys of the `--config` file that [`Sources::not_applied`] named.
    #[serde(skip)]
    pub not_applied: Vec<String>,
    #[serde(skip)]
    shown: Shown,
}

/// Where a configuration comes from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The `--config` file.
    pub file: Option<PathBuf>,
    /// The environment variables.
    pub env: Environment,
    /// The flags.
    pub overrides: Overrides,
    /// What a command sets below the `--config` file.
    pub defaults: Vec<Override>,
    /// Which settings of the `--config` file a command does not apply, by key and text.
    pub not_applied: Option<fn(key: &str, text: Option<&str>) -> bool>,
    /// What relative paths outside a file are relative to; empty leaves them to the process.
    pub cwd: PathBuf,
}

impl Sources {
    /// The environment and working directory of this process.
    pub fn of_process(file: Option<PathBuf>, overrides: Overrides) -> Self {
        Self { file, env: Environment::of_process(), overrides, ..Self::default() }
    }
}

/// What flags say. They override every other layer.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--listen`, for `server.listen`.
    pub listen: Option<String>,
    /// `--region`: see [`ivs::Settings::region`].
    pub region: Option<String>,
    /// `--profile`: see [`ivs::Settings::profile`].
    pub profile: Option<String>,
    /// `--endpoint-url`: see [`ivs::Settings::endpoint_url`].
    pub endpoint_url: Option<String>,
    /// `--log-level`, for `log.level`.
    pub log_level: Option<String>,
    /// Any other key.
    pub settings: Vec<Override>,
}

/// One key that a flag sets.
#[derive(Clone, Debug)]
pub struct Override {
    /// The dotted key, such as `keys.dir`.
    pub key: &'static str,
    /// The value as it would stand in an environment variable.
    pub value: String,
    /// The flag, for messages: `--data-dir`.
    pub flag: &'static str,
}

/// One thing that is wrong, and where to fix it. Never holds a value.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The dotted key; none where it is not about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// `FILE:LINE`, an environment variable, a flag, or `default`.
    pub place: String,
    /// The rest of a sentence that begins with the key, or else with the place.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{}: {key} {}", self.place, self.message),
            None => write!(f, "{} {}", self.place, self.message),
        }
    }
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.as_slice() {
            [problem] => write!(f, "The configuration has a problem. {problem}"),
            problems => {
                write!(f, "The configuration has {} problems:", problems.len())?;
                problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}

impl Config {
    /// Loads every layer and checks the whole.
    ///
    /// # Errors
    ///
    /// Every problem: files that cannot be read, unknown keys and variables, values of a wrong form,
    /// rules between keys that are broken, and features that this version does not have.
    pub fn load(sources: Sources) -> Result<Self, ConfigError> {
        let Sources { file, env, overrides, defaults, not_applied: skip, cwd } = sources;
        let mut layers = Layers::new();
        let mut unknown_defaults = layers.lay(layer_of(&defaults), &cwd);

        let mut problems = Vec::new();
        let mut unknown = Vec::new();
        let mut not_applied = Vec::new();
        let mut file_is_read = true;
        if let Some(path) = &file {
            match read_file(path, &cwd) {
                Ok(mut layer) => {
                    layer.retain(|key, setting| {
                        let applies = !skip.is_some_and(|skip| skip(key, setting.value.as_str()));
                        if !applies {
                            not_applied.push(key.clone());
                        }
                        applies
                    });
                    let path = cwd.join(path);
                    unknown.extend(layers.lay(layer, path.parent().unwrap_or(&cwd)));
                }
                Err(faults) => {
                    problems.extend(faults);
                    file_is_read = false;
                }
            }
        }
        let FromEnvironment { layer, key_passphrase, clients } =
            environment::read(&env, &cwd, &mut problems);
        unknown.extend(layers.lay(layer, &cwd));
        unknown.extend(layers.lay(flags(&overrides), &cwd));
        unknown.append(&mut unknown_defaults);
        problems.append(&mut unknown);
        if key_passphrase.as_ref().is_some_and(|passphrase| passphrase.expose_secret().is_empty()) {
            problems.push(Problem {
                key: None,
                place: environment::KEY_PASSPHRASE.to_owned(),
                message: "is empty. Unset it to keep private keys unencrypted.".to_owned(),
            });
        }

        let (config, unreadable) = layers.read();
        if let Some(mut config) = config {
            config.choose(overrides, &mut problems);
            config.clients_inline = clients;
            // Without the file, rules between keys would be checked with values that no one chose.
            let broken =
                if file_is_read { rules::check(&config, &layers, &unreadable) } else { Vec::new() };
            problems.extend(unreadable.into_iter().chain(broken));
            if problems.is_empty() {
                let secrets = [
                    (environment::KEY_PASSPHRASE, key_passphrase.is_some()),
                    (CLIENTS, config.clients_inline.is_some()),
                ];
                let secrets =
                    secrets.into_iter().filter_map(|(name, is_set)| is_set.then_some(name));
                let shown = Shown::new(layers, secrets.collect());
                return Ok(Self { key_passphrase, not_applied, shown, ..config });
            }
        } else {
            problems.extend(unreadable);
        }
        Err(ConfigError { problems })
    }

    /// Applies the flags that are not keys.
    fn choose(&mut self, overrides: Overrides, problems: &mut Vec<Problem>) {
        let mut problem = |flag: &str, message: String| {
            problems.push(Problem { key: None, place: flag.to_owned(), message });
        };
        match overrides.region.as_deref().map(parse_region).transpose() {
            Ok(region) => self.ivs.region = region,
            Err(error) => problem("--region", format!("{error}.")),
        }
        let configured = &self.ivs.regions;
        if let Some(region) = &self.ivs.region
            && !configured.is_empty()
            && !configured.contains(region)
        {
            // A key created there would sign for no one.
            let covered = Region::list(configured);
            problem(
                "--region",
                format!("must be one of ivs.regions: {covered}. Add {region} there, or choose."),
            );
        }
        if overrides.endpoint_url.as_deref().is_some_and(|text| !is_http_url(text)) {
            let message = "must be a URL that begins with http:// or https://.";
            problem("--endpoint-url", message.to_owned());
        }
        self.ivs.profile = overrides.profile;
        self.ivs.endpoint_url = overrides.endpoint_url;
    }

    /// Returns whether a layer above the defaults names this dotted key.
    pub fn is_chosen(&self, key: &str) -> bool {
        let setting = self.shown.layers().get(key);
        setting.is_some_and(|setting| setting.origin != Origin::Default)
    }

    /// Returns a problem of this key, at the place where it is set.
    pub fn problem(&self, key: &str, message: String) -> Problem {
        self.shown.layers().problem(key, message)
    }

    /// Returns every value in force and where it comes from, secrets redacted.
    pub fn show(&self) -> &Shown {
        &self.shown
    }
}

fn is_http_url(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

fn read_file(path: &Path, cwd: &Path) -> Result<Layer, Vec<Problem>> {
    let text = fs::read_to_string(cwd.join(path)).map_err(|error| {
        let message = format!("cannot be read: {error}.");
        vec![Problem { key: None, place: path.display().to_string(), message }]
    })?;
    layers::read_toml(&text, path)
}

fn flags(overrides: &Overrides) -> Layer {
    let named = [
        ("server.listen", &overrides.listen, "--listen"),
        ("log.level", &overrides.log_level, "--log-level"),
    ];
    let named =
        named.into_iter().filter_map(|(key, value, flag)| Some((key, value.clone()?, flag)));
    let named = named.map(|(key, value, flag)| Override { key, value, flag });
    layer_of(&named.chain(overrides.settings.iter().cloned()).collect::<Vec<_>>())
}

fn layer_of(settings: &[Override]) -> Layer {
    let setting = |set: &Override| {
        let value = environment::typed(set.key, set.value.clone());
        (set.key.to_owned(), Setting { value, origin: Origin::Flag(set.flag) })
    };
    settings.iter().map(setting).collect()
}
