//! The `[viewers]` section of the configuration.

use std::{path::PathBuf, time::Duration};

use schemars::{JsonSchema, Schema};
use serde::Deserialize;

use crate::settings::{As, Form, Seconds, Value};

/// Revocation of viewer sessions.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How far clocks may differ, in whole seconds; at most 1h. A revocation "until now" adds it, and a larger
    /// difference from the clock of Amazon IVS is reported as `clock_skew`.
    #[serde(with = "As::<ClockAllowance>")]
    #[schemars(extend("default" = "5s"))]
    pub clock_allowance: Duration,
    /// Whether denyFor is allowed although other replicas do not learn of it.
    #[schemars(extend("default" = false))]
    pub local_deny: bool,
    /// The file of denied viewers, which the commands and the service of a machine share.
    #[serde(with = "As::<PathBuf>")]
    #[schemars(extend("default" = "data/denied-viewers.jsonl"))]
    pub deny_list: PathBuf,
}

/// A difference between clocks, in whole seconds.
struct ClockAllowance;

impl ClockAllowance {
    /// For as long after a revocation the viewer can start nothing. Clocks with NTP differ by far less.
    const WIDEST: Duration = Duration::from_hours(1);
}

impl Form for ClockAllowance {
    type Value = Duration;

    fn schema() -> Schema {
        Seconds::schema()
    }

    fn read(value: &Value) -> Result<Duration, String> {
        let allowance = Seconds::read(value)?;
        if allowance > Self::WIDEST {
            return Err("must be at most \"1h\". Set the clocks instead".to_owned());
        }
        Ok(allowance)
    }
}
