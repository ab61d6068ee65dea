//! The `[channels]` section of the configuration.

use std::{collections::BTreeMap, time::Duration};

use schemars::{JsonSchema, Schema, json_schema};
use serde::Deserialize;

use crate::{
    ivs::arn::ChannelArn,
    settings::{As, Form, Named, Period, Value, Whole},
};

/// The channel lookup.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How long a looked-up channel counts as fresh.
    #[serde(with = "As::<Duration>")]
    #[schemars(extend("default" = "60s"))]
    pub fresh_for: Duration,
    /// How long after it was fetched it may still be served while IVS is asked again or cannot answer.
    #[serde(with = "As::<Duration>")]
    #[schemars(extend("default" = "24h"))]
    pub stale_for: Duration,
    /// How long the service remembers that a channel is absent or public.
    #[serde(with = "As::<Duration>")]
    #[schemars(extend("default" = "10s"))]
    pub not_found_for: Duration,
    /// The maximum number of channels kept in memory.
    #[serde(with = "As::<Whole<u64, 1, 100_000_000>>")]
    #[schemars(extend("default" = 100_000))]
    pub capacity: u64,
    /// Calls per second to IVS, of each operation, by this process; at most 5. Divide 4 by the number of replicas.
    #[serde(with = "As::<Rate>")]
    #[schemars(extend("default" = 4))]
    pub calls_per_second: f64,
    /// How long lookups of different channels are collected before they go out as one call.
    #[serde(with = "As::<Duration>")]
    #[schemars(extend("default" = "5ms"))]
    pub gather: Duration,
    /// The longest that a caller waits for a lookup.
    #[serde(with = "As::<Period>")]
    #[schemars(extend("default" = "5s"))]
    pub deadline: Duration,
    /// What to do for a channel never seen while IVS cannot answer: "refuse" (503), or "mint".
    #[schemars(extend("default" = "refuse"))]
    pub on_unavailable: Unavailable,
    /// Whether to read all channels at start.
    #[schemars(extend("default" = false))]
    pub warm_up: bool,
    /// Short names for channels: lower-case letters, digits, "-" and "_", at most 64 characters.
    #[serde(with = "Named::<ChannelArn>")]
    pub aliases: BTreeMap<String, ChannelArn>,
}

/// What to do for a channel never seen while IVS cannot answer.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Unavailable {
    /// Refuse.
    Refuse,
    /// Mint without having seen the channel.
    Mint,
}

/// Calls per second. IVS allows 5 of each lookup operation per account and region.
struct Rate;

impl Form for Rate {
    type Value = f64;

    fn schema() -> Schema {
        json_schema!({ "type": "number", "exclusiveMinimum": 0, "maximum": 5 })
    }

    fn read(value: &Value) -> Result<f64, String> {
        let whole = || value.as_integer().and_then(|number| i32::try_from(number).ok());
        let number = value.as_float().or_else(|| whole().map(f64::from));
        number.filter(|number| *number > 0.0 && *number <= 5.0).ok_or_else(|| {
            "must be a number over 0 and at most 5, Amazon IVS's limit for an account".to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_outside_its_bounds_is_refused() {
        assert_eq!(Rate::read(&Value::Float(0.5)), Ok(0.5));
        assert_eq!(Rate::read(&Value::Integer(5)), Ok(5.0));
        for wrong in [0.0, -1.0, 5.1, f64::NAN, f64::INFINITY] {
            assert!(Rate::read(&Value::Float(wrong)).is_err(), "{wrong}");
        }
    }
}
