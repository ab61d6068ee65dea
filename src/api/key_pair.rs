//! Key pairs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::{
    clock::Timestamp,
    keys::{
        keyring::RESERVED_TAG_PREFIX,
        rotation::{KeyPairView, MAX_TAG_KEY, MAX_TAG_VALUE, MAX_TAGS},
    },
};

/// Key pairs, and when Amazon IVS last listed them.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"keyPairs": [{
    "arn": "arn:aws:ivs:us-west-2:123456789012:playback-key/IjKlMnOp5678", "name": "stage",
    "fingerprint": "98:0d:1a:a0:19:96:1e:ea:0a:0a:2c:9a:42:19:2b:e7", "region": "us-west-2",
    "tags": {}, "state": "foreign", "adopted": false,
    "createdAt": null, "activatedAt": null, "retiresAt": null
}], "checkedAt": "2026-11-22T08:55:00Z"}))]
pub struct KeyPairsBody {
    /// The pairs of all regions that were asked for.
    pub key_pairs: Vec<KeyPairView>,
    /// Null before the first listing. With several regions, the oldest.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    pub checked_at: Option<Timestamp>,
}

/// What to generate or import.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(example = json!({"name": "stage", "tags": {"team": "video"}}))]
pub struct CreateKeyPairRequest {
    /// May be omitted if only one region is configured.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// Without a name, or with an empty one, the service chooses a name.
    #[schema(nullable = false, max_length = 128, pattern = "^[A-Za-z0-9_-]*$")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Tags of the pair in IVS, in addition to those that the service sets. Letters, digits and spaces of
    /// every script are allowed.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, String>>,
    /// A P-384 public key in PEM. Without it, the service generates a pair, and the next rotation
    /// starts signing with it.
    #[schema(
        nullable = false,
        min_length = 1,
        example = "-----BEGIN PUBLIC KEY-----\nMHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEFQEeRx/nmXbpUiB432X7eu8q45230HAz\nJJOcnkuCYue3bzez9WISAbLvGXckAnkNb1dBEjWU/lQwBjRU8t/7kuvtfkXlajd2\n4iTAuglEDM3I6w9VQXsvoeoj9Jp9V2fC\n-----END PUBLIC KEY-----\n"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key_material: Option<String>,
}

impl CreateKeyPairRequest {
    /// Returns IVS's rules for tags, for the OpenAPI document.
    pub(crate) fn refinement() -> Value {
        let characters = r"^[\w .:/=+@-]*$";
        json!({"properties": {"tags": {
            "maxProperties": MAX_TAGS,
            "propertyNames": {
                "minLength": 1, "maxLength": MAX_TAG_KEY, "pattern": characters,
                "not": {"pattern": format!("^([Aa][Ww][Ss]:|{RESERVED_TAG_PREFIX})")}
            },
            "additionalProperties": {"maxLength": MAX_TAG_VALUE, "pattern": characters}
        }}})
    }
}
