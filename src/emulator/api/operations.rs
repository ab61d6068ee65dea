//! The table of operations: what each is called, takes and answers.
//!
//! Constraints are those of the service model (API version 2020-07-14). One row is one operation;
//! an operation that has no row in [`OPERATIONS`] is unknown, and one in [`NOT_EMULATED`] is
//! refused by name.

use axum::http::{Method, StatusCode};
use serde_json::Value;

use super::{
    Call, channels,
    constraint::{Form, Member, Shape, Text},
    error::{ApiError, ErrorCode},
    key_pairs, revocations, stream_keys, streams, tags,
};

/// A row of the table.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) name: &'static str,
    pub(super) route: Route,
    /// The status of success. 204 has no body.
    pub(super) success: StatusCode,
    /// The quota of calls, an account and a region (service quotas of IVS; not adjustable).
    pub(super) calls_per_second: usize,
    pub(super) members: &'static [Member],
    pub(super) handler: fn(&Call<'_>) -> Result<Value, ApiError>,
}

/// How a call of the operation looks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Route {
    /// `POST /Name`
    Named,
    /// This method on `/tags/{resourceArn}`
    Tags(TagMethod),
}

/// The method of a tag operation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum TagMethod {
    Delete,
    Get,
    Post,
}

/// The operation that a request calls.
pub(super) fn find(method: &Method, path: &str) -> Result<&'static Operation, ApiError> {
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
pub(super) const NOT_EMULATED: &[&str] = &[
    "CreateAdConfiguration",
    "CreateFailoverSlateConfiguration",
    "CreatePlaybackRestrictionPolicy",
    "CreateRecordingConfiguration",
    "DeleteAdConfiguration",
    "DeleteFailoverSlateConfiguration",
    "DeletePlaybackRestrictionPolicy",
    "DeleteRecordingConfiguration",
    "GetAdConfiguration",
    "GetFailoverSlateConfiguration",
    "GetPlaybackRestrictionPolicy",
    "GetRecordingConfiguration",
    "GetStreamSession",
    "InsertAdBreak",
    "ListAdConfigurations",
    "ListFailoverSlateConfigurations",
    "ListPlaybackRestrictionPolicies",
    "ListRecordingConfigurations",
    "ListStreamSessions",
    "PutMetadata",
    "UpdateAdConfiguration",
    "UpdateFailoverSlateConfiguration",
    "UpdatePlaybackRestrictionPolicy",
];

/// Every operation that is emulated.
pub(super) static OPERATIONS: &[Operation] = &[
    Operation {
        name: "BatchGetChannel",
        route: Route::Named,
        success: StatusCode::OK,
        calls_per_second: 5,
        members: &[Member::required("arns", list(1, 50, &CHANNEL_ARN))],
        handler: |call| channels::batch_get(call, &call.input()?),
    },
    Operation {
        name: "BatchGetStreamKey",
        route: Route::Named,
        success: StatusCode::OK,
        calls_per_second: 5,
        members: &[Member::required("arns", list(1, 50, &STREAM_KEY_ARN))],
        handler: |call| stream_keys::batch_get(call, &call.input()?),
    },
    Operation {
        name: "BatchStartViewerSessionRevocation",
        route: Route::Named,
        success: StatusCode::OK,
        calls_per_second: 2,
        members: &[Member::required("viewerSessions", list(1, 20, &VIEWER_SESSION))],
        handler: |call| revocations::batch_start(call, &call.input()?),
    },
    Operation {
        name: "CreateChannel",
        route: Route::Named,
        success: StatusCode::OK,
        calls_per_second: 5,
        members: &[
            Member::optional("adConfigurationArn", Shape::NotEmulated),
            Member::optional("authorized", Shape::Boolean),
            Member::optional("containerFormat", CONTAINER_FORMAT),
            Member::optional("failoverSlateConfigurationArn", Shape::NotEmulated),
            Member::optional("insecureIngest", Shape::Boolean),
            Member::optional("latencyMode", LATENCY_MODE),
            Member::optional("multitrackInputConfiguration", MULTITRACK),
            Member::optional("name", NAME),
            Member::optional("playbackRestrictionPolicyArn", POLICY_ARN_OR_EMPTY),
            Member::optional("preset", PRESET),
            Member::optional("recordingConfigurationArn", RECORDING_ARN_OR_EMPTY),
            Member::optional("tags", TAGS),
            Member::optional("type", CHANNEL_TYPE),
        ],
        handler: |call| channels::create(call, call.input()?),
    },
    Operation {
        name: "CreateStreamKey",
        route: Route::Named,
        success: StatusCode::OK,
        calls_per_second: 5,
        members: &[Member::required("channelArn", CHANNEL_ARN), Member::optional("tags", TAGS)],
        handler: |call| stream_keys::create(call, call.input()?),
    },
    Operation {
        name: "DeleteChannel",
        route: Route::Named,
        success: StatusCode::NO_CONTENT,
        calls_per_second: 5,
        members: &[Member::required("arn", CHANNEL_ARN)],
        handler: |call| channels::delete(call, &call.input()?),
    },
    Operation {
        name: "DeletePlaybackKeyPair",
        route: Route::Named,
        success: StatusCode::OK,
        calls_per_second: 3,
        members: &[Member::required("arn", PLAYBACK_KEY_ARN)],
        handler: |call| key_pairs::delete(call, &call.input()?),
    },
    Operation {
        name: "DeleteStreamKey",
        route: Route::Named,
        success: StatusCode::NO_CONTENT,
        calls_per_second: 5,
        members: &[Member::required("arn", STREAM_KEY_ARN)],
        handler: |call| stream_keys::delete(call, &call.input()?),
    },
    Operation {
        name: "GetChannel",
        route: Route::Named,
        success: StatusCode::OK,
        calls_per_second: 5,
        members: &[Member::required("arn", CHANNEL_ARN)],
        handler: |call| channels::get(call, &call.input()?),
    },
    Operation {
        name: "GetPlaybackKeyPair",
        route: Route::Named,
        success: StatusCode::OK,
        calls_per_second: 3,
        members: &[Member::required("arn", PLAYBACK_KEY_ARN)],
        handler: |call| key_pairs::get(call, &call.input()?),
    },
    Operation {
        name: "GetStream",
        route: Route::Named,
        success: StatusCode::OK,
        calls_per_second: 5,
        members: &[Member::required("channelArn", CHANNEL_ARN)],
        handler: |call| streams::get(call, &call.input()?),
    },
    Operation {
        name: "GetStreamKey",
        route: Route::Named,
        success: StatusCode::OK,
        calls_per_second: 5,
        members: &[Member::required("arn", STREAM_KEY_ARN)],
        handler: |call| stream_keys::get(call, &call.input()?),
    },
    Operation {
        name: "ImportPlaybackKeyPair",
        route: Route::Named,
        success: StatusCode::OK,
        calls_per_second: 3,
        members: &[
            Member::optional("name", NAME),
            // The model sets no limit; what makes a public key is checked where it is read.
            Member::required("publicKeyMaterial", text(0, usize::MAX, Form::Any)),
            Member::optional("tags", TAGS),
        ],
        handler: |call| key_pairs::import(call, call.input()?),
    },
    Operation {
        name: "ListChannels",
        route: Route::Named,
        success: StatusCode::OK,
        calls_per_second: 5,
        members: &[
            Member::optional("filterByAdConfigurationArn", Shape::NotEmulated),
            Member::optional("filterByFailoverSlateConfigurationArn", Shape::NotEmulated),
            Member::optional("filterByName", NAME),
            Member::optional("filterByPlaybackRestrictionPolicyArn", POLICY_ARN_OR_EMPTY),
            Member::optional("filterByRecordingConfigurationArn", RECORDING_ARN_OR_EMPTY),
            Member::optional("maxResults", max_results(100)),
            Member::optional("nextToken", PAGE_TOKEN),
        ],
        handler: |call| channels::list(call, &call.input()?, &call.input()?),
    },
    Operation {
        name: "ListPlaybackKeyPairs",
        route: Route::Named,
        success: StatusCode::OK,
        calls_per_second: 3,
        members: &[
            Member::optional("maxResults", max_results(100)),
            Member::optional("nextToken", PAGE_TOKEN),
        ],
        handler: |call| key_pairs::list(call, &call.input()?),
    },
    Operation {
        name: "ListStreamKeys",
        route: Route::Named,
        success: StatusCode::OK,
        calls_per_second: 5,
        members: &[
            Member::required("channelArn", CHANNEL_ARN),
            Member::optional("maxResults", max_results(50)),
            Member::optional("nextToken", PAGE_TOKEN),
        ],
        handler: |call| stream_keys::list(call, &call.input()?, &call.input()?),
    },
    Operation {
        name: "ListStreams",
        route: Route::Named,
        success: StatusCode::OK,
        calls_per_second: 5,
        members: &[
            Member::optional("filterBy", Shape::Structure(&[Member::optional("health", HEALTH)])),
            Member::optional("maxResults", max_results(100)),
            Member::optional("nextToken", PAGE_TOKEN),
        ],
        handler: |call| streams::list(call, &call.input()?, &call.input()?),
    },
    Operation {
        name: "ListTagsForResource",
        route: Route::Tags(TagMethod::Get),
        success: StatusCode::OK,
        calls_per_second: 10,
        members: &[Member::required("resourceArn", RESOURCE_ARN)],
        handler: |call| tags::list(call, &call.input()?),
    },
    Operation {
        name: "StartViewerSessionRevocation",
        route: Route::Named,
        success: StatusCode::OK,
        calls_per_second: 10,
        members: VIEWER_SESSION_MEMBERS,
        handler: |call| revocations::start(call, &call.input()?),
    },
    Operation {
        name: "StopStream",
        route: Route::Named,
        success: StatusCode::OK,
        calls_per_second: 5,
        members: &[Member::required("channelArn", CHANNEL_ARN)],
        handler: |call| streams::stop(call, &call.input()?),
    },
    Operation {
        name: "TagResource",
        route: Route::Tags(TagMethod::Post),
        success: StatusCode::OK,
        calls_per_second: 10,
        members: &[Member::required("resourceArn", RESOURCE_ARN), Member::required("tags", TAGS)],
        handler: |call| tags::tag(call, call.input()?),
    },
    Operation {
        name: "UntagResource",
        route: Route::Tags(TagMethod::Delete),
        success: StatusCode::OK,
        calls_per_second: 10,
        members: &[
            Member::required("resourceArn", RESOURCE_ARN),
            Member::required("tagKeys", list(0, 50, &Shape::Text(TAG_KEY))),
        ],
        handler: |call| tags::untag(call, &call.input()?),
    },
    Operation {
        name: "UpdateChannel",
        route: Route::Named,
        success: StatusCode::OK,
        calls_per_second: 5,
        members: &[
            Member::optional("adConfigurationArn", Shape::NotEmulated),
            Member::required("arn", CHANNEL_ARN),
            Member::optional("authorized", Shape::Boolean),
            Member::optional("containerFormat", CONTAINER_FORMAT),
            Member::optional("failoverSlateConfigurationArn", Shape::NotEmulated),
            Member::optional("insecureIngest", Shape::Boolean),
            Member::optional("latencyMode", LATENCY_MODE),
            Member::optional("multitrackInputConfiguration", MULTITRACK),
            Member::optional("name", NAME),
            Member::optional("playbackRestrictionPolicyArn", POLICY_ARN_OR_EMPTY),
            Member::optional("preset", PRESET),
            Member::optional("recordingConfigurationArn", RECORDING_ARN_OR_EMPTY),
            Member::optional("type", CHANNEL_TYPE),
        ],
        handler: |call| channels::update(call, call.input()?),
    },
];

const CHANNEL_ARN: Shape = text(1, 128, Form::Arn("channel"));
const CHANNEL_TYPE: Shape = one_of(&["BASIC", "STANDARD", "ADVANCED_SD", "ADVANCED_HD"]);
const CONTAINER_FORMAT: Shape = one_of(&["TS", "FRAGMENTED_MP4"]);
const HEALTH: Shape = one_of(&["HEALTHY", "STARVING", "UNKNOWN"]);
const LATENCY_MODE: Shape = one_of(&["NORMAL", "LOW"]);
const MULTITRACK: Shape = Shape::Structure(&[
    Member::optional("enabled", Shape::Boolean),
    Member::optional("maximumResolution", one_of(&["SD", "HD", "FULL_HD"])),
    Member::optional("policy", one_of(&["ALLOW", "REQUIRE"])),
]);
const NAME: Shape = text(0, 128, Form::Name);
const PAGE_TOKEN: Shape = text(0, 1024, Form::PageToken);
const PLAYBACK_KEY_ARN: Shape = text(1, 128, Form::Arn("playback-key"));
const POLICY_ARN_OR_EMPTY: Shape = text(0, 128, Form::ArnOrEmpty("playback-restriction-policy"));
const PRESET: Shape = one_of(&["HIGHER_BANDWIDTH_DELIVERY", "CONSTRAINED_BANDWIDTH_DELIVERY"]);
const RECORDING_ARN_OR_EMPTY: Shape = text(0, 128, Form::ArnOrEmpty("recording-configuration"));
const RESOURCE_ARN: Shape = text(1, 128, Form::ArnOfAnyKind);
const STREAM_KEY_ARN: Shape = text(1, 128, Form::Arn("stream-key"));
const TAG_KEY: Text = Text { min: 1, max: 128, form: Form::TagKey };
const TAGS: Shape =
    Shape::Map { max: 50, key: TAG_KEY, value: Text { min: 0, max: 256, form: Form::TagValue } };
const VIEWER_SESSION: Shape = Shape::Structure(VIEWER_SESSION_MEMBERS);
const VIEWER_SESSION_MEMBERS: &[Member] = &[
    Member::required("channelArn", CHANNEL_ARN),
    Member::required("viewerId", text(1, 40, Form::Any)),
    // An `integer` of the model, so 32 bits, though the claim that it is compared with has 64.
    Member::optional(
        "viewerSessionVersionsLessThanOrEqualTo",
        Shape::Integer { min: 0, max: i32::MAX as i64 },
    ),
];

const fn list(min: usize, max: usize, item: &'static Shape) -> Shape {
    Shape::List { min, max, item }
}

const fn max_results(max: i64) -> Shape {
    Shape::Integer { min: 1, max }
}

const fn one_of(values: &'static [&'static str]) -> Shape {
    text(0, usize::MAX, Form::OneOf(values))
}

const fn text(min: usize, max: usize, form: Form) -> Shape {
    Shape::Text(Text { min, max, form })
}
