//! The document of a keyring with its private halves inside, as PKCS#8 PEM.
//!
//! What is held here is wiped on drop. The AWS SDK keeps buffers of its own, which nobody can wipe.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use crate::{
    ivs::arn::Region,
    keys::{
        keyring::KeyVersion,
        material::PrivateKey,
        store::{PrivateKeys, StoreError, Stored, document},
    },
};

/// The largest value of a secret, in bytes. A quota of AWS that cannot be raised.
const MAX_DOCUMENT: usize = 65_536;

/// The document of a keyring; refused where a secret cannot hold it.
pub(super) fn encode(stored: &Stored, place: &str) -> Result<Zeroizing<String>, StoreError> {
    let form = |version: &KeyVersion| {
        let key = stored.private_key(version, place)?;
        key.to_pkcs8_pem().map(Pem).map_err(StoreError::Encoding)
    };
    let document = document::write(&stored.keyring, form, place, MAX_DOCUMENT)?;
    // JSON is UTF-8, so nothing is lost and nothing is copied twice.
    Ok(Zeroizing::new(String::from_utf8_lossy(&document).into_owned()))
}

/// The keyring of `region` from its document.
pub(super) fn decode(document: &str, region: &Region, place: &str) -> Result<Stored, StoreError> {
    let (keyring, pems) = document::read::<Pem>(document.as_bytes(), region, place)?;
    let path = || place.to_owned();
    let mut private_keys = PrivateKeys::new();
    for (id, Pem(pem)) in pems {
        let key = PrivateKey::read(pem.as_bytes(), None)
            .map_err(|fault| StoreError::PrivateKeyUnreadable { path: path(), fault })?;
        if keyring.version(&id).is_none_or(|version| version.public_key != *key.public_key()) {
            return Err(StoreError::OtherPrivateKey { path: path() });
        }
        private_keys.insert(id, key);
    }
    Ok(Stored { keyring, private_keys })
}

/// A private half as the document holds it.
struct Pem(Zeroizing<String>);

impl Serialize for Pem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Pem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|pem| Self(Zeroizing::new(pem)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        keys::{
            keyring::{PRESENT_MAX, RETIRED_KEPT, Rotation, RotationId, RotationMode, strategies},
            material::{KeyMaterialError, fixtures},
            store::samples,
        },
        secret::system_rng,
    };

    const PLACE: &str = "the secret a in us-west-2";

    fn decode(document: &str) -> Result<Stored, StoreError> {
        super::decode(document, &samples::region(), PLACE)
    }

    fn one_key() -> (Stored, String) {
        let mut keyring = samples::empty();
        samples::add_key(&mut keyring, 0);
        let stored = samples::stored(keyring);
        let document = encode(&stored, PLACE).unwrap();
        (stored, document.to_string())
    }

    #[test]
    fn the_private_half_is_what_openssl_reads() {
        let (stored, document) = one_key();
        let json: serde_json::Value = serde_json::from_str(&document).unwrap();
        let pem = json["keys"][0]["privateKey"].as_str().unwrap();
        assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n"), "{pem}");
        let id = &stored.keyring.keys[0].id;
        assert_eq!(PrivateKey::read(pem, None).ok().as_ref(), stored.private_keys.get(id));
    }

    #[test]
    fn another_or_an_unusable_private_half_is_refused_without_being_quoted() {
        let (_, document) = one_key();
        let with = |pem: &str| {
            let mut json: serde_json::Value = serde_json::from_str(&document).unwrap();
            json["keys"][0]["privateKey"] = pem.into();
            decode(&json.to_string()).unwrap_err()
        };
        let path = || PLACE.to_owned();
        assert_eq!(with(fixtures::PKCS8), StoreError::OtherPrivateKey { path: path() });
        let error = with("hunter2");
        assert!(matches!(error, StoreError::PrivateKeyUnreadable { .. }), "{error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        let encrypted = strategies::KEYS[0]
            .to_encrypted_pem(&"correct horse".into(), &mut system_rng())
            .unwrap();
        let fault = KeyMaterialError::PassphraseNeeded;
        assert_eq!(with(&encrypted), StoreError::PrivateKeyUnreadable { path: path(), fault });
    }

    #[test]
    fn what_a_secret_cannot_hold_is_not_written() {
        let (mut stored, document) = one_key();
        let room = MAX_DOCUMENT - document.len();
        stored.keyring.keys[0].name.push_str(&"a".repeat(room));
        assert_eq!(encode(&stored, PLACE).unwrap().len(), MAX_DOCUMENT);
        stored.keyring.keys[0].name.push('a');
        let refused = encode(&stored, PLACE).err();
        let place = PLACE.to_owned();
        assert_eq!(refused, Some(StoreError::TooLarge { place, limit: MAX_DOCUMENT }));
    }

    #[test]
    fn a_full_keyring_without_tags_fits() {
        let mut keyring = samples::empty();
        keyring.account_id = Some("123456789012".parse().unwrap());
        for number in 0..PRESENT_MAX + RETIRED_KEPT {
            let id = samples::add_key(&mut keyring, number % strategies::KEYS.len());
            keyring.version_mut(&id).unwrap().arn = Some(strategies::arn(number));
            if number >= PRESENT_MAX {
                keyring.retire(&id, samples::now());
            }
            for _ in 0..2 {
                keyring.record_rotation(Rotation {
                    id: RotationId::random(&mut system_rng()),
                    mode: RotationMode::Graceful,
                    idempotency_key_hash: Some("0".repeat(64)),
                    request_hash: Some("0".repeat(64)),
                    made: true,
                    requested_by: "r".repeat(64),
                    from: Some(id.clone()),
                    to: id.clone(),
                    started_at: samples::now(),
                    activated_at: Some(samples::now()),
                    finished_at: Some(samples::now()),
                    outcome: None,
                    error: None,
                });
            }
        }
        assert_eq!((keyring.keys.len(), keyring.rotations.len()), (20, 20));
        let size = encode(&samples::stored(keyring), PLACE).unwrap().len();
        assert!(size < MAX_DOCUMENT / 2, "{size}");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(keyring in strategies::keyring()) {
            let stored = samples::stored(keyring);
            let document = encode(&stored, PLACE).unwrap();
            prop_assert_eq!(decode(&document).unwrap(), stored);
        }
    }
}
