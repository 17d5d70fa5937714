//! The text format of Prometheus: for each name what it is and of which kind, then its values with their labels.

use super::{Counter, FeedMetrics, Inner};
use std::fmt::Write;
use std::sync::PoisonError;
use std::time::{SystemTime, UNIX_EPOCH};

/// A number of a feed: name, what it is, where it is.
type Column = (&'static str, &'static str, fn(&FeedMetrics) -> &Counter);

/// The counters of a feed.
const COUNTERS: [Column; 13] = [
    ("rows_in_total", "Rows that came, good and bad.", |feed| &feed.rows_in),
    ("rows_aggregated_total", "Rows that are in summaries.", |feed| {
        &feed.aggregated
    }),
    ("rows_filtered_total", "Rows that the filter left out.", |feed| {
        &feed.filtered
    }),
    ("rows_late_total", "Rows that came behind the watermark.", |feed| {
        &feed.late
    }),
    ("rows_quarantined_total", "Rows that could not be read.", |feed| {
        &feed.quarantined
    }),
    ("rows_dropped_total", "Rows that came and could not be taken.", |feed| {
        &feed.dropped
    }),
    ("bytes_in_total", "Bytes received.", |feed| &feed.bytes),
    (
        "refused_total",
        "Connections and requests that were turned away, or ended for breaking a rule.",
        |feed| &feed.refused,
    ),
    ("batches_total", "Micro-batches reduced.", |feed| &feed.batches),
    ("rows_out_total", "Reports given to the sinks.", |feed| &feed.rows_out),
    ("alerts_total", "Alerts that began.", |feed| &feed.alerts),
    (
        "source_failures_total",
        "Questions that a source has asked in vain.",
        |feed| &feed.source_failures,
    ),
    ("journal_failures_total", "Writes to the journal that failed.", |feed| {
        &feed.journal_failures
    }),
];

/// The gauges of a feed.
const GAUGES: [Column; 3] = [
    ("connections", "Connections open now.", |feed| &feed.connections),
    ("open_windows", "Windows open now, one for each key.", |feed| {
        &feed.open_windows
    }),
    ("keys", "Keys known now.", |feed| &feed.keys),
];

/// A value of a label, as it stands between double quotes.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// A number as the format has it.
fn number(value: f64) -> String {
    if value == f64::INFINITY {
        "+Inf".into()
    } else {
        value.to_string()
    }
}

/// The text that grows.
struct Text(String);

impl Text {
    /// The lines before the values of a name.
    fn about(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP millstream_{name} {help}");
        let _ = writeln!(self.0, "# TYPE millstream_{name} {kind}");
    }

    /// A value; `labels` stand between braces, if there are any.
    fn value(&mut self, name: &str, labels: &str, value: &str) {
        let _ = match labels {
            "" => writeln!(self.0, "millstream_{name} {value}"),
            _ => writeln!(self.0, "millstream_{name}{{{labels}}} {value}"),
        };
    }

    fn alone(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.about(name, kind, help);
        self.value(name, "", &number(value));
    }
}

pub(super) fn text(metrics: &Inner) -> String {
    let mut text = Text(String::new());
    let labels: Vec<String> = metrics
        .feeds
        .iter()
        .map(|feed| format!("feed=\"{}\"", escaped(&feed.name)))
        .collect();
    let feeds = || metrics.feeds.iter().zip(&labels);
    for (kind, columns) in [("counter", &COUNTERS[..]), ("gauge", &GAUGES[..])] {
        for (name, help, of) in columns {
            text.about(name, kind, help);
            for (feed, labels) in feeds() {
                text.value(name, labels, &of(feed).get().to_string());
            }
        }
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let watermarks = || feeds().filter_map(|(feed, labels)| Some((feed.watermark.get_ns()? as f64 / 1e9, labels)));
    text.about(
        "watermark_seconds",
        "gauge",
        "How far event time has come, in seconds since 1970.",
    );
    for (seconds, labels) in watermarks() {
        text.value("watermark_seconds", labels, &number(seconds));
    }
    text.about(
        "watermark_lag_seconds",
        "gauge",
        "How far the watermark is behind the clock.",
    );
    for (seconds, labels) in watermarks() {
        text.value("watermark_lag_seconds", labels, &number(now.as_secs_f64() - seconds));
    }
    text.about("backend_info", "gauge", "Who reduces: always 1, the label says it.");
    for (feed, labels) in feeds() {
        let backend = escaped(&feed.backend.get());
        text.value("backend_info", &format!("{labels},backend=\"{backend}\""), "1");
    }
    latencies(&mut text, feeds());
    process(&mut text, metrics);
    text.0
}

fn latencies<'a>(text: &mut Text, feeds: impl Iterator<Item = (&'a FeedMetrics, &'a String)>) {
    let name = "batch_latency_seconds";
    let help = "From the arrival of a micro-batch's last row to the end of its reduction.";
    text.about(name, "histogram", help);
    for (feed, labels) in feeds {
        let mut total = 0;
        for (bound, count) in feed.batch_latency.cumulative() {
            let labels = format!("{labels},le=\"{}\"", number(bound));
            text.value(&format!("{name}_bucket"), &labels, &count.to_string());
            total = count;
        }
        text.value(
            &format!("{name}_sum"),
            labels,
            &number(feed.batch_latency.sum_seconds()),
        );
        text.value(&format!("{name}_count"), labels, &total.to_string());
    }
}

fn process(text: &mut Text, metrics: &Inner) {
    let checkpoint = *metrics.checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
    let checkpoints = metrics.checkpoints.get() as f64;
    let failures = metrics.checkpoint_failures.get() as f64;
    text.alone("checkpoints_total", "counter", "Checkpoints taken.", checkpoints);
    text.alone(
        "checkpoint_failures_total",
        "counter",
        "Checkpoints that failed.",
        failures,
    );
    if let Some((taken, took)) = checkpoint {
        let age = taken.elapsed().as_secs_f64();
        text.alone("checkpoint_age_seconds", "gauge", "Since the last checkpoint.", age);
        let help = "How long the last checkpoint took.";
        text.alone("checkpoint_duration_seconds", "gauge", help, took.as_secs_f64());
    }
    if let Some(bytes) = resident_bytes() {
        let help = "Memory of the process that is in RAM.";
        text.alone("resident_memory_bytes", "gauge", help, bytes as f64);
    }
    let uptime = metrics.started.elapsed().as_secs_f64();
    text.alone("uptime_seconds", "gauge", "Since the program began.", uptime);
    let is_ready = metrics.is_ready.load(std::sync::atomic::Ordering::Acquire);
    text.alone(
        "ready",
        "gauge",
        "1 while rows are taken, else 0.",
        f64::from(u8::from(is_ready)),
    );
    text.about(
        "build_info",
        "gauge",
        "Which program this is: always 1, the label says it.",
    );
    text.value(
        "build_info",
        concat!("version=\"", env!("CARGO_PKG_VERSION"), "\""),
        "1",
    );
}

/// Memory of this process that is in RAM, where the system says.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}
