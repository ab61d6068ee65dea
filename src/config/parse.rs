//! How the value of a key is read: one function a kind of value.
//!
//! A fault is the rest of a sentence that begins with the key. It says what is wanted and does not
//! repeat the value, which may be a secret that was put in the wrong place.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use secrecy::SecretString;

use super::{
    cors::CorsOrigin,
    network::Network,
    settings::Value,
    units::{parse_duration, parse_size},
};
use crate::{
    ivs::{
        arn::{AccountId, ChannelArn, Region},
        parse_region,
    },
    telemetry,
};

/// A value, or what is wrong with it.
pub(super) type Parsed<T> = Result<T, String>;

/// A setting that is one word of a few.
pub(super) trait Choice: Copy + 'static {
    const WORDS: &'static [(&'static str, Self)];
}

pub(super) fn choice<T: Choice>(value: &Value) -> Parsed<T> {
    let word = |text: &str| T::WORDS.iter().find(|(word, _)| *word == text);
    text_of(value).and_then(word).map(|(_, choice)| *choice).ok_or_else(|| {
        let words: Vec<_> = T::WORDS.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        format!("must be {}", words.join(" or "))
    })
}

pub(super) fn boolean(value: &Value) -> Parsed<bool> {
    if let Value::Boolean(boolean) = value {
        Ok(*boolean)
    } else {
        Err("must be true or false".to_owned())
    }
}

/// No setting is about more than a century, and instants that far away can still be reckoned with.
const LONGEST: Duration = Duration::from_hours(24 * 36_500);

/// A duration, zero included.
pub(super) fn duration(value: &Value) -> Parsed<Duration> {
    let duration = text_of(value).and_then(parse_duration).ok_or_else(|| {
        "must be a duration: a whole number and one of ms, s, m, h, d, w, such as \"30s\""
            .to_owned()
    })?;
    if duration > LONGEST { Err("must be at most \"36500d\"".to_owned()) } else { Ok(duration) }
}

/// A duration that is not zero.
pub(super) fn period(value: &Value) -> Parsed<Duration> {
    let duration = duration(value)?;
    if duration.is_zero() { Err("must be longer than zero".to_owned()) } else { Ok(duration) }
}

/// A duration of whole seconds, as JWT and the HTTP API count.
pub(super) fn seconds(value: &Value) -> Parsed<Duration> {
    let duration = duration(value)?;
    if duration.subsec_nanos() == 0 {
        Ok(duration)
    } else {
        Err("must be whole seconds, such as \"5s\"".to_owned())
    }
}

/// A duration of whole seconds that is not zero.
pub(super) fn lifetime(value: &Value) -> Parsed<Duration> {
    period(value).and_then(|_| seconds(value))
}

/// `off`, or a duration that is not zero.
pub(super) fn period_or_off(value: &Value) -> Parsed<Option<Duration>> {
    if text_of(value) == Some("off") {
        return Ok(None);
    }
    period(value)
        .map(Some)
        .map_err(|_| "must be \"off\" or a duration, such as \"30d\" or \"1s\"".to_owned())
}

/// A size in bytes, not zero.
pub(super) fn size(value: &Value) -> Parsed<usize> {
    text_of(value).and_then(parse_size).filter(|size| *size > 0).ok_or_else(|| {
        "must be a size over zero: a whole number and one of B, KiB, MiB, GiB, such as \"1MiB\""
            .to_owned()
    })
}

/// How many threads; zero leaves it to the machine.
pub(super) fn threads(value: &Value) -> Parsed<usize> {
    whole_number(value)
        .filter(|threads| *threads <= 1024)
        .ok_or_else(|| "must be a whole number from 0 to 1024".to_owned())
}

/// How many connections; zero leaves it to the limit of open files. Fewer than 16 serve no one.
pub(super) fn connections(value: &Value) -> Parsed<usize> {
    whole_number(value)
        .filter(|connections| *connections == 0 || (16..=1_000_000).contains(connections))
        .ok_or_else(|| "must be 0, or a whole number from 16 to 1000000".to_owned())
}

/// How many entries a cache keeps.
pub(super) fn capacity(value: &Value) -> Parsed<u64> {
    whole_number(value)
        .filter(|entries| (1..=100_000_000).contains(entries))
        .ok_or_else(|| "must be a whole number from 1 to 100000000".to_owned())
}

/// Calls a second. IVS allows 5 of each lookup operation an account and region.
pub(super) fn rate(value: &Value) -> Parsed<f64> {
    let number = if let Value::Float(number) = value {
        Some(*number)
    } else {
        whole_number::<i32>(value).map(f64::from)
    };
    number.filter(|number| *number > 0.0 && *number <= 5.0).ok_or_else(|| {
        "must be a number over 0 and at most 5, Amazon IVS's limit for an account".to_owned()
    })
}

pub(super) fn address(value: &Value) -> Parsed<SocketAddr> {
    text_of(value).and_then(|text| text.parse().ok()).ok_or_else(|| {
        "must be an IP address with a port, such as \"127.0.0.1:8080\" or \"[::]:8080\"".to_owned()
    })
}

pub(super) fn path(value: &Value) -> Parsed<PathBuf> {
    optional_path(value)?.ok_or_else(|| "must not be empty".to_owned())
}

pub(super) fn optional_path(value: &Value) -> Parsed<Option<PathBuf>> {
    optional(value, |text| Ok(text.into()))
}

pub(super) fn optional_secret(value: &Value) -> Parsed<Option<SecretString>> {
    optional(value, |text| Ok(text.into()))
}

pub(super) fn optional_address(value: &Value) -> Parsed<Option<SocketAddr>> {
    optional(value, |_| address(value))
}

pub(super) fn optional_text(value: &Value) -> Parsed<Option<String>> {
    optional(value, |text| Ok(text.to_owned()))
}

pub(super) fn optional_account(value: &Value) -> Parsed<Option<AccountId>> {
    let fault = |_| "must be the 12 digits of an AWS account".to_owned();
    optional(value, |text| text.parse().map_err(fault))
}

/// Text that may be empty, which means that there is none.
fn optional<T>(value: &Value, parse: impl Fn(&str) -> Parsed<T>) -> Parsed<Option<T>> {
    match text_of(value).ok_or_else(|| "must be a text, in quotes".to_owned())? {
        "" => Ok(None),
        text => parse(text).map(Some),
    }
}

pub(super) fn channel_arn(value: &Value) -> Parsed<ChannelArn> {
    text_of(value)
        .ok_or_else(|| "must be the ARN of a channel, in quotes".to_owned())?
        .parse()
        .map_err(|error| format!("must be the ARN of a channel: {error}"))
}

/// The name of a secret: what AWS Secrets Manager allows (API reference of `CreateSecret`), with two
/// placeholders.
pub(super) fn secret_name(value: &Value) -> Parsed<String> {
    const LONGEST: usize = 512;
    // What a placeholder may become: an account is 12 digits, a region at most 64 characters.
    let longest = |text: &str| {
        text.replace("{account}", &"0".repeat(12)).replace("{region}", &"a".repeat(64))
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/_+=.@-".contains(c);
    let is_name = |text: &&str| {
        let name = longest(text);
        !name.is_empty() && name.len() <= LONGEST && name.chars().all(allowed)
    };
    text_of(value).filter(is_name).map(str::to_owned).ok_or_else(|| {
        "must be the name of a secret: at most 512 letters, digits and /_+=.@- with {account} and \
         {region} as the only placeholders"
            .to_owned()
    })
}

pub(super) fn directives(value: &Value) -> Parsed<telemetry::Directives> {
    text_of(value).and_then(|text| text.parse().ok()).ok_or_else(|| {
        "must be error, warn, info, debug, trace or off, also for modules: \"info,keys=debug\""
            .to_owned()
    })
}

pub(super) fn regions(value: &Value) -> Parsed<Vec<Region>> {
    const EXPECTED: &str = "must be a list of AWS regions, such as [\"us-west-2\"]";
    let names: Vec<String> = list(value).ok_or(EXPECTED)?;
    let mut regions: Vec<Region> = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let fault = |error| format!("{EXPECTED}; item {} {error}", index + 1);
        regions.push(parse_region(name).map_err(fault)?);
    }
    let distinct: BTreeSet<_> = regions.iter().collect();
    if distinct.len() < regions.len() {
        return Err("names a region twice".to_owned());
    }
    Ok(regions)
}

pub(super) fn cors_origins(value: &Value) -> Parsed<Vec<CorsOrigin>> {
    list(value).ok_or_else(|| {
        "must be a list of web origins without a path, such as [\"https://example.com\"] or \
         [\"https://*.example.com\"]; \"*\" alone is not allowed"
            .to_owned()
    })
}

pub(super) fn networks(value: &Value) -> Parsed<Vec<Network>> {
    list(value).ok_or_else(|| {
        "must be a list of IP addresses or networks, such as [\"10.0.0.0/8\"]".to_owned()
    })
}

fn list<T: FromStr>(value: &Value) -> Option<Vec<T>> {
    let Value::List(items) = value else { return None };
    items.iter().map(|item| text_of(item)?.parse().ok()).collect()
}

fn text_of(value: &Value) -> Option<&str> {
    if let Value::Text(text) = value { Some(text) } else { None }
}

fn whole_number<T: TryFrom<i64>>(value: &Value) -> Option<T> {
    if let Value::Integer(number) = value { T::try_from(*number).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    fn texts(items: &[&str]) -> Value {
        Value::List(items.iter().map(|item| text(item)).collect())
    }

    #[test]
    fn durations_have_their_bounds() {
        assert_eq!(duration(&text("0s")), Ok(Duration::ZERO));
        assert_eq!(period(&text("0s")), Err("must be longer than zero".to_owned()));
        assert_eq!(duration(&text("36501d")), Err("must be at most \"36500d\"".to_owned()));
        assert!(duration(&Value::Integer(5)).unwrap_err().contains("such as \"30s\""));
        assert!(seconds(&text("1500ms")).unwrap_err().starts_with("must be whole seconds"));
        assert_eq!(lifetime(&text("1000ms")), Ok(Duration::from_secs(1)));
        assert!(lifetime(&text("0s")).is_err());
        assert_eq!(period_or_off(&text("off")), Ok(None));
        assert_eq!(period_or_off(&text("1w")), Ok(Some(Duration::from_hours(168))));
        assert!(period_or_off(&text("0s")).is_err());
    }

    #[test]
    fn numbers_have_their_bounds() {
        assert_eq!(threads(&Value::Integer(0)), Ok(0));
        assert!(threads(&Value::Integer(-1)).is_err());
        assert!(capacity(&Value::Integer(0)).is_err());
        assert_eq!(rate(&Value::Float(0.5)), Ok(0.5));
        assert_eq!(rate(&Value::Integer(5)), Ok(5.0));
        for wrong in [0.0, -1.0, 5.1, f64::NAN, f64::INFINITY] {
            assert!(rate(&Value::Float(wrong)).is_err(), "{wrong}");
        }
        assert!(size(&text("0B")).is_err());
    }

    #[test]
    fn lists_are_read_whole_or_refused() {
        assert_eq!(regions(&texts(&["us-west-2", "eu-west-1"])).unwrap().len(), 2);
        assert_eq!(
            regions(&texts(&["us-west-2", "us-west-2"])),
            Err("names a region twice".to_owned())
        );
        assert!(regions(&texts(&["us_west_2"])).is_err());
        assert!(regions(&text("us-west-2")).is_err());
        assert!(cors_origins(&texts(&["*"])).unwrap_err().contains("\"*\" alone is not allowed"));
        assert!(networks(&texts(&["10.0.0.0/8", "::1"])).is_ok());
    }

    #[test]
    fn empty_text_means_none_where_that_is_allowed() {
        assert_eq!(optional_account(&text("")), Ok(None));
        assert!(optional_account(&Value::Integer(123_456_789_012)).unwrap_err().contains("quotes"));
        assert_eq!(optional_address(&text("")), Ok(None));
        assert_eq!(path(&text("")), Err("must not be empty".to_owned()));
    }

    #[test]
    fn a_secret_name_has_two_placeholders_only() {
        assert!(secret_name(&text("ivs/{account}/{region}")).is_ok());
        assert!(secret_name(&text("ivs/a_b+c=d.e@f-g")).is_ok());
        for wrong in ["", "ivs/{stage}", "ivs/{account", "ivs keys", "ivs:keys", "schl\u{fc}ssel"] {
            assert!(secret_name(&text(wrong)).is_err(), "{wrong}");
        }
        assert!(secret_name(&text(&"a".repeat(512))).is_ok());
        assert!(secret_name(&text(&format!("{{region}}{}", "a".repeat(449)))).is_err());
    }
}
