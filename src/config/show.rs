//! The effective configuration for people: `config show`.

use std::fmt::Write as _;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value as Json, json};

use super::{
    SECTIONS,
    known::{MAPS, is_secret},
    settings::{Settings, Value},
};

/// How `Origin::Default` is written.
const DEFAULT_ORIGIN: &str = "default";

/// What is shown in place of a secret.
const REDACTED: &str = "(redacted)";

/// Every effective value and where it comes from, secrets redacted.
///
/// Serialises as an object a section, and `origins` by dotted key.
#[derive(Clone, Debug)]
pub struct Shown {
    entries: Vec<Entry>,
    /// The variables that are no keys and are set.
    secrets: Vec<&'static str>,
}

#[derive(Clone, Debug)]
struct Entry {
    section: String,
    name: String,
    value: Value,
    origin: String,
}

impl Shown {
    pub(super) fn new(
        settings: &Settings,
        secrets: impl IntoIterator<Item = (&'static str, bool)>,
    ) -> Self {
        let mut entries: Vec<_> = settings
            .iter()
            .map(|(key, setting)| {
                let (section, name) = split(key);
                let hidden = is_secret(key) && setting.value != Value::Text(String::new());
                Entry {
                    section: section.to_owned(),
                    name: name.to_owned(),
                    value: if hidden {
                        Value::Text(REDACTED.to_owned())
                    } else {
                        setting.value.clone()
                    },
                    origin: setting.origin.to_string(),
                }
            })
            .collect();
        entries.sort_by_key(|entry| position(&entry.section));
        let secrets = secrets.into_iter().filter_map(|(name, is_set)| is_set.then_some(name));
        Self { entries, secrets: secrets.collect() }
    }

    pub(super) fn is_chosen(&self, key: &str) -> bool {
        let (section, name) = split(key);
        self.entries.iter().any(|entry| {
            entry.section == section && entry.name == name && entry.origin != DEFAULT_ORIGIN
        })
    }

    /// Returns the keys that a layer above the defaults names, each as TOML and as the value of its
    /// environment variable.
    pub fn chosen(&self) -> impl Iterator<Item = (String, String, String)> {
        let chosen = self.entries.iter().filter(|entry| entry.origin != DEFAULT_ORIGIN);
        chosen.map(|entry| {
            let key = format!("{}.{}", entry.section, entry.name);
            (key, entry.value.to_string(), entry.value.to_variable())
        })
    }

    /// Returns where a value comes from.
    pub(super) fn place_of(&self, key: &str) -> String {
        let (section, name) = split(key);
        let entry =
            self.entries.iter().find(|entry| entry.section == section && entry.name == name);
        entry.map_or_else(|| DEFAULT_ORIGIN.to_owned(), |entry| entry.origin.clone())
    }

    /// As a configuration file, each value with its origin as a comment.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        for secret in &self.secrets {
            let _ = writeln!(text, "# {secret} is set");
        }
        let mut section = "";
        for entry in &self.entries {
            if entry.section != section {
                section = &entry.section;
                let separator = if text.is_empty() { "" } else { "\n" };
                let _ = writeln!(text, "{separator}[{section}]");
            }
            let _ = writeln!(text, "{} = {}  # {}", entry.name, entry.value, entry.origin);
        }
        text
    }

    fn to_json(&self) -> Json {
        let mut document = Map::new();
        let mut origins = Map::new();
        for entry in &self.entries {
            let mut table = &mut document;
            for part in entry.section.split('.') {
                let inner = table.entry(part).or_insert_with(|| json!({}));
                let Json::Object(inner) = inner else { return Json::Null };
                table = inner;
            }
            table.insert(entry.name.clone(), entry.value.to_json());
            origins.insert(format!("{}.{}", entry.section, entry.name), json!(entry.origin));
        }
        origins.extend(self.secrets.iter().map(|name| ((*name).to_owned(), json!("environment"))));
        document.insert("origins".to_owned(), Json::Object(origins));
        Json::Object(document)
    }
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

/// The section and the name in it; an alias is in the section `channels.aliases`.
fn split(key: &str) -> (&str, &str) {
    MAPS.iter()
        .find_map(|map| Some((*map, key.strip_prefix(map)?.strip_prefix('.')?)))
        .or_else(|| key.split_once('.'))
        .unwrap_or(("", key))
}

/// Sections in the order of `config/default.toml`; a table after the section it belongs to.
fn position(section: &str) -> (usize, bool) {
    let outer = section.split('.').next().unwrap_or(section);
    let index = SECTIONS.iter().position(|known| *known == outer).unwrap_or(SECTIONS.len());
    (index, section != outer)
}
