//! Rows cut into messages: pieces of a stream, bodies, or datagrams.

use super::encode::{Encoder, Format};
use super::expect::Expectation;
use super::rows::{BLOCK_ROWS, Options, Rows};
use super::{Delivery, Target};
use crate::error::{Error, Result};
use std::ops::Range;
use std::time::Duration;

/// Rows that fall due within this time go in one message of a stream: few enough calls to the system, no delay that
/// anyone sees.
const TICK: Duration = Duration::from_millis(2);

/// Rows of a message of a stream that goes as fast as it can.
const STREAM_ROWS: usize = 4 * BLOCK_ROWS;

/// Makes the messages of a feed.
pub(super) struct Messages<'a> {
    rows: Rows,
    /// Rows of the block that are in messages.
    used: usize,
    encoder: Encoder,
    expectation: Option<&'a mut Expectation>,
    cut: Cut,
    begun: bool,
    ended: bool,
}

/// How messages are cut.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// One stream, of so many rows a message.
    Stream(usize),
    /// Whole files of so many rows.
    Bodies(usize),
    /// As many rows as fit so many bytes.
    Datagrams(usize),
}

impl<'a> Messages<'a> {
    pub(super) fn new(
        options: &Options,
        delivery: &Delivery,
        header: bool,
        expectation: Option<&'a mut Expectation>,
    ) -> Result<Self> {
        let due = |rate: f64| (rate * TICK.as_secs_f64()) as usize;
        let rows_max = delivery.rate.map_or(usize::MAX, due).max(1);
        let cut = match (&delivery.target, delivery.format) {
            (Target::Udp(_), _) => Cut::Datagrams(delivery.datagram_bytes),
            (Target::Http(_) | Target::Kafka { .. } | Target::Rabbitmq { .. }, _) => Cut::Bodies(delivery.batch_rows),
            (_, Format::Arrow) => Cut::Stream(delivery.batch_rows.min(rows_max)),
            _ => Cut::Stream(STREAM_ROWS.min(rows_max)),
        };
        Ok(Self {
            rows: Rows::new(options)?,
            used: 0,
            // A datagram, or a message of a broker, is rows and nothing else: its receiver is told the names.
            encoder: Encoder::new(
                options,
                delivery.format,
                header
                    && !matches!(
                        delivery.target,
                        Target::Udp(_) | Target::Kafka { .. } | Target::Rabbitmq { .. }
                    ),
            ),
            expectation,
            cut,
            begun: false,
            ended: false,
        })
    }

    /// Writes the next message behind what is in `out`, and says how many rows it has. None is empty but the one behind
    /// the last.
    pub(super) fn next(&mut self, out: &mut Vec<u8>) -> Result<u64> {
        match self.cut {
            Cut::Stream(rows) => self.stream(rows, out),
            Cut::Bodies(rows) => self.body(rows, out),
            Cut::Datagrams(bytes) => self.datagram(bytes, out),
        }
    }

    fn stream(&mut self, rows_max: usize, out: &mut Vec<u8>) -> Result<u64> {
        if !self.begun {
            self.begun = true;
            self.encoder.begin(out)?;
        }
        let rows = self.gather(rows_max, out)?;
        if (rows as usize) < rows_max && !self.ended {
            self.ended = true;
            self.encoder.end(out)?;
        }
        Ok(rows)
    }

    fn body(&mut self, rows_max: usize, out: &mut Vec<u8>) -> Result<u64> {
        if self.take(0).is_none() {
            return Ok(0);
        }
        self.encoder.begin(out)?;
        let rows = self.gather(rows_max, out)?;
        self.encoder.end(out)?;
        Ok(rows)
    }

    fn datagram(&mut self, bytes_max: usize, out: &mut Vec<u8>) -> Result<u64> {
        let mut rows = 0;
        let mut length = out.len();
        while let Some(range) = self.take(1) {
            self.encoder.rows(self.rows.block(), range, out)?;
            if out.len() > bytes_max {
                if rows == 0 {
                    return Err(Error::Usage(format!(
                        "a row is longer than --datagram-bytes {bytes_max}: fewer columns or longer datagrams"
                    )));
                }
                // It goes with the next.
                self.used -= 1;
                self.encoder.cut(out, length);
                break;
            }
            length = out.len();
            rows += 1;
        }
        self.encoder.flush(out)?;
        Ok(rows)
    }

    /// Adds up to so many rows to the message.
    fn gather(&mut self, rows_max: usize, out: &mut Vec<u8>) -> Result<u64> {
        let mut rows = 0;
        while rows < rows_max {
            let Some(range) = self.take(rows_max - rows) else { break };
            rows += range.len();
            self.encoder.rows(self.rows.block(), range, out)?;
        }
        self.encoder.flush(out)?;
        Ok(rows as u64)
    }

    /// The next rows of the block, drawn where none are left; none at the end of the feed.
    fn take(&mut self, rows_max: usize) -> Option<Range<usize>> {
        if self.used == self.rows.block().rows() {
            if !self.rows.advance() {
                return None;
            }
            self.used = 0;
            if let Some(expectation) = &mut self.expectation {
                expectation.push(self.rows.block());
            }
        }
        let begin = self.used;
        self.used = self.rows.block().rows().min(begin + rows_max);
        Some(begin..self.used)
    }
}
