//! Walks the table of operations: each constraint of each member takes what is inside its bounds
//! and refuses what is outside, and what passes fits the operation. The walk names no member, so
//! that a new row is tested as soon as it is written.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{
    Call,
    constraint::{Form, Member, Shape, Text},
    error::{ApiError, ErrorCode},
    operations::{NOT_EMULATED, OPERATIONS, Operation},
    validate::validate,
};
use crate::{
    clock::Clock,
    emulator::{Emulator, Options},
};

/// A member of an operation, however deep: the path to it.
struct Place {
    operation: &'static Operation,
    path: Vec<&'static Member>,
}

fn places() -> Vec<Place> {
    fn below(place: &Place, members: &'static [Member], found: &mut Vec<Place>) {
        for member in members {
            let path = place.path.iter().copied().chain([member]).collect();
            let place = Place { operation: place.operation, path };
            if let Some((members, _)) = structure(&member.shape) {
                below(&place, members, found);
            }
            found.push(place);
        }
    }
    let mut found = Vec::new();
    for operation in OPERATIONS {
        below(&Place { operation, path: Vec::new() }, operation.members, &mut found);
    }
    found
}

impl Place {
    /// The least good input, with `value` at this place; `None` leaves the place out.
    fn input(&self, value: Option<&Value>) -> Map<String, Value> {
        build(self.operation.members, &self.path, value)
    }

    fn name(&self) -> String {
        let path: Vec<&str> = self.path.iter().map(|member| member.name).collect();
        format!("{}.{}", self.operation.name, path.join("."))
    }

    fn member(&self) -> &'static Member {
        self.path[self.path.len() - 1]
    }

    fn verdict(&self, value: Option<&Value>) -> Result<(), ApiError> {
        validate(self.operation, &self.input(value)).map(drop)
    }
}

fn build(
    members: &'static [Member],
    path: &[&'static Member],
    value: Option<&Value>,
) -> Map<String, Value> {
    let mut input = Map::new();
    for member in members {
        match path {
            [last] if last.name == member.name => {
                input.extend(value.map(|value| (member.name.to_owned(), value.clone())));
            }
            [first, rest @ ..] if first.name == member.name => {
                let (members, is_list) = structure(&member.shape).unwrap();
                let inner = Value::Object(build(members, rest, value));
                let inner = if is_list { json!([inner]) } else { inner };
                input.insert(member.name.to_owned(), inner);
            }
            _ if member.required => {
                input.insert(member.name.to_owned(), inside(&member.shape)[0].clone());
            }
            _ => {}
        }
    }
    input
}

/// The members of a structure, or of the structures in a list; whether it is a list.
fn structure(shape: &'static Shape) -> Option<(&'static [Member], bool)> {
    if let Shape::List { item: Shape::Structure(members), .. } = shape {
        return Some((members, true));
    }
    if let Shape::Structure(members) = shape { Some((members, false)) } else { None }
}

/// Values at the bounds of a shape, within.
fn inside(shape: &'static Shape) -> Vec<Value> {
    match shape {
        Shape::Boolean => vec![json!(true), json!(false)],
        Shape::Integer { min, max } => vec![json!(min), json!(max)],
        Shape::List { min, max, item } => {
            let one = inside(item)[0].clone();
            // Where the model sets no limit, many are as good as any number.
            vec![json!(vec![one.clone(); (*min).max(1)]), json!(vec![one; (*max).min(1_000)])]
        }
        Shape::Map { max, key, value } => {
            let (key_text, value) = (texts(key)[0].clone(), texts(value)[0].clone());
            let entries = |count: usize| -> Value {
                (0..count).map(|index| (format!("{key_text}{index}"), json!(value))).collect()
            };
            vec![json!({}), entries(1), entries(*max)]
        }
        Shape::NotEmulated => Vec::new(),
        Shape::Structure(members) => vec![Value::Object(build(members, &[], None))],
        Shape::Text(text) => texts(text).into_iter().map(Value::String).collect(),
    }
}

fn texts(text: &Text) -> Vec<String> {
    let arn = |kind: &str| format!("arn:aws:ivs:us-west-2:123456789012:{kind}/a");
    let good = match text.form {
        Form::Any | Form::BucketName | Form::Name | Form::PageToken | Form::TagValue => {
            vec!["a".repeat(text.min.max(1))]
        }
        Form::StreamId => vec![format!("st-{}", "a".repeat(text.min.saturating_sub(3)))],
        Form::TagKey => vec!["k".to_owned(), "\u{e9} :/=+-@_.".to_owned()],
        Form::Arn(kind) => vec![arn(kind)],
        Form::ArnOrEmpty(kind) => vec![arn(kind), String::new()],
        Form::ArnOfAnyKind => vec![arn("channel"), arn("playback-key")],
        Form::OneOf(values) => return values.iter().map(|&value| value.to_owned()).collect(),
    };
    let mut all = good;
    if text.max < 10_000 {
        let longest = &all[0];
        let longest = format!("{longest}{}", "a".repeat(text.max - longest.chars().count()));
        all.push(longest);
    }
    if text.min == 0 && text.form.matches("") {
        all.push(String::new());
    }
    all
}

/// Values just beyond the bounds of a shape, of its type.
fn outside(shape: &'static Shape) -> Vec<Value> {
    match shape {
        Shape::Boolean | Shape::Structure(_) => Vec::new(),
        Shape::Integer { min, max } => vec![json!(min - 1), json!(max + 1)],
        Shape::List { min, max, item } => {
            let one = inside(item)[0].clone();
            let mut all = Vec::new();
            all.extend((*max < 10_000).then(|| json!(vec![one; max + 1])));
            all.extend((*min > 0).then(|| json!([])));
            all.extend(outside(item).into_iter().map(|bad| json!([bad])));
            all
        }
        Shape::Map { max, key, value } => {
            let (good_key, good_value) = (texts(key)[0].clone(), texts(value)[0].clone());
            let many = (0..=*max).map(|index| (format!("{good_key}{index}"), json!(good_value)));
            let mut all = vec![many.collect()];
            all.extend(bad_texts(key).into_iter().map(|bad| json!({bad: good_value})));
            all.extend(bad_texts(value).into_iter().map(|bad| json!({good_key.clone(): bad})));
            all
        }
        Shape::NotEmulated => vec![json!("x"), json!(""), json!(true)],
        Shape::Text(text) => bad_texts(text).into_iter().map(Value::String).collect(),
    }
}

fn bad_texts(text: &Text) -> Vec<String> {
    let mut all = Vec::new();
    if text.min > 0 {
        all.push(String::new());
    }
    if text.max < 10_000 {
        let longest = texts(text).into_iter().max_by_key(|text| text.chars().count());
        all.push(format!("{}a", longest.unwrap()));
    }
    let odd = ["\u{e9}\u{1f600}", "a b*", "a\n", "arn:aws:ivs:us-west-2:123456789012:nothing"];
    all.extend(odd.iter().filter(|odd| !text.form.matches(odd)).map(|&odd| odd.to_owned()));
    all
}

/// Values of other types than a shape is.
fn mistyped(shape: &'static Shape) -> Vec<Value> {
    let all = [json!(true), json!(1), json!("a"), json!([]), json!({}), json!(1.5)];
    let own: &[usize] = match shape {
        Shape::Boolean => &[0],
        Shape::Integer { .. } => &[1],
        Shape::List { .. } => &[3],
        Shape::Map { .. } | Shape::Structure(_) => &[4],
        Shape::NotEmulated => &[0, 1, 2, 3, 4, 5],
        Shape::Text(_) => &[2],
    };
    let others = all.into_iter().enumerate().filter(|(index, _)| !own.contains(index));
    others.map(|(_, value)| value).collect()
}

#[test]
fn every_constraint_takes_what_is_inside() {
    for place in places() {
        for value in inside(&place.member().shape) {
            assert_eq!(place.verdict(Some(&value)), Ok(()), "{} {value:.200}", place.name());
        }
    }
}

#[test]
fn every_constraint_refuses_what_is_outside() {
    let mut refused = 0;
    for place in places() {
        for value in outside(&place.member().shape) {
            let error = place.verdict(Some(&value)).expect_err(&place.name());
            assert_eq!(error.code(), ErrorCode::Validation, "{} {value:.200}", place.name());
            assert!(error.message().contains(place.member().name), "{}", error.message());
            refused += 1;
        }
    }
    assert!(refused > 200, "{refused}");
}

#[test]
fn every_type_is_kept() {
    for place in places() {
        for value in mistyped(&place.member().shape) {
            let error = place.verdict(Some(&value)).expect_err(&place.name());
            assert_eq!(error.code(), ErrorCode::Serialization, "{} {value}", place.name());
            assert!(error.message().contains(place.member().name));
        }
    }
}

#[test]
fn required_members_are_required_and_null_is_absent() {
    for place in places() {
        for value in [None, Some(&Value::Null)] {
            let verdict = place.verdict(value);
            if place.member().required {
                let error = verdict.expect_err(&place.name());
                assert_eq!(error.code(), ErrorCode::Validation);
                assert!(error.message().contains("required"), "{}", error.message());
            } else {
                assert_eq!(verdict, Ok(()), "{}", place.name());
            }
        }
    }
}

#[test]
fn what_passes_has_no_nulls_and_nothing_unknown() {
    let create = OPERATIONS.iter().find(|operation| operation.name == "CreateChannel").unwrap();
    let input = json!({"name": null, "tags": {"a": null, "b": "c"}, "x": 1, "authorized": true});
    let known = validate(create, input.as_object().unwrap()).unwrap();
    assert_eq!(Value::Object(known), json!({"tags": {"b": "c"}, "authorized": true}));
}

#[test]
fn every_good_input_fits_its_operation() {
    let dir = tempfile::tempdir().unwrap();
    let account_id = "123456789012".parse().unwrap();
    let options = Options::new(dir.path(), account_id);
    let emulator = Emulator::open(options, Clock::system()).unwrap();
    for place in places() {
        for value in inside(&place.member().shape) {
            let input = validate(place.operation, &place.input(Some(&value))).unwrap();
            let call = Call {
                shared: &emulator.0,
                operation: place.operation,
                region: "us-west-2".parse().unwrap(),
                base_url: String::new(),
                accept_duplicates: false,
                input,
            };
            if let Err(error) = (place.operation.handler)(&call) {
                let code = error.code();
                assert_ne!(code, ErrorCode::InternalServer, "{} {value:.200}", place.name());
                assert!(place.operation.may_answer(code), "{} {code:?}", place.name());
            }
        }
    }
}

#[test]
fn the_table_knows_each_operation_of_ivs_once() {
    let names =
        OPERATIONS.iter().map(|operation| operation.name).chain(NOT_EMULATED.iter().copied());
    let distinct: BTreeSet<&str> = names.clone().collect();
    assert_eq!((names.count(), distinct.len()), (46, 46));
}
