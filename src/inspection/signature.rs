//! How a token is signed: its algorithm, the shape of its signature, and the key that made it.
//!
//! Much is told by the shape alone, without a key: DER instead of r and s, and a key on another
//! curve, are the two mistakes that tokens made without a JWT library have most often.

use serde_json::Value;

use crate::{ivs::arn::ChannelArn, keys::material::PublicKey, tokens::mint::SIGNATURE_LENGTH};

use super::{
    compact::UnverifiedToken,
    finding::{Finding, FindingCode},
    keys::{KeyRing, KeyStanding, KnownKey},
};

/// Bytes of r, and of s, on P-384.
const HALF: usize = SIGNATURE_LENGTH / 2;

/// Bytes of r and s on P-256, and on P-521 (RFC 7518, section 3.4).
const P256_LENGTH: usize = 64;
const P521_LENGTH: usize = 132;

/// A number of P-256 has at most 32 bytes. One of P-384 is that small by chance once in 2^128.
const P256_HALF: usize = 32;

/// What was found out about the signature.
#[derive(Default)]
pub(super) struct Verdict<'k> {
    pub(super) findings: Vec<Finding>,
    /// The key that signed.
    pub(super) signer: Option<&'k KnownKey>,
    /// Whether the signature was compared with every key that counts, or is wrong without one.
    pub(super) checked: bool,
    /// Whether the key is known, and what IVS has of it is not.
    pub(super) key_pair_unchecked: bool,
}

/// Judges the signature of a token for `channel`.
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
            "The signature is in ASN.1 DER, not r and s.",
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
                format!("The signature is one of {curve}."),
            ));
            None
        }
        Numbers::Unreadable(length) => {
            verdict.findings.push(Finding::new(
                FindingCode::BadSignature,
                format!("The signature has {length} bytes, one of ES384 has 96."),
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
    /// Finds out who made the signature, and what IVS makes of that.
    fn judge(
        &mut self,
        token: &UnverifiedToken<'_>,
        signature: &[u8; SIGNATURE_LENGTH],
        channel: Option<&ChannelArn>,
        keys: Option<&'k KeyRing>,
    ) {
        let signers = PublicKey::possible_signers(token.signing_input.as_bytes(), signature);
        if let Some((keys, signer)) = keys.and_then(|it| Some((it, it.find(&signers, channel)?))) {
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
            "The numbers r and s are such that no key can have made them."
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
            let situation = "The alg of the header is not ES384, the one algorithm of IVS.";
            return Some(Finding::new(FindingCode::WrongAlgorithm, situation));
        }
    };
    Some(Finding::new(
        FindingCode::WrongCurve,
        format!("The token is signed with a key on {curve}."),
    ))
}

/// What IVS makes of a signature of this key; `asked` is whether IVS was asked for the key pairs that
/// could play the channel.
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
            "The key that signed is not active yet; IVS may not know it everywhere.",
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

/// A signature, whichever way it is encoded.
struct Encoded {
    der: bool,
    numbers: Numbers,
}

enum Numbers {
    /// r and s, as JWS has them.
    P384([u8; SIGNATURE_LENGTH]),
    /// r and s are those of another curve.
    OtherCurve(&'static str),
    /// So many bytes of something else.
    Unreadable(usize),
}

impl Encoded {
    fn read(signature: &[u8]) -> Self {
        if let Ok(plain) = <[u8; SIGNATURE_LENGTH]>::try_from(signature) {
            // jsonwebtoken for Node pads the numbers of a P-256 key to 48 bytes each when it is
            // told to sign ES384 with one.
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
    /// Tells the curve by the size of the numbers, given without leading zeros.
    fn of(r: &[u8], s: &[u8]) -> Self {
        if !r.is_empty() && r.len() <= P256_HALF && s.len() <= P256_HALF {
            return Self::OtherCurve("P-256");
        }
        join(r, s).map_or(Self::OtherCurve("a curve larger than P-384"), Self::P384)
    }
}

/// The two numbers of `SEQUENCE { r INTEGER, s INTEGER }`, without leading zeros.
fn read_der(signature: &[u8]) -> Option<(&[u8], &[u8])> {
    let body = read_tlv(signature, 0x30).filter(|(_, rest)| rest.is_empty())?.0;
    let (r, rest) = read_tlv(body, 0x02)?;
    let (s, rest) = read_tlv(rest, 0x02)?;
    rest.is_empty().then(|| (strip_zeros(r), strip_zeros(s)))
}

/// Splits one value off, of this tag. A signature is short, so lengths over 255 are not read.
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

/// r and s in 48 bytes each; `None` where one needs more.
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
    fn der_is_told_from_plain_and_converted() {
        let (r, s) = ([0x81; 48], [0x01; 47]);
        let encoded = Encoded::read(&der(&r, &s));
        assert!(encoded.der);
        let Numbers::P384(joined) = encoded.numbers else { panic!() };
        assert_eq!(joined[..48], r);
        assert_eq!(joined[48], 0);
        assert_eq!(joined[49..], s);
    }

    #[test]
    fn the_curve_is_told_by_the_numbers() {
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
    fn cut_off_der_is_no_der() {
        let whole = der(&[0x81; 48], &[0x01; 48]);
        for length in 0..whole.len() {
            assert!(!describe(&whole[..length]).0, "{length}");
        }
        assert!(!describe(&[&whole[..], &[0]].concat()).0);
    }
}
