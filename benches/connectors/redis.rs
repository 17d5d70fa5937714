//! A stream of Redis, which every run reads under a group of its own.

use crate::bare::Tally;
use crate::rows::Rows;
use crate::server::{Broker, Server};
use redis::{Connection, Value};

/// Bytes of entries that are asked for at once, about, and entries at most: as src/io/redis/reading.rs has them.
const BYTES_AT_ONCE: usize = 1 << 20;
const ENTRIES_MAX: usize = 4096;

/// Entries that are added with one request.
const ADDED_TOGETHER: usize = 500;

fn say(error: impl std::fmt::Display) -> String {
    format!("redis: {error}")
}

pub(crate) struct Stream {
    server: Server,
    connection: Connection,
    name: String,
    is_filled: bool,
    /// Groups that have read it.
    groups: u32,
}

impl Stream {
    pub(crate) fn new(server: Server) -> Result<Self, String> {
        let url = format!("redis://:{}@127.0.0.1:{}/0", server.says("password")?, server.port()?);
        let client = redis::Client::open(url).map_err(say)?;
        Ok(Self {
            connection: client.get_connection().map_err(say)?,
            server,
            name: Server::own_name(),
            is_filled: false,
            groups: 0,
        })
    }

    fn group(&self) -> String {
        format!("group-{}", self.groups)
    }
}

/// The parts of an answer.
fn array(value: Value) -> Result<Vec<Value>, String> {
    match value {
        Value::Array(values) => Ok(values),
        other => Err(format!("redis: no list: {other:?}")),
    }
}

impl Broker for Stream {
    fn version(&mut self) -> String {
        let about: redis::RedisResult<String> = redis::cmd("INFO").arg("server").query(&mut self.connection);
        let about = about.unwrap_or_default();
        let version = about.lines().find_map(|line| line.strip_prefix("redis_version:"));
        format!("Redis {}", version.unwrap_or_default())
    }

    fn fill(&mut self, data: &Rows) -> Result<(), String> {
        if self.groups > 0 {
            let mut command = redis::cmd("XGROUP");
            command.arg("DESTROY").arg(&self.name).arg(self.group());
            command.exec(&mut self.connection).map_err(say)?;
        }
        self.groups += 1;
        if self.is_filled {
            return Ok(());
        }
        for messages in data.messages.chunks(ADDED_TOGETHER) {
            let mut pipe = redis::pipe();
            for message in messages {
                let command = pipe.cmd("XADD").arg(&self.name).arg("*").arg("rows");
                command.arg(message.as_slice()).ignore();
            }
            pipe.exec(&mut self.connection).map_err(say)?;
        }
        self.is_filled = true;
        Ok(())
    }

    fn feed(&self) -> String {
        let port = self.server.port().unwrap_or_default();
        format!(
            "[feed]\nname = \"main\"\ntype = \"redis\"\nurl = \"redis://127.0.0.1:{port}/0\"\npassword_file = {:?}\n\
             stream = \"{}\"\ngroup = \"{}\"\n",
            self.server.path("password"),
            self.name,
            self.group()
        )
    }

    fn consume(&mut self, data: &Rows) -> Result<Tally, String> {
        let mut command = redis::cmd("XGROUP");
        command.arg("CREATE").arg(&self.name).arg(self.group()).arg("0");
        command.exec(&mut self.connection).map_err(say)?;
        let message_bytes = data.bytes as usize / data.messages.len().max(1);
        let count = (BYTES_AT_ONCE / message_bytes.max(1)).clamp(1, ENTRIES_MAX);
        let mut tally = Tally::of(data);
        let mut done: Vec<Value> = Vec::new();
        while !tally.is_full() {
            let mut pipe = redis::pipe();
            if !done.is_empty() {
                let command = pipe.cmd("XACK").arg(&self.name).arg(self.group());
                for id in done.drain(..) {
                    let Value::BulkString(id) = id else {
                        return Err("redis: an entry without an id".into());
                    };
                    command.arg(id);
                }
                command.ignore();
            }
            let command = pipe.cmd("XREADGROUP").arg("GROUP").arg(self.group()).arg("bare");
            command.arg("COUNT").arg(count).arg("BLOCK").arg(100);
            command.arg("STREAMS").arg(&self.name).arg(">");
            let answers: Vec<Value> = pipe.query(&mut self.connection).map_err(say)?;
            for stream in answers
                .into_iter()
                .map(array)
                .collect::<Result<Vec<_>, _>>()?
                .into_iter()
                .flatten()
            {
                for entry in array(stream)?.pop().map_or(Ok(Vec::new()), array)? {
                    let mut parts = array(entry)?.into_iter();
                    done.extend(parts.next());
                    let fields = parts.next().map_or(Ok(Vec::new()), array)?;
                    match fields.last() {
                        Some(Value::BulkString(message)) => tally.take(message.len()),
                        _ => return Err("redis: an entry without a message".into()),
                    }
                }
            }
        }
        Ok(tally)
    }

    fn clear(mut self: Box<Self>) -> Result<(), String> {
        redis::cmd("DEL")
            .arg(&self.name)
            .exec(&mut self.connection)
            .map_err(say)
    }
}
