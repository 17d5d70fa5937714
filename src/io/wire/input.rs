//! The bytes that have come and have not been decoded yet.
//!
//! They lie in one buffer, read into it directly; what has been decoded is left behind, and what remains (less than a
//! record, as a rule) is moved to the front when room is needed. Behind the bytes there are always as many more as a
//! decoder may load beyond a record.

use crate::io::chunks::PADDING;
use std::io::{self, Read};

/// Room for one read at first: what an idle connection costs.
const ROOM_MIN: usize = 16 << 10;

/// Room for one read at most: as much as becomes one batch.
const ROOM_MAX: usize = super::BATCH_BYTES;

/// Whether more is to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// More may come.
    Open,
    /// The last record is there in full.
    Whole,
    /// The last record may be half of one.
    CutOff,
}

#[derive(Debug)]
pub(super) struct Input {
    bytes: Vec<u8>,
    start: usize,
    stop: usize,
    room: usize,
    taken: u64,
    /// Bytes that were not in the input (a last line end).
    added: u64,
    pub(super) state: End,
}

impl Default for Input {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            stop: 0,
            room: ROOM_MIN,
            taken: 0,
            added: 0,
            state: End::Open,
        }
    }
}

impl Input {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.bytes[self.stop..self.stop + bytes.len()].copy_from_slice(bytes);
        self.stop += bytes.len();
    }

    pub(super) fn fill(&mut self, reader: &mut dyn Read) -> io::Result<usize> {
        self.reserve(self.room);
        let got = reader.read(&mut self.bytes[self.stop..self.stop + self.room])?;
        self.stop += got;
        if got == self.room {
            self.room = (4 * self.room).min(ROOM_MAX);
        }
        Ok(got)
    }

    /// Makes room for `more` bytes behind those that are there.
    fn reserve(&mut self, more: usize) {
        if self.start == self.stop {
            (self.start, self.stop) = (0, 0);
        }
        let needed = self.stop + more + PADDING;
        if needed <= self.bytes.len() {
            return;
        }
        let held = self.stop - self.start;
        let size = self.size_for(more);
        if size > self.bytes.len() {
            let mut bytes = vec![0; size];
            bytes[..held].copy_from_slice(self.held());
            self.bytes = bytes;
        } else {
            self.bytes.copy_within(self.start..self.stop, 0);
        }
        (self.start, self.stop) = (0, held);
    }

    /// The size of the buffer with room for `more` bytes behind those that are held. A new one of zeros costs no memory
    /// before it is written to, and its size doubles.
    fn size_for(&self, more: usize) -> usize {
        let held = self.stop - self.start;
        let needed = held + more + PADDING;
        match needed > self.bytes.len() {
            true => needed.max((2 * self.bytes.len()).min(held + ROOM_MAX)),
            false => self.bytes.len(),
        }
    }

    /// Bytes of the buffer once it has been filled again.
    pub(super) fn room_bytes(&self) -> usize {
        self.size_for(self.room)
    }

    pub(super) fn end(&mut self, end: End) {
        if self.state == End::Open {
            self.state = end;
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        self.state != End::Open
    }

    /// What has come and has not been dealt with.
    pub(super) fn held(&self) -> &[u8] {
        &self.bytes[self.start..self.stop]
    }

    /// Ends the last line, where it has no end and what came is whole.
    pub(super) fn end_line(&mut self) {
        if self.state == End::Whole && self.added == 0 && self.held().last().is_some_and(|b| *b != b'\n') {
            self.push(b"\n");
            self.added = 1;
        }
    }

    /// The first `n` bytes are dealt with.
    pub(super) fn consume(&mut self, n: usize) {
        self.start += n;
        self.taken += n as u64;
    }

    /// Calls `decode` with the first `n` bytes and the zeros behind them that decoders ask for.
    pub(super) fn padded<T>(&mut self, n: usize, decode: impl FnOnce(&[u8]) -> T) -> T {
        let end = self.start + n;
        let mut behind = [0; PADDING];
        behind.copy_from_slice(&self.bytes[end..end + PADDING]);
        self.bytes[end..end + PADDING].fill(0);
        let answer = decode(&self.bytes[self.start..end + PADDING]);
        self.bytes[end..end + PADDING].copy_from_slice(&behind);
        answer
    }

    /// Bytes dealt with.
    pub(super) fn taken(&self) -> u64 {
        if self.start == self.stop {
            self.taken - self.added
        } else {
            self.taken
        }
    }

    pub(super) fn jump(&mut self, offset: u64) {
        (self.start, self.stop, self.taken) = (0, 0, offset);
    }

    pub(super) fn relax(&mut self) {
        if self.start == self.stop {
            (self.bytes, self.start, self.stop, self.room) = (Vec::new(), 0, 0, ROOM_MIN);
        }
    }

    pub(super) fn capacity_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}
