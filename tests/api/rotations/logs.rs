//! What this thread logs, for tests whose claim is that the log says so.

use std::{cell::RefCell, collections::BTreeMap, fmt, sync::Once};

use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, Registry, layer::Context, layer::SubscriberExt as _};

thread_local! {
    /// Tests have a thread each, and so have their tasks.
    static LINES: RefCell<Option<Vec<Line>>> = const { RefCell::new(None) };
}

type Line = BTreeMap<&'static str, String>;

/// Collects the events of this thread until it is dropped.
pub(super) struct Logs(());

impl Logs {
    pub(super) fn collect() -> Self {
        static COLLECTOR: Once = Once::new();
        // One for the process: with one a thread, an event's first use on another thread races with
        // the notice that somebody listens here.
        COLLECTOR.call_once(|| {
            tracing::subscriber::set_global_default(Registry::default().with(Collector)).unwrap();
        });
        LINES.set(Some(Vec::new()));
        Self(())
    }

    /// How many lines there are of an event, in which a field says something.
    pub(super) fn count(&self, event: &str, field: &str, value: &str) -> usize {
        self.lines_of(event).filter(|line| line.get(field).is_some_and(|it| it == value)).count()
    }

    /// The steps that were taken, in their order. Each says why.
    pub(super) fn steps(&self) -> Vec<String> {
        self.lines_of("rotation_step")
            .inspect(|line| assert!(!line["reason"].is_empty(), "{line:?}"))
            .map(|line| line["step"].clone())
            .collect()
    }

    /// Whether a text stands anywhere in the log.
    pub(super) fn hold(&self, text: &str) -> bool {
        self.lines().any(|line| line.values().any(|it| it.contains(text)))
    }

    fn lines_of(&self, event: &str) -> impl Iterator<Item = Line> {
        self.lines().filter(move |line| line.get("event").is_some_and(|it| it == event))
    }

    #[expect(clippy::unused_self, reason = "there are lines only while somebody collects")]
    fn lines(&self) -> impl Iterator<Item = Line> + use<> {
        LINES.with_borrow(|lines| lines.clone().unwrap_or_default()).into_iter()
    }
}

impl Drop for Logs {
    fn drop(&mut self) {
        LINES.set(None);
    }
}

struct Collector;

impl<S: Subscriber> Layer<S> for Collector {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target().starts_with("ivs_playback_auth")
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        LINES.with_borrow_mut(|lines| {
            if let Some(lines) = lines {
                let mut fields = Fields::default();
                event.record(&mut fields);
                lines.push(fields.0);
            }
        });
    }
}

#[derive(Default)]
struct Fields(Line);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}
