//! Rows of a PostgreSQL query, asked for again and again behind the last one.
//!
//! The place of a row is the value of a column that only increases: [`Position::offset_bytes`] holds the bits of that
//! value (a whole number, or microseconds since 2000-01-01T00:00:00Z), [`Position::generation`] is 1 where there is one.
//! The rule: rows of one value are always taken in one answer, so no order among them is relied on, and what follows is
//! behind that value.

pub(super) mod connecting;
mod page;

use super::live::{self, Arrival, Context, WireFormat, WireOptions};
use super::remote::{Backoff, PostgresFeed};
use super::{About, Position, Read, Rows, Source};
use crate::error::{Error, Result};
use arrow::datatypes::SchemaRef;
use connecting::Server;
use crossbeam::channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, TryRecvError, bounded};
use page::{Pages, Trouble};
use postgres::Client;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Pages between the thread that asks and the reader.
const PAGES: usize = 2;

/// How often a thread that waits looks for the sign to stop.
const STOP_WAIT: Duration = Duration::from_millis(20);

/// The rows of a query.
pub struct PostgresSource {
    context: Context,
    name: String,
    pages: Receiver<Result<(Rows, i64)>>,
    position: Position,
    arrival: Arrival,
    /// Let go of, it says that nobody reads any more.
    _wanted: Sender<()>,
}

impl std::fmt::Debug for PostgresSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresSource")
            .field("name", &self.name)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

/// What messages call the server of a feed.
fn in_words(name: &str, feed: &PostgresFeed) -> String {
    format!("feed `{name}`: postgres {}", feed.server.place())
}

/// The feed's context for rows that come as Arrow.
fn with_types(context: &Context) -> Context {
    let wire = WireOptions {
        format: WireFormat::Arrow,
        ..WireOptions::clone(&context.wire)
    };
    Context {
        wire: Arc::new(wire),
        ..context.clone()
    }
}

/// Connects for reading only.
fn connect(server: &Server) -> Result<Client, connecting::Trouble> {
    let mut client = server.connect()?;
    client.batch_execute("SET default_transaction_read_only = on")?;
    Ok(client)
}

impl PostgresSource {
    /// Connects and begins to ask, for rows behind `from` where there is such a place.
    ///
    /// # Errors
    /// [`Error::Config`] for a server that cannot be reached or does not let this user in, for a query that it does not
    /// understand, and for a column that is not there or has no type that only increases; [`Error::Input`] for files
    /// that cannot be read; [`Error::Failed`] where the system has no thread left.
    pub fn open(context: &Context, feed: &PostgresFeed, from: Option<&Position>) -> Result<Self> {
        let server = Server::new(&in_words(&context.name, feed), &feed.server)?;
        let mut client = connect(&server).map_err(|e| server.refused(e))?;
        let name = format!("postgres {}", feed.server.place());
        let last = from
            .filter(|from| from.generation > 0)
            .map(|from| from.offset_bytes as i64);
        let context = with_types(context);
        let pages = Pages::prepare(&mut client, &server, &context, feed, &name)?;
        let (sender, receiver) = bounded(PAGES);
        let (wanted, is_wanted) = bounded(0);
        let asking = Asking {
            context: context.clone(),
            feed: feed.clone(),
            name: name.clone(),
            server,
            connected: Some((client, pages)),
            last,
            sender,
            wanted: is_wanted,
        };
        let spawned = std::thread::Builder::new()
            .name("millstream-postgres".into())
            .spawn(move || asking.run());
        spawned.map_err(|e| Error::Failed(format!("{name}: its thread cannot be started: {e}")))?;
        Ok(Self {
            context,
            name,
            pages: receiver,
            position: from.copied().unwrap_or_default(),
            arrival: Arrival::default(),
            _wanted: wanted,
        })
    }
}

impl Source for PostgresSource {
    fn schema(&self) -> SchemaRef {
        live::settled(&self.context)
    }

    fn select(&mut self, columns: &[String]) -> Result<()> {
        live::selected(&self.context, columns)
    }

    fn about(&self) -> About {
        About {
            name: self.name.clone(),
            ..About::default()
        }
    }

    fn read(&mut self) -> Result<Read> {
        let (mut rows, last) = match self.pages.recv_timeout(live::IDLE_WAIT) {
            Ok(page) => page?,
            // What has not come yet was never taken: a long question puts no end off.
            Err(RecvTimeoutError::Timeout) if self.context.stop.is_stopped() => return Ok(Read::End),
            Err(RecvTimeoutError::Timeout) => return Ok(Read::Idle),
            Err(RecvTimeoutError::Disconnected) => return Ok(Read::End),
        };
        self.arrival.stamp(&mut rows);
        self.position.rows += rows.count();
        self.position.offset_bytes = last as u64;
        self.position.generation = 1;
        Ok(Read::Batch(rows, self.position))
    }
}

/// The thread that asks.
struct Asking {
    context: Context,
    feed: PostgresFeed,
    name: String,
    server: Server,
    /// Absent after the connection was lost.
    connected: Option<(Client, Pages)>,
    last: Option<i64>,
    sender: Sender<Result<(Rows, i64)>>,
    wanted: Receiver<()>,
}

impl Asking {
    fn run(mut self) {
        let mut backoff = Backoff::default();
        while !self.is_stopping() {
            let asked = Instant::now();
            match self.ask() {
                Ok((page, is_full)) => {
                    if backoff.is_failing() {
                        self.context.counters.set_failure(None);
                        backoff = Backoff::default();
                    }
                    if let Some((rows, last)) = page {
                        self.last = Some(last);
                        if !self.hand_on(Ok((rows, last))) {
                            return;
                        }
                    }
                    if !is_full {
                        self.wait(self.feed.interval.saturating_sub(asked.elapsed()));
                    }
                }
                Err(Trouble::Passes(why)) => {
                    self.connected = None;
                    self.context.counters.failures.fetch_add(1, Ordering::Relaxed);
                    self.context.counters.set_failure(Some(&why));
                    self.wait(backoff.pause());
                }
                Err(Trouble::Stays(error)) => {
                    self.hand_on(Err(error));
                    return;
                }
            }
        }
    }

    /// The next page, and whether there may be more at once.
    fn ask(&mut self) -> Result<(Option<(Rows, i64)>, bool), Trouble> {
        let (client, pages) = match &mut self.connected {
            Some(connected) => connected,
            None => {
                let passes = |words: String| Trouble::Passes(format!("{}: {words}", self.server.place()));
                let mut client = connect(&self.server).map_err(|e| passes(self.server.words(&e)))?;
                let pages = Pages::prepare(&mut client, &self.server, &self.context, &self.feed, &self.name);
                let words = |e: Error| e.to_string().replace(self.server.name(), self.server.place());
                let pages = pages.map_err(|e| Trouble::Passes(words(e)))?;
                self.connected.insert((client, pages))
            }
        };
        pages.next(client, &self.server, &self.context, self.last)
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

    /// Hands on a page; false where nobody wants it any more.
    fn hand_on(&self, page: Result<(Rows, i64)>) -> bool {
        let mut waiting = page;
        loop {
            waiting = match self.sender.send_timeout(waiting, STOP_WAIT) {
                Ok(()) => return true,
                Err(SendTimeoutError::Disconnected(_)) => return false,
                Err(SendTimeoutError::Timeout(_)) if self.is_unwanted() => return false,
                Err(SendTimeoutError::Timeout(page)) => page,
            };
        }
    }
}

/// Checks that the query can be asked and has the columns; takes no rows.
///
/// # Errors
/// As [`PostgresSource::open`].
pub fn check(context: &Context, feed: &PostgresFeed) -> Result<()> {
    let server = Server::new(&in_words(&context.name, feed), &feed.server)?;
    let mut client = connect(&server).map_err(|e| server.refused(e))?;
    Pages::prepare(&mut client, &server, &with_types(context), feed, "postgres").map(drop)
}
