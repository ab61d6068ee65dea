//! To whom files belong.
//!
//! A command that an administrator runs as root works on the files of a service that runs as another
//! user. The service must be able to use them afterwards, so a replacement keeps the owner and group
//! of the file that it replaces, and a new file takes those of its folder.

use std::{
    fs::{self, File, Metadata},
    io,
    os::unix::fs::{MetadataExt as _, fchown},
    path::Path,
};

use rustix::process;

use super::{folder_of, quoted};

/// The user and group that a file is to have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Owner {
    user: u32,
    group: u32,
    /// Whether the file is of use to the group.
    group_matters: bool,
}

impl Owner {
    pub(super) fn of(metadata: &Metadata) -> Self {
        let group_matters = metadata.mode() & 0o070 != 0;
        Self { user: metadata.uid(), group: metadata.gid(), group_matters }
    }

    /// The owner of the file at `path`, or of a new file there.
    pub(crate) fn of_replaced(path: &Path) -> io::Result<Self> {
        match fs::symlink_metadata(path) {
            Ok(existing) => Ok(Self::of(&existing)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::of_new(folder_of(path)),
            Err(error) => Err(explained(error, path)),
        }
    }

    /// The owner of a new file in `folder`.
    pub(super) fn of_new(folder: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(folder).map_err(|error| explained(error, folder))?;
        let user = process::geteuid().as_raw();
        // In a folder such as /tmp, files belong to those who create them.
        if metadata.mode() & 0o1000 != 0 {
            return Ok(Self { user, group: process::getegid().as_raw(), group_matters: false });
        }
        // So does what others create where root lets them: root can use it anyway.
        let user = if metadata.uid() == 0 { user } else { metadata.uid() };
        Ok(Self { user, group: metadata.gid(), group_matters: false })
    }

    /// Gives a new file to this owner.
    ///
    /// # Errors
    ///
    /// This process may not; the error names the command to run.
    pub(crate) fn give(self, file: &File) -> io::Result<()> {
        let metadata = file.metadata()?;
        if (metadata.uid(), metadata.gid()) == (self.user, self.group) {
            return Ok(());
        }
        let given = fchown(file, Some(self.user), Some(self.group));
        match given {
            Err(_) if metadata.uid() == self.user && !self.group_matters => Ok(()),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput
                ) =>
            {
                let user = process::geteuid().as_raw();
                let fault = Fault::Kept { user, owner: self, run: self.command() };
                Err(io::Error::new(io::ErrorKind::PermissionDenied, fault))
            }
            given => given,
        }
    }

    /// How to run this program as this user, or as root where that would not do.
    pub(super) fn command(self) -> String {
        if self.user == 0 || self.user == process::geteuid().as_raw() {
            "sudo ivs-playback-auth …".to_owned()
        } else {
            format!("sudo -u '#{}' ivs-playback-auth …", self.user)
        }
    }
}

/// Adds to a refusal of the operating system which user was refused, and what to do.
pub(crate) fn explained(error: io::Error, path: &Path) -> io::Error {
    if error.kind() != io::ErrorKind::PermissionDenied || error.raw_os_error().is_none() {
        return error;
    }
    let user = process::geteuid().as_raw();
    // What cannot be asked about is in a folder that is closed.
    let closed = path.ancestors().find_map(|path| Some((path, fs::metadata(path).ok()?)));
    let Some((place, metadata)) = closed else { return error };
    let owner = Owner::of(&metadata);
    let (mode, run, path) = (metadata.mode() & 0o7777, owner.command(), quoted(place));
    let owner = owner.user;
    let fault = if metadata.is_dir() {
        Fault::FolderClosed { user, owner, mode, run, path }
    } else {
        Fault::Closed { user, owner, mode, run, path }
    };
    io::Error::new(io::ErrorKind::PermissionDenied, fault)
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(
        "user {user} may not give it to user {} and group {}, to whom it must belong; run the command \
         as `{run}`", owner.user, owner.group
    )]
    Kept { user: u32, owner: Owner, run: String },
    #[error(
        "user {user} is not allowed to (it belongs to user {owner} and has mode {mode:o}); run the \
         command as `{run}`, or let the service's user use the file with `chown {user} {path}`"
    )]
    Closed { user: u32, owner: u32, mode: u32, run: String, path: String },
    #[error(
        "user {user} is not allowed to use the folder {path} (it belongs to user {owner} and has mode \
         {mode:o}); run the command as `{run}`, or give this user access to the folder"
    )]
    FolderClosed { user: u32, owner: u32, mode: u32, run: String, path: String },
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown};

    use super::{super::*, *};

    /// Whoever runs the tests, this is someone else.
    const OTHER: u32 = 12_345;

    fn owner(path: &Path) -> (u32, u32) {
        let metadata = fs::symlink_metadata(path).unwrap();
        (metadata.uid(), metadata.gid())
    }

    /// As root, files keep their owner. Other users cannot have files of another owner here, so the
    /// test checks that theirs stay theirs.
    fn owner_to_keep() -> (u32, u32) {
        let user = process::geteuid();
        if user.is_root() {
            (OTHER, OTHER + 1)
        } else {
            (user.as_raw(), process::getegid().as_raw())
        }
    }

    #[test]
    fn replacement_keeps_owner_and_group_and_new_file_takes_those_of_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        let kept = owner_to_keep();
        let path = dir.path().join("file");
        fs::write(&path, "one").unwrap();
        chown(&path, Some(kept.0), Some(kept.1)).unwrap();
        Locked::lock(&path, 0o700).unwrap().replace(b"two").unwrap();
        assert_eq!((fs::read(&path).unwrap(), owner(&path)), (b"two".to_vec(), kept));

        chown(dir.path(), Some(kept.0), Some(kept.1)).unwrap();
        let new = dir.path().join("a/b/file");
        Locked::lock(&new, 0o700).unwrap().replace(b"new").unwrap();
        drop(open_shared(&dir.path().join("a/log")).unwrap());
        for name in ["a", "a/b", "a/b/file", "a/log"] {
            assert_eq!(owner(&dir.path().join(name)), kept, "{name}");
        }
    }

    #[test]
    fn files_in_a_folder_that_all_users_share_belong_to_their_creators() {
        let dir = tempfile::tempdir().unwrap();
        let kept = owner_to_keep();
        chown(dir.path(), Some(kept.0), Some(kept.1)).unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o1777)).unwrap();
        let path = dir.path().join("file");
        Locked::lock(&path, 0o700).unwrap().replace(b"new").unwrap();
        let own = (process::geteuid().as_raw(), process::getegid().as_raw());
        assert_eq!(owner(&path), own);
    }

    #[test]
    fn many_create_a_shared_file_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| open_shared(&path).unwrap().write_all(b"line\n").unwrap());
            }
        });
        assert_eq!(fs::read_to_string(&path).unwrap(), "line\n".repeat(8));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
