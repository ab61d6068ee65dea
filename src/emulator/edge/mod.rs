//! The playback edge: what a player asks, and what it gets or is refused.
//!
//! `GET` on a playback URL gives the multivariant playlist of a live channel. A private channel
//! demands `?token=`, and every rule of IVS for that token is held here, in the order that
//! `docs/emulator.md` gives. [`token`] verifies the signature, [`claims`] what is signed,
//! [`origin`] who asks; this module knows the rest: the channel, its revocations, spent ids.
//!
//! What fails spends nothing: a single-use id is spent in the transaction that finds everything
//! else in order, so that of two players with one token exactly one plays.

mod claims;
mod origin;
mod playlist;
mod refusal;
mod token;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::Response,
    routing::{self, MethodFilter},
};

use self::{
    claims::Claims,
    origin::Asking,
    refusal::{Denial, Reason},
};
use super::{
    Shared, ids, live,
    store::{
        StoreError, View, collection,
        records::{Channel, PlaybackKeyPair, in_region},
        viewers,
    },
    urls,
};
use crate::{
    clock::Timestamp,
    ivs::arn::{ChannelArn, ResourceKind},
};

pub(super) fn router(shared: &Arc<Shared>) -> Router {
    let methods = MethodFilter::GET.or(MethodFilter::OPTIONS);
    Router::new()
        .route("/api/video/v1/{*channel}", routing::on(methods, multivariant))
        .route("/v1/playlist/{*session}", routing::on(methods, variant))
        .with_state(Arc::clone(shared))
}

/// `HEAD` and `OPTIONS` are judged as `GET` is, but play nothing and so spend nothing.
async fn multivariant(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let path = uri.path().to_owned();
    let request = Request {
        token: Token::of(&uri),
        asking: Asking::of(&headers),
        spends: method == Method::GET,
        base_url: urls::base_url(shared.public_url.as_ref(), &uri, &headers),
        uri,
    };
    let asked_by = request.asking.clone();
    let judged = tokio::task::spawn_blocking(move || request.answer(&shared)).await;
    let judged = judged.unwrap_or_else(|error| {
        tracing::error!(panicked = error.is_panic(), "a playback request was not answered");
        Err(Denial::Failed)
    });
    let (mut response, readable) = match judged {
        Ok(played) => (playlist_response(played.playlist), played.readable),
        Err(denial) => (denial.response(&path), denial.readable()),
    };
    readable.allow(&asked_by, response.headers_mut());
    if method == Method::OPTIONS { preflight(&response) } else { response }
}

/// Playlists of the renditions, which a session leads to. There is no media yet.
async fn variant(uri: Uri) -> Response {
    let mut response =
        Denial::NotFound("this version of the emulator serves no media yet").response(uri.path());
    let anyone = HeaderValue::from_static("*");
    response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, anyone);
    response
}

/// What a player asks. Not `Debug`, since it holds a token.
struct Request {
    uri: Uri,
    token: Token,
    asking: Asking,
    spends: bool,
    base_url: String,
}

/// What a player that may play gets.
#[derive(Debug)]
struct Played {
    playlist: String,
    readable: Readable,
}

impl Request {
    fn answer(&self, shared: &Shared) -> Result<Played, Denial> {
        let now = shared.clock.now();
        let (channel, claims) = shared.store.read(|view| {
            let channel = self.channel(view)?;
            // A channel that anyone may play has no use for a token.
            let claims =
                if channel.authorized { Some(self.claims(view, &channel.arn, now)?) } else { None };
            admit(view, &channel.arn, claims.as_ref())?;
            Ok::<_, Denial>((channel, claims))
        })?;
        if self.spends {
            spend(shared, &channel.arn, claims.as_ref())?;
        }
        let session = format!("{:032x}", ids::random_u128()?);
        let resolution = claims.as_ref().and_then(|claims| claims.maximum_resolution);
        let readable = match claims.and_then(|claims| claims.origins) {
            Some(origins) if !origins.allow_anyone() => Readable::Asking,
            _ => Readable::Anyone,
        };
        Ok(Played {
            playlist: playlist::multivariant(&self.base_url, &session, resolution),
            readable,
        })
    }

    fn channel(&self, view: &impl View) -> Result<Channel, Denial> {
        let unknown = || Denial::NotFound("there is no such channel");
        let arn = urls::channel_of_path(self.uri.path()).ok_or_else(unknown)?;
        let channel = collection::find(view, arn.as_str())?.ok_or_else(unknown)?;
        Ok(channel.record)
    }

    /// What the token grants, once all that can be told from it and the key pairs is in order.
    fn claims(
        &self,
        view: &impl View,
        channel: &ChannelArn,
        now: Timestamp,
    ) -> Result<Claims, Denial> {
        let token = match &self.token {
            Token::Absent => return Err(Reason::TokenMissing.into()),
            Token::Repeated => return Err(Reason::NotAJwt.into()),
            Token::One(token) => token::Unverified::parse(token)?,
        };
        let of = in_region(channel.region(), channel.account(), ResourceKind::PlaybackKey);
        let pairs = collection::all::<PlaybackKeyPair>(view, &of)?;
        let payload = token.verify(pairs.iter().map(|pair| pair.record.point.as_slice()))?;
        let claims = Claims::check(&payload, channel, now)?;
        claims.check_origin(&self.asking)?;
        Ok(claims)
    }
}

/// What may change while a token lives: its session is not revoked, its single use is left, and
/// the channel is live.
fn admit(view: &impl View, channel: &ChannelArn, claims: Option<&Claims>) -> Result<(), Denial> {
    if let Some(viewer) = claims.and_then(|claims| claims.viewer.as_ref()) {
        let revoked = viewers::revoked_version(view, channel, &viewer.id)?;
        if revoked.is_some_and(|revoked| viewer.session_version <= revoked) {
            return Err(Reason::SessionRevoked.into());
        }
    }
    if let Some(id) = claims.and_then(|claims| claims.single_use)
        && viewers::is_spent(view, channel, id)?
    {
        return Err(Reason::SingleUseSpent.into());
    }
    live::find(view, channel.as_str())?.map(drop).ok_or(Denial::NotFound("the channel is not live"))
}

/// Spends a single use, which only the first of several that ask at once can do.
fn spend(shared: &Shared, channel: &ChannelArn, claims: Option<&Claims>) -> Result<(), Denial> {
    let Some((claims, id)) = claims.and_then(|claims| Some((claims, claims.single_use?))) else {
        return Ok(());
    };
    shared.store.write(|transaction| {
        admit(transaction, channel, Some(claims))?;
        Ok(viewers::spend(transaction, channel, id, claims.expires_at)?)
    })
}

/// The `token` parameter of a URL.
enum Token {
    Absent,
    One(String),
    Repeated,
}

impl Token {
    fn of(uri: &Uri) -> Self {
        let query = uri.query().unwrap_or_default();
        let mut tokens = url::form_urlencoded::parse(query.as_bytes())
            .filter(|(name, _)| name == "token")
            .map(|(_, token)| token);
        match (tokens.next(), tokens.next()) {
            (Some(_), Some(_)) => Self::Repeated,
            (Some(token), None) if !token.is_empty() => Self::One(token.into_owned()),
            (_, _) => Self::Absent,
        }
    }
}

/// Which pages may read an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Readable {
    /// Any page.
    Anyone,
    /// Pages of the origin that asks, which the token allows.
    Asking,
    /// None.
    Nobody,
}

impl Readable {
    fn allow(self, asking: &Asking, headers: &mut HeaderMap) {
        let origin = match (self, asking) {
            (Self::Anyone, _) => Some(HeaderValue::from_static("*")),
            (Self::Asking, Asking::From(origin)) => HeaderValue::try_from(origin).ok(),
            (_, _) => None,
        };
        if let Some(origin) = origin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        }
        // Another origin may get another answer under the same URL.
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    }
}

impl From<StoreError> for Denial {
    fn from(error: StoreError) -> Self {
        tracing::error!(error = %error, "the emulator's store failed");
        Self::Failed
    }
}

fn playlist_response(playlist: String) -> Response {
    let mut response = Response::new(Body::from(playlist));
    let headers = response.headers_mut();
    let media_type = HeaderValue::from_static("application/vnd.apple.mpegurl");
    headers.insert(header::CONTENT_TYPE, media_type);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Whether a page may ask is whether it may read, so that a preflight says what an answer would.
fn preflight(answer: &Response) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    for name in [header::ACCESS_CONTROL_ALLOW_ORIGIN, header::VARY] {
        if let Some(value) = answer.headers().get(&name) {
            headers.insert(name, value.clone());
        }
    }
    let methods = HeaderValue::from_static("GET, HEAD, OPTIONS");
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}
