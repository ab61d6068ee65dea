//! Tests of the table of operations, and of a full region.
//!
//! The tests of the table name no member: each constraint must accept the values within its bounds
//! and refuse those outside, and each valid input must fit the type of its operation. A new row is
//! tested as soon as it exists.

use std::collections::BTreeSet;

use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode},
};
use serde_json::{Map, Value, json};
use tower::ServiceExt;

use super::{
    call::Call,
    channels,
    constraints::{self, Form, Member, Shape, Text},
    operations::{NOT_EMULATED, OPERATIONS, Operation},
    response::{ApiError, ErrorCode},
};
use crate::{
    clock::Clock,
    emulator::{Emulator, Options, store::StoreError},
    ivs::arn::Region,
};

/// Opens an emulator in a folder of its own.
fn open() -> (Emulator, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new(dir.path(), "123456789012".parse().unwrap());
    (Emulator::open(options, Clock::system()).unwrap(), dir)
}

fn validate(
    operation: &Operation,
    input: &Map<String, Value>,
) -> Result<Map<String, Value>, ApiError> {
    constraints::validate(operation.name, operation.members, input)
}

/// The path to a member of an operation, at any depth.
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
    /// Returns the smallest valid input with `value` at this place; `None` leaves the place out.
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

/// Returns the members of a structure, or of the structures in a list, and whether it is a list.
fn structure(shape: &'static Shape) -> Option<(&'static [Member], bool)> {
    if let Shape::List { item: Shape::Structure(members), .. } = shape {
        return Some((members, true));
    }
    if let Shape::Structure(members) = shape { Some((members, false)) } else { None }
}

/// Returns values just within the bounds of a shape.
fn inside(shape: &'static Shape) -> Vec<Value> {
    match shape {
        Shape::Boolean => vec![json!(true), json!(false)],
        Shape::Integer { min, max } => vec![json!(min), json!(max)],
        Shape::List { min, max, item } => {
            let one = inside(item)[0].clone();
            // Where the model sets no limit, a large number stands for any.
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

/// Returns values of the right type just outside the bounds of a shape.
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

/// Returns values of other types than that of a shape.
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
fn every_constraint_accepts_values_within_bounds() {
    for place in places() {
        for value in inside(&place.member().shape) {
            assert_eq!(place.verdict(Some(&value)), Ok(()), "{} {value:.200}", place.name());
        }
    }
}

#[test]
fn every_constraint_refuses_values_outside_bounds() {
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
fn every_member_refuses_other_types() {
    for place in places() {
        for value in mistyped(&place.member().shape) {
            let error = place.verdict(Some(&value)).expect_err(&place.name());
            assert_eq!(error.code(), ErrorCode::Serialization, "{} {value}", place.name());
            assert!(error.message().contains(place.member().name));
        }
    }
}

#[test]
fn required_member_is_required_and_null_counts_as_absent() {
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
fn validated_input_has_no_nulls_and_no_unknown_members() {
    let create = OPERATIONS.iter().find(|operation| operation.name == "CreateChannel").unwrap();
    let input = json!({"name": null, "tags": {"a": null, "b": "c"}, "x": 1, "authorized": true});
    let known = validate(create, input.as_object().unwrap()).unwrap();
    assert_eq!(Value::Object(known), json!({"tags": {"b": "c"}, "authorized": true}));
}

#[test]
fn every_valid_input_fits_its_operation() {
    let (emulator, _dir) = open();
    for place in places() {
        for value in inside(&place.member().shape) {
            let input = validate(place.operation, &place.input(Some(&value))).unwrap();
            let call = Call {
                shared: &emulator.0,
                operation: place.operation.name,
                region: "us-west-2".parse().unwrap(),
                base_url: String::new(),
                accept_duplicates: false,
                input,
            };
            if let Err(error) = (place.operation.handler)(&call) {
                let code = error.code();
                assert_ne!(code, ErrorCode::InternalServer, "{} {value:.200}", place.name());
                assert!(place.operation.may_return(code), "{} {code:?}", place.name());
            }
        }
    }
}

#[test]
fn table_contains_each_operation_of_ivs_once() {
    let names =
        OPERATIONS.iter().map(|operation| operation.name).chain(NOT_EMULATED.iter().copied());
    let distinct: BTreeSet<&str> = names.clone().collect();
    assert_eq!((names.count(), distinct.len()), (46, 46));
}

const REGIONS: [&str; 2] = ["us-west-2", "eu-west-1"];

/// An emulator with as many channels as IVS allows in two regions.
struct Full {
    emulator: Emulator,
    _dir: tempfile::TempDir,
}

impl Full {
    /// Fills the regions in one transaction: 10,000 transactions take minutes.
    fn new() -> Self {
        let (emulator, dir) = open();
        let shared = &emulator.0;
        let fill = |transaction: &_| {
            for region in REGIONS {
                let region: Region = region.parse().unwrap();
                for index in 0..channels::QUOTA {
                    let mut channel = channels::default_channel(shared, &region)?;
                    channel.name = format!("channel-{}", index % 1_000);
                    channels::insert(shared, transaction, &channel.into())?;
                }
            }
            Ok::<_, StoreError>(())
        };
        shared.store.write(fill).unwrap();
        Self { emulator, _dir: dir }
    }

    async fn call(&self, region: &str, operation: &str, input: &Value) -> (StatusCode, Value) {
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKID/20261122/{region}/ivs/aws4_request, \
             SignedHeaders=host, Signature=00"
        );
        let request = Request::post(format!("/{operation}"))
            .header("authorization", authorization)
            .body(Body::from(input.to_string()))
            .unwrap();
        let response = self.emulator.router().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    /// Returns the ARNs of all pages, and the number of pages.
    async fn list(&self, region: &str, filter: &Value) -> (Vec<String>, usize) {
        let (mut arns, mut pages, mut input) = (Vec::new(), 0, filter.clone());
        loop {
            let (status, page) = self.call(region, "ListChannels", &input).await;
            assert_eq!(status, StatusCode::OK, "{page}");
            let channels = page["channels"].as_array().unwrap();
            arns.extend(channels.iter().map(|channel| channel["arn"].as_str().unwrap().to_owned()));
            pages += 1;
            if page.get("nextToken").is_none() {
                return (arns, pages);
            }
            input["nextToken"] = page["nextToken"].clone();
        }
    }
}

#[tokio::test]
async fn full_regions_list_every_channel_and_refuse_more() {
    let full = Full::new();
    let mut all = BTreeSet::new();
    for region in REGIONS {
        let (arns, pages) = full.list(region, &json!({})).await;
        assert_eq!((arns.len(), pages), (5_000, 50));
        all.extend(arns);
        let (named, pages) = full.list(region, &json!({"filterByName": "channel-7"})).await;
        assert_eq!((named.len(), pages), (5, 1));
        let (status, refused) = full.call(region, "CreateChannel", &json!({})).await;
        assert_eq!(status, StatusCode::PAYMENT_REQUIRED);
        assert_eq!(refused["__type"], "ServiceQuotaExceededException");
    }
    assert_eq!(all.len(), 10_000);
    let arn = all.iter().find(|arn| arn.contains(REGIONS[0])).unwrap();
    let (status, _) = full.call(REGIONS[0], "DeleteChannel", &json!({"arn": arn})).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (status, _) = full.call(REGIONS[0], "CreateChannel", &json!({})).await;
    assert_eq!(status, StatusCode::OK);
}
