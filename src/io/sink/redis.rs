//! Reports in Redis: a stream of all of them, a hash with the latest of each key, and a channel for alerts.
//!
//! What is handed on together is one transaction, sent in one round trip. Each entry of the stream says by whom it was
//! written and in which transaction (`by`), so a transaction whose answer was lost is looked for before it is sent
//! again, and what was written behind a checkpoint is taken out of the stream when the sink goes on from there.

mod held;

use super::{Feed, Health, Sink, SinkState};
use crate::error::{Error, Result};
use crate::io::redis::connecting::{Server, may_pass};
use crate::io::redis::entries::{Id, array, bytes, named, strange};
use crate::io::redis::group::end_of_stream;
use crate::io::remote::{Backoff, RedisSink as Options};
use crate::report::{Alert, Emission};
use held::{Held, SCRIPT, hash_name};
use redis::{Connection, RedisError, RedisResult, Value};
use serde::{Deserialize, Serialize};
use std::hash::{BuildHasher, Hasher, RandomState};

/// Reports that are held, in bytes: more are stored at once.
const HELD_BYTES_MAX: usize = 16 << 20;

/// Entries that are looked through at once.
const PAGE: usize = 1000;

/// What goes on behind a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    /// The sink that it is of.
    name: String,
    /// Who wrote.
    writer: u64,
    /// The last transaction.
    written: u64,
    /// The id of its last entry: milliseconds and sequence number.
    last: (u64, u64),
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

    fn last(&self) -> Id {
        Id {
            ms: self.last.0,
            sequence: self.last.1,
        }
    }

    /// What the entries of the next transaction say.
    fn by(&self) -> String {
        format!("{:016x}-{}", self.writer, self.written + 1)
    }

    /// Whether an entry that says this was written behind this place by the same writer.
    fn is_before(&self, by: &[u8]) -> bool {
        let by = std::str::from_utf8(by).ok().and_then(|by| by.split_once('-'));
        by.is_some_and(|(writer, number)| {
            writer == format!("{:016x}", self.writer) && number.parse().is_ok_and(|number: u64| number > self.written)
        })
    }
}

/// Writes reports into Redis.
pub(super) struct RedisSink {
    server: Server,
    options: Options,
    /// Absent after a connection was lost.
    connection: Option<Connection>,
    /// Whether what is held may have been stored, and the answer was lost.
    uncertain: bool,
    held: Held,
    place: Place,
    health: Health,
}

impl std::fmt::Debug for RedisSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisSink")
            .field("place", &self.place)
            .finish_non_exhaustive()
    }
}

impl RedisSink {
    /// Connects, and takes out of the stream what was written behind the state.
    pub(super) fn open(name: String, options: &Options, feeds: &[Feed], state: Option<&SinkState>) -> Result<Self> {
        let before = Place::of(state, &name)?;
        let server = Server::new(&name, &options.server)?;
        let mut connection = server.connect().map_err(|e| server.refused(&e))?;
        check_keys(&server, &mut connection, options, feeds)?;
        let failed = |e| server.refused(&e);
        let place = match before {
            Some(place) => {
                if let Some(stream) = &options.stream {
                    cut(&mut connection, stream, &place).map_err(failed)?;
                }
                place
            }
            None => {
                let end = match &options.stream {
                    Some(stream) => end_of_stream(&mut connection, stream).map_err(failed)?,
                    None => None,
                };
                let end = end.unwrap_or_default();
                Place {
                    name,
                    // A number that nobody else has, nearly surely.
                    writer: RandomState::new().build_hasher().finish(),
                    written: 0,
                    last: (end.ms, end.sequence),
                }
            }
        };
        Ok(Self {
            server,
            options: options.clone(),
            connection: Some(connection),
            uncertain: false,
            held: Held::default(),
            place,
            health: Health::default(),
        })
    }

    /// Stores what is held, as often as it takes.
    fn store(&mut self) -> Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let mut backoff = Backoff::default();
        let last = loop {
            let error = match self.try_to_store() {
                Ok(last) => break last,
                Err(error) => error,
            };
            // Whatever it was, the next try has a connection of its own.
            self.connection = None;
            if !may_pass(&error) || backoff.is_spent() {
                return Err(self.server.lost(&error));
            }
            self.health.set(Some(self.server.words(&error)));
            std::thread::sleep(backoff.pause());
        };
        self.health.set(None);
        self.uncertain = false;
        self.place.written += 1;
        if let Some(last) = last {
            self.place.last = (last.ms, last.sequence);
        }
        self.held = Held::default();
        Ok(())
    }

    /// Stores what is held; the id of its last entry.
    fn try_to_store(&mut self) -> RedisResult<Option<Id>> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            None => self.connection.insert(self.server.connect()?),
        };
        if let Some(stream) = self.options.stream.as_ref().filter(|_| self.uncertain) {
            let by = self.place.by();
            let mut stored = None;
            behind(connection, stream, self.place.last(), |_, said, id| {
                if said == by.as_bytes() {
                    stored = Some(id);
                }
                Ok(())
            })?;
            if stored.is_some() {
                return Ok(stored);
            }
        }
        let pipe = self.held.transaction(&self.options);
        self.uncertain = true;
        let answers: Vec<Value> = pipe.query(connection)?;
        let last = self
            .held
            .last_entry()
            .map(|at| answers.get(at).ok_or_else(strange).and_then(Id::of));
        last.transpose()
    }
}

/// Looks at the entries behind an id: who wrote them, and their ids.
fn behind(
    connection: &mut Connection,
    stream: &str,
    mut id: Id,
    mut look: impl FnMut(&mut Connection, &[u8], Id) -> RedisResult<()>,
) -> RedisResult<()> {
    loop {
        let mut command = redis::cmd("XRANGE");
        command
            .arg(stream)
            .arg(format!("({id}"))
            .arg("+")
            .arg("COUNT")
            .arg(PAGE);
        let page = array(command.query(connection)?)?;
        let count = page.len();
        for entry in page {
            let mut parts = array(entry)?.into_iter();
            let (Some(of), Some(fields)) = (parts.next(), parts.next()) else {
                return Err(strange());
            };
            id = Id::of(&of)?;
            look(
                connection,
                named(&array(fields)?, "by").map(bytes).unwrap_or_default(),
                id,
            )?;
        }
        if count < PAGE {
            return Ok(());
        }
    }
}

/// Takes out of the stream what was written behind a place.
fn cut(connection: &mut Connection, stream: &str, place: &Place) -> RedisResult<()> {
    behind(connection, stream, place.last(), |connection, by, id| {
        match place.is_before(by) {
            true => redis::cmd("XDEL").arg(stream).arg(id.to_string()).exec(connection),
            false => Ok(()),
        }
    })
}

/// Checks that the keys are what is written to them, or are not there yet, and that this user may write them; changes
/// nothing.
fn check_keys(server: &Server, connection: &mut Connection, options: &Options, feeds: &[Feed]) -> Result<()> {
    let failed = |e: RedisError| server.refused(&e);
    let name = server.name();
    if let Some(stream) = &options.stream {
        let kind: String = redis::cmd("TYPE").arg(stream).query(connection).map_err(failed)?;
        if kind != "stream" && kind != "none" {
            return Err(Error::Config(format!(
                "{name}: the key `{stream}` is there already and is a {kind}, not a stream: name another one"
            )));
        }
        // An id that no entry may have: it is refused after the rights have been looked at.
        let tried: RedisResult<Value> = redis::cmd("XADD")
            .arg(stream)
            .arg("0-0")
            .arg("by")
            .arg("")
            .query(connection);
        if let Err(error) = tried
            && error.code() == Some("NOPERM")
        {
            return Err(server.refused(&error));
        }
        let commands: [&[&str]; 3] = [&["MULTI"], &["XRANGE", stream, "-", "+"], &["XDEL", stream, "0-1"]];
        server.check_rights(connection, &commands)?;
    }
    if let Some(hash) = &options.hash {
        for feed in feeds {
            let key = hash_name(hash, &feed.name, None);
            let commands: [&[&str]; 5] = [
                &["EVAL", SCRIPT, "1", &key],
                &["HGET", &key, "order"],
                &["DEL", &key],
                &["HSET", &key, "order", ""],
                &["PEXPIRE", &key, "1"],
            ];
            server.check_rights(connection, &commands)?;
        }
    }
    if let Some(channel) = &options.channel {
        server.check_rights(connection, &[&["PUBLISH", channel, ""]])?;
    }
    // Somebody without a password is let in and may do nothing.
    redis::cmd("PING").exec(connection).map_err(failed)
}

impl Sink for RedisSink {
    fn name(&self) -> &str {
        &self.place.name
    }

    fn health(&self) -> Health {
        self.health.clone()
    }

    fn write(&mut self, reports: &[Emission]) -> Result<()> {
        let by = self.place.by();
        // All or none: what was held before stays.
        let mut added = Held::default();
        for report in reports {
            added.report(&self.options, &by, report)?;
        }
        self.held.append(added);
        match self.held.bytes() > HELD_BYTES_MAX {
            true => self.store(),
            false => Ok(()),
        }
    }

    fn alert(&mut self, alert: &Alert) -> Result<()> {
        self.held.alert(&self.options, &self.place.by(), alert)
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

/// Checks that the server can be reached and takes reports; changes nothing there.
///
/// # Errors
/// [`Error::Config`] where it cannot.
pub(super) fn check(name: &str, options: &Options, feeds: &[Feed]) -> Result<()> {
    let server = Server::new(name, &options.server)?;
    let mut connection = server.connect().map_err(|e| server.refused(&e))?;
    check_keys(&server, &mut connection, options, feeds)
}
