//! Entries of a stream as the server gives them: their ids, and what their fields hold.

use redis::{ErrorKind, RedisError, RedisResult, Value};
use std::fmt;

/// The id of an entry, which is its place in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(in crate::io) struct Id {
    /// Milliseconds since 1970-01-01T00:00:00Z, unless the sender chose something else.
    pub(in crate::io) ms: u64,
    /// Which of those of that millisecond.
    pub(in crate::io) sequence: u64,
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.sequence)
    }
}

impl Id {
    /// The id that stands in an answer.
    pub(in crate::io) fn of(value: &Value) -> RedisResult<Self> {
        let text = match value {
            Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
            Value::SimpleString(text) => Some(text.as_str()),
            _ => None,
        };
        let (ms, sequence) = text.and_then(|text| text.split_once('-')).ok_or_else(strange)?;
        match (ms.parse(), sequence.parse()) {
            (Ok(ms), Ok(sequence)) => Ok(Self { ms, sequence }),
            _ => Err(strange()),
        }
    }
}

/// What an entry holds.
#[derive(Debug, PartialEq)]
pub(super) enum Held {
    /// A message.
    Message(Vec<u8>),
    /// No field for a message: names and values in turn.
    Fields(Vec<Value>),
    /// Nothing any more: it was deleted before it was read.
    Nothing,
}

/// An entry of a stream.
#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) id: Id,
    pub(super) held: Held,
}

impl Entry {
    /// Bytes that it takes, about.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + match &self.held {
                Held::Message(message) => message.len(),
                Held::Fields(fields) => fields.iter().map(|field| size_of::<Value>() + bytes(field).len()).sum(),
                Held::Nothing => 0,
            }
    }
}

/// The entries of one stream in an answer to `XREADGROUP`; their messages stand in `field`.
pub(super) fn entries(answer: Value, field: &[u8]) -> RedisResult<Vec<Entry>> {
    let streams = match answer {
        Value::Nil => return Ok(Vec::new()),
        answer => array(answer)?,
    };
    let Some(stream) = streams.into_iter().next() else {
        return Ok(Vec::new());
    };
    let list = array(stream)?.into_iter().nth(1).ok_or_else(strange)?;
    array(list)?.into_iter().map(|value| entry(value, field)).collect()
}

fn entry(value: Value, field: &[u8]) -> RedisResult<Entry> {
    let mut parts = array(value)?.into_iter();
    let (Some(id), Some(fields)) = (parts.next(), parts.next()) else {
        return Err(strange());
    };
    let id = Id::of(&id)?;
    if fields == Value::Nil {
        let held = Held::Nothing;
        return Ok(Entry { id, held });
    }
    let mut fields = array(fields)?;
    let at = fields.chunks_exact(2).position(|pair| bytes(&pair[0]) == field);
    let held = match at.map(|at| std::mem::take(&mut fields[2 * at + 1])) {
        Some(Value::BulkString(message)) => Held::Message(message),
        Some(_) => return Err(strange()),
        None => Held::Fields(fields),
    };
    Ok(Entry { id, held })
}

/// The parts of an answer.
pub(in crate::io) fn array(value: Value) -> RedisResult<Vec<Value>> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(strange()),
    }
}

/// The bytes of a text; none where it is none.
pub(in crate::io) fn bytes(value: &Value) -> &[u8] {
    match value {
        Value::BulkString(bytes) => bytes,
        Value::SimpleString(text) => text.as_bytes(),
        _ => &[],
    }
}

/// The value of a name in a list of names and values in turn.
pub(in crate::io) fn named<'a>(list: &'a [Value], name: &str) -> Option<&'a Value> {
    let mut pairs = list.chunks_exact(2);
    let pair = pairs.find(|pair| bytes(&pair[0]) == name.as_bytes());
    pair.map(|pair| &pair[1])
}

/// The error for an answer that is none to what was asked.
pub(in crate::io) fn strange() -> RedisError {
    RedisError::from((ErrorKind::Parse, "the server's answer is none to what was asked"))
}

/// A row of csv with these columns out of fields; none where there is none of these columns.
pub(super) fn row_of_fields(fields: &[Value], columns: &[String]) -> Option<Vec<u8>> {
    let mut row = Vec::new();
    let mut is_there = false;
    for (number, column) in columns.iter().enumerate() {
        if number > 0 {
            row.push(b',');
        }
        let Some(value) = named(fields, column) else {
            continue;
        };
        is_there = true;
        let value = bytes(value);
        if !value.iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r')) {
            row.extend_from_slice(value);
            continue;
        }
        row.push(b'"');
        for byte in value {
            row.push(*byte);
            if *byte == b'"' {
                row.push(b'"');
            }
        }
        row.push(b'"');
    }
    is_there.then_some(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn ids_are_in_the_order_of_their_numbers() {
        let id = |text_of: &str| Id::of(&text(text_of)).unwrap();
        assert!(id("9-10") > id("9-9") && id("10-0") > id("9-11"));
        assert_eq!(id("18446744073709551615-0").to_string(), "18446744073709551615-0");
        for wrong in ["", "1", "1-", "1-x", "1-18446744073709551616"] {
            assert!(Id::of(&text(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_answer_is_taken_apart() {
        let fields = Value::Array(vec![text("a"), text("rows"), text("rows"), text("1,2")]);
        let list = Value::Array(vec![
            Value::Array(vec![text("1-1"), fields]),
            Value::Array(vec![text("1-2"), Value::Nil]),
            Value::Array(vec![text("1-3"), Value::Array(vec![text("b"), text("3")])]),
        ]);
        let answer = Value::Array(vec![Value::Array(vec![text("stream"), list])]);
        let held: Vec<Held> = entries(answer, b"rows")
            .unwrap()
            .into_iter()
            .map(|entry| entry.held)
            .collect();
        let expected = [
            Held::Message(b"1,2".to_vec()),
            Held::Nothing,
            Held::Fields(vec![text("b"), text("3")]),
        ];
        assert_eq!(held, expected);
        assert!(entries(Value::Nil, b"rows").unwrap().is_empty());
        assert!(entries(Value::Okay, b"rows").is_err());
    }

    #[test]
    fn fields_are_a_row() {
        let columns = ["a", "b", "c"].map(String::from);
        let fields = [
            text("c"),
            text("x \"y\", z"),
            text("d"),
            text("4"),
            text("a"),
            text("1"),
        ];
        assert_eq!(row_of_fields(&fields, &columns).unwrap(), b"1,,\"x \"\"y\"\", z\"");
        assert_eq!(row_of_fields(&fields[2..4], &columns), None);
    }
}
