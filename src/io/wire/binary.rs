//! Frames of rows of little-endian numbers: what is left of decoding where nothing has to be found out.
//!
//! A frame is the length of its payload (32 bits) and whole rows, each the values of the columns in their order. Only
//! whole frames are decoded, as many as make a batch at once; a block of rows that fits the first cache is turned into
//! columns before the next. NaN is a missing value and stays what it is.
//!
//! The rule: a length that cannot be right ends the input, as nothing tells where the next frame begins; what a row
//! holds can only spoil that row.

use super::input::Input;
use super::{BATCH_BYTES, Decoded, Refusal, chosen};
use crate::error::{BadRow, Error, Result};
use crate::io::columnar::BATCH_ROWS;
use crate::io::columns::time_type;
use crate::io::live::{ColumnType, Context};
use crate::io::rejected::Rejected;
use crate::io::{TimeUnit, time};
use arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Float64Array, Int64Array, RecordBatch, RecordBatchOptions,
    TimestampNanosecondArray,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, SchemaRef};
use std::sync::Arc;

/// The longest payload of a frame, in bytes, where a line may not be longer still: a frame has to be there in full
/// before it is decoded, and so much a connection may hold.
pub const FRAME_BYTES_MAX: usize = 16 << 20;

/// Bytes before the payload.
const PREFIX: usize = 4;

/// Bytes of rows that are turned at once, about: they fit the first cache.
const BLOCK_BYTES: usize = 20 << 10;

/// A whole number of this size is not sure to be the only one whose float it is.
const EXACT_END: f64 = 4_503_599_627_370_496.0;

/// How a value is stored, and as what it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    F64,
    F32,
    /// A 64-bit integer as a float.
    Widened,
    /// A 64-bit integer.
    Whole,
    TimeF64,
    TimeF32,
    TimeI64,
}

#[derive(Debug)]
struct Column {
    name: String,
    offset: usize,
    kind: Kind,
}

#[derive(Debug)]
pub(super) struct Binary {
    source: String,
    schema: SchemaRef,
    /// The wanted columns, in the order of the schema.
    columns: Vec<Column>,
    stride: usize,
    limit: usize,
    unit: TimeUnit,
    rows: u64,
    frames: u64,
    rejected: Rejected,
}

impl Binary {
    pub(super) fn new(context: &Context, source: &str) -> Result<Self> {
        let wire = &context.wire;
        let config = |what: String| Error::Config(format!("feed `{}`: {what}", context.name));
        let names = wire.columns.as_deref().unwrap_or_default();
        if names.is_empty() {
            return Err(config(
                "format = \"binary\" needs columns = [...], as rows do not name them".into(),
            ));
        }
        let (mut stride, mut stored, mut kinds) = (0, Vec::new(), Vec::new());
        for (i, name) in names.iter().enumerate() {
            if names[..i].contains(name) {
                return Err(config(format!("columns names `{name}` twice")));
            }
            let is_time = wire.time.as_ref().is_some_and(|(time, _)| time == name);
            let is_key = wire.keys.contains(name);
            let kind = match wire.types.get(name).copied().unwrap_or(wire.values) {
                ColumnType::F64 if is_time => Kind::TimeF64,
                ColumnType::F64 => Kind::F64,
                ColumnType::F32 if is_time => Kind::TimeF32,
                ColumnType::F32 => Kind::F32,
                ColumnType::I64 if is_time => Kind::TimeI64,
                ColumnType::I64 if is_key => Kind::Whole,
                ColumnType::I64 => Kind::Widened,
                ColumnType::Text => {
                    return Err(config(format!(
                        "column `{name}` is text, which format = \"binary\" does not hold"
                    )));
                }
            };
            stored.push((name.clone(), stride, kind));
            kinds.push((name.clone(), kind.data_type()));
            stride += kind.width();
        }
        let schema = chosen(&kinds, wire, |_| None).map_err(|what| config(format!("columns: {what}")))?;
        let schema = match context.schema.settle(schema.clone())? {
            settled if settled == schema => schema,
            settled => {
                let (want, have) = (settled.fields(), schema.fields());
                return Err(config(format!(
                    "columns: the feed has {want:?} and the rows have {have:?}"
                )));
            }
        };
        let mut columns = Vec::new();
        for field in schema.fields() {
            let found = stored.iter().find(|(name, ..)| name == field.name());
            columns.extend(found.map(|(name, offset, kind)| Column {
                name: name.clone(),
                offset: *offset,
                kind: *kind,
            }));
        }
        Ok(Self {
            source: source.into(),
            schema,
            columns,
            stride,
            limit: FRAME_BYTES_MAX.max(wire.line_bytes_max),
            unit: wire.time.as_ref().map_or(TimeUnit::default(), |(_, unit)| *unit),
            rows: 0,
            frames: 0,
            rejected: Rejected::default(),
        })
    }

    pub(super) fn jump(&mut self, rows: u64) {
        self.rows = rows;
    }

    /// Takes a piece of whole frames; where they do not add up to it, it is a bad row.
    pub(super) fn push_whole(&mut self, piece: &[u8], input: &mut Input) {
        let mut rest = piece;
        while let Some((prefix, behind)) = rest.split_first_chunk::<PREFIX>() {
            let length = usize::try_from(u32::from_le_bytes(*prefix)).unwrap_or(usize::MAX);
            match behind.get(length..) {
                Some(behind) if length.is_multiple_of(self.stride) && length <= self.limit => rest = behind,
                _ => break,
            }
        }
        if rest.is_empty() {
            input.push(piece);
        } else {
            let what = format!("is no frame of whole rows of {} bytes", self.stride);
            let bad = self.bad_bytes(rest, what);
            self.rejected.push(bad);
        }
    }

    pub(super) fn next(&mut self, input: &mut Input) -> Result<Option<Decoded>, Refusal> {
        if !self.rejected.is_empty() {
            let rejected = std::mem::take(&mut self.rejected);
            return Ok(Some((RecordBatch::new_empty(self.schema.clone()), rejected)));
        }
        let held = input.held();
        let (mut payloads, mut rows, mut at, mut frames) = (Vec::new(), 0, 0, 0);
        while rows < BATCH_ROWS && at < BATCH_BYTES {
            let Some(prefix) = held.get(at..).and_then(|rest| rest.first_chunk::<PREFIX>()) else {
                break;
            };
            // What does not fit is above the limit.
            let length = usize::try_from(u32::from_le_bytes(*prefix)).unwrap_or(usize::MAX);
            if length > self.limit || !length.is_multiple_of(self.stride) {
                if at > 0 {
                    break;
                }
                return Err(self.wrong_length(length, held));
            }
            let Some(payload) = held.get(at + PREFIX..at + PREFIX + length) else {
                break;
            };
            payloads.push(payload);
            rows += length / self.stride;
            at += PREFIX + length;
            frames += 1;
        }
        self.frames += frames;
        if rows > 0 {
            let decoded = self.decode(&payloads, rows)?;
            input.consume(at);
            return Ok(Some(decoded));
        }
        input.consume(at);
        if at > 0 {
            // Empty frames, which keep a connection open.
            return self.next(input);
        }
        if !input.is_ended() || input.held().is_empty() {
            return Ok(None);
        }
        Ok(Some(self.half_frame(input)))
    }

    fn wrong_length(&self, length: usize, held: &[u8]) -> Refusal {
        let frame = self.frames + 1;
        let what = if length > self.limit {
            format!("more than {} bytes", self.limit)
        } else {
            format!("not a multiple of the {} bytes of a row", self.stride)
        };
        Refusal {
            line: self.rows + 1,
            bytes: held[..held.len().min(PREFIX)].to_vec(),
            error: Error::Data(format!(
                "{}: frame {frame} claims a length of {length} bytes, which is {what} (columns and values of the feed)",
                self.source
            )),
        }
    }

    fn half_frame(&mut self, input: &mut Input) -> Decoded {
        let what = format!("is where the input stopped, within frame {}", self.frames + 1);
        let bad = self.bad_bytes(input.held(), what);
        let length = input.held().len();
        input.consume(length);
        (RecordBatch::new_empty(self.schema.clone()), bad.into())
    }

    fn bad_bytes(&mut self, bytes: &[u8], reason: String) -> BadRow {
        let kept = bytes[..bytes.len().min(super::KEPT_BYTES)].to_vec();
        self.rows += 1;
        BadRow {
            source: self.source.clone(),
            line: self.rows,
            column: None,
            bytes: kept.clone(),
            row: kept,
            reason,
        }
    }

    fn decode(&mut self, payloads: &[&[u8]], rows: usize) -> Result<Decoded> {
        let mut bad: Vec<(usize, usize)> = Vec::new();
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        let mut outs: Vec<Out> = self.columns.iter().map(|column| Out::new(column.kind, rows)).collect();
        let block_rows = (BLOCK_BYTES / self.stride).max(8);
        for payload in payloads {
            for block in payload.chunks(block_rows * self.stride) {
                for (column, out) in self.columns.iter().zip(&mut outs) {
                    out.gather(block, self.stride, column.offset);
                }
            }
        }
        for (place, (column, out)) in self.columns.iter().zip(outs).enumerate() {
            arrays.push(match (column.kind, out) {
                (Kind::F64, Out::F64(values)) => Arc::new(Float64Array::from(values)),
                (Kind::F32, Out::F32(values)) => Arc::new(Float32Array::from(values)),
                (Kind::Whole, Out::I64(values)) => Arc::new(Int64Array::from(values)),
                (_, Out::I64(values)) if column.kind == Kind::Widened => {
                    Arc::new(Float64Array::from_iter_values(values.into_iter().map(|x| x as f64)))
                }
                (_, out) => {
                    let times = out.times(self.unit, |row| bad.push((row, place)));
                    Arc::new(TimestampNanosecondArray::from(times))
                }
            });
        }
        let first = self.rows;
        self.rows += rows as u64;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let impossible = |e| Error::Failed(format!("{}: a frame could not become a batch: {e}", self.source));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options).map_err(impossible)?;
        if bad.is_empty() {
            return Ok((batch, Rejected::default()));
        }
        let mut keep = vec![true; rows];
        bad.iter().for_each(|(row, _)| keep[*row] = false);
        let batch = filter_record_batch(&batch, &BooleanArray::from(keep)).map_err(impossible)?;
        let mut rejected = Rejected::default();
        rejected.extend(
            bad.iter()
                .map(|(row, place)| self.bad_time(payloads, *row, *place, first)),
        );
        Ok((batch, rejected))
    }

    /// The row of these payloads whose time is none.
    fn bad_time(&self, payloads: &[&[u8]], row: usize, place: usize, first: u64) -> BadRow {
        let (column, mut at, mut bytes) = (&self.columns[place], row * self.stride, &[][..]);
        for payload in payloads {
            if at < payload.len() {
                bytes = &payload[at..at + self.stride];
                break;
            }
            at -= payload.len();
        }
        let cell = bytes
            .get(column.offset..column.offset + column.kind.width())
            .unwrap_or_default();
        let is_number = match column.kind {
            Kind::TimeF64 => cell.first_chunk().is_some_and(|c| f64::from_le_bytes(*c).is_finite()),
            Kind::TimeF32 => cell.first_chunk().is_some_and(|c| f32::from_le_bytes(*c).is_finite()),
            _ => true,
        };
        let why = if is_number {
            time::Unreadable::OutOfRange
        } else {
            time::Unreadable::NoTime
        };
        BadRow {
            source: self.source.clone(),
            line: first + row as u64 + 1,
            column: Some(column.name.clone()),
            bytes: cell.to_vec(),
            row: bytes.to_vec(),
            reason: why.reason().into(),
        }
    }
}

impl Kind {
    fn width(self) -> usize {
        match self {
            Self::F32 | Self::TimeF32 => 4,
            _ => 8,
        }
    }

    fn data_type(self) -> DataType {
        match self {
            Self::F64 | Self::Widened => DataType::Float64,
            Self::F32 => DataType::Float32,
            Self::Whole => DataType::Int64,
            Self::TimeF64 | Self::TimeF32 | Self::TimeI64 => time_type(),
        }
    }
}

/// The values of a column as they are stored.
enum Out {
    F64(Vec<f64>),
    F32(Vec<f32>),
    I64(Vec<i64>),
}

impl Out {
    fn new(kind: Kind, rows: usize) -> Self {
        match kind {
            Kind::F64 | Kind::TimeF64 => Self::F64(Vec::with_capacity(rows)),
            Kind::F32 | Kind::TimeF32 => Self::F32(Vec::with_capacity(rows)),
            Kind::Widened | Kind::Whole | Kind::TimeI64 => Self::I64(Vec::with_capacity(rows)),
        }
    }

    fn gather(&mut self, block: &[u8], stride: usize, offset: usize) {
        match self {
            Self::F64(out) => gather(block, stride, offset, out, f64::from_le_bytes),
            Self::F32(out) => gather(block, stride, offset, out, f32::from_le_bytes),
            Self::I64(out) => gather(block, stride, offset, out, i64::from_le_bytes),
        }
    }

    /// As nanoseconds since 1970; `bad` is told the rows that have none, which are 0.
    fn times(self, unit: TimeUnit, mut bad: impl FnMut(usize)) -> Vec<i64> {
        let unit_ns = 10i64.pow(time::unit_digits(unit).unsigned_abs());
        let mut digits = String::new();
        let mut or_bad = |(row, time_ns): (usize, Option<i64>)| {
            time_ns.unwrap_or_else(|| {
                bad(row);
                0
            })
        };
        match self {
            Self::I64(values) => {
                let times = values.into_iter().map(|x| x.checked_mul(unit_ns));
                times.enumerate().map(or_bad).collect()
            }
            Self::F64(values) => {
                let times = values.into_iter().map(|x| float_time(x, unit_ns, unit, &mut digits));
                times.enumerate().map(&mut or_bad).collect()
            }
            Self::F32(values) => {
                let times = values
                    .into_iter()
                    .map(|x| float_time(x.into(), unit_ns, unit, &mut digits));
                times.enumerate().map(&mut or_bad).collect()
            }
        }
    }
}

/// Adds the values of `W` bytes at `offset` of each row.
#[inline]
fn gather<const W: usize, T>(
    block: &[u8],
    stride: usize,
    offset: usize,
    out: &mut Vec<T>,
    value: impl Fn([u8; W]) -> T,
) {
    let (words, rest) = block.as_chunks::<W>();
    if stride.is_multiple_of(W) && offset.is_multiple_of(W) && rest.is_empty() {
        let (step, from) = (stride / W, offset / W);
        let words = words.get(from..).unwrap_or_default().iter().step_by(step);
        out.extend(words.map(|word| value(*word)));
        return;
    }
    let word = |row: &[u8]| row.get(offset..).and_then(|rest| rest.first_chunk().copied());
    let rows = block.chunks_exact(stride);
    // Every row has the word: a column lies within it.
    out.extend(rows.map(|row| value(word(row).unwrap_or([0; W]))));
}

/// The time that a float is, as the same number in text would be: one that is not whole is the shortest decimal that
/// reads back as it.
fn float_time(x: f64, unit_ns: i64, unit: TimeUnit, digits: &mut String) -> Option<i64> {
    let whole = x as i64;
    if x.abs() < EXACT_END && whole as f64 == x {
        return whole.checked_mul(unit_ns);
    }
    // Most others are whole microseconds: a decimal of so few digits is the only one of its length that reads back as
    // this float, and the division that shows that it does is rounded as reading it would be.
    let per_unit = unit_ns / 1000;
    if per_unit > 1 {
        let micros = (x * per_unit as f64).round();
        if micros.abs() < EXACT_END && micros / per_unit as f64 == x {
            return Some(micros as i64 * 1000);
        }
    }
    time::float(x, unit_ns, unit, digits)
}
