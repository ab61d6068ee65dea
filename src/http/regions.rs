//! Which region a request means. It may be left out where one is served.

use super::{Api, extract::QueryParameters, json::Members};
use crate::ivs::arn::Region;

/// The region of that name.
///
/// # Errors
///
/// A sentence: it is not served.
pub(super) fn served(api: &Api, text: &str) -> Result<Region, String> {
    api.ivs.names().iter().find(|region| region.as_str() == text).cloned().ok_or_else(|| {
        format!("This service covers {}. Add a region to ivs.regions.", names(api.ivs.names()))
    })
}

/// The one that the member `region` names; what is wrong with it is noted there.
pub(super) fn of_member(api: &Api, members: &mut Members) -> Option<Region> {
    let region = match members.string("region") {
        Some(text) => served(api, &text),
        None => only(api.ivs.names()),
    };
    region.map_err(|detail| members.violate("/region", detail)).ok()
}

/// The one that the parameter `region` names, all without it; what is wrong with it is noted there.
pub(super) fn of_query(api: &Api, query: &mut QueryParameters) -> Vec<Region> {
    let Some(text) = query.text("region") else { return api.ivs.names().to_vec() };
    match served(api, &text) {
        Ok(region) => vec![region],
        Err(detail) => {
            query.violate("region", detail);
            Vec::new()
        }
    }
}

fn only(served: &[Region]) -> Result<Region, String> {
    match served {
        [only] => Ok(only.clone()),
        several => {
            Err(format!("region is required, since several are served: {}.", names(several)))
        }
    }
}

fn names(regions: &[Region]) -> String {
    regions.iter().map(Region::as_str).collect::<Vec<_>>().join(", ")
}
