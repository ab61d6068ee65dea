//! `healthcheck`: for containers without a shell and curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use clap::Args;
use url::Url;

use super::{Failure, Global, output};
use crate::{
    app::{configured_certificate, fetch},
    config::Config,
};

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  ivs-playback-auth healthcheck\n  ivs-playback-auth healthcheck \
                  --ready --url http://127.0.0.1:8080"
)]
pub(super) struct HealthcheckArgs {
    /// Query /readyz (readiness) instead of /healthz (liveness)
    #[arg(long)]
    ready: bool,
    /// The service to query; the default is the configured `operations_listen` or `listen` address
    #[arg(long)]
    url: Option<Url>,
}

pub(super) async fn run(global: &Global, args: HealthcheckArgs) -> Result<(), Failure> {
    let path = if args.ready { "/readyz" } else { "/healthz" };
    let failed = |url: &Url, why| Failure::Failed(format!("{url}: {why}"));
    let (status, body) = if let Some(mut url) = args.url {
        url.set_path(path);
        fetch::get(&url).await.map_err(|why| failed(&url, why))?
    } else {
        let config = global.load_config()?;
        let mut url = own_url(&config)?;
        url.set_path(path);
        let (status, body, presented) =
            fetch::get_own(&url).await.map_err(|why| failed(&url, why))?;
        if let (Some(presented), Some(files)) = (presented, config.server.tls())
            && configured_certificate(&files).is_none_or(|configured| configured != presented)
        {
            // The service is alive: it may not have read the file yet, or cannot use it, which /readyz
            // reports. Restarting it would end a service that works.
            let path = files.cert.display();
            output::note(&format!(
                "warning: the service presents another certificate than {path} contains; see /readyz"
            ));
        }
        (status, body)
    };
    output::line(body.trim_end())?;
    if (200..300).contains(&status) {
        Ok(())
    } else {
        Err(Failure::Failed(format!("{path} returned {status}")))
    }
}

/// Returns the address where the service with this configuration listens, as seen from the same machine. The
/// operations listener comes first: it responds even if the other one has no room for connections.
fn own_url(config: &Config) -> Result<Url, Failure> {
    let server = &config.server;
    let operations = server.operations_listen.filter(|address| address.port() != 0);
    let (scheme, mut address) = match (operations, server.tls()) {
        (Some(operations), _) => ("http", operations),
        (None, Some(_)) => ("https", server.listen),
        (None, None) => ("http", server.listen),
    };
    if address.port() == 0 {
        let problem = "the configured port is 0, so the service takes a free one; give its address with --url";
        return Err(Failure::Usage(problem.to_owned()));
    }
    if address.ip().is_unspecified() {
        let loopback: IpAddr =
            if address.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        address = SocketAddr::new(loopback, address.port());
    }
    Ok(Url::parse(&format!("{scheme}://{address}"))?)
}
