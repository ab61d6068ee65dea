//! The table of operations: their names, routes, quotas, errors, members and handlers.
//!
//! Constraints, declared errors and statuses are those of the service model (API version
//! 2020-07-14); call quotas are those of its page of service quotas. An operation without a row in
//! [`OPERATIONS`] is unknown, and one in [`NOT_EMULATED`] is refused by name.

use axum::http::{Method, StatusCode};
use serde_json::Value;

use super::{
    call::Call,
    channels,
    constraints::{Form, Member, Shape, Text, integer, list, one_of, optional, required, text},
    key_pairs, policies, recording,
    response::ApiError,
    response::ErrorCode::{
        self, AccessDenied, ChannelNotBroadcasting, Conflict, InternalServer, PendingVerification,
        ResourceNotFound, ServiceQuotaExceeded, ServiceUnavailable, StreamUnavailable, Throttling,
        Validation,
    },
    streams, tags, viewers,
};

/// A row of the table.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) name: &'static str,
    pub(super) route: Route,
    /// The status of success. 204 has no body.
    pub(super) success: StatusCode,
    /// The quota of calls per account and region (service quotas of IVS; not adjustable).
    pub(super) calls_per_second: usize,
    /// The errors that the service model declares, besides `ValidationException`, which every
    /// operation declares.
    errors: &'static [ErrorCode],
    pub(super) members: &'static [Member],
    pub(super) handler: Handler,
}

type Handler = fn(&Call<'_>) -> Result<Value, ApiError>;

/// How an operation is called.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Route {
    /// `POST /Name`
    Named,
    /// `GET /tags/{resourceArn}`
    GetTags,
    /// `POST /tags/{resourceArn}`
    PostTags,
    /// `DELETE /tags/{resourceArn}`
    DeleteTags,
}

/// Begins the row of an operation that is called by name.
const fn operation(name: &'static str, calls_per_second: usize, handler: Handler) -> Operation {
    let (route, success) = (Route::Named, StatusCode::OK);
    Operation { name, route, success, calls_per_second, errors: &[], members: &[], handler }
}

impl Operation {
    const fn route(self, route: Route) -> Self {
        Self { route, ..self }
    }

    const fn no_content(self) -> Self {
        Self { success: StatusCode::NO_CONTENT, ..self }
    }

    const fn errors(self, errors: &'static [ErrorCode]) -> Self {
        Self { errors, ..self }
    }

    const fn members(self, members: &'static [Member]) -> Self {
        Self { members, ..self }
    }

    /// Returns whether the handler may return an error: one that the operation declares, or a
    /// failure of the emulator.
    pub(super) fn may_return(&self, error: ErrorCode) -> bool {
        matches!(error, InternalServer | Validation) || self.errors.contains(&error)
    }
}

/// Finds the operation that a request calls.
pub(super) fn find(method: &Method, path: &str) -> Result<&'static Operation, ApiError> {
    let name = path.strip_prefix('/').unwrap_or_default();
    let route = match (name.strip_prefix("tags/"), method) {
        (Some(arn), _) if arn.is_empty() || arn.contains('/') => None,
        (Some(_), &Method::DELETE) => Some(Route::DeleteTags),
        (Some(_), &Method::GET) => Some(Route::GetTags),
        (Some(_), &Method::POST) => Some(Route::PostTags),
        (None, &Method::POST) => Some(Route::Named),
        (_, _) => None,
    };
    let is_called = |operation: &&Operation| {
        Some(operation.route) == route && (route != Some(Route::Named) || operation.name == name)
    };
    OPERATIONS.iter().find(is_called).ok_or_else(|| {
        let message = if NOT_EMULATED.contains(&name) {
            format!("{name} is an operation of IVS that this emulator does not have.")
        } else {
            "There is no such operation of IVS.".to_owned()
        };
        ApiError::new(ErrorCode::UnknownOperation, message)
    })
}

/// Returns whether an operation of that name is emulated.
pub(crate) fn is_emulated(name: &str) -> bool {
    OPERATIONS.iter().any(|operation| operation.name == name)
}

/// Operations of IVS that are not emulated.
pub(super) const NOT_EMULATED: &[&str] = &[
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

/// The operations that are emulated.
pub(super) static OPERATIONS: &[Operation] = &[
    operation("BatchGetChannel", 5, |call| channels::batch_get(call, &call.input()?))
        .errors(&[AccessDenied, ServiceUnavailable])
        .members(&[required("arns", list(1, 50, &CHANNEL_ARN))]),
    operation("BatchGetStreamKey", 5, |call| channels::batch_get_keys(call, &call.input()?))
        .errors(&[AccessDenied, ServiceUnavailable])
        .members(&[required("arns", list(1, 50, &STREAM_KEY_ARN))]),
    operation("BatchStartViewerSessionRevocation", 2, |call| {
        viewers::batch_revoke(call, &call.input()?)
    })
    .errors(&[AccessDenied, PendingVerification, Throttling])
    .members(&[required("viewerSessions", list(1, 20, &VIEWER_SESSION))]),
    operation("CreateChannel", 5, |call| channels::create(call, call.input()?))
        .errors(&[AccessDenied, PendingVerification, ResourceNotFound, ServiceQuotaExceeded])
        .members(&[
            optional("adConfigurationArn", Shape::NotEmulated),
            optional("authorized", Shape::Boolean),
            optional("containerFormat", CONTAINER_FORMAT),
            optional("failoverSlateConfigurationArn", Shape::NotEmulated),
            optional("insecureIngest", Shape::Boolean),
            optional("latencyMode", LATENCY_MODE),
            optional("multitrackInputConfiguration", MULTITRACK),
            optional("name", NAME),
            optional("playbackRestrictionPolicyArn", POLICY_ARN_OR_EMPTY),
            optional("preset", PRESET),
            optional("recordingConfigurationArn", RECORDING_ARN_OR_EMPTY),
            optional("tags", TAGS),
            optional("type", CHANNEL_TYPE),
        ]),
    operation("CreatePlaybackRestrictionPolicy", 5, |call| policies::create(call, call.input()?))
        .errors(&[AccessDenied, PendingVerification, ServiceQuotaExceeded, Throttling])
        .members(&[
            optional("allowedCountries", COUNTRIES),
            optional("allowedOrigins", ORIGINS),
            optional("enableStrictOriginEnforcement", Shape::Boolean),
            optional("name", NAME),
            optional("tags", TAGS),
        ]),
    operation("CreateRecordingConfiguration", 3, |call| recording::create(call, call.input()?))
        .errors(&[AccessDenied, Conflict, PendingVerification, ServiceQuotaExceeded])
        .members(&[
            required("destinationConfiguration", DESTINATION),
            optional("name", NAME),
            optional("recordingReconnectWindowSeconds", integer(0, 300)),
            optional("renditionConfiguration", RENDITIONS),
            optional("tags", TAGS),
            optional("thumbnailConfiguration", THUMBNAILS),
        ]),
    operation("CreateStreamKey", 5, |call| channels::create_key(call, call.input()?))
        .errors(&[AccessDenied, PendingVerification, ResourceNotFound, ServiceQuotaExceeded])
        .members(&[required("channelArn", CHANNEL_ARN), optional("tags", TAGS)]),
    operation("DeleteChannel", 5, |call| channels::delete(call, &call.input()?))
        .no_content()
        .errors(&[AccessDenied, Conflict, PendingVerification, ResourceNotFound])
        .members(&[required("arn", CHANNEL_ARN)]),
    operation("DeletePlaybackKeyPair", 3, |call| key_pairs::delete(call, &call.input()?))
        .errors(&[AccessDenied, PendingVerification, ResourceNotFound])
        .members(&[required("arn", PLAYBACK_KEY_ARN)]),
    operation("DeletePlaybackRestrictionPolicy", 5, |call| policies::delete(call, &call.input()?))
        .no_content()
        .errors(&[AccessDenied, Conflict, PendingVerification, ResourceNotFound])
        .members(&[required("arn", POLICY_ARN)]),
    operation("DeleteRecordingConfiguration", 3, |call| recording::delete(call, &call.input()?))
        .no_content()
        .errors(&[AccessDenied, Conflict, ResourceNotFound])
        .members(&[required("arn", RECORDING_ARN)]),
    operation("DeleteStreamKey", 5, |call| channels::delete_key(call, &call.input()?))
        .no_content()
        .errors(&[AccessDenied, PendingVerification, ResourceNotFound])
        .members(&[required("arn", STREAM_KEY_ARN)]),
    operation("GetChannel", 5, |call| channels::get(call, &call.input()?))
        .errors(&[AccessDenied, ResourceNotFound])
        .members(&[required("arn", CHANNEL_ARN)]),
    operation("GetPlaybackKeyPair", 3, |call| key_pairs::get(call, &call.input()?))
        .errors(&[AccessDenied, ResourceNotFound])
        .members(&[required("arn", PLAYBACK_KEY_ARN)]),
    operation("GetPlaybackRestrictionPolicy", 5, |call| policies::get(call, &call.input()?))
        .errors(&[AccessDenied, PendingVerification, ResourceNotFound])
        .members(&[required("arn", POLICY_ARN)]),
    operation("GetRecordingConfiguration", 3, |call| recording::get(call, &call.input()?))
        .errors(&[AccessDenied, ResourceNotFound])
        .members(&[required("arn", RECORDING_ARN)]),
    operation("GetStream", 5, |call| streams::get(call, &call.input()?))
        .errors(&[AccessDenied, ChannelNotBroadcasting, ResourceNotFound])
        .members(&[required("channelArn", CHANNEL_ARN)]),
    operation("GetStreamKey", 5, |call| channels::get_key(call, &call.input()?))
        .errors(&[AccessDenied, ResourceNotFound])
        .members(&[required("arn", STREAM_KEY_ARN)]),
    operation("GetStreamSession", 5, |call| streams::get_session(call, &call.input()?))
        .errors(&[AccessDenied, ResourceNotFound])
        .members(&[required("channelArn", CHANNEL_ARN), optional("streamId", STREAM_ID)]),
    operation("ImportPlaybackKeyPair", 3, |call| key_pairs::import(call, call.input()?))
        .errors(&[AccessDenied, Conflict, PendingVerification, ServiceQuotaExceeded])
        .members(&[
            optional("name", NAME),
            // The model sets no limit. The handler checks that this is a public key.
            required("publicKeyMaterial", text(0, usize::MAX, Form::Any)),
            optional("tags", TAGS),
        ]),
    operation("ListChannels", 5, |call| channels::list(call, &call.input()?, &call.page(100)?))
        .errors(&[AccessDenied, Conflict])
        .members(&[
            optional("filterByAdConfigurationArn", Shape::NotEmulated),
            optional("filterByFailoverSlateConfigurationArn", Shape::NotEmulated),
            optional("filterByName", NAME),
            optional("filterByPlaybackRestrictionPolicyArn", POLICY_ARN_OR_EMPTY),
            optional("filterByRecordingConfigurationArn", RECORDING_ARN_OR_EMPTY),
            optional("maxResults", integer(1, 100)),
            optional("nextToken", PAGE_TOKEN),
        ]),
    // The default page has the quota of the resource where that is below 100.
    operation("ListPlaybackKeyPairs", 3, |call| key_pairs::list(call, &call.page(3)?))
        .errors(&[AccessDenied])
        .members(PAGE),
    operation("ListPlaybackRestrictionPolicies", 5, |call| policies::list(call, &call.page(1)?))
        .errors(&[AccessDenied, Conflict, PendingVerification])
        .members(PAGE),
    operation("ListRecordingConfigurations", 3, |call| recording::list(call, &call.page(20)?))
        .errors(&[AccessDenied])
        .members(PAGE),
    operation("ListStreamKeys", 5, |call| {
        channels::list_keys(call, &call.input()?, &call.page(1)?)
    })
    .errors(&[AccessDenied, ResourceNotFound])
    .members(&[
        required("channelArn", CHANNEL_ARN),
        optional("maxResults", integer(1, 50)),
        optional("nextToken", PAGE_TOKEN),
    ]),
    operation("ListStreamSessions", 5, |call| {
        streams::list_sessions(call, &call.input()?, &call.page(100)?)
    })
    .errors(&[AccessDenied, ResourceNotFound])
    .members(&[
        required("channelArn", CHANNEL_ARN),
        optional("maxResults", integer(1, 100)),
        optional("nextToken", PAGE_TOKEN),
    ]),
    operation("ListStreams", 5, |call| streams::list(call, &call.input()?, &call.page(100)?))
        .errors(&[AccessDenied])
        .members(&[
            optional("filterBy", Shape::Structure(&[optional("health", HEALTH)])),
            optional("maxResults", integer(1, 100)),
            optional("nextToken", PAGE_TOKEN),
        ]),
    operation("ListTagsForResource", 10, |call| tags::list(call, &call.input()?))
        .route(Route::GetTags)
        .errors(&[ResourceNotFound])
        .members(&[required("resourceArn", RESOURCE_ARN)]),
    operation("PutMetadata", 155, |call| streams::put_metadata(call, &call.input()?))
        .no_content()
        .errors(&[AccessDenied, ChannelNotBroadcasting, ResourceNotFound, Throttling])
        .members(&[
            required("channelArn", CHANNEL_ARN),
            // The handler checks the limit, which is 1 KB of UTF-8.
            required("metadata", text(1, usize::MAX, Form::Any)),
        ]),
    operation("StartViewerSessionRevocation", 10, |call| viewers::revoke(call, &call.input()?))
        .errors(&[AccessDenied, PendingVerification, ResourceNotFound, Throttling])
        .members(VIEWER_SESSION_MEMBERS),
    operation("StopStream", 5, |call| streams::stop(call, &call.input()?))
        .errors(&[AccessDenied, ChannelNotBroadcasting, ResourceNotFound, StreamUnavailable])
        .members(&[required("channelArn", CHANNEL_ARN)]),
    operation("TagResource", 10, |call| tags::tag(call, call.input()?))
        .route(Route::PostTags)
        .errors(&[ResourceNotFound])
        .members(&[required("resourceArn", RESOURCE_ARN), required("tags", TAGS)]),
    operation("UntagResource", 10, |call| tags::untag(call, &call.input()?))
        .route(Route::DeleteTags)
        .errors(&[ResourceNotFound])
        .members(&[
            required("resourceArn", RESOURCE_ARN),
            required("tagKeys", list(0, 50, &Shape::Text(TAG_KEY))),
        ]),
    operation("UpdateChannel", 5, |call| channels::update(call, call.input()?))
        .errors(&[AccessDenied, Conflict, PendingVerification, ResourceNotFound])
        .members(&[
            optional("adConfigurationArn", Shape::NotEmulated),
            required("arn", CHANNEL_ARN),
            optional("authorized", Shape::Boolean),
            optional("containerFormat", CONTAINER_FORMAT),
            optional("failoverSlateConfigurationArn", Shape::NotEmulated),
            optional("insecureIngest", Shape::Boolean),
            optional("latencyMode", LATENCY_MODE),
            optional("multitrackInputConfiguration", MULTITRACK),
            optional("name", NAME),
            optional("playbackRestrictionPolicyArn", POLICY_ARN_OR_EMPTY),
            optional("preset", PRESET),
            optional("recordingConfigurationArn", RECORDING_ARN_OR_EMPTY),
            optional("type", CHANNEL_TYPE),
        ]),
    operation("UpdatePlaybackRestrictionPolicy", 5, |call| policies::update(call, call.input()?))
        .errors(&[AccessDenied, Conflict, PendingVerification, ResourceNotFound])
        .members(&[
            optional("allowedCountries", COUNTRIES),
            optional("allowedOrigins", ORIGINS),
            required("arn", POLICY_ARN),
            optional("enableStrictOriginEnforcement", Shape::Boolean),
            optional("name", NAME),
        ]),
];

const CHANNEL_ARN: Shape = text(1, 128, Form::Arn("channel"));
const CHANNEL_TYPE: Shape = one_of(&["BASIC", "STANDARD", "ADVANCED_SD", "ADVANCED_HD"]);
const CONTAINER_FORMAT: Shape = one_of(&["TS", "FRAGMENTED_MP4"]);
const COUNTRIES: Shape = list(0, usize::MAX, &text(2, 2, Form::Any));
/// Recordings always go to S3, so `s3` is required here although the model does not say so.
const DESTINATION: Shape = Shape::Structure(&[required(
    "s3",
    Shape::Structure(&[required("bucketName", text(3, 63, Form::BucketName))]),
)]);
const HEALTH: Shape = one_of(&["HEALTHY", "STARVING", "UNKNOWN"]);
const LATENCY_MODE: Shape = one_of(&["NORMAL", "LOW"]);
const MULTITRACK: Shape = Shape::Structure(&[
    optional("enabled", Shape::Boolean),
    optional("maximumResolution", one_of(&["SD", "HD", "FULL_HD"])),
    optional("policy", one_of(&["ALLOW", "REQUIRE"])),
]);
const NAME: Shape = text(0, 128, Form::Name);
const ORIGINS: Shape = list(0, usize::MAX, &text(0, 128, Form::Any));
const PAGE: &[Member] =
    &[optional("maxResults", integer(1, 100)), optional("nextToken", PAGE_TOKEN)];
const PAGE_TOKEN: Shape = text(0, 1024, Form::PageToken);
const PLAYBACK_KEY_ARN: Shape = text(1, 128, Form::Arn("playback-key"));
const POLICY_ARN: Shape = text(1, 128, Form::Arn("playback-restriction-policy"));
const POLICY_ARN_OR_EMPTY: Shape = text(0, 128, Form::ArnOrEmpty("playback-restriction-policy"));
const PRESET: Shape = one_of(&["HIGHER_BANDWIDTH_DELIVERY", "CONSTRAINED_BANDWIDTH_DELIVERY"]);
const RECORDING_ARN: Shape = text(0, 128, Form::Arn("recording-configuration"));
const RECORDING_ARN_OR_EMPTY: Shape = text(0, 128, Form::ArnOrEmpty("recording-configuration"));
const RENDITIONS: Shape = Shape::Structure(&[
    optional("renditionSelection", one_of(&["ALL", "NONE", "CUSTOM"])),
    optional("renditions", list(0, usize::MAX, &RESOLUTION)),
]);
const RESOLUTION: Shape = one_of(&["SD", "HD", "FULL_HD", "LOWEST_RESOLUTION"]);
const RESOURCE_ARN: Shape = text(1, 128, Form::ArnOfAnyKind);
const STREAM_ID: Shape = text(26, 26, Form::StreamId);
const STREAM_KEY_ARN: Shape = text(1, 128, Form::Arn("stream-key"));
const TAG_KEY: Text = Text { min: 1, max: 128, form: Form::TagKey };
const TAGS: Shape =
    Shape::Map { max: 50, key: TAG_KEY, value: Text { min: 0, max: 256, form: Form::TagValue } };
const THUMBNAILS: Shape = Shape::Structure(&[
    optional("recordingMode", one_of(&["DISABLED", "INTERVAL"])),
    optional("resolution", RESOLUTION),
    optional("storage", list(0, usize::MAX, &one_of(&["SEQUENTIAL", "LATEST"]))),
    optional("targetIntervalSeconds", integer(1, 60)),
]);
const VIEWER_SESSION: Shape = Shape::Structure(VIEWER_SESSION_MEMBERS);
const VIEWER_SESSION_MEMBERS: &[Member] = &[
    required("channelArn", CHANNEL_ARN),
    required("viewerId", text(1, 40, Form::Any)),
    // An `integer` of the model has 32 bits, although the claim that it is compared with has 64.
    optional("viewerSessionVersionsLessThanOrEqualTo", integer(0, i32::MAX as i64)),
];
