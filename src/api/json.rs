//! Strict JSON: a text becomes [`Json`], and [`Json::read`] turns that into the struct of a body.
//!
//! Both steps refuse more than serde does by default. The first one refuses duplicate members, which other
//! parsers resolve in different ways. The second one refuses `null` for a member that may only be absent: a
//! caller whose viewer id got lost must not receive a token that cannot be revoked. Errors say where the
//! first fault is, but never repeat a value.

use std::fmt;

use indexmap::IndexMap;
use serde::{
    Deserialize, Deserializer,
    de::{
        self, DeserializeOwned, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor,
        value::StrDeserializer,
    },
    forward_to_deserialize_any,
};
use serde_json::{Number, error::Category};

use crate::tokens::grant::Violation;

/// The longest name of an unknown member that is repeated in a pointer, in bytes.
const MAX_NAME: usize = 128;

/// A JSON value without duplicate members, in the order of its text.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    String(String),
    /// An array.
    Array(Vec<Self>),
    /// An object.
    Object(IndexMap<String, Self>),
}

impl Json {
    /// Parses a text that must be one JSON object. Nesting deeper than 128 levels is refused.
    ///
    /// # Errors
    ///
    /// The text is not JSON, is not an object, or has a duplicate member.
    pub fn parse_object(text: &[u8]) -> Result<Self, Malformed> {
        if text.is_empty() {
            return Err(Malformed { what: "is empty; send a JSON object", place: None });
        }
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let parsed = Self::deserialize(&mut deserializer)
            .and_then(|value| deserializer.end().map(|()| value))
            .map_err(|error| Malformed {
                what: match error.classify() {
                    Category::Data => "contains the same member twice",
                    Category::Eof => "ends in the middle of its JSON",
                    Category::Syntax | Category::Io => "is not valid JSON",
                },
                place: Some((error.line(), error.column())),
            })?;
        if matches!(parsed, Self::Object(_)) {
            Ok(parsed)
        } else {
            Err(Malformed { what: "is JSON, but not an object", place: None })
        }
    }

    /// Reads the value as a `T`.
    ///
    /// # Errors
    ///
    /// The first fault in its shape: a wrong type, or an unknown or missing member.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        T::deserialize(self)
    }

    /// Returns a member of an object if it is a string.
    pub fn text(&self, name: &str) -> Option<&str> {
        let Self::Object(members) = self else { return None };
        let Some(Self::String(text)) = members.get(name) else { return None };
        Some(text)
    }

    fn wrong_type(&self, expected: &str) -> Fault {
        let found = match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        };
        Fault::new(format!("must be {expected}, not {found}"))
    }
}

/// Why a text is not one JSON object. It completes a sentence that begins with "The body" or "The line".
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Malformed {
    what: &'static str,
    /// The line and column, from 1.
    place: Option<(usize, usize)>,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            None => f.write_str(self.what),
            Some((1, column)) => write!(f, "{} (column {column})", self.what),
            Some((line, column)) => write!(f, "{} (line {line}, column {column})", self.what),
        }
    }
}

/// An element of an array that is read on its own, so that a fault in it does not fail the others.
#[derive(Debug)]
pub struct Item<T> {
    /// The element as it was sent.
    pub source: Json,
    /// What it was read as.
    pub read: Result<T, Fault>,
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Item<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let source = Json::deserialize(deserializer)?;
        Ok(Self { read: source.read(), source })
    }
}

/// The first fault in the shape of a body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    pointer: String,
    /// What `problem` is said of, as far as it is known.
    subject: String,
    /// Whether `subject` ends with the name of a member.
    is_named: bool,
    problem: String,
}

impl Fault {
    fn new(problem: String) -> Self {
        Self { pointer: String::new(), subject: String::new(), is_named: false, problem }
    }

    /// Adds the member of a struct that the fault is in.
    fn in_member(self, name: &str) -> Self {
        let pointer = format!("{}{}", pointer_to(name), self.pointer);
        let subject = if self.is_named { self.subject } else { self.subject + name };
        Self { pointer, subject, is_named: true, ..self }
    }

    /// Adds the part of an array or a map that the fault is in.
    fn in_part(self, pointer: &str, part: &str) -> Self {
        let pointer = format!("{pointer}{}", self.pointer);
        let subject =
            if self.is_named { self.subject } else { format!("{part} of {}", self.subject) };
        Self { pointer, subject, ..self }
    }
}

impl From<Fault> for Violation {
    fn from(fault: Fault) -> Self {
        let Fault { pointer, subject, is_named, problem } = fault;
        let subject = if is_named { &subject } else { "This item" };
        Self { pointer, detail: format!("{subject} {problem}.") }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(problem: T) -> Self {
        Self::new(problem.to_string())
    }

    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(format!("must be {expected}"))
    }

    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(format!("must be {expected}"))
    }

    fn unknown_variant(_: &str, known: &'static [&'static str]) -> Self {
        Self::new(format!("must be one of {}", known.join(", ")))
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        let is_short = name.len() <= MAX_NAME;
        let distance = |known: &&&str| strsim::damerau_levenshtein(name, known);
        let nearest = known.iter().filter(|_| is_short).min_by_key(distance);
        let hint = nearest.map_or_else(
            || "see /openapi.json for the known members".to_owned(),
            |nearest| format!("the nearest known member is {nearest}"),
        );
        Self {
            // A pointer that is cut off would point nowhere.
            pointer: if is_short { pointer_to(name) } else { String::new() },
            subject: "This member".to_owned(),
            is_named: true,
            problem: format!("is unknown; {hint}"),
        }
    }

    fn missing_field(name: &'static str) -> Self {
        Self::new("is required".to_owned()).in_member(name)
    }
}

/// Returns the JSON Pointer to a member (RFC 6901, section 3).
fn pointer_to(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// Returns the integer that a number stands for, as in JSON Schema: `60.0` and `-0` are integers. Beyond 48
/// bits the parser may round a fraction or an exponent, so that what was written is no longer known.
fn integer(number: &Number) -> Option<i64> {
    const MAX: f64 = 281_474_976_710_656.0;
    number.as_i64().or_else(|| {
        let whole = number.as_f64().filter(|value| value.fract() == 0.0 && value.abs() <= MAX)?;
        #[expect(clippy::cast_possible_truncation, reason = "it is whole and has 48 bits")]
        Some(whole as i64)
    })
}

impl<'de> Deserializer<'de> for &'de Json {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self {
            Json::Null => visitor.visit_unit(),
            Json::Bool(value) => visitor.visit_bool(*value),
            Json::Number(number) => number.deserialize_any(visitor).map_err(de::Error::custom),
            Json::String(text) => visitor.visit_borrowed_str(text),
            Json::Array(_) => self.deserialize_seq(visitor),
            Json::Object(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Json::Bool(value) = self else { return Err(self.wrong_type("true or false")) };
        visitor.visit_bool(*value)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Json::Number(number) = self else { return Err(self.wrong_type("an integer")) };
        let integer = integer(number).ok_or_else(|| {
            Fault::new(
                "must be an integer that fits into 64 bits, or into 48 bits if it is written with a \
                 fraction or an exponent"
                    .to_owned(),
            )
        })?;
        visitor.visit_i64(integer)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Json::String(text) = self else { return Err(self.wrong_type("a string")) };
        visitor.visit_borrowed_str(text)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    /// Reads a member that was sent, so that `null` is not a way to omit it.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if *self == Json::Null {
            return Err(Fault::new("must not be null; omit the field instead".to_owned()));
        }
        visitor.visit_some(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Json::Array(items) = self else { return Err(self.wrong_type("an array")) };
        visitor.visit_seq(Items(items.iter().enumerate()))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Json::Object(members) = self else { return Err(self.wrong_type("an object")) };
        visitor.visit_map(Members { left: members.iter(), next: None, are_known: false })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let Json::Object(members) = self else { return Err(self.wrong_type("an object")) };
        visitor.visit_map(Members { left: members.iter(), next: None, are_known: true })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let Json::String(text) = self else { return Err(self.wrong_type("a string")) };
        visitor.visit_enum(StrDeserializer::new(text))
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct newtype_struct
        tuple tuple_struct identifier ignored_any
    }
}

struct Items<'de>(std::iter::Enumerate<std::slice::Iter<'de, Json>>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Some((index, item)) = self.0.next() else { return Ok(None) };
        let read = seed.deserialize(item);
        read.map(Some)
            .map_err(|fault| fault.in_part(&format!("/{index}"), &format!("Entry {index}")))
    }
}

struct Members<'de> {
    left: indexmap::map::Iter<'de, String, Json>,
    next: Option<(&'de String, &'de Json)>,
    /// Whether the names are those of a struct, rather than the caller's.
    are_known: bool,
}

impl<'de> MapAccess<'de> for Members<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        self.next = self.left.next();
        let Some((name, _)) = self.next else { return Ok(None) };
        seed.deserialize(name.as_str().into_deserializer()).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Fault> {
        let (name, value) =
            self.next.take().ok_or_else(|| de::Error::custom("has a value without a name"))?;
        seed.deserialize(value).map_err(|fault| {
            if self.are_known {
                fault.in_member(name)
            } else {
                fault.in_part(&pointer_to(name), "Each value")
            }
        })
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Parser)
    }
}

struct Parser;

impl<'de> Visitor<'de> for Parser {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Number::from_f64(value).map_or(Json::Null, Json::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let mut members = IndexMap::new();
        while let Some(name) = entries.next_key::<String>()? {
            if members.contains_key(&name) {
                return Err(de::Error::custom("a member appears twice"));
            }
            members.insert(name, entries.next_value()?);
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Body {
        viewer_id: Option<String>,
        ttl_seconds: Option<i64>,
        single_use: Option<bool>,
        #[serde(default)]
        origins: Vec<String>,
        #[serde(default)]
        tags: BTreeMap<String, String>,
        mode: Option<Mode>,
        #[serde(default)]
        items: Vec<Item<Element>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Mode {
        Fast,
        Slow,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Element {
        name: String,
    }

    fn read(text: &str) -> Result<Body, Violation> {
        Json::parse_object(text.as_bytes()).unwrap().read().map_err(Violation::from)
    }

    #[test]
    fn text_that_is_not_one_object_is_refused() {
        for (text, what) in [
            (&b""[..], "is empty; send a JSON object"),
            (b" ", "ends in the middle of its JSON (column 1)"),
            (b"{", "ends in the middle of its JSON (column 1)"),
            (b"[]", "is JSON, but not an object"),
            (b"1", "is JSON, but not an object"),
            (b"null", "is JSON, but not an object"),
            (b"{} {}", "is not valid JSON (column 4)"),
            (b"{\n\"a\":1,}", "is not valid JSON (line 2, column 7)"),
            (b"{\"a\":1,\"a\":1}", "contains the same member twice (column 10)"),
            (b"{\"x\":{\"a\":1,\"\\u0061\":1}}", "contains the same member twice (column 20)"),
            (b"{\"a\":1e400}", "is not valid JSON (column 10)"),
            (b"\xef\xbb\xbf{}", "is not valid JSON (column 1)"),
        ] {
            let refused = Json::parse_object(text).unwrap_err().to_string();
            assert_eq!(refused, what, "{}", text.escape_ascii());
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        for text in [&b"{\"a\":\"\xff\"}"[..], deep.as_bytes()] {
            assert!(Json::parse_object(text).is_err());
        }
    }

    #[test]
    fn integers_are_those_of_json_schema() {
        let integer = |text: &str| read(&format!("{{\"ttlSeconds\": {text}}}"));
        for (text, number) in [
            ("-0", 0),
            ("0.0", 0),
            ("60.0", 60),
            ("6e1", 60),
            ("-1.0", -1),
            ("281474976710656.0", 281_474_976_710_656),
            ("9223372036854775807", i64::MAX),
        ] {
            assert_eq!(integer(text).unwrap().ttl_seconds, Some(number), "{text}");
        }
        for text in ["1.5", "281474976710657.0", "1e300", "9223372036854775808", "\"1\"", "true"] {
            assert_eq!(integer(text).unwrap_err().pointer, "/ttlSeconds", "{text}");
        }
    }

    #[test]
    fn body_without_faults_is_read() {
        let body = read(
            r#"{"viewerId": "a", "singleUse": false, "origins": ["x"], "tags": {"team": "video"},
                "mode": "fast", "items": [{"name": "n"}, 5]}"#,
        );
        let body = body.unwrap();
        assert_eq!((body.viewer_id.as_deref(), body.single_use), (Some("a"), Some(false)));
        assert_eq!((body.origins, body.tags.len()), (vec!["x".to_owned()], 1));
        assert!(matches!(body.mode, Some(Mode::Fast)));
        let [good, bad] = &body.items[..] else { panic!("{:?}", body.items) };
        assert_eq!(good.read.as_ref().unwrap().name, "n");
        let fault = Violation::from(bad.read.as_ref().unwrap_err().clone());
        assert_eq!(fault.pointer, "");
        assert_eq!(fault.detail, "This item must be an object, not a number.");
        assert_eq!(good.source.text("name"), Some("n"));
    }

    #[test]
    fn first_fault_is_reported_without_the_value() {
        for (text, pointer, detail) in [
            (
                r#"{"viewerId": 7, "singleUse": 7}"#,
                "/viewerId",
                "viewerId must be a string, not a number.",
            ),
            (
                r#"{"singleUse": "secret", "viewerId": 7}"#,
                "/singleUse",
                "singleUse must be true or false, not a string.",
            ),
            (
                r#"{"viewerId": null}"#,
                "/viewerId",
                "viewerId must not be null; omit the field instead.",
            ),
            (
                r#"{"origins": ["a", null]}"#,
                "/origins/1",
                "Entry 1 of origins must be a string, not null.",
            ),
            (r#"{"origins": "secret"}"#, "/origins", "origins must be an array, not a string."),
            (
                r#"{"tags": {"a/b": 1}}"#,
                "/tags/a~1b",
                "Each value of tags must be a string, not a number.",
            ),
            (r#"{"mode": "secret"}"#, "/mode", "mode must be one of fast, slow."),
            (
                r#"{"viewer_id": "secret"}"#,
                "/viewer_id",
                "This member is unknown; the nearest known member is viewerId.",
            ),
        ] {
            let fault = read(text).unwrap_err();
            assert_eq!((fault.pointer.as_str(), fault.detail.as_str()), (pointer, detail));
        }
        let long = read(&format!("{{\"{}\": 1}}", "x".repeat(129))).unwrap_err();
        assert_eq!(long.pointer, "");
        let missing = Json::parse_object(b"{}").unwrap().read::<Element>().unwrap_err();
        let missing = Violation::from(missing);
        assert_eq!(
            (missing.pointer.as_str(), missing.detail.as_str()),
            ("/name", "name is required.")
        );
    }
}
