//! TOML text as a [`Layer`]: every leaf with its line.

use std::{path::Path, sync::Arc};

use toml::de::{DeTable, DeValue};

use super::{
    Problem,
    known::MAPS,
    settings::{Layer, Origin, Setting, Value},
};

/// The values of a TOML document.
///
/// # Errors
///
/// One problem for each fault of syntax. None of them repeats a part of the text, which may hold a
/// secret.
pub(super) fn read(text: &str, path: &Path) -> Result<Layer, Vec<Problem>> {
    let path: Arc<Path> = path.into();
    let (document, faults) = DeTable::parse_recoverable(text);
    if !faults.is_empty() {
        let problems = faults.iter().map(|fault| Problem {
            key: None,
            place: format!(
                "{}:{}",
                path.display(),
                line_of(text, fault.span().unwrap_or_default().start)
            ),
            message: format!("is not TOML here: {}.", fault.message().trim_end_matches('.')),
        });
        return Err(problems.collect());
    }
    let mut leaves = Leaves { text, path, layer: Layer::new() };
    leaves.collect("", document.get_ref());
    Ok(leaves.layer)
}

struct Leaves<'a> {
    text: &'a str,
    path: Arc<Path>,
    layer: Layer,
}

impl Leaves<'_> {
    fn collect(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let key = if prefix.is_empty() {
                name.get_ref().to_string()
            } else {
                format!("{prefix}.{}", name.get_ref())
            };
            if let DeValue::Table(inner) = value.get_ref()
                && (!inner.is_empty() || is_section(&key))
            {
                self.collect(&key, inner);
                continue;
            }
            // An empty table of another name says nothing, but is likely a misspelt section.
            let line = line_of(self.text, name.span().start);
            let origin = Origin::File { path: Arc::clone(&self.path), line };
            self.layer.insert(key, Setting { value: value_of(value.get_ref()), origin });
        }
    }
}

fn is_section(key: &str) -> bool {
    super::SECTIONS.contains(&key) || MAPS.contains(&key)
}

fn value_of(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map_or(Value::Other, Value::Integer),
        DeValue::Float(float) => float.as_str().parse().map_or(Value::Other, Value::Float),
        DeValue::Boolean(boolean) => Value::Boolean(*boolean),
        DeValue::Array(items) => {
            Value::List(items.iter().map(|item| value_of(item.get_ref())).collect())
        }
        DeValue::Datetime(_) | DeValue::Table(_) => Value::Other,
    }
}

/// The line, from 1, of the byte at `offset`.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lay(text: &str) -> Vec<(String, Value, String)> {
        read(text, Path::new("a.toml"))
            .unwrap()
            .into_iter()
            .map(|(key, setting)| (key, setting.value, setting.origin.to_string()))
            .collect()
    }

    #[test]
    fn leaves_have_dotted_keys_and_their_line() {
        let text = "\n[server]\nworkers = 0x10\n\n[channels.aliases]\ndemo = 'arn'\n";
        assert_eq!(
            lay(text),
            [
                ("channels.aliases.demo".into(), Value::Text("arn".into()), "a.toml:6".into()),
                ("server.workers".into(), Value::Integer(16), "a.toml:3".into()),
            ]
        );
    }

    #[test]
    fn an_empty_section_is_nothing_but_an_unknown_one_is_a_leaf() {
        assert!(lay("[server]\n[channels.aliases]\n").is_empty());
        assert_eq!(lay("[sever]\n"), [("sever".into(), Value::Other, "a.toml:1".into())]);
    }

    #[test]
    fn every_fault_of_syntax_is_told_without_the_text() {
        let text = "[server]\nlisten = hunter2\nworkers = 1\nworkers = 2\n";
        let problems = read(text, Path::new("a.toml")).unwrap_err();
        let places: Vec<_> = problems.iter().map(|problem| problem.place.as_str()).collect();
        assert_eq!(places, ["a.toml:2", "a.toml:4"]);
        assert!(!format!("{problems:?}").contains("hunter2"), "{problems:?}");
    }
}
