//! Holds an input against the table of constraints.
//!
//! Types come first: a member of another type is a `SerializationException`, as when AWS cannot
//! read the body. Then every broken constraint is a part of one `ValidationException` that names
//! each member. What passes is handed on without `null`s and unknown members.

use serde_json::{Map, Value};

use super::{
    constraint::{Member, Shape, Text},
    error::{ApiError, ErrorCode},
    operations::Operation,
};

/// More are not looked for: a body has room for many thousands.
const MAX_FAULTS: usize = 100;

/// The members of `input` that the operation knows, once all of them are as the table says.
pub(super) fn validate(
    operation: &Operation,
    input: &Map<String, Value>,
) -> Result<Map<String, Value>, ApiError> {
    members(operation.name, operation.members, input)
}

/// The same for any object: `name` is what messages call it.
pub(in crate::emulator) fn members(
    name: &str,
    members: &'static [Member],
    input: &Map<String, Value>,
) -> Result<Map<String, Value>, ApiError> {
    let mut faults = Faults::default();
    let known = faults.structure("", members, input);
    if !faults.types.is_empty() {
        return Err(ApiError::new(ErrorCode::Serialization, faults.types.join("; ")));
    }
    if !faults.missing.is_empty() || !faults.constraints.is_empty() {
        let missing =
            faults.missing.iter().map(|path| format!("{name}.{path} is a required attribute"));
        let broken = faults.constraints.iter().map(|(path, rule)| {
            format!("Request member: {path} failed to satisfy the constraints: {rule}")
        });
        let message: Vec<String> = missing.chain(broken).collect();
        return Err(ApiError::new(ErrorCode::Validation, message.join("; ")));
    }
    Ok(known)
}

/// What is wrong with an input, by the path of the member.
#[derive(Default)]
struct Faults {
    types: Vec<String>,
    missing: Vec<String>,
    constraints: Vec<(String, String)>,
}

impl Faults {
    fn structure(
        &mut self,
        path: &str,
        members: &'static [Member],
        input: &Map<String, Value>,
    ) -> Map<String, Value> {
        let mut known = Map::new();
        for member in members {
            if self.is_full() {
                break;
            }
            let path = if path.is_empty() {
                member.name.to_owned()
            } else {
                format!("{path}.{}", member.name)
            };
            match input.get(member.name) {
                None | Some(Value::Null) if member.required => self.missing.push(path),
                None | Some(Value::Null) => {}
                Some(value) => {
                    if let Some(value) = self.value(&path, &member.shape, value) {
                        known.insert(member.name.to_owned(), value);
                    }
                }
            }
        }
        known
    }

    fn value(&mut self, path: &str, shape: &'static Shape, value: &Value) -> Option<Value> {
        match shape {
            Shape::Boolean => {
                self.typed(path, "a boolean", value.as_bool())?;
            }
            Shape::Integer { min, max } => {
                let number = self.typed(path, "an integer", value.as_i64())?;
                if number < *min {
                    self.broken(path, format!("it must be at least {min}"));
                } else if number > *max {
                    self.broken(path, format!("it must be at most {max}"));
                }
            }
            Shape::List { min, max, item } => {
                let items = self.typed(path, "an array", value.as_array())?;
                self.length(path, "items", items.len(), *min, *max);
                return Some(Value::Array(self.items(path, item, items)));
            }
            Shape::Map { max, key, value: value_text } => {
                let entries = self.typed(path, "an object", value.as_object())?;
                return Some(Value::Object(self.entries(path, (*max, key, value_text), entries)));
            }
            Shape::NotEmulated => {
                self.broken(path, "it is not emulated; leave it out".to_owned());
            }
            Shape::Structure(members) => {
                let object = self.typed(path, "an object", value.as_object())?;
                return Some(Value::Object(self.structure(path, members, object)));
            }
            Shape::Text(text) => {
                let string = self.typed(path, "a string", value.as_str())?;
                self.text(path, text, string);
            }
        }
        Some(value.clone())
    }

    fn items(&mut self, path: &str, item: &'static Shape, items: &[Value]) -> Vec<Value> {
        let mut known = Vec::with_capacity(items.len());
        for (index, value) in items.iter().enumerate() {
            if self.is_full() {
                break;
            }
            known.extend(self.value(&format!("{path}[{index}]"), item, value));
        }
        known
    }

    /// Keys are the caller's, so that messages about entries name the map alone.
    fn entries(
        &mut self,
        path: &str,
        (max, key, value): (usize, &Text, &Text),
        entries: &Map<String, Value>,
    ) -> Map<String, Value> {
        let mut known = Map::new();
        for (name, entry) in entries.iter().filter(|(_, entry)| !entry.is_null()) {
            let Some(string) = self.typed(path, "an object of strings", entry.as_str()) else {
                break;
            };
            if self.is_full() {
                break;
            }
            self.text(&format!("{path} (a key)"), key, name);
            self.text(&format!("{path} (a value)"), value, string);
            known.insert(name.clone(), entry.clone());
        }
        self.length(path, "entries", known.len(), 0, max);
        known
    }

    fn text(&mut self, path: &str, text: &Text, string: &str) {
        let length = string.chars().count();
        self.length(path, "characters", length, text.min, text.max);
        if !text.form.matches(string) {
            self.broken(path, text.form.to_string());
        }
    }

    fn length(&mut self, path: &str, unit: &str, length: usize, min: usize, max: usize) {
        if length < min {
            self.broken(path, format!("it must have at least {min} {unit}"));
        } else if length > max {
            self.broken(path, format!("it must have at most {max} {unit}"));
        }
    }

    fn is_full(&self) -> bool {
        self.types.len() + self.missing.len() + self.constraints.len() >= MAX_FAULTS
    }

    fn broken(&mut self, path: &str, rule: String) {
        let fault = (path.to_owned(), rule);
        if !self.constraints.contains(&fault) {
            self.constraints.push(fault);
        }
    }

    fn typed<T>(&mut self, path: &str, expected: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.types.push(format!("Request member: {path} must be {expected}"));
        }
        value
    }
}
