//! The `[keys]` and `[rotation]` sections of the configuration.

use std::{path::PathBuf, time::Duration};

use schemars::{JsonSchema, Schema, json_schema};
use serde::Deserialize;

use crate::settings::{As, Form, Period, PeriodOrOff, Value};

/// The keyring and where it is kept.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where private keys are kept: "dir" or "secrets-manager".
    #[schemars(extend("default" = "dir"))]
    pub store: KeyStore,
    /// The folder of the store "dir".
    #[serde(with = "As::<PathBuf>")]
    #[schemars(extend("default" = "keys"))]
    pub dir: PathBuf,
    /// The secret of the store "secrets-manager", one per region; {account} and {region} are replaced.
    #[serde(with = "As::<SecretName>")]
    #[schemars(extend("default" = "ivs-playback-auth/{account}/{region}"))]
    pub secret_name: String,
    /// How often the keyring is read again.
    #[serde(with = "As::<Period>")]
    #[schemars(extend("default" = "15s"))]
    pub refresh_every: Duration,
    /// A keyring that was read longer ago than this is not used to sign.
    #[serde(with = "As::<Period>")]
    #[schemars(extend("default" = "6h"))]
    pub max_staleness: Duration,
    /// Whether this process may write the keyring and change key pairs in IVS.
    #[schemars(extend("default" = true))]
    pub manage: bool,
    /// What to do about an active pair that was deleted in IVS: "reimport", "replace" or "off".
    #[schemars(extend("default" = "reimport"))]
    pub heal: Heal,
}

/// Where private keys are kept.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum KeyStore {
    /// A folder on this machine.
    Dir,
    /// AWS Secrets Manager.
    SecretsManager,
}

/// What to do about an active pair that was deleted in IVS.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Heal {
    /// Import the same public key again.
    Reimport,
    /// Generate a new pair.
    Replace,
    /// Nothing.
    Off,
}

/// Rotation of key pairs.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotationSettings {
    /// How often keys are rotated, such as "30d"; "off" until nothing else signs with these keys.
    #[serde(with = "As::<PeriodOrOff>")]
    #[schemars(extend("default" = "off"))]
    pub every: Option<Duration>,
    /// How long an imported key waits before it signs, until IVS knows it everywhere.
    #[serde(with = "As::<Duration>")]
    #[schemars(extend("default" = "10m"))]
    pub propagation_wait: Duration,
    /// How much longer than its last token an old key is kept in IVS.
    #[serde(with = "As::<Period>")]
    #[schemars(extend("default" = "24h"))]
    pub drain_margin: Duration,
    /// How often the keyring is compared with IVS.
    #[serde(with = "As::<Period>")]
    #[schemars(extend("default" = "60s"))]
    pub reconcile_every: Duration,
    /// How long signing continues while a deleted active pair is being imported again.
    #[serde(with = "As::<Duration>")]
    #[schemars(extend("default" = "60s"))]
    pub heal_wait: Duration,
    /// A live private channel (ARN or alias) that proves that a new key is known; empty: only waits.
    #[serde(with = "As::<Option<String>>")]
    #[schemars(extend("default" = ""))]
    pub canary_channel: Option<String>,
    /// How long to wait after the canary has proved the new key.
    #[serde(with = "As::<Duration>")]
    #[schemars(extend("default" = "30s"))]
    pub canary_settle: Duration,
    /// A canary that proves nothing for this long means that the rotation is stuck.
    #[serde(with = "As::<Period>")]
    #[schemars(extend("default" = "10m"))]
    pub canary_timeout: Duration,
}

/// The name of a secret: what AWS Secrets Manager allows (API reference of `CreateSecret`), with two placeholders.
struct SecretName;

impl SecretName {
    const LONGEST: usize = 512;

    fn is_valid(text: &str) -> bool {
        // What a placeholder may become: an account is 12 digits, a region at most 64 characters.
        let name = text.replace("{account}", &"0".repeat(12)).replace("{region}", &"a".repeat(64));
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || "/_+=.@-".contains(c);
        !name.is_empty() && name.len() <= Self::LONGEST && name.chars().all(is_allowed)
    }
}

impl Form for SecretName {
    type Value = String;

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^([A-Za-z0-9/_+=.@-]|\\{account\\}|\\{region\\})+$" })
    }

    fn read(value: &Value) -> Result<String, String> {
        value.as_str().filter(|text| Self::is_valid(text)).map(str::to_owned).ok_or_else(|| {
            "must be the name of a secret: at most 512 letters, digits and /_+=.@- with {account} \
             and {region} as the only placeholders"
                .to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_name_has_two_placeholders_only() {
        assert!(SecretName::is_valid("ivs/{account}/{region}"));
        assert!(SecretName::is_valid("ivs/a_b+c=d.e@f-g"));
        for wrong in ["", "ivs/{stage}", "ivs/{account", "ivs keys", "ivs:keys", "schl\u{fc}ssel"] {
            assert!(!SecretName::is_valid(wrong), "{wrong}");
        }
        assert!(SecretName::is_valid(&"a".repeat(512)));
        assert!(!SecretName::is_valid(&format!("{{region}}{}", "a".repeat(449))));
    }
}
