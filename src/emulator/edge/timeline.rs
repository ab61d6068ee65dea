//! Which segments of a live stream there are at a given time.
//!
//! A stream begins with a full window, so that a player starts at once: the segments before its start
//! count as played before it. From then on there is one more every [`SEGMENT_DURATION`].

use std::{ops::Range, time::Duration};

use super::media::SEGMENT_DURATION;
use crate::clock::Timestamp;

/// How many segments a playlist lists.
const WINDOW: u64 = 6;

/// How many more are still served after they left the playlist, for players that are slow.
const SERVED_LONGER: u64 = 30;

/// A stream in time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeline {
    pub(super) start: Timestamp,
    /// Absent while it is live. Like `start`, it is known to the second, rounded down.
    pub(super) end: Option<Timestamp>,
}

impl Timeline {
    /// The numbers of the segments that a playlist lists at `now`.
    pub(super) fn listed(&self, now: Timestamp) -> Range<u64> {
        let until = self.until().unwrap_or(now);
        let played = until.saturating_since(self.start).as_millis() / SEGMENT_DURATION.as_millis();
        let first = u64::try_from(played).unwrap_or(u64::MAX).min(u64::MAX - WINDOW);
        first..first + WINDOW
    }

    /// When nothing more comes; `None` while it is live. A playlist never takes back what it listed, so
    /// that the second of the end counts whole.
    fn until(&self) -> Option<Timestamp> {
        self.end.map(|end| end + Duration::from_secs(1))
    }

    /// The time of which a playlist shows the metadata at `now`: that of the segments that it lists,
    /// and no other stream's.
    pub(super) fn shown(&self, now: Timestamp) -> Range<Timestamp> {
        let begin = self.begin_of(self.listed(now).start);
        let end = self.until().unwrap_or(Timestamp::from_unix_millis(i64::MAX));
        begin.max(self.start)..end
    }

    /// Whether a segment can be had at `now`.
    pub(super) fn serves(&self, number: u64, now: Timestamp) -> bool {
        let listed = self.listed(now);
        (listed.start.saturating_sub(SERVED_LONGER)..listed.end).contains(&number)
    }

    /// When the first picture of a segment was taken.
    pub(super) fn begin_of(&self, number: u64) -> Timestamp {
        let millis = |count: u64| {
            let segment = u64::try_from(SEGMENT_DURATION.as_millis()).unwrap_or(u64::MAX);
            Duration::from_millis(segment.saturating_mul(count))
        };
        self.start + millis(number) - millis(WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Timestamp = Timestamp::from_unix_seconds(1_795_337_700);

    fn live() -> Timeline {
        Timeline { start: START, end: None }
    }

    #[test]
    fn the_window_is_full_from_the_start_and_moves_by_one_every_segment() {
        assert_eq!(live().listed(START), 0..6);
        assert_eq!(live().listed(START + Duration::from_millis(1_599)), 0..6);
        assert_eq!(live().listed(START + SEGMENT_DURATION), 1..7);
        assert_eq!(live().listed(START + SEGMENT_DURATION * 1_000_000), 1_000_000..1_000_006);
        // A clock that was set back.
        assert_eq!(live().listed(START - Duration::from_hours(1)), 0..6);
    }

    #[test]
    fn a_stream_that_ended_stands_still() {
        let ended = Timeline { end: Some(START + Duration::from_secs(4)), ..live() };
        for after in [0, 4, 5, 3_600] {
            assert_eq!(ended.listed(START + Duration::from_secs(after)), 3..9);
        }
    }

    #[test]
    fn segments_are_served_a_while_longer_than_listed_and_never_before() {
        let now = START + SEGMENT_DURATION * 100;
        for (number, is_served) in
            [(69, false), (70, true), (105, true), (106, false), (u64::MAX, false)]
        {
            assert_eq!(live().serves(number, now), is_served, "{number}");
        }
    }

    #[test]
    fn metadata_is_shown_with_the_segments_of_its_time_and_stream() {
        assert_eq!(live().shown(START).start, START);
        let now = START + SEGMENT_DURATION * 100;
        assert_eq!(live().shown(now).start, now - SEGMENT_DURATION * 6);
        let ended = Timeline { end: Some(now.floor_to_second()), ..live() };
        assert!(ended.shown(now).contains(&now));
        assert!(!ended.shown(now).contains(&(now + Duration::from_secs(1))));
    }

    proptest! {
        #[test]
        fn what_is_listed_has_been_taken(after in 0_u64..10_000_000_000) {
            let now = START + Duration::from_millis(after);
            let listed = live().listed(now);
            let end = live().begin_of(listed.end);
            prop_assert!(end <= now && now.saturating_since(end) < SEGMENT_DURATION);
            prop_assert!(live().serves(listed.start, now) && !live().serves(listed.end, now));
        }

        #[test]
        fn the_end_takes_nothing_back(after in 0_u64..10_000_000_000) {
            let now = START + Duration::from_millis(after);
            let ended = Timeline { end: Some(now.floor_to_second()), ..live() };
            let (before, after) = (live().listed(now), ended.listed(now));
            prop_assert!(before.start <= after.start && after.start <= before.start + 1);
        }
    }
}
