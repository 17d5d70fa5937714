//! A chunk of JSON records to a batch, without a tree in between.
//!
//! Each record is parsed once; a value goes from the parser straight into its column. Keys are first looked for where
//! the record before had them, so that rows of equal layout need one comparison a key. Of a key that stands twice in
//! one object the last value counts. Numbers that are keys are read from their text, as the parser may round them.

use super::cut::records;
use super::late::Late;
use crate::error::{BadRow, Result};
use crate::io::TimeUnit;
use crate::io::chunks::{Decode, Decoded, count_lines};
use crate::io::columns::{Columns, Projection, Slot};
use crate::io::number::{Cell, parse_f64};
use crate::io::{seen, time};
use arrow::datatypes::SchemaRef;
use hashbrown::{HashMap, HashSet};
use memchr::memchr;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use std::sync::Arc;

/// Decodes chunks of whole records.
pub(crate) struct NdjsonDecoder {
    /// The names of the input's columns, and where their values go.
    columns: Vec<(String, Slot)>,
    /// Whether each of them is a key.
    keys: Vec<bool>,
    places: HashMap<String, usize>,
    projection: Projection,
    late: Arc<Late>,
    array: bool,
    stop_at_first: bool,
}

impl NdjsonDecoder {
    pub(crate) fn new(
        schema: &SchemaRef,
        projection: Projection,
        keys: &[String],
        late: Arc<Late>,
        array: bool,
        stop_at_first: bool,
    ) -> Self {
        let name = |(field, slot): (&arrow::datatypes::FieldRef, &Slot)| (field.name().clone(), *slot);
        let columns: Vec<_> = schema.fields().iter().zip(&projection.slots).map(name).collect();
        let places = columns
            .iter()
            .enumerate()
            .map(|(place, (name, _))| (name.clone(), place))
            .collect();
        Self {
            keys: columns.iter().map(|(name, _)| keys.contains(name)).collect(),
            columns,
            places,
            projection,
            late,
            array,
            stop_at_first,
        }
    }

    /// Reads one record into the columns, or says what is wrong with it.
    fn record(&self, record: &[u8], columns: &mut Columns, order: &mut Order) -> Result<(), Fault> {
        let mut fault = None;
        let mut parser = serde_json::Deserializer::from_slice(record);
        order.next = 0;
        order.unknown.clear();
        let row = RowSeed {
            decoder: self,
            columns,
            order,
            fault: &mut fault,
        };
        let parsed = if record.first() == Some(&b'{') {
            Some(row.deserialize(&mut parser))
        } else {
            None
        };
        if let Some(fault) = fault {
            return Err(fault);
        }
        let malformed = |e: serde_json::Error| Fault {
            place: None,
            bytes: record.to_vec(),
            reason: format!("is malformed JSON: {}", said(&e)),
        };
        match parsed {
            None => {
                return Err(Fault {
                    place: None,
                    bytes: record.to_vec(),
                    reason: "is not a JSON object".into(),
                });
            }
            Some(Err(e)) => return Err(malformed(e)),
            Some(Ok(())) => parser.end().map_err(malformed)?,
        }
        for (place, (_, slot)) in self.columns.iter().enumerate() {
            match *slot {
                slot if columns.has(slot) => {}
                Slot::Number(s) | Slot::Exact(s) => columns.missing_number(s),
                Slot::Integer(s) => columns.missing_integer(s),
                Slot::Text(s) => columns.missing_text(s),
                Slot::Time(_) => {
                    let reason = "has no time, and a row needs one".into();
                    return Err(Fault {
                        place: Some(place),
                        bytes: record.to_vec(),
                        reason,
                    });
                }
                Slot::Skip => {}
            }
        }
        Ok(())
    }

    /// The place of a key; `order` remembers where the record before had it.
    fn place(&self, key: &str, order: &mut Order) -> Option<usize> {
        let turn = order.next;
        order.next += 1;
        if let Some(&Some(place)) = order.places.get(turn)
            && self.columns[place].0 == key
        {
            return Some(place);
        }
        let place = self.places.get(key).copied();
        match place {
            Some(_) => self.late.arrived(key),
            None if self.late.is_known(key) || order.left_out.contains(key) => {}
            None => order.unknown.push(key.to_owned()),
        }
        if turn <= self.columns.len() {
            order.places.resize(order.places.len().max(turn + 1), None);
            order.places[turn] = place;
        }
        place
    }
}

/// A serde message without the line and column, which are those within the record.
fn said(e: &serde_json::Error) -> String {
    let text = e.to_string();
    match text.rfind(" at line ") {
        Some(end) if e.line() <= 1 => format!("{} at byte {}", &text[..end], e.column()),
        _ => text,
    }
}

impl Decode for NdjsonDecoder {
    fn decode(&self, bytes: &[u8], len: usize) -> Result<Decoded> {
        Ok(self.decode_some(bytes, len, usize::MAX)?.0)
    }

    fn decode_some(&self, bytes: &[u8], len: usize, rows_max: usize) -> Result<(Decoded, usize)> {
        let bytes = &bytes[..len];
        let mut columns = Columns::new(&self.projection, 0);
        let mut order = Order::default();
        let mut rejected = Vec::new();
        let (mut line, mut counted, mut taken) = (0, 0, len);
        records(bytes, self.array, |at, record| {
            match self.record(record, &mut columns, &mut order) {
                Ok(()) => {
                    columns.end_row();
                    order.left_out.extend(order.unknown.drain(..));
                }
                Err(fault) => {
                    columns.undo_row();
                    line += count_lines(&bytes[counted..at]);
                    counted = at;
                    rejected.push(BadRow {
                        source: String::new(),
                        line,
                        column: fault.place.map(|place| self.columns[place].0.clone()),
                        bytes: fault.bytes,
                        row: record.to_vec(),
                        reason: fault.reason,
                    });
                }
            }
            if columns.rows() + rejected.len() >= rows_max {
                let behind = at + record.len();
                taken = memchr(b'\n', &bytes[behind..]).map_or(len, |n| behind + n + 1);
                return false;
            }
            !self.stop_at_first || rejected.is_empty()
        });
        self.late.left_out(order.left_out);
        let decoded = Decoded {
            batch: columns.finish(&self.projection)?,
            rejected,
            lines: count_lines(&bytes[..taken]),
        };
        Ok((decoded, taken))
    }
}

/// What is wrong with a record.
struct Fault {
    place: Option<usize>,
    bytes: Vec<u8>,
    reason: String,
}

/// In which order the record before had its keys, and which keys are no columns.
#[derive(Debug, Default)]
struct Order {
    places: Vec<Option<usize>>,
    next: usize,
    /// Keys of the record under way that are no columns.
    unknown: Vec<String>,
    /// Those of the good rows before.
    left_out: HashSet<String>,
}

/// Reads an object into the columns.
struct RowSeed<'a> {
    decoder: &'a NdjsonDecoder,
    columns: &'a mut Columns,
    order: &'a mut Order,
    fault: &'a mut Option<Fault>,
}

impl<'de> DeserializeSeed<'de> for RowSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for RowSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(place) = map.next_key_seed(KeySeed {
            decoder: self.decoder,
            order: self.order,
        })? {
            let slot = place.map_or(Slot::Skip, |place| self.decoder.columns[place].1);
            if slot == Slot::Skip {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if self.columns.has(slot) {
                self.columns.undo(slot);
            }
            let value = ValueSeed {
                slot,
                unit: self.decoder.projection.unit,
                columns: self.columns,
            };
            let written = if place.is_some_and(|place| self.decoder.keys[place]) {
                value
                    .key(map.next_value::<&RawValue>()?.get())
                    .map_err(A::Error::custom)?
            } else {
                map.next_value_seed(value)?
            };
            if let Err((bytes, reason)) = written {
                *self.fault = Some(Fault {
                    place,
                    bytes,
                    reason: reason.into(),
                });
                return Err(A::Error::custom(reason));
            }
        }
        Ok(())
    }
}

struct KeySeed<'a> {
    decoder: &'a NdjsonDecoder,
    order: &'a mut Order,
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Option<usize>, E> {
        Ok(self.decoder.place(key, self.order))
    }
}

/// The number that a string stands for, or a missing one: the forms that JSON itself has no number for, none else.
pub(super) fn text_number(text: &str) -> Option<Option<f64>> {
    match Cell::read(text.as_bytes()) {
        Cell::Missing => Some(None),
        // An overflowing "1e999" is a string that holds a number, which is text.
        Cell::Number(value) if value.is_infinite() && !text.bytes().any(|b| b.is_ascii_digit()) => Some(Some(value)),
        _ => None,
    }
}

/// Reads a value into its column; the bytes and the reason where it does not fit.
struct ValueSeed<'a> {
    slot: Slot,
    unit: TimeUnit,
    columns: &'a mut Columns,
}

type Written = Result<(), (Vec<u8>, &'static str)>;

impl ValueSeed<'_> {
    fn number(self, value: f64, spelled: impl FnOnce() -> String) -> Written {
        match self.slot {
            Slot::Number(s) => self.columns.number(s, value),
            Slot::Text(s) => self.columns.text(s, &spelled()),
            Slot::Time(_) => return self.time(&spelled()),
            // A number that is a key does not come here.
            Slot::Exact(_) | Slot::Integer(_) | Slot::Skip => {}
        }
        Ok(())
    }

    /// Writes the key that is spelled by this JSON value.
    fn key(self, spelled: &str) -> serde_json::Result<Written> {
        let bytes = spelled.as_bytes();
        if !matches!(bytes.first(), Some(b'-' | b'0'..=b'9')) {
            return self.deserialize(&mut serde_json::Deserializer::from_str(spelled));
        }
        let written = match self.slot {
            Slot::Integer(s) => seen::whole(bytes).map(|value| self.columns.integer(s, value)),
            Slot::Exact(s) => parse_f64(bytes)
                .ok_or("is not a number")
                .and_then(|value| seen::exact(value, bytes))
                .map(|value| self.columns.number(s, value)),
            Slot::Text(s) => {
                self.columns.text(s, spelled);
                Ok(())
            }
            Slot::Time(_) => return Ok(self.time(spelled)),
            Slot::Number(_) | Slot::Skip => Ok(()),
        };
        Ok(written.map_err(|reason| (bytes.to_vec(), reason)))
    }

    fn time(self, text: &str) -> Written {
        if let Slot::Time(s) = self.slot {
            let text = text.trim().as_bytes();
            let time_ns = time::read(text, self.unit).map_err(|why| (text.to_vec(), why.reason()))?;
            self.columns.time(s, time_ns);
        }
        Ok(())
    }

    fn missing(self, spelled: &str) -> Written {
        match self.slot {
            Slot::Number(s) | Slot::Exact(s) => self.columns.missing_number(s),
            Slot::Integer(s) => self.columns.missing_integer(s),
            Slot::Text(s) => self.columns.missing_text(s),
            Slot::Time(_) => return Err((spelled.into(), "is no time, and a row needs one")),
            Slot::Skip => {}
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Written;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Written, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = Written;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Written, E> {
        Ok(self.missing("null"))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Written, E> {
        let text = if value { "true" } else { "false" };
        Ok(match self.slot {
            Slot::Text(s) => {
                self.columns.text(s, text);
                Ok(())
            }
            Slot::Time(_) => Err((text.into(), "is not a time")),
            _ => Err((text.into(), "is not a number")),
        })
    }

    fn visit_i64<E>(self, value: i64) -> Result<Written, E> {
        Ok(self.number(value as f64, || value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Written, E> {
        Ok(self.number(value as f64, || value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Written, E> {
        Ok(self.number(value, || value.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Written, E> {
        Ok(match (self.slot, text_number(text)) {
            (_, Some(None)) => self.missing(text),
            (Slot::Number(s) | Slot::Exact(s), Some(Some(value))) => {
                self.columns.number(s, value);
                Ok(())
            }
            (Slot::Integer(_), _) => Err((text.into(), seen::NOT_WHOLE)),
            (Slot::Number(_) | Slot::Exact(_), None) => Err((text.into(), "is not a number")),
            (Slot::Text(s), _) => {
                self.columns.text(s, text);
                Ok(())
            }
            (Slot::Time(_), _) => self.time(text),
            (Slot::Skip, _) => Ok(()),
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Written, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Err((b"{".to_vec(), "begins an object where a single value belongs")))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Written, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Err((b"[".to_vec(), "begins an array where a single value belongs")))
    }
}
