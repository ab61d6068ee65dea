//! What this process counts and measures, as Prometheus reads it.
//!
//! Each process has one [`Metrics`], created by `app` and passed to the components that have something to count; there
//! is no global registry, so that tests can run several services beside each other. A metric is declared by its field,
//! its name and help text in [`Families::default`], and the method that counts.
//! Names and labels are part of the HTTP contract. No label holds a viewer, a token, a channel, or
//! anything else that a caller chooses, but for the id of a client, of which there are few.

mod classic;
#[cfg(target_os = "linux")]
mod process;

use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::text,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Metric, Registry, Unit},
};

const PREFIX: &str = "ivs_playback_auth";

/// From a cache hit to a call that timed out, in seconds.
const DURATIONS: [f64; 12] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0];

/// Channels in one call; IVS takes 50.
const BATCH_SIZES: [f64; 6] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0];

type Labels<const N: usize> = [(&'static str, String); N];
type Seconds<const N: usize> = Family<Labels<N>, Histogram>;

/// How many calls there were, and how long they took.
///
/// Cheap to clone: clones count into the same registry.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Families>);

struct Families {
    registry: Registry,
    /// Metrics that every Prometheus client has under the same names, without our prefix.
    process: Registry,
    mints: Family<Labels<2>, Counter>,
    refusals: Family<Labels<1>, Counter>,
    requests: Seconds<3>,
    ivs_calls: Family<Labels<2>, Counter>,
    ivs_call_seconds: Seconds<1>,
    channel_lookups: Family<Labels<1>, Counter>,
    channel_batches: Histogram,
    channel_waits: Histogram,
    channel_throttles: Counter,
    key_state: Family<Labels<2>, Gauge>,
    keyring_age: Family<Labels<1>, Gauge<f64, AtomicU64>>,
    rotation_steps: Family<Labels<3>, Counter>,
    rotation_stuck: Family<Labels<1>, Gauge>,
    key_heals: Family<Labels<2>, Counter>,
    revocations: Family<Labels<1>, Counter>,
    ivs_clock_offset: Family<Labels<1>, Gauge<f64, AtomicU64>>,
    audit_records: Family<Labels<1>, Counter>,
    audit_failing: Gauge,
    certificate_expiry: Family<Labels<0>, Gauge>,
    certificate_not_reloaded: Family<Labels<0>, Gauge>,
    connections: Family<Labels<1>, Gauge>,
    max_connections: Family<Labels<1>, Gauge>,
    connections_ended: Family<Labels<2>, Counter>,
    accept_failures: Family<Labels<1>, Counter>,
    clients_not_reloaded: Gauge,
}

/// A text format of metrics. Both have the same sample names and values.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ExpositionFormat {
    /// `OpenMetrics` 1.0.
    OpenMetrics,
    /// The format of Prometheus before that, version 0.0.4.
    Classic,
}

/// How a channel lookup was answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LookupResult {
    /// From the cache, fresh.
    Hit,
    /// From the cache, while IVS is asked again or cannot answer.
    Stale,
    /// By a call to IVS.
    Miss,
    /// There is no such channel; from the cache or by a call.
    NotFound,
    /// IVS denies these credentials the channel.
    Denied,
    /// Not at all: IVS could not be asked in time.
    Unavailable,
}

impl LookupResult {
    const fn word(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Miss => "miss",
            Self::NotFound => "not_found",
            Self::Denied => "denied",
            Self::Unavailable => "unavailable",
        }
    }
}

impl Metrics {
    /// A mint by `client` was decided: `minted`, or the code of the refusal.
    pub fn mint(&self, client: &str, outcome: &str) {
        let labels = [("client", client.to_owned()), ("outcome", outcome.to_owned())];
        self.0.mints.get_or_create(&labels).inc();
    }

    /// A request, or an item of a batch, was answered by the problem `code`.
    pub fn refusal(&self, code: &str) {
        self.0.refusals.get_or_create(&[("code", code.to_owned())]).inc();
    }

    /// A request was answered; `route` is the matched pattern, never the path.
    pub fn request(&self, method: &str, route: &str, status: u16, took: Duration) {
        let labels = [
            ("method", method.to_owned()),
            ("route", route.to_owned()),
            ("status", status.to_string()),
        ];
        self.0.requests.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// A call to IVS ended: `ok`, or the kind of its failure. Retries of the SDK are one call.
    pub fn ivs_call(&self, operation: &'static str, outcome: &'static str, took: Duration) {
        let labels = [("operation", operation.to_owned()), ("outcome", outcome.to_owned())];
        self.0.ivs_calls.get_or_create(&labels).inc();
        let labels = [("operation", operation.to_owned())];
        self.0.ivs_call_seconds.get_or_create(&labels).observe(took.as_secs_f64());
    }

    /// The counter of lookups with this result; a component keeps it, since a warm lookup is on the
    /// path of each mint.
    pub fn channel_lookups(&self, result: LookupResult) -> Counter {
        self.0.channel_lookups.get_or_create_owned(&[("result", result.word().to_owned())])
    }

    /// A call to IVS asked for this many channels.
    pub fn channel_batch(&self, channels: usize) {
        self.0.channel_batches.observe(f64::from(u32::try_from(channels).unwrap_or(u32::MAX)));
    }

    /// A caller waited this long for a lookup that was no hit.
    pub fn channel_wait(&self, waited: Duration) {
        self.0.channel_waits.observe(waited.as_secs_f64());
    }

    /// IVS throttled a call that looks channels up.
    pub fn channel_throttle(&self) {
        self.0.channel_throttles.inc();
    }

    /// So many keys of a region are in this state now.
    pub fn set_key_state(&self, region: &str, state: &'static str, keys: usize) {
        let labels = [("region", region.to_owned()), ("state", state.to_owned())];
        self.0.key_state.get_or_create(&labels).set(i64::try_from(keys).unwrap_or(i64::MAX));
    }

    /// The keyring that a region signs with was read so long ago.
    pub fn set_keyring_age(&self, region: &str, age: Duration) {
        let labels = [("region", region.to_owned())];
        self.0.keyring_age.get_or_create(&labels).set(age.as_secs_f64());
    }

    /// A rotation or a repair took a step: `ok`, or why not.
    pub fn rotation_step(&self, region: &str, step: &'static str, outcome: &'static str) {
        let labels = [
            ("region", region.to_owned()),
            ("step", step.to_owned()),
            ("outcome", outcome.to_owned()),
        ];
        self.0.rotation_steps.get_or_create(&labels).inc();
    }

    /// Whether a region's rotation waits for something that does not come by itself.
    pub fn set_rotation_stuck(&self, region: &str, stuck: bool) {
        let labels = [("region", region.to_owned())];
        self.0.rotation_stuck.get_or_create(&labels).set(i64::from(stuck));
    }

    /// An active pair that was deleted in IVS was put back (`reimported`) or `replaced`.
    pub fn key_heal(&self, region: &str, outcome: &'static str) {
        let labels = [("region", region.to_owned()), ("outcome", outcome.to_owned())];
        self.0.key_heals.get_or_create(&labels).inc();
    }

    /// A viewer session's revocation ended: `revoked`, or the code of its failure.
    pub fn revocation(&self, outcome: &str) {
        self.0.revocations.get_or_create(&[("outcome", outcome.to_owned())]).inc();
    }

    /// How far our clock is ahead of that of IVS in a region, at least; negative if it is behind.
    pub fn set_ivs_clock_offset(&self, region: &str, millis: i64) {
        let labels = [("region", region.to_owned())];
        let size = Duration::from_millis(millis.unsigned_abs()).as_secs_f64();
        let offset = if millis < 0 { -size } else { size };
        self.0.ivs_clock_offset.get_or_create(&labels).set(offset);
    }

    /// So many audit records were `written` or `lost`.
    pub fn audit_records(&self, outcome: &'static str, records: u64) {
        self.0.audit_records.get_or_create(&[("outcome", outcome.to_owned())]).inc_by(records);
    }

    /// Whether audit records cannot be written at the moment.
    pub fn set_audit_failing(&self, failing: bool) {
        self.0.audit_failing.set(i64::from(failing));
    }

    /// When the server's certificate expires, in Unix seconds, and whether a newer one cannot be used.
    pub fn set_certificate(&self, expires: i64, not_reloaded: bool) {
        self.0.certificate_expiry.get_or_create(&[]).set(expires);
        self.0.certificate_not_reloaded.get_or_create(&[]).set(i64::from(not_reloaded));
    }

    /// The gauge of a listener's open connections.
    pub fn connections(&self, listener: &str) -> Gauge {
        self.0.connections.get_or_create_owned(&[("listener", listener.to_owned())])
    }

    /// A listener takes at most so many connections.
    pub fn set_max_connections(&self, listener: &str, most: usize) {
        let labels = [("listener", listener.to_owned())];
        self.0.max_connections.get_or_create(&labels).set(i64::try_from(most).unwrap_or(i64::MAX));
    }

    /// A connection was ended because its client was too slow, or to make room for another.
    pub fn connection_ended(&self, listener: &str, reason: &'static str) {
        let labels = [("listener", listener.to_owned()), ("reason", reason.to_owned())];
        self.0.connections_ended.get_or_create(&labels).inc();
    }

    /// A listener could not accept a connection.
    pub fn accept_failure(&self, listener: &str) {
        self.0.accept_failures.get_or_create(&[("listener", listener.to_owned())]).inc();
    }

    /// Sets whether the old clients stay in effect because the clients file cannot be used.
    pub fn set_clients_not_reloaded(&self, not_reloaded: bool) {
        self.0.clients_not_reloaded.set(i64::from(not_reloaded));
    }

    /// Everything, in one of the two text formats.
    ///
    /// # Errors
    ///
    /// None that can happen: a text takes whatever is written to it.
    pub fn encode(&self, format: ExpositionFormat) -> Result<String, fmt::Error> {
        let mut encoded = String::new();
        text::encode_registry(&mut encoded, &self.0.registry)?;
        text::encode_registry(&mut encoded, &self.0.process)?;
        // The crate writes an empty set of labels for a family without labels.
        let mut encoded = encoded.replace("{} ", " ");
        match format {
            ExpositionFormat::OpenMetrics => {
                text::encode_eof(&mut encoded)?;
                Ok(encoded)
            }
            ExpositionFormat::Classic => Ok(classic::from_open_metrics(&encoded)),
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Families {
    /// Declares each metric. The encoder appends `_total` to the names of counters, `_info` to that of an info, units
    /// to the names of those that have one, and a full stop to each help text.
    fn default() -> Self {
        let in_seconds: fn() -> Histogram = || Histogram::new(DURATIONS);
        let mut registry = Registry::with_prefix(PREFIX);
        let build =
            [("version", env!("CARGO_PKG_VERSION")), ("commit", env!("IVS_PLAYBACK_AUTH_COMMIT"))];
        registry.register(
            "build",
            "Version and commit of this program; always 1",
            Info::new(build),
        );
        registry.register(
            "log_lines_dropped",
            "Log lines lost because standard error was too slow or failed",
            super::output::DROPPED.clone(),
        );
        let mut process_registry = Registry::default();
        #[cfg(target_os = "linux")]
        process_registry.register_collector(Box::new(process::ProcessMetrics));
        Self {
            mints: add(
                &mut registry,
                "mints",
                "Mint decisions; each batch item counts separately",
                Family::default(),
            ),
            refusals: add(
                &mut registry,
                "refusals",
                "Requests and batch items answered with a problem",
                Family::default(),
            ),
            requests: add_seconds(
                &mut registry,
                "http_request_duration",
                "Time to answer a request",
                Family::new_with_constructor(in_seconds),
            ),
            ivs_calls: add(
                &mut registry,
                "ivs_calls",
                "Calls to Amazon IVS; each attempt counts",
                Family::default(),
            ),
            ivs_call_seconds: add_seconds(
                &mut registry,
                "ivs_call_duration",
                "Time that one attempt of a call to Amazon IVS took",
                Family::new_with_constructor(in_seconds),
            ),
            channel_lookups: add(
                &mut registry,
                "channel_lookups",
                "Channel lookups by how they were answered",
                Family::default(),
            ),
            channel_batches: add(
                &mut registry,
                "channel_batch_size",
                "Channels requested in one call to Amazon IVS",
                Histogram::new(BATCH_SIZES),
            ),
            channel_waits: add_seconds(
                &mut registry,
                "channel_lookup_wait",
                "Time that a caller waited for a channel that was not in the cache",
                in_seconds(),
            ),
            channel_throttles: add(
                &mut registry,
                "channel_throttles",
                "Channel lookup calls that Amazon IVS throttled",
                Counter::default(),
            ),
            key_state: add(
                &mut registry,
                "key_state",
                "Key pairs in each state; a region needs one active pair",
                Family::default(),
            ),
            keyring_age: add_seconds(
                &mut registry,
                "keyring_age",
                "Time since the keyring was last read",
                Family::default(),
            ),
            rotation_steps: add(
                &mut registry,
                "rotation_steps",
                "Steps of rotations and repairs by outcome",
                Family::default(),
            ),
            rotation_stuck: add(
                &mut registry,
                "rotation_stuck",
                "Whether a rotation needs the help of an operator: 1 or 0",
                Family::default(),
            ),
            key_heals: add(
                &mut registry,
                "key_heals",
                "Active key pairs that were deleted in Amazon IVS and reimported or replaced",
                Family::default(),
            ),
            revocations: add(
                &mut registry,
                "revocations",
                "Viewer session revocations by outcome",
                Family::default(),
            ),
            ivs_clock_offset: add_seconds(
                &mut registry,
                "ivs_clock_offset",
                "How far the clock of this process is ahead of that of Amazon IVS; negative if it is behind",
                Family::default(),
            ),
            audit_records: add(
                &mut registry,
                "audit_records",
                "Audit records by whether they were written or lost",
                Family::default(),
            ),
            audit_failing: add(
                &mut registry,
                "audit_failing",
                "Whether audit records cannot be written or are lost: 1 or 0",
                Gauge::default(),
            ),
            clients_not_reloaded: add(
                &mut registry,
                "clients_not_reloaded",
                "1 while the clients file cannot be used and the old clients stay in effect, otherwise 0",
                Gauge::default(),
            ),
            certificate_expiry: add(
                &mut registry,
                "tls_certificate_expiry_timestamp_seconds",
                "Unix time at which the first certificate of the server's chain expires",
                Family::default(),
            ),
            certificate_not_reloaded: add(
                &mut registry,
                "tls_not_reloaded",
                "1 while the files of the certificate cannot be used and the old one stays in use, otherwise 0",
                Family::default(),
            ),
            connections: add(&mut registry, "connections", "Open connections", Family::default()),
            max_connections: add(
                &mut registry,
                "max_connections",
                "Connections that a listener takes at most",
                Family::default(),
            ),
            connections_ended: add(
                &mut registry,
                "connections_ended",
                "Connections ended by the service for a slow client or for lack of room",
                Family::default(),
            ),
            accept_failures: add(
                &mut registry,
                "accept_failures",
                "Failures to accept a connection",
                Family::default(),
            ),
            registry,
            process: process_registry,
        }
    }
}

/// Registers a metric and returns it.
fn add<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

/// The same for a metric in seconds.
fn add_seconds<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register_with_unit(name, help, Unit::Seconds, metric.clone());
    metric
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_and_labels_are_those_of_the_contract() {
        let metrics = Metrics::default();
        metrics.mint("k3v9p2q8w1zx", "minted");
        metrics.refusal("unauthenticated");
        metrics.set_key_state("us-west-2", "active", 1);
        metrics.set_keyring_age("us-west-2", Duration::from_millis(1500));
        metrics.channel_lookups(LookupResult::Hit).inc();
        metrics.clone().ivs_call("GetChannel", "ok", Duration::from_millis(3));
        let text = metrics.encode(ExpositionFormat::OpenMetrics).unwrap();
        for line in [
            r#"ivs_playback_auth_mints_total{client="k3v9p2q8w1zx",outcome="minted"} 1"#,
            r#"ivs_playback_auth_refusals_total{code="unauthenticated"} 1"#,
            r#"ivs_playback_auth_key_state{region="us-west-2",state="active"} 1"#,
            r#"ivs_playback_auth_keyring_age_seconds{region="us-west-2"} 1.5"#,
            r#"ivs_playback_auth_channel_lookups_total{result="hit"} 1"#,
            r#"ivs_playback_auth_ivs_calls_total{operation="GetChannel",outcome="ok"} 1"#,
            r#"ivs_playback_auth_ivs_call_duration_seconds_count{operation="GetChannel"} 1"#,
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    /// `docs/metrics.md` names each metric with its labels, and no other.
    #[test]
    fn documentation_names_every_metric() {
        let documented: BTreeSet<&str> = include_str!("../../docs/metrics.md")
            .lines()
            .filter_map(|line| line.strip_prefix("| `ivs_playback_auth_")?.split('`').next())
            .collect();
        let text = one_of_each().encode(ExpositionFormat::OpenMetrics).unwrap();
        let values = regex_lite::Regex::new(r#"="[^"]*"| .*|_count"#).unwrap();
        let there_is: BTreeSet<String> = text
            .lines()
            .filter_map(|line| line.strip_prefix("ivs_playback_auth_"))
            .filter(|line| !line.contains("_bucket") && !line.contains("_sum"))
            .map(|line| values.replace_all(line, "").into_owned())
            .collect();
        assert_eq!(documented, there_is.iter().map(String::as_str).collect());
    }

    /// Prometheus shows both formats under the same names, so dashboards do not depend on the format.
    #[test]
    fn both_formats_have_the_same_samples() {
        let metrics = one_of_each();
        let samples = |format| -> Vec<String> {
            let text = metrics.encode(format).unwrap();
            let is_stable = |line: &&str| !line.starts_with('#') && !line.starts_with("process_");
            text.lines().filter(is_stable).map(ToOwned::to_owned).collect()
        };
        let open = samples(ExpositionFormat::OpenMetrics);
        assert_eq!(open, samples(ExpositionFormat::Classic));
        assert!(open.iter().any(|line| line.starts_with("ivs_playback_auth_build_info{")));
    }

    fn one_of_each() -> Metrics {
        let metrics = Metrics::default();
        metrics.mint("k3v9p2q8w1zx", "minted");
        metrics.refusal("unauthenticated");
        metrics.request("GET", "/healthz", 200, Duration::ZERO);
        metrics.ivs_call("GetChannel", "ok", Duration::ZERO);
        metrics.channel_lookups(LookupResult::Hit).inc();
        metrics.channel_batch(1);
        metrics.channel_wait(Duration::ZERO);
        metrics.channel_throttle();
        metrics.set_key_state("us-west-2", "active", 1);
        metrics.set_keyring_age("us-west-2", Duration::ZERO);
        metrics.rotation_step("us-west-2", "import", "ok");
        metrics.set_rotation_stuck("us-west-2", false);
        metrics.key_heal("us-west-2", "reimported");
        metrics.revocation("revoked");
        metrics.set_ivs_clock_offset("us-west-2", -1500);
        metrics.audit_records("written", 1);
        metrics.set_certificate(0, false);
        metrics.connections("api").inc();
        metrics.set_max_connections("api", 768);
        metrics.connection_ended("api", "header_timeout");
        metrics.accept_failure("api");
        metrics
    }

    #[test]
    fn debug_output_holds_no_label() {
        let metrics = Metrics::default();
        metrics.mint("k3v9p2q8w1zx", "minted");
        assert!(!format!("{metrics:?}").contains("k3v9p2q8w1zx"));
    }
}
