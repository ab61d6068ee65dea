//! The embedded store: a folder a region.
//!
//! ```text
//! keys/us-west-2/             0700
//!   keyring.json              0600   the keyring, without private halves
//!   6f0a….pem                 0600   one private half a version, PKCS#8, named by the version's id
//!   .lock                     0600   held by whoever writes
//! ```
//!
//! The document is exchanged by rename, so readers need no lock. A private half is durable before the
//! document that names it, and removed after the document that ceased to name it is durable. The
//! revision is the SHA-256 of the document.

mod disk;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;
mod write;

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use self::disk::{Disk, SystemDisk, check_holder, check_private, io_error, read_private, show};
use super::{PrivateKeys, Revision, Store, StoreError, StoreFuture, Stored, document};
use crate::{
    files,
    ivs::arn::Region,
    keys::{
        keyring::{KeyVersion, Keyring, VersionId},
        material::{KeyMaterialError, PrivateKey},
    },
    secret::SecretString,
};

const DOCUMENT: &str = "keyring.json";
/// The largest document that is written and read, and the largest private key that is read, in bytes.
const MAX_DOCUMENT: usize = 1 << 20;
const MAX_PRIVATE_KEY: usize = 1 << 16;
/// How often a reader begins anew because a writer was faster.
const READ_ATTEMPTS: usize = 20;

/// A store in a folder of this machine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DirStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    passphrase: Option<SecretString>,
    disk: Arc<dyn Disk>,
    /// The private halves that were opened, so that the passphrase is worked through once a file.
    /// What is no longer in a keyring leaves with the next load of that region.
    opened: Mutex<HashMap<(Region, VersionId), Opened>>,
}

#[derive(Clone, Debug)]
struct Opened {
    /// SHA-256 of the file.
    digest: [u8; 32],
    encrypted: bool,
    key: PrivateKey,
}

impl DirStore {
    /// A store in `dir`, which is made when the first keyring is written. With a passphrase,
    /// private keys are encrypted; those that are not yet, with the next write.
    pub fn new(dir: PathBuf, passphrase: Option<SecretString>) -> Self {
        Self::on(dir, passphrase, Arc::new(SystemDisk))
    }

    fn on(dir: PathBuf, passphrase: Option<SecretString>, disk: Arc<dyn Disk>) -> Self {
        Self(Arc::new(Inner { dir, passphrase, disk, opened: Mutex::default() }))
    }
}

impl Store for DirStore {
    fn load<'a>(&'a self, region: &'a Region) -> StoreFuture<'a, Option<(Stored, Revision)>> {
        let (inner, region) = (Arc::clone(&self.0), region.clone());
        Box::pin(blocking(move || inner.load(&region)))
    }

    fn replace<'a>(
        &'a self,
        region: &'a Region,
        expected: Option<Revision>,
        stored: &'a Stored,
    ) -> StoreFuture<'a, Revision> {
        let (inner, region, stored) = (Arc::clone(&self.0), region.clone(), stored.clone());
        Box::pin(blocking(move || inner.replace(&region, expected.as_ref(), &stored)))
    }

    fn describe(&self, region: &Region) -> String {
        format!("dir {}", show(&self.0.folder(region)))
    }
}

/// Runs file work to its end on a thread that may wait, even when the caller goes away.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| {
        // A panic, or a runtime that is shutting down.
        Err(StoreError::Io {
            action: "finish work on",
            path: "the key store".to_owned(),
            reason: "it was broken off".to_owned(),
        })
    })
}

/// What the document holds instead of a private half: where that is.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct PrivateKeyFile {
    file: String,
}

/// The keyring, and where its private halves are.
type Document = (Keyring, BTreeMap<VersionId, PrivateKeyFile>);

impl PrivateKeyFile {
    fn of(id: &VersionId) -> Self {
        Self { file: format!("{id}.pem") }
    }
}

impl Inner {
    fn folder(&self, region: &Region) -> PathBuf {
        self.dir.join(region.as_str())
    }

    fn load(&self, region: &Region) -> Result<Option<(Stored, Revision)>, StoreError> {
        let folder = self.folder(region);
        for _ in 0..READ_ATTEMPTS {
            let Some((document, revision)) = read_document(&folder, region)? else {
                return Ok(None);
            };
            match self.open_all(&folder, document) {
                Ok(stored) => return Ok(Some((stored, revision))),
                // A writer may have exchanged the document and removed the file since.
                Err(StoreError::PrivateKeyMissing { path }) => {
                    let now = read_document(&folder, region)?;
                    if now.is_some_and(|(_, now)| now == revision) {
                        return Err(StoreError::PrivateKeyMissing { path });
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Busy { place: show(&folder) })
    }

    fn open_all(&self, folder: &Path, (keyring, files): Document) -> Result<Stored, StoreError> {
        let mut private_keys = PrivateKeys::new();
        for version in keyring.keys.iter().filter(|version| version.has_private_key) {
            let expected = PrivateKeyFile::of(&version.id);
            if files.get(&version.id) != Some(&expected) {
                return Err(StoreError::OtherPrivateKey { path: show(&folder.join(DOCUMENT)) });
            }
            let path = folder.join(expected.file);
            let opened = self
                .open(&path, &keyring.region, version)?
                .ok_or_else(|| StoreError::PrivateKeyMissing { path: show(&path) })?;
            private_keys.insert(version.id.clone(), opened.key);
        }
        let region = &keyring.region;
        self.cache().retain(|(of, id), _| of != region || private_keys.contains_key(id));
        Ok(Stored { keyring, private_keys })
    }

    /// The private half of a version, from its file or from memory; `None` without a file.
    fn open(
        &self,
        path: &Path,
        region: &Region,
        version: &KeyVersion,
    ) -> Result<Option<Opened>, StoreError> {
        let Some(content) = read_private(path, MAX_PRIVATE_KEY)? else {
            return Ok(None);
        };
        let digest: [u8; 32] = Sha256::digest(&content).into();
        let entry = (region.clone(), version.id.clone());
        let known = self.cache().get(&entry).filter(|it| it.digest == digest).cloned();
        let opened = match known {
            Some(opened) => opened,
            None => self.open_content(path, &content, digest)?,
        };
        if *opened.key.public_key() != version.public_key {
            return Err(StoreError::OtherPrivateKey { path: show(path) });
        }
        self.cache().insert(entry, opened.clone());
        Ok(Some(opened))
    }

    fn open_content(
        &self,
        path: &Path,
        content: &[u8],
        digest: [u8; 32],
    ) -> Result<Opened, StoreError> {
        let (key, encrypted) = match PrivateKey::read(content, None) {
            Err(KeyMaterialError::PassphraseNeeded) => match &self.passphrase {
                Some(passphrase) => (PrivateKey::read(content, Some(passphrase)), true),
                None => return Err(StoreError::PassphraseMissing { path: show(path) }),
            },
            read => (read, false),
        };
        let key =
            key.map_err(|fault| StoreError::PrivateKeyUnreadable { path: show(path), fault })?;
        Ok(Opened { digest, encrypted, key })
    }

    fn cache(&self) -> MutexGuard<'_, HashMap<(Region, VersionId), Opened>> {
        self.opened.lock()
    }
}

/// The document in `folder` and its revision; `None` only where there is none and never was one.
fn read_document(
    folder: &Path,
    region: &Region,
) -> Result<Option<(Document, Revision)>, StoreError> {
    if !check_folder(folder)? {
        return Ok(None);
    }
    let path = folder.join(DOCUMENT);
    let mut content = read_private(&path, MAX_DOCUMENT)?;
    if content.is_none() && list(folder)?.iter().any(|name| is_pem(name)) {
        // The document comes before the first private key. So either it came just now, or it was
        // lost, and taking that for an empty keyring would let the next writer remove the keys.
        content = read_private(&path, MAX_DOCUMENT)?;
        if content.is_none() {
            return Err(StoreError::DocumentMissing { path: show(&path) });
        }
    }
    let Some(content) = content else {
        return Ok(None);
    };
    let document = document::read(&content, region, &show(&path))?;
    Ok(Some((document, revision_of(&content))))
}

fn revision_of(document: &[u8]) -> Revision {
    Revision::new(&URL_SAFE_NO_PAD.encode(Sha256::digest(document)))
}

fn is_pem(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "pem")
}

/// Whether the folder exists; refused where others may enter it.
fn check_folder(folder: &Path) -> Result<bool, StoreError> {
    let failed = |error: &io::Error| io_error("open", folder, error);
    match fs::symlink_metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(&error)),
        Ok(_) => {}
    }
    // Follows a link, and fails where it leads nowhere.
    let metadata = fs::metadata(folder).map_err(|error| failed(&error))?;
    if !metadata.is_dir() {
        return Err(failed(&io::Error::other("it is not a folder")));
    }
    check_private(folder, &metadata)?;
    files::check_owner(folder, &metadata).map_err(|error| failed(&error))?;
    check_holder(holder(folder))?;
    Ok(true)
}

/// The folder that lists `path`; for a bare name that is the working directory.
fn holder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

/// The names of what a folder holds, as far as they are text.
fn list(folder: &Path) -> Result<Vec<String>, StoreError> {
    let failed = |error: &io::Error| io_error("list", folder, error);
    fs::read_dir(folder)
        .map_err(|error| failed(&error))?
        .map(|entry| Ok(entry.map_err(|error| failed(&error))?.file_name().into_string().ok()))
        .filter_map(Result::transpose)
        .collect()
}
