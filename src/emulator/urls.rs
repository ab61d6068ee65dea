//! The addresses that the emulator gives out.
//!
//! A playback URL has IVS's path, so that code which takes it apart works, and a host at which a
//! player reaches this process: `--public-url`, else the `Host` of the call that asks. Ingest
//! addresses have IVS's form only; nothing listens there.

use axum::http::{HeaderMap, Uri, header, uri::Authority};
use sha2::{Digest, Sha256};
use url::Url;

use crate::ivs::arn::{AccountId, ChannelArn, Region};

/// Where playback URLs live on the emulator and on AWS alike.
pub(super) const PLAYBACK_PATH: &str = "/api/video/v1/";

/// What URLs in the answer to a call begin with, without a slash at the end.
pub(super) fn base_url(public_url: Option<&Url>, uri: &Uri, headers: &HeaderMap) -> String {
    if let Some(url) = public_url {
        return url.as_str().trim_end_matches('/').to_owned();
    }
    // What a caller sends as its host ends up in URLs, so it must be a host and nothing more.
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

/// The playback URL of a channel.
pub(super) fn playback_url(base: &str, channel: &ChannelArn) -> String {
    format!("{base}{}", playback_path(channel))
}

/// The path of a channel's playback URL.
pub(super) fn playback_path(channel: &ChannelArn) -> String {
    let (region, account) = (channel.region(), channel.account());
    format!("{PLAYBACK_PATH}{region}.{account}.channel.{}.m3u8", channel.id())
}

/// The channel whose playback path this is; `None` for any other path, however similar.
pub(super) fn channel_of_path(path: &str) -> Option<ChannelArn> {
    let mut parts = path.strip_prefix(PLAYBACK_PATH)?.strip_suffix(".m3u8")?.split('.');
    let (region, account, word, id) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if word != "channel" || parts.next().is_some() {
        return None;
    }
    ChannelArn::new(&region.parse().ok()?, &account.parse().ok()?, id).ok()
}

/// The first label of the ingest hosts: 12 hexadecimal digits, one an account and region.
pub(super) fn ingest_label(region: &Region, account: &AccountId) -> String {
    let digest = Sha256::digest(format!("{region}/{account}"));
    hex(digest.get(..6).unwrap_or_default(), "")
}

/// Lower-case hexadecimal digits, with `separator` between bytes.
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
    fn urls_name_the_host_that_was_asked_unless_told_otherwise() {
        assert_eq!(base(None, Some("127.0.0.1:8090")), "http://127.0.0.1:8090");
        assert_eq!(base(None, Some("[::1]:8090")), "http://[::1]:8090");
        assert_eq!(base(Some("https://play.example/ivs/"), Some("x")), "https://play.example/ivs");
        for host in [None, Some("a/b"), Some("a b"), Some("user@evil.example"), Some("")] {
            assert_eq!(base(None, host), "http://localhost", "{host:?}");
        }
    }

    #[test]
    fn a_playback_path_names_its_channel_and_nothing_like_it_does() {
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
