//! The file system as the `dir` store uses it.
//!
//! Reading refuses whatever others than the owner could have seen. Writing goes through [`Disk`], in
//! steps small enough that a test can fail or crash at each of them.

use std::{
    fmt,
    fs::{self, File, Metadata},
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use zeroize::Zeroizing;

use super::super::StoreError;
use crate::files::{self, Owner, quoted};

/// The permission bits of everyone but the owner.
const OTHERS: u32 = 0o077;

/// The steps that change the disk.
pub(super) trait Disk: fmt::Debug + Send + Sync {
    /// Makes a folder that only the owner may enter, who is that of its parent. The parent must exist.
    fn make_dir(&self, path: &Path) -> io::Result<()>;
    /// Writes a file that does not exist yet, that belongs to `owner` and that only the owner may
    /// read, and returns when its content is durable.
    fn write_new(&self, path: &Path, content: &[u8], owner: Owner) -> io::Result<()>;
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
        files::make_folder(path, 0o700)
    }

    fn write_new(&self, path: &Path, content: &[u8], owner: Owner) -> io::Result<()> {
        let mut file = files::create_new(path)?;
        owner.give(&file)?;
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
    let (file, metadata) = files::open_regular(path).map_err(|error| failed(&error))?;
    files::check_owner(path, &metadata).map_err(|error| failed(&error))?;
    check_private(path, &metadata)?;
    files::read_open(&file, &metadata, limit).map(Some).map_err(|error| failed(&error))
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
    let explained = error.raw_os_error().map(io::Error::from_raw_os_error);
    let explained = explained.map(|error| files::explained(error, path));
    let reason = explained.as_ref().unwrap_or(error).to_string();
    StoreError::Io { action, path: show(path), reason }
}

pub(super) fn show(path: &Path) -> String {
    path.display().to_string()
}
