//! `clients create|list|revoke`.

use clap::Subcommand;
use serde_json::json;

use super::{Failure, Global, output};
use crate::{
    access::{
        Client, ClientId, Clients, Scope,
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
    /// Create a client and print its credential, which is shown only this once
    #[command(after_help = "Examples:\n  ivs-playback-auth clients create backend --scope \
                            tokens:mint --write\n  ivs-playback-auth clients create ops --scope \
                            keys:read --scope keys:write --output json")]
    Create {
        /// A name for people to recognise the client by
        name: String,
        /// A scope of the client; may be repeated: tokens:mint, tokens:inspect, channels:read,
        /// keys:read, keys:write, viewers:revoke, metrics:read
        #[arg(long = "scope", value_name = "S", required = true)]
        scopes: Vec<Scope>,
        /// Add the client to the clients file; the default if `access.clients` is configured
        #[arg(long)]
        write: bool,
    },
    /// List the clients in the clients file
    #[command(after_help = "Example:\n  ivs-playback-auth clients list")]
    List,
    /// Remove a client; a running service applies this within `access.reload_every`
    #[command(after_help = "Example:\n  ivs-playback-auth clients revoke k3v9x0q2m7ab")]
    Revoke {
        /// The id, as `clients list` shows it: the part of the credential after ipa_
        id: ClientId,
    },
}

pub(super) async fn run(global: &Global, command: ClientsCommand) -> Result<(), Failure> {
    let config = global.load_config()?;
    match command {
        ClientsCommand::Create { name, scopes, write } => {
            create(global, &config, &name, scopes, write).await
        }
        ClientsCommand::List => list(global, &config),
        ClientsCommand::Revoke { id } => {
            let file = clients_file(&config)?;
            let audit = open_audit(&config)?;
            let revoked = file.revoke(&id)?;
            record(&audit, "client_revoked", &revoked).await?;
            global.print(&json!({ "id": id.as_str(), "revoked": true }), || {
                format!("Revoked {id} in {}.", file.path().display())
            })
        }
    }
}

async fn create(
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
    let mut written = None;
    if write {
        let file = clients_file(config)?;
        let audit = open_audit(config)?;
        file.add(&new.client)?;
        recorded = record(&audit, "client_created", &new.client).await;
        written = Some(file);
    }
    // A failure to record must not hide the credential, which is shown only this once.
    show(global, &new, written.as_ref())?;
    recorded
}

fn show(global: &Global, new: &NewClient, written: Option<&ClientsFile>) -> Result<(), Failure> {
    let credential = new.credential.reveal();
    let (id, credential) = (new.client.id().to_string(), credential.expose_secret());
    let entry = new.client.to_toml();
    let scopes = new.client.scopes();
    let body = json!({ "id": id, "credential": credential, "scopes": scopes, "entry": entry });
    global.print(&body, || {
        let fields = [("id", id.clone()), ("credential", credential.to_owned())];
        let next = match written {
            Some(file) => format!("The client was added to {}.", file.path().display()),
            None => format!(
                "Add this to the clients file (--write does it), or to IVS_PLAYBACK_AUTH_CLIENTS:\n\n{}",
                entry.trim_end()
            ),
        };
        format!(
            "{}\n\nThe credential is shown only this once. Send it as: Authorization: Bearer \
             CREDENTIAL\n{next}",
            output::fields(&fields)
        )
    })
}

fn list(global: &Global, config: &Config) -> Result<(), Failure> {
    let clients = match &config.clients_inline {
        Some(inline) => Clients::parse(inline.expose_secret())
            .map_err(|error| Failure::Failed(format!("IVS_PLAYBACK_AUTH_CLIENTS: {error}")))?,
        None => clients_file(config)?.list()?,
    };
    let body = |client: &Client| {
        json!({
            "id": client.id().as_str(),
            "name": client.name(),
            "scopes": client.scopes(),
            "createdAt": client.created_at(),
        })
    };
    let bodies: Vec<_> = clients.iter().map(body).collect();
    global.print(&json!({ "clients": bodies }), || {
        let row = |client: &Client| {
            let scopes: Vec<_> = client.scopes().iter().map(Scope::to_string).collect();
            let created = client.created_at().map(|at| at.to_string()).unwrap_or_default();
            [client.id().to_string(), client.name().to_owned(), created, scopes.join(" ")]
        };
        let rows: Vec<_> = clients.iter().map(row).collect();
        output::table(["ID", "NAME", "CREATED", "SCOPES"], &rows)
    })
}

/// Opens the log where changes of the clients file are recorded.
fn open_audit(config: &Config) -> Result<AuditLog, Failure> {
    super::log_trouble(config)?;
    let instruments = Instruments::new(Clock::system());
    Ok(AuditLog::for_command(&config.audit, true, &instruments)?)
}

async fn record(audit: &AuditLog, event: &'static str, client: &Client) -> Result<(), Failure> {
    let operator = super::operator();
    let record = Record::client_change(Clock::system().now(), &operator, event, client);
    let recorded = audit.record(&record).await;
    recorded.map_err(|error| Failure::Failed(format!("the clients file was changed, but {error}")))
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
