//! From `OpenMetrics` to the older text format of Prometheus, which older scrapers and `promtool check
//! metrics` read.

use std::fmt::Write as _;

/// Rewrites the comments; samples are the same in both formats.
///
/// `OpenMetrics` names a counter without `_total` and an info without `_info`, the older format names each by
/// its samples. It knows neither infos nor units, and has no end marker.
pub(super) fn from_open_metrics(text: &str) -> String {
    let mut classic = String::with_capacity(text.len());
    let mut help = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, ""));
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                _ => ("", kind),
            };
            let help = help.split_once(' ').map_or("", |(_, help)| help);
            // Writing into a String cannot fail.
            let _ = writeln!(classic, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}");
        } else if !line.starts_with('#') {
            let _ = writeln!(classic, "{line}");
        }
    }
    classic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_rewritten_and_samples_are_kept() {
        let open = "# HELP a Counted.\n# TYPE a counter\na_total 1\n\
                    # HELP b Said.\n# TYPE b info\nb_info{c=\"d\"} 1\n\
                    # HELP e_seconds Took.\n# TYPE e_seconds gauge\n# UNIT e_seconds seconds\n\
                    e_seconds 1.5\n# EOF\n";
        let classic = "# HELP a_total Counted.\n# TYPE a_total counter\na_total 1\n\
                       # HELP b_info Said.\n# TYPE b_info gauge\nb_info{c=\"d\"} 1\n\
                       # HELP e_seconds Took.\n# TYPE e_seconds gauge\ne_seconds 1.5\n";
        assert_eq!(from_open_metrics(open), classic);
    }
}
