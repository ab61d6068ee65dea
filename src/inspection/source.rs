//! Recognizes what people have at hand when playback fails: a token, a playback URL, a browser's "Copy as cURL" or
//! the body of a 403, and extracts the token, the channel and the origin.

use std::fmt;

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use url::Url;

use crate::{
    ivs::arn::{ChannelArn, ResourceKind},
    tokens::TOKEN_PARAMETER,
};

use super::{curl, edge, powershell};

/// The input of an inspection. `Debug` hides its content, since it may contain a token.
#[derive(Clone, Default)]
pub struct Input {
    /// A token or a URL with one.
    pub subject: Option<Subject>,
    /// The body of a 403 from IVS.
    pub edge_error: Option<String>,
    /// The channel to be played.
    pub channel: Option<ChannelArn>,
    /// The `Origin` of the request, or the address of the page; empty if the request is known to have had
    /// none.
    pub origin: Option<String>,
}

/// A token, alone or in a URL.
#[derive(Clone)]
pub enum Subject {
    /// A token, exactly as it would be sent.
    Token(String),
    /// The URL that a player loads.
    PlaybackUrl(String),
}

impl Input {
    /// Recognizes a pasted text: a `curl` or PowerShell command, the response of a mint, the body of a 403, a URL
    /// or a line with one (a browser's console, `fetch`), or otherwise a token, possibly quoted or
    /// percent-encoded.
    ///
    /// # Errors
    ///
    /// The text is empty, or it is a command without a URL.
    pub fn from_text(text: &str) -> Result<Self, InputError> {
        let text = text.trim().trim_start_matches('\u{feff}').trim();
        if text.is_empty() {
            return Err(InputError::Empty);
        }
        if let Some(command) = curl::Command::parse(text).or_else(|| powershell::parse(text)) {
            let url = command.url.ok_or(InputError::CommandWithoutUrl)?;
            return Ok(Self {
                subject: Some(Subject::PlaybackUrl(url)),
                // The command shows the complete request, so a missing header was not sent.
                origin: Some(command.origin.unwrap_or_default()),
                ..Self::default()
            });
        }
        if let Some(subject) = from_mint_response(text) {
            return Ok(Self { subject: Some(subject), ..Self::default() });
        }
        if let Some((subject, answer)) = with_answer(text) {
            return Ok(Self { edge_error: Some(answer), ..Self::from_text(subject)? });
        }
        if edge::looks_like_one(text) {
            // A player's log may quote the URL next to the answer.
            let url = url_in_line(text).filter(|url| url.contains(".m3u8"));
            let subject = url.map(|url| Subject::PlaybackUrl(url.to_owned()));
            return Ok(Self { subject, edge_error: Some(text.to_owned()), ..Self::default() });
        }
        let text = text.trim_matches(['"', '\'', '`']);
        let text = url_in_line(text).unwrap_or(text);
        // By chance base64url may contain `.m3u8`, but not at the end of a path.
        let path = text.split(['?', '#']).next().unwrap_or_default();
        let is_url = text.contains("://") || path.strip_suffix(".m3u8").is_some();
        let subject = if is_url {
            Subject::PlaybackUrl(text.to_owned())
        } else {
            Subject::Token(strip_wrapping(text))
        };
        Ok(Self { subject: Some(subject), ..Self::default() })
    }
}

impl Input {
    /// The URL to inspect.
    pub(super) fn url(&self) -> Option<&str> {
        match &self.subject {
            Some(Subject::PlaybackUrl(url)) => Some(url),
            Some(Subject::Token(_)) | None => None,
        }
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").field("channel", &self.channel).finish_non_exhaustive()
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token([redacted])",
            Self::PlaybackUrl(_) => "PlaybackUrl([redacted])",
        })
    }
}

/// Why there is nothing to inspect. The message never repeats the text.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InputError {
    /// The text is empty.
    #[error("there is nothing to inspect: provide a token, a playback URL or the body of a 403")]
    Empty,
    /// The command has no URL.
    #[error("the command has no URL: copy the command of the request that failed")]
    CommandWithoutUrl,
}

/// Returns the playback URL or token of a response to `POST /v1/tokens`.
fn from_mint_response(text: &str) -> Option<Subject> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct MintResponse {
        playback_url: Option<String>,
        token: Option<String>,
    }
    let response: MintResponse = serde_json::from_str(text).ok()?;
    response.playback_url.map(Subject::PlaybackUrl).or_else(|| response.token.map(Subject::Token))
}

/// Splits a first line with a token or URL from the answer in the following lines.
fn with_answer(text: &str) -> Option<(&str, String)> {
    let (first, answer) = text.split_once('\n')?;
    let is_subject = !first.trim().is_empty() && !edge::looks_like_one(first);
    (is_subject && edge::looks_like_one(answer.trim())).then(|| (first, answer.to_owned()))
}

/// Returns the URL in a line with other words.
fn url_in_line(text: &str) -> Option<&str> {
    if !text.contains(char::is_whitespace) {
        return None;
    }
    let start = ["https://", "http://"].into_iter().filter_map(|scheme| text.find(scheme)).min()?;
    let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>');
    text.get(start..)?.split(ends).next()
}

/// Removes `Bearer …`, `token=…` and percent-encoding, which are not part of a token.
fn strip_wrapping(text: &str) -> String {
    let text = match text.split_once("token=") {
        Some((_, token)) => token.split(['&', '#']).next().unwrap_or_default(),
        None => text.strip_prefix("Bearer ").unwrap_or(text).trim_start(),
    };
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// What a playback URL contains.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct UrlFacts {
    /// The token that was most likely intended.
    pub(super) token: Option<String>,
    /// The channel, which is part of the path.
    pub(super) channel: Option<ChannelArn>,
    /// Why IVS cannot read the token.
    pub(super) fault: Option<UrlFault>,
    /// Whether the URL is that of a media file rather than a playlist.
    pub(super) segment: bool,
}

/// Why IVS cannot read the token of a URL. The message never repeats the URL.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum UrlFault {
    #[error("This is not a URL.")]
    NotAUrl,
    #[error("A playback URL begins with https://.")]
    Scheme,
    #[error(
        "The URL has a second ? before its token, which makes the token part of another parameter."
    )]
    SecondQuestionMark,
    #[error("The URL has more than one token.")]
    TwoTokens,
    #[error("The token follows a #, and a browser never sends what follows it.")]
    Fragment,
    #[error("The token is in another query parameter; IVS reads only the one named token.")]
    OtherParameter,
}

impl UrlFacts {
    /// Parses a URL. The token of a faulty URL is searched for too.
    pub(super) fn read(text: &str) -> Self {
        let text = text.trim();
        let Ok(url) = Url::parse(text) else {
            return Self {
                token: after_last_marker(text),
                fault: Some(UrlFault::NotAUrl),
                ..Self::default()
            };
        };
        let (token, fault) = find_token(&url);
        let scheme_fault = (!matches!(url.scheme(), "https" | "http")).then_some(UrlFault::Scheme);
        Self {
            token,
            channel: channel_of(&url),
            fault: scheme_fault.or(fault),
            segment: is_segment(&url),
        }
    }
}

/// Returns the token of a URL, and why IVS cannot read it.
fn find_token(url: &Url) -> (Option<String>, Option<UrlFault>) {
    let mut tokens = url.query_pairs().filter(|(name, _)| name == TOKEN_PARAMETER);
    if let Some((_, token)) = tokens.next() {
        if let Some(second) = after_last_marker(&token) {
            return (Some(second), Some(UrlFault::TwoTokens));
        }
        let fault = tokens.next().map(|_| UrlFault::TwoTokens);
        return (Some(token.into_owned()).filter(|token| !token.is_empty()), fault);
    }
    for (name, value) in url.query_pairs() {
        // `?token.m3u8?token=…` is one parameter whose name ends in `?token`.
        if name.ends_with("?token") {
            return (Some(value.into_owned()), Some(UrlFault::SecondQuestionMark));
        }
        if let Some(token) = after_last_marker(&value) {
            return (Some(token), Some(UrlFault::SecondQuestionMark));
        }
        if looks_like_a_token(&value) {
            return (Some(value.into_owned()), Some(UrlFault::OtherParameter));
        }
    }
    match url.fragment().and_then(after_last_marker) {
        Some(token) => (Some(token), Some(UrlFault::Fragment)),
        None => (None, None),
    }
}

/// Returns the text after the last `token=`.
fn after_last_marker(text: &str) -> Option<String> {
    let (_, token) = text.rsplit_once("token=")?;
    let token = token.split(['&', '#', '"', '\'', ' ']).next().filter(|token| !token.is_empty())?;
    Some(percent_decode_str(token).decode_utf8_lossy().into_owned())
}

/// Whether a value looks like a JWT: two dots, and a header that begins with `{"`.
fn looks_like_a_token(value: &str) -> bool {
    value.starts_with("eyJ") && value.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// Returns the channel of `…/REGION.ACCOUNT.channel.ID.m3u8`.
fn channel_of(url: &Url) -> Option<ChannelArn> {
    let file = url.path_segments()?.next_back()?;
    let mut parts = file.strip_suffix(".m3u8")?.splitn(4, '.');
    let (region, account) = (parts.next()?, parts.next()?);
    if parts.next()? != ResourceKind::Channel.as_str() {
        return None;
    }
    ChannelArn::new(&region.parse().ok()?, &account.parse().ok()?, parts.next()?).ok()
}

fn is_segment(url: &Url) -> bool {
    const MEDIA: [&str; 6] = [".ts", ".m4s", ".mp4", ".m4v", ".m4a", ".aac"];
    let path = url.path().to_ascii_lowercase();
    MEDIA.iter().any(|suffix| path.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "https://a1b2.us-west-2.playback.live-video.net/api/video/v1/us-west-2.123456789012.channel.AbCdEfGh1234.m3u8";
    const TOKEN: &str = "eyJhbGci.eyJleHAi.c2ln";

    fn facts(url: &str) -> (Option<String>, Option<UrlFault>) {
        let facts = UrlFacts::read(url);
        (facts.token, facts.fault)
    }

    fn token_and(fault: UrlFault) -> (Option<String>, Option<UrlFault>) {
        (Some(TOKEN.to_owned()), Some(fault))
    }

    #[test]
    fn good_url_contains_token_and_channel() {
        let facts = UrlFacts::read(&format!("{BASE}?player=1&token={TOKEN}"));
        assert_eq!(facts.token.as_deref(), Some(TOKEN));
        let arn = "arn:aws:ivs:us-west-2:123456789012:channel/AbCdEfGh1234";
        assert_eq!(facts.channel.unwrap().as_str(), arn);
        assert_eq!(facts.fault, None);
        assert!(!facts.segment);
        let encoded = TOKEN.replace('.', "%2E");
        assert_eq!(
            UrlFacts::read(&format!("{BASE}?token={encoded}")).token.as_deref(),
            Some(TOKEN)
        );
    }

    #[test]
    fn faults_of_urls_are_distinguished() {
        let second = UrlFault::SecondQuestionMark;
        assert_eq!(facts(&format!("{BASE}?token.m3u8?token={TOKEN}")), token_and(second));
        assert_eq!(facts(&format!("{BASE}?player=1?token={TOKEN}")), token_and(second));
        let two = UrlFault::TwoTokens;
        assert_eq!(facts(&format!("{BASE}?token=a.b.c?token={TOKEN}")), token_and(two));
        assert_eq!(facts(&format!("{BASE}?token={TOKEN}&token=a.b.c")), token_and(two));
        assert_eq!(facts(&format!("{BASE}#token={TOKEN}")), token_and(UrlFault::Fragment));
        assert_eq!(facts(&format!("{BASE}?jwt={TOKEN}")), token_and(UrlFault::OtherParameter));
        let bare = format!("a1b2.live-video.net/a.m3u8?token={TOKEN}");
        assert_eq!(facts(&bare), token_and(UrlFault::NotAUrl));
        assert_eq!(facts(&format!("rtmps://a/b?token={TOKEN}")), token_and(UrlFault::Scheme));
    }

    #[test]
    fn url_without_token_is_well_formed() {
        for url in [BASE.to_owned(), format!("{BASE}?token="), format!("{BASE}?a=b#c")] {
            assert_eq!(facts(&url), (None, None), "{url}");
        }
    }

    #[test]
    fn other_path_has_no_channel() {
        for path in
            ["/a.m3u8", "/us-west-2.1.channel.a.m3u8", "/us-west-2.123456789012.stream.a.m3u8", "/"]
        {
            assert_eq!(UrlFacts::read(&format!("https://a.test{path}")).channel, None, "{path}");
        }
        assert!(UrlFacts::read("https://a.test/v1/segment/x.TS?token=a").segment);
    }

    fn token_of(text: &str) -> String {
        match Input::from_text(text).unwrap().subject.unwrap() {
            Subject::Token(token) | Subject::PlaybackUrl(token) => token,
        }
    }

    #[test]
    fn pasted_text_is_recognized() {
        for wrapped in [
            format!(" {TOKEN}\n"),
            format!("\"{TOKEN}\""),
            format!("Bearer {TOKEN}"),
            format!("?token={TOKEN}&x=1"),
            TOKEN.replace('.', "%2e"),
            format!("\u{feff}{TOKEN}"),
        ] {
            assert_eq!(token_of(&wrapped), TOKEN, "{wrapped}");
        }
        let url = format!("{BASE}?token={TOKEN}");
        assert_eq!(token_of(&format!("'{url}'")), url);
        assert_eq!(token_of(&format!("GET {url} 403 (Forbidden)")), url);
        assert_eq!(token_of(&format!("await fetch(\"{url}\", {{ \"method\": \"GET\" }})")), url);
        assert_eq!(token_of(&format!(r#"{{"token":"{TOKEN}","playbackUrl":"{url}"}}"#)), url);
        assert_eq!(token_of(&format!(r#"{{"token":"{TOKEN}","tokenId":"x"}}"#)), TOKEN);
        assert!(matches!(
            Input::from_text("eyJh.eyJi.m3u8c2ln").unwrap().subject,
            Some(Subject::Token(_))
        ));
        assert!(Input::from_text(&url).unwrap().origin.is_none());
        for body in ["[{\"error\": 1}]", "origin required", "Forbidden\n", "<html>"] {
            let input = Input::from_text(body).unwrap();
            assert!(input.subject.is_none() && input.edge_error.is_some(), "{body}");
        }
        let log = format!("{url} failed: invalid_playback_auth_token");
        assert_eq!(token_of(&log), url);
        assert!(Input::from_text(&log).unwrap().edge_error.is_some());
        for (subject, body) in [(TOKEN, "Forbidden"), (url.as_str(), "\n[{\"error\": 1}]\n")] {
            let text = format!("{subject}\n{body}");
            assert_eq!(token_of(&text), subject);
            assert_eq!(Input::from_text(&text).unwrap().edge_error.unwrap().trim(), body.trim());
        }
        assert_eq!(Input::from_text(" \n").unwrap_err(), InputError::Empty);
    }

    #[test]
    fn curl_command_shows_complete_request() {
        let url = format!("{BASE}?token={TOKEN}");
        let input = Input::from_text(&format!("curl '{url}' -H 'Origin: https://a.test'")).unwrap();
        assert_eq!(input.origin.as_deref(), Some("https://a.test"));
        let input = Input::from_text(&format!("curl '{url}'")).unwrap();
        assert_eq!(input.origin.as_deref(), Some(""), "no Origin was sent");
        assert_eq!(Input::from_text("curl -v").unwrap_err(), InputError::CommandWithoutUrl);
    }

    #[test]
    fn debug_shows_no_token() {
        let input = Input::from_text(TOKEN).unwrap();
        assert!(!format!("{input:?} {:?}", input.subject).contains("eyJ"));
    }
}
