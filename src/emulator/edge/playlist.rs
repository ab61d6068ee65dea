//! Playlists of HTTP Live Streaming (RFC 8216).

use std::fmt::Write;

use super::claims::Resolution;

/// A rendition of the stream.
#[derive(Debug)]
struct Rendition {
    name: &'static str,
    width: u32,
    height: u32,
    /// Peak bits a second, audio included.
    bandwidth: u32,
    codecs: &'static str,
}

/// What every channel offers, the best first, as IVS orders it.
const RENDITIONS: [Rendition; 3] = [
    Rendition {
        name: "1080p",
        width: 1920,
        height: 1080,
        bandwidth: 4_000_000,
        codecs: "avc1.640028,mp4a.40.2",
    },
    Rendition {
        name: "720p",
        width: 1280,
        height: 720,
        bandwidth: 2_000_000,
        codecs: "avc1.64001F,mp4a.40.2",
    },
    Rendition {
        name: "480p",
        width: 854,
        height: 480,
        bandwidth: 1_000_000,
        codecs: "avc1.64001E,mp4a.40.2",
    },
];

impl Resolution {
    /// The most lines of a picture.
    const fn max_height(self) -> u32 {
        match self {
            Self::Sd => 480,
            Self::Hd => 720,
            Self::FullHd => 1080,
        }
    }
}

/// The multivariant playlist of a session. Its URLs carry the session and no token.
pub(super) fn multivariant(base_url: &str, session: &str, most: Option<Resolution>) -> String {
    let mut playlist = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n".to_owned();
    let max_height = most.map_or(u32::MAX, Resolution::max_height);
    for rendition in RENDITIONS.iter().filter(|rendition| rendition.height <= max_height) {
        let Rendition { name, width, height, bandwidth, codecs } = rendition;
        // Writing to a string does not fail.
        let _ = write!(
            playlist,
            "#EXT-X-STREAM-INF:BANDWIDTH={bandwidth},RESOLUTION={width}x{height},\
             CODECS=\"{codecs}\",FRAME-RATE=30.000\n\
             {base_url}/v1/playlist/{session}/{name}.m3u8\n"
        );
    }
    playlist
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rendition_has_its_line_and_its_url() {
        let playlist = multivariant("http://h", "s", None);
        let lines: Vec<&str> = playlist.lines().collect();
        assert_eq!(lines[0], "#EXTM3U");
        assert_eq!(
            lines[3],
            "#EXT-X-STREAM-INF:BANDWIDTH=4000000,RESOLUTION=1920x1080,\
             CODECS=\"avc1.640028,mp4a.40.2\",FRAME-RATE=30.000"
        );
        assert_eq!(lines[4], "http://h/v1/playlist/s/1080p.m3u8");
        assert_eq!(lines.len(), 9);
        assert!(playlist.ends_with('\n'));
    }

    #[test]
    fn a_maximum_resolution_leaves_the_smaller_ones() {
        let names = |most: Resolution| {
            let playlist = multivariant("http://h", "s", Some(most));
            ["1080p", "720p", "480p"].map(|name| playlist.contains(name))
        };
        assert_eq!(names(Resolution::FullHd), [true, true, true]);
        assert_eq!(names(Resolution::Hd), [false, true, true]);
        assert_eq!(names(Resolution::Sd), [false, false, true]);
    }
}
