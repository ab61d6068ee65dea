//! The configuration: one typed tree, loaded once, validated whole.
//!
//! Four layers, later wins: `config/default.toml` (compiled in, and the list of known keys), the
//! `--config` file, the environment, flags. [`Config::load`] lays them over each other, reads every
//! key into its type and checks the rules between keys. It reports all problems at once, each with
//! the place to mend it; nothing starts from a configuration with problems.
//!
//! Nobody but `app` reads the tree: components are given plain values. This is the one place that
//! reads the environment. The names in ARNs are the only thing used from above.

mod cors;
mod environment;
mod file;
mod known;
mod network;
mod parse;
mod reader;
mod rules;
mod sections;
mod settings;
mod show;
mod tree;
mod units;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use secrecy::SecretString;
use serde::Serialize;

pub use self::{
    cors::{CorsOrigin, CorsOriginError},
    environment::Environment,
    network::{Network, NetworkError},
    show::Shown,
    tree::{
        Access, Audit, AuditFailure, AuditSink, Channels, Heal, Ivs, KeyStore, Keys, Log,
        PublicChannels, Rotation, Server, Shared, SharedFailure, TlsFiles, Tokens, Unavailable,
        Viewers,
    },
    units::parse_duration,
};
use self::{
    environment::{CLIENTS, FromEnvironment},
    reader::Reader,
    settings::{Layer, Origin, Setting, Settings, Value},
};

pub(crate) use self::file::line_of;

/// `config/default.toml`: every key with its default and a comment.
pub const DEFAULT_TOML: &str = include_str!("../../config/default.toml");

/// The sections, in the order of `config/default.toml`.
const SECTIONS: [&str; 11] = [
    "server", "ivs", "keys", "rotation", "tokens", "channels", "viewers", "access", "audit",
    "shared", "log",
];

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The HTTP server.
    pub server: Server,
    /// Amazon IVS.
    pub ivs: Ivs,
    /// The keyring and where it is kept.
    pub keys: Keys,
    /// Rotation of key pairs.
    pub rotation: Rotation,
    /// What viewer tokens may be.
    pub tokens: Tokens,
    /// The channel lookup.
    pub channels: Channels,
    /// Revocation of viewer sessions.
    pub viewers: Viewers,
    /// Who may call.
    pub access: Access,
    /// The audit log.
    pub audit: Audit,
    /// The engine that replicas share.
    pub shared: Shared,
    /// Logging.
    pub log: Log,
    /// `IVS_PLAYBACK_AUTH_KEY_PASSPHRASE`: encrypts private keys in the store `dir`.
    pub key_passphrase: Option<SecretString>,
    /// `IVS_PLAYBACK_AUTH_CLIENTS`: the TOML of the clients file, used instead of that file.
    pub clients_inline: Option<SecretString>,
    /// The keys of the `--config` file that [`Sources::not_applied`] named.
    pub not_applied: Vec<String>,
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

/// What flags say. They win over every other layer.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--listen`, for `server.listen`.
    pub listen: Option<String>,
    /// `--region`: see [`Ivs::region`].
    pub region: Option<String>,
    /// `--profile`: see [`Ivs::profile`].
    pub profile: Option<String>,
    /// `--endpoint-url`: see [`Ivs::endpoint_url`].
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

/// One thing that is wrong, and where to mend it. Never holds a value.
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
        let Sources { file, env, overrides, defaults: below, not_applied: skip, cwd } = sources;
        let mut problems = Vec::new();
        let mut settings = Settings::new(defaults(&mut problems));
        let unknown_below = settings.lay(layer_of(&below), &cwd);

        let mut not_applied = Vec::new();
        let file = file.as_deref().map(|path| {
            let mut applies = |key: &str, setting: &Setting| {
                let text =
                    if let Value::Text(text) = &setting.value { Some(&**text) } else { None };
                let applies = !skip.is_some_and(|skip| skip(key, text));
                if !applies {
                    not_applied.push(key.to_owned());
                }
                applies
            };
            lay_file(path, &cwd, &mut settings, &mut applies)
        });
        let file_is_read = !matches!(file, Some(Err(_)));
        let mut unknown = match file {
            Some(Ok(unknown)) => unknown,
            Some(Err(faults)) => {
                problems.extend(faults);
                Layer::new()
            }
            None => Layer::new(),
        };
        let FromEnvironment { layer, key_passphrase, clients } =
            environment::read(&env, &settings, &cwd, &mut problems);
        unknown.extend(settings.lay(layer, &cwd));
        unknown.extend(settings.lay(flags(&overrides), &cwd));
        unknown.extend(unknown_below);
        problems.extend(unknown.iter().map(|(key, setting)| settings.unknown(key, setting)));
        if key_passphrase.as_ref().is_some_and(is_empty) {
            problems.push(Problem {
                key: None,
                place: environment::KEY_PASSPHRASE.to_owned(),
                message: "is empty. Unset it to keep private keys unencrypted.".to_owned(),
            });
        }

        let mut reader = Reader::new(&settings);
        let sections = sections::read(&mut reader, overrides);
        if file_is_read {
            // Without the file, rules between keys would be judged by values that nobody chose.
            rules::check(&mut reader, clients.is_some());
        }
        problems.extend(reader.into_problems());
        let Some(sections) = sections.filter(|_| problems.is_empty()) else {
            return Err(ConfigError { problems });
        };

        let secrets =
            [(environment::KEY_PASSPHRASE, key_passphrase.is_some()), (CLIENTS, clients.is_some())];
        Ok(Self {
            server: sections.server,
            ivs: sections.ivs,
            keys: sections.keys,
            rotation: sections.rotation,
            tokens: sections.tokens,
            channels: sections.channels,
            viewers: sections.viewers,
            access: sections.access,
            audit: sections.audit,
            shared: sections.shared,
            log: sections.log,
            key_passphrase,
            clients_inline: clients,
            not_applied,
            shown: Shown::new(&settings, secrets),
        })
    }

    /// Whether a layer above the defaults names this dotted key.
    pub fn is_chosen(&self, key: &str) -> bool {
        self.shown.is_chosen(key)
    }

    /// Returns a problem of this key, at the place where it is set.
    pub fn problem(&self, key: &str, message: String) -> Problem {
        let place = self.shown.place_of(key);
        Problem { key: Some(key.to_owned()), place, message }
    }

    /// Every effective value and where it comes from, secrets redacted.
    pub fn show(&self) -> &Shown {
        &self.shown
    }
}

fn is_empty(secret: &SecretString) -> bool {
    use secrecy::ExposeSecret as _;
    secret.expose_secret().is_empty()
}

fn defaults(problems: &mut Vec<Problem>) -> Layer {
    let mut layer =
        file::read(DEFAULT_TOML, Path::new("config/default.toml")).unwrap_or_else(|faults| {
            problems.extend(faults);
            Layer::new()
        });
    for setting in layer.values_mut() {
        setting.origin = Origin::Default;
    }
    layer
}

/// Lays what applies of the `--config` file over `settings`; hands back what it says about unknown
/// keys.
fn lay_file(
    path: &Path,
    cwd: &Path,
    settings: &mut Settings,
    applies: &mut dyn FnMut(&str, &Setting) -> bool,
) -> Result<Layer, Vec<Problem>> {
    let whole_path = cwd.join(path);
    let text = fs::read_to_string(&whole_path).map_err(|error| {
        vec![Problem {
            key: None,
            place: path.display().to_string(),
            message: format!("cannot be read: {error}."),
        }]
    })?;
    let mut layer = file::read(&text, path)?;
    layer.retain(|key, setting| applies(key, setting));
    Ok(settings.lay(layer, whole_path.parent().unwrap_or(cwd)))
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
        let value = Value::Untyped(set.value.clone());
        (set.key.to_owned(), Setting { value, origin: Origin::Flag(set.flag) })
    };
    settings.iter().map(setting).collect()
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
