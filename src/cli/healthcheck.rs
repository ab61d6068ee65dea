//! `healthcheck`: what a container without a shell and without curl uses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use clap::Args;
use url::Url;

use super::{Failure, Global, output};
use crate::{
    app::{configured_certificate, fetch},
    config::{Config, TlsFiles},
};

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  ivs-playback-auth healthcheck\n  ivs-playback-auth healthcheck \
                  --ready --url http://127.0.0.1:8080"
)]
pub(super) struct HealthcheckArgs {
    /// Ask /readyz (can it sign?) instead of /healthz (is it alive?)
    #[arg(long)]
    ready: bool,
    /// The service to ask; without it the configured `operations_listen` or `listen` address
    #[arg(long)]
    url: Option<Url>,
}

pub(super) fn run(global: &Global, args: HealthcheckArgs) -> Result<(), Failure> {
    let path = if args.ready { "/readyz" } else { "/healthz" };
    let runtime = super::small_runtime()?;
    let failed = |url: &Url, why| Failure::Failed(format!("{url}: {why}"));
    let (status, body) = if let Some(mut url) = args.url {
        url.set_path(path);
        runtime.block_on(fetch::get(&url)).map_err(|why| failed(&url, why))?
    } else {
        let config = global.load_config()?;
        let mut url = own_url(&config)?;
        url.set_path(path);
        let answer = runtime.block_on(fetch::get_own(&url));
        let (status, body, presented) = answer.map_err(|why| failed(&url, why))?;
        if let (Some(presented), Some(files)) = (presented, &config.server.tls)
            && configured_certificate(files).is_none_or(|configured| configured != presented)
        {
            warn_of_other_certificate(files);
        }
        (status, body)
    };
    output::line(body.trim_end())?;
    if (200..300).contains(&status) {
        Ok(())
    } else {
        Err(Failure::Failed(format!("{path} answered {status}")))
    }
}

/// Where the service of this configuration listens, seen from the same machine: the listener for operations
/// where there is one, since it answers when the other has no room for connections.
fn own_url(config: &Config) -> Result<Url, Failure> {
    let server = &config.server;
    let operations = server.operations_listen.filter(|address| address.port() != 0);
    let (scheme, mut address) = match (operations, &server.tls) {
        (Some(operations), _) => ("http", operations),
        (None, Some(_)) => ("https", server.listen),
        (None, None) => ("http", server.listen),
    };
    if address.port() == 0 {
        let problem = "the configured port is 0, so that the service takes a free one; name its address with --url";
        return Err(Failure::Usage(problem.to_owned()));
    }
    if address.ip().is_unspecified() {
        let loopback: IpAddr =
            if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        address = SocketAddr::new(loopback, address.port());
    }
    Url::parse(&format!("{scheme}://{address}")).map_err(Failure::failed)
}

/// The service is alive all the same: it may not have read the file yet, or cannot use it, which `/readyz`
/// reports. To restart it would end one that works.
#[expect(clippy::print_stderr, reason = "a warning beside the answer on stdout")]
fn warn_of_other_certificate(files: &TlsFiles) {
    let path = files.cert.display();
    eprintln!("warning: the service presents another certificate than {path} holds; see /readyz");
}
