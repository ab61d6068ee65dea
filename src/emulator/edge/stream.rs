//! What a session leads to: variant playlists and segments, without a token.
//!
//! Each request is judged again: its session must be under way, its viewer not revoked, and with
//! strict enforcement its origin allowed. Nothing is written, so that many players cost little.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::Response,
};

use super::{
    cors::{Readable, preflight},
    media::Rendition,
    origin::Asking,
    playlist, range,
    refusal::Reason,
    session::{Session, SessionId},
    timeline::Timeline,
};
use crate::emulator::{
    Shared,
    store::{StoreError, View, collection, metadata, records::StreamSession},
};

/// What a path under `/v1/` asks for.
#[derive(Debug, Eq, PartialEq)]
struct Address {
    session: SessionId,
    rendition: String,
    wanted: Wanted,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Wanted {
    Playlist,
    Initialization,
    Segment(u64),
}

/// Why there is nothing to play. The two texts that IVS is known to send are `Forbidden` and
/// `origin required`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Cut {
    /// The session is over: revoked, idle for too long, or of an earlier run. Or it never was.
    Over,
    /// The session is for smaller renditions.
    TooLarge,
    OriginMissing,
    OriginNotAllowed,
    NotFound,
    Failed,
}

/// What a player gets.
#[derive(Debug)]
struct Media {
    content_type: &'static str,
    content: Vec<u8>,
    /// A segment never changes; a playlist does all the time.
    cache_control: &'static str,
}

/// Answers a request for a variant playlist or a segment.
pub(super) async fn get(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let asking = Asking::of(&headers);
    let (asked_by, path) = (asking.clone(), uri.path().to_owned());
    let judged = tokio::task::spawn_blocking(move || judge(&shared, &path, &asked_by)).await;
    let (judged, readable) = judged.unwrap_or_else(|error| {
        tracing::error!(
            event = "emulator_failed",
            panicked = error.is_panic(),
            "a playback request was not answered"
        );
        (Err(Cut::Failed), Readable::Anyone)
    });
    let mut response = match judged {
        Ok(media) => media.response(&headers),
        Err(cut) => cut.response(),
    };
    readable.allow(&asking, response.headers_mut());
    if method == Method::OPTIONS { preflight(&response) } else { response }
}

/// What a request gets, and which pages may read it.
fn judge(shared: &Shared, path: &str, asking: &Asking) -> (Result<Media, Cut>, Readable) {
    let Some(address) = Address::parse(path) else { return (Err(Cut::NotFound), Readable::Anyone) };
    let Some(session) = shared.sessions.find(address.session) else {
        return (Err(Cut::Over), Readable::Anyone);
    };
    let media = address.media(shared, &session, asking);
    let readable = match &media {
        Ok(_) => session.origin_rule.readable(asking),
        Err(Cut::OriginNotAllowed) => Readable::Nobody,
        Err(_) => Readable::Anyone,
    };
    (media, readable)
}

impl Address {
    /// Reads a path as the playlists write it; nothing like it is taken, encoded or not.
    fn parse(path: &str) -> Option<Self> {
        let (kind, rest) = path.strip_prefix("/v1/")?.split_once('/')?;
        let mut parts = rest.split('/');
        let session = SessionId::parse(parts.next()?)?;
        let (rendition, wanted) = match kind {
            "playlist" => (parts.next()?.strip_suffix(".m3u8")?, Wanted::Playlist),
            "segment" => {
                let rendition = parts.next()?;
                let wanted = match parts.next()? {
                    "init.mp4" => Wanted::Initialization,
                    file => Wanted::Segment(number(file.strip_suffix(".m4s")?)?),
                };
                (rendition, wanted)
            }
            _ => return None,
        };
        let is_whole = parts.next().is_none();
        is_whole.then(|| Self { session, rendition: rendition.to_owned(), wanted })
    }

    fn media(&self, shared: &Shared, session: &Session, asking: &Asking) -> Result<Media, Cut> {
        if session.origin_rule.strict {
            session.origin_rule.check(asking)?;
        }
        let rendition = session.rendition(&self.rendition).ok_or_else(|| self.no_rendition())?;
        let now = shared.clock.now();
        let content = shared.store.read(|view| {
            if is_revoked(view, session)? {
                shared.sessions.end(self.session);
                return Err(Cut::Over);
            }
            let timeline = timeline(view, session)?.ok_or(Cut::NotFound)?;
            Ok(match self.wanted {
                Wanted::Playlist => {
                    let channel = session.channel.as_str();
                    let metadata = metadata::within(view, channel, &timeline.shown(now))?;
                    let playlist =
                        playlist::variant(self.session, rendition, timeline, &metadata, now);
                    Some(playlist.into_bytes())
                }
                Wanted::Segment(number) if !timeline.serves(number, now) => {
                    return Err(Cut::NotFound);
                }
                Wanted::Segment(_) | Wanted::Initialization => None,
            })
        })?;
        Ok(match content {
            Some(content) => {
                Media { content_type: super::PLAYLIST_TYPE, content, cache_control: "no-store" }
            }
            None => Media {
                content_type: "video/mp4",
                content: self.piece(rendition),
                cache_control: "private, max-age=60",
            },
        })
    }

    fn piece(&self, rendition: &Rendition) -> Vec<u8> {
        match self.wanted {
            Wanted::Segment(number) => rendition.segment(number),
            Wanted::Initialization | Wanted::Playlist => rendition.initialization().to_vec(),
        }
    }

    /// Why the session has no such rendition.
    fn no_rendition(&self) -> Cut {
        let exists = super::media::renditions(None).any(|it| it.name == self.rendition);
        if exists { Cut::TooLarge } else { Cut::NotFound }
    }
}

/// A decimal number in the one way in which it is written.
fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

fn is_revoked(view: &impl View, session: &Session) -> Result<bool, StoreError> {
    let Some(viewer) = &session.viewer else { return Ok(false) };
    viewer.is_revoked(view, &session.channel)
}

/// When the session's stream began and ended; `None` where its channel is deleted.
fn timeline(view: &impl View, session: &Session) -> Result<Option<Timeline>, StoreError> {
    let name = StreamSession::name_of(session.channel.as_str(), &session.stream_id);
    let stream = collection::find::<StreamSession>(view, &name)?.map(|entry| entry.record);
    Ok(stream.map(|stream| Timeline { start: stream.start_time, end: stream.end_time }))
}

impl Media {
    fn response(self, headers: &HeaderMap) -> Response {
        let mut response = range::response(self.content.into(), headers);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(self.cache_control));
        response
    }
}

impl Cut {
    fn response(self) -> Response {
        let (status, text) = match self {
            Self::Over | Self::TooLarge => (StatusCode::FORBIDDEN, "Forbidden"),
            Self::OriginMissing => (StatusCode::FORBIDDEN, "origin required"),
            Self::OriginNotAllowed => (StatusCode::FORBIDDEN, "origin not allowed"),
            Self::NotFound => (StatusCode::NOT_FOUND, "Not Found"),
            Self::Failed => (StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"),
        };
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, plain);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

impl From<Reason> for Cut {
    fn from(reason: Reason) -> Self {
        if reason == Reason::OriginMissing { Self::OriginMissing } else { Self::OriginNotAllowed }
    }
}

impl From<StoreError> for Cut {
    fn from(error: StoreError) -> Self {
        tracing::error!(event = "emulator_failed", %error, "the emulator's store failed");
        Self::Failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: &str = "000000000000000000000000000000ab";

    fn parse(path: &str) -> Option<(String, Wanted)> {
        let address = Address::parse(&path.replace("SESSION", SESSION))?;
        assert_eq!(address.session.to_string(), SESSION);
        Some((address.rendition, address.wanted))
    }

    #[test]
    fn paths_are_those_that_playlists_name() {
        let of = |wanted| Some(("720p".to_owned(), wanted));
        assert_eq!(parse("/v1/playlist/SESSION/720p.m3u8"), of(Wanted::Playlist));
        assert_eq!(parse("/v1/segment/SESSION/720p/init.mp4"), of(Wanted::Initialization));
        assert_eq!(parse("/v1/segment/SESSION/720p/0.m4s"), of(Wanted::Segment(0)));
        let last = format!("/v1/segment/SESSION/720p/{}.m4s", u64::MAX);
        assert_eq!(parse(&last), of(Wanted::Segment(u64::MAX)));
    }

    #[test]
    fn tricks_with_paths_lead_nowhere() {
        for path in [
            "/v1/playlist/SESSION",
            "/v1/playlist/SESSION/720p",
            "/v1/playlist/SESSION/720p.m3u8/",
            "/v1/playlist/SESSION//720p.m3u8",
            "/v1/playlist//SESSION/720p.m3u8",
            "/v1/playlist/../segment/SESSION/720p/0.m4s",
            "/v1/segment/SESSION/720p",
            "/v1/segment/SESSION/720p/",
            "/v1/segment/SESSION/720p/0",
            "/v1/segment/SESSION/720p/0.ts",
            "/v1/segment/SESSION/720p/-1.m4s",
            "/v1/segment/SESSION/720p/+1.m4s",
            "/v1/segment/SESSION/720p/01.m4s",
            "/v1/segment/SESSION/720p/1e3.m4s",
            "/v1/segment/SESSION/720p/18446744073709551616.m4s",
            "/v1/segment/SESSION/720p/init.mp4/x",
            "/v1/segment/SESSION/..%2F720p.m3u8/0.m4s/x",
            "/v1/segment/SESSION%2F720p/0.m4s",
            "/v1/key/SESSION/720p/0.m4s",
            "/v2/segment/SESSION/720p/0.m4s",
        ] {
            assert_eq!(parse(path), None, "{path}");
        }
    }
}
