//! Bodies: what their headers say about them, receiving them within bounds, unpacking and decoding them.

use super::{ROOM_LOOK, ROOM_WAIT};
use crate::error::{Error, Result};
use crate::io::Rows;
use crate::io::budget::Share;
use crate::io::live::{Context, WireFormat, now_ns};
use crate::io::rejected::Rejected;
use crate::io::wire::Decoder;
use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserializer;
use serde::de::{SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Bytes a second below which a body is too slow: a modem's rate. Who sends slower than this for longer than the idle
/// time holds memory without a use.
const SLOWEST_BYTES_PER_SECOND: u64 = 4 << 10;

/// Bytes of a body that are unpacked at once.
const PIECE_BYTES: usize = 256 << 10;

/// Bytes of the memory for bodies that are taken at once: few enough that those who send slowly hold little of it.
const STEP_BYTES: u64 = 256 << 10;

/// How many times the longest body the rows of one may be.
const EXPANSION: u64 = 2;

/// Bytes that the rows of a body may be however short the longest body is.
const ROWS_BYTES_MIN: u64 = 1 << 20;

/// Memory that a zstd frame may ask for, as a power of two: 8 MiB, which RFC 8878 asks every decoder to support.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::io) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

impl Encoding {
    /// What a `Content-Encoding` stands for.
    pub(in crate::io) fn of_header(value: Option<&[u8]>) -> Result<Self> {
        match value.unwrap_or_default().trim_ascii().to_ascii_lowercase().as_slice() {
            b"" | b"identity" => Ok(Self::Identity),
            b"gzip" | b"x-gzip" => Ok(Self::Gzip),
            b"zstd" => Ok(Self::Zstd),
            other => Err(Error::Usage(format!(
                "Content-Encoding {} is not known; there are gzip, zstd and identity",
                crate::error::quote(other)
            ))),
        }
    }
}

/// The format that a `Content-Type` stands for: the feed's, where it is absent or says nothing.
pub(in crate::io) fn format_of_header(value: Option<&[u8]>, feed: WireFormat) -> Result<WireFormat> {
    let value = value.unwrap_or_default();
    let kind = value.split(|byte| *byte == b';').next().unwrap_or_default();
    match kind.trim_ascii().to_ascii_lowercase().as_slice() {
        b"" | b"application/octet-stream" | b"application/x-www-form-urlencoded" | b"text/plain" => Ok(feed),
        b"text/csv" | b"application/csv" => Ok(WireFormat::Csv),
        b"application/x-ndjson" | b"application/ndjson" | b"application/jsonl" | b"application/json" => {
            Ok(WireFormat::Ndjson)
        }
        b"application/vnd.apache.arrow.stream" => Ok(WireFormat::Arrow),
        b"application/vnd.millstream.binary" => Ok(WireFormat::Binary),
        other => Err(Error::Usage(format!(
            "Content-Type {} is not known; there are text/csv, application/x-ndjson, application/vnd.apache.arrow.stream \
             and application/vnd.millstream.binary",
            crate::error::quote(other)
        ))),
    }
}

/// Why a body was not received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    TooLong,
    TooSlow,
    BrokenOff,
    NoRoom,
}

/// Receives a body of at most `limit` bytes; what has come is added to the share, whatever was announced.
pub(super) async fn receive(
    body: &mut Incoming,
    limit: u64,
    idle: Duration,
    share: &mut Share,
) -> Result<Vec<u8>, Lost> {
    let began = Instant::now();
    let (mut received, mut bytes) = (0u64, Vec::new());
    loop {
        let allowed = idle + Duration::from_secs(received / SLOWEST_BYTES_PER_SECOND);
        let until = (began + allowed).min(Instant::now() + idle);
        let frame = match tokio::time::timeout_at(until, body.frame()).await {
            Err(_) => return Err(Lost::TooSlow),
            Ok(None) => return Ok(bytes),
            Ok(Some(Err(_))) => return Err(Lost::BrokenOff),
            Ok(Some(Ok(frame))) => frame,
        };
        // Trailers say nothing about rows.
        if let Ok(data) = frame.into_data() {
            received += data.len() as u64;
            if received > limit {
                return Err(Lost::TooLong);
            }
            if received > share.bytes() {
                let step = received.next_multiple_of(STEP_BYTES).min(limit);
                let until = Instant::now() + ROOM_WAIT;
                while !share.try_resize(step) {
                    if Instant::now() >= until {
                        return Err(Lost::NoRoom);
                    }
                    tokio::time::sleep(ROOM_LOOK).await;
                }
            }
            bytes.extend_from_slice(&data);
        }
    }
}

/// Reads what is left of a body, up to `most` bytes, so that its sender is done and sees the answer.
pub(super) async fn pass_over(body: &mut Incoming, most: u64, within: Duration) {
    let read = async {
        let mut read = 0;
        while read <= most
            && let Some(Ok(frame)) = body.frame().await
        {
            read += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
    };
    // Who sends longer than this does not get the answer.
    let _ = tokio::time::timeout(within, read).await;
}

/// What a body is decoded with.
#[derive(Debug, Clone)]
pub(in crate::io) struct Bodies {
    pub(in crate::io) context: Context,
    /// Held while the columns of the feed are found out, so that one body decides them.
    settling: Arc<Mutex<()>>,
}

impl Bodies {
    /// Checks that the feed's own format can be decoded.
    ///
    /// # Errors
    /// As [`Decoder::new`].
    pub(in crate::io) fn new(context: &Context) -> Result<Self> {
        Decoder::new(context, context.name.clone())?;
        Ok(Self {
            context: context.clone(),
            settling: Arc::default(),
        })
    }

    /// The rows of a whole body: all of them, or an error. `room` is told how many bytes the body and its rows take so
    /// far, and says whether there is room for them.
    ///
    /// The columns of the feed are settled by the first body that can be read and has rows; one that cannot settles
    /// nothing.
    ///
    /// # Errors
    /// [`Error::Limit`] where it expands to more than [`Limits::body_bytes`](crate::io::live::Limits::body_bytes),
    /// [`Error::Data`] where it cannot be read.
    pub(in crate::io) fn decode(
        &self,
        source: &str,
        format: WireFormat,
        encoding: Encoding,
        body: &[u8],
        room: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Rows, Undecoded> {
        let mut context = self.context.clone();
        if format != context.wire.format {
            let mut wire = (*context.wire).clone();
            wire.format = format;
            context.wire = wire.into();
        }
        if context.schema.get().is_some() {
            return decode(&context, source, encoding, body, room);
        }
        let _one = self.settling.lock().unwrap_or_else(PoisonError::into_inner);
        if context.schema.get().is_some() {
            return decode(&context, source, encoding, body, room);
        }
        let trial = Context {
            schema: Arc::new(context.schema.trial()),
            ..context.clone()
        };
        let rows = decode(&trial, source, encoding, body, room)?;
        if rows.batch.num_rows() > 0
            && let Some(schema) = trial.schema.get()
        {
            context.schema.settle(Arc::clone(schema))?;
        }
        Ok(rows)
    }
}

/// Why a body gave no rows.
#[derive(Debug)]
pub(in crate::io) enum Undecoded {
    /// There is no room for its rows.
    NoRoom,
    /// It cannot be read.
    Unreadable(Error),
}

impl From<Error> for Undecoded {
    fn from(error: Error) -> Self {
        Self::Unreadable(error)
    }
}

fn decode(
    context: &Context,
    source: &str,
    encoding: Encoding,
    body: &[u8],
    room: &mut dyn FnMut(u64) -> bool,
) -> Result<Rows, Undecoded> {
    let damaged = |e: io::Error| Error::Data(format!("{source}: the body cannot be unpacked: {e}"));
    let mut intake = Intake {
        source,
        decoder: Decoder::new(context, source)?,
        decoded: Vec::new(),
        rejected: Rejected::default(),
        room,
        sent: body.len() as u64,
        rows_bytes: 0,
        total: 0,
        limit: context.limits.body_bytes,
        may_be_array: context.wire.format == WireFormat::Ndjson,
        array: None,
    };
    match encoding {
        Encoding::Identity => {
            for piece in body.chunks(PIECE_BYTES) {
                intake.push(piece)?;
            }
        }
        Encoding::Gzip => {
            intake.unpack(flate2::bufread::MultiGzDecoder::new(body))?;
        }
        Encoding::Zstd => {
            let mut unpacked = zstd::stream::read::Decoder::with_buffer(body).map_err(damaged)?;
            unpacked.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(damaged)?;
            intake.unpack(unpacked)?;
        }
    }
    let rows = intake.finish(context)?;
    match rows.rejected.first() {
        Some(bad) if rows.batch.num_rows() == 0 => Err(Error::Data(format!("no row can be read: {bad}")).into()),
        _ => Ok(rows),
    }
}

/// A body on its way through the decoder.
struct Intake<'a> {
    source: &'a str,
    decoder: Decoder,
    decoded: Vec<RecordBatch>,
    rejected: Rejected,
    /// Whether there is room for so many bytes.
    room: &'a mut dyn FnMut(u64) -> bool,
    /// Bytes of the body as it came, and of its rows.
    sent: u64,
    rows_bytes: u64,
    /// Bytes so far, unpacked, and how many there may be.
    total: u64,
    limit: u64,
    /// JSON of which nothing but blanks has come.
    may_be_array: bool,
    /// A JSON array, which is decoded when it is whole.
    array: Option<Vec<u8>>,
}

impl Intake<'_> {
    fn push(&mut self, bytes: &[u8]) -> Result<(), Undecoded> {
        self.total += bytes.len() as u64;
        if self.total > self.limit {
            return Err(too_long(self.limit).into());
        }
        if self.may_be_array
            && let Some(first) = bytes.trim_ascii_start().first()
        {
            self.may_be_array = false;
            self.array = (*first == b'[').then(Vec::new);
        }
        match &mut self.array {
            Some(array) => array.extend_from_slice(bytes),
            None => {
                self.decoder.push(bytes);
                self.take()?;
            }
        }
        Ok(())
    }

    /// Takes what a stream unpacks to, as much as a body may have.
    fn unpack(&mut self, mut stream: impl Read) -> Result<(), Undecoded> {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match stream.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(n) => self.push(&piece[..n])?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    return Err(Error::Data(format!("{}: the body cannot be unpacked: {e}", self.source)).into());
                }
            }
        }
    }

    /// Everything that the decoder has.
    fn take(&mut self) -> Result<(), Undecoded> {
        while let Some(rows) = self.decoder.next_rows()? {
            self.rejected.extend(rows.rejected);
            self.rejected.count_only(rows.unkept);
            if rows.batch.num_rows() == 0 {
                continue;
            }
            self.rows_bytes += bytes_of(&rows.batch);
            let most = (EXPANSION * self.limit).max(ROWS_BYTES_MIN);
            if self.rows_bytes > most {
                return Err(Error::Limit(format!(
                    "the rows of a body take at most {most} bytes, 8 a number: send fewer rows at once, or raise [limits] \
                     body"
                ))
                .into());
            }
            if !(self.room)(self.sent + self.rows_bytes) {
                return Err(Undecoded::NoRoom);
            }
            self.decoded.push(rows.batch);
        }
        Ok(())
    }

    /// The rows as one batch, which is taken or not as a whole.
    fn finish(mut self, context: &Context) -> Result<Rows, Undecoded> {
        if let Some(array) = self.array.take() {
            let lines = lines_of_array(&array)
                .map_err(|e| Error::Data(format!("{}: the body is no JSON array: {e}", self.source)))?;
            self.decoder.push(&lines);
        }
        self.decoder.finish();
        self.take()?;
        let batch = match self.decoded.as_slice() {
            [] => RecordBatch::new_empty(crate::io::live::settled(context)),
            [one] => one.clone(),
            several => concat_batches(&several[0].schema(), several).map_err(|e| Error::Data(e.to_string()))?,
        };
        let (rejected, unkept) = self.rejected.into_parts();
        Ok(Rows {
            batch,
            rejected,
            unkept,
            bytes_read: self.sent,
            arrived_ns: Some(now_ns()),
        })
    }
}

/// The elements of a JSON array, one a line. No string of JSON holds a line end, so each may become a blank.
fn lines_of_array(array: &[u8]) -> serde_json::Result<Vec<u8>> {
    struct Lines(Vec<u8>);

    impl<'de> Visitor<'de> for Lines {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<Vec<u8>, A::Error> {
            while let Some(element) = elements.next_element::<&RawValue>()? {
                let blank = |byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte };
                self.0.extend(element.get().bytes().map(blank));
                self.0.push(b'\n');
            }
            Ok(self.0)
        }
    }

    let mut parser = serde_json::Deserializer::from_slice(array);
    let lines = parser.deserialize_seq(Lines(Vec::with_capacity(array.len())))?;
    parser.end()?;
    Ok(lines)
}

/// The error for a body beyond the bound.
pub(super) fn too_long(limit: u64) -> Error {
    Error::Limit(format!(
        "a body has at most {limit} bytes, unpacked: send fewer rows at once, or raise [limits] body"
    ))
}

/// Bytes of the values of a batch, whatever else lies in the memory that they are in; 8 for a row without columns.
pub(super) fn bytes_of(batch: &RecordBatch) -> u64 {
    let column = |array: &ArrayRef| {
        array
            .to_data()
            .get_slice_memory_size()
            .unwrap_or(array.get_array_memory_size())
    };
    let columns: usize = batch.columns().iter().map(column).sum();
    columns.max(batch.num_rows() * size_of::<f64>()) as u64
}
