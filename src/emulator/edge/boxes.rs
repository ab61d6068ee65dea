//! The boxes of an ISO base media file (ISO/IEC 14496-12), as far as a live loop needs them.

use std::ops::Range;

/// A box: its type, and where in the file its content is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Mp4Box {
    pub(super) kind: [u8; 4],
    pub(super) content: Range<usize>,
}

impl Mp4Box {
    /// Where the box itself begins.
    pub(super) const fn start(&self) -> usize {
        self.content.start.saturating_sub(HEADER)
    }
}

/// Length and type.
const HEADER: usize = 8;

/// The boxes of a part of a file, one after the other; `None` where it is not boxes throughout.
pub(super) fn boxes(file: &[u8], part: Range<usize>) -> Option<Vec<Mp4Box>> {
    let mut found = Vec::new();
    let mut at = part.start;
    while at < part.end {
        let length = usize::try_from(u32_at(file, at)?).ok()?;
        let kind = *file.get(at + 4..)?.first_chunk()?;
        let end = at.checked_add(length).filter(|end| *end <= part.end)?;
        if length < HEADER {
            return None;
        }
        found.push(Mp4Box { kind, content: at + HEADER..end });
        at = end;
    }
    Some(found)
}

/// The boxes of one type among the children of a box.
pub(super) fn children(file: &[u8], of: &Mp4Box, kind: [u8; 4]) -> Option<Vec<Mp4Box>> {
    let mut found = boxes(file, of.content.clone())?;
    found.retain(|it| it.kind == kind);
    Some(found)
}

/// The first box of one type among the children of a box.
pub(super) fn child(file: &[u8], of: &Mp4Box, kind: [u8; 4]) -> Option<Mp4Box> {
    children(file, of, kind)?.into_iter().next()
}

/// A number of 32 bits.
pub(super) fn u32_at(file: &[u8], at: usize) -> Option<u32> {
    file.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// A number of 64 bits.
pub(super) fn u64_at(file: &[u8], at: usize) -> Option<u64> {
    file.get(at..)?.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_its_boxes_or_nothing() {
        let file = b"\0\0\0\x10moof\0\0\0\x08mfhd\0\0\0\x08mdat";
        let found = boxes(file, 0..file.len()).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(child(file, &found[0], *b"mfhd").unwrap().start(), 8);
        assert_eq!(children(file, &found[0], *b"traf").unwrap(), []);
        assert_eq!(boxes(file, 0..file.len() - 1), None);
        assert_eq!(boxes(b"\0\0\0\x07moov", 0..8), None);
        assert_eq!(boxes(b"\0\0\0", 0..3), None);
        assert_eq!(boxes(b"", 0..0), Some(Vec::new()));
    }
}
