//! Reports in PostgreSQL: numbers to ask for in SQL, and beside them the summaries, to be merged further.
//!
//! Reports are held until they are handed on, and then stored in one transaction: copied into the tables, or, as soon as
//! some have been there before, into temporary ones and from there into those that stay, where they replace reports of the
//! same feed, window, key and part. A connection that is
//! lost is made again, and the transaction with it: as it is the same one, it does not matter whether the server had
//! finished it. What was written after the checkpoint that a run goes on from is taken out again, as other parts may come
//! instead; several programs that write one feed each take out their own.
//!
//! Instants are `timestamptz`, which has microseconds. No window is from `-infinity` to `infinity`; windows of rows have
//! their row numbers as seconds since 1970-01-01T00:00:00Z, so that `extract(epoch from window_start)` gives them.

mod schema;
mod staging;

use super::{Feed, Health, Sink, SinkState, stored};
use crate::error::{Error, Result};
use crate::io::postgres::connecting::{Server, Trouble};
use crate::io::remote::{Backoff, Remote};
use crate::report::{Alert, Emission};
use postgres::{Client, IsolationLevel};
use serde::{Deserialize, Serialize};
use staging::Held;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

/// Reports that are held, in bytes: more are stored at once.
const HELD_BYTES_MAX: usize = 16 << 20;

/// What goes on behind a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    /// The sink that it is of.
    name: String,
    /// Who wrote.
    writer: i64,
    /// The last transaction.
    written: i64,
}

impl Place {
    fn of(state: Option<&SinkState>, name: &str) -> Result<Option<Self>> {
        let Some(state) = state.filter(|state| !state.0.is_empty()) else {
            return Ok(None);
        };
        let place: Self = serde_json::from_slice(&state.0).map_err(|e| {
            Error::Data(format!(
                "the checkpoint says nothing that can be read of the place in {name}: {e}"
            ))
        })?;
        Ok((place.name == name).then_some(place))
    }
}

/// Writes reports into a database.
pub(super) struct PostgresSink {
    server: Server,
    /// Absent after a connection was lost.
    client: Option<Client>,
    feeds: HashMap<String, Known>,
    held: Held,
    /// Whether no report so far had one to replace.
    are_new: bool,
    place: Place,
    health: Health,
}

/// What is known of a feed.
#[derive(Debug)]
struct Known {
    /// The columns of its reports, as the database has them; empty before the first.
    columns: Vec<String>,
}

impl std::fmt::Debug for PostgresSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresSink").field("place", &self.place).finish()
    }
}

impl PostgresSink {
    /// Connects, and makes the tables if there are none.
    pub(super) fn open(name: String, remote: &Remote, feeds: &[Feed], state: Option<&SinkState>) -> Result<Self> {
        for feed in feeds {
            staging::check_resolution(&name, feed)?;
        }
        let before = Place::of(state, &name)?;
        let server = Server::new(&name, remote)?;
        let mut client = server.connect().map_err(|e| server.refused(e))?;
        let failed = |e: postgres::Error| server.refused(e);
        schema::prepare(&mut client, &name).map_err(|e| e.in_words(&server))?;
        let committed = IsolationLevel::ReadCommitted;
        let begun = client.build_transaction().isolation_level(committed).start();
        let mut transaction = begun.map_err(failed)?;
        let mut known = HashMap::new();
        for feed in feeds {
            let columns = schema::register(&mut transaction, &name, feed)
                .map_err(|e| e.in_words(&server))?
                .columns;
            known.insert(feed.name.to_string(), Known { columns });
        }
        if let Some(place) = &before {
            let cut = schema::cut(&mut transaction, &name, place.writer, place.written);
            cut.map_err(|e| e.in_words(&server))?;
        }
        transaction.commit().map_err(failed)?;
        staging::make_tables(&mut client).map_err(failed)?;
        // A number that nobody else has, nearly surely.
        let anew = || Place {
            name,
            writer: RandomState::new().build_hasher().finish() as i64,
            written: 0,
        };
        let place = before.unwrap_or_else(anew);
        Ok(Self {
            server,
            client: Some(client),
            feeds: known,
            held: Held::default(),
            are_new: true,
            place,
            health: Health::default(),
        })
    }

    /// Refuses other columns than those that the reports before had, and notes those of feeds that have their first.
    fn check_columns(&mut self, reports: &[Emission]) -> Result<()> {
        for report in reports {
            let names = report.group.columns.names();
            let known = self.feeds.get_mut(&*report.feed);
            let known = known.ok_or_else(|| Error::Failed(format!("the sink knows of no feed `{}`", report.feed)))?;
            if known.columns == names {
                continue;
            }
            if !known.columns.is_empty() {
                let (there, here) = (known.columns.join(", "), names.join(", "));
                let name = &self.place.name;
                return Err(stored::changed(name, &report.feed, "columns", &there, &here));
            }
            self.held.name_columns(&report.feed, stored::names_json(names)?);
            known.columns = names.to_vec();
        }
        Ok(())
    }

    /// Stores what is held, as often as it takes.
    fn store(&mut self) -> Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let mut backoff = Backoff::default();
        let written = self.place.written + 1;
        loop {
            let error = match self.try_to_store(written)? {
                Ok(()) => break,
                Err(error) => error,
            };
            // Whatever it was, the next try has a connection of its own.
            self.client = None;
            if !error.may_pass() || backoff.is_spent() {
                return Err(self.server.lost(&error));
            }
            self.health.set(Some(self.server.words(&error)));
            std::thread::sleep(backoff.pause());
        }
        self.health.set(None);
        self.place.written = written;
        self.held.clear();
        Ok(())
    }

    /// Stores what is held; the inner trouble is with the server.
    fn try_to_store(&mut self, written: i64) -> Result<Result<(), Trouble>> {
        let client = match &mut self.client {
            Some(client) => client,
            None => {
                let connected = self.server.connect().and_then(|mut client| {
                    staging::make_tables(&mut client)?;
                    Ok::<_, Trouble>(client)
                });
                match connected {
                    Ok(client) => self.client.insert(client),
                    Err(error) => return Ok(Err(error)),
                }
            }
        };
        match self.held.store(client, self.place.writer, written, &mut self.are_new) {
            Ok(None) => Ok(Ok(())),
            Ok(Some(feed)) => Err(Error::Config(format!(
                "{}: another program writes reports of the feed `{feed}` with other columns: give this feed another name",
                self.place.name
            ))),
            Err(error) => Ok(Err(error.into())),
        }
    }
}

impl Sink for PostgresSink {
    fn name(&self) -> &str {
        &self.place.name
    }

    fn health(&self) -> Health {
        self.health.clone()
    }

    fn write(&mut self, reports: &[Emission]) -> Result<()> {
        self.check_columns(reports)?;
        reports.iter().for_each(|report| self.held.report(report));
        match self.held.bytes() > HELD_BYTES_MAX {
            true => self.store(),
            false => Ok(()),
        }
    }

    fn alert(&mut self, alert: &Alert) -> Result<()> {
        self.held.alert(alert);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.store()
    }

    fn checkpoint(&mut self) -> Result<SinkState> {
        self.store()?;
        // A struct of text and numbers has a JSON form.
        Ok(SinkState(serde_json::to_vec(&self.place).unwrap_or_default()))
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.store()
    }
}

/// Checks that the database can be reached and takes reports of these feeds; changes nothing there.
///
/// # Errors
/// [`Error::Config`] where it cannot.
pub(super) fn check(name: &str, remote: &Remote, feeds: &[Feed]) -> Result<()> {
    let server = Server::new(name, remote)?;
    let mut client = server.connect().map_err(|e| server.refused(e))?;
    for feed in feeds {
        staging::check_resolution(name, feed)?;
    }
    schema::check(&mut client, name, feeds).map_err(|e| e.in_words(&server))
}
