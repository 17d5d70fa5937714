//! `millstream merge` against `millstream analyze` of the same rows: the windows of a database, rolled up, are those
//! that the rows give.

use crate::command::{Outcome, Place};
use crate::support::data;
use arrow::array::{ArrayRef, StringArray};
use millstream::io::sink::{Feed, SinkOptions, open};
use millstream::report::{Emission, build};
use millstream::{Batch, Engine, Spec, Window};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
const COLUMNS: [&str; 4] = ["precipitation", "temp_max", "temp_min", "wind"];

/// The rows of the weather table, read by hand: days since 1970, numbers, the weather and a second key.
struct Weather {
    days: Vec<i64>,
    numbers: Vec<Vec<f64>>,
    weather: Vec<String>,
    half: Vec<String>,
}

fn weather() -> Weather {
    let text = std::fs::read_to_string(data("examples/data").join("seattle-weather.csv")).unwrap();
    let mut table = Weather {
        days: Vec::new(),
        numbers: vec![Vec::new(); 4],
        weather: Vec::new(),
        half: Vec::new(),
    };
    // 2012-01-01, and one row a day.
    for (i, line) in text.lines().skip(1).enumerate() {
        let cells: Vec<&str> = line.split(',').collect();
        table.days.push(15_340 + i as i64);
        for (column, cell) in table.numbers.iter_mut().zip(&cells[1..5]) {
            column.push(cell.parse().unwrap());
        }
        table.weather.push(cells[5].to_owned());
        table
            .half
            .push(["dry", "wet"][usize::from(cells[1] != "0.0")].to_owned());
    }
    table
}

impl Weather {
    /// As csv, with both keys.
    fn csv(&self) -> String {
        let mut csv = format!("day,{},weather,half\n", COLUMNS.join(","));
        for i in 0..self.days.len() {
            let numbers: Vec<String> = self.numbers.iter().map(|column| format!("{:?}", column[i])).collect();
            let (day, weather, half) = (self.days[i] * 86_400, &self.weather[i], &self.half[i]);
            csv.push_str(&format!("{day},{},{weather},{half}\n", numbers.join(",")));
        }
        csv
    }

    fn batch(&self, rows: std::ops::Range<usize>, keys: &[String]) -> Batch {
        let columns = COLUMNS.iter().zip(&self.numbers);
        let batch = Batch::from_columns(columns.map(|(name, values)| (*name, values[rows.clone()].to_vec()))).unwrap();
        let key = |name: &String| {
            let values = if name == "half" { &self.half } else { &self.weather };
            let values: StringArray = values[rows.clone()].iter().map(Some).collect();
            (name.clone(), Arc::new(values) as ArrayRef)
        };
        let times = self.days[rows.clone()].iter().map(|day| day * 86_400_000_000_000);
        let batch = batch.with_keys(keys.iter().map(key).collect()).unwrap();
        batch.with_time_ns(times.collect()).unwrap()
    }
}

/// Writes the reports of these rows into a database, as a feed of this name.
fn store(place: &Place, name: &str, feed: &str, spec: &Spec, batch: &Batch) {
    let mut engine = Engine::new(spec.clone()).unwrap();
    engine.push(batch).unwrap();
    let names: Vec<String> = COLUMNS.iter().map(ToString::to_string).collect();
    let reports: Vec<Emission> = engine
        .close()
        .unwrap()
        .into_iter()
        .map(|closed| {
            let summary = closed.summary.clone();
            let group = build::report(spec, &names, [closed]).groups.remove(0);
            Emission::new(feed.into(), group, summary)
        })
        .collect();
    let options = SinkOptions::Sqlite { path: place.path(name) };
    let feed = Feed {
        name: feed.into(),
        spec: spec.clone(),
        ewm: false,
    };
    let mut sink = open(&options, &[feed], None).unwrap();
    // In two flushes and another order than that of the windows.
    let (late, early) = reports.split_at(reports.len() / 3);
    sink.write(early).unwrap();
    sink.flush().unwrap();
    sink.write(late).unwrap();
    sink.finish().unwrap();
}

fn json(outcome: &Outcome) -> Value {
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    serde_json::from_slice(&outcome.stdout).unwrap()
}

/// Counts, extremes, keys, windows and quantiles are equal; other numbers up to rounding.
fn assert_same(path: &str, got: &Value, expected: &Value) {
    let exact = [
        "count",
        "missing",
        "min",
        "max",
        "rows",
        "quantiles",
        "key",
        "window",
        "unordered",
    ];
    match (got, expected) {
        (Value::Object(a), Value::Object(b)) => {
            assert!(a.keys().eq(b.keys()), "{path}: {a:?} {b:?}");
            for (name, value) in a {
                let path = format!("{path}.{name}");
                if exact.contains(&name.as_str()) {
                    assert_eq!(value, &b[name], "{path}");
                } else {
                    assert_same(&path, value, &b[name]);
                }
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len(), "{path}");
            for (i, (a, b)) in a.iter().zip(b).enumerate() {
                assert_same(&format!("{path}[{i}]"), a, b);
            }
        }
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            // Means and covariances are right to 1e-12 of the spread, which is about 1 here (of differences a second:
            // 1e-4), and so are the forms without a unit; variances are right to 1e-12 of themselves.
            let scale = if path.ends_with("variance") || path.ends_with("std") {
                0.0
            } else {
                1.0
            };
            let close = (a - b).abs() <= 1e-12 * a.abs().max(b.abs()).max(scale);
            assert!(close, "{path}: {a} {b}");
        }
        _ => assert_eq!(got, expected, "{path}"),
    }
}

fn spec(keys: &[&str]) -> Spec {
    let spec = Spec::new().covariance().correlation().quantiles(&[0.1, 0.5, 0.99]);
    spec.regression("temp_max", &["temp_min", "wind"])
        .by(keys.iter().copied())
        .window(Window::tumbling(DAY))
}

const STATISTICS: [&str; 6] = [
    "--stats",
    "covariance,correlation",
    "--quantiles",
    "0.1,0.5,0.99",
    "--regress",
    "temp_max ~ temp_min + wind",
];

/// The groups of `analyze` over the rows.
fn analyzed(place: &Place, more: &[&str]) -> Value {
    let mut args = vec![
        "analyze",
        "weather.csv",
        "--format",
        "json",
        "--time",
        "day",
        "--time-unit",
        "s",
    ];
    args.extend(["--columns", "precipitation,temp_max,temp_min,wind", "--backend", "cpu"]);
    args.extend(more);
    json(&place.run(&args))["groups"].take()
}

fn merged(place: &Place, more: &[&str]) -> Value {
    let mut args = vec!["merge", "stats.db", "--format", "json"];
    args.extend(more);
    let report = json(&place.run(&args));
    let rows: u64 = report["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|g| g["rows"].as_u64().unwrap())
        .sum();
    assert_eq!(report["rows"], rows);
    report["groups"].clone()
}

#[test]
fn longer_windows_and_fewer_keys_are_those_of_the_rows() {
    let place = Place::new();
    let table = weather();
    place.write("weather.csv", table.csv());
    let spec = spec(&["weather", "half"]);
    store(
        &place,
        "stats.db",
        "main",
        &spec,
        &table.batch(0..table.days.len(), &spec.keys),
    );
    for (merge, analyze) in [
        (vec!["--window", "30d"], vec!["--window", "30d", "--by", "weather,half"]),
        (
            vec!["--window", "7d", "--by", "weather"],
            vec!["--window", "7d", "--by", "weather"],
        ),
        (
            vec!["--window", "1w", "--by", "half,weather", "--ddof", "0"],
            vec!["--window", "7d", "--by", "half,weather", "--ddof", "0"],
        ),
        (vec!["--window", "365d", "--no-keys"], vec!["--window", "365d"]),
        (vec!["--window", "unbounded", "--by", "half"], vec!["--by", "half"]),
        (vec!["--window", "unbounded", "--no-keys"], vec![]),
        (vec![], vec!["--window", "1d", "--by", "weather,half"]),
    ] {
        let expected = analyzed(&place, &[analyze.clone(), STATISTICS.to_vec()].concat());
        let got = merged(&place, &merge);
        assert!(!expected.as_array().unwrap().is_empty());
        assert_same(&merge.join(" "), &got, &expected);
    }
}

#[test]
fn differences_join_where_windows_do() {
    let place = Place::new();
    let table = weather();
    place.write("weather.csv", table.csv());
    let spec = Spec::new().differences().by(["weather"]).window(Window::tumbling(DAY));
    store(
        &place,
        "stats.db",
        "main",
        &spec,
        &table.batch(0..table.days.len(), &spec.keys),
    );
    let expected = analyzed(
        &place,
        &["--window", "30d", "--by", "weather", "--stats", "differences"],
    );
    let got = merged(&place, &["--window", "30d"]);
    let counted = |groups: &Value| {
        let counts = groups.as_array().unwrap().iter();
        counts
            .map(|g| g["differences"]["wind"]["count"].as_u64().unwrap())
            .sum::<u64>()
    };
    assert!(counted(&expected) > 1000);
    assert_same("30d", &got, &expected);

    let outcome = place.run(&["merge", "stats.db", "--no-keys"]);
    assert_eq!(outcome.status, 0);
    assert!(
        outcome
            .stderr
            .contains("differences are between adjacent rows of one key"),
        "{}",
        outcome.stderr
    );
    let outcome = place.run(&["merge", "stats.db", "--no-keys", "--stats", "differences"]);
    assert_eq!(outcome.status, 2, "{}", outcome.stderr);
}

#[test]
fn several_databases_are_one() {
    let place = Place::new();
    let table = weather();
    place.write("weather.csv", table.csv());
    let spec = spec(&["weather"]);
    // Both have rows of the day in between.
    store(&place, "stats.db", "main", &spec, &table.batch(0..700, &spec.keys));
    store(
        &place,
        "other.db",
        "main",
        &spec,
        &table.batch(700..table.days.len(), &spec.keys),
    );
    let expected = analyzed(
        &place,
        &[vec!["--window", "30d", "--by", "weather"], STATISTICS.to_vec()].concat(),
    );
    let got = merged(&place, &["other.db", "--window", "30d"]);
    assert_same("two", &got, &expected);
    let outcome = place.run(&["merge", "stats.db", "./stats.db"]);
    assert_eq!(outcome.status, 2);
    assert!(outcome.stderr.contains("given twice"), "{}", outcome.stderr);
}

#[test]
fn what_cannot_be_merged_is_told() {
    let place = Place::new();
    let table = weather();
    let batch = |spec: &Spec| table.batch(0..50, &spec.keys);
    let plain = Spec::new().by(["weather"]).window(Window::tumbling(2 * DAY));
    store(&place, "stats.db", "main", &plain, &batch(&plain));
    let sliding = Spec::new().window(Window::sliding(2 * DAY, DAY));
    store(&place, "stats.db", "sliding", &sliding, &batch(&sliding));
    let rows = Spec::new().by(["weather"]).window(Window::Rows { size: 5, slide: 5 });
    store(&place, "stats.db", "rows", &rows, &batch(&rows));
    place.write("reports.ndjson", "{\"key\":null}\n");
    for (args, status, parts) in [
        (vec!["stats.db"], 2, ["several feeds", "main, rows, sliding"]),
        (
            vec!["stats.db", "--feed", "x"],
            2,
            ["no feed `x`", "main, rows, sliding"],
        ),
        (
            vec!["stats.db", "--feed", "main", "--window", "3d"],
            2,
            ["windows of 3d", "whole windows of 2d"],
        ),
        (
            vec!["stats.db", "--feed", "main", "--window", "100 rows"],
            2,
            ["of 2d each", "multiple"],
        ),
        (
            vec!["stats.db", "--feed", "main", "--by", "sensor"],
            2,
            ["no key `sensor`", "weather"],
        ),
        (
            vec!["stats.db", "--feed", "main", "--stats", "covariance"],
            2,
            ["no co-moments", "covariance"],
        ),
        (
            vec!["stats.db", "--feed", "main", "--quantiles", "0.5"],
            2,
            ["hold no quantiles", "main"],
        ),
        (
            vec!["stats.db", "--feed", "sliding", "--window", "4d"],
            2,
            ["overlap (size 2d, slide 1d)", "twice"],
        ),
        (
            vec!["stats.db", "--feed", "rows", "--no-keys"],
            2,
            ["numbered by key", "unbounded"],
        ),
        (
            vec!["reports.ndjson"],
            78,
            ["reports.ndjson is no SQLite database", "summaries"],
        ),
        (vec!["absent.db"], 66, ["absent.db", ""]),
    ] {
        let outcome = place.run(&[vec!["merge"], args.clone()].concat());
        assert_eq!(outcome.status, status, "{args:?}: {}", outcome.stderr);
        assert!(
            parts.iter().all(|part| outcome.stderr.contains(part)),
            "{args:?}: {}",
            outcome.stderr
        );
        assert!(outcome.stdout.is_empty());
    }
    let outcome = place.run(&[
        "merge", "stats.db", "--feed", "rows", "--window", "10 rows", "--format", "json",
    ]);
    let groups = json(&outcome)["groups"].take();
    assert!(
        groups
            .as_array()
            .unwrap()
            .iter()
            .any(|g| g["window"] == serde_json::json!({"start": 10, "end": 20}))
    );
    let rows: u64 = groups
        .as_array()
        .unwrap()
        .iter()
        .map(|g| g["rows"].as_u64().unwrap())
        .sum();
    assert_eq!(rows, 50);
}
