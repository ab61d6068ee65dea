//! Checks how a token is signed: its algorithm, the form of its signature, and the key that made it.
//!
//! The form alone, without a key, reveals the two most common mistakes in tokens made without a JWT library: DER
//! instead of r and s, and a key on another curve.

use serde_json::Value;

use crate::{ivs::arn::ChannelArn, keys::material::PublicKey, tokens::SIGNATURE_LENGTH};

use super::{
    compact::UnverifiedToken,
    finding::{Finding, FindingCode},
    keys::{KeyRing, KeyStanding, KnownKey},
};

/// Length of r, and of s, on P-384, in bytes.
const HALF: usize = SIGNATURE_LENGTH / 2;

/// Length of r and s together on P-256 and on P-521, in bytes (RFC 7518, section 3.4).
const P256_LENGTH: usize = 64;
const P521_LENGTH: usize = 132;

/// The longest r or s on P-256, in bytes. On P-384 a number is that short with a probability of 2^-128.
const P256_HALF: usize = 32;

/// The result of checking a signature.
#[derive(Default)]
pub(super) struct Verdict<'k> {
    pub(super) findings: Vec<Finding>,
    /// The key that signed.
    pub(super) signer: Option<&'k KnownKey>,
    /// Whether the signature was compared with every relevant key, or is wrong regardless of the key.
    pub(super) checked: bool,
    /// Whether the key is known but its key pair in IVS is not.
    pub(super) key_pair_unchecked: bool,
}

/// Checks the signature of a token for `channel`.
pub(super) fn check<'k>(
    token: &UnverifiedToken<'_>,
    channel: Option<&ChannelArn>,
    keys: Option<&'k KeyRing>,
) -> Verdict<'k> {
    let mut verdict = Verdict::default();
    let encoded = Encoded::read(&token.signature);
    if encoded.der {
        verdict.findings.push(Finding::new(
            FindingCode::DerSignature,
            "The signature is ASN.1 DER instead of r and s.",
        ));
    }
    if let Some(finding) = check_algorithm(token.header.get("alg")) {
        verdict.findings.push(finding);
        return verdict;
    }
    let signature = match encoded.numbers {
        Numbers::P384(signature) => Some(signature),
        Numbers::OtherCurve(curve) => {
            verdict.findings.push(Finding::new(
                FindingCode::WrongCurve,
                format!("The signature was made with a key on {curve}."),
            ));
            None
        }
        Numbers::Unreadable(length) => {
            verdict.findings.push(Finding::new(
                FindingCode::BadSignature,
                format!("The signature has {length} bytes; an ES384 signature has 96."),
            ));
            None
        }
    };
    match signature {
        Some(signature) => verdict.judge(token, &signature, channel, keys),
        None => verdict.checked = true,
    }
    verdict
}

impl<'k> Verdict<'k> {
    /// Determines the key that signed, and whether IVS accepts it.
    fn judge(
        &mut self,
        token: &UnverifiedToken<'_>,
        signature: &[u8; SIGNATURE_LENGTH],
        channel: Option<&ChannelArn>,
        keys: Option<&'k KeyRing>,
    ) {
        let signers = PublicKey::possible_signers(token.signing_input.as_bytes(), signature);
        if let Some((keys, signer)) =
            keys.and_then(|keys| Some((keys, keys.find(&signers, channel)?)))
        {
            let asked = keys.covers(channel);
            let finding = check_signer(signer, channel, asked);
            let is_certain = finding.as_ref().is_some_and(Finding::is_error);
            self.key_pair_unchecked = !asked && !is_certain;
            self.signer = Some(signer);
            self.findings.extend(finding);
            self.checked = true;
            return;
        }
        let situation = if signers.is_empty() {
            "No key can have produced these values of r and s."
        } else if keys.is_some_and(|keys| keys.is_exhaustive(channel)) {
            "None of the known keys made the signature."
        } else {
            return;
        };
        self.findings.push(Finding::new(FindingCode::BadSignature, situation));
        self.checked = true;
    }
}

fn check_algorithm(algorithm: Option<&Value>) -> Option<Finding> {
    let curve = match algorithm.and_then(Value::as_str) {
        Some("ES384") => return None,
        Some("ES256") => "P-256",
        Some("ES256K") => "secp256k1",
        Some("ES512") => "P-521",
        _ => {
            let situation =
                "The alg of the header is not ES384, the only algorithm that IVS accepts.";
            return Some(Finding::new(FindingCode::WrongAlgorithm, situation));
        }
    };
    Some(Finding::new(
        FindingCode::WrongCurve,
        format!("The token is signed with a key on {curve}."),
    ))
}

/// Reports whether IVS accepts signatures of this key. `asked` is whether IVS was asked for the key pairs that could
/// play the channel.
fn check_signer(signer: &KnownKey, channel: Option<&ChannelArn>, asked: bool) -> Option<Finding> {
    if let (Some(key), Some(channel), Some(false)) = (&signer.arn, channel, signer.is_home(channel))
    {
        return Some(Finding::new(
            FindingCode::KeyOtherRegion,
            format!(
                "The key that signed is a key pair of {}, account {}; the channel is in {}, \
                 account {}.",
                key.region(),
                key.account(),
                channel.region(),
                channel.account()
            ),
        ));
    }
    let (code, situation) = match signer.standing {
        KeyStanding::Active => return None,
        KeyStanding::Unknown if !asked => return None,
        KeyStanding::Pending => (
            FindingCode::KeyPending,
            "The key that signed is not active yet; it may not have reached all of IVS's edge.",
        ),
        KeyStanding::Draining => (
            FindingCode::KeyDraining,
            "The key that signed is being retired; the token plays until its exp.",
        ),
        KeyStanding::Retired => {
            (FindingCode::KeyDeleted, "The key that signed was deleted from IVS.")
        }
        KeyStanding::Unknown | KeyStanding::Missing => {
            (FindingCode::KeyUnknownToIvs, "The key that signed is not among the key pairs of IVS.")
        }
    };
    Some(Finding::new(code, situation))
}

/// A signature in either encoding.
struct Encoded {
    der: bool,
    numbers: Numbers,
}

enum Numbers {
    /// r and s, as in a JWS.
    P384([u8; SIGNATURE_LENGTH]),
    /// r and s of another curve.
    OtherCurve(&'static str),
    /// Something else, with this many bytes.
    Unreadable(usize),
}

impl Encoded {
    fn read(signature: &[u8]) -> Self {
        if let Ok(plain) = <[u8; SIGNATURE_LENGTH]>::try_from(signature) {
            // When told to sign ES384 with a P-256 key, jsonwebtoken for Node pads its numbers to 48 bytes
            // each.
            let (r, s) = plain.split_at(HALF);
            return Self { der: false, numbers: Numbers::of(strip_zeros(r), strip_zeros(s)) };
        }
        if let Some((r, s)) = read_der(signature) {
            return Self { der: true, numbers: Numbers::of(r, s) };
        }
        let numbers = match signature.len() {
            P256_LENGTH => Numbers::OtherCurve("P-256"),
            P521_LENGTH => Numbers::OtherCurve("P-521"),
            length => Numbers::Unreadable(length),
        };
        Self { der: false, numbers }
    }
}

impl Numbers {
    /// Determines the curve from the size of the numbers, given without leading zeros.
    fn of(r: &[u8], s: &[u8]) -> Self {
        if !r.is_empty() && r.len() <= P256_HALF && s.len() <= P256_HALF {
            return Self::OtherCurve("P-256");
        }
        join(r, s).map_or(Self::OtherCurve("a curve larger than P-384"), Self::P384)
    }
}

/// Reads the two numbers of `SEQUENCE { r INTEGER, s INTEGER }`, without leading zeros.
fn read_der(signature: &[u8]) -> Option<(&[u8], &[u8])> {
    let body = read_tlv(signature, 0x30).filter(|(_, rest)| rest.is_empty())?.0;
    let (r, rest) = read_tlv(body, 0x02)?;
    let (s, rest) = read_tlv(rest, 0x02)?;
    rest.is_empty().then(|| (strip_zeros(r), strip_zeros(s)))
}

/// Splits off one value with this tag. Signatures are short, so lengths over 255 are not supported.
fn read_tlv(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match bytes {
        [first, 0x81, length, rest @ ..] if *first == tag => (*length, rest),
        [first, length, rest @ ..] if *first == tag && *length < 0x80 => (*length, rest),
        _ => return None,
    };
    rest.split_at_checked(usize::from(length))
}

fn strip_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// Joins r and s in 48 bytes each; returns `None` if one needs more.
fn join(r: &[u8], s: &[u8]) -> Option<[u8; SIGNATURE_LENGTH]> {
    let mut joined = [0; SIGNATURE_LENGTH];
    let (left, right) = joined.split_at_mut(HALF);
    for (half, number) in [(left, r), (right, s)] {
        let start = HALF.checked_sub(number.len())?;
        half.get_mut(start..)?.copy_from_slice(number);
    }
    Some(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
        let integer = |number: &[u8]| {
            let pad: &[u8] = if number[0] >= 0x80 { &[0] } else { &[] };
            let length = u8::try_from(pad.len() + number.len()).unwrap();
            [&[0x02, length], pad, number].concat()
        };
        let body = [integer(r), integer(s)].concat();
        [&[0x30, u8::try_from(body.len()).unwrap()], &body[..]].concat()
    }

    fn describe(signature: &[u8]) -> (bool, String) {
        let encoded = Encoded::read(signature);
        let numbers = match encoded.numbers {
            Numbers::P384(_) => "P-384".to_owned(),
            Numbers::OtherCurve(curve) => curve.to_owned(),
            Numbers::Unreadable(length) => length.to_string(),
        };
        (encoded.der, numbers)
    }

    #[test]
    fn der_signature_is_recognized_and_converted() {
        let (r, s) = ([0x81; 48], [0x01; 47]);
        let encoded = Encoded::read(&der(&r, &s));
        assert!(encoded.der);
        let Numbers::P384(joined) = encoded.numbers else { panic!() };
        assert_eq!(joined[..48], r);
        assert_eq!(joined[48], 0);
        assert_eq!(joined[49..], s);
    }

    #[test]
    fn curve_is_determined_by_numbers() {
        let said = |der, numbers: &str| (der, numbers.to_owned());
        assert_eq!(describe(&[1; 96]), said(false, "P-384"));
        assert_eq!(describe(&[0; 96]), said(false, "P-384"));
        assert_eq!(describe(&[1; 64]), said(false, "P-256"));
        assert_eq!(describe(&[1; 132]), said(false, "P-521"));
        let padded = [[0; 16].as_slice(), &[9; 32], &[0; 16], &[9; 32]].concat();
        assert_eq!(describe(&padded), said(false, "P-256"));
        assert_eq!(describe(&der(&[1; 32], &[1; 31])), said(true, "P-256"));
        assert_eq!(describe(&der(&[1; 60], &[1; 60])), said(true, "a curve larger than P-384"));
        assert_eq!(describe(&[]), said(false, "0"));
        assert_eq!(describe(&[0x30; 95]), said(false, "95"));
    }

    #[test]
    fn truncated_der_is_not_recognized() {
        let whole = der(&[0x81; 48], &[0x01; 48]);
        for length in 0..whole.len() {
            assert!(!describe(&whole[..length]).0, "{length}");
        }
        assert!(!describe(&[&whole[..], &[0]].concat()).0);
    }
}
