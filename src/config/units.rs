//! Durations and sizes as they are written in the configuration: a whole number and a unit.

use std::time::Duration;

/// Reads `500ms`, `30s`, `5m`, `6h`, `30d` or `2w`.
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
pub(super) fn parse_size(text: &str) -> Option<usize> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_unit_is_read() {
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
    fn what_is_not_a_number_and_a_unit_is_refused() {
        let wrong = ["", "5", "s", "5 s", "-5s", "+5s", "1.5h", "5S", "5min", "5s ", " 5s", "٥s"];
        for text in wrong {
            assert_eq!(parse_duration(text), None, "{text:?}");
        }
        for text in ["", "1", "1MB", "1mib", "1 MiB", "MiB", "-1B"] {
            assert_eq!(parse_size(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_number_that_is_too_large_is_refused_instead_of_wrapped() {
        assert_eq!(parse_duration("18446744073709551615d"), None);
        assert_eq!(parse_duration("99999999999999999999s"), None);
        assert_eq!(parse_size("18446744073709551615GiB"), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_readers_panic(text in "\\PC{0,20}") {
            let _ = (parse_duration(&text), parse_size(&text));
        }
    }
}
