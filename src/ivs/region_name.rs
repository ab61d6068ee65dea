//! The names of AWS regions: their form, and those in which Amazon IVS is known to run.

use super::arn::Region;

/// The regions of IVS's control plane in November 2026. The list may grow, so that another region is
/// worth a warning and no more.
const KNOWN: [&str; 7] = [
    "us-west-2",
    "us-east-1",
    "eu-west-1",
    "eu-central-1",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-south-1",
];

/// The largest number of edits between a typo and the correct name.
const TYPO: usize = 2;

/// Why a text is not the name of an AWS region. Does not repeat a text that is nothing like one.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RegionNameError {
    /// The text has another form.
    #[error("is not the name of an AWS region, such as us-west-2{}", suggestion(*.nearest))]
    Form {
        /// The nearest known region.
        nearest: Option<&'static str>,
    },
    /// The text names an availability zone or a local zone.
    #[error("is an availability zone, not a region; use its region, {region}")]
    Zone {
        /// The region of the zone.
        region: String,
    },
}

fn suggestion(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |region| format!("; the nearest known region is {region}"))
}

/// Parses the name of a region to serve.
///
/// # Errors
///
/// The text does not have the form of a region's name, or names a zone.
pub fn parse_region(text: &str) -> Result<Region, RegionNameError> {
    if has_form(text)
        && let Ok(region) = text.parse()
    {
        return Ok(region);
    }
    match region_of_zone(text) {
        Some(region) => Err(RegionNameError::Zone { region: region.to_owned() }),
        None => Err(RegionNameError::Form { nearest: nearest(text) }),
    }
}

/// Returns a warning about a region in which IVS is not known to run.
pub fn unknown_region(region: &Region) -> Option<String> {
    (!KNOWN.contains(&region.as_str())).then(|| {
        format!(
            "names {region}, which is not a known region of Amazon IVS{}",
            suggestion(nearest(region.as_str()))
        )
    })
}

/// Returns whether the text is letters, more letters and a number: `us-west-2`, `us-gov-west-1`.
fn has_form(text: &str) -> bool {
    let parts: Vec<_> = text.split('-').collect();
    let [first, middle @ .., number] = parts.as_slice() else { return false };
    let letters = |part: &str| !part.is_empty() && part.bytes().all(|c| c.is_ascii_lowercase());
    (2..=4).contains(&first.len())
        && letters(first)
        && !middle.is_empty()
        && middle.iter().all(|part| letters(part))
        && (1..=2).contains(&number.len())
        && number.bytes().all(|c| c.is_ascii_digit())
}

/// Returns the region of `us-east-1a` or of the local zone `us-west-2-lax-1a`.
fn region_of_zone(text: &str) -> Option<&str> {
    let zone = text.strip_suffix(|c: char| c.is_ascii_lowercase())?;
    if has_form(zone) {
        return Some(zone);
    }
    let (local, _) = zone.rsplit_once('-')?;
    let (region, _) = local.rsplit_once('-')?;
    has_form(region).then_some(region)
}

fn nearest(text: &str) -> Option<&'static str> {
    let text = text.to_ascii_lowercase().replace('_', "-");
    let distance = |known: &str| strsim::damerau_levenshtein(&text, known);
    let nearest = KNOWN.into_iter().min_by_key(|known| distance(known))?;
    (distance(nearest) <= TYPO).then_some(nearest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fault(text: &str) -> String {
        parse_region(text).unwrap_err().to_string()
    }

    #[test]
    fn region_names_have_their_form() {
        for name in KNOWN.into_iter().chain(["us-gov-west-1", "eusc-de-east-1", "mx-central-1"]) {
            assert_eq!(parse_region(name).unwrap().as_str(), name);
        }
        for text in
            ["", "hunter2", "us-west", "us-west-", "-west-2", "us--2", "us-west-2 ", "é-é-1"]
        {
            assert!(fault(text).starts_with("is not the name of an AWS region"), "{text}");
        }
        assert!(!fault("hunter2").contains("hunter2"));
    }

    #[test]
    fn zone_is_refused_with_its_region() {
        for (zone, region) in [("us-east-1a", "us-east-1"), ("us-west-2-lax-1a", "us-west-2")] {
            let expected =
                format!("is an availability zone, not a region; use its region, {region}");
            assert_eq!(fault(zone), expected);
        }
    }

    #[test]
    fn typo_is_answered_with_the_nearest_known_region() {
        for text in ["us_west_2", "US-WEST-2", "us-west2", "uswest-2"] {
            assert!(fault(text).ends_with("; the nearest known region is us-west-2"), "{text}");
        }
        let warning = |name: &str| unknown_region(&name.parse().unwrap());
        assert_eq!(warning("us-west-2"), None);
        assert_eq!(
            warning("us-wst-2").unwrap(),
            "names us-wst-2, which is not a known region of Amazon IVS; the nearest known region is \
             us-west-2"
        );
        let warning = warning("mx-central-7").unwrap();
        assert!(warning.ends_with("which is not a known region of Amazon IVS"), "{warning}");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,20}") {
            let _ = parse_region(&text);
        }
    }
}
