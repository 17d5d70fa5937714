//! A stream and its consumer group, as the server has them.

use super::entries::{Id, array, bytes, named, strange};
use redis::{Connection, Pipeline, RedisResult, Value};

/// Ids in one command at most.
const PAGE: usize = 1000;

/// Who reads in the group: it has no other consumer.
pub(super) const CONSUMER: &str = "millstream";

/// A consumer group of a stream.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) stream: String,
    pub(super) name: String,
}

/// The id that a stream gave last, even if that entry is gone; none where there is no stream.
pub(in crate::io) fn end_of_stream(connection: &mut Connection, stream: &str) -> RedisResult<Option<Id>> {
    let answer: RedisResult<Value> = redis::cmd("XINFO").arg("STREAM").arg(stream).query(connection);
    match answer {
        Ok(answer) => {
            let about = array(answer)?;
            named(&about, "last-generated-id")
                .ok_or_else(strange)
                .and_then(Id::of)
                .map(Some)
        }
        Err(error) if error.detail().is_some_and(|detail| detail.contains("no such key")) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Group {
    /// The id of the last entry that it was given, if there is such a group.
    pub(super) fn place(&self, connection: &mut Connection) -> RedisResult<Option<Id>> {
        let answer: Value = redis::cmd("XINFO").arg("GROUPS").arg(&self.stream).query(connection)?;
        for group in array(answer)? {
            let about = array(group)?;
            if named(&about, "name").map(bytes) == Some(self.name.as_bytes()) {
                return named(&about, "last-delivered-id")
                    .ok_or_else(strange)
                    .and_then(Id::of)
                    .map(Some);
            }
        }
        Ok(None)
    }

    /// Makes it, so that it reads what is behind this id.
    pub(super) fn make(&self, connection: &mut Connection, behind: Id) -> RedisResult<()> {
        let mut command = redis::cmd("XGROUP");
        command
            .arg("CREATE")
            .arg(&self.stream)
            .arg(&self.name)
            .arg(behind.to_string());
        match command.exec(connection) {
            // Somebody made it meanwhile.
            Err(error) if error.code() == Some("BUSYGROUP") => Ok(()),
            made => made,
        }
    }

    /// Has it read on behind this id.
    pub(super) fn go_to(&self, connection: &mut Connection, id: Id) -> RedisResult<()> {
        let mut command = redis::cmd("XGROUP");
        command
            .arg("SETID")
            .arg(&self.stream)
            .arg(&self.name)
            .arg(id.to_string());
        command.exec(connection)
    }

    /// Takes over everything that was given to anyone and not acknowledged, and acknowledges what lies up to `upto`: how
    /// many of the others are not in the stream any more.
    pub(super) fn claim(&self, connection: &mut Connection, upto: Option<Id>) -> RedisResult<u64> {
        let (mut cursor, mut gone) = ("0-0".to_owned(), 0);
        loop {
            let mut command = redis::cmd("XAUTOCLAIM");
            command
                .arg(&self.stream)
                .arg(&self.name)
                .arg(CONSUMER)
                .arg(0)
                .arg(&cursor);
            let answer: Value = command.arg("COUNT").arg(PAGE).arg("JUSTID").query(connection)?;
            let mut parts = array(answer)?.into_iter();
            let (Some(next), Some(there)) = (parts.next(), parts.next()) else {
                return Err(strange());
            };
            let is_behind = |id: &Id| upto.is_none_or(|upto| *id > upto);
            let ids = |list: Value| array(list)?.iter().map(Id::of).collect::<RedisResult<Vec<Id>>>();
            let dealt_with: Vec<Id> = ids(there)?.into_iter().filter(|id| !is_behind(id)).collect();
            let mut pipe = redis::pipe();
            self.acknowledge(&mut pipe, &dealt_with);
            if !pipe.is_empty() {
                pipe.exec(connection)?;
            }
            // A server before version 7 does not say which are gone.
            if let Some(list) = parts.next() {
                gone += ids(list)?.iter().filter(|id| is_behind(id)).count() as u64;
            }
            cursor = String::from_utf8_lossy(bytes(&next)).into_owned();
            if cursor == "0-0" {
                return Ok(gone);
            }
        }
    }

    /// Acknowledges these.
    pub(super) fn acknowledge(&self, pipe: &mut Pipeline, ids: &[Id]) {
        for page in ids.chunks(PAGE) {
            let command = pipe.cmd("XACK").arg(&self.stream).arg(&self.name);
            for id in page {
                command.arg(id.to_string());
            }
            command.ignore();
        }
    }

    /// Asks for so many entries: those behind `again` that were given and not acknowledged, or new ones, which are
    /// waited for.
    pub(super) fn read(&self, pipe: &mut Pipeline, again: Option<Id>, count: usize, block_ms: u128) {
        let command = pipe.cmd("XREADGROUP").arg("GROUP").arg(&self.name).arg(CONSUMER);
        command.arg("COUNT").arg(count);
        if again.is_none() {
            command.arg("BLOCK").arg(block_ms.to_string());
        }
        command.arg("STREAMS").arg(&self.stream);
        match again {
            Some(behind) => command.arg(behind.to_string()),
            None => command.arg(">"),
        };
    }
}
