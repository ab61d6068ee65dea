//! Variant playlists and segments, which a session serves without a token.
//!
//! Each request is checked again: its session must be open, its viewer not revoked, and with strict
//! enforcement its origin allowed. Nothing is written, so many players cost little.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};

use super::{
    media::renditions,
    origin::{Readers, RequestOrigin, preflight},
    playlist::{self, Timeline},
    refusal::Reason,
    session::{Session, SessionId},
};
use crate::emulator::{
    Shared,
    store::{StoreError, View, collection, records::StreamSession, streams, viewers},
};

/// What a path under `/v1/` names.
#[derive(Debug, Eq, PartialEq)]
struct Address {
    session: SessionId,
    rendition: String,
    file: File,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum File {
    Playlist,
    Initialization,
    Segment(u64),
}

/// Why a request is refused. IVS is known to send two texts: `Forbidden` and `origin required`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Refusal {
    /// The session is revoked, idle for too long, of an earlier run, or never existed.
    SessionEnded,
    /// The grant is for smaller renditions.
    RenditionTooLarge,
    OriginMissing,
    OriginNotAllowed,
    NotFound,
    Failed,
}

/// Serves a variant playlist or a segment.
pub(super) async fn get(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let origin = RequestOrigin::of(&headers);
    let (request_origin, path) = (origin.clone(), uri.path().to_owned());
    let handled =
        tokio::task::spawn_blocking(move || handle(&shared, &path, &request_origin)).await;
    let (handled, readers) = handled.unwrap_or_else(|error| {
        tracing::error!(
            event = "emulator_failed",
            panicked = error.is_panic(),
            "a playback request failed"
        );
        (Err(Refusal::Failed), Readers::Anyone)
    });
    let mut response = match handled {
        Ok(content) => content.response(&headers),
        Err(refusal) => refusal.into_response(),
    };
    readers.add_headers(&origin, response.headers_mut());
    if method == Method::OPTIONS { preflight(&response) } else { response }
}

/// Returns the content, and which pages may read the response.
fn handle(
    shared: &Shared,
    path: &str,
    origin: &RequestOrigin,
) -> (Result<Content, Refusal>, Readers) {
    let Some(address) = Address::parse(path) else {
        return (Err(Refusal::NotFound), Readers::Anyone);
    };
    let Some(session) = shared.sessions.find(address.session) else {
        return (Err(Refusal::SessionEnded), Readers::Anyone);
    };
    let content = address.content(shared, &session, origin);
    let readers = match &content {
        Ok(_) => session.grant.origin_rule.readers(origin),
        Err(Refusal::OriginNotAllowed) => Readers::NoOne,
        Err(_) => Readers::Anyone,
    };
    (content, readers)
}

impl Address {
    /// Parses a path exactly as the playlists write it.
    fn parse(path: &str) -> Option<Self> {
        let (kind, rest) = path.strip_prefix("/v1/")?.split_once('/')?;
        let mut parts = rest.split('/');
        let session = SessionId::parse(parts.next()?)?;
        let (rendition, file) = match kind {
            "playlist" => (parts.next()?.strip_suffix(".m3u8")?, File::Playlist),
            "segment" => {
                let rendition = parts.next()?;
                let file = match parts.next()? {
                    "init.mp4" => File::Initialization,
                    name => File::Segment(canonical_number(name.strip_suffix(".m4s")?)?),
                };
                (rendition, file)
            }
            _ => return None,
        };
        let is_whole = parts.next().is_none();
        is_whole.then(|| Self { session, rendition: rendition.to_owned(), file })
    }

    fn content(
        &self,
        shared: &Shared,
        session: &Session,
        origin: &RequestOrigin,
    ) -> Result<Content, Refusal> {
        let Session { channel, grant, .. } = session;
        if grant.origin_rule.strict {
            grant.origin_rule.check(origin)?;
        }
        let named =
            |maximum| renditions(maximum).find(|rendition| rendition.name == self.rendition);
        let rendition = named(grant.maximum_resolution).ok_or_else(|| match named(None) {
            Some(_) => Refusal::RenditionTooLarge,
            None => Refusal::NotFound,
        })?;
        let now = shared.clock.now();
        shared.store.read(|view| {
            if let Some(viewer) = &grant.viewer
                && viewers::is_revoked(view, channel, &viewer.id, viewer.session_version)?
            {
                shared.sessions.end(self.session);
                return Err(Refusal::SessionEnded);
            }
            let timeline = timeline(view, session)?.ok_or(Refusal::NotFound)?;
            Ok(match self.file {
                File::Playlist => {
                    let period = timeline.metadata_period(now);
                    let metadata = streams::metadata_within(view, channel.as_str(), &period)?;
                    let playlist =
                        playlist::variant(self.session, rendition, timeline, &metadata, now);
                    Content::Playlist(playlist)
                }
                File::Initialization => Content::Media(rendition.initialization().into()),
                File::Segment(number) if timeline.serves(number, now) => {
                    Content::Media(rendition.segment(number).into())
                }
                File::Segment(_) => return Err(Refusal::NotFound),
            })
        })
    }
}

/// Parses a decimal number without signs or leading zeros.
fn canonical_number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| number.to_string() == text)
}

/// Returns when the session's stream began and ended; `None` if its channel was deleted.
fn timeline(view: &impl View, session: &Session) -> Result<Option<Timeline>, StoreError> {
    let name = StreamSession::name_of(session.channel.as_str(), &session.stream_id);
    let stream = collection::find::<StreamSession>(view, &name)?.map(|entry| entry.record);
    Ok(stream.map(|stream| Timeline { start: stream.start_time, end: stream.end_time }))
}

/// The content of a response.
enum Content {
    Playlist(String),
    Media(Bytes),
}

impl Content {
    fn response(self, headers: &HeaderMap) -> Response {
        let (content, content_type, cache_control) = match self {
            Self::Playlist(text) => (text.into(), playlist::MEDIA_TYPE, "no-store"),
            // A segment never changes.
            Self::Media(bytes) => (bytes, "video/mp4", "private, max-age=60"),
        };
        let types = [(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, cache_control)];
        (types, range_response(content, headers)).into_response()
    }
}

/// Returns `content`, or the one range of it that `Range` requests (RFC 9110, section 14). Several
/// ranges or a malformed header get all of it, as the RFC permits.
fn range_response(content: Bytes, headers: &HeaderMap) -> Response {
    let length = content.len() as u64;
    let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok());
    let ranges = range.and_then(|range| http_range_header::parse_range_header(range).ok());
    let (status, content, range) = match ranges.map(|ranges| ranges.validate(length)) {
        None => (StatusCode::OK, content, None),
        Some(Err(_)) => {
            (StatusCode::RANGE_NOT_SATISFIABLE, Bytes::new(), Some(format!("bytes */{length}")))
        }
        Some(Ok(ranges)) => match ranges.as_slice() {
            [range] => {
                let (first, last) = (*range.start(), *range.end());
                let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
                let part = content.slice(index(first)..=index(last));
                let range = format!("bytes {first}-{last}/{length}");
                (StatusCode::PARTIAL_CONTENT, part, Some(range))
            }
            _ => (StatusCode::OK, content, None),
        },
    };
    let mut response = (status, [(header::ACCEPT_RANGES, "bytes")], content).into_response();
    if let Some(range) = range.and_then(|range| HeaderValue::try_from(range).ok()) {
        response.headers_mut().insert(header::CONTENT_RANGE, range);
    }
    response
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::SessionEnded | Self::RenditionTooLarge => (StatusCode::FORBIDDEN, "Forbidden"),
            Self::OriginMissing => (StatusCode::FORBIDDEN, "origin required"),
            Self::OriginNotAllowed => (StatusCode::FORBIDDEN, "origin not allowed"),
            Self::NotFound => (StatusCode::NOT_FOUND, "Not Found"),
            Self::Failed => (StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error"),
        };
        // A string gets the content type text/plain; charset=utf-8.
        (status, [(header::CACHE_CONTROL, "no-store")], text).into_response()
    }
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Self {
        if reason == Reason::OriginMissing { Self::OriginMissing } else { Self::OriginNotAllowed }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        error.log();
        Self::Failed
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    const SESSION: &str = "000000000000000000000000000000ab";

    fn parse(path: &str) -> Option<(String, File)> {
        let address = Address::parse(&path.replace("SESSION", SESSION))?;
        assert_eq!(address.session.to_string(), SESSION);
        Some((address.rendition, address.file))
    }

    #[test]
    fn paths_of_playlists_parse() {
        let of = |file| Some(("720p".to_owned(), file));
        assert_eq!(parse("/v1/playlist/SESSION/720p.m3u8"), of(File::Playlist));
        assert_eq!(parse("/v1/segment/SESSION/720p/init.mp4"), of(File::Initialization));
        assert_eq!(parse("/v1/segment/SESSION/720p/0.m4s"), of(File::Segment(0)));
        let last = format!("/v1/segment/SESSION/720p/{}.m4s", u64::MAX);
        assert_eq!(parse(&last), of(File::Segment(u64::MAX)));
    }

    #[test]
    fn other_paths_do_not_parse() {
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

    async fn request(range: Option<&str>) -> (u16, String, String) {
        let mut headers = HeaderMap::new();
        if let Some(range) = range {
            headers.insert(header::RANGE, range.parse().unwrap());
        }
        let response = range_response(Bytes::from_static(b"0123456789"), &headers);
        let content_range = response.headers().get(header::CONTENT_RANGE);
        let content_range = content_range.map_or("", |range| range.to_str().unwrap()).to_owned();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap(), content_range)
    }

    #[tokio::test]
    async fn single_range_returns_partial_content() {
        for (range, status, body, content_range) in [
            (None, 200, "0123456789", ""),
            (Some("bytes=0-3"), 206, "0123", "bytes 0-3/10"),
            (Some("bytes=0-0"), 206, "0", "bytes 0-0/10"),
            (Some("bytes=8-"), 206, "89", "bytes 8-9/10"),
            (Some("bytes=-2"), 206, "89", "bytes 8-9/10"),
            (Some("bytes=8-99"), 206, "89", "bytes 8-9/10"),
            (Some("bytes=10-"), 416, "", "bytes */10"),
            (Some("bytes=-0"), 416, "", "bytes */10"),
            (Some("bytes=0-1,4-5"), 200, "0123456789", ""),
            (Some("lines=0-1"), 200, "0123456789", ""),
            (Some("bytes=x"), 200, "0123456789", ""),
            (Some(""), 200, "0123456789", ""),
        ] {
            let expected = (status, body.to_owned(), content_range.to_owned());
            assert_eq!(request(range).await, expected, "{range:?}");
        }
    }
}
