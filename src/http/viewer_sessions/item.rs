//! One viewer session of a request, judged by itself.

use std::time::Duration;

use serde_json::Value;

use crate::{
    http::{Api, json::Members, problem::ApiError},
    revocation::{MAX_DENIAL, Wanted},
    tokens::{
        claims::{MAX_VIEWER_SESSION_VERSION, ViewerId, ViewerIdError},
        grant::Violation,
    },
};

/// A viewer session of a request, and what its members come to.
#[derive(Debug)]
pub struct Item {
    /// As in the request, where it is a string.
    pub(super) channel: Option<String>,
    /// The same.
    pub(super) viewer_id: Option<String>,
    pub(super) judged: Result<Wanted, ApiError>,
}

impl Item {
    /// Why it is refused.
    pub fn refusal(&self) -> Option<&ApiError> {
        self.judged.as_ref().err()
    }

    /// What is wrong with it, in one text.
    pub fn fault(&self) -> Option<String> {
        self.refusal().map(message)
    }

    /// What is to be done, where nothing is wrong.
    pub fn wanted(&self) -> Option<&Wanted> {
        self.judged.as_ref().ok()
    }
}

/// Judges one viewer session by itself.
pub fn judge(api: &Api, item: Value) -> Item {
    let text = |name| item.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
    let (channel, viewer_id) = (text("channel"), text("viewerId"));
    let judged = match item {
        Value::Object(members) => read_item(api, Members::new(members)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(ApiError::invalid_member("", "Each viewer session must be an object."))
        }
    };
    Item { channel, viewer_id, judged }
}

fn read_item(api: &Api, mut members: Members) -> Result<Wanted, ApiError> {
    const VERSION: &str = "viewerSessionVersionsLessThanOrEqualTo";
    let channel = members.string("channel");
    if channel.is_none() && !members.is_faulty_at("channel") {
        members.violate("/channel", "channel is required: a channel ARN or a configured alias.");
    }
    let viewer = members.string("viewerId");
    if viewer.is_none() && !members.is_faulty_at("viewerId") {
        members.violate("/viewerId", "viewerId is required: the viewer, as in the token.");
    }
    let viewer = viewer.map(ViewerId::parse).and_then(|viewer| {
        let fault = match viewer {
            Ok(viewer) => return Some(viewer),
            Err(ViewerIdError::Empty) => "viewerId is empty; name the viewer.".to_owned(),
            Err(ViewerIdError::TooLong) => {
                "viewerId has more than 40 characters, so that no token can name it.".to_owned()
            }
        };
        members.violate("/viewerId", fault);
        None
    });
    let version = members.integer(VERSION);
    if version.is_some_and(|it| !(0..=MAX_VIEWER_SESSION_VERSION).contains(&it)) {
        let detail =
            format!("{VERSION} must be from 0 to 2147483647; leave it out for all until now.");
        members.violate(format!("/{VERSION}"), detail);
    }
    let deny_for = members.integer("denyFor");
    let deny_for = deny_for.map(|it| u64::try_from(it).unwrap_or(0));
    if deny_for.is_some_and(|it| !(1..=MAX_DENIAL.as_secs()).contains(&it)) {
        let detail = "denyFor must be from 1 to 31622400 seconds, which are 366 days.";
        members.violate("/denyFor", detail);
    }
    if members.was_given("denyFor") && api.viewers.denials().is_none() {
        let detail = "denyFor is not available: this replica alone would know of it. Set \
                      viewers.local_deny = true if there is no other, or leave denyFor out.";
        members.violate("/denyFor", detail);
    }
    let mut violations = members.finish();
    let channel = channel.map(|text| api.resolve(&text).map_err(ApiError::from)).transpose();
    match (channel, viewer) {
        (Ok(Some(channel)), Some(viewer)) if violations.is_empty() => Ok(Wanted {
            channel,
            viewer,
            version: version.and_then(|it| i32::try_from(it).ok()),
            deny_for: deny_for.map(Duration::from_secs),
        }),
        // Alone, an unknown channel is what it is for a mint.
        (Err(refusal), _) if violations.is_empty() => Err(refusal),
        (channel, _) => {
            if let Err(refusal) = channel {
                let detail = refusal.to_problem(None, true).detail;
                violations.push(Violation { pointer: "/channel".to_owned(), detail });
            }
            Err(ApiError::invalid(violations))
        }
    }
}

/// A refusal in one text, in which every fault says which member it is about.
pub(super) fn message(error: &ApiError) -> String {
    let problem = error.to_problem(None, true);
    let faults: Vec<_> = problem
        .errors
        .iter()
        .map(|fault| {
            let name = fault.pointer.trim_start_matches('/');
            let known = name.is_empty() || fault.detail.contains(name);
            if known { fault.detail.clone() } else { format!("{name}: {}", fault.detail) }
        })
        .collect();
    if faults.is_empty() { problem.detail } else { faults.join(" ") }
}
