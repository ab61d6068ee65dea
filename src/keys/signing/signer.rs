//! The one thing in this program that signs: the region's active playback key, parsed.
//!
//! Made once for each version that becomes active (see [`SigningKeys`](super::SigningKeys)), shared by reference, and
//! used by `tokens::mint`. It knows which pair in IVS its signatures belong to, so that a token and
//! its audit record can name it.

use std::fmt;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};

use crate::{
    ivs::arn::PlaybackKeyArn,
    keys::{
        keyring::VersionId,
        material::{Fingerprint, PrivateKey, PublicKey},
    },
    secret::constant_time_eq,
};

/// The length of an ES384 signature: r and s, 48 bytes each (RFC 7518, section 3.4).
pub const SIGNATURE_LENGTH: usize = 96;

/// A parsed signing key. Shared as `Arc<Signer>`; there is one in memory for each active version.
pub struct Signer {
    key: EcdsaKeyPair,
    public: PublicKey,
    arn: PlaybackKeyArn,
    version_id: VersionId,
}

impl Signer {
    /// Parses `private`, whose public half is imported in IVS as `arn`.
    ///
    /// # Errors
    ///
    /// The library that signs does not take the key, or derives another public half than the one
    /// that read it.
    pub fn new(
        private: &PrivateKey,
        arn: PlaybackKeyArn,
        version_id: VersionId,
    ) -> Result<Self, SignError> {
        let key =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, private.as_pkcs8_der())
                .map_err(|_| SignError::Rejected)?;
        let public = private.public_key().clone();
        if !constant_time_eq(key.public_key().as_ref(), public.as_sec1_point()) {
            return Err(SignError::HalvesDiffer);
        }
        Ok(Self { key, public, arn, version_id })
    }

    /// The ES384 signature of `message`: r and s, as JWS wants them, not DER.
    ///
    /// # Errors
    ///
    /// The random source of the machine failed.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_LENGTH], SignError> {
        let signature =
            self.key.sign(&SystemRandom::new(), message).map_err(|_| SignError::Failed)?;
        signature.as_ref().try_into().map_err(|_| SignError::Failed)
    }

    /// How Amazon IVS names the key.
    pub fn fingerprint(&self) -> Fingerprint {
        self.public.fingerprint()
    }

    /// The public half, for checking what was signed.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// The playback key pair in IVS that verifies the signatures.
    pub fn arn(&self) -> &PlaybackKeyArn {
        &self.arn
    }

    /// The version in the keyring.
    pub fn version_id(&self) -> &VersionId {
        &self.version_id
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("fingerprint", &self.fingerprint())
            .field("arn", self.arn())
            .finish_non_exhaustive()
    }
}

/// Why a key cannot sign.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SignError {
    /// The signing library refused the key.
    #[error("the signing library does not accept the private key; import the key again")]
    Rejected,
    /// Two libraries disagree about the public half.
    #[error("the private key does not belong to its public half; import the key again")]
    HalvesDiffer,
    /// Signing itself failed.
    #[error("signing failed; the random source of this machine may be unavailable")]
    Failed,
}

#[cfg(test)]
mod tests {
    use p384::{
        ecdsa::{Signature, VerifyingKey, signature::Verifier as _},
        pkcs8::DecodePublicKey as _,
    };

    use super::*;
    use crate::{keys::material::fixtures, secret::system_rng};

    fn signer(private: &PrivateKey) -> Signer {
        let arn = "arn:aws:ivs:us-west-2:123456789012:playback-key/AbCdEfGh1234".parse().unwrap();
        Signer::new(private, arn, VersionId::random(&mut system_rng())).unwrap()
    }

    #[test]
    fn another_library_verifies_what_it_signs() {
        let signer = signer(&PrivateKey::generate(&mut system_rng()).unwrap());
        let key = VerifyingKey::from_public_key_der(signer.public_key().as_spki_der()).unwrap();
        let is_good = |message: &[u8], signature: &[u8]| {
            key.verify(message, &Signature::from_slice(signature).unwrap()).is_ok()
        };
        let mut signature = signer.sign(b"header.payload").unwrap();
        assert!(is_good(b"header.payload", &signature));
        assert!(!is_good(b"header.payloaD", &signature));
        signature[95] ^= 1;
        assert!(!is_good(b"header.payload", &signature));
    }

    #[test]
    fn a_key_of_openssl_signs_under_its_fingerprint() {
        let signer = signer(&PrivateKey::read(fixtures::SEC1, None).unwrap());
        assert_eq!(signer.fingerprint().to_string(), fixtures::FINGERPRINT.trim());
        assert!(signer.sign(b"").is_ok());
        assert!(!format!("{signer:?}").contains("key:"));
    }
}
