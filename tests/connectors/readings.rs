//! Readings, and what they come to, in plain arithmetic: what reports of them are compared with.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A row: event time in milliseconds since 1970, key, and the columns that have a value.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    pub(crate) at_ms: i64,
    pub(crate) key: String,
    pub(crate) values: BTreeMap<String, f64>,
}

/// What a column of a report says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Numbers {
    pub(crate) count: u64,
    pub(crate) mean: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// A report: rows, and the columns.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Told {
    pub(crate) rows: u64,
    pub(crate) columns: BTreeMap<String, Numbers>,
}

/// Reports by the start of their window, in milliseconds since 1970, and their key.
pub(crate) type Reports = BTreeMap<(i64, String), Told>;

/// Readings so far apart, of these keys in turn.
pub(crate) fn drawn(count: u32, step_ms: i64, keys: &[&str], columns: &[&str]) -> Vec<Reading> {
    let of = |number: u32| Reading {
        at_ms: 1_760_000_000_000 + i64::from(number) * step_ms,
        key: keys[number as usize % keys.len()].to_owned(),
        // Quarters, whose sums are exact.
        values: (1..)
            .zip(columns)
            .map(|(place, column)| ((*column).to_owned(), f64::from(number * 7919 * place % 1000) / 4.0))
            .collect(),
    };
    (0..count).map(of).collect()
}

/// The readings of lines of JSON, whose key is this one.
pub(crate) fn of_lines(text: &str, key: &str) -> Vec<Reading> {
    let of = |line: &str| {
        let row: BTreeMap<String, Value> = serde_json::from_str(line).unwrap();
        Reading {
            at_ms: row["ts"].as_i64().unwrap(),
            key: row.get(key).map(plain).unwrap_or_default(),
            values: row
                .iter()
                .filter(|(name, _)| *name != "ts" && *name != key)
                .filter_map(|(name, value)| Some((name.clone(), value.as_f64()?)))
                .collect(),
        }
    };
    text.lines().map(of).collect()
}

/// A key as text: 7 and "7" are the same here.
fn plain(key: &Value) -> String {
    // Whole numbers are written with and without decimals.
    match key.as_f64() {
        Some(number) => number.to_string(),
        None => key.as_str().unwrap().to_owned(),
    }
}

/// The newest of them.
pub(crate) fn newest_ms(readings: &[Reading]) -> i64 {
    readings.iter().map(|reading| reading.at_ms).max().unwrap()
}

/// What they come to in windows of this size that end by then.
pub(crate) fn expected(readings: &[Reading], size_ms: i64, by_ms: i64) -> Reports {
    let mut parted: BTreeMap<(i64, String), Vec<&Reading>> = BTreeMap::new();
    for reading in readings {
        let start = reading.at_ms.div_euclid(size_ms) * size_ms;
        if start + size_ms <= by_ms {
            parted.entry((start, reading.key.clone())).or_default().push(reading);
        }
    }
    parted.into_iter().map(|(which, of)| (which, told(&of))).collect()
}

fn told(readings: &[&Reading]) -> Told {
    let names: BTreeSet<&String> = readings.iter().flat_map(|reading| reading.values.keys()).collect();
    let numbers = |name: &String| {
        let values: Vec<f64> = readings.iter().filter_map(|r| r.values.get(name).copied()).collect();
        Numbers {
            count: values.len() as u64,
            mean: values.iter().sum::<f64>() / values.len() as f64,
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    };
    Told {
        rows: readings.len() as u64,
        columns: names.into_iter().map(|name| (name.clone(), numbers(name))).collect(),
    }
}

/// The reports of lines of JSON, without the alerts between them; each is there once.
pub(crate) fn reported<'a>(lines: impl IntoIterator<Item = &'a str>) -> Reports {
    let mut reports = Reports::new();
    for line in lines {
        let report: Value = serde_json::from_str(line).unwrap();
        if report.get("alert").is_some() {
            continue;
        }
        assert_eq!(report["final"], true, "{line}");
        let start: jiff::Timestamp = report["window"]["start"].as_str().unwrap().parse().unwrap();
        let key = report["key"].as_object().and_then(|key| key.values().next());
        let columns = report["columns"].as_object().unwrap().iter().map(|(name, of)| {
            let number = |which: &str| of[which].as_f64().unwrap();
            let numbers = Numbers {
                count: of["count"].as_u64().unwrap(),
                mean: number("mean"),
                min: number("min"),
                max: number("max"),
            };
            (name.clone(), numbers)
        });
        let told = Told {
            rows: report["rows"].as_u64().unwrap(),
            columns: columns.collect(),
        };
        let which = (start.as_millisecond(), key.map(plain).unwrap_or_default());
        assert!(reports.insert(which, told).is_none(), "twice: {line}");
    }
    reports
}

/// That they are the same, means up to rounding.
#[track_caller]
pub(crate) fn are_same(reports: &Reports, expected: &Reports) {
    assert!(!expected.is_empty());
    let (which, of): (Vec<_>, Vec<_>) = (reports.keys().collect(), expected.keys().collect());
    assert_eq!(which, of, "windows and keys");
    for (which, expected) in expected {
        let told = &reports[which];
        assert_eq!(told.rows, expected.rows, "{which:?}");
        let names: Vec<_> = told.columns.keys().collect();
        assert_eq!(names, expected.columns.keys().collect::<Vec<_>>(), "{which:?}");
        for (name, right) in &expected.columns {
            let said = &told.columns[name];
            let off = (said.mean - right.mean).abs();
            // Of values of one sign: one rounding an addition here, one for the division, and as many there.
            let bound = (right.count + 2) as f64 * f64::EPSILON * right.mean.abs();
            assert!(off <= bound, "{which:?} {name}: {said:?} for {right:?}");
            let (said, right) = ((said.count, said.min, said.max), (right.count, right.min, right.max));
            assert_eq!(said, right, "{which:?} {name}");
        }
    }
}

/// A reading as a line of JSON whose key has this name; none where it is empty.
pub(crate) fn line(reading: &Reading, key: &str) -> String {
    let mut row = serde_json::Map::new();
    row.insert("ts".into(), reading.at_ms.into());
    if !key.is_empty() {
        let number = reading.key.parse::<u64>().map(Value::from);
        row.insert(key.into(), number.unwrap_or_else(|_| reading.key.as_str().into()));
    }
    row.extend(
        reading
            .values
            .iter()
            .map(|(name, value)| (name.clone(), (*value).into())),
    );
    Value::from(row).to_string()
}

/// So many readings a message, a line each.
pub(crate) fn messages(readings: &[Reading], key: &str, together: usize) -> Vec<Vec<u8>> {
    let message = |of: &[Reading]| {
        let lines: Vec<String> = of.iter().map(|reading| line(reading, key)).collect();
        lines.join("\n").into_bytes()
    };
    readings.chunks(together).map(message).collect()
}
