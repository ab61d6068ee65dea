//! `clients create|list|revoke`.

use clap::Subcommand;
use serde_json::json;

use super::{Failure, Global, output};
use tokio::runtime::Runtime;

use crate::{
    access::{
        Client, ClientId, Scope,
        audit::{AuditLog, Record},
        edit::{ClientsFile, NewClient},
    },
    clock::Clock,
    config::Config,
    secret::{ExposeSecret, system_rng},
    telemetry::Instruments,
};

#[derive(Debug, Subcommand)]
pub(super) enum ClientsCommand {
    /// Make a client and its credential, which is printed once
    #[command(after_help = "Examples:\n  ivs-playback-auth clients create backend --scope \
                            tokens:mint --write\n  ivs-playback-auth clients create ops --scope \
                            keys:read --scope keys:write --output json")]
    Create {
        /// A name for people
        name: String,
        /// A right of the client, may be repeated: tokens:mint, tokens:inspect, channels:read,
        /// keys:read, keys:write, viewers:revoke, metrics:read
        #[arg(long = "scope", value_name = "S", required = true)]
        scopes: Vec<Scope>,
        /// Add it to the clients file; the default where `access.clients` is configured
        #[arg(long)]
        write: bool,
    },
    /// List the clients of the clients file
    #[command(after_help = "Example:\n  ivs-playback-auth clients list")]
    List,
    /// Remove a client; a running service notices within `access.reload_every`
    #[command(after_help = "Example:\n  ivs-playback-auth clients revoke k3v9x0q2m7ab")]
    Revoke {
        /// The id, as `clients list` shows it: what stands after ipa_ in the credential
        id: ClientId,
    },
}

pub(super) fn run(global: &Global, command: ClientsCommand) -> Result<(), Failure> {
    let config = global.load_config()?;
    match command {
        ClientsCommand::Create { name, scopes, write } => {
            create(global, &config, &name, scopes, write)
        }
        ClientsCommand::List => list(global, &config),
        ClientsCommand::Revoke { id } => {
            let file = clients_file(&config)?;
            let audit = ClientsAudit::open(&config)?;
            let revoked = file.revoke(&id).map_err(Failure::failed)?;
            audit.record("client_revoked", &revoked)?;
            if global.json() {
                return output::json(&json!({ "id": id.as_str(), "revoked": true }));
            }
            output::line(&format!("Revoked {id} in {}.", file.path().display()))
        }
    }
}

fn create(
    global: &Global,
    config: &Config,
    name: &str,
    scopes: Vec<Scope>,
    write: bool,
) -> Result<(), Failure> {
    let write = write || (config.is_chosen("access.clients") && config.clients_inline.is_none());
    let new = NewClient::generate(name, scopes, Clock::system().now(), &mut system_rng())
        .map_err(|fault| Failure::Usage(fault.to_string()))?;
    // Written first: a credential that was shown must be one that works.
    let mut recorded = Ok(());
    let written = if write {
        let file = clients_file(config)?;
        let audit = ClientsAudit::open(config)?;
        file.add(&new.client).map_err(Failure::failed)?;
        recorded = audit.record("client_created", &new.client);
        Some(file)
    } else {
        None
    };
    // A failure to record must not hide the credential, which is shown this once.
    show(global, &new, written.as_ref())?;
    recorded
}

fn show(global: &Global, new: &NewClient, written: Option<&ClientsFile>) -> Result<(), Failure> {
    let credential = new.credential.reveal();
    let entry = new.client.to_toml();
    if global.json() {
        return output::json(&json!({
            "id": new.client.id().as_str(),
            "credential": credential.expose_secret(),
            "scopes": new.client.scopes(),
            "entry": entry,
        }));
    }
    output::line(&format!("id          {}", new.client.id()))?;
    output::line(&format!("credential  {}", credential.expose_secret()))?;
    output::line("")?;
    output::line(
        "The credential is shown this once. Send it as: Authorization: Bearer CREDENTIAL",
    )?;
    if let Some(file) = written {
        return output::line(&format!("The client was added to {}.", file.path().display()));
    }
    output::line(
        "Add this to the clients file (--write does it), or to IVS_PLAYBACK_AUTH_CLIENTS:",
    )?;
    output::line("")?;
    output::line(entry.trim_end())
}

fn list(global: &Global, config: &Config) -> Result<(), Failure> {
    let clients = match &config.clients_inline {
        Some(inline) => crate::access::Clients::parse(inline.expose_secret())
            .map_err(|error| Failure::Failed(format!("IVS_PLAYBACK_AUTH_CLIENTS: {error}")))?,
        None => clients_file(config)?.list().map_err(Failure::failed)?,
    };
    let scopes = |client: &Client| client.scopes().iter().map(Scope::to_string).collect::<Vec<_>>();
    if global.json() {
        let clients: Vec<_> = clients
            .iter()
            .map(|client| {
                json!({
                    "id": client.id().as_str(),
                    "name": client.name(),
                    "scopes": scopes(client),
                    "createdAt": client.created_at(),
                })
            })
            .collect();
        return output::json(&json!({ "clients": clients }));
    }
    let rows: Vec<_> = clients
        .iter()
        .map(|client| {
            vec![
                client.id().to_string(),
                client.name().to_owned(),
                client.created_at().map(|it| it.to_string()).unwrap_or_default(),
                scopes(client).join(" "),
            ]
        })
        .collect();
    output::table(&["ID", "NAME", "CREATED", "SCOPES"], &rows)
}

/// Where changes of the clients file are recorded.
struct ClientsAudit {
    log: AuditLog,
    runtime: Runtime,
}

impl ClientsAudit {
    fn open(config: &Config) -> Result<Self, Failure> {
        super::log_trouble(config)?;
        let instruments = Instruments::new(Clock::system());
        let audit = &config.audit;
        let log = AuditLog::for_command(audit.sink.clone(), audit.on_failure, true, &instruments)
            .map_err(Failure::failed)?;
        Ok(Self { log, runtime: super::small_runtime()? })
    }

    fn record(&self, event: &'static str, client: &Client) -> Result<(), Failure> {
        let operator = super::operator();
        let record = Record::client_change(Clock::system().now(), &operator, event, client);
        self.runtime
            .block_on(self.log.record(&record))
            .map_err(|error| Failure::Failed(format!("the clients file was changed, but {error}")))
    }
}

fn clients_file(config: &Config) -> Result<ClientsFile, Failure> {
    if config.clients_inline.is_some() {
        return Err(Failure::Usage(
            "the clients are in IVS_PLAYBACK_AUTH_CLIENTS; change that variable, or unset it to \
             use the clients file"
                .to_owned(),
        ));
    }
    Ok(ClientsFile::new(config.access.clients.clone()))
}
