//! Requests that may be repeated, and what each of them did; only their hashes are kept.

use serde::{Deserialize, Serialize};

use super::{Keyring, RotationId, VersionId};

/// A request with an `Idempotency-Key`, by hashes (SHA-256, hexadecimal).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IdempotencyRecord {
    /// The hash of the header `Idempotency-Key` and of the client that sent it.
    pub key_hash: String,
    /// The hash of the request, which distinguishes another request with the same key.
    pub request_hash: String,
}

/// What a request did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Asked {
    /// It added a key.
    Version(VersionId),
    /// It began a rotation.
    Rotation(RotationId),
}

/// The key was used for another request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeyReused;

impl Keyring {
    /// Returns what `request` did when it came before, for as long as that is in the keyring.
    ///
    /// # Errors
    ///
    /// The key belongs to another request.
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

    /// Returns the version that the same request added before, for as long as that is in the keyring.
    ///
    /// # Errors
    ///
    /// The key belongs to another request.
    pub fn version_of_request(
        &self,
        request: Option<&IdempotencyRecord>,
    ) -> Result<Option<VersionId>, KeyReused> {
        match request.map(|request| self.asked_before(request)).transpose()?.flatten() {
            None => Ok(None),
            Some(Asked::Version(version)) => Ok(Some(version)),
            Some(Asked::Rotation(_)) => Err(KeyReused),
        }
    }

    /// Returns the rotation that the same request began before, for as long as that is in the keyring.
    ///
    /// # Errors
    ///
    /// The key belongs to another request.
    pub fn rotation_of_request(
        &self,
        request: Option<&IdempotencyRecord>,
    ) -> Result<Option<RotationId>, KeyReused> {
        match request.map(|request| self.asked_before(request)).transpose()?.flatten() {
            None => Ok(None),
            Some(Asked::Rotation(rotation)) => Ok(Some(rotation)),
            Some(Asked::Version(_)) => Err(KeyReused),
        }
    }
}
