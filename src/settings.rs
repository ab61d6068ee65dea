//! How the values of configuration keys are written.
//!
//! A configuration key is a field of the `Settings` struct of the module that uses it: the doc comment describes the
//! key, `default` in its schema is the default as a configuration file would have it, and its [`Form`] reads and
//! constrains the value. `config` reads these structs with `serde`; `config/default.toml`, the reference in
//! `docs/configuration.md` and the JSON Schema are generated from them.

use std::{
    any::type_name, borrow::Cow, collections::BTreeMap, marker::PhantomData, net::SocketAddr,
    path::PathBuf, str::FromStr, time::Duration,
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error as _};
pub use toml::Value;

/// How a value is written, checked and described in the JSON Schema.
///
/// A field selects its form by `#[serde(with = "As::<FORM>")]`, which `schemars` understands, too.
pub trait Form {
    /// What the value is read into.
    type Value;

    /// Returns the JSON Schema of the written value.
    fn schema() -> Schema;

    /// Reads a value.
    ///
    /// # Errors
    ///
    /// The rest of a sentence that begins with the key and says what is allowed. It does not repeat the value, which
    /// may be a secret in the wrong place.
    fn read(value: &Value) -> Result<Self::Value, String>;
}

/// Connects a [`Form`] with `serde` and `schemars`.
#[derive(Debug)]
pub struct As<F>(PhantomData<F>);

impl<F: Form> As<F> {
    /// Deserializes a value written in the form `F`.
    ///
    /// # Errors
    ///
    /// Those of [`Form::read`].
    pub fn deserialize<'de, D: Deserializer<'de>>(source: D) -> Result<F::Value, D::Error> {
        F::read(&Value::deserialize(source)?).map_err(D::Error::custom)
    }
}

impl<F: Form> JsonSchema for As<F> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        type_name::<F>().into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        F::schema()
    }
}

/// A table of values in the form `F` under names that the operator chooses.
#[derive(Debug)]
pub struct Named<F>(PhantomData<F>);

/// What names in a [`Named`] table look like.
pub const NAME_PATTERN: &str = "^[a-z0-9][a-z0-9_-]{0,63}$";

/// Returns whether `text` matches [`NAME_PATTERN`].
pub fn is_name(text: &str) -> bool {
    let first = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= 64
        && text.bytes().next().is_some_and(first)
        && text.bytes().all(|c| first(c) || matches!(c, b'_' | b'-'))
}

impl<F: Form> Named<F> {
    /// Deserializes the table.
    ///
    /// # Errors
    ///
    /// Those of [`Form::read`], at the entry that has the error.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        source: D,
    ) -> Result<BTreeMap<String, F::Value>, D::Error> {
        #[derive(Deserialize)]
        #[serde(transparent, bound = "F: Form")]
        struct Entry<F: Form>(#[serde(with = "As::<F>")] F::Value);

        let entries = BTreeMap::<String, Entry<F>>::deserialize(source)?;
        Ok(entries.into_iter().map(|(name, entry)| (name, entry.0)).collect())
    }
}

impl<F: Form> JsonSchema for Named<F> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        type_name::<Self>().into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "propertyNames": { "pattern": NAME_PATTERN },
            "additionalProperties": F::schema(),
        })
    }
}

/// A key without effect in this version: `config` refuses every value but the default.
#[derive(Clone, Copy, Debug)]
pub struct NotAvailable;

impl Form for NotAvailable {
    type Value = Self;

    fn schema() -> Schema {
        json_schema!({})
    }

    fn read(_: &Value) -> Result<Self, String> {
        Ok(Self)
    }
}

/// Empty text means none.
impl<F: Form> Form for Option<F> {
    type Value = Option<F::Value>;

    fn schema() -> Schema {
        let mut schema = F::schema();
        // The pattern of `F` would refuse the empty text.
        schema.remove("pattern");
        schema
    }

    fn read(value: &Value) -> Result<Self::Value, String> {
        match value.as_str() {
            Some("") => Ok(None),
            Some(_) => F::read(value).map(Some),
            None => Err("must be a text, in quotes".to_owned()),
        }
    }
}

impl Form for String {
    type Value = Self;

    fn schema() -> Schema {
        json_schema!({ "type": "string" })
    }

    fn read(value: &Value) -> Result<Self, String> {
        value.as_str().map(Self::from).ok_or_else(|| "must be a text, in quotes".to_owned())
    }
}

/// A relative path in a file is relative to that file; `config` knows a path by the format in its schema.
impl Form for PathBuf {
    type Value = Self;

    fn schema() -> Schema {
        json_schema!({ "type": "string", "format": "path" })
    }

    fn read(value: &Value) -> Result<Self, String> {
        let path = value.as_str().filter(|text| !text.is_empty());
        path.map(Self::from).ok_or_else(|| "must not be empty".to_owned())
    }
}

impl Form for SocketAddr {
    type Value = Self;

    fn schema() -> Schema {
        json_schema!({ "type": "string" })
    }

    fn read(value: &Value) -> Result<Self, String> {
        value.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| {
            "must be an IP address with a port, such as \"127.0.0.1:8080\" or \"[::]:8080\""
                .to_owned()
        })
    }
}

/// Returns the JSON Schema of a list of texts.
pub fn list_schema() -> Schema {
    json_schema!({ "type": "array", "items": { "type": "string" } })
}

/// Reads a list whose items all parse.
pub fn read_list<T: FromStr>(value: &Value) -> Option<Vec<T>> {
    value.as_array()?.iter().map(|item| item.as_str()?.parse().ok()).collect()
}

/// A whole number from `MIN` to `MAX`.
#[derive(Debug)]
pub struct Whole<T, const MIN: i64, const MAX: i64>(PhantomData<T>);

impl<T: TryFrom<i64>, const MIN: i64, const MAX: i64> Form for Whole<T, MIN, MAX> {
    type Value = T;

    fn schema() -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }

    fn read(value: &Value) -> Result<T, String> {
        let number = value.as_integer().filter(|number| (MIN..=MAX).contains(number));
        number
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| format!("must be a whole number from {MIN} to {MAX}"))
    }
}

/// No setting exceeds a century, and instants that far away can still be computed.
const LONGEST: Duration = Duration::from_hours(24 * 36_500);

/// A duration, zero included.
impl Form for Duration {
    type Value = Self;

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d|w)$" })
    }

    fn read(value: &Value) -> Result<Self, String> {
        let duration = value.as_str().and_then(parse_duration).ok_or_else(|| {
            "must be a duration: a whole number and one of ms, s, m, h, d, w, such as \"30s\""
                .to_owned()
        })?;
        if duration > LONGEST { Err("must be at most \"36500d\"".to_owned()) } else { Ok(duration) }
    }
}

/// A duration that is not zero.
#[derive(Debug)]
pub struct Period;

impl Form for Period {
    type Value = Duration;

    fn schema() -> Schema {
        Duration::schema()
    }

    fn read(value: &Value) -> Result<Duration, String> {
        let duration = Duration::read(value)?;
        if duration.is_zero() { Err("must be longer than zero".to_owned()) } else { Ok(duration) }
    }
}

/// A duration of whole seconds, as JWT and the HTTP API count; zero included.
#[derive(Debug)]
pub struct Seconds;

impl Form for Seconds {
    type Value = Duration;

    fn schema() -> Schema {
        Duration::schema()
    }

    fn read(value: &Value) -> Result<Duration, String> {
        let duration = Duration::read(value)?;
        if duration.subsec_nanos() == 0 {
            Ok(duration)
        } else {
            Err("must be whole seconds, such as \"5s\"".to_owned())
        }
    }
}

/// `off`, or a duration that is not zero.
#[derive(Debug)]
pub struct PeriodOrOff;

impl Form for PeriodOrOff {
    type Value = Option<Duration>;

    fn schema() -> Schema {
        json_schema!({ "anyOf": [{ "const": "off" }, Duration::schema()] })
    }

    fn read(value: &Value) -> Result<Option<Duration>, String> {
        if value.as_str() == Some("off") {
            return Ok(None);
        }
        Period::read(value)
            .map(Some)
            .map_err(|_| "must be \"off\" or a duration, such as \"30d\" or \"1s\"".to_owned())
    }
}

/// A size in bytes, not zero.
#[derive(Debug)]
pub struct Size;

impl Form for Size {
    type Value = usize;

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB)$" })
    }

    fn read(value: &Value) -> Result<usize, String> {
        value.as_str().and_then(parse_size).filter(|size| *size > 0).ok_or_else(|| {
            "must be a size over zero: a whole number and one of B, KiB, MiB, GiB, such as \"1MiB\""
                .to_owned()
        })
    }
}

/// Reads `500ms`, `30s`, `5m`, `6h`, `30d` or `2w`.
///
/// The documented syntax is stricter than that of `humantime`, which takes `1h 30m`, `5min` and `1year`, too.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "d" => 24 * 60 * 60 * 1000,
        "w" => 7 * 24 * 60 * 60 * 1000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

/// Reads `512B`, `64KiB`, `1MiB` or `1GiB`, in bytes.
///
/// The documented syntax is stricter than that of `bytesize`, which takes `1MB`, `1.5 MiB` and `1m`, too.
fn parse_size(text: &str) -> Option<usize> {
    let (number, unit) = split(text)?;
    let bytes: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(bytes).and_then(|bytes| usize::try_from(bytes).ok())
}

fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit))
}

/// Returns the line, from 1, of the byte at `offset` in a file.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(text: &str) -> Value {
        text.into()
    }

    #[test]
    fn duration_is_read_in_each_unit() {
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("0s"), Some(Duration::ZERO));
        assert_eq!(parse_duration("30s"), Some(Duration::from_secs(30)));
        assert_eq!(parse_duration("5m"), Some(Duration::from_mins(5)));
        assert_eq!(parse_duration("6h"), Some(Duration::from_hours(6)));
        assert_eq!(parse_duration("30d"), Some(Duration::from_hours(720)));
        assert_eq!(parse_duration("2w"), Some(Duration::from_hours(336)));
        assert_eq!(parse_size("0B"), Some(0));
        assert_eq!(parse_size("64KiB"), Some(65_536));
        assert_eq!(parse_size("1MiB"), Some(1_048_576));
        assert_eq!(parse_size("1GiB"), Some(1_073_741_824));
    }

    #[test]
    fn text_that_is_not_a_number_and_a_unit_is_refused() {
        let wrong = ["", "5", "s", "5 s", "-5s", "+5s", "1.5h", "5S", "5min", "5s ", " 5s", "٥s"];
        for text in wrong {
            assert_eq!(parse_duration(text), None, "{text:?}");
        }
        for text in ["", "1", "1MB", "1mib", "1 MiB", "MiB", "-1B"] {
            assert_eq!(parse_size(text), None, "{text:?}");
        }
    }

    #[test]
    fn number_that_is_too_large_is_refused_instead_of_wrapped() {
        assert_eq!(parse_duration("18446744073709551615d"), None);
        assert_eq!(parse_duration("99999999999999999999s"), None);
        assert_eq!(parse_size("18446744073709551615GiB"), None);
    }

    #[test]
    fn duration_outside_its_bounds_is_refused() {
        assert_eq!(Duration::read(&text("0s")), Ok(Duration::ZERO));
        assert_eq!(Period::read(&text("0s")), Err("must be longer than zero".to_owned()));
        assert_eq!(Duration::read(&text("36501d")), Err("must be at most \"36500d\"".to_owned()));
        assert!(Duration::read(&Value::Integer(5)).unwrap_err().contains("such as \"30s\""));
        assert!(Seconds::read(&text("1500ms")).unwrap_err().starts_with("must be whole seconds"));
        assert_eq!(Seconds::read(&text("1000ms")), Ok(Duration::from_secs(1)));
        assert_eq!(PeriodOrOff::read(&text("off")), Ok(None));
        assert_eq!(PeriodOrOff::read(&text("1w")), Ok(Some(Duration::from_hours(168))));
        assert!(PeriodOrOff::read(&text("0s")).is_err());
    }

    #[test]
    fn number_outside_its_bounds_is_refused() {
        assert_eq!(Whole::<usize, 0, 1024>::read(&Value::Integer(0)), Ok(0));
        assert!(Whole::<usize, 0, 1024>::read(&Value::Integer(-1)).is_err());
        assert!(Whole::<u64, 1, 9>::read(&Value::Integer(0)).is_err());
        assert!(Size::read(&text("0B")).is_err());
    }

    #[test]
    fn empty_text_means_none_where_that_is_allowed() {
        assert_eq!(Option::<SocketAddr>::read(&text("")), Ok(None));
        assert!(Option::<String>::read(&Value::Integer(1)).unwrap_err().contains("quotes"));
        assert_eq!(PathBuf::read(&text("")), Err("must not be empty".to_owned()));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_readers_panic(text in "\\PC{0,20}") {
            let _ = (parse_duration(&text), parse_size(&text));
        }
    }
}
