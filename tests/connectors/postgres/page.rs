//! The configurations and the query of the page, as they stand there.

use super::*;
use crate::feed_support::wait_for;
use crate::messages::ended;
use crate::pages;
use crate::readings::{Numbers, Reading, Reports, Told, are_same, drawn, expected, newest_ms, reported};
use std::collections::BTreeMap;

impl Database {
    /// One of this name, of which a test before may have left something.
    pub(crate) fn named(name: &str) -> Self {
        let server = Server::named("postgres");
        let mut first = client(&server, "postgres");
        for what in ["DROP DATABASE IF EXISTS", "CREATE DATABASE"] {
            first.batch_execute(&format!("{what} {name}")).unwrap();
        }
        let client = client(&server, name);
        let name = name.to_owned();
        Self { server, name, client }
    }

    /// The reports in its tables.
    pub(crate) fn reports(&mut self) -> Reports {
        let mut reports = Reports::new();
        let start = "(extract(epoch FROM window_start) * 1000)::bigint, coalesce(v.value, '')";
        let key = "LEFT JOIN LATERAL json_each_text(nullif(key, '')::json) v ON true";
        let sql = format!("SELECT {start}, rows, part, final FROM windows {key}");
        for row in self.client.query(&sql, &[]).unwrap() {
            let (part, is_final): (i64, bool) = (row.get(3), row.get(4));
            assert!(part == 0 && is_final);
            let rows: i64 = row.get(2);
            let told = Told {
                rows: rows as u64,
                ..Told::default()
            };
            assert!(reports.insert((row.get(0), row.get(1)), told).is_none());
        }
        let sql = format!("SELECT {start}, column_name, count, mean, min, max FROM column_statistics {key}");
        for row in self.client.query(&sql, &[]).unwrap() {
            let count: i64 = row.get(3);
            let numbers = Numbers {
                count: count as u64,
                mean: row.get(4),
                min: row.get(5),
                max: row.get(6),
            };
            let told = reports.get_mut(&(row.get(0), row.get(1))).unwrap();
            assert!(told.columns.insert(row.get(2), numbers).is_none());
        }
        reports
    }
}

/// The sink, of a file that is in the repository, and the query behind it.
#[test]
fn the_sink_of_the_page_runs_as_it_stands() {
    let mut database = Database::named("stats");
    let place = Place::new();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    std::os::unix::fs::symlink(root.join("examples"), place.path("examples")).unwrap();
    pages::configure(
        &place,
        &pages::blocks("postgres", "toml")[0],
        "127.0.0.1:5432",
        &database.server,
    );
    let ran = place.run(&["run", "run.toml"]);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let text = std::fs::read_to_string(place.path("examples/data/seattle-weather.csv")).unwrap();
    let reading = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        let day: jiff::civil::Date = cells[0].parse().unwrap();
        let value = |place: usize| cells[place].parse::<f64>().unwrap();
        Reading {
            at_ms: day
                .to_zoned(jiff::tz::TimeZone::UTC)
                .unwrap()
                .timestamp()
                .as_millisecond(),
            key: String::new(),
            values: BTreeMap::from([("temp_max".into(), value(2)), ("wind".into(), value(4))]),
        }
    };
    assert!(text.starts_with("date,precipitation,temp_max,temp_min,wind,"));
    let readings: Vec<Reading> = text.lines().skip(1).map(reading).collect();
    let expected = expected(&readings, 30 * 86_400_000, i64::MAX);
    are_same(&database.reports(), &expected);
    let query = &pages::blocks("postgres", "sql")[0];
    let told = database.client.query(query.as_str(), &[]).unwrap();
    let means: Vec<f64> = told.iter().map(|row| row.get("mean")).collect();
    let right: Vec<f64> = expected.values().map(|told| told.columns["temp_max"].mean).collect();
    assert_eq!(means.len(), right.len());
    for (mean, right) in means.iter().zip(right) {
        assert!((mean - right).abs() < 1e-9, "{mean} {right}");
    }
}

#[test]
fn the_feed_of_the_page_runs_as_it_stands() {
    let mut database = Database::named("plant");
    let make = "CREATE TABLE readings (id bigserial PRIMARY KEY, measured_at timestamptz, sensor text, temp float8)";
    database.client.batch_execute(make).unwrap();
    let place = Place::new();
    let configurations = pages::blocks("postgres", "toml");
    assert_eq!(configurations.len(), 2);
    pages::configure(&place, &configurations[1], "127.0.0.1:5432", &database.server);
    let readings = drawn(400, 1000, &["a", "b"], &["temp"]);
    for reading in &readings {
        let insert = "INSERT INTO readings (measured_at, sensor, temp)
                      VALUES (timestamptz 'epoch' + $1::float8 * interval '1 ms', $2, $3)";
        let values: [&(dyn postgres::types::ToSql + Sync); 3] =
            [&(reading.at_ms as f64), &reading.key, &reading.values["temp"]];
        database.client.execute(insert, &values).unwrap();
    }
    let expected = expected(&readings, 60_000, newest_ms(&readings) - 5000);
    let running = Running::start(&place, &["run", "run.toml"]);
    let text = || std::fs::read_to_string(place.path("reports.ndjson")).unwrap_or_default();
    wait_for("the reports", || text().lines().count() >= expected.len());
    ended(running);
    are_same(&reported(text().lines()), &expected);
}
