//! The keys of the configuration, as the `Settings` of the modules declare them.

use std::sync::LazyLock;

use schemars::{JsonSchema, Schema, generate::SchemaSettings, transform::RecursiveTransform};
use serde_json::Value as Json;

use super::{Config, Value};

/// The environment variables of keys begin with this; the parts after it are separated by `__`.
pub(super) const VARIABLE_PREFIX: &str = "IVS_PLAYBACK_AUTH__";

/// The table whose keys are names that the operator chooses.
pub(super) const ALIASES: &str = "channels.aliases";

/// A section of the configuration.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) name: String,
    #[cfg_attr(not(test), expect(dead_code, reason = "a test writes the documentation"))]
    pub(super) description: String,
    /// In the order of their declaration.
    pub(super) keys: Vec<Key>,
}

/// A key of the configuration.
#[derive(Debug)]
pub(super) struct Key {
    /// Such as `server.listen`.
    pub(super) name: String,
    #[cfg_attr(not(test), expect(dead_code, reason = "a test writes the documentation"))]
    pub(super) description: String,
    pub(super) default: Value,
    /// Whether a relative value is relative to the file that has it.
    pub(super) is_path: bool,
    pub(super) is_secret: bool,
    /// What the value must be, where `serde` reads it and would repeat a wrong one.
    pub(super) expected: Option<String>,
    /// The feature that this version does not have and that any value but the default asks for.
    pub(super) not_available: Option<String>,
}

/// Every section, in the order of declaration.
pub(super) static SECTIONS: LazyLock<Vec<Section>> = LazyLock::new(|| {
    let schema = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let schema = Config::json_schema(&mut schema.into_generator()).to_value();
    members(&schema).flat_map(|(name, schema)| sections(name, schema)).collect()
});

/// Returns every key, in the order of declaration.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|section| &section.keys)
}

/// Returns the key with this name; an entry of [`ALIASES`] has none.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    all().find(|key| key.name == name)
}

/// Returns the JSON Schema of configuration files, by which editors complete and check them.
pub fn schema() -> Json {
    // A file names only the keys that it changes.
    let optional = RecursiveTransform(|schema: &mut Schema| {
        schema.remove("required");
    });
    let mut settings = SchemaSettings::draft2020_12().with_transform(optional);
    settings.inline_subschemas = true;
    settings.into_generator().into_root_schema_for::<Config>().to_value()
}

/// Returns the environment variable of a key.
pub(super) fn variable_of(key: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}

/// Returns the name of an entry of [`ALIASES`].
pub(super) fn alias_in(key: &str) -> Option<&str> {
    key.strip_prefix(ALIASES)?.strip_prefix('.')
}

/// Splits a key into its section and its name there.
pub(super) fn split(key: &str) -> (&str, &str) {
    match alias_in(key) {
        Some(name) => (ALIASES, name),
        None => key.rsplit_once('.').unwrap_or(("", key)),
    }
}

/// Returns the candidate that is nearest to `key`.
///
/// The last part of a key says more than its section, and inside the right section a part of the
/// name is enough: `server.timeout` is `server.request_timeout`, not `ivs.timeout`.
pub(super) fn nearest<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known.min_by_key(|candidate| distance(key, candidate))
}

fn distance(a: &str, b: &str) -> usize {
    let (a_section, a_name) = a.rsplit_once('.').unwrap_or(("", a));
    let (b_section, b_name) = b.rsplit_once('.').unwrap_or(("", b));
    let sections = strsim::damerau_levenshtein(a_section, b_section);
    let names = 2 * strsim::damerau_levenshtein(a_name, b_name);
    let contained = a_section == b_section
        && a_name.len() > 2
        && (b_name.contains(a_name) || a_name.contains(b_name));
    sections + if contained { names.min(3) } else { names }
}

/// Returns the members of an object schema in the order of declaration, which only `required` keeps: each member of a
/// struct without `#[serde(default)]` is in it.
fn members(schema: &Json) -> impl Iterator<Item = (&str, &Json)> {
    let names = schema["required"].as_array().into_iter().flatten().filter_map(Json::as_str);
    names.filter_map(|name| Some((name, schema.get("properties")?.get(name)?)))
}

/// Returns a section and the tables in it.
fn sections(name: &str, schema: &Json) -> Vec<Section> {
    let (tables, keys): (Vec<_>, Vec<_>) =
        members(schema).partition(|(_, member)| member["type"] == "object");
    let section = Section {
        name: name.to_owned(),
        description: text_of(schema),
        keys: keys.into_iter().map(|(key, schema)| key_of(name, key, schema)).collect(),
    };
    let tables =
        tables.into_iter().flat_map(|(table, schema)| sections(&format!("{name}.{table}"), schema));
    std::iter::once(section).chain(tables).collect()
}

fn key_of(section: &str, name: &str, schema: &Json) -> Key {
    let words: Vec<_> = schema["oneOf"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|choice| choice["const"].to_string())
        .collect();
    let expected = if words.is_empty() {
        (schema["type"] == "boolean").then(|| "must be true or false".to_owned())
    } else {
        Some(format!("must be {}", words.join(" or ")))
    };
    Key {
        name: format!("{section}.{name}"),
        description: text_of(schema),
        // A default that TOML cannot express is refused by the test that loads the defaults.
        default: Value::try_from(&schema["default"]).unwrap_or_else(|_| Value::Array(Vec::new())),
        is_path: schema["format"] == "path",
        is_secret: schema["writeOnly"] == true,
        expected,
        not_available: schema["x-not-available"].as_str().map(str::to_owned),
    }
}

/// Returns the doc comment of a declaration in one line.
fn text_of(schema: &Json) -> String {
    schema["description"].as_str().unwrap_or_default().replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 8] = [
        "access.clients",
        "ivs.regions",
        "ivs.timeout",
        "server.listen",
        "server.request_timeout",
        "server.tls_cert",
        "tokens.default_ttl",
        "tokens.max_ttl",
    ];

    #[test]
    fn nearest_key_is_the_one_that_was_meant() {
        let meant = [
            ("server.lisen", "server.listen"),
            ("server.timeout", "server.request_timeout"),
            ("server.listen.port", "server.listen"),
            ("serve.listen", "server.listen"),
            ("token.max_ttl", "tokens.max_ttl"),
            ("tokens.maxttl", "tokens.max_ttl"),
            ("server.max_ttl", "tokens.max_ttl"),
            ("ivs.region", "ivs.regions"),
            ("clients", "access.clients"),
        ];
        for (written, expected) in meant {
            assert_eq!(nearest(written, KNOWN.into_iter()), Some(expected), "{written}");
        }
    }

    #[test]
    fn alias_is_an_entry_of_its_table() {
        assert_eq!(alias_in("channels.aliases.demo"), Some("demo"));
        assert_eq!(alias_in("channels.aliases.a.b"), Some("a.b"));
        assert_eq!(alias_in("channels.aliases"), None);
        assert_eq!(alias_in("channels.aliasesx.y"), None);
    }

    #[test]
    fn variable_spells_its_key() {
        assert_eq!(variable_of("tokens.max_ttl"), "IVS_PLAYBACK_AUTH__TOKENS__MAX_TTL");
    }
}
