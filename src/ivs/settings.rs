//! The `[ivs]` section of the configuration.

use std::{collections::BTreeSet, time::Duration};

use schemars::{JsonSchema, Schema, json_schema};
use serde::Deserialize;

use super::{
    arn::{AccountId, ChannelArn, Region},
    parse_region,
};
use crate::settings::{As, Form, Period, Value, list_schema, read_list};

/// Amazon IVS, and how to reach it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// AWS regions to serve; empty: the region of the AWS configuration.
    #[serde(with = "As::<Vec<Region>>")]
    #[schemars(extend("default" = []))]
    pub regions: Vec<Region>,
    /// The 12 digits of the AWS account; if set, credentials of another account are refused.
    #[serde(with = "As::<Option<AccountId>>")]
    #[schemars(extend("default" = ""))]
    pub account_id: Option<AccountId>,
    /// Time limit of one call to IVS, at most 10s. A call is tried up to three times, and the claim under which a
    /// key is imported must outlive it.
    #[serde(with = "As::<CallTimeout>")]
    #[schemars(extend("default" = "5s"))]
    pub timeout: Duration,
    /// `--region`: the one region that this command is about.
    #[serde(skip)]
    pub region: Option<Region>,
    /// `--profile`: a profile of the AWS configuration.
    #[serde(skip)]
    pub profile: Option<String>,
    /// `--endpoint-url`: an endpoint for IVS, and for no other AWS service.
    #[serde(skip)]
    pub endpoint_url: Option<String>,
}

impl Settings {
    /// Returns the regions that this command is about; none where the AWS configuration decides.
    pub fn chosen_regions(&self) -> Vec<Region> {
        match &self.region {
            Some(region) => vec![region.clone()],
            None => self.regions.clone(),
        }
    }
}

impl Form for Vec<Region> {
    type Value = Self;

    fn schema() -> Schema {
        list_schema()
    }

    fn read(value: &Value) -> Result<Self, String> {
        const EXPECTED: &str = "must be a list of AWS regions, such as [\"us-west-2\"]";
        let names: Vec<String> = read_list(value).ok_or(EXPECTED)?;
        let mut regions = Self::new();
        for (index, name) in names.iter().enumerate() {
            let fault = |error| format!("{EXPECTED}; item {} {error}", index + 1);
            regions.push(parse_region(name).map_err(fault)?);
        }
        let distinct: BTreeSet<_> = regions.iter().collect();
        if distinct.len() < regions.len() {
            return Err("names a region twice".to_owned());
        }
        Ok(regions)
    }
}

impl Form for AccountId {
    type Value = Self;

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]{12}$" })
    }

    fn read(value: &Value) -> Result<Self, String> {
        String::read(value)?
            .parse()
            .map_err(|_| "must be the 12 digits of an AWS account".to_owned())
    }
}

impl Form for ChannelArn {
    type Value = Self;

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^arn:" })
    }

    fn read(value: &Value) -> Result<Self, String> {
        value
            .as_str()
            .ok_or_else(|| "must be the ARN of a channel, in quotes".to_owned())?
            .parse()
            .map_err(|error| format!("must be the ARN of a channel: {error}"))
    }
}

/// The time limit of a call.
struct CallTimeout;

impl CallTimeout {
    /// Three attempts of a call must end within the part of a claim that is kept for it (`keys::rotation`);
    /// otherwise two processes would import one key.
    const LONGEST: Duration = Duration::from_secs(10);
}

impl Form for CallTimeout {
    type Value = Duration;

    fn schema() -> Schema {
        Period::schema()
    }

    fn read(value: &Value) -> Result<Duration, String> {
        let timeout = Period::read(value)?;
        if timeout > Self::LONGEST {
            return Err("must be at most \"10s\", so that claims outlive calls".to_owned());
        }
        Ok(timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(items: &[&str]) -> Value {
        Value::Array(items.iter().map(|item| Value::from(*item)).collect())
    }

    #[test]
    fn region_list_is_read_whole_or_refused() {
        assert_eq!(<Vec<Region>>::read(&texts(&["us-west-2", "eu-west-1"])).unwrap().len(), 2);
        assert_eq!(
            <Vec<Region>>::read(&texts(&["us-west-2", "us-west-2"])),
            Err("names a region twice".to_owned())
        );
        assert!(<Vec<Region>>::read(&texts(&["us_west_2"])).is_err());
        assert!(<Vec<Region>>::read(&"us-west-2".into()).is_err());
    }

    #[test]
    fn account_must_be_text() {
        assert_eq!(Option::<AccountId>::read(&"".into()), Ok(None));
        let number = Value::Integer(123_456_789_012);
        assert!(Option::<AccountId>::read(&number).unwrap_err().contains("quotes"));
    }
}
