//! The fingerprint of a playback key.

use std::{fmt, str::FromStr};

use md5::{Digest as _, Md5};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How Amazon IVS names a public key: the MD5 of its `SubjectPublicKeyInfo` in DER, as 16 pairs of
/// lower-case hexadecimal digits with colons between them.
///
/// It identifies a key to people and in JWK sets (`kid`). No trust rests on it: where two keys
/// must be the same, the keys themselves are compared.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Fingerprint([u8; 16]);

impl Fingerprint {
    /// The fingerprint of a public key in DER.
    pub fn of_spki(der: &[u8]) -> Self {
        Self(Md5::digest(der).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, byte) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str(":")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// A text is no fingerprint.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a fingerprint is 16 pairs of hexadecimal digits with colons between them")]
pub struct FingerprintError;

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    /// Takes either case.
    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let mut bytes = [0; 16];
        let mut pairs = text.split(':');
        for byte in &mut bytes {
            let pair = pairs.next().ok_or(FingerprintError)?;
            // `from_str_radix` alone would take "+f".
            if pair.len() != 2 || !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(FingerprintError);
            }
            *byte = u8::from_str_radix(pair, 16).map_err(|_| FingerprintError)?;
        }
        pairs.next().is_none().then_some(Self(bytes)).ok_or(FingerprintError)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn other_texts_are_refused() {
        let good = "40:74:58:e6:9c:c4:2c:2a:48:9d:f0:cb:92:54:15:5b";
        assert!(good.parse::<Fingerprint>().is_ok());
        for bad in ["", "40", &good.replace(':', ""), &format!("{good}:00"), &good[3..]] {
            assert_eq!(bad.parse::<Fingerprint>(), Err(FingerprintError), "{bad}");
        }
        assert!(good.replace("40", "+4").parse::<Fingerprint>().is_err());
        assert!(good.replace("40", "4é").parse::<Fingerprint>().is_err());
    }

    proptest! {
        #[test]
        fn printing_then_parsing_is_identity(bytes: [u8; 16]) {
            let fingerprint = Fingerprint(bytes);
            let text = fingerprint.to_string();
            prop_assert_eq!(text.parse::<Fingerprint>().unwrap(), fingerprint);
            prop_assert_eq!(text.to_uppercase().parse::<Fingerprint>().unwrap(), fingerprint);
        }
    }
}
