//! Keeps the tables of `docs/configuration.md` equal to `config/default.toml`, from which they are
//! made. `UPDATE_DOCS=1 cargo test --lib config::reference` writes them anew.

use std::{fmt::Write as _, fs};

use super::{DEFAULT_TOML, known::variable_of};

const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
/// What is above this line is written by hand.
const BEGIN: &str = "<!-- made from config/default.toml -->\n";

#[test]
fn the_reference_is_up_to_date() {
    let written = fs::read_to_string(REFERENCE).unwrap();
    let (by_hand, _) = written.split_once(BEGIN).unwrap();
    let expected = format!("{by_hand}{BEGIN}{}", tables());
    if std::env::vars_os().any(|(name, _)| name == "UPDATE_DOCS") {
        fs::write(REFERENCE, &expected).unwrap();
    } else {
        assert_eq!(written, expected, "run this test with UPDATE_DOCS=1");
    }
}

/// A table a section, a row a key. The comment above a line of `default.toml` describes it.
fn tables() -> String {
    let mut tables = String::new();
    let mut section = "";
    let mut comment: Vec<&str> = Vec::new();
    for line in DEFAULT_TOML.lines() {
        if let Some(text) = line.strip_prefix("# ") {
            comment.push(text);
            continue;
        }
        let description = std::mem::take(&mut comment).join(" ");
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
            writeln!(tables, "\n## `[{section}]`\n").unwrap();
            if description.is_empty() {
                tables.push_str("| key | default | |\n|---|---|---|\n");
            } else {
                writeln!(tables, "{description}").unwrap();
            }
        } else if let Some((name, default)) = line.split_once(" = ") {
            let variable = variable_of(&format!("{section}.{name}"));
            writeln!(tables, "| `{name}`<br>`{variable}` | `{default}` | {description} |").unwrap();
        }
    }
    tables
}
