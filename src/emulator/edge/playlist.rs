//! Playlists of HTTP Live Streaming (RFC 8216, and its second edition where players need it).

use std::{fmt::Write, ops::Range, time::Duration};

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use time::{OffsetDateTime, macros::format_description};

use super::{
    media::{FRAME_RATE_MILLIS, Rendition, Resolution, SEGMENT_DURATION, renditions},
    session::SessionId,
};
use crate::{clock::Timestamp, emulator::store::streams::Metadata};

/// The media type of playlists.
pub(super) const MEDIA_TYPE: &str = "application/vnd.apple.mpegurl";

/// The `CLASS` of the date ranges that carry timed metadata.
const METADATA_CLASS: &str = "ivs-playback-auth.timed-metadata";

/// What a quoted string cannot contain, and the escape character.
const UNQUOTABLE: &AsciiSet = &CONTROLS.add(b'"').add(b'%');

/// How many segments a playlist lists.
const WINDOW: u64 = 6;

/// How many segments are still served after they left the playlist, for slow players.
const SERVED_LONGER: u64 = 30;

/// Which segments of a stream exist at a given time.
///
/// A stream begins with a full window, so that a player starts at once: the segments before the
/// start count as played. From then on a segment is added every [`SEGMENT_DURATION`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeline {
    pub(super) start: Timestamp,
    /// Absent while the stream is live. Like `start`, rounded down to the second.
    pub(super) end: Option<Timestamp>,
}

impl Timeline {
    /// Returns the numbers of the segments that a playlist lists at `now`.
    fn listed(&self, now: Timestamp) -> Range<u64> {
        let until = self.until().unwrap_or(now);
        let played = until.saturating_since(self.start).as_millis() / SEGMENT_DURATION.as_millis();
        let first = u64::try_from(played).unwrap_or(u64::MAX).min(u64::MAX - WINDOW);
        first..first + WINDOW
    }

    /// Returns when the last segment ends; `None` while the stream is live. A playlist never removes
    /// what it listed, so the second of the end counts in full.
    fn until(&self) -> Option<Timestamp> {
        self.end.map(|end| end + Duration::from_secs(1))
    }

    /// Returns the period whose metadata a playlist shows at `now`: that of the listed segments,
    /// without the time of another stream.
    pub(super) fn metadata_period(&self, now: Timestamp) -> Range<Timestamp> {
        let begin = self.begin_of(self.listed(now).start);
        let end = self.until().unwrap_or(Timestamp::from_unix_millis(i64::MAX));
        begin.max(self.start)..end
    }

    /// Returns whether a segment is served at `now`.
    pub(super) fn serves(&self, number: u64, now: Timestamp) -> bool {
        let listed = self.listed(now);
        (listed.start.saturating_sub(SERVED_LONGER)..listed.end).contains(&number)
    }

    /// Returns when the first frame of a segment was recorded.
    fn begin_of(&self, number: u64) -> Timestamp {
        let millis = |count: u64| {
            let segment = u64::try_from(SEGMENT_DURATION.as_millis()).unwrap_or(u64::MAX);
            Duration::from_millis(segment.saturating_mul(count))
        };
        self.start + millis(number) - millis(WINDOW)
    }
}

/// Returns the multivariant playlist of a session. Its URLs contain the session and no token.
pub(super) fn multivariant(
    base_url: &str,
    session: SessionId,
    maximum: Option<Resolution>,
) -> String {
    let mut playlist = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n".to_owned();
    for rendition in renditions(maximum) {
        let Rendition { name, size: (width, height), video_codec, .. } = rendition;
        let (peak, average) = (rendition.peak_bandwidth(), rendition.average_bandwidth());
        let (frames, thousandths) = (FRAME_RATE_MILLIS / 1_000, FRAME_RATE_MILLIS % 1_000);
        // Writing to a string does not fail.
        let _ = write!(
            playlist,
            "#EXT-X-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={average},\
             RESOLUTION={width}x{height},CODECS=\"{video_codec},mp4a.40.2\",\
             FRAME-RATE={frames}.{thousandths:03}\n\
             {base_url}/v1/playlist/{session}/{name}.m3u8\n"
        );
    }
    playlist
}

/// Returns the variant playlist of a rendition at `now`. Its URLs are relative, so that it plays
/// behind any address.
pub(super) fn variant(
    session: SessionId,
    rendition: &Rendition,
    timeline: Timeline,
    metadata: &[Metadata],
    now: Timestamp,
) -> String {
    let listed = timeline.listed(now);
    let begin = timeline.begin_of(listed.start);
    let folder = format!("../../segment/{session}/{}", rendition.name);
    let seconds = SEGMENT_DURATION.as_secs_f64();
    let mut playlist = format!(
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{target}\n#EXT-X-MEDIA-SEQUENCE:{first}\n\
         #EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-MAP:URI=\"{folder}/init.mp4\"\n\
         #EXT-X-PROGRAM-DATE-TIME:{begin}\n",
        target = seconds.ceil(),
        first = listed.start,
        begin = date_time(begin),
    );
    for piece in metadata {
        // Long enough that a player which checks its cues a few times per second does not miss it.
        let _ = writeln!(
            playlist,
            "#EXT-X-DATERANGE:ID=\"{id}\",CLASS=\"{METADATA_CLASS}\",START-DATE=\"{at}\",\
             DURATION=1.000,X-IVS-METADATA=\"{text}\"",
            id = piece.sequence,
            at = date_time(piece.at),
            text = utf8_percent_encode(&piece.text, UNQUOTABLE),
        );
    }
    for number in listed {
        let _ = write!(playlist, "#EXTINF:{seconds:.3},\n{folder}/{number}.m4s\n");
    }
    if timeline.end.is_some() {
        playlist.push_str("#EXT-X-ENDLIST\n");
    }
    playlist
}

/// Formats an instant as HLS requires: ISO 8601 with milliseconds.
fn date_time(at: Timestamp) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.unix_millis()) * 1_000_000)
        .ok()
        .and_then(|at| at.format(format).ok())
        .unwrap_or_else(|| at.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SESSION: &str = "000000000000000000000000000000ab";

    fn session() -> SessionId {
        SessionId::parse(SESSION).unwrap()
    }

    #[test]
    fn multivariant_playlist_lists_every_rendition() {
        let playlist = multivariant("http://h", session(), None);
        let lines: Vec<&str> = playlist.lines().collect();
        assert_eq!(lines[0], "#EXTM3U");
        let best = "RESOLUTION=1920x1080,CODECS=\"avc1.640028,mp4a.40.2\",FRAME-RATE=25.000";
        assert!(lines[3].starts_with("#EXT-X-STREAM-INF:BANDWIDTH="), "{}", lines[3]);
        assert!(lines[3].ends_with(best), "{}", lines[3]);
        assert_eq!(lines[4], format!("http://h/v1/playlist/{SESSION}/1080p.m3u8"));
        assert_eq!(lines.len(), 9);
        assert!(playlist.ends_with('\n'));
    }

    #[test]
    fn maximum_resolution_removes_larger_renditions() {
        let names = |maximum: Resolution| {
            let playlist = multivariant("http://h", session(), Some(maximum));
            ["1080p", "720p", "360p"].map(|name| playlist.contains(name))
        };
        assert_eq!(names(Resolution::FullHd), [true, true, true]);
        assert_eq!(names(Resolution::Hd), [false, true, true]);
        assert_eq!(names(Resolution::Sd), [false, false, true]);
    }

    #[test]
    fn variant_playlist_lists_window_and_metadata() {
        let start = Timestamp::from_unix_millis(1_795_337_700_250);
        let now = start + SEGMENT_DURATION * 4;
        let piece = |sequence, at, text: &str| Metadata { sequence, at, text: text.to_owned() };
        let metadata = [piece(7, now - Duration::from_secs(1), "{\"a\": \"100% \u{e9}\n\"}")];
        let rendition = renditions(None).nth(1).unwrap();
        let live = Timeline { start, end: None };
        let playlist = variant(session(), rendition, live, &metadata, now);
        let lines: Vec<&str> = playlist.lines().collect();
        assert_eq!(lines[2..4], ["#EXT-X-TARGETDURATION:2", "#EXT-X-MEDIA-SEQUENCE:4"]);
        let folder = format!("../../segment/{SESSION}/720p");
        assert_eq!(lines[5], format!("#EXT-X-MAP:URI=\"{folder}/init.mp4\""));
        assert_eq!(lines[6], "#EXT-X-PROGRAM-DATE-TIME:2026-11-22T08:54:57.050Z");
        assert_eq!(
            lines[7],
            "#EXT-X-DATERANGE:ID=\"7\",CLASS=\"ivs-playback-auth.timed-metadata\",\
             START-DATE=\"2026-11-22T08:55:05.650Z\",DURATION=1.000,\
             X-IVS-METADATA=\"{%22a%22: %22100%25 %C3%A9%0A%22}\""
        );
        assert_eq!(lines[8..10], ["#EXTINF:1.600,".to_owned(), format!("{folder}/4.m4s")]);
        assert_eq!(lines.last(), Some(&format!("{folder}/9.m4s").as_str()));
        assert_eq!(lines.len(), 20);
        let ended = Timeline { end: Some(now), ..live };
        let playlist = variant(session(), rendition, ended, &[], now + Duration::from_hours(1));
        assert!(playlist.ends_with("/9.m4s\n#EXT-X-ENDLIST\n"), "{playlist}");
    }

    const START: Timestamp = Timestamp::from_unix_seconds(1_795_337_700);

    fn live() -> Timeline {
        Timeline { start: START, end: None }
    }

    #[test]
    fn window_is_full_from_start_and_moves_by_segment() {
        assert_eq!(live().listed(START), 0..6);
        assert_eq!(live().listed(START + Duration::from_millis(1_599)), 0..6);
        assert_eq!(live().listed(START + SEGMENT_DURATION), 1..7);
        assert_eq!(live().listed(START + SEGMENT_DURATION * 1_000_000), 1_000_000..1_000_006);
        // A clock that was set back.
        assert_eq!(live().listed(START - Duration::from_hours(1)), 0..6);
    }

    #[test]
    fn window_of_ended_stream_stands_still() {
        let ended = Timeline { end: Some(START + Duration::from_secs(4)), ..live() };
        for after in [0, 4, 5, 3_600] {
            assert_eq!(ended.listed(START + Duration::from_secs(after)), 3..9);
        }
    }

    #[test]
    fn segments_are_served_longer_than_listed_and_never_early() {
        let now = START + SEGMENT_DURATION * 100;
        for (number, is_served) in
            [(69, false), (70, true), (105, true), (106, false), (u64::MAX, false)]
        {
            assert_eq!(live().serves(number, now), is_served, "{number}");
        }
    }

    #[test]
    fn metadata_is_shown_with_segments_of_its_time_and_stream() {
        assert_eq!(live().metadata_period(START).start, START);
        let now = START + SEGMENT_DURATION * 100;
        assert_eq!(live().metadata_period(now).start, now - SEGMENT_DURATION * 6);
        let ended = Timeline { end: Some(now.floor_to_second()), ..live() };
        assert!(ended.metadata_period(now).contains(&now));
        assert!(!ended.metadata_period(now).contains(&(now + Duration::from_secs(1))));
    }

    proptest! {
        #[test]
        fn listed_segments_are_recorded(after in 0_u64..10_000_000_000) {
            let now = START + Duration::from_millis(after);
            let listed = live().listed(now);
            let end = live().begin_of(listed.end);
            prop_assert!(end <= now && now.saturating_since(end) < SEGMENT_DURATION);
            prop_assert!(live().serves(listed.start, now) && !live().serves(listed.end, now));
        }

        #[test]
        fn end_of_stream_removes_no_listed_segment(after in 0_u64..10_000_000_000) {
            let now = START + Duration::from_millis(after);
            let ended = Timeline { end: Some(now.floor_to_second()), ..live() };
            let (before, after) = (live().listed(now), ended.listed(now));
            prop_assert!(before.start <= after.start && after.start <= before.start + 1);
        }
    }
}
