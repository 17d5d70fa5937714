//! What sources that never end have in common: how bytes become rows, limits, counters, and the sign to stop.
//!
//! A live source has threads of its own, which block where the rows are not wanted yet: bounded channels lead to
//! [`Source::read`](super::Source::read), so that a slow engine slows the senders. It answers [`Read::Idle`] after at
//! most [`IDLE_WAIT`] without rows, and [`Read::End`] once it was told to stop and has given everything that it
//! accepted.

use super::{Position, Read, ReadOptions, Rows, TimeUnit};
use crate::error::{Error, Result};
use arrow::datatypes::{Schema, SchemaRef};
use crossbeam::channel::{Receiver, RecvTimeoutError};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long a live source waits for rows before it says that there are none.
pub const IDLE_WAIT: Duration = Duration::from_millis(5);

/// How long a source whose rows have to settle the columns waits for more of them.
pub(super) const SETTLE_WAIT: Duration = Duration::from_millis(20);

/// How long such a source waits at most, though rows keep trickling in.
pub(super) const SETTLE_TIME: Duration = Duration::from_millis(200);

/// The form in which rows come over a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireFormat {
    /// Comma-separated values; the first line of each connection, file or body is the header, unless the columns are
    /// named.
    Csv,
    /// One JSON object a line.
    Ndjson,
    /// Arrow IPC streams, one after another.
    Arrow,
    /// Length-prefixed rows of little-endian numbers.
    Binary,
}

/// The type of a column, where it is not to be found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ColumnType {
    /// A 64-bit float.
    F64,
    /// A 32-bit float.
    F32,
    /// A 64-bit integer.
    I64,
    /// Text.
    Text,
}

/// How the bytes of a live source become rows.
#[derive(Debug, Clone)]
pub struct WireOptions {
    /// The form.
    pub format: WireFormat,
    /// The names of the columns where no header has them (csv), always for binary.
    pub columns: Option<Vec<String>>,
    /// Types of columns: for text formats instead of finding out, for binary the width of the values.
    pub types: BTreeMap<String, ColumnType>,
    /// The type of columns that `types` does not name, for binary.
    pub values: ColumnType,
    /// The columns that will be asked for, in this order; every one where absent. Binary and csv skip the others.
    pub wanted: Option<Vec<String>>,
    /// The column of the event time and the unit of numbers in it.
    pub time: Option<(String, TimeUnit)>,
    /// Columns whose values tell groups apart.
    pub keys: Vec<String>,
    /// Columns that are wanted as numbers.
    pub numeric: Vec<String>,
    /// A line (csv, ndjson) or frame (binary, arrow) above this is a bad row; the rows behind it are read.
    pub line_bytes_max: usize,
}

impl WireOptions {
    /// What the readers of files are told: bad rows come back beside the good ones.
    pub fn read_options(&self) -> ReadOptions {
        ReadOptions {
            time: self.time.clone(),
            numeric: self.numeric.clone(),
            keys: self.keys.clone(),
            bad_rows: super::BadRows::Skip,
            ..ReadOptions::default()
        }
    }
}

/// Bounds on what strangers may ask of a live source.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Connections at once; one more is refused.
    pub connections: usize,
    /// A connection that does not finish a record (a line, a frame, a message with rows) in this time is closed.
    pub idle: Duration,
    /// Bytes of a body, decompressed.
    pub body_bytes: u64,
    /// Bytes of memory that the connections of a listener hold together for records that are not complete, beyond a first
    /// MiB each. Who gets none is not read until there is some, and closed where that takes longer than `idle`.
    pub held_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            idle: Duration::from_secs(60),
            body_bytes: 64 << 20,
            held_bytes: 128 << 20,
        }
    }
}

/// What a source counts beside the rows that it gives; anyone may look at any time.
#[derive(Debug, Default)]
pub struct Counters {
    /// Bytes received.
    pub bytes: AtomicU64,
    /// Connections open now.
    pub connections: AtomicU64,
    /// Connections and requests that were turned away, or ended for breaking a rule.
    pub refused: AtomicU64,
    /// Rows that came and could not be taken (datagrams beyond the buffer): in, but dropped.
    pub dropped_rows: AtomicU64,
    /// Writes to its journal that failed.
    pub journal_failures: AtomicU64,
    /// Questions that a source has asked in vain.
    pub failures: AtomicU64,
    failure: Mutex<Option<String>>,
}

impl Counters {
    /// What fails just now and is tried again; nothing where all is well.
    pub fn failure(&self) -> Option<String> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.clone()
    }

    pub(super) fn set_failure(&self, why: Option<&str>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = why.map(str::to_owned);
    }
}

/// The sign to stop, shared by everything that has to see it.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Stops.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether to stop.
    pub fn is_stopped(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What every live source is opened with.
#[derive(Debug, Clone)]
pub struct Context {
    /// The feed's name.
    pub name: String,
    /// How bytes become rows.
    pub wire: Arc<WireOptions>,
    /// Bounds.
    pub limits: Limits,
    /// The sign to stop.
    pub stop: Stop,
    /// What it counts.
    pub counters: Arc<Counters>,
    /// The columns of its rows: what the first rows decide, or a checkpoint has kept. Rows that come later have these
    /// columns and types, whatever else stands beside them; a connection that lacks one is refused.
    pub schema: Arc<Settled>,
}

/// Whether rows with these columns can be what a feed is for.
pub type Fits = Arc<dyn Fn(&SchemaRef) -> Result<()> + Send + Sync>;

/// The columns of a feed: settled once, by the first rows whose columns fit.
#[derive(Default)]
pub struct Settled {
    schema: OnceLock<SchemaRef>,
    fits: Option<Fits>,
}

impl Settled {
    /// Not settled yet; columns that do not fit will not be.
    pub fn by(fits: Fits) -> Self {
        Self {
            fits: Some(fits),
            ..Self::default()
        }
    }

    /// Those of another run of the feed.
    pub fn of(schema: SchemaRef) -> Self {
        Self {
            schema: schema.into(),
            fits: None,
        }
    }

    /// The columns, once there are some.
    pub fn get(&self) -> Option<&SchemaRef> {
        self.schema.get()
    }

    /// The columns of the feed: these, unless others came first.
    ///
    /// # Errors
    /// Why these do not fit; then nothing is settled.
    pub fn settle(&self, schema: SchemaRef) -> Result<SchemaRef> {
        if let Some(fits) = self.fits.as_ref().filter(|_| self.schema.get().is_none()) {
            fits(&schema)?;
        }
        Ok(self.schema.get_or_init(|| schema).clone())
    }

    /// For rows that lack these columns, which are put beside them: columns that these do not fit with will not be
    /// settled.
    ///
    /// # Errors
    /// Where one of them is not among the columns of the feed, which are settled.
    #[cfg(any(feature = "kafka", feature = "mqtt", feature = "rabbitmq", feature = "redis"))]
    pub(super) fn without(self: &Arc<Self>, labels: &[String]) -> Result<Self> {
        let Some(schema) = self.schema.get() else {
            let (outer, labels) = (Arc::clone(self), labels.to_vec());
            let fits = move |schema: &SchemaRef| {
                let all = labelled(schema, &labels)?;
                match outer.fits.as_ref().filter(|_| outer.schema.get().is_none()) {
                    Some(fits) => fits(&all),
                    None => Ok(()),
                }
            };
            return Ok(Self::by(Arc::new(fits)));
        };
        let places = (0..schema.fields().len()).filter(|place| !labels.contains(schema.field(*place).name()));
        let inner = schema.project(&places.collect::<Vec<_>>());
        let inner = Arc::new(inner.map_err(|e| Error::Failed(e.to_string()))?);
        match labelled(&inner, labels)? == *schema {
            true => Ok(Self::of(inner)),
            false => Err(Error::Config(format!(
                "the state of the feed has other columns beside the rows than {}",
                labels.join(", ")
            ))),
        }
    }

    /// As this one, but with nothing settled: for rows that may yet be refused as a whole.
    #[cfg(feature = "net")]
    pub(super) fn trial(&self) -> Self {
        Self {
            schema: OnceLock::new(),
            fits: self.fits.clone(),
        }
    }
}

/// These columns, and behind them labels as text.
///
/// # Errors
/// [`Error::Data`] where there is a column of that name.
#[cfg(any(feature = "kafka", feature = "mqtt", feature = "rabbitmq", feature = "redis"))]
pub(super) fn labelled(schema: &SchemaRef, labels: &[String]) -> Result<SchemaRef> {
    use arrow::datatypes::{DataType, Field};
    let fields = schema.fields().iter().cloned();
    if let Some(twice) = labels.iter().find(|label| schema.column_with_name(label).is_some()) {
        return Err(Error::Data(format!(
            "the rows have a column `{twice}`, which is to be put beside them"
        )));
    }
    let label = |name: &String| Arc::new(Field::new(name, DataType::Utf8, true));
    let all: Vec<_> = fields.chain(labels.iter().map(label)).collect();
    Ok(Arc::new(Schema::new(all)))
}

impl fmt::Debug for Settled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Settled").field(&self.schema.get()).finish()
    }
}

/// When the last rows of a source arrived: the next ones have arrived then or later, whatever becomes of the clock.
///
/// Rows are stamped where they are in the order in which they will be given, so that no row comes behind a later one.
#[derive(Debug)]
pub(super) struct Arrival(i64);

impl Default for Arrival {
    fn default() -> Self {
        Self(i64::MIN)
    }
}

impl Arrival {
    /// The last rows arrived then.
    pub(super) fn after(arrived_ns: i64) -> Self {
        Self(arrived_ns)
    }

    /// Rows have arrived, now by the clock.
    pub(super) fn stamp(&mut self, rows: &mut Rows) {
        rows.arrived_ns = Some(self.at(now_ns()));
    }

    /// When rows have arrived that did so at this time by a clock.
    pub(super) fn at(&mut self, clock_ns: i64) -> i64 {
        self.0 = self.0.max(clock_ns);
        self.0
    }
}

/// What a source has given.
#[derive(Debug, Default)]
pub(super) struct Given {
    rows: u64,
    arrival: Arrival,
}

impl Given {
    /// Rows that are given now, with the place behind them.
    pub(super) fn next(&mut self, mut rows: Rows) -> Read {
        self.arrival.stamp(&mut rows);
        self.rows += rows.count();
        let position = Position {
            rows: self.rows,
            ..Position::default()
        };
        Read::Batch(rows, position)
    }
}

/// The next rows that a source's threads have for it.
pub(super) fn receive(batches: &Receiver<Rows>, given: &mut Given) -> Read {
    match batches.recv_timeout(IDLE_WAIT) {
        Ok(rows) => given.next(rows),
        Err(RecvTimeoutError::Timeout) => Read::Idle,
        Err(RecvTimeoutError::Disconnected) => Read::End,
    }
}

/// The columns of a live source as far as they are known.
pub(super) fn settled(context: &Context) -> SchemaRef {
    context
        .schema
        .get()
        .cloned()
        .unwrap_or_else(|| Arc::new(Schema::empty()))
}

/// The columns of a live source are chosen before it is opened; naming the same once more is no mistake.
pub(super) fn selected(context: &Context, columns: &[String]) -> Result<()> {
    let same = match (&context.wire.wanted, context.schema.get()) {
        (Some(wanted), _) => wanted == columns,
        (None, Some(schema)) => schema.fields().iter().map(|f| f.name()).eq(columns),
        (None, None) => false,
    };
    if same {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "feed `{}`: its columns are chosen when it is opened",
        context.name
    )))
}

/// The clock, in nanoseconds since 1970.
pub(crate) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_does_not_make_rows_late() {
        let mut arrival = Arrival::default();
        let times: Vec<i64> = [-5, 7, 3, 7, 6, 8].into_iter().map(|clock| arrival.at(clock)).collect();
        assert_eq!(times, [-5, 7, 7, 7, 7, 8]);
    }
}
