//! Random ids, so that no two deployments ever choose the same.

use std::{fmt, str::FromStr, sync::Arc};

use rand::CryptoRng;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text is not an id.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("an id is a UUID in lower case with hyphens")]
pub struct IdError;

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// A random UUID. It becomes part of file names, so no other text is accepted.
        #[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Makes a new id.
            pub fn random(rng: &mut impl CryptoRng) -> Self {
                let mut bytes = [0; 16];
                rng.fill_bytes(&mut bytes);
                Self(uuid::Builder::from_random_bytes(bytes).into_uuid().to_string().into())
            }

            /// Returns the UUID.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                // The parser accepts other forms, too; an id has one form.
                match uuid::Uuid::try_parse(text) {
                    Ok(uuid) if uuid.to_string() == text => Ok(Self(text.into())),
                    Ok(_) | Err(_) => Err(IdError),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

random_id!(
    /// The id of a version of a keyring: one key.
    VersionId
);
random_id!(
    /// The id of a keyring.
    KeyringId
);
random_id!(
    /// The id of a rotation.
    RotationId
);
random_id!(
    /// The id of a process that changes IVS, for as long as it runs.
    ///
    /// A process makes one at its start. A process that no other can run beside (such as
    /// `dev`, which locks its data folder) may keep its id across restarts; then it need not
    /// wait for its own claims to expire after a crash.
    DriverId
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::system_rng;

    #[test]
    fn an_id_reads_back_and_nothing_else_is_one() {
        let id = VersionId::random(&mut system_rng());
        assert_eq!(id.as_str().parse::<VersionId>().unwrap(), id);
        assert_ne!(VersionId::random(&mut system_rng()), id);
        for other in ["", "../../etc/passwd", &id.as_str().to_uppercase(), &format!("{{{id}}}")] {
            assert_eq!(other.parse::<VersionId>(), Err(IdError), "{other}");
        }
    }
}
