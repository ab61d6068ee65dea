//! What commands print: results on stdout, everything else on stderr.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use clap::Args;
use serde::Serialize;

use super::Failure;
use crate::telemetry;

/// Labels and headings of columns are at least this wide.
const MIN_LABEL: usize = 8;

/// Prints a result.
///
/// A reader that closed the pipe (`| head`) has seen enough; that is not a failure.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Failed(format!("cannot write to standard output: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Prints a result as JSON.
pub(super) fn json(value: &impl Serialize) -> Result<(), Failure> {
    line(&serde_json::to_string_pretty(value)?)
}

/// Prints a line on stderr, in order with the log.
pub(super) fn note(text: &str) {
    telemetry::say(text);
}

/// Returns labels and values, one pair per line.
pub(super) fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(label, _)| label.len()).fold(MIN_LABEL, usize::max);
    let lines: Vec<_> =
        fields.iter().map(|(label, value)| format!("{label:width$}  {value}")).collect();
    lines.join("\n")
}

/// Returns rows under a heading, in columns as wide as their widest cell.
pub(super) fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> String {
    let heading = heading.map(str::to_owned);
    let mut widths = [0; N];
    for row in rows.iter().chain([&heading]) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; N]| {
        let mut text = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // Writing into a String cannot fail.
            let _ = write!(text, "{cell:width$}  ");
        }
        text.trim_end().to_owned()
    };
    let lines: Vec<_> = [&heading].into_iter().chain(rows).map(line).collect();
    lines.join("\n")
}

/// Returns a duration in its two largest units: `1 d 7 h`, `9 min 41 s`.
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

/// The progress of a long command on stderr: lines, and below them, on a terminal, a status that each
/// update overwrites. Progress that cannot be shown does not stop the command.
#[derive(Default)]
pub(super) struct Progress {
    has_status: bool,
}

impl Progress {
    /// How often a status is worth an update.
    pub(super) const TICK: Duration = Duration::from_millis(500);

    /// Prints a line, which stays.
    pub(super) fn line(&mut self, text: &str) {
        self.clear();
        write_stderr(&format!("{text}\n"));
    }

    /// Shows a status on a terminal.
    pub(super) fn status(&mut self, text: &str) {
        if io::stderr().is_terminal() {
            self.clear();
            write_stderr(&format!("  {text}"));
            self.has_status = true;
        }
    }

    /// Removes the status.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.has_status) {
            // To the first column, and clear what was there.
            write_stderr("\r\x1b[2K");
        }
    }
}

fn write_stderr(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// The confirmation of a command that cannot be undone.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Confirmation {
    /// Confirm what cannot be undone; required where stdin is not a terminal
    #[arg(long)]
    yes: bool,
}

impl Confirmation {
    /// Refuses `command` if there is neither `--yes` nor a terminal to ask on.
    pub(super) fn require(self, command: &str) -> Result<(), Failure> {
        if self.yes || io::stdin().is_terminal() {
            return Ok(());
        }
        Err(Failure::Usage(format!(
            "{command} cannot be undone, and there is no terminal to confirm it on; add --yes to \
             confirm it"
        )))
    }

    /// Asks the operator, unless `--yes` was given.
    pub(super) fn confirms(self, question: &str) -> bool {
        if self.yes {
            return true;
        }
        let mut stderr = io::stderr();
        // A question that cannot be shown is answered by "no".
        if write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush()).is_err() {
            return false;
        }
        let mut answer = String::new();
        let read = io::stdin().read_line(&mut answer);
        read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duration_is_shown_in_two_units() {
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

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".to_owned(), "bcd".to_owned()], ["abcde".to_owned(), String::new()]];
        assert_eq!(table(["ONE", "TWO"], &rows), "ONE    TWO\na      bcd\nabcde");
        let labels = [("id", "1".to_owned()), ("credential", "2".to_owned())];
        assert_eq!(fields(&labels), "id          1\ncredential  2");
    }
}
