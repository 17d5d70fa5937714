//! Rows on standard input, as they come.
//!
//! A thread reads, as nothing can interrupt a read of a pipe; [`Source::read`] decodes. The channel between them is
//! bounded, so a slow engine slows the program at the other end of the pipe. There is no place to resume from.

use super::live::{self, Context, IDLE_WAIT, SETTLE_TIME, SETTLE_WAIT};
use super::wire::Decoder;
use super::{About, Position, Read, Source};
use crate::error::{Error, Result, STANDARD_INPUT};
use arrow::datatypes::SchemaRef;
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::io;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

/// Bytes of one read: what a pipe holds, and more where a file is behind it.
const PIECE_BYTES: usize = 256 << 10;

/// Pieces on their way to the decoder.
const PIECES: usize = 16;

/// The rows of standard input.
#[derive(Debug)]
pub struct StdinSource {
    context: Context,
    decoder: Decoder,
    pieces: Receiver<io::Result<Vec<u8>>>,
    /// When the first bytes came, and when the last ones.
    first: Option<Instant>,
    last: Instant,
    finished: bool,
    arrival: live::Arrival,
}

impl StdinSource {
    /// Begins to read standard input.
    ///
    /// # Errors
    /// [`Error::Config`] for options of the wire that make no sense; [`Error::Failed`] where no thread can be had.
    pub fn open(context: &Context) -> Result<Self> {
        Self::from_reader(context, io::stdin())
    }

    /// Begins to read `reader`, which stands for standard input.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_reader(context: &Context, reader: impl io::Read + Send + 'static) -> Result<Self> {
        let decoder = Decoder::new(context, STANDARD_INPUT)?;
        let (sender, pieces) = bounded(PIECES);
        thread::Builder::new()
            .name("millstream-stdin".into())
            .spawn(move || pump(reader, &sender))
            .map_err(|e| Error::Failed(format!("{STANDARD_INPUT}: no thread to read it: {e}")))?;
        Ok(Self {
            context: context.clone(),
            decoder,
            pieces,
            first: None,
            last: Instant::now(),
            finished: false,
            arrival: live::Arrival::default(),
        })
    }

    /// Lets the rows that are there settle the columns once nobody should wait for more.
    fn settle(&mut self) {
        let is_due = |first: Instant| self.last.elapsed() >= SETTLE_WAIT || first.elapsed() >= SETTLE_TIME;
        if !self.decoder.is_settling() || !self.decoder.is_within_record() {
            self.first = None;
        } else if self.first.is_some_and(is_due) {
            self.decoder.settle();
        }
    }
}

/// Reads to the end, to an error, or until nobody listens.
fn pump(mut reader: impl io::Read, sender: &Sender<io::Result<Vec<u8>>>) {
    loop {
        let mut piece = vec![0; PIECE_BYTES];
        let piece = match reader.read(&mut piece) {
            Ok(0) => return,
            Ok(got) => {
                piece.truncate(got);
                Ok(piece)
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => Err(e),
        };
        let failed = piece.is_err();
        if sender.send(piece).is_err() || failed {
            return;
        }
    }
}

impl Source for StdinSource {
    fn schema(&self) -> SchemaRef {
        self.decoder.schema().unwrap_or_else(|| live::settled(&self.context))
    }

    fn select(&mut self, columns: &[String]) -> Result<()> {
        live::selected(&self.context, columns)
    }

    fn about(&self) -> About {
        About {
            name: STANDARD_INPUT.into(),
            ..About::default()
        }
    }

    fn read(&mut self) -> Result<Read> {
        let deadline = Instant::now() + IDLE_WAIT;
        loop {
            if let Some(mut rows) = self.decoder.next_rows()? {
                self.arrival.stamp(&mut rows);
                let position = Position {
                    rows: self.decoder.rows(),
                    ..Position::default()
                };
                return Ok(Read::Batch(rows, position));
            }
            if self.finished {
                return Ok(Read::End);
            }
            // Once told to stop, what has been read is given, and nothing is waited for.
            let stopped = self.context.stop.is_stopped();
            let deadline = if stopped { Instant::now() } else { deadline };
            match self.pieces.recv_deadline(deadline) {
                Ok(Ok(piece)) => {
                    self.context
                        .counters
                        .bytes
                        .fetch_add(piece.len() as u64, Ordering::Relaxed);
                    self.first.get_or_insert_with(Instant::now);
                    self.last = Instant::now();
                    self.decoder.push(&piece);
                    self.settle();
                }
                Ok(Err(source)) => {
                    self.finished = true;
                    self.decoder.abandon();
                    return Err(Error::Input {
                        path: "-".into(),
                        source,
                    });
                }
                Err(RecvTimeoutError::Timeout) if stopped => {
                    self.finished = true;
                    self.decoder.settle();
                }
                Err(RecvTimeoutError::Timeout) => {
                    // Rows that have been settled now are there when it is asked next.
                    self.settle();
                    return Ok(Read::Idle);
                }
                Err(RecvTimeoutError::Disconnected) => {
                    self.finished = true;
                    self.decoder.finish();
                }
            }
        }
    }
}
