//! Extractors whose rejections are problems. `clippy.toml` bans those of axum, because
//! their rejections are plain text.
//!
//! The parts of a request are checked in the order in which a handler names them: first [`Caller`], from
//! the headers alone, and the body last, so that no byte of it is read for an unknown caller.

use std::{marker::PhantomData, ops::Deref, sync::Arc, time::Duration};

use axum::{
    body::{self, HttpBody},
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderMap, HeaderValue, Uri, header, request::Parts},
    response::{IntoResponse, Response},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::{
    Api,
    problem::{ApiError, ProblemType},
    request::RequestFacts,
};
use crate::{
    access::{AuthError, Client, Registry, Scope, audit::Actor},
    api::json::{Fault, Json},
    tokens::grant::Violation,
};

/// A scope as a type, so that a handler's signature says what it requires.
pub trait RequiredScope {
    /// The scope.
    const SCOPE: Scope;
}

macro_rules! scopes {
    ($($name:ident),+) => {$(
        /// Requires the scope of the same name.
        #[derive(Debug)]
        pub struct $name;

        impl RequiredScope for $name {
            const SCOPE: Scope = Scope::$name;
        }
    )+};
}

scopes!(TokensMint, TokensInspect, ChannelsRead, KeysRead, KeysWrite, ViewersRevoke, MetricsRead);

/// The authenticated client, which holds the scope `S`.
#[derive(Debug)]
pub struct Caller<S> {
    client: Arc<Client>,
    facts: RequestFacts,
    scope: PhantomData<S>,
}

impl<S> Caller<S> {
    /// Returns the client as the sender of its request, for the audit.
    pub(super) fn actor(&self) -> Actor {
        self.facts.sent_by(&self.client)
    }

    /// Returns what is known about the request.
    pub(super) fn facts(&self) -> &RequestFacts {
        &self.facts
    }
}

impl<S> Deref for Caller<S> {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl<S: RequiredScope> FromRequestParts<Api> for Caller<S> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Response> {
        let facts = RequestFacts::from_request_parts(parts, api).await;
        let facts = facts.map_err(IntoResponse::into_response)?;
        let client = authenticate(&parts.headers, &api.registry).map_err(challenge)?;
        facts.set_client(&client);
        client.require(S::SCOPE).map_err(|error| {
            ApiError::new(ProblemType::Forbidden, error.to_string()).into_response()
        })?;
        Ok(Self { client, facts, scope: PhantomData })
    }
}

/// Returns whether the headers identify a client that holds `scope`, where anyone may call and some see more.
pub(super) fn may_also(headers: &HeaderMap, api: &Api, scope: Scope) -> bool {
    authenticate(headers, &api.registry).is_ok_and(|client| client.require(scope).is_ok())
}

/// Returns the client that the headers identify.
fn authenticate(headers: &HeaderMap, registry: &Registry) -> Result<Arc<Client>, AuthError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or(AuthError::Missing)?;
    // With several headers, a proxy in between may have checked another one.
    if values.next().is_some() {
        return Err(AuthError::Invalid);
    }
    let (scheme, credential) =
        value.to_str().ok().and_then(|value| value.split_once(' ')).ok_or(AuthError::Invalid)?;
    // Schemes have no case (RFC 9110, section 11.1).
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(AuthError::Invalid);
    }
    registry.authenticate(credential.trim_matches(' '))
}

/// Refuses a caller that is not known. Without a credential the challenge stands alone (RFC 6750, section 3);
/// with one it does not say what is wrong.
fn challenge(error: AuthError) -> Response {
    let challenge = match error {
        AuthError::Missing => "Bearer",
        AuthError::Invalid => "Bearer error=\"invalid_token\"",
    };
    let mut response =
        ApiError::new(ProblemType::Unauthenticated, error.to_string()).into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    response
}

/// A body that has the shape of `T`.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Api> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Self, ApiError> {
        let Shape(read) = Shape::from_request(request, api).await?;
        read.map(Self).map_err(|fault| ApiError::invalid(vec![fault.into()]))
    }
}

/// A JSON object that may not have the shape of `T`, for a handler that records such a request, too.
#[derive(Debug)]
pub struct Shape<T>(pub Result<T, Fault>);

impl<T: DeserializeOwned> FromRequest<Api> for Shape<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, api: &Api) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            return Err(ApiError::new(
                ProblemType::UnsupportedMediaType,
                "Send the body as JSON, with content-type: application/json.",
            ));
        }
        let query = QueryParameters::of(request.uri());
        // The rest of the request's time is for its handler.
        let deadline = api.limits.request_timeout.mul_f64(0.9);
        let body = read_body(request.into_body(), api.limits.max_body);
        let body = tokio::time::timeout(deadline, body).await.map_err(|_| too_slow(deadline))??;
        let json = Json::parse_object(&body).map_err(|error| {
            ApiError::new(ProblemType::InvalidJson, format!("The body {error}."))
        })?;
        // A `?mode=emergency` that was ignored would do harm.
        query.finish()?;
        Ok(Self(json.read()))
    }
}

fn too_slow(deadline: Duration) -> ApiError {
    let seconds = deadline.as_secs_f64();
    ApiError::new(
        ProblemType::RequestTimeout,
        format!(
            "The body did not arrive within {seconds} s, nine tenths of server.request_timeout."
        ),
    )
}

/// Returns whether the body is `application/json` or a type with the suffix `+json`; parameters do not matter.
fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    let essence = essence.trim().to_ascii_lowercase();
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

async fn read_body(body: body::Body, max_body: usize) -> Result<bytes::Bytes, ApiError> {
    let too_large = || {
        ApiError::new(
            ProblemType::BodyTooLarge,
            format!("The body is larger than {max_body} bytes, the limit of server.max_body."),
        )
    };
    // The declared length is enough: a client that waits for `100 Continue` has sent nothing.
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if declared > max_body {
        return Err(too_large());
    }
    match Limited::new(body, max_body).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(_) => Err(ApiError::new(
            ProblemType::InvalidJson,
            "The body was interrupted before its end; send it again.",
        )),
    }
}

/// The only parameter of the path, percent-decoded.
#[derive(Debug)]
pub struct PathText(pub String);

impl<S: Send + Sync> FromRequestParts<S> for PathText {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        #[expect(clippy::disallowed_types, reason = "this is the extractor that replaces it")]
        type Decoded = axum::extract::Path<String>;
        let text = Decoded::from_request_parts(parts, state).await.map_err(|_| {
            ApiError::new(ProblemType::NotFound, "The path is not percent-encoded UTF-8.")
        })?;
        Ok(Self(text.0))
    }
}

/// The parameters of the query, each at most once.
#[derive(Debug)]
pub struct QueryParameters {
    parameters: Vec<(String, String)>,
    violations: Vec<Violation>,
}

impl QueryParameters {
    fn of(uri: &Uri) -> Self {
        let query = uri.query().unwrap_or_default();
        let parameters = url::form_urlencoded::parse(query.as_bytes())
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        Self { parameters, violations: Vec::new() }
    }

    /// Returns the value of a parameter.
    pub fn text(&mut self, name: &str) -> Option<String> {
        let mut found = None;
        let mut twice = false;
        self.parameters.retain_mut(|(key, value)| {
            if key != name {
                return true;
            }
            twice |= found.replace(std::mem::take(value)).is_some();
            false
        });
        if twice {
            self.violate(name, format!("{name} is given twice."));
        }
        found
    }

    /// Returns whether a parameter is `true`; absent means `false`.
    pub fn flag(&mut self, name: &str) -> bool {
        match self.text(name).as_deref() {
            Some("true") => true,
            None | Some("false") => false,
            Some(_) => {
                self.violate(name, format!("{name} must be true or false."));
                false
            }
        }
    }

    /// Adds a broken rule.
    pub fn violate(&mut self, name: &str, detail: impl Into<String>) {
        self.violations.push(Violation { pointer: format!("?{name}"), detail: detail.into() });
    }

    /// Refuses a query that breaks a rule or has an unknown parameter.
    pub fn finish(mut self) -> Result<(), ApiError> {
        for (name, _) in std::mem::take(&mut self.parameters) {
            let short: String = name.chars().take(64).collect();
            self.violate(&short, "This parameter is unknown; see /openapi.json.");
        }
        if self.violations.is_empty() { Ok(()) } else { Err(ApiError::invalid(self.violations)) }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for QueryParameters {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self::of(&parts.uri))
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};
    use secrecy::ExposeSecret;

    use super::*;
    use crate::{
        access::{ClientsSource, NewClient},
        clock::Timestamp,
    };

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
            headers.append(header::AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        authenticate(&headers, registry)
    }

    #[test]
    fn credential_is_accepted_whatever_the_case_of_the_scheme() {
        let (registry, credential) = registry();
        for scheme in ["Bearer ", "bearer ", "BEARER  "] {
            let value = format!("{scheme}{credential}");
            let client = authenticate_values(&[value.as_bytes()], &registry).unwrap();
            assert_eq!(client.name(), "web");
        }
    }

    #[test]
    fn missing_credential_differs_from_an_invalid_one() {
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
        let error = refusal(&[wrong.as_bytes()]);
        assert!(!format!("{error} {error:?}").contains(&credential[..16]), "{error}");
    }

    fn content_type(value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
        is_json(&headers)
    }

    #[test]
    fn json_is_known_by_its_essence() {
        assert!(content_type("application/json"));
        assert!(content_type("Application/JSON; charset=utf-8"));
        assert!(content_type("application/merge-patch+json"));
        assert!(!content_type("text/json"));
        assert!(!content_type("application/x-www-form-urlencoded"));
        assert!(!content_type("application/jsonp"));
        assert!(!is_json(&HeaderMap::new()));
    }

    #[tokio::test]
    async fn a_query_reports_unknown_and_repeated_parameters() {
        let request =
            Request::builder().uri("/?refresh=yes&region=a&region=b&x=1").body(()).unwrap();
        let (mut parts, ()) = request.into_parts();
        let Ok(mut query) = QueryParameters::from_request_parts(&mut parts, &()).await;
        query.text("region");
        query.flag("refresh");
        let problem = query.finish().unwrap_err().to_problem(None, false);
        let pointers: Vec<_> = problem.errors.iter().map(|it| it.pointer.as_str()).collect();
        assert_eq!(pointers, ["?region", "?refresh", "?x"]);
    }
}
