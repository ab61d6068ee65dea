//! Results on stdout.

use std::{fmt::Write as _, io::Write as _, time::Duration};

use serde::Serialize;

use super::Failure;
use crate::telemetry;

/// Prints one line of a result.
///
/// A reader that closed the pipe (`| head`) has seen enough; that is no failure.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    let written = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("cannot write to standard output: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Tells people something beside the result.
pub(super) fn note(text: &str) {
    telemetry::say(text);
}

/// Prints a result as JSON.
pub(super) fn json(value: &impl Serialize) -> Result<(), Failure> {
    line(&serde_json::to_string_pretty(value).map_err(Failure::failed)?)
}

/// Rows under a heading, in columns as wide as their widest cell.
pub(super) fn table(heading: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
    let widths: Vec<usize> = heading
        .iter()
        .enumerate()
        .map(|(column, title)| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(title.len())
        })
        .collect();
    let print = |cells: &mut dyn Iterator<Item = &str>| {
        let mut text = String::new();
        for (cell, width) in cells.zip(&widths) {
            // Writing into a String cannot fail.
            let _ = write!(text, "{cell:width$}  ");
        }
        line(text.trim_end())
    };
    print(&mut heading.iter().copied())?;
    for row in rows {
        print(&mut row.iter().map(String::as_str))?;
    }
    Ok(())
}

/// A duration for people, in its two largest units: `1 d 7 h`, `9 min 41 s`.
pub(super) fn span(duration: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    if duration < Duration::from_secs(1) {
        return format!("{} ms", duration.as_millis());
    }
    let mut rest = duration.as_secs();
    let mut parts = Vec::new();
    let largest = UNITS.iter().position(|(seconds, _)| *seconds <= rest).unwrap_or_default();
    for (seconds, unit) in UNITS.into_iter().skip(largest).take(2) {
        if rest >= seconds {
            parts.push(format!("{} {unit}", rest / seconds));
        }
        rest %= seconds;
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_told_in_two_units() {
        for (seconds, expected) in [
            (1, "1 s"),
            (60, "1 min"),
            (581, "9 min 41 s"),
            (3600, "1 h"),
            (3601, "1 h"),
            (31 * 3600, "1 d 7 h"),
            (86_400 + 59, "1 d"),
            (30 * 86_400, "30 d"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), expected);
        }
        assert_eq!(span(Duration::from_millis(250)), "250 ms");
        assert_eq!(span(Duration::ZERO), "0 ms");
    }
}
