//! `token mint|inspect`.

use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
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
    /// Find out what is wrong with a token, a playback URL, an edge error, or a browser's "Copy as cURL"
    Inspect(InspectArgs),
}

#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  ivs-playback-auth token mint --channel demo --viewer-id alice \
                        --ttl 5m"
)]
pub(super) struct MintArgs {
    /// A channel ARN or a configured alias
    #[arg(long)]
    channel: String,
    /// The viewer, 1 to 40 characters; required for revocation, limits the lifetime to 10 minutes
    #[arg(long)]
    viewer_id: Option<String>,
    /// The session version; the default is the issue time
    #[arg(long, value_name = "N")]
    viewer_session_version: Option<i64>,
    /// A web origin that may play, such as https://*.example.com; may be repeated
    #[arg(long = "origin", value_name = "O")]
    origins: Vec<String>,
    /// Check the origin of every request of the player
    #[arg(long)]
    strict_origin: bool,
    /// Allow one start of playback only; limits the lifetime to 10 minutes
    #[arg(long)]
    single_use: bool,
    /// SD (480p), HD (720p) or `FULL_HD` (1080p)
    #[arg(long, value_name = "R")]
    max_resolution: Option<String>,
    /// The lifetime, such as 5m or 300s
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
    /// The channel that the token should play: an ARN, or with --config also an alias
    #[arg(long)]
    channel: Option<String>,
    /// The web origin that the token should play on; '' for a player that sends none
    #[arg(long, value_name = "O")]
    origin: Option<String>,
    /// Check the signature with this public key (PEM)
    #[arg(long, value_name = "FILE", conflicts_with = "jwks")]
    public_key: Option<PathBuf>,
    /// Check the signature with this JWK Set
    #[arg(long, value_name = "FILE|URL")]
    jwks: Option<String>,
}

pub(super) async fn run(global: &Global, command: TokenCommand) -> Result<(), Failure> {
    match command {
        TokenCommand::Mint(args) => run_mint(global, args).await,
        TokenCommand::Inspect(args) => run_inspect(global, args).await,
    }
}

async fn run_mint(global: &Global, args: MintArgs) -> Result<(), Failure> {
    let config = global.load_config()?;
    super::log_trouble(&config)?;
    let app = App::for_command(&config, KeyAccess::Managed, Clock::system()).await?;
    app.read_denials()?;
    let minted = app.api().minting.mint(&super::operator(), Ok(args.into_request())).await;
    let minted = minted.map_err(|error| super::refused(&error))?;
    global.print(&minted, || {
        let mut fields = vec![("token", minted.token.clone())];
        fields.extend(minted.playback_url.as_ref().map(|url| ("playback URL", url.clone())));
        fields.extend([
            ("expires", format!("{} (in {} s)", minted.expires_at, minted.expires_in)),
            ("channel", minted.channel_arn.clone()),
            ("signed by", minted.key_pair_arn.clone()),
        ]);
        let warnings = minted.warnings.iter();
        fields.extend(
            warnings.map(|warning| {
                ("warning", format!("{}: {}", warning.code.as_str(), warning.detail))
            }),
        );
        output::fields(&fields)
    })
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

async fn run_inspect(global: &Global, args: InspectArgs) -> Result<(), Failure> {
    let named = named_keys(&args).await?;
    let text = match args.subject {
        Some(text) if text != "-" => text,
        // Text that is not UTF-8 is one of the things that can be wrong with a token.
        _ => String::from_utf8_lossy(&super::read_input(Path::new("-"), MAX_INPUT)?).into_owned(),
    };
    let mut input = Input::from_text(&text).map_err(|error| Failure::Usage(error.to_string()))?;
    let app = if global.config.is_some() { Some(connect(global).await?) } else { None };
    if let Some(name) = &args.channel {
        input.channel = Some(channel_of(app.as_ref(), name)?);
    }
    input.origin = args.origin.or(input.origin);

    let mut facts = match &app {
        Some(app) => {
            let questions = Questions::of(&input);
            app.api().inspections.facts(&questions, Some(Requester::LOCAL)).await
        }
        None => Facts::default(),
    };
    for trouble in &facts.troubles {
        output::note(trouble);
    }
    let is_known = app.is_some() || named.is_some();
    facts.keys.extend(named.unwrap_or_default());
    let keys = is_known.then_some(&facts.keys);
    let context = Context { keys, channel: facts.channel };
    let inspection = inspect(&input, &context, Clock::system().now());
    global.print(&inspection, || render(&inspection, colour()).trim_end().to_owned())?;
    if inspection.valid == Some(false) { Err(Failure::Negative) } else { Ok(()) }
}

/// Returns the keys that the flags name.
async fn named_keys(args: &InspectArgs) -> Result<Option<KeyRing>, Failure> {
    if let Some(file) = &args.public_key {
        let keys = KeyRing::from_public_key(&super::read_input(file, MAX_INPUT)?);
        return keys
            .map(Some)
            .map_err(|error| Failure::Usage(format!("--public-key {}: {error}", file.display())));
    }
    let Some(place) = &args.jwks else { return Ok(None) };
    let keys = KeyRing::from_jwks(&read_jwks(place).await?);
    keys.map(Some).map_err(|error| Failure::Usage(format!("--jwks {place}: {error}")))
}

/// Connects to the keyring and IVS as the configuration says.
async fn connect(global: &Global) -> Result<App, Failure> {
    let config = global.load_config()?;
    super::log_trouble(&config)?;
    Ok(App::for_command(&config, KeyAccess::LookOnly, Clock::system()).await?)
}

fn channel_of(app: Option<&App>, name: &str) -> Result<ChannelArn, Failure> {
    let known = app.and_then(|app| app.api().channels.names.resolve(name).ok());
    known.map_or_else(|| name.parse(), Ok).map_err(|error| {
        let hint = if app.is_some() { "" } else { "; an alias needs --config" };
        Failure::Usage(format!("--channel {name}: {error}{hint}"))
    })
}

/// Returns whether to use colour: on a terminal whose user has not disabled it.
fn colour() -> Colour {
    if std::io::stdout().is_terminal() && !Environment::of_process().forbids_colour() {
        Colour::Ansi
    } else {
        Colour::None
    }
}

async fn read_jwks(place: &str) -> Result<String, Failure> {
    let Some(url) = place.parse::<Url>().ok().filter(Url::has_host) else {
        let bytes = super::read_input(Path::new(place), MAX_INPUT)?;
        return String::from_utf8(bytes.to_vec())
            .map_err(|_| Failure::Usage(format!("--jwks {place}: the file is not text")));
    };
    match fetch::get(&url).await {
        Ok((200, text)) => Ok(text),
        Ok((status, _)) => Err(Failure::Failed(format!("--jwks {place} returned {status}"))),
        Err(why) => Err(Failure::Failed(format!("--jwks {place}: {why}"))),
    }
}
