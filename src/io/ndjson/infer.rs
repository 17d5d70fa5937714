//! Columns and their types from the first records.

use super::cut::{RecordCutter, records};
use super::decode::text_number;
use crate::error::{Error, Result};
use crate::io::ReadOptions;
use crate::io::chunks::{Cut, Cutter, INFER_ROWS_MAX, RECORD_BYTES_MAX, count_lines};
use crate::io::columns::time_type;
use arrow::datatypes::DataType;
use hashbrown::HashMap;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeSet;
use std::fmt;

/// What the beginning of the input tells.
#[derive(Debug)]
pub(super) struct Inferred {
    /// Names and types, in the order of first appearance.
    pub(super) columns: Vec<(String, DataType)>,
    /// Fields that are objects or arrays, so no columns.
    pub(super) nested: Vec<String>,
    /// Columns that are wanted as numbers and have not been seen.
    pub(super) unseen: Vec<String>,
    /// Whether these are all the rows that there are.
    pub(super) is_all: bool,
    /// The rows are the elements of one array.
    pub(super) array: bool,
    /// Bytes before the first row: blanks, and the array's bracket.
    pub(super) start: usize,
    /// Lines before the first row.
    pub(super) start_line: u64,
}

/// What the values of a column have been; the later kinds swallow the earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Missing,
    Number,
    Text,
    Nested,
}

/// Looks at the complete records of `bytes`; the second answer is whether that was all that inference ever looks at.
pub(super) fn infer(name: &str, bytes: &[u8], at_end: bool, options: &ReadOptions) -> Result<(Inferred, bool)> {
    let blanks = bytes.iter().take_while(|b| b.is_ascii_whitespace()).count();
    let array = bytes.get(blanks) == Some(&b'[');
    let start = if array { blanks + 1 } else { 0 };
    let mut found = Found::default();
    let mut rows = 0;
    let rest = &bytes[start..];
    let end = match RecordCutter::new(array).cut(rest, at_end) {
        Ok(Cut::At(end)) => end,
        Ok(Cut::Nowhere) if rest.len() > RECORD_BYTES_MAX => {
            let what = format!("{name}: line 1: a record is longer than {RECORD_BYTES_MAX} bytes");
            return Err(Error::Data(what));
        }
        Ok(Cut::Nowhere) => 0,
        Err(e) => {
            let line = 1 + count_lines(&bytes[..start + e.offset]);
            return Err(Error::Data(format!("{name}: line {line}: {}", e.reason)));
        }
    };
    records(&rest[..end], array, |_, record| {
        rows += 1;
        // What is no object will be a bad row and says nothing about the columns.
        let _ = serde_json::Deserializer::from_slice(record).deserialize_map(&mut found);
        rows < INFER_ROWS_MAX
    });
    let time = options.time.as_ref().map(|(column, _)| column);
    let mut nested = Vec::new();
    let named = |Column { name, kind, number }| {
        // One number is enough where numbers are wanted: the rest are bad rows.
        let wanted = number && options.numeric.contains(&name);
        let kind = match kind {
            _ if time == Some(&name) => time_type(),
            Kind::Missing | Kind::Number => DataType::Float64,
            _ if wanted => DataType::Float64,
            Kind::Text => DataType::Utf8,
            Kind::Nested => {
                nested.push(name);
                return None;
            }
        };
        Some((name, kind))
    };
    let columns = found.columns.into_iter().filter_map(named).collect();
    let unseen = options.numeric.iter().filter(|name| !found.places.contains_key(*name));
    let unseen: BTreeSet<&String> = unseen.filter(|name| time != Some(*name)).collect();
    let start_line = count_lines(&bytes[..start]);
    Ok((
        Inferred {
            columns,
            nested,
            unseen: unseen.into_iter().cloned().collect(),
            is_all: at_end && rows < INFER_ROWS_MAX,
            array,
            start,
            start_line,
        },
        rows >= INFER_ROWS_MAX,
    ))
}

struct Column {
    name: String,
    kind: Kind,
    /// Whether one of its values was a number.
    number: bool,
}

#[derive(Default)]
struct Found {
    columns: Vec<Column>,
    places: HashMap<String, usize>,
}

impl<'de> Visitor<'de> for &mut Found {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let KindOf(kind) = map.next_value()?;
            let place = *self.places.entry(key).or_insert_with_key(|key| {
                self.columns.push(Column {
                    name: key.clone(),
                    kind: Kind::Missing,
                    number: false,
                });
                self.columns.len() - 1
            });
            let column = &mut self.columns[place];
            column.kind = column.kind.max(kind);
            column.number |= kind == Kind::Number;
        }
        Ok(())
    }
}

/// A value's kind.
struct KindOf(Kind);

impl<'de> serde::Deserialize<'de> for KindOf {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = KindOf;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<KindOf, E> {
        Ok(KindOf(Kind::Missing))
    }

    fn visit_bool<E>(self, _: bool) -> Result<KindOf, E> {
        Ok(KindOf(Kind::Text))
    }

    fn visit_i64<E>(self, _: i64) -> Result<KindOf, E> {
        Ok(KindOf(Kind::Number))
    }

    fn visit_u64<E>(self, _: u64) -> Result<KindOf, E> {
        Ok(KindOf(Kind::Number))
    }

    fn visit_f64<E>(self, _: f64) -> Result<KindOf, E> {
        Ok(KindOf(Kind::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<KindOf, E> {
        Ok(KindOf(if text_number(text).is_some() {
            Kind::Number
        } else {
            Kind::Text
        }))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<KindOf, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(KindOf(Kind::Nested))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<KindOf, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(KindOf(Kind::Nested))
    }
}
