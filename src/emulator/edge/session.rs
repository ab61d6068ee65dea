//! Playback sessions: what an accepted request for a multivariant playlist leads to.
//!
//! The URLs of variant playlists and segments name a session and nothing else, so that no token is
//! in them. What the token granted stands here, in memory: a restart ends every session, as does a
//! pause of [`IDLE_MAX`], and the player loads its playlist anew.

use std::{sync::Arc, time::Duration};

use moka::{policy::EvictionPolicy, sync::Cache};

use super::{
    claims::{Resolution, Viewer},
    media::{Rendition, renditions},
    origin::OriginRule,
};
use crate::{
    emulator::ids::{self, IdError},
    ivs::arn::ChannelArn,
};

/// How long a session lives that nobody asks anything of.
const IDLE_MAX: Duration = Duration::from_mins(5);

/// How many there may be. The one that was used longest ago goes first.
const CAPACITY: u64 = 100_000;

/// What a player was granted.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) channel: ChannelArn,
    /// The stream that it watches; the next stream of the channel is another session.
    pub(super) stream_id: String,
    pub(super) viewer: Option<Viewer>,
    pub(super) origin_rule: OriginRule,
    pub(super) maximum_resolution: Option<Resolution>,
}

impl Session {
    /// The rendition of that name, where the session may have it.
    pub(super) fn rendition(&self, name: &str) -> Option<&'static Rendition> {
        renditions(self.maximum_resolution).find(|rendition| rendition.name == name)
    }
}

/// The sessions under way.
#[derive(Debug)]
pub(in crate::emulator) struct Sessions(Cache<SessionId, Arc<Session>>);

/// 128 random bits, in 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct SessionId(u128);

impl SessionId {
    /// One that nobody has.
    pub(super) fn random() -> Result<Self, IdError> {
        ids::random_u128().map(Self)
    }

    /// Reads a part of a path.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let is_id =
            text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if is_id { u128::from_str_radix(text, 16).ok().map(Self) } else { None }
    }
}

impl std::fmt::Display for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self::with_capacity(CAPACITY)
    }
}

impl Sessions {
    /// A new session always finds room: by default, the cache would keep those that are asked often
    /// and turn away the one that was just begun.
    fn with_capacity(capacity: u64) -> Self {
        let cache = Cache::builder().max_capacity(capacity).time_to_idle(IDLE_MAX);
        Self(cache.eviction_policy(EvictionPolicy::lru()).build())
    }

    /// Begins a session.
    pub(super) fn begin(&self, session: Session) -> Result<SessionId, IdError> {
        let id = SessionId::random()?;
        self.0.insert(id, Arc::new(session));
        Ok(id)
    }

    pub(super) fn find(&self, id: SessionId) -> Option<Arc<Session>> {
        self.0.get(&id)
    }

    /// Ends a session for good.
    pub(super) fn end(&self, id: SessionId) {
        self.0.invalidate(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        Session {
            channel: "arn:aws:ivs:us-west-2:123456789012:channel/AbCdEfGh1234".parse().unwrap(),
            stream_id: "st-1".to_owned(),
            viewer: None,
            origin_rule: OriginRule::default(),
            maximum_resolution: None,
        }
    }

    #[test]
    fn the_session_that_was_used_longest_ago_makes_room_for_a_new_one() {
        let sessions = Sessions::with_capacity(3);
        let begun = [(); 3].map(|()| sessions.begin(session()).unwrap());
        for _ in 0..9 {
            assert!(begun.iter().all(|id| sessions.find(*id).is_some()));
        }
        sessions.0.run_pending_tasks();
        let new = sessions.begin(session()).unwrap();
        sessions.0.run_pending_tasks();
        let found = [begun[0], begun[1], begun[2], new].map(|id| sessions.find(id).is_some());
        assert_eq!(found, [false, true, true, true]);
        sessions.end(new);
        assert!(sessions.find(new).is_none());
    }

    #[test]
    fn an_id_reads_back_and_nothing_like_it_does() {
        let id = SessionId(0xab);
        assert_eq!(SessionId::parse(&id.to_string()), Some(id));
        for other in
            ["", "ab", "+00000000000000000000000000000ab", &"A".repeat(32), &"0".repeat(33)]
        {
            assert_eq!(SessionId::parse(other), None, "{other}");
        }
    }
}
