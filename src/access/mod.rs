//! Who calls, and what they may do.
//!
//! A *client* is a caller; its *credential* is what it sends. [`authenticate`] knows the client from
//! the headers alone, before a byte of the body is read, and [`Client::require`] checks its scope.
//! Which clients there are stands in the clients document ([`clients`]), read from a file that may
//! change while the service runs ([`registry`]) and that the CLI edits ([`edit`]). The audit
//! log ([`audit`]) records who did what.

pub mod audit;
pub mod clients;
pub mod credential;
pub mod edit;
pub mod registry;
pub mod scopes;

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

pub use self::{
    clients::{Client, Clients},
    credential::{ClientId, Credential},
    edit::{ClientsFile, NewClient},
    registry::{ClientsSource, Registry},
    scopes::Scope,
};

/// Why a caller is not known.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AuthError {
    /// No bearer credential was sent.
    #[error("No credential. Send \"Authorization: Bearer ipa_…\"; make one with clients create.")]
    Missing,
    /// A credential was sent that is not valid. What is wrong with it is not told.
    #[error("The credential is not valid. Check it, or make a new one with clients create.")]
    Invalid,
}

/// The client has not the scope that is needed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "The credential lacks the scope {scope}. Make one that has it with clients create --scope {scope}."
)]
pub struct Forbidden {
    /// The scope that is needed.
    pub scope: Scope,
}

/// The client that the headers name.
///
/// # Errors
///
/// - [`AuthError::Missing`]: no `Authorization`
/// - [`AuthError::Invalid`]: more than one, one of another scheme than `Bearer`, or a credential
///   that is not valid
pub fn authenticate(headers: &HeaderMap, registry: &Registry) -> Result<Arc<Client>, AuthError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(AuthError::Missing)?;
    if values.next().is_some() {
        // Which one a proxy in between has looked at cannot be known.
        return Err(AuthError::Invalid);
    }
    let token = bearer_token(value)?;
    let credential = Credential::parse(token).map_err(|_| AuthError::Invalid)?;
    registry.clients().authenticate(&credential).ok_or(AuthError::Invalid)
}

/// What follows `Bearer` (RFC 6750; schemes have no case, RFC 9110 section 11.1).
fn bearer_token(value: &HeaderValue) -> Result<&str, AuthError> {
    let value = value.to_str().map_err(|_| AuthError::Invalid)?;
    let (scheme, token) = value.split_once(' ').ok_or(AuthError::Invalid)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(token.trim_matches(' '))
    } else {
        Err(AuthError::Invalid)
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};
    use secrecy::ExposeSecret;

    use super::*;
    use crate::clock::Timestamp;

    /// A registry with one client, and its credential.
    fn registry() -> (Registry, String) {
        let mut rng = StdRng::seed_from_u64(1);
        let now = Timestamp::from_unix_seconds(0);
        let new = NewClient::generate("web", [Scope::TokensMint], now, &mut rng).unwrap();
        let source = ClientsSource::Inline(new.client.to_toml().into());
        (Registry::load(source).unwrap(), new.credential.reveal().expose_secret().to_owned())
    }

    fn authenticate_values(
        values: &[&[u8]],
        registry: &Registry,
    ) -> Result<Arc<Client>, AuthError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        authenticate(&headers, registry)
    }

    #[test]
    fn a_credential_lets_its_client_in_whatever_the_case_of_the_scheme() {
        let (registry, credential) = registry();
        for scheme in ["Bearer ", "bearer ", "BEARER  "] {
            let value = format!("{scheme}{credential}");
            let client = authenticate_values(&[value.as_bytes()], &registry).unwrap();
            assert_eq!(client.name(), "web");
        }
    }

    #[test]
    fn a_missing_credential_is_told_apart_from_a_wrong_one() {
        let (registry, credential) = registry();
        let refusal = |values: &[&[u8]]| authenticate_values(values, &registry).unwrap_err();
        let bearer = format!("Bearer {credential}");
        let wrong = format!("Bearer {}A", &credential[..credential.len() - 1]);
        assert_eq!(refusal(&[]), AuthError::Missing);
        assert_eq!(refusal(&[b"Basic dXNlcjpwYXNz"]), AuthError::Invalid);
        assert_eq!(refusal(&[credential.as_bytes()]), AuthError::Invalid);
        assert_eq!(refusal(&[b"Bearer "]), AuthError::Invalid);
        assert_eq!(refusal(&[b"Bearer \xff"]), AuthError::Invalid);
        assert_eq!(refusal(&[wrong.as_bytes()]), AuthError::Invalid);
        assert_eq!(refusal(&[bearer.as_bytes(), bearer.as_bytes()]), AuthError::Invalid);
        assert_eq!(refusal(&[bearer.as_bytes(), b"Basic x"]), AuthError::Invalid);
    }

    #[test]
    fn no_refusal_repeats_the_credential() {
        let (registry, credential) = registry();
        let wrong = format!("Bearer {}A", &credential[..credential.len() - 1]);
        let error = authenticate_values(&[wrong.as_bytes()], &registry).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(&credential[..16]), "{error}");
    }
}
