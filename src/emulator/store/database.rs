//! The database file, which is opened again after the disk failed.
//!
//! redb refuses everything after its first failed write, because it no longer knows what is on disk.
//! Opening the file again finds out: it holds every transaction that was acknowledged.

use std::{
    fs::OpenOptions,
    io,
    ops::Bound,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::{RwLock, RwLockWriteGuard};
use redb::{
    BackendError, Builder, Database, DatabaseError, StorageBackend, StorageError,
    backends::FileBackend,
};

use super::StoreError;

/// A database that survives a full disk.
pub(super) struct DatabaseFile {
    path: PathBuf,
    /// None while it cannot be opened again.
    opened: RwLock<Option<Opened>>,
    /// Whether the last write failed, for the log.
    failing: AtomicBool,
}

struct Opened {
    database: Database,
    failed: Arc<AtomicBool>,
}

impl DatabaseFile {
    /// Opens the file, or creates it.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let path = path.to_owned();
        match Opened::open(&path) {
            Ok(opened) => {
                let opened = RwLock::new(Some(opened));
                Ok(Self { path, opened, failing: AtomicBool::new(false) })
            }
            Err(error) => Err(StoreError::Open { path, error }),
        }
    }

    /// Runs a transaction on the open database.
    pub(super) fn with<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, E>,
    ) -> Result<T, E> {
        let opened = self.opened.read();
        if let Some(usable) = opened.as_ref().filter(|opened| !opened.has_failed()) {
            return self.watch(usable, work);
        }
        drop(opened);
        let mut opened = self.opened.write();
        if opened.as_ref().is_none_or(Opened::has_failed) {
            // The old one has the file locked.
            *opened = None;
            let reopened = Opened::open(&self.path);
            *opened = Some(reopened.map_err(|error| StoreError::Database(Box::new(error.into())))?);
        }
        match RwLockWriteGuard::downgrade(opened).as_ref() {
            Some(opened) => self.watch(opened, work),
            None => Err(StoreError::from(StorageError::PreviousIo).into()),
        }
    }

    /// Reports the end of an outage once something was written.
    pub(super) fn wrote(&self) {
        if self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!(
                event = "emulator_store_recovered",
                "the emulator's data can be written again"
            );
        }
    }

    fn watch<T, E>(
        &self,
        opened: &Opened,
        work: impl FnOnce(&Database) -> Result<T, E>,
    ) -> Result<T, E> {
        let outcome = work(&opened.database);
        if opened.has_failed() && !self.failing.swap(true, Ordering::Relaxed) {
            tracing::error!(
                event = "emulator_store_failed",
                path = %self.path.display(),
                "the emulator's data cannot be written; check the disk. The next request tries again"
            );
        }
        outcome
    }
}

impl Opened {
    fn open(path: &Path) -> Result<Self, DatabaseError> {
        let failed = Arc::new(AtomicBool::new(false));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(StorageError::from)?;
        let file = WatchedFile { file: FileBackend::new(file)?, failed: Arc::clone(&failed) };
        Ok(Self { database: Builder::new().create_with_backend(file)?, failed })
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }
}

/// A file that remembers whether the disk failed.
#[derive(Debug)]
struct WatchedFile {
    file: FileBackend,
    failed: Arc<AtomicBool>,
}

impl WatchedFile {
    fn watch<T>(&self, outcome: io::Result<T>) -> io::Result<T> {
        if outcome.is_err() {
            self.failed.store(true, Ordering::Release);
        }
        outcome
    }
}

impl StorageBackend for WatchedFile {
    fn len(&self) -> io::Result<u64> {
        self.watch(self.file.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.watch(self.file.read(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.watch(self.file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.watch(self.file.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.watch(self.file.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
