//! The audit file. Several processes append to it, and other programs rotate it.

use std::{
    borrow::Cow,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileExt as _, FileTypeExt as _, OpenOptionsExt as _},
    path::Path,
};

use crate::files::open_shared;

/// Only the owner may read viewer ids.
const MODE: u32 = 0o600;

/// Opens the file for one batch, so that it may be renamed or truncated at any time. Creates it if it does not
/// exist.
pub(super) fn open(path: &Path) -> io::Result<File> {
    if let Ok(metadata) = std::fs::metadata(path)
        && (metadata.file_type().is_fifo() || metadata.file_type().is_socket())
    {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    if rustix::process::geteuid().is_root() {
        // A command that runs as root creates the file for the service, too.
        drop(open_shared(path)?);
    }
    // Reading shows whether the last line is whole.
    OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(path)
}

/// Checks that the file can be appended to, without creating it.
///
/// # Errors
///
/// The file cannot be written, or its folder does not exist or cannot be written to.
pub fn check(path: &Path) -> io::Result<()> {
    if path.exists() {
        return open(path).map(drop);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    Ok(rustix::fs::access(folder.unwrap_or_else(|| Path::new(".")), access)?)
}

/// Appends the lines of `rest`, which shrinks by what is written.
///
/// A line that was written in part is written again as a whole. A line without its end is ended
/// first, so that it does not swallow the next.
pub(super) fn append(path: &Path, rest: &mut &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        let mut file = open(path)?;
        let is_torn = ends_within_a_line(&file)?;
        let batch: Cow<'_, [u8]> =
            if is_torn { [&b"\n"[..], *rest].concat().into() } else { (*rest).into() };
        // One write for all of it: lines of other processes come before or after, never between.
        let written = match file.write(&batch) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            written => written?.saturating_sub(usize::from(is_torn)),
        };
        let lines = whole_lines(rest.get(..written).unwrap_or_default());
        if lines == 0 {
            return Err(io::Error::new(io::ErrorKind::WriteZero, "no whole record was written"));
        }
        *rest = rest.get(lines..).unwrap_or_default();
    }
    Ok(())
}

/// Returns how many bytes of `text` are whole lines.
fn whole_lines(text: &[u8]) -> usize {
    text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}

fn ends_within_a_line(file: &File) -> io::Result<bool> {
    let metadata = file.metadata()?;
    let Some(last) = metadata.len().checked_sub(1).filter(|_| metadata.is_file()) else {
        return Ok(false);
    };
    let mut byte = [0];
    // A file that was truncated meanwhile is empty.
    Ok(file.read_at(&mut byte, last)? == 1 && byte != *b"\n")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn appended(path: &Path, lines: &str) {
        let mut rest = lines.as_bytes();
        append(path, &mut rest).unwrap();
        assert!(rest.is_empty());
    }

    #[test]
    fn torn_last_line_is_ended_before_the_next_record() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        fs::write(&path, "{\"seq\":1}\n{\"se").unwrap();
        appended(&path, "{\"seq\":3}\n");
        appended(&path, "{\"seq\":4}\n");
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"seq\":1}\n{\"se\n{\"seq\":3}\n{\"seq\":4}\n");
    }

    #[test]
    fn truncation_and_renaming_leave_neither_a_hole_nor_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("audit.jsonl"), folder.path().join("audit.jsonl.1"));
        appended(&path, "{\"seq\":1}\n");
        // What copytruncate does.
        fs::copy(&path, &old).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        appended(&path, "{\"seq\":2}\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"seq\":2}\n");
        fs::rename(&path, &old).unwrap();
        appended(&path, "{\"seq\":3}\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"seq\":3}\n");
        assert_eq!(fs::read_to_string(&old).unwrap(), "{\"seq\":2}\n");
    }

    #[test]
    fn full_device_keeps_the_lines_and_a_pipe_is_refused() {
        let mut rest = &b"{\"seq\":1}\n"[..];
        append(Path::new("/dev/full"), &mut rest).unwrap_err();
        assert_eq!(rest, b"{\"seq\":1}\n");
        assert_eq!(whole_lines(b"a\nb"), 2);
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        // Opening it would wait for a reader.
        open(&pipe).unwrap_err();
    }
}
