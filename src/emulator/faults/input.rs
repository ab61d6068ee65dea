//! Parses a fault from a request.

use std::time::Duration;

use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    registry::{Effect, Fault, Operations, PLAYBACK},
    strike::{BatchFlaw, Refusal},
};
use crate::{
    emulator::api::{
        constraints::{
            Form, Member, Shape, integer, list, one_of, optional, required, text, validate,
        },
        operations::is_emulated,
        response::{ApiError, ErrorCode},
    },
    ivs::arn::Region,
};

/// Stands for every operation of the control plane.
const ALL: &str = "*";

/// One hour, which is longer than any client waits.
const MAX_DELAY_MILLIS: i64 = 3_600_000;

/// Every kind of fault, by its name in requests.
const KINDS: &[&str] = &[
    "accept_duplicates",
    "cut",
    "error",
    "fail_item",
    "late_answer",
    "lost_answer",
    "omit_item",
    "repeat_item",
    "slow",
    "throttle",
];

/// The members of a fault.
const MEMBERS: &[Member] = &[
    optional("code", SHORT_TEXT),
    optional("count", POSITIVE),
    optional("delayMs", integer(1, MAX_DELAY_MILLIS)),
    optional("every", POSITIVE),
    required("kind", one_of(KINDS)),
    optional("operations", list(1, 100, &SHORT_TEXT)),
    optional("region", SHORT_TEXT),
    optional("seconds", POSITIVE),
    optional("skip", integer(0, i32::MAX as i64)),
    optional("status", integer(400, 599)),
];

const POSITIVE: Shape = integer(1, i32::MAX as i64);
const SHORT_TEXT: Shape = text(1, 64, Form::Any);

/// What goes wrong; one of [`KINDS`].
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    AcceptDuplicates,
    Cut,
    Error,
    FailItem,
    LateAnswer,
    LostAnswer,
    OmitItem,
    RepeatItem,
    Slow,
    Throttle,
}

/// The members, after each met its constraint.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    code: Option<String>,
    count: Option<u64>,
    delay_ms: Option<u64>,
    every: Option<u64>,
    kind: Kind,
    operations: Option<Vec<String>>,
    region: Option<String>,
    seconds: Option<u64>,
    skip: Option<u64>,
    status: Option<u16>,
}

/// Reads a fault. A fault that could never strike, or with members of another kind, is refused.
pub(super) fn read(mut given: Map<String, Value>) -> Result<Fault, ApiError> {
    if let Some(name) = given.get("operations").and_then(Value::as_str) {
        let names = json!([name]);
        given.insert("operations".to_owned(), names);
    }
    if given.keys().any(|name| MEMBERS.iter().all(|member| member.name != name)) {
        let names: Vec<&str> = MEMBERS.iter().map(|member| member.name).collect();
        let message = format!("A fault may have only the members {}.", names.join(", "));
        return Err(ApiError::new(ErrorCode::Validation, message));
    }
    let given = validate("fault", MEMBERS, &given)?;
    let input = Input::deserialize(&given).map_err(|_| {
        tracing::error!(event = "emulator_failed", "a fault does not match its type");
        ApiError::internal()
    })?;
    Ok(Fault {
        effect: input.effect()?,
        operations: input.operations()?,
        region: input.region()?,
        count: input.count,
        lasts: input.seconds.map(Duration::from_secs),
        every: input.every.unwrap_or(1),
        skip: input.skip.unwrap_or(0),
        given,
    })
}

impl Kind {
    /// Returns the only operations that it can strike; `None` if it can strike any.
    const fn only_operations(self) -> Option<&'static [&'static str]> {
        match self {
            Self::AcceptDuplicates => Some(&["ImportPlaybackKeyPair"]),
            Self::FailItem | Self::OmitItem | Self::RepeatItem => {
                Some(&["BatchGetChannel", "BatchGetStreamKey"])
            }
            Self::Cut
            | Self::Error
            | Self::LateAnswer
            | Self::LostAnswer
            | Self::Slow
            | Self::Throttle => None,
        }
    }
}

impl Input {
    fn effect(&self) -> Result<Effect, ApiError> {
        let has_delay = matches!(self.kind, Kind::LateAnswer | Kind::Slow);
        let has_code = matches!(self.kind, Kind::Error | Kind::FailItem);
        let has_status = matches!(self.kind, Kind::Error);
        for (member, is_given, is_known) in [
            ("delayMs", self.delay_ms.is_some(), has_delay),
            ("code", self.code.is_some(), has_code),
            ("status", self.status.is_some(), has_status),
        ] {
            if is_given && !is_known {
                return Err(ApiError::invalid(member, "this kind of fault does not have it"));
            }
        }
        Ok(match self.kind {
            Kind::AcceptDuplicates => Effect::AcceptDuplicates,
            Kind::Cut => Effect::Cut,
            Kind::Error => Effect::Refuse(self.refusal()?),
            Kind::FailItem => {
                let code = self.code.clone().unwrap_or_else(|| "500".to_owned());
                Effect::Flawed(BatchFlaw::Fail(code))
            }
            Kind::LateAnswer => Effect::LateAnswer(self.delay()?),
            Kind::LostAnswer => Effect::LostAnswer,
            Kind::OmitItem => Effect::Flawed(BatchFlaw::Omit),
            Kind::RepeatItem => Effect::Flawed(BatchFlaw::Repeat),
            Kind::Slow => Effect::Slow(self.delay()?),
            Kind::Throttle => Effect::Refuse(Refusal::Error(ErrorCode::Throttling)),
        })
    }

    fn delay(&self) -> Result<Duration, ApiError> {
        let millis = self.delay_ms.ok_or_else(|| {
            ApiError::invalid("delayMs", "this kind of fault needs it, in milliseconds")
        })?;
        Ok(Duration::from_millis(millis))
    }

    fn refusal(&self) -> Result<Refusal, ApiError> {
        match (&self.code, self.status) {
            (Some(_), Some(_)) => {
                Err(ApiError::invalid("status", "code determines it; give only one of the two"))
            }
            (Some(code), None) => {
                let known = ErrorCode::MODELLED.iter().find(|known| known.name() == code);
                known.copied().map(Refusal::Error).ok_or_else(|| {
                    let names: Vec<&str> =
                        ErrorCode::MODELLED.iter().map(|code| code.name()).collect();
                    ApiError::invalid("code", &format!("it must be one of {}", names.join(", ")))
                })
            }
            (None, Some(status)) => StatusCode::from_u16(status)
                .map(Refusal::Status)
                .map_err(|_| ApiError::invalid("status", "it must be from 400 to 599")),
            (None, None) => Ok(Refusal::Error(ErrorCode::InternalServer)),
        }
    }

    /// Returns the named operations, or else the only ones that this kind can strike.
    fn operations(&self) -> Result<Operations, ApiError> {
        let only = self.kind.only_operations();
        let names = match (&self.operations, only) {
            (Some(names), _) => names.clone(),
            (None, Some(only)) => only.iter().map(|&name| name.to_owned()).collect(),
            (None, None) => {
                return Err(ApiError::invalid(
                    "operations",
                    "name the operations to strike, or * for all of the control plane",
                ));
            }
        };
        if names.iter().any(|name| name == ALL) && only.is_none() {
            return match names.len() {
                1 => Ok(Operations::All),
                _ => Err(ApiError::invalid("operations", "* cannot be combined with names")),
            };
        }
        let can_strike = |name: &str| match only {
            Some(only) => only.contains(&name),
            None => name == PLAYBACK || is_emulated(name),
        };
        if names.iter().all(|name| can_strike(name)) {
            return Ok(Operations::Named(names));
        }
        let rule = match only {
            Some(only) => format!("this kind of fault can strike only {}", only.join(" and ")),
            None => format!("each must be an emulated operation of IVS, {PLAYBACK}, or *"),
        };
        Err(ApiError::invalid("operations", &rule))
    }

    fn region(&self) -> Result<Option<Region>, ApiError> {
        let region = self.region.as_deref().map(str::parse).transpose();
        region.map_err(|_| ApiError::invalid("region", "it must be the name of a region"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(input: &Value) -> Result<Fault, ApiError> {
        read(input.as_object().unwrap().clone())
    }

    #[test]
    fn every_kind_can_be_set() {
        for kind in KINDS {
            let mut input = json!({"kind": kind});
            if matches!(*kind, "slow" | "late_answer") {
                input["delayMs"] = json!(10);
            }
            if matches!(
                *kind,
                "slow" | "late_answer" | "throttle" | "error" | "cut" | "lost_answer"
            ) {
                assert!(fault(&input).unwrap_err().message().contains("operations"), "{kind}");
                input["operations"] = json!("*");
            }
            assert!(fault(&input).is_ok(), "{kind}");
        }
    }

    #[test]
    fn impossible_fault_is_refused_naming_its_member() {
        for (member, input) in [
            ("kind", json!({"operations": "*"})),
            ("kind", json!({"kind": "explode", "operations": "*"})),
            ("operations", json!({"kind": "cut", "operations": []})),
            ("operations", json!({"kind": "cut", "operations": "GetChanel"})),
            ("operations", json!({"kind": "cut", "operations": "CreateAdConfiguration"})),
            ("operations", json!({"kind": "cut", "operations": ["*", "GetChannel"]})),
            ("operations", json!({"kind": "accept_duplicates", "operations": "*"})),
            ("operations", json!({"kind": "omit_item", "operations": "GetChannel"})),
            ("delayMs", json!({"kind": "slow", "operations": "*"})),
            ("delayMs", json!({"kind": "slow", "operations": "*", "delayMs": 0})),
            ("delayMs", json!({"kind": "throttle", "operations": "*", "delayMs": 5})),
            ("code", json!({"kind": "error", "operations": "*", "code": "Oops"})),
            ("code", json!({"kind": "cut", "operations": "*", "code": "ConflictException"})),
            ("status", json!({"kind": "error", "operations": "*", "status": 200})),
            (
                "status",
                json!({
                    "kind": "error", "operations": "*", "status": 500, "code": "ConflictException",
                }),
            ),
            ("region", json!({"kind": "cut", "operations": "*", "region": "US WEST"})),
            ("count", json!({"kind": "cut", "operations": "*", "count": 0})),
            ("every", json!({"kind": "cut", "operations": "*", "every": "2"})),
            ("seconds", json!({"kind": "cut", "operations": "*", "secs": 5})),
        ] {
            let error = fault(&input).unwrap_err();
            assert!(error.message().contains(member), "{input}: {}", error.message());
        }
    }

    #[test]
    fn error_has_code_or_status() {
        let refusal = |more: &Value| {
            let mut input = json!({"kind": "error", "operations": ["GetChannel", "Playback"]});
            input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            fault(&input).unwrap().effect
        };
        assert!(matches!(
            refusal(&json!({})),
            Effect::Refuse(Refusal::Error(ErrorCode::InternalServer))
        ));
        assert!(matches!(
            refusal(&json!({"code": "AccessDeniedException"})),
            Effect::Refuse(Refusal::Error(ErrorCode::AccessDenied))
        ));
        assert!(matches!(
            refusal(&json!({"status": 502})),
            Effect::Refuse(Refusal::Status(StatusCode::BAD_GATEWAY))
        ));
    }
}
