//! The emulator's durable state.
//!
//! It is kept in redb, which is pure Rust, has transactions that are atomic, serializable and on disk
//! when `commit` returns, and recovers its file after kill -9. `SQLite` would need a C compiler, and
//! a JSON file that is rewritten whole neither scales nor survives a crash. Every response that
//! acknowledges a write is sent after its commit.
//!
//! [`Store`] opens the file and runs transactions. [`collection`] keeps [`records`] in it, [`streams`]
//! adds live streams and their metadata, [`viewers`] spent ids and revoked sessions.

pub(crate) mod collection;
mod database;
pub(crate) mod records;
pub(crate) mod streams;
pub(crate) mod viewers;

use std::{
    fmt,
    fs::{self, TryLockError},
    io,
    path::{Path, PathBuf},
};

use redb::{
    CommitError, Database, DatabaseError, Durability, Key, ReadTransaction, ReadableDatabase,
    ReadableTable, SetDurabilityError, StorageError, TableDefinition, TableError, TransactionError,
    Value, WriteTransaction,
};

use self::database::DatabaseFile;
use super::ids::{self, IdError};
use crate::files;

/// The version of the layout. A file of a later version is refused.
const FORMAT: u128 = 1;

const FILE_NAME: &str = "emulator.redb";
const LOCK_NAME: &str = "emulator.lock";
const UNFINISHED_NAME: &str = "emulator.redb.new";

/// Facts about the file: [`FORMAT_KEY`], [`PAGE_KEY`], and the last sequence number.
const META: TableDefinition<'_, &str, u128> = TableDefinition::new("meta");
const FORMAT_KEY: &str = "format";
const PAGE_KEY: &str = "page-key";

/// The open state. Only one process can open it at a time.
pub(crate) struct Store {
    database: DatabaseFile,
    page_key: u128,
    /// Locked while the state is open.
    _lock: fs::File,
}

impl Store {
    /// Opens the state in `data_dir`. Creates both if they do not exist.
    pub(crate) fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let at = |error: io::Error| StoreError::DataDir { path: data_dir.to_owned(), error };
        files::create_folder(data_dir, 0o700).map_err(at)?;
        let lock = files::open_shared(&data_dir.join(LOCK_NAME)).map_err(at)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::InUse { path: data_dir.to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(at(error)),
        }
        let path = data_dir.join(FILE_NAME);
        if !path.try_exists().map_err(at)? {
            // A crash during creation leaves a file that cannot be opened, so it gets its final name
            // only when it is complete.
            let unfinished = data_dir.join(UNFINISHED_NAME);
            remove_if_exists(&unfinished).map_err(at)?;
            // It contains stream keys, so that it is created for its owner alone.
            files::open_shared(&unfinished).map_err(at)?;
            DatabaseFile::open(&unfinished)?.with(prepare)?;
            fs::rename(&unfinished, &path).map_err(at)?;
            sync_dir(data_dir).map_err(at)?;
        }
        let database = DatabaseFile::open(&path)?;
        let page_key = database.with(prepare)?;
        Ok(Self { database, page_key, _lock: lock })
    }

    /// Returns a random number of this file, which authenticates page tokens.
    pub(crate) fn page_key(&self) -> u128 {
        self.page_key
    }

    /// Reads a consistent snapshot without waiting for a writer.
    pub(crate) fn read<T, E: From<StoreError>>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, E>,
    ) -> Result<T, E> {
        self.database.with(|database| {
            let transaction = database.begin_read().map_err(StoreError::from)?;
            read(&transaction)
        })
    }

    /// Runs one write at a time. When this returns, all of it is on disk or, after an error, none.
    pub(crate) fn write<T, E: From<StoreError>>(
        &self,
        write: impl FnOnce(&WriteTransaction) -> Result<T, E>,
    ) -> Result<T, E> {
        let output = self.database.with(|database| -> Result<T, E> {
            let mut transaction = database.begin_write().map_err(StoreError::from)?;
            transaction.set_durability(Durability::Immediate).map_err(StoreError::from)?;
            let output = write(&transaction)?;
            transaction.commit().map_err(StoreError::from)?;
            Ok(output)
        })?;
        self.database.wrote();
        Ok(output)
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

/// Either kind of transaction, for code that only reads.
pub(crate) trait View {
    /// Opens a table. In a write transaction a table can be open once at a time.
    fn table<K: Key + 'static, V: Value + 'static>(
        &self,
        definition: TableDefinition<'_, K, V>,
    ) -> Result<impl ReadableTable<K, V>, StoreError>;
}

impl View for ReadTransaction {
    fn table<K: Key + 'static, V: Value + 'static>(
        &self,
        definition: TableDefinition<'_, K, V>,
    ) -> Result<impl ReadableTable<K, V>, StoreError> {
        Ok(self.open_table(definition)?)
    }
}

impl View for WriteTransaction {
    fn table<K: Key + 'static, V: Value + 'static>(
        &self,
        definition: TableDefinition<'_, K, V>,
    ) -> Result<impl ReadableTable<K, V>, StoreError> {
        Ok(self.open_table(definition)?)
    }
}

/// Creates every table, so that readers never find one missing. Returns the page key.
fn prepare(database: &Database) -> Result<u128, StoreError> {
    let transaction = database.begin_write()?;
    let page_key = {
        let mut meta = transaction.open_table(META)?;
        let format = meta.get(FORMAT_KEY)?.map(|format| format.value());
        match format {
            None => drop(meta.insert(FORMAT_KEY, FORMAT)?),
            Some(FORMAT) => {}
            Some(_) => return Err(StoreError::Format),
        }
        let stored = meta.get(PAGE_KEY)?.map(|key| key.value());
        if let Some(key) = stored {
            key
        } else {
            let key = ids::random_u128()?;
            meta.insert(PAGE_KEY, key)?;
            key
        }
    };
    transaction.open_table(collection::RECORDS)?;
    transaction.open_table(collection::NAMES)?;
    transaction.open_table(streams::METADATA)?;
    transaction.open_table(viewers::SPENT)?;
    transaction.open_table(viewers::REVOKED)?;
    transaction.commit()?;
    Ok(page_key)
}

fn remove_if_exists(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync_dir(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    fs::File::open(path)?.sync_all()?;
    Ok(())
}

/// Why the state could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The folder or a file in it could not be created.
    #[error("the data folder {path} cannot be used: {error}; choose another with --data-dir", path = .path.display())]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
    /// Another process has the state open.
    #[error("another emulator is using the data folder {path}; stop it, or choose another with --data-dir", path = .path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The file is not a database, or is damaged.
    #[error("{path} cannot be opened: {error}; move it away to start with an empty emulator", path = .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The error of the database.
        error: DatabaseError,
    },
    /// The file was written by a later version of this program.
    #[error(
        "the emulator's data was written by a later version; use that version, or another --data-dir"
    )]
    Format,
    /// A transaction failed.
    #[error("the emulator's data could not be read or written: {0}; check the disk")]
    Database(#[from] Box<redb::Error>),
    /// A record cannot be parsed.
    #[error("a record of the emulator's data is damaged: {0}; start with another --data-dir")]
    Record(#[from] serde_json::Error),
    /// An identifier could not be generated.
    #[error(transparent)]
    Id(#[from] IdError),
}

impl StoreError {
    /// Logs a failure whose cause the client does not see.
    pub(crate) fn log(&self) {
        tracing::error!(event = "emulator_failed", error = %self, "the emulator's store failed");
    }
}

macro_rules! from_redb {
    ($($error:ident),*) => {$(
        impl From<$error> for StoreError {
            fn from(error: $error) -> Self {
                Self::Database(Box::new(error.into()))
            }
        }
    )*};
}

from_redb!(CommitError, SetDurabilityError, StorageError, TableError, TransactionError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_is_private_and_locked() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("a").join("b");
        let store = Store::open(&dir).unwrap();
        assert!(matches!(Store::open(&dir), Err(StoreError::InUse { .. })));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&dir), 0o700);
            assert_eq!(mode(&dir.join(FILE_NAME)), 0o600);
        }
        let key = store.page_key();
        drop(store);
        assert_eq!(Store::open(&dir).unwrap().page_key(), key);
    }

    #[test]
    fn foreign_file_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE_NAME), "not a database").unwrap();
        let error = Store::open(dir.path()).unwrap_err();
        assert!(error.to_string().contains(FILE_NAME), "{error}");
        assert_eq!(fs::read(dir.path().join(FILE_NAME)).unwrap(), b"not a database");
    }

    #[test]
    fn interrupted_creation_is_cleaned_up() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(UNFINISHED_NAME), [0; 4096]).unwrap();
        Store::open(dir.path()).unwrap();
        assert!(!dir.path().join(UNFINISHED_NAME).exists());
    }

    #[test]
    fn later_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        store
            .write(|transaction| {
                transaction.open_table(META)?.insert(FORMAT_KEY, FORMAT + 1)?;
                Ok::<_, StoreError>(())
            })
            .unwrap();
        drop(store);
        assert!(matches!(Store::open(dir.path()), Err(StoreError::Format)));
    }

    #[test]
    fn failed_write_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let failed = store.write(|transaction| {
            transaction.open_table(META)?.insert("x", 1)?;
            Err::<(), _>(StoreError::Format)
        });
        assert!(failed.is_err());
        let found = store.read(|view| Ok::<_, StoreError>(view.table(META)?.get("x")?.is_some()));
        assert!(!found.unwrap());
    }
}
