//! Changes to the clients file: `clients create --write` and `clients revoke`.
//!
//! The file is replaced whole or not at all, under a lock that keeps two commands from losing each other's change.
//! Comments and the order of the clients stay. A new file is 0600 out of caution; an existing one keeps its mode, since
//! the service that reads it may run as another user, and it holds hashes only.

use std::{
    io,
    path::{Path, PathBuf},
};

use rand::CryptoRng;
use toml_edit::{Decor, DocumentMut, Item, RawString, Table};

use super::{
    clients::{Client, Clients, EntryFault},
    credential::{ClientId, Credential},
    registry::{ClientsError, configured, parse, place_of, read},
    scopes::Scope,
};
use crate::{clock::Timestamp, files::Locked};

const HEADER: &str = "\
# Who may call this service. Made by `ivs-playback-auth clients create`, and read again while the
# service runs. It holds hashes only: no credential can be had from it.
";

/// The user that the service runs as must be able to reach the file, within the umask.
const FOLDER_MODE: u32 = 0o777;

/// A new client. Its credential is stored nowhere and can be shown only once.
#[derive(Debug)]
pub struct NewClient {
    /// The client.
    pub client: Client,
    /// Its credential.
    pub credential: Credential,
}

impl NewClient {
    /// Makes a client with a new credential.
    ///
    /// # Errors
    ///
    /// The name or the scopes are not valid.
    pub fn generate(
        name: &str,
        scopes: impl IntoIterator<Item = Scope>,
        now: Timestamp,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, EntryFault> {
        let credential = Credential::generate(rng);
        let client =
            Client::new(name, scopes.into_iter().collect(), &credential, now.floor_to_second())?;
        Ok(Self { client, credential })
    }
}

/// Why the clients file was not changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The existing file cannot be used, so it is not changed.
    #[error(transparent)]
    Current(#[from] ClientsError),
    /// No client has this id.
    #[error("No client has the id {0}. List them with `ivs-playback-auth clients list`.")]
    Unknown(ClientId),
    /// A client has this id already.
    #[error("A client has the id {0} already.")]
    Exists(ClientId),
    /// A client has this name already.
    #[error(
        "The client {id} has the name {name:?} already. Choose another name, or revoke that client \
         first with `ivs-playback-auth clients revoke {id}`."
    )]
    NameTaken {
        /// The name.
        name: String,
        /// The client that has it.
        id: ClientId,
    },
    /// The file could not be replaced and is unchanged.
    #[error("The clients file {path} cannot be written: {cause}.", path = .path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
}

/// The clients file as the CLI sees it. Its methods block.
#[derive(Clone, Debug)]
pub struct ClientsFile {
    path: PathBuf,
}

impl ClientsFile {
    /// For the file at `path`, which need not exist yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Returns its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the clients in it; none if there is no file.
    ///
    /// # Errors
    ///
    /// The file cannot be read or used.
    pub fn list(&self) -> Result<Clients, ClientsError> {
        let text = read(&configured(self.path.clone()))?;
        parse(&text.unwrap_or_default(), place_of(&self.path))
    }

    /// Adds a client.
    ///
    /// # Errors
    ///
    /// The file cannot be used or written, or has a client with this id.
    pub fn add(&self, client: &Client) -> Result<(), EditError> {
        self.replace(|text, clients| {
            if clients.get(client.id()).is_some() {
                return Err(EditError::Exists(client.id().clone()));
            }
            if let Some(other) = clients.iter().find(|other| other.name() == client.name()) {
                let (name, id) = (client.name().to_owned(), other.id().clone());
                return Err(EditError::NameTaken { name, id });
            }
            let head = match self.document(text)? {
                document if text.trim().is_empty() => HEADER.to_owned() + &document.to_string(),
                document => document.to_string(),
            };
            Ok((format!("{}\n\n{}", head.trim_end(), client.to_toml()), ()))
        })
    }

    /// Removes a client and returns it. The service notices within `access.reload_every`.
    ///
    /// # Errors
    ///
    /// The file cannot be used or written, or has no client with this id.
    pub fn revoke(&self, id: &ClientId) -> Result<Client, EditError> {
        self.replace(|text, clients| {
            let revoked = clients.get(id).ok_or_else(|| EditError::Unknown(id.clone()))?;
            let rest = without_entry(self.document(text)?, id);
            // A blank file would be taken for an interrupted write, and its clients would stay.
            let rest = if rest.trim().is_empty() { HEADER.to_owned() } else { rest };
            Ok((rest, revoked.clone()))
        })
    }

    /// Replaces the file by what `change` makes of its text and clients, under a lock.
    fn replace<T>(
        &self,
        change: impl FnOnce(&str, &Clients) -> Result<(String, T), EditError>,
    ) -> Result<T, EditError> {
        let file = Locked::lock(&self.path, FOLDER_MODE).map_err(|cause| self.unwritable(cause))?;
        let text = read(&configured(file.path().to_owned()))?.unwrap_or_default();
        let clients = parse(&text, place_of(&self.path))?;
        let (text, result) = change(&text, &clients)?;
        file.replace(text.as_bytes()).map_err(|cause| self.unwritable(cause))?;
        Ok(result)
    }

    /// Returns the document with every client as a table of its own, whatever style it had.
    fn document(&self, text: &str) -> Result<DocumentMut, EditError> {
        let mut document: DocumentMut =
            text.parse().map_err(|error| self.unwritable(io::Error::other(error)))?;
        if let Some(clients) = document.get_mut("clients") {
            // Of what `Clients::parse` accepts, only an empty list cannot be converted.
            let tables = std::mem::take(clients).into_array_of_tables().unwrap_or_default();
            *clients = Item::ArrayOfTables(tables);
        }
        Ok(document)
    }

    fn unwritable(&self, cause: io::Error) -> EditError {
        EditError::Unwritable { path: self.path.clone(), cause }
    }
}

/// Returns the text without the entry of `id` and the comment right above it.
fn without_entry(mut document: DocumentMut, id: &ClientId) -> String {
    let has_id = |entry: &Table| entry.get("id").and_then(Item::as_str) == Some(id.as_str());
    let entries = document.get("clients").and_then(Item::as_array_of_tables);
    let index = entries.and_then(|entries| entries.iter().position(has_id));
    let entries = document.get_mut("clients").and_then(Item::as_array_of_tables_mut);
    if let (Some(index), Some(entries)) = (index, entries) {
        let above = entries.get(index).map(|entry| prefix_of(entry.decor())).unwrap_or_default();
        let mut kept: Vec<&str> = above.split_inclusive('\n').collect();
        while kept.last().is_some_and(|line| line.starts_with('#')) {
            kept.pop();
        }
        let kept = kept.concat();
        entries.remove(index);
        if let Some(next) = entries.get_mut(index) {
            let prefix = kept + prefix_of(next.decor()).trim_start();
            next.decor_mut().set_prefix(prefix);
        } else {
            let trailing = kept + document.trailing().as_str().unwrap_or_default().trim_start();
            document.set_trailing(trailing);
        }
    }
    document.to_string()
}

fn prefix_of(decor: &Decor) -> String {
    decor.prefix().and_then(RawString::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    fn new_client(seed: u64) -> NewClient {
        let mut rng = StdRng::seed_from_u64(seed);
        let now = Timestamp::from_unix_millis(1_795_337_700_999);
        NewClient::generate(&format!("client {seed}"), [Scope::TokensMint], now, &mut rng).unwrap()
    }

    fn file() -> (tempfile::TempDir, ClientsFile) {
        let folder = tempfile::tempdir().unwrap();
        let file = ClientsFile::new(folder.path().join("config/clients.toml"));
        (folder, file)
    }

    #[test]
    fn added_client_can_be_revoked() {
        let (_folder, file) = file();
        let (one, two) = (new_client(1), new_client(2));
        assert!(file.list().unwrap().is_empty());
        file.add(&one.client).unwrap();
        file.add(&two.client).unwrap();
        let clients = file.list().unwrap();
        assert!(clients.authenticate(&one.credential).is_some());
        assert_eq!(clients.authenticate(&two.credential).unwrap().name(), "client 2");
        assert!(matches!(file.add(&one.client), Err(EditError::Exists(_))));
        let mut rng = StdRng::seed_from_u64(3);
        let now = Timestamp::from_unix_seconds(0);
        let same = NewClient::generate("client 1", [Scope::TokensMint], now, &mut rng).unwrap();
        assert!(matches!(file.add(&same.client), Err(EditError::NameTaken { .. })));

        file.revoke(one.client.id()).unwrap();
        file.revoke(two.client.id()).unwrap();
        assert!(file.list().unwrap().is_empty());
        assert!(fs::read_to_string(file.path()).unwrap().starts_with("# Who may call"));
        assert_eq!(
            file.revoke(two.client.id()).unwrap_err().to_string(),
            format!(
                "No client has the id {}. List them with `ivs-playback-auth clients list`.",
                two.client.id()
            )
        );
    }

    #[test]
    fn comments_stay_with_their_entries() {
        let (_folder, file) = file();
        let clients = [new_client(1), new_client(2), new_client(3)];
        let [one, two, three] = clients.each_ref().map(|new| new.client.to_toml());
        let text = format!("# ours\n\n# first\n{one}\n# second\n{two}\n\n# third\n{three}");
        fs::create_dir_all(file.path().parent().unwrap()).unwrap();
        fs::write(file.path(), text).unwrap();

        file.revoke(clients[1].client.id()).unwrap();
        let expected = format!("# ours\n\n# first\n{one}\n# third\n{three}");
        assert_eq!(fs::read_to_string(file.path()).unwrap(), expected);
        file.revoke(clients[2].client.id()).unwrap();
        let expected = format!("# ours\n\n# first\n{one}\n");
        assert_eq!(fs::read_to_string(file.path()).unwrap(), expected);
    }

    #[test]
    fn document_of_another_style_can_be_edited() {
        let (_folder, file) = file();
        let clients = [new_client(1), new_client(2), new_client(3)];
        let inline = |new: &NewClient| {
            let entry = new.client.to_toml().replace("[[clients]]\n", "");
            format!("{{ {} }}", entry.trim_end().replace('\n', ", "))
        };
        let text = format!("clients = [{}, {}]\n", inline(&clients[0]), inline(&clients[1]));
        fs::create_dir_all(file.path().parent().unwrap()).unwrap();
        fs::write(file.path(), text).unwrap();
        file.add(&clients[2].client).unwrap();
        file.revoke(clients[0].client.id()).unwrap();
        let names: Vec<_> =
            file.list().unwrap().iter().map(|client| client.name().to_owned()).collect();
        assert_eq!(names, ["client 2", "client 3"]);
    }

    #[test]
    fn revoking_the_last_client_leaves_no_blank_file() {
        let (_folder, file) = file();
        let only = new_client(1);
        fs::create_dir_all(file.path().parent().unwrap()).unwrap();
        fs::write(file.path(), only.client.to_toml()).unwrap();
        file.revoke(only.client.id()).unwrap();
        assert_eq!(fs::read_to_string(file.path()).unwrap(), HEADER);
    }

    #[test]
    fn broken_file_is_not_touched() {
        let (_folder, file) = file();
        fs::create_dir_all(file.path().parent().unwrap()).unwrap();
        fs::write(file.path(), "[[clients").unwrap();
        assert!(matches!(file.add(&new_client(1).client), Err(EditError::Current(_))));
        assert_eq!(fs::read_to_string(file.path()).unwrap(), "[[clients");
    }

    #[test]
    #[cfg(unix)]
    fn new_file_is_private_and_an_existing_one_keeps_mode_and_link() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let (folder, file) = file();
        file.add(&new_client(1).client).unwrap();
        assert_eq!(mode(file.path()), 0o600);

        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o640)).unwrap();
        let link = folder.path().join("link.toml");
        symlink(file.path(), &link).unwrap();
        ClientsFile::new(link.clone()).add(&new_client(2).client).unwrap();
        assert_eq!(mode(file.path()), 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(file.list().unwrap().len(), 2);
    }

    #[test]
    fn two_writers_lose_nothing() {
        let (_folder, file) = file();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let file = &file;
                scope.spawn(move || {
                    for number in 0..5 {
                        file.add(&new_client(writer * 100 + number).client).unwrap();
                    }
                });
            }
        });
        assert_eq!(file.list().unwrap().len(), 20);
    }

    #[test]
    fn client_needs_a_name_and_a_scope() {
        let mut rng = StdRng::seed_from_u64(1);
        let now = Timestamp::from_unix_seconds(0);
        let fault = |name: &str, scopes: &[Scope], rng: &mut StdRng| {
            NewClient::generate(name, scopes.iter().copied(), now, rng).unwrap_err()
        };
        assert_eq!(fault("", &[Scope::TokensMint], &mut rng), EntryFault::Name);
        assert_eq!(fault(&"x".repeat(65), &[Scope::TokensMint], &mut rng), EntryFault::Name);
        assert_eq!(fault("web", &[], &mut rng), EntryFault::NoScope);
    }
}
