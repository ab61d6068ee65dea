//! The playback edge: what a player asks, and what it gets or is refused.
//!
//! `GET` on a playback URL gives the multivariant playlist of a live channel. A private channel
//! demands `?token=`, and every rule of IVS for that token is held here, in the order that
//! `docs/emulator.md` gives. [`token`] verifies the signature, [`claims`] what is signed,
//! [`origin`] who asks; this module knows the rest: the channel, its revocations, spent ids.
//!
//! What fails spends nothing: a single-use id is spent in the transaction that finds everything
//! else in order, so that of two players with one token exactly one plays.

mod boxes;
mod claims;
mod cors;
mod media;
mod origin;
mod playlist;
mod policy;
mod range;
mod refusal;
mod session;
mod stream;
mod timeline;
mod token;

use std::{num::NonZeroUsize, sync::Arc, thread};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, Method, Uri, header},
    response::Response,
    routing::{self, MethodFilter},
};
use tokio::sync::Semaphore;
use uuid::Uuid;

use self::{
    claims::{Claims, Resolution, Viewer},
    cors::{Readable, preflight},
    origin::{Asking, OriginRule},
    refusal::{Denial, Reason},
    session::{Session, SessionId},
};
pub(super) use self::{refusal::REASONS, session::Sessions};
use super::{
    Shared, live,
    store::{
        StoreError, View, collection,
        records::{Channel, LiveStream, PlaybackKeyPair, PlaybackRestrictionPolicy, in_region},
        viewers,
    },
    urls,
};
use crate::{
    clock::Timestamp,
    ivs::arn::{ChannelArn, ResourceKind},
};

/// The media type of playlists.
const PLAYLIST_TYPE: &str = "application/vnd.apple.mpegurl";

pub(super) fn router(shared: &Arc<Shared>) -> Router {
    let methods = MethodFilter::GET.or(MethodFilter::OPTIONS);
    Router::new()
        .route("/api/video/v1/{*channel}", routing::on(methods, multivariant))
        .route("/v1/playlist/{*session}", routing::on(methods, stream::get))
        .route("/v1/segment/{*session}", routing::on(methods, stream::get))
        .with_state(Arc::clone(shared))
}

/// How many players may have their tokens verified at a time: one a processor. Nothing else here takes
/// long, and many who start together must not slow down those that play already.
pub(super) fn turns() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(thread::available_parallelism().map_or(1, NonZeroUsize::get)))
}

/// `HEAD` and `OPTIONS` are judged as `GET` is, but play nothing: they neither spend a
/// single use nor begin a session, which could push out that of somebody who plays.
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
        country: policy::country_of(&headers),
        plays: method == Method::GET,
        base_url: urls::base_url(shared.public_url.as_ref(), &uri, &headers),
        uri,
    };
    let asked_by = request.asking.clone();
    let turn = Arc::clone(&shared.turns).acquire_owned().await;
    let judged = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        request.answer(&shared)
    });
    let judged = judged.await.unwrap_or_else(|error| {
        tracing::error!(
            event = "emulator_failed",
            panicked = error.is_panic(),
            "a playback request was not answered"
        );
        Err(Denial::Failed)
    });
    let (mut response, readable) = match judged {
        Ok(played) => (playlist_response(played.playlist), played.readable),
        Err(denial) => (denial.response(&path), denial.readable()),
    };
    readable.allow(&asked_by, response.headers_mut());
    if method == Method::OPTIONS { preflight(&response) } else { response }
}

/// What a player asks. Not `Debug`, since it holds a token.
struct Request {
    uri: Uri,
    token: Token,
    asking: Asking,
    country: Option<String>,
    /// Whether the player may go on to play: only then a single use is spent and a session begun.
    plays: bool,
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
        let (channel, grant, stream) = shared.store.read(|view| {
            let channel = self.channel(view)?;
            // A channel that anyone may play has no use for a token.
            let grant = if channel.authorized {
                Grant::of_token(self.claims(view, &channel.arn, now)?)
            } else {
                Grant { origin_rule: self.policy(view, &channel)?, ..Grant::default() }
            };
            let stream = grant.admit(view, &channel.arn)?;
            Ok::<_, Denial>((channel, grant, stream))
        })?;
        if self.plays {
            grant.spend(shared, &channel.arn)?;
        }
        let (maximum_resolution, readable) =
            (grant.maximum_resolution, grant.origin_rule.readable(&self.asking));
        let session = if self.plays {
            shared.sessions.begin(Session {
                channel: channel.arn,
                stream_id: stream.stream_id,
                viewer: grant.viewer,
                origin_rule: grant.origin_rule,
                maximum_resolution,
            })?
        } else {
            // Nobody sees more of it than its length.
            SessionId::random()?
        };
        let playlist = playlist::multivariant(&self.base_url, session, maximum_resolution);
        Ok(Played { playlist, readable })
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

    /// What the policy of a public channel demands, once that is met.
    fn policy(&self, view: &impl View, channel: &Channel) -> Result<OriginRule, Denial> {
        let arn = &channel.playback_restriction_policy_arn;
        let policy = collection::find::<PlaybackRestrictionPolicy>(view, arn)?;
        let Some(policy) = policy else { return Ok(OriginRule::default()) };
        Ok(policy::check(&policy.record, self.country.as_deref(), &self.asking)?)
    }
}

/// What a player is granted: by its token, or by a channel that needs none.
#[derive(Debug, Default)]
struct Grant {
    viewer: Option<Viewer>,
    origin_rule: OriginRule,
    maximum_resolution: Option<Resolution>,
    single_use: Option<SingleUse>,
}

#[derive(Clone, Copy, Debug)]
struct SingleUse {
    id: Uuid,
    /// `exp` of its token, in seconds since the Unix epoch.
    expires_at: i64,
}

impl Grant {
    fn of_token(claims: Claims) -> Self {
        let Claims { expires_at, viewer, single_use, maximum_resolution, origin_rule } = claims;
        let single_use = single_use.map(|id| SingleUse { id, expires_at });
        Self { viewer, origin_rule, maximum_resolution, single_use }
    }

    /// What may change while a token lives: its session is not revoked, its single use is left, and
    /// the channel is live. Answers the stream.
    fn admit(&self, view: &impl View, channel: &ChannelArn) -> Result<LiveStream, Denial> {
        if let Some(viewer) = &self.viewer
            && viewer.is_revoked(view, channel)?
        {
            return Err(Reason::SessionRevoked.into());
        }
        if let Some(SingleUse { id, .. }) = self.single_use
            && viewers::is_spent(view, channel, id)?
        {
            return Err(Reason::SingleUseSpent.into());
        }
        live::find(view, channel.as_str())?.ok_or(Denial::NotFound("the channel is not live"))
    }

    /// Spends a single use, which only the first of several that ask at once can do.
    fn spend(&self, shared: &Shared, channel: &ChannelArn) -> Result<(), Denial> {
        let Some(SingleUse { id, expires_at }) = self.single_use else { return Ok(()) };
        shared.store.write(|transaction| {
            self.admit(transaction, channel)?;
            Ok(viewers::spend(transaction, channel, id, expires_at)?)
        })
    }
}

impl Viewer {
    /// Whether the session that the token opens is revoked.
    fn is_revoked(&self, view: &impl View, channel: &ChannelArn) -> Result<bool, StoreError> {
        let revoked = viewers::revoked_version(view, channel, &self.id)?;
        Ok(revoked.is_some_and(|revoked| self.session_version <= revoked))
    }
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

impl From<StoreError> for Denial {
    fn from(error: StoreError) -> Self {
        tracing::error!(event = "emulator_failed", %error, "the emulator's store failed");
        Self::Failed
    }
}

fn playlist_response(playlist: String) -> Response {
    let mut response = Response::new(Body::from(playlist));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PLAYLIST_TYPE));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
