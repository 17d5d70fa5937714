//! Entries of a Redis stream, read by a consumer group that has no other consumer.
//!
//! A stream is a log that can be read again, and an entry's id is its place: [`Position::offset_bytes`] holds the
//! milliseconds of the last entry, [`Position::generation`] its sequence number. The rule: with a checkpoint, that place
//! alone says where the feed goes on, whatever the group has been given meanwhile, and entries are acknowledged once a
//! checkpoint behind them is durable; without one the group says it, and entries are acknowledged once they are given.
//!
//! One thread asks the server and acknowledges (`reading`); the thread of the source decodes.

pub(super) mod connecting;
pub(super) mod entries;
pub(super) mod group;
mod reading;

use super::live::{self, Arrival, Context, WireFormat};
use super::messages::Messages;
use super::rejected::Rejected;
use super::remote::{RedisFeed, Start};
use super::{About, Position, Read, Rows, Source};
use crate::error::{BadRow, Error, Result};
use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::{Schema, SchemaRef};
use connecting::Server;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use entries::{Entry, Held, Id, row_of_fields};
use group::{CONSUMER, Group, end_of_stream};
use reading::{Reading, Said, Settled};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// The field of an entry that holds rows, where none is named.
const FIELD: &str = "rows";

/// Answers between the thread that asks and the one that decodes.
const ANSWERS: usize = 2;

/// Bytes of messages that are decoded together.
const BYTES_TOGETHER: usize = 1 << 20;

/// How long the last acknowledgements are waited for.
const END_WAIT: Duration = Duration::from_secs(1);

/// The rows of a stream.
pub struct RedisSource {
    context: Context,
    name: String,
    messages: Messages,
    field: String,
    /// The columns, where an entry without the field may be a row of them.
    columns: Option<Vec<String>>,
    said: Option<Receiver<Said>>,
    settled: Settled,
    /// Whether what is given is settled by then.
    at_once: bool,
    position: Position,
    arrival: Arrival,
    notes: Vec<String>,
    bytes_read: u64,
    /// Let go of, they say that nobody reads any more.
    wanted: Option<Sender<()>>,
    ended: Receiver<()>,
}

impl std::fmt::Debug for RedisSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisSource")
            .field("name", &self.name)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

/// The place that a position is, if it is one.
fn place(position: Option<&Position>) -> Option<Id> {
    let id = position.map(|position| Id {
        ms: position.offset_bytes,
        sequence: position.generation,
    });
    id.filter(|id| *id > Id::default())
}

fn not_there(name: &str, stream: &str) -> String {
    format!(
        "{name}: there is no stream `{stream}`: add its first entry, or make it empty with XGROUP CREATE {stream} GROUP 0 \
         MKSTREAM"
    )
}

fn too_short(name: &str, stream: &str, end: Id, place: Id) -> String {
    format!(
        "{name}: the stream `{stream}` ends with {end}, but it was read up to {place}: the server has lost entries, or it is \
         another one. To go on with what comes, say XSETID {stream} {place}; to read all of it, have the group begin anew \
         with XGROUP DESTROY, and give up the checkpoint with --discard-state"
    )
}

fn gone(count: u64, stream: &str) -> String {
    format!("{count} entries were deleted from the stream `{stream}` before they were read, and their rows are lost")
}

impl RedisSource {
    /// Connects and begins to read: behind `from`, else where the group stands, which is made if there is none. What is
    /// given is acknowledged by [`Source::commit`], or `at_once`.
    ///
    /// # Errors
    /// [`Error::Config`] for a server that cannot be reached, a password that it does not take, a stream that is not
    /// there or ends before `from`, and for options of the wire that make no sense; [`Error::Input`] for files that
    /// cannot be read; [`Error::Failed`] where the system has no thread left.
    pub fn open(context: &Context, feed: &RedisFeed, from: Option<&Position>, at_once: bool) -> Result<Self> {
        let name = format!("redis {} {}", feed.server.place(), feed.stream);
        let messages = Messages::new(context, name.as_str(), Vec::new())?;
        let server = Server::new(&in_words(&context.name, feed), &feed.server)?;
        let group = group_of(feed);
        let mut connection = server.connect().map_err(|e| server.refused(&e))?;
        let failed = |e| server.refused(&e);
        let end = end_of_stream(&mut connection, &feed.stream).map_err(failed)?;
        let end = end.ok_or_else(|| Error::Config(not_there(server.name(), &feed.stream)))?;
        let from_id = place(from);
        if let Some(place) = from_id.filter(|place| *place > end) {
            return Err(Error::Config(too_short(server.name(), &feed.stream, end, place)));
        }
        let mut last = from_id.unwrap_or_default();
        let (mut notes, mut found) = (Vec::new(), Id::default());
        if let Some(place) = group.place(&mut connection).map_err(failed)? {
            found = place;
            let lost = group.claim(&mut connection, from_id).map_err(failed)?;
            if lost > 0 {
                notes.push(gone(lost, &feed.stream));
            }
            if let Some(place) = from_id {
                group.go_to(&mut connection, place).map_err(failed)?;
            }
        } else {
            if from_id.is_none() && feed.start == Start::Latest {
                last = end;
            }
            group.make(&mut connection, last).map_err(failed)?;
        }
        let (sender, said) = bounded(ANSWERS);
        let (wanted, is_wanted) = bounded(0);
        let (end, ended) = bounded(1);
        let settled = Settled::default();
        let field = feed.field.clone().unwrap_or_else(|| FIELD.to_owned());
        let reading = Reading {
            context: context.clone(),
            server,
            group,
            field: field.clone().into_bytes(),
            connection: Some(connection),
            last,
            found,
            // Behind a place everything is new.
            again: from_id.is_none(),
            settled: settled.clone(),
            said: Some(sender),
            wanted: is_wanted,
            pending: VecDeque::new(),
            acknowledging: Vec::new(),
            count: Reading::first_count(),
        };
        let spawned = std::thread::Builder::new()
            .name("millstream-redis".into())
            .spawn(move || {
                reading.run();
                let _ = end.send(());
            });
        spawned.map_err(|e| Error::Failed(format!("{name}: its thread cannot be started: {e}")))?;
        let columns = context.wire.columns.clone();
        let columns = columns.filter(|_| feed.field.is_none() && context.wire.format == WireFormat::Csv);
        Ok(Self {
            context: context.clone(),
            name,
            messages,
            field,
            columns,
            said: Some(said),
            settled,
            at_once,
            position: from.copied().unwrap_or_default(),
            arrival: Arrival::default(),
            notes,
            bytes_read: 0,
            wanted: Some(wanted),
            ended,
        })
    }

    /// The rows of these entries, as one batch: the place behind it is that of the last.
    fn decode(&mut self, entries: &[Entry]) -> Result<Rows> {
        let (mut decoded, mut rejected, mut held_bytes) = (Vec::new(), Rejected::default(), 0);
        for entry in entries {
            let row;
            let message = match (&entry.held, &self.columns) {
                (Held::Message(message), _) => Some(message),
                (Held::Fields(fields), Some(columns)) => {
                    row = row_of_fields(fields, columns);
                    row.as_ref()
                }
                _ => None,
            };
            let Some(message) = message else {
                rejected.push(self.without_rows(entry.id));
                continue;
            };
            self.messages.push(message);
            self.bytes_read += message.len() as u64;
            held_bytes += message.len();
            // A message that cannot be read takes those behind it along, if they wait with it.
            let is_apart = self.context.wire.format == WireFormat::Arrow || self.context.schema.get().is_none();
            if is_apart || held_bytes >= BYTES_TOGETHER {
                decoded.extend(self.messages.rows(&[])?);
                held_bytes = 0;
            }
        }
        decoded.extend(self.messages.rows(&[])?);
        let mut unkept = 0;
        for rows in &mut decoded {
            rejected.extend(std::mem::take(&mut rows.rejected));
            unkept += rows.unkept;
        }
        rejected.count_only(unkept);
        let (rejected, unkept) = rejected.into_parts();
        let batches: Vec<RecordBatch> = decoded
            .into_iter()
            .map(|rows| rows.batch)
            .filter(|b| b.num_rows() > 0)
            .collect();
        let batch = match &batches[..] {
            [] => RecordBatch::new_empty(
                self.context
                    .schema
                    .get()
                    .cloned()
                    .unwrap_or_else(|| Arc::new(Schema::empty())),
            ),
            [only] => only.clone(),
            [first, ..] => concat_batches(&first.schema(), &batches)
                .map_err(|e| Error::Failed(format!("{}: batches cannot be put together: {e}", self.name)))?,
        };
        let mut rows = Rows {
            batch,
            rejected,
            unkept,
            bytes_read: self.bytes_read,
            arrived_ns: None,
        };
        self.arrival.stamp(&mut rows);
        Ok(rows)
    }

    fn without_rows(&self, id: Id) -> BadRow {
        let reason = match &self.columns {
            Some(_) => format!(
                "is an entry without the field `{}`, and without one of the columns",
                self.field
            ),
            None => format!("is an entry without the field `{}`", self.field),
        };
        let id = id.to_string().into_bytes();
        BadRow {
            source: self.name.clone(),
            line: 0,
            column: None,
            row: id.clone(),
            bytes: id,
            reason,
        }
    }
}

fn in_words(name: &str, feed: &RedisFeed) -> String {
    format!("feed `{name}`: redis {}", feed.server.place())
}

fn group_of(feed: &RedisFeed) -> Group {
    Group {
        stream: feed.stream.clone(),
        name: feed.group.clone(),
    }
}

impl Source for RedisSource {
    fn schema(&self) -> SchemaRef {
        live::settled(&self.context)
    }

    fn select(&mut self, columns: &[String]) -> Result<()> {
        live::selected(&self.context, columns)
    }

    fn about(&self) -> About {
        About {
            name: self.name.clone(),
            ..About::default()
        }
    }

    fn read(&mut self) -> Result<Read> {
        let Some(said) = &self.said else { return Ok(Read::End) };
        let entries = match said.recv_timeout(live::IDLE_WAIT) {
            Ok(Said::Entries(entries)) => entries,
            Ok(Said::Note(note)) => {
                self.notes.push(note);
                return Ok(Read::Idle);
            }
            Ok(Said::Failed(error)) => return Err(error),
            Err(RecvTimeoutError::Timeout) => return Ok(Read::Idle),
            Err(RecvTimeoutError::Disconnected) => return Ok(Read::End),
        };
        let rows = self.decode(&entries)?;
        if let Some(last) = entries.last() {
            self.position.offset_bytes = last.id.ms;
            self.position.generation = last.id.sequence;
            if self.at_once {
                self.settled.settle(last.id);
            }
        }
        self.position.rows += rows.count();
        Ok(Read::Batch(rows, self.position))
    }

    fn notes(&mut self) -> Vec<String> {
        let notes = std::mem::take(&mut self.notes);
        let name = &self.context.name;
        notes.into_iter().map(|note| format!("feed `{name}`: {note}")).collect()
    }

    fn commit(&mut self, upto: &Position) -> Result<()> {
        if let Some(upto) = place(Some(upto)) {
            self.settled.settle(upto);
        }
        Ok(())
    }
}

impl Drop for RedisSource {
    fn drop(&mut self) {
        self.said = None;
        self.wanted = None;
        let _ = self.ended.recv_timeout(END_WAIT);
    }
}

/// Checks that the stream is there and may be read; changes nothing.
///
/// # Errors
/// As [`RedisSource::open`].
pub fn check(name: &str, feed: &RedisFeed) -> Result<()> {
    let server = Server::new(&in_words(name, feed), &feed.server)?;
    let mut connection = server.connect().map_err(|e| server.refused(&e))?;
    let end = end_of_stream(&mut connection, &feed.stream).map_err(|e| server.refused(&e))?;
    end.ok_or_else(|| Error::Config(not_there(server.name(), &feed.stream)))?;
    let group = group_of(feed);
    group.place(&mut connection).map_err(|e| server.refused(&e))?;
    let (stream, name) = (feed.stream.as_str(), feed.group.as_str());
    let commands: [&[&str]; 5] = [
        &["XREADGROUP", "GROUP", name, CONSUMER, "STREAMS", stream, ">"],
        &["XACK", stream, name, "0-1"],
        &["XAUTOCLAIM", stream, name, CONSUMER, "0", "0-0"],
        &["XGROUP", "CREATE", stream, name, "0"],
        &["XGROUP", "SETID", stream, name, "0"],
    ];
    server.check_rights(&mut connection, &commands)
}
