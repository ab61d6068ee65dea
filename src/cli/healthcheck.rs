//! `healthcheck`: what a container without a shell and without curl uses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use clap::Args;
use url::Url;

use super::{Failure, Global, output};
use crate::{app::fetch, config::Config};

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  ivs-playback-auth healthcheck\n  ivs-playback-auth healthcheck \
                  --ready --url http://127.0.0.1:8080"
)]
pub(super) struct HealthcheckArgs {
    /// Ask /readyz (can it sign?) instead of /healthz (is it alive?)
    #[arg(long)]
    ready: bool,
    /// The service to ask; without it the configured listen address
    #[arg(long)]
    url: Option<Url>,
}

pub(super) fn run(global: &Global, args: HealthcheckArgs) -> Result<(), Failure> {
    let mut url = match args.url {
        Some(url) => url,
        None => own_url(&global.load_config()?)?,
    };
    let path = if args.ready { "/readyz" } else { "/healthz" };
    url.set_path(path);
    let answer = super::small_runtime()?.block_on(fetch::get(&url));
    let (status, body) = answer.map_err(|why| Failure::Failed(format!("{url}: {why}")))?;
    output::line(body.trim_end())?;
    if (200..300).contains(&status) {
        Ok(())
    } else {
        Err(Failure::Failed(format!("{path} answered {status}")))
    }
}

/// Where this configuration's service listens, seen from the same machine.
fn own_url(config: &Config) -> Result<Url, Failure> {
    if config.server.tls.is_some() {
        return Err(Failure::Usage(
            "this service listens with TLS: name it as its certificate does, with --url \
             https://HOST:PORT"
                .to_owned(),
        ));
    }
    let mut address = config.server.listen;
    if address.ip().is_unspecified() {
        let loopback: IpAddr =
            if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        address = SocketAddr::new(loopback, address.port());
    }
    Url::parse(&format!("http://{address}")).map_err(Failure::failed)
}
