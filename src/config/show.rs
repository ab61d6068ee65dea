//! The configuration in force, for people: `config show`.

use std::fmt::Write as _;

use serde::{Serialize, Serializer};

use super::{
    Value,
    keys::{self, SECTIONS, split},
    layers::{Layers, Origin, Setting},
};

/// Every value in force and where it comes from, secrets redacted.
///
/// Serializes as an object per section, and `origins` by dotted key.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    layers: Layers,
    /// The variables that are not keys and are set.
    secrets: Vec<&'static str>,
}

impl Shown {
    pub(super) fn new(mut layers: Layers, secrets: Vec<&'static str>) -> Self {
        for key in keys::all().filter(|key| key.is_secret) {
            layers.redact(&key.name);
        }
        Self { layers, secrets }
    }

    pub(super) fn layers(&self) -> &Layers {
        &self.layers
    }

    /// Returns the keys that a layer above the defaults names, each as TOML and as the value of its
    /// environment variable.
    pub fn chosen(&self) -> impl Iterator<Item = (&str, String, String)> {
        let chosen = self.layers.iter().filter(|(_, setting)| setting.origin != Origin::Default);
        chosen.map(|(key, setting)| (key, setting.value.to_string(), variable_text(&setting.value)))
    }

    /// Returns a configuration file, in which a comment gives the origin of each value.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        for secret in &self.secrets {
            let _ = writeln!(text, "# {secret} is set");
        }
        for section in &*SECTIONS {
            let entries = self.layers.iter().filter(|(key, _)| split(key).0 == section.name);
            let mut entries: Vec<_> = entries.collect();
            if entries.is_empty() {
                continue;
            }
            entries
                .sort_by_key(|(key, _)| section.keys.iter().position(|known| known.name == *key));
            let separator = if text.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{separator}[{}]", section.name);
            for (key, Setting { value, origin }) in entries {
                let _ = writeln!(text, "{} = {value}  # {origin}", split(key).1);
            }
        }
        text
    }
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let origins = self.layers.iter().map(|(key, setting)| (key, setting.origin.to_string()));
        let secrets = self.secrets.iter().map(|name| (*name, "environment".to_owned()));
        let mut document = self.layers.tree();
        document.insert(
            "origins".to_owned(),
            Value::Table(
                origins
                    .chain(secrets)
                    .map(|(key, origin)| (key.to_owned(), origin.into()))
                    .collect(),
            ),
        );
        document.serialize(serializer)
    }
}

/// Returns a value as an environment variable holds it.
fn variable_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(variable_text).collect::<Vec<_>>().join(","),
        Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_)
        | Value::Table(_) => value.to_string(),
    }
}
