//! What the tests of synthetic feeds share: a feed as bytes, and readers of each format that are not the library's.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float32Type, Float64Type, Int64Type};
use arrow::ipc::reader::StreamReader;
use millstream::generate::{Column, Delivery, Format, Options, Target, generate};

/// One row, whatever it was written as.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) ts: i64,
    pub(crate) key: i64,
    /// None where a value is missing.
    pub(crate) values: Vec<Option<f64>>,
}

/// Options with so many columns of mean 20 and sd 2, and ten keys.
pub(crate) fn options(columns: usize, rows: u64) -> Options {
    Options {
        columns: (0..columns).map(|i| Column::new(format!("c{i}"), 20.0, 2.0)).collect(),
        rows,
        keys: 10,
        ..Options::default()
    }
}

/// The feed as it goes to a file.
pub(crate) fn bytes(options: &Options, format: Format) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("feed");
    let delivery = Delivery {
        format,
        ..Delivery::new(Target::File(path.clone()))
    };
    let sent = generate(options, &delivery, None).unwrap();
    let bytes = std::fs::read(path).unwrap();
    assert_eq!((sent.rows, sent.bytes), (options.rows, bytes.len() as u64));
    bytes
}

/// The rows of csv with a line of names: `ts`, `key`, then values. Every row has to be whole.
pub(crate) fn from_csv(text: &[u8]) -> Vec<Row> {
    let text = std::str::from_utf8(text).unwrap();
    assert!(text.starts_with("ts,key,") && text.ends_with('\n'), "{text:.80}");
    text.lines()
        .skip(1)
        .map(|line| csv_row(line).unwrap_or_else(|| panic!("{line}")))
        .collect()
}

/// A line of csv, if it can be read.
pub(crate) fn csv_row(line: &str) -> Option<Row> {
    let mut cells = line.split(',');
    Some(Row {
        ts: cells.next()?.parse().ok()?,
        key: cells.next()?.parse().ok()?,
        values: cells
            .map(|cell| {
                if cell.is_empty() {
                    Some(None)
                } else {
                    cell.parse().ok().map(Some)
                }
            })
            .collect::<Option<_>>()?,
    })
}

/// The rows of ndjson.
pub(crate) fn from_ndjson(text: &[u8]) -> Vec<Row> {
    let text = std::str::from_utf8(text).unwrap();
    let row = |line: &str| {
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
        assert_eq!(object.keys().take(3).collect::<Vec<_>>(), ["ts", "key", "c0"]);
        Row {
            ts: object["ts"].as_i64().unwrap(),
            key: object["key"].as_i64().unwrap(),
            values: object.values().skip(2).map(serde_json::Value::as_f64).collect(),
        }
    };
    text.lines().map(row).collect()
}

/// The rows of an Arrow IPC stream.
pub(crate) fn from_arrow(bytes: &[u8]) -> Vec<Row> {
    let mut rows = Vec::new();
    for batch in StreamReader::try_new(bytes, None).unwrap() {
        let batch = batch.unwrap();
        let (ts, key) = (
            batch.column(0).as_primitive::<Int64Type>(),
            batch.column(1).as_primitive::<Int64Type>(),
        );
        for i in 0..batch.num_rows() {
            let value = |column: &dyn Array| -> Option<f64> {
                if column.is_null(i) {
                    return None;
                }
                match column.as_primitive_opt::<Float64Type>() {
                    Some(wide) => Some(wide.value(i)),
                    None => Some(column.as_primitive::<Float32Type>().value(i).into()),
                }
            };
            rows.push(Row {
                ts: ts.value(i),
                key: key.value(i),
                values: batch.columns()[2..].iter().map(|c| value(c.as_ref())).collect(),
            });
        }
    }
    rows
}

/// The rows of frames, of so many columns of values of so many bytes each.
pub(crate) fn from_binary(mut bytes: &[u8], columns: usize, width: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    let wide = |bytes: &[u8]| f64::from_le_bytes(bytes.try_into().unwrap());
    let narrow = |bytes: &[u8]| f64::from(f32::from_le_bytes(bytes.try_into().unwrap()));
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_at(4);
        let (frame, rest) = rest.split_at(u32::from_le_bytes(length.try_into().unwrap()) as usize);
        assert!(!frame.is_empty() && frame.len() % (16 + columns * width) == 0);
        for row in frame.chunks_exact(16 + columns * width) {
            let (ts, key) = (wide(&row[..8]), wide(&row[8..16]));
            assert!(ts.fract() == 0.0 && key.fract() == 0.0);
            let values = row[16..].chunks_exact(width);
            let values = values.map(|b| if width == 8 { wide(b) } else { narrow(b) });
            rows.push(Row {
                ts: ts as i64,
                key: key as i64,
                values: values.map(|x| (!x.is_nan()).then_some(x)).collect(),
            });
        }
        bytes = rest;
    }
    rows
}
