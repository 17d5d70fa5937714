//! From the bytes of a connection, a body or a file to rows, however the bytes come in pieces.
//!
//! A [`Decoder`] is given bytes ([`Decoder::push`], [`Decoder::fill`]) and asked for rows ([`Decoder::next_rows`]) until
//! it has none. The rule: where the bytes are cut changes nothing, neither the rows nor the bad rows; a record that is
//! not complete waits for its rest, and [`Decoder::offset`] is always the end of a record. Text is decoded by the
//! decoders of the file readers, so that the same file gives the same rows; the forms are written down in
//! `docs/WIRE.md`.
//!
//! The columns are settled once a feed, in [`Context::schema`]: by the first rows of whoever comes first, or by the
//! types that are named. Whatever comes later is matched by name.

mod arrow;
mod binary;
mod cut;
mod input;
mod text;

use super::Rows;
use super::live::{Context, Settled, WireFormat, WireOptions};
use super::rejected::Rejected;
use crate::error::{BadRow, Error, Result};
use ::arrow::array::RecordBatch;
use ::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ArrowStream;
use binary::Binary;
use input::{End, Input};
use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use text::Text;

pub use binary::FRAME_BYTES_MAX;

/// Bytes of input that become one batch at most, as soon as as many are there: thousands of rows, which a core's caches
/// still hold.
const BATCH_BYTES: usize = 1 << 20;

/// Bytes of a refused input that are kept with the reason: enough to recognise it.
const KEPT_BYTES: usize = 4 << 10;

/// Turns the bytes of one connection, body or file into rows.
///
/// ```
/// use millstream::io::{live::Context, wire::Decoder};
/// # use millstream::io::live::{Counters, Limits, Stop, WireFormat, WireOptions, ColumnType};
/// # let wire = WireOptions { format: WireFormat::Csv, columns: None, types: Default::default(), values: ColumnType::F64,
/// #     wanted: None, time: None, keys: vec![], numeric: vec![], line_bytes_max: 1 << 20 };
/// # let context = Context { name: "main".into(), wire: wire.into(), limits: Limits::default(), stop: Stop::default(),
/// #     counters: Default::default(), schema: Default::default() };
/// let mut decoder = Decoder::new(&context, "tcp 127.0.0.1:4242")?;
/// decoder.push(b"a,b\n1,2\n3,");
/// decoder.settle();
/// assert_eq!(decoder.next_rows()?.unwrap().batch.num_rows(), 1);
/// assert!(decoder.next_rows()?.is_none());
/// assert_eq!(decoder.offset(), 8);
/// # Ok::<(), millstream::Error>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    source: String,
    input: Input,
    form: Form,
    schema: Arc<Settled>,
    rows: u64,
    /// Why nothing more is decoded, still to be said.
    refusal: Option<Error>,
    dead: bool,
}

#[derive(Debug)]
enum Form {
    Text(Box<Text>),
    Binary(Box<Binary>),
    Arrow(Box<ArrowStream>),
}

/// Numbers of one batch at most, where a row is a few bytes of text: 8 MiB.
const BATCH_VALUES: usize = 1 << 20;

/// Good rows and bad rows.
type Decoded = (RecordBatch, Rejected);

/// Why an input is not read any further.
#[derive(Debug)]
struct Refusal {
    /// The line, or the row.
    line: u64,
    bytes: Vec<u8>,
    error: Error,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self {
            line: 1,
            bytes: Vec::new(),
            error,
        }
    }
}

impl Decoder {
    /// A decoder for what `source` sends, which is what bad rows call it (`tcp 127.0.0.1:4242`).
    ///
    /// # Errors
    /// [`Error::Config`] for columns and types that make no sense together.
    pub fn new(context: &Context, source: impl Into<String>) -> Result<Self> {
        Self::delimited(context, source, b',')
    }

    /// As [`new`](Self::new); where the format is csv, `delimiter` separates the fields.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn delimited(context: &Context, source: impl Into<String>, delimiter: u8) -> Result<Self> {
        let source = source.into();
        let form = match context.wire.format {
            WireFormat::Csv => Form::Text(Box::new(Text::new(context, &source, Some(delimiter))?)),
            WireFormat::Ndjson => Form::Text(Box::new(Text::new(context, &source, None)?)),
            WireFormat::Binary => Form::Binary(Box::new(Binary::new(context, &source)?)),
            WireFormat::Arrow => Form::Arrow(Box::new(ArrowStream::new(context, &source))),
        };
        Ok(Self {
            source,
            input: Input::default(),
            form,
            schema: context.schema.clone(),
            rows: 0,
            refusal: None,
            dead: false,
        })
    }

    /// Takes the next bytes. To be followed by [`next_rows`](Self::next_rows) until there are none, so that what is
    /// held stays small.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.dead {
            self.input.push(bytes);
        }
    }

    /// Takes whole records that stand for themselves (a datagram): what is not complete at their end is a bad row, and
    /// the next ones begin anew.
    pub fn push_whole(&mut self, bytes: &[u8]) {
        match &mut self.form {
            _ if self.dead => {}
            Form::Text(text) => text.push_whole(bytes, &mut self.input),
            Form::Binary(binary) => binary.push_whole(bytes, &mut self.input),
            Form::Arrow(_) => self.input.push(bytes),
        }
    }

    /// Takes the next bytes from `reader` by one read, without a copy in between; 0 at its end. The room that it
    /// offers grows as long as it is filled.
    ///
    /// # Errors
    /// What reading says, with nothing taken.
    pub fn fill(&mut self, reader: &mut dyn io::Read) -> io::Result<usize> {
        self.input.fill(reader)
    }

    /// The columns are to be settled by the rows that are there, without waiting for as many as would be looked at.
    pub fn settle(&mut self) {
        if let Form::Text(text) = &mut self.form {
            text.settle();
        }
    }

    /// Whether the columns are still to be settled, so that rows are held back.
    pub fn is_settling(&self) -> bool {
        matches!(&self.form, Form::Text(text) if text.is_settling())
    }

    /// Nothing more will come, and what came is whole: a last line without a line end is a line.
    pub fn finish(&mut self) {
        self.input.end(End::Whole);
    }

    /// Nothing more will come, and the sender may have been in the middle of something: what is not ended is a bad row.
    pub fn abandon(&mut self) {
        self.input.end(End::CutOff);
    }

    /// The next rows, or nothing until more bytes come. `arrived_ns` is the caller's to set.
    ///
    /// # Errors
    /// Why nothing more can be read from this input (a header that lacks a column, a frame of no sensible length, a
    /// damaged stream). The rows before it and a bad row that says so come first; afterwards there is nothing.
    pub fn next_rows(&mut self) -> Result<Option<Rows>> {
        if let Some(error) = self.refusal.take() {
            return Err(error);
        }
        if self.dead {
            return Ok(None);
        }
        let decoded = match &mut self.form {
            Form::Text(text) => text.next(&mut self.input),
            Form::Binary(binary) => binary.next(&mut self.input),
            Form::Arrow(arrow) => arrow.next(&mut self.input),
        };
        let (batch, rejected) = match decoded {
            Ok(None) => return Ok(None),
            Ok(Some(decoded)) => decoded,
            Err(refusal) => self.refuse(refusal),
        };
        let (rejected, unkept) = rejected.into_parts();
        let rows = Rows {
            batch,
            rejected,
            unkept,
            bytes_read: self.input.taken(),
            arrived_ns: None,
        };
        self.rows += rows.count();
        Ok(Some(rows))
    }

    fn refuse(&mut self, refusal: Refusal) -> Decoded {
        let Refusal { line, bytes, error } = refusal;
        let kept = bytes[..bytes.len().min(KEPT_BYTES)].to_vec();
        let bad = BadRow {
            source: self.source.clone(),
            line,
            column: None,
            bytes: kept.clone(),
            row: kept,
            reason: format!("ends the input: {error}"),
        };
        self.dead = true;
        let offset = self.input.taken();
        self.input = Input::default();
        self.input.jump(offset);
        self.refusal = Some(error);
        // Lines before it that were given up and not yet told.
        let mut rejected = match &mut self.form {
            Form::Text(text) => text.take_rejected(),
            Form::Binary(_) | Form::Arrow(_) => Rejected::default(),
        };
        rejected.push(bad);
        let schema = self.schema.get().cloned().unwrap_or_else(|| Arc::new(Schema::empty()));
        (RecordBatch::new_empty(schema), rejected)
    }

    /// Whether nothing more is decoded, whatever comes: the error says why.
    pub fn is_refused(&self) -> bool {
        self.dead
    }

    /// The bytes of the input that have been dealt with, which end at the end of a record: the place to go on from.
    pub fn offset(&self) -> u64 {
        self.input.taken()
    }

    /// Rows that have been given, bad ones included.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether part of a record is there, which waits for its rest.
    pub fn is_within_record(&self) -> bool {
        !self.input.held().is_empty() || matches!(&self.form, Form::Text(text) if text.is_skipping())
    }

    /// The columns of the rows, once they are known.
    pub fn schema(&self) -> Option<SchemaRef> {
        match &self.form {
            Form::Text(text) => text.schema(),
            _ => self.schema.get().cloned(),
        }
    }

    /// Reads no more than the header from what has come: true once it is there, or there is none to wait for. Rows
    /// behind it are held.
    ///
    /// # Errors
    /// [`Error::Data`] for what is no header.
    pub fn take_header(&mut self) -> Result<bool> {
        match &mut self.form {
            Form::Text(text) => text.take_header(&mut self.input).map_err(|refusal| refusal.error),
            Form::Binary(_) | Form::Arrow(_) => Ok(true),
        }
    }

    /// Lets go of what is held and goes on with the bytes behind `offset`, before which there are so many lines (rows,
    /// where the form has no lines): for a file that is read on from there, after its header has been read.
    pub fn jump(&mut self, offset: u64, lines: u64) {
        self.input.jump(offset);
        match &mut self.form {
            Form::Text(text) => text.jump(lines),
            Form::Binary(binary) => binary.jump(lines),
            Form::Arrow(_) => {}
        }
    }

    /// Gives memory back while nothing comes.
    pub fn relax(&mut self) {
        self.input.relax();
    }

    /// Bytes of memory that hold input once [`fill`](Self::fill) has been called again.
    pub(crate) fn room_bytes(&self) -> usize {
        self.input.room_bytes()
    }

    /// Bytes of memory that hold input.
    pub fn capacity_bytes(&self) -> usize {
        self.input.capacity_bytes()
    }
}

/// The wanted ones of these columns, with the types that are named for them.
///
/// `others` gives the type of a wanted column that is not there, or none where that is an error.
fn chosen(
    columns: &[(String, DataType)],
    wire: &WireOptions,
    others: impl Fn(&String) -> Option<DataType>,
) -> Result<SchemaRef, String> {
    let names: Vec<&String> = match &wire.wanted {
        Some(wanted) => wanted.iter().collect(),
        None => columns.iter().map(|(name, _)| name).collect(),
    };
    let time = wire.time.as_ref().map(|(name, _)| name);
    let mut kinds: HashMap<&str, &DataType> = HashMap::new();
    for (name, kind) in columns {
        kinds.entry(name).or_insert(kind);
    }
    let field = |name: &String| {
        let kind = kinds
            .get(name.as_str())
            .map(|kind| (*kind).clone())
            .or_else(|| others(name));
        let there = || columns.iter().map(|(c, _)| format!("`{c}`")).collect::<Vec<_>>();
        let kind = kind.ok_or_else(|| format!("no column `{name}`; there are {}", there().join(", ")))?;
        Ok::<_, String>(Field::new(name, kind, time != Some(name)))
    };
    let (mut fields, mut there): (Vec<Field>, HashSet<&String>) = Default::default();
    for name in names {
        if there.insert(name) {
            fields.push(field(name)?);
        }
    }
    if let Some(time) = time
        && wire.wanted.is_none()
        && !kinds.contains_key(time.as_str())
    {
        fields.push(field(time)?);
    }
    Ok(Arc::new(Schema::new(fields)))
}

#[cfg(test)]
mod tests;
