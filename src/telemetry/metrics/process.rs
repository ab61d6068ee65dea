//! What Linux knows of this process, under the names that Prometheus clients use for it.

use std::fmt;

use procfs::process::{LimitValue, Process};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

/// Reads `/proc` at each scrape.
#[derive(Debug)]
pub(super) struct ProcessMetrics;

struct Usage {
    cpu_seconds: f64,
    resident_bytes: u64,
    start_seconds: f64,
    open_files: Option<u64>,
    max_files: Option<u64>,
}

impl Usage {
    #[expect(clippy::cast_precision_loss, reason = "ticks stay far below 2^53")]
    fn read() -> procfs::ProcResult<Self> {
        let process = Process::myself()?;
        let stat = process.stat()?;
        let seconds = |ticks: u64| ticks as f64 / procfs::ticks_per_second() as f64;
        let soft_limit = process.limits().map(|limits| limits.max_open_files.soft_limit);
        Ok(Self {
            cpu_seconds: seconds(stat.utime + stat.stime),
            resident_bytes: stat.rss * procfs::page_size(),
            start_seconds: procfs::boot_time_secs()? as f64 + seconds(stat.starttime),
            open_files: process.fd_count().ok().and_then(|count| count.try_into().ok()),
            max_files: match soft_limit {
                Ok(LimitValue::Value(limit)) => Some(limit),
                Ok(LimitValue::Unlimited) | Err(_) => None,
            },
        })
    }
}

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        // Where /proc cannot be read, the metrics are absent.
        let Ok(usage) = Usage::read() else { return Ok(()) };
        let cpu = ConstCounter::new(usage.cpu_seconds);
        let help = "User and system CPU time spent.";
        cpu.encode(encoder.encode_descriptor(
            "process_cpu",
            help,
            Some(&Unit::Seconds),
            cpu.metric_type(),
        )?)?;
        let start = ConstGauge::new(usage.start_seconds);
        let help = "Start time of the process since the Unix epoch.";
        start.encode(encoder.encode_descriptor(
            "process_start_time",
            help,
            Some(&Unit::Seconds),
            start.metric_type(),
        )?)?;
        let resident = ConstGauge::new(usage.resident_bytes);
        let help = "Resident memory size.";
        resident.encode(encoder.encode_descriptor(
            "process_resident_memory",
            help,
            Some(&Unit::Bytes),
            resident.metric_type(),
        )?)?;
        for (name, help, value) in [
            ("process_open_fds", "Number of open file descriptors.", usage.open_files),
            ("process_max_fds", "Maximum number of open file descriptors.", usage.max_files),
        ] {
            if let Some(value) = value {
                let gauge = ConstGauge::new(value);
                gauge.encode(encoder.encode_descriptor(
                    name,
                    help,
                    None,
                    gauge.metric_type(),
                )?)?;
            }
        }
        Ok(())
    }
}
