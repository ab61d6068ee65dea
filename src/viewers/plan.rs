//! Which sessions a call names, when several that wait are of one viewer on one channel. Pure.
//!
//! A revocation ends the sessions of its version and of all lower ones, so that the highest version
//! stands for the others. What it does not cover of another request was asked for, too.

use std::collections::HashMap;

use crate::ivs::ViewerSession;

/// Sessions without two of one viewer on one channel.
#[derive(Debug)]
pub(super) struct Merged {
    /// In the order in which they first came, each with the highest version.
    pub(super) sessions: Vec<ViewerSession>,
    /// For each session that was given, the place of the one that stands for it.
    pub(super) places: Vec<usize>,
}

/// Merges sessions of one viewer on one channel.
pub(super) fn merge(given: impl IntoIterator<Item = ViewerSession>) -> Merged {
    let mut sessions: Vec<ViewerSession> = Vec::new();
    let mut known: HashMap<(String, String), usize> = HashMap::new();
    let places = given
        .into_iter()
        .map(|session| {
            let key = (session.channel.to_string(), session.viewer_id.clone());
            let place = *known.entry(key).or_insert(sessions.len());
            match sessions.get_mut(place) {
                Some(same) => {
                    same.versions_up_to = same.versions_up_to.max(session.versions_up_to);
                }
                None => sessions.push(session),
            }
            place
        })
        .collect();
    Merged { sessions, places }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::simulation::session, *};

    #[test]
    fn the_highest_version_stands_for_the_others() {
        let given = [session("a", 3), session("b", 9), session("a", 7), session("a", 5)];
        let merged = merge(given);
        assert_eq!(merged.sessions, [session("a", 7), session("b", 9)]);
        assert_eq!(merged.places, [0, 1, 0, 0]);
    }

    proptest! {
        #[test]
        fn each_session_is_covered_once(given in prop::collection::vec((0_u8..5, 0_i32..9), 0..40)) {
            let given: Vec<_> =
                given.iter().map(|(id, version)| session(&id.to_string(), *version)).collect();
            let merged = merge(given.clone());
            prop_assert_eq!(merged.places.len(), given.len());
            for (session, place) in given.iter().zip(&merged.places) {
                let stands = &merged.sessions[*place];
                prop_assert_eq!(&stands.viewer_id, &session.viewer_id);
                prop_assert!(stands.versions_up_to >= session.versions_up_to);
                prop_assert!(given.contains(stands), "nothing more is revoked than was asked for");
            }
            for (place, session) in merged.sessions.iter().enumerate() {
                let twins = merged.sessions.iter().filter(|it| it.viewer_id == session.viewer_id);
                prop_assert_eq!(twins.count(), 1);
                prop_assert!(merged.places.contains(&place));
            }
        }
    }
}
