//! What the rows of one partition come to in a window and key, as text: what processes that share a feed give each
//! other, so that one of them makes the whole of it.

use super::{KeyValue, Named, key_from_json};
use crate::error::{Error, Result};
use crate::summary::Summary;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The form of the text.
const VERSION: u8 = 1;

/// Bytes of the checksum behind the rest: CRC-32 (ISO-HDLC), little-endian.
const CHECKSUM_BYTES: usize = 4;

/// Partitions that a feed may have: what waits for each of them takes memory.
const PARTITIONS_MAX: u32 = 1 << 16;

/// The summary of the rows of one partition in a window of time, for a key.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Share {
    /// The partition.
    pub partition: u32,
    /// How many there are.
    pub partitions: u32,
    /// The first instant of the window, in nanoseconds since 1970-01-01T00:00:00Z.
    pub start_ns: i64,
    /// The first instant behind it.
    pub end_ns: i64,
    /// The key, where there are keys.
    pub key: Option<Named<KeyValue>>,
    /// The columns of the summary.
    pub columns: Vec<String>,
    /// What its rows come to.
    pub summary: Summary,
}

#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    partition: u32,
    partitions: u32,
    start_ns: i64,
    end_ns: i64,
    /// As JSON.
    key: Option<String>,
    columns: Cow<'a, [String]>,
    summary: Vec<u8>,
}

fn damaged(why: &str) -> Error {
    Error::Data(format!("the text is no summary of a partition: {why}"))
}

impl Share {
    /// The text: base64 of a version, the parts, and a checksum.
    ///
    /// # Errors
    /// [`Error::Failed`] for a key that has no JSON form.
    pub fn to_text(&self) -> Result<String> {
        let no_form = |e: &dyn std::fmt::Display| Error::Failed(format!("a summary cannot be written: {e}"));
        let key = self.key.as_ref().map(serde_json::to_string).transpose();
        let stored = Stored {
            partition: self.partition,
            partitions: self.partitions,
            start_ns: self.start_ns,
            end_ns: self.end_ns,
            key: key.map_err(|e| no_form(&e))?,
            columns: Cow::Borrowed(&self.columns),
            summary: self.summary.to_bytes(),
        };
        let mut bytes = postcard::to_extend(&stored, vec![VERSION]).map_err(|e| no_form(&e))?;
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        Ok(STANDARD.encode(bytes))
    }

    /// Reads the text.
    ///
    /// # Errors
    /// [`Error::Data`] for one that [`Share::to_text`] does not make.
    pub fn from_text(text: &str) -> Result<Self> {
        let bytes = STANDARD.decode(text).map_err(|e| damaged(&e.to_string()))?;
        let (body, checksum) = bytes
            .split_last_chunk::<CHECKSUM_BYTES>()
            .ok_or_else(|| damaged("it is too short"))?;
        if crc32fast::hash(body).to_le_bytes() != *checksum {
            return Err(damaged("its checksum is another one"));
        }
        let parts = match body.split_first() {
            Some((&VERSION, parts)) => parts,
            _ => return Err(damaged("another version of this program made it")),
        };
        let stored: Stored<'static> = postcard::from_bytes(parts).map_err(|e| damaged(&e.to_string()))?;
        let key = stored
            .key
            .as_deref()
            .map(|key| key_from_json(key).ok_or_else(|| damaged("it has no key")));
        if stored.partitions > PARTITIONS_MAX || stored.partition >= stored.partitions {
            return Err(damaged("there is no such partition"));
        }
        Ok(Self {
            partition: stored.partition,
            partitions: stored.partitions,
            start_ns: stored.start_ns,
            end_ns: stored.end_ns,
            key: key.transpose()?,
            columns: stored.columns.into_owned(),
            summary: Summary::from_bytes(&stored.summary)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::{LeafRun, Order, Shape};

    fn share() -> Share {
        let shape = Shape {
            columns: 1,
            order: Order::Fourth,
            comoments: false,
            regression: Vec::new(),
            exact: false,
            differences: false,
            quantiles: true,
            loss: None,
        };
        let mut run = LeafRun::new(&shape);
        [1.5, -2.0, 0.1].iter().for_each(|x| run.push(&shape, &[*x], None));
        Share {
            partition: 2,
            partitions: 3,
            start_ns: -5,
            end_ns: 5,
            key: Some(Named::from_iter([("sensor".to_owned(), KeyValue::Text("a\"b".into()))])),
            columns: vec!["x".into()],
            summary: run.finish(&shape),
        }
    }

    #[test]
    fn text_is_read_as_it_was_written() {
        let share = share();
        assert_eq!(Share::from_text(&share.to_text().unwrap()).unwrap(), share);
        let keyless = Share { key: None, ..share };
        assert_eq!(Share::from_text(&keyless.to_text().unwrap()).unwrap(), keyless);
    }

    #[test]
    fn damaged_text_is_an_error() {
        let text = share().to_text().unwrap();
        for i in 0..text.len() {
            let mut other = text.clone().into_bytes();
            other[i] = if other[i] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).unwrap();
            assert!(Share::from_text(&other).is_err(), "byte {i}");
            assert!(Share::from_text(&text[..i]).is_err(), "the first {i} bytes");
        }
        let nowhere = Share {
            partition: 3,
            ..share()
        };
        assert!(Share::from_text(&nowhere.to_text().unwrap()).is_err());
    }
}
