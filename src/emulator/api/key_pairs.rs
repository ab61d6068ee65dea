//! Playback key pairs: `ImportPlaybackKeyPair`, `GetPlaybackKeyPair`, `ListPlaybackKeyPairs`,
//! `DeletePlaybackKeyPair`.
//!
//! IVS keeps only public keys, and accepts only P-384 keys in SPKI PEM.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use md5::{Digest, Md5};
use p384::{
    PublicKey,
    elliptic_curve::sec1::ToSec1Point,
    pkcs8::{
        EncodePublicKey,
        spki::{self, SubjectPublicKeyInfoRef},
    },
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    call::{ByArn, Call},
    pages::Page,
    response::{ApiError, ErrorCode, with},
};
use crate::{
    emulator::{
        ids::IdError,
        store::{
            collection::{self, Tagged, Tags},
            records::PlaybackKeyPair,
        },
        urls,
    },
    ivs::arn::ResourceKind,
};

/// Playback key pairs per region (service quotas of IVS; not adjustable).
const QUOTA: usize = 3;

/// Not `Debug`: the material may be a private key that was sent by mistake.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Import {
    #[serde(default)]
    name: String,
    public_key_material: String,
    #[serde(default)]
    tags: Tags,
}

pub(super) fn import(call: &Call<'_>, input: Import) -> Result<Value, ApiError> {
    let key = PublicKeyMaterial::parse(&input.public_key_material)
        .map_err(|rule| ApiError::invalid("publicKeyMaterial", rule))?;
    let pair = call.shared.store.write(|transaction| {
        let collection = call.collection(ResourceKind::PlaybackKey);
        let pairs = collection::all::<PlaybackKeyPair>(transaction, &collection)?;
        let is_duplicate = pairs.iter().any(|pair| pair.record.point == key.point);
        if is_duplicate && !call.accept_duplicates {
            return Err(ApiError::new(
                ErrorCode::Conflict,
                "This public key is imported already, in this account and region.",
            ));
        }
        call.check_quota(transaction, ResourceKind::PlaybackKey, ("Playback key pair", QUOTA))?;
        let arn = call.new_arn(ResourceKind::PlaybackKey)?;
        let record = PlaybackKeyPair {
            arn: arn.try_into().map_err(IdError::from)?,
            name: input.name,
            fingerprint: key.fingerprint,
            point: key.point,
        };
        let pair = Tagged { tags: input.tags, record };
        collection::insert(transaction, &pair)?;
        Ok(pair)
    })?;
    Ok(json!({ "keyPair": shape(&pair) }))
}

pub(super) fn get(call: &Call<'_>, input: &ByArn) -> Result<Value, ApiError> {
    Ok(json!({ "keyPair": shape(&call.get(&input.arn)?) }))
}

pub(super) fn list(call: &Call<'_>, page: &Page) -> Result<Value, ApiError> {
    call.list(page, "keyPairs", &call.collection(ResourceKind::PlaybackKey), summary)
}

/// Returns `{}`, unlike the other deletions, which return no body.
pub(super) fn delete(call: &Call<'_>, input: &ByArn) -> Result<Value, ApiError> {
    call.delete::<PlaybackKeyPair>(&input.arn)?;
    Ok(json!({}))
}

/// Returns the shape `PlaybackKeyPair`. It does not contain the public key.
fn shape(pair: &Tagged<PlaybackKeyPair>) -> Value {
    with(summary(pair), json!({ "fingerprint": pair.record.fingerprint }))
}

/// Returns the shape `PlaybackKeyPairSummary`, which lacks the fingerprint.
fn summary(pair: &Tagged<PlaybackKeyPair>) -> Value {
    let Tagged { tags, record } = pair;
    json!({ "arn": record.arn, "name": record.name, "tags": tags })
}

/// A public key to import.
#[derive(Debug)]
struct PublicKeyMaterial {
    /// The MD5 of the SPKI in DER, as lower-case hexadecimal bytes separated by colons.
    fingerprint: String,
    /// The point in the uncompressed form of SEC 1.
    point: Vec<u8>,
}

impl PublicKeyMaterial {
    /// Parses PEM as leniently as OpenSSL: lines of any length, with white space anywhere in them.
    fn parse(pem: &str) -> Result<Self, &'static str> {
        if pem.contains("PRIVATE KEY-----") {
            return Err("it is a private key; import the public half only");
        }
        if pem.matches("-----BEGIN ").count() != 1 {
            return Err("it must be one public key in PEM form");
        }
        let Some((_, rest)) = pem.split_once("-----BEGIN PUBLIC KEY-----") else {
            return Err("it must be a PEM with the label PUBLIC KEY");
        };
        let Some((base64, _)) = rest.split_once("-----END PUBLIC KEY-----") else {
            return Err("its PEM cannot be read: the line END PUBLIC KEY is missing");
        };
        let base64: String = base64.split_whitespace().collect();
        let der = BASE64_STANDARD
            .decode(base64)
            .map_err(|_| "its PEM cannot be read: what stands in it is not base64")?;
        let spki = SubjectPublicKeyInfoRef::try_from(der.as_slice()).map_err(
            |_| "its PEM cannot be read: it does not hold a SubjectPublicKeyInfo in DER",
        )?;
        let key = PublicKey::try_from(spki).map_err(|error| {
            if matches!(error, spki::Error::OidUnknown { .. }) {
                "it must be of the curve P-384 (secp384r1); it is of another curve or kind"
            } else {
                "it is not a point on the curve P-384 (secp384r1)"
            }
        })?;
        let der = key.to_public_key_der().map_err(|_| "it must be a P-384 public key")?;
        Ok(Self {
            fingerprint: urls::hex(&Md5::digest(der.as_bytes()), ":"),
            point: key.to_sec1_point(false).as_bytes().to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key whose fingerprint at AWS is known.
    const DER: &str = "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAESErCxbkHXtts2QDGbIfjMpUjNtnBtHwmvIu3tC3Rqdv3NAcD\
        zBadv045/QzYLFYpW1qqAMBGCASZKl+fvk+oI6ES+wV6aT1ivGQdcQN88zA1DeJLu2CEA5dRXmSKhP4C";

    /// A P-256 key (RFC 7517, appendix A.1).
    const P256: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEMKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6K\
        PAqv7D7gS2XpJFbZiItSs3m9+9Ue6GnvHw/GW2ZZaVtszggXIw==";

    fn pem(label: &str, der: &str, newline: &str) -> String {
        let lines: Vec<&str> =
            der.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!(
            "-----BEGIN {label}-----{newline}{}{newline}-----END {label}-----{newline}",
            lines.join(newline)
        )
    }

    #[test]
    fn fingerprint_equals_that_of_aws() {
        for newline in ["\n", "\r\n"] {
            let text = pem("PUBLIC KEY", DER, newline);
            let padded = format!("\n {text}\n\n");
            for text in [text.as_str(), text.trim(), &padded] {
                let key = PublicKeyMaterial::parse(text).unwrap();
                assert_eq!(key.fingerprint, "40:74:58:e6:9c:c4:2c:2a:48:9d:f0:cb:92:54:15:5b");
                assert_eq!(key.point.len(), 97);
            }
        }
    }

    #[test]
    fn pem_may_have_any_line_length_and_white_space() {
        let usual = pem("PUBLIC KEY", DER, "\n");
        let key = PublicKeyMaterial::parse(&usual).unwrap();
        let (begin, end) = ("-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----");
        let (start, rest) = DER.split_at(76);
        for text in [
            format!("{begin}\n{DER}\n{end}"),
            format!("{begin}\r\n{start}\r\n{rest}\r\n{end}\r\n"),
            format!("{begin}{DER}{end}"),
            usual.replace('\n', "\n    "),
            usual.replace('\n', " \t\n"),
            usual.replace("KEY-----\n", "KEY-----\n\n"),
            format!("Of the demo channel:\n{usual}"),
        ] {
            assert_eq!(PublicKeyMaterial::parse(&text).unwrap().point, key.point, "{text}");
        }
    }

    #[test]
    fn refused_material_has_its_reason() {
        let reason = |text: &str| PublicKeyMaterial::parse(text).unwrap_err();
        let good = pem("PUBLIC KEY", DER, "\n");
        for unreadable in [
            good.replace("MHYw", "MHY"),
            good.replace("MHYw", "M!Yw"),
            good.replace("MHYw", "MHUw"),
            good.replace("-----END PUBLIC KEY-----", ""),
            pem("PUBLIC KEY", "", "\n"),
        ] {
            let reason = reason(&unreadable);
            assert!(reason.starts_with("its PEM cannot be read"), "{reason} {unreadable}");
        }
        // RFC 8410, section 10.1.
        let ed25519 = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=";
        for other in [P256, ed25519] {
            assert!(reason(&pem("PUBLIC KEY", other, "\n")).contains("another curve or kind"));
        }
        let beside = pem("PUBLIC KEY", &DER.replace("hP4C", "hP4D"), "\n");
        assert!(reason(&beside).contains("not a point"));
    }

    #[test]
    fn material_other_than_p384_public_key_is_refused() {
        let good = pem("PUBLIC KEY", DER, "\n");
        // A point that is not on the curve: the last byte of y differs.
        let beside = pem("PUBLIC KEY", &DER.replace("hP4C", "hP4D"), "\n");
        let refused = [
            String::new(),
            "not a key".to_owned(),
            DER.to_owned(),
            beside,
            pem("PUBLIC KEY", P256, "\n"),
            pem("EC PRIVATE KEY", DER, "\n"),
            pem("PRIVATE KEY", DER, "\n"),
            pem("CERTIFICATE", DER, "\n"),
            pem("RSA PUBLIC KEY", DER, "\n"),
            format!("{good}{good}"),
            good.replace("MHYw", "MHY"),
            good.replace("-----END PUBLIC KEY-----", ""),
        ];
        for text in refused {
            assert!(PublicKeyMaterial::parse(&text).is_err(), "{text}");
        }
    }
}
