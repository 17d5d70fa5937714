//! Where rows come from ([`Source`] and the formats), and the files that a program writes.
//!
//! A source is opened, its schema inspected, the wanted columns selected, then read to its end. Every source gives its
//! rows as Arrow record batches of at most a few megabytes, in the order of the input, whatever the number of threads
//! that decode it. Text becomes `Float64` or `Utf8` (a key also `Int64`); the event-time column, if one is named,
//! always comes as `Timestamp(Nanosecond, None)` without nulls (a row without a time is a bad row).

#[cfg(any(feature = "mqtt", feature = "rabbitmq"))]
mod acknowledged;
#[cfg(any(feature = "mqtt", feature = "rabbitmq"))]
mod address;
pub mod arrow;
mod budget;
pub mod bytes;
mod chain;
mod chunks;
mod columnar;
mod columns;
pub mod csv;
pub mod descriptors;
#[cfg(any(feature = "mqtt", feature = "rabbitmq"))]
mod driver;
pub mod follow;
#[cfg(feature = "net")]
pub mod http;
#[cfg(feature = "net")]
pub mod http_poll;
mod interrupt;
pub mod journal;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod live;
#[cfg(any(feature = "kafka", feature = "mqtt", feature = "rabbitmq", feature = "redis"))]
mod messages;
#[cfg(feature = "net")]
pub mod monitor;
#[cfg(feature = "mqtt")]
pub mod mqtt;
pub mod ndjson;
pub mod number;
mod open;
mod output;
#[cfg(feature = "parquet")]
pub mod parquet;
pub(crate) mod places;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "rabbitmq")]
pub mod rabbitmq;
#[cfg(feature = "redis")]
pub mod redis;
mod rejected;
pub mod remote;
mod seen;
#[cfg(feature = "net")]
mod serve;
pub mod shared;
pub mod sink;
pub mod stdin;
pub mod table;
pub mod tcp;
pub mod time;
#[cfg(feature = "net")]
pub mod tls;
pub mod udp;
mod whole;
pub mod wire;

#[cfg(all(unix, feature = "cli"))]
pub use interrupt::clean_up_when_interrupted;
pub use open::{bytes_total, open};
pub use output::OutputFile;

use crate::error::{BadRow, Result};
use ::arrow::array::RecordBatch;
use ::arrow::datatypes::SchemaRef;
use shared::{Given, SharedPlaces};
use std::path::PathBuf;

/// Rows as they come out of a source: the good ones as a batch, the bad ones with their reasons.
#[derive(Debug, Clone)]
pub struct Rows {
    /// The rows that could be read, in the order of the input, with the selected columns in the selected order.
    pub batch: RecordBatch,
    /// The rows that could not, in the order of the input. Empty under [`BadRows::Fail`], where the first is an error.
    pub rejected: Vec<BadRow>,
    /// Rows that could not be read either and of which nothing was kept, so that many bad rows take little memory. Sources
    /// of files keep all of them.
    pub unkept: u64,
    /// Bytes of input (compressed, as they stand on disk) consumed so far: what a progress bar shows.
    pub bytes_read: u64,
    /// When they arrived, in nanoseconds since 1970-01-01T00:00:00Z, where they came over a live source: the event time
    /// of rows that have no other. A journal gives it back as it was.
    pub arrived_ns: Option<i64>,
}

impl Rows {
    /// The rows that could not be read, kept or not.
    pub fn rejected_count(&self) -> u64 {
        self.rejected.len() as u64 + self.unkept
    }

    /// All rows, good and bad.
    pub fn count(&self) -> u64 {
        self.batch.num_rows() as u64 + self.rejected_count()
    }
}

/// A partition's place to resume from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    /// Which partition of the source (a file of several, a connection group).
    pub partition: u32,
    /// Rows of the partition up to here, rejected ones included.
    pub rows: u64,
    /// Bytes of the partition up to here, where that is a place to go on from (a followed file, a journal).
    pub offset_bytes: u64,
    /// Which of the files that followed one another under one name the offset belongs to (its inode, its number).
    pub generation: u64,
}

/// The answer to one [`Source::read`].
#[derive(Debug)]
pub enum Read {
    /// Rows, and the position behind them.
    Batch(Rows, Position),
    /// Nothing at the moment; more may come.
    Idle,
    /// The end: nothing more will come.
    End,
}

/// What a source knows of its input besides the rows: what messages about it say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct About {
    /// The name of the input (of the first of several).
    pub name: String,
    /// Columns that hold lists, objects and the like, which are not offered.
    pub nested: Vec<String>,
    /// Fields that first appeared behind the rows that settle the columns, so were not read.
    pub late: Vec<String>,
    /// Columns that are offered because [`ReadOptions::numeric`] names them, and that no row has had yet.
    pub absent: Vec<String>,
    /// Why the columns may not be what they should be, as a clause ("the header looks separated by tabs: …").
    pub hint: Option<String>,
}

/// Rows that arrive in an order that can be replayed.
pub trait Source: Send {
    /// Every column that the source has, with the type that it will have in the batches.
    fn schema(&self) -> SchemaRef;
    /// Reads only these columns from now on, in this order. To be called before the first read; without it every column
    /// is read.
    ///
    /// # Errors
    /// [`Error::Usage`](crate::Error::Usage) for a name that the source does not have.
    fn select(&mut self, columns: &[String]) -> Result<()>;
    /// The next rows.
    ///
    /// # Errors
    /// [`Error::Row`](crate::Error::Row) for a bad row under [`BadRows::Fail`], [`Error::Data`](crate::Error::Data) for
    /// a damaged input, [`Error::Limit`](crate::Error::Limit) where a bound is passed.
    fn read(&mut self) -> Result<Read>;
    /// What is known of the input so far.
    fn about(&self) -> About {
        About::default()
    }
    /// The partitions that rows are still to come from, where that is known; nothing where it is not.
    fn partitions(&self) -> Option<Vec<u32>> {
        None
    }
    /// What happened since this was asked last, and a person should know.
    fn notes(&mut self) -> Vec<String> {
        Vec::new()
    }
    /// Everything up to `upto` has been dealt with and will not be asked for again.
    ///
    /// # Errors
    /// What the source says; a file has nothing to do.
    fn commit(&mut self, upto: &Position) -> Result<()> {
        let _ = upto;
        Ok(())
    }
    /// Whether processes share its partitions: who has one may have to give it back, and another goes on with it.
    fn is_shared(&self) -> bool {
        false
    }
    /// The partitions that it has been given since this was asked last, before any of their rows.
    fn given(&mut self) -> Option<Given> {
        None
    }
    /// Whether it has to give its partitions back, and gives no rows until [`Source::let_go`].
    fn is_recalled(&self) -> bool {
        false
    }
    /// Has the group know where partitions stand.
    fn commit_shared(&mut self, places: &SharedPlaces) {
        let _ = places;
    }
    /// Gives its partitions back, which stand here; `is_last` where it reads none any more.
    fn let_go(&mut self, places: &SharedPlaces, is_last: bool) {
        let _ = (places, is_last);
    }
}

/// The format of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Comma-separated values with a header line (RFC 4180).
    Csv,
    /// The same, separated by tabs.
    Tsv,
    /// One JSON object a line, or one JSON array of objects.
    Ndjson,
    /// Apache Parquet.
    Parquet,
    /// Arrow IPC, file or stream.
    Arrow,
}

/// The unit of numeric event times, counted from 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimeUnit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    #[default]
    Milliseconds,
    /// Microseconds.
    Microseconds,
    /// Nanoseconds.
    Nanoseconds,
}

/// What to do with a row that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum BadRows {
    /// Stop with an error that names the row.
    #[default]
    Fail,
    /// Leave it out and count it.
    Skip,
    /// Leave it out, count it, and append it to this file.
    Quarantine(PathBuf),
}

/// How inputs are read.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// The format; by the name's extension where absent.
    pub format: Option<Format>,
    /// The column of the event time and the unit of numbers in it.
    pub time: Option<(String, TimeUnit)>,
    /// Columns of text formats that are wanted as numbers: text in them makes a bad row, unless all that inference sees
    /// of them is text. Where not all rows of ndjson are inspected, a name that is not in them is a column that may
    /// come later.
    pub numeric: Vec<String>,
    /// Columns whose values tell groups apart, so that none may be rounded: integers stay integers where they are
    /// otherwise widened to `f64`, and decimals stay decimals.
    ///
    /// In text formats such a column is `Int64` if all that inference sees of it are whole numbers of 64 bits (`007` is
    /// 7); later ones count however they are spelled (`1e3`, `7.0`), and anything else makes a bad row. It is text if
    /// a number does not fit (then `007` is not 7). Other numeric columns stay `Float64`, and a number from 2^53 on
    /// that `f64` would round makes a bad row.
    pub keys: Vec<String>,
    /// What happens to bad rows (the quarantine file itself is the caller's).
    pub bad_rows: BadRows,
    /// Decompressed size over compressed size at which reading stops with an error.
    pub max_expansion: u64,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            format: None,
            time: None,
            numeric: Vec::new(),
            keys: Vec::new(),
            bad_rows: BadRows::Fail,
            max_expansion: MAX_EXPANSION,
        }
    }
}

/// The default bound on decompressed over compressed size: ten times what the best real feeds reach, far below a bomb.
pub const MAX_EXPANSION: u64 = 1000;
