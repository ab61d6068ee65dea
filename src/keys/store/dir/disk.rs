//! The file system as the `dir` store uses it.
//!
//! Reading refuses whatever others than the owner could have seen. Writing goes through [`Disk`], in
//! steps small enough that a test can fail or crash at each of them.

use std::{
    fmt,
    fs::{self, DirBuilder, File, Metadata, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use zeroize::Zeroizing;

use super::super::StoreError;
use crate::files::quoted;

/// The permission bits of everyone but the owner.
const OTHERS: u32 = 0o077;

/// The steps that change the disk.
pub(super) trait Disk: fmt::Debug + Send + Sync {
    /// Makes a folder that only the owner may enter. Its parent must exist.
    fn make_dir(&self, path: &Path) -> io::Result<()>;
    /// Writes a file that does not exist yet and only the owner may read, and returns when its
    /// content is durable.
    fn write_new(&self, path: &Path, content: &[u8]) -> io::Result<()>;
    /// Puts one file into the place of another, at once.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes durable what a folder lists.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// The machine's.
#[derive(Debug)]
pub(super) struct SystemDisk;

impl Disk for SystemDisk {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(path)
    }

    fn write_new(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        // `create_new` neither follows a link nor opens what somebody put there.
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(content)?;
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

/// The content of a file that only its owner may read; `None` where there is none.
///
/// A link that leads nowhere is an error: something was meant to be there.
pub(super) fn read_private(
    path: &Path,
    limit: usize,
) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
    let failed = |error: &io::Error| io_error("read", path, error);
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&error)),
        Ok(_) => {}
    }
    // Opening a pipe would wait for its other end.
    if !fs::metadata(path).map_err(|error| failed(&error))?.is_file() {
        return Err(failed(&io::Error::other("it is not a regular file")));
    }
    let file = File::open(path).map_err(|error| failed(&error))?;
    // Asked of the open file, so that nobody can exchange it between the question and the reading.
    let metadata = file.metadata().map_err(|error| failed(&error))?;
    check_private(path, &metadata)?;
    let length = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    if length > limit {
        return Err(failed(&io::Error::other("it is too large")));
    }
    // Room for all of it and the byte that proves its end: a buffer that grows leaves copies behind.
    let mut content = Zeroizing::new(Vec::with_capacity(length + 1));
    let take = u64::try_from(limit).unwrap_or(u64::MAX);
    file.take(take).read_to_end(&mut content).map_err(|error| failed(&error))?;
    Ok(Some(content))
}

/// Refuses what others than the owner may read, write or enter.
pub(super) fn check_private(path: &Path, metadata: &Metadata) -> Result<(), StoreError> {
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & OTHERS == 0 {
        return Ok(());
    }
    // One command for the whole folder, rather than one file after the other.
    let folder = if metadata.is_dir() { Some(path) } else { path.parent() };
    let mend = format!("chmod -R go-rwx {}", quoted(folder.unwrap_or(path)));
    Err(StoreError::WidePermissions { path: show(path), mode, mend })
}

/// Refuses a folder in which every user may put another keyring into the place of ours.
pub(super) fn check_holder(path: &Path) -> Result<(), StoreError> {
    let metadata = fs::metadata(path).map_err(|error| io_error("open", path, &error))?;
    let mode = metadata.permissions().mode() & 0o7777;
    // In a sticky folder, such as /tmp, only the owner may.
    if mode & 0o002 == 0 || mode & 0o1000 != 0 {
        return Ok(());
    }
    let mend = format!("chmod o-w {}", quoted(path));
    Err(StoreError::WidePermissions { path: show(path), mode, mend })
}

pub(super) fn io_error(action: &'static str, path: &Path, error: &io::Error) -> StoreError {
    StoreError::Io { action, path: show(path), reason: error.to_string() }
}

pub(super) fn show(path: &Path) -> String {
    path.display().to_string()
}
