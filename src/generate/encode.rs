//! Rows in the formats of a wire: csv, ndjson, Arrow IPC stream, length-prefixed binary rows.
//!
//! `ts` is an integer of milliseconds, `key` an integer, values are numbers. A missing value is an empty cell, `null`, a
//! null, or NaN. Binary is frames: a little-endian `u32` of the bytes that follow, then whole rows, each `ts`, `key`
//! (where there are keys) and the values as little-endian `f64`; values as `f32` where that is asked for.

use super::rows::{Block, Fault, Options};
use super::text::{NUMBER_BYTES_MAX, Numbers, put_signed, put_whole};
use crate::error::{Error, Result};
use arrow::array::{ArrayRef, Float32Array, Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ipc::writer::StreamWriter;
use std::ops::Range;
use std::sync::Arc;

/// Bytes of a frame of binary rows at most: it stays in the cache of both ends, and far below what a receiver takes for
/// an attack.
const FRAME_BYTES_MAX: usize = 64 << 10;

/// Bytes of the values of an Arrow record batch at most: with its metadata it stays below the 1 MiB that receivers allow
/// a frame unless told otherwise.
const RECORD_BATCH_BYTES_MAX: usize = 960 << 10;

/// Rows that are encoded column by column before the next ones: what they are written to stays in a first-level cache.
const SCATTER_ROWS: usize = 128;

/// What stands in the place of a number in a bad row.
const GARBAGE: &[u8] = b"#REF!";

/// What stands in the place of a time in a bad row.
const NO_TIME: &[u8] = b"yesterday";

/// What is no UTF-8.
const NO_TEXT: &[u8] = b"\xff\xfe";

/// The format of a synthetic feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values.
    Csv,
    /// One JSON object a line.
    Ndjson,
    /// An Arrow IPC stream.
    Arrow,
    /// Length-prefixed rows of little-endian numbers.
    Binary,
}

impl Format {
    /// Whether rows are text, of which some can be unreadable.
    pub fn is_text(self) -> bool {
        matches!(self, Self::Csv | Self::Ndjson)
    }

    /// What HTTP calls it.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv",
            Self::Ndjson => "application/x-ndjson",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Binary => "application/octet-stream",
        }
    }
}

/// Turns rows into bytes.
pub(super) struct Encoder {
    format: Format,
    /// Whether csv begins with the names.
    header: bool,
    names: Vec<String>,
    keyed: bool,
    single: bool,
    numbers: Numbers,
    /// What comes before each field of a line, and before its end.
    before: Vec<Vec<u8>>,
    /// Bytes that a line takes at most.
    line_bytes_max: usize,
    /// Where in the output the frame begins that rows are added to, and how many bytes of rows it has.
    frame: Option<usize>,
    arrow: Option<Record>,
}

impl Encoder {
    pub(super) fn new(options: &Options, format: Format, header: bool) -> Self {
        let names: Vec<String> = options.names().iter().map(ToString::to_string).collect();
        let before: Vec<Vec<u8>> = match format {
            Format::Ndjson => {
                let quoted = |name: &String| serde_json::Value::from(name.as_str()).to_string();
                let opening = |i: usize| if i == 0 { '{' } else { ',' };
                let fields = names.iter().enumerate();
                fields
                    .map(|(i, n)| format!("{}{}:", opening(i), quoted(n)).into())
                    .collect()
            }
            _ => (0..names.len())
                .map(|i| if i == 0 { vec![] } else { vec![b','] })
                .collect(),
        };
        Self {
            format,
            header,
            keyed: options.keys > 0,
            single: options.single,
            numbers: Numbers::new(options.grid),
            line_bytes_max: before.iter().map(|b| b.len() + NUMBER_BYTES_MAX).sum::<usize>() + 2,
            before,
            frame: None,
            arrow: (format == Format::Arrow).then(|| Record::new(options)),
            names,
        }
    }

    /// Bytes of a row: exactly for binary, at most for text.
    pub(super) fn row_bytes(&self) -> usize {
        match self.format {
            Format::Csv | Format::Ndjson => self.line_bytes_max,
            Format::Arrow => self.names.len() * 8,
            Format::Binary => {
                let values = self.names.len() - 1 - usize::from(self.keyed);
                8 + 8 * usize::from(self.keyed) + values * if self.single { 4 } else { 8 }
            }
        }
    }

    /// Begins a stream, a file or a body.
    ///
    /// # Errors
    /// [`Error::Failed`] if the schema cannot be written.
    pub(super) fn begin(&mut self, out: &mut Vec<u8>) -> Result<()> {
        match &mut self.arrow {
            Some(record) => record.begin(out),
            None => {
                if self.format == Format::Csv && self.header {
                    out.extend_from_slice(self.names.join(",").as_bytes());
                    out.push(b'\n');
                }
                Ok(())
            }
        }
    }

    /// Adds rows of a block.
    ///
    /// # Errors
    /// [`Error::Failed`] if a record batch cannot be written.
    pub(super) fn rows(&mut self, block: &Block, rows: Range<usize>, out: &mut Vec<u8>) -> Result<()> {
        match self.format {
            Format::Csv | Format::Ndjson => {
                self.lines(block, rows, out);
                Ok(())
            }
            Format::Binary => {
                self.frames(block, rows, out);
                Ok(())
            }
            Format::Arrow => match &mut self.arrow {
                Some(record) => record.rows(block, rows, out),
                None => Ok(()),
            },
        }
    }

    /// Ends what rows are gathered in: a frame, a record batch.
    ///
    /// # Errors
    /// [`Error::Failed`] if a record batch cannot be written.
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) -> Result<()> {
        if let Some(at) = self.frame.take() {
            let bytes = (out.len() - at - 4) as u32;
            out[at..at + 4].copy_from_slice(&bytes.to_le_bytes());
        }
        match &mut self.arrow {
            Some(record) => record.flush(out),
            None => Ok(()),
        }
    }

    /// Ends what [`Encoder::begin`] began.
    ///
    /// # Errors
    /// [`Error::Failed`] if the last bytes cannot be written.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.flush(out)?;
        match &mut self.arrow {
            Some(record) => record.end(out),
            None => Ok(()),
        }
    }

    /// Takes back what stands behind `length`: rows of text, or binary rows with their frame.
    pub(super) fn cut(&mut self, out: &mut Vec<u8>, length: usize) {
        out.truncate(length);
        self.frame = self.frame.filter(|at| *at < length);
    }

    /// Rows of numbers, in frames.
    fn frames(&mut self, block: &Block, rows: Range<usize>, out: &mut Vec<u8>) {
        let stride = self.row_bytes();
        let mut row = rows.start;
        while row < rows.end {
            let at = *self.frame.get_or_insert_with(|| {
                out.extend_from_slice(&[0; 4]);
                out.len() - 4
            });
            let room = (FRAME_BYTES_MAX / stride).max(1) - (out.len() - at - 4) / stride;
            let piece = row..rows.end.min(row + room).min(row + SCATTER_ROWS);
            let begin = out.len();
            out.resize(begin + piece.len() * stride, 0);
            self.scatter(block, piece.clone(), stride, &mut out[begin..]);
            row = piece.end;
            if piece.len() == room {
                let bytes = (out.len() - at - 4) as u32;
                out[at..at + 4].copy_from_slice(&bytes.to_le_bytes());
                self.frame = None;
            }
        }
    }

    /// Writes columns into rows.
    fn scatter(&self, block: &Block, rows: Range<usize>, stride: usize, out: &mut [u8]) {
        let mut offset = 0;
        for (slot, t) in out.chunks_exact_mut(stride).zip(&block.times_ms[rows.clone()]) {
            slot[..8].copy_from_slice(&(*t as f64).to_le_bytes());
        }
        offset += 8;
        if self.keyed {
            for (slot, k) in out.chunks_exact_mut(stride).zip(&block.keys[rows.clone()]) {
                slot[8..16].copy_from_slice(&f64::from(*k).to_le_bytes());
            }
            offset += 8;
        }
        for column in &block.columns {
            let values = &column[rows.clone()];
            if self.single {
                for (slot, x) in out.chunks_exact_mut(stride).zip(values) {
                    slot[offset..offset + 4].copy_from_slice(&(*x as f32).to_le_bytes());
                }
                offset += 4;
            } else {
                for (slot, x) in out.chunks_exact_mut(stride).zip(values) {
                    slot[offset..offset + 8].copy_from_slice(&x.to_le_bytes());
                }
                offset += 8;
            }
        }
    }

    /// Rows of text.
    fn lines(&mut self, block: &Block, rows: Range<usize>, out: &mut Vec<u8>) {
        let begin = out.len();
        out.resize(begin + rows.len() * self.line_bytes_max, 0);
        let mut at = 0;
        // Times of neighbouring rows are often the same.
        let mut time = (i64::MIN, [0u8; 24], 0);
        for row in rows {
            let buffer = &mut out[begin + at..];
            let t = block.times_ms[row];
            if t != time.0 {
                let end = put_signed(&mut time.1, 0, t);
                (time.0, time.2) = (t, end);
            }
            at += match block.fault(row) {
                None => self.line(block, row, &time.1[..time.2], buffer),
                Some(fault) => self.bad_line(block, row, fault, &time.1[..time.2], buffer),
            };
        }
        out.truncate(begin + at);
    }

    /// One line; its length comes back.
    #[inline]
    fn line(&self, block: &Block, row: usize, time: &[u8], out: &mut [u8]) -> usize {
        let mut at = put(out, 0, &self.before[0]);
        at = put(out, at, time);
        let mut field = 1;
        if self.keyed {
            at = put(out, at, &self.before[1]);
            at = put_whole(out, at, u64::from(block.keys[row]));
            field = 2;
        }
        for (column, before) in block.columns.iter().zip(&self.before[field..]) {
            at = put(out, at, before);
            at = self.value(out, at, column[row]);
        }
        self.line_end(out, at)
    }

    fn line_end(&self, out: &mut [u8], at: usize) -> usize {
        match self.format {
            Format::Ndjson => put(out, at, b"}\n"),
            _ => put(out, at, b"\n"),
        }
    }

    #[inline]
    fn value(&self, out: &mut [u8], at: usize, value: f64) -> usize {
        if !value.is_nan() {
            self.numbers.put(out, at, value)
        } else if self.format == Format::Ndjson {
            put(out, at, b"null")
        } else {
            at
        }
    }

    /// A line that cannot be read.
    fn bad_line(&self, block: &Block, row: usize, fault: Fault, time: &[u8], out: &mut [u8]) -> usize {
        let quote: &[u8] = if self.format == Format::Ndjson { b"\"" } else { b"" };
        let text = |out: &mut [u8], at: usize, text: &[u8]| {
            let at = put(out, at, quote);
            let at = put(out, at, text);
            put(out, at, quote)
        };
        let mut at = put(out, 0, &self.before[0]);
        at = match fault {
            Fault::Untimely => text(out, at, NO_TIME),
            _ => put(out, at, time),
        };
        let mut field = 1;
        if self.keyed {
            at = put(out, at, &self.before[1]);
            at = put_whole(out, at, u64::from(block.keys[row]));
            field = 2;
        }
        let wrong = row % block.columns.len();
        let last = block.columns.len() - 1;
        for (c, (column, before)) in block.columns.iter().zip(&self.before[field..]).enumerate() {
            if fault == Fault::Short && c == last {
                // A csv line lacks its last field, a JSON line its last value and the brace.
                if self.format == Format::Ndjson {
                    at = put(out, at, before);
                }
                return put(out, at, b"\n");
            }
            at = put(out, at, before);
            at = match fault {
                Fault::Garbled if c == wrong => text(out, at, GARBAGE),
                Fault::NotText if c == wrong => text(out, at, NO_TEXT),
                _ => self.value(out, at, column[row]),
            };
        }
        self.line_end(out, at)
    }
}

/// Copies `text` to `at`; the place behind it comes back.
#[inline]
fn put(out: &mut [u8], at: usize, text: &[u8]) -> usize {
    if let [one] = text {
        out[at] = *one;
        return at + 1;
    }
    out[at..at + text.len()].copy_from_slice(text);
    at + text.len()
}

/// Rows on their way into an Arrow record batch.
struct Record {
    schema: SchemaRef,
    keyed: bool,
    single: bool,
    rows_max: usize,
    writer: Option<StreamWriter<Vec<u8>>>,
    gathered: Block,
}

impl Record {
    fn new(options: &Options) -> Self {
        let values = if options.single {
            DataType::Float32
        } else {
            DataType::Float64
        };
        let whole = ["ts", "key"].into_iter().take(1 + usize::from(options.keys > 0));
        let fields: Vec<Field> = whole
            .map(|name| Field::new(name, DataType::Int64, false))
            .chain(
                options
                    .columns
                    .iter()
                    .map(|c| Field::new(&c.name, values.clone(), true)),
            )
            .collect();
        Self {
            rows_max: (RECORD_BATCH_BYTES_MAX / (8 * fields.len())).max(1),
            schema: Arc::new(Schema::new(fields)),
            keyed: options.keys > 0,
            single: options.single,
            writer: None,
            gathered: Block {
                columns: vec![Vec::new(); options.columns.len()],
                ..Block::default()
            },
        }
    }

    fn begin(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.writer = Some(StreamWriter::try_new(Vec::new(), &self.schema).map_err(unwritten)?);
        self.drain(out);
        Ok(())
    }

    fn rows(&mut self, block: &Block, rows: Range<usize>, out: &mut Vec<u8>) -> Result<()> {
        let mut row = rows.start;
        while row < rows.end {
            let piece = row..rows.end.min(row + self.rows_max - self.gathered.rows());
            self.gathered.times_ms.extend_from_slice(&block.times_ms[piece.clone()]);
            self.gathered.keys.extend_from_slice(&block.keys[piece.clone()]);
            for (to, from) in self.gathered.columns.iter_mut().zip(&block.columns) {
                to.extend_from_slice(&from[piece.clone()]);
            }
            row = piece.end;
            if self.gathered.rows() == self.rows_max {
                self.flush(out)?;
            }
        }
        Ok(())
    }

    fn flush(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let Block {
            times_ms,
            keys,
            columns,
            ..
        } = &mut self.gathered;
        if times_ms.is_empty() {
            return Ok(());
        }
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(std::mem::take(times_ms)))];
        if self.keyed {
            arrays.push(Arc::new(Int64Array::from_iter_values(
                keys.iter().map(|k| i64::from(*k)),
            )));
        }
        keys.clear();
        for column in columns {
            let present = |x: &f64| (!x.is_nan()).then_some(*x);
            let gaps = column.iter().any(|x| x.is_nan());
            let values = std::mem::take(column);
            arrays.push(match (self.single, gaps) {
                (false, false) => Arc::new(Float64Array::from(values)),
                (false, true) => Arc::new(Float64Array::from_iter(values.iter().map(present))),
                (true, false) => Arc::new(Float32Array::from_iter_values(values.iter().map(|x| *x as f32))),
                (true, true) => {
                    let narrow = |x: &f64| present(x).map(|x| x as f32);
                    Arc::new(Float32Array::from_iter(values.iter().map(narrow)))
                }
            });
        }
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(unwritten)?;
        if let Some(writer) = &mut self.writer {
            writer.write(&batch).map_err(unwritten)?;
        }
        self.drain(out);
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<u8>) -> Result<()> {
        if let Some(writer) = &mut self.writer {
            writer.finish().map_err(unwritten)?;
        }
        self.drain(out);
        self.writer = None;
        Ok(())
    }

    /// Moves what the writer wrote to `out`.
    fn drain(&mut self, out: &mut Vec<u8>) {
        if let Some(writer) = &mut self.writer {
            out.append(writer.get_mut());
        }
    }
}

fn unwritten(error: arrow::error::ArrowError) -> Error {
    Error::Failed(format!("the rows do not become Arrow: {error}"))
}
