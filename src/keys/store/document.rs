//! The keyring as JSON, which every store writes alike.

use std::fmt;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::StoreError;
use crate::{
    ivs::arn::Region,
    keys::keyring::{FORMAT_VERSION, Keyring},
};

/// What is wrong with a document. Says where, and never repeats what stands there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DocumentFault {
    /// Nothing at all.
    Empty,
    /// It ends too early.
    CutOff,
    /// It is not JSON, or holds another member or value than a keyring, at this line and column.
    At {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// JSON without a format version.
    NoVersion,
    /// Larger than any keyring.
    TooLarge,
    /// Bytes where there should be text.
    Binary,
}

impl fmt::Display for DocumentFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::CutOff => f.write_str("it is cut off"),
            Self::At { line, column } => write!(f, "see line {line}, column {column}"),
            Self::NoVersion => f.write_str("it has no format version"),
            Self::TooLarge => f.write_str("it is too large"),
            Self::Binary => f.write_str("it is binary"),
        }
    }
}

/// Reads the keyring of `region` from the document at `place`, and checks its rules.
pub(super) fn read<P: DeserializeOwned>(
    bytes: &[u8],
    region: &Region,
    place: &str,
) -> Result<Keyring<P>, StoreError> {
    let refuse = |fault| StoreError::NotAKeyring { place: place.to_owned(), fault };
    if bytes.trim_ascii().is_empty() {
        return Err(refuse(DocumentFault::Empty));
    }
    // The version first: all else may mean something else in another format.
    let found = serde_json::from_slice::<Versioned>(bytes)
        .map_err(|error| refuse(fault_of(&error)))?
        .version
        .ok_or_else(|| refuse(DocumentFault::NoVersion))?;
    if found > u64::from(FORMAT_VERSION) {
        return Err(StoreError::Newer { place: place.to_owned(), found });
    }
    let keyring: Keyring<P> =
        serde_json::from_slice(bytes).map_err(|error| refuse(fault_of(&error)))?;
    if keyring.region != *region {
        let (place, expected) = (place.to_owned(), region.clone());
        return Err(StoreError::OtherRegion { place, found: keyring.region, expected });
    }
    keyring
        .check()
        .map_err(|fault| StoreError::Contradiction { place: place.to_owned(), fault })?;
    Ok(keyring)
}

/// Writes a keyring for people to read, too: indented, with a newline at its end. Refused where that
/// is more than `limit` bytes, which is what `place` takes, or what is read again.
pub(super) fn write<P: Serialize>(
    keyring: &Keyring<P>,
    place: &str,
    limit: usize,
) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    // Room for any keyring: where a store's form of a private half is the key itself, a buffer that
    // grows would leave copies of it behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(1 << 16));
    serde_json::to_writer_pretty(&mut *bytes, keyring).map_err(|error| StoreError::Io {
        action: "encode",
        path: place.to_owned(),
        reason: error.to_string(),
    })?;
    bytes.push(b'\n');
    if bytes.len() > limit {
        return Err(StoreError::TooLarge { place: place.to_owned(), limit });
    }
    Ok(bytes)
}

/// The one member that every format has.
#[derive(Deserialize)]
struct Versioned {
    version: Option<u64>,
}

// The library's own message may quote the document.
fn fault_of(error: &serde_json::Error) -> DocumentFault {
    match error.classify() {
        serde_json::error::Category::Eof => DocumentFault::CutOff,
        serde_json::error::Category::Io
        | serde_json::error::Category::Syntax
        | serde_json::error::Category::Data => {
            DocumentFault::At { line: error.line(), column: error.column() }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        keys::keyring::{KeyState, strategies},
        keys::material::Fingerprint,
    };

    fn read(bytes: &[u8]) -> Result<Keyring<Fingerprint>, StoreError> {
        super::read(bytes, &"us-west-2".parse().unwrap(), "the place")
    }

    fn written(keyring: Keyring) -> (Keyring<Fingerprint>, Vec<u8>) {
        let form = |_: &_, key: crate::keys::material::PrivateKey| {
            Ok::<_, std::convert::Infallible>(key.public_key().fingerprint())
        };
        let Ok(keyring) = keyring.try_map_private(form);
        let bytes = write(&keyring, "the place", usize::MAX).unwrap().to_vec();
        (keyring, bytes)
    }

    #[test]
    fn what_is_no_keyring_is_named_without_being_quoted() {
        let not = |fault| Err(StoreError::NotAKeyring { place: "the place".to_owned(), fault });
        assert_eq!(read(b" \n"), not(DocumentFault::Empty));
        assert_eq!(read(b"{\"version\": 1"), not(DocumentFault::CutOff));
        assert_eq!(read(b"{}"), not(DocumentFault::NoVersion));
        assert_eq!(read(b"{\"version\": 1}"), not(DocumentFault::At { line: 1, column: 14 }));
        assert_eq!(
            read(b"{\"version\": 2, \"all\": \"else is new\"}"),
            Err(StoreError::Newer { place: "the place".to_owned(), found: 2 })
        );
        let error = read(b"{\"version\": 1,\n\"account\": \"hunter2\"}").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }

    #[test]
    fn another_regions_keyring_is_refused() {
        let region: Region = "eu-west-1".parse().unwrap();
        let keyring: Keyring =
            Keyring::new(region, std::time::Duration::ZERO, &mut crate::secret::system_rng());
        let (_, bytes) = written(keyring);
        assert!(matches!(read(&bytes), Err(StoreError::OtherRegion { .. })));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(keyring in strategies::keyring()) {
            let (keyring, bytes) = written(keyring);
            prop_assert_eq!(read(&bytes).unwrap(), keyring);
        }

        #[test]
        fn no_prefix_is_a_keyring(keyring in strategies::keyring(), cut in 0.0..1.0) {
            let (_, bytes) = written(keyring);
            #[expect(
                clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss,
                reason = "a place in a small file"
            )]
            let cut = (cut * (bytes.len() - 2) as f64) as usize;
            prop_assert!(read(&bytes[..cut]).is_err());
        }

        #[test]
        fn a_contradiction_is_refused(keyring in strategies::keyring()) {
            prop_assume!(keyring.active().is_some());
            let (mut keyring, _) = written(keyring);
            for version in &mut keyring.keys {
                if version.state == KeyState::Active {
                    version.private_key = None;
                }
            }
            let bytes = write(&keyring, "the place", usize::MAX).unwrap();
            let refused = matches!(read(&bytes), Err(StoreError::Contradiction { .. }));
            prop_assert!(refused);
        }
    }
}
