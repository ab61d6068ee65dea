//! Files that a crash leaves whole: with the content of before, or with all of the new one.
//!
//! A file that is replaced is another one than before, so that whoever writes holds a lock on the
//! folder. What a writer leaves there who is killed, the next one of the same file removes.
//!
//! The key store takes steps of its own, since its tests let every single one fail
//! (`keys::store::dir`).

mod configured;
mod owner;

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use rand::RngExt as _;
use rustix::fs::OFlags;

pub(crate) use self::{
    configured::{ConfiguredFile, Content, check_owner, open_regular, read_open},
    owner::{Owner, explained},
};
use crate::secret::system_rng;

/// Writes take milliseconds. Who holds a lock this long is stopped or hangs on its disk.
const LOCK_ATTEMPTS: u32 = 500;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// How often a file is created that others remove.
const CREATE_ATTEMPTS: usize = 5;

/// A file that no other process and no other thread replaces as long as this lives. It need not
/// exist.
#[derive(Debug)]
pub(crate) struct Locked {
    /// Behind all links: a rename would replace a link instead of the file.
    path: PathBuf,
    /// The folder.
    _lock: File,
}

impl Locked {
    /// Waits until nobody else writes, for at most 10 s. A folder that is missing is made, with those
    /// that lead to it, of this mode.
    ///
    /// # Errors
    ///
    /// The folder cannot be made, opened or locked.
    pub(crate) fn lock(path: &Path, folder_mode: u32) -> io::Result<Self> {
        create_folder(folder_of(path), folder_mode)?;
        let path = behind_links(path).map_err(|error| explained(error, path))?;
        let folder = folder_of(&path);
        let lock = File::open(folder).map_err(|error| explained(error, folder))?;
        wait_for_lock(&lock).map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::new(
                io::ErrorKind::TimedOut,
                "another process has had its folder locked for 10 s",
            ),
            TryLockError::Error(error) => error,
        })?;
        Ok(Self { path, _lock: lock })
    }

    /// Where the file is, or would be.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the file, or creates it, and returns once that is on disk. The file keeps its mode,
    /// owner and group; a new one gets mode 0600 and the owner and group of its folder.
    ///
    /// # Errors
    ///
    /// The file is as it was before, unless only the folder's own entry could not be made durable.
    pub(crate) fn replace(&self, content: &[u8]) -> io::Result<()> {
        let temporary = self.temporary();
        // Nobody else writes while we hold the lock, so this can only be what a crash left.
        if let Err(error) = fs::remove_file(&temporary)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(explained(error, folder_of(&temporary)));
        }
        let replaced =
            self.write(&temporary, content).and_then(|()| fs::rename(&temporary, &self.path));
        if replaced.is_err() {
            // What stays all the same, the next writer removes.
            let _ = fs::remove_file(&temporary);
        }
        replaced?;
        sync_entry(&self.path)
    }

    fn write(&self, temporary: &Path, content: &[u8]) -> io::Result<()> {
        let mut file =
            create_new(temporary).map_err(|error| explained(error, folder_of(temporary)))?;
        Owner::of_replaced(&self.path)?.give(&file)?;
        match fs::symlink_metadata(&self.path) {
            Ok(existing) => file.set_permissions(existing.permissions())?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        file.write_all(content)?;
        file.sync_all()
    }

    fn temporary(&self) -> PathBuf {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        self.path.with_file_name(format!(".{name}.tmp"))
    }
}

/// Creates a file that only its owner may read, for writing. Fails where there is one, and does not
/// follow a link.
pub(crate) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
}

/// Opens a file for appending, or creates it empty, with mode 0600 and the owner and group of its
/// folder. Several processes, and several users, may do so at once.
pub(crate) fn open_shared(path: &Path) -> io::Result<File> {
    let open = || OpenOptions::new().append(true).open(path);
    for _ in 0..CREATE_ATTEMPTS {
        match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => create_shared(path)?,
            opened => return opened.map_err(|error| explained(error, path)),
        }
    }
    // Such as a link that leads nowhere.
    open()
}

/// Creates an empty file unless there is one. It never has another owner than it keeps: a process
/// that is killed in between would lock the others out.
fn create_shared(path: &Path) -> io::Result<()> {
    let folder = folder_of(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let random = system_rng().random::<u64>();
    let temporary = path.with_file_name(format!(".{name}.{random:016x}.tmp"));
    let file = create_new(&temporary).map_err(|error| explained(error, folder))?;
    let linked = Owner::of_replaced(path)
        .and_then(|owner| owner.give(&file))
        .and_then(|()| fs::hard_link(&temporary, path));
    let removed = fs::remove_file(&temporary);
    match linked {
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        // Another process cleaned up.
        Err(error) if error.kind() == io::ErrorKind::NotFound && removed.is_err() => Ok(()),
        linked => linked,
    }
}

/// Waits for a lock on the file, for at most 10 s. It goes with the file handle, whatever ends the
/// process.
///
/// # Errors
///
/// `WouldBlock` where somebody else still has it by then.
pub(crate) fn wait_for_lock(file: &File) -> Result<(), TryLockError> {
    for _ in 1..LOCK_ATTEMPTS {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            locked => return locked,
        }
    }
    file.try_lock()
}

/// Creates a folder, and those that lead to it, and returns once they are on disk. Each gets the owner
/// and group of the one that it is in; a folder that exists stays as it is.
///
/// # Errors
///
/// One of them cannot be made.
pub(crate) fn create_folder(path: &Path, mode: u32) -> io::Result<()> {
    let missing: Vec<_> = path
        .ancestors()
        .take_while(|folder| !folder.as_os_str().is_empty() && !folder.is_dir())
        .collect();
    for folder in missing.into_iter().rev() {
        match make_folder(folder, mode) {
            // Another process was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
            result => result?,
        }
        sync_entry(folder)?;
    }
    Ok(())
}

/// Creates one folder, which gets the owner and group of the one that it is in.
pub(crate) fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    let parent = folder_of(path);
    DirBuilder::new().mode(mode).create(path).map_err(|error| explained(error, parent))?;
    let flags = OFlags::NOFOLLOW | OFlags::DIRECTORY;
    let given = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .and_then(|folder| Owner::of_new(parent)?.give(&folder));
    if given.is_err() {
        // It is empty, and the next attempt creates it again.
        let _ = fs::remove_dir(path);
    }
    given
}

/// Makes durable that its folder lists a file, and that the folder itself is listed: whoever made that
/// may have been killed before it was.
pub(crate) fn sync_entry(path: &Path) -> io::Result<()> {
    let folder = folder_of(path);
    File::open(folder)?.sync_all()?;
    match File::open(folder_of(folder)) {
        // Who may not read it has made nothing in it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        above => above?.sync_all(),
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => path,
    }
}

/// The file that a path leads to, or where it would be.
fn behind_links(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let name = path.file_name().ok_or(error)?;
            Ok(fs::canonicalize(folder_of(path))?.join(name))
        }
        found => found,
    }
}

/// A path as a shell takes it.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    const PRIVATE: u32 = 0o700;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_whole_and_is_private_unless_it_was_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/file");
        let replace = |content: &[u8]| Locked::lock(&path, PRIVATE).unwrap().replace(content);
        replace(b"a longer content").unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        replace(b"short").unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"short".to_vec(), 0o640));
        assert_eq!(names(path.parent().unwrap()), ["file"]);
    }

    #[test]
    fn what_a_killed_writer_left_is_removed_by_the_next_one_of_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        for left in [".file.tmp", ".other.tmp"] {
            fs::write(dir.path().join(left), "half a secr").unwrap();
        }
        let path = dir.path().join("file");
        Locked::lock(&path, PRIVATE).unwrap().replace(b"whole").unwrap();
        assert_eq!(names(dir.path()), [".other.tmp", "file"]);
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"whole".to_vec(), 0o600));
    }

    #[test]
    fn a_failure_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::create_dir_all(path.join("is a folder")).unwrap();
        Locked::lock(&path, PRIVATE).unwrap().replace(b"").unwrap_err();
        assert_eq!(names(dir.path()), ["file"]);
        fs::write(dir.path().join("no folder"), "").unwrap();
        Locked::lock(&dir.path().join("no folder/file"), PRIVATE).unwrap_err();
    }

    #[test]
    fn a_link_stays_one_and_its_file_has_one_lock() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("data/file"), dir.path().join("link"));
        Locked::lock(&path, PRIVATE).unwrap().replace(b"one").unwrap();
        symlink(&path, &link).unwrap();
        let locked = Locked::lock(&link, PRIVATE).unwrap();
        let folder = File::open(path.parent().unwrap()).unwrap();
        assert!(matches!(folder.try_lock(), Err(TryLockError::WouldBlock)));
        locked.replace(b"two").unwrap();
        drop(locked);
        folder.try_lock().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&path).unwrap(), b"two");
    }

    #[test]
    fn paths_are_quoted_where_a_shell_needs_it() {
        assert_eq!(quoted(Path::new("keys/us-west-2")), "keys/us-west-2");
        assert_eq!(quoted(Path::new("my keys")), "'my keys'");
        assert_eq!(quoted(Path::new("it's")), r"'it'\''s'");
        assert_eq!(quoted(Path::new("-rf")), "'-rf'");
    }
}
