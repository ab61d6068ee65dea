//! Which sessions a call names, when several that wait are of one viewer on one channel. Pure.
//!
//! A revocation ends the sessions of its version and of all lower ones, so that the highest version
//! stands for the others. What it does not cover of another request was asked for, too.

use std::collections::HashMap;

use crate::ivs::ViewerSession;

/// Sessions without two of one viewer on one channel.
#[derive(Debug, Default)]
pub(super) struct Merged {
    /// In the order in which they first came, each with the highest version.
    sessions: Vec<ViewerSession>,
    /// The place of each viewer on each channel.
    known: HashMap<(String, String), usize>,
}

impl Merged {
    /// Adds a session. Hands out the place of the one that stands for it.
    pub(super) fn add(&mut self, session: ViewerSession) -> usize {
        let key = (session.channel.to_string(), session.viewer_id.clone());
        let place = *self.known.entry(key).or_insert(self.sessions.len());
        match self.sessions.get_mut(place) {
            Some(same) => same.versions_up_to = same.versions_up_to.max(session.versions_up_to),
            None => self.sessions.push(session),
        }
        place
    }

    /// Each in its place.
    pub(super) fn into_sessions(self) -> Vec<ViewerSession> {
        self.sessions
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::simulation::session, *};

    #[test]
    fn the_highest_version_stands_for_the_others() {
        let given = [session("a", 3), session("b", 9), session("a", 7), session("a", 5)];
        let mut merged = Merged::default();
        assert_eq!(given.map(|it| merged.add(it)), [0, 1, 0, 0]);
        assert_eq!(merged.into_sessions(), [session("a", 7), session("b", 9)]);
    }

    proptest! {
        #[test]
        fn each_session_is_covered_once(given in prop::collection::vec((0_u8..5, 0_i32..9), 0..40)) {
            let given: Vec<_> =
                given.iter().map(|(id, version)| session(&id.to_string(), *version)).collect();
            let mut merged = Merged::default();
            let places: Vec<_> = given.iter().map(|it| merged.add(it.clone())).collect();
            let sessions = merged.into_sessions();
            for (session, place) in given.iter().zip(&places) {
                let stands = &sessions[*place];
                prop_assert_eq!(&stands.viewer_id, &session.viewer_id);
                prop_assert!(stands.versions_up_to >= session.versions_up_to);
                prop_assert!(given.contains(stands), "nothing more is revoked than was asked for");
            }
            for (place, session) in sessions.iter().enumerate() {
                let twins = sessions.iter().filter(|it| it.viewer_id == session.viewer_id);
                prop_assert_eq!(twins.count(), 1);
                prop_assert!(places.contains(&place));
            }
        }
    }
}
