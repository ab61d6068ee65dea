//! Lists of viewers: each line is CSV, TSV or JSON.
//!
//! A field is never guessed at: revoking another viewer than the intended one would be worse than an error.

use crate::{
    api::{json::Json, viewer_session::ViewerSessionRequest},
    tokens::grant::Violation,
};

/// A line that names a viewer, by its number from 1.
pub(super) type Entry = (usize, ViewerSessionRequest);

/// A line that names no viewer, by its number from 1, and what is wrong with it.
pub(super) type BadLine = (usize, String);

/// Reads every line. Blank lines, lines that begin with `#`, and a heading are ignored.
pub(super) fn parse(content: &[u8]) -> (Vec<Entry>, Vec<BadLine>) {
    let content = content.strip_prefix("\u{feff}".as_bytes()).unwrap_or(content);
    let (mut entries, mut bad) = (Vec::new(), Vec::new());
    for (line, text) in (1..).zip(content.split(|byte| *byte == b'\n')) {
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.trim_ascii().is_empty() || text.starts_with(b"#") {
            continue;
        }
        let session = match std::str::from_utf8(text) {
            Ok(text) if text.trim_start().starts_with('{') => from_json(text).map(Some),
            Ok(text) => from_fields(text, entries.is_empty() && bad.is_empty()),
            Err(_) => Err("This line is not UTF-8.".to_owned()),
        };
        match session {
            Ok(Some(session)) => entries.push((line, session)),
            Ok(None) => {}
            Err(fault) => bad.push((line, fault)),
        }
    }
    (entries, bad)
}

fn from_json(text: &str) -> Result<ViewerSessionRequest, String> {
    let json = Json::parse_object(text.as_bytes()).map_err(|error| format!("The line {error}."))?;
    json.read().map_err(|fault| Violation::from(fault).detail)
}

/// Reads `channel,viewerId` or `channel,viewerId,version`, with commas or tabs; nothing from a heading.
fn from_fields(text: &str, may_be_heading: bool) -> Result<Option<ViewerSessionRequest>, String> {
    let separator = if text.contains('\t') { '\t' } else { ',' };
    let fields: Vec<&str> = text.split(separator).collect();
    if may_be_heading && matches!(fields.as_slice(), ["channel", "viewerId", ..]) {
        return Ok(None);
    }
    if fields.iter().any(|field| field.contains('"') || field.trim() != *field) {
        return Err(
            "Quotes and spaces around a field may or may not be part of it. Omit them, or \
                    write the line as JSON."
                .to_owned(),
        );
    }
    let (channel, viewer_id, version) = match *fields.as_slice() {
        [channel, viewer_id] => (channel, viewer_id, None),
        [channel, viewer_id, version] => {
            let version = version.parse().map_err(|_| "The version must be an integer.")?;
            (channel, viewer_id, Some(version))
        }
        _ => {
            return Err("A line must be channel,viewerId or channel,viewerId,version, or a JSON \
                        object."
                .to_owned());
        }
    };
    Ok(Some(ViewerSessionRequest {
        channel: channel.to_owned(),
        viewer_id: viewer_id.to_owned(),
        viewer_session_versions_less_than_or_equal_to: version,
        deny_for: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(channel: &str, viewer_id: &str) -> ViewerSessionRequest {
        ViewerSessionRequest {
            channel: channel.to_owned(),
            viewer_id: viewer_id.to_owned(),
            viewer_session_versions_less_than_or_equal_to: None,
            deny_for: None,
        }
    }

    fn sessions(content: &str) -> Vec<ViewerSessionRequest> {
        let (entries, bad) = parse(content.as_bytes());
        assert_eq!(bad, []);
        entries.into_iter().map(|(_, session)| session).collect()
    }

    #[test]
    fn each_form_of_a_line_is_read() {
        let text = "\u{feff}channel,viewerId,version\r\n# ours\n\ndemo,alice\r\ndemo\talice\n\
                    demo,b b,7\n{\"channel\": \"demo\", \"viewerId\": \"x,\\\"y\", \"denyFor\": 60}";
        assert_eq!(
            sessions(text),
            [
                session("demo", "alice"),
                session("demo", "alice"),
                ViewerSessionRequest {
                    viewer_session_versions_less_than_or_equal_to: Some(7),
                    ..session("demo", "b b")
                },
                ViewerSessionRequest { deny_for: Some(60), ..session("demo", "x,\"y") },
            ]
        );
        assert_eq!(sessions("demo\ta,b"), [session("demo", "a,b")]);
    }

    #[test]
    fn duplicate_member_makes_a_line_invalid() {
        let line = br#"{"channel": "demo", "viewerId": "alice", "viewerId": "bob"}"#;
        let (entries, bad) = parse(line);
        assert_eq!(entries, []);
        let fault = "The line contains the same member twice (column 51).";
        assert_eq!(bad, [(1, fault.to_owned())]);
    }

    #[test]
    fn every_invalid_line_is_reported() {
        let (entries, bad) = parse(
            b"demo,alice\nalice\ndemo,alice,x\n\"demo\",alice\ndemo, alice\n{\"channel\"\n\xff,b\n\
              channel,viewerId\ndemo,a,1,2",
        );
        assert_eq!(entries.len(), 2, "a heading further down is not a heading");
        let lines: Vec<_> = bad.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 3, 4, 5, 6, 7, 9]);
        assert!(bad.iter().all(|(_, fault)| fault.ends_with('.') && !fault.contains("alice")));
    }
}
