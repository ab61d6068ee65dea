//! The environment as a layer, and the two variables that are not keys.
//!
//! A variable is `IVS_PLAYBACK_AUTH__SECTION__KEY`. Any variable may have `_FILE` appended: its value
//! is then the content of the file that it names, without one trailing newline, which is how
//! container platforms pass secrets.
//!
//! Variables with a single underscore after the prefix are not checked: Kubernetes sets
//! `IVS_PLAYBACK_AUTH_SERVICE_HOST` and others for a service of this name. Only one that spells a
//! known key in all but its underscores is refused, since it would be ignored.

use std::{collections::BTreeMap, ffi::OsString, fmt, fs, path::Path};

use secrecy::SecretString;

use super::{
    Problem, Value,
    keys::{self, ALIASES, VARIABLE_PREFIX, nearest, variable_of},
    layers::{Layer, Origin, Setting},
};

/// The passphrase of encrypted private keys.
pub(super) const KEY_PASSPHRASE: &str = "IVS_PLAYBACK_AUTH_KEY_PASSPHRASE";
/// The clients file's TOML itself.
pub(super) const CLIENTS: &str = "IVS_PLAYBACK_AUTH_CLIENTS";

/// Environment variables by name. Values may be secrets: `Debug` has names only.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, OsString>);

impl Environment {
    /// Returns the environment of this process. A name that is not Unicode cannot be one of this service.
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .collect()
    }

    /// Returns whether colour is not wanted (<https://no-color.org>), or the terminal has none.
    pub fn forbids_colour(&self) -> bool {
        self.0.get("NO_COLOR").is_some_and(|value| !value.is_empty())
            || self.0.get("TERM").is_some_and(|terminal| terminal == "dumb")
    }

    /// Returns the user who ran this process with `sudo`.
    pub fn sudo_user(&self) -> Option<String> {
        self.0.get("SUDO_USER")?.to_str().map(ToOwned::to_owned)
    }
}

impl<N: Into<String>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// What the environment says.
#[derive(Default)]
pub(super) struct FromEnvironment {
    pub(super) layer: Layer,
    pub(super) key_passphrase: Option<SecretString>,
    pub(super) clients: Option<SecretString>,
}

/// Reads every variable of this service. Files that variables name are relative to `cwd`.
pub(super) fn read(
    environment: &Environment,
    cwd: &Path,
    problems: &mut Vec<Problem>,
) -> FromEnvironment {
    let reader = Reader { environment, cwd };
    let key_passphrase = reader.value(KEY_PASSPHRASE, problems).map(SecretString::from);
    let clients = reader.value(CLIENTS, problems).map(SecretString::from);
    let mut layer = Layer::new();
    for (name, key) in reader.keys(problems) {
        if let Some(text) = reader.value(&name, problems) {
            let origin = Origin::Variable(reader.spelling(&name));
            let value = typed(&key, text);
            layer.insert(key, Setting { value, origin });
        }
    }
    FromEnvironment { layer, key_passphrase, clients }
}

/// Returns a value from a source without types, the environment or a flag, in the type of the key's default where
/// `text` has that form. Otherwise it is text, and reading it reports what is wrong.
pub(super) fn typed(key: &str, text: String) -> Value {
    let typed = match keys::find(key).map(|key| &key.default) {
        Some(Value::Integer(_) | Value::Float(_)) => {
            let integer = text.parse().map(Value::Integer).ok();
            integer.or_else(|| text.parse().map(Value::Float).ok())
        }
        Some(Value::Boolean(_)) => text.parse().map(Value::Boolean).ok(),
        Some(Value::Array(_)) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Some(Value::Array(items.map(Value::from).collect()))
        }
        Some(Value::String(_) | Value::Datetime(_) | Value::Table(_)) | None => None,
    };
    typed.unwrap_or(Value::String(text))
}

struct Reader<'a> {
    environment: &'a Environment,
    cwd: &'a Path,
}

impl Reader<'_> {
    /// Returns the variables of keys (without `_FILE`), each with its key.
    fn keys(&self, problems: &mut Vec<Problem>) -> BTreeMap<String, String> {
        let known: BTreeMap<String, &str> =
            keys::all().map(|key| (variable_of(&key.name), key.name.as_str())).collect();
        let mut keys = BTreeMap::new();
        for written in self.environment.0.keys() {
            let name = written.strip_suffix("_FILE").unwrap_or(written);
            if let Some(key) = known.get(name).map(ToString::to_string).or_else(|| alias_of(name)) {
                keys.insert(name.to_owned(), key);
            } else if let Some(meant) = misspelt(name, known.keys().map(String::as_str)) {
                problems.push(unknown(written, Some(meant)));
            } else if let Some(rest) = name.strip_prefix(VARIABLE_PREFIX) {
                let key = rest.to_ascii_lowercase().replace("__", ".");
                let meant = nearest(&key, known.values().copied()).map(variable_of);
                problems.push(unknown(written, meant.as_deref()));
            }
        }
        keys
    }

    /// Returns the value of `name` or of `name_FILE`; nothing if neither is set or it cannot be read.
    fn value(&self, name: &str, problems: &mut Vec<Problem>) -> Option<String> {
        let file_name = format!("{name}_FILE");
        let (place, value) =
            match (self.environment.0.get(name), self.environment.0.get(&file_name)) {
                (None, None) => return None,
                (Some(_), Some(_)) => {
                    (name, Err(format!("is set, and {file_name} too. Unset one of them.")))
                }
                (Some(value), None) => (
                    name,
                    value.clone().into_string().map_err(|_| "is not Unicode text.".to_owned()),
                ),
                (None, Some(path)) => {
                    // Neither path nor value is repeated: the secret itself may be in the wrong variable.
                    let fault = |error| format!("names a file that cannot be read: {error}.");
                    let read = fs::read_to_string(self.cwd.join(path));
                    (file_name.as_str(), read.map(without_newline).map_err(fault))
                }
            };
        value
            .map_err(|message| {
                problems.push(Problem { key: None, place: place.to_owned(), message });
            })
            .ok()
    }

    /// Returns the variable that is set: `name` or `name_FILE`.
    fn spelling(&self, name: &str) -> String {
        if self.environment.0.contains_key(name) { name.to_owned() } else { format!("{name}_FILE") }
    }
}

/// Returns the key of an alias: `…__CHANNELS__ALIASES__DEMO` is `channels.aliases.demo`. What comes after the name of
/// the table is one name, double underscores included.
fn alias_of(name: &str) -> Option<String> {
    let entry = name.strip_prefix(variable_of(ALIASES).as_str())?.strip_prefix("__")?;
    Some(format!("{ALIASES}.{}", entry.to_ascii_lowercase()))
}

/// Returns the variable that `name` spells in all but its underscores.
fn misspelt<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |name: &str| name.replace("__", "_");
    known
        .chain([KEY_PASSPHRASE, CLIENTS])
        .find(|variable| *variable != name && plain(variable) == plain(name))
}

fn unknown(name: &str, nearest: Option<&str>) -> Problem {
    let nearest = nearest
        .map_or_else(String::new, |variable| format!(" The nearest known one is {variable}."));
    Problem {
        key: None,
        place: name.to_owned(),
        message: format!("is not a variable of this service.{nearest}"),
    }
}

fn without_newline(mut text: String) -> String {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn read_all(
        variables: &[(&str, &str)],
        cwd: &Path,
    ) -> (Vec<(String, Value, String)>, Vec<String>, FromEnvironment) {
        let mut problems = Vec::new();
        let mut found = read(&variables.iter().copied().collect(), cwd, &mut problems);
        let layer = std::mem::take(&mut found.layer)
            .into_iter()
            .map(|(key, setting)| (key, setting.value, setting.origin.to_string()))
            .collect();
        (layer, problems.iter().map(ToString::to_string).collect(), found)
    }

    #[test]
    fn variable_spells_its_key_and_an_alias_is_lower_case() {
        let (layer, problems, _) = read_all(
            &[
                ("IVS_PLAYBACK_AUTH__TOKENS__MAX_TTL", "5m"),
                ("IVS_PLAYBACK_AUTH__CHANNELS__ALIASES__MY__DEMO", "arn"),
                ("PATH", "/bin"),
            ],
            Path::new(""),
        );
        assert_eq!(problems, [""; 0]);
        let variable = "IVS_PLAYBACK_AUTH__TOKENS__MAX_TTL".to_owned();
        let alias = "IVS_PLAYBACK_AUTH__CHANNELS__ALIASES__MY__DEMO".to_owned();
        assert_eq!(
            layer,
            [
                ("channels.aliases.my__demo".into(), "arn".into(), alias),
                ("tokens.max_ttl".into(), "5m".into(), variable),
            ]
        );
    }

    #[test]
    fn file_variable_is_the_content_without_one_newline() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ttl"), "5m\r\n").unwrap();
        fs::write(folder.path().join("passphrase"), "hunter2\n\n").unwrap();
        let (layer, problems, found) = read_all(
            &[
                ("IVS_PLAYBACK_AUTH__TOKENS__MAX_TTL_FILE", "ttl"),
                ("IVS_PLAYBACK_AUTH_KEY_PASSPHRASE_FILE", "passphrase"),
            ],
            folder.path(),
        );
        assert_eq!(problems, [""; 0]);
        let variable = "IVS_PLAYBACK_AUTH__TOKENS__MAX_TTL_FILE".to_owned();
        assert_eq!(layer, [("tokens.max_ttl".into(), "5m".into(), variable)]);
        assert_eq!(found.key_passphrase.unwrap().expose_secret(), "hunter2\n");
        assert!(found.clients.is_none());
    }

    #[test]
    fn both_forms_at_once_and_unreadable_file_are_problems_without_values() {
        let (layer, problems, _) = read_all(
            &[
                ("IVS_PLAYBACK_AUTH__TOKENS__MAX_TTL", "5m"),
                ("IVS_PLAYBACK_AUTH__TOKENS__MAX_TTL_FILE", "ttl"),
                ("IVS_PLAYBACK_AUTH_CLIENTS_FILE", "hunter2"),
            ],
            Path::new("/nonexistent"),
        );
        assert_eq!(layer, []);
        assert_eq!(
            problems,
            [
                "IVS_PLAYBACK_AUTH_CLIENTS_FILE names a file that cannot be read: No such \
                 file or directory (os error 2).",
                "IVS_PLAYBACK_AUTH__TOKENS__MAX_TTL is set, and \
                 IVS_PLAYBACK_AUTH__TOKENS__MAX_TTL_FILE too. Unset one of them.",
            ]
        );
    }

    #[test]
    fn unknown_variable_is_reported_with_the_nearest() {
        let (_, problems, _) =
            read_all(&[("IVS_PLAYBACK_AUTH__TOKENS__MAXTTL", "5m")], Path::new(""));
        assert_eq!(
            problems,
            ["IVS_PLAYBACK_AUTH__TOKENS__MAXTTL is not a variable of this service. The nearest \
              known one is IVS_PLAYBACK_AUTH__TOKENS__MAX_TTL."]
        );
    }

    #[test]
    fn single_underscores_are_refused_only_where_they_spell_a_key() {
        let (layer, problems, _) = read_all(
            &[
                ("IVS_PLAYBACK_AUTH_SERVICE_HOST", "10.0.0.1"),
                ("IVS_PLAYBACK_AUTH_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
                ("IVS_PLAYBACK_AUTH_TOKENS_MAX_TTL", "5m"),
                ("IVS_PLAYBACK_AUTH__KEY_PASSPHRASE", "hunter2"),
            ],
            Path::new(""),
        );
        assert_eq!(layer, []);
        assert_eq!(
            problems,
            [
                "IVS_PLAYBACK_AUTH_TOKENS_MAX_TTL is not a variable of this service. The nearest \
                 known one is IVS_PLAYBACK_AUTH__TOKENS__MAX_TTL.",
                "IVS_PLAYBACK_AUTH__KEY_PASSPHRASE is not a variable of this service. The nearest \
                 known one is IVS_PLAYBACK_AUTH_KEY_PASSPHRASE.",
            ]
        );
    }

    #[test]
    #[cfg(unix)]
    fn value_that_is_not_unicode_is_a_problem() {
        use std::os::unix::ffi::OsStringExt;
        let value = OsString::from_vec(vec![0xff]);
        let environment: Environment =
            [("IVS_PLAYBACK_AUTH__TOKENS__MAX_TTL", value)].into_iter().collect();
        let mut problems = Vec::new();
        read(&environment, Path::new(""), &mut problems);
        assert_eq!(
            problems[0].to_string(),
            "IVS_PLAYBACK_AUTH__TOKENS__MAX_TTL is not Unicode text."
        );
    }

    #[test]
    fn text_takes_the_type_of_the_default() {
        let typed = |key: &str, text: &str| typed(key, text.to_owned());
        assert_eq!(typed("server.workers", "8"), Value::Integer(8));
        assert_eq!(typed("channels.calls_per_second", "0.5"), Value::Float(0.5));
        assert_eq!(typed("server.workers", "eight"), "eight".into());
        assert_eq!(typed("keys.manage", "true"), Value::Boolean(true));
        assert_eq!(typed("keys.manage", "yes"), "yes".into());
        assert_eq!(typed("tokens.max_ttl", "30s"), "30s".into());
        assert_eq!(typed("ivs.regions", ""), Value::Array(Vec::new()));
        assert_eq!(typed("ivs.regions", " a, b ,"), Value::Array(vec!["a".into(), "b".into()]));
    }

    #[test]
    fn debug_has_no_values() {
        let environment: Environment = [(KEY_PASSPHRASE, "hunter2")].into_iter().collect();
        assert_eq!(format!("{environment:?}"), "{\"IVS_PLAYBACK_AUTH_KEY_PASSPHRASE\"}");
    }
}
