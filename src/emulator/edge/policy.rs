//! Playback restriction policies: who may play a *public* channel, by page and by country.
//!
//! AWS tells the country by the viewer's address. Here a header says it: the one that AWS's content
//! delivery network adds to requests.

use axum::http::HeaderMap;

use super::{
    origin::{Asking, OriginRule, Origins},
    refusal::Reason,
};
use crate::emulator::store::records::PlaybackRestrictionPolicy;

/// The header that says where the viewer is: an ISO 3166-1 alpha-2 code.
pub(super) const COUNTRY_HEADER: &str = "cloudfront-viewer-country";

/// The country that a request says it is from.
pub(super) fn country_of(headers: &HeaderMap) -> Option<String> {
    headers.get(COUNTRY_HEADER)?.to_str().ok().map(str::to_owned)
}

/// What a channel's policy grants to who asks. Who does not say its country is in none.
pub(super) fn check(
    policy: &PlaybackRestrictionPolicy,
    country: Option<&str>,
    asking: &Asking,
) -> Result<OriginRule, Reason> {
    let countries = &policy.allowed_countries;
    let is_allowed = |allowed: &String| country.is_some_and(|it| it.eq_ignore_ascii_case(allowed));
    if !countries.is_empty() && !countries.iter().any(is_allowed) {
        return Err(Reason::CountryNotAllowed);
    }
    let origins = &policy.allowed_origins;
    let rule = OriginRule {
        allowed: (!origins.is_empty()).then(|| Origins::of_policy(origins)),
        strict: policy.enable_strict_origin_enforcement,
    };
    rule.check(asking)?;
    Ok(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(countries: &[&str], origins: &[&str], strict: bool) -> PlaybackRestrictionPolicy {
        let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        PlaybackRestrictionPolicy {
            arn: "arn:aws:ivs:us-west-2:123456789012:playback-restriction-policy/AbCdEfGh1234"
                .parse()
                .unwrap(),
            name: String::new(),
            allowed_countries: owned(countries),
            allowed_origins: owned(origins),
            enable_strict_origin_enforcement: strict,
        }
    }

    fn refusal(
        policy: &PlaybackRestrictionPolicy,
        country: Option<&str>,
        origin: Option<&str>,
    ) -> Option<Reason> {
        let asking = origin.map_or(Asking::Unnamed, |origin| Asking::From(origin.to_owned()));
        check(policy, country, &asking).err()
    }

    #[test]
    fn countries_are_those_listed_or_all() {
        let all = policy(&[], &[], false);
        assert_eq!(refusal(&all, None, None), None);
        let some = policy(&["US", "de"], &[], false);
        for (country, expected) in [
            (Some("US"), None),
            (Some("us"), None),
            (Some("DE"), None),
            (Some("FR"), Some(Reason::CountryNotAllowed)),
            (Some(""), Some(Reason::CountryNotAllowed)),
            (None, Some(Reason::CountryNotAllowed)),
        ] {
            assert_eq!(refusal(&some, country, None), expected, "{country:?}");
        }
    }

    #[test]
    fn origins_bind_as_those_of_a_token_do() {
        let origins = ["https://a.example", "no origin", "https://*.b.example"];
        let (loose, strict) = (policy(&[], &origins, false), policy(&[], &origins, true));
        for (origin, by_loose, by_strict) in [
            (None, None, Some(Reason::OriginMissing)),
            (Some("https://a.example"), None, None),
            (Some("https://www.b.example"), None, None),
            (
                Some("https://c.example"),
                Some(Reason::OriginNotAllowed),
                Some(Reason::OriginNotAllowed),
            ),
        ] {
            assert_eq!(refusal(&loose, None, origin), by_loose, "{origin:?}");
            assert_eq!(refusal(&strict, None, origin), by_strict, "{origin:?}");
        }
        let of_no_one = policy(&[], &["no origin"], false);
        let refused = refusal(&of_no_one, None, Some("https://a.example"));
        assert_eq!(refused, Some(Reason::OriginNotAllowed));
        assert_eq!(refusal(&policy(&[], &[], true), None, None), None);
    }
}
