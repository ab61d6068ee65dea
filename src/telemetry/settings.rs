//! The `[log]` section of the configuration.

use schemars::{JsonSchema, Schema, json_schema};
use serde::Deserialize;

use super::{Directives, Format};
use crate::settings::{As, Form, Value};

/// Logging.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// "json", "text", or "auto": text on a terminal, otherwise JSON.
    #[schemars(extend("default" = "auto"))]
    pub format: Format,
    /// error, warn, info, debug, trace or off, also for modules ("info,keys=debug"). Other crates never log more
    /// than info, because the AWS SDK prints request bodies at trace.
    #[serde(with = "As::<Directives>")]
    #[schemars(extend("default" = "info"))]
    pub level: Directives,
}

impl Form for Directives {
    type Value = Self;

    fn schema() -> Schema {
        json_schema!({ "type": "string" })
    }

    fn read(value: &Value) -> Result<Self, String> {
        value.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| {
            "must be error, warn, info, debug, trace or off, also for modules: \"info,keys=debug\""
                .to_owned()
        })
    }
}
