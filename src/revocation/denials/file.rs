//! The file of denials: one line of JSON per denial. Lines are appended; the file is read again when another process
//! has written it.
//!
//! ```text
//! {"channel":"arn:aws:ivs:us-west-2:123456789012:channel/AbCdEfGh1234","viewerId":"alice","until":"2026-11-22T10:00:00Z"}
//! ```
//!
//! A process that is killed while it appends leaves a line without an end, which was not promised to a caller and
//! is ignored. Every other line that is not a denial is an error, because skipping it could let a viewer in. A
//! writer holds a lock on the folder, because a rewritten file is a new one.
//!
//! A line that can be read may not be on disk yet: its writer may have been killed before the sync, and a sync that
//! failed leaves the line in the page cache. So a denial is promised only if this process itself made the file
//! durable and it has not changed since.

use std::{
    collections::HashMap,
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Denial, DenialsError, Denied, SLACK};
use crate::{
    clock::Timestamp,
    files::{self, Locked},
    ivs::arn::ChannelArn,
    tokens::claims::ViewerId,
};

const HEADER: &str = "\
# Viewers who get no new token until then, written by `ivs-playback-auth`. To let somebody in early,
# remove the line: a running service notices.
";

/// The file names viewers, so only the owner may read its folder.
const FOLDER_MODE: u32 = 0o700;

/// The file, and what was last read from it.
#[derive(Debug)]
pub(super) struct DenialsFile {
    path: PathBuf,
    last: Option<Reading>,
    on_disk: OnDisk,
    sync: SyncFile,
}

/// Makes appended lines durable; tests let it fail.
pub(super) type SyncFile = fn(&File) -> io::Result<()>;

/// Which part of the file is known to be on disk.
#[derive(Debug, Eq, PartialEq)]
enum OnDisk {
    /// None: another process wrote it.
    Unknown,
    /// All, as long as the file has this version.
    All(Version),
    /// Less than can be read. The operating system reports lost pages once, and a second sync
    /// succeeds without them.
    Less,
}

#[derive(Debug)]
struct Reading {
    version: Version,
    lines: usize,
    end: End,
}

/// What shows that the file has changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Version {
    file: (u64, u64),
    length: u64,
    modified: (i64, i64),
}

/// How the last line ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    /// With a line break.
    Whole,
    /// Without a line break, as an editor may leave it.
    NoLineBreak,
    /// In the middle of a line, because a writer was killed; the part before it has this length.
    Torn(u64),
}

/// What another process has changed.
#[derive(Debug)]
pub(super) enum News {
    /// Nothing.
    None,
    /// These viewers are denied now, whatever was known before.
    Read(Denied),
    /// The file was removed.
    Gone,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Line {
    channel: String,
    viewer_id: String,
    until: Timestamp,
}

impl DenialsFile {
    pub(super) fn new(path: PathBuf, sync: SyncFile) -> Self {
        Self { path, last: None, on_disk: OnDisk::Unknown, sync }
    }

    /// Reads the file if it has changed.
    pub(super) fn read_news(&mut self, now: Timestamp) -> Result<News, DenialsError> {
        let unreadable = |cause| DenialsError::Unreadable { path: self.path.clone(), cause };
        let metadata = match fs::metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(if self.last.take().is_some() { News::Gone } else { News::None });
            }
            Err(cause) => return Err(unreadable(cause)),
        };
        if self.last.as_ref().is_some_and(|last| last.version == Version::of(&metadata)) {
            return Ok(News::None);
        }
        let mut content = Vec::new();
        // The metadata is read before the content, so that what is appended in between is noticed the next time.
        let (mut file, metadata) = files::open_regular(&self.path).map_err(unreadable)?;
        let version = Version::of(&metadata);
        file.read_to_end(&mut content).map_err(unreadable)?;
        let (denied, lines, end) = parse(&content, now)
            .map_err(|line| DenialsError::Damaged { path: self.path.clone(), line })?;
        self.last = Some(Reading { version, lines, end });
        Ok(News::Read(denied))
    }

    /// Writes the `new` denials, and returns once they and all that are `denied` already are on disk.
    ///
    /// Call it after [`DenialsFile::read_news`] under the same lock.
    pub(super) fn write(
        &mut self,
        lock: &Locked,
        new: &[Denial],
        denied: &Denied,
    ) -> Result<(), DenialsError> {
        let lines = match &self.last {
            Some(last) if new.is_empty() && self.on_disk == OnDisk::All(last.version) => {
                return Ok(());
            }
            Some(last)
                if last.lines <= 2 * denied.len() + SLACK && self.on_disk != OnDisk::Less =>
            {
                let file = OpenOptions::new().write(true).open(lock.path());
                let file = file.map_err(|cause| self.unwritable(cause))?;
                self.append(&file, last, lock, new).map(|()| last.lines + new.len())
            }
            Some(_) | None => {
                let mut all = denied.clone();
                for denial in new {
                    all.add(denial.clone());
                }
                rewrite(lock, &all).map(|()| all.len())
            }
        };
        let written = lines.and_then(|lines| Ok((lines, fs::metadata(lock.path())?)));
        let (lines, metadata) = written.map_err(|cause| {
            self.on_disk = OnDisk::Less;
            DenialsError::Unfinished { path: self.path.clone(), cause }
        })?;
        let version = Version::of(&metadata);
        self.on_disk = OnDisk::All(version);
        self.last = Some(Reading { version, lines, end: End::Whole });
        Ok(())
    }

    /// Appends to a file that was read as `last`.
    fn append(&self, file: &File, last: &Reading, lock: &Locked, new: &[Denial]) -> io::Result<()> {
        add_lines(file, last.end, new)?;
        (self.sync)(file)?;
        match &self.on_disk {
            OnDisk::All(version) if version.file == last.version.file => Ok(()),
            // The process that created it may have been killed before its folder was durable.
            OnDisk::All(_) | OnDisk::Unknown | OnDisk::Less => files::sync_entry(lock.path()),
        }
    }

    fn unwritable(&self, cause: io::Error) -> DenialsError {
        DenialsError::Unwritable { path: self.path.clone(), cause }
    }
}

/// Keeps other processes from writing until the lock is dropped. Creates the folder.
pub(super) fn lock(path: &Path) -> Result<Locked, DenialsError> {
    Locked::lock(path, FOLDER_MODE)
        .map_err(|cause| DenialsError::Unwritable { path: path.to_owned(), cause })
}

impl Version {
    fn of(metadata: &Metadata) -> Self {
        Self {
            file: (metadata.dev(), metadata.ino()),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// Returns what the file denies, its number of denials, and how it ends; or the line that is not a denial.
fn parse(content: &[u8], now: Timestamp) -> Result<(Denied, usize, End), usize> {
    let (mut denied, mut lines, mut end) = (Denied::default(), 0, End::Whole);
    let mut start = 0;
    for (index, line) in content.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let is_whole = line.ends_with(b"\n");
        let text = line.trim_ascii();
        if !(text.is_empty() || text.starts_with(b"#")) {
            match parse_line(text) {
                Some(denial) => {
                    lines += 1;
                    if now < denial.until {
                        denied.add(denial);
                    }
                }
                None if is_whole => return Err(index + 1),
                None => end = End::Torn(start),
            }
        }
        if !is_whole && end == End::Whole {
            end = End::NoLineBreak;
        }
        start += u64::try_from(line.len()).unwrap_or(u64::MAX);
    }
    Ok((denied, lines, end))
}

fn parse_line(text: &[u8]) -> Option<Denial> {
    let line: Line = serde_json::from_slice(text).ok()?;
    let channel: ChannelArn = line.channel.parse().ok()?;
    let viewer = ViewerId::parse(line.viewer_id).ok()?;
    Some(Denial { channel, viewer, until: line.until })
}

fn to_lines<'a>(denials: impl Iterator<Item = (&'a ChannelArn, &'a str, Timestamp)>) -> Vec<u8> {
    let mut text = Vec::new();
    for (channel, viewer_id, until) in denials {
        let line = Line { channel: channel.to_string(), viewer_id: viewer_id.to_owned(), until };
        // Strings and a time cannot fail to serialize into memory.
        if serde_json::to_writer(&mut text, &line).is_ok() {
            text.push(b'\n');
        }
    }
    text
}

fn add_lines(mut file: &File, end: End, new: &[Denial]) -> io::Result<()> {
    let mut lines = to_lines(new.iter().map(|new| (&new.channel, new.viewer.as_str(), new.until)));
    match end {
        End::Whole => {}
        End::NoLineBreak => lines.insert(0, b'\n'),
        End::Torn(good) => file.set_len(good)?,
    }
    file.seek(io::SeekFrom::End(0))?;
    file.write_all(&lines)
}

fn rewrite(lock: &Locked, all: &Denied) -> io::Result<()> {
    let mut content = HEADER.as_bytes().to_vec();
    content.extend(to_lines(all.iter()));
    lock.replace(&content)
}

impl Denied {
    /// Returns each denial.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&ChannelArn, &str, Timestamp)> {
        self.0.iter().flat_map(|(channel, viewers): (&ChannelArn, &HashMap<String, Timestamp>)| {
            viewers.iter().map(move |(viewer, until)| (channel, &**viewer, *until))
        })
    }
}
