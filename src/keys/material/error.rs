//! Why key material was refused, and what was found instead.

use std::fmt;

/// Why a text or file is not the key that was asked for.
///
/// Never repeats any of the input, not even where that is a public key: what was meant to be
/// public may be the wrong file.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeyMaterialError {
    /// Nothing but whitespace.
    #[error("the key is empty; give the whole PEM text, with its BEGIN and END lines")]
    Empty,
    /// Longer than any key could be.
    #[error("the key is larger than 64 KiB; give a file that holds one key")]
    TooLarge,
    /// Neither PEM, nor base64, nor DER.
    #[error("this is no key; give PEM text, with its BEGIN and END lines")]
    NotAKey,
    /// A PEM block without its end, or with other characters than base64.
    #[error("the PEM text is damaged or cut off; copy it again, with its BEGIN and END lines")]
    DamagedPem,
    /// Something else than what was asked for.
    #[error("expected {expected}, found {found}{}", found.advice())]
    Found {
        /// What was asked for.
        expected: Expected,
        /// What is there.
        found: Found,
    },
    /// More than one key in the file.
    #[error("the file holds more than one key; give a file with just the key to use")]
    SeveralKeys,
    /// ASN.1 that begins like a key but cannot be read as one.
    #[error("the key is damaged: its {format} structure cannot be read")]
    Malformed {
        /// The structure that was being read.
        format: &'static str,
    },
    /// A SEC1 key that does not say which curve it is on, nor has a public half to tell by.
    #[error(
        "the key does not name its curve; write it anew with `openssl ec -in FILE -out NEW`, \
         with the EC PARAMETERS block in front"
    )]
    CurveNotNamed,
    /// The private half belongs to another public half than the one beside it.
    #[error("the two halves of the key do not belong together; the file is damaged or made up")]
    HalvesDiffer,
    /// A public point that is not on P-384.
    #[error("the public key is not a point on the curve P-384; the file is damaged or made up")]
    NotOnCurve,
    /// An encrypted key, and no passphrase.
    #[error("the private key is encrypted; set IVS_PLAYBACK_AUTH_KEY_PASSPHRASE to its passphrase")]
    PassphraseNeeded,
    /// The passphrase does not open the key.
    #[error("the passphrase does not open the private key")]
    WrongPassphrase,
    /// OpenSSL's own encryption of PEM files, whose key derivation is one round of MD5.
    #[error(
        "the private key uses the old encryption of OpenSSL (Proc-Type: 4,ENCRYPTED); convert it \
         with `openssl pkcs8 -topk8 -v2 aes-256-cbc -in FILE -out NEW`"
    )]
    LegacyEncryption,
    /// PKCS#8 encryption other than PBES2 with PBKDF2 (SHA-2) or scrypt, and AES.
    #[error(
        "the private key is encrypted in a way that is not supported; convert it with \
         `openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256 -in FILE -out NEW`"
    )]
    UnsupportedEncryption,
}

/// Which half was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expected {
    /// A P-384 private key.
    PrivateKey,
    /// A P-384 public key.
    PublicKey,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PrivateKey => "a P-384 private key",
            Self::PublicKey => "a P-384 public key (PEM, BEGIN PUBLIC KEY)",
        })
    }
}

/// What was found instead of the key that was asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Found {
    /// A private key of this algorithm or curve.
    PrivateKey(Algorithm),
    /// A public key of this algorithm or curve.
    PublicKey(Algorithm),
    /// An encrypted private key, where a public one was asked for.
    EncryptedPrivateKey,
    /// An X.509 certificate or a request for one.
    Certificate,
    /// `EC PARAMETERS` and no key after them.
    ParametersOnly,
    /// OpenSSH's own format of private keys.
    OpenSshPrivateKey,
    /// A line of an `authorized_keys` file.
    OpenSshPublicKey,
    /// JSON, such as a JWK.
    Json,
    /// A PEM block with a label that holds no key of ours.
    OtherPem,
}

impl Found {
    fn advice(&self) -> &'static str {
        match self {
            Self::PrivateKey(Algorithm::P384) | Self::EncryptedPrivateKey => {
                "; take its public half with `openssl pkey -in FILE -pubout`"
            }
            Self::PublicKey(Algorithm::P384) => {
                "; the private half is in the file that the public one was made from"
            }
            Self::PrivateKey(Algorithm::ExplicitParameters) => {
                "; name the curve with `openssl ec -in FILE -param_enc named_curve -out NEW`"
            }
            Self::PublicKey(Algorithm::ExplicitParameters) => {
                "; name the curve with `openssl ec -pubin -in FILE -param_enc named_curve -out NEW`"
            }
            Self::PrivateKey(_) => {
                "; Amazon IVS takes P-384 (secp384r1) only; make a key with keys generate"
            }
            Self::PublicKey(_) => "; Amazon IVS takes P-384 (secp384r1) only",
            Self::Certificate => {
                "; take the key of a certificate with `openssl x509 -in FILE -noout -pubkey`"
            }
            Self::ParametersOnly => "; the key itself is missing",
            Self::OpenSshPrivateKey => {
                "; convert a copy with `ssh-keygen -p -m PKCS8 -N '' -f COPY`"
            }
            Self::OpenSshPublicKey => "; convert it with `ssh-keygen -e -m PKCS8 -f FILE`",
            Self::Json | Self::OtherPem => "; give the key in PEM",
        }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PrivateKey(algorithm) => write!(f, "{algorithm} private key"),
            Self::PublicKey(algorithm) => write!(f, "{algorithm} public key"),
            Self::EncryptedPrivateKey => f.write_str("an encrypted private key"),
            Self::Certificate => f.write_str("a certificate, or a request for one"),
            Self::ParametersOnly => f.write_str("the parameters of a curve"),
            Self::OpenSshPrivateKey => f.write_str("a private key in OpenSSH's own format"),
            Self::OpenSshPublicKey => f.write_str("a public key in OpenSSH's own format"),
            Self::Json => f.write_str("JSON"),
            Self::OtherPem => f.write_str("a PEM block that holds no key"),
        }
    }
}

/// The algorithm or curve of a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Algorithm {
    /// The one that IVS takes: secp384r1.
    P384,
    /// secp256r1, prime256v1.
    P256,
    /// secp521r1.
    P521,
    /// The curve of Bitcoin.
    Secp256k1,
    /// Edwards curve signatures.
    Ed25519,
    /// Key agreement only.
    X25519,
    /// RSA of any size.
    Rsa,
    /// An elliptic curve written out as numbers instead of named.
    ExplicitParameters,
    /// Anything else, by its object identifier.
    Other(String),
}

impl Algorithm {
    /// The algorithm or named curve with this object identifier.
    pub(super) fn of(oid: pkcs8::ObjectIdentifier) -> Self {
        let known = [
            ("1.3.132.0.34", Self::P384),
            ("1.2.840.10045.3.1.7", Self::P256),
            ("1.3.132.0.35", Self::P521),
            ("1.3.132.0.10", Self::Secp256k1),
            ("1.3.101.112", Self::Ed25519),
            ("1.3.101.110", Self::X25519),
            ("1.2.840.113549.1.1.1", Self::Rsa),
        ];
        let text = oid.to_string();
        known
            .into_iter()
            .find(|(known, _)| *known == text)
            .map_or(Self::Other(text), |(_, algorithm)| algorithm)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::P384 => f.write_str("a P-384"),
            Self::P256 => f.write_str("a P-256"),
            Self::P521 => f.write_str("a P-521"),
            Self::Secp256k1 => f.write_str("a secp256k1"),
            Self::Ed25519 => f.write_str("an Ed25519"),
            Self::X25519 => f.write_str("an X25519"),
            Self::Rsa => f.write_str("an RSA"),
            Self::ExplicitParameters => f.write_str("an unnamed-curve"),
            Self::Other(oid) => write!(f, "an unknown ({oid})"),
        }
    }
}
