//! Key material: P-384 keys as they are read, written and named, and nothing that signs.
//!
//! Whatever enters is parsed once into a type that cannot hold anything but a key that Amazon IVS
//! takes: the right curve, a point on it, halves that belong together. Private bytes are wiped on
//! drop and appear in no `Debug`, `Display` or error.

mod armor;
mod error;
mod fingerprint;
mod private_key;
mod public_key;
mod sec1;
mod shape;
mod signers;

pub use error::{Algorithm, Expected, Found, KeyMaterialError};
pub use fingerprint::{Fingerprint, FingerprintError};
pub use private_key::PrivateKey;
pub use public_key::PublicKey;

/// Keys that openssl made; see tests/fixtures/keys.
#[cfg(test)]
pub(crate) mod fixtures {
    macro_rules! fixture {
        ($($name:ident: $file:literal)*) => {
            $(pub(crate) const $name: &str =
                include_str!(concat!("../../../tests/fixtures/keys/", $file));)*
        };
    }
    fixture! {
        BRAINPOOL_SEC1: "brainpool-sec1.pem"
        CERTIFICATE: "certificate.pem"
        ED25519: "ed25519.pem"
        ED25519_PUBLIC: "ed25519-public.pem"
        ENCRYPTED_LEGACY: "encrypted-legacy.pem"
        ENCRYPTED_PBES1: "encrypted-pbes1.pem"
        ENCRYPTED_PBKDF2: "encrypted-pbkdf2.pem"
        ENCRYPTED_SCRYPT: "encrypted-scrypt.pem"
        EXPLICIT: "explicit.pem"
        EXPLICIT_SEC1: "explicit-sec1.pem"
        FINGERPRINT: "fingerprint.txt"
        OTHER_PUBLIC: "other-public.pem"
        P256: "p256.pem"
        P256_PUBLIC: "p256-public.pem"
        P521_SEC1: "p521-sec1.pem"
        PKCS8: "pkcs8.pem"
        PKCS8_BASE64: "pkcs8-base64.txt"
        PKCS8_CRLF: "pkcs8-crlf.pem"
        PKCS8_ESCAPED: "pkcs8-escaped.txt"
        PUBLIC: "public.pem"
        PUBLIC_COMPRESSED: "public-compressed.pem"
        REQUEST: "request.pem"
        RSA: "rsa.pem"
        RSA_PKCS1: "rsa-pkcs1.pem"
        RSA_PUBLIC: "rsa-public.pem"
        SEC1: "sec1.pem"
        SEC1_NO_PUBLIC: "sec1-no-public.pem"
        SEC1_WITH_PARAMETERS: "sec1-with-parameters.pem"
        SECP256K1_SEC1: "secp256k1-sec1.pem"
    }
    pub(crate) const PKCS8_DER: &[u8] = include_bytes!("../../../tests/fixtures/keys/pkcs8.der");
    pub(crate) const SEC1_DER: &[u8] = include_bytes!("../../../tests/fixtures/keys/sec1.der");
    pub(crate) const PASSPHRASE: &str = "correct-horse-battery-staple";
}
