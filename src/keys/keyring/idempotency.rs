//! Requests that may come again: what each of them brought about, by hashes alone.

use serde::{Deserialize, Serialize};

use super::{Keyring, RotationId, VersionId};

/// A request with an `Idempotency-Key`, by hashes (SHA-256, hexadecimal).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IdempotencyRecord {
    /// Of the value of the header `Idempotency-Key`, together with who sent it.
    pub key_hash: String,
    /// Of what is asked for, by which another request under the same key is told.
    pub request_hash: String,
}

/// What a request brought about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Asked {
    /// A key.
    Version(VersionId),
    /// A rotation.
    Rotation(RotationId),
}

/// The key was used for another request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeyReused;

impl Keyring {
    /// What `request` brought about when it came before, for as long as that is in the keyring.
    ///
    /// # Errors
    ///
    /// Its key belongs to another request.
    pub fn asked_before(&self, request: &IdempotencyRecord) -> Result<Option<Asked>, KeyReused> {
        let of_versions = self.present().filter_map(|version| {
            let it = version.idempotency.as_ref()?;
            Some((&it.key_hash, &it.request_hash, Asked::Version(version.id.clone())))
        });
        let of_rotations = self.rotations.iter().filter_map(|rotation| {
            let (key, asked) =
                (rotation.idempotency_key_hash.as_ref()?, rotation.request_hash.as_ref()?);
            Some((key, asked, Asked::Rotation(rotation.id.clone())))
        });
        match of_versions.chain(of_rotations).find(|(key, ..)| **key == request.key_hash) {
            None => Ok(None),
            Some((_, asked, brought)) if *asked == request.request_hash => Ok(Some(brought)),
            Some(_) => Err(KeyReused),
        }
    }
}
