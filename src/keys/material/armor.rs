//! From what people paste to DER: PEM in all its mishaps, base64 of a PEM, or DER itself.
//!
//! Environment variables and secret managers fold newlines into `\n`, turn them into spaces, wrap
//! the text in quotes or encode it in base64; editors of other systems add CRLF and byte order
//! marks. None of that changes which key it is, so none of it is refused. Written here rather than
//! taken from a PEM crate because every buffer that may hold a private key is wiped.

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use pkcs8::der::{Decode as _, Tag, Tagged as _, asn1::AnyRef};
use zeroize::Zeroizing;

use super::{Expected, Found, KeyMaterialError};

/// The largest input that is looked at, in bytes. A P-384 key in its longest form has 1 KiB.
const MAX_INPUT: usize = 64 * 1024;

/// Bytes that may hold a private key.
pub(super) type SecretBytes = Zeroizing<Vec<u8>>;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The DER structures in `input`, in their order; at least one.
pub(super) fn open(input: &[u8], expected: Expected) -> Result<Vec<SecretBytes>, KeyMaterialError> {
    if input.len() > MAX_INPUT {
        return Err(KeyMaterialError::TooLarge);
    }
    open_once(input, expected)?.map_or_else(
        || {
            let text = std::str::from_utf8(input).map_err(|_| KeyMaterialError::NotAKey)?;
            let decoded = base64(undress(text)).ok_or(KeyMaterialError::NotAKey)?;
            // One layer of base64 around a PEM or DER is a habit; two are a mistake.
            open_once(&decoded, expected)?.ok_or(KeyMaterialError::NotAKey)
        },
        Ok,
    )
}

/// As [`open`], without a layer of base64; `None` where it is neither PEM nor DER.
fn open_once(
    input: &[u8],
    expected: Expected,
) -> Result<Option<Vec<SecretBytes>>, KeyMaterialError> {
    if is_der(input) {
        return Ok(Some(vec![Zeroizing::new(input.to_vec())]));
    }
    let Ok(text) = std::str::from_utf8(input) else {
        return Ok(None);
    };
    let text = undress(text);
    if text.is_empty() {
        return Err(KeyMaterialError::Empty);
    }
    let foreign = |found| Err(KeyMaterialError::Found { expected, found });
    if text.contains("-----BEGIN") {
        return pem_blocks(text, expected).map(Some);
    }
    if text.starts_with('{') {
        return foreign(Found::Json);
    }
    if ["ssh-", "ecdsa-sha2-", "sk-"].iter().any(|prefix| text.starts_with(prefix)) {
        return foreign(Found::OpenSshPublicKey);
    }
    Ok(None)
}

/// Whether the whole input is one ASN.1 value of a kind that keys are made of.
fn is_der(input: &[u8]) -> bool {
    AnyRef::from_der(input).is_ok_and(|value| value.tag() == Tag::Sequence)
}

/// The text without byte order mark, surrounding whitespace and one pair of quotes.
fn undress(text: &str) -> &str {
    let text = text.trim_start_matches('\u{feff}').trim();
    let unquoted = ['"', '\'', '`']
        .into_iter()
        .find_map(|quote| text.strip_prefix(quote)?.strip_suffix(quote));
    unquoted.unwrap_or(text).trim()
}

fn pem_blocks(mut text: &str, expected: Expected) -> Result<Vec<SecretBytes>, KeyMaterialError> {
    let mut blocks = Vec::new();
    while let Some((_, rest)) = text.split_once("-----BEGIN") {
        let (label, rest) = rest.split_once("-----").ok_or(KeyMaterialError::DamagedPem)?;
        let label = label.trim();
        let (body, rest) = rest.split_once("-----END").ok_or(KeyMaterialError::DamagedPem)?;
        let (end, rest) = rest.split_once("-----").ok_or(KeyMaterialError::DamagedPem)?;
        if end.trim() != label {
            return Err(KeyMaterialError::DamagedPem);
        }
        text = rest;
        // Public keys have no such headers, so this names the trouble in either case.
        if body.contains("Proc-Type:") {
            return Err(KeyMaterialError::LegacyEncryption);
        }
        if label == "OPENSSH PRIVATE KEY" {
            let found = Found::OpenSshPrivateKey;
            return Err(KeyMaterialError::Found { expected, found });
        }
        blocks.push(base64(body).ok_or(KeyMaterialError::DamagedPem)?);
    }
    Ok(blocks)
}

/// Decodes base64 with whitespace, or the two characters `\n` that stand for it, anywhere.
fn base64(text: &str) -> Option<SecretBytes> {
    let mut packed = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => match bytes.next()? {
                b'n' | b'r' | b't' => {}
                _ => return None,
            },
            byte if byte.is_ascii_whitespace() => {}
            byte => packed.push(byte),
        }
    }
    if packed.is_empty() {
        return None;
    }
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let mut decoded = Zeroizing::new(vec![0; packed.len()]);
    let length = BASE64.decode_slice(&packed, &mut decoded).ok()?;
    decoded.truncate(length);
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn open(input: &[u8]) -> Result<Vec<SecretBytes>, KeyMaterialError> {
        super::open(input, Expected::PrivateKey)
    }

    #[test]
    fn several_blocks_and_what_stands_between_them() {
        let text = "Bag Attributes\n-----BEGIN A-----\nAQ==\n-----END A-----\nfriendly\n\
                    -----BEGIN B-----\nAgI=\n-----END B-----\n";
        let blocks = open(text.as_bytes()).unwrap();
        assert_eq!(blocks.iter().map(|it| it.to_vec()).collect::<Vec<_>>(), [vec![1], vec![2, 2]]);
    }

    #[test]
    fn newlines_may_be_spaces_escapes_or_missing() {
        for text in [
            "-----BEGIN A----- AQ== -----END A-----",
            "-----BEGIN A-----AQ==-----END A-----",
            r"-----BEGIN A-----\nAQ==\n-----END A-----\n",
            r"-----BEGIN A-----\r\nA\r\nQ==\r\n-----END A-----\r\n",
            "\u{feff}  \"-----BEGIN A-----\r\nAQ==\r\n-----END A-----\r\n\"  ",
            "'-----BEGIN A-----\nAQ\n-----END A-----'",
        ] {
            assert_eq!(*open(text.as_bytes()).unwrap()[0], [1], "{text}");
        }
    }

    #[test]
    fn damage_is_named() {
        for text in [
            "-----BEGIN A-----",
            "-----BEGIN A-----\nAQ==",
            "-----BEGIN A-----\nAQ==\n-----END A",
            "-----BEGIN A-----\nAQ==\n-----END B-----",
            "-----BEGIN A-----\nA*==\n-----END A-----",
            "-----BEGIN A-----\n\n-----END A-----",
        ] {
            assert_eq!(open(text.as_bytes()), Err(KeyMaterialError::DamagedPem), "{text}");
        }
        assert_eq!(open(b" \n"), Err(KeyMaterialError::Empty));
        assert_eq!(open(b"hello there"), Err(KeyMaterialError::NotAKey));
        assert_eq!(open(&[0xff; 10]), Err(KeyMaterialError::NotAKey));
        assert_eq!(open(&vec![b' '; MAX_INPUT + 1]), Err(KeyMaterialError::TooLarge));
    }

    #[test]
    fn other_text_formats_are_named() {
        let found = |text: &str| open(text.as_bytes()).unwrap_err();
        let of = |found| KeyMaterialError::Found { expected: Expected::PrivateKey, found };
        assert_eq!(found(r#"{"kty":"EC"}"#), of(Found::Json));
        assert_eq!(found("ecdsa-sha2-nistp384 AAAA me@host"), of(Found::OpenSshPublicKey));
        let openssh =
            "-----BEGIN OPENSSH PRIVATE KEY-----\nAQ==\n-----END OPENSSH PRIVATE KEY-----";
        assert_eq!(found(openssh), of(Found::OpenSshPrivateKey));
    }

    proptest! {
        #[test]
        fn no_input_makes_it_panic(input in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = open(&input);
        }

        #[test]
        fn no_text_makes_it_panic(text in r"(-----BEGIN [A-C]?-----|-----END [A-C]-----|[A-Z=\\n \n]){0,20}") {
            let _ = open(text.as_bytes());
        }
    }
}
