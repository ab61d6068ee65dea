//! What the emulator remembers of each resource.
//!
//! The members are those of IVS's shapes, less what follows from others (URLs, endpoints), so that
//! another `--public-url` applies to channels that exist already. Members that a later version
//! adds need a serde default: the records are read back by it.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

use super::collection::{Record, Tagged};
use crate::{
    clock::Timestamp,
    ivs::arn::{AccountId, Arn, ChannelArn, PlaybackKeyArn, Region, ResourceKind},
};

/// The collection of one kind of resource in one region of one account.
pub(in crate::emulator) fn in_region(
    region: &Region,
    account: &AccountId,
    kind: ResourceKind,
) -> String {
    format!("{region}/{account}/{}", kind.as_str())
}

/// A channel.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(in crate::emulator) struct Channel {
    pub(in crate::emulator) arn: ChannelArn,
    pub(in crate::emulator) name: String,
    pub(in crate::emulator) latency_mode: String,
    /// `type`, which is a word of Rust.
    pub(in crate::emulator) kind: String,
    pub(in crate::emulator) authorized: bool,
    pub(in crate::emulator) insecure_ingest: bool,
    /// `""` but for the ADVANCED types.
    pub(in crate::emulator) preset: String,
    pub(in crate::emulator) container_format: String,
    /// `""` where nothing is recorded.
    pub(in crate::emulator) recording_configuration_arn: String,
    /// `""` where nothing is restricted.
    pub(in crate::emulator) playback_restriction_policy_arn: String,
    pub(in crate::emulator) multitrack: Multitrack,
    pub(in crate::emulator) srt_passphrase: Hidden,
}

/// `MultitrackInputConfiguration`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::emulator) struct Multitrack {
    pub(in crate::emulator) enabled: bool,
    pub(in crate::emulator) maximum_resolution: String,
    pub(in crate::emulator) policy: String,
}

impl Record for Channel {
    fn collection(&self) -> String {
        in_region(self.arn.region(), self.arn.account(), ResourceKind::Channel)
    }

    fn name(&self) -> Cow<'_, str> {
        self.arn.as_str().into()
    }
}

/// A stream key.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(in crate::emulator) struct StreamKey {
    pub(in crate::emulator) arn: Arn,
    pub(in crate::emulator) channel_arn: ChannelArn,
    pub(in crate::emulator) value: Hidden,
}

impl StreamKey {
    /// The collection of a channel's stream keys.
    pub(in crate::emulator) fn of(channel: &str) -> String {
        format!("{channel}/stream-key")
    }
}

impl Record for StreamKey {
    fn collection(&self) -> String {
        Self::of(self.channel_arn.as_str())
    }

    fn name(&self) -> Cow<'_, str> {
        self.arn.as_str().into()
    }
}

/// The public half of a playback key pair.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(in crate::emulator) struct PlaybackKeyPair {
    pub(in crate::emulator) arn: PlaybackKeyArn,
    pub(in crate::emulator) name: String,
    pub(in crate::emulator) fingerprint: String,
    /// The point in SEC 1's uncompressed form: 97 bytes.
    pub(in crate::emulator) point: Vec<u8>,
}

impl Record for PlaybackKeyPair {
    fn collection(&self) -> String {
        in_region(self.arn.region(), self.arn.account(), ResourceKind::PlaybackKey)
    }

    fn name(&self) -> Cow<'_, str> {
        self.arn.as_str().into()
    }
}

/// A stream that is live. The record goes when the stream ends.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(in crate::emulator) struct LiveStream {
    pub(in crate::emulator) channel_arn: ChannelArn,
    pub(in crate::emulator) stream_id: String,
    pub(in crate::emulator) start_time: Timestamp,
}

impl LiveStream {
    /// The collection of a region's live streams.
    pub(in crate::emulator) fn in_region(region: &Region, account: &AccountId) -> String {
        format!("{region}/{account}/live-stream")
    }

    /// The name of a channel's live stream; a channel has one at a time.
    pub(in crate::emulator) fn name_of(channel: &str) -> String {
        format!("{channel}/live-stream")
    }
}

impl Record for LiveStream {
    fn collection(&self) -> String {
        Self::in_region(self.channel_arn.region(), self.channel_arn.account())
    }

    fn name(&self) -> Cow<'_, str> {
        Self::name_of(self.channel_arn.as_str()).into()
    }
}

/// Where and how streams are recorded. Nothing is recorded here.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(in crate::emulator) struct RecordingConfiguration {
    pub(in crate::emulator) arn: Arn,
    pub(in crate::emulator) name: String,
    pub(in crate::emulator) bucket_name: String,
    /// Its state follows from its age.
    pub(in crate::emulator) created: Timestamp,
    pub(in crate::emulator) reconnect_window_seconds: u16,
    pub(in crate::emulator) rendition_selection: String,
    pub(in crate::emulator) renditions: Vec<String>,
    pub(in crate::emulator) thumbnails: Thumbnails,
}

/// `ThumbnailConfiguration`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::emulator) struct Thumbnails {
    pub(in crate::emulator) recording_mode: String,
    /// Absent where thumbnails are as large as the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::emulator) resolution: Option<String>,
    pub(in crate::emulator) storage: Vec<String>,
    pub(in crate::emulator) target_interval_seconds: u8,
}

impl Record for RecordingConfiguration {
    fn collection(&self) -> String {
        in_region(self.arn.region(), self.arn.account(), ResourceKind::RecordingConfiguration)
    }

    fn name(&self) -> Cow<'_, str> {
        self.arn.as_str().into()
    }
}

/// Who may play the public channels that it is attached to. The edge reads it by the
/// [`Channel::playback_restriction_policy_arn`].
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(in crate::emulator) struct PlaybackRestrictionPolicy {
    pub(in crate::emulator) arn: Arn,
    pub(in crate::emulator) name: String,
    /// ISO 3166-1 codes; none for every country.
    pub(in crate::emulator) allowed_countries: Vec<String>,
    /// Origins as the caller wrote them; none for every origin.
    pub(in crate::emulator) allowed_origins: Vec<String>,
    pub(in crate::emulator) enable_strict_origin_enforcement: bool,
}

impl Record for PlaybackRestrictionPolicy {
    fn collection(&self) -> String {
        in_region(self.arn.region(), self.arn.account(), ResourceKind::PlaybackRestrictionPolicy)
    }

    fn name(&self) -> Cow<'_, str> {
        self.arn.as_str().into()
    }
}

/// A stream, from its start on and after its end.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(in crate::emulator) struct StreamSession {
    pub(in crate::emulator) stream_id: String,
    pub(in crate::emulator) start_time: Timestamp,
    /// Absent while it is live.
    pub(in crate::emulator) end_time: Option<Timestamp>,
    /// The channel as it was at the start. A live one cannot be changed.
    pub(in crate::emulator) channel: Tagged<Channel>,
    /// Its recording configuration at that time, where it had one.
    pub(in crate::emulator) recording_configuration: Option<Tagged<RecordingConfiguration>>,
}

impl StreamSession {
    /// The collection of a channel's stream sessions, the latest first.
    pub(in crate::emulator) fn of(channel: &str) -> String {
        format!("{channel}/stream-session")
    }

    /// The name of a channel's session.
    pub(in crate::emulator) fn name_of(channel: &str, stream_id: &str) -> String {
        format!("{channel}/stream-session/{stream_id}")
    }
}

impl Record for StreamSession {
    fn collection(&self) -> String {
        Self::of(self.channel.record.arn.as_str())
    }

    fn name(&self) -> Cow<'_, str> {
        Self::name_of(self.channel.record.arn.as_str(), &self.stream_id).into()
    }
}

/// A secret of the emulated account, such as a stream key: stored and answered, never logged.
#[derive(Clone, Deserialize, Serialize)]
#[serde(transparent)]
pub(in crate::emulator) struct Hidden(String);

impl Hidden {
    /// Hides `secret`.
    pub(in crate::emulator) fn new(secret: String) -> Self {
        Self(secret)
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}
