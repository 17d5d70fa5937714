//! Bodies: what their headers say about them, receiving them within bounds, unpacking and decoding them.

use crate::error::{Error, Result};
use crate::io::budget::Share;
use crate::io::live::{Context, WireFormat, now_ns};
use crate::io::wire::Decoder;
use crate::io::{Position, Rows};
use arrow::compute::concat_batches;
use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::collections::VecDeque;
use std::io::{self, BufReader, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Bytes a second below which a body is too slow: a modem's rate. Who sends slower than this for longer than the idle
/// time holds memory without a use.
const SLOWEST_BYTES_PER_SECOND: u64 = 4 << 10;

/// Bytes of a body that are unpacked at once.
const PIECE_BYTES: usize = 256 << 10;

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

/// Receives a body of at most `limit` bytes; what it takes is added to the share.
pub(super) async fn receive(
    body: &mut Incoming,
    limit: u64,
    idle: Duration,
    share: &mut Share,
) -> Result<Vec<Bytes>, Lost> {
    let began = Instant::now();
    let (mut received, mut pieces) = (0u64, Vec::new());
    loop {
        let allowed = idle + Duration::from_secs(received / SLOWEST_BYTES_PER_SECOND);
        let until = (began + allowed).min(Instant::now() + idle);
        let frame = match tokio::time::timeout_at(until, body.frame()).await {
            Err(_) => return Err(Lost::TooSlow),
            Ok(None) => return Ok(pieces),
            Ok(Some(Err(_))) => return Err(Lost::BrokenOff),
            Ok(Some(Ok(frame))) => frame,
        };
        // Trailers say nothing about rows.
        if let Ok(data) = frame.into_data() {
            received += data.len() as u64;
            if received > limit {
                return Err(Lost::TooLong);
            }
            if received > share.bytes() && !share.try_resize(received) {
                return Err(Lost::NoRoom);
            }
            pieces.push(data);
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

/// The pieces of a body as one stream.
struct Pieces(VecDeque<Bytes>);

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(first) = self.0.front_mut() {
            let n = first.len().min(buffer.len());
            if n > 0 || buffer.is_empty() {
                first.copy_to_slice(&mut buffer[..n]);
                return Ok(n);
            }
            self.0.pop_front();
        }
        Ok(0)
    }
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

    /// The rows of a whole body: all of them, or an error.
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
        body: Vec<Bytes>,
    ) -> Result<Rows> {
        let mut context = self.context.clone();
        if format != context.wire.format {
            let mut wire = (*context.wire).clone();
            wire.format = format;
            context.wire = wire.into();
        }
        if context.schema.get().is_some() {
            return decode(&context, source, encoding, body);
        }
        let _one = self.settling.lock().unwrap_or_else(PoisonError::into_inner);
        if context.schema.get().is_some() {
            return decode(&context, source, encoding, body);
        }
        let trial = Context {
            schema: Arc::new(context.schema.trial()),
            ..context.clone()
        };
        let rows = decode(&trial, source, encoding, body)?;
        if rows.batch.num_rows() > 0
            && let Some(schema) = trial.schema.get()
        {
            context.schema.settle(Arc::clone(schema))?;
        }
        Ok(rows)
    }
}

fn decode(context: &Context, source: &str, encoding: Encoding, body: Vec<Bytes>) -> Result<Rows> {
    let damaged = |e: io::Error| Error::Data(format!("{source}: the body cannot be unpacked: {e}"));
    let mut intake = Intake {
        source,
        decoder: Decoder::new(context, source)?,
        decoded: Vec::new(),
        total: 0,
        limit: context.limits.body_bytes,
        may_be_array: context.wire.format == WireFormat::Ndjson,
        array: None,
    };
    let sent: u64 = body.iter().map(|piece| piece.len() as u64).sum();
    match encoding {
        Encoding::Identity => {
            for piece in body {
                intake.push(&piece)?;
            }
        }
        Encoding::Gzip => {
            let packed = BufReader::with_capacity(PIECE_BYTES, Pieces(body.into()));
            intake.unpack(flate2::bufread::MultiGzDecoder::new(packed))?;
        }
        Encoding::Zstd => {
            let mut unpacked = zstd::stream::read::Decoder::new(Pieces(body.into())).map_err(damaged)?;
            unpacked.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(damaged)?;
            intake.unpack(unpacked)?;
        }
    }
    let rows = one(context, intake.finish()?, sent)?;
    match rows.rejected.first() {
        Some(bad) if rows.batch.num_rows() == 0 => Err(Error::Data(format!("no row can be read: {bad}"))),
        _ => Ok(rows),
    }
}

/// A body on its way through the decoder.
struct Intake<'a> {
    source: &'a str,
    decoder: Decoder,
    decoded: Vec<Rows>,
    /// Bytes so far, unpacked, and how many there may be.
    total: u64,
    limit: u64,
    /// JSON of which nothing but blanks has come.
    may_be_array: bool,
    /// A JSON array, which is decoded when it is whole.
    array: Option<Vec<u8>>,
}

impl Intake<'_> {
    fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.total += bytes.len() as u64;
        if self.total > self.limit {
            return Err(too_long(self.limit));
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
    fn unpack(&mut self, mut stream: impl Read) -> Result<()> {
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            match stream.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(n) => self.push(&piece[..n])?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    return Err(Error::Data(format!(
                        "{}: the body cannot be unpacked: {e}",
                        self.source
                    )));
                }
            }
        }
    }

    /// Everything that the decoder has.
    fn take(&mut self) -> Result<()> {
        while let Some(rows) = self.decoder.next_rows()? {
            self.decoded.push(rows);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Rows>> {
        if let Some(array) = self.array.take() {
            let lines = lines_of_array(&array)
                .map_err(|e| Error::Data(format!("{}: the body is no JSON array: {e}", self.source)))?;
            self.decoder.push(&lines);
        }
        self.decoder.finish();
        self.take()?;
        Ok(self.decoded)
    }
}

/// The elements of a JSON array, one a line. No string of JSON holds a line end, so each may become a blank.
fn lines_of_array(array: &[u8]) -> serde_json::Result<Vec<u8>> {
    let elements: Vec<&serde_json::value::RawValue> = serde_json::from_slice(array)?;
    let mut lines = Vec::with_capacity(array.len());
    for element in elements {
        let blank = |byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { byte };
        lines.extend(element.get().bytes().map(blank));
        lines.push(b'\n');
    }
    Ok(lines)
}

/// The error for a body beyond the bound.
pub(super) fn too_long(limit: u64) -> Error {
    Error::Limit(format!(
        "a body has at most {limit} bytes, unpacked: send fewer rows at once, or raise [limits] body"
    ))
}

/// The rows of a body as one batch, which is taken or not as a whole.
fn one(context: &Context, decoded: Vec<Rows>, bytes: u64) -> Result<Rows> {
    let Some(first) = decoded
        .iter()
        .find(|rows| rows.batch.num_rows() > 0)
        .or(decoded.first())
    else {
        let schema = crate::io::live::settled(context);
        return Ok(Rows {
            batch: arrow::array::RecordBatch::new_empty(schema),
            rejected: Vec::new(),
            bytes_read: bytes,
            arrived_ns: Some(now_ns()),
        });
    };
    let schema = first.batch.schema();
    let batches: Vec<_> = decoded
        .iter()
        .map(|rows| &rows.batch)
        .filter(|b| b.num_rows() > 0)
        .collect();
    let batch = match batches.as_slice() {
        [one] => (*one).clone(),
        several => concat_batches(&schema, several.iter().copied()).map_err(|e| Error::Data(e.to_string()))?,
    };
    Ok(Rows {
        batch,
        rejected: decoded.into_iter().flat_map(|rows| rows.rejected).collect(),
        bytes_read: bytes,
        arrived_ns: Some(now_ns()),
    })
}

/// The position behind so many rows of a source that cannot be asked again.
pub(in crate::io) fn position(rows: u64) -> Position {
    Position {
        rows,
        ..Position::default()
    }
}
