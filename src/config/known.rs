//! What is known about keys beyond their type: which are paths, secrets or tables of names, and
//! which known key somebody meant who wrote an unknown one.

/// The environment variables of keys begin so; the parts after it are separated by `__`.
pub(super) const VARIABLE_PREFIX: &str = "IVS_PLAYBACK_AUTH__";

/// Tables whose keys are names that the user chooses.
pub(super) const MAPS: [&str; 1] = ["channels.aliases"];

/// Keys whose value is a path.
const PATHS: [&str; 6] = [
    "access.clients",
    "audit.path",
    "keys.dir",
    "server.tls_cert",
    "server.tls_key",
    "viewers.deny_list",
];

/// Keys whose value may hold a secret, such as the password in a URL.
const SECRETS: [&str; 1] = ["shared.url"];

pub(super) fn is_path(key: &str) -> bool {
    PATHS.contains(&key)
}

pub(super) fn is_secret(key: &str) -> bool {
    SECRETS.contains(&key)
}

/// Whether `key` is an entry of a table whose names the user chooses.
pub(super) fn is_map_entry(key: &str) -> bool {
    map_entry(key).is_some()
}

/// The name that `key` has in a table whose names the user chooses.
pub(super) fn map_entry(key: &str) -> Option<&str> {
    MAPS.iter().find_map(|map| key.strip_prefix(map)?.strip_prefix('.'))
}

/// The environment variable of a key.
pub(super) fn variable_of(key: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
}

/// The known key that is nearest to `key`.
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
    fn the_nearest_key_is_the_one_that_was_meant() {
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
    fn map_entries_are_known_by_their_table() {
        assert_eq!(map_entry("channels.aliases.demo"), Some("demo"));
        assert_eq!(map_entry("channels.aliases.a.b"), Some("a.b"));
        assert_eq!(map_entry("channels.aliases"), None);
        assert_eq!(map_entry("channels.aliasesx.y"), None);
    }

    #[test]
    fn a_variable_spells_its_key() {
        assert_eq!(variable_of("tokens.max_ttl"), "IVS_PLAYBACK_AUTH__TOKENS__MAX_TTL");
    }
}
