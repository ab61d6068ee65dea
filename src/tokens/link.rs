//! The playback URL with a token in it, which is how a token reaches IVS.

use url::Url;

/// The query parameter that IVS reads the token from.
pub const TOKEN_PARAMETER: &str = "token";

/// Appends a token to the playback URL of a channel, after any existing query.
///
/// `Debug` of a [`Url`] shows the token, so the result must not be logged.
///
/// # Errors
///
/// - [`PlaybackUrlError::NotAUrl`]: not an `http` or `https` URL.
/// - [`PlaybackUrlError::HasToken`]: the URL has a token already, and IVS refuses two.
pub fn playback_url(base: &str, token: &str) -> Result<Url, PlaybackUrlError> {
    let mut url = Url::parse(base).map_err(|_| PlaybackUrlError::NotAUrl)?;
    if !matches!(url.scheme(), "https" | "http") {
        return Err(PlaybackUrlError::NotAUrl);
    }
    if url.query_pairs().any(|(name, _)| name == TOKEN_PARAMETER) {
        return Err(PlaybackUrlError::HasToken);
    }
    url.query_pairs_mut().append_pair(TOKEN_PARAMETER, token);
    Ok(url)
}

/// Why a token could not be appended to a URL. The message never repeats either.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PlaybackUrlError {
    /// Not an `http` or `https` URL.
    #[error("the playback URL of the channel is not an http or https URL; refresh the channel")]
    NotAUrl,
    /// The URL has a token already.
    #[error("the playback URL has a token already; start from the URL that IVS returns")]
    HasToken,
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "https://a1b2.us-west-2.playback.live-video.net/api/video/v1/us-west-2.123456789012.channel.AbCd.m3u8";

    #[test]
    fn token_is_appended_after_the_query() {
        let url = |base: &str| playback_url(base, "aa.b-b.c_c").map(String::from);
        assert_eq!(url(BASE).unwrap(), format!("{BASE}?token=aa.b-b.c_c"));
        let with_query = format!("{BASE}?player=a%20b");
        assert_eq!(url(&with_query).unwrap(), format!("{with_query}&token=aa.b-b.c_c"));
        let with_fragment = format!("{BASE}#t=10");
        assert_eq!(url(&with_fragment).unwrap(), format!("{BASE}?token=aa.b-b.c_c#t=10"));
    }

    #[test]
    fn second_token_is_refused() {
        let url = playback_url(BASE, "a").unwrap();
        assert_eq!(playback_url(url.as_str(), "b"), Err(PlaybackUrlError::HasToken));
        assert_eq!(playback_url("demo", "a"), Err(PlaybackUrlError::NotAUrl));
        assert_eq!(playback_url("data:text/plain,x", "a"), Err(PlaybackUrlError::NotAUrl));
    }
}
