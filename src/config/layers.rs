//! The layers of the configuration as one flat table: dotted key to value, with where the value comes from.
//!
//! A [`Layer`] is what one source says. [`Layers`] starts as the defaults, and each layer laid over it replaces the
//! values that it names.

use std::{collections::BTreeMap, fmt, path::Path, sync::Arc};

use serde::Deserialize;
use toml::{
    Spanned, Table,
    de::{DeTable, DeValue, ValueDeserializer},
};

use super::{
    Config, Problem, Value,
    keys::{self, SECTIONS, alias_in, nearest, split},
};
use crate::settings::line_of;

/// Where a value comes from, and therefore what to edit to change it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Origin {
    /// The declaration of the key.
    Default,
    /// A line of the `--config` file.
    File { path: Arc<Path>, line: usize },
    /// An environment variable.
    Variable(String),
    /// A flag of the command.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One value of one source.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// What one source says, by dotted key. Keys need not be known.
pub(super) type Layer = BTreeMap<String, Setting>;

/// The layers laid over each other.
#[derive(Clone, Debug, Default)]
pub(super) struct Layers(Layer);

impl Layers {
    /// Returns the defaults.
    pub(super) fn new() -> Self {
        let default = |key: &keys::Key| {
            let (value, origin) = (key.default.clone(), Origin::Default);
            (key.name.clone(), Setting { value, origin })
        };
        Self(keys::all().map(default).collect())
    }

    pub(super) fn get(&self, key: &str) -> Option<&Setting> {
        self.0.get(key)
    }

    /// Returns every value in the order of its key.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.0.iter().map(|(key, setting)| (key.as_str(), setting))
    }

    /// Replaces the value of a key that may be a secret.
    pub(super) fn redact(&mut self, key: &str) {
        if let Some(setting) = self.0.get_mut(key)
            && setting.value.as_str() != Some("")
        {
            setting.value = "(redacted)".into();
        }
    }

    /// Lays `layer` over what is there. Relative paths in it are relative to `base`. Returns a problem for each
    /// unknown key.
    pub(super) fn lay(&mut self, layer: Layer, base: &Path) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (key, mut setting) in layer {
            let known = keys::find(&key);
            if known.is_none() && alias_in(&key).is_none() {
                problems.push(unknown(key, &setting));
                continue;
            }
            if let Value::String(text) = &mut setting.value
                && known.is_some_and(|key| key.is_path)
                // An empty path means none.
                && !text.is_empty()
            {
                // A folder whose name is not Unicode is given up, since settings are text.
                *text = base.join(&*text).to_string_lossy().into_owned();
            }
            self.0.insert(key, setting);
        }
        problems
    }

    /// Returns a problem of a key, at the place where it is set.
    pub(super) fn problem(&self, key: &str, message: impl Into<String>) -> Problem {
        let place = self.get(key).map_or(&Origin::Default, |setting| &setting.origin).to_string();
        Problem { key: Some(key.to_owned()), place, message: message.into() }
    }

    /// Reads every value. Returns a problem for each that cannot be read, and its default in its place.
    pub(super) fn read(&self) -> (Option<Config>, Vec<Problem>) {
        let mut rest = self.clone();
        let mut faults: BTreeMap<String, String> = BTreeMap::new();
        let config = loop {
            let error = match serde_path_to_error::deserialize(Value::Table(rest.tree())) {
                Ok(config) => break Some(config),
                Err(error) => error,
            };
            // `serde` stops at the first fault. The default takes its place, so that the next one is found.
            let name = error.path().to_string();
            let key = keys::find(&name);
            let expected = key.and_then(|key| key.expected.clone());
            let fault = expected.unwrap_or_else(|| error.inner().message().to_owned());
            let is_removed = rest.0.remove(&name).is_some();
            if let Some(key) = key {
                let (value, origin) = (key.default.clone(), Origin::Default);
                rest.0.insert(name.clone(), Setting { value, origin });
            }
            if faults.insert(name, fault).is_some() || !is_removed {
                break None;
            }
        };
        let position = |key: &str| keys::all().position(|known| known.name == key);
        let mut faults: Vec<_> = faults.into_iter().collect();
        faults.sort_by_key(|(key, _)| position(key));
        let faults = faults.iter().map(|(key, fault)| self.problem(key, format!("{fault}.")));
        (config, faults.chain(self.without_effect()).collect())
    }

    /// Returns a problem for each key that asks for a feature which this version does not have: a setting without
    /// effect would be worse than none.
    fn without_effect(&self) -> impl Iterator<Item = Problem> {
        keys::all().filter_map(|key| {
            let feature = key.not_available.as_ref()?;
            let is_default = self.get(&key.name).is_none_or(|setting| setting.value == key.default);
            let message = format!(
                "asks for {feature}, which is not available in this version. Leave it at its \
                 default, {}.",
                key.default
            );
            (!is_default).then(|| self.problem(&key.name, message))
        })
    }

    /// Returns the values as nested tables.
    pub(super) fn tree(&self) -> Table {
        let names = SECTIONS.iter().map(|section| section.name.as_str());
        let mut tables: BTreeMap<&str, Table> = names.map(|name| (name, Table::new())).collect();
        for (key, setting) in &self.0 {
            let (section, name) = split(key);
            tables.entry(section).or_default().insert(name.to_owned(), setting.value.clone());
        }
        let mut tree = Table::new();
        while let Some((name, table)) = tables.pop_last() {
            // A table inside a section comes before the section.
            let (outer, name) = match name.split_once('.') {
                Some((section, name)) => (tables.entry(section).or_default(), name),
                None => (&mut tree, name),
            };
            outer.insert(name.to_owned(), Value::Table(table));
        }
        tree
    }
}

fn unknown(key: String, setting: &Setting) -> Problem {
    let sections = || SECTIONS.iter().map(|section| section.name.as_str());
    let known = keys::all().map(|key| key.name.as_str());
    let message = if sections().any(|section| section == key) {
        format!("is a section; put its keys under [{key}].")
    } else {
        match nearest(&key, known.chain(sections())) {
            Some(nearest) if sections().any(|section| section == nearest) => {
                format!("is not a known key. The nearest section is [{nearest}].")
            }
            Some(nearest) => format!("is not a known key. The nearest known key is {nearest}."),
            None => "is not a known key.".to_owned(),
        }
    };
    Problem { key: Some(key), place: setting.origin.to_string(), message }
}

/// Reads a TOML document: every value with its line.
///
/// # Errors
///
/// One problem for each syntax error. None of them repeats a part of the text, which may hold a secret.
pub(super) fn read_toml(text: &str, path: &Path) -> Result<Layer, Vec<Problem>> {
    let path: Arc<Path> = path.into();
    let (document, faults) = DeTable::parse_recoverable(text);
    if !faults.is_empty() {
        let problems = faults.iter().map(|fault| {
            let line = line_of(text, fault.span().unwrap_or_default().start);
            Problem {
                key: None,
                place: format!("{}:{line}", path.display()),
                message: format!("is not TOML here: {}.", fault.message().trim_end_matches('.')),
            }
        });
        return Err(problems.collect());
    }
    let mut layer = Layer::new();
    collect(document.into_inner(), "", &mut |key, offset, value| {
        let origin = Origin::File { path: Arc::clone(&path), line: line_of(text, offset) };
        layer.insert(key, Setting { value, origin });
    });
    Ok(layer)
}

/// Passes each value of `table` to `add`, with its dotted key and where it stands.
fn collect(table: DeTable<'_>, prefix: &str, add: &mut dyn FnMut(String, usize, Value)) {
    for (name, value) in table {
        let key = format!("{prefix}{}", name.get_ref());
        let is_section = SECTIONS.iter().any(|section| section.name == key);
        // An empty table of another name is likely a misspelt section.
        if let DeValue::Table(inner) = value.get_ref()
            && (is_section || !inner.is_empty())
        {
            collect(inner.clone(), &format!("{key}."), add);
        } else {
            add(key, name.span().start, value_of(value));
        }
    }
}

/// Returns a value, or an empty table, which no key accepts, in place of a number that is too large.
fn value_of(value: Spanned<DeValue<'_>>) -> Value {
    Value::deserialize(ValueDeserializer::from(value))
        .unwrap_or_else(|_| Value::Table(Table::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, Value, String)> {
        let layer = read_toml(text, Path::new("a.toml")).unwrap();
        let entry =
            |(key, setting): (String, Setting)| (key, setting.value, setting.origin.to_string());
        layer.into_iter().map(entry).collect()
    }

    fn layer(key: &str, value: impl Into<Value>) -> Layer {
        Layer::from([(
            key.to_owned(),
            Setting { value: value.into(), origin: Origin::Flag("--x") },
        )])
    }

    #[test]
    fn value_has_a_dotted_key_and_its_line() {
        let text = "\n[server]\nworkers = 0x10\n\n[channels.aliases]\ndemo = 'arn'\n";
        assert_eq!(
            read(text),
            [
                ("channels.aliases.demo".into(), "arn".into(), "a.toml:6".into()),
                ("server.workers".into(), Value::Integer(16), "a.toml:3".into()),
            ]
        );
    }

    #[test]
    fn empty_section_has_no_value_and_an_unknown_one_is_a_value() {
        assert!(read("[server]\n[channels.aliases]\n").is_empty());
        assert_eq!(
            read("[sever]\n"),
            [("sever".into(), Value::Table(Table::new()), "a.toml:1".into())]
        );
    }

    #[test]
    fn every_syntax_error_is_reported_without_the_text() {
        let text = "[server]\nlisten = hunter2\nworkers = 1\nworkers = 2\n";
        let problems = read_toml(text, Path::new("a.toml")).unwrap_err();
        let places: Vec<_> = problems.iter().map(|problem| problem.place.as_str()).collect();
        assert_eq!(places, ["a.toml:2", "a.toml:4"]);
        assert!(!format!("{problems:?}").contains("hunter2"), "{problems:?}");
    }

    #[test]
    fn later_layer_wins_and_unknown_keys_are_reported() {
        let mut layers = Layers::new();
        let mut over = layer("server.workers", 2);
        over.extend(layer("server.wrokers", 3));
        let problems = layers.lay(over, Path::new(""));
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].key.as_deref(), Some("server.wrokers"));
        assert_eq!(layers.get("server.workers").unwrap().value, Value::Integer(2));
    }

    #[test]
    fn relative_path_is_relative_to_the_folder_of_its_layer() {
        let mut layers = Layers::new();
        for (path, expected) in [("store", "/etc/ivs/store"), ("/srv/keys", "/srv/keys"), ("", "")]
        {
            layers.lay(layer("keys.dir", path), Path::new("/etc/ivs"));
            assert_eq!(layers.get("keys.dir").unwrap().value, expected.into());
        }
    }
}
