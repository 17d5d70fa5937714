//! Lines or an array of JSON objects: the same rows however the bytes arrive, and where everything is regular the
//! values that `serde_json` reads, object by object.
//!
//! The first two bytes choose the options; the rest is the text.
#![no_main]

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float64Type};
use libfuzzer_sys::fuzz_target;
use millstream::io::bytes::{ByteInput, Compression};
use millstream::io::ndjson::NdjsonSource;
use millstream::io::{BadRows, ReadOptions};
use millstream_fuzz::{Drained, Pieces, about_the_input, chosen, drain, drain_columns, is_missing, same_columns};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

/// Rows up to which all of them decide the columns.
const INFERRED_ROWS: usize = 10_000;

/// An object with its keys in order, even those that stand twice.
struct Object(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Object;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Object(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

fn open(text: &[u8], size: usize, options: &ReadOptions) -> millstream::Result<NdjsonSource> {
    let input = ByteInput::from_reader("t", Pieces::new(text, size), Some(Compression::None), options)?;
    NdjsonSource::open(input, "t", options, None)
}

/// The objects, where all of the text is regular JSON.
fn reference(text: &[u8]) -> Option<Vec<Object>> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    if text.trim_ascii_start().starts_with(b"[") {
        return serde_json::from_slice(text).ok();
    }
    let lines = text.split(|b| *b == b'\n').map(<[u8]>::trim_ascii);
    lines
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).ok())
        .collect()
}

/// What a value is in a column of numbers: nothing for text, `Some(None)` for a missing number.
fn number(value: &Value) -> Option<Option<f64>> {
    match value {
        Value::Null => Some(None),
        Value::Number(n) => Some(n.as_f64()),
        Value::String(s) if is_missing(s.as_bytes()) => Some(None),
        Value::String(s) if !s.bytes().any(|b| b.is_ascii_digit()) => {
            let value: f64 = s.trim_matches(|c: char| c.is_ascii_whitespace()).parse().ok()?;
            value.is_infinite().then_some(Some(value))
        }
        _ => None,
    }
}

fn compare(found: &Drained, objects: &[Object]) {
    let mut names = Vec::<&String>::new();
    for (key, _) in objects.iter().flat_map(|o| &o.0) {
        if !names.contains(&key) {
            names.push(key);
        }
    }
    let values = |name: &String| {
        let all = objects.iter().flat_map(|o| &o.0);
        all.filter(|(key, _)| key == name)
            .map(|(_, value)| value)
            .collect::<Vec<_>>()
    };
    names.retain(|name| !values(name).iter().any(|v| v.is_object() || v.is_array()));
    assert_eq!(found.rejected, []);
    assert_eq!(found.batch.num_rows(), objects.len());
    let schema = found.batch.schema();
    let got: Vec<_> = schema.fields().iter().map(|f| f.name()).collect();
    assert_eq!(got, names);
    for (name, column) in names.iter().zip(found.batch.columns()) {
        let text = values(name).iter().any(|v| number(v).is_none());
        assert_eq!(text, *column.data_type() == DataType::Utf8, "the type of {name:?}");
        for (row, object) in objects.iter().enumerate() {
            let value = object
                .0
                .iter()
                .rfind(|(key, _)| key == *name)
                .map_or(&Value::Null, |(_, value)| value);
            if text {
                let cell = column
                    .is_valid(row)
                    .then(|| column.as_string::<i32>().value(row).to_owned());
                let expected = match value {
                    Value::Null => None,
                    Value::String(s) if is_missing(s.as_bytes()) => None,
                    Value::String(s) => Some(s.clone()),
                    Value::Number(n) if n.is_f64() => n.as_f64().map(|x| x.to_string()),
                    other => Some(other.to_string()),
                };
                assert_eq!(cell, expected, "{name:?} {row}");
            } else {
                let cell = column
                    .is_valid(row)
                    .then(|| column.as_primitive::<Float64Type>().value(row));
                let expected = number(value).expect("a column of numbers holds numbers");
                assert_eq!(cell.map(f64::to_bits), expected.map(f64::to_bits), "{name:?} {row}");
            }
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some(([size, mask], text)) = bytes.split_first_chunk().map(|(head, text)| (*head, text)) else {
        return;
    };
    let options = ReadOptions {
        bad_rows: BadRows::Skip,
        ..ReadOptions::default()
    };
    let whole = open(text, text.len(), &options).and_then(|mut source| drain(&mut source));
    let pieces = open(text, size.into(), &options).and_then(|mut source| drain(&mut source));
    assert_eq!(format!("{whole:?}"), format!("{pieces:?}"), "in pieces of {size}");
    let objects = reference(text).filter(|objects| objects.len() <= INFERRED_ROWS);
    let Some(whole) = about_the_input(whole) else {
        let empty = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text).is_empty();
        assert!(objects.is_none() || empty, "regular JSON is read");
        return;
    };
    if whole.rejected.is_empty() {
        let mut source = open(text, text.len(), &options).expect("it could be opened before");
        let names = chosen(&source, mask);
        let part = drain_columns(&mut source, &names).expect("what all columns fit, some fit");
        same_columns(&whole.batch, &part.batch);
    }
    if let Some(objects) = objects {
        compare(&whole, &objects);
    }
});
