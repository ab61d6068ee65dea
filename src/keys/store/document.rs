//! The keyring as JSON, which every store writes alike.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use super::StoreError;
use crate::{
    ivs::arn::Region,
    keys::keyring::{FORMAT_VERSION, KeyVersion, Keyring, VersionId},
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

/// Reads the keyring of `region` from the document at `place`, with the store's form of each private
/// half, and checks its rules.
pub(super) fn read<F: DeserializeOwned>(
    bytes: &[u8],
    region: &Region,
    place: &str,
) -> Result<(Keyring, BTreeMap<VersionId, F>), StoreError> {
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
    let keyring: Keyring =
        serde_json::from_slice(bytes).map_err(|error| refuse(fault_of(&error)))?;
    let forms: Forms<F> =
        serde_json::from_slice(bytes).map_err(|error| refuse(fault_of(&error)))?;
    if keyring.region != *region {
        let (place, expected) = (place.to_owned(), region.clone());
        return Err(StoreError::OtherRegion { place, found: keyring.region, expected });
    }
    keyring
        .check()
        .map_err(|fault| StoreError::Contradiction { place: place.to_owned(), fault })?;
    let forms = forms.keys.into_iter();
    Ok((keyring, forms.filter_map(|form| Some((form.id, form.private_key?))).collect()))
}

/// Writes a keyring, with what `form` makes of each private half, indented for people to read.
/// Refuses to write more than `limit` bytes, the most that `place` takes and that is read again.
pub(super) fn write<F: Serialize>(
    keyring: &Keyring,
    form: impl Fn(&KeyVersion) -> Result<F, StoreError>,
    place: &str,
    limit: usize,
) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let keys = keyring.keys.iter().map(|version| {
        let private_key = version.has_private_key.then(|| form(version)).transpose()?;
        Ok(VersionMember { version, private_key })
    });
    let keys = keys.collect::<Result<_, StoreError>>()?;
    let document = Document { keyring, keys };
    // Room for any keyring: where a store's form of a private half is the key itself, a buffer that
    // grows would leave copies of it behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(1 << 16));
    serde_json::to_writer_pretty(&mut *bytes, &document).map_err(|error| StoreError::Io {
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

/// A keyring as it is written.
#[derive(Serialize)]
struct Document<'a, F> {
    #[serde(flatten)]
    keyring: &'a Keyring,
    keys: Vec<VersionMember<'a, F>>,
}

/// A version as it is written: with the store's form of its private half.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct VersionMember<'a, F> {
    #[serde(flatten)]
    version: &'a KeyVersion,
    #[serde(skip_serializing_if = "Option::is_none")]
    private_key: Option<F>,
}

/// The private halves of a document, which reading the keyring passes over.
#[derive(Deserialize)]
struct Forms<F> {
    keys: Vec<FormOf<F>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FormOf<F> {
    id: VersionId,
    private_key: Option<F>,
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
    use std::time::Duration;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::{
        keys::{
            keyring::{Claim, ClaimOp, DriverId, KeyState, Limits, PRESENT_MAX, strategies},
            material::{Fingerprint, PublicKey, fixtures},
            store::samples,
        },
        secret::system_rng,
    };

    type Read = Result<(Keyring, BTreeMap<VersionId, Fingerprint>), StoreError>;

    fn read(bytes: &[u8]) -> Read {
        super::read(bytes, &samples::region(), "the place")
    }

    /// Writes a keyring with the fingerprint in the place of each private half.
    fn written(keyring: &Keyring) -> Vec<u8> {
        let form = |version: &KeyVersion| Ok(version.fingerprint);
        write(keyring, form, "the place", usize::MAX).unwrap().to_vec()
    }

    fn json(keyring: &Keyring) -> serde_json::Value {
        serde_json::from_slice(&written(keyring)).unwrap()
    }

    #[test]
    fn document_has_the_members_of_the_contract() {
        let mut keyring = samples::empty();
        keyring.account_id = Some("123456789012".parse().unwrap());
        let public = PublicKey::read(fixtures::PUBLIC).unwrap();
        let mut version = KeyVersion::new(public, true, samples::now(), &mut system_rng());
        version.claim = Some(Claim {
            op: ClaimOp::Import,
            by: DriverId::random(&mut system_rng()),
            until: samples::now() + Duration::from_mins(1),
        });
        keyring.keys.push(version);
        let json = json(&keyring);
        let version = &json["keys"][0];
        assert_eq!(json["version"], 1);
        assert_eq!(json["accountId"], "123456789012");
        assert_eq!(json["region"], "us-west-2");
        assert_eq!(json["maxTtl"], 3600);
        assert_eq!(json["rotations"], json!([]));
        assert_eq!(version["state"], "pending");
        assert_eq!(version["fingerprint"], fixtures::FINGERPRINT.trim());
        assert_eq!(version["publicKey"], fixtures::PUBLIC);
        assert_eq!(version["privateKey"], fixtures::FINGERPRINT.trim());
        assert_eq!(version["adopted"], false);
        assert_eq!(version["compromised"], false);
        assert_eq!(version["createdAt"], "2026-11-22T08:55:00Z");
        assert_eq!(version["claim"]["op"], "import");
        assert_eq!(version["claim"]["until"], "2026-11-22T08:56:00Z");
        assert!(version.get("arn").is_none() && version.get("activatedAt").is_none());
    }

    #[test]
    fn unknown_members_and_other_formats_are_refused() {
        let good = json(&samples::empty());
        assert!(read(good.to_string().as_bytes()).is_ok());
        for (member, value) in [("version", 2), ("version", 0), ("surprise", 1)] {
            let mut bad = good.clone();
            bad[member] = value.into();
            assert!(read(bad.to_string().as_bytes()).is_err(), "{member} {value}");
        }
    }

    #[test]
    fn largest_keyring_without_room_can_be_written() {
        // What a label allows at most: 48 tags of 128 and 256 characters of 4 bytes.
        let tags: BTreeMap<_, _> = (0..48)
            .map(|number| (format!("{number:\u{20000}>128}"), "\u{20000}".repeat(256)))
            .collect();
        let mut keyring = samples::empty();
        for number in 0..PRESENT_MAX + 20 {
            assert_eq!(keyring.has_room(), number < PRESENT_MAX);
            let public = PublicKey::read(fixtures::PUBLIC).unwrap();
            let mut version = KeyVersion::new(public, true, samples::now(), &mut system_rng());
            (version.tags, version.arn) = (tags.clone(), Some(strategies::arn(0)));
            let id = version.id.clone();
            keyring.keys.push(version);
            if number >= PRESENT_MAX {
                keyring.retire(&id, samples::now());
            }
        }
        let size = written(&keyring).len();
        assert!(size < 900_000, "{size}");
    }

    #[test]
    fn default_limits_are_absent_from_the_document() {
        let document = json(&samples::empty());
        assert!(document.get("maxStaleness").is_none() && document.get("drainMargin").is_none());
        let (read, _) = read(document.to_string().as_bytes()).unwrap();
        assert_eq!(read.max_staleness, Duration::from_hours(6));
        assert_eq!(read.drain_margin, Duration::from_hours(24));
    }

    #[test]
    fn other_limits_are_written_in_seconds_and_rounded_up() {
        let mut keyring = samples::empty();
        keyring.raise_limits(Limits {
            max_staleness: Duration::from_millis(12 * 3_600_000 + 1),
            drain_margin: Duration::from_hours(1),
            ..Limits::default()
        });
        let document = json(&keyring);
        assert_eq!(document["maxStaleness"], json!(43_201));
        assert!(document.get("drainMargin").is_none(), "it is smaller than the recorded one");
        assert_eq!(read(&written(&keyring)).unwrap().0, keyring);
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
        let keyring = Keyring::new(region, Duration::ZERO, &mut system_rng());
        assert!(matches!(read(&written(&keyring)), Err(StoreError::OtherRegion { .. })));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(keyring in strategies::keyring()) {
            let with_private_half = keyring.keys.iter().filter(|version| version.has_private_key);
            let forms = with_private_half.map(|version| (version.id.clone(), version.fingerprint));
            let forms: BTreeMap<_, _> = forms.collect();
            prop_assert_eq!(read(&written(&keyring)).unwrap(), (keyring, forms));
        }

        #[test]
        fn no_prefix_is_a_keyring(keyring in strategies::keyring(), cut in 0.0..1.0) {
            let bytes = written(&keyring);
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
            let mut keyring = keyring;
            for version in &mut keyring.keys {
                if version.state == KeyState::Active {
                    version.has_private_key = false;
                }
            }
            let refused = matches!(read(&written(&keyring)), Err(StoreError::Contradiction { .. }));
            prop_assert!(refused);
        }
    }
}
