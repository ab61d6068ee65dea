//! The command line: one file a subcommand.
//!
//! Results go to stdout, everything else to stderr. A failure is one sentence that says what to do
//! next, and exit code 1; bad usage is exit code 2.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use tokio::runtime::Runtime;
use tracing::level_filters::LevelFilter;
use url::Url;

use crate::{
    access::audit::Actor,
    api::problem::ProblemType,
    app::{App, KeyAccess, StartError},
    clock::Clock,
    config::{Config, Environment, Log, Overrides, Sources, parse_duration},
    ivs::{IvsRegions, RegionalIvs, arn::Region},
    service::Error,
    telemetry::{self, Delivery, Directives},
};

mod channels;
mod clients;
mod config;
mod dev;
mod emulator;
mod healthcheck;
mod keys;
mod openapi;
mod output;
mod serve;
mod token;
mod viewers;

/// How long an ended server waits for threads of its own that wait for a file system.
const STUCK_THREADS: Duration = Duration::from_secs(1);

/// How long an ended server waits for standard error to take its last log lines.
const LAST_LOG_LINES: Duration = Duration::from_millis(500);

/// Playback authorization for Amazon IVS private channels: mints viewer tokens over HTTP, keeps the
/// playback key pairs that sign them, and carries an IVS-compatible emulator.
#[derive(Debug, Parser)]
#[command(
    name = "ivs-playback-auth",
    version,
    propagate_version = true,
    max_term_width = 100,
    after_help = "Try it without an AWS account:\n  ivs-playback-auth dev"
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Args, Clone, Debug)]
struct Global {
    /// Configuration file (TOML); see `config show` for what is in force
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    config: Option<PathBuf>,
    /// Form of the result; the JSON is that of the HTTP API
    #[arg(long, global = true, value_enum, default_value_t = Output::Text, help_heading = "Global options")]
    output: Output,
    /// Log level of this program: error, warn, info, debug or trace
    #[arg(long, global = true, value_name = "LEVEL", help_heading = "Global options")]
    log_level: Option<String>,
    /// AWS region; may be left out where one is configured
    #[arg(long, global = true, help_heading = "Global options")]
    region: Option<String>,
    /// AWS profile
    #[arg(long, global = true, help_heading = "Global options")]
    profile: Option<String>,
    /// Endpoint of IVS instead of AWS's own, such as an emulator's
    #[arg(long, global = true, value_name = "URL", help_heading = "Global options")]
    endpoint_url: Option<String>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the token service
    Serve(serve::ServeArgs),
    /// Run the token service and an emulated IVS together, with no AWS account
    Dev(dev::DevArgs),
    /// Run an IVS-compatible endpoint (not for production)
    Emulator(emulator::EmulatorArgs),
    /// Playback key pairs: make, adopt, rotate, examine
    #[command(
        subcommand,
        after_help = "Example:\n  ivs-playback-auth keys list --region us-west-2"
    )]
    Keys(keys::KeysCommand),
    /// Viewer tokens: mint one, or find out what is wrong with one
    #[command(subcommand, after_help = "Example:\n  ivs-playback-auth token inspect eyJhbGciOi…")]
    Token(token::TokenCommand),
    /// Channels as the service sees them
    #[command(subcommand, after_help = "Example:\n  ivs-playback-auth channels get demo")]
    Channels(channels::ChannelsCommand),
    /// Viewers: revoke their sessions, and keep them out for a while
    #[command(
        subcommand,
        after_help = "Example:\n  ivs-playback-auth viewers revoke --channel demo --viewer-id alice --deny-for 1h"
    )]
    Viewers(viewers::ViewersCommand),
    /// Clients of the HTTP API and their credentials
    #[command(
        subcommand,
        after_help = "Example:\n  ivs-playback-auth clients create backend --scope tokens:mint --write"
    )]
    Clients(clients::ClientsCommand),
    /// The configuration in force
    #[command(
        subcommand,
        after_help = "Example:\n  ivs-playback-auth config check --config production.toml"
    )]
    Config(config::ConfigCommand),
    /// Print the OpenAPI document of the HTTP API
    #[command(after_help = "Example:\n  ivs-playback-auth openapi > openapi.json")]
    Openapi,
    /// Ask a running service whether it is alive or ready; for container health checks
    Healthcheck(healthcheck::HealthcheckArgs),
}

/// Why a command failed.
#[derive(Debug)]
enum Failure {
    /// The arguments or the configuration are wrong: exit code 2.
    Usage(String),
    /// The command could not do its work: exit code 1.
    Failed(String),
    /// The result says no, and has been printed: exit code 1.
    Negative,
}

impl Failure {
    fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Parses the arguments and runs the command.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Prints help to stdout and usage errors to stderr. A closed pipe is nobody's fault.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let code = match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Negative) => ExitCode::FAILURE,
        Err(Failure::Failed(message)) => {
            telemetry::say(&format!("ivs-playback-auth: {message}"));
            ExitCode::FAILURE
        }
        Err(Failure::Usage(message)) => {
            telemetry::say(&format!("ivs-playback-auth: {message}"));
            ExitCode::from(2)
        }
    };
    telemetry::flush(LAST_LOG_LINES);
    code
}

fn run(cli: Cli) -> Result<(), Failure> {
    let global = cli.global;
    match cli.command {
        Command::Serve(args) => serve::run(&global, args),
        Command::Dev(args) => dev::run(&global, args),
        Command::Emulator(args) => emulator::run(&global, args),
        Command::Keys(command) => keys::run(&global, command),
        Command::Token(command) => token::run(&global, command),
        Command::Channels(command) => channels::run(&global, command),
        Command::Viewers(command) => viewers::run(&global, command),
        Command::Clients(command) => clients::run(&global, command),
        Command::Config(command) => config::run(&global, &command),
        Command::Openapi => openapi::run(),
        Command::Healthcheck(args) => healthcheck::run(&global, args),
    }
}

impl Global {
    fn overrides(&self) -> Overrides {
        Overrides {
            region: self.region.clone(),
            profile: self.profile.clone(),
            endpoint_url: self.endpoint_url.clone(),
            log_level: self.log_level.clone(),
            ..Overrides::default()
        }
    }

    fn sources(&self) -> Sources {
        Sources::of_process(self.config.clone(), self.overrides())
    }

    /// The configuration in force: defaults, `--config`, environment, flags.
    fn load_config(&self) -> Result<Config, Failure> {
        load(self.sources())
    }

    /// For `dev` and `emulator`, which no file and no variable configures.
    fn log_by_flags(&self) -> Result<(), Failure> {
        let overrides = Overrides { log_level: self.log_level.clone(), ..Overrides::default() };
        let config = load(Sources { overrides, ..Sources::default() })?;
        log(&config.log, Delivery::Queued)
    }

    fn json(&self) -> bool {
        self.output == Output::Json
    }
}

fn load(sources: Sources) -> Result<Config, Failure> {
    Config::load(sources).map_err(|error| Failure::Usage(error.to_string()))
}

/// For a command that does one thing: what it prints is its result, so that only trouble is logged
/// unless more is asked for.
fn log_trouble(config: &Config) -> Result<(), Failure> {
    log_from(config, LevelFilter::WARN)
}

/// Logs what is at least as bad as `level`, unless something else is asked for.
fn log_from(config: &Config, level: LevelFilter) -> Result<(), Failure> {
    let level = if config.is_chosen("log.level") {
        config.log.level.clone()
    } else {
        Directives::level(level)
    };
    log(&Log { format: config.log.format, level }, Delivery::Direct)
}

/// The operator who runs this command, for the audit.
fn operator() -> Actor {
    Actor::operator(Environment::of_process().sudo_user())
}

/// The components of a service, for a command that does one thing with them.
fn components(config: &Config, access: KeyAccess) -> Result<(Runtime, App), Failure> {
    let runtime = small_runtime()?;
    let app = runtime.block_on(App::for_command(config, access, Clock::system()));
    Ok((runtime, app.map_err(Failure::failed)?))
}

fn log(settings: &Log, delivery: Delivery) -> Result<(), Failure> {
    telemetry::init(settings.format, &settings.level, delivery).map_err(Failure::failed)
}

/// Turns the refusal of a use case into an error message. Its rules name members, and a command line has flags, so
/// each broken rule begins with the flag that it is about.
fn refused(error: &Error) -> Failure {
    const FLAGS: [(&str, &str); 10] = [
        ("channel", "--channel"),
        ("viewerId", "--viewer-id"),
        ("viewerSessionVersion", "--viewer-session-version"),
        ("allowedOrigins", "--origin"),
        ("strictOriginEnforcement", "--strict-origin"),
        ("singleUse", "--single-use"),
        ("maximumResolution", "--max-resolution"),
        ("ttlSeconds", "--ttl"),
        ("denyFor", "--deny-for"),
        ("viewerSessionVersionsLessThanOrEqualTo", "--version"),
    ];
    if error.problem() != ProblemType::InvalidRequest {
        return Failure::Failed(error.detail().to_owned());
    }
    let broken = error.violations().iter().map(|violation| {
        let member = violation.pointer.split('/').nth(1).unwrap_or_default();
        match FLAGS.iter().find(|(known, _)| *known == member) {
            Some((_, flag)) => format!("{flag}: {}", violation.detail),
            None => violation.detail.clone(),
        }
    });
    Failure::Usage(broken.collect::<Vec<_>>().join("\n  "))
}

/// A duration as the configuration writes it.
fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .ok_or_else(|| "a duration is a whole number and a unit, such as 30s, 5m or 1h".to_owned())
}

/// A lifetime: claims are in whole seconds, and nothing is quietly shortened.
fn whole_seconds(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration.subsec_nanos() == 0 {
        Ok(duration)
    } else {
        Err("a lifetime is in whole seconds, such as 300s or 5m".to_owned())
    }
}

/// What playback URLs begin with: paths and queries are put behind it.
fn public_url(text: &str) -> Result<Url, String> {
    let url: Url = text.parse().map_err(|error| format!("{error}"))?;
    let is_base = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if is_base {
        Ok(url)
    } else {
        Err("a public URL is http:// or https:// and a host, without user, query and fragment, such \
             as https://ivs.example.com"
            .to_owned())
    }
}

/// The region that a command is about: the only one that is configured, or `--region`.
fn only_region(ivs: &IvsRegions) -> Result<&RegionalIvs, Failure> {
    let mut regions = ivs.iter();
    if let (Some(only), None) = (regions.next(), regions.next()) {
        return Ok(only);
    }
    Err(Failure::Usage(format!(
        "several regions are configured ({}); choose one with --region",
        Region::list(ivs.names())
    )))
}

/// For a command that waits for a few answers.
fn small_runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start a runtime: {error}")))
}

/// Runs a server to its end; zero workers means one for each core.
fn run_server(
    workers: usize,
    server: impl Future<Output = Result<(), StartError>>,
) -> Result<(), Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if workers > 0 {
        builder.worker_threads(workers);
    }
    let runtime = builder
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start a runtime: {error}")))?;
    let ended = runtime.block_on(server);
    // The server has waited for what it should. A thread that a file system keeps must not keep the
    // process as well.
    runtime.shutdown_timeout(STUCK_THREADS);
    ended.map_err(Failure::failed)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    /// Two flags of one name would be a panic when the command is called.
    #[test]
    fn the_commands_fit_together() {
        super::Cli::command().debug_assert();
    }

    #[test]
    fn a_public_url_is_one_that_paths_can_follow() {
        for url in ["http://localhost:8090", "https://ivs.example.com/", "http://[::1]:1/base"] {
            assert!(super::public_url(url).is_ok(), "{url}");
        }
        for url in [
            "ftp://x",
            "x",
            "data:a",
            "http://x/?a=1",
            "http://x/#f",
            "http://u@x/",
            "http://:p@x/",
        ] {
            assert!(super::public_url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn what_only_a_private_key_needs_is_refused_with_a_public_one() {
        let import = |more: &[&str]| {
            let begun = ["ivs-playback-auth", "keys", "import"];
            super::Cli::try_parse_from(begun.iter().chain(more)).is_ok()
        };
        assert!(import(&["--private-key", "f", "--exclusive", "--longest-ttl", "6h"]));
        assert!(import(&["--public-key", "f"]));
        assert!(!import(&["--public-key", "f", "--exclusive"]));
        assert!(!import(&["--public-key", "f", "--longest-ttl", "6h"]));
    }
}
