//! Constraints of the service model: members, types, limits and patterns, and their enforcement.
//!
//! The table in [`super::operations`] states the constraints of each operation. Types are checked
//! first: a member of the wrong type is a `SerializationException`, as when AWS cannot parse the
//! body. Then one `ValidationException` names every member that violates a constraint. The result
//! contains no `null`s and no unknown members.

use std::fmt;

use serde_json::{Map, Value};

use super::response::{ApiError, ErrorCode};

/// The most violations in a message. A body has room for many thousands.
const MAX_VIOLATIONS: usize = 100;

/// A member of an input, or of a structure in it. `null` counts as absent.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: &'static str,
    pub(crate) required: bool,
    pub(crate) shape: Shape,
}

/// The type of a member, with its limits. Limits are inclusive.
#[derive(Debug)]
pub(crate) enum Shape {
    Boolean,
    Integer {
        min: i64,
        max: i64,
    },
    List {
        min: usize,
        max: usize,
        item: &'static Self,
    },
    /// An object whose keys the caller chooses, with `max` entries at most.
    Map {
        max: usize,
        key: Text,
        value: Text,
    },
    /// A member of the model that the emulator does not act on. A call with it is refused, because
    /// ignoring it would be pretending.
    NotEmulated,
    /// An object with known members.
    Structure(&'static [Member]),
    Text(Text),
}

/// The constraints of a string, with its limits in characters.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) min: usize,
    pub(crate) max: usize,
    pub(crate) form: Form,
}

/// The pattern of a string.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    Any,
    /// `arn:aws:ivs:REGION:ACCOUNT:KIND/ID` of this kind.
    Arn(&'static str),
    /// The same, or the empty string.
    ArnOrEmpty(&'static str),
    /// The same, of any kind. The model's own pattern lacks a `+` and matches no ARN; this is what it
    /// means.
    ArnOfAnyKind,
    /// The name of an S3 bucket.
    BucketName,
    /// The name of a resource.
    Name,
    OneOf(&'static [&'static str]),
    PageToken,
    StreamId,
    /// The key of a tag. Keys that begin with `aws:` are reserved for AWS.
    TagKey,
    TagValue,
}

pub(crate) const fn optional(name: &'static str, shape: Shape) -> Member {
    Member { name, required: false, shape }
}

pub(crate) const fn required(name: &'static str, shape: Shape) -> Member {
    Member { name, required: true, shape }
}

pub(crate) const fn integer(min: i64, max: i64) -> Shape {
    Shape::Integer { min, max }
}

pub(crate) const fn list(min: usize, max: usize, item: &'static Shape) -> Shape {
    Shape::List { min, max, item }
}

pub(crate) const fn one_of(values: &'static [&'static str]) -> Shape {
    text(0, usize::MAX, Form::OneOf(values))
}

pub(crate) const fn text(min: usize, max: usize, form: Form) -> Shape {
    Shape::Text(Text { min, max, form })
}

impl Form {
    /// Returns whether `text` matches, whatever its length.
    pub(crate) fn matches(self, text: &str) -> bool {
        let all = |allowed: fn(u8) -> bool| text.bytes().all(allowed);
        match self {
            Self::Any => true,
            Self::Arn(kind) => arn_kind(text) == Some(kind),
            Self::ArnOrEmpty(kind) => text.is_empty() || arn_kind(text) == Some(kind),
            Self::ArnOfAnyKind => arn_kind(text).is_some(),
            Self::BucketName => all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte)
            }),
            Self::Name => all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)),
            Self::OneOf(values) => values.contains(&text),
            Self::PageToken => all(|byte| byte.is_ascii_alphanumeric() || b"+/=_-".contains(&byte)),
            Self::StreamId => text
                .strip_prefix("st-")
                .is_some_and(|rest| some(rest, |byte| byte.is_ascii_alphanumeric())),
            Self::TagKey => text.chars().all(in_tag) && !is_reserved(text),
            Self::TagValue => text.chars().all(in_tag),
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pattern: &str = match self {
            Self::Any => return f.write_str("it may be any text"),
            Self::OneOf(values) => return write!(f, "it must be one of {}", values.join(", ")),
            Self::Arn(kind) => &format!("arn:aws:ivs:[a-z0-9-]+:[0-9]+:{kind}/[a-zA-Z0-9-]+"),
            Self::ArnOrEmpty(kind) => {
                &format!("^$|^arn:aws:ivs:[a-z0-9-]+:[0-9]+:{kind}/[a-zA-Z0-9-]+$")
            }
            Self::ArnOfAnyKind => "arn:aws:ivs:[a-z0-9-]+:[0-9]+:[a-z-]+/[a-zA-Z0-9-]+",
            Self::BucketName => "[a-z0-9-.]+",
            Self::Name => "[a-zA-Z0-9-_]*",
            Self::PageToken => "[a-zA-Z0-9+/=_-]*",
            Self::StreamId => "st-[a-zA-Z0-9]+",
            Self::TagKey => r"[\p{L}\p{Z}\p{N}_.:/=+\-@]+ and must not begin with aws:",
            Self::TagValue => r"[\p{L}\p{Z}\p{N}_.:/=+\-@]*",
        };
        write!(f, "it must match {pattern}")
    }
}

/// Returns the resource kind in an ARN of IVS. Like the model's pattern, this accepts any number of
/// digits in the account.
fn arn_kind(text: &str) -> Option<&str> {
    let (region, rest) = text.strip_prefix("arn:aws:ivs:")?.split_once(':')?;
    let (account, resource) = rest.split_once(':')?;
    let (kind, id) = resource.split_once('/')?;
    let matches =
        some(region, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && some(account, |byte| byte.is_ascii_digit())
            && some(kind, |byte| byte.is_ascii_lowercase() || byte == b'-')
            && some(id, |byte| byte.is_ascii_alphanumeric() || byte == b'-');
    matches.then_some(kind)
}

fn some(text: &str, allowed: fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(allowed)
}

/// Matches `[\p{L}\p{Z}\p{N}_.:/=+\-@]`. "Alphabetic" in the standard library also includes the vowel
/// signs of some scripts, which `\p{L}` does not.
fn in_tag(character: char) -> bool {
    character.is_alphanumeric()
        || (character.is_whitespace() && !character.is_control())
        || "_.:/=+-@".contains(character)
}

fn is_reserved(key: &str) -> bool {
    key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:"))
}

/// Returns the members of `input` that the table lists, if all of them meet their constraints.
/// Messages call the object `name`.
pub(crate) fn validate(
    name: &str,
    members: &'static [Member],
    input: &Map<String, Value>,
) -> Result<Map<String, Value>, ApiError> {
    let mut violations = Violations::default();
    let known = violations.structure("", members, input);
    if !violations.types.is_empty() {
        return Err(ApiError::new(ErrorCode::Serialization, violations.types.join("; ")));
    }
    if !violations.missing.is_empty() || !violations.constraints.is_empty() {
        let missing =
            violations.missing.iter().map(|path| format!("{name}.{path} is a required attribute"));
        let violated = violations.constraints.iter().map(|(path, rule)| {
            format!("Request member: {path} failed to satisfy the constraints: {rule}")
        });
        let message: Vec<String> = missing.chain(violated).collect();
        return Err(ApiError::new(ErrorCode::Validation, message.join("; ")));
    }
    Ok(known)
}

/// What is wrong with an input, with the path of each member.
#[derive(Default)]
struct Violations {
    types: Vec<String>,
    missing: Vec<String>,
    constraints: Vec<(String, String)>,
}

impl Violations {
    fn structure(
        &mut self,
        path: &str,
        members: &'static [Member],
        input: &Map<String, Value>,
    ) -> Map<String, Value> {
        let mut known = Map::new();
        for member in members {
            if self.is_full() {
                break;
            }
            let path = if path.is_empty() {
                member.name.to_owned()
            } else {
                format!("{path}.{}", member.name)
            };
            match input.get(member.name) {
                None | Some(Value::Null) if member.required => self.missing.push(path),
                None | Some(Value::Null) => {}
                Some(value) => {
                    if let Some(value) = self.value(&path, &member.shape, value) {
                        known.insert(member.name.to_owned(), value);
                    }
                }
            }
        }
        known
    }

    fn value(&mut self, path: &str, shape: &'static Shape, value: &Value) -> Option<Value> {
        match shape {
            Shape::Boolean => {
                self.typed(path, "a boolean", value.as_bool())?;
            }
            Shape::Integer { min, max } => {
                let number = self.typed(path, "an integer", value.as_i64())?;
                if number < *min {
                    self.violated(path, format!("it must be at least {min}"));
                } else if number > *max {
                    self.violated(path, format!("it must be at most {max}"));
                }
            }
            Shape::List { min, max, item } => {
                let items = self.typed(path, "an array", value.as_array())?;
                self.length(path, "items", items.len(), *min, *max);
                return Some(self.items(path, item, items));
            }
            Shape::Map { max, key, value: value_text } => {
                let entries = self.typed(path, "an object", value.as_object())?;
                return Some(self.entries(path, (*max, key, value_text), entries));
            }
            Shape::NotEmulated => {
                self.violated(path, "it is not emulated; leave it out".to_owned());
            }
            Shape::Structure(members) => {
                let object = self.typed(path, "an object", value.as_object())?;
                return Some(Value::Object(self.structure(path, members, object)));
            }
            Shape::Text(text) => {
                let string = self.typed(path, "a string", value.as_str())?;
                self.text(path, text, string);
            }
        }
        Some(value.clone())
    }

    fn items(&mut self, path: &str, item: &'static Shape, items: &[Value]) -> Value {
        let mut known = Vec::with_capacity(items.len());
        for (index, value) in items.iter().enumerate() {
            if self.is_full() {
                break;
            }
            known.extend(self.value(&format!("{path}[{index}]"), item, value));
        }
        known.into()
    }

    /// The keys are the caller's, so messages about entries name only the map.
    fn entries(
        &mut self,
        path: &str,
        (max, key, value): (usize, &Text, &Text),
        entries: &Map<String, Value>,
    ) -> Value {
        let mut known = Map::new();
        for (name, entry) in entries.iter().filter(|(_, entry)| !entry.is_null()) {
            let Some(string) = self.typed(path, "an object of strings", entry.as_str()) else {
                break;
            };
            if self.is_full() {
                break;
            }
            self.text(&format!("{path} (a key)"), key, name);
            self.text(&format!("{path} (a value)"), value, string);
            known.insert(name.clone(), entry.clone());
        }
        self.length(path, "entries", known.len(), 0, max);
        known.into()
    }

    fn text(&mut self, path: &str, text: &Text, string: &str) {
        self.length(path, "characters", string.chars().count(), text.min, text.max);
        if !text.form.matches(string) {
            self.violated(path, text.form.to_string());
        }
    }

    fn length(&mut self, path: &str, unit: &str, length: usize, min: usize, max: usize) {
        if length < min {
            self.violated(path, format!("it must have at least {min} {unit}"));
        } else if length > max {
            self.violated(path, format!("it must have at most {max} {unit}"));
        }
    }

    fn is_full(&self) -> bool {
        self.types.len() + self.missing.len() + self.constraints.len() >= MAX_VIOLATIONS
    }

    fn violated(&mut self, path: &str, rule: String) {
        let violation = (path.to_owned(), rule);
        if !self.constraints.contains(&violation) {
            self.constraints.push(violation);
        }
    }

    fn typed<T>(&mut self, path: &str, expected: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.types.push(format!("Request member: {path} must be {expected}"));
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNEL: &str = "arn:aws:ivs:us-west-2:123456789012:channel/AbCdEfGh1234";

    #[test]
    fn arn_matches_only_its_kind() {
        assert!(Form::Arn("channel").matches(CHANNEL));
        assert!(Form::ArnOfAnyKind.matches(CHANNEL));
        assert!(Form::Arn("channel").matches("arn:aws:ivs:a:1:channel/-"));
        for text in [
            "",
            "arn:aws:ivs:us-west-2:123456789012:stream-key/a",
            "arn:aws-cn:ivs:us-west-2:123456789012:channel/a",
            "arn:aws:ivs::123456789012:channel/a",
            "arn:aws:ivs:us-west-2::channel/a",
            "arn:aws:ivs:us-west-2:123456789012:channel/",
            "arn:aws:ivs:us-west-2:123456789012:channel/a/b",
            "arn:aws:ivs:us-west-2:123456789012:channel/a\n",
            "arn:aws:ivs:us-west-2:12345678901\u{0662}:channel/a",
            " arn:aws:ivs:us-west-2:123456789012:channel/a",
        ] {
            assert!(!Form::Arn("channel").matches(text), "{text:?}");
        }
        assert!(Form::ArnOrEmpty("channel").matches(""));
        assert!(!Form::ArnOrEmpty("recording-configuration").matches(CHANNEL));
    }

    #[test]
    fn tags_accept_letters_of_any_script() {
        for key in
            ["a:b/c", "Stra\u{df}e", "\u{65e5}\u{672c}", "a b", "k+=@_.-", "awsome", "\u{661}"]
        {
            assert!(Form::TagKey.matches(key), "{key}");
        }
        for key in ["aws:x", "AWS:x", "a*b", "a\tb", "a\nb", "\u{1f600}", "a,b"] {
            assert!(!Form::TagKey.matches(key), "{key:?}");
        }
        assert!(Form::TagValue.matches(""));
        assert!(Form::TagValue.matches("aws:x"));
    }

    #[test]
    fn names_accept_only_ascii() {
        assert!(Form::Name.matches("Az-09_"));
        assert!(Form::Name.matches(""));
        for name in ["a b", "caf\u{e9}", "a.b", "a\n"] {
            assert!(!Form::Name.matches(name), "{name:?}");
        }
    }
}
