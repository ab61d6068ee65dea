//! Logging: one line an event on standard error, as JSON or as text.
//!
//! What may be logged is decided here and nowhere else. [`Directives`] reach our own targets only;
//! every other crate is capped at `info`, and neither a setting nor `RUST_LOG` raises that, because
//! the AWS SDK prints request bodies at trace.

mod instruments;
mod limit;
mod line;
pub mod metrics;
mod outage;
mod output;
mod settings;

use std::{
    io::{self, IsTerminal},
    str::FromStr,
};

use schemars::JsonSchema;
use serde::Deserialize;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

use crate::clock::Clock;
pub use instruments::Instruments;
pub use limit::LogLimit;
use line::{LineLayer, Style};
pub use line::{instant, with_causes};
pub use outage::Outage;
use output::LogQueue;
pub use output::{flush, print, say};
pub use settings::Settings;

/// The target of everything that this crate logs.
const OWN_TARGET: &str = "ivs_playback_auth";

/// The most that other crates may say.
const FOREIGN_CAP: LevelFilter = LevelFilter::INFO;

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// Text where standard error is a terminal, otherwise JSON.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// How much is logged: a level, and other levels for some modules.
///
/// Written `info`, or `info,keys=debug,ivs_playback_auth::http=warn`. A name without `::` that is
/// no crate's is a module of ours.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Directives {
    level: LevelFilter,
    targets: Vec<(String, LevelFilter)>,
}

/// The text is no list of log directives.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "log directives are a level (error, warn, info, debug, trace, off), or a level and module=level \
     pairs, separated by commas: \"info,keys=debug\""
)]
pub struct DirectivesError;

/// How log lines reach standard error.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Delivery {
    /// Through a bounded queue, so that a pipe that no one reads holds no request up: for servers.
    Queued,
    /// At once: for commands.
    Direct,
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// It was set up before in this process.
    #[error("logging is set up already")]
    AlreadySetUp,
    /// The operating system gives no thread.
    #[error("cannot start the thread that writes the log: {0}")]
    Thread(io::Error),
}

/// Sends this process's events to standard error.
///
/// # Errors
///
/// It was done before, or there is no thread for it.
pub fn init(settings: &Settings, delivery: Delivery) -> Result<(), InitError> {
    let terminal = io::stderr().is_terminal();
    let style = match settings.format {
        Format::Auto if terminal => Style::Text { colour: true },
        Format::Auto | Format::Json => Style::Json,
        Format::Text => Style::Text { colour: terminal },
    };
    let queue = match delivery {
        Delivery::Queued => Some(LogQueue::of_stderr().map_err(InitError::Thread)?),
        Delivery::Direct => None,
    };
    let writer = move || -> Box<dyn io::Write> {
        match &queue {
            Some(queue) => Box::new(queue.clone()),
            None => Box::new(io::stderr()),
        }
    };
    tracing_subscriber::registry()
        .with(settings.level.filter())
        .with(LineLayer::new(writer, style, Clock::system()))
        .try_init()
        .map_err(|_| InitError::AlreadySetUp)?;
    std::panic::set_hook(Box::new(|panic| {
        // The message may hold anything, a secret too; the place is enough to find the defect.
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(event = "panic", place, "a defect: the program panicked");
    }));
    Ok(())
}

impl Directives {
    /// Everything at `level`.
    pub fn level(level: LevelFilter) -> Self {
        Self { level, targets: Vec::new() }
    }

    /// What passes: our own targets as asked for, all others capped.
    fn filter(&self) -> Targets {
        let mut filter = Targets::new()
            .with_default(self.level.min(FOREIGN_CAP))
            .with_target(OWN_TARGET, self.level)
            // What it warns of (no region, no credentials) is an error of ours, said in a sentence.
            .with_target("aws_config", self.level.min(LevelFilter::ERROR));
        for (target, level) in &self.targets {
            let level = if is_own(target) { *level } else { (*level).min(FOREIGN_CAP) };
            filter = filter.with_target(target, level);
        }
        filter
    }
}

impl Default for Directives {
    fn default() -> Self {
        Self::level(LevelFilter::INFO)
    }
}

impl FromStr for Directives {
    type Err = DirectivesError;

    fn from_str(text: &str) -> Result<Self, DirectivesError> {
        let mut directives = Self::default();
        let mut level_given = false;
        for part in text.split(',').map(str::trim) {
            match part.split_once('=') {
                Some((target, level)) if is_target(target) => {
                    directives.targets.push((full_target(target), parse_level(level)?));
                }
                None if !level_given => {
                    directives.level = parse_level(part)?;
                    level_given = true;
                }
                Some(_) | None => return Err(DirectivesError),
            }
        }
        Ok(directives)
    }
}

fn is_own(target: &str) -> bool {
    target.strip_prefix(OWN_TARGET).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn is_target(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b':' || c == b'-')
}

/// The first part of a module path is one of our modules, or a crate's name.
fn full_target(target: &str) -> String {
    const MODULES: [&str; 13] = [
        "access",
        "app",
        "channels",
        "cli",
        "clock",
        "config",
        "emulator",
        "http",
        "ivs",
        "keys",
        "telemetry",
        "tokens",
        "viewers",
    ];
    let first = target.split("::").next().unwrap_or(target);
    if MODULES.contains(&first) { format!("{OWN_TARGET}::{target}") } else { target.to_owned() }
}

/// As `LevelFilter`'s own parser, but without its numbers and its empty text.
fn parse_level(text: &str) -> Result<LevelFilter, DirectivesError> {
    match text.to_ascii_lowercase().as_str() {
        "off" => Ok(LevelFilter::OFF),
        "error" => Ok(LevelFilter::ERROR),
        "warn" => Ok(LevelFilter::WARN),
        "info" => Ok(LevelFilter::INFO),
        "debug" => Ok(LevelFilter::DEBUG),
        "trace" => Ok(LevelFilter::TRACE),
        _ => Err(DirectivesError),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tracing::Level;

    use super::*;

    fn filter(text: &str) -> Targets {
        text.parse::<Directives>().unwrap().filter()
    }

    #[test]
    fn directives_reach_our_targets() {
        let filter = filter("warn,keys=debug,ivs_playback_auth::http=trace");
        assert!(filter.would_enable("ivs_playback_auth::keys::store", &Level::DEBUG));
        assert!(filter.would_enable("ivs_playback_auth::http", &Level::TRACE));
        assert!(filter.would_enable("ivs_playback_auth::tokens", &Level::WARN));
        assert!(!filter.would_enable("ivs_playback_auth::tokens", &Level::INFO));
        assert!(!filter.would_enable("hyper", &Level::INFO));
    }

    #[test]
    fn other_crates_can_be_lowered_but_not_raised() {
        let filter = filter("trace,hyper=warn,aws_smithy_runtime=trace,h2=debug");
        assert!(filter.would_enable("ivs_playback_auth::keys", &Level::TRACE));
        assert!(!filter.would_enable("hyper::client", &Level::INFO));
        assert!(filter.would_enable("aws_smithy_runtime", &Level::INFO));
        assert!(!filter.would_enable("aws_smithy_runtime", &Level::DEBUG));
        assert!(!filter.would_enable("h2", &Level::DEBUG));
    }

    #[test]
    fn what_is_not_a_directive_is_refused() {
        for text in ["", "loud", "info,warn", "3", "keys=", "=debug", "keys=loud", "a b=info", ","]
        {
            assert_eq!(text.parse::<Directives>(), Err(DirectivesError), "{text:?}");
        }
        assert_eq!("INFO".parse(), Ok(Directives::level(LevelFilter::INFO)));
    }

    proptest! {
        #[test]
        fn no_setting_raises_the_cap_of_other_crates(
            default in "(off|info|debug|trace)",
            targets in prop::collection::vec("(ivs|ivs_playback|ivs_playback_authx|aws|aws_smithy|keys)(::a)?=(debug|trace)", 0..5),
            foreign in "(ivs|ivs_playback|aws|aws_smithy|keys|hyper)(::a)?",
        ) {
            let text = [vec![default], targets].concat().join(",");
            prop_assert!(!filter(&text).would_enable(&foreign, &Level::DEBUG), "{}", text);
        }
    }
}
