//! The caller: who it is, and what it may do.
//!
//! A *client* is a caller; its *credential* is what it sends. [`Registry::authenticate`] identifies the
//! client by its credential, and [`Client::require`] checks its scope. The clients are listed in the clients
//! document ([`clients`]), read from a file that may change while the service runs ([`registry`]) and that
//! the CLI edits ([`edit`]). The audit log ([`audit`]) records who did what.

pub mod audit;
pub mod clients;
pub mod credential;
pub mod edit;
pub mod registry;
pub mod scopes;
mod settings;

pub use self::{
    clients::{Client, Clients},
    credential::{ClientId, Credential},
    edit::{ClientsFile, NewClient},
    registry::{ClientsSource, Registry},
    scopes::Scope,
    settings::{AuditFailure, AuditSettings, AuditSink, Settings, SharedSettings},
};

/// Why a caller is not known.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AuthError {
    /// No bearer credential was sent.
    #[error(
        "The request has no credential. Send \"Authorization: Bearer ipa_…\"; create a credential with \
         clients create."
    )]
    Missing,
    /// A credential was sent that is not valid. The message does not say what is wrong with it.
    #[error("The credential is not valid. Check it, or create a new one with clients create.")]
    Invalid,
}

/// The client does not have the scope that is needed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "The credential lacks the scope {scope}. Create one that has it with clients create --scope {scope}."
)]
pub struct Forbidden {
    /// The scope that is needed.
    pub scope: Scope,
}
