//! The thread that asks the server: entries to the source, acknowledgements back.
//!
//! Both go in one round trip. A connection that is lost is made anew, and what was on its way is read again from the
//! entries that are not acknowledged; entries up to the last that was handed on are never handed on twice.

use super::connecting::Server;
use super::entries::{Entry, Id, entries, strange};
use super::group::{Group, end_of_stream};
use super::{gone, not_there, too_short};
use crate::error::Error;
use crate::io::live::Context;
use crate::io::remote::Backoff;
use crossbeam::channel::{Receiver, SendTimeoutError, Sender, TryRecvError};
use redis::{Connection, RedisError, Value};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of entries that are asked for at once, about.
const BYTES_AT_ONCE: usize = 1 << 20;
/// Entries that are asked for at once, at first and at most.
const FIRST_ENTRIES: usize = 64;
const ENTRIES_MAX: usize = 1024;

/// How long the server waits for an entry before it says that there is none.
const BLOCK: Duration = Duration::from_millis(100);
/// How often a thread that waits looks for the sign to stop.
const STOP_WAIT: Duration = Duration::from_millis(20);

/// Entries that may wait for their acknowledgement: 16 MiB of ids. With more, nothing is read until a checkpoint.
const PENDING_MAX: usize = 1 << 20;

/// What the thread has to say.
pub(super) enum Said {
    Entries(Vec<Entry>),
    Note(String),
    Failed(Error),
}

/// The id up to which entries have been dealt with.
#[derive(Debug, Clone, Default)]
pub(super) struct Settled(Arc<Mutex<Option<Id>>>);

impl Settled {
    pub(super) fn settle(&self, upto: Id) {
        let mut settled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *settled = (*settled).max(Some(upto));
    }

    fn get(&self) -> Option<Id> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why nothing was read.
enum Trouble {
    /// It may be otherwise in a while.
    Passes(String),
    /// It will not.
    Stays(Error),
}

pub(super) struct Reading {
    pub(super) context: Context,
    pub(super) server: Server,
    pub(super) group: Group,
    pub(super) field: Vec<u8>,
    /// Absent after it was lost.
    pub(super) connection: Option<Connection>,
    /// The last entry that was handed on, or what comes before those that are wanted.
    pub(super) last: Id,
    /// What the group had been given when it was found.
    pub(super) found: Id,
    /// Whether entries that were given before and not acknowledged come first.
    pub(super) again: bool,
    pub(super) settled: Settled,
    pub(super) said: Option<Sender<Said>>,
    /// Disconnected when nobody reads any more.
    pub(super) wanted: Receiver<()>,
    /// Handed on and not acknowledged.
    pub(super) pending: VecDeque<Id>,
    /// To be acknowledged with the next question.
    pub(super) acknowledging: Vec<Id>,
    /// Entries to ask for.
    pub(super) count: usize,
}

impl Reading {
    pub(super) fn first_count() -> usize {
        FIRST_ENTRIES
    }

    pub(super) fn run(mut self) {
        let mut backoff = Backoff::default();
        while !self.is_stopping() {
            match self.ask() {
                Ok(entries) => {
                    if backoff.is_failing() {
                        self.context.counters.set_failure(None);
                        backoff = Backoff::default();
                    }
                    if !self.hand_on(entries) {
                        break;
                    }
                }
                Err(Trouble::Passes(why)) => {
                    self.connection = None;
                    self.context.counters.failures.fetch_add(1, Ordering::Relaxed);
                    self.context.counters.set_failure(Some(&why));
                    self.wait(backoff.pause());
                }
                Err(Trouble::Stays(error)) => {
                    self.say(Said::Failed(error));
                    break;
                }
            }
        }
        // What was handed on is taken now, and acknowledged if it is dealt with before the source is let go of.
        self.said = None;
        let _ = self.wanted.recv();
        self.find_settled();
        if let Some(connection) = &mut self.connection {
            let mut pipe = redis::pipe();
            self.group.acknowledge(&mut pipe, &self.acknowledging);
            if !pipe.is_empty() {
                // What is not acknowledged comes again.
                let _ = pipe.exec(connection);
            }
        }
    }

    fn is_stopping(&self) -> bool {
        self.context.stop.is_stopped() || self.is_unwanted()
    }

    fn is_unwanted(&self) -> bool {
        self.wanted.try_recv() == Err(TryRecvError::Disconnected)
    }

    fn wait(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.is_stopping() && Instant::now() < until {
            std::thread::sleep(STOP_WAIT.min(until.saturating_duration_since(Instant::now())));
        }
    }

    /// Moves what is settled to what is acknowledged next.
    fn find_settled(&mut self) {
        let upto = self.settled.get();
        let count = self.pending.partition_point(|id| Some(*id) <= upto);
        self.acknowledging.extend(self.pending.drain(..count));
    }

    /// Acknowledges what is settled, and asks for entries.
    fn ask(&mut self) -> Result<Vec<Entry>, Trouble> {
        self.find_settled();
        if self.connection.is_none() {
            self.connect_again()?;
        }
        let passes = |server: &Server, error: &RedisError| {
            Trouble::Passes(format!("{}: {}", server.place(), server.words(error)))
        };
        let Some(connection) = &mut self.connection else {
            return Ok(Vec::new());
        };
        let mut pipe = redis::pipe();
        self.group.acknowledge(&mut pipe, &self.acknowledging);
        let is_full = self.pending.len() >= PENDING_MAX;
        if !is_full {
            let again = self.again.then_some(self.last);
            self.group.read(&mut pipe, again, self.count, BLOCK.as_millis());
        }
        let mut answers: Vec<Value> = match pipe.is_empty() {
            true => Vec::new(),
            false => pipe.query(connection).map_err(|e| passes(&self.server, &e))?,
        };
        self.acknowledging.clear();
        if is_full {
            self.wait(STOP_WAIT);
            return Ok(Vec::new());
        }
        let answer = answers.pop().ok_or_else(|| passes(&self.server, &strange()))?;
        let mut entries = entries(answer, &self.field).map_err(|e| passes(&self.server, &e))?;
        if self.again && entries.is_empty() {
            self.again = false;
            self.last = self.last.max(self.found);
        }
        // A group that went back gives entries once more, and those that were acknowledged wait for that again.
        let (last, waiting) = (self.last, self.pending.front());
        let acknowledging = &mut self.acknowledging;
        entries.retain(|entry| {
            if entry.id <= last && waiting.is_none_or(|first| entry.id < *first) {
                acknowledging.push(entry.id);
            }
            entry.id > last
        });
        self.adapt(&entries);
        Ok(entries)
    }

    /// Asks for more or fewer next time, so that as many bytes come as are to.
    fn adapt(&mut self, entries: &[Entry]) {
        if entries.is_empty() {
            return;
        }
        let bytes: usize = entries.iter().map(Entry::bytes).sum();
        let fitting = BYTES_AT_ONCE * entries.len() / bytes.max(1);
        self.count = fitting.min(2 * self.count).clamp(1, ENTRIES_MAX);
    }

    fn connect_again(&mut self) -> Result<(), Trouble> {
        let server = &self.server;
        let passes = |error: RedisError| Trouble::Passes(format!("{}: {}", server.place(), server.words(&error)));
        let mut connection = server.connect().map_err(passes)?;
        let end = end_of_stream(&mut connection, &self.group.stream).map_err(passes)?;
        let end = end.ok_or_else(|| Trouble::Passes(not_there(server.place(), &self.group.stream)))?;
        if end < self.last {
            return Err(Trouble::Stays(Error::Data(too_short(
                server.place(),
                &self.group.stream,
                end,
                self.last,
            ))));
        }
        if self.group.place(&mut connection).map_err(passes)?.is_none() {
            let behind = if self.last > Id::default() {
                self.last
            } else {
                self.found
            };
            self.group.make(&mut connection, behind).map_err(passes)?;
        }
        // What was on its way when the connection was lost counts as given.
        match self.again || self.last == Id::default() {
            true => self.again = true,
            false => self.group.go_to(&mut connection, self.last).map_err(passes)?,
        }
        self.connection = Some(connection);
        Ok(())
    }

    /// Hands on entries; false where nobody wants them any more.
    fn hand_on(&mut self, mut entries: Vec<Entry>) -> bool {
        let Some(last) = entries.last() else { return true };
        self.last = last.id;
        self.pending.extend(entries.iter().map(|entry| entry.id));
        let before = entries.len();
        entries.retain(|entry| entry.held != super::entries::Held::Nothing);
        let lost = before - entries.len();
        if lost > 0 && !self.say(Said::Note(gone(lost as u64, &self.group.stream))) {
            return false;
        }
        // Nothing is left of them that could be dealt with, so the next settle them.
        entries.is_empty() || self.say(Said::Entries(entries))
    }

    fn say(&self, said: Said) -> bool {
        let Some(sender) = &self.said else { return false };
        let mut waiting = said;
        loop {
            waiting = match sender.send_timeout(waiting, STOP_WAIT) {
                Ok(()) => return true,
                Err(SendTimeoutError::Disconnected(_)) => return false,
                Err(SendTimeoutError::Timeout(_)) if self.is_unwanted() => return false,
                Err(SendTimeoutError::Timeout(said)) => said,
            };
        }
    }
}
