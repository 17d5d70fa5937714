//! What the bare consumers count.

use crate::cases::WINDOWS;
use crate::rows::Rows;
use std::time::{Duration, Instant};

/// How long a server may keep a bare consumer waiting.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Messages that were taken, and how long the same ones took that an engine is timed by.
#[derive(Debug)]
pub(crate) struct Tally {
    all: usize,
    taken: usize,
    bytes: u64,
    /// Messages before the first that is timed, and up to the last.
    timed: (usize, usize),
    from: Option<Instant>,
    upto: Option<Instant>,
}

impl Tally {
    pub(crate) fn of(data: &Rows) -> Self {
        let all = data.messages.len();
        let window = all / WINDOWS as usize;
        Self {
            all,
            taken: 0,
            bytes: 0,
            timed: (window, all - window),
            from: None,
            upto: None,
        }
    }

    /// Takes a message of so many bytes.
    pub(crate) fn take(&mut self, bytes: usize) {
        self.taken += 1;
        self.bytes += bytes as u64;
        if self.taken == self.timed.0 {
            self.from = Some(Instant::now());
        }
        if self.taken == self.timed.1 {
            self.upto = Some(Instant::now());
        }
    }

    /// Whether nothing more is to come.
    pub(crate) fn is_full(&self) -> bool {
        self.taken >= self.all
    }

    /// The rate; an error if it has not taken what there was.
    pub(crate) fn rows_per_second(&self, data: &Rows) -> Result<f64, String> {
        let (Some(from), Some(upto)) = (self.from, self.upto) else {
            return Err(format!(
                "the bare consumer took {} messages of {}",
                self.taken, self.all
            ));
        };
        if (self.taken, self.bytes) != (self.all, data.bytes) {
            return Err(format!(
                "the bare consumer took {} messages and {} bytes instead of {} and {}",
                self.taken, self.bytes, self.all, data.bytes
            ));
        }
        let rows = (self.timed.1 - self.timed.0) * data.message_rows;
        Ok(rows as f64 / (upto - from).as_secs_f64())
    }
}
