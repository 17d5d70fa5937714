//! Arrow IPC streams, one after another, message by message.
//!
//! A message is looked at (its lengths, what its compressed buffers claim to expand to) and waited for in full before
//! Arrow's own decoder sees it, in memory aligned as Arrow wants it, so that the columns of a batch are views of it. A
//! message is one batch, whatever its size, so that the end of a batch is a place to go on from.

use super::input::Input;
use super::{Decoded, Refusal};
use crate::error::{BadRow, Error, Result};
use crate::io::arrow::claims::{self, Bound};
use crate::io::columnar::Shape;
use crate::io::live::{Context, Settled, WireOptions};
use crate::io::rejected::Rejected;
use crate::io::whole::{self, ARROW_CONTINUATION, ARROW_MAGIC};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, RunArray};
use arrow::buffer::{Buffer, MutableBuffer};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Int16Type, Int32Type, Int64Type, RunEndIndexType, Schema, SchemaRef};
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::root_as_message;
use std::collections::VecDeque;
use std::sync::Arc;

/// The longest message, in bytes, where a line may not be longer still: it has to be there in full before it is
/// decoded, and so much a connection may hold.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// How many times the longest message the columns of one may be, unpacked and as numbers of 64 bits.
const EXPANSION: u64 = 2;

/// Rows of a batch without a time that are told about.
const TOLD_MAX: usize = 1 << 14;

/// The mark of a message and the length of its metadata.
const PREFIX: usize = 8;

/// What ends a stream.
const END_OF_STREAM: [u8; PREFIX] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

pub(super) struct ArrowStream {
    source: String,
    wire: Arc<WireOptions>,
    settled: Arc<Settled>,
    bound: Bound,
    limit: usize,
    decoder: StreamDecoder,
    /// How the columns of the stream become those of the feed, once its schema is there.
    shape: Option<Shape>,
    ready: VecDeque<Decoded>,
    rows: u64,
    messages: u64,
}

impl std::fmt::Debug for ArrowStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArrowStream")
            .field("source", &self.source)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

impl ArrowStream {
    pub(super) fn new(context: &Context, source: &str) -> Self {
        let wire = context.wire.clone();
        let limit = MESSAGE_BYTES_MAX.max(wire.line_bytes_max);
        Self {
            source: source.into(),
            settled: context.schema.clone(),
            bound: Bound::of_wire(source.into(), EXPANSION * limit as u64),
            limit,
            wire,
            decoder: StreamDecoder::new(),
            shape: None,
            ready: VecDeque::new(),
            rows: 0,
            messages: 0,
        }
    }

    pub(super) fn next(&mut self, input: &mut Input) -> Result<Option<Decoded>, Refusal> {
        loop {
            if let Some(decoded) = self.ready.pop_front() {
                return Ok(Some(decoded));
            }
            let held = input.held();
            if held.is_empty() && input.is_ended() {
                self.end_stream()?;
                if self.ready.is_empty() {
                    return Ok(None);
                }
                continue;
            }
            let Some(length) = self.message(held)? else {
                if !input.is_ended() {
                    return Ok(None);
                }
                self.ready.push_back(self.half_message(held));
                let length = held.len();
                input.consume(length);
                continue;
            };
            self.messages += 1;
            match length {
                Message::End(length) => {
                    self.end_stream()?;
                    input.consume(length);
                }
                Message::Whole { head, body } => {
                    let (metadata, body) = held[..head + body].split_at(head);
                    for part in [metadata, body] {
                        let mut aligned = MutableBuffer::with_capacity(part.len());
                        aligned.extend_from_slice(part);
                        self.feed(aligned.into())?;
                    }
                    let length = metadata.len() + body.len();
                    input.consume(length);
                }
            }
        }
    }

    /// The lengths of the message that `held` begins with; nothing while it is not there in full.
    fn message(&self, held: &[u8]) -> Result<Option<Message>, Refusal> {
        let Some(mark) = held.first_chunk::<4>() else {
            return Ok(None);
        };
        if held.starts_with(&ARROW_MAGIC[..4]) {
            return Err(self.refusal("is an Arrow file, where a stream is wanted", mark));
        }
        let (prefix, length) = if mark == ARROW_CONTINUATION {
            let Some(length) = held.get(4..PREFIX).and_then(|rest| rest.first_chunk()) else {
                return Ok(None);
            };
            (PREFIX, *length)
        } else {
            (4, *mark)
        };
        // What does not fit is above the limit.
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length == 0 {
            return Ok(Some(Message::End(prefix)));
        }
        if length > self.limit {
            let what = format!(
                "claims {length} bytes of metadata, more than {} (or is no Arrow stream)",
                self.limit
            );
            return Err(self.refusal(&what, &held[..prefix]));
        }
        let head = prefix + length;
        let Some(metadata) = held.get(prefix..head) else {
            return Ok(None);
        };
        let message =
            root_as_message(metadata).map_err(|e| self.refusal(&format!("is no message: {e}"), &held[..head]))?;
        let body = usize::try_from(message.bodyLength())
            .ok()
            .filter(|body| *body <= self.limit);
        let Some(body) = body else {
            let what = format!(
                "claims a body of {} bytes, more than {}",
                message.bodyLength(),
                self.limit
            );
            return Err(self.refusal(&what, &held[..head]));
        };
        let Some(bytes) = held.get(head..head + body) else {
            return Ok(None);
        };
        let columns = if message.header_as_dictionary_batch().is_some() {
            1
        } else {
            self.columns()
        };
        let checked = self.bound.check_rows(&message, columns);
        let checked = checked.and_then(|()| claims::check_body(&self.bound, &message, bytes));
        checked.map_err(|error| Refusal {
            line: self.rows + 1,
            bytes: Vec::new(),
            error,
        })?;
        Ok(Some(Message::Whole { head, body }))
    }

    /// How many columns of a batch are wanted.
    fn columns(&self) -> usize {
        match (self.settled.get(), &self.wire.wanted, self.decoder.schema()) {
            (Some(settled), ..) => settled.fields().len(),
            (None, Some(wanted), _) => wanted.len(),
            (None, None, Some(schema)) => schema.fields().len(),
            (None, None, None) => 1,
        }
    }

    fn feed(&mut self, mut bytes: Buffer) -> Result<(), Refusal> {
        let name = self.source.clone();
        while !bytes.is_empty() {
            let decoder = &mut self.decoder;
            let batch = whole::guarded(&name, || {
                decoder.decode(&mut bytes).map_err(|e| whole::damaged(&name, e))
            })
            .map_err(|error| Refusal {
                line: self.rows + 1,
                bytes: Vec::new(),
                error,
            })?;
            if let Some(batch) = batch {
                self.convert(&batch)?;
            }
        }
        Ok(())
    }

    /// Lets the decoder finish what it has been given, and begins anew.
    fn end_stream(&mut self) -> Result<(), Refusal> {
        if self.decoder.schema().is_some() {
            self.feed(Buffer::from(&END_OF_STREAM))?;
        }
        self.decoder = StreamDecoder::new();
        self.shape = None;
        Ok(())
    }

    fn convert(&mut self, batch: &RecordBatch) -> Result<(), Refusal> {
        let name = self.source.clone();
        let line = self.rows + 1;
        whole::guarded(&name, || self.convert_batch(batch)).map_err(|error| Refusal {
            line,
            bytes: Vec::new(),
            error,
        })
    }

    fn convert_batch(&mut self, batch: &RecordBatch) -> Result<()> {
        let shape = match self.shape.take() {
            Some(shape) => shape,
            None => self.shape_of(&batch.schema())?,
        };
        let settled = self.settled.get().cloned().unwrap_or_else(|| shape.schema());
        let rows = batch.num_rows();
        let schema = batch.schema();
        let convert = |place: usize| {
            let (name, column) = (schema.field(place).name(), batch.column(place));
            if is_packed(column.data_type()) {
                self.bound.check_column(name, rows, longest(column))?;
            }
            shape.convert(place, column)
        };
        let columns: Vec<_> = shape.wanted().into_iter().map(convert).collect::<Result<_>>()?;
        let (part, told) = shape.assemble(&columns, rows, self.rows)?;
        let mut rejected = Rejected::default();
        rejected.extend(told);
        rejected.count_only(Shape::untold(&columns));
        self.rows += rows as u64;
        if rows > 0 {
            self.ready.push_back((self.conform(part, &settled)?, rejected));
        }
        self.shape = Some(shape);
        Ok(())
    }

    /// The shape of a stream with this schema, which settles the columns of the feed or has them.
    fn shape_of(&self, schema: &Schema) -> Result<Shape> {
        let mut shape = Shape::new(&self.source, schema, &self.wire.read_options())?;
        let names = |schema: &Schema| schema.fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>();
        let wanted = match (self.settled.get(), &self.wire.wanted) {
            (Some(settled), _) => names(settled),
            (None, Some(wanted)) => wanted.clone(),
            (None, None) => names(&shape.schema()),
        };
        let lacking = |error: Error| Error::Data(error.to_string());
        shape.select(&wanted).map_err(lacking)?;
        shape.tell_at_most(TOLD_MAX);
        let own = shape.schema();
        let places = wanted
            .iter()
            .map(|name| own.index_of(name))
            .collect::<Result<Vec<_>, _>>();
        let own = places.and_then(|places| own.project(&places));
        let own = own.map_err(|e| whole::damaged(&self.source, e))?;
        // A later stream may have nulls where the first has none.
        let time = self.wire.time.as_ref().map(|(name, _)| name);
        let fields = own
            .fields()
            .iter()
            .map(|f| f.as_ref().clone().with_nullable(time != Some(f.name())));
        self.settled.settle(Arc::new(Schema::new(fields.collect::<Vec<_>>())))?;
        Ok(shape)
    }

    /// The batch with the types of the feed.
    fn conform(&self, batch: RecordBatch, settled: &SchemaRef) -> Result<RecordBatch> {
        let columns = settled.fields().iter().zip(batch.columns()).map(|(field, column)| {
            conform_column(field.data_type(), column).map_err(|why| {
                Error::Data(format!(
                    "{}: column `{}` is {}, and {} in the rows before: {why}",
                    self.source,
                    field.name(),
                    column.data_type(),
                    field.data_type()
                ))
            })
        });
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(settled.clone(), columns.collect::<Result<_>>()?, &options)
            .map_err(|e| whole::damaged(&self.source, e))
    }

    fn half_message(&self, held: &[u8]) -> Decoded {
        let kept = held[..held.len().min(super::KEPT_BYTES)].to_vec();
        let bad = BadRow {
            source: self.source.clone(),
            line: self.rows + 1,
            column: None,
            bytes: kept.clone(),
            row: kept,
            reason: format!("is where the input stopped, within message {}", self.messages + 1),
        };
        let schema = self.settled.get().cloned().unwrap_or_else(|| Arc::new(Schema::empty()));
        (RecordBatch::new_empty(schema), bad.into())
    }

    fn refusal(&self, what: &str, held: &[u8]) -> Refusal {
        Refusal {
            line: self.rows + 1,
            bytes: held[..held.len().min(super::KEPT_BYTES)].to_vec(),
            error: Error::Data(format!("{}: message {} {what}", self.source, self.messages + 1)),
        }
    }
}

/// Where a message ends.
enum Message {
    /// The end of a stream, so long.
    End(usize),
    /// Prefix and metadata, and the body.
    Whole { head: usize, body: usize },
}

/// Whether values that stand once may be those of many rows.
fn is_packed(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Dictionary(..) | DataType::RunEndEncoded(..) | DataType::Utf8View | DataType::BinaryView
    )
}

/// Bytes of the longest value of a column.
fn longest(column: &ArrayRef) -> usize {
    fn of_runs<T: RunEndIndexType>(column: &ArrayRef) -> Option<usize> {
        let runs = column.as_any().downcast_ref::<RunArray<T>>()?;
        Some(longest(runs.values()))
    }
    let texts = |lengths: &mut dyn Iterator<Item = Option<usize>>| lengths.flatten().max().unwrap_or(0);
    match column.data_type() {
        DataType::Dictionary(..) => longest(column.as_any_dictionary().values()),
        DataType::RunEndEncoded(..) => of_runs::<Int16Type>(column)
            .or_else(|| of_runs::<Int32Type>(column))
            .or_else(|| of_runs::<Int64Type>(column))
            .unwrap_or(usize::MAX),
        DataType::Utf8 => texts(&mut column.as_string::<i32>().iter().map(|text| text.map(str::len))),
        DataType::LargeUtf8 => texts(&mut column.as_string::<i64>().iter().map(|text| text.map(str::len))),
        DataType::Utf8View => texts(&mut column.as_string_view().iter().map(|text| text.map(str::len))),
        DataType::Binary => texts(&mut column.as_binary::<i32>().iter().map(|bytes| bytes.map(<[u8]>::len))),
        DataType::LargeBinary => texts(&mut column.as_binary::<i64>().iter().map(|bytes| bytes.map(<[u8]>::len))),
        DataType::BinaryView => texts(&mut column.as_binary_view().iter().map(|bytes| bytes.map(<[u8]>::len))),
        DataType::FixedSizeBinary(size) => usize::try_from(*size).unwrap_or(0),
        // Numbers, times and booleans.
        _ => size_of::<f64>(),
    }
}

/// The column with another type, where nothing is lost by it.
fn conform_column(to: &DataType, column: &ArrayRef) -> Result<ArrayRef, String> {
    let from = column.data_type();
    if from == to {
        return Ok(column.clone());
    }
    let is_text = |kind: &DataType| {
        let plain = |kind: &DataType| matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        plain(kind) || matches!(kind, DataType::Dictionary(_, values) if plain(values))
    };
    let lossless = (is_text(from) && is_text(to))
        || (*from == DataType::Float32 && *to == DataType::Float64)
        || (from.is_integer() && to.is_integer());
    if !lossless {
        return Err("the types of a feed's columns do not change".into());
    }
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(column, to, &strict).map_err(|e| e.to_string())
}
