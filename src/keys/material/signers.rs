//! Which keys can have made a signature.
//!
//! A signature of ECDSA fits at most four public keys, and they can be computed from it (SEC 1,
//! section 4.1.6). That tells whether a playback key pair of IVS signed although IVS shows nothing
//! of it but its fingerprint, and one computation serves any number of known keys.

use p384::ecdsa::{Signature, VerifyingKey};
use sha2::{Digest, Sha384};

use super::PublicKey;

impl PublicKey {
    /// The public keys that accept `signature` (r and s, 48 bytes each) as ES384 of `message`, and
    /// there are no others. Mostly two; none, where r or s is no number that a signature can have.
    pub fn possible_signers(message: &[u8], signature: &[u8]) -> Vec<Self> {
        let Ok(signature) = Signature::from_slice(signature) else {
            return Vec::new();
        };
        let digest = Sha384::digest(message);
        // The point that r comes from has one of two y, and its x may have been over the order.
        (0..4_u8)
            .filter_map(|recovery_id| {
                let recovery_id = recovery_id.try_into().ok()?;
                // Verifies with the key that it computed.
                let key = VerifyingKey::recover_from_prehash(&digest, &signature, recovery_id);
                Self::of(&key.ok()?.into()).ok()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use p384::ecdsa::{SigningKey, signature::Signer};
    use proptest::prelude::*;

    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_slice(&[seed; 48]).unwrap()
    }

    fn public(key: &SigningKey) -> PublicKey {
        PublicKey::of(&key.verifying_key().into()).unwrap()
    }

    #[test]
    fn what_is_no_signature_has_no_signer() {
        for signature in [&[0; 96][..], &[0xff; 96], &[1; 95], &[]] {
            assert_eq!(PublicKey::possible_signers(b"message", signature), []);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn the_signer_is_among_few_and_only_for_what_it_signed(
            seed in 1_u8..=254,
            message in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let signer = key(seed);
            let signature: Signature = signer.sign(&message);
            let found = PublicKey::possible_signers(&message, &signature.to_bytes());
            prop_assert!(found.contains(&public(&signer)));

            prop_assert!(found.len() <= 4);
            let other = [&message[..], b"."].concat();
            let found = PublicKey::possible_signers(&other, &signature.to_bytes());
            prop_assert!(!found.contains(&public(&signer)));
        }
    }
}
