//! The contents of a record. `docs/audit.md` is its schema; a test compares the two.

use std::sync::Arc;

use serde::Serialize;

use crate::{
    access::{Client, ClientId},
    clock::Timestamp,
    ivs::arn::{ChannelArn, PlaybackKeyArn, Region},
};

/// The kind of event that a record is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A mint decision.
    Mint,
    /// An authenticated request that was refused, other than a mint decision.
    Refusal,
    /// A viewer session that was to be revoked.
    Revocation,
    /// A change of key pairs or rotations.
    KeyChange,
    /// A change of clients.
    ClientChange,
}

/// The outcome of an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// A token was minted.
    Minted,
    /// A viewer's sessions were revoked.
    Revoked,
    /// Keys or clients were changed.
    Changed,
    /// The request was refused; `code` says why.
    Refused,
}

/// The cause of an event.
#[derive(Clone, Debug)]
pub enum Actor {
    /// A client of the HTTP API.
    Client {
        /// The client.
        client: Arc<Client>,
        /// Returns the `x-request-id` of the response.
        request_id: Arc<str>,
        /// The trace that the request belongs to.
        trace_id: Option<Arc<str>>,
    },
    /// A person at the command line.
    Operator {
        /// The user that the command runs as.
        user: String,
        /// The user who called `sudo`, as reported by `sudo`.
        sudo_user: Option<String>,
    },
    /// This process: a scheduled rotation or a repair.
    Service,
}

impl Actor {
    /// Returns the operator who runs this process; `sudo_user` comes from the environment.
    pub fn operator(sudo_user: Option<String>) -> Self {
        let uid = rustix::process::geteuid().as_raw();
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let name = users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let (name, id) = (fields.next()?, fields.nth(1)?);
            (id.parse() == Ok(uid)).then(|| name.to_owned())
        });
        Self::Operator { user: name.unwrap_or_else(|| format!("uid {uid}")), sudo_user }
    }
}

/// One event. Absent members are omitted from its line.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "docs/audit.md describes each member")]
pub struct Record<'a> {
    #[serde(skip)]
    pub ts: Timestamp,
    #[serde(skip)]
    pub actor: &'a Actor,
    pub event: &'static str,
    pub kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel_arn: Option<&'a ChannelArn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<&'a Region>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub viewer_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub viewer_session_version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denied_until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_pair_arn: Option<&'a PlaybackKeyArn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_fingerprint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject_id: Option<&'a ClientId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_seconds: Option<u64>,
    pub outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel_freshness: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
}

impl<'a> Record<'a> {
    /// Makes a record without details.
    pub fn new(
        ts: Timestamp,
        actor: &'a Actor,
        (kind, event): (Kind, &'static str),
        outcome: Outcome,
    ) -> Self {
        Self {
            ts,
            actor,
            event,
            kind,
            outcome,
            channel_arn: None,
            region: None,
            viewer_id: None,
            viewer_session_version: None,
            denied_until: None,
            token_id: None,
            key_pair_arn: None,
            key_fingerprint: None,
            rotation_id: None,
            mode: None,
            step: None,
            reason: None,
            subject_id: None,
            subject_name: None,
            method: None,
            route: None,
            ttl_seconds: None,
            code: None,
            channel_freshness: None,
            duration_ms: None,
        }
    }

    /// A change of key pairs or rotations.
    pub fn key_change(ts: Timestamp, actor: &'a Actor, event: &'static str) -> Self {
        Self::new(ts, actor, (Kind::KeyChange, event), Outcome::Changed)
    }

    /// Makes a record of a change of clients; `client` was created or revoked.
    pub fn client_change(
        ts: Timestamp,
        actor: &'a Actor,
        event: &'static str,
        client: &'a Client,
    ) -> Self {
        Self {
            subject_id: Some(client.id()),
            subject_name: Some(client.name()),
            ..Self::new(ts, actor, (Kind::ClientChange, event), Outcome::Changed)
        }
    }

    /// Returns the line of the record.
    pub(super) fn line(&self, process: &str, seq: u64) -> serde_json::Result<Vec<u8>> {
        let (mut client, mut operator, mut request, mut trace) = (None, None, None, None);
        let mut sudo = None;
        match self.actor {
            Actor::Client { client: caller, request_id, trace_id } => {
                client = Some(&**caller);
                request = Some(&**request_id);
                trace = trace_id.as_deref();
            }
            Actor::Operator { user, sudo_user } => {
                operator = Some(user.as_str());
                sudo = sudo_user.as_deref();
            }
            Actor::Service => {}
        }
        let mut line = serde_json::to_vec(&Line {
            ts: crate::telemetry::instant(self.ts),
            level: "info",
            process,
            seq,
            request_id: request,
            trace_id: trace,
            client_id: client.map(Client::id),
            client_name: client.map(Client::name),
            operator,
            sudo_user: sudo,
            record: self,
        })?;
        line.push(b'\n');
        Ok(line)
    }
}

/// A record as it is written.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    ts: String,
    level: &'static str,
    process: &'a str,
    seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a ClientId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    operator: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sudo_user: Option<&'a str>,
    #[serde(flatten)]
    record: &'a Record<'a>,
}
