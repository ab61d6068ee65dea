//! Shapes that several rows of the table share.

use crate::emulator::api::constraint::{Form, Member, Shape, Text};

pub(super) const CHANNEL_ARN: Shape = text(1, 128, Form::Arn("channel"));
pub(super) const CHANNEL_TYPE: Shape = one_of(&["BASIC", "STANDARD", "ADVANCED_SD", "ADVANCED_HD"]);
pub(super) const CONTAINER_FORMAT: Shape = one_of(&["TS", "FRAGMENTED_MP4"]);
pub(super) const COUNTRIES: Shape =
    Shape::List { min: 0, max: usize::MAX, item: &text(2, 2, Form::Any) };
/// Recordings go to S3 alone, so that its member is required though the model does not say so.
pub(super) const DESTINATION: Shape = Shape::Structure(&[Member::required(
    "s3",
    Shape::Structure(&[Member::required("bucketName", text(3, 63, Form::BucketName))]),
)]);
pub(super) const HEALTH: Shape = one_of(&["HEALTHY", "STARVING", "UNKNOWN"]);
pub(super) const LATENCY_MODE: Shape = one_of(&["NORMAL", "LOW"]);
pub(super) const MULTITRACK: Shape = Shape::Structure(&[
    Member::optional("enabled", Shape::Boolean),
    Member::optional("maximumResolution", one_of(&["SD", "HD", "FULL_HD"])),
    Member::optional("policy", one_of(&["ALLOW", "REQUIRE"])),
]);
pub(super) const NAME: Shape = text(0, 128, Form::Name);
pub(super) const ORIGINS: Shape =
    Shape::List { min: 0, max: usize::MAX, item: &text(0, 128, Form::Any) };
pub(super) const PAGE_TOKEN: Shape = text(0, 1024, Form::PageToken);
pub(super) const PLAYBACK_KEY_ARN: Shape = text(1, 128, Form::Arn("playback-key"));
pub(super) const POLICY_ARN: Shape = text(1, 128, Form::Arn("playback-restriction-policy"));
pub(super) const POLICY_ARN_OR_EMPTY: Shape =
    text(0, 128, Form::ArnOrEmpty("playback-restriction-policy"));
pub(super) const PRESET: Shape =
    one_of(&["HIGHER_BANDWIDTH_DELIVERY", "CONSTRAINED_BANDWIDTH_DELIVERY"]);
pub(super) const RECORDING_ARN: Shape = text(0, 128, Form::Arn("recording-configuration"));
pub(super) const RECORDING_ARN_OR_EMPTY: Shape =
    text(0, 128, Form::ArnOrEmpty("recording-configuration"));
pub(super) const RENDITIONS: Shape = Shape::Structure(&[
    Member::optional("renditionSelection", one_of(&["ALL", "NONE", "CUSTOM"])),
    Member::optional("renditions", Shape::List { min: 0, max: usize::MAX, item: &RESOLUTION }),
]);
const RESOLUTION: Shape = one_of(&["SD", "HD", "FULL_HD", "LOWEST_RESOLUTION"]);
pub(super) const RESOURCE_ARN: Shape = text(1, 128, Form::ArnOfAnyKind);
pub(super) const STREAM_ID: Shape = text(26, 26, Form::StreamId);
pub(super) const STREAM_KEY_ARN: Shape = text(1, 128, Form::Arn("stream-key"));
pub(super) const TAG_KEY: Text = Text { min: 1, max: 128, form: Form::TagKey };
pub(super) const TAGS: Shape =
    Shape::Map { max: 50, key: TAG_KEY, value: Text { min: 0, max: 256, form: Form::TagValue } };
pub(super) const THUMBNAILS: Shape = Shape::Structure(&[
    Member::optional("recordingMode", one_of(&["DISABLED", "INTERVAL"])),
    Member::optional("resolution", RESOLUTION),
    Member::optional(
        "storage",
        Shape::List { min: 0, max: usize::MAX, item: &one_of(&["SEQUENTIAL", "LATEST"]) },
    ),
    Member::optional("targetIntervalSeconds", Shape::Integer { min: 1, max: 60 }),
]);
pub(super) const VIEWER_SESSION: Shape = Shape::Structure(VIEWER_SESSION_MEMBERS);
pub(super) const VIEWER_SESSION_MEMBERS: &[Member] = &[
    Member::required("channelArn", CHANNEL_ARN),
    Member::required("viewerId", text(1, 40, Form::Any)),
    // An `integer` of the model, so 32 bits, though the claim that it is compared with has 64.
    Member::optional(
        "viewerSessionVersionsLessThanOrEqualTo",
        Shape::Integer { min: 0, max: i32::MAX as i64 },
    ),
];

pub(super) const fn list(min: usize, max: usize, item: &'static Shape) -> Shape {
    Shape::List { min, max, item }
}

pub(super) const fn max_results(max: i64) -> Shape {
    Shape::Integer { min: 1, max }
}

pub(super) const fn one_of(values: &'static [&'static str]) -> Shape {
    text(0, usize::MAX, Form::OneOf(values))
}

pub(super) const fn text(min: usize, max: usize, form: Form) -> Shape {
    Shape::Text(Text { min, max, form })
}
