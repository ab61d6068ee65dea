//! The clients document: who may call, and with which scopes.
//!
//! ```toml
//! [[clients]]
//! id = "k3v9x0aq71pd"
//! name = "web"
//! secret_sha256 = "0f007385b6f9d4b7eeb2748605afe1a984a0a3bfa3f014d09e2a784ce9e5cd1a"
//! scopes = ["tokens:mint"]
//! created_at = 2026-11-22T08:55:00Z
//! ```
//!
//! It contains only hashes, so its file may be readable by others, but only the operator should be able to write
//! to it. Unknown keys are refused, so that a misspelt restriction is not ignored.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    fmt::Write as _,
    ops::Range,
    sync::Arc,
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    Forbidden,
    credential::{ClientId, Credential, SecretHash},
    scopes::{Scope, ScopeError},
};
use crate::{clock::Timestamp, settings::line_of};

/// The longest name of a client, in characters.
pub const MAX_NAME_LENGTH: usize = 64;

/// A caller. `Debug` hides the hash.
#[derive(Clone)]
pub struct Client {
    id: ClientId,
    name: String,
    secret: SecretHash,
    scopes: BTreeSet<Scope>,
    created_at: Option<Timestamp>,
}

impl Client {
    /// Makes a client with this credential.
    ///
    /// # Errors
    ///
    /// The name is empty, too long or has control characters, or there is no scope.
    pub fn new(
        name: &str,
        scopes: BTreeSet<Scope>,
        credential: &Credential,
        created_at: Timestamp,
    ) -> Result<Self, EntryFault> {
        check_name(name)?;
        if scopes.is_empty() {
            return Err(EntryFault::NoScope);
        }
        Ok(Self {
            id: credential.id().clone(),
            name: name.to_owned(),
            secret: credential.hash(),
            scopes,
            created_at: Some(created_at),
        })
    }

    /// Returns the public part of its credential; `clientId` in logs.
    pub fn id(&self) -> &ClientId {
        &self.id
    }

    /// Returns its name for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns its scopes.
    pub fn scopes(&self) -> &BTreeSet<Scope> {
        &self.scopes
    }

    /// Returns when it was created, if its entry says so.
    pub fn created_at(&self) -> Option<Timestamp> {
        self.created_at
    }

    /// Checks that the client has a scope.
    ///
    /// # Errors
    ///
    /// The client does not have the scope.
    pub fn require(&self, scope: Scope) -> Result<(), Forbidden> {
        if self.scopes.contains(&scope) { Ok(()) } else { Err(Forbidden { scope }) }
    }

    /// Returns its entry in the clients document.
    pub fn to_toml(&self) -> String {
        let name = toml::Value::from(self.name.as_str());
        let scopes: Vec<_> = self.scopes.iter().map(|scope| format!("\"{scope}\"")).collect();
        let mut entry = format!(
            "[[clients]]\nid = \"{}\"\nname = {name}\nsecret_sha256 = \"{}\"\nscopes = [{}]\n",
            self.id,
            self.secret,
            scopes.join(", ")
        );
        if let Some(created_at) = self.created_at {
            let _ = writeln!(entry, "created_at = {created_at}");
        }
        entry
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// The clients of a document.
#[derive(Clone, Debug, Default)]
pub struct Clients(HashMap<ClientId, Arc<Client>>);

impl Clients {
    /// Reads the document.
    ///
    /// # Errors
    ///
    /// The document is not TOML, or an entry is not valid.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        let (document, faults) = DeTable::parse_recoverable(text);
        let read = match faults.first() {
            Some(fault) => {
                let message = fault.message().trim_end_matches('.').to_owned();
                Err((fault.span().unwrap_or_default(), EntryFault::Syntax(message)))
            }
            None => read_document(document.get_ref()),
        };
        read.map_err(|(span, fault)| DocumentError { line: line_of(text, span.start), fault })
    }

    /// Returns the client with this credential. An unknown id takes as long as a wrong secret.
    pub fn authenticate(&self, credential: &Credential) -> Option<Arc<Client>> {
        let client = self.0.get(credential.id());
        let expected = client.map_or(&SecretHash::DUMMY, |client| &client.secret);
        let matches = expected.matches(&credential.hash());
        client.filter(|_| matches).map(Arc::clone)
    }

    /// Returns the client with this id.
    pub fn get(&self, id: &ClientId) -> Option<&Client> {
        self.0.get(id).map(AsRef::as_ref)
    }

    /// Returns every client, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &Client> {
        let mut clients: Vec<&Client> = self.0.values().map(AsRef::as_ref).collect();
        clients.sort_by_key(|client| (client.name(), client.id()));
        clients.into_iter()
    }

    /// Returns the number of clients.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether there is no client.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A clients document that cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct DocumentError {
    /// The line, from 1; for an entry, its first.
    pub line: usize,
    /// What is wrong with it.
    pub fault: EntryFault,
}

/// What can be wrong with a client. The message never repeats a value.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EntryFault {
    /// The document is not TOML.
    #[error("not TOML: {0}")]
    Syntax(String),
    /// An entry is not a table.
    #[error("clients are written as tables: [[clients]]")]
    NotATable,
    /// An unknown key.
    #[error("unknown key {0}; an entry has id, name, secret_sha256, scopes and created_at")]
    UnknownKey(String),
    /// A required key is missing, or its value has a wrong type.
    #[error("{0} is missing or of a wrong type")]
    Missing(&'static str),
    /// The id is malformed.
    #[error("id must be 12 characters of a-z and 0-9")]
    Id,
    /// Two entries have this id.
    #[error("two clients have the id {0}; remove one")]
    DuplicateId(ClientId),
    /// Two entries have this name.
    #[error("the clients {0} and {1} have the same name {2:?}; rename one of them")]
    DuplicateName(ClientId, ClientId, String),
    /// The name is empty, too long, or has control characters.
    #[error("name must have 1 to 64 characters and no control characters")]
    Name,
    /// The hash is malformed. A credential in its place is refused, too.
    #[error("secret_sha256 must be the 64 hexadecimal digits of the secret part's SHA-256")]
    Secret,
    /// A scope that does not exist.
    #[error(transparent)]
    Scope(#[from] ScopeError),
    /// A client without a scope.
    #[error("scopes must name at least one scope")]
    NoScope,
    /// The instant is malformed.
    #[error("created_at must be an instant with its offset, such as 2026-11-22T08:55:00Z")]
    CreatedAt,
}

fn read_document(document: &DeTable<'_>) -> Result<Clients, (Range<usize>, EntryFault)> {
    let mut clients = Clients::default();
    for (key, value) in document {
        if key.get_ref() != "clients" {
            return Err((key.span(), EntryFault::UnknownKey(key.get_ref().to_string())));
        }
        let DeValue::Array(entries) = value.get_ref() else {
            return Err((key.span(), EntryFault::NotATable));
        };
        for entry in entries {
            let DeValue::Table(table) = entry.get_ref() else {
                return Err((entry.span(), EntryFault::NotATable));
            };
            let client = read_entry(table).map_err(|fault| (entry.span(), fault))?;
            if let Some(earlier) = clients.0.values().find(|it| it.name == client.name)
                && earlier.id != client.id
            {
                let (earlier, name) = (earlier.id.clone(), client.name);
                return Err((entry.span(), EntryFault::DuplicateName(earlier, client.id, name)));
            }
            if let Some(earlier) = clients.0.insert(client.id.clone(), Arc::new(client)) {
                return Err((entry.span(), EntryFault::DuplicateId(earlier.id.clone())));
            }
        }
    }
    Ok(clients)
}

fn read_entry(table: &DeTable<'_>) -> Result<Client, EntryFault> {
    const KEYS: [&str; 5] = ["id", "name", "secret_sha256", "scopes", "created_at"];
    if let Some(unknown) = table.keys().find(|key| !KEYS.contains(&key.get_ref().as_ref())) {
        return Err(EntryFault::UnknownKey(unknown.get_ref().to_string()));
    }
    let id = text(table, "id")?.parse().map_err(|_| EntryFault::Id)?;
    let name = text(table, "name")?;
    check_name(name)?;
    let secret = text(table, "secret_sha256")?.parse().map_err(|_| EntryFault::Secret)?;
    let scopes = read_scopes(table)?;
    let created_at = table.get("created_at").map(|value| read_instant(value.get_ref()));
    let created_at = created_at.transpose()?;
    Ok(Client { id, name: name.to_owned(), secret, scopes, created_at })
}

fn read_scopes(table: &DeTable<'_>) -> Result<BTreeSet<Scope>, EntryFault> {
    let Some(DeValue::Array(items)) = table.get("scopes").map(Spanned::get_ref) else {
        return Err(EntryFault::Missing("scopes"));
    };
    let mut scopes = BTreeSet::new();
    for item in items {
        let DeValue::String(text) = item.get_ref() else {
            return Err(EntryFault::Missing("scopes"));
        };
        scopes.insert(text.parse()?);
    }
    if scopes.is_empty() { Err(EntryFault::NoScope) } else { Ok(scopes) }
}

/// Reads an instant, written as TOML's own type or as text.
fn read_instant(value: &DeValue<'_>) -> Result<Timestamp, EntryFault> {
    let text = if let DeValue::String(text) = value {
        text.to_string()
    } else if let DeValue::Datetime(instant) = value {
        instant.to_string()
    } else {
        return Err(EntryFault::CreatedAt);
    };
    Timestamp::parse(&text).map_err(|_| EntryFault::CreatedAt)
}

fn text<'a>(table: &'a DeTable<'_>, key: &'static str) -> Result<&'a str, EntryFault> {
    if let Some(DeValue::String(text)) = table.get(key).map(Spanned::get_ref) {
        Ok(text)
    } else {
        Err(EntryFault::Missing(key))
    }
}

fn check_name(name: &str) -> Result<(), EntryFault> {
    let length = name.chars().count();
    if length == 0 || length > MAX_NAME_LENGTH || name.chars().any(char::is_control) {
        return Err(EntryFault::Name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_337_700);

    fn entry(id: &str, rest: &str) -> String {
        format!(
            "[[clients]]\nid = \"{id}\"\nname = \"web\"\nsecret_sha256 = \"{}\"\nscopes = \
             [\"tokens:mint\"]\n{rest}",
            "0".repeat(64)
        )
    }

    fn fault(text: &str) -> String {
        Clients::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn an_entry_reads_back_and_lets_its_credential_in() {
        let mut rng = StdRng::seed_from_u64(1);
        let credential = Credential::generate(&mut rng);
        let scopes = BTreeSet::from([Scope::TokensMint, Scope::ChannelsRead]);
        let client = Client::new("web \"shop\"", scopes, &credential, NOW).unwrap();
        let clients = Clients::parse(&client.to_toml()).unwrap();

        let found = clients.authenticate(&credential).unwrap();
        assert_eq!(found.name(), "web \"shop\"");
        assert_eq!(found.created_at(), Some(NOW));
        assert_eq!(found.require(Scope::ChannelsRead), Ok(()));
        assert_eq!(found.require(Scope::KeysWrite), Err(Forbidden { scope: Scope::KeysWrite }));
        assert!(clients.authenticate(&Credential::generate(&mut rng)).is_none());
    }

    #[test]
    fn the_right_id_with_another_secret_is_refused() {
        let credential = Credential::parse(&format!("ipa_abcdefghijk0_{}", "A".repeat(43)));
        let clients = Clients::parse(&entry("abcdefghijk0", "")).unwrap();
        assert!(clients.authenticate(&credential.unwrap()).is_none());
    }

    #[test]
    fn every_fault_names_its_line_and_no_value() {
        let good = entry("abcdefghijk0", "");
        assert_eq!(
            fault("client = []\n"),
            "line 1: unknown key client; an entry has id, name, secret_sha256, scopes and created_at"
        );
        assert_eq!(fault("clients = 5\n"), "line 1: clients are written as tables: [[clients]]");
        assert_eq!(
            fault(&format!("\n{}", entry("abcdefghijk0", "scope = [\"x\"]\n"))),
            "line 2: unknown key scope; an entry has id, name, secret_sha256, scopes and created_at"
        );
        assert_eq!(
            fault(&format!("{good}\n{good}")),
            "line 7: two clients have the id abcdefghijk0; remove one"
        );
        assert_eq!(
            fault(&format!("{good}\n{}", entry("abcdefghijk1", ""))),
            "line 7: the clients abcdefghijk0 and abcdefghijk1 have the same name \"web\"; rename one \
             of them"
        );
        assert_eq!(fault("[[clients]]\n"), "line 1: id is missing or of a wrong type");
        assert!(fault("[[clients\n").starts_with("line 1: not TOML: "));
        assert_eq!(fault(&entry("ABC", "")), "line 1: id must be 12 characters of a-z and 0-9");
        let with = |from: &str, to: &str| fault(&good.replace(from, to));
        assert!(with("\"web\"", "\"\"").contains("name must have 1 to 64 characters"));
        assert!(with("\"web\"", "\"a\\nb\"").contains("name must have 1 to 64 characters"));
        assert!(with(&"0".repeat(64), "hunter2").contains("secret_sha256 must be the 64"));
        assert!(with("tokens:mint", "tokens:steal").contains("unknown scope; the scopes are"));
        assert!(with("[\"tokens:mint\"]", "[]").contains("at least one scope"));
        assert!(with("[\"tokens:mint\"]", "\"tokens:mint\"").contains("scopes is missing or of a"));
        let undated = fault(&entry("abcdefghijk0", "created_at = 2026-11-22T08:55:00\n"));
        assert!(undated.contains("created_at must be an instant with its offset"));
    }

    #[test]
    fn no_fault_repeats_a_value() {
        for text in [
            "[[clients]]\nid = \"hunter2\"\n",
            "[[clients]]\nid = hunter2\n",
            "clients = \"hunter2\"\n",
            "[[clients]]\nid = \"abcdefghijk0\"\nname = [\"hunter2\"]\n",
        ] {
            assert!(!fault(text).contains("hunter2"), "{}", fault(text));
        }
    }

    #[test]
    fn instants_are_read_as_text_too_and_may_be_absent() {
        let text = entry("abcdefghijk0", "created_at = \"2026-11-22T08:55:00Z\"\n");
        assert_eq!(Clients::parse(&text).unwrap().iter().next().unwrap().created_at(), Some(NOW));
        let text = entry("abcdefghijk0", "");
        assert_eq!(Clients::parse(&text).unwrap().iter().next().unwrap().created_at(), None);
        assert!(Clients::parse("# nobody\n").unwrap().is_empty());
    }
}
