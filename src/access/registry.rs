//! The clients of a running service: read at start, and again when their file changes.
//!
//! A mint reads an immutable snapshot without a lock. A document that cannot be read or used leaves
//! the snapshot as it is, because a typing mistake must not lock every client out; at start it is an
//! error. A document without clients is accepted, because that is how the last credential
//! is revoked; only a blank file is not, because that is what an interrupted write leaves behind.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use tokio_util::sync::CancellationToken;

use super::{
    AuthError,
    clients::{Client, Clients, DocumentError},
    credential::Credential,
};
use crate::files::{ConfiguredFile, Content};

/// The largest clients file, in bytes.
const MAX_FILE: usize = 4 << 20;

/// Where the clients document is.
#[derive(Clone, Debug)]
pub enum ClientsSource {
    /// In a file (`access.clients`).
    File(PathBuf),
    /// In the configuration itself (`IVS_PLAYBACK_AUTH_CLIENTS`); never read again.
    Inline(SecretString),
}

/// Why the clients cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientsError {
    /// The file exists but cannot be read.
    #[error("The clients file {path} cannot be read: {cause}.", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// The document is not valid.
    #[error("{place}, {error}.")]
    Invalid {
        /// The file or variable.
        place: String,
        /// What is wrong with it.
        error: DocumentError,
    },
    /// The document has no clients, so no one could call.
    #[error(
        "No clients are configured, so nobody could call. Make one with `ivs-playback-auth clients \
         create NAME --scope tokens:mint --write`."
    )]
    None,
    /// A file that had clients is empty or gone.
    #[error("The clients file {path} is blank or gone.", path = .0.display())]
    Vanished(PathBuf),
}

/// The clients of a running service.
#[derive(Debug)]
pub struct Registry {
    /// `None` if the clients are part of the configuration and never read again.
    file: Option<ConfiguredFile>,
    clients: ArcSwap<Clients>,
    /// The last text that was read, by which a change is recognised.
    last: Mutex<Reading>,
}

#[derive(Debug)]
struct Reading {
    text: Box<str>,
    /// Why the last attempt failed, if it did.
    fault: Option<String>,
}

impl Registry {
    /// Reads the clients for the first time.
    ///
    /// # Errors
    ///
    /// The document cannot be read or used, or has no clients.
    pub fn load(source: ClientsSource) -> Result<Self, ClientsError> {
        let (file, text, place) = match source {
            ClientsSource::File(path) => {
                let file = configured(path);
                let (text, place) = (read(&file)?.unwrap_or_default(), place_of(file.path()));
                (Some(file), text, place)
            }
            ClientsSource::Inline(text) => {
                let place = "IVS_PLAYBACK_AUTH_CLIENTS".to_owned();
                (None, text.expose_secret().to_owned(), place)
            }
        };
        let clients = parse(&text, place)?;
        if clients.is_empty() {
            return Err(ClientsError::None);
        }
        Ok(Self {
            file,
            clients: ArcSwap::from_pointee(clients),
            last: Mutex::new(Reading { text: text.into(), fault: None }),
        })
    }

    /// Without clients: for a command on this machine, which serves no HTTP.
    pub fn nobody() -> Self {
        Self {
            file: None,
            clients: ArcSwap::default(),
            last: Mutex::new(Reading { text: Box::default(), fault: None }),
        }
    }

    /// Returns the current clients. Takes no lock.
    pub fn clients(&self) -> Guard<Arc<Clients>> {
        self.clients.load()
    }

    /// Returns the client with this credential.
    ///
    /// # Errors
    ///
    /// The credential is malformed or unknown.
    pub fn authenticate(&self, credential: &str) -> Result<Arc<Client>, AuthError> {
        let credential = Credential::parse(credential).map_err(|_| AuthError::Invalid)?;
        self.clients().authenticate(&credential).ok_or(AuthError::Invalid)
    }

    /// Reads the file again and returns whether the clients changed. Blocks on the file.
    ///
    /// # Errors
    ///
    /// The document cannot be read or used. The clients stay as they are.
    pub fn reload(&self) -> Result<bool, ClientsError> {
        let Some(file) = &self.file else { return Ok(false) };
        let text = read(file)?.unwrap_or_default();
        let mut last = self.last.lock();
        if *text == *last.text {
            return Ok(false);
        }
        if text.trim().is_empty() {
            return Err(ClientsError::Vanished(file.path().to_owned()));
        }
        self.clients.store(Arc::new(parse(&text, place_of(file.path()))?));
        last.text = text.into();
        Ok(true)
    }

    /// Reads the file again every `every` until `shutdown`, and logs the outcome, each
    /// fault once.
    pub async fn run(self: Arc<Self>, every: Duration, shutdown: CancellationToken) {
        if self.file.is_none() {
            return;
        }
        while shutdown.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
            let registry = Arc::clone(&self);
            // A panic was logged, and the next attempt may succeed.
            let _ = tokio::task::spawn_blocking(move || registry.reload_and_report()).await;
        }
    }

    /// Reloads the clients and logs an outcome that differs from the last one. Blocks on the file.
    pub fn reload_and_report(&self) {
        let outcome = self.reload();
        let mut last = self.last.lock();
        match outcome {
            Ok(changed) => {
                let recovered = last.fault.take().is_some();
                if changed || recovered {
                    tracing::info!(
                        event = "clients_reloaded",
                        clients = self.clients().len(),
                        "clients are up to date"
                    );
                }
            }
            Err(error) => {
                let fault = error.to_string();
                if last.fault.as_ref() != Some(&fault) {
                    tracing::error!(
                        event = "clients_not_reloaded",
                        fault,
                        "cannot reload clients; keeping the old ones"
                    );
                    last.fault = Some(fault);
                }
            }
        }
    }

    /// Returns why the last attempt to reload the clients failed, if it did.
    pub fn fault(&self) -> Option<String> {
        self.last.lock().fault.clone()
    }
}

/// Returns the clients file at `path`.
pub(super) fn configured(path: PathBuf) -> ConfiguredFile {
    ConfiguredFile::new(path, Content::Public, MAX_FILE)
}

/// Returns the text of the file; `None` if there is no file. Blocks for a bounded time.
pub(super) fn read(file: &ConfiguredFile) -> Result<Option<String>, ClientsError> {
    let text = match file.read() {
        Ok(bytes) => String::from_utf8(bytes.to_vec())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => Err(error),
    };
    text.map(Some).map_err(|cause| ClientsError::Unreadable { path: file.path().to_owned(), cause })
}

pub(super) fn parse(text: &str, place: String) -> Result<Clients, ClientsError> {
    Clients::parse(text).map_err(|error| ClientsError::Invalid { place, error })
}

pub(super) fn place_of(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    use rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::{
        access::{Client, Credential, Scope},
        clock::Timestamp,
    };

    fn entry(seed: u64) -> (Credential, String) {
        let credential = Credential::generate(&mut StdRng::seed_from_u64(seed));
        let scopes = BTreeSet::from([Scope::TokensMint]);
        let now = Timestamp::from_unix_seconds(0);
        let client = Client::new("web", scopes, &credential, now).unwrap();
        let entry = client.to_toml();
        (credential, entry)
    }

    fn registry(text: &str) -> (tempfile::TempDir, PathBuf, Result<Registry, ClientsError>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clients.toml");
        fs::write(&path, text).unwrap();
        let registry = Registry::load(ClientsSource::File(path.clone()));
        (folder, path, registry)
    }

    #[test]
    fn a_changed_file_changes_who_may_call() {
        let (first, first_entry) = entry(1);
        let (second, second_entry) = entry(2);
        let (_folder, path, registry) = registry(&first_entry);
        let registry = registry.unwrap();
        assert!(registry.clients().authenticate(&first).is_some());
        assert!(!registry.reload().unwrap());

        fs::write(&path, second_entry).unwrap();
        assert!(registry.reload().unwrap());
        assert!(registry.clients().authenticate(&first).is_none());
        assert!(registry.clients().authenticate(&second).is_some());
    }

    #[test]
    fn a_broken_file_keeps_the_former_clients_and_an_empty_document_does_not() {
        let (credential, text) = entry(1);
        let (_folder, path, registry) = registry(&text);
        let registry = registry.unwrap();
        for broken in ["", " \n", "[[clients", "[[clients]]\nid = 5\n"] {
            fs::write(&path, broken).unwrap();
            assert!(registry.reload().is_err(), "{broken:?}");
            assert!(registry.clients().authenticate(&credential).is_some());
        }
        fs::remove_file(&path).unwrap();
        assert!(matches!(registry.reload(), Err(ClientsError::Vanished(_))));
        fs::write(&path, &text).unwrap();
        assert!(!registry.reload().unwrap());
        fs::write(&path, "# nobody\n").unwrap();
        assert!(registry.reload().unwrap());
        assert!(registry.clients().is_empty());
    }

    #[test]
    fn at_start_there_must_be_clients() {
        let (_folder, path, blank) = registry("");
        let sentence = "No clients are configured, so nobody could call. Make one with \
                        `ivs-playback-auth clients create NAME --scope tokens:mint --write`.";
        assert_eq!(blank.unwrap_err().to_string(), sentence);
        let absent = Registry::load(ClientsSource::File(path.with_file_name("absent.toml")));
        assert_eq!(absent.unwrap_err().to_string(), sentence);
        let (_folder, path, broken) = registry("[[clients]]\n");
        assert_eq!(
            broken.unwrap_err().to_string(),
            format!("{}, line 1: id is missing or of a wrong type.", path.display())
        );
        let folder = Registry::load(ClientsSource::File(path.parent().unwrap().to_owned()));
        assert!(matches!(folder, Err(ClientsError::Unreadable { .. })));
    }

    #[test]
    fn inline_clients_are_read_once() {
        let (credential, text) = entry(1);
        let registry = Registry::load(ClientsSource::Inline(text.into())).unwrap();
        assert!(registry.clients().authenticate(&credential).is_some());
        assert!(!registry.reload().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn the_loop_reloads_until_shutdown() {
        let (_, first_entry) = entry(1);
        let (second, second_entry) = entry(2);
        let (_folder, path, registry) = registry(&first_entry);
        let registry = Arc::new(registry.unwrap());
        let shutdown = CancellationToken::new();
        let run = Arc::clone(&registry).run(Duration::from_secs(5), shutdown.clone());
        let check = async {
            fs::write(&path, second_entry).unwrap();
            while registry.clients().authenticate(&second).is_none() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            shutdown.cancel();
        };
        tokio::join!(run, check);
    }
}
