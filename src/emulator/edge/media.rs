//! The media that every channel plays: a short film in three renditions, looped without end.
//!
//! `media/generate.sh` makes the files. Each is an initialization section and [`SEGMENTS`] fragments
//! of exactly [`SEGMENT_DURATION`]. The loop has no gap: segment 8 is segment 0 again with its own
//! sequence number and decode times, so a player sees one endless stream.

use std::{ops::Range, sync::LazyLock, time::Duration};

/// How long a segment plays.
pub(super) const SEGMENT_DURATION: Duration = Duration::from_millis(1_600);

/// Frames per second, in thousandths.
pub(super) const FRAME_RATE_MILLIS: u32 = 25_000;

/// How many segments the loop has.
const SEGMENTS: usize = 8;

/// The time units per second of the video and the audio track, in the order of the tracks.
const TIME_SCALES: [u128; 2] = [12_800, 48_000];

/// The renditions of every channel, the best first, as IVS orders them.
static RENDITIONS: LazyLock<[Rendition; 3]> = LazyLock::new(|| {
    [
        rendition("1080p", (1920, 1080), "avc1.640028", include_bytes!("media/1080p.mp4")),
        rendition("720p", (1280, 720), "avc1.4D401F", include_bytes!("media/720p.mp4")),
        rendition("360p", (640, 360), "avc1.4D401E", include_bytes!("media/360p.mp4")),
    ]
});

/// The claim `aws:maximum-resolution`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Resolution {
    Sd,
    Hd,
    FullHd,
}

impl Resolution {
    const fn max_height(self) -> u32 {
        match self {
            Self::Sd => 480,
            Self::Hd => 720,
            Self::FullHd => 1080,
        }
    }
}

/// A rendition of the film.
#[derive(Debug)]
pub(super) struct Rendition {
    /// Its name in URLs.
    pub(super) name: &'static str,
    /// Width and height of the picture, in pixels.
    pub(super) size: (u32, u32),
    /// The codec of the video. The audio is always AAC-LC.
    pub(super) video_codec: &'static str,
    file: &'static [u8],
    initialization: Range<usize>,
    fragments: Vec<Fragment>,
}

/// A segment in the file.
#[derive(Debug)]
struct Fragment {
    place: Range<usize>,
    /// Where in the fragment its sequence number is.
    number_at: usize,
    tracks: Vec<Track>,
}

/// The decode time of one track in a fragment.
#[derive(Debug)]
struct Track {
    /// Where in the fragment the time is.
    time_at: usize,
    time: u64,
    /// The length of the loop, in the track's own units.
    loop_duration: u64,
}

/// Returns the renditions up to a maximum resolution, the best first.
pub(super) fn renditions(maximum: Option<Resolution>) -> impl Iterator<Item = &'static Rendition> {
    let max_height = maximum.map_or(u32::MAX, Resolution::max_height);
    RENDITIONS.iter().filter(move |rendition| rendition.size.1 <= max_height)
}

impl Rendition {
    /// Returns the initialization section, which a player reads first.
    pub(super) fn initialization(&self) -> &'static [u8] {
        self.file.get(self.initialization.clone()).unwrap_or_default()
    }

    /// Returns segment `number` of a stream that began with segment 0.
    pub(super) fn segment(&self, number: u64) -> Vec<u8> {
        let count = self.fragments.len().max(1) as u64;
        let (round, index) = (number / count, number % count);
        let fragment = usize::try_from(index).ok().and_then(|index| self.fragments.get(index));
        let Some(fragment) = fragment else { return Vec::new() };
        let mut segment = self.file.get(fragment.place.clone()).unwrap_or_default().to_vec();
        let mut write = |at: usize, value: &[u8]| {
            if let Some(place) = segment.get_mut(at..at + value.len()) {
                place.copy_from_slice(value);
            }
        };
        // Sequence numbers of fragments count from 1, and their field has 32 bits.
        let low_bits = number.wrapping_add(1) & u64::from(u32::MAX);
        write(fragment.number_at, &u32::try_from(low_bits).unwrap_or_default().to_be_bytes());
        for track in &fragment.tracks {
            let time = track.time.saturating_add(track.loop_duration.saturating_mul(round));
            write(track.time_at, &time.to_be_bytes());
        }
        segment
    }

    /// Returns the peak bandwidth, in bits per second.
    pub(super) fn peak_bandwidth(&self) -> u64 {
        bits_per_second(self.segment_sizes().max().unwrap_or_default(), 1)
    }

    /// Returns the average bandwidth, in bits per second.
    pub(super) fn average_bandwidth(&self) -> u64 {
        bits_per_second(self.segment_sizes().sum(), self.fragments.len())
    }

    fn segment_sizes(&self) -> impl Iterator<Item = usize> {
        self.fragments.iter().map(|fragment| fragment.place.len())
    }
}

fn bits_per_second(bytes: usize, segments: usize) -> u64 {
    let millis = SEGMENT_DURATION.as_millis() * segments.max(1) as u128;
    u64::try_from((bytes as u128 * 8 * 1_000).div_ceil(millis)).unwrap_or(u64::MAX)
}

#[expect(clippy::expect_used, reason = "the files are part of the program, and a test reads them")]
fn rendition(
    name: &'static str,
    size: (u32, u32),
    video_codec: &'static str,
    file: &'static [u8],
) -> Rendition {
    let (initialization, fragments) = index(file).expect("media as media/generate.sh makes them");
    Rendition { name, size, video_codec, file, initialization, fragments }
}

/// Finds the parts of a file; `None` if `generate.sh` did not make it.
fn index(file: &[u8]) -> Option<(Range<usize>, Vec<Fragment>)> {
    let all = boxes(file)?;
    let mut fragments = Vec::new();
    for (movie_fragment, data) in all.iter().zip(all.iter().skip(1)) {
        if movie_fragment.kind != *b"moof" || data.kind != *b"mdat" {
            continue;
        }
        let place = movie_fragment.place.start..data.place.end;
        let fragment = file.get(movie_fragment.place.clone())?;
        let number_at = field_at(fragment, *b"mfhd", 0)?;
        let mut tracks = Vec::new();
        let mut time_at = 0;
        for time_scale in TIME_SCALES {
            time_at = field_at(fragment, *b"tfdt", time_at)?;
            let loop_millis = SEGMENT_DURATION.as_millis() * SEGMENTS as u128;
            let loop_duration = u64::try_from(time_scale * loop_millis / 1_000).ok()?;
            let time = u64::from_be_bytes(*fragment.get(time_at..)?.first_chunk()?);
            tracks.push(Track { time_at, time, loop_duration });
        }
        fragments.push(Fragment { place, number_at, tracks });
    }
    let first = fragments.first()?.place.start;
    (fragments.len() == SEGMENTS).then_some((0..first, fragments))
}

/// Finds the first field of a box inside a movie fragment, after its version and flags. Searching
/// for the type is enough: the tests check every fragment with a parser.
fn field_at(fragment: &[u8], kind: [u8; 4], from: usize) -> Option<usize> {
    let place = fragment.get(from..)?.windows(4).position(|bytes| bytes == kind)?;
    Some(from + place + 8)
}

/// A top-level box of an ISO base media file (ISO/IEC 14496-12): its type, and where it is.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Mp4Box {
    kind: [u8; 4],
    place: Range<usize>,
}

/// Returns the boxes of a file; `None` if the file does not consist of boxes.
fn boxes(file: &[u8]) -> Option<Vec<Mp4Box>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < file.len() {
        let (length, rest) = file.get(at..)?.split_first_chunk()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let end = at.checked_add(length).filter(|end| length >= 8 && *end <= file.len())?;
        found.push(Mp4Box { kind: *rest.first_chunk()?, place: at..end });
        at = end;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn u32_at(bytes: &[u8], at: usize) -> u32 {
        u32::from_be_bytes(*bytes[at..].first_chunk().unwrap())
    }

    /// Returns the contents of the boxes of one type.
    fn contents(bytes: &[u8], kind: [u8; 4]) -> Vec<&[u8]> {
        let found = boxes(bytes).unwrap();
        let found = found.into_iter().filter(|mp4_box| mp4_box.kind == kind);
        found.map(|mp4_box| &bytes[mp4_box.place][8..]).collect()
    }

    fn content(bytes: &[u8], kind: [u8; 4]) -> &[u8] {
        let found = contents(bytes, kind);
        assert_eq!(found.len(), 1);
        found[0]
    }

    fn kinds(bytes: &[u8]) -> Vec<[u8; 4]> {
        boxes(bytes).unwrap().into_iter().map(|mp4_box| mp4_box.kind).collect()
    }

    /// Returns the number of a segment, and for each track its time in milliseconds and its samples.
    fn read(rendition: &Rendition, segment: &[u8]) -> (u32, Vec<(u64, u32)>) {
        assert_eq!(kinds(segment), [*b"moof", *b"mdat"]);
        let fragment = content(segment, *b"moof");
        let tracks = contents(fragment, *b"traf");
        assert_eq!(tracks.len(), 2);
        let tracks = tracks.iter().zip([12_800, 48_000]).map(|(track, scale)| {
            let time = content(track, *b"tfdt");
            assert_eq!(time[0], 1, "version 1 has 64 bits for the time");
            let time = u64::from_be_bytes(*time[4..].first_chunk().unwrap());
            assert_eq!(time * 1_000 % scale, 0, "{} {time}", rendition.name);
            (time * 1_000 / scale, u32_at(content(track, *b"trun"), 4))
        });
        (u32_at(content(fragment, *b"mfhd"), 4), tracks.collect())
    }

    #[test]
    fn segments_continue_without_gap_across_loops() {
        for rendition in renditions(None) {
            for number in [0, 1, 7, 8, 9, 15, 16, 80_003, 1 << 33] {
                let (written, tracks) = read(rendition, &rendition.segment(number));
                assert_eq!(u64::from(written), (number + 1) & 0xffff_ffff);
                // 40 pictures of 512/12800 s and 75 times 1,024 samples at 48 kHz are 1.6 s.
                assert_eq!(tracks, [(number * 1_600, 40), (number * 1_600, 75)], "{number}");
            }
            assert!(!rendition.segment(u64::MAX).is_empty());
        }
    }

    #[test]
    fn every_segment_begins_with_key_frame() {
        for rendition in renditions(None) {
            for number in 0..SEGMENTS as u64 {
                let segment = rendition.segment(number);
                // The first sample is the first of the video track: NAL units, each after its length.
                let data = content(&segment, *b"mdat");
                let mut at = 0;
                let mut kinds = Vec::new();
                while kinds.last().is_none_or(|kind| ![1, 5].contains(kind)) {
                    kinds.push(data[at + 4] & 0x1f);
                    at += 4 + usize::try_from(u32_at(data, at)).unwrap();
                }
                assert_eq!(kinds.last(), Some(&5), "{} {number} {kinds:?}", rendition.name);
            }
        }
    }

    #[test]
    fn playlist_attributes_match_media() {
        for rendition in renditions(None) {
            let file = rendition.initialization();
            assert_eq!(kinds(file), [*b"ftyp", *b"moov"]);
            // AVCDecoderConfigurationRecord: version 1, then profile, constraints, level.
            let record = file.windows(4).position(|kind| kind == b"avcC").unwrap() + 4;
            let codec = file[record + 1..record + 4].iter().map(|byte| format!("{byte:02X}"));
            assert_eq!(rendition.video_codec, format!("avc1.{}", codec.collect::<String>()));
            // The visual sample entry has width and height of 16 bits, 24 bytes after its type.
            let entry = file.windows(4).position(|kind| kind == b"avc1").unwrap() + 28;
            let pixels =
                |at: usize| u32::from(u16::from_be_bytes(*file[at..].first_chunk().unwrap()));
            assert_eq!(rendition.size, (pixels(entry), pixels(entry + 2)));
            // AudioSpecificConfig (tag 5, its length): object type 2, which is AAC-LC, at 48 kHz.
            let sound = file.windows(4).position(|kind| kind == b"esds").unwrap();
            let config = [0x05, 0x80, 0x80, 0x80, 0x05, 0x11, 0x90];
            assert!(file[sound..].windows(config.len()).any(|bytes| bytes == config));
            assert!(rendition.average_bandwidth() <= rendition.peak_bandwidth());
        }
        let names = renditions(None).map(|rendition| rendition.name).collect::<Vec<_>>();
        assert_eq!(names, ["1080p", "720p", "360p"]);
    }

    #[test]
    fn media_is_small() {
        let bytes: usize = renditions(None).map(|rendition| rendition.file.len()).sum();
        assert!(bytes < 3 << 20, "{bytes}");
    }

    #[test]
    fn other_files_have_no_index() {
        let file = RENDITIONS[2].file;
        assert!(index(file).is_some());
        assert!(index(&file[..file.len() - 1]).is_none());
        assert!(index(&file[..2_000]).is_none());
        assert!(index(b"").is_none());
    }

    #[test]
    fn file_consists_of_boxes_or_is_refused() {
        let file = b"\0\0\0\x10moof\0\0\0\x08mfhd\0\0\0\x08mdat";
        assert_eq!(kinds(file), [*b"moof", *b"mdat"]);
        assert_eq!(content(content(file, *b"moof"), *b"mfhd"), b"");
        assert_eq!(boxes(&file[..file.len() - 1]), None);
        assert_eq!(boxes(b"\0\0\0\x07moov"), None);
        assert_eq!(boxes(b"\0\0\0"), None);
        assert_eq!(boxes(b""), Some(Vec::new()));
    }
}
