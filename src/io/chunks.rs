//! Text in, batches out, in parallel and in order: the machinery that all text formats share.
//!
//! One thread reads and decompresses, cuts the stream into chunks of whole records ([`Cut`]) and puts a one-shot
//! receiver per chunk into a bounded queue; the chunks themselves are decoded on rayon's threads ([`Decode`]).
//! [`Chunks::read`] takes the receivers from the queue in order, so batches come in the order of the input. The queue's
//! bound is what limits the memory: as many chunks as it holds are read, being decoded, or waiting to be taken.
//! Decoders count lines from the start of their chunk; the sum over the chunks before makes them lines of the file.

use super::bytes::ByteInput;
use super::{BadRows, Position, Read, Rows};
use crate::error::{BadRow, Error, Result};
use arrow::array::RecordBatch;
use crossbeam::channel::{Receiver, Sender, TryRecvError, bounded};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Bytes of text in a chunk: some ten thousand rows, which makes handing over cheap, and still fits into the L2 cache.
pub(crate) const CHUNK_BYTES: usize = 1 << 20;

/// The longest record: a longer one is a lost quote or bracket rather than data. Some hundred thousand columns fit.
pub(crate) const RECORD_BYTES_MAX: usize = 4 << 20;

/// Chunks in flight per decoding thread: one being decoded, one waiting.
const CHUNKS_PER_THREAD: usize = 2;

/// Rows looked at to infer the types of columns.
pub(crate) const INFER_ROWS_MAX: usize = 10_000;

/// Bytes looked at to infer the types of columns.
pub(crate) const INFER_BYTES_MAX: usize = 8 << 20;

/// Zero bytes behind the records of a chunk, so that a decoder may load eight bytes anywhere.
pub(crate) const PADDING: usize = 2 * super::number::PADDING;

/// How long a decoding thread that waits for a chunk looks for other work before it looks again.
const IDLE_WAIT: Duration = Duration::from_millis(1);

/// Where a chunk can be cut.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Behind this many bytes, at the end of a record.
    At(usize),
    /// Nowhere: not one record is complete.
    Nowhere,
}

/// What makes a stream uncuttable: where, in bytes from the start of the chunk, and what.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Uncuttable {
    pub(crate) offset: usize,
    pub(crate) reason: String,
}

/// Finds record ends.
pub(crate) trait Cutter: Send + 'static {
    /// The last record end in `bytes`, which start at the start of a record; at the end of the input all of it counts.
    fn cut(&mut self, bytes: &[u8], at_end: bool) -> Result<Cut, Uncuttable>;
}

/// What a chunk came to. Lines count from 0 at the start of the chunk.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) batch: RecordBatch,
    pub(crate) rejected: Vec<BadRow>,
    pub(crate) lines: u64,
}

/// Turns whole records into a batch.
pub(crate) trait Decode: Send + Sync + 'static {
    /// Decodes `bytes[..len]`; what follows is zeros. Under [`BadRows::Fail`] it may stop at the first bad row.
    fn decode(&self, bytes: &[u8], len: usize) -> Result<Decoded>;

    /// Decodes no more than `rows_max` rows, good and bad; the bytes that they and the blanks behind them are.
    fn decode_some(&self, bytes: &[u8], len: usize, rows_max: usize) -> Result<(Decoded, usize)> {
        let _ = rows_max;
        Ok((self.decode(bytes, len)?, len))
    }
}

/// A beginning of the input that was read to infer the schema, and the rest of it.
#[derive(Debug)]
pub(crate) struct Head {
    input: ByteInput,
    pub(crate) bytes: Vec<u8>,
    pub(crate) at_end: bool,
    given: usize,
}

impl Head {
    pub(crate) fn new(input: ByteInput) -> Self {
        Self {
            input,
            bytes: Vec::new(),
            at_end: false,
            given: 0,
        }
    }

    /// Reads on until `len` bytes are there, or the end.
    pub(crate) fn grow(&mut self, len: usize) -> Result<()> {
        let start = self.bytes.len();
        if start < len && !self.at_end {
            self.bytes.resize(len, 0);
            let got = self.input.fill(&mut self.bytes[start..])?;
            self.bytes.truncate(start + got);
            self.at_end = start + got < len;
        }
        Ok(())
    }

    /// Grows until `enough` says so of the bytes, or the sample is complete.
    pub(crate) fn sample<T>(&mut self, mut look: impl FnMut(&[u8], bool) -> Result<(T, bool)>) -> Result<T> {
        let mut target = INFER_BYTES_MAX / 32;
        loop {
            self.grow(target)?;
            let (answer, enough) = look(&self.bytes, self.at_end)?;
            if enough || self.at_end || target >= INFER_BYTES_MAX {
                return Ok(answer);
            }
            target *= 2;
        }
    }

    /// The next bytes go to the chunks from here on.
    pub(crate) fn skip_to(&mut self, offset: usize) {
        self.given = offset;
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let len = buffer.len().min(self.bytes.len() - self.given);
        buffer[..len].copy_from_slice(&self.bytes[self.given..self.given + len]);
        self.given += len;
        if len > 0 && self.given == self.bytes.len() {
            (self.bytes, self.given) = (Vec::new(), 0);
        }
        if len == buffer.len() || self.at_end {
            return Ok(len);
        }
        Ok(len + self.input.fill(&mut buffer[len..])?)
    }
}

/// One entry of the queue.
enum Entry {
    Chunk {
        decoded: Receiver<Result<Decoded>>,
        bytes_read: u64,
    },
    /// The reader's last words: the line within the next chunk, where there is one, and the error.
    Error(Error),
    Uncuttable {
        line: u64,
        reason: String,
    },
    End,
}

/// A source's chunks, decoded.
#[derive(Debug)]
pub(crate) struct Chunks {
    name: String,
    queue: Option<Receiver<Entry>>,
    stop: Arc<AtomicBool>,
    bad_rows: BadRows,
    /// The line that the next chunk begins with.
    line: u64,
    rows: u64,
}

impl Chunks {
    /// Starts reading; `line` is the line that the first chunk begins with, from 1.
    pub(crate) fn start(
        name: &str,
        head: Head,
        cutter: impl Cutter,
        decoder: Arc<dyn Decode>,
        bad_rows: &BadRows,
        line: u64,
        chunk_bytes: usize,
    ) -> Result<Self> {
        let in_flight = CHUNKS_PER_THREAD * rayon::current_num_threads() + 1;
        let (sender, queue) = bounded(in_flight);
        let stop = Arc::new(AtomicBool::new(false));
        let reader = Reader {
            head,
            cutter,
            decoder,
            sender,
            recycled: bounded(in_flight + 1),
            stop: stop.clone(),
            chunk_bytes,
        };
        std::thread::Builder::new()
            .name("millstream-read".into())
            .spawn(move || reader.run())
            .map_err(|e| Error::Failed(format!("{name}: no thread to read it: {e}")))?;
        Ok(Self {
            name: name.into(),
            queue: Some(queue),
            stop,
            bad_rows: bad_rows.clone(),
            line,
            rows: 0,
        })
    }

    /// The next batch; after an error or the end, the end.
    pub(crate) fn read(&mut self) -> Result<Read> {
        let answer = self.next();
        if !matches!(answer, Ok(Read::Batch(..))) {
            self.queue = None;
            self.stop.store(true, Ordering::Relaxed);
        }
        answer
    }

    fn next(&mut self) -> Result<Read> {
        loop {
            let Some(queue) = &self.queue else { return Ok(Read::End) };
            let lost = || Error::Failed(format!("{}: a thread that read it stopped unexpectedly", self.name));
            let (decoded, bytes_read) = match wait(queue).ok_or_else(lost)? {
                Entry::End => return Ok(Read::End),
                Entry::Error(error) => return Err(error),
                Entry::Uncuttable { line, reason } => {
                    let line = self.line + line;
                    return Err(Error::Data(format!("{}: line {line}: {reason}", self.name)));
                }
                Entry::Chunk { decoded, bytes_read } => (wait(&decoded).ok_or_else(lost)??, bytes_read),
            };
            let mut rejected = decoded.rejected;
            for row in &mut rejected {
                row.source.clone_from(&self.name);
                row.line += self.line;
            }
            if self.bad_rows == BadRows::Fail && !rejected.is_empty() {
                return Err(rejected.swap_remove(0).into());
            }
            self.line += decoded.lines;
            self.rows += (decoded.batch.num_rows() + rejected.len()) as u64;
            if decoded.batch.num_rows() > 0 || !rejected.is_empty() {
                let position = Position {
                    partition: 0,
                    rows: self.rows,
                    ..Position::default()
                };
                return Ok(Read::Batch(
                    Rows {
                        batch: decoded.batch,
                        rejected,
                        unkept: 0,
                        bytes_read,
                        arrived_ns: None,
                    },
                    position,
                ));
            }
        }
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        // The thread sees this, or the closed queue, at its next step; it may sit in a read that nothing interrupts.
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Receives; a thread of rayon's pool decodes meanwhile, as all of them waiting here would be a deadlock.
fn wait<T>(receiver: &Receiver<T>) -> Option<T> {
    if rayon::current_thread_index().is_none() {
        return receiver.recv().ok();
    }
    loop {
        match receiver.try_recv() {
            Ok(value) => return Some(value),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => {}
        }
        if rayon::yield_now() != Some(rayon::Yield::Executed)
            && let Ok(value) = receiver.recv_timeout(IDLE_WAIT)
        {
            return Some(value);
        }
    }
}

/// The reading thread.
struct Reader<C> {
    head: Head,
    cutter: C,
    decoder: Arc<dyn Decode>,
    sender: Sender<Entry>,
    /// Buffers to use again.
    recycled: (Sender<Vec<u8>>, Receiver<Vec<u8>>),
    stop: Arc<AtomicBool>,
    chunk_bytes: usize,
}

impl<C: Cutter> Reader<C> {
    fn run(mut self) {
        let last = self.read_all().unwrap_or_else(Entry::Error);
        // Nobody listens any more if this fails, which is fine.
        let _ = self.sender.send(last);
    }

    fn read_all(&mut self) -> Result<Entry> {
        let mut buffer = Vec::new();
        let (mut len, mut at_end) = (0, false);
        let mut target = self.chunk_bytes;
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Ok(Entry::End);
            }
            if !at_end && len < target {
                if buffer.len() < target + PADDING {
                    buffer.resize(target + PADDING, 0);
                }
                let got = self.head.fill(&mut buffer[len..target])?;
                at_end = len + got < target;
                len += got;
                // Every record ends with a line end, so that decoders need not think of a last line without one.
                if at_end && len > 0 && buffer[len - 1] != b'\n' {
                    buffer[len] = b'\n';
                    len += 1;
                }
            }
            if at_end && len == 0 {
                return Ok(match self.cutter.cut(&[], true) {
                    Err(Uncuttable { reason, .. }) => Entry::Uncuttable { line: 0, reason },
                    Ok(_) => Entry::End,
                });
            }
            let cut = match self.cutter.cut(&buffer[..len], at_end) {
                Ok(Cut::At(cut)) => cut,
                Ok(Cut::Nowhere) if len <= RECORD_BYTES_MAX && !at_end => {
                    target = (2 * target)
                        .max(len + 1)
                        .min(RECORD_BYTES_MAX.max(self.chunk_bytes) + 1);
                    continue;
                }
                Ok(Cut::Nowhere) => {
                    let reason = format!("a record is longer than {RECORD_BYTES_MAX} bytes");
                    return Ok(Entry::Uncuttable { line: 0, reason });
                }
                Err(Uncuttable { offset, reason }) => {
                    let line = count_lines(&buffer[..offset]);
                    return Ok(Entry::Uncuttable { line, reason });
                }
            };
            let mut next = self.recycled.1.try_recv().unwrap_or_default();
            let rest = len - cut;
            target = self.chunk_bytes.max(rest);
            if next.len() < target + PADDING {
                next.resize(target + PADDING, 0);
            }
            next[..rest].copy_from_slice(&buffer[cut..len]);
            buffer.resize(buffer.len().max(cut + PADDING), 0);
            buffer[cut..cut + PADDING].fill(0);
            if !self.hand_over(std::mem::replace(&mut buffer, next), cut) {
                return Ok(Entry::End);
            }
            len = rest;
        }
    }

    /// Gives a chunk to the decoders; false where nobody wants it any more.
    fn hand_over(&self, buffer: Vec<u8>, len: usize) -> bool {
        let (answer, decoded) = bounded(1);
        let bytes_read = self.head.input.consumed().load(Ordering::Relaxed);
        if self.sender.send(Entry::Chunk { decoded, bytes_read }).is_err() {
            return false;
        }
        let (decoder, recycle) = (self.decoder.clone(), self.recycled.0.clone());
        let (stop, name) = (self.stop.clone(), self.head.input.name().to_owned());
        rayon::spawn(move || {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let result = catch_unwind(AssertUnwindSafe(|| decoder.decode(&buffer[..len + PADDING], len)))
                .unwrap_or_else(|_| Err(Error::Failed(format!("{name}: decoding failed unexpectedly"))));
            let _ = recycle.try_send(buffer);
            let _ = answer.send(result);
        });
        true
    }
}

/// Line ends in `bytes`.
pub(crate) fn count_lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

#[cfg(test)]
mod tests;
