//! Strict JSON: one object, no member twice, every fault of its members at once.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "every other type of JSON value is the wrong one, and JSON gets no new types"
)]

use std::fmt;

use serde::{
    Deserializer,
    de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

use super::problem::{ApiError, ProblemType};
use crate::tokens::grant::Violation;

/// Reads a body that must be one JSON object.
///
/// # Errors
///
/// `invalid_json`, which says where but never repeats what was there.
pub(super) fn parse_object(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    read_object(body, "body").map_err(|fault| {
        let Fault { detail, place } = fault;
        let place = place.map(|(line, column)| format!(" (line {line}, column {column})"));
        let detail = format!("{detail}{}.", place.unwrap_or_default());
        ApiError::new(ProblemType::InvalidJson, detail)
    })
}

/// Reads a line that must be one JSON object, by the rules of a body.
///
/// # Errors
///
/// It is none: a sentence, which says where but never repeats what was there.
pub(crate) fn parse_line(line: &str) -> Result<Map<String, Value>, String> {
    read_object(line.as_bytes(), "line").map_err(|Fault { detail, place }| {
        let place = place.map(|(_, column)| format!(" (column {column})"));
        format!("{detail}{}.", place.unwrap_or_default())
    })
}

/// Reads a body that has one member, an array of 1 to `most` objects. Its items are not looked at.
///
/// # Errors
///
/// `invalid_request`, with everything that is wrong with the envelope.
pub(super) fn parse_items(
    body: Map<String, Value>,
    name: &str,
    most: usize,
) -> Result<Vec<Value>, ApiError> {
    let mut members = Members::new(body);
    let items = members.array(name);
    let fault = match &items {
        None if !members.is_faulty() => Some("is required: an array of"),
        Some(items) if items.is_empty() || items.len() > most => Some("must hold"),
        None | Some(_) => None,
    };
    if let Some(fault) = fault {
        members.violate(format!("/{name}"), format!("{name} {fault} 1 to {most} objects."));
    }
    let violations = members.finish();
    match items {
        Some(items) if violations.is_empty() => Ok(items),
        Some(_) | None => Err(ApiError::invalid(violations)),
    }
}

/// What is wrong with a text, and at which line and column.
struct Fault {
    detail: String,
    place: Option<(usize, usize)>,
}

/// Nesting deeper than 128 levels is refused by the parser.
fn read_object(text: &[u8], kind: &str) -> Result<Map<String, Value>, Fault> {
    let refused = |detail, place| Fault { detail, place };
    if text.is_empty() {
        return Err(refused(format!("The {kind} is empty; send a JSON object"), None));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Strict
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| {
            let detail = if error.is_data() {
                format!("An object of the {kind} holds the same member twice")
            } else if error.to_string().starts_with("number out of range") {
                format!("A number of the {kind} is out of range")
            } else if error.is_eof() {
                format!("The {kind} ends in the middle of its JSON")
            } else {
                format!("The {kind} is not valid JSON")
            };
            refused(detail, Some((error.line(), error.column())))
        })?;
    match value {
        Value::Object(members) => Ok(members),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(refused(format!("The {kind} is JSON, but not an object"), None))
        }
    }
}

/// Reads the members of an object one by one and collects what is wrong with them.
///
/// `null` is a wrong type, not an absent member: a caller whose viewer id got lost on the way must
/// not receive a token that cannot be revoked.
#[derive(Debug)]
pub(super) struct Members {
    /// Those that nobody asked for yet.
    left: Map<String, Value>,
    /// Those that were there, whatever was wrong with them.
    given: Vec<String>,
    violations: Vec<Violation>,
}

/// The most faults that are listed: an answer must not be a multiple of its request.
const MAX_VIOLATIONS: usize = 100;

impl Members {
    /// Of this object.
    pub(super) fn new(members: Map<String, Value>) -> Self {
        Self { left: members, given: Vec::new(), violations: Vec::new() }
    }

    /// A string.
    pub(super) fn string(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            other => self.wrong_type(format!("/{name}"), name, "a string", &other),
        }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, name: &str) -> Option<bool> {
        match self.take(name)? {
            Value::Bool(value) => Some(value),
            other => self.wrong_type(format!("/{name}"), name, "true or false", &other),
        }
    }

    /// A whole number, as JSON Schema means it: `60.0` and `-0` are integers.
    pub(super) fn integer(&mut self, name: &str) -> Option<i64> {
        let value = self.take(name)?;
        match value.as_i64().or_else(|| whole(&value)) {
            Some(number) => Some(number),
            None if value.is_number() => {
                let detail = format!(
                    "{name} must be an integer that fits into 64 bits, or into 48 bits where it is \
                     written with a fraction or an exponent."
                );
                self.violate(format!("/{name}"), detail);
                None
            }
            None => self.wrong_type(format!("/{name}"), name, "an integer", &value),
        }
    }

    /// An array of strings: each with its place, since entries of another type are left out.
    pub(super) fn strings(&mut self, name: &str) -> Option<Vec<(usize, String)>> {
        let items = self.array(name)?;
        let mut strings = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            if let Value::String(text) = item {
                strings.push((index, text));
            } else {
                let detail = format!("Entry {index} of {name} must be a string.");
                self.violate(format!("/{name}/{index}"), detail);
            }
        }
        Some(strings)
    }

    /// An array of anything.
    pub(super) fn array(&mut self, name: &str) -> Option<Vec<Value>> {
        match self.take(name)? {
            Value::Array(items) => Some(items),
            other => self.wrong_type(format!("/{name}"), name, "an array", &other),
        }
    }

    /// An object whose values are strings.
    pub(super) fn string_map(&mut self, name: &str) -> Option<Vec<(String, String)>> {
        let members = match self.take(name)? {
            Value::Object(members) => members,
            other => return self.wrong_type(format!("/{name}"), name, "an object", &other),
        };
        let mut strings = Vec::with_capacity(members.len());
        for (key, value) in members {
            match value {
                Value::String(text) => strings.push((key, text)),
                other => {
                    let pointer = format!("/{name}{}", pointer_to(&key));
                    let what = format!("each value of {name}");
                    self.wrong_type::<String>(pointer, &what, "a string", &other);
                }
            }
        }
        Some(strings)
    }

    /// Whether a fault was found in the member or below it.
    pub(super) fn is_faulty_at(&self, name: &str) -> bool {
        self.violations.iter().any(|violation| {
            let below = violation.pointer.strip_prefix('/').and_then(|it| it.strip_prefix(name));
            below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// Whether the member was there, whatever was wrong with it.
    pub(super) fn was_given(&self, name: &str) -> bool {
        self.given.iter().any(|given| given == name)
    }

    /// Adds a broken rule.
    pub(super) fn violate(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(Violation { pointer: pointer.into(), detail: detail.into() });
        }
    }

    /// Whether a fault was found so far.
    pub(super) fn is_faulty(&self) -> bool {
        !self.violations.is_empty()
    }

    /// The faults found, with one for every member that nobody asked for; at most
    /// [`MAX_VIOLATIONS`].
    pub(super) fn finish(mut self) -> Vec<Violation> {
        for name in std::mem::take(&mut self.left).keys() {
            // A name is the caller's, of any length; a pointer that is cut would point nowhere.
            let pointer = if name.len() <= MAX_NAME { pointer_to(name) } else { String::new() };
            let detail = "This member is unknown; see /openapi.json for those that are known.";
            self.violate(pointer, detail);
        }
        self.violations
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        let value = self.left.remove(name)?;
        self.given.push(name.to_owned());
        Some(value)
    }

    fn wrong_type<T>(
        &mut self,
        pointer: String,
        name: &str,
        expected: &str,
        found: &Value,
    ) -> Option<T> {
        let found = match found {
            Value::Null => "null; leave out what is not meant",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        };
        self.violate(pointer, format!("{name} must be {expected}, not {found}."));
        None
    }
}

/// The whole number that is written with a fraction or an exponent, or as `-0`. Beyond 48 bits the
/// parser may round, so that what was written is no longer known.
fn whole(value: &Value) -> Option<i64> {
    const MOST: f64 = 281_474_976_710_656.0;
    let number = value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() <= MOST)?;
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and has 48 bits")]
    Some(number as i64)
}

/// The longest name of an unknown member that is repeated, in bytes.
const MAX_NAME: usize = 128;

/// RFC 6901, section 3.
fn pointer_to(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// Deserializes like [`Value`], but refuses a member that comes twice.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(Self)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            if members.contains_key(&name) {
                return Err(de::Error::custom("a member appears twice"));
            }
            members.insert(name, entries.next_value_seed(Self)?);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &[u8]) -> ProblemType {
        parse_object(body).unwrap_err().problem()
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for body in [
            &b""[..],
            b" ",
            b"{",
            b"[]",
            b"1",
            b"null",
            b"{} {}",
            b"{\"a\":1,}",
            b"{\"a\":1,\"a\":1}",
            b"{\"x\":{\"a\":1,\"\\u0061\":1}}",
            b"\xef\xbb\xbf{}",
            b"{\"a\":\"\xff\"}",
        ] {
            assert_eq!(refusal(body), ProblemType::InvalidJson, "{}", body.escape_ascii());
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(refusal(deep.as_bytes()), ProblemType::InvalidJson);
    }

    #[test]
    fn an_envelope_has_one_to_so_many_items_and_nothing_else() {
        let parse = |body: &[u8]| {
            let items = parse_items(parse_object(body).unwrap(), "all", 2);
            items.map_err(|error| error.to_problem(None, true).errors)
        };
        assert_eq!(parse(br#"{"all": [1, {}]}"#).unwrap().len(), 2);
        for (body, details) in [
            (&b"{}"[..], vec!["all is required: an array of 1 to 2 objects."]),
            (br#"{"all": []}"#, vec!["all must hold 1 to 2 objects."]),
            (br#"{"all": [1, 2, 3]}"#, vec!["all must hold 1 to 2 objects."]),
            (br#"{"all": 1}"#, vec!["all must be an array, not a number."]),
            (
                br#"{"b": 1}"#,
                vec![
                    "all is required: an array of 1 to 2 objects.",
                    "This member is unknown; see /openapi.json for those that are known.",
                ],
            ),
        ] {
            let faults = parse(body).unwrap_err();
            let told: Vec<_> = faults.iter().map(|it| it.detail.as_str()).collect();
            assert_eq!(told, details);
        }
    }

    #[test]
    fn integers_are_those_of_json_schema() {
        let integer = |text: &str| {
            let object = parse_object(format!("{{\"a\": {text}}}").as_bytes()).unwrap();
            Members::new(object).integer("a")
        };
        for (text, number) in [
            ("-0", 0),
            ("0.0", 0),
            ("60.0", 60),
            ("6e1", 60),
            ("-1.0", -1),
            ("281474976710656.0", 281_474_976_710_656),
            ("9223372036854775807", i64::MAX),
        ] {
            assert_eq!(integer(text), Some(number), "{text}");
        }
        for text in ["1.5", "281474976710657.0", "1e300", "9223372036854775808", "\"1\"", "true"] {
            assert_eq!(integer(text), None, "{text}");
        }
    }

    #[test]
    fn every_fault_is_reported_at_once() {
        let members = parse_object(
            br#"{"a": 1, "b": null, "c": 1.5, "d": ["x", 2], "e/f": 0, "g": 9223372036854775808}"#,
        )
        .unwrap();
        let mut members = Members::new(members);
        assert_eq!(members.string("a"), None);
        assert_eq!(members.boolean("b"), None);
        assert_eq!(members.integer("c"), None);
        assert_eq!(members.strings("d"), Some(vec![(0, "x".to_owned())]));
        assert!(members.was_given("d") && !members.was_given("absent"));
        assert_eq!(members.integer("g"), None);
        assert_eq!(members.string("absent"), None);
        let pointers: Vec<_> = members.finish().into_iter().map(|it| it.pointer).collect();
        assert_eq!(pointers, ["/a", "/b", "/c", "/d/1", "/g", "/e~1f"]);
    }
}
