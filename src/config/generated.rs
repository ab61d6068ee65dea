//! Keeps the files that are generated from the declarations of the keys up to date.
//! `UPDATE_DOCS=1 cargo test --lib config::generated` writes them.

use std::{fmt::Write as _, fs, path::Path};

use super::{
    keys::{ALIASES, SECTIONS, split, variable_of},
    schema,
};

/// Text above this line is written by hand.
const BEGIN: &str = "<!-- generated from the declarations of the keys -->\n";

const HEADER: &str = "\
#:schema ./schema.json
# Every configuration key with its default, generated from the declarations in the code.
#
# A later layer overrides an earlier one: these defaults, --config FILE, the environment, flags. The
# environment variable of a key is IVS_PLAYBACK_AUTH__SECTION__KEY, so server.listen is
# IVS_PLAYBACK_AUTH__SERVER__LISTEN; lists are comma-separated there; and with _FILE appended, a
# variable names a file that holds the value.
#
# Durations are whole numbers with a unit: ms, s, m, h, d, w. Sizes: B, KiB, MiB, GiB. A relative
# path in a file is relative to that file's folder, otherwise to the working directory.
";

fn assert_generated(file: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::vars_os().any(|(name, _)| name == "UPDATE_DOCS") {
        fs::write(path, expected).unwrap();
    } else {
        let written = fs::read_to_string(path).unwrap_or_default();
        assert_eq!(written, expected, "{file} is out of date: run this test with UPDATE_DOCS=1");
    }
}

#[test]
fn default_toml_is_up_to_date() {
    let mut text = HEADER.to_owned();
    for section in &*SECTIONS {
        text.push('\n');
        comment(&mut text, &section.description);
        writeln!(text, "[{}]", section.name).unwrap();
        for key in &section.keys {
            comment(&mut text, &key.description);
            writeln!(text, "{} = {}", split(&key.name).1, key.default).unwrap();
        }
        if section.name == ALIASES {
            text.push_str("# demo = \"arn:aws:ivs:us-west-2:123456789012:channel/AbCdEfGh1234\"\n");
        }
    }
    assert_generated("config/default.toml", &text);
}

#[test]
fn reference_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let written = fs::read_to_string(path).unwrap();
    let (by_hand, _) = written.split_once(BEGIN).unwrap();
    let mut text = format!("{by_hand}{BEGIN}");
    for section in &*SECTIONS {
        writeln!(text, "\n## `[{}]`\n\n{}", section.name, section.description).unwrap();
        if !section.keys.is_empty() {
            text.push_str("\n| key | default | |\n|---|---|---|\n");
        }
        for key in &section.keys {
            let (name, variable) = (split(&key.name).1, variable_of(&key.name));
            let (default, description) = (&key.default, &key.description);
            writeln!(text, "| `{name}`<br>`{variable}` | `{default}` | {description} |").unwrap();
        }
    }
    assert_generated("docs/configuration.md", &text);
}

#[test]
fn schema_is_up_to_date() {
    let text = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    assert_generated("config/schema.json", &text);
}

/// Writes a comment in lines of at most 100 characters.
fn comment(text: &mut String, words: &str) {
    let mut line = "#".to_owned();
    for word in words.split(' ') {
        if line.len() + 1 + word.len() > 100 {
            writeln!(text, "{line}").unwrap();
            "#".clone_into(&mut line);
        }
        write!(line, " {word}").unwrap();
    }
    writeln!(text, "{line}").unwrap();
}
