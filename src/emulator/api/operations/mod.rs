//! The table of operations: what each is called, takes and answers.
//!
//! One row is one operation; an operation that has no row in [`OPERATIONS`] is unknown, and one in
//! [`NOT_EMULATED`] is refused by name. [`table`] has the rows, [`shapes`] what their members share.

mod shapes;
mod table;

use axum::http::{Method, StatusCode};
use serde_json::Value;

pub(in crate::emulator::api) use self::table::OPERATIONS;
use super::{
    Call,
    constraint::Member,
    error::{ApiError, ErrorCode},
};

/// A row of the table.
#[derive(Debug)]
pub(in crate::emulator::api) struct Operation {
    pub(in crate::emulator::api) name: &'static str,
    pub(in crate::emulator::api) route: Route,
    /// The status of success. 204 has no body.
    pub(in crate::emulator::api) success: StatusCode,
    /// The quota of calls, an account and a region (service quotas of IVS; not adjustable).
    pub(in crate::emulator::api) calls_per_second: usize,
    /// The errors that the service model declares.
    pub(in crate::emulator::api) errors: &'static [ErrorCode],
    pub(in crate::emulator::api) members: &'static [Member],
    pub(in crate::emulator::api) handler: fn(&Call<'_>) -> Result<Value, ApiError>,
}

impl Operation {
    /// Whether an error may come from the operation itself: one that it declares, or a failure of
    /// the emulator. What is refused before it runs is another matter.
    pub(in crate::emulator::api) fn may_answer(&self, error: ErrorCode) -> bool {
        error == ErrorCode::InternalServer || self.errors.contains(&error)
    }
}

/// How a call of the operation looks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::emulator::api) enum Route {
    /// `POST /Name`
    Named,
    /// This method on `/tags/{resourceArn}`
    Tags(TagMethod),
}

/// The method of a tag operation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::emulator::api) enum TagMethod {
    Delete,
    Get,
    Post,
}

/// The operation that a request calls.
pub(in crate::emulator::api) fn find(
    method: &Method,
    path: &str,
) -> Result<&'static Operation, ApiError> {
    let name = path.strip_prefix('/').unwrap_or_default();
    let route = match (name.strip_prefix("tags/"), method) {
        (Some(arn), _) if arn.is_empty() || arn.contains('/') => None,
        (Some(_), &Method::DELETE) => Some(Route::Tags(TagMethod::Delete)),
        (Some(_), &Method::GET) => Some(Route::Tags(TagMethod::Get)),
        (Some(_), &Method::POST) => Some(Route::Tags(TagMethod::Post)),
        (None, &Method::POST) => Some(Route::Named),
        (_, _) => None,
    };
    let is_asked = |operation: &&Operation| {
        Some(operation.route) == route && (route != Some(Route::Named) || operation.name == name)
    };
    OPERATIONS.iter().find(is_asked).ok_or_else(|| {
        let message = match NOT_EMULATED.iter().find(|known| **known == name) {
            Some(known) => {
                format!("{known} is an operation of IVS that this emulator does not have.")
            }
            None => "There is no such operation of IVS.".to_owned(),
        };
        ApiError::new(ErrorCode::UnknownOperation, message)
    })
}

/// Operations of IVS that have no row below.
pub(in crate::emulator::api) const NOT_EMULATED: &[&str] = &[
    "CreateAdConfiguration",
    "CreateFailoverSlateConfiguration",
    "DeleteAdConfiguration",
    "DeleteFailoverSlateConfiguration",
    "GetAdConfiguration",
    "GetFailoverSlateConfiguration",
    "InsertAdBreak",
    "ListAdConfigurations",
    "ListFailoverSlateConfigurations",
    "UpdateAdConfiguration",
    "UpdateFailoverSlateConfiguration",
];
