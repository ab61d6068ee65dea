//! The media that every channel plays: a short film in three renditions, cut to be looped for ever.
//!
//! `media/generate.sh` makes the files. Each is an initialisation section and [`SEGMENTS`] fragments
//! of exactly [`SEGMENT_DURATION`]. The loop has no gap: segment number 8 is segment 0 again, with its
//! number and its decode times written anew, so that a player sees one stream without end.

use std::{ops::Range, sync::LazyLock, time::Duration};

use super::{
    boxes::{boxes, child, children, u32_at, u64_at},
    claims::Resolution,
};

/// How long a segment plays.
pub(super) const SEGMENT_DURATION: Duration = Duration::from_millis(1_600);

/// Pictures a second, in thousandths.
pub(super) const FRAME_RATE_MILLIS: u32 = 25_000;

/// How many segments the loop has.
const SEGMENTS: usize = 8;

/// What every channel offers, the best first, as IVS orders it.
static RENDITIONS: LazyLock<[Rendition; 3]> = LazyLock::new(|| {
    [
        rendition("1080p", (1920, 1080), "avc1.640028", include_bytes!("media/1080p.mp4")),
        rendition("720p", (1280, 720), "avc1.4D401F", include_bytes!("media/720p.mp4")),
        rendition("360p", (640, 360), "avc1.4D401E", include_bytes!("media/360p.mp4")),
    ]
});

/// A rendition of the film.
#[derive(Debug)]
pub(super) struct Rendition {
    /// Its name in URLs.
    pub(super) name: &'static str,
    /// Width and height of the picture, in pixels.
    pub(super) size: (u32, u32),
    /// The codec of the picture; that of the sound is always AAC-LC.
    pub(super) video_codec: &'static str,
    file: &'static [u8],
    initialization: Range<usize>,
    fragments: Vec<Fragment>,
}

/// A segment as it is in the file.
#[derive(Debug)]
struct Fragment {
    place: Range<usize>,
    /// Where in the fragment its number stands.
    number_at: usize,
    tracks: Vec<Track>,
}

/// The time of one track in a fragment.
#[derive(Debug)]
struct Track {
    /// Where in the fragment its first decode time stands.
    time_at: usize,
    time: u64,
    /// How long the loop is, in the track's own units.
    loop_duration: u64,
}

/// What a player may be offered, the best first.
pub(super) fn renditions(most: Option<Resolution>) -> impl Iterator<Item = &'static Rendition> {
    let max_height = most.map_or(u32::MAX, Resolution::max_height);
    RENDITIONS.iter().filter(move |rendition| rendition.size.1 <= max_height)
}

impl Rendition {
    /// What a player reads first.
    pub(super) fn initialization(&self) -> &'static [u8] {
        self.file.get(self.initialization.clone()).unwrap_or_default()
    }

    /// Segment `number` of a stream that began with segment 0.
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
        // Numbers of fragments count from 1, and their field has 32 bits.
        let low_bits = number.wrapping_add(1) & u64::from(u32::MAX);
        write(fragment.number_at, &u32::try_from(low_bits).unwrap_or_default().to_be_bytes());
        for track in &fragment.tracks {
            let time = track.time.saturating_add(track.loop_duration.saturating_mul(round));
            write(track.time_at, &time.to_be_bytes());
        }
        segment
    }

    /// The most bits a second of any segment.
    pub(super) fn peak_bandwidth(&self) -> u64 {
        let longest = self.fragments.iter().map(|it| it.place.len()).max().unwrap_or_default();
        bits_a_second(longest, 1)
    }

    /// Bits a second of the whole film.
    pub(super) fn average_bandwidth(&self) -> u64 {
        bits_a_second(self.fragments.iter().map(|it| it.place.len()).sum(), self.fragments.len())
    }
}

fn bits_a_second(bytes: usize, segments: usize) -> u64 {
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

/// Where the parts of a file are; `None` for a file that is not what `generate.sh` makes.
fn index(file: &[u8]) -> Option<(Range<usize>, Vec<Fragment>)> {
    let all = boxes(file, 0..file.len())?;
    let movie = all.iter().find(|it| it.kind == *b"moov")?;
    // A track's number, and its units a second.
    let mut time_scales = Vec::new();
    for track in children(file, movie, *b"trak")? {
        let header = child(file, &track, *b"tkhd")?;
        let media = child(file, &child(file, &track, *b"mdia")?, *b"mdhd")?;
        // Behind version and flags, and two times of 32 bits.
        time_scales.push((
            u32_at(file, header.content.start + 12)?,
            u32_at(file, media.content.start + 12)?,
        ));
    }
    let mut fragments = Vec::new();
    for (movie_fragment, data) in all.iter().zip(all.iter().skip(1)) {
        if movie_fragment.kind != *b"moof" || data.kind != *b"mdat" {
            continue;
        }
        let place = movie_fragment.start()..data.content.end;
        let number_at = child(file, movie_fragment, *b"mfhd")?.content.start + 4 - place.start;
        let mut tracks = Vec::new();
        for track in children(file, movie_fragment, *b"traf")? {
            let id = u32_at(file, child(file, &track, *b"tfhd")?.content.start + 4)?;
            let (_, time_scale) = time_scales.iter().find(|(track, _)| *track == id)?;
            let times = child(file, &track, *b"tfdt")?.content;
            // Version 1 has 64 bits for the time.
            if file.get(times.start) != Some(&1) {
                return None;
            }
            let loop_millis = SEGMENT_DURATION.as_millis() * SEGMENTS as u128;
            let loop_duration = u128::from(*time_scale) * loop_millis / 1_000;
            tracks.push(Track {
                time_at: times.start + 4 - place.start,
                time: u64_at(file, times.start + 4)?,
                loop_duration: u64::try_from(loop_duration).ok()?,
            });
        }
        fragments.push(Fragment { place, number_at, tracks });
    }
    let first = fragments.first()?.place.start;
    (fragments.len() == SEGMENTS).then_some((0..first, fragments))
}

#[cfg(test)]
mod tests {
    use super::{super::boxes::Mp4Box, *};

    fn boxes_of(bytes: &[u8]) -> Vec<Mp4Box> {
        boxes(bytes, 0..bytes.len()).unwrap()
    }

    /// Number of the segment, and of each track: its time in milliseconds, how many samples.
    fn read(rendition: &Rendition, segment: &[u8]) -> (u32, Vec<(u64, u32)>) {
        let found = boxes_of(segment);
        let kinds: Vec<[u8; 4]> = found.iter().map(|it| it.kind).collect();
        assert_eq!(kinds, [*b"moof", *b"mdat"]);
        let fragment = found.first().unwrap();
        let number = child(segment, fragment, *b"mfhd").unwrap().content.start + 4;
        let tracks = children(segment, fragment, *b"traf").unwrap();
        assert_eq!(tracks.len(), 2);
        let scales = [12_800, 48_000];
        let tracks = tracks.iter().zip(scales).map(|(track, scale)| {
            let time = child(segment, track, *b"tfdt").unwrap().content.start + 4;
            let time = u64_at(segment, time).unwrap();
            assert_eq!(time * 1_000 % scale, 0, "{} {time}", rendition.name);
            let run = child(segment, track, *b"trun").unwrap().content.start + 4;
            (time * 1_000 / scale, u32_at(segment, run).unwrap())
        });
        (u32_at(segment, number).unwrap(), tracks.collect())
    }

    #[test]
    fn segments_follow_each_other_without_a_gap_round_after_round() {
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
    fn a_segment_begins_with_a_picture_that_needs_no_other() {
        for rendition in renditions(None) {
            for number in 0..SEGMENTS as u64 {
                let segment = rendition.segment(number);
                let data = boxes_of(&segment).pop().unwrap().content;
                // The first sample is the first of the video track: NAL units, each behind its length.
                let mut at = data.start;
                let mut kinds = Vec::new();
                while kinds.last().is_none_or(|kind| ![1, 5].contains(kind)) {
                    kinds.push(segment[at + 4] & 0x1f);
                    at += 4 + usize::try_from(u32_at(&segment, at).unwrap()).unwrap();
                }
                assert_eq!(kinds.last(), Some(&5), "{} {number} {kinds:?}", rendition.name);
            }
        }
    }

    #[test]
    fn what_playlists_say_of_the_media_is_so() {
        for rendition in renditions(None) {
            let file = rendition.initialization();
            assert_eq!(
                boxes_of(file).iter().map(|it| it.kind).collect::<Vec<_>>(),
                [*b"ftyp", *b"moov"]
            );
            // AVCDecoderConfigurationRecord: version 1, then profile, constraints, level.
            let record = file.windows(4).position(|kind| kind == b"avcC").unwrap() + 4;
            let codec = file[record + 1..record + 4].iter().map(|byte| format!("{byte:02X}"));
            assert_eq!(rendition.video_codec, format!("avc1.{}", codec.collect::<String>()));
            // The visual sample entry has width and height of 16 bits, 24 bytes behind its type.
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
        let names = renditions(None).map(|it| it.name).collect::<Vec<_>>();
        assert_eq!(names, ["1080p", "720p", "360p"]);
    }

    #[test]
    fn the_film_is_small() {
        let bytes: usize = renditions(None).map(|rendition| rendition.file.len()).sum();
        assert!(bytes < 3 << 20, "{bytes}");
    }

    #[test]
    fn a_file_of_another_form_is_not_taken() {
        let file = RENDITIONS[2].file;
        assert!(index(file).is_some());
        assert!(index(&file[..file.len() - 1]).is_none());
        assert!(index(&file[..2_000]).is_none());
        assert!(index(b"").is_none());
    }
}
