//! Events as lines. A line holds the event's own fields and those of the spans around it, flat, with
//! the inner value where a name occurs twice; names become camelCase, as in the HTTP API.

use std::{
    fmt::{self, Write as _},
    io::Write as _,
};

use serde_json::{Map, Value};
use time::{OffsetDateTime, macros::format_description};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    fmt::MakeWriter,
    layer::Context,
    registry::{LookupSpan, Scope},
};

use crate::clock::{Clock, Timestamp};

/// The `event` of what other crates log; `target` names the crate.
const LIBRARY_MESSAGE: &str = "library_message";

/// How a line looks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Style {
    /// A JSON object: `ts`, `level`, `event`, then the fields.
    Json,
    /// The same for people.
    Text {
        /// With terminal colours.
        colour: bool,
    },
}

/// Writes each event that the filter lets through.
#[derive(Debug)]
pub(super) struct LineLayer<W> {
    writer: W,
    style: Style,
    clock: Clock,
}

impl<W> LineLayer<W> {
    pub(super) fn new(writer: W, style: Style, clock: Clock) -> Self {
        Self { writer, style, clock }
    }
}

impl<S, W> Layer<S> for LineLayer<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        // What other crates hang on their spans is theirs, and may be anything.
        if super::is_own(attributes.metadata().target())
            && let Some(span) = context.span(id)
        {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::around(context.event_scope(event));
        event.record(&mut fields);
        if !super::is_own(event.metadata().target()) {
            fields.values.insert("event".to_owned(), LIBRARY_MESSAGE.into());
            fields.values.insert("target".to_owned(), event.metadata().target().into());
        }
        let level = *event.metadata().level();
        let line = match self.style {
            Style::Json => json_line(self.clock.now(), level, fields),
            Style::Text { colour } => text_line(self.clock.now(), level, fields, colour),
        };
        // Nobody is left to tell when standard error is gone.
        let _ = self.writer.make_writer().write_all(line.as_bytes());
    }
}

/// Fields by their camelCase name, and the event's message.
#[derive(Debug, Default)]
struct Fields {
    message: String,
    values: Map<String, Value>,
}

impl Fields {
    /// The fields of the spans around an event.
    fn around<'a, S: LookupSpan<'a>>(scope: Option<Scope<'a, S>>) -> Self {
        let mut all = Self::default();
        for span in scope.into_iter().flat_map(Scope::from_root) {
            if let Some(fields) = span.extensions().get::<Self>() {
                all.values.extend(
                    fields.values.iter().map(|(name, value)| (name.clone(), value.clone())),
                );
            }
        }
        all
    }

    fn set(&mut self, field: &Field, value: Value) {
        self.values.insert(camel_case(field.name()), value);
    }
}

impl Visit for Fields {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.set(field, with_causes(value).into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
        } else {
            self.set(field, text.into());
        }
    }
}

/// `event` identifies the kind of line and never changes; `message` is for people.
fn json_line(now: Timestamp, level: Level, mut fields: Fields) -> String {
    let event = fields.values.remove("event").unwrap_or_else(|| "unnamed".into());
    let mut line = format!(
        "{{\"ts\":\"{}\",\"level\":\"{}\",\"event\":{event},\"message\":{}",
        instant(now),
        lower_case(level),
        Value::String(fields.message),
    );
    for (name, value) in fields.values {
        if !matches!(name.as_str(), "ts" | "level" | "message") {
            let _ = write!(line, ",{}:{value}", Value::String(name));
        }
    }
    line.push_str("}\n");
    line
}

fn lower_case(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

fn text_line(now: Timestamp, level: Level, fields: Fields, colour: bool) -> String {
    let (begin, end) = match (colour, level) {
        (false, _) => ("", ""),
        (true, Level::ERROR) => ("\x1b[31m", "\x1b[0m"),
        (true, Level::WARN) => ("\x1b[33m", "\x1b[0m"),
        (true, Level::INFO) => ("\x1b[32m", "\x1b[0m"),
        (true, _) => ("\x1b[2m", "\x1b[0m"),
    };
    let message = one_line(&fields.message);
    let mut line = format!("{} {begin}{:<5}{end} {message}", instant(now), level.as_str());
    for (name, value) in fields.values {
        let _ = match value.as_str() {
            Some(text) if is_plain(text) => write!(line, " {name}={text}"),
            _ => write!(line, " {name}={value}"),
        };
    }
    line.push('\n');
    line
}

/// Control characters, which could forge a line or drive the terminal, are shown escaped.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

fn is_plain(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '"' && c != '=')
}

/// RFC 3339 in UTC with milliseconds, as `ts` in every log line.
pub fn instant(now: Timestamp) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(now.unix_millis()) * 1_000_000)
        .ok()
        .and_then(|instant| instant.format(format).ok())
        .unwrap_or_else(|| now.to_string())
}

/// An error and what caused it, with colons between them.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// `request_id` as `requestId`; other names stay as they are.
fn camel_case(name: &str) -> String {
    let mut parts = name.strip_prefix("r#").unwrap_or(name).split('_');
    let mut camel = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut characters = part.chars();
        camel.extend(characters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(characters.as_str());
    }
    camel
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        path::{Path, PathBuf},
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(style: Style, log: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let (clock, _) = Clock::manual(Timestamp::from_unix_millis(1_795_337_700_012));
        let layer = LineLayer::new(move || writer.clone(), style, clock);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn log_a_mint() {
        let span = tracing::info_span!("request", request_id = "r1", code = tracing::field::Empty);
        span.record("code", "none");
        let _entered = span.enter();
        tracing::info!(
            event = "minted",
            ttl_seconds = 300,
            fresh = true,
            code = "ok",
            "minted a token"
        );
    }

    #[test]
    fn a_json_line_is_flat_with_the_names_of_the_contract() {
        let line = logged(Style::Json, log_a_mint);
        assert!(
            line.starts_with("{\"ts\":\"2026-11-22T08:55:00.012Z\",\"level\":\"info\",\"event\":")
        );
        assert!(line.ends_with("}\n"));
        assert_eq!(
            serde_json::from_str::<Value>(&line).unwrap(),
            serde_json::json!({
                "ts": "2026-11-22T08:55:00.012Z", "level": "info", "event": "minted", "message": "minted a token",
                "requestId": "r1", "ttlSeconds": 300, "fresh": true, "code": "ok",
            })
        );
    }

    #[test]
    fn a_text_line_has_the_same_for_people() {
        let line = logged(Style::Text { colour: false }, log_a_mint);
        assert_eq!(
            line,
            "2026-11-22T08:55:00.012Z INFO  minted a token code=ok event=minted fresh=true \
             requestId=r1 ttlSeconds=300\n"
        );
    }

    #[test]
    fn lines_of_other_crates_name_the_crate() {
        let line = logged(Style::Json, || tracing::info!(target: "hyper::proto", "connected"));
        let expected = "\"event\":\"library_message\",\"message\":\"connected\",\
                        \"target\":\"hyper::proto\"}";
        assert!(line.contains(expected), "{line}");
    }

    /// Operators search and alert by `event`, so no call of ours may leave it out or put a sentence there.
    #[test]
    fn every_log_call_has_an_event_in_snake_case_and_a_fixed_message() {
        let call = regex_lite::Regex::new(
            r"tracing::(?:error|warn|info|debug|trace|\$level)!\(((?:[^()]|\((?:[^()]|\([^()]*\))*\))*)\)",
        )
        .unwrap();
        let event = regex_lite::Regex::new(r#"^\s*event(?: = "[a-z][a-z0-9_]*")?,"#).unwrap();
        let message = regex_lite::Regex::new(r#"(?s)"[^"{]*",?\s*$"#).unwrap();
        let mut calls = 0;
        for (path, text) in sources(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))) {
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            for found in call.captures_iter(code) {
                calls += 1;
                let arguments = &found[1];
                assert!(event.is_match(arguments), "{}: {arguments}", path.display());
                assert!(message.is_match(arguments), "{}: {arguments}", path.display());
            }
        }
        assert!(calls > 40, "only {calls} calls were found");
    }

    fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries
            .flat_map(|path| {
                if path.is_dir() {
                    return sources(&path);
                }
                if path.extension().is_none_or(|extension| extension != "rs") {
                    return Vec::new();
                }
                let text = std::fs::read_to_string(&path).unwrap();
                vec![(path, text)]
            })
            .collect()
    }

    #[test]
    fn a_value_cannot_forge_a_line() {
        for style in [Style::Json, Style::Text { colour: false }] {
            let line = logged(style, || {
                tracing::warn!(name = "a\n{\"level\":\"error\"}\x1b[2J", "first\nsecond\x1b[2J");
            });
            assert_eq!(line.matches('\n').count(), 1, "{line:?}");
            assert!(!line.contains('\x1b'), "{line:?}");
        }
    }

    #[test]
    fn an_error_is_logged_with_its_causes() {
        let inner = io::Error::other("disk full");
        let outer = io::Error::other(inner);
        let line = logged(Style::Json, || {
            let error: &(dyn std::error::Error + 'static) = &outer;
            tracing::error!(error, "cannot write");
        });
        assert!(line.contains("disk full"), "{line}");
    }

    #[test]
    fn names_become_camel_case() {
        assert_eq!(camel_case("request_id"), "requestId");
        assert_eq!(camel_case("tokenId"), "tokenId");
        assert_eq!(camel_case("r#type"), "type");
    }
}
