//! `GET` on a playback URL: checks the player's token, and returns the multivariant playlist.
//!
//! A request that fails spends nothing. A single-use id is spent in the transaction that finds
//! everything else valid, so of two players with one token exactly one plays.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, Method, Uri, header},
    response::{IntoResponse, Response},
};

use super::{
    claims::Grant,
    origin::{OriginRule, Readers, RequestOrigin, country_of, preflight},
    playlist,
    refusal::{Denial, Reason},
    session::{Session, SessionId},
    token::Unverified,
};
use crate::{
    clock::Timestamp,
    emulator::{
        Shared,
        store::{
            View, collection,
            records::{Channel, LiveStream, PlaybackKeyPair, PlaybackRestrictionPolicy, in_region},
            streams, viewers,
        },
        urls,
    },
    ivs::arn::{ChannelArn, ResourceKind},
};

/// `HEAD` and `OPTIONS` are checked as `GET` is, but neither spend a single use nor open a session,
/// which could evict the session of a player.
pub(super) async fn get(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let path = uri.path().to_owned();
    let origin = RequestOrigin::of(&headers);
    let request = Request {
        origin: origin.clone(),
        country: country_of(&headers),
        plays: method == Method::GET,
        base_url: urls::base_url(shared.public_url.as_ref(), &uri, &headers),
        uri,
    };
    let slot = Arc::clone(&shared.verification_slots).acquire_owned().await;
    let handled = tokio::task::spawn_blocking(move || {
        let _slot = slot;
        request.handle(&shared)
    });
    let handled = handled.await.unwrap_or_else(|error| {
        tracing::error!(
            event = "emulator_failed",
            panicked = error.is_panic(),
            "a playback request failed"
        );
        Err(Denial::Failed)
    });
    let (mut response, readers) = match handled {
        Ok((playlist, readers)) => {
            let headers =
                [(header::CONTENT_TYPE, playlist::MEDIA_TYPE), (header::CACHE_CONTROL, "no-store")];
            ((headers, playlist).into_response(), readers)
        }
        // A player may show why it was refused, except on a page that the token excludes.
        Err(denial @ Denial::Refused(Reason::OriginNotAllowed)) => {
            (denial.response(&path), Readers::NoOne)
        }
        Err(denial) => (denial.response(&path), Readers::Anyone),
    };
    readers.add_headers(&origin, response.headers_mut());
    if method == Method::OPTIONS { preflight(&response) } else { response }
}

/// A request for a multivariant playlist. Not `Debug`, because the URI contains a token.
struct Request {
    uri: Uri,
    origin: RequestOrigin,
    country: Option<String>,
    /// Whether the player goes on to play.
    plays: bool,
    base_url: String,
}

impl Request {
    /// Returns the playlist, and which pages may read it.
    fn handle(&self, shared: &Shared) -> Result<(String, Readers), Denial> {
        let now = shared.clock.now();
        let (channel, grant, stream) = shared.store.read(|view| {
            let channel = self.channel(view)?;
            // A public channel ignores any token.
            let grant = if channel.authorized {
                self.token_grant(view, &channel.arn, now)?
            } else {
                self.policy_grant(view, &channel)?
            };
            let stream = admit(view, &channel.arn, &grant)?;
            Ok::<_, Denial>((channel, grant, stream))
        })?;
        let (maximum_resolution, readers) =
            (grant.maximum_resolution, grant.origin_rule.readers(&self.origin));
        let session = if self.plays {
            spend(shared, &channel.arn, &grant)?;
            let (channel, stream_id) = (channel.arn, stream.stream_id);
            shared.sessions.open(Session { channel, stream_id, grant })?
        } else {
            // Only the length of the playlist matters.
            SessionId::random()?
        };
        let playlist = playlist::multivariant(&self.base_url, session, maximum_resolution);
        Ok((playlist, readers))
    }

    fn channel(&self, view: &impl View) -> Result<Channel, Denial> {
        let unknown = || Denial::NotFound("there is no such channel");
        let arn = urls::channel_of_path(self.uri.path()).ok_or_else(unknown)?;
        let channel = collection::find(view, arn.as_str())?.ok_or_else(unknown)?;
        Ok(channel.record)
    }

    /// Returns what the token grants, after every check that needs only the token and the key pairs.
    fn token_grant(
        &self,
        view: &impl View,
        channel: &ChannelArn,
        now: Timestamp,
    ) -> Result<Grant, Denial> {
        let query = self.uri.query().unwrap_or_default();
        let mut tokens = url::form_urlencoded::parse(query.as_bytes())
            .filter_map(|(name, token)| (name == "token").then_some(token));
        let token = match (tokens.next(), tokens.next()) {
            (Some(_), Some(_)) => return Err(Reason::NotAJwt.into()),
            (Some(token), None) if !token.is_empty() => token,
            (_, _) => return Err(Reason::TokenMissing.into()),
        };
        let token = Unverified::parse(&token)?;
        let pairs = in_region(channel.region(), channel.account(), ResourceKind::PlaybackKey);
        let pairs = collection::all::<PlaybackKeyPair>(view, &pairs)?;
        let payload = token.verify(pairs.iter().map(|pair| pair.record.point.as_slice()))?;
        let grant = Grant::of_token(&payload, channel, now)?;
        grant.check_origin(&self.origin)?;
        Ok(grant)
    }

    /// Returns what a public channel grants, after the checks of its policy.
    fn policy_grant(&self, view: &impl View, channel: &Channel) -> Result<Grant, Denial> {
        let arn = &channel.playback_restriction_policy_arn;
        let Some(policy) = collection::find::<PlaybackRestrictionPolicy>(view, arn)? else {
            return Ok(Grant::default());
        };
        let origin_rule =
            OriginRule::of_policy(&policy.record, self.country.as_deref(), &self.origin)?;
        Ok(Grant { origin_rule, ..Grant::default() })
    }
}

/// Checks what may change while a token is valid: its session is not revoked, its single use is not
/// spent, and the channel is live. Returns the stream.
fn admit(view: &impl View, channel: &ChannelArn, grant: &Grant) -> Result<LiveStream, Denial> {
    if let Some(viewer) = &grant.viewer
        && viewers::is_revoked(view, channel, &viewer.id, viewer.session_version)?
    {
        return Err(Reason::SessionRevoked.into());
    }
    if let Some(id) = grant.single_use
        && viewers::is_spent(view, channel, id)?
    {
        return Err(Reason::SingleUseSpent.into());
    }
    streams::find_live(view, channel.as_str())?.ok_or(Denial::NotFound("the channel is not live"))
}

/// Spends a single use. Of several concurrent requests only the first succeeds.
fn spend(shared: &Shared, channel: &ChannelArn, grant: &Grant) -> Result<(), Denial> {
    let Some(id) = grant.single_use else { return Ok(()) };
    shared.store.write(|transaction| {
        admit(transaction, channel, grant)?;
        Ok(viewers::spend(transaction, channel, id, grant.expires_at)?)
    })
}
