//! Which region a request means. It may be left out where one is served.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    Api,
    extract::QueryParameters,
    json::Members,
    problem::{ApiError, ProblemType},
};
use crate::ivs::arn::Region;

/// The region of that name.
///
/// # Errors
///
/// A sentence: it is not served.
pub(super) fn served(api: &Api, text: &str) -> Result<Region, String> {
    api.ivs.names().iter().find(|region| region.as_str() == text).cloned().ok_or_else(|| {
        format!(
            "This service covers {}. Add a region to ivs.regions.",
            Region::list(api.ivs.names())
        )
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

/// What serves the key pairs of a region.
///
/// # Errors
///
/// The region is not served.
pub(super) fn key_pairs_of<'a, T>(
    by_region: &'a BTreeMap<Region, Arc<T>>,
    region: &Region,
) -> Result<&'a Arc<T>, ApiError> {
    by_region.get(region).ok_or_else(|| {
        ApiError::new(ProblemType::NotFound, "Key pairs of this region are not served here.")
    })
}

fn only(served: &[Region]) -> Result<Region, String> {
    match served {
        [only] => Ok(only.clone()),
        several => {
            Err(format!("region is required, since several are served: {}.", Region::list(several)))
        }
    }
}
