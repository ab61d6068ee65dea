//! Writing: the order of steps that a crash may interrupt anywhere.
//!
//! 1. lock, read the document, compare its revision with the expected one
//! 2. private halves that are not there yet: temporary file, fsync, rename; then fsync of the folder
//! 3. the document in the same way: from its rename on, the new keyring is the one that counts
//! 4. what the document does not name is removed
//!
//! A crash up to step 3 leaves the old keyring and perhaps a file that nobody names, which the
//! next writer removes; one after it leaves the new keyring.

use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{
    DOCUMENT, Inner, MAX_DOCUMENT, PrivateKeyFile, check_folder,
    disk::{io_error, show},
    document, holder, list, read_document, revision_of,
};
use crate::{
    files::{self, Owner},
    ivs::arn::Region,
    keys::{
        keyring::{KeyVersion, Keyring, VersionId},
        material::PrivateKey,
        store::{Revision, StoreError, Stored, check_new},
    },
    secret::system_rng,
};

const LOCK: &str = ".lock";

impl Inner {
    pub(super) fn replace(
        &self,
        region: &Region,
        expected: Option<&Revision>,
        stored: &Stored,
    ) -> Result<Revision, StoreError> {
        let keyring = &stored.keyring;
        let folder = self.folder(region);
        check_new(keyring, region, &show(&folder))?;
        let document = encode_document(&folder, keyring)?;
        self.make_folder(&folder)?;
        check_folder(&folder)?;
        let _lock = lock(&folder)?;
        let current = read_document(&folder, region)?;
        if current.as_ref().map(|(_, revision)| revision) != expected {
            return Err(StoreError::Conflict);
        }
        let current = current.map(|((current, _), _)| current);
        if let Some(current) = &current {
            current.check_successor(keyring).map_err(StoreError::Discontinuous)?;
        } else {
            // Whoever made the folders may have crashed before they were durable.
            self.sync(holder(&folder))?;
            self.sync(holder(&self.dir))?;
        }
        self.write_private_keys(&folder, current.as_ref(), stored)?;
        self.write_document(&folder, &document)?;
        self.sweep(&folder, keyring);
        Ok(revision_of(&document))
    }

    fn write_private_keys(
        &self,
        folder: &Path,
        current: Option<&Keyring>,
        stored: &Stored,
    ) -> Result<(), StoreError> {
        let keyring = &stored.keyring;
        let mut wrote = false;
        for version in keyring.keys.iter().filter(|version| version.has_private_key) {
            if !wrote && current.is_none() {
                // The document comes first, empty, so that private keys without a document are a
                // loss and never a crash of ours.
                let mut empty = keyring.clone();
                empty.keys.clear();
                empty.rotations.clear();
                self.write_document(folder, &encode_document(folder, &empty)?)?;
            }
            let path = folder.join(PrivateKeyFile::of(&version.id).file);
            if self.keeps(&path, current, version, &keyring.region)? {
                continue;
            }
            let private = stored.private_key(version, &show(&path))?;
            self.exchange(&path, self.encode(private)?.as_bytes())?;
            wrote = true;
        }
        if wrote { self.sync(folder) } else { Ok(()) }
    }

    /// Whether the file of a version is there already, as it should be.
    fn keeps(
        &self,
        path: &Path,
        current: Option<&Keyring>,
        version: &KeyVersion,
        region: &Region,
    ) -> Result<bool, StoreError> {
        match self.open(path, region, version) {
            Ok(Some(opened)) => Ok(opened.encrypted || self.passphrase.is_none()),
            Ok(None) => Ok(false),
            Err(error) => {
                // What the document names is somebody's key, be it the wrong one; what it does not
                // name is about to be removed anyway.
                let named = current.and_then(|current| current.version(&version.id));
                if named.is_some_and(|version| version.has_private_key) {
                    Err(error)
                } else {
                    Ok(false)
                }
            }
        }
    }

    fn encode(&self, private: &PrivateKey) -> Result<Zeroizing<String>, StoreError> {
        match &self.passphrase {
            Some(passphrase) => private.to_encrypted_pem(passphrase, &mut system_rng()),
            None => private.to_pkcs8_pem(),
        }
        .map_err(StoreError::Encoding)
    }

    fn write_document(&self, folder: &Path, document: &[u8]) -> Result<(), StoreError> {
        self.exchange(&folder.join(DOCUMENT), document)?;
        self.sync(folder)
    }

    /// Puts a file with this content into the place of the one at `path`, whose owner it keeps, or of
    /// none. A failure leaves the old one; a crash may leave the temporary file beside it.
    fn exchange(&self, path: &Path, content: &[u8]) -> Result<(), StoreError> {
        let temporary = temporary_of(path);
        // Nobody else writes while we hold the lock, so this can only be what a crash left.
        match self.disk.remove(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("remove", &temporary, &error));
            }
            Ok(()) | Err(_) => {}
        }
        let written = Owner::of_replaced(path)
            .and_then(|owner| self.disk.write_new(&temporary, content, owner))
            .map_err(|error| io_error("write", &temporary, &error))
            .and_then(|()| {
                self.disk
                    .rename(&temporary, path)
                    .map_err(|error| io_error("replace", path, &error))
            });
        if written.is_err() && self.disk.remove(&temporary).is_err() {
            // The next writer tries again, and until then it is as private as the key itself.
            tracing::warn!(
                event = "temporary_file_kept",
                file = show(&temporary),
                "cannot remove a temporary file"
            );
        }
        written
    }

    fn sync(&self, folder: &Path) -> Result<(), StoreError> {
        self.disk.sync_dir(folder).map_err(|error| io_error("make durable", folder, &error))
    }

    /// Removes the private halves that the document does not name: retired ones, and what a crash
    /// left. The new keyring stands already, so a failure here is told and left to the next writer.
    ///
    /// A file that this store could not have written is somebody's own copy of a key, perhaps the
    /// only one, and stays.
    fn sweep(&self, folder: &Path, keyring: &Keyring) {
        let names = match list(folder) {
            Ok(names) => names,
            Err(error) => {
                tracing::warn!(
                    event = "private_keys_unchecked",
                    %error,
                    "cannot look for private keys to remove"
                );
                return;
            }
        };
        let is_needed =
            |id: &VersionId| keyring.version(id).is_some_and(|version| version.has_private_key);
        let mut removed = false;
        for name in names {
            let surplus = match name.strip_suffix(".pem").map(str::parse::<VersionId>) {
                Some(Ok(id)) => !is_needed(&id),
                Some(Err(_)) => {
                    tracing::warn!(
                        event = "foreign_pem_file",
                        file = show(&folder.join(&name)),
                        "a PEM file does not belong to the key store; move it"
                    );
                    false
                }
                None => name.starts_with('.') && name.ends_with(TEMPORARY),
            };
            if !surplus {
                continue;
            }
            let path = folder.join(&name);
            match self.disk.remove(&path) {
                Ok(()) => removed = true,
                Err(error) => {
                    let error = io_error("remove", &path, &error);
                    tracing::warn!(
                        event = "private_key_kept",
                        %error,
                        "cannot remove a private key that is no longer needed"
                    );
                }
            }
        }
        if removed && let Err(error) = self.sync(folder) {
            tracing::warn!(
                event = "removal_not_durable",
                %error,
                "the removal of a private key may not be durable yet"
            );
        }
    }

    /// Makes a folder, and those that lead to it, for the owner alone.
    fn make_folder(&self, path: &Path) -> Result<(), StoreError> {
        if path.exists() {
            return Ok(());
        }
        let holder = holder(path);
        self.make_folder(holder)?;
        match self.disk.make_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(io_error("make", path, &error))
            }
            Ok(()) | Err(_) => self.sync(holder),
        }
    }
}

/// The document of a keyring; refused where it would be too large to be read again.
fn encode_document(folder: &Path, keyring: &Keyring) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    let form = |version: &KeyVersion| Ok(PrivateKeyFile::of(&version.id));
    document::write(keyring, form, &show(&folder.join(DOCUMENT)), MAX_DOCUMENT)
}

const TEMPORARY: &str = ".tmp";

fn temporary_of(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}{TEMPORARY}"))
}

/// Waits until nobody else writes.
fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join(LOCK);
    let failed = |error: &io::Error| io_error("lock", &path, error);
    let file = files::open_shared(&path).map_err(|error| failed(&error))?;
    match files::wait_for_lock(&file) {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Busy { place: show(folder) }),
        Err(TryLockError::Error(error)) => Err(failed(&error)),
    }
}
