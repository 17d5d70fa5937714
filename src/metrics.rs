//! What a running program tells about itself: numbers that anyone may add to and look at, and their Prometheus text.
//!
//! [`Metrics`] is a handful of atomics for each feed; adding to one costs as much as the addition. The text form is the
//! exposition format of Prometheus, version 0.0.4: every name begins with `millstream_`, units are seconds and bytes,
//! and what belongs to a feed has the label `feed`. The names are listed once, in [`text`](Metrics::text).
//!
//! Rows in = aggregated + filtered + late + quarantined + dropped, as soon as nothing is on its way.

mod histogram;
mod parse;
mod text;

pub use histogram::Histogram;
pub use parse::{Activity, FeedSnapshot, Snapshot};

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Takes the value of a counter that is kept elsewhere.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
pub type Gauge = Counter;

/// A text that seldom changes.
#[derive(Debug, Default)]
pub struct Label(Mutex<String>);

impl Label {
    /// Changes it.
    pub fn set(&self, text: &str) {
        text.clone_into(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What it is.
    pub fn get(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// An instant of event time that may not be known yet.
#[derive(Debug)]
pub struct EventTime(AtomicI64);

impl Default for EventTime {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

impl EventTime {
    /// Nanoseconds since 1970-01-01T00:00:00Z.
    pub fn set_ns(&self, time_ns: i64) {
        self.0.store(time_ns, Ordering::Relaxed);
    }

    /// Nanoseconds since 1970-01-01T00:00:00Z, once known.
    pub fn get_ns(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|time_ns| *time_ns != i64::MIN)
    }
}

/// The numbers of one feed.
#[derive(Debug, Default)]
pub struct FeedMetrics {
    /// Its name.
    name: String,
    /// Rows that came, good and bad.
    pub rows_in: Counter,
    /// Rows that are in summaries.
    pub aggregated: Counter,
    /// Rows that the filter left out.
    pub filtered: Counter,
    /// Rows that came behind the watermark.
    pub late: Counter,
    /// Rows that could not be read.
    pub quarantined: Counter,
    /// Rows that came and could not be taken.
    pub dropped: Counter,
    /// Bytes received.
    pub bytes: Counter,
    /// Connections and requests that were turned away, or ended for breaking a rule.
    pub refused: Counter,
    /// Micro-batches reduced.
    pub batches: Counter,
    /// Reports given to the sinks.
    pub rows_out: Counter,
    /// Alerts that began.
    pub alerts: Counter,
    /// Questions that a source has asked in vain.
    pub source_failures: Counter,
    /// Writes to the journal that failed.
    pub journal_failures: Counter,
    /// Connections open now.
    pub connections: Gauge,
    /// Windows open now, one for each key.
    pub open_windows: Gauge,
    /// Keys known now.
    pub keys: Gauge,
    /// How far event time has come.
    pub watermark: EventTime,
    /// From the arrival of a micro-batch's last row to the end of its reduction.
    pub batch_latency: Histogram,
    /// Who reduces: `cpu` or `gpu`.
    pub backend: Label,
}

impl FeedMetrics {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The numbers of a program; cheap to clone.
///
/// ```
/// use millstream::metrics::Metrics;
/// let metrics = Metrics::new(&["main"]);
/// metrics.feed(0).rows_in.add(3);
/// assert!(metrics.text().contains("millstream_rows_in_total{feed=\"main\"} 3\n"));
/// ```
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    started: Instant,
    feeds: Vec<FeedMetrics>,
    is_ready: AtomicBool,
    failure: Mutex<Option<String>>,
    checkpoints: Counter,
    checkpoint_failures: Counter,
    /// When the last checkpoint was taken, and how long it took.
    checkpoint: Mutex<Option<(Instant, Duration)>>,
}

impl Metrics {
    /// The numbers of feeds with these names.
    pub fn new<N: AsRef<str>>(feeds: &[N]) -> Self {
        let feed = |name: &N| FeedMetrics {
            name: name.as_ref().to_owned(),
            ..FeedMetrics::default()
        };
        Self(Arc::new(Inner {
            started: Instant::now(),
            feeds: feeds.iter().map(feed).collect(),
            is_ready: AtomicBool::new(false),
            failure: Mutex::new(None),
            checkpoints: Counter::default(),
            checkpoint_failures: Counter::default(),
            checkpoint: Mutex::new(None),
        }))
    }

    /// The numbers of the feed with this number.
    ///
    /// # Panics
    /// If there are not as many feeds.
    pub fn feed(&self, number: usize) -> &FeedMetrics {
        &self.0.feeds[number]
    }

    /// Every feed.
    pub fn feeds(&self) -> &[FeedMetrics] {
        &self.0.feeds
    }

    /// Whether rows are taken: what `/ready` answers.
    pub fn set_ready(&self, is_ready: bool) {
        self.0.is_ready.store(is_ready, Ordering::Release);
    }

    /// Whether rows are taken.
    pub fn is_ready(&self) -> bool {
        self.0.is_ready.load(Ordering::Acquire)
    }

    /// What keeps the program from doing its work (a sink that cannot be written), or that nothing does: what `/health`
    /// answers.
    pub fn set_failure(&self, why: Option<&str>) {
        *self.0.failure.lock().unwrap_or_else(PoisonError::into_inner) = why.map(str::to_owned);
    }

    /// What keeps the program from doing its work.
    pub fn failure(&self) -> Option<String> {
        let failure = self.0.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.clone()
    }

    /// A checkpoint was taken.
    pub fn checkpoint_taken(&self, took: Duration) {
        self.0.checkpoints.add(1);
        let mut last = self.0.checkpoint.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((Instant::now(), took));
    }

    /// A checkpoint could not be taken.
    pub fn checkpoint_failed(&self) {
        self.0.checkpoint_failures.add(1);
    }

    /// Everything in the text format of Prometheus.
    pub fn text(&self) -> String {
        text::text(&self.0)
    }
}
