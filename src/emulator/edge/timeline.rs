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
    /// Absent while it is live.
    pub(super) end: Option<Timestamp>,
}

impl Timeline {
    /// The numbers of the segments that a playlist lists at `now`.
    pub(super) fn listed(&self, now: Timestamp) -> Range<u64> {
        let until = self.end.map_or(now, |end| end.min(now));
        let played = until.saturating_since(self.start).as_millis() / SEGMENT_DURATION.as_millis();
        let first = u64::try_from(played).unwrap_or(u64::MAX).min(u64::MAX - WINDOW);
        first..first + WINDOW
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
        let ended = Timeline { end: Some(START + SEGMENT_DURATION * 3), ..live() };
        assert_eq!(ended.listed(START + SEGMENT_DURATION), 1..7);
        assert_eq!(ended.listed(START + Duration::from_hours(1)), 3..9);
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

    proptest! {
        #[test]
        fn what_is_listed_has_been_taken(after in 0_u64..10_000_000_000) {
            let now = START + Duration::from_millis(after);
            let listed = live().listed(now);
            let end = live().begin_of(listed.end);
            prop_assert!(end <= now && now.saturating_since(end) < SEGMENT_DURATION);
            prop_assert!(live().serves(listed.start, now) && !live().serves(listed.end, now));
        }
    }
}
