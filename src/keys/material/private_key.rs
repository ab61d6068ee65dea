//! The private half of a playback key pair.

use std::{fmt, sync::Arc};

use p384::elliptic_curve::Generate as _;
use pkcs8::{
    EncodePrivateKey as _, EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef,
    SecretDocument,
    der::{Decode as _, asn1::AnyRef, pem::PemLabel as _},
    pkcs5,
};
use rand::CryptoRng;
use zeroize::Zeroizing;

use super::{
    Algorithm, Expected, Found, KeyMaterialError, PublicKey,
    armor::{self, SecretBytes},
    sec1::Sec1,
    shape::{self, Shape},
};
use crate::secret::{ExposeSecret as _, SecretString, constant_time_eq};

/// A P-384 private key as opaque PKCS#8, wiped on drop, together with its public half.
///
/// It cannot sign: the one key of a region that does is a [`Signer`](crate::keys::signing::Signer).
/// Cheap to clone, and clones share the one copy in memory.
#[derive(Clone)]
pub struct PrivateKey {
    pkcs8: Arc<SecretDocument>,
    public: PublicKey,
}

impl PrivateKey {
    /// A new key.
    ///
    /// # Errors
    ///
    /// The key cannot be encoded, which does not happen.
    pub fn generate(rng: &mut impl CryptoRng) -> Result<Self, KeyMaterialError> {
        Self::of(&p384::SecretKey::generate_from_rng(rng))
    }

    /// Reads a private key in any form that people have it in: PKCS#8, encrypted PKCS#8 and SEC1,
    /// as PEM (also with `EC PARAMETERS` in front, on one line, or in base64 as a whole) or DER.
    ///
    /// A passphrase that is not needed is ignored.
    ///
    /// # Errors
    ///
    /// It is something else (the error says what), the halves differ, or the passphrase is
    /// missing or wrong.
    pub fn read(
        input: impl AsRef<[u8]>,
        passphrase: Option<&SecretString>,
    ) -> Result<Self, KeyMaterialError> {
        let structures = armor::open(input.as_ref(), Expected::PrivateKey)?;
        let parameters =
            structures.iter().find(|der| Shape::of(der.as_slice()) == Shape::EcParameters);
        let keys: Vec<_> =
            structures.iter().filter(|der| Shape::of(der.as_slice()).is_private_key()).collect();
        match *keys {
            [der] => Self::from_der(der, parameters, passphrase),
            // What stands there instead, rather than beside it, is worth naming.
            [] => Err(structures
                .iter()
                .map(|der| what_else(der))
                .find(|found| *found != Found::ParametersOnly)
                .map_or_else(|| found(Found::ParametersOnly), found)),
            _ => Err(KeyMaterialError::SeveralKeys),
        }
    }

    fn from_der(
        der: &[u8],
        parameters: Option<&SecretBytes>,
        passphrase: Option<&SecretString>,
    ) -> Result<Self, KeyMaterialError> {
        match Shape::of(der) {
            Shape::Pkcs8 => Self::from_pkcs8(der),
            Shape::EncryptedPkcs8 => {
                let passphrase = passphrase.ok_or(KeyMaterialError::PassphraseNeeded)?;
                let opened = decrypt(der, passphrase)?;
                // What a wrong passphrase leaves is random; it passes for a key in no other way.
                if Shape::of(opened.as_bytes()) != Shape::Pkcs8 {
                    return Err(KeyMaterialError::WrongPassphrase);
                }
                Self::from_pkcs8(opened.as_bytes())
            }
            Shape::Sec1 => {
                let named = parameters.and_then(|der| AnyRef::from_der(der.as_slice()).ok());
                Self::from_sec1(der, named)
            }
            Shape::Pkcs1Private => Err(found(Found::PrivateKey(Algorithm::Rsa))),
            Shape::Pkcs1Public
            | Shape::Spki
            | Shape::Certificate
            | Shape::EcParameters
            | Shape::Other => Err(found(what_else(der))),
        }
    }

    fn from_pkcs8(der: &[u8]) -> Result<Self, KeyMaterialError> {
        let info = PrivateKeyInfoRef::try_from(der)
            .map_err(|_| KeyMaterialError::Malformed { format: "PKCS#8" })?;
        let algorithm = shape::algorithm(info.algorithm);
        if algorithm != Algorithm::P384 {
            return Err(found(Found::PrivateKey(algorithm)));
        }
        let key = Self::from_sec1(info.private_key.as_bytes(), info.algorithm.parameters)?;
        // RFC 5958 has room for the public half outside of the SEC1 structure, too.
        let outer = info.public_key.map(|point| point.raw_bytes());
        if outer.is_some_and(|point| !key.public.is_point(point)) {
            return Err(KeyMaterialError::HalvesDiffer);
        }
        Ok(key)
    }

    /// `named` is the curve as something around the structure says it.
    fn from_sec1(der: &[u8], named: Option<AnyRef<'_>>) -> Result<Self, KeyMaterialError> {
        let malformed = || KeyMaterialError::Malformed { format: "SEC1" };
        let sec1 = Sec1::read(der).map_err(|_| malformed())?;
        for parameters in [sec1.parameters, named].into_iter().flatten() {
            let curve = shape::curve(Some(parameters));
            if curve != Algorithm::P384 {
                return Err(found(Found::PrivateKey(curve)));
            }
        }
        let key = p384::SecretKey::from_slice(sec1.scalar).map_err(|_| malformed())?;
        let key = Self::of(&key)?;
        match sec1.point {
            Some(point) if !key.public.is_point(point) => Err(KeyMaterialError::HalvesDiffer),
            None if sec1.parameters.or(named).is_none() => Err(KeyMaterialError::CurveNotNamed),
            Some(_) | None => Ok(key),
        }
    }

    fn of(key: &p384::SecretKey) -> Result<Self, KeyMaterialError> {
        let public = PublicKey::of(&key.public_key())?;
        let pkcs8 =
            key.to_pkcs8_der().map_err(|_| KeyMaterialError::Malformed { format: "PKCS#8" })?;
        Ok(Self { pkcs8: Arc::new(pkcs8), public })
    }

    /// The public half.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// PKCS#8 in DER, the public half embedded.
    pub fn as_pkcs8_der(&self) -> &[u8] {
        self.pkcs8.as_bytes()
    }

    /// PKCS#8 in PEM, byte for byte what `openssl pkcs8 -topk8 -nocrypt` writes.
    ///
    /// # Errors
    ///
    /// The key cannot be encoded, which does not happen.
    pub fn to_pkcs8_pem(&self) -> Result<Zeroizing<String>, KeyMaterialError> {
        self.pkcs8
            .to_pem(PrivateKeyInfoRef::PEM_LABEL, LineEnding::LF)
            .map_err(|_| KeyMaterialError::Malformed { format: "PKCS#8" })
    }

    /// Encrypted PKCS#8 in PEM: AES-256-CBC under a key that scrypt derives from the passphrase,
    /// at a cost that `openssl pkey` accepts with its default limits (N = 2^14, r = 8, p = 1,
    /// 16 MiB).
    ///
    /// # Errors
    ///
    /// The key cannot be encrypted, which does not happen.
    pub fn to_encrypted_pem(
        &self,
        passphrase: &SecretString,
        rng: &mut impl CryptoRng,
    ) -> Result<Zeroizing<String>, KeyMaterialError> {
        let malformed = || KeyMaterialError::Malformed { format: "encrypted PKCS#8" };
        let parameters = pkcs5::pbes2::Parameters::generate_scrypt(rng).map_err(|_| malformed())?;
        PrivateKeyInfoRef::try_from(self.as_pkcs8_der())
            .and_then(|info| {
                info.encrypt_with_params(parameters, passphrase.expose_secret().as_bytes())
            })
            .map_err(|_| malformed())?
            .to_pem(EncryptedPrivateKeyInfoRef::PEM_LABEL, LineEnding::LF)
            .map_err(|_| malformed())
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey").field("public", &self.public).finish_non_exhaustive()
    }
}

impl PartialEq for PrivateKey {
    fn eq(&self, other: &Self) -> bool {
        constant_time_eq(self.as_pkcs8_der(), other.as_pkcs8_der())
    }
}

impl Eq for PrivateKey {}

impl Shape {
    fn is_private_key(self) -> bool {
        match self {
            Self::Pkcs8 | Self::EncryptedPkcs8 | Self::Sec1 | Self::Pkcs1Private => true,
            Self::Pkcs1Public
            | Self::Spki
            | Self::Certificate
            | Self::EcParameters
            | Self::Other => false,
        }
    }
}

fn decrypt(der: &[u8], passphrase: &SecretString) -> Result<SecretDocument, KeyMaterialError> {
    let encrypted = EncryptedPrivateKeyInfoRef::try_from(der)
        .map_err(|_| KeyMaterialError::UnsupportedEncryption)?;
    encrypted.decrypt(passphrase.expose_secret().as_bytes()).map_err(|error| {
        let unsupported = matches!(
            error,
            pkcs8::Error::EncryptedPrivateKey(
                pkcs5::Error::NoPbes1CryptSupport
                    | pkcs5::Error::UnsupportedAlgorithm { .. }
                    | pkcs5::Error::AlgorithmParametersInvalid { .. }
            )
        );
        // What is left is wrong padding, or no ASN.1 after it.
        if unsupported {
            KeyMaterialError::UnsupportedEncryption
        } else {
            KeyMaterialError::WrongPassphrase
        }
    })
}

/// What some DER is, where it is no private key.
fn what_else(der: &[u8]) -> Found {
    match Shape::of(der) {
        Shape::Spki => pkcs8::SubjectPublicKeyInfoRef::try_from(der)
            .map_or(Found::OtherPem, |info| Found::PublicKey(shape::algorithm(info.algorithm))),
        Shape::Pkcs1Public => Found::PublicKey(Algorithm::Rsa),
        Shape::Certificate => Found::Certificate,
        Shape::EcParameters => Found::ParametersOnly,
        Shape::Pkcs8 | Shape::EncryptedPkcs8 | Shape::Sec1 | Shape::Pkcs1Private | Shape::Other => {
            Found::OtherPem
        }
    }
}

fn found(found: Found) -> KeyMaterialError {
    KeyMaterialError::Found { expected: Expected::PrivateKey, found }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{keys::material::fixtures, secret::system_rng};

    fn passphrase() -> SecretString {
        fixtures::PASSPHRASE.into()
    }

    #[test]
    fn every_form_is_the_same_key() {
        let expected = PrivateKey::read(fixtures::PKCS8, None).unwrap();
        let quoted = format!("\"{}\"\n", fixtures::PKCS8_ESCAPED.trim());
        let der_in_base64 = fixtures::SEC1.lines().filter(|line| !line.starts_with('-'));
        let der_in_base64 = der_in_base64.collect::<String>();
        let forms: [(&str, &[u8]); 13] = [
            ("PKCS#8", fixtures::PKCS8.as_bytes()),
            ("PKCS#8 DER", fixtures::PKCS8_DER),
            ("SEC1", fixtures::SEC1.as_bytes()),
            ("SEC1 DER", fixtures::SEC1_DER),
            ("SEC1 after EC PARAMETERS", fixtures::SEC1_WITH_PARAMETERS.as_bytes()),
            ("SEC1 without the public half", fixtures::SEC1_NO_PUBLIC.as_bytes()),
            ("CRLF", fixtures::PKCS8_CRLF.as_bytes()),
            ("escaped newlines", fixtures::PKCS8_ESCAPED.as_bytes()),
            ("escaped newlines in quotes", quoted.as_bytes()),
            ("the PEM in base64", fixtures::PKCS8_BASE64.as_bytes()),
            ("DER in base64", der_in_base64.as_bytes()),
            ("encrypted, PBKDF2", fixtures::ENCRYPTED_PBKDF2.as_bytes()),
            ("encrypted, scrypt", fixtures::ENCRYPTED_SCRYPT.as_bytes()),
        ];
        for (form, input) in forms {
            assert_eq!(
                PrivateKey::read(input, Some(&passphrase())),
                Ok(expected.clone()),
                "{form}"
            );
        }
        assert_eq!(expected.public_key().to_pem(), fixtures::PUBLIC);
    }

    #[test]
    fn what_we_write_is_what_openssl_writes() {
        let key = PrivateKey::read(fixtures::SEC1, None).unwrap();
        assert_eq!(*key.to_pkcs8_pem().unwrap(), fixtures::PKCS8);
    }

    #[test]
    fn an_encrypted_key_opens_with_its_passphrase_only() {
        let key = PrivateKey::generate(&mut system_rng()).unwrap();
        let pem = key.to_encrypted_pem(&passphrase(), &mut system_rng()).unwrap();
        assert!(pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
        let read = |passphrase: Option<&str>| {
            PrivateKey::read(pem.as_bytes(), passphrase.map(SecretString::from).as_ref())
        };
        assert_eq!(read(Some(fixtures::PASSPHRASE)), Ok(key));
        assert_eq!(read(Some("wrong")), Err(KeyMaterialError::WrongPassphrase));
        assert_eq!(read(None), Err(KeyMaterialError::PassphraseNeeded));
    }

    #[test]
    fn old_encryptions_are_refused_with_a_way_out() {
        let refusal = |text| PrivateKey::read(text, Some(&passphrase())).unwrap_err();
        assert_eq!(refusal(fixtures::ENCRYPTED_LEGACY), KeyMaterialError::LegacyEncryption);
        assert_eq!(refusal(fixtures::ENCRYPTED_PBES1), KeyMaterialError::UnsupportedEncryption);
        let shown = refusal(fixtures::ENCRYPTED_LEGACY).to_string();
        assert!(shown.contains("openssl pkcs8 -topk8"), "{shown}");
    }

    #[test]
    fn anything_else_is_named() {
        let refusal = |text: &str| {
            let error = PrivateKey::read(text, None).unwrap_err();
            let KeyMaterialError::Found { expected: Expected::PrivateKey, found } = error else {
                panic!("{error}")
            };
            found
        };
        let private = Found::PrivateKey;
        assert_eq!(refusal(fixtures::P256), private(Algorithm::P256));
        assert_eq!(refusal(fixtures::P521_SEC1), private(Algorithm::P521));
        assert_eq!(refusal(fixtures::SECP256K1_SEC1), private(Algorithm::Secp256k1));
        assert_eq!(
            refusal(fixtures::BRAINPOOL_SEC1),
            private(Algorithm::Other("1.3.36.3.3.2.8.1.1.11".to_owned()))
        );
        assert_eq!(refusal(fixtures::ED25519), private(Algorithm::Ed25519));
        assert_eq!(refusal(fixtures::RSA), private(Algorithm::Rsa));
        assert_eq!(refusal(fixtures::RSA_PKCS1), private(Algorithm::Rsa));
        assert_eq!(refusal(fixtures::EXPLICIT), private(Algorithm::ExplicitParameters));
        assert_eq!(refusal(fixtures::EXPLICIT_SEC1), private(Algorithm::ExplicitParameters));
        assert_eq!(refusal(fixtures::PUBLIC), Found::PublicKey(Algorithm::P384));
        assert_eq!(refusal(fixtures::CERTIFICATE), Found::Certificate);
        let parameters = fixtures::SEC1_WITH_PARAMETERS.split_inclusive("PARAMETERS-----\n");
        let parameters: String = parameters.take(2).collect();
        assert_eq!(refusal(&parameters), Found::ParametersOnly);
    }

    #[test]
    fn a_certificate_beside_the_key_does_no_harm_but_a_second_key_does() {
        let beside = [fixtures::CERTIFICATE, fixtures::PKCS8, fixtures::PUBLIC].concat();
        assert!(PrivateKey::read(beside, None).is_ok());
        assert_eq!(
            PrivateKey::read([fixtures::SEC1, fixtures::PKCS8].concat(), None),
            Err(KeyMaterialError::SeveralKeys)
        );
    }

    #[test]
    fn halves_that_do_not_belong_together_are_refused() {
        let other = PublicKey::read(fixtures::OTHER_PUBLIC).unwrap();
        for original in [fixtures::PKCS8_DER, fixtures::SEC1_DER] {
            let mut der = original.to_vec();
            let own = PrivateKey::read(original, None).unwrap();
            let at = der.windows(97).position(|it| it == own.public.as_sec1_point()).unwrap();
            der[at..at + 97].copy_from_slice(other.as_sec1_point());
            assert_eq!(PrivateKey::read(&der, None), Err(KeyMaterialError::HalvesDiffer));
            der[at] = 9;
            assert_eq!(PrivateKey::read(&der, None), Err(KeyMaterialError::HalvesDiffer));
        }
    }

    #[test]
    fn a_scalar_outside_of_the_curve_order_is_refused() {
        let scalar = |bytes: &[u8]| {
            let mut der = fixtures::SEC1_DER.to_vec();
            der[8..56].copy_from_slice(bytes);
            PrivateKey::read(der, None)
        };
        let malformed = Err(KeyMaterialError::Malformed { format: "SEC1" });
        assert_eq!(scalar(&[0; 48]), malformed);
        assert_eq!(scalar(&[0xff; 48]), malformed);
    }

    #[test]
    fn no_prefix_of_a_key_is_a_key() {
        for length in 0..fixtures::PKCS8_DER.len() {
            assert!(PrivateKey::read(&fixtures::PKCS8_DER[..length], None).is_err(), "{length}");
        }
        for length in 0..fixtures::SEC1.trim_end().len() {
            assert!(PrivateKey::read(&fixtures::SEC1[..length], None).is_err(), "{length}");
        }
    }

    #[test]
    fn the_private_half_is_in_no_debug_output() {
        let key = PrivateKey::read(fixtures::PKCS8, None).unwrap();
        let shown = format!("{key:?}");
        assert!(shown.contains(fixtures::FINGERPRINT.trim()), "{shown}");
        assert!(shown.len() < 120, "{shown}");
    }
}
