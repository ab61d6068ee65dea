//! Checks `exp`: it must be present, an integer in seconds, in the future and not too far ahead.
//!
//! At most one finding is reported, for the first of these rules that is broken. All are judged by `now`, as at
//! IVS's edge.

use serde_json::{Map, Value};

use crate::{
    clock::Timestamp,
    tokens::{
        claims::CAPPED_TTL,
        payload::{EXP, SINGLE_USE_UUID, VIEWER_ID},
    },
};

use super::finding::{Finding, FindingCode, Severity};

/// From this value on, `exp` is taken as milliseconds: in seconds it would lie beyond the year 5138, while every
/// time in milliseconds since March 1973 is larger.
pub(super) const MILLISECONDS_FROM: i64 = 100_000_000_000;

/// [`CAPPED_TTL`] in seconds.
const CAPPED_SECONDS: i64 = CAPPED_TTL.as_secs().cast_signed();

/// A token that cannot be revoked causes a warning if it is valid for longer than this, the default of
/// `tokens.max_ttl`.
const LONG_LIVED_SECONDS: i64 = 3600;

pub(super) fn check(claims: &Map<String, Value>, now: Timestamp) -> Option<Finding> {
    let find = |code, situation: String| Some(Finding::new(code, situation).about(EXP));
    let Some(exp) = claims.get(EXP) else {
        return find(FindingCode::ExpMissing, "There is no exp.".to_owned());
    };
    // A number between the largest i64 and the largest u64 is too far ahead either way.
    let Some(exp) = exp.as_i64().or_else(|| exp.as_u64().map(|_| i64::MAX)) else {
        let situation = "exp is not an integer, or it is quoted.";
        return find(FindingCode::ExpNotInteger, situation.to_owned());
    };
    let ahead = exp.saturating_sub(now.unix_seconds());
    let cap = cap(claims);
    if exp >= MILLISECONDS_FROM {
        Some(milliseconds(cap))
    } else if ahead <= 0 {
        find(FindingCode::Expired, expired(claims, exp, now))
    } else if let Some(cap) = cap {
        (ahead > CAPPED_SECONDS).then(|| too_far_ahead(ahead, cap))
    } else if ahead > LONG_LIVED_SECONDS {
        let situation = format!(
            "The token starts playback for another {}, and without {VIEWER_ID} no one can be cut \
             off.",
            in_words(ahead)
        );
        find(FindingCode::LongLivedWithoutViewer, situation)
    } else {
        None
    }
}

/// Returns the claim because of which IVS limits `exp` to 600 s.
fn cap(claims: &Map<String, Value>) -> Option<&'static str> {
    [VIEWER_ID, SINGLE_USE_UUID].into_iter().find(|claim| claims.contains_key(*claim))
}

fn milliseconds(cap: Option<&str>) -> Finding {
    let (severity, situation) = match cap {
        Some(cap) => (
            Severity::Error,
            format!(
                "exp is in milliseconds, so for IVS it lies thousands of years ahead, which it refuses \
                 with {cap}."
            ),
        ),
        None => (
            Severity::Warning,
            "exp is in milliseconds, so the token is valid for thousands of years.".to_owned(),
        ),
    };
    Finding::new(FindingCode::ExpInMilliseconds, situation).about(EXP).with_severity(severity)
}

fn too_far_ahead(ahead: i64, cap: &str) -> Finding {
    let situation =
        format!("exp is {ahead} s ahead; with {cap} IVS accepts at most {CAPPED_SECONDS} s.");
    Finding::new(FindingCode::TtlOver600, situation).about(EXP)
}

/// People often inspect a token long after it was refused, so the text also says if it was refused when it was
/// new. That is not a finding of its own, because the edge judges `exp` only by its own clock.
fn expired(claims: &Map<String, Value>, exp: i64, now: Timestamp) -> String {
    let ago = in_words(now.unix_seconds().saturating_sub(exp));
    let was = Timestamp::from_unix_seconds(exp);
    let situation = format!("exp was {was}, {ago} ago.");
    let lifetime =
        claims.get("iat").and_then(Value::as_i64).map_or(0, |iat| exp.saturating_sub(iat));
    match cap(claims) {
        Some(cap) if lifetime > CAPPED_SECONDS => format!(
            "{situation} Its iat shows a lifetime of {lifetime} s, so with {cap} IVS also refused it when \
             it was new."
        ),
        _ => situation,
    }
}

/// Formats a time span for people.
fn in_words(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        172_800.. => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_795_337_700;

    fn code(claims: Value) -> Option<&'static str> {
        let Value::Object(claims) = claims else { panic!() };
        check(&claims, Timestamp::from_unix_millis(NOW * 1000 + 999)).map(|found| {
            assert_eq!(found.claim.as_deref(), Some("exp"));
            found.code.as_str()
        })
    }

    #[test]
    fn exp_must_be_future_integer() {
        assert_eq!(code(json!({})), Some("exp_missing"));
        for exp in [json!("1795338000"), json!(1_795_338_000.0), json!(1.5), json!(null), json!([])]
        {
            assert_eq!(code(json!({ "exp": exp })), Some("exp_not_integer"), "{exp}");
        }
        let beyond_64_bits: Value = serde_json::from_str("{\"exp\":99999999999999999999}").unwrap();
        assert_eq!(code(beyond_64_bits), Some("exp_not_integer"));
        for exp in [NOW, NOW - 1, 0, -1, i64::MIN] {
            assert_eq!(code(json!({ "exp": exp })), Some("expired"), "{exp}");
        }
        assert_eq!(code(json!({"exp": NOW + 1})), None);
    }

    #[test]
    fn beside_a_viewer_or_single_use_600_seconds_are_the_limit() {
        for cap in [VIEWER_ID, SINGLE_USE_UUID] {
            assert_eq!(code(json!({"exp": NOW + 600, cap: "x"})), None);
            assert_eq!(code(json!({"exp": NOW + 601, cap: "x"})), Some("ttl_over_600"));
        }
        assert_eq!(code(json!({"exp": NOW + 601})), None);
    }

    #[test]
    fn long_lifetime_without_viewer_is_warning() {
        assert_eq!(code(json!({"exp": NOW + 3600})), None);
        assert_eq!(code(json!({"exp": NOW + 3601})), Some("long_lived_without_viewer"));
    }

    #[test]
    fn milliseconds_are_distinguished_from_seconds() {
        let severity = |claims: &Value| {
            let found =
                check(claims.as_object().unwrap(), Timestamp::from_unix_seconds(NOW)).unwrap();
            assert_eq!(found.code, FindingCode::ExpInMilliseconds);
            found.severity
        };
        // Now, long past, and in nanoseconds.
        for exp in [NOW * 1000, (NOW - 100_000_000) * 1000, NOW * 1_000_000_000] {
            assert_eq!(severity(&json!({ "exp": exp })), Severity::Warning);
            assert_eq!(severity(&json!({"exp": exp, VIEWER_ID: "v"})), Severity::Error);
            assert_eq!(severity(&json!({"exp": exp, SINGLE_USE_UUID: "u"})), Severity::Error);
        }
        assert_eq!(severity(&json!({ "exp": u64::MAX })), Severity::Warning);
    }

    #[test]
    fn expired_token_with_excessive_lifetime_is_explained() {
        let detail = |iat: i64| {
            let claims = json!({"exp": NOW - 60, "iat": iat, VIEWER_ID: "v"});
            let found =
                check(claims.as_object().unwrap(), Timestamp::from_unix_seconds(NOW)).unwrap();
            assert_eq!(found.code, FindingCode::Expired);
            found.detail
        };
        assert!(detail(NOW - 3660).contains("a lifetime of 3600 s"));
        assert!(!detail(NOW - 360).contains("a lifetime of"));
        assert!(detail(i64::MIN).contains("a lifetime of"));
    }
}
