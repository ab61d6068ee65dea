//! The command line: one file per command.
//!
//! Results go to stdout, everything else to stderr. The exit code is 1 for a failure, which is reported in one
//! message that says what to do next, and 2 for incorrect usage.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;
use tokio::runtime::Runtime;
use tracing::level_filters::LevelFilter;
use url::Url;
use zeroize::Zeroizing;

use crate::{
    access::audit::Actor,
    api::problem::ProblemType,
    app::{App, StartError, openapi_document},
    config::{Config, Environment, Overrides, Sources},
    service::{Error, key_pairs::RegionKeys},
    settings::parse_duration,
    telemetry::{self, Delivery, Directives},
};

mod channels;
mod clients;
mod config;
mod dev;
mod emulator;
mod healthcheck;
mod keys;
mod output;
mod serve;
mod token;
mod viewers;

/// How long a stopped server waits for its threads that wait for a file system.
const STUCK_THREADS: Duration = Duration::from_secs(1);

/// How long a stopped server waits for standard error to take its last log lines.
const LAST_LOG_LINES: Duration = Duration::from_millis(500);

/// Playback authorization for Amazon IVS private channels: mints viewer tokens over HTTP, manages the
/// playback key pairs that sign them, and includes an IVS-compatible emulator.
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
    /// Configuration file (TOML); `config show` prints the effective configuration
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    config: Option<PathBuf>,
    /// Output format; the JSON is that of the HTTP API
    #[arg(long, global = true, value_enum, default_value_t = Output::Text, help_heading = "Global options")]
    output: Output,
    /// Log level of this program: error, warn, info, debug or trace
    #[arg(long, global = true, value_name = "LEVEL", help_heading = "Global options")]
    log_level: Option<String>,
    /// AWS region; may be omitted if only one is configured
    #[arg(long, global = true, help_heading = "Global options")]
    region: Option<String>,
    /// AWS profile
    #[arg(long, global = true, help_heading = "Global options")]
    profile: Option<String>,
    /// IVS endpoint to use instead of the AWS one, such as an emulator
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
    /// Run the token service and an emulated IVS together, without an AWS account
    Dev(dev::DevArgs),
    /// Run an IVS-compatible endpoint (not for production)
    Emulator(emulator::EmulatorArgs),
    /// Manage playback key pairs: create, import, rotate and check them
    #[command(
        subcommand,
        after_help = "Example:\n  ivs-playback-auth keys list --region us-west-2"
    )]
    Keys(keys::KeysCommand),
    /// Mint a viewer token, or find out what is wrong with one
    #[command(subcommand, after_help = "Example:\n  ivs-playback-auth token inspect eyJhbGciOi…")]
    Token(token::TokenCommand),
    /// Show channels as the service sees them
    #[command(subcommand, after_help = "Example:\n  ivs-playback-auth channels get demo")]
    Channels(channels::ChannelsCommand),
    /// Revoke viewers: end their sessions, and deny them new tokens for a period
    #[command(
        subcommand,
        after_help = "Example:\n  ivs-playback-auth viewers revoke --channel demo --viewer-id alice --deny-for 1h"
    )]
    Viewers(viewers::ViewersCommand),
    /// Manage the clients of the HTTP API and their credentials
    #[command(
        subcommand,
        after_help = "Example:\n  ivs-playback-auth clients create backend --scope tokens:mint --write"
    )]
    Clients(clients::ClientsCommand),
    /// Check or show the effective configuration
    #[command(
        subcommand,
        after_help = "Example:\n  ivs-playback-auth config check --config production.toml"
    )]
    Config(config::ConfigCommand),
    /// Print the OpenAPI document of the HTTP API
    #[command(after_help = "Example:\n  ivs-playback-auth openapi > openapi.json")]
    Openapi,
    /// Query the liveness or readiness of a running service; for container health checks
    Healthcheck(healthcheck::HealthcheckArgs),
}

/// Why a command failed.
#[derive(Debug)]
enum Failure {
    /// The arguments or the configuration are invalid: exit code 2.
    Usage(String),
    /// The command failed: exit code 1.
    Failed(String),
    /// The result is negative and has been printed: exit code 1.
    Negative,
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Parses the arguments and runs the command.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Prints help to stdout and usage errors to stderr. A closed pipe is not an error.
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
        Command::Keys(command) => small_runtime()?.block_on(keys::run(&global, command)),
        Command::Token(command) => small_runtime()?.block_on(token::run(&global, command)),
        Command::Channels(command) => small_runtime()?.block_on(channels::run(&global, command)),
        Command::Viewers(command) => small_runtime()?.block_on(viewers::run(&global, command)),
        Command::Clients(command) => small_runtime()?.block_on(clients::run(&global, command)),
        Command::Config(command) => small_runtime()?.block_on(config::run(&global, &command)),
        Command::Openapi => output::line(&openapi_document(None)),
        Command::Healthcheck(args) => small_runtime()?.block_on(healthcheck::run(&global, args)),
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

    /// Loads the effective configuration: defaults, `--config`, environment, flags.
    fn load_config(&self) -> Result<Config, Failure> {
        load(self.sources())
    }

    /// Logs as the flags say, for `emulator`, which no file and no variable configures.
    fn log_by_flags(&self) -> Result<(), Failure> {
        let overrides = Overrides { log_level: self.log_level.clone(), ..Overrides::default() };
        let config = load(Sources { overrides, ..Sources::default() })?;
        log(&config.log, Delivery::Queued)
    }

    fn json(&self) -> bool {
        self.output == Output::Json
    }

    /// Prints a result, as JSON or as the text that people read.
    fn print(&self, body: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.json() { output::json(body) } else { output::line(&text()) }
    }
}

fn load(sources: Sources) -> Result<Config, Failure> {
    Config::load(sources).map_err(|error| Failure::Usage(error.to_string()))
}

/// Logs warnings and errors of a command whose output is its result, unless the configuration says
/// otherwise.
fn log_trouble(config: &Config) -> Result<(), Failure> {
    log_from(config, LevelFilter::WARN)
}

/// Logs what is at least as severe as `level`, unless the configuration says otherwise.
fn log_from(config: &Config, level: LevelFilter) -> Result<(), Failure> {
    let level = if config.is_chosen("log.level") {
        config.log.level.clone()
    } else {
        Directives::level(level)
    };
    log(&telemetry::Settings { format: config.log.format, level }, Delivery::Direct)
}

/// Returns the operator who runs this command, for the audit.
fn operator() -> Actor {
    Actor::operator(Environment::of_process().sudo_user())
}

fn log(settings: &telemetry::Settings, delivery: Delivery) -> Result<(), Failure> {
    Ok(telemetry::init(settings, delivery)?)
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

/// Reads a file, or standard input for `-`. The bytes are wiped when dropped: they may be a private key.
fn read_input(path: &Path, max: u64) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut bytes = Zeroizing::new(Vec::new());
    let read = if path == Path::new("-") {
        std::io::stdin().take(max + 1).read_to_end(&mut bytes)
    } else {
        let opened = std::fs::File::open(path);
        opened.and_then(|file| file.take(max + 1).read_to_end(&mut bytes))
    };
    let fault = match read {
        Ok(_) if u64::try_from(bytes.len()).is_ok_and(|length| length <= max) => return Ok(bytes),
        Ok(_) => format!("it is larger than {} MiB", max / (1024 * 1024)),
        Err(error) => error.to_string(),
    };
    Err(Failure::Usage(format!("cannot read {}: {fault}", place(path))))
}

/// Returns the name of an input file for messages.
fn place(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
}

/// Parses a duration as in the configuration.
fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .ok_or_else(|| "a duration is a whole number and a unit, such as 30s, 5m or 1h".to_owned())
}

/// Parses a lifetime. Claims are in whole seconds, and nothing is silently shortened.
fn whole_seconds(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration.subsec_nanos() == 0 {
        Ok(duration)
    } else {
        Err("a lifetime is in whole seconds, such as 300s or 5m".to_owned())
    }
}

/// Parses the beginning of playback URLs; paths and queries are appended to it.
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
        Err("a public URL is http:// or https:// and a host, without a user, query or fragment, such \
             as https://ivs.example.com"
            .to_owned())
    }
}

/// Returns the region of a command: the only configured one, or `--region`.
fn only_region(app: &App) -> Result<&RegionKeys, Failure> {
    let keys = app.api().key_pairs.region(None);
    keys.map_err(|error| Failure::Usage(format!("{error}; choose one with --region")))
}

/// Builds the runtime of a command, which makes few calls at a time.
fn small_runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start a runtime: {error}")))
}

/// Runs a server to its end; zero workers means one per core.
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
    // The server has waited for its own work. A thread that hangs in a file system must not keep the
    // process alive.
    runtime.shutdown_timeout(STUCK_THREADS);
    Ok(ended?)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    /// Two flags with one name would panic when the command is called.
    #[test]
    fn commands_are_consistent() {
        super::Cli::command().debug_assert();
    }

    #[test]
    fn public_url_is_a_base_for_paths() {
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
    fn import_of_public_key_refuses_flags_of_private_key() {
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
