//! Durations as whole seconds, for `#[serde(with)]`.

use std::time::Duration;

use serde::{Deserialize as _, Deserializer, Serializer};

use super::limits::{DRAIN_MARGIN, MAX_STALENESS};
use crate::clock::whole_seconds;

pub(super) fn serialize<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(whole_seconds(*duration))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_secs)
}

/// For `#[serde(default)]` of `maxStaleness`.
pub(super) const fn max_staleness() -> Duration {
    MAX_STALENESS
}

/// For `#[serde(skip_serializing_if)]` of `maxStaleness`.
pub(super) fn is_max_staleness(duration: &Duration) -> bool {
    *duration == MAX_STALENESS
}

/// For `#[serde(default)]` of `drainMargin`.
pub(super) const fn drain_margin() -> Duration {
    DRAIN_MARGIN
}

/// For `#[serde(skip_serializing_if)]` of `drainMargin`.
pub(super) fn is_drain_margin(duration: &Duration) -> bool {
    *duration == DRAIN_MARGIN
}

/// The same for a duration that may be absent.
pub(super) mod optional {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer};

    #[expect(clippy::ref_option, reason = "the signature that serde asks for")]
    pub(in super::super) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_secs))
    }
}
