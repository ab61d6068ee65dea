//! The layers as one flat table: dotted key to value, with where the value comes from.
//!
//! A [`Layer`] is what one source says. [`Settings`] starts as the defaults, and each layer laid
//! over it replaces the values that it names. The defaults are also the list of known keys.

use std::{collections::BTreeMap, fmt, path::Path, sync::Arc};

use super::known::{is_map_entry, is_path};

/// A value as a source wrote it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    List(Vec<Self>),
    /// From a source without types, the environment or a flag: read as what the default is.
    Untyped(String),
    /// What no key takes: a date, or a table where a value belongs.
    Other,
}

/// Where a value comes from; what a person must edit to change it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Origin {
    /// `config/default.toml`.
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
#[derive(Debug)]
pub(super) struct Settings {
    defaults: Layer,
    values: Layer,
}

impl Settings {
    pub(super) fn new(defaults: Layer) -> Self {
        Self { values: defaults.clone(), defaults }
    }

    /// Whether the configuration has this key.
    pub(super) fn knows(&self, key: &str) -> bool {
        is_map_entry(key) || self.defaults.contains_key(key)
    }

    /// The default of a key; entries of a table of names have none.
    pub(super) fn default_of(&self, key: &str) -> Option<&Value> {
        self.defaults.get(key).map(|setting| &setting.value)
    }

    pub(super) fn get(&self, key: &str) -> Option<&Setting> {
        self.values.get(key)
    }

    /// Every value in the order of its key.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.values.iter().map(|(key, setting)| (key.as_str(), setting))
    }

    /// Lays `layer` over what is there. Relative paths in it are relative to `base`. What it says
    /// about unknown keys is handed back.
    pub(super) fn lay(&mut self, layer: Layer, base: &Path) -> Layer {
        let (known, unknown): (Layer, Layer) =
            layer.into_iter().partition(|(key, _)| self.knows(key));
        for (key, mut setting) in known {
            setting.value = setting.value.typed_like(self.default_of(&key));
            if is_path(&key) {
                setting.value = setting.value.based_on(base);
            }
            self.values.insert(key, setting);
        }
        unknown
    }
}

impl Value {
    /// Gives an untyped value the type of `default`, where its text has that form; otherwise it
    /// becomes text, and whoever reads it says what is wrong.
    fn typed_like(self, default: Option<&Self>) -> Self {
        let Self::Untyped(text) = self else { return self };
        let typed = match default {
            Some(Self::Integer(_) | Self::Float(_)) => {
                let integer = text.parse().map(Self::Integer).ok();
                integer.or_else(|| text.parse().map(Self::Float).ok())
            }
            Some(Self::Boolean(_)) => text.parse().map(Self::Boolean).ok(),
            Some(Self::List(_)) => Some(Self::List(
                text.split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty())
                    .map(|item| Self::Text(item.to_owned()))
                    .collect(),
            )),
            Some(Self::Text(_) | Self::Untyped(_) | Self::Other) | None => None,
        };
        typed.unwrap_or(Self::Text(text))
    }

    /// As an environment variable holds it.
    pub(super) fn to_variable(&self) -> String {
        match self {
            Self::Text(text) | Self::Untyped(text) => text.clone(),
            Self::List(items) => items.iter().map(Self::to_variable).collect::<Vec<_>>().join(","),
            Self::Integer(_) | Self::Float(_) | Self::Boolean(_) | Self::Other => self.to_string(),
        }
    }

    pub(super) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Text(text) | Self::Untyped(text) => text.as_str().into(),
            Self::Integer(number) => (*number).into(),
            Self::Float(number) => (*number).into(),
            Self::Boolean(boolean) => (*boolean).into(),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Other => serde_json::Value::Null,
        }
    }

    /// A relative path as one that begins at `base`; an empty one means none, and stays.
    fn based_on(self, base: &Path) -> Self {
        if let Self::Text(text) = &self
            && !text.is_empty()
        {
            // `base` may be no Unicode; such a folder is given up, since settings are text.
            Self::Text(base.join(text).to_string_lossy().into_owned())
        } else {
            self
        }
    }
}

impl fmt::Display for Value {
    /// As TOML.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn toml(value: &Value) -> toml::Value {
            match value {
                Value::Text(text) | Value::Untyped(text) => text.clone().into(),
                Value::Integer(number) => (*number).into(),
                Value::Float(number) => (*number).into(),
                Value::Boolean(boolean) => (*boolean).into(),
                Value::List(items) => toml::Value::Array(items.iter().map(toml).collect()),
                Value::Other => toml::Value::Array(Vec::new()),
            }
        }
        toml(self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(key: &str, value: Value, origin: Origin) -> Layer {
        Layer::from([(key.to_owned(), Setting { value, origin })])
    }

    fn untyped(text: &str, default: &Value) -> Value {
        Value::Untyped(text.to_owned()).typed_like(Some(default))
    }

    #[test]
    fn an_untyped_value_takes_the_type_of_the_default() {
        let list = || Value::List(Vec::new());
        let text = |text: &str| Value::Text(text.to_owned());
        assert_eq!(untyped("8", &Value::Integer(0)), Value::Integer(8));
        assert_eq!(untyped("0.5", &Value::Integer(4)), Value::Float(0.5));
        assert_eq!(untyped("eight", &Value::Integer(0)), text("eight"));
        assert_eq!(untyped("true", &Value::Boolean(false)), Value::Boolean(true));
        assert_eq!(untyped("yes", &Value::Boolean(false)), text("yes"));
        assert_eq!(untyped("30s", &text("")), text("30s"));
        assert_eq!(untyped("", &list()), list());
        assert_eq!(untyped(" a, b ,", &list()), Value::List(vec![text("a"), text("b")]));
    }

    #[test]
    fn a_later_layer_wins_and_unknown_keys_come_back() {
        let mut settings =
            Settings::new(layer("server.workers", Value::Integer(0), Origin::Default));
        let mut over = layer("server.workers", Value::Integer(2), Origin::Flag("--workers"));
        over.extend(layer("server.wrokers", Value::Integer(3), Origin::Flag("--workers")));
        let unknown = settings.lay(over, Path::new(""));
        assert_eq!(unknown.keys().collect::<Vec<_>>(), ["server.wrokers"]);
        assert_eq!(settings.get("server.workers").unwrap().value, Value::Integer(2));
    }

    #[test]
    fn relative_paths_are_relative_to_the_layers_folder() {
        let text = |text: &str| Value::Text(text.to_owned());
        let mut settings = Settings::new(layer("keys.dir", text("keys"), Origin::Default));
        settings.lay(layer("keys.dir", text("store"), Origin::Default), Path::new("/etc/ivs"));
        assert_eq!(settings.get("keys.dir").unwrap().value, text("/etc/ivs/store"));
        settings.lay(layer("keys.dir", text("/srv/keys"), Origin::Default), Path::new("/etc/ivs"));
        assert_eq!(settings.get("keys.dir").unwrap().value, text("/srv/keys"));
        settings.lay(layer("keys.dir", text(""), Origin::Default), Path::new("/etc/ivs"));
        assert_eq!(settings.get("keys.dir").unwrap().value, text(""));
    }
}
