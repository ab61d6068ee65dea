//! The stored form of each resource.
//!
//! The fields are those of IVS's shapes without what can be derived from others (URLs, endpoints),
//! so that another `--public-url` applies to existing channels. A field that a later version adds
//! needs a serde default, because that version reads the records of this one.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};

use super::collection::{Record, Tagged};
use crate::{
    clock::Timestamp,
    ivs::arn::{AccountId, Arn, ChannelArn, PlaybackKeyArn, Region, ResourceKind},
};

/// Returns the collection of one kind of resource in one region of one account.
pub(crate) fn in_region(region: &Region, account: &AccountId, kind: ResourceKind) -> String {
    format!("{region}/{account}/{}", kind.as_str())
}

/// Declares the kind of each resource that is listed per region and named by its ARN.
macro_rules! regional {
    ($($record:ident: $kind:ident;)*) => {$(
        impl Record for $record {
            fn collection(&self) -> String {
                in_region(self.arn.region(), self.arn.account(), ResourceKind::$kind)
            }

            fn name(&self) -> Cow<'_, str> {
                self.arn.as_str().into()
            }
        }
    )*};
}

regional! {
    Channel: Channel;
    PlaybackKeyPair: PlaybackKey;
    PlaybackRestrictionPolicy: PlaybackRestrictionPolicy;
    RecordingConfiguration: RecordingConfiguration;
}

/// A channel.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Channel {
    pub(crate) arn: ChannelArn,
    pub(crate) name: String,
    pub(crate) latency_mode: String,
    /// `type`, which is a keyword of Rust.
    pub(crate) kind: String,
    pub(crate) authorized: bool,
    pub(crate) insecure_ingest: bool,
    /// `""` except for the ADVANCED types.
    pub(crate) preset: String,
    pub(crate) container_format: String,
    /// `""` if nothing is recorded.
    pub(crate) recording_configuration_arn: String,
    /// `""` if nothing is restricted.
    pub(crate) playback_restriction_policy_arn: String,
    pub(crate) multitrack: Multitrack,
    pub(crate) srt_passphrase: Hidden,
}

/// `MultitrackInputConfiguration`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Multitrack {
    pub(crate) enabled: bool,
    pub(crate) maximum_resolution: String,
    pub(crate) policy: String,
}

/// A stream key.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct StreamKey {
    pub(crate) arn: Arn,
    pub(crate) channel_arn: ChannelArn,
    pub(crate) value: Hidden,
}

impl StreamKey {
    /// Returns the collection of a channel's stream keys.
    pub(crate) fn of(channel: &str) -> String {
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
pub(crate) struct PlaybackKeyPair {
    pub(crate) arn: PlaybackKeyArn,
    pub(crate) name: String,
    pub(crate) fingerprint: String,
    /// The point in the uncompressed form of SEC 1: 97 bytes.
    pub(crate) point: Vec<u8>,
}

/// A live stream. The record is removed when the stream ends.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct LiveStream {
    pub(crate) channel_arn: ChannelArn,
    pub(crate) stream_id: String,
    pub(crate) start_time: Timestamp,
}

impl LiveStream {
    /// Returns the collection of a region's live streams.
    pub(crate) fn in_region(region: &Region, account: &AccountId) -> String {
        format!("{region}/{account}/live-stream")
    }

    /// Returns the name of a channel's live stream. A channel has one at a time.
    pub(crate) fn name_of(channel: &str) -> String {
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

/// Where and how streams are recorded. The emulator records nothing.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct RecordingConfiguration {
    pub(crate) arn: Arn,
    pub(crate) name: String,
    pub(crate) bucket_name: String,
    /// The state is derived from the age.
    pub(crate) created: Timestamp,
    pub(crate) reconnect_window_seconds: u16,
    pub(crate) rendition_selection: String,
    pub(crate) renditions: Vec<String>,
    pub(crate) thumbnails: Thumbnails,
}

/// `ThumbnailConfiguration`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Thumbnails {
    pub(crate) recording_mode: String,
    /// Absent if thumbnails are as large as the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resolution: Option<String>,
    pub(crate) storage: Vec<String>,
    pub(crate) target_interval_seconds: u8,
}

impl Default for Thumbnails {
    fn default() -> Self {
        Self {
            recording_mode: "INTERVAL".to_owned(),
            resolution: None,
            storage: vec!["SEQUENTIAL".to_owned()],
            target_interval_seconds: 60,
        }
    }
}

/// Restricts who may play the public channels that it is attached to. The edge finds it by
/// [`Channel::playback_restriction_policy_arn`].
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct PlaybackRestrictionPolicy {
    pub(crate) arn: Arn,
    pub(crate) name: String,
    /// ISO 3166-1 codes; empty for every country.
    pub(crate) allowed_countries: Vec<String>,
    /// Origins as the caller wrote them; empty for every origin.
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) enable_strict_origin_enforcement: bool,
}

/// A stream from its start on, also after its end.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct StreamSession {
    pub(crate) stream_id: String,
    pub(crate) start_time: Timestamp,
    /// Absent while the stream is live.
    pub(crate) end_time: Option<Timestamp>,
    /// The channel at the start. A live channel cannot be changed.
    pub(crate) channel: Tagged<Channel>,
    /// The recording configuration at the start, if the channel had one.
    pub(crate) recording_configuration: Option<Tagged<RecordingConfiguration>>,
}

impl StreamSession {
    /// Returns the collection of a channel's stream sessions, the latest first.
    pub(crate) fn of(channel: &str) -> String {
        format!("{channel}/stream-session")
    }

    /// Returns the name of a channel's session.
    pub(crate) fn name_of(channel: &str, stream_id: &str) -> String {
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

/// A secret of the emulated account, such as a stream key: stored and returned, never logged.
#[derive(Clone, Deserialize, Serialize)]
#[serde(transparent)]
pub(crate) struct Hidden(pub(crate) String);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}
