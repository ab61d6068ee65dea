//! Reads typed values out of [`Settings`] and collects what is wrong with them.

use std::collections::BTreeSet;

use super::{
    Problem, SECTIONS,
    known::{MAPS, map_entry, nearest},
    parse::Parsed,
    settings::{Origin, Setting, Settings, Value},
};

/// Features of the contract that this version does not have, by the key that asks for them. Only
/// the default of such a key is accepted: a setting without effect would be worse than none.
pub(super) const NOT_AVAILABLE: [(&str, &str); 4] = [
    ("server.trusted_proxies", "trusting the headers of a proxy"),
    ("shared.on_failure", "a shared engine"),
    ("shared.url", "a shared engine"),
    ("tokens.share", "sharing tokens between requests"),
];

/// Reads keys, remembering which were asked for and what was wrong.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    settings: &'a Settings,
    problems: Vec<Problem>,
    asked: BTreeSet<String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(settings: &'a Settings) -> Self {
        Self { settings, problems: Vec::new(), asked: BTreeSet::new() }
    }

    /// The value of `key`; nothing if it has a problem, which is then recorded.
    pub(super) fn read<T>(&mut self, key: &str, parse: fn(&Value) -> Parsed<T>) -> Option<T> {
        self.asked.insert(key.to_owned());
        let Some(setting) = self.settings.get(key) else {
            self.problem(key, "is missing from config/default.toml.");
            return None;
        };
        match parse(&setting.value) {
            Ok(value) => {
                self.check_availability(key, setting);
                Some(value)
            }
            Err(fault) => {
                self.problem(key, &format!("{fault}."));
                None
            }
        }
    }

    /// The value of `key` where it has no problem; says nothing otherwise.
    pub(super) fn peek<T>(&self, key: &str, parse: fn(&Value) -> Parsed<T>) -> Option<T> {
        parse(&self.settings.get(key)?.value).ok()
    }

    /// Whether `key` is set by an environment variable.
    pub(super) fn is_set_by_variable(&self, key: &str) -> bool {
        self.settings.get(key).is_some_and(|setting| matches!(setting.origin, Origin::Variable(_)))
    }

    /// The keys of a table whose names the user chooses, with their names.
    pub(super) fn entries(&self, map: &str) -> Vec<(String, String)> {
        debug_assert!(MAPS.contains(&map), "{map} is a table of names");
        self.settings
            .iter()
            .filter_map(|(key, _)| Some((key.to_owned(), map_entry(key)?.to_owned())))
            .filter(|(key, _)| key.starts_with(map))
            .collect()
    }

    /// Records that something is wrong with `key`, at the place where it is set.
    pub(super) fn problem(&mut self, key: &str, message: &str) {
        let place = self
            .settings
            .get(key)
            .map_or_else(|| "config/default.toml".to_owned(), |setting| setting.origin.to_string());
        self.problems.push(Problem {
            key: Some(key.to_owned()),
            place,
            message: message.to_owned(),
        });
    }

    /// Records something that is wrong with no key, but with a flag.
    pub(super) fn flag_problem(&mut self, flag: &str, message: &str) {
        let message = message.to_owned();
        self.problems.push(Problem { key: None, place: flag.to_owned(), message });
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    fn check_availability(&mut self, key: &str, setting: &Setting) {
        let feature = NOT_AVAILABLE.iter().find(|(unavailable, _)| *unavailable == key);
        if let Some((_, feature)) = feature
            && let Some(default) = self.settings.default_of(key)
            && *default != setting.value
        {
            let message = format!(
                "asks for {feature}, which is not available in this version. Leave it at its \
                 default, {default}."
            );
            self.problem(key, &message);
        }
    }
}

impl Settings {
    /// The problem of a key that is not known.
    pub(super) fn unknown(&self, key: &str, setting: &Setting) -> Problem {
        let known = self.iter().map(|(known, _)| known);
        let message = if self.iter().any(|(known, _)| is_inside(known, key)) {
            format!("is a section; put its keys under [{key}].")
        } else {
            match nearest(key, known.chain(SECTIONS)) {
                Some(section) if SECTIONS.contains(&section) => {
                    format!("is not a known key. The nearest section is [{section}].")
                }
                Some(nearest) => {
                    format!("is not a known key. The nearest known key is {nearest}.")
                }
                None => "is not a known key.".to_owned(),
            }
        };
        Problem { key: Some(key.to_owned()), place: setting.origin.to_string(), message }
    }
}

fn is_inside(key: &str, section: &str) -> bool {
    key.strip_prefix(section).is_some_and(|rest| rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Overrides, defaults, sections, show::Shown},
        *,
    };

    /// `config/default.toml` and the typed tree have the same keys.
    #[test]
    fn every_default_is_read_and_everything_read_has_a_default() {
        let settings = Settings::new(defaults(&mut Vec::new()));
        let mut reader = Reader::new(&settings);
        assert!(sections::read(&mut reader, Overrides::default()).is_some());
        assert_eq!(reader.problems, []);
        let known: BTreeSet<_> = settings.iter().map(|(key, _)| key.to_owned()).collect();
        assert_eq!(reader.asked, known);
        assert!(Shown::new(&settings, []).to_toml().contains("max_ttl = \"1h\""));
    }

    #[test]
    fn what_is_not_available_is_a_known_key() {
        let settings = Settings::new(defaults(&mut Vec::new()));
        for (key, _) in NOT_AVAILABLE {
            assert!(settings.knows(key), "{key}");
        }
    }
}
