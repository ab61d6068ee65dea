//! The table of what inspection can find: each finding is declared once, with its code, severity, place and
//! documentation. `docs/findings.md` is generated from it and from the table of [`keys::finding`].

use std::fmt::{self, Write};

use serde::{Serialize, Serializer};

use crate::keys;

/// One thing that is wrong, or will go wrong, with a token or its URL.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = InspectFinding)]
pub struct Finding {
    /// What was found.
    pub code: FindingCode,
    /// Whether IVS refuses playback because of it.
    pub severity: Severity,
    /// What is wrong with this token, and what to do about it.
    pub detail: String,
    /// The claim concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub claim: Option<String>,
    /// Where it shows.
    #[serde(skip)]
    pub part: Part,
}

/// A part of what is inspected.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Part {
    /// The URL around the token.
    Url,
    /// The token as a whole.
    Token,
    /// The token's header.
    Header,
    /// The token's claims.
    Claims,
    /// The token's signature, and therefore the key that made it.
    Signature,
    /// None of these: the request, the channel or the session.
    Elsewhere,
}

impl Finding {
    /// Describes this case in `situation`, in whole sentences. The advice of the table is appended.
    pub(super) fn new(code: FindingCode, situation: impl fmt::Display) -> Self {
        let FindingSpec { severity, part, fix, .. } = code.spec();
        Self { code, severity, detail: format!("{situation} {fix}"), claim: None, part }
    }

    /// The reason for which the edge refused. It is an error even where the same finding in an
    /// unused token is a warning.
    pub(super) fn refusal(code: FindingCode, situation: impl fmt::Display) -> Self {
        Self::new(code, situation).with_severity(Severity::Error)
    }

    pub(super) fn about(mut self, claim: impl Into<String>) -> Self {
        self.claim = Some(claim.into());
        self
    }

    pub(super) fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    pub(super) fn within(mut self, part: Part) -> Self {
        self.part = part;
        self
    }

    pub(super) fn with_severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, utoipa::ToSchema)]
#[schema(as = InspectFindingSeverity)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// IVS refuses playback, or a restriction that the issuer intended has no effect.
    Error,
    /// Playback starts, but perhaps not as the issuer expects.
    Warning,
}

impl Severity {
    /// The word in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// An entry of the table.
#[derive(Clone, Copy, Debug)]
pub struct FindingSpec {
    /// The code in the API.
    pub code: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// Where it shows. A text that is not a JWT may show it in one of its parts.
    pub part: Part,
    /// The finding in a few words.
    pub title: &'static str,
    /// What it is and why it matters.
    pub meaning: &'static str,
    /// How to fix it.
    pub fix: &'static str,
}

macro_rules! findings {
    ($($(#[$doc:meta])* $variant:ident $code:literal $severity:ident $part:ident $title:literal $meaning:literal $fix:literal;)+) => {
        /// The code of a finding. A code is never renamed or reused.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum FindingCode {
            $($(#[$doc])* $variant,)+
        }

        impl FindingCode {
            /// Every code: the errors, then the warnings.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The entry of the table.
            pub const fn spec(self) -> FindingSpec {
                match self {
                    $(Self::$variant => FindingSpec {
                        code: $code,
                        severity: Severity::$severity,
                        part: Part::$part,
                        title: $title,
                        meaning: $meaning,
                        fix: $fix,
                    },)+
                }
            }
        }
    };
}

findings! {
    /// The text is not a signed JWT.
    NotAJwt "not_a_jwt" Error Token "Not a signed JWT"
        "A viewer token is a JWS in compact serialization: header, claims and signature in base64url without padding, joined by two dots. The header and the claims are JSON objects. IVS refuses anything else before it reads a claim."
        "Pass the token on exactly as the library returned it. Common causes are text that is cut off, encoded twice, quoted or padded with =.";
    /// The `alg` of the header is not `ES384`.
    WrongAlgorithm "wrong_algorithm" Error Header "The algorithm is not ES384"
        "IVS accepts only ES384: ECDSA on the curve P-384 with SHA-384. Many libraries sign with HS256 or RS256 by default."
        "Select ES384 when signing, for example `algorithm=\"ES384\"` in PyJWT or `{algorithm: \"ES384\"}` in jsonwebtoken.";
    /// The token is signed with a key on a curve other than P-384.
    WrongCurve "wrong_curve" Error Signature "The key is not on the curve P-384"
        "The token is signed with a key on another elliptic curve, usually P-256 (also called prime256v1 or secp256r1, and the default of many tools). IVS imports only P-384 keys, so it cannot have this key."
        "Create a P-384 key pair (`openssl ecparam -name secp384r1 -genkey -noout`), import its public key into IVS and sign with ES384.";
    /// The signature is encoded as DER instead of r and s.
    DerSignature "der_signature" Error Signature "The signature is encoded as DER"
        "A JWS carries r and s as 96 plain bytes (RFC 7518, section 3.4). General-purpose crypto libraries return ASN.1 DER instead, which IVS refuses even if the signature itself is correct."
        "Let a JWT library sign, or convert the signature: `dsaEncoding: \"ieee-p1363\"` in Node's crypto, or `decode_dss_signature` in Python's cryptography, then r and s as 48 bytes each.";
    /// None of the known keys made the signature.
    BadSignature "bad_signature" Error Signature "No known key made the signature"
        "The signature matches none of the given keys and no key pair that IVS has for the channel. Either the token was signed with another key, or it was changed after it was signed."
        "Compare the fingerprint of the signing key with that of the key pair in IVS (`keys list`). If they are equal, find out what changes the token on its way.";
    /// There is no `exp`.
    ExpMissing "exp_missing" Error Claims "There is no exp"
        "IVS requires an expiry and refuses a token without one."
        "Set `exp` to the Unix time in seconds until which playback may start.";
    /// `exp` is not an integer.
    ExpNotInteger "exp_not_integer" Error Claims "exp is not an integer"
        "`exp` must be a JSON number without a fraction. IVS refuses text, fractions (as `Date.now() / 1000` and `time.time()` produce) and numbers beyond 64 bits."
        "Round down: `Math.floor(Date.now() / 1000) + 300`, `int(time.time()) + 300`.";
    /// `exp` is in the past.
    Expired "expired" Error Claims "The token has expired"
        "`exp` is in the past. IVS checks it when playback starts, so a player that is already playing continues, while one that starts or reconnects is refused."
        "Fetch a new token immediately before every start. If new tokens have expired too, set the clock of the issuer.";
    /// `exp` is more than 600 s ahead although the token names a viewer or is for single use.
    TtlOver600 "ttl_over_600" Error Claims "exp is more than 600 seconds ahead"
        "With `aws:viewer-id` or `aws:single-use-uuid`, IVS refuses a token whose `exp` is more than 600 seconds ahead of its own clock."
        "Use 590 seconds or less, which leaves room for clocks that differ.";
    /// There is no `aws:channel-arn`.
    ChannelArnMissing "channel_arn_missing" Error Claims "There is no aws:channel-arn"
        "The token does not name a channel, so it cannot play any."
        "Set `aws:channel-arn` to the ARN of the channel.";
    /// `aws:channel-arn` is not the channel that is to be played.
    ChannelMismatch "channel_mismatch" Error Claims "The token is for another channel"
        "`aws:channel-arn` is not the channel of the playback URL, not the ARN of a channel at all, or the ARN of a channel that IVS does not have. A token plays exactly one channel."
        "Mint for the channel whose playback URL the player loads. The ARN ends with the same id as the file name of that URL.";
    /// A claim of IVS is written without its `aws:` prefix.
    ClaimWithoutAwsPrefix "claim_without_aws_prefix" Error Claims "A claim lacks its aws: prefix"
        "IVS reads claims such as `aws:channel-arn`. It ignores the same name without the prefix or in camel case, so an intended restriction has no effect, or the token is refused."
        "Write the claim's full name, with aws: and hyphens.";
    /// A claim of IVS has a value of the wrong type or outside its set.
    ClaimType "claim_type" Error Claims "A claim has a value that IVS does not accept"
        "Each claim has one type: text for the channel, origins and viewer, a boolean for strict enforcement, an integer for the session version, a UUID for single use, and SD, HD or FULL_HD for the resolution."
        "Quote numeric viewer ids, join origins with commas, and write true and false without quotes.";
    /// `aws:viewer-id` is empty or has more than 40 characters.
    ViewerIdLength "viewer_id_length" Error Claims "The viewer id does not have 1 to 40 characters"
        "IVS accepts viewer ids of 1 to 40 characters, both in the token and in the call that revokes."
        "Use a shorter id, for example the first 40 characters of a hash of yours (a UUID has 36). For a token without a viewer, omit the claim.";
    /// No browser can match an entry of the allowed origins.
    OriginInvalid "origin_invalid" Error Claims "No browser can match an allowed origin"
        "A browser sends `scheme://host[:port]` as its origin and nothing after it. An entry with a path, a trailing slash, `/#/`, a space or no scheme never equals that."
        "Write entries as `https://www.example.com` or `https://*.example.com`, joined by commas without spaces.";
    /// More than five origins under strict enforcement.
    TooManyStrictOrigins "too_many_strict_origins" Error Claims "More than five origins under strict enforcement"
        "With `aws:strict-origin-enforcement`, IVS accepts at most five origins."
        "List fewer origins (a host may begin with `*.`), or mint each site's tokens with only that site's origin.";
    /// Strict enforcement without an origin to enforce.
    StrictWithoutOrigin "strict_without_origin" Error Claims "Strict enforcement without an origin"
        "`aws:strict-origin-enforcement` has no origin to enforce: `aws:access-control-allow-origin` is absent or `*`."
        "List the origins, or omit strict enforcement.";
    /// The allowed origins do not contain the origin of the request.
    OriginNotAllowed "origin_not_allowed" Error Claims "The request's origin is not allowed"
        "The page that plays is on an origin that `aws:access-control-allow-origin` does not list. Scheme, host and port must all be equal; `https://*.example.com` does not cover `https://example.com`."
        "Add the origin to the token. Remember those of staging sites and localhost.";
    /// IVS does not have the key that signed.
    KeyUnknownToIvs "key_unknown_to_ivs" Error Signature "IVS does not have the key that signed"
        "The signature is correct, but the public key is not among the playback key pairs of this account and region."
        "Import it (`keys import`), or sign with a key that IVS has (`keys list`).";
    /// The key that signed was deleted from IVS.
    KeyDeleted "key_deleted" Error Signature "The key that signed was deleted from IVS"
        "The key pair was retired. Once a pair is deleted, the tokens that it signed can no longer start playback."
        "Fetch a new token. If new tokens are signed with that key too, the issuer still holds the old private key; replace it there.";
    /// The key that signed belongs to another region or account than the channel.
    KeyOtherRegion "key_other_region" Error Signature "The key belongs to another region or account"
        "IVS searches for the key in the account and region of the channel and does not find key pairs of other ones."
        "Sign with a key pair of the channel's own account and region, or import this one there too.";
    /// The URL does not carry its token where IVS reads it.
    UrlMalformed "url_malformed" Error Url "The URL does not carry its token correctly"
        "IVS reads the token from a single query parameter named `token` of the multivariant playlist. A second `?`, a second token, a token after `#`, or a single-use token on a variant or segment does not work."
        "Take the playback URL of the channel and append `?token=` and the token with a URL library, once for every load.";
    /// The playback session was ended.
    SessionRevoked "session_revoked" Error Elsewhere "The playback session was ended"
        "The edge answered `Forbidden`: the viewer's sessions up to this version were revoked, or the session was ended because many players shared it."
        "If the viewer may still watch, fetch a new token and start again.";
    /// The single-use token was used before.
    SingleUseSpent "single_use_spent" Error Elsewhere "The single-use token was used before"
        "The first fetch of the multivariant playlist uses up the token. A reload, a reconnect or a second player needs a token of its own. So does a player whose preload or preflight fetched the URL."
        "Fetch a new token for every load, and append it only to the multivariant playlist.";
    /// The request reached IVS without a token.
    TokenMissing "token_missing" Error Url "No token reached IVS"
        "The request for a private channel had no `token` parameter, or an empty one."
        "Find out where the token gets lost: in a player or proxy that rewrites the query, in a redirect, or in code that loads the playback URL after minting failed.";
    /// The request reached IVS without an `Origin`.
    OriginMissing "origin_missing" Error Elsewhere "The request had no Origin"
        "The token enforces its origin strictly, so IVS answers `origin required` to every request without an `Origin` header."
        "Set `crossorigin=\"anonymous\"` on the video element (iOS Safari), call setOrigin on the IVS players for iOS and Android, or turn strict enforcement off.";
    /// `exp` is in milliseconds. Beside a viewer or single use this is an error.
    ExpInMilliseconds "exp_in_milliseconds" Warning Claims "exp is in milliseconds"
        "`exp` counts seconds. In milliseconds it lies thousands of years ahead. IVS refuses such a token if it names a viewer or is for single use (then this is an error); otherwise the token never expires. An example in AWS's own guide makes this mistake."
        "Divide by 1000 and round down: `Math.floor(Date.now() / 1000) + 300`.";
    /// The viewer is named in `sub`, which revocation ignores.
    ViewerInSub "viewer_in_sub" Warning Claims "The viewer is in sub"
        "IVS ignores `sub`. Without `aws:viewer-id`, the viewer's session can never be revoked."
        "Put the viewer into `aws:viewer-id` (1 to 40 characters, no personal data), and keep `exp` within 600 seconds.";
    /// The token is valid for hours and names no viewer to revoke.
    LongLivedWithoutViewer "long_lived_without_viewer" Warning Claims "Valid for more than an hour, and cannot be revoked"
        "Anyone who gets hold of the token can start playback until `exp`, and without `aws:viewer-id` no one can be cut off. IVS checks `exp` when playback starts, not during playback, so a long show does not need a long-lived token."
        "Use a lifetime of a few minutes, and fetch a token immediately before every start.";
    /// A claim begins with `aws:`, and IVS does not define it.
    UnknownAwsClaim "unknown_aws_claim" Warning Claims "IVS does not know this claim"
        "The claim begins with `aws:`, but IVS does not define it and ignores it. Usually it is misspelt."
        "Compare it with the names in the IVS user guide.";
    /// The channel plays without a token.
    ChannelPublic "channel_public" Warning Elsewhere "The channel plays without a token"
        "The channel is not private, so the token and its restrictions have no effect."
        "Make the channel private: `aws ivs update-channel --arn ARN --authorized`.";
    /// The key that signed is being retired.
    KeyDraining "key_draining" Warning Signature "The key that signed is being retired"
        "Another key signs now. This one is kept until its tokens have expired and is then deleted. This token plays until its own `exp`."
        "If the token is older than the rotation, there is nothing to do. Otherwise the issuer still signs with the old key; give it the new one.";
    /// The key that signed is not in use yet.
    KeyPending "key_pending" Warning Signature "The key that signed is not in use yet"
        "The key pair has not been activated yet, and it may not have reached all of IVS's edge."
        "Sign with the active key, or wait until the rotation has activated this one.";
    /// The token has more than 2048 bytes.
    TokenOver2Kb "token_over_2kb" Warning Token "The token is larger than 2 KB"
        "AWS documents no limit on the token, but in practice there is one of about 2 KB. Proxies limit URLs too."
        "List fewer origins (a host may begin with `*.`), and omit claims that IVS does not read.";
    /// Strict enforcement needs an `Origin` from every player.
    StrictOriginNeedsHeader "strict_origin_needs_header" Warning Claims "Every player must send an Origin"
        "Under strict enforcement IVS refuses every request without an `Origin` header. Safari on iOS sends none unless the video element has `crossorigin=\"anonymous\"`, and native players send none at all."
        "Set that attribute, and call setOrigin on the IVS players for iOS and Android. Inspect again with the origin to check that it is allowed.";
}

impl FindingCode {
    /// The code as the API writes it.
    pub const fn as_str(self) -> &'static str {
        self.spec().code
    }
}

impl fmt::Display for FindingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for FindingCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The text of `docs/findings.md`: this table and that of [`keys::finding`].
pub fn findings_markdown() -> String {
    let mut text = String::from(
        "# Findings\n\n\
         Every finding has a code, which is part of the API and is never renamed. There are findings \
         about a [token](#findings-about-a-token) and findings about the \
         [service and its keys](#findings-about-the-service-and-its-keys).\n\n\
         This file is generated from the code; a test keeps them equal.\n\n\
         ## Findings about a token\n\n\
         `ivs-playback-auth token inspect` and `POST /v1/tokens/inspect` report what is wrong with a \
         viewer token, regardless of who made it. \
         A token with an error is not valid. A token with only warnings plays, but perhaps not as its \
         issuer expects.\n\n\
         Some findings need the keyring and IVS, so they appear only over HTTP or with `--config`. \
         `notChecked` lists what was not checked. As long as it lists something that could make IVS refuse \
         the token, a token without errors is reported as neither valid nor invalid. With the body of a 403 \
         (`edgeError`), the errors are its likely causes, in the order in which to try them. \
         [why-403.md](why-403.md) lists the causes by symptom.\n",
    );
    for (severity, heading) in [(Severity::Error, "Errors"), (Severity::Warning, "Warnings")] {
        let specs = || {
            FindingCode::ALL.iter().map(|code| code.spec()).filter(|spec| spec.severity == severity)
        };
        // Writing to a String cannot fail.
        let _ = write!(text, "\n## {heading}\n\n| code | |\n|---|---|\n");
        for FindingSpec { code, title, .. } in specs() {
            let _ = writeln!(text, "| [`{code}`](#{code}) | {title} |");
        }
        for FindingSpec { code, title, meaning, fix, .. } in specs() {
            let _ = write!(text, "\n### {code}\n\n{title}. {meaning}\n\n**To fix it:** {fix}\n");
        }
    }
    text.push_str(
        "\n## Findings about the service and its keys\n\n\
         `GET /readyz`, `keys status`, `keys doctor` and the log events `keys_finding` and \
         `keys_finding_over` use these codes. A region is `unready` while no key can sign for it, or \
         while `audit.on_failure = \"deny\"` and the audit log cannot be written; the other findings of \
         `/readyz` make it `degraded` and leave it in service. `keys doctor` fails if one of its findings is an \
         error.\n\n\
         | code | severity | `/readyz` | meaning | what to do |\n|---|---|---|---|---|\n",
    );
    for keys_code in keys::finding::FindingCode::ALL {
        let keys::finding::FindingSpec { code, severity, effect, title, fix } = keys_code.spec();
        let (severity, effect) = (severity.as_str(), effect.as_str());
        let _ = writeln!(text, "| `{code}` | {severity} | {effect} | {title} | {fix} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_match_the_contract() {
        let codes = |severity| {
            let specs = FindingCode::ALL.iter().map(|code| code.spec());
            let specs = specs.filter(|spec| spec.severity == severity);
            specs.map(|spec| spec.code).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            codes(Severity::Error),
            "not_a_jwt wrong_algorithm wrong_curve der_signature bad_signature exp_missing \
             exp_not_integer expired ttl_over_600 channel_arn_missing channel_mismatch \
             claim_without_aws_prefix claim_type viewer_id_length origin_invalid \
             too_many_strict_origins strict_without_origin origin_not_allowed key_unknown_to_ivs \
             key_deleted key_other_region url_malformed session_revoked single_use_spent \
             token_missing origin_missing"
        );
        assert_eq!(
            codes(Severity::Warning),
            "exp_in_milliseconds viewer_in_sub long_lived_without_viewer unknown_aws_claim \
             channel_public key_draining key_pending token_over_2kb strict_origin_needs_header"
        );
    }

    #[test]
    fn every_finding_is_documented_in_sentences() {
        for code in FindingCode::ALL {
            let FindingSpec { title, meaning, fix, .. } = code.spec();
            assert!(!title.is_empty() && !title.ends_with('.'), "{code}");
            for text in [meaning, fix] {
                assert!(text.ends_with('.'), "{code}");
                assert!(!text.contains("  "), "{code}");
            }
        }
    }

    /// `UPDATE_DOCS=1 cargo test --lib inspection::finding` rewrites the file.
    #[test]
    fn findings_document_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/findings.md");
        if std::env::vars_os().any(|(name, _)| name == "UPDATE_DOCS") {
            std::fs::write(path, findings_markdown()).unwrap();
        } else {
            let written = std::fs::read_to_string(path).unwrap();
            assert_eq!(written, findings_markdown(), "run this test with UPDATE_DOCS=1");
        }
    }
}
