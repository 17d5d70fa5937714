//! The journal of a feed: what was accepted from a source that cannot be asked again, on disk before it is acknowledged.
//!
//! A journal is a directory of segments, files that are appended to and, once a checkpoint has what they hold, deleted
//! ([`Source::commit`]). Each record holds the [`Rows`] of one request or read, with checksums. Rows that wait are
//! written and made durable together, then acknowledged, then given to the reader ([`JournalSource`]), so a disk that
//! syncs slowly makes larger groups and not a longer queue. The offset behind a record is its [`Position`]: `generation`
//! is the segment's number.
//!
//! When a journal is opened every record is checked. What a crash left half written at the end was never acknowledged
//! and is cut off; a record that cannot be read anywhere else is an error that names file and offset. A write that
//! fails is taken back, so the journal is consistent with a full disk too, and goes on when there is room.

mod journalled;
mod keys;
mod record;
mod scan;
mod segment;
#[cfg(test)]
mod tests;
mod writer;

pub use journalled::Journalled;
pub use keys::{Answer, Digest, KEY_BYTES_MAX, KEYS_MAX, Keys, Pending, Seen};
pub use writer::Done;

use super::budget::{Budget, Share};
use super::live::{Arrival, Context, Counters, IDLE_WAIT, Settled};
use super::{Position, Read, Rows, Source};
use crate::error::{Error, Result};
use arrow::datatypes::{Schema, SchemaRef};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use record::Payload;
use scan::Scan;
use segment::Replay;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use writer::{Disk, Entry, Files, Writer};

/// Bytes at which a segment ends: large enough that files are few, small enough that what a checkpoint has no use for
/// goes soon, and that looking through one when it is opened takes a fraction of a second.
pub const SEGMENT_BYTES_MAX: u64 = 64 << 20;

/// Bytes of rows that wait to be written or read: some seconds of what a disk takes at a common rate.
pub const QUEUE_BYTES_MAX: u64 = 64 << 20;

/// Entries that wait to be written, and to be read: so many that the bound above is what counts for bodies of a useful
/// size, and small ones do not take more memory in queues than in bytes.
const QUEUE_ENTRIES: usize = 1024;

/// How long [`Appender::append`] waits for room before it looks whether there is still somebody to read.
const ROOM_WAIT: Duration = Duration::from_millis(100);

/// A journal that was looked through and is not written yet.
pub struct Journal {
    directory: PathBuf,
    replay: Replay,
    writer: Writer,
    schema: Arc<Settled>,
    keys: Keys,
    state: Arc<JournalState>,
    note: Option<String>,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("directory", &self.directory)
            .field("replay", &self.replay)
            .finish_non_exhaustive()
    }
}

/// What is known of a journal while it is written.
#[derive(Debug, Default)]
pub struct JournalState {
    /// Bytes made durable.
    pub bytes: AtomicU64,
    /// Writes that failed.
    pub failures: AtomicU64,
    /// Nobody reads any more.
    closed: AtomicBool,
    failure: Mutex<Option<String>>,
    /// Those of the feed, which hear of failures too.
    counters: Arc<Counters>,
}

impl JournalState {
    /// Why the last write failed; nothing where it did not.
    pub fn failure(&self) -> Option<String> {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.clone()
    }

    fn set_failure(&self, why: Option<&str>) {
        if why.is_some() {
            self.failures.fetch_add(1, Ordering::Relaxed);
            self.counters.journal_failures.fetch_add(1, Ordering::Relaxed);
        }
        self.counters.set_failure(why);
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = why.map(str::to_owned);
    }
}

/// Rows that are durable, on their way to the reader.
pub(super) struct DurableRows {
    rows: Rows,
    position: Position,
    /// Their part of the memory that may wait.
    share: Option<Share>,
}

/// Puts rows into a journal; one for each thread that does.
#[derive(Clone)]
pub struct Appender {
    incoming: Sender<Entry>,
    budget: Budget,
    state: Arc<JournalState>,
}

impl std::fmt::Debug for Appender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Appender").finish_non_exhaustive()
    }
}

/// Why rows were not taken.
#[derive(Debug)]
#[non_exhaustive]
pub enum Refused {
    /// Too much waits: they may be sent again a little later.
    Full,
    /// Nobody reads the journal any more.
    Closed,
    /// They cannot be written at all.
    Unfit(Error),
}

impl Appender {
    /// Puts rows into the queue of the journal, if there is room; `done` is told when they are durable, or that they
    /// cannot be. A key is kept with the rows, so that it is known for as long as they are.
    ///
    /// # Errors
    /// [`Refused`], and then `done` is not called.
    pub fn try_append(&self, rows: Rows, pending: Option<Pending>, done: Done) -> std::result::Result<(), Refused> {
        let payload = Payload::of_rows(&rows, pending.as_ref().map(Pending::key_and_digest)).map_err(Refused::Unfit)?;
        let share = self.budget.try_take(payload.bytes.len() as u64).ok_or(Refused::Full)?;
        let entry = Entry {
            rows,
            payload,
            pending,
            done: Some(done),
            share,
        };
        self.incoming.try_send(entry).map_err(|e| match e {
            crossbeam::channel::TrySendError::Full(_) => Refused::Full,
            crossbeam::channel::TrySendError::Disconnected(_) => Refused::Closed,
        })
    }

    /// Puts rows into the queue of the journal and waits while it is full. Nobody is told about them: if they cannot be
    /// written they are tried again until they can.
    ///
    /// # Errors
    /// [`Refused::Closed`] and [`Refused::Unfit`].
    pub fn append(&self, rows: Rows) -> std::result::Result<(), Refused> {
        let payload = Payload::of_rows(&rows, None).map_err(Refused::Unfit)?;
        let share = loop {
            if self.is_closed() {
                return Err(Refused::Closed);
            }
            if let Some(share) = self.budget.take(payload.bytes.len() as u64, ROOM_WAIT) {
                break share;
            }
        };
        let entry = Entry {
            rows,
            payload,
            pending: None,
            done: None,
            share,
        };
        self.incoming.send(entry).map_err(|_| Refused::Closed)
    }

    /// Whether nobody reads any more.
    fn is_closed(&self) -> bool {
        self.state.closed.load(Ordering::Acquire)
    }

    /// Whether nothing more can wait.
    #[cfg(any(feature = "mqtt", feature = "net", feature = "rabbitmq"))]
    pub(crate) fn is_full(&self) -> bool {
        self.incoming.is_full() || self.budget.is_spent()
    }
}

impl Journal {
    /// Opens the journal in `directory`, or begins one, to be read from behind `from`; from its beginning without.
    ///
    /// The schema of its rows becomes that of the feed, unless that is known.
    ///
    /// # Errors
    /// [`Error::Data`] for a damaged journal, and for a position that is not in it; [`Error::Output`] where the
    /// directory cannot be made; [`Error::Input`] and [`Error::Failed`] where it cannot be read.
    pub fn open(context: &Context, directory: &Path, from: Option<&Position>) -> Result<Self> {
        Self::open_on(context, directory, from, Box::new(Files), SEGMENT_BYTES_MAX)
    }

    fn open_on(
        context: &Context,
        directory: &Path,
        from: Option<&Position>,
        disk: Box<dyn Disk>,
        segment_bytes_max: u64,
    ) -> Result<Self> {
        let output = |source| Error::Output {
            path: directory.to_owned(),
            source,
        };
        std::fs::create_dir_all(directory).map_err(output)?;
        // A directory that a power cut takes away again would take along what was acknowledged.
        if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            segment::sync_directory(parent).map_err(output)?;
        }
        let keys = Keys::default();
        // Nothing was read of generation 0, which is none.
        let start = from.filter(|from| from.generation > 0);
        let scan = Scan::of(directory, start, &keys)?;
        if let Some(schema) = scan.schema {
            context.schema.settle(schema)?;
        }
        let current = match scan.end {
            (0, _) => None,
            (number, _) => Some(disk.open(&segment::path(directory, number)).map_err(output)?),
        };
        let state = Arc::new(JournalState {
            counters: Arc::clone(&context.counters),
            ..JournalState::default()
        });
        Ok(Self {
            directory: directory.to_owned(),
            replay: Replay::new(directory, scan.unread, scan.start, scan.end),
            writer: Writer {
                directory: directory.to_owned(),
                disk,
                segment_bytes_max,
                keys: keys.clone(),
                state: Arc::clone(&state),
                current,
                number: scan.end.0,
                length: scan.end.1,
                is_untidy: false,
                rows: scan.rows,
                arrival: scan.arrived_ns.map_or_else(Arrival::default, Arrival::after),
            },
            schema: Arc::clone(&context.schema),
            keys,
            state,
            note: scan.note,
        })
    }

    /// What a message should say about its opening: that something half written was cut off.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// The keys of what was accepted.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Starts the thread that writes. Rows are read in the order in which they were written, those of the journal
    /// first; the end comes when the last appender is gone.
    ///
    /// # Errors
    /// [`Error::Failed`] where the system has no thread left.
    pub fn start(self) -> Result<(Appender, JournalSource)> {
        let (incoming, written) = bounded(QUEUE_ENTRIES);
        let (outgoing, ready) = bounded(QUEUE_ENTRIES);
        let writer = self.writer;
        let spawned = std::thread::Builder::new()
            .name("journal".into())
            .spawn(move || writer.run(&written, &outgoing));
        spawned.map_err(|e| Error::Failed(format!("the journal's thread cannot be started: {e}")))?;
        let appender = Appender {
            incoming,
            budget: Budget::new(QUEUE_BYTES_MAX),
            state: Arc::clone(&self.state),
        };
        let source = JournalSource {
            directory: self.directory,
            replay: Some(self.replay),
            ready,
            schema: self.schema,
            selected: None,
            state: self.state,
            oldest: None,
        };
        Ok((appender, source))
    }
}

/// The rows of a journal: first those that were in it, then those that come.
#[derive(Debug)]
pub struct JournalSource {
    directory: PathBuf,
    /// Until everything that stood in the journal has been given.
    replay: Option<Replay>,
    ready: Receiver<DurableRows>,
    schema: Arc<Settled>,
    selected: Option<Vec<String>>,
    state: Arc<JournalState>,
    /// The number of the oldest segment that may be there.
    oldest: Option<u64>,
}

impl JournalSource {
    /// What is known of the journal while it is written.
    pub fn state(&self) -> Arc<JournalState> {
        Arc::clone(&self.state)
    }

    /// The next rows, or nothing where none came within [`IDLE_WAIT`]; `None` at the end.
    fn next(&mut self) -> Result<Option<Option<(Rows, Position)>>> {
        if let Some(replay) = &mut self.replay {
            if let Some(next) = replay.next()? {
                return Ok(Some(Some(next)));
            }
            self.replay = None;
        }
        match self.ready.recv_timeout(IDLE_WAIT) {
            Ok(DurableRows { rows, position, share }) => {
                drop(share);
                Ok(Some(Some((rows, position))))
            }
            Err(RecvTimeoutError::Timeout) => Ok(Some(None)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
        }
    }
}

impl Source for JournalSource {
    fn schema(&self) -> SchemaRef {
        let schema = self.schema.get().cloned();
        schema.unwrap_or_else(|| Schema::empty().into())
    }

    fn select(&mut self, columns: &[String]) -> Result<()> {
        if let Some(schema) = self.schema.get() {
            let unknown = columns.iter().find(|name| schema.index_of(name).is_err());
            if let Some(name) = unknown {
                return Err(super::columns::no_column(name, schema, None));
            }
        }
        self.selected = Some(columns.to_vec());
        Ok(())
    }

    fn read(&mut self) -> Result<Read> {
        match self.next()? {
            None => Ok(Read::End),
            Some(None) => Ok(Read::Idle),
            Some(Some((mut rows, position))) => {
                if let Some(selected) = &self.selected {
                    rows.batch = project(&rows.batch, selected)?;
                }
                Ok(Read::Batch(rows, position))
            }
        }
    }

    fn commit(&mut self, upto: &Position) -> Result<()> {
        let numbers = match self.oldest {
            // Segments go oldest first, so no list is needed once one was made.
            Some(oldest) => (oldest..upto.generation).collect(),
            None => segment::listed(&self.directory)?.0,
        };
        for number in numbers.into_iter().filter(|number| *number < upto.generation) {
            let path = segment::path(&self.directory, number);
            match std::fs::remove_file(&path) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::Output { path, source });
                }
                _ => {}
            }
        }
        self.oldest = Some(upto.generation.max(self.oldest.unwrap_or(0)));
        Ok(())
    }
}

/// These columns of a batch, in this order.
pub(super) fn project(batch: &arrow::array::RecordBatch, columns: &[String]) -> Result<arrow::array::RecordBatch> {
    let failed = |e: arrow::error::ArrowError| Error::Data(e.to_string());
    let schema = batch.schema_ref();
    let places: Vec<usize> = columns
        .iter()
        .map(|name| schema.index_of(name))
        .collect::<std::result::Result<_, _>>()
        .map_err(failed)?;
    batch.project(&places).map_err(failed)
}

impl Drop for JournalSource {
    fn drop(&mut self) {
        self.state.closed.store(true, Ordering::Release);
    }
}
