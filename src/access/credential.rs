//! What a client sends: `ipa_<id>_<secret>`.
//!
//! The secret has 43 characters of 62, which is 256 bits from a CSPRNG. It cannot be guessed, so one
//! SHA-256 is the right hash to store, and a slow one would only cost mints.

use std::{fmt, str::FromStr};

use rand::CryptoRng;
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{hex::Hex, secret::constant_time_eq};

/// The beginning of every credential, by which scanners of repositories and logs find a leaked one.
const PREFIX: &str = "ipa_";
const ID_LENGTH: usize = 12;
const SECRET_LENGTH: usize = 43;
const ID_ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
const SECRET_ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// The public part of a credential: 12 characters `[a-z0-9]`. It names the client in logs.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClientId(Box<str>);

impl ClientId {
    /// Returns the 12 characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for ClientId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl FromStr for ClientId {
    type Err = ClientIdError;

    fn from_str(text: &str) -> Result<Self, ClientIdError> {
        if is_of(text, ID_ALPHABET, ID_LENGTH) { Ok(Self(text.into())) } else { Err(ClientIdError) }
    }
}

/// The text is not a client id.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a client id is 12 characters of a-z and 0-9")]
pub struct ClientIdError;

/// The credential of a client. `Debug` shows only the id.
pub struct Credential {
    id: ClientId,
    secret: SecretString,
}

/// The text is not a credential. The message says nothing about the text.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a credential is ipa_, 12 characters of a-z and 0-9, _, and 43 letters and digits")]
pub struct CredentialError;

impl Credential {
    /// Generates a credential.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let id = random_text(rng, ID_ALPHABET, ID_LENGTH);
        let secret = random_text(rng, SECRET_ALPHABET, SECRET_LENGTH);
        Self { id: ClientId(id.as_str().into()), secret: secret.as_str().into() }
    }

    /// Parses what a client sent.
    ///
    /// # Errors
    ///
    /// The text is malformed.
    pub fn parse(text: &str) -> Result<Self, CredentialError> {
        let (id, secret) = text
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('_'))
            .ok_or(CredentialError)?;
        if !is_of(secret, SECRET_ALPHABET, SECRET_LENGTH) {
            return Err(CredentialError);
        }
        let id = id.parse().map_err(|_| CredentialError)?;
        Ok(Self { id, secret: secret.into() })
    }

    /// Returns the public part.
    pub fn id(&self) -> &ClientId {
        &self.id
    }

    /// Returns the whole credential, to be shown once.
    pub fn reveal(&self) -> SecretString {
        format!("{PREFIX}{}_{}", self.id, self.secret.expose_secret()).into()
    }

    /// Returns the hash that is stored.
    pub fn hash(&self) -> SecretHash {
        SecretHash(Sha256::digest(self.secret.expose_secret().as_bytes()).into())
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The SHA-256 of a credential's secret part, written as 64 hexadecimal digits.
#[derive(Clone, Debug)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// Stands in for the hash of a client that does not exist, so that an unknown id takes as long
    /// to refuse as a wrong secret. No text with this hash is known.
    pub(super) const DUMMY: Self = Self([0; 32]);

    /// Returns whether the hashes are equal, in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        constant_time_eq(&self.0, &other.0)
    }
}

impl fmt::Display for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl FromStr for SecretHash {
    type Err = SecretHashError;

    fn from_str(text: &str) -> Result<Self, SecretHashError> {
        if text.len() != 64 {
            return Err(SecretHashError);
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = pair.iter().map(|digit| char::from(*digit).to_digit(16));
            *byte = digits
                .into_iter()
                .try_fold(0, |value, digit| Some(value * 16 + u8::try_from(digit?).ok()?))
                .ok_or(SecretHashError)?;
        }
        Ok(Self(hash))
    }
}

/// The text is not a SHA-256.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a SHA-256 is 64 hexadecimal digits")]
pub struct SecretHashError;

fn is_of(text: &str, alphabet: &[u8], length: usize) -> bool {
    text.len() == length && text.bytes().all(|c| alphabet.contains(&c))
}

/// Draws characters with equal probability: a byte beyond the last whole multiple of the alphabet is drawn again.
fn random_text(rng: &mut impl CryptoRng, alphabet: &[u8], length: usize) -> Zeroizing<String> {
    let usable = 256 - 256 % alphabet.len();
    let mut text = Zeroizing::new(String::with_capacity(length));
    let mut byte = Zeroizing::new([0]);
    while text.len() < length {
        rng.fill_bytes(byte.as_mut_slice());
        let drawn = byte.iter().map(|byte| usize::from(*byte)).find(|byte| *byte < usable);
        if let Some(character) = drawn.and_then(|byte| alphabet.get(byte % alphabet.len())) {
            text.push(char::from(*character));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn a_credential_has_the_form_of_the_contract_and_reads_back() {
        let form = regex_lite::Regex::new("^ipa_[a-z0-9]{12}_[A-Za-z0-9]{43}$").unwrap();
        let mut rng = StdRng::seed_from_u64(1);
        for _ in 0..100 {
            let credential = Credential::generate(&mut rng);
            let text = credential.reveal();
            assert!(form.is_match(text.expose_secret()));
            let read = Credential::parse(text.expose_secret()).unwrap();
            assert_eq!(read.id(), credential.id());
            assert!(read.hash().matches(&credential.hash()));
        }
    }

    #[test]
    fn every_character_is_drawn() {
        let mut rng = StdRng::seed_from_u64(2);
        let text = random_text(&mut rng, SECRET_ALPHABET, 5000);
        assert!(SECRET_ALPHABET.iter().all(|c| text.as_bytes().contains(c)));
    }

    #[test]
    fn another_secret_does_not_match() {
        let mut rng = StdRng::seed_from_u64(3);
        let (one, other) = (Credential::generate(&mut rng), Credential::generate(&mut rng));
        assert!(!one.hash().matches(&other.hash()));
        assert!(!one.hash().matches(&SecretHash::DUMMY));
    }

    #[test]
    fn the_hash_is_that_of_the_secret_part() {
        let secret = "A".repeat(43);
        let credential = Credential::parse(&format!("ipa_abcdefghijk0_{secret}")).unwrap();
        let hash = credential.hash().to_string();
        // printf %s AAA…A | sha256sum
        assert_eq!(hash, "0f007385b6f9d4b7eeb2748605afe1a984a0a3bfa3f014d09e2a784ce9e5cd1a");
        assert!(hash.parse::<SecretHash>().unwrap().matches(&credential.hash()));
        assert!(hash.to_uppercase().parse::<SecretHash>().unwrap().matches(&credential.hash()));
    }

    #[test]
    fn other_forms_are_refused() {
        let (id, secret) = ("abcdefghijk0", "A".repeat(43));
        for text in [
            String::new(),
            format!("{id}_{secret}"),
            format!("IPA_{id}_{secret}"),
            format!("ipa_{id}{secret}"),
            format!("ipa_{id}_{secret}A"),
            format!("ipa_{id}_{secret}_"),
            format!("ipa_{}_{secret}", "Abcdefghijk0"),
            format!("ipa_{}_{secret}", "abcdefghijk"),
            format!("ipa_{id}_{}", "é".repeat(21) + "A"),
            format!("ipa_{id}_{secret}\n"),
        ] {
            assert!(Credential::parse(&text).is_err(), "{text:?}");
        }
        for text in ["", "0", &"g".repeat(64), &"é".repeat(32)] {
            assert!(text.parse::<SecretHash>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn debug_hides_the_secret() {
        let credential = Credential::generate(&mut StdRng::seed_from_u64(4));
        let shown = format!("{credential:?} {:?}", credential.reveal());
        assert!(!shown.contains(credential.secret.expose_secret()), "{shown}");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in "\\PC{0,80}") {
            let _ = (Credential::parse(&text), text.parse::<SecretHash>());
        }
    }
}
