//! What the service model says of an input: members, types, limits, patterns.
//!
//! The vocabulary of the table in [`super::operations`], which is the only place that states a
//! constraint, and of [`super::validate`], which is the only place that enforces one.

use std::fmt;

/// A member of an input or of a structure in it.
#[derive(Debug)]
pub(in crate::emulator) struct Member {
    pub(in crate::emulator) name: &'static str,
    pub(in crate::emulator) required: bool,
    pub(in crate::emulator) shape: Shape,
}

impl Member {
    /// A member that a caller may leave out. `null` is as if left out.
    pub(in crate::emulator) const fn optional(name: &'static str, shape: Shape) -> Self {
        Self { name, required: false, shape }
    }

    /// A member without which the call is refused.
    pub(in crate::emulator) const fn required(name: &'static str, shape: Shape) -> Self {
        Self { name, required: true, shape }
    }
}

/// The type of a member, with its limits. Every limit includes its bound.
#[derive(Debug)]
pub(in crate::emulator) enum Shape {
    /// `true` or `false`
    Boolean,
    /// A whole number.
    Integer {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// An array.
    List {
        /// The fewest items.
        min: usize,
        /// The most items.
        max: usize,
        /// What each item is.
        item: &'static Self,
    },
    /// An object with keys that the caller chooses.
    Map {
        /// The most entries.
        max: usize,
        /// What each key is.
        key: Text,
        /// What each value is.
        value: Text,
    },
    /// A member of the model that the emulator does not act on. A call with it is refused, since
    /// to ignore it would be to pretend.
    NotEmulated,
    /// An object with known members.
    Structure(&'static [Member]),
    /// A string.
    Text(Text),
}

/// The constraints of a string.
#[derive(Debug)]
pub(in crate::emulator) struct Text {
    /// The fewest characters.
    pub(in crate::emulator) min: usize,
    /// The most characters.
    pub(in crate::emulator) max: usize,
    /// What the characters may be.
    pub(in crate::emulator) form: Form,
}

/// What the characters of a string may be.
#[derive(Clone, Copy, Debug)]
pub(in crate::emulator) enum Form {
    /// Anything.
    Any,
    /// `arn:aws:ivs:REGION:ACCOUNT:KIND/ID`, with this kind.
    Arn(&'static str),
    /// The same, or nothing at all.
    ArnOrEmpty(&'static str),
    /// The same, with any kind. The model's own pattern lacks a `+` here and fits no ARN; what it
    /// means is enforced.
    ArnOfAnyKind,
    /// The name of an S3 bucket.
    BucketName,
    /// The name of a resource.
    Name,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// A page token.
    PageToken,
    /// `st-` and letters or digits.
    StreamId,
    /// The key of a tag. Keys that begin with `aws:` are AWS's own.
    TagKey,
    /// The value of a tag.
    TagValue,
}

impl Form {
    /// Whether `text` has this form, whatever its length.
    pub(in crate::emulator) fn matches(self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Arn(kind) => arn_kind(text) == Some(kind),
            Self::ArnOrEmpty(kind) => text.is_empty() || arn_kind(text) == Some(kind),
            Self::ArnOfAnyKind => arn_kind(text).is_some(),
            Self::BucketName => all(text, |byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte)
            }),
            Self::Name => all(text, |byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)),
            Self::OneOf(values) => values.contains(&text),
            Self::PageToken => {
                all(text, |byte| byte.is_ascii_alphanumeric() || b"+/=_-".contains(&byte))
            }
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
        match self {
            Self::Any => f.write_str("it may be any text"),
            Self::Arn(kind) => {
                write!(f, "it must match arn:aws:ivs:[a-z0-9-]+:[0-9]+:{kind}/[a-zA-Z0-9-]+")
            }
            Self::ArnOrEmpty(kind) => {
                write!(f, "it must match ^$|^arn:aws:ivs:[a-z0-9-]+:[0-9]+:{kind}/[a-zA-Z0-9-]+$")
            }
            Self::ArnOfAnyKind => {
                f.write_str("it must match arn:aws:ivs:[a-z0-9-]+:[0-9]+:[a-z-]+/[a-zA-Z0-9-]+")
            }
            Self::BucketName => f.write_str("it must match [a-z0-9-.]+"),
            Self::Name => f.write_str("it must match [a-zA-Z0-9-_]*"),
            Self::OneOf(values) => write!(f, "it must be one of {}", values.join(", ")),
            Self::PageToken => f.write_str("it must match [a-zA-Z0-9+/=_-]*"),
            Self::StreamId => f.write_str("it must match st-[a-zA-Z0-9]+"),
            Self::TagKey => f.write_str(
                r"it must match [\p{L}\p{Z}\p{N}_.:/=+\-@]+ and must not begin with aws:",
            ),
            Self::TagValue => f.write_str(r"it must match [\p{L}\p{Z}\p{N}_.:/=+\-@]*"),
        }
    }
}

/// The kind of resource that an ARN of IVS names. The model's pattern allows any number of digits
/// in the account, and so does this.
fn arn_kind(text: &str) -> Option<&str> {
    let (region, rest) = text.strip_prefix("arn:aws:ivs:")?.split_once(':')?;
    let (account, resource) = rest.split_once(':')?;
    let (kind, id) = resource.split_once('/')?;
    let fits =
        some(region, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && some(account, |byte| byte.is_ascii_digit())
            && some(kind, |byte| byte.is_ascii_lowercase() || byte == b'-')
            && some(id, |byte| byte.is_ascii_alphanumeric() || byte == b'-');
    fits.then_some(kind)
}

fn all(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    text.bytes().all(allowed)
}

fn some(text: &str, allowed: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && all(text, allowed)
}

/// `[\p{L}\p{Z}\p{N}_.:/=+\-@]`. The standard library's "alphabetic" also holds the vowel signs of
/// some scripts, which `\p{L}` does not.
fn in_tag(character: char) -> bool {
    character.is_alphanumeric()
        || (character.is_whitespace() && !character.is_control())
        || "_.:/=+-@".contains(character)
}

fn is_reserved(key: &str) -> bool {
    key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNEL: &str = "arn:aws:ivs:us-west-2:123456789012:channel/AbCdEfGh1234";

    #[test]
    fn an_arn_has_its_kind() {
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
    fn tags_take_letters_of_any_script() {
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
    fn names_are_ascii() {
        assert!(Form::Name.matches("Az-09_"));
        assert!(Form::Name.matches(""));
        for name in ["a b", "caf\u{e9}", "a.b", "a\n"] {
            assert!(!Form::Name.matches(name), "{name:?}");
        }
    }
}
