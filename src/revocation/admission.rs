//! How many sessions may wait, so that all of them are revoked within the time of their requests.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;

/// Sessions that the requests under way may have in a region, so that all of them end within
/// a minute: 45 are revoked in a second.
const ROOM: usize = 2000;

/// What is left of it for small requests: one viewer can be revoked while others revoke thousands.
const ROOM_FOR_SMALL: usize = 200;
const SMALL: usize = 20;

/// How many sessions are revoked in a second, about.
const PACE: usize = 40;

/// Too many viewer sessions wait already.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("More viewer sessions wait to be revoked than can be within a minute; try again shortly.")]
pub struct QueueFull {
    /// When there will be room, about.
    pub retry_after: Duration,
}

/// Leave to revoke so many sessions. It is handed back when dropped.
#[derive(Debug, Default)]
pub struct Admission(Vec<Share>);

impl Admission {
    pub(super) fn add(&mut self, share: Share) {
        self.0.push(share);
    }
}

/// The part of one region.
#[derive(Debug)]
pub(super) struct Share {
    taken: Arc<Mutex<usize>>,
    sessions: usize,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.taken.lock();
        *taken = taken.saturating_sub(self.sessions);
    }
}

/// How many sessions the requests under way have in a region.
#[derive(Debug, Default)]
pub(super) struct Room(Arc<Mutex<usize>>);

impl Room {
    /// Takes room for the sessions of a request.
    ///
    /// # Errors
    ///
    /// There is not enough.
    pub(super) fn admit(&self, sessions: usize) -> Result<Share, QueueFull> {
        let room = if sessions <= SMALL { ROOM } else { ROOM - ROOM_FOR_SMALL };
        let mut taken = self.0.lock();
        if let Some(missing) = (*taken + sessions).checked_sub(room + 1) {
            let seconds = u64::try_from(missing / PACE).unwrap_or(u64::MAX);
            return Err(QueueFull { retry_after: Duration::from_secs(seconds + 1) });
        }
        *taken += sessions;
        Ok(Share { taken: Arc::clone(&self.0), sessions })
    }
}
