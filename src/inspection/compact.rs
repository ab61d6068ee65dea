//! Parsing a token without trusting it: JWS compact serialization (RFC 7515, section 7.1) around a JWT
//! Claims Set. Nothing here uses a key.

use std::fmt;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::finding::Part;

/// A parsed token. Nothing in it is verified.
pub(super) struct UnverifiedToken<'a> {
    pub(super) header: Map<String, Value>,
    pub(super) claims: Map<String, Value>,
    /// What was signed: the encoded header and claims, as written in the token.
    pub(super) signing_input: &'a str,
    pub(super) signature: Vec<u8>,
}

impl<'a> UnverifiedToken<'a> {
    /// Parses a token.
    ///
    /// # Errors
    ///
    /// The text is not a signed JWT. The error carries the parts that could be read.
    pub(super) fn parse(token: &'a str) -> Result<Self, Unreadable> {
        let parts = 1 + token.bytes().filter(|byte| *byte == b'.').count();
        let split = token.rsplit_once('.').filter(|_| parts == 3);
        let split = split.and_then(|(signing_input, signature)| {
            let (header, claims) = signing_input.split_once('.')?;
            Some((signing_input, header, claims, signature))
        });
        let Some((signing_input, header, claims, signature)) = split else {
            let cause = if parts == 5 { Malformed::Encrypted } else { Malformed::Parts(parts) };
            return Err(Unreadable { cause, header: None, claims: None });
        };
        let read = || {
            let header =
                read_object(header).map_err(|fault| Malformed::Part(Part::Header, fault))?;
            // A reader must refuse extensions that it does not know (RFC 7515, section 4.1.11), and
            // IVS documents none.
            if header.contains_key("crit") {
                return Err(Malformed::Critical);
            }
            Ok(Self {
                header,
                claims: read_object(claims)
                    .map_err(|fault| Malformed::Part(Part::Claims, fault))?,
                signature: decode(signature)
                    .map_err(|fault| Malformed::Part(Part::Signature, fault))?,
                signing_input,
            })
        };
        read().map_err(|cause| Unreadable {
            cause,
            header: read_leniently(header),
            claims: read_leniently(claims),
        })
    }
}

/// Why a text is not a token, with the parts that could be read.
pub(super) struct Unreadable {
    pub(super) cause: Malformed,
    pub(super) header: Option<Map<String, Value>>,
    pub(super) claims: Option<Map<String, Value>>,
}

/// Why a text is not a token. The message never repeats the text.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("A token has three parts joined by dots; this text has {0}.")]
    Parts(usize),
    #[error("It has five parts, so it is encrypted (JWE), not signed (JWS).")]
    Encrypted,
    #[error("Its header requires extensions (crit), and IVS documents none.")]
    Critical,
    #[error("Its {0} {1}")]
    Part(Part, PartFault),
}

impl Malformed {
    /// Where the fault shows.
    pub(super) fn part(self) -> Part {
        match self {
            Self::Parts(_) | Self::Encrypted => Part::Token,
            Self::Critical => Part::Header,
            Self::Part(part, _) => part,
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Url => "URL",
            Self::Token | Self::Elsewhere => "token",
            Self::Header => "header",
            Self::Claims => "claims",
            Self::Signature => "signature",
        })
    }
}

/// What is wrong with one part of a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum PartFault {
    #[error("contains white space.")]
    WhiteSpace,
    #[error("has base64 padding.")]
    Padding,
    #[error("is base64 with + and /; base64url uses - and _.")]
    StandardAlphabet,
    #[error("is not base64url.")]
    Base64,
    #[error("is not JSON in UTF-8.")]
    Json,
    #[error("is JSON, but not an object.")]
    NotAnObject,
    #[error("has a duplicate member, which readers interpret differently.")]
    Duplicate,
}

fn decode(part: &str) -> Result<Vec<u8>, PartFault> {
    BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| {
        if part.contains(char::is_whitespace) {
            PartFault::WhiteSpace
        } else if part.ends_with('=') {
            PartFault::Padding
        } else if part.contains(['+', '/']) {
            PartFault::StandardAlphabet
        } else {
            PartFault::Base64
        }
    })
}

fn read_object(part: &str) -> Result<Map<String, Value>, PartFault> {
    let bytes = decode(part)?;
    let members: Members = serde_json::from_slice(&bytes)
        .map_err(|error| if error.is_data() { PartFault::NotAnObject } else { PartFault::Json })?;
    if members.duplicate { Err(PartFault::Duplicate) } else { Ok(members.map) }
}

/// Decodes a part in another base64 variant, so that its content can be shown.
fn read_leniently(part: &str) -> Option<Map<String, Value>> {
    let part = part.trim_end_matches('=').replace('+', "-").replace('/', "_");
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// A JSON object, and whether it has a duplicate member. The last value of a duplicate is kept.
struct Members {
    map: Map<String, Value>,
    duplicate: bool,
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Members, A::Error> {
        let mut members = Members { map: Map::new(), duplicate: false };
        while let Some((name, value)) = access.next_entry::<String, Value>()? {
            members.duplicate |= members.map.insert(name, value).is_some();
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = r#"{"alg":"ES384","typ":"JWT"}"#;

    fn token(header: &[u8], claims: &[u8]) -> String {
        let encode = |bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        format!("{}.{}.{}", encode(header), encode(claims), encode(&[7; 96]))
    }

    fn cause(token: &str) -> Malformed {
        UnverifiedToken::parse(token).err().expect(token).cause
    }

    #[test]
    fn token_is_parsed() {
        let text = token(HEADER.as_bytes(), br#"{"exp":1,"deep":{"a":[{}]}}"#);
        let token = UnverifiedToken::parse(&text).ok().unwrap();
        assert_eq!(token.header.get("alg").unwrap(), "ES384");
        assert_eq!(token.claims.len(), 2);
        assert_eq!(token.signature, [7; 96]);
        assert!(text.starts_with(token.signing_input));
        assert_eq!(text.len(), token.signing_input.len() + 1 + 128);
    }

    #[test]
    fn wrong_number_of_parts_is_reported() {
        assert_eq!(cause(""), Malformed::Parts(1));
        assert_eq!(cause("a.b"), Malformed::Parts(2));
        assert_eq!(cause("a.b.c.d"), Malformed::Parts(4));
        assert_eq!(cause("a.b.c.d.e"), Malformed::Encrypted);
        assert_eq!(cause(&".".repeat(1_000_000)), Malformed::Parts(1_000_001));
    }

    #[test]
    fn faulty_part_is_reported_with_its_fault() {
        let claims = |bytes: &[u8]| cause(&token(HEADER.as_bytes(), bytes));
        assert_eq!(claims(b"[]"), Malformed::Part(Part::Claims, PartFault::NotAnObject));
        assert_eq!(claims(b""), Malformed::Part(Part::Claims, PartFault::Json));
        assert_eq!(claims(b"{\"a\":\"\xff\"}"), Malformed::Part(Part::Claims, PartFault::Json));
        assert_eq!(
            claims(b"{\"a\":1,\"a\":2}"),
            Malformed::Part(Part::Claims, PartFault::Duplicate)
        );
        assert_eq!(claims(b"{} x"), Malformed::Part(Part::Claims, PartFault::Json));
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(claims(deep.as_bytes()), Malformed::Part(Part::Claims, PartFault::Json));
        assert_eq!(cause("!.e30.AA"), Malformed::Part(Part::Header, PartFault::Base64));
        let critical = token(br#"{"alg":"ES384","crit":["b64"]}"#, b"{}");
        assert_eq!(cause(&critical), Malformed::Critical);
        assert_eq!(cause("e30.e30.A"), Malformed::Part(Part::Signature, PartFault::Base64));
    }

    #[test]
    fn content_in_another_encoding_is_shown() {
        for (token, fault) in [
            ("eyJhIjoxfQ==.eyJiIjoyfQ.AA", PartFault::Padding),
            ("eyJhIjoifn5-fyJ9.eyJiIjoyfQ.A+A=", PartFault::Padding),
            ("eyJhIjoi/n4ifQ.eyJiIjoyfQ.AA", PartFault::StandardAlphabet),
            ("eyJhIjoxfQ. eyJiIjoyfQ.AA", PartFault::WhiteSpace),
        ] {
            let unreadable = UnverifiedToken::parse(token).err().unwrap();
            assert!(
                matches!(unreadable.cause, Malformed::Part(_, found) if found == fault),
                "{token}"
            );
        }
        let padded = UnverifiedToken::parse("eyJhIjoxfQ==.eyJiIjoyfQ==.AA==").err().unwrap();
        assert_eq!(padded.header.unwrap()["a"], 1);
        assert_eq!(padded.claims.unwrap()["b"], 2);
    }
}
