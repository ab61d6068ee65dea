//! Checks the claims of a token the way IVS does, and adds what the issuer should know.
//!
//! A mistake that follows from another one is not reported: a token whose `channel-arn` lacks its
//! prefix is not also reported as having no channel.

use serde_json::{Map, Value};
use uuid::fmt::Hyphenated;

use crate::{
    clock::Timestamp,
    ivs::arn::ChannelArn,
    tokens::{
        claims::{MaximumResolution, ViewerIdError, check_viewer_id},
        payload::{
            ALLOW_ORIGIN, AWS_CLAIMS, CHANNEL_ARN, MAXIMUM_RESOLUTION, SINGLE_USE_UUID,
            STRICT_ORIGIN, VIEWER_ID, VIEWER_SESSION_VERSION,
        },
    },
};

use super::{
    expiry,
    finding::{Finding, FindingCode},
    origins,
};

/// At most this many claims of one kind are listed. A token may have a hundred thousand.
const MAX_LISTED_CLAIMS: usize = 20;

/// The longest name that is compared with IVS's claims; none of them is nearly as long.
const MAX_NAME_LENGTH: usize = 64;

/// What is known about the request in which the token is to be used.
pub(super) struct Request<'a> {
    /// The channels to be played, as named by the caller and by the URL.
    pub(super) channels: &'a [ChannelArn],
    /// The `Origin` header, or the address of the page; `Some("")` if the request has none.
    pub(super) origin: Option<&'a str>,
}

/// Checks every claim.
pub(super) fn check(
    claims: &Map<String, Value>,
    request: &Request<'_>,
    now: Timestamp,
) -> Vec<Finding> {
    let unprefixed = unprefixed(claims);
    let mut findings = Vec::new();
    findings.extend(expiry::check(claims, now));
    findings.extend(check_channel(claims, &unprefixed, request.channels));
    findings.extend(AWS_CLAIMS.into_iter().filter_map(|name| check_type(claims, name)));
    findings.extend(check_viewer(claims, &unprefixed));
    findings.extend(origins::check(claims, request.origin));
    findings.extend(unprefixed.iter().take(MAX_LISTED_CLAIMS).map(|claim| {
        let situation = format!("IVS ignores this claim; it reads {} instead.", claim.meant);
        Finding::new(FindingCode::ClaimWithoutAwsPrefix, situation).about(claim.written)
    }));
    findings.extend(unknown(claims).take(MAX_LISTED_CLAIMS));
    findings
}

fn check_channel(
    claims: &Map<String, Value>,
    unprefixed: &[Unprefixed<'_>],
    channels: &[ChannelArn],
) -> Option<Finding> {
    let find = |code, situation: String| Some(Finding::new(code, situation).about(CHANNEL_ARN));
    let Some(claim) = claims.get(CHANNEL_ARN) else {
        let situation = "The token does not name a channel.";
        return if unprefixed.iter().any(|claim| claim.meant == CHANNEL_ARN) {
            None
        } else {
            find(FindingCode::ChannelArnMissing, situation.to_owned())
        };
    };
    // `check_type` reports a value of another type.
    let claim = claim.as_str()?;
    if claim.parse::<ChannelArn>().is_err() {
        let situation = "aws:channel-arn is not a channel ARN, so it matches no channel. The form is \
                      arn:aws:ivs:REGION:ACCOUNT:channel/ID.";
        return find(FindingCode::ChannelMismatch, situation.to_owned());
    }
    let other = channels.iter().find(|channel| channel.as_str() != claim)?;
    find(
        FindingCode::ChannelMismatch,
        format!("The token is for {claim}, so it cannot play {other}."),
    )
}

fn check_viewer(claims: &Map<String, Value>, unprefixed: &[Unprefixed<'_>]) -> Option<Finding> {
    if let Some(id) = claims.get(VIEWER_ID) {
        let situation = match check_viewer_id(id.as_str()?).err()? {
            ViewerIdError::Empty => "aws:viewer-id is empty.",
            ViewerIdError::TooLong => "aws:viewer-id has more than 40 characters.",
        };
        return Some(Finding::new(FindingCode::ViewerIdLength, situation).about(VIEWER_ID));
    }
    let meant = unprefixed.iter().any(|claim| claim.meant == VIEWER_ID);
    let sub = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
    if meant || sub.is_empty() {
        return None;
    }
    let situation = "IVS ignores sub, so this viewer can never be revoked.";
    Some(Finding::new(FindingCode::ViewerInSub, situation).about("sub"))
}

/// Reports a value of the wrong type, naming the right one.
fn check_type(claims: &Map<String, Value>, name: &str) -> Option<Finding> {
    let value = claims.get(name)?;
    let text = value.as_str();
    let (good, expected) = match name {
        CHANNEL_ARN => (text.is_some(), "text, the ARN of the channel"),
        ALLOW_ORIGIN => (text.is_some(), "text, the origins joined by commas"),
        STRICT_ORIGIN => (value.is_boolean(), "true or false, without quotes"),
        SINGLE_USE_UUID => (text.is_some_and(|text| text.parse::<Hyphenated>().is_ok()), "a UUID"),
        VIEWER_ID => (text.is_some(), "text; quote a number"),
        VIEWER_SESSION_VERSION => (value.is_i64(), "an integer of 64 bits, without quotes"),
        MAXIMUM_RESOLUTION => {
            (text.and_then(MaximumResolution::from_name).is_some(), "SD, HD or FULL_HD")
        }
        _ => return None,
    };
    let situation = format!("{name} must be {expected}.");
    (!good).then(|| Finding::new(FindingCode::ClaimType, situation).about(name))
}

/// Returns claims that begin with `aws:` but that IVS does not define.
fn unknown(claims: &Map<String, Value>) -> impl Iterator<Item = Finding> {
    let names = claims.keys().filter(|name| {
        let prefix = name.get(..4).unwrap_or_default();
        prefix.eq_ignore_ascii_case("aws:") && !AWS_CLAIMS.contains(&name.as_str())
    });
    names.map(|name| {
        let hint =
            nearest(name).map_or_else(String::new, |meant| format!(" Did you mean {meant}?"));
        let situation = format!("IVS does not know this claim and ignores it.{hint}");
        Finding::new(FindingCode::UnknownAwsClaim, situation).about(shorten(name))
    })
}

/// A claim of IVS with its prefix missing, its case changed or its words joined in another way.
struct Unprefixed<'a> {
    written: &'a str,
    meant: &'static str,
}

/// Returns such claims, unless the correctly written claim is present too.
fn unprefixed(claims: &Map<String, Value>) -> Vec<Unprefixed<'_>> {
    let find = |written| {
        let meant = AWS_CLAIMS.into_iter().find(|name| lacks_prefix(written, name))?;
        (!claims.contains_key(meant)).then_some(Unprefixed { written, meant })
    };
    claims.keys().filter_map(|written| find(written)).collect()
}

/// Whether `written` is the claim `name` without `aws:`, in any case, with its words joined by
/// hyphens, underscores or nothing.
fn lacks_prefix(written: &str, name: &str) -> bool {
    fn letters(text: &str) -> impl Iterator<Item = u8> {
        text.bytes().filter(|c| !matches!(c, b'-' | b'_')).map(|c| c.to_ascii_lowercase())
    }
    name.strip_prefix("aws:").is_some_and(|name| letters(written).eq(letters(name)))
}

/// Returns the claim with the most similar name, if one is similar enough.
fn nearest(written: &str) -> Option<&'static str> {
    const NEAR: usize = 4;
    if written.len() > MAX_NAME_LENGTH {
        return None;
    }
    AWS_CLAIMS
        .into_iter()
        .map(|name| (strsim::osa_distance(written, name), name))
        .filter(|(distance, _)| *distance <= NEAR)
        .min()
        .map(|(_, name)| name)
}

fn shorten(name: &str) -> String {
    match name.char_indices().nth(MAX_NAME_LENGTH) {
        None => name.to_owned(),
        Some((end, _)) => format!("{}…", name.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_795_337_700;
    const CHANNEL: &str = "arn:aws:ivs:us-west-2:123456789012:channel/AbCdEfGh1234";

    /// Returns the codes and claims found after `changes` are made to the claims of a good token;
    /// `null` removes a claim.
    fn found(changes: &Value) -> Vec<(&'static str, String)> {
        let mut claims = json!({"aws:channel-arn": CHANNEL, "exp": NOW + 300});
        let claims = claims.as_object_mut().unwrap();
        for (name, value) in changes.as_object().unwrap().clone() {
            if value.is_null() {
                claims.remove(&name);
            } else {
                claims.insert(name, value);
            }
        }
        let channels = [CHANNEL.parse().unwrap()];
        let request = Request { channels: &channels, origin: Some("https://example.com") };
        let findings = check(claims, &request, Timestamp::from_unix_seconds(NOW));
        findings.into_iter().map(|found| (found.code.as_str(), found.claim.unwrap())).collect()
    }

    fn codes(changes: &Value) -> Vec<&'static str> {
        found(changes).into_iter().map(|(code, _)| code).collect()
    }

    #[test]
    fn good_token_has_no_findings() {
        assert_eq!(codes(&json!({})), [""; 0]);
        let everything = json!({
            "aws:access-control-allow-origin": "https://example.com",
            "aws:strict-origin-enforcement": true,
            "aws:single-use-uuid": "c0ffee00-1234-4abc-8def-0123456789ab",
            "aws:viewer-id": "v",
            "aws:viewer-session-version": 7,
            "aws:maximum-resolution": "HD",
            "iat": NOW,
            "jti": "1",
        });
        assert_eq!(codes(&everything), [""; 0]);
    }

    #[test]
    fn channel_differs_from_request_is_reported() {
        assert_eq!(codes(&json!({"aws:channel-arn": null})), ["channel_arn_missing"]);
        for other in ["", "demo", "arn:aws:ivs:us-west-2:123456789012:channel/Other"] {
            assert_eq!(codes(&json!({"aws:channel-arn": other})), ["channel_mismatch"], "{other}");
        }
        assert_eq!(codes(&json!({"aws:channel-arn": [CHANNEL]})), ["claim_type"]);
    }

    #[test]
    fn claim_of_wrong_type_is_reported() {
        for (name, bad) in [
            ("aws:access-control-allow-origin", json!(["https://example.com"])),
            ("aws:strict-origin-enforcement", json!("true")),
            ("aws:strict-origin-enforcement", json!(1)),
            ("aws:single-use-uuid", json!(true)),
            ("aws:single-use-uuid", json!("once")),
            // Parsers accept this form; whether IVS does is not known.
            ("aws:single-use-uuid", json!("c0ffee0012344abc8def0123456789ab")),
            ("aws:viewer-id", json!(42)),
            ("aws:viewer-session-version", json!("7")),
            ("aws:viewer-session-version", json!(7.0)),
            ("aws:viewer-session-version", json!(u64::MAX)),
            ("aws:maximum-resolution", json!("1080p")),
            ("aws:maximum-resolution", json!(720)),
        ] {
            assert_eq!(found(&json!({ name: bad })), [("claim_type", name.to_owned())], "{bad}");
        }
        let null: Map<_, _> = [("aws:viewer-id".to_owned(), Value::Null)].into_iter().collect();
        assert!(check_type(&null, VIEWER_ID).is_some());
    }

    #[test]
    fn viewer_outside_viewer_id_is_reported() {
        let long = "a".repeat(41);
        assert_eq!(codes(&json!({"aws:viewer-id": ""})), ["viewer_id_length"]);
        assert_eq!(codes(&json!({"aws:viewer-id": long})), ["viewer_id_length"]);
        assert_eq!(codes(&json!({"sub": "alice"})), ["viewer_in_sub"]);
        assert_eq!(codes(&json!({"sub": ""})), [""; 0]);
        assert_eq!(codes(&json!({"sub": "alice", "aws:viewer-id": "alice"})), [""; 0]);
    }

    #[test]
    fn claim_without_prefix_is_reported_without_consequences() {
        let code = "claim_without_aws_prefix";
        for written in ["channel-arn", "channelArn", "channel_arn", "Channel-Arn"] {
            let changes = json!({"aws:channel-arn": null, written: CHANNEL});
            assert_eq!(found(&changes), [(code, written.to_owned())]);
        }
        assert_eq!(codes(&json!({"viewerId": "v", "sub": "v"})), [code]);
        assert_eq!(codes(&json!({"viewerId": "v", "aws:viewer-id": "v"})), [""; 0]);
        let all = json!({
            "aws:channel-arn": null, "channel-arn": CHANNEL, "maximum-resolution": "HD",
            "access-control-allow-origin": "https://example.com", "strict-origin-enforcement": true,
        });
        assert_eq!(codes(&all), [code; 4]);
    }

    #[test]
    fn unknown_aws_claim_is_reported_with_nearest_name() {
        assert_eq!(codes(&json!({"aws:origin": "x"})), ["unknown_aws_claim"]);
        assert_eq!(codes(&json!({"AWS:viewer-id": "v"})), ["unknown_aws_claim"]);
        assert_eq!(codes(&json!({"ivs:viewer": "v", "awsx": 1})), [""; 0]);
        assert_eq!(nearest("aws:viewerid"), Some("aws:viewer-id"));
        assert_eq!(nearest("aws:channel_arn"), Some("aws:channel-arn"));
        assert_eq!(nearest("aws:something-else"), None);
    }

    #[test]
    fn flood_of_claims_gets_short_answer() {
        let flood: Map<_, _> =
            (0..50_000).map(|n| (format!("aws:{n}{}", "x".repeat(n % 90)), json!(n))).collect();
        assert_eq!(codes(&Value::Object(flood)).len(), MAX_LISTED_CLAIMS);
    }
}
