//! The public half of a playback key pair.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use p384::elliptic_curve::sec1::ToSec1Point as _;
use pkcs8::{
    EncodePublicKey as _, LineEnding, SubjectPublicKeyInfoRef,
    der::{Decode as _, pem::PemLabel as _},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    Algorithm, Expected, Fingerprint, Found, KeyMaterialError, armor,
    shape::{self, Shape},
};

/// A P-384 public key: a point that is on the curve, in the one encoding that fingerprints are
/// made of (`SubjectPublicKeyInfo`, named curve, uncompressed point).
#[derive(Clone, Eq, PartialEq)]
pub struct PublicKey(Arc<Encodings>);

// All of them made once, by the constructor that knows the point is on the curve, so that no
// getter can fail.
#[derive(Eq, PartialEq)]
struct Encodings {
    spki: Box<[u8]>,
    pem: Box<str>,
    point: [u8; POINT_LENGTH],
    fingerprint: Fingerprint,
}

/// An uncompressed SEC1 point: `04`, then x and y.
const POINT_LENGTH: usize = 1 + 2 * COORDINATE_LENGTH;
const COORDINATE_LENGTH: usize = 48;

impl PublicKey {
    /// Reads PEM or DER of a `SubjectPublicKeyInfo` on P-384.
    ///
    /// # Errors
    ///
    /// It is something else; the error says what.
    pub fn read(text: impl AsRef<[u8]>) -> Result<Self, KeyMaterialError> {
        let structures = armor::open(text.as_ref(), Expected::PublicKey)?;
        let mut keys =
            structures.iter().filter(|der| Shape::of(der.as_slice()) != Shape::EcParameters);
        match (keys.next(), keys.next()) {
            (Some(der), None) => Self::from_der(der),
            (Some(_), Some(_)) => Err(KeyMaterialError::SeveralKeys),
            (None, _) => Err(found(Found::ParametersOnly)),
        }
    }

    fn from_der(der: &[u8]) -> Result<Self, KeyMaterialError> {
        match Shape::of(der) {
            Shape::Spki => {}
            Shape::Pkcs8 => {
                let info = pkcs8::PrivateKeyInfoRef::from_der(der)
                    .map_err(|_| KeyMaterialError::Malformed { format: "PKCS#8" })?;
                return Err(found(Found::PrivateKey(shape::algorithm(info.algorithm))));
            }
            // Which curve it is on matters less than that it should not have been shown.
            Shape::Sec1 => return Err(found(Found::PrivateKey(Algorithm::P384))),
            Shape::Pkcs1Private => return Err(found(Found::PrivateKey(Algorithm::Rsa))),
            Shape::Pkcs1Public => return Err(found(Found::PublicKey(Algorithm::Rsa))),
            Shape::EncryptedPkcs8 => return Err(found(Found::EncryptedPrivateKey)),
            Shape::Certificate => return Err(found(Found::Certificate)),
            Shape::EcParameters => return Err(found(Found::ParametersOnly)),
            Shape::Other => return Err(found(Found::OtherPem)),
        }
        let info = SubjectPublicKeyInfoRef::try_from(der)
            .map_err(|_| KeyMaterialError::Malformed { format: "SubjectPublicKeyInfo" })?;
        let algorithm = shape::algorithm(info.algorithm);
        if algorithm != Algorithm::P384 {
            return Err(found(Found::PublicKey(algorithm)));
        }
        let point = p384::PublicKey::try_from(info).map_err(|_| KeyMaterialError::NotOnCurve)?;
        Self::of(&point)
    }

    pub(super) fn of(point: &p384::PublicKey) -> Result<Self, KeyMaterialError> {
        let malformed = KeyMaterialError::Malformed { format: "SubjectPublicKeyInfo" };
        let spki = point.to_public_key_der().map_err(|_| malformed.clone())?;
        let pem = spki
            .to_pem(SubjectPublicKeyInfoRef::PEM_LABEL, LineEnding::LF)
            .map_err(|_| malformed.clone())?;
        let point = point.to_sec1_point(false).as_bytes().try_into().map_err(|_| malformed)?;
        Ok(Self(Arc::new(Encodings {
            fingerprint: Fingerprint::of_spki(spki.as_bytes()),
            spki: spki.as_bytes().into(),
            pem: pem.into(),
            point,
        })))
    }

    /// Whether this is the key with the given SEC1 point, compressed or not.
    pub(super) fn is_point(&self, bytes: &[u8]) -> bool {
        p384::PublicKey::from_sec1_bytes(bytes)
            .is_ok_and(|point| Self::of(&point).as_ref() == Ok(self))
    }

    /// `SubjectPublicKeyInfo` in DER.
    pub fn as_spki_der(&self) -> &[u8] {
        &self.0.spki
    }

    /// `SubjectPublicKeyInfo` in PEM: what `ImportPlaybackKeyPair` takes.
    pub fn to_pem(&self) -> &str {
        &self.0.pem
    }

    /// The point in SEC1 form, uncompressed: `04`, then 48 bytes of x and 48 of y.
    pub fn as_sec1_point(&self) -> &[u8] {
        &self.0.point
    }

    /// How Amazon IVS names this key.
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint
    }

    /// The members `x` and `y` of the key as a JWK (RFC 7518, section 6.2.1): base64url of 48
    /// bytes each.
    pub fn jwk_coordinates(&self) -> (String, String) {
        let [_, coordinates @ ..] = &self.0.point;
        let (x, y) = coordinates.split_at(COORDINATE_LENGTH);
        (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PublicKey").field(&self.0.fingerprint).finish()
    }
}

impl Serialize for PublicKey {
    /// As PEM.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.to_pem())
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::read(text.as_bytes()).map_err(serde::de::Error::custom)
    }
}

fn found(found: Found) -> KeyMaterialError {
    KeyMaterialError::Found { expected: Expected::PublicKey, found }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::material::fixtures;

    #[test]
    fn openssl_computes_the_same_fingerprint_and_encoding() {
        let key = PublicKey::read(fixtures::PUBLIC).unwrap();
        assert_eq!(key.fingerprint().to_string(), fixtures::FINGERPRINT.trim());
        assert_eq!(key.to_pem(), fixtures::PUBLIC);
    }

    #[test]
    fn a_fingerprint_that_ivs_itself_returned() {
        // Recorded from the service; see the design's notes on the wire format.
        let spki = "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAESErCxbkHXtts2QDGbIfjMpUjNtnBtHwmvIu3tC3Rqdv3NAcDz\
                    Badv045/QzYLFYpW1qqAMBGCASZKl+fvk+oI6ES+wV6aT1ivGQdcQN88zA1DeJLu2CEA5dRXmSKhP4C";
        let key = PublicKey::read(spki).unwrap();
        assert_eq!(
            key.fingerprint().to_string(),
            "40:74:58:e6:9c:c4:2c:2a:48:9d:f0:cb:92:54:15:5b"
        );
    }

    #[test]
    fn a_compressed_point_is_the_same_key() {
        let key = PublicKey::read(fixtures::PUBLIC).unwrap();
        assert_eq!(PublicKey::read(fixtures::PUBLIC_COMPRESSED).unwrap(), key);
    }

    #[test]
    fn jwk_coordinates_are_the_halves_of_the_point() {
        let key = PublicKey::read(fixtures::PUBLIC).unwrap();
        let (x, y) = key.jwk_coordinates();
        let mut point = vec![4];
        point.extend(URL_SAFE_NO_PAD.decode(x).unwrap());
        point.extend(URL_SAFE_NO_PAD.decode(y).unwrap());
        assert_eq!(point, key.as_sec1_point());
    }

    #[test]
    fn anything_else_is_named() {
        let refusal = |text: &str| {
            let error = PublicKey::read(text).unwrap_err();
            let KeyMaterialError::Found { expected: Expected::PublicKey, found } = error else {
                panic!("{error}")
            };
            found
        };
        assert_eq!(refusal(fixtures::PKCS8), Found::PrivateKey(Algorithm::P384));
        assert_eq!(refusal(fixtures::SEC1), Found::PrivateKey(Algorithm::P384));
        assert_eq!(refusal(fixtures::SEC1_WITH_PARAMETERS), Found::PrivateKey(Algorithm::P384));
        assert_eq!(refusal(fixtures::ENCRYPTED_SCRYPT), Found::EncryptedPrivateKey);
        assert_eq!(refusal(fixtures::P256), Found::PrivateKey(Algorithm::P256));
        assert_eq!(refusal(fixtures::RSA_PKCS1), Found::PrivateKey(Algorithm::Rsa));
        assert_eq!(refusal(fixtures::P256_PUBLIC), Found::PublicKey(Algorithm::P256));
        assert_eq!(refusal(fixtures::ED25519_PUBLIC), Found::PublicKey(Algorithm::Ed25519));
        assert_eq!(refusal(fixtures::RSA_PUBLIC), Found::PublicKey(Algorithm::Rsa));
        assert_eq!(refusal(fixtures::CERTIFICATE), Found::Certificate);
        assert_eq!(refusal(fixtures::REQUEST), Found::Certificate);
        assert_eq!(
            PublicKey::read([fixtures::PUBLIC, fixtures::OTHER_PUBLIC].concat()),
            Err(KeyMaterialError::SeveralKeys)
        );
        assert_eq!(PublicKey::read(""), Err(KeyMaterialError::Empty));
    }

    #[test]
    fn a_point_beside_the_curve_is_refused() {
        let mut der = PublicKey::read(fixtures::PUBLIC).unwrap().as_spki_der().to_vec();
        *der.last_mut().unwrap() ^= 1;
        assert_eq!(PublicKey::read(der), Err(KeyMaterialError::NotOnCurve));
    }

    #[test]
    fn refusals_repeat_nothing_of_the_input() {
        for text in [fixtures::PKCS8, fixtures::P256, fixtures::CERTIFICATE] {
            let error = PublicKey::read(text).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(text.lines().all(|line| !shown.contains(line)), "{shown}");
        }
    }
}
