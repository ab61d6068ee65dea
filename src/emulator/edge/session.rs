//! Playback sessions, which accepted requests for a multivariant playlist open.
//!
//! The URLs of variant playlists and segments name a session and contain no token. The grant of the
//! token is kept here, in memory: a restart ends every session, as does a pause of [`MAX_IDLE`], and
//! the player then reloads the multivariant playlist.

use std::{fmt, sync::Arc, time::Duration};

use moka::{policy::EvictionPolicy, sync::Cache};

use super::claims::Grant;
use crate::{
    emulator::ids::{self, IdError},
    ivs::arn::ChannelArn,
};

/// How long a session lives without requests.
const MAX_IDLE: Duration = Duration::from_mins(5);

/// The most sessions. A new one then replaces the least recently used.
const CAPACITY: u64 = 100_000;

/// What a player may watch.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) channel: ChannelArn,
    /// The stream that it watches. The next stream of the channel needs another session.
    pub(super) stream_id: String,
    pub(super) grant: Grant,
}

/// 128 random bits, written as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct SessionId(u128);

impl SessionId {
    /// Returns a new id.
    pub(super) fn random() -> Result<Self, IdError> {
        ids::random_u128().map(Self)
    }

    /// Parses a part of a path.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let is_id =
            text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if is_id { u128::from_str_radix(text, 16).ok().map(Self) } else { None }
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The open sessions.
#[derive(Debug)]
pub(crate) struct Sessions(Cache<SessionId, Arc<Session>>);

impl Default for Sessions {
    fn default() -> Self {
        Self::with_capacity(CAPACITY)
    }
}

impl Sessions {
    /// Evicts the least recently used session. By default the cache would keep those that are used
    /// often and reject a new one.
    fn with_capacity(capacity: u64) -> Self {
        let cache = Cache::builder().max_capacity(capacity).time_to_idle(MAX_IDLE);
        Self(cache.eviction_policy(EvictionPolicy::lru()).build())
    }

    pub(super) fn open(&self, session: Session) -> Result<SessionId, IdError> {
        let id = SessionId::random()?;
        self.0.insert(id, Arc::new(session));
        Ok(id)
    }

    pub(super) fn find(&self, id: SessionId) -> Option<Arc<Session>> {
        self.0.get(&id)
    }

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
            grant: Grant::default(),
        }
    }

    #[test]
    fn new_session_replaces_least_recently_used() {
        let sessions = Sessions::with_capacity(3);
        let opened = [(); 3].map(|()| sessions.open(session()).unwrap());
        for _ in 0..9 {
            assert!(opened.iter().all(|id| sessions.find(*id).is_some()));
        }
        sessions.0.run_pending_tasks();
        let new = sessions.open(session()).unwrap();
        sessions.0.run_pending_tasks();
        let found = [opened[0], opened[1], opened[2], new].map(|id| sessions.find(id).is_some());
        assert_eq!(found, [false, true, true, true]);
        sessions.end(new);
        assert!(sessions.find(new).is_none());
    }

    #[test]
    fn id_parses_in_its_only_form() {
        let id = SessionId(0xab);
        assert_eq!(SessionId::parse(&id.to_string()), Some(id));
        for other in
            ["", "ab", "+00000000000000000000000000000ab", &"A".repeat(32), &"0".repeat(33)]
        {
            assert_eq!(SessionId::parse(other), None, "{other}");
        }
    }
}
