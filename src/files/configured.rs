//! Reading files that the operator configures: the clients, the key and certificate of the listener.
//!
//! A path may lead anywhere: to a named pipe that no one writes, to a mount that does not answer, to
//! a file that another user can change. None of them may stop the caller or be trusted.

use std::{
    fmt,
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use parking_lot::Mutex;
use rustix::{fs::OFlags, process};
use zeroize::Zeroizing;

use super::{Owner, explained, quoted};

/// How long one attempt waits for a disk or a mount.
const READ_DEADLINE: Duration = Duration::from_secs(5);

/// What a file contains, which decides who may read it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Content {
    /// A secret. Other users may not read it; a group may where root owns the file, because that is
    /// how a service that runs as another user gets a secret from root.
    Secret,
    /// No secret, but other users may not change it.
    Public,
}

/// A file that the operator configures and that is read again while the process runs.
#[derive(Debug)]
pub(crate) struct ConfiguredFile {
    path: PathBuf,
    content: Content,
    limit: usize,
    reads: Bounded<io::Result<Zeroizing<Vec<u8>>>>,
}

impl ConfiguredFile {
    /// The file at `path`, of at most `limit` bytes. Reads nothing yet.
    pub(crate) fn new(path: PathBuf, content: Content, limit: usize) -> Self {
        Self { path, content, limit, reads: Bounded::new(READ_DEADLINE) }
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file. Blocks for a bounded time (twice [`READ_DEADLINE`] at worst), so call it off
    /// the async threads; where the disk hangs, one thread hangs with it, however often this is called.
    ///
    /// # Errors
    ///
    /// The text of the error is a fragment that says what is wrong and how to fix it, for use behind
    /// "{path} cannot be read: ". Its kind is `NotFound` only where there is no file.
    pub(crate) fn read(&self) -> io::Result<Zeroizing<Vec<u8>>> {
        let (path, content, limit) = (self.path.clone(), self.content, self.limit);
        self.reads.run(move || read(&path, content, limit))?
    }
}

/// Reads a regular file of at most `limit` bytes that no other user could have changed. Follows
/// symbolic links, and never waits for the other end of a pipe.
pub(crate) fn read(path: &Path, content: Content, limit: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let (file, metadata) = open_regular(path)?;
    check_owner(path, &metadata)?;
    check_mode(path, &metadata, content)?;
    read_open(&file, &metadata, limit)
}

/// Opens a regular file for reading, without waiting for anything else that may be there.
pub(crate) fn open_regular(path: &Path) -> io::Result<(File, Metadata)> {
    // Opening a device can have effects, so that the path is looked at first.
    check_regular(&fs::metadata(path).map_err(|error| explained(error, path))?)?;
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(|error| explained(error, path))?;
    // Asked of the open file: the path may lead elsewhere by now.
    let metadata = file.metadata()?;
    check_regular(&metadata)?;
    Ok((file, metadata))
}

/// Reads all of an open file.
pub(crate) fn read_open(
    file: &File,
    metadata: &Metadata,
    limit: usize,
) -> io::Result<Zeroizing<Vec<u8>>> {
    let too_large = || io::Error::new(io::ErrorKind::FileTooLarge, Fault::TooLarge { limit });
    let length = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    if length > limit {
        return Err(too_large());
    }
    // Room for all of it and the byte that proves its end: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(length + 1));
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(&mut bytes)?;
    // Files of the kernel have a length of 0, and others may grow meanwhile.
    if bytes.len() > limit { Err(too_large()) } else { Ok(bytes) }
}

/// Accepts root's files and those of the process's user. Root accepts those of every user, because
/// it works on the files of services that run as others.
pub(crate) fn check_owner(path: &Path, metadata: &Metadata) -> io::Result<()> {
    let (owner, user) = (metadata.uid(), process::geteuid().as_raw());
    if user == 0 || owner == 0 || owner == user {
        return Ok(());
    }
    let run = Owner::of(metadata).command();
    let fault = Fault::Owner { owner, user, run, path: quoted(path) };
    Err(io::Error::new(io::ErrorKind::PermissionDenied, fault))
}

fn check_mode(path: &Path, metadata: &Metadata, content: Content) -> io::Result<()> {
    let refused = match content {
        Content::Secret if metadata.uid() == 0 => 0o037,
        Content::Secret => 0o077,
        Content::Public => 0o002,
    };
    let mode = metadata.mode() & 0o7777;
    if mode & refused == 0 {
        return Ok(());
    }
    let fix = match refused {
        0o037 => "g-wx,o-rwx",
        0o077 => "go-rwx",
        _ => "o-w",
    };
    let fault = Fault::Mode { mode, fix, path: quoted(path) };
    Err(io::Error::new(io::ErrorKind::PermissionDenied, fault))
}

fn check_regular(metadata: &Metadata) -> io::Result<()> {
    let kind = metadata.file_type();
    let name = if kind.is_file() {
        return Ok(());
    } else if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, Fault::Irregular(name)))
}

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("it is {0}, not a regular file")]
    Irregular(&'static str),
    #[error("it has more than {limit} bytes")]
    TooLarge { limit: usize },
    #[error(
        "it belongs to user {owner}, but must belong to root or to the user of this process, {user}; \
         run the command as `{run}`, or give the file to the service's user with `chown {user} {path}`"
    )]
    Owner { owner: u32, user: u32, run: String, path: String },
    #[error("other users may read or change it (mode {mode:o}); run `chmod {fix} {path}`")]
    Mode { mode: u32, fix: &'static str, path: String },
    #[error("the disk did not answer within {} s; check the mount", .0.as_secs())]
    Hung(Duration),
    #[error("the attempt to read it was interrupted")]
    Interrupted,
}

/// Work that may hang, on a thread of its own and waited for in bounded time. While one piece of work
/// hangs, no other is started.
struct Bounded<T> {
    deadline: Duration,
    /// What an earlier call gave up waiting for.
    hung: Mutex<Option<Receiver<T>>>,
}

impl<T> fmt::Debug for Bounded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bounded").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Bounded<T> {
    fn new(deadline: Duration) -> Self {
        Self { deadline, hung: Mutex::new(None) }
    }

    fn run(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let timed_out = || io::Error::new(io::ErrorKind::TimedOut, Fault::Hung(self.deadline));
        let mut hung = self.hung.lock();
        if let Some(earlier) = hung.take()
            && let Err(RecvTimeoutError::Timeout) = earlier.recv_timeout(self.deadline)
        {
            *hung = Some(earlier);
            return Err(timed_out());
        }
        let (sender, receiver) = mpsc::sync_channel(1);
        // Not one of the runtime's threads: its end would wait for them.
        thread::Builder::new().name("file-read".to_owned()).spawn(move || {
            // The caller may have given up.
            let _ = sender.send(work());
        })?;
        match receiver.recv_timeout(self.deadline) {
            Ok(done) => Ok(done),
            Err(RecvTimeoutError::Timeout) => {
                *hung = Some(receiver);
                Err(timed_out())
            }
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other(Fault::Interrupted)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    const LIMIT: usize = 16;

    fn with_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn refusal(path: &Path, content: Content) -> String {
        read(path, content, LIMIT).unwrap_err().to_string()
    }

    #[test]
    fn links_are_followed_to_a_regular_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("..2026_11_30")).unwrap();
        let file = dir.path().join("..2026_11_30/key");
        fs::write(&file, "secret").unwrap();
        with_mode(&file, 0o400);
        symlink("..2026_11_30", dir.path().join("..data")).unwrap();
        symlink("..data/key", dir.path().join("key")).unwrap();
        let configured = ConfiguredFile::new(dir.path().join("key"), Content::Secret, LIMIT);
        assert_eq!(**configured.read().unwrap(), *b"secret");
    }

    #[test]
    fn anything_but_a_regular_file_is_refused_without_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        symlink(&pipe, dir.path().join("link")).unwrap();
        for path in [pipe.as_path(), &dir.path().join("link")] {
            let refusal = refusal(path, Content::Public);
            assert_eq!(refusal, "it is a named pipe, not a regular file");
        }
        assert!(refusal(dir.path(), Content::Public).contains("a folder"));
        assert!(refusal(Path::new("/dev/zero"), Content::Public).contains("a device"));
        let missing = read(&dir.path().join("missing"), Content::Public, LIMIT).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn size_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, [b'x'; LIMIT]).unwrap();
        assert_eq!(read(&path, Content::Public, LIMIT).unwrap().len(), LIMIT);
        fs::write(&path, [b'x'; LIMIT + 1]).unwrap();
        assert_eq!(refusal(&path, Content::Public), "it has more than 16 bytes");
        // Its length is 0 until it is read.
        assert_eq!(
            refusal(Path::new("/proc/self/status"), Content::Public),
            "it has more than 16 bytes"
        );
    }

    #[test]
    fn wide_permissions_are_refused_with_the_command_that_fixes_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a key");
        fs::write(&path, "secret").unwrap();
        let as_root = process::geteuid().is_root();
        for (mode, content, fix) in [
            (0o600, Content::Secret, None),
            (0o604, Content::Secret, Some(if as_root { "g-wx,o-rwx" } else { "go-rwx" })),
            (0o620, Content::Secret, Some(if as_root { "g-wx,o-rwx" } else { "go-rwx" })),
            (0o640, Content::Secret, if as_root { None } else { Some("go-rwx") }),
            (0o664, Content::Public, None),
            (0o666, Content::Public, Some("o-w")),
        ] {
            with_mode(&path, mode);
            match (read(&path, content, LIMIT), fix) {
                (Ok(_), None) => {}
                (Err(error), Some(fix)) => {
                    let command =
                        format!("(mode {mode:o}); run `chmod {fix} '{}'`", path.display());
                    assert!(error.to_string().contains(&command), "{error}");
                }
                (outcome, _) => panic!("{mode:o} {content:?}: {outcome:?}"),
            }
        }
    }

    #[test]
    fn a_group_may_not_read_a_secret_of_another_owner_than_root() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, "secret").unwrap();
        if process::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
        }
        with_mode(&path, 0o640);
        assert!(refusal(&path, Content::Secret).contains("run `chmod go-rwx "));
        // Root reads the files of a service that runs as another user.
        with_mode(&path, 0o600);
        read(&path, Content::Secret, LIMIT).unwrap();
    }

    #[test]
    fn work_that_hangs_occupies_one_thread_and_later_work_succeeds() {
        let bounded = Bounded::new(Duration::from_millis(20));
        let (release, wait) = mpsc::channel::<()>();
        let hung = bounded.run(move || wait.recv().is_ok()).unwrap_err();
        assert_eq!(hung.kind(), io::ErrorKind::TimedOut);
        for _ in 0..3 {
            let refused = bounded.run(|| panic!("started beside work that hangs"));
            assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
        release.send(()).unwrap();
        let bounded = Bounded { deadline: Duration::from_mins(1), ..bounded };
        assert!(bounded.run(|| true).unwrap());
    }
}
