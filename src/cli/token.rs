//! `token mint|inspect`.

use std::{
    io::{IsTerminal, Read},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use tokio::runtime::Runtime;
use url::Url;

use super::{Failure, Global, output};
use crate::{
    api::MintRequest,
    app::{App, KeyAccess, fetch},
    channels::Requester,
    clock::Clock,
    config::Environment,
    inspection::{
        Context, Input, KeyRing, Questions, inspect,
        text::{Colour, render},
    },
    ivs::arn::ChannelArn,
    service::Facts,
};

/// The most that is read from standard input or a file, in bytes.
const MAX_INPUT: u64 = 4 * 1024 * 1024;

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Mint a viewer token with the configured keyring
    Mint(MintArgs),
    /// Say what is wrong with a token, a playback URL, an edge error, or a browser's "Copy as cURL"
    Inspect(InspectArgs),
}

#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  ivs-playback-auth token mint --channel demo --viewer-id alice \
                        --ttl 5m"
)]
pub(super) struct MintArgs {
    /// A channel ARN, or an alias of the configuration
    #[arg(long)]
    channel: String,
    /// Whom the token is for, 1 to 40 characters; needed to revoke, lifetime at most 10 minutes
    #[arg(long)]
    viewer_id: Option<String>,
    /// Session version; without it the issue time
    #[arg(long, value_name = "N")]
    viewer_session_version: Option<i64>,
    /// A web origin that may play, such as https://*.example.com; may be repeated
    #[arg(long = "origin", value_name = "O")]
    origins: Vec<String>,
    /// Check the origin of every request of the player
    #[arg(long)]
    strict_origin: bool,
    /// Start playback once only; lifetime at most 10 minutes
    #[arg(long)]
    single_use: bool,
    /// SD (480p), HD (720p) or `FULL_HD` (1080p)
    #[arg(long, value_name = "R")]
    max_resolution: Option<String>,
    /// Lifetime, such as 5m or 300s
    #[arg(long, value_name = "D", value_parser = super::whole_seconds)]
    ttl: Option<std::time::Duration>,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  ivs-playback-auth token inspect eyJhbGciOi…\n  pbpaste | \
                        ivs-playback-auth token inspect - --public-key public.pem\n  \
                        ivs-playback-auth token inspect 'https://….m3u8?token=eyJ…' --config \
                        production.toml\n\nNeeds no configuration, credential or network; --config \
                        adds the keyring and what Amazon IVS says of the key pairs and the channel. \
                        Exit code 1 when the token is not valid.")]
pub(super) struct InspectArgs {
    /// The token, URL, error body or cURL command; `-` or nothing reads standard input
    #[arg(value_name = "TOKEN|URL|-")]
    subject: Option<String>,
    /// The channel that it should play: an ARN, with --config also an alias
    #[arg(long)]
    channel: Option<String>,
    /// The web origin that it should play on; '' for a player that sends none
    #[arg(long, value_name = "O")]
    origin: Option<String>,
    /// Check the signature with this public key (PEM)
    #[arg(long, value_name = "FILE", conflicts_with = "jwks")]
    public_key: Option<PathBuf>,
    /// Check the signature with this JWK Set
    #[arg(long, value_name = "FILE|URL")]
    jwks: Option<String>,
}

pub(super) fn run(global: &Global, command: TokenCommand) -> Result<(), Failure> {
    match command {
        TokenCommand::Mint(args) => run_mint(global, args),
        TokenCommand::Inspect(args) => run_inspect(global, args),
    }
}

fn run_mint(global: &Global, args: MintArgs) -> Result<(), Failure> {
    let config = global.load_config()?;
    super::log_trouble(&config)?;
    let (runtime, app) = super::components(&config, KeyAccess::Managed)?;
    app.read_denials().map_err(Failure::failed)?;
    let minted = runtime
        .block_on(app.api().minting.mint(&super::operator(), Ok(args.into_request())))
        .map_err(|error| super::refused(&error))?;
    if global.json() {
        return output::json(&minted);
    }
    output::line(&format!("token         {}", minted.token))?;
    if let Some(url) = &minted.playback_url {
        output::line(&format!("playback URL  {url}"))?;
    }
    output::line(&format!("expires       {} (in {} s)", minted.expires_at, minted.expires_in))?;
    output::line(&format!("channel       {}", minted.channel_arn))?;
    output::line(&format!("signed by     {}", minted.key_pair_arn))?;
    for warning in &minted.warnings {
        output::line(&format!("warning       {}: {}", warning.code.as_str(), warning.detail))?;
    }
    Ok(())
}

impl MintArgs {
    fn into_request(self) -> MintRequest {
        MintRequest {
            channel: self.channel,
            viewer_id: self.viewer_id,
            viewer_session_version: self.viewer_session_version,
            allowed_origins: Some(self.origins).filter(|origins| !origins.is_empty()),
            strict_origin_enforcement: Some(self.strict_origin),
            single_use: Some(self.single_use),
            maximum_resolution: self.max_resolution,
            ttl_seconds: self.ttl.map(|ttl| i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX)),
        }
    }
}

fn run_inspect(global: &Global, args: InspectArgs) -> Result<(), Failure> {
    let named = named_keys(&args)?;
    let text = match args.subject.as_deref() {
        Some(text) if text != "-" => text.to_owned(),
        _ => read_stdin()?,
    };
    let mut input = Input::from_text(&text).map_err(|error| Failure::Usage(error.to_string()))?;
    let service = if global.config.is_some() { Some(service(global)?) } else { None };
    if let Some(name) = &args.channel {
        input.channel = Some(channel_of(service.as_ref().map(|(_, app)| app), name)?);
    }
    input.origin = args.origin.or(input.origin);

    let mut facts = match &service {
        Some((runtime, app)) => {
            let questions = Questions::of(&input);
            runtime.block_on(app.api().inspections.facts(&questions, Some(Requester::LOCAL)))
        }
        None => Facts::default(),
    };
    for trouble in &facts.troubles {
        output::note(trouble);
    }
    let is_known = service.is_some() || named.is_some();
    facts.keys.extend(named.unwrap_or_default());
    let keys = is_known.then_some(&facts.keys);
    let context = Context { keys, channel: facts.channel };
    let inspection = inspect(&input, &context, Clock::system().now());
    if global.json() {
        output::json(&inspection)?;
    } else {
        output::line(render(&inspection, colour()).trim_end())?;
    }
    if inspection.valid == Some(false) { Err(Failure::Negative) } else { Ok(()) }
}

/// The keys that the flags name.
fn named_keys(args: &InspectArgs) -> Result<Option<KeyRing>, Failure> {
    if let Some(file) = &args.public_key {
        let keys = KeyRing::from_public_key(read_file(file)?);
        return keys
            .map(Some)
            .map_err(|error| Failure::Usage(format!("--public-key {}: {error}", file.display())));
    }
    let Some(place) = &args.jwks else { return Ok(None) };
    let keys = KeyRing::from_jwks(&read_jwks(place)?);
    keys.map(Some).map_err(|error| Failure::Usage(format!("--jwks {place}: {error}")))
}

/// The keyring and IVS, as the configuration has them.
fn service(global: &Global) -> Result<(Runtime, App), Failure> {
    let config = global.load_config()?;
    super::log_trouble(&config)?;
    super::components(&config, KeyAccess::LookOnly)
}

fn channel_of(app: Option<&App>, name: &str) -> Result<ChannelArn, Failure> {
    let known = app.and_then(|app| app.api().channels.names.resolve(name).ok());
    known.map_or_else(|| name.parse(), Ok).map_err(|error| {
        let hint = if app.is_some() { "" } else { "; an alias needs --config" };
        Failure::Usage(format!("--channel {name}: {error}{hint}"))
    })
}

/// Colour is for a terminal whose user has not said no to it.
fn colour() -> Colour {
    if std::io::stdout().is_terminal() && !Environment::of_process().forbids_colour() {
        Colour::Ansi
    } else {
        Colour::None
    }
}

fn read_jwks(place: &str) -> Result<String, Failure> {
    let Some(url) = place.parse::<Url>().ok().filter(Url::has_host) else {
        let bytes = read_file(Path::new(place))?;
        return String::from_utf8(bytes)
            .map_err(|_| Failure::Usage(format!("--jwks {place}: the file is not text")));
    };
    let answer = super::small_runtime()?.block_on(fetch::get(&url));
    match answer {
        Ok((200, text)) => Ok(text),
        Ok((status, _)) => Err(Failure::Failed(format!("--jwks {place} answered {status}"))),
        Err(why) => Err(Failure::Failed(format!("--jwks {place}: {why}"))),
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_INPUT).read_to_end(&mut bytes))
        .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))?;
    Ok(bytes)
}

fn read_stdin() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .take(MAX_INPUT)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::Failed(format!("cannot read standard input: {error}")))?;
    // Not UTF-8 is one of the things that can be wrong with a token.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
