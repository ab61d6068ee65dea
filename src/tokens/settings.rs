//! The `[tokens]` section of the configuration.

use std::time::Duration;

use schemars::{JsonSchema, Schema};
use serde::Deserialize;

use crate::settings::{As, Form, NotAvailable, Period, Seconds, Value};

/// What viewer tokens may contain.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Lifetime of a token whose request names none, in whole seconds.
    #[serde(with = "As::<Lifetime>")]
    #[schemars(extend("default" = "5m"))]
    pub default_ttl: Duration,
    /// The longest lifetime that may be requested, in whole seconds.
    #[serde(with = "As::<Lifetime>")]
    #[schemars(extend("default" = "1h"))]
    pub max_ttl: Duration,
    /// What to do for a channel that plays without a token: "refuse" (409), or "mint" with a warning.
    #[schemars(extend("default" = "refuse"))]
    pub public_channels: PublicChannels,
    /// Whether to stamp the issue time as session version where a viewer is named and no version is.
    #[schemars(extend("default" = true))]
    pub stamp_session_version: bool,
    /// Not available in this version: "off", or for how long ("1s") requests with equal claims may get the same
    /// token.
    #[serde(with = "As::<NotAvailable>")]
    #[schemars(extend("default" = "off", "x-not-available" = "sharing tokens between requests"))]
    pub share: NotAvailable,
}

/// What to do for a channel that plays without a token.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum PublicChannels {
    /// Refuse.
    Refuse,
    /// Mint, with a warning.
    Mint,
}

/// A lifetime of whole seconds, over zero and at most a year: an old key is kept in IVS for as long.
struct Lifetime;

impl Form for Lifetime {
    type Value = Duration;

    fn schema() -> Schema {
        Period::schema()
    }

    fn read(value: &Value) -> Result<Duration, String> {
        let lifetime = Period::read(value).and_then(|_| Seconds::read(value))?;
        if lifetime > Duration::from_hours(366 * 24) {
            return Err("must be at most a year, \"366d\"".to_owned());
        }
        Ok(lifetime)
    }
}
