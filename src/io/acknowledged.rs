//! Messages that are acknowledged: the rows of each go to the engine, through a journal where there is one, and then the
//! broker is told.
//!
//! Without a journal a message is done when its rows are in the queue of the engine; with one, when they are durable. A
//! message that comes again while its rows are known by its id is done at once; one that comes again while they are still
//! on their way into the journal is put aside, and judged when it is known what has become of them. Messages are done in
//! the order in which they came, so that a broker can be told of many at once.

use super::journal::{Appender, Digest, Journal, JournalSource, KEY_BYTES_MAX, Keys, Pending, Refused, Seen};
use super::live::{self, Context, Given, WireFormat, now_ns};
use super::messages::{Messages, together};
use super::{Position, Read, Rows};
use crate::error::{Error, Result};
use crossbeam::channel::{Receiver, SendTimeoutError, Sender, bounded};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as Task, Poll};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Batches between the one who takes messages and the reader.
const BATCHES: usize = 16;

/// How often someone who waits looks whether it is to end.
pub(super) const LOOK: Duration = Duration::from_millis(20);

/// How long a full journal is given before it is looked at again, at first and at most.
const ROOM_LOOK: Duration = Duration::from_millis(1);
const ROOM_LOOK_MAX: Duration = Duration::from_millis(16);

/// Bytes of messages that are decoded together, where they need not be kept apart: as many as make a batch of text.
pub(super) const GATHERED_BYTES: usize = 1 << 20;

/// How long, once told to end, what was taken may take to become durable.
const END_TIME: Duration = Duration::from_millis(800);

/// A message, and the ticket that it is acknowledged with.
#[derive(Debug)]
pub(super) struct Message<T> {
    pub(super) ticket: T,
    /// What tells it from others, where its sender said so.
    pub(super) id: Option<Vec<u8>>,
    pub(super) payload: Vec<u8>,
    /// What stands in the columns beside its rows.
    pub(super) labels: Vec<String>,
}

/// Why nothing more is taken.
#[derive(Debug)]
pub(super) enum Halt {
    /// It is to end, or nobody reads.
    Ending,
    /// What was not acknowledged is to be asked for again, and why.
    Again(String),
    /// The feed cannot go on.
    Failed(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Where rows go.
enum Outlet {
    Channel(Sender<Rows>),
    Journal(Appender, Keys),
}

/// Where they are read.
enum Rest {
    Channel(Receiver<Rows>, Given),
    Journal(Box<JournalSource>),
}

/// What has become of messages.
enum Stage<T> {
    /// Their rows are with the engine, or durable.
    Done,
    /// Their rows are on their way into the journal.
    Written,
    /// The rows of one with the same id are.
    Aside(Box<Message<T>>),
}

/// Messages of a connection whose rows went together.
struct Taken<T> {
    tickets: Vec<T>,
    stage: Stage<T>,
}

/// The end that takes messages.
pub(super) struct Intake<T> {
    context: Context,
    messages: Messages,
    outlet: Outlet,
    closed: Arc<AtomicBool>,
    /// Of this connection, in order; the first has the number `first`.
    taken: VecDeque<Taken<T>>,
    first: u64,
    tell: UnboundedSender<(u64, std::result::Result<(), String>)>,
    told: UnboundedReceiver<(u64, std::result::Result<(), String>)>,
    /// Why rows are not durable.
    unwritten: Option<String>,
}

/// The end that is read.
pub(super) struct Outcome {
    rest: Rest,
    failed: Receiver<Error>,
    closed: Arc<AtomicBool>,
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outcome").finish_non_exhaustive()
    }
}

/// Tells the reader what ended the feed.
pub(super) type Failing = Sender<Error>;

/// Both ends, for messages of `source` with these columns beside their rows.
///
/// # Errors
/// As [`Messages::new`] and [`Journal::start`].
pub(super) fn open<T>(
    context: &Context,
    source: &str,
    labels: Vec<String>,
    journal: Option<Journal>,
) -> Result<(Intake<T>, Outcome, Failing)> {
    let messages = Messages::new(context, source, labels)?;
    let (outlet, rest) = match journal {
        Some(journal) => {
            let keys = journal.keys().clone();
            let (appender, source) = journal.start()?;
            (Outlet::Journal(appender, keys), Rest::Journal(Box::new(source)))
        }
        None => {
            let (sender, receiver) = bounded(BATCHES);
            (Outlet::Channel(sender), Rest::Channel(receiver, Given::default()))
        }
    };
    let closed = Arc::new(AtomicBool::new(false));
    // As many wait in it as messages are not acknowledged, which the broker bounds.
    let (tell, told) = unbounded_channel();
    let intake = Intake {
        context: context.clone(),
        messages,
        outlet,
        closed: Arc::clone(&closed),
        taken: VecDeque::new(),
        first: 0,
        tell,
        told,
        unwritten: None,
    };
    let (failing, failed) = bounded(1);
    Ok((intake, Outcome { rest, failed, closed }, failing))
}

impl<T> Intake<T> {
    /// Whether it is to end.
    pub(super) fn is_ending(&self) -> bool {
        self.context.stop.is_stopped() || self.closed.load(Ordering::Acquire)
    }

    /// What fails just now is tried again.
    pub(super) fn failed(&self, why: &str) {
        self.context.counters.failures.fetch_add(1, Ordering::Relaxed);
        self.context.counters.set_failure(Some(why));
    }

    /// All is well.
    pub(super) fn well(&self) {
        self.context.counters.set_failure(None);
    }

    /// Whether rows go through a journal.
    pub(super) fn is_journalled(&self) -> bool {
        matches!(self.outlet, Outlet::Journal(..))
    }

    /// A connection begins: whatever was not acknowledged on the one before comes again.
    pub(super) fn begin(&mut self) {
        self.first += self.taken.len() as u64;
        self.taken.clear();
        self.unwritten = None;
    }

    /// Takes messages that came one after another.
    ///
    /// # Errors
    /// Why not all of them were taken; what was not is not acknowledged.
    pub(super) fn take(&mut self, messages: Vec<Message<T>>) -> std::result::Result<(), Halt> {
        // Rows of messages with ids or labels of their own stand alone; a stream of Arrow ends with its message.
        let keeps_apart = self.context.wire.format == WireFormat::Arrow;
        let is_journalled = self.is_journalled();
        let (mut tickets, mut bytes) = (Vec::new(), 0);
        for message in messages {
            let has_id = is_journalled && message.id.is_some();
            if keeps_apart || has_id || !message.labels.is_empty() {
                self.hand_on(std::mem::take(&mut tickets), None, &[])?;
                bytes = 0;
                self.take_one(message)?;
                continue;
            }
            self.messages.push(&message.payload);
            tickets.push(message.ticket);
            bytes += message.payload.len();
            if bytes >= GATHERED_BYTES {
                self.hand_on(std::mem::take(&mut tickets), None, &[])?;
                bytes = 0;
            }
        }
        self.hand_on(tickets, None, &[])
    }

    /// Takes one whose rows stand alone.
    fn take_one(&mut self, message: Message<T>) -> std::result::Result<(), Halt> {
        let seen = match (&self.outlet, &message.id) {
            (Outlet::Journal(_, keys), Some(id)) if (1..=KEY_BYTES_MAX).contains(&id.len()) => {
                Some(keys.begin(id, Digest::of(&message.payload)))
            }
            _ => None,
        };
        let pending = match seen {
            Some(Seen::Done(_)) => {
                self.taken.push_back(Taken {
                    tickets: vec![message.ticket],
                    stage: Stage::Done,
                });
                return Ok(());
            }
            Some(Seen::Pending) => {
                self.taken.push_back(Taken {
                    tickets: Vec::new(),
                    stage: Stage::Aside(Box::new(message)),
                });
                return Ok(());
            }
            Some(Seen::New(pending)) => Some(pending),
            // Another message under the same id is none that comes again.
            Some(Seen::Other) | None => None,
        };
        self.messages.push(&message.payload);
        let labels: Vec<&str> = message.labels.iter().map(String::as_str).collect();
        self.hand_on(vec![message.ticket], pending, &labels)
    }

    /// Hands on the rows of what was pushed.
    fn hand_on(&mut self, tickets: Vec<T>, pending: Option<Pending>, labels: &[&str]) -> std::result::Result<(), Halt> {
        if tickets.is_empty() {
            return Ok(());
        }
        let rows = self.messages.rows(labels)?;
        let stage = match &self.outlet {
            Outlet::Channel(sender) => {
                for rows in rows {
                    self.send(sender, rows)?;
                }
                Stage::Done
            }
            Outlet::Journal(appender, keys) => {
                let number = self.first + self.taken.len() as u64;
                match whole(rows)? {
                    Some(rows) => {
                        self.append(appender, keys, number, rows, pending)?;
                        Stage::Written
                    }
                    None => Stage::Done,
                }
            }
        };
        self.taken.push_back(Taken { tickets, stage });
        Ok(())
    }

    fn send(&self, sender: &Sender<Rows>, mut rows: Rows) -> std::result::Result<(), Halt> {
        loop {
            rows = match sender.send_timeout(rows, LOOK) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Timeout(_)) if self.is_ending() => return Err(Halt::Ending),
                Err(SendTimeoutError::Timeout(rows)) => rows,
                Err(SendTimeoutError::Disconnected(_)) => return Err(Halt::Ending),
            };
        }
    }

    /// Puts rows into the journal, and waits while it is full.
    fn append(
        &self,
        appender: &Appender,
        keys: &Keys,
        number: u64,
        rows: Rows,
        mut pending: Option<Pending>,
    ) -> std::result::Result<(), Halt> {
        let known = pending
            .as_ref()
            .map(|pending| (pending.key().to_vec(), pending.digest()));
        let mut look = ROOM_LOOK;
        loop {
            if !appender.is_full() {
                let tell = self.tell.clone();
                let done = Box::new(move |result: std::result::Result<Position, String>| {
                    // Where nobody listens any more nobody acknowledges either.
                    let _ = tell.send((number, result.map(drop)));
                });
                match appender.try_append(rows.clone(), pending.take(), done) {
                    Ok(()) => return Ok(()),
                    Err(Refused::Full) => {}
                    Err(Refused::Closed) => return Err(Halt::Ending),
                    Err(Refused::Unfit(error)) => return Err(Halt::Failed(error)),
                }
                // Nobody else begins keys of this journal.
                if let Some((key, digest)) = &known
                    && let Seen::New(again) = keys.begin(key, *digest)
                {
                    pending = Some(again);
                }
            }
            if self.is_ending() {
                return Err(Halt::Ending);
            }
            std::thread::sleep(look);
            look = ROOM_LOOK_MAX.min(2 * look);
        }
    }

    /// Hears what has become of rows; pending while there is nothing to hear.
    pub(super) fn poll_told(&mut self, task: &mut Task<'_>) -> Poll<()> {
        let mut heard = Poll::Pending;
        while let Poll::Ready(Some((number, result))) = self.told.poll_recv(task) {
            heard = Poll::Ready(());
            // One of an earlier connection has no place here.
            let place = number
                .checked_sub(self.first)
                .and_then(|place| usize::try_from(place).ok());
            let Some(taken) = place.and_then(|place| self.taken.get_mut(place)) else {
                continue;
            };
            match result {
                Ok(()) => taken.stage = Stage::Done,
                Err(why) => self.unwritten = Some(why),
            }
        }
        heard
    }

    /// The tickets of messages that are done, with all before them.
    ///
    /// # Errors
    /// Why rows are not durable: what was not acknowledged has to come again.
    pub(super) fn done(&mut self) -> std::result::Result<Vec<T>, Halt> {
        self.judge()?;
        let mut tickets = Vec::new();
        while matches!(self.taken.front(), Some(taken) if matches!(taken.stage, Stage::Done)) {
            if let Some(taken) = self.taken.pop_front() {
                self.first += 1;
                tickets.extend(taken.tickets);
            }
        }
        match self.unwritten.take() {
            Some(why) if tickets.is_empty() => Err(Halt::Again(why)),
            why => {
                self.unwritten = why;
                Ok(tickets)
            }
        }
    }

    /// Judges those that were put aside.
    fn judge(&mut self) -> std::result::Result<(), Halt> {
        for place in 0..self.taken.len() {
            let Outlet::Journal(appender, keys) = &self.outlet else {
                return Ok(());
            };
            let Some(Taken { tickets, stage }) = self.taken.get_mut(place) else {
                return Ok(());
            };
            let Stage::Aside(message) = stage else { continue };
            let id = message.id.as_deref().unwrap_or_default();
            match keys.begin(id, Digest::of(&message.payload)) {
                Seen::Pending => {}
                Seen::Done(_) => {
                    if let Stage::Aside(message) = std::mem::replace(stage, Stage::Done) {
                        tickets.push(message.ticket);
                    }
                }
                Seen::New(_) | Seen::Other if appender.is_full() => {}
                // The rows before were not written: these take their place.
                seen => {
                    let Stage::Aside(message) = std::mem::replace(stage, Stage::Written) else {
                        continue;
                    };
                    let Message {
                        ticket,
                        payload,
                        labels,
                        ..
                    } = *message;
                    tickets.push(ticket);
                    let pending = match seen {
                        Seen::New(pending) => Some(pending),
                        _ => None,
                    };
                    self.messages.push(&payload);
                    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
                    let rows = self.messages.rows(&labels)?;
                    match whole(rows)? {
                        Some(rows) => self.append(appender, keys, self.first + place as u64, rows, pending)?,
                        None => *stage = Stage::Done,
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether messages wait for the journal.
    pub(super) fn is_waiting(&self) -> bool {
        !self.taken.is_empty()
    }
}

/// Until when what was taken may become durable, once it is to end.
pub(super) fn end_at() -> Instant {
    Instant::now() + END_TIME
}

/// The rows of a message as one, which is durable as a whole or not at all; nothing where there are none.
fn whole(pieces: Vec<Rows>) -> Result<Option<Rows>> {
    let rows = together(pieces)?.filter(|rows| rows.count() > 0);
    Ok(rows.map(|rows| Rows {
        arrived_ns: Some(now_ns()),
        ..rows
    }))
}

impl Outcome {
    /// The next rows.
    ///
    /// # Errors
    /// What ended the feed.
    pub(super) fn read(&mut self) -> Result<Read> {
        let read = match &mut self.rest {
            Rest::Channel(receiver, given) => live::receive(receiver, given),
            Rest::Journal(journal) => super::Source::read(journal.as_mut())?,
        };
        match read {
            Read::End => match self.failed.try_recv() {
                Ok(error) => Err(error),
                Err(_) => Ok(Read::End),
            },
            read => Ok(read),
        }
    }

    /// As [`Source::commit`](super::Source::commit).
    pub(super) fn commit(&mut self, upto: &Position) -> Result<()> {
        match &mut self.rest {
            Rest::Channel(..) => Ok(()),
            Rest::Journal(journal) => super::Source::commit(journal.as_mut(), upto),
        }
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
