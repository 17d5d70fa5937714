//! Columns and their types from the first records.

use super::cut::{RecordCutter, records};
use super::decode::text_number;
use crate::error::{Error, Result};
use crate::io::ReadOptions;
use crate::io::chunks::{Cut, Cutter, INFER_ROWS_MAX, RECORD_BYTES_MAX, count_lines};
use crate::io::columns::time_type;
use crate::io::seen::Seen;
use arrow::datatypes::DataType;
use hashbrown::HashMap;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeSet;
use std::fmt;

/// What the beginning of the input tells.
#[derive(Debug)]
pub(crate) struct Inferred {
    /// Names and types, in the order of first appearance.
    pub(crate) columns: Vec<(String, DataType)>,
    /// Fields that are objects or arrays, so no columns.
    pub(crate) nested: Vec<String>,
    /// Columns that are wanted as numbers and have not been seen.
    pub(crate) unseen: Vec<String>,
    /// Whether these are all the rows that there are.
    pub(crate) is_all: bool,
    /// The rows are the elements of one array.
    pub(crate) array: bool,
    /// Bytes before the first row: blanks, and the array's bracket.
    pub(crate) start: usize,
    /// Lines before the first row.
    pub(crate) start_line: u64,
}

/// What a value is.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Missing,
    /// A number, and whether it is spelled as a whole one that fits `i64`.
    Number {
        value: f64,
        whole: bool,
    },
    Text,
    Nested,
}

/// Looks at the complete records of `bytes`; the second answer is whether that was all that inference ever looks at.
pub(crate) fn infer(name: &str, bytes: &[u8], at_end: bool, options: &ReadOptions) -> Result<(Inferred, bool)> {
    let blanks = bytes.iter().take_while(|b| b.is_ascii_whitespace()).count();
    let array = bytes.get(blanks) == Some(&b'[');
    let start = if array { blanks + 1 } else { 0 };
    let mut found = Found {
        options,
        columns: Vec::new(),
        places: HashMap::new(),
    };
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
    let mut nested_columns = Vec::new();
    let named = |Column { name, seen, nested }| {
        let kind = match seen.data_type() {
            _ if time == Some(&name) => time_type(),
            DataType::Utf8 if nested => {
                nested_columns.push(name);
                return None;
            }
            kind => kind,
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
            nested: nested_columns,
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
    seen: Seen,
    /// Whether one of its values was an object or an array.
    nested: bool,
}

struct Found<'a> {
    options: &'a ReadOptions,
    columns: Vec<Column>,
    places: HashMap<String, usize>,
}

impl<'de> Visitor<'de> for &mut Found<'_> {
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
                    seen: Seen::new(key, self.options),
                    nested: false,
                });
                self.columns.len() - 1
            });
            let Column { seen, nested, .. } = &mut self.columns[place];
            match kind {
                Kind::Missing => {}
                Kind::Number { value, whole } => seen.number(value, whole && seen.is_key()),
                Kind::Text => seen.text(),
                Kind::Nested => {
                    // What has parts is as little a number as text is.
                    seen.text();
                    *nested = true;
                }
            }
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

    fn visit_i64<E>(self, value: i64) -> Result<KindOf, E> {
        let (value, whole) = (value as f64, true);
        Ok(KindOf(Kind::Number { value, whole }))
    }

    fn visit_u64<E>(self, value: u64) -> Result<KindOf, E> {
        let whole = i64::try_from(value).is_ok();
        let value = value as f64;
        Ok(KindOf(Kind::Number { value, whole }))
    }

    fn visit_f64<E>(self, value: f64) -> Result<KindOf, E> {
        Ok(KindOf(Kind::Number { value, whole: false }))
    }

    fn visit_str<E>(self, text: &str) -> Result<KindOf, E> {
        Ok(KindOf(match text_number(text) {
            Some(Some(value)) => Kind::Number { value, whole: false },
            Some(None) => Kind::Missing,
            None => Kind::Text,
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
