//! The keys that may have signed a token, and whether IVS accepts their signatures.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, EllipticCurveKeyParameters, JwkSet};
use pkcs8::EncodePublicKey;

use crate::{
    ivs::arn::{AccountId, ChannelArn, PlaybackKeyArn, Region},
    keys::{
        keyring::{KeyState, KeyVersion, Keyring},
        material::{Fingerprint, KeyMaterialError, PublicKey},
        rotation::ListedPair,
    },
};

/// The known keys that may have signed a token.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    keys: Vec<KnownKey>,
    /// The regions and accounts whose key pairs in IVS are all among the keys.
    covered: Vec<(Region, AccountId)>,
    /// Whether the caller named the keys to check against.
    named: bool,
}

/// A key, and its key pair in IVS.
#[derive(Clone, Debug)]
pub struct KnownKey {
    /// The key.
    pub key: KeyIdentity,
    /// The playback key pair in IVS, if known.
    pub arn: Option<PlaybackKeyArn>,
    /// Whether IVS accepts its signatures.
    pub standing: KeyStanding,
}

/// How a key is known.
#[derive(Clone, Debug)]
pub enum KeyIdentity {
    /// By its public key.
    Public(PublicKey),
    /// By its fingerprint, the only property of a key that IVS returns.
    Fingerprint(Fingerprint),
}

/// Whether IVS accepts the signatures of a key.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum KeyStanding {
    /// Not known: the key comes from a file or a JWK set.
    Unknown,
    /// The key pair is in IVS, and it signs now or belongs to another signer.
    Active,
    /// The key pair is or will be imported, and does not sign yet.
    Pending,
    /// The key pair is in IVS, and another key signs now.
    Draining,
    /// The key pair was deleted from IVS.
    Retired,
    /// IVS should have the key pair but does not list it.
    Missing,
}

impl KeyRing {
    /// Creates a ring of these keys.
    pub fn new(keys: impl IntoIterator<Item = KnownKey>) -> Self {
        Self { keys: keys.into_iter().collect(), ..Self::default() }
    }

    /// Creates a ring of one public key in PEM or DER.
    ///
    /// # Errors
    ///
    /// The text is not a P-384 public key; the error says what it is.
    pub fn from_public_key(text: impl AsRef<[u8]>) -> Result<Self, KeyRingError> {
        Ok(Self::named([PublicKey::read(text)?]))
    }

    /// Creates a ring of the P-384 keys of a JWK set (RFC 7517). Other keys in the set are ignored, since they
    /// cannot have signed a viewer token.
    ///
    /// # Errors
    ///
    /// The text is not a JWK set, or contains no P-384 key.
    pub fn from_jwks(text: &str) -> Result<Self, KeyRingError> {
        let set: JwkSet = serde_json::from_str(text).map_err(|_| KeyRingError::NotAJwkSet)?;
        let ring = Self::named(set.keys.iter().filter_map(|jwk| {
            let AlgorithmParameters::EllipticCurve(key) = &jwk.algorithm else { return None };
            read_jwk(key)
        }));
        if ring.keys.is_empty() { Err(KeyRingError::NoKeyInSet) } else { Ok(ring) }
    }

    fn named(keys: impl IntoIterator<Item = PublicKey>) -> Self {
        let known = |key| {
            let key = KeyIdentity::Public(key);
            KnownKey { key, arn: None, standing: KeyStanding::Unknown }
        };
        Self { named: true, ..Self::new(keys.into_iter().map(known)) }
    }

    /// Adds the keys of a region: those of the keyring, including retired ones, and those that only IVS
    /// lists. `listed` is `None` if IVS could not be asked.
    pub fn add_region(&mut self, keyring: Option<&Keyring>, listed: Option<&[ListedPair]>) {
        let versions = keyring.map(|keyring| keyring.keys.as_slice()).unwrap_or_default();
        let is = |version: &KeyVersion, pair: &ListedPair| match pair.fingerprint {
            Some(fingerprint) => version.fingerprint == fingerprint,
            None => version.arn.as_ref() == Some(&pair.arn),
        };
        for pair in listed.into_iter().flatten() {
            let version = versions.iter().find(|version| is(version, pair));
            let key = match (version, pair.fingerprint) {
                (Some(version), _) => KeyIdentity::Public(version.public_key.clone()),
                (None, Some(fingerprint)) => KeyIdentity::Fingerprint(fingerprint),
                (None, None) => continue,
            };
            // A pair that is not in the keyring belongs to another signer.
            let standing = version.map_or(KeyStanding::Active, standing_in_ivs);
            self.keys.push(KnownKey { key, arn: Some(pair.arn.clone()), standing });
        }
        let unlisted = versions
            .iter()
            .filter(|version| !listed.into_iter().flatten().any(|pair| is(version, pair)));
        self.keys.extend(unlisted.map(|version| KnownKey {
            key: KeyIdentity::Public(version.public_key.clone()),
            arn: version.arn.clone(),
            standing: match (version.state, listed.is_some()) {
                (KeyState::Retired, _) | (KeyState::Retiring | KeyState::Draining, true) => {
                    KeyStanding::Retired
                }
                (KeyState::Pending | KeyState::Imported | KeyState::Active, true) => {
                    KeyStanding::Missing
                }
                (_, false) => standing_in_ivs(version),
            },
        }));
    }

    /// Adds the keys of another ring.
    pub fn extend(&mut self, other: Self) {
        self.keys.extend(other.keys);
        self.covered.extend(other.covered);
        self.named |= other.named;
    }

    /// Records that every key pair which IVS has in this region and account is among the keys.
    pub fn cover(&mut self, region: Region, account: AccountId) {
        self.covered.push((region, account));
    }

    /// Whether every key pair that could play `channel` is among the keys.
    pub(super) fn covers(&self, channel: Option<&ChannelArn>) -> bool {
        self.covered.iter().any(|(region, account)| {
            channel.is_none_or(|it| it.region() == region && it.account() == account)
        })
    }

    /// Whether a signature by none of the keys is certainly bad: IVS has no other key for the channel, or the
    /// caller named the keys.
    pub(super) fn is_exhaustive(&self, channel: Option<&ChannelArn>) -> bool {
        self.named || self.covers(channel)
    }

    /// Finds the key that is one of `signers`. A key pair of the channel's region and account has precedence,
    /// then one that IVS still has.
    pub(super) fn find(
        &self,
        signers: &[PublicKey],
        channel: Option<&ChannelArn>,
    ) -> Option<&KnownKey> {
        let found = self.keys.iter().filter(|known| signers.iter().any(|key| known.key.is(key)));
        found.min_by_key(|known| match known.is_home(channel) {
            Some(true) if known.standing.is_in_ivs() => 0,
            Some(true) => 1,
            Some(false) => 2,
            None => 3,
        })
    }
}

impl KnownKey {
    /// Whether this is a key pair of the channel's region and account; `None` if no pair is known. Without a
    /// channel, every region and account counts.
    pub(super) fn is_home(&self, channel: Option<&ChannelArn>) -> Option<bool> {
        let arn = self.arn.as_ref()?;
        let is_home = |channel: &ChannelArn| {
            arn.region() == channel.region() && arn.account() == channel.account()
        };
        Some(channel.is_none_or(is_home))
    }
}

impl KeyIdentity {
    fn is(&self, key: &PublicKey) -> bool {
        match self {
            Self::Public(known) => known == key,
            Self::Fingerprint(known) => *known == key.fingerprint(),
        }
    }
}

impl KeyStanding {
    const fn is_in_ivs(self) -> bool {
        match self {
            Self::Active | Self::Pending | Self::Draining => true,
            Self::Unknown | Self::Retired | Self::Missing => false,
        }
    }
}

/// Returns the standing of a version whose key IVS has.
fn standing_in_ivs(version: &KeyVersion) -> KeyStanding {
    match version.state {
        // Another signer has its private key.
        KeyState::Pending | KeyState::Imported if !version.has_private_key => KeyStanding::Active,
        KeyState::Pending | KeyState::Imported => KeyStanding::Pending,
        // Someone imported the retired key again and signs with it.
        KeyState::Active | KeyState::Retired => KeyStanding::Active,
        KeyState::Draining | KeyState::Retiring => KeyStanding::Draining,
    }
}

/// Why the keys to check against could not be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyRingError {
    /// The text is not a P-384 public key.
    #[error(transparent)]
    PublicKey(#[from] KeyMaterialError),
    /// The text is not JSON or has no `keys`.
    #[error(
        "this is not a JWK set: provide JSON with a member \"keys\", such as /.well-known/jwks.json returns"
    )]
    NotAJwkSet,
    /// The set has no P-384 key.
    #[error("the JWK set has no P-384 key, so none of its keys can have signed a viewer token")]
    NoKeyInSet,
}

fn read_jwk(key: &EllipticCurveKeyParameters) -> Option<PublicKey> {
    if key.curve != EllipticCurve::P384 {
        return None;
    }
    let mut point = vec![0x04];
    for coordinate in [&key.x, &key.y] {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(coordinate).ok()?;
        point.extend_from_slice(&bytes);
    }
    let spki = p384::PublicKey::from_sec1_bytes(&point).ok()?.to_public_key_der().ok()?;
    PublicKey::read(spki.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::keys::{keyring::strategies, material::fixtures, store::samples};

    #[test]
    fn a_jwk_set_gives_its_p384_keys() {
        let key = PublicKey::read(fixtures::PUBLIC).unwrap();
        let (x, y) = key.jwk_coordinates();
        let set = json!({"keys": [
            {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
            {"kty": "EC", "crv": "P-256", "x": x, "y": y},
            {"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"},
            {"kty": "made-up", "crv": 7},
            {"kty": "EC", "crv": "P-384", "x": x, "y": y, "kid": "a", "alg": "ES384", "use": "sig"},
        ]});
        let ring = KeyRing::from_jwks(&set.to_string()).unwrap();
        assert_eq!(ring.keys.len(), 1);
        assert!(ring.keys[0].key.is(&key));
    }

    /// Returns the standing of the only version's key, for its state in the keyring and for what IVS lists.
    fn standing(state: KeyState, listed: Option<&[ListedPair]>) -> (KeyStanding, KeyStanding) {
        let mut keyring = samples::empty();
        let id = samples::add_key(&mut keyring, 0);
        let version = keyring.version_mut(&id).unwrap();
        (version.state, version.arn) = (state, Some(strategies::arn(0)));
        let key = version.public_key.clone();
        let of = |listed: Option<&[ListedPair]>| {
            let mut ring = KeyRing::default();
            ring.add_region(Some(&keyring), listed);
            ring.find(std::slice::from_ref(&key), None).unwrap().standing
        };
        (of(listed), of(Some(&[pair(0, Some(key.fingerprint()))])))
    }

    fn pair(position: usize, fingerprint: Option<Fingerprint>) -> ListedPair {
        let arn = strategies::arn(position);
        ListedPair { arn, name: String::new(), tags: BTreeMap::new(), fingerprint }
    }

    #[test]
    fn standing_follows_from_keyring_and_ivs() {
        use KeyStanding::{Active, Draining, Missing, Pending, Retired};
        for (state, unasked, absent, listed) in [
            (KeyState::Pending, Pending, Missing, Pending),
            (KeyState::Imported, Pending, Missing, Pending),
            (KeyState::Active, Active, Missing, Active),
            (KeyState::Draining, Draining, Retired, Draining),
            (KeyState::Retiring, Draining, Retired, Draining),
            (KeyState::Retired, Retired, Retired, Active),
        ] {
            assert_eq!(standing(state, None), (unasked, listed), "{state:?}");
            assert_eq!(standing(state, Some(&[])).0, absent, "{state:?}");
            let recorded = standing(state, Some(&[pair(0, None)])).0;
            assert_eq!(recorded, listed, "{state:?}: known by its ARN until IVS was looked at");
        }
    }

    #[test]
    fn recorded_pair_with_another_key_is_missing() {
        let other = PublicKey::read(fixtures::OTHER_PUBLIC).unwrap().fingerprint();
        let (found, _) = standing(KeyState::Active, Some(&[pair(0, Some(other))]));
        assert_eq!(found, KeyStanding::Missing);
    }

    #[test]
    fn input_without_key_is_refused() {
        let refusal = |text| KeyRing::from_jwks(text).unwrap_err();
        assert_eq!(refusal("nothing"), KeyRingError::NotAJwkSet);
        assert_eq!(refusal("{}"), KeyRingError::NotAJwkSet);
        assert_eq!(refusal(r#"{"keys": []}"#), KeyRingError::NoKeyInSet);
        assert!(matches!(
            KeyRing::from_public_key(fixtures::P256_PUBLIC),
            Err(KeyRingError::PublicKey(KeyMaterialError::Found { .. }))
        ));
        assert!(matches!(
            KeyRing::from_public_key(fixtures::PKCS8),
            Err(KeyRingError::PublicKey(KeyMaterialError::Found { .. }))
        ));
        assert!(KeyRing::from_public_key(fixtures::PUBLIC).is_ok());
    }
}
