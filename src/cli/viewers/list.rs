//! Lists of viewers: CSV, TSV or JSON lines, told apart line by line.
//!
//! What a line says becomes the body that the HTTP API would be sent, so that both are judged by the
//! same rules. A field is never guessed at: to revoke another viewer than the one that was meant would
//! be worse than an error.

use serde_json::{Value, json};

use crate::http::json::parse_line;

/// A line that names a viewer.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    /// From 1.
    pub(super) line: usize,
    /// A viewer session of the HTTP API.
    pub(super) body: Value,
}

/// A line that names none.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct BadLine {
    /// From 1.
    pub(super) line: usize,
    /// What is wrong, as a sentence.
    pub(super) fault: String,
}

/// Reads every line. Blank lines, lines that begin with `#`, and a heading are none.
pub(super) fn parse(content: &[u8]) -> (Vec<Entry>, Vec<BadLine>) {
    let content = content.strip_prefix("\u{feff}".as_bytes()).unwrap_or(content);
    let (mut entries, mut bad) = (Vec::new(), Vec::new());
    for (index, line) in content.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.trim_ascii().is_empty() || line.starts_with(b"#") {
            continue;
        }
        let body = match std::str::from_utf8(line) {
            Ok(text) if text.trim_start().starts_with('{') => {
                parse_line(text).map(|members| Some(Value::Object(members)))
            }
            Ok(text) => from_fields(text, entries.is_empty() && bad.is_empty()),
            Err(_) => Err("This line is not UTF-8.".to_owned()),
        };
        let line = index + 1;
        match body {
            Ok(Some(body)) => entries.push(Entry { line, body }),
            Ok(None) => {}
            Err(fault) => bad.push(BadLine { line, fault }),
        }
    }
    (entries, bad)
}

/// `channel,viewerId` or `channel,viewerId,version`, with commas or tabs; nothing for a heading.
fn from_fields(text: &str, may_be_heading: bool) -> Result<Option<Value>, String> {
    let separator = if text.contains('\t') { '\t' } else { ',' };
    let fields: Vec<&str> = text.split(separator).collect();
    if may_be_heading && matches!(fields.as_slice(), ["channel", "viewerId", ..]) {
        return Ok(None);
    }
    if fields.iter().any(|field| field.contains('"') || field.trim() != *field) {
        return Err(
            "Quotes, and spaces around a field, could be part of it or not. Leave them out, or \
                    write the line as JSON."
                .to_owned(),
        );
    }
    match fields.as_slice() {
        [channel, viewer_id] => Ok(Some(json!({ "channel": channel, "viewerId": viewer_id }))),
        [channel, viewer_id, version] => {
            let version: i64 =
                version.parse().map_err(|_| "The version is no whole number.".to_owned())?;
            Ok(Some(json!({
                "channel": channel,
                "viewerId": viewer_id,
                "viewerSessionVersionsLessThanOrEqualTo": version,
            })))
        }
        _ => {
            Err("A line is channel,viewerId or channel,viewerId,version, or a JSON object."
                .to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bodies(content: &str) -> Vec<Value> {
        let (entries, bad) = parse(content.as_bytes());
        assert_eq!(bad, []);
        entries.into_iter().map(|entry| entry.body).collect()
    }

    #[test]
    fn each_form_of_a_line_is_read() {
        let alice = json!({"channel": "demo", "viewerId": "alice"});
        let text = "\u{feff}channel,viewerId,version\r\n# ours\n\ndemo,alice\r\ndemo\talice\n\
                    demo,b b,7\n{\"channel\": \"demo\", \"viewerId\": \"x,\\\"y\", \"denyFor\": 60}";
        assert_eq!(
            bodies(text),
            [
                alice.clone(),
                alice,
                json!({
                    "channel": "demo", "viewerId": "b b",
                    "viewerSessionVersionsLessThanOrEqualTo": 7,
                }),
                json!({"channel": "demo", "viewerId": "x,\"y", "denyFor": 60}),
            ]
        );
        assert_eq!(bodies("demo\ta,b"), [json!({"channel": "demo", "viewerId": "a,b"})]);
    }

    /// Which of the two was meant nobody knows.
    #[test]
    fn a_member_that_comes_twice_is_a_bad_line() {
        let line = br#"{"channel": "demo", "viewerId": "alice", "viewerId": "bob"}"#;
        let (entries, bad) = parse(line);
        assert_eq!(entries, []);
        let fault = "An object of the line holds the same member twice (column 51).";
        assert_eq!(bad, [BadLine { line: 1, fault: fault.to_owned() }]);
    }

    #[test]
    fn every_bad_line_is_named() {
        let (entries, bad) = parse(
            b"demo,alice\nalice\ndemo,alice,x\n\"demo\",alice\ndemo, alice\n{\"channel\"\n\xff,b\n\
              channel,viewerId\ndemo,a,1,2",
        );
        assert_eq!(entries.len(), 2, "a heading further down is taken at its word");
        let lines: Vec<_> = bad.iter().map(|bad| bad.line).collect();
        assert_eq!(lines, [2, 3, 4, 5, 6, 7, 9]);
        assert!(bad.iter().all(|bad| bad.fault.ends_with('.') && !bad.fault.contains("alice")));
    }
}
