//! Files that a crash leaves whole: with the content of before, or with all of the new one.
//!
//! The key store has its own, since its tests let every single step fail (`keys::store::dir`).

use std::{
    fs::{File, Permissions},
    io::{self, Write as _},
    path::Path,
};

/// Replaces a file, or makes it, and returns once that is on disk. Without `permissions` only the
/// owner may read it.
///
/// # Errors
///
/// The file is as it was before, unless only the folder's own entry could not be made durable.
pub(crate) fn replace(
    path: &Path,
    content: &[u8],
    permissions: Option<Permissions>,
) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        Some(_) | None => Path::new("."),
    };
    // Made with mode 0600.
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    temporary.write_all(content)?;
    if let Some(permissions) = permissions {
        temporary.as_file().set_permissions(permissions)?;
    }
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_is_private_unless_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        replace(&path, b"a longer content", None).unwrap();
        assert_eq!(mode(), 0o600);
        replace(&path, b"short", Some(Permissions::from_mode(0o640))).unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode()), (b"short".to_vec(), 0o640));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(replace(&dir.path().join("absent/file"), b"", None).is_err());
    }
}
