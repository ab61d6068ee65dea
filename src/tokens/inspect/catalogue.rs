//! Every finding explained: what it is, why it matters, how to mend it. `docs/findings.md` is
//! generated from here, so that the document and the code cannot disagree.

use std::fmt::Write;

use super::finding::{FindingCode, Severity};

/// How a finding is explained to someone who meets it for the first time.
#[derive(Clone, Copy, Debug)]
pub struct Explanation {
    /// The finding in a few words.
    pub title: &'static str,
    /// What it is and why it matters.
    pub meaning: &'static str,
    /// How to mend it.
    pub mend: &'static str,
}

impl FindingCode {
    /// The explanation of the finding.
    pub const fn explanation(self) -> Explanation {
        match self {
            Self::NotAJwt => Explanation {
                title: "This is no signed JWT",
                meaning: "A viewer token is a JWS in compact serialization: header, claims and \
                          signature in base64url without padding, joined by two dots; header and \
                          claims are JSON objects. IVS refuses everything else before it looks \
                          at a claim.",
                mend: "Hand over the token as the library returned it. Texts that are cut off, \
                       encoded twice, in quotes or padded with = are the usual causes.",
            },
            Self::WrongAlgorithm => Explanation {
                title: "The algorithm is not ES384",
                meaning: "IVS accepts ES384 alone: ECDSA on the curve P-384 with SHA-384. Many \
                          libraries sign with HS256 or RS256 when they are not told otherwise.",
                mend: "Name ES384 when signing, for example `algorithm=\"ES384\"` in PyJWT or \
                       `{algorithm: \"ES384\"}` in jsonwebtoken.",
            },
            Self::WrongCurve => Explanation {
                title: "The key is not on the curve P-384",
                meaning: "The token is signed with another elliptic curve, mostly P-256 (also \
                          called prime256v1 or secp256r1, and the default of many tools). IVS \
                          imports P-384 keys alone, so it cannot know the key.",
                mend: "Make a P-384 key pair (`openssl ecparam -name secp384r1 -genkey -noout`), \
                       import its public half into IVS and sign with ES384.",
            },
            Self::DerSignature => Explanation {
                title: "The signature is in DER",
                meaning: "A JWS carries r and s as 96 plain bytes (RFC 7518, section 3.4). \
                          General-purpose crypto libraries return ASN.1 DER instead, which IVS \
                          refuses though the signature itself may be right.",
                mend: "Let a JWT library sign, or convert the signature: `dsaEncoding: \
                       \"ieee-p1363\"` in Node's crypto, `decode_dss_signature` in Python's \
                       cryptography, then r and s as 48 bytes each.",
            },
            Self::BadSignature => Explanation {
                title: "No known key made the signature",
                meaning: "The signature is of none of the given keys, and of no key pair that IVS has \
                          for the channel: the token was signed with another key, or was changed \
                          after it was signed.",
                mend: "Compare the fingerprint of the signing key with that of the key pair in \
                       IVS (`keys list`). If they are equal, look for what changes the token on \
                       its way.",
            },
            Self::ExpMissing => Explanation {
                title: "There is no exp",
                meaning: "IVS demands an expiry and refuses a token without one.",
                mend: "Set `exp` to the Unix time in seconds until which playback may start.",
            },
            Self::ExpNotInteger => Explanation {
                title: "exp is not a whole number",
                meaning: "`exp` must be a JSON number without a fraction. Text, fractions such as \
                          those of `Date.now() / 1000` or `time.time()`, and numbers beyond 64 \
                          bits are refused.",
                mend: "Round down: `Math.floor(Date.now() / 1000) + 300`, `int(time.time()) + 300`.",
            },
            Self::Expired => Explanation {
                title: "The token is expired",
                meaning: "`exp` is past. IVS checks it when playback starts, so a player that is \
                          playing goes on, and one that starts or reconnects is refused.",
                mend: "Fetch a new token right before every start. If new tokens are expired too, \
                       set the clock of the issuer.",
            },
            Self::TtlOver600 => Explanation {
                title: "exp is over 600 seconds ahead",
                meaning: "With `aws:viewer-id` or `aws:single-use-uuid`, IVS refuses a token \
                          whose `exp` is more than 600 seconds ahead of its own clock.",
                mend: "Use 590 seconds or less, which leaves room for clocks that differ.",
            },
            Self::ChannelArnMissing => Explanation {
                title: "There is no aws:channel-arn",
                meaning: "The token names no channel, so it plays none.",
                mend: "Set `aws:channel-arn` to the ARN of the channel.",
            },
            Self::ChannelMismatch => Explanation {
                title: "The token is for another channel",
                meaning: "`aws:channel-arn` is not the channel of the playback URL, no ARN of a \
                          channel at all, or that of a channel which IVS does not have (any more). A \
                          token plays exactly one channel.",
                mend: "Mint for the channel whose playback URL the player loads. The ARN ends \
                       with the same id as the file name of that URL.",
            },
            Self::ClaimWithoutAwsPrefix => Explanation {
                title: "A claim lacks its aws: prefix",
                meaning: "IVS reads claims such as `aws:channel-arn`. The same name without the \
                          prefix, or in camel case, is ignored: a restriction that was wanted \
                          does not take place, or the token is refused.",
                mend: "Write the claim's full name, with aws: and hyphens.",
            },
            Self::ClaimType => Explanation {
                title: "A claim has a value that IVS does not take",
                meaning: "Each claim has one type: text for the channel, origins and viewer, a \
                          boolean for strict enforcement, a whole number for the session version, \
                          a UUID for single use, and SD, HD or FULL_HD for the resolution.",
                mend: "Put numeric viewer ids into quotes, join origins with commas, and write true \
                       and false without quotes.",
            },
            Self::ViewerIdLength => Explanation {
                title: "The viewer id is not 1 to 40 characters long",
                meaning: "IVS takes viewer ids of 1 to 40 characters, in the token and in the \
                          call that revokes.",
                mend: "Use a shorter id, for example the first 40 characters of a hash of yours. \
                       A UUID has 36. Leave the claim out for a token without a viewer.",
            },
            Self::OriginInvalid => Explanation {
                title: "An allowed origin can match no browser",
                meaning: "A browser sends `scheme://host[:port]` as its origin and nothing behind \
                          it. An entry with a path, a trailing slash, `/#/`, a space or no scheme \
                          never equals that.",
                mend: "Write entries as `https://www.example.com` or `https://*.example.com`, \
                       joined by commas without spaces.",
            },
            Self::TooManyStrictOrigins => Explanation {
                title: "Over five origins under strict enforcement",
                meaning: "With `aws:strict-origin-enforcement`, IVS takes at most five origins.",
                mend: "Name fewer; a host may begin with `*.`. Or mint each site's tokens with \
                       that site's origin alone.",
            },
            Self::StrictWithoutOrigin => Explanation {
                title: "Strict enforcement without an origin",
                meaning: "`aws:strict-origin-enforcement` has no origin to enforce: \
                          `aws:access-control-allow-origin` is absent or `*`.",
                mend: "Name the origins, or leave strict enforcement out.",
            },
            Self::OriginNotAllowed => Explanation {
                title: "The request's origin is not allowed",
                meaning: "The page that plays is on an origin that \
                          `aws:access-control-allow-origin` does not list. Scheme, host and port \
                          must all be equal; `https://*.example.com` does not cover \
                          `https://example.com`.",
                mend: "Add the origin to the token, also those of staging sites and localhost.",
            },
            Self::KeyUnknownToIvs => Explanation {
                title: "IVS does not have the key that signed",
                meaning: "The signature is right, but the key's public half is not among the \
                          playback key pairs of this account and region.",
                mend: "Import it (`keys import`), or sign with a key that IVS has (`keys list`).",
            },
            Self::KeyDeleted => Explanation {
                title: "The key that signed was deleted from IVS",
                meaning: "The key pair was retired. Deleting a pair makes every token that it \
                          signed useless for starting playback.",
                mend: "Fetch a new token. If new ones are signed with that key too, the issuer \
                       still holds the old private key: replace it there.",
            },
            Self::KeyOtherRegion => Explanation {
                title: "The key belongs to another region or account",
                meaning: "IVS looks for the key in the account and region of the channel. A key \
                          pair of another one is unknown there.",
                mend: "Sign with a key pair of the channel's own account and region, or import \
                       this one there too.",
            },
            Self::UrlMalformed => Explanation {
                title: "The URL does not carry its token properly",
                meaning: "IVS reads the token from one query parameter named `token` of the \
                          multivariant playlist. A second `?`, a second token, a token behind `#` \
                          or a single-use token on a variant or segment does not work.",
                mend: "Take the playback URL of the channel and append `?token=` and the token \
                       with a URL library, once, for every load.",
            },
            Self::SessionRevoked => Explanation {
                title: "The playback session was ended",
                meaning: "The edge answered `Forbidden`: the viewer's sessions up to this version \
                          were revoked, or the session was ended because many players shared it.",
                mend: "Fetch a new token and start again, if the viewer may still watch.",
            },
            Self::SingleUseSpent => Explanation {
                title: "The single-use token was used before",
                meaning: "The first fetch of the multivariant playlist spends the token. A reload, \
                          a reconnect or a second player needs one of its own; so does a player \
                          whose preload or preflight fetched the URL.",
                mend: "Fetch a new token for every load, and append it to the multivariant \
                       playlist alone.",
            },
            Self::TokenMissing => Explanation {
                title: "No token reached IVS",
                meaning: "The request for a private channel had no `token` parameter, or an empty \
                          one.",
                mend: "Look where it gets lost: a player or proxy that rewrites the query, a \
                       redirect, or code that loads the playback URL when minting failed.",
            },
            Self::OriginMissing => Explanation {
                title: "The request had no Origin",
                meaning: "The token enforces its origin strictly, so IVS refuses every request \
                          without an `Origin` header: `origin required`.",
                mend: "Put `crossorigin=\"anonymous\"` on the video element (iOS Safari), call \
                       setOrigin on the IVS players for iOS and Android, or drop strict \
                       enforcement.",
            },
            Self::ExpInMilliseconds => Explanation {
                title: "exp is in milliseconds",
                meaning: "`exp` counts seconds. In milliseconds it lies thousands of years \
                          ahead: beside a viewer or single use IVS refuses the token (then this is \
                          an error), else the token never expires. An example in AWS's own guide \
                          makes this mistake.",
                mend: "Divide by 1000 and round down: `Math.floor(Date.now() / 1000) + 300`.",
            },
            Self::ViewerInSub => Explanation {
                title: "The viewer is in sub",
                meaning: "IVS ignores `sub`. Without `aws:viewer-id` the viewer's session can \
                          never be revoked.",
                mend: "Put the viewer into `aws:viewer-id` (1 to 40 characters, no personal \
                       data), and keep `exp` within 600 seconds.",
            },
            Self::LongLivedWithoutViewer => Explanation {
                title: "Valid for over an hour, and cannot be revoked",
                meaning: "Whoever gets hold of the token can start playback until `exp`, and \
                          without `aws:viewer-id` nobody can be cut off. `exp` is checked when \
                          playback starts, not during it, so a long show needs no long token.",
                mend: "Use a few minutes, and fetch a token right before every start.",
            },
            Self::UnknownAwsClaim => Explanation {
                title: "IVS does not know this claim",
                meaning: "The claim begins with `aws:` but is none that IVS defines, so it is \
                          ignored. Most often it is misspelt.",
                mend: "Compare it with the names in the IVS user guide.",
            },
            Self::ChannelPublic => Explanation {
                title: "The channel plays without a token",
                meaning: "The channel is not private, so the token and its restrictions have no \
                          effect.",
                mend: "Make it private: `aws ivs update-channel --arn ARN --authorized`.",
            },
            Self::KeyDraining => Explanation {
                title: "The key that signed is being retired",
                meaning: "Another key signs now; this one is kept until its tokens have expired, \
                          then deleted. This token plays until its own `exp`.",
                mend: "If the token is older than the rotation there is nothing to do. Else the \
                       issuer still signs with the old key: give it the new one.",
            },
            Self::KeyPending => Explanation {
                title: "The key that signed is not in use yet",
                meaning: "The key pair waits for its activation, and the edge of IVS may not know \
                          it everywhere.",
                mend: "Sign with the active key, or wait until the rotation has activated this one.",
            },
            Self::TokenOver2Kb => Explanation {
                title: "The token is over 2 KB",
                meaning: "A limit of about 2 KB on the token is known from practice, though AWS \
                          documents none; proxies limit URLs too.",
                mend: "List fewer origins (a host may begin with `*.`) and leave out claims that \
                       IVS does not read.",
            },
            Self::StrictOriginNeedsHeader => Explanation {
                title: "Every player must send an Origin",
                meaning: "Under strict enforcement IVS refuses every request without an `Origin` \
                          header. Safari on iOS sends none unless the video element has \
                          `crossorigin=\"anonymous\"`, and native players send none at all.",
                mend: "Set that attribute, and call setOrigin on the IVS players for iOS and \
                       Android. Inspect with the origin given to see that it is allowed.",
            },
        }
    }
}

/// The text of `docs/findings.md`.
pub fn findings_markdown() -> String {
    let mut text = String::from(
        "# Findings of token inspection\n\n\
         `ivs-playback-auth token inspect` and `POST /v1/tokens/inspect` name what is wrong with a \
         viewer token, whoever made it. The codes are part of the API: they are not renamed. With an \
         error the token is not valid; a warning plays, but not as its issuer may think.\n\n\
         Some show only where the keyring and IVS are asked: over HTTP, or with `--config`. What was not \
         looked at is listed as `notChecked`, and while something that could make IVS refuse is there, a \
         token without errors is called neither valid nor invalid. Beside the body of a 403 \
         (`edgeError`), the errors are its likely causes in the order to try them. By symptom: \
         [why-403.md](why-403.md).\n\n\
         This file is generated from the code; a test keeps them equal.\n",
    );
    for (severity, heading) in [(Severity::Error, "Errors"), (Severity::Warning, "Warnings")] {
        let codes = || FindingCode::ALL.iter().filter(move |code| code.severity() == severity);
        // Writing to a String cannot fail.
        let _ = write!(text, "\n## {heading}\n\n| code | |\n|---|---|\n");
        for code in codes() {
            let title = code.explanation().title;
            let _ = writeln!(text, "| [`{code}`](#{code}) | {title} |");
        }
        for code in codes() {
            let Explanation { title, meaning, mend } = code.explanation();
            let _ = write!(text, "\n### {code}\n\n{title}. {meaning}\n\n**To mend it:** {mend}\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_is_explained_in_sentences() {
        for code in FindingCode::ALL {
            let Explanation { title, meaning, mend } = code.explanation();
            assert!(!title.is_empty() && !title.ends_with('.'), "{code}");
            for text in [meaning, mend] {
                assert!(text.ends_with('.'), "{code}");
                assert!(!text.contains("  "), "{code}");
            }
        }
    }

    /// `UPDATE_DOCS=1 cargo test --lib inspect::catalogue` writes it anew.
    #[test]
    fn the_document_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/findings.md");
        if std::env::vars_os().any(|(name, _)| name == "UPDATE_DOCS") {
            std::fs::write(path, findings_markdown()).unwrap();
        } else {
            let written = std::fs::read_to_string(path).unwrap();
            assert_eq!(written, findings_markdown(), "run this test with UPDATE_DOCS=1");
        }
    }
}
