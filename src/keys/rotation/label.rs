//! The name and tags that a caller gives a key pair, checked by IVS's rules.

use std::collections::BTreeMap;

use crate::keys::keyring::RESERVED_TAG_PREFIX;

/// The longest name, in characters (service model, `PlaybackKeyPairName`).
const MAX_NAME: usize = 128;
/// The longest key of a tag, in characters (service model, `TagKey`, `TagValue`).
pub const MAX_TAG_KEY: usize = 128;
/// The longest value of a tag, in characters.
pub const MAX_TAG_VALUE: usize = 256;
/// The most tags of a pair: IVS allows 50 per resource, and two are ours.
pub const MAX_TAGS: usize = 48;

/// A name and tags that IVS accepts.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Label {
    name: Option<String>,
    tags: BTreeMap<String, String>,
}

/// A rule that a name or tag breaks.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LabelFault {
    /// The JSON pointer (RFC 6901) in a request with the members `name` and `tags`.
    pub pointer: String,
    /// The rule, without the value.
    pub detail: String,
}

impl Label {
    /// Checks a name and tags. Without a name, or with an empty one, the pair gets a generated name.
    ///
    /// # Errors
    ///
    /// Returns every rule that is broken.
    pub fn new(
        name: Option<String>,
        tags: BTreeMap<String, String>,
    ) -> Result<Self, Vec<LabelFault>> {
        let mut faults = Vec::new();
        let mut fault =
            |pointer: String, detail: String| faults.push(LabelFault { pointer, detail });
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if let Some(name) = &name {
            if name.len() > MAX_NAME {
                fault("/name".to_owned(), format!("A name has at most {MAX_NAME} characters."));
            }
            if !name.chars().all(allowed) {
                let detail = "A name has letters, digits, hyphens and underscores only.";
                fault("/name".to_owned(), detail.to_owned());
            }
        }
        if tags.len() > MAX_TAGS {
            fault("/tags".to_owned(), format!("There can be at most {MAX_TAGS} tags."));
        }
        for (key, value) in &tags {
            let pointer = format!("/tags/{}", key.replace('~', "~0").replace('/', "~1"));
            if key.is_empty() || key.chars().count() > MAX_TAG_KEY {
                let detail = format!("The key of a tag has 1 to {MAX_TAG_KEY} characters.");
                fault(pointer.clone(), detail);
            }
            if value.chars().count() > MAX_TAG_VALUE {
                let detail = format!("The value of a tag has at most {MAX_TAG_VALUE} characters.");
                fault(pointer.clone(), detail);
            }
            if !key.chars().chain(value.chars()).all(is_tag_character) {
                let detail =
                    "Key and value of a tag have letters, digits, spaces and _ . : / = + - @ only.";
                fault(pointer.clone(), detail.to_owned());
            }
            if key.starts_with(RESERVED_TAG_PREFIX) {
                let detail =
                    format!("Tags that begin with {RESERVED_TAG_PREFIX} are set by this service.");
                fault(pointer.clone(), detail);
            }
            // "Tags beginning with aws: are reserved" holds for every AWS service, in any case.
            if key.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("aws:")) {
                fault(pointer, "Tags that begin with aws: are reserved by AWS.".to_owned());
            }
        }
        if faults.is_empty() {
            Ok(Self { name: name.filter(|name| !name.is_empty()), tags })
        } else {
            Err(faults)
        }
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(super) fn tags(&self) -> &BTreeMap<String, String> {
        &self.tags
    }
}

/// `[\p{L}\p{Z}\p{N}_.:/=+\-@]` (service model, `TagKey`, `TagValue`), as near as the standard library
/// comes: its "alphabetic" also holds the vowel signs of some scripts, which `\p{L}` does not, so IVS
/// may still refuse one of these. White space that is no control character is `\p{Z}` exactly.
fn is_tag_character(c: char) -> bool {
    c.is_alphanumeric() || (c.is_whitespace() && !c.is_control()) || "_.:/=+-@".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(name: &str, tags: &[(&str, &str)]) -> Vec<String> {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        match Label::new(Some(name.to_owned()), tags.collect()) {
            Ok(_) => Vec::new(),
            Err(faults) => faults.into_iter().map(|fault| fault.pointer).collect(),
        }
    }

    #[test]
    fn broken_rules_of_ivs_are_reported_all_at_once() {
        assert!(faults("", &[]).is_empty());
        assert!(faults(&"a".repeat(128), &[("key", ""), ("k/y", "ü")]).is_empty());
        assert_eq!(faults(&"a".repeat(129), &[]), ["/name"]);
        assert_eq!(faults("a b", &[("", "")]), ["/name", "/tags/"]);
        assert_eq!(faults("a", &[("a/b", &"v".repeat(257))]), ["/tags/a~1b"]);
        assert_eq!(faults("a", &[("a~b", "")]), ["/tags/a~0b"]);
        assert_eq!(faults("a", &[("ivs-playback-auth:version", "x")]).len(), 1);
        assert_eq!(faults("a", &[("AWS:x", "x")]).len(), 1);
        for good in ["a:b/c", "a b", "_.:/=+-@", "\u{65e5}\u{672c}", "\u{a0}", "\u{661}"] {
            assert!(faults("a", &[(good, good)]).is_empty(), "{good}");
        }
        for bad in ["a*b", "a,b", "a\tb", "a\nb", "\u{85}", "\u{1f600}", "\"", "a&b"] {
            assert_eq!(faults("a", &[(bad, "")]).len(), 1, "{bad:?}");
            assert_eq!(faults("a", &[("key", bad)]), ["/tags/key"], "{bad:?}");
        }
        let many: Vec<_> = (0..49).map(|number| number.to_string()).collect();
        let many: Vec<_> = many.iter().map(|key| (key.as_str(), "")).collect();
        assert_eq!(faults("a", &many), ["/tags"]);
    }
}
