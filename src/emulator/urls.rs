//! The URLs that the emulator returns.
//!
//! A playback URL has IVS's path, so that code which parses it works, and a host at which a player
//! reaches this process: that of `--public-url`, or else the `Host` of the call. Ingest addresses only
//! have IVS's form; nothing listens there.

use axum::http::{HeaderMap, Uri, header, uri::Authority};
use sha2::{Digest, Sha256};
use url::Url;

use crate::ivs::arn::{AccountId, ChannelArn, Region};

/// The beginning of the path of playback URLs, as on AWS.
pub(super) const PLAYBACK_PATH: &str = "/api/video/v1/";

/// Returns the beginning of URLs in the response to a call, without a slash at the end.
pub(super) fn base_url(public_url: Option<&Url>, uri: &Uri, headers: &HeaderMap) -> String {
    if let Some(url) = public_url {
        return url.as_str().trim_end_matches('/').to_owned();
    }
    // The host of the caller is used in URLs, so it must be nothing but a host.
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .and_then(|host| host.parse::<Authority>().ok())
        .or_else(|| uri.authority().cloned())
        .filter(|host| !host.as_str().contains('@'));
    match host {
        Some(host) => format!("http://{host}"),
        None => "http://localhost".to_owned(),
    }
}

/// Returns the playback URL of a channel.
pub(super) fn playback_url(base: &str, channel: &ChannelArn) -> String {
    format!("{base}{}", playback_path(channel))
}

/// Returns the path of a channel's playback URL.
pub(super) fn playback_path(channel: &ChannelArn) -> String {
    let (region, account) = (channel.region(), channel.account());
    format!("{PLAYBACK_PATH}{region}.{account}.channel.{}.m3u8", channel.id())
}

/// Returns the channel of a playback path; `None` for any other path.
pub(super) fn channel_of_path(path: &str) -> Option<ChannelArn> {
    let mut parts = path.strip_prefix(PLAYBACK_PATH)?.strip_suffix(".m3u8")?.split('.');
    let (region, account, word, id) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if word != "channel" || parts.next().is_some() {
        return None;
    }
    ChannelArn::new(&region.parse().ok()?, &account.parse().ok()?, id).ok()
}

/// Returns the first label of the ingest hosts: 12 hexadecimal digits per account and region.
pub(super) fn ingest_label(region: &Region, account: &AccountId) -> String {
    let digest = Sha256::digest(format!("{region}/{account}"));
    hex(digest.get(..6).unwrap_or_default(), "")
}

/// Formats bytes as lower-case hexadecimal digits, with `separator` between bytes.
pub(super) fn hex(bytes: &[u8], separator: &str) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(public: Option<&str>, host: Option<&str>) -> String {
        let mut headers = HeaderMap::new();
        if let Some(host) = host {
            headers.insert(header::HOST, host.parse().unwrap());
        }
        let public = public.map(|url| url.parse::<Url>().unwrap());
        base_url(public.as_ref(), &Uri::from_static("/GetChannel"), &headers)
    }

    #[test]
    fn base_url_is_public_url_or_host_of_call() {
        assert_eq!(base(None, Some("127.0.0.1:8090")), "http://127.0.0.1:8090");
        assert_eq!(base(None, Some("[::1]:8090")), "http://[::1]:8090");
        assert_eq!(base(Some("https://play.example/ivs/"), Some("x")), "https://play.example/ivs");
        for host in [None, Some("a/b"), Some("a b"), Some("user@evil.example"), Some("")] {
            assert_eq!(base(None, host), "http://localhost", "{host:?}");
        }
    }

    #[test]
    fn only_exact_playback_path_names_its_channel() {
        let arn: ChannelArn =
            "arn:aws:ivs:us-west-2:123456789012:channel/AbCdEfGh1234".parse().unwrap();
        let path = playback_path(&arn);
        assert_eq!(path, "/api/video/v1/us-west-2.123456789012.channel.AbCdEfGh1234.m3u8");
        assert_eq!(channel_of_path(&path), Some(arn));
        for other in [
            "/api/video/v1/us-west-2.123456789012.channel.AbCdEfGh1234",
            "/api/video/v1/us-west-2.123456789012.channel.AbCdEfGh1234.m3u8/",
            "/api/video/v1/us-west-2.123456789012.stream-key.AbCdEfGh1234.m3u8",
            "/api/video/v1/us-west-2.123456789012.channel.x.AbCdEfGh1234.m3u8",
            "/api/video/v1/us-west-2.12345678901.channel.AbCdEfGh1234.m3u8",
            "/api/video/v1/us-west-2.123456789012.channel..m3u8",
            "/api/video/v1/us-west-2.123456789012.channel.Ab%43dEfGh1234.m3u8",
            "/api/video/v1/../v1/us-west-2.123456789012.channel.AbCdEfGh1234.m3u8",
            "/api/video/v1//us-west-2.123456789012.channel.AbCdEfGh1234.m3u8",
            "/API/video/v1/us-west-2.123456789012.channel.AbCdEfGh1234.m3u8",
        ] {
            assert_eq!(channel_of_path(other), None, "{other}");
        }
    }

    #[test]
    fn ingest_labels_differ_by_region_and_account() {
        let label = |region: &str, account: &str| {
            ingest_label(&region.parse().unwrap(), &account.parse().unwrap())
        };
        assert_eq!(label("us-west-2", "123456789012").len(), 12);
        assert_ne!(label("us-west-2", "123456789012"), label("eu-west-1", "123456789012"));
        assert_ne!(label("us-west-2", "123456789012"), label("us-west-2", "210987654321"));
    }
}
