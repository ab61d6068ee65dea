//! Playlists of HTTP Live Streaming (RFC 8216, and its second edition where players want it).

use std::fmt::Write;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use time::{OffsetDateTime, macros::format_description};

use super::{
    claims::Resolution,
    media::{FRAME_RATE_MILLIS, Rendition, SEGMENT_DURATION, renditions},
    session::SessionId,
    timeline::Timeline,
};
use crate::{clock::Timestamp, emulator::store::metadata::Metadata};

/// The `CLASS` of the date ranges that carry timed metadata.
const METADATA_CLASS: &str = "ivs-playback-auth.timed-metadata";

/// What a quoted string cannot hold, and the sign that says so.
const UNQUOTABLE: &AsciiSet = &CONTROLS.add(b'"').add(b'%');

/// The multivariant playlist of a session. Its URLs carry the session and no token.
pub(super) fn multivariant(base_url: &str, session: SessionId, most: Option<Resolution>) -> String {
    let mut playlist = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n".to_owned();
    for rendition in renditions(most) {
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

/// The variant playlist of a rendition at `now`, with this metadata. Its URLs are relative, so that
/// it plays behind any address.
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
        begin = instant(begin),
    );
    for piece in metadata {
        // Long enough that a player which looks at its cues a few times a second does not miss it.
        let _ = writeln!(
            playlist,
            "#EXT-X-DATERANGE:ID=\"{id}\",CLASS=\"{METADATA_CLASS}\",START-DATE=\"{at}\",\
             DURATION=1.000,X-IVS-METADATA=\"{text}\"",
            id = piece.sequence,
            at = instant(piece.at),
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

/// ISO 8601 with milliseconds, as HLS has its dates.
fn instant(at: Timestamp) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at.unix_millis()) * 1_000_000)
        .ok()
        .and_then(|at| at.format(format).ok())
        .unwrap_or_else(|| at.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SESSION: &str = "000000000000000000000000000000ab";

    fn session() -> SessionId {
        SessionId::parse(SESSION).unwrap()
    }

    #[test]
    fn every_rendition_has_its_line_and_its_url() {
        let playlist = multivariant("http://h", session(), None);
        let lines: Vec<&str> = playlist.lines().collect();
        assert_eq!(lines[0], "#EXTM3U");
        let of_best = "RESOLUTION=1920x1080,CODECS=\"avc1.640028,mp4a.40.2\",FRAME-RATE=25.000";
        assert!(lines[3].starts_with("#EXT-X-STREAM-INF:BANDWIDTH="), "{}", lines[3]);
        assert!(lines[3].ends_with(of_best), "{}", lines[3]);
        assert_eq!(lines[4], format!("http://h/v1/playlist/{SESSION}/1080p.m3u8"));
        assert_eq!(lines.len(), 9);
        assert!(playlist.ends_with('\n'));
    }

    #[test]
    fn a_maximum_resolution_leaves_the_smaller_ones() {
        let names = |most: Resolution| {
            let playlist = multivariant("http://h", session(), Some(most));
            ["1080p", "720p", "360p"].map(|name| playlist.contains(name))
        };
        assert_eq!(names(Resolution::FullHd), [true, true, true]);
        assert_eq!(names(Resolution::Hd), [false, true, true]);
        assert_eq!(names(Resolution::Sd), [false, false, true]);
    }

    #[test]
    fn a_variant_playlist_lists_the_window_and_what_is_to_be_read_with_it() {
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
}
