//! Up to which session version each viewer was revoked, as far as this process revoked them.
//!
//! A version is a Unix second, so decisions within the same second would collide. A revocation
//! "until now" therefore chooses a version above the last one, and a mint stamps one above it. If a mint
//! reads the last version before a revocation chooses the next, then its token is revoked; if it reads it
//! afterwards, its token has a higher version and plays.
//!
//! A version matters until the clock has passed it: from then on the clock alone stamps a higher one.
//! Older versions are kept while there is room, because they show that the explicit version of a mint
//! would not play.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::{clock::Timestamp, ivs::arn::ChannelArn, tokens::claims::ViewerId};

/// The limit of remembered viewers, about 20 MB. IVS accepts 2700 revocations per minute.
const CAPACITY: usize = 100_000;

type Key = (ChannelArn, String);

/// The highest version that was revoked for each viewer on each channel.
#[derive(Debug)]
pub(super) struct RevokedVersions {
    versions: Mutex<HashMap<Key, i32>>,
    capacity: usize,
}

impl Default for RevokedVersions {
    fn default() -> Self {
        Self { versions: Mutex::default(), capacity: CAPACITY }
    }
}

impl RevokedVersions {
    /// Returns the last version that was revoked, if it is remembered.
    pub(super) fn last(&self, channel: &ChannelArn, viewer: &ViewerId) -> Option<i32> {
        self.versions.lock().get(&key(channel, viewer)).copied()
    }

    /// Records that an explicit version is about to be revoked.
    pub(super) fn revoke_up_to(
        &self,
        channel: &ChannelArn,
        viewer: &ViewerId,
        version: i32,
        now: Timestamp,
    ) {
        self.update(channel, viewer, now, |last| version.max(last.unwrap_or(version)));
    }

    /// Chooses and records the version of a revocation "until now": `until_now`, or one above the
    /// last one. At the highest version everything is revoked already.
    pub(super) fn revoke_until_now(
        &self,
        channel: &ChannelArn,
        viewer: &ViewerId,
        until_now: i32,
        now: Timestamp,
    ) -> i32 {
        let above = |last: i32| until_now.max(last.saturating_add(1));
        self.update(channel, viewer, now, |last| last.map_or(until_now, above))
    }

    fn update(
        &self,
        channel: &ChannelArn,
        viewer: &ViewerId,
        now: Timestamp,
        change: impl FnOnce(Option<i32>) -> i32,
    ) -> i32 {
        let mut versions = self.versions.lock();
        let key = key(channel, viewer);
        let last = versions.get(&key).copied();
        let version = change(last);
        versions.insert(key, version);
        if versions.len() > self.capacity {
            make_room(&mut versions, now);
        }
        version
    }
}

fn key(channel: &ChannelArn, viewer: &ViewerId) -> Key {
    (channel.clone(), viewer.as_str().to_owned())
}

/// Forgets versions that no longer matter. If all of them do, callers sent explicit versions far ahead
/// of the clock: the furthest are forgotten, so that revocations "until now" stay.
fn make_room(versions: &mut HashMap<Key, i32>, now: Timestamp) {
    let before = versions.len();
    versions.retain(|_, version| i64::from(*version) >= now.unix_seconds());
    if versions.len() < before {
        return;
    }
    let mut sorted: Vec<i32> = versions.values().copied().collect();
    sorted.sort_unstable();
    // A tenth at a time, so that this is rare.
    let mut surplus = before / 10 + 1;
    let Some(limit) = sorted.get(before - surplus).copied() else { return };
    versions.retain(|_, version| {
        let is_kept = *version < limit || surplus == 0;
        surplus -= usize::from(!is_kept);
        is_kept
    });
    tracing::warn!(
        event = "revoked_versions_forgotten",
        forgotten = before - versions.len(),
        "too many explicit session versions ahead of the clock; forgetting the furthest"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_337_700);
    const SECOND: i32 = 1_795_337_700;

    fn channel(id: &str) -> ChannelArn {
        format!("arn:aws:ivs:us-west-2:123456789012:channel/{id}").parse().unwrap()
    }

    fn viewer(id: &str) -> ViewerId {
        ViewerId::parse(id.to_owned()).unwrap()
    }

    #[test]
    fn revocation_until_now_exceeds_the_last_version() {
        let versions = RevokedVersions::default();
        let (demo, alice) = (channel("a"), viewer("alice"));
        let until_now = |second| versions.revoke_until_now(&demo, &alice, second, NOW);
        assert_eq!([until_now(SECOND), until_now(SECOND)], [SECOND, SECOND + 1]);
        assert_eq!(until_now(SECOND + 9), SECOND + 9);
        assert_eq!(versions.last(&demo, &alice), Some(SECOND + 9));
        assert_eq!(versions.last(&channel("b"), &alice), None);
        assert_eq!(versions.last(&demo, &viewer("bob")), None);

        // A lower explicit version takes nothing back.
        versions.revoke_up_to(&demo, &alice, 7, NOW);
        assert_eq!(versions.last(&demo, &alice), Some(SECOND + 9));
        versions.revoke_up_to(&demo, &alice, i32::MAX, NOW);
        assert_eq!(until_now(SECOND), i32::MAX);
    }

    #[test]
    fn versions_that_still_matter_are_kept_when_memory_is_full() {
        let versions = RevokedVersions { capacity: 100, ..RevokedVersions::default() };
        let demo = channel("a");
        let revoke = |id: &str, version| versions.revoke_up_to(&demo, &viewer(id), version, NOW);
        revoke("now", SECOND + 5);
        for number in 0..1000 {
            revoke(&format!("past-{number}"), SECOND - 1);
            revoke(&format!("far-{number}"), i32::MAX - number);
            assert!(versions.versions.lock().len() <= 100);
        }
        assert_eq!(versions.last(&demo, &viewer("now")), Some(SECOND + 5));
        // All the same: none is more important than the others.
        let versions = RevokedVersions { capacity: 10, ..RevokedVersions::default() };
        for number in 0..100 {
            versions.revoke_up_to(&demo, &viewer(&number.to_string()), i32::MAX, NOW);
            assert!(versions.versions.lock().len() <= 10);
        }
    }
}
